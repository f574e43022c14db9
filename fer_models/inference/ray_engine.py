"""Ray engine: predict the missing shards of a partition in several processes, on one machine or many.

The driver (the process of the run) hands out numbers of shards. Each actor loads the dataset and the model
once, predicts the faces of a shard as the local engine does, and writes the shard itself. What travels back
is the number and the time. The engine is not part of a subject's key: the stored predictions are the same.

A worker that dies costs the time of its shard: another one predicts it again. A shard that is already there
is not predicted again. So several runs can fill one partition in object storage without a lock: each takes
the shards in an order of its own, and leaves out those that another run has written meanwhile.

Only this module imports ray. Predictions for the dataset use this engine; embeddings, the pooling of a late
fusion, and predictions for other faces (perturbed, corrupted) stay in the process of the run.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import platform
import random
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

from fer_models.artifacts.object_storage import ObjectPath
from fer_models.classifiers.base import Predictions
from fer_models.config import EvalConfig
from fer_models.datasets.base import FaceSet
from fer_models.errors import DatasetError, FerModelsError, PredictionError, StoreError, UsageError, one_line
from fer_models.images import face_hash
from fer_models.inference.batches import BatchLoop
from fer_models.inference.dataset import EvalDataset
from fer_models.inference.environment import device_name, provenance
from fer_models.inference.loader import Loader
from fer_models.inference.loop import no_count, prediction_table
from fer_models.inference.model_check import SAMPLE
from fer_models.inference.other_process import Package, plain
from fer_models.progress import Progress
from fer_models.store.code_identity import code_identity
from fer_models.store.partition import Partition
from fer_models.zoo.spec import ModelSpec, RestorerSpec

#: How often a shard is started before it counts as one that kills its worker.
ATTEMPTS = 3
#: The most tasks of one run, because the driver keeps a record of each. A task can have several shards.
_MOST_TASKS = 10_000


class LostWorkerWarning(UserWarning):
    """A process ended before its shard was written, so another one predicted it."""


@dataclass(frozen=True)
class Task:
    """Everything that an actor needs to predict a shard.

    Attributes:
        config: of the run.
        model: predicts the faces.
        restorer: restores them first.
        partition: where the shards are written.
        identity: what the key of the partition is made of, besides the faces.
    """

    config: EvalConfig
    model: ModelSpec
    restorer: RestorerSpec
    partition: Partition
    identity: Mapping[str, Any]


def fill_with_ray(task: Task, progress: Progress, shards: Sequence[int]) -> None:
    """Predict and write shards with the actors of a Ray cluster.

    Args:
        task: what is predicted.
        progress: called with the number of faces of each shard that is written.
        shards: their numbers.

    Raises:
        PredictionError, RestorationError, StoreError: as the local engine.
        DatasetError: a worker has other faces than this process.
        UsageError: Ray is not installed, or the cluster cannot be reached.
    """
    connect(task.config.ray_address)
    partition = task.partition
    seconds: dict[int, float] = {}
    try:
        with closing(_results(task, shards)) as results:
            for result in results:
                if result.error is not None:
                    raise result.error
                if result.seconds is not None:
                    seconds[result.shard] = result.seconds
                rows = partition.rows(result.shard)
                progress(rows.stop - rows.start)
    finally:
        if seconds:
            partition.write_seconds(seconds)
    if unseen := set(shards).intersection(partition.missing()):
        raise StoreError(
            f"{partition.folder}: the workers have written {len(unseen)} shards that this process does not "
            "find. On several machines the store must be a shared folder, or --store s3://BUCKET/FOLDER."
        )


def connect(address: str | None) -> None:
    """Connect this process to a cluster, or start one on this machine that ends with this process.

    Raises:
        UsageError: Ray is not installed, or no cluster has this address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no statistics leave the machine
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors arrive as exceptions
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError('--engine ray needs the package ray: pip install "fer-models[ray]"') from error
    if not ray.is_initialized():
        local = {"include_dashboard": False} if address is None else {}
        try:
            with _quiet_stderr():
                ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            where = "A Ray cluster on this machine cannot be started"
            if address is not None:
                where = f"--ray-address {one_line(address)}: no Ray cluster can be reached there"
            raise UsageError(
                f"{where}: {one_line(str(error))}. "
                "Start one with `ray start --head`, or leave --ray-address out."
            ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of its own old settings
        context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Discard what native code writes to the standard error of this process, such as the level of its log."""
    try:
        saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # there is none
        yield
        return
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


@dataclass(frozen=True)
class ShardResult:
    """What an actor returns.

    Attributes:
        shard: its number.
        seconds: the time of its prediction; None where it was there already.
        error: why it is not written; None if it is.
    """

    shard: int
    seconds: float | None = None
    error: FerModelsError | None = None


def _results(task: Task, shards: Sequence[int]) -> Generator[ShardResult, None, None]:
    """The results of all shards, in the order in which they are ready.

    Raises:
        PredictionError: the cluster could not complete them.
    """
    import ray

    total = ray.cluster_resources()
    gpus, cores = total.get("GPU", 0.0), total.get("CPU", 1.0)
    largest = max(node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["Alive"])
    actors, resources = actors_for(task.config.ray_actors, len(shards), gpus, cores, largest)
    numbers = random.sample(list(shards), len(shards))  # another run on this store takes another order
    attempts = ray.remote(_Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    dataset = ray.data.from_items(
        [{"shard": number} for number in numbers], override_num_blocks=min(len(numbers), _MOST_TASKS)
    ).map_batches(
        ShardWorker,
        batch_size=1,
        fn_constructor_args=(_packed(task), attempts),
        compute=ray.data.ActorPoolStrategy(size=actors),
        **resources,
    )
    try:
        with redirect_stdout(io.StringIO()):  # Ray prints there, from another thread, that a worker ended
            for row in dataset.iter_rows():
                yield pickle.loads(row["result"])
        repeated = ray.get(attempts.repeated.remote())
    except ray.exceptions.RayError as error:
        raise PredictionError(
            f"Ray could not predict {task.partition.subject.id}: {one_line(str(error))}. "
            "Shards written before stay. Run again, or use --engine local."
        ) from error
    if repeated:
        warnings.warn(
            f"{task.partition.subject.id}: worker processes ended {repeated} times before their shard was "
            "written. Others predicted these shards again.",
            LostWorkerWarning,
            stacklevel=2,
        )


def actors_for(
    wanted: int | None, shards: int, gpus: float, cores: float, largest: float
) -> tuple[int, dict[str, float]]:
    """The number of actors, and what each of them reserves: a GPU, or a share of the cores.

    Ray sets the threads of an actor (OMP_NUM_THREADS) to its cores.

    Args:
        wanted: the number that the user gave; None for the default.
        shards: how many are missing; more actors than that have nothing to do.
        gpus: those of the cluster.
        cores: those of the cluster.
        largest: the cores of its largest machine, on which an actor must fit.
    """
    actors = min(wanted or int(gpus) or max(1, int(cores // 2)), shards)
    share = min(cores / actors, largest)
    if gpus >= 1:
        return actors, {"num_cpus": min(1.0, share), "num_gpus": min(1.0, gpus / actors)}
    return actors, {"num_cpus": float(int(share)) if share >= 1 else share}


def _packed(task: Task) -> Package:
    """The task on its way to the actors. Raises as `Package.of`."""
    folder = task.partition.folder
    folder = folder if isinstance(folder, ObjectPath) else folder.absolute()
    # `replace` makes a partition without the shards that are already read.
    sent = replace(task, partition=replace(task.partition, folder=folder))
    specs: list[ModelSpec | RestorerSpec] = [task.model, *task.model.components, task.restorer]
    return Package.of(sent, task.model.name, specs, ", or use --engine local")


class _Attempts:
    """Counter of the times that a shard was started, in an actor of its own: it survives the workers."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def start(self, shard: int) -> int:
        """Count one start of a shard, and return how many there were."""
        self._counts[shard] = self._counts.get(shard, 0) + 1
        return self._counts[shard]

    def repeated(self) -> int:
        """How often a shard was started after its first time."""
        return sum(self._counts.values()) - len(self._counts)


class ShardWorker:
    """Actor that predicts and writes shards. It loads the dataset and the model with its first one."""

    def __init__(self, task: Package, attempts: Any) -> None:
        """Nothing is loaded yet.

        Args:
            task: a `Task`.
            attempts: the actor that counts the starts of shards.
        """
        self._task, self._attempts = task, attempts
        self._predict: Callable[[int], float | None] | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Predict and write the shards of a batch; their results, pickled."""
        results = [self._result(int(shard)) for shard in batch["shard"]]
        return {"result": [pickle.dumps(result) for result in results]}

    def _result(self, shard: int) -> ShardResult:
        import ray

        try:
            if ray.get(self._attempts.start.remote(shard)) > ATTEMPTS:
                raise PredictionError(
                    f"Shard {shard} ended its process {ATTEMPTS} times: the memory may not suffice, or the "
                    "model crashes. Use a smaller --batch-size or fewer --ray-actors. "
                    "--engine local shows a crash."
                )
            if self._predict is None:
                self._predict = self._load()
            return ShardResult(shard, self._predict(shard))
        except FerModelsError as error:
            return ShardResult(shard, error=plain(error))

    def _load(self) -> Callable[[int], float | None]:
        task: Task = self._task.open()
        _check_same_inputs(task)
        return shard_predictor(task)


def shard_predictor(task: Task) -> Callable[[int], float | None]:
    """Load the dataset and the model; a function that predicts and writes a shard.

    It returns the seconds of the prediction, or None where the shard was there already.

    Raises:
        FerModelsError: when it is called, too; as the local engine, and a `DatasetError` for other faces.
    """
    config, partition = task.config, task.partition
    data = EvalDataset(config)
    faces = data.full_split
    loader = Loader(config, lambda: data.faces.faces(data.sample(SAMPLE)))
    steps = loader.pipeline(task.model, task.restorer).prediction_steps()
    device = device_name(loader.classifier(task.model), task.model.resolve(config.runtime))

    def predict(shard: int) -> float | None:
        if partition.is_written(shard):
            return None
        started = time.perf_counter()
        rows = partition.rows(shard)
        images = faces.faces(partition.index[rows])
        if tuple(face_hash(image) for image in images) != partition.faces[rows]:
            raise DatasetError(
                f"{faces.name} has other faces on {platform.node()} than where the run was started. "
                "--data-root must hold the same dataset on each machine."
            )
        shard_faces = FaceSet(faces.dataset, faces.split, images, partition.truth[rows])
        loop = BatchLoop(steps, shard_faces, config.batch_size, no_count)
        predictions = Predictions.joined(loop(slice(0, len(images))))
        table = prediction_table(predictions, partition, shard)
        seconds = time.perf_counter() - started
        partition.write_predictions(shard, table, provenance(task.identity, device, config.batch_size))
        return seconds

    return predict


def _check_same_inputs(task: Task) -> None:
    """Check that this machine predicts with the same code, libraries and weights as the run says.

    Raises:
        PredictionError: something differs.
        WeightsMissingError: the weights are not on this machine.
    """
    runtime = task.config.runtime
    here: dict[str, Any] = {
        "code": code_identity(),
        "model": task.model.identity(runtime),
        "restorer": task.restorer.identity(runtime),
    }
    expected = {name: task.identity[name] for name in here}
    if differing := [name for name in here if here[name] != expected[name]]:
        fields = {
            name: ", ".join(f for f in here[name] if here[name][f] != expected[name].get(f))
            for name in differing
        }
        parts = [f"{name} ({fields[name]})" for name in differing]
        raise PredictionError(
            f"{platform.node()} would predict with other inputs than the run: {', '.join(parts)}. "
            "Install the same versions and weights on each machine, and give --precision."
        )
