"""The leaderboard as matrices: models down, restorations across, one matrix for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_models.report.eval_report import EvalReport
from fer_models.report.measured_value import MeasuredValue
from fer_models.report.report_entries import Reference, Result, face_set_name

#: The metrics that a cell can show, by name, with their titles.
METRICS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "macro_recall": "macro recall (balanced accuracy)",
    "accuracy_without_leaks": "accuracy without leaked faces",
    "ece": "calibration error (ECE)",
    "nll": "log loss (nats)",
}


@dataclass(frozen=True)
class MatrixRow:
    """One model with its prompt set: the results by restoration."""

    name: str
    cells: Mapping[str, Result]

    @property
    def verdicts(self) -> list[str]:
        """The verdicts of the row, each once, DEGRADED among them."""
        results = self.cells.values()
        names = [result.verdict for result in results if result.verdict is not None]
        return list(dict.fromkeys([*names, *("DEGRADED" for result in results if result.is_degraded)]))


@dataclass(frozen=True)
class Matrix:
    """The results on one split.

    Attributes:
        title: `dataset/split`, with the corruption if there is one.
        n: faces of the split.
        restorations: the columns, `raw` first.
        rows: the best accuracy without restoration first.
        references: scores without a model.
    """

    title: str
    n: int
    restorations: Sequence[str]
    rows: Sequence[MatrixRow]
    references: Sequence[Reference]

    @property
    def metrics(self) -> dict[str, str]:
        """The metrics that at least one cell has."""
        results = [result for row in self.rows for result in row.cells.values()]
        return {key: title for key, title in METRICS.items() if any(key in r.metrics for r in results)}


def matrices(report: EvalReport) -> list[Matrix]:
    """Arrange the results of a report; uncorrupted faces come first.

    A cell can be about a part of the split only: its result says so.
    """
    groups: dict[str, list[Result]] = {}
    for result in sorted(report.results, key=lambda result: result.subject.corruption is not None):
        groups.setdefault(face_set_name(result.subject), []).append(result)
    return [_matrix(title, results, report) for title, results in groups.items()]


def _model_name(result: Result) -> str:
    """The model, with its prompt set if it has one."""
    prompt = f" · {result.subject.prompt}" if result.subject.prompt else ""
    return f"{result.subject.model}{prompt}"


def _matrix(title: str, results: Sequence[Result], report: EvalReport) -> Matrix:
    cells: dict[str, dict[str, Result]] = {}
    for result in results:
        cells.setdefault(_model_name(result), {})[result.subject.restoration] = result
    names = sorted({result.subject.restoration for result in results}, key=lambda name: (name != "raw", name))
    rows = [
        MatrixRow(name, {restoration: of[restoration] for restoration in names if restoration in of})
        for name, of in cells.items()
    ]
    return Matrix(title, results[0].of, names, sorted(rows, key=_rank), report.references(results))


def _rank(row: MatrixRow) -> tuple[bool, float, str]:
    """Rows with a result without restoration first, by their accuracy; then by the best of the others."""
    shown = [row.cells["raw"]] if "raw" in row.cells else list(row.cells.values())
    accuracies = [result.metrics.get("accuracy", MeasuredValue(-1, -1, -1)).value for result in shown]
    return "raw" not in row.cells, -max(accuracies), row.name
