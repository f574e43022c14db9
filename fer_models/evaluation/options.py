"""What the user asked of a run, as data."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.progress import Progress
from fer_models.registry import Runtime

if TYPE_CHECKING:
    from fer_models.corruptions import Corruption

#: A context manager factory: (title, faces in all) -> what to tell how many were answered.
ShowProgress = Callable[[str, int], AbstractContextManager[Progress]]


def no_progress(title: str, total: int) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return nullcontext(lambda n: None)


@dataclass(frozen=True)
class Options:
    """What the user asked of a run.

    Attributes:
        dataset, data_root, split, download: see `datasets.load`.
        limit: at most this many faces, stratified; None for all.
        runtime: device, precision, download.
        batch_size: faces per forward pass.
        store: the folder of stored answers.
        baselines: the baselines file.
        shipped_baselines: what is read where `baselines` does not exist yet; None for nothing.
        from_store_only: ask nobody; what is not in the store is skipped.
        prompt_examples: how many prompts the search may write for each model that is asked in words.
        question_faces: how many faces, at most, a model that writes is asked about in all ways to put the question.
        changed_faces: how many faces, at most, each model is asked about after small changes.
        corrupted_faces: how many faces, at most, each model is asked about after every corruption, with each restoration.
        corruption: what befalls the faces before anything else; None for nothing.
    """

    dataset: str = "synthetic"
    data_root: Path | None = None
    split: str | None = None
    limit: int | None = None
    runtime: Runtime = field(default_factory=Runtime)
    batch_size: int = 64
    store: Path = Path(".evals/store")
    baselines: Path = Path("baselines.json")
    shipped_baselines: Path | None = None
    from_store_only: bool = False
    prompt_examples: int = 200
    question_faces: int = 70
    changed_faces: int = 70
    corrupted_faces: int = 21
    corruption: Corruption | None = None

    @property
    def baselines_source(self) -> Path:
        """File that baselines are read from: `baselines`, or `shipped_baselines` where it does not exist."""
        if self.shipped_baselines is None or self.baselines.exists():
            return self.baselines
        return self.shipped_baselines

    @property
    def cache(self) -> Path:
        """Where what is slow to find out about the faces is kept."""
        return self.store.parent / "cache"

    @property
    def features(self) -> Path:
        """Where the directions of faces are kept, for models that have such."""
        return self.store.parent / "features"

    @property
    def restored(self) -> Path:
        """Where restored faces are kept, for restorers that are slow."""
        return self.store.parent / "restored"
