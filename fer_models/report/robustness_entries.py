"""Typed entries of evals.json for robustness checks and restorations.

The attributes are the JSON keys. Unless noted, shares and accuracies are 0..1, and `low` and `high` are a
95 % interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from fer_models.errors import UsageError, one_line
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.report_entries import Entry, VerdictName

#: Verdicts from worst to best.
VERDICT_ORDER: tuple[VerdictName, ...] = ("FAIL", "INCONCLUSIVE", "NEW", "PASS")


@dataclass(frozen=True)
class Figure:
    """One robustness figure against its baseline; see `gate.robustness_gate.RobustnessFigure`."""

    name: str
    faces: int
    now: float
    baseline: float | None
    change: float | None
    low: float | None
    high: float | None
    p: float | None
    minimum_detectable_change: float | None
    needed: int | None
    verdict: VerdictName


@dataclass(frozen=True)
class RobustnessEntry(Entry):
    """One robustness check of one subject.

    Attributes:
        figures: with their verdicts; empty where nothing was judged.
        fails: whether a figure fails the run.
        message: the failure text, or empty.
    """

    figures: tuple[Figure, ...]
    fails: bool
    message: str

    @property
    def is_judged(self) -> bool:
        """Whether it has a verdict."""
        return bool(self.figures)

    @property
    def worst_verdict(self) -> VerdictName:
        """The worst verdict among the figures."""
        verdicts = {figure.verdict for figure in self.figures}
        return next((verdict for verdict in VERDICT_ORDER if verdict in verdicts), "PASS")

    @property
    def label(self) -> str:
        """The worst verdict, as it is shown."""
        return self.worst_verdict


@dataclass(frozen=True)
class PromptSetText:
    """The templates and words of a prompt set."""

    name: str
    source: str
    templates: tuple[str, ...]
    emotions: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Sensitivity:
    """Accuracy of the prompt set, of each template alone, and of each word alone by emotion.

    Attributes:
        mean, sd, worst, best: over the accuracies of the templates.
        kappa: Fleiss' kappa between the predictions of the templates; None for one template.
        flip_rate: the mean share of predictions that change with one template in place of the set.
    """

    ensemble: MeasuredValue
    templates: Mapping[str, MeasuredValue]
    words: Mapping[str, Mapping[str, MeasuredValue]]
    mean: float
    sd: float
    worst: float
    best: float
    kappa: float | None
    flip_rate: float


@dataclass(frozen=True)
class TriedPrompt:
    """A prompt of the search: its template, its word by emotion, the edits that lead to it."""

    template: str
    words: Mapping[str, str]
    edits: tuple[str, ...]
    accuracy: float


@dataclass(frozen=True)
class PromptSearch:
    """The search for the prompt with the lowest accuracy; `breaking` is the smallest costly edit, or None."""

    base: TriedPrompt
    worst: TriedPrompt
    breaking: TriedPrompt | None
    tried: int
    examples: int
    seed: int


@dataclass(frozen=True)
class PromptResult(RobustnessEntry):
    """Prompt robustness of a zero-shot model; `invariances` are flip rates by edit."""

    JSON_KEYS: ClassVar = {"prompts": "set"}

    prompts: PromptSetText
    sensitivity: Sensitivity
    invariances: Mapping[str, float]
    search: PromptSearch


@dataclass(frozen=True)
class QuestionScore:
    """Accuracy with one question, the share of unparseable replies, and the share of changed predictions."""

    accuracy: MeasuredValue
    unanswered: float
    changed: float


@dataclass(frozen=True)
class OptionOrderScore:
    """The effect of the order of a question's options.

    Attributes:
        rotations: by the name of the rotated question.
        circular: the share of faces that are correct in every rotation.
        position_shares: of the predictions, the share at each place in the list.
        position_bias: the total variation of `position_shares` from even shares, 0..6/7.
    """

    rotations: Mapping[str, QuestionScore]
    circular: MeasuredValue
    position_shares: tuple[float, ...]
    position_bias: float


@dataclass(frozen=True)
class QuestionResult(RobustnessEntry):
    """Question robustness of a vision-language model; `question` is the model's default."""

    question: str
    questions: Mapping[str, QuestionScore]
    kappa: float | None
    orders: Mapping[str, OptionOrderScore]
    shuffles: Mapping[str, QuestionScore]


@dataclass(frozen=True)
class FlipExample:
    """The smallest perturbation found that changes the prediction for one face.

    Attributes:
        face: its pixel hash.
        index: its row in the full split.
        answer, changed_answer: emotions by number, -1 for no prediction.
        change: the perturbation in words.
        before, after: pictures as data URLs.
    """

    face: str
    index: int
    answer: int
    changed_answer: int
    change: str
    before: str
    after: str

    @property
    def pictures(self) -> tuple[str, str]:
        """The face before and after."""
        return (self.before, self.after)


@dataclass(frozen=True)
class MetamorphicResult(RobustnessEntry):
    """Metamorphic robustness: flip rates by relation; `n_robust` searched faces had no flip."""

    flip_rate: Mapping[str, float]
    flips: tuple[FlipExample, ...]
    n_robust: int


@dataclass(frozen=True)
class CorruptionResult(RobustnessEntry):
    """Corruption robustness: accuracy without corruption, and of each corruption by severity."""

    clean: float
    accuracy: Mapping[str, tuple[float, ...]]
    severities: tuple[int, ...]
    mean_error: float

    def __post_init__(self) -> None:
        if not self.accuracy or any(len(each) != len(self.severities) for each in self.accuracy.values()):
            raise UsageError(
                f"The accuracies of {one_line(self.name, 120)} must be one per severity of each corruption."
            )


@dataclass(frozen=True)
class FaceSetName:
    """The faces of a comparison of restorations."""

    dataset: str
    split: str
    corruption: str | None


@dataclass(frozen=True)
class ScoreChange:
    """A score before and after a restoration, and the 95 % interval of its change."""

    before: float
    after: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class DifferentAnswer:
    """A face that an export predicts differently from its reference; None for no prediction."""

    index: int
    truth: str
    reference_answer: str | None
    answer: str | None


@dataclass(frozen=True)
class ParityEntry(RobustnessEntry):
    """An export next to its reference; see `robustness.parity`.

    Verdict, is_degraded, p and the numbers of flips are None where no selected test judges the export.

    Attributes:
        disagreements: faces with another answer.
        largest_difference, mean_difference: of the probabilities, absolute.
        flips: the first of these faces.
        bytes, reference_bytes: sizes of the weights.
        is_degraded: whether accuracy holds, and the log score is established to be worse.
        p: adjusted p-value of a fall of accuracy, by McNemar's exact test.
        seconds_per_face, reference_seconds_per_face: timed in turns; None where that was not measured.
    """

    reference: str
    quantization: str | None
    disagreements: int
    largest_difference: float
    mean_difference: float
    unanswered: int
    reference_unanswered: int
    accuracy: ScoreChange
    macro_f1: ScoreChange
    flips: tuple[DifferentAnswer, ...]
    bytes: int | None
    reference_bytes: int | None
    verdict: VerdictName | None
    is_degraded: bool | None
    p: float | None
    negative_flips: int | None
    positive_flips: int | None
    seconds_per_face: float | None
    reference_seconds_per_face: float | None

    @property
    def is_judged(self) -> bool:
        """Whether it has a verdict."""
        return self.verdict is not None or super().is_judged

    @property
    def worst_verdict(self) -> VerdictName:
        """The worse of the verdict and of those of the figures."""
        verdicts = {self.verdict, super().worst_verdict}
        return next((verdict for verdict in VERDICT_ORDER if verdict in verdicts), "PASS")

    @property
    def label(self) -> str:
        """The worst verdict, with DEGRADED where it applies: `PASS, DEGRADED`."""
        return f"{self.worst_verdict}, DEGRADED" if self.is_degraded else self.worst_verdict


@dataclass(frozen=True)
class CostRatioEntry(RobustnessEntry):
    """The time of `n` faces relative to the reference workload, next to its baseline."""

    machine: str
    rounds: int


@dataclass(frozen=True)
class ClassEffect:
    """Recall of one emotion before and after a restoration, with corrected and broken predictions."""

    before: float
    after: float
    corrected: int
    broken: int


@dataclass(frozen=True)
class FlippedFace:
    """A face whose prediction a restoration corrects or breaks, with both predictions and pictures."""

    index: int
    truth: str
    answers: tuple[str | None, str | None]
    pictures: tuple[str, str]


@dataclass(frozen=True)
class RestorationResult:
    """The effect of a restoration on one model; see `gate.restoration_effect.RestorationEffect`.

    Attributes:
        macro_f1: None for all models together.
        per_class: by emotion; empty for all models together.
        faces: examples; empty for all models together.
    """

    subject: FaceSetName
    model: str
    restoration: str
    against: str
    n: int
    accuracy: ScoreChange
    macro_f1: ScoreChange | None
    corrected: int
    broken: int
    p: float
    minimum_detectable_effect: float
    per_class: Mapping[str, ClassEffect]
    p_adjusted: float
    seconds_per_face: float | None
    fidelity: float | None
    required_sample_size: int | None
    verdict: str
    seconds_per_corrected_face: float | None
    faces: Mapping[Literal["corrected", "broken"], tuple[FlippedFace, ...]]
