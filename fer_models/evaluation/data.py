"""The faces of a run, and everything it knows of them: what was kept of them, what train holds, what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models import datasets
from fer_models.datasets import audit
from fer_models.datasets.base import FaceSet
from fer_models.errors import DatasetError
from fer_models.evaluation import leaks, raters
from fer_models.evaluation.cache import kept
from fer_models.evaluation.options import Options, ShowProgress, no_progress
from fer_models.evaluation.run import Progress
from fer_models.evaluation.statistics import wilson
from fer_models.evaluation.store import canonical_order


class Data:
    """The faces that a run asks about.

    Attributes:
        not_seen: why `seen` is unknown, where a train split is there and cannot be read.
        audited: what `audit` found; None until it was asked for.
    """

    def __init__(self, options: Options, show: ShowProgress = no_progress) -> None:
        """The faces that `options` name; nothing is read before it is asked for."""
        self.options, self.show = options, show
        self.not_seen = ""
        self.audited: dict[str, Any] | None = None

    @cached_property
    def whole(self) -> FaceSet:
        """All faces of the split.

        Raises:
            DatasetError, UsageError: see `datasets.load`.
        """
        o = self.options
        return datasets.load(o.dataset, o.split, o.data_root, download=o.runtime.download)

    @cached_property
    def faces(self) -> FaceSet:
        """The faces that are asked: all, or `--limit` of them."""
        return self.whole if self.options.limit is None else self.whole.limit(self.options.limit)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The rows of `faces` in canonical order."""
        return canonical_order(self.faces.hashes, self.faces.labels)

    @cached_property
    def kept_rows(self) -> NDArray[np.int64] | None:
        """Where the asked faces stand in the canonical order of the whole split; None for all."""
        if self.options.limit is None or len(self.faces) == len(self.whole):
            return None
        place = np.empty(len(self.whole), dtype=np.int64)
        place[canonical_order(self.whole.hashes, self.whole.labels)] = np.arange(len(self.whole))
        return np.sort(place[self.whole.stratified(self.options.limit)])

    def few(self, n: int) -> Data:
        """At most `n` of these faces, stratified by emotion."""
        smaller = Data(replace(self.options, limit=min(n, len(self.faces))), self.show)
        smaller.__dict__["whole"] = self.whole  # read once
        return smaller

    @cached_property
    def train(self) -> FaceSet | None:
        """The faces of `train`; None where the dataset has no such split, or this run asks about it.

        Raises:
            DatasetError: it cannot be read.
        """
        o = self.options
        if self.faces.split == leaks.TRAIN or leaks.TRAIN not in datasets.splits(o.dataset, o.data_root):
            return None
        return datasets.load(o.dataset, leaks.TRAIN, o.data_root, download=o.runtime.download)

    @cached_property
    def seen(self) -> frozenset[str] | None:
        """The pixel hashes of the faces in `train`, kept until a file changes; None where there is no train, or `not_seen` says why not."""
        try:
            hashes = self._kept("train", lambda: "\n".join(sorted(self.train.hashes)) if self.train else "none")
        except DatasetError as error:
            self.not_seen = f"not checked for leaks from train: {error}"
            return None
        return None if hashes == "none" else frozenset(hashes.split())

    def audit(self) -> dict[str, Any]:
        """What is wrong with these faces, by themselves and against `train`: `datasets.audit` as JSON; kept until a file changes.

        Raises:
            DatasetError: `train` cannot be read.
        """
        if self.audited is None:
            self.audited = json.loads(self._kept("audit", self._audit))
        return self.audited

    def _audit(self) -> str:
        sets = [faces for faces in (self.train, self.whole) if faces is not None]
        with self.show(f"auditing {self.whole.name}", sum(map(len, sets))) as advance:
            return json.dumps(audit.audit(sets, progress=_ReadingOnly(advance)).as_json())

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        """Text about the files of this run's dataset, made once until they change: it takes a look at tens of thousands of faces."""
        o = self.options
        made_of = leaks.stamp(datasets.folder(o.dataset, o.data_root, download=o.runtime.download))
        return kept(o.cache, name, f"{made_of}\n{self.whole.name}", make)

    def as_json(self) -> dict[str, Any]:
        """The entry `data` in evals.json."""
        f = self.faces
        return {
            f.name: {
                "n": len(f),
                "of": len(self.whole),
                "fingerprint": self.whole.fingerprint,
                "counts": f.counts,
                "notes": list(f.notes),
                "references": self.references(),
                "audit": self.audited,
            }
        }

    def references(self) -> list[dict[str, Any]]:
        """What answers without a model score on these faces: always the most frequent emotion, and the raters where their votes are known."""
        labels, votes = self.faces.labels, self.faces.votes
        emotion, k = max(self.faces.counts.items(), key=lambda item: item[1])
        rows = [{"name": f"always {emotion}", "n": len(labels), "accuracy": wilson(k, len(labels)).as_json()}]
        return rows if votes is None else [raters.reference(labels, votes), *rows]


class _ReadingOnly:
    """Turns the audit's stages into faces read, of which a bar can show the share."""

    def __init__(self, advance: Progress) -> None:
        self.advance, self.stage, self.told = advance, "", 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage.startswith("reading"):
            self.told = self.told if stage == self.stage else 0
            self.advance(done - self.told)
            self.stage, self.told = stage, done
