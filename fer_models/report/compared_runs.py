"""The comparison of two runs: its verdicts, the changed predictions, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fer_models.gate.flips import PredictionFlip
from fer_models.gate.gate import FAIL, INCONCLUSIVE, NEW, PASS, Verdict
from fer_models.report.formatting import count, number, p_value, signed
from fer_models.store.subject import Subject

HEADINGS = ("subject", "n", "before", "now", "change", "p", "verdict")
FLIP_HEADINGS = (
    "row",
    "face",
    "true emotion",
    "prediction before",
    "prediction now",
    "p(true) before",
    "p(true) now",
)


@dataclass(frozen=True)
class ComparedModel:
    """One subject of a comparison.

    Attributes:
        earlier: the subject of the earlier run; the verdict's subject, unless two models are compared.
        verdict: of the gate, judged with all others of the comparison.
        negative_flips: the faces that were correct and are wrong now, in the order to list them.
        positive_flips: the faces that were wrong and are correct now.
    """

    earlier: Subject
    verdict: Verdict
    negative_flips: Sequence[PredictionFlip]
    positive_flips: Sequence[PredictionFlip]

    @property
    def title(self) -> str:
        """The subject, or both."""
        now = self.verdict.comparison.subject
        return now.id if now == self.earlier else f"{self.earlier.id} -> {now.id}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells under `HEADINGS`."""
        comparison = self.verdict.comparison
        check = next(check for check in comparison.checks if check.metric == "accuracy")
        now = check.now
        interval = f"{number(now.value)} [{number(now.low)}, {number(now.high)}]"
        change, p = signed(check.change), p_value(check.p)
        n = f"{comparison.metrics.n:,}"
        return (self.title, n, number(check.baseline), interval, change, p, self.verdict.label)

    @property
    def flip_summary(self) -> str:
        """How many faces changed in each direction; empty where none did."""
        n = len(self.negative_flips)
        if not n and not self.positive_flips:
            return ""
        was, now = ("was", "is") if n == 1 else ("were", "are")
        reverse = len(self.positive_flips)
        return f"{count(n, 'face')} {was} correct and {now} wrong now, {reverse} the other way"

    def flip_groups(self, limit: int) -> list[tuple[str, Sequence[PredictionFlip]]]:
        """A heading and at most `limit` faces for each direction that has any."""
        groups = (
            ("Correct before, wrong now", self.negative_flips),
            ("Wrong before, correct now", self.positive_flips),
        )
        return [
            (f"{heading} ({limit} of {len(flips)})" if len(flips) > limit else heading, flips[:limit])
            for heading, flips in groups
            if flips[:limit]
        ]


def flip_cells(flip: PredictionFlip) -> tuple[str, ...]:
    """The cells under `FLIP_HEADINGS`."""
    emotions = (flip.truth, flip.before or "no prediction", flip.now or "no prediction")
    return (str(flip.index), flip.face[:12], *emotions, number(flip.p_before, 2), number(flip.p_now, 2))


@dataclass(frozen=True)
class RunComparison:
    """The comparison of two runs.

    Attributes:
        before, after: the names of the two runs, as given.
        results: one entry per subject of both runs.
        only_before, only_after: the subjects of one run only.
        incomparable: a sentence on each subject that cannot be compared.
        notes: a sentence on each part of the runs that was left out.
        listed: how many faces are listed per subject and direction, at least 0.
        strict: INCONCLUSIVE, NEW and DEGRADED fail too.
        all_names: subjects of one run only are named, not counted.
    """

    before: str
    after: str
    results: Sequence[ComparedModel]
    only_before: Sequence[Subject] = ()
    only_after: Sequence[Subject] = ()
    incomparable: Sequence[str] = ()
    notes: Sequence[str] = ()
    listed: int = 20
    strict: bool = False
    all_names: bool = False

    @property
    def failed(self) -> bool:
        """Whether a verdict fails, or a subject of both runs could not be compared: that is no pass."""
        return bool(self.incomparable) or any(result.verdict.fails(self.strict) for result in self.results)

    def flips(self) -> Iterator[PredictionFlip]:
        """The faces that are listed."""
        for result in self.results:
            yield from result.negative_flips[: self.listed]
            yield from result.positive_flips[: self.listed]

    def remarks(self) -> Iterator[str]:
        """The lines after the verdicts: subjects of one run only, incomparable subjects, notes."""
        for name, subjects in ((self.before, self.only_before), (self.after, self.only_after)):
            if subjects:
                ids = "; ".join(subject.id for subject in subjects)
                number_of_them = f"{count(len(subjects), 'subject')} (--all lists them)"
                yield f"Only in {name}: {ids if self.all_names else number_of_them}"
        yield from (f"Not compared: {sentence}" for sentence in self.incomparable)
        yield from (f"Note: {sentence}" for sentence in self.notes)

    def summary(self) -> str:
        """`3 subjects compared: 1 FAIL, 2 PASS`."""
        counts = Counter(result.verdict.status for result in self.results)
        counts["DEGRADED"] = sum(result.verdict.is_degraded for result in self.results)
        names = (FAIL, INCONCLUSIVE, NEW, PASS, "DEGRADED")
        verdicts = ", ".join(f"{counts[name]} {name}" for name in names if counts[name])
        return f"{count(len(self.results), 'subject')} compared{f': {verdicts}' if verdicts else ''}"
