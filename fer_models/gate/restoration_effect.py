"""What a restoration does to a model's answers: the same faces with and without it, face by face.

A restoration may help some faces and hurt others; only those whose answer turned tell anything, and they are
counted by an exact test in both directions. `bicubic` is the control: it enlarges as a network does, and adds
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from fer_models.emotions import EMOTIONS
from fer_models.errors import FacesDifferError
from fer_models.gate.gate import ALPHA
from fer_models.images import Face, grey, resize
from fer_models.scoring import metrics
from fer_models.scoring.detectable_changes import minimum_detectable_fall, minimum_detectable_mean_change
from fer_models.scoring.paired_tests import holm, paired_score_test, paired_t_test
from fer_models.store.predictions import PredictionTable

HELPS, HARMS, NOTHING_SHOWN = "helps", "harms", "no difference shown"
#: What a network is compared with, beside the faces as they are: what enlargement alone does.
CONTROL = "bicubic"
#: What an effect over all models of a run is called in place of a model's name.
ALL_MODELS = "mean of all models"


@dataclass(frozen=True)
class RestorationEffect:
    """One restoration against another (or none), as one model answers.

    Attributes:
        model: its name, or `ALL_MODELS`. restoration, against: what is compared with what.
        n: faces.
        accuracy, macro_f1: before, after, change, and the change's 95 % interval (low, high). macro_f1 is
            empty for all models together.
        helped, hurt: faces that were answered wrongly and are rightly now, and the other way round; of all
            models together, such answers.
        p: of the exact two-sided test (McNemar's; for all models together a paired t-test of each face's
            share of right answers).
        p_adjusted: p for being one of many in this run (Holm).
        smallest: the smallest true change in accuracy that this many changed faces would show, as a share of
            n.
        per_class: for each emotion its recall before and after, and the faces helped and hurt.
        seconds_per_face: what restoring a face takes; None where it was not measured.
        likeness: the mean correlation of restored faces with what they were; None where it was not measured.
    """

    model: str
    restoration: str
    against: str
    n: int
    accuracy: dict[str, float]
    macro_f1: dict[str, float]
    corrected: int
    broken: int
    p: float
    minimum_detectable_effect: float
    per_class: dict[str, dict[str, float]]
    p_adjusted: float = 1.0
    seconds_per_face: float | None = None
    fidelity: float | None = None

    @property
    def verdict(self) -> str:
        """`helps`, `harms`, or `no difference shown`."""
        if self.p_adjusted >= ALPHA:
            return NOTHING_SHOWN
        return HELPS if self.accuracy["change"] > 0 else HARMS

    @property
    def seconds_per_corrected_face(self) -> float | None:
        """What it takes until one more face is answered rightly; None where none is, or no time was
        measured.
        """
        gained = self.corrected - self.broken
        return (
            None if self.seconds_per_face is None or gained <= 0 else self.seconds_per_face * self.n / gained
        )

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {
            **asdict(self),
            "verdict": self.verdict,
            "seconds_per_corrected_face": self.seconds_per_corrected_face,
        }


def measure_effect(
    model: str,
    restoration: str,
    against: str,
    before: PredictionTable,
    after: PredictionTable,
    *,
    resamples: int = 2000,
) -> RestorationEffect:
    """Compare the answers to the same faces, `after` with `restoration` and `before` with `against`.

    Raises:
        FacesDifferError: they are answers to different faces.
    """
    _require_same_faces(before, after)
    helped, hurt = ~before.correct & after.correct, before.correct & ~after.correct
    n, turned = len(before), int(helped.sum() + hurt.sum())
    p = float(binomtest(int(helped.sum()), turned, 0.5).pvalue) if turned else 1.0
    scores = {}
    for name, score in (("accuracy", metrics.accuracy), ("macro_f1", metrics.macro_f1)):
        change = paired_score_test(before.truth, before.answer, after.answer, score, resamples)
        values = [float(score(metrics.confusion(a.truth, a.answer))) for a in (before, after)]
        scores[name] = {
            "before": values[0],
            "after": values[1],
            "change": change.change,
            "low": change.low,
            "high": change.high,
        }
    return RestorationEffect(
        model,
        restoration,
        against,
        n,
        scores["accuracy"],
        scores["macro_f1"],
        int(helped.sum()),
        int(hurt.sum()),
        p,
        minimum_detectable_fall(n, turned, ALPHA / 2),
        _per_class(before, after, helped, hurt),
    )


def pooled_effect(
    effects: Sequence[RestorationEffect], answers: Mapping[str, tuple[PredictionTable, PredictionTable]]
) -> RestorationEffect:
    """One effect for several models' answers to the same faces: each face counts once, by the share of models
    that are right.

    Args:
        effects: of one restoration against one other.
        answers: for each model its answers before and after.

    Raises:
        FacesDifferError: the models answered different faces.
    """
    first = next(iter(answers.values()))[0]
    for pair in answers.values():
        for one in pair:
            _require_same_faces(first, one)
    before, after = (np.mean([pair[i].correct for pair in answers.values()], axis=0) for i in (0, 1))
    fall, rise = paired_t_test(before, after), paired_t_test(after, before)
    accuracy = {
        "before": float(before.mean()),
        "after": float(after.mean()),
        "change": fall.change,
        "low": fall.low,
        "high": fall.high,
    }
    p = min(1.0, 2 * min(fall.p, rise.p))
    helped, hurt = sum(e.corrected for e in effects), sum(e.broken for e in effects)
    smallest = minimum_detectable_mean_change(after - before, ALPHA)
    return RestorationEffect(
        ALL_MODELS,
        effects[0].restoration,
        effects[0].against,
        len(first),
        accuracy,
        {},
        helped,
        hurt,
        p,
        smallest,
        {},
    )


def adjust_effects(effects: Sequence[RestorationEffect]) -> list[RestorationEffect]:
    """The same effects, their p-values adjusted for being many (Holm): those over all models among
    themselves, and those of single models.

    Whether a restoration helps at all and whom it helps are two questions; many models must not drown the
    answer to the first.
    """
    p: dict[int, float] = {}
    for over_all in (True, False):
        family = [i for i, e in enumerate(effects) if (e.model == ALL_MODELS) == over_all]
        p |= zip(family, holm([effects[i].p for i in family]), strict=True)
    return [replace(e, p_adjusted=p[i]) for i, e in enumerate(effects)]


def image_fidelity(before: Sequence[Face], after: Sequence[Face]) -> float:
    """The mean correlation of the grey values of faces with those of what a restoration made of them, shrunk
    to the same size; -1 to 1.

    A restoration that shows another face, however sharp, is far from 1. Faces of one tone say nothing and are
    left out.
    """
    found = []
    for face, restored in zip(before, after, strict=True):
        side = min(*face.shape[:2], *restored.shape[:2])
        a, b = (grey(resize(one, side)).astype(np.float64).ravel() for one in (face, restored))
        if a.std() > 0 and b.std() > 0:
            found.append(float(np.corrcoef(a, b)[0, 1]))
    return float(np.mean(found)) if found else float("nan")


def flipped_faces(
    before: PredictionTable, after: PredictionTable, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of up to `most` helped and `most` hurt faces: those whose true emotion's probability changed
    most.
    """
    change = after.p_true - before.p_true
    helped, hurt = (
        np.flatnonzero(~before.correct & after.correct),
        np.flatnonzero(before.correct & ~after.correct),
    )
    return helped[np.argsort(-change[helped], kind="stable")][:most], hurt[
        np.argsort(change[hurt], kind="stable")
    ][:most]


def _require_same_faces(one: PredictionTable, other: PredictionTable) -> None:
    if one.faces != other.faces:
        raise FacesDifferError(
            f"A restoration is judged on the same faces with and without it; these are {len(one)} and {len(other)} others."
        )


def _per_class(
    before: PredictionTable, after: PredictionTable, helped: NDArray[np.bool_], hurt: NDArray[np.bool_]
) -> dict[str, dict[str, float]]:
    found = {}
    for emotion in EMOTIONS:
        own = before.truth == emotion
        if own.any():
            rates = {"before": float(before.correct[own].mean()), "after": float(after.correct[own].mean())}
            found[emotion.label] = {
                **rates,
                "corrected": int(helped[own].sum()),
                "broken": int(hurt[own].sum()),
            }
    return found
