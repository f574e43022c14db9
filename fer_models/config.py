"""Configuration of a run, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.artifacts.object_storage import ObjectPath, StorePath
from fer_models.depth import FULL, Depth
from fer_models.progress import Progress
from fer_models.slices.columns import MIN_SLICE
from fer_models.zoo.spec import Runtime

if TYPE_CHECKING:
    from fer_models.corruptions import Corruption

#: A function from a title and a number of faces to a context manager of a progress callback.
ShowProgress = Callable[[str, int], AbstractContextManager[Progress]]

#: Where faces are predicted: in this process, or in those of Ray.
ENGINES = ("local", "ray")


def no_progress(title: str, total: int) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return nullcontext(lambda n: None)


@dataclass(frozen=True)
class EvalConfig:
    """Configuration of a run.

    Attributes:
        dataset, data_root, split, label_scheme: see `datasets.load`.
        limit: at most this many faces, stratified; None for all.
        runtime: device, precision, download.
        batch_size: faces per forward pass.
        store: the folder of stored predictions, on disk or in object storage.
        local_folder: the folder of all caches and of the history where `store` is in object storage;
            otherwise they are next to it.
        baselines: the baselines file.
        shipped_baselines: read if `baselines` does not exist; None for none.
        cached_only: load no model; subjects without stored predictions are skipped.
        depth: how much is evaluated, and on how many faces.
        measure_costs: measure costs again, also stored ones.
        only_stored_costs: measure no cost, because several processes would disturb each other.
        whole_variants: variants are predicted on all faces, as a record needs them, in spite of `depth`.
        named_models: the models were chosen by name, so an answer mode is no variant of another model.
        prompts_by_option: the user chose a prompt set or a question, other than the models' own.
        corruption: applied to each face first; None for none.
        slices: a file with properties of the faces; None for none. See `slices.metadata_file`.
        slice_cuts: the cuts of its numeric columns, by column.
        crossed_slices: pairs of columns whose slices are crossed.
        min_slice: faces that a slice needs to be judged.
        engine: `local`, or `ray` to predict the faces in several processes. No prediction depends on it.
        ray_address: the Ray cluster, as `ray.init` takes it; None for one of this machine, for this run.
        ray_actors: how many processes predict; None for one per GPU, or one per two cores without a GPU.
    """

    dataset: str = "synthetic"
    data_root: Path | None = None
    split: str | None = None
    limit: int | None = None
    runtime: Runtime = field(default_factory=Runtime)
    batch_size: int = 64
    store: StorePath = Path(".evals/store")
    local_folder: Path = Path(".evals")
    baselines: Path = Path("baselines.json")
    shipped_baselines: Path | None = None
    cached_only: bool = False
    depth: Depth = FULL
    measure_costs: bool = False
    only_stored_costs: bool = False
    whole_variants: bool = False
    named_models: bool = False
    prompts_by_option: bool = False
    corruption: Corruption | None = None
    label_scheme: str | None = None
    slices: Path | None = None
    slice_cuts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    crossed_slices: tuple[tuple[str, str], ...] = ()
    min_slice: int = MIN_SLICE
    engine: str = "local"
    ray_address: str | None = None
    ray_actors: int | None = None

    @property
    def corruption_id(self) -> str | None:
        """The id of the corruption, such as `gaussian-noise@4`; None for none."""
        return None if self.corruption is None else self.corruption.id

    @property
    def baselines_source(self) -> Path:
        """File that baselines are read from: `baselines`, or `shipped_baselines` where it does not exist."""
        if self.shipped_baselines is None or self.baselines.exists():
            return self.baselines
        return self.shipped_baselines

    @property
    def caches(self) -> Path:
        """Folder of all caches: next to the store, or `local_folder`."""
        return self.local_folder if isinstance(self.store, ObjectPath) else self.store.parent

    @property
    def cache(self) -> Path:
        """Folder of cached audits and hashes of `train`."""
        return self.caches / "cache"

    @property
    def embeddings(self) -> Path:
        """Folder of face embeddings, for models that have them."""
        return self.caches / "features"

    @property
    def restored(self) -> Path:
        """Folder of restored faces, for slow restorers."""
        return self.caches / "restored"

    @property
    def predictions(self) -> Path:
        """Folder of predictions for faces outside the dataset: perturbed, corrupted, blank ones."""
        return self.caches / "predictions"

    @property
    def checks(self) -> StorePath:
        """Folder of the predictions by which a changed third-party model is detected.

        It is in the store, whose keys depend on it: whoever gets the store needs it.
        """
        return self.store / "checks"

    @property
    def costs(self) -> Path:
        """Folder of measured costs."""
        return self.caches / "costs"
