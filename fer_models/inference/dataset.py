"""The faces of a run, and everything it knows of them: what was kept of them, what train holds, what is wrong
with them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_models import datasets
from fer_models.artifacts.text_cache import cached_text
from fer_models.config import EvalConfig, ShowProgress, no_progress
from fer_models.datasets import audit, schemes, synthetic
from fer_models.datasets.base import FaceSet
from fer_models.errors import DatasetError
from fer_models.inference.loop import Progress
from fer_models.scoring import annotators, leakage
from fer_models.scoring.intervals import wilson_interval
from fer_models.store.predictions import canonical_order

#: What is kept in place of the hashes where there is no train split.
_NO_TRAIN = "none"
_Value = TypeVar("_Value")


class EvalDataset:
    """The faces that a run asks about.

    Attributes:
        not_seen: why `seen` is unknown, where a train split is there and cannot be read.
        audited: what `audit` found; None until it was asked for.
    """

    def __init__(
        self,
        options: EvalConfig,
        show: ShowProgress = no_progress,
        *,
        superset: EvalDataset | None = None,
        n: int = 0,
    ) -> None:
        """The faces that `options` name; nothing is read before it is asked for.

        Args:
            superset, n: these are at most `n` of the faces of another `Data`, stratified by emotion.
        """
        self.options, self.show = options, show
        self.leak_check_error = ""
        self.audit_result: dict[str, Any] | None = None
        self._superset, self._n = superset, n

    @cached_property
    def full_split(self) -> FaceSet:
        """All faces of the split.

        Raises:
            DatasetError, UsageError: see `datasets.load`.
        """
        if self._superset is not None:
            return self._superset.full_split
        return self._load(self.options.split)

    def _load(self, split: str | None) -> FaceSet:
        o = self.options
        return datasets.load(
            o.dataset, split, o.data_root, download=o.runtime.download, label_scheme=o.label_scheme
        )

    def check_readable(self) -> None:
        """Read every picture of the split: all that a run finds out depends on all of them.

        Raises:
            UnreadableFacesError: some cannot be read.
            DatasetError, UsageError: see `datasets.load`.
        """
        self.full_split.hashes  # noqa: B018 - reading it decodes every picture, and keeps what is needed of them

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The rows of `whole` that are evaluated, ascending."""
        if self._superset is not None:
            return self._superset.rows[
                self._superset.faces.stratified_rows(min(self._n, len(self._superset.faces)))
            ]
        limits = [n for n in (self.options.limit, self.options.depth.limit) if n is not None]
        return (
            self.full_split.stratified_rows(min(limits))
            if limits
            else np.arange(len(self.full_split), dtype=np.int64)
        )

    @cached_property
    def faces(self) -> FaceSet:
        """The faces that are evaluated: all, or as many as `--limit` or the depth allow."""
        n, total = len(self.rows), len(self.full_split)
        return (
            self.full_split
            if n == total
            else self.full_split.select(self.rows, f"limited to {n} of {total} faces, stratified by emotion")
        )

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The rows of `faces` in canonical order."""
        return canonical_order(self.faces.hashes, self.faces.labels)

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """The row in `whole` of each face in canonical order."""
        return self.rows[self.order]

    @cached_property
    def subset_indices(self) -> NDArray[np.int64] | None:
        """Where the evaluated faces are in the canonical order of the whole split, ascending; None for
        all.
        """
        return None if len(self.rows) == len(self.full_split) else np.sort(self._places[self.rows])

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The labels of `whole` in its canonical order, int64."""
        return self.full_split.labels[self._whole_order]

    @cached_property
    def _whole_order(self) -> NDArray[np.int64]:
        return canonical_order(self.full_split.hashes, self.full_split.labels)

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """The place of each row of `whole` in its canonical order."""
        places = np.empty(len(self.full_split), dtype=np.int64)
        places[self._whole_order] = np.arange(len(self.full_split))
        return places

    def subsample(self, n: int) -> EvalDataset:
        """At most `n` of these faces, stratified by emotion."""
        return self if n >= len(self.faces) else EvalDataset(self.options, self.show, superset=self, n=n)

    def sample(self, n: int) -> NDArray[np.int64]:
        """At most `n` rows of `faces`, drawn with a seed, ascending."""
        rows = np.random.default_rng(0).permutation(self.order)[
            :n
        ]  # of the canonical order: the same faces, however they are listed
        return np.sort(rows)

    def places_of(self, subset: EvalDataset) -> NDArray[np.int64]:
        """Where the faces of a `subset` of these, in its canonical order, are in the canonical order of
        these; int64.
        """
        mine, theirs = (
            np.arange(len(d.full_split)) if d.subset_indices is None else d.subset_indices
            for d in (self, subset)
        )
        return np.searchsorted(mine, theirs)

    @cached_property
    def train(self) -> FaceSet | None:
        """The faces of `train`; None where the dataset has no such split, or this run asks about it.

        Raises:
            DatasetError: it cannot be read.
        """
        o = self.options
        if self.faces.split == leakage.TRAIN or leakage.TRAIN not in datasets.splits(o.dataset, o.data_root):
            return None
        return self._load(leakage.TRAIN)

    @cached_property
    def train_hashes(self) -> frozenset[str] | None:
        """The pixel hashes of the faces in `train`, kept until a file changes; None where there is no train,
        or `not_seen` says why not.
        """
        if self.options.dataset == "synthetic":
            return None if self.faces.split == leakage.TRAIN else synthetic.train_hashes()
        try:
            hashes = self._kept(
                "train", lambda: "\n".join(sorted(self.train.hashes)) if self.train else _NO_TRAIN, str.split
            )
        except DatasetError as error:
            self.leak_check_error = f"not checked for leaks from train: {error}"
            return None
        return None if hashes == [_NO_TRAIN] else frozenset(hashes)

    def audit(self) -> dict[str, Any]:
        """What is wrong with these faces, by themselves and against `train`: `datasets.audit` as JSON; kept
        until a file changes.

        Raises:
            DatasetError: `train` cannot be read.
        """
        if self.audit_result is None:
            name = "audit" if self.options.depth.near_copies else "audit-without-near-copies"
            self.audit_result = self._kept(name, self._audit, json.loads)
        return self.audit_result

    def _audit(self) -> str:
        near = self.options.depth.near_copies
        # The synthetic training faces take a while to draw, and share no face with another split (`seen`).
        train = None if self.options.dataset == "synthetic" and not near else self.train
        sets = [faces for faces in (train, self.full_split) if faces is not None]
        with self.show(f"auditing {self.full_split.name}", sum(map(len, sets))) as advance:
            return json.dumps(audit.audit(sets, near=near, progress=_ReadingOnly(advance)).as_json())

    def _kept(self, name: str, make: Callable[[], str], parse: Callable[[str], _Value]) -> _Value:
        """What `parse` makes of a text about the files of this run's dataset. The text takes a look at tens
        of thousands of faces, so it is made once until the files change."""
        o = self.options
        made_of = leakage.source_fingerprint(
            datasets.folder(o.dataset, o.data_root, download=o.runtime.download)
        )
        scheme = "" if o.label_scheme is None else schemes.find(o.label_scheme).describe()
        return cached_text(o.cache, name, f"{made_of}\n{scheme}\n{self.full_split.name}", make, parse)

    def as_json(self) -> dict[str, Any]:
        """The entry `data` in evals.json."""
        f = self.faces
        return {
            f.name: {
                "n": len(f),
                "of": len(self.full_split),
                "fingerprint": self.full_split.fingerprint,
                "counts": f.counts,
                "notes": list(f.notes),
                "references": self.references(),
                "audit": self.audit_result,
            }
        }

    def references(self) -> list[dict[str, Any]]:
        """What answers without a model score on these faces: always the most frequent emotion, and the raters
        where their votes are known.
        """
        labels, votes = self.faces.labels, self.faces.votes
        emotion, k = max(self.faces.counts.items(), key=lambda item: item[1])
        rows = [
            {
                "name": f"always {emotion}",
                "n": len(labels),
                "accuracy": wilson_interval(k, len(labels)).as_json(),
            }
        ]
        return rows if votes is None else [annotators.majority_vote_row(labels, votes), *rows]


class _ReadingOnly:
    """Turns the audit's stages into faces read, of which a bar can show the share."""

    def __init__(self, advance: Progress) -> None:
        self.advance, self.stage, self.told = advance, "", 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage.startswith("reading"):
            self.told = self.told if stage == self.stage else 0
            self.advance(done - self.told)
            self.stage, self.told = stage, done
