"""Parity of an export with its reference, the model that it was exported from, on the same faces.

The reference is the baseline of the export, so the regression gate judges both face by face: the export fails
where its accuracy, macro-F1, a recall or the number of its predictions is worse. All exports of a run are one
family. They are no part of the family of baselines: a run without exports has no more tests than before.

An export that is not quantized must also agree with its reference (`check_agreement`), unless a record of
`baselines.json` accepts that it does not: then the robustness gate compares its disagreement with the record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer_models.emotions import LABELS
from fer_models.errors import FacesDifferError
from fer_models.gate import gate
from fer_models.gate.baselines import record_of
from fer_models.scoring import metrics
from fer_models.scoring.agreement import LARGEST_DIFFERENCE, MINIMUM_AGREEMENT, Agreement, measure_agreement
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.metrics import Metrics
from fer_models.scoring.paired_tests import paired_score_test
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

#: The recorded and judged figure: the share of faces with another answer than the reference's.
DISAGREEMENT = "parity: disagreement"
#: Faces with another answer that the report lists.
_LISTED = 10
#: Resamples of the intervals, which no verdict depends on.
_RESAMPLES = 2000
#: The keys of an entry of evals.json that are null before the verdict, and without a measured time.
_OF_VERDICT = (
    "verdict",
    "is_degraded",
    "p",
    "negative_flips",
    "positive_flips",
    "seconds_per_face",
    "reference_seconds_per_face",
)


@dataclass(frozen=True)
class Parity:
    """An export and its reference on the same faces.

    Attributes:
        reference: the name of the reference.
        quantization: how the export was quantized; None for float32.
        before, after: the predictions of the reference and of the export.
        agreement: of both.
        sizes: of the weights of the reference and of the export, in bytes; None for a model without.
    """

    reference: str
    quantization: str | None
    before: PredictionTable
    after: PredictionTable
    agreement: Agreement
    sizes: tuple[int | None, int | None]

    def figures(self) -> dict[str, FaceCounts]:
        """The disagreement, as counts per face of 0 or 1."""
        counts = np.zeros(self.agreement.n, dtype=np.int64)
        counts[self.agreement.differing] = 1
        return {DISAGREEMENT: FaceCounts(counts, 1)}

    def as_json(self) -> dict[str, Any]:
        """The measured part of an entry of `parity` in evals.json."""
        return {
            "n": self.agreement.n,
            "reference": self.reference,
            "quantization": self.quantization,
            "disagreements": len(self.agreement.differing),
            "largest_difference": self.agreement.largest_difference,
            "mean_difference": self.agreement.mean_difference,
            "unanswered": int((self.after.answer < 0).sum()),
            "reference_unanswered": int((self.before.answer < 0).sum()),
            "accuracy": self._change(metrics.accuracy),
            "macro_f1": self._change(metrics.macro_f1),
            "flips": self.flips(),
            "bytes": self.sizes[1],
            "reference_bytes": self.sizes[0],
            **dict.fromkeys(_OF_VERDICT),
        }

    def flips(self) -> list[dict[str, Any]]:
        """The first faces with another answer: row in the full split, label, and both answers."""
        return [
            {
                "index": int(self.after.index[row]),
                "truth": LABELS[self.after.truth[row]],
                "reference_answer": _label(self.before, row),
                "answer": _label(self.after, row),
            }
            for row in self.agreement.differing[:_LISTED].tolist()
        ]

    def _change(self, score: Callable[..., Any]) -> dict[str, float]:
        truth, before, after = self.after.truth, self.before.answer, self.after.answer
        test = paired_score_test(truth, before, after, score, _RESAMPLES)
        old, new = (float(score(metrics.confusion(truth, answer))) for answer in (before, after))
        return {"before": old, "after": new, "change": test.change, "low": test.low, "high": test.high}


@dataclass(frozen=True)
class ParityVerdict:
    """Verdict on one export.

    Attributes:
        measured: the export next to its reference.
        paired: the verdict of the gate; its record is the reference.
        disagreement: why the export does not agree with its reference; None if it does, if it is quantized,
            or if a record has its disagreement.
    """

    measured: Parity
    paired: gate.Verdict
    disagreement: str | None

    @property
    def status(self) -> str:
        """PASS, FAIL or INCONCLUSIVE."""
        return gate.FAIL if self.disagreement else self.paired.status

    def fails(self, strict: bool) -> bool:
        """Whether this ends a run with an error: FAIL does, and all but PASS under `strict`."""
        return self.disagreement is not None or self.paired.fails(strict)


def agreement_of(reference: PredictionTable, export: PredictionTable) -> Agreement:
    """The agreement of an export with its reference.

    Raises:
        FacesDifferError: the predictions are for different faces.
        PredictionError: there are none.
    """
    if reference.faces != export.faces:
        raise FacesDifferError(
            "An export and its reference are compared on the same faces; "
            f"these are {len(export)} and {len(reference)} different ones."
        )
    return measure_agreement(
        (reference.answer, reference.probabilities), (export.answer, export.probabilities)
    )


def compare(
    subject: Subject,
    reference: tuple[PredictionTable, Metrics],
    export: tuple[PredictionTable, Metrics],
    *,
    resamples: int = 9999,
) -> gate.GateComparison:
    """Compare the predictions of an export with those of its reference, as the gate does with a record.

    Args:
        subject: the export.
        reference: predictions of the reference, in canonical order, and their metrics.
        export: the same of the export, for the same faces.
        resamples: of the paired bootstrap.

    Raises:
        PredictionError: there are no predictions, or a metric is not a number.
    """
    (table, measured), (predictions, now) = reference, export
    record = replace(record_of(subject, table.fingerprint, table, measured, {}), floor=None)
    return gate.compare(
        subject,
        predictions,
        now,
        record,
        gate.ComparedFaces(predictions.fingerprint, predictions.truth),
        resamples=resamples,
    )


def is_accepted(recorded: float | None) -> bool:
    """Whether a baseline accepts that an export disagrees: the robustness gate compares it with that.

    Args:
        recorded: the disagreement in the baseline, 0..1; None where nothing is compared.
    """
    return recorded is not None and recorded > 1 - MINIMUM_AGREEMENT + 1e-9


def check_agreement(agreement: Agreement, reference: str, quantization: str | None) -> str | None:
    """Why an export without a record does not agree with its reference; None if it does, or is quantized.

    Args:
        agreement: of the export with its reference.
        reference: the name of the reference.
        quantization: as in `ModelSpec`.
    """
    if quantization is not None or agreement.is_exact:
        return None
    allowed = int((1 - MINIMUM_AGREEMENT) * agreement.n + 1e-9)
    return (
        f"{len(agreement.differing)} of {agreement.n} predictions differ from those of {reference} "
        f"({allowed} may), and a probability differs by {agreement.largest_difference:.2g} "
        f"({LARGEST_DIFFERENCE:g} may)"
    )


def _label(table: PredictionTable, row: int) -> str | None:
    answer = int(table.answer[row])
    return LABELS[answer] if answer >= 0 else None
