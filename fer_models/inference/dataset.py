"""Labelled faces of one run in canonical order, their leaks from `train`, and their audit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_models import datasets
from fer_models.artifacts.hashing import PACKAGE, sha256_of_sources
from fer_models.artifacts.text_cache import cached_text
from fer_models.config import EvalConfig, ShowProgress, no_progress
from fer_models.datasets import audit, schemes, synthetic
from fer_models.datasets.base import FaceSet
from fer_models.errors import DatasetError
from fer_models.inference.face_slices import face_slices
from fer_models.progress import Progress
from fer_models.scoring import annotators, leakage
from fer_models.scoring.intervals import wilson_interval
from fer_models.slices.columns import SliceColumns
from fer_models.store.code_identity import installed_version
from fer_models.store.predictions import canonical_order
from fer_models.text_column import TextColumn

#: Text that is cached instead of hashes for a dataset without a train split.
_NO_TRAIN = "none"
_Value = TypeVar("_Value")
#: A function from the name of a split (None: the default one) to its faces.
LoadSplit = Callable[[str | None], FaceSet]


class _LeakCheck(NamedTuple):
    """Pixel hashes of the faces in `train`.

    Attributes:
        train_hashes: None where the dataset has no such split, or where it cannot be read.
        error: why `train` cannot be read; empty otherwise.
    """

    train_hashes: Collection[str] | None
    error: str = ""


class EvalDataset:
    """The labelled faces that a run evaluates, in canonical order: by pixel hash, then label, then row.

    The order is established here, once, for the full split. Everything after this class (predictions, the
    store, scores, records) uses it.

    Attributes:
        audit_result: the result of `audit`; None before its first call.
    """

    def __init__(
        self,
        options: EvalConfig,
        show: ShowProgress = no_progress,
        *,
        load: LoadSplit | None = None,
        superset: EvalDataset | None = None,
        n: int = 0,
    ) -> None:
        """Name the faces; they are read at first use.

        Args:
            options: which faces.
            show: shows the progress of an audit.
            load: loads a split; by default with `datasets.load`, as `options` say.
            superset: take the faces of another dataset.
            n: at most so many of them, stratified by emotion.
        """
        self.options, self.show = options, show
        self.audit_result: dict[str, Any] | None = None
        self._load = load or _loader(options)
        self._superset, self._n = superset, n

    @cached_property
    def full_split(self) -> FaceSet:
        """All faces of the split, in the order of their source.

        Raises:
            DatasetError, UsageError: see `datasets.load`.
        """
        return self._load(self.options.split) if self._superset is None else self._superset.full_split

    def check_readable(self) -> None:
        """Decode every image of the split, and find the slices of the faces.

        Raises:
            UnreadableFacesError: some cannot be read.
            DatasetError, UsageError: see `datasets.load` and `face_slices`.
        """
        _ = self.full_split.hashes, self.slices  # computing the hashes decodes every image

    @cached_property
    def faces(self) -> FaceSet:
        """The evaluated faces in canonical order: all, or as many as `--limit` or the depth allow."""
        n, total = len(self.index), len(self.full_split)
        note = "" if n == total else f"limited to {n} of {total} faces, stratified by emotion"
        return self.full_split.select(self.index, note)

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """The row of each of `faces` in `full_split`, int64 (n,)."""
        if self.subset_indices is None:
            return self._full_order
        return self._full_order[self.subset_indices]

    @cached_property
    def subset_indices(self) -> NDArray[np.int64] | None:
        """Positions of `faces` in the canonical order of the full split, ascending; None for all faces."""
        rows = self._rows()
        return None if len(rows) == len(self.full_split) else np.flatnonzero(np.isin(self._full_order, rows))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The labels of `full_split` in its canonical order, int64."""
        return self.full_split.labels[self._full_order]

    @cached_property
    def _full_order(self) -> NDArray[np.int64]:
        """The rows of `full_split` in canonical order."""
        if self._superset is not None:
            return self._superset._full_order
        return canonical_order(self.full_split.hashes, self.full_split.labels)

    def _rows(self) -> NDArray[np.int64]:
        """The evaluated rows of `full_split`, ascending; the first ones of each emotion where not all are."""
        if self._superset is not None:
            rows = np.sort(self._superset.index)
            return rows[self.full_split.select(rows).stratified_rows(min(self._n, len(rows)))]
        limits = [n for n in (self.options.limit, self.options.depth.limit) if n is not None]
        return self.full_split.stratified_rows(min(limits, default=len(self.full_split)))

    def subsample(self, n: int) -> EvalDataset:
        """At most `n` of these faces, stratified by emotion."""
        if n >= len(self.faces):
            return self
        return EvalDataset(self.options, self.show, load=self._load, superset=self, n=n)

    def sample(self, n: int) -> list[int]:
        """At most `n` rows of `faces`, drawn with a fixed seed, ascending."""
        return sorted(np.random.default_rng(0).permutation(len(self.faces))[:n].tolist())

    def positions_of(self, subset: EvalDataset) -> NDArray[np.int64]:
        """The row in `faces` of each face of a `subset`, int64."""
        total = np.arange(len(self.full_split))
        here, there = (total if d.subset_indices is None else d.subset_indices for d in (self, subset))
        return np.searchsorted(here, there)

    @cached_property
    def train(self) -> FaceSet | None:
        """The faces of `train`; None where the dataset has no such split, or where this run evaluates it.

        Raises:
            DatasetError: it cannot be read.
        """
        splits = datasets.splits(self.options.dataset, self.options.data_root)
        if self.full_split.split == leakage.TRAIN or leakage.TRAIN not in splits:
            return None
        return self._load(leakage.TRAIN)

    @property
    def train_hashes(self) -> Collection[str] | None:
        """Pixel hashes of the faces in `train`; None where there is none, or `leak_check_error` says why."""
        return self._leak_check.train_hashes

    @property
    def leak_check_error(self) -> str:
        """Why the faces in `train` cannot be read; empty where they can, or where there are none."""
        return self._leak_check.error

    @cached_property
    def _leak_check(self) -> _LeakCheck:
        if self.options.dataset == "synthetic":
            is_train = self.full_split.split == leakage.TRAIN
            return _LeakCheck(None if is_train else synthetic.train_hashes())
        try:
            hashes = self._cached("train", self._train_text, _parse_hashes)
        except DatasetError as error:
            return _LeakCheck(None, f"not checked for leaks from train: {error}")
        return _LeakCheck(None if hashes == [_NO_TRAIN] else hashes)

    def _train_text(self) -> str:
        return "\n".join(sorted(self.train.hashes)) if self.train else _NO_TRAIN

    @cached_property
    def slices(self) -> SliceColumns:
        """The slices of `faces`.

        Raises:
            UsageError: see `face_slices`.
        """
        return self._full_slices.select(self.index)

    @cached_property
    def _full_slices(self) -> SliceColumns:
        """The slices of `full_split`."""
        if self._superset is not None:
            return self._superset._full_slices

        def cached(name: str, make: Callable[[], dict[str, list[float]]]) -> dict[str, list[float]]:
            return self._cached(name, lambda: json.dumps(make()), json.loads)

        return face_slices(self.options, self.full_split, lambda: self.train, cached)

    def audit(self) -> dict[str, Any]:
        """`datasets.audit` of these faces and `train` as JSON, cached until a file changes.

        Raises:
            DatasetError: `train` cannot be read.
        """
        if self.audit_result is None:
            name = "audit" if self.options.depth.near_copies else "audit-without-near-copies"
            self.audit_result = self._cached(name, self._audit_text, json.loads)
        return self.audit_result

    def _audit_text(self) -> str:
        near = self.options.depth.near_copies
        # Rendering the synthetic training faces is slow, and they share no face with another split.
        train = None if self.options.dataset == "synthetic" and not near else self.train
        sets = [faces for faces in (train, self.full_split) if faces is not None]
        with self.show(f"auditing {self.full_split.name}", sum(map(len, sets))) as advance:
            return json.dumps(audit.audit(sets, near=near, progress=_ReadingProgress(advance)).as_json())

    def _cached(self, name: str, make: Callable[[], str], parse: Callable[[str], _Value]) -> _Value:
        """The parsed text of a cache entry for the files of this dataset; made again when a file changes."""
        o = self.options
        folder = datasets.folder(o.dataset, o.data_root, download=o.runtime.download)
        scheme = "" if o.label_scheme is None else schemes.find(o.label_scheme).describe()
        # The order of the faces is the reader's: FER-2013 in class folders can be read as a folder too.
        sources = hashlib.sha256("\n".join(self.full_split.sources).encode()).hexdigest()
        key = "\n".join((leakage.source_fingerprint(folder), scheme, self.full_split.name, sources, _code()))
        return cached_text(o.cache, name, key, make, parse)

    def as_json(self) -> dict[str, Any]:
        """The entry `data` in evals.json."""
        f = self.faces
        return {
            f.name: {
                "n": len(f),
                "of": len(self.full_split),
                "fingerprint": self.full_split.fingerprint,
                "counts": f.counts,
                "notes": [*f.notes, *self.slices.notes],
                "references": self.references(),
                "audit": self.audit_result,
            }
        }

    def references(self) -> list[dict[str, Any]]:
        """Reference accuracies: of the most frequent emotion, and of the annotators where votes exist."""
        labels, votes = self.faces.labels, self.faces.votes
        emotion, k = max(self.faces.counts.items(), key=lambda item: item[1])
        accuracy = wilson_interval(k, len(labels)).as_json()
        rows = [{"name": f"always {emotion}", "n": len(labels), "accuracy": accuracy}]
        return rows if votes is None else [annotators.majority_vote_row(labels, votes), *rows]


@lru_cache
def _code() -> str:
    """What decides the cached texts besides the files: the code and libraries that read and measure faces."""
    modules = ("images.py", "datasets/*.py", "slices/*.py", "scoring/leakage.py")
    files = sorted(path for pattern in modules for path in PACKAGE.glob(pattern))
    libraries = (f"{name} {installed_version(name)}" for name in ("imagehash", "numpy", "pillow", "scipy"))
    return "\n".join((sha256_of_sources(files), *libraries))


def _parse_hashes(text: str) -> TextColumn:
    return TextColumn.of(text.split())


def _loader(options: EvalConfig) -> LoadSplit:
    """A function that loads a split of the dataset of `options`."""

    def load(split: str | None) -> FaceSet:
        o = options
        download, scheme = o.runtime.download, o.label_scheme
        return datasets.load(o.dataset, split, o.data_root, download=download, label_scheme=scheme)

    return load


class _ReadingProgress:
    """Progress of the audit's stages that read faces, as the number of new faces."""

    def __init__(self, advance: Progress) -> None:
        self.advance, self.stage, self.reported = advance, "", 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage.startswith("reading"):
            self.reported = self.reported if stage == self.stage else 0
            self.advance(done - self.reported)
            self.stage, self.reported = stage, done
