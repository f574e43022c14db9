"""A report as workflow commands of GitHub Actions, which become annotations of the run.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from collections.abc import Iterator

from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import clean, one_line
from fer_models.report.outcomes import Outcome, Status, outcomes

#: GitHub shows so many annotations of each level for one step.
SHOWN = 10
_LEVELS = {"error": (Status.FAILED, Status.ERROR), "warning": (Status.UNCERTAIN,)}


def workflow_commands(report: EvalReport) -> Iterator[str]:
    """Write a line for each failure and error, and for each verdict that may hide a regression.

    Where there are more than GitHub shows, the last line of a level names the rest.
    """
    every = list(outcomes(report))
    for level, statuses in _LEVELS.items():
        listed = [outcome for outcome in every if outcome.status in statuses]
        single = listed if len(listed) <= SHOWN else listed[: SHOWN - 1]
        yield from (_command(level, _title(one), one.message or _title(one)) for one in single)
        if rest := listed[len(single) :]:
            yield _command(level, f"{len(rest)} more", "\n".join(map(_title, rest)))


def _title(outcome: Outcome) -> str:
    return f"{outcome.label}: {outcome.name}"


def _command(level: str, title: str, message: str) -> str:
    title = _escaped(one_line(title)).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_escaped(clean(message))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
