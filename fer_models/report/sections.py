"""The sections of the page, in order: what matters first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fer_models.report.eval_report import EvalReport


def _nothing(report: EvalReport) -> int:
    return 0


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        id: its anchor.
        title: its heading.
        question: what it answers, in one sentence.
        template: in `assets/report`; a section whose template gives nothing is left out.
        count: what the contents show next to the title; 0 shows nothing.
    """

    id: str
    title: str
    question: str
    template: str
    count: Callable[[EvalReport], int] = _nothing


def _failures(report: EvalReport) -> int:
    return len(report.failures) + len(report.errors)


_REGRESSIONS = "What got worse, by how much, and is it certain?"
_LEADERBOARD = "How accurate is each model, with and without restoration?"
_CHANGED_FACES = "Which predictions differ from the baseline? The greatest changes of each subject."
_SLICES = "Who is it wrong about? The worst slice of each property of the faces, and is the gap certain?"
_SUBJECTS = "Everything about one model with one restoration: open it."
_RESTORATION = "Does a restoration of the faces help the models? Paired tests over the same faces."
_PROMPTS = "How much does accuracy depend on the words of the prompt?"
_CORRUPTIONS = "How does accuracy fall when pictures get worse?"
_METAMORPHIC = "How often does a small change that should not matter change a prediction?"
_PARITY = "Does an export predict what its model predicts?"
_COSTS = "What does accuracy cost? Times on this machine."
_HISTORY = "How did accuracy change from run to run, and what else changed?"
_PUBLISHED = (
    "What do publications claim, under which protocol, is it possible, and what was measured here? "
    "No verdict depends on it."
)
_DATA = "What was evaluated, and can the labels be trusted?"

SECTIONS = (
    Section("summary", "Summary", "", "summary"),
    Section("regressions", "Regressions and errors", _REGRESSIONS, "regressions", _failures),
    Section("leaderboard", "Leaderboard", _LEADERBOARD, "leaderboard"),
    Section("changed-faces", "Changed faces", _CHANGED_FACES, "changed_faces"),
    Section("slices", "Slices", _SLICES, "worst_slices"),
    Section("subjects", "Subjects", _SUBJECTS, "subjects"),
    Section("restoration", "Restoration", _RESTORATION, "restorations"),
    Section("prompts", "Prompts and questions", _PROMPTS, "prompts_and_questions"),
    Section("corruptions", "Corruption robustness", _CORRUPTIONS, "corruption_robustness"),
    Section("metamorphic", "Metamorphic robustness", _METAMORPHIC, "metamorphic_robustness"),
    Section("parity", "Exports", _PARITY, "exports"),
    Section("costs", "Costs", _COSTS, "costs"),
    Section("history", "History", _HISTORY, "trend"),
    Section("published", "Published claims", _PUBLISHED, "published"),
    Section("data", "Faces", _DATA, "data"),
    Section("setup", "Environment", "With what was it run?", "environment"),
)
