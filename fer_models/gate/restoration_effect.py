"""Effects of restoration: predictions for the same faces with and without it, face by face.

A restoration can correct some faces and break others. Only these are counted, by an exact two-sided test.
`bicubic` is the control: it enlarges as a network does, and adds nothing.
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
from fer_models.gate.metric_checks import ALPHA
from fer_models.images import Face, grey, resize
from fer_models.scoring import metrics
from fer_models.scoring.detectable_changes import (
    minimum_detectable_fall,
    minimum_detectable_mean_change,
    sample_deviation,
)
from fer_models.scoring.paired_tests import ROUNDING, PairedChange, holm, paired_score_test, paired_t_test
from fer_models.scoring.sample_size import required_sample_size, required_sample_size_for_mean
from fer_models.store.predictions import PredictionTable

HELPS, HARMS, NOTHING_SHOWN = "helps", "harms", "no difference shown"
#: What a network is compared with, besides the raw faces: enlargement without a network.
CONTROL = "bicubic"
#: The name of an effect over all models of a run, in place of a model's name.
ALL_MODELS = "mean of all models"


@dataclass(frozen=True)
class RestorationEffect:
    """Effect of one restoration against another (or none) on the predictions of one model.

    Attributes:
        model: its name, or `ALL_MODELS`.
        restoration: the name of the restoration.
        against: the name of the restoration that it is compared with.
        n: faces.
        accuracy: before, after, change, and the change's 95 % interval (low, high).
        macro_f1: the same; empty for all models together.
        corrected: faces that are wrong before and correct after; for all models together, such predictions.
        broken: faces that are correct before and wrong after; for all models together, such predictions.
        p: of the exact two-sided test of McNemar; for all models together of a paired t-test of each face's
            share of correct predictions.
        minimum_detectable_effect: the smallest true change in accuracy that is significant on this many
            discordant faces, among all effects of this run, as a share of n.
        per_class: for each emotion its recall before and after, and the faces corrected and broken.
        p_adjusted: p adjusted for all effects of this run (Holm).
        seconds_per_face: the time that restoring a face takes; None where it was not measured.
        fidelity: the mean correlation of restored faces with their originals; None where it was not measured.
        required_sample_size: where no difference is shown, the number of faces on which this change is
            significant in 80 % of runs, if as large a share of the faces changes; None where the change is 0.
        spread: for all models together, the standard deviation of the change of a face's share of correct
            predictions; not in JSON.
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
    required_sample_size: int | None = None
    spread: float | None = None

    @property
    def verdict(self) -> str:
        """Verdict: `helps`, `harms`, or `no difference shown`."""
        if self.p_adjusted >= ALPHA:
            return NOTHING_SHOWN
        return HELPS if self.accuracy["change"] > 0 else HARMS

    @property
    def seconds_per_corrected_face(self) -> float | None:
        """Restoration time per additional correct face; None where there is none, or no time."""
        gained = self.corrected - self.broken
        if self.seconds_per_face is None or gained <= 0:
            return None
        return self.seconds_per_face * self.n / gained

    def as_json(self) -> dict[str, Any]:
        """Return an entry of `restorations` in evals.json."""
        values = asdict(self)
        del values["spread"]
        price = self.seconds_per_corrected_face
        return {**values, "verdict": self.verdict, "seconds_per_corrected_face": price}


def measure_effect(
    model: str,
    restoration: str,
    against: str,
    before: PredictionTable,
    after: PredictionTable,
    *,
    resamples: int = 2000,
) -> RestorationEffect:
    """Measure the effect on predictions for the same faces.

    Args:
        model: its name.
        restoration: the name of the restoration of `after`.
        against: the name of the restoration of `before`.
        before: the predictions with `against`.
        after: the predictions with `restoration`.
        resamples: of the bootstrap.

    Raises:
        FacesDifferError: the predictions are for different faces.
    """
    _require_same_faces(before, after)
    corrected, broken = ~before.correct & after.correct, before.correct & ~after.correct
    n, discordant = len(before), int(corrected.sum() + broken.sum())
    p = float(binomtest(int(corrected.sum()), discordant, 0.5).pvalue) if discordant else 1.0
    scores = {}
    for name, score in (("accuracy", metrics.accuracy), ("macro_f1", metrics.macro_f1)):
        change = paired_score_test(before.truth, before.answer, after.answer, score, resamples)
        values = [float(score(metrics.confusion(t.truth, t.answer))) for t in (before, after)]
        scores[name] = _change_json(values[0], values[1], change)
    return RestorationEffect(
        model,
        restoration,
        against,
        n,
        scores["accuracy"],
        scores["macro_f1"],
        int(corrected.sum()),
        int(broken.sum()),
        p,
        minimum_detectable_fall(n, discordant, ALPHA / 2),
        _per_class(before, after, corrected, broken),
    )


def _change_json(before: float, after: float, test: PairedChange) -> dict[str, float]:
    return {"before": before, "after": after, "change": test.change, "low": test.low, "high": test.high}


def pooled_effect(
    effects: Sequence[RestorationEffect], predictions: Mapping[str, tuple[PredictionTable, PredictionTable]]
) -> RestorationEffect:
    """Pool the effects on several models: each face counts once, by its share of correct predictions.

    Args:
        effects: of one restoration against one other.
        predictions: for each model its predictions before and after, for the same faces.

    Raises:
        FacesDifferError: the predictions are for different faces.
    """
    pairs = list(predictions.values())
    first = pairs[0][0]
    for pair in pairs:
        for table in pair:
            _require_same_faces(first, table)
    before, after = (np.mean([pair[i].correct for pair in pairs], axis=0) for i in (0, 1))
    n, spread = len(first), sample_deviation(after - before)
    fall, rise = paired_t_test(before, after), paired_t_test(after, before)
    return RestorationEffect(
        ALL_MODELS,
        effects[0].restoration,
        effects[0].against,
        n,
        _change_json(float(before.mean()), float(after.mean()), fall),
        {},
        sum(e.corrected for e in effects),
        sum(e.broken for e in effects),
        min(1.0, 2 * min(fall.p, rise.p)),
        min(1.0, minimum_detectable_mean_change(n, spread, ALPHA)),
        {},
        spread=spread,
    )


def adjust_effects(effects: Sequence[RestorationEffect]) -> list[RestorationEffect]:
    """Adjust the p-values of all effects of a run (Holm).

    Those over all models are one family, those of single models another: whether a restoration helps at all,
    and for which models, are two questions. The number of models does not weaken the first test.
    """
    adjusted = list(effects)
    for is_pooled in (True, False):
        family = [i for i, e in enumerate(effects) if (e.model == ALL_MODELS) == is_pooled]
        for i, p in zip(family, holm([effects[i].p for i in family]), strict=True):
            effect = replace(effects[i], p_adjusted=p)
            adjusted[i] = replace(
                effect,
                minimum_detectable_effect=_minimum_detectable_effect(effect, len(family)),
                required_sample_size=_required_sample_size(effect, len(family)),
            )
    return adjusted


def _minimum_detectable_effect(effect: RestorationEffect, family: int) -> float:
    """The smallest effect that is significant if it is the only one: Holm's first step."""
    level = ALPHA / family
    if effect.spread is not None:
        return min(1.0, minimum_detectable_mean_change(effect.n, effect.spread, level))
    return minimum_detectable_fall(effect.n, effect.corrected + effect.broken, level / 2)


def _required_sample_size(effect: RestorationEffect, family: int) -> int | None:
    change = effect.accuracy["change"]
    if effect.verdict != NOTHING_SHOWN or abs(change) <= ROUNDING:
        return None
    if effect.spread is not None:
        return required_sample_size_for_mean(change, effect.spread, alpha=ALPHA, family=family)
    gained, changed = effect.corrected - effect.broken, effect.corrected + effect.broken
    # A two-sided test at ALPHA: in the direction of the change it is one-sided at half of it.
    return required_sample_size(abs(gained) / effect.n, changed / effect.n, alpha=ALPHA / 2, family=family)


def image_fidelity(before: Sequence[Face], after: Sequence[Face]) -> float | None:
    """Mean correlation of the grey values of faces before and after, scaled to the same size; -1 to 1.

    A restoration that shows another face, however sharp, is far from 1, and one of a single tone counts as 0.
    Faces that were of one tone before are left out; None where all were.
    """
    correlations = []
    for face, restored in zip(before, after, strict=True):
        side = min(*face.shape[:2], *restored.shape[:2])
        a, b = (grey(resize(image, side)).astype(np.float64).ravel() for image in (face, restored))
        if a.std() > 0:
            correlations.append(float(np.corrcoef(a, b)[0, 1]) if b.std() > 0 else 0.0)
    return float(np.mean(correlations)) if correlations else None


def flipped_faces(
    before: PredictionTable, after: PredictionTable, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of up to `limit` corrected and `limit` broken faces, with the greatest change of p_true first."""
    change = after.p_true - before.p_true
    corrected = np.flatnonzero(~before.correct & after.correct)
    broken = np.flatnonzero(before.correct & ~after.correct)
    corrected = corrected[np.argsort(-change[corrected], kind="stable")]
    broken = broken[np.argsort(change[broken], kind="stable")]
    return corrected[:limit], broken[:limit]


def _require_same_faces(first: PredictionTable, second: PredictionTable) -> None:
    if first.faces != second.faces:
        raise FacesDifferError(
            "The effect of a restoration is measured on the same faces with and without it; "
            f"these are {len(first)} and {len(second)} different ones."
        )


def _per_class(
    before: PredictionTable, after: PredictionTable, corrected: NDArray[np.bool_], broken: NDArray[np.bool_]
) -> dict[str, dict[str, float]]:
    classes = {}
    for emotion in EMOTIONS:
        rows = before.truth == emotion
        if rows.any():
            classes[emotion.label] = {
                "before": float(before.correct[rows].mean()),
                "after": float(after.correct[rows].mean()),
                "corrected": int(corrected[rows].sum()),
                "broken": int(broken[rows].sum()),
            }
    return classes
