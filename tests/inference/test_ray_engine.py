"""The Ray engine on a real cluster of this machine: two actors, tiny models, and a store on an S3 server."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from object_stores import folder_in, s3_server
from small_networks import small_checkpoint

from fer_models.artifacts.object_storage import StorePath
from fer_models.config import EvalConfig
from fer_models.errors import DatasetError, PredictionError, UsageError
from fer_models.inference import ray_engine
from fer_models.inference.loop import PredictionRun
from fer_models.inference.other_process import Package
from fer_models.inference.ray_engine import (
    ATTEMPTS,
    LostWorkerWarning,
    ShardWorker,
    Task,
    fill_with_ray,
    shard_predictor,
)
from fer_models.inference.runner import Combination, Runner
from fer_models.store.partition import Partition
from fer_models.zoo.registry import Registry, from_file
from fer_models.zoo.restorers import RAW
from fer_models.zoo.spec import ModelSpec

pytestmark = pytest.mark.slow

#: The synthetic faces, in five shards.
FACES = 1050
#: A model of the user that logs its batches.
MODEL = """
import os, signal
from pathlib import Path
import numpy as np
from fer_models import ModelSpec, Predictions

FOLDER, DRIVER = Path({folder!r}), {driver}
seen = []

def histogram(face):
    return np.bincount(face[::6, ::6, 0].ravel() // 37, minlength=7)[:7] + 1.0

class Bright:
    def predict(self, faces):
        if os.getpid() != DRIVER:
            seen.append(len(faces))
            with open(FOLDER / "batches", "a") as log:
                print(len(faces), file=log)
            {body}
        counts = np.array([histogram(face) for face in faces])
        return Predictions.from_probabilities(counts / counts.sum(axis=1, keepdims=True))

MODELS = [ModelSpec("bright", load=lambda runtime: Bright())]
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
#: In the second batch of a process, once.
KILL_ONCE = f"""
            if len(seen) == 2 and not (FOLDER / "killed").exists():
                (FOLDER / "killed").touch()
                {KILL}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of this machine that ends with the tests; the address of a folder on an S3 server."""
    ray = pytest.importorskip("ray", reason='pip install "fer-models[ray]"')
    with s3_server() as address:  # before the cluster: its processes inherit the environment
        ray_engine.connect(None)
        yield address
        ray.shutdown()


def runner(model: ModelSpec, store: StorePath, engine: str = "local") -> Runner:
    config = EvalConfig(store=store, engine=engine, ray_actors=2 if engine == "ray" else None)
    return Runner(config, Registry("model", model), Registry("restorer", RAW))


def predict(model: ModelSpec, store: StorePath, engine: str = "local") -> PredictionRun:
    return runner(model, store, engine).predict(Combination(model.name, "raw"))


def shards(folder: StorePath) -> dict[str, bytes]:
    """The content of each shard of the only partition in a store, by the name of its file."""
    (partition,) = (entry for entry in folder.iterdir() if entry.name != "checks")
    return {path.name: path.read_bytes() for path in partition.glob("part-*.parquet")}


def user_model(folder: Path, body: str = "pass") -> ModelSpec:
    """The model in a Python file in this folder."""
    path = folder / f"model_{folder.name}.py"
    path.write_text(MODEL.format(folder=str(folder), driver=os.getpid(), body=body.strip()))
    return from_file(path)[0][0]


def task_of(model: ModelSpec, store: StorePath) -> Task:
    one = runner(model, store)
    identity = one._identities.identity(model, RAW)
    return Task(one.options, model, RAW, one.partition(Combination(model.name, "raw")), identity)


def test_two_actors_write_the_same_bytes_as_one_process(tmp_path, cluster):
    model = small_checkpoint(tmp_path / "small.safetensors")
    alone = predict(model, tmp_path / "local" / "store")
    several = predict(model, tmp_path / "ray" / "store", "ray")
    assert len(shards(tmp_path / "local" / "store")) == 5
    assert shards(tmp_path / "ray" / "store") == shards(tmp_path / "local" / "store")
    assert several.predictions.answer.tolist() == alone.predictions.answer.tolist()
    assert len(set(alone.predictions.answer.tolist())) == 3
    assert not several.from_store
    assert several.seconds is not None
    assert predict(model, tmp_path / "ray" / "store").from_store


def test_actors_write_to_object_storage_what_a_process_writes_to_a_disk(tmp_path, cluster):
    model, there = user_model(tmp_path), folder_in(cluster, "store")
    predict(model, tmp_path / "local" / "store")
    run = predict(model, there, "ray")
    assert shards(there) == shards(tmp_path / "local" / "store")
    assert not run.from_store
    assert run.seconds is not None
    assert predict(model, there).from_store


def test_a_killed_actor_costs_only_the_time_of_its_shard(tmp_path, cluster):
    model = user_model(tmp_path, KILL_ONCE)
    with pytest.warns(LostWorkerWarning, match="ended 1 times before their shard was written"):
        predict(model, tmp_path / "ray" / "store", "ray")
    assert (tmp_path / "killed").exists()
    predicted = sum(map(int, (tmp_path / "batches").read_text().split()))
    assert FACES < predicted <= FACES + 256
    predict(model, tmp_path / "local" / "store")
    assert shards(tmp_path / "ray" / "store") == shards(tmp_path / "local" / "store")


def test_a_model_that_always_ends_its_process_is_an_error_that_says_so(tmp_path, cluster):
    model = user_model(tmp_path, KILL)
    with pytest.raises(PredictionError, match=rf"Shard \d ended its process {ATTEMPTS} times: the memory"):
        predict(model, tmp_path / "store", "ray")


def test_an_error_of_the_model_has_the_same_text_as_in_one_process(tmp_path, cluster):
    model, stdout = user_model(tmp_path, 'raise ValueError("no such face")'), sys.stdout
    with pytest.raises(PredictionError) as caught:
        predict(model, tmp_path / "store", "ray")
    assert sys.stdout is stdout
    sentence = "Model 'bright' failed on a batch of {} faces: ValueError: no such face"
    assert str(caught.value) in [sentence.format(n) for n in (64, FACES % 256)]
    assert caught.value.__cause__ is None


def test_a_shard_that_another_run_has_written_meanwhile_is_not_predicted_again(tmp_path):
    model = user_model(tmp_path)
    task = task_of(model, tmp_path / "store")
    predict_shard = shard_predictor(task)
    with task.partition.locked():
        assert predict_shard(4) is not None
        assert predict_shard(4) is None
    assert task.partition.missing() == [0, 1, 2, 3]


def test_faces_of_another_dataset_are_refused(tmp_path):
    task = task_of(user_model(tmp_path), tmp_path / "store")
    other = replace(task.partition, faces=task.partition.faces[::-1])
    with pytest.raises(DatasetError, match="must hold the same dataset on each machine"):
        shard_predictor(replace(task, partition=other))(0)


def test_a_machine_with_other_inputs_predicts_nothing(tmp_path):
    task = task_of(user_model(tmp_path), tmp_path / "store")
    code = {**task.identity["code"], "torch": "0.1"}
    with pytest.raises(
        PredictionError, match=r"other inputs than the run: code \(torch\)\. Install the same"
    ):
        ray_engine._check_same_inputs(replace(task, identity={**task.identity, "code": code}))
    ray_engine._check_same_inputs(task)


def test_a_record_that_cannot_be_sent_is_named(tmp_path, cluster):
    file = (tmp_path / "open").open("w")
    model = ModelSpec("opened", load=lambda runtime: file)
    with file, pytest.raises(PredictionError, match=r"'opened' cannot be sent to other processes: .*file"):
        fill_with_ray(task_of(model, tmp_path / "store"), lambda n: None, [0])


@pytest.mark.parametrize(
    ("wanted", "shards", "gpus", "cores", "largest", "expected"),
    [
        (None, 99, 0, 2, 2, (1, {"num_cpus": 2})),
        (None, 99, 0, 16, 16, (8, {"num_cpus": 2})),
        (None, 3, 0, 16, 16, (3, {"num_cpus": 5})),
        (4, 99, 0, 2, 2, (4, {"num_cpus": 0.5})),
        (1, 99, 0, 64, 16, (1, {"num_cpus": 16})),
        (None, 99, 8, 64, 32, (8, {"num_cpus": 1, "num_gpus": 1})),
        (16, 99, 8, 64, 32, (16, {"num_cpus": 1, "num_gpus": 0.5})),
    ],
)
def test_actors_share_the_cores_or_have_a_gpu_each(wanted, shards, gpus, cores, largest, expected):
    assert ray_engine.actors_for(wanted, shards, gpus, cores, largest) == expected


def test_an_address_without_a_cluster_is_an_error_with_the_command(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UsageError, match=r"--ray-address 127.0.0.1:1: .*ray start --head"):
        ray_engine.connect("127.0.0.1:1")


def refuse(*arguments: object, **settings: object) -> None:
    raise ConnectionError("nobody listens")


def test_a_worker_reads_the_task_with_its_first_shard_and_returns_an_error_as_data(tmp_path, cluster):
    class Counter:
        def __init__(self) -> None:
            import ray

            self.start = self
            self.remote = lambda shard: ray.put(ATTEMPTS + 1)

    worker = ShardWorker(Package(b"not read", (), str(tmp_path)), Counter())
    (result,) = worker({"shard": [7]})["result"]
    assert b"Shard 7 ended its process" in result


def test_a_partition_is_sent_without_the_predictions_that_are_read(tmp_path, cluster):
    model = user_model(tmp_path)
    task = task_of(model, tmp_path / "store")
    size = len(ray_engine._packed(task).content)
    predict(model, tmp_path / "store")
    partition: Partition = task.partition
    partition.read()
    assert len(ray_engine._packed(task).content) == size
