"""Results as tables: in the terminal, in a failure's text and on the page.

Everything here reads the dictionary of `evals.json` and nothing else. Keys that are missing, or null, leave
their cell empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rich import box
from rich.table import Table
from rich.text import Text

from fer_models.report.markup import clean

#: `evals.json`, or an object in it.
Record: TypeAlias = Mapping[str, Any]

NOTHING = "-"
VERDICT_STYLES = {
    "PASS": "green",
    "FAIL": "bold red",
    "ERROR": "bold red",
    "INCONCLUSIVE": "yellow",
    "NEW": "cyan",
}
PHASES = (
    "preprocessing",
    "restoration",
    "inference",
    "single face",
    "another prompt",
    "evaluation",
    "training step",
)
TRAINING = "training"


# What a result is called, and which results may stand beside each other.


def name_of(result: Record) -> str:
    """`model-restoration`, as test ids write it, with the prompt if there is one."""
    subject: Record = result.get("subject") or {}
    name = "-".join(str(subject[key]) for key in ("model", "restoration") if subject.get(key))
    return f"{name or result.get('id') or 'unnamed'}{' · ' + str(subject['prompt']) if subject.get('prompt') else ''}"


def faces_of(result: Record) -> str:
    """`dataset/split`, with the corruption if there is one, and how many of its faces if not all: results
    with the same faces can be ranked.
    """
    subject: Record = result.get("subject") or {}
    faces = "/".join(str(subject[key]) for key in ("dataset", "split") if subject.get(key)) or "unknown faces"
    some = f", {result['n']:,} of {result['of']:,} faces" if _is_part(result) else ""
    return f"{faces}{', ' + str(subject['corruption']) if subject.get('corruption') else ''}{some}"


def value_of(result: Record, metric: str) -> float | None:
    """The value of one metric, or None if it was not measured."""
    value: float | None = ((result.get("metrics") or {}).get(metric) or {}).get("value")
    return value


def ranked(report: Record) -> dict[str, list[Record]]:
    """The results by the faces they stand on, in order of appearance; the best accuracy first, the unmeasured
    last.
    """
    groups: dict[str, list[Record]] = {}
    for result in report.get("results") or []:
        groups.setdefault(faces_of(result), []).append(result)
    first = sorted(groups, key=lambda faces: _is_part(groups[faces][0]))  # whole splits, then parts of them
    return {faces: sorted(groups[faces], key=_by_accuracy) for faces in first}


def _is_part(result: Record) -> bool:
    """Whether a result is about some of the faces of a split."""
    n, total = result.get("n"), result.get("of")
    return isinstance(n, int) and isinstance(total, int) and n < total


def _by_accuracy(result: Record) -> float:
    accuracy = value_of(result, "accuracy")
    return float("inf") if accuracy is None else -accuracy


def change_of(result: Record, metric: str = "accuracy") -> float | None:
    """How far a metric moved from its baseline: as the gate recorded it, else the plain difference."""
    recorded: float | None = ((result.get("changes") or {}).get(metric) or {}).get("change")
    now, before = value_of(result, metric), _baseline(result, metric)
    if recorded is not None or now is None or before is None:
        return recorded
    return now - before


def baseline_of(result: Record, metric: str) -> float | None:
    """The baseline of a metric on the faces of the result: its record is about the whole split, its change
    about these faces.
    """
    now, change = value_of(result, metric), ((result.get("changes") or {}).get(metric) or {}).get("change")
    return (
        now - float(change)
        if _is_part(result) and now is not None and change is not None
        else _baseline(result, metric)
    )


def _baseline(result: Record, metric: str) -> float | None:
    value: float | None = ((result.get("baseline") or {}).get("metrics") or {}).get(metric)
    return value


# Numbers in words.


def number(value: float | None, digits: int = 3) -> str:
    """`0.668`, or a dash."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    """`-0.027`, `+0.004`: a change always shows its sign."""
    return NOTHING if value is None else f"{value:+.3f}"


def p_value(value: float | None) -> str:
    """`0.0004`, `0.03`, `< 0.0001`: as many digits as decide something."""
    if value is None:
        return NOTHING
    if value < 0.0001:
        return "< 0.0001"
    return f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def seconds(value: float | None) -> str:
    """`3.1 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if value is None:
        return NOTHING
    if value >= 7200:
        return f"{value // 3600:.0f} h {value % 3600 // 60:.0f} min"
    if value >= 120:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{value * 1000:.3g} ms" if value < 0.9995 else f"{value:.3g} s"


def amount(value: float | None) -> str:
    """`20.0 M`, `1.63 G`, `512`: three digits and a prefix."""
    if value is None:
        return NOTHING
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:#.3g} {prefix}".replace(". ", " ")
    return f"{value:.3g}"


def verdict_of(result: Record) -> str:
    """`PASS`, `FAIL`, …, with DEGRADED beside it where the probabilities moved though accuracy does not show
    it.
    """
    verdict = str(result.get("verdict") or NOTHING)
    return (
        f"{verdict}, DEGRADED"
        if verdict not in ("FAIL", "ERROR") and (result.get("log_loss") or {}).get("found")
        else verdict
    )


def references(report: Record, faces: str) -> Sequence[Record]:
    """What answers without a model score on some faces: rows for comparison, which nothing judges."""
    rows: Sequence[Record] = face_sets(report).get(faces, {}).get("references") or []
    return rows


def duration(result: Record) -> str:
    return "stored" if result.get("from_store") else seconds(result.get("inference_seconds"))


# The terminal.


def leaderboard(report: Record) -> Table:
    """The summary at the end of a run, best accuracy first within each set of faces; readable at 100
    columns.
    """
    groups = ranked(report)
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left", title_style="bold"
    )
    table.add_column("model", overflow="fold")
    for heading in ("n", "accuracy", "macro F1", "change"):
        table.add_column(heading, justify="right" if heading in ("n", "change") else "left", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    if len(groups) == 1:
        table.title = Text(clean(next(iter(groups))))
    for faces, results in groups.items():
        if len(groups) > 1:
            table.add_section()
            table.add_row(Text(clean(faces), style="bold"))
        for result in results:
            table.add_row(*_leaderboard_row(result))
        for row in references(report, faces):
            table.add_row(
                *(
                    Text(clean(cell), style="dim")
                    for cell in (row["name"], row["n"], _compact({"metrics": row}, "accuracy"))
                )
            )
    return table


def _leaderboard_row(result: Record) -> list[Text]:
    verdict = verdict_of(result)
    change = change_of(result)
    cells = (
        name_of(result),
        result.get("n", NOTHING),
        _compact(result, "accuracy"),
        _compact(result, "macro_f1"),
        signed(change),
    )
    # Text and not str: a name with brackets in it is a name, not rich's markup.
    return [
        *(Text(clean(cell)) for cell in cells),
        Text(
            clean(verdict),
            style=VERDICT_STYLES.get("INCONCLUSIVE" if "DEGRADED" in verdict else verdict, "dim"),
        ),
        Text(duration(result), "dim"),
    ]


def _compact(result: Record, metric: str) -> str:
    """`0.668 [.652, .683]`: the bounds without their leading zero, or two intervals would not fit in 100
    columns.
    """
    value: Record = (result.get("metrics") or {}).get(metric) or {}
    low, high = value.get("low"), value.get("high")
    bounds = (
        ""
        if low is None or high is None
        else f" [{number(low).removeprefix('0')}, {number(high).removeprefix('0')}]"
    )
    return f"{number(value.get('value'))}{bounds}"


def prompts(report: Record) -> list[str]:
    """One line per model that is asked in words, for the terminal: how far its prompts or questions lie
    apart, and what the worst costs.
    """
    return [
        _questioned(entry) if "questions" in entry else _prompted(entry)
        for entry in report.get("prompts") or []
    ]


def _questioned(entry: Record) -> str:
    scores = {
        name: (said.get("accuracy") or {}).get("value")
        for name, said in (entry.get("questions") or {}).items()
    }
    worst = min(scores, key=lambda name: scores[name] or 0.0, default="")
    orders = (entry.get("orders") or {}).items()
    turned = "; ".join(
        f"right in all rotations of {name!r} {number((o.get('circular') or {}).get('value'))}"
        for name, o in orders
    )
    own = entry.get("question", "")
    words = (
        f"{name_of(entry)} on {entry.get('n')} of {faces_of(entry)}: {own!r} {number(scores.get(own))},",
        f"worst of {len(scores)} questions {number(scores.get(worst))} ({worst!r}); {turned}",
    )
    return clean(" ".join(words))


def _prompted(entry: Record) -> str:
    spread, found = entry.get("sensitivity") or {}, entry.get("search") or {}
    base, worst, breaking = (found.get(key) or {} for key in ("base", "worst", "breaking"))
    edit = (
        f"; {', '.join(breaking['edits'])} alone costs {100 * (base['accuracy'] - breaking['accuracy']):.0f} points"
        if breaking
        else ""
    )
    words = (
        f"{name_of(entry)} on {faces_of(entry)}: single templates {number(spread.get('worst'))} to {number(spread.get('best'))};",
        f"worst of {found.get('tried', 0)} prompts {number(worst.get('accuracy'))} ({worst.get('template')!r}),",
        f"unedited {number(base.get('accuracy'))}{edit}",
    )
    return clean(" ".join(words))


def restorations(report: Record) -> list[str]:
    """One line per effect of a restoration for the terminal."""
    return [_effect(entry) for entry in report.get("restorations") or []]


def _effect(entry: Record) -> str:
    accuracy: Record = entry.get("accuracy") or {}
    shown = (
        ""
        if entry.get("verdict") != "no difference shown"
        else f"; these faces would show {100 * (entry.get('smallest') or 0):.1f} points"
    )
    return clean(
        f"{entry.get('restoration')} against {entry.get('against')}, {entry.get('model')}: {entry.get('verdict')} "
        f"({number(accuracy.get('before'))} -> {number(accuracy.get('after'))}, {entry.get('helped')} helped, {entry.get('hurt')} hurt, "
        f"p {p_value(entry.get('p_adjusted'))}{shown})"
    )


def left_out(report: Record) -> list[str]:
    """What the depth of this run left out, and the command that evaluates it; nothing after a full run."""
    depth: Record = report.get("depth") or {}
    phrases = depth.get("left_out") or []
    if not phrases:
        return []
    return [
        f"Depth {depth.get('name')} left out:",
        *(f"  - {phrase}" for phrase in phrases),
        "Everything: pytest evals --depth full",
    ]


def skips(report: Record) -> list[str]:
    """One line for each model that was not asked, with the reason and the command that would change it."""
    return [_skip_line(record) for record in report.get("skipped") or []]


def _skip_line(record: Record) -> str:
    command = f" Run: {record['command']}" if record.get("command") else ""
    return " ".join(
        clean(
            f"skipped {record.get('model', 'a model')}: {record.get('reason', 'no reason given')}{command}"
        ).split()
    )


# A failure.


@dataclass(frozen=True)
class FailureRow:
    """One metric of a failure's table; None stands for what was not measured or has no baseline.

    Attributes:
        metric: its name.
        now: its value in this run, with the interval `low` to `high`.
        baseline: its recorded value, `change` away from which it is now.
        p: how likely a fall this large is by chance, paired face by face.
        failed: whether it is this metric that failed.
    """

    metric: str
    now: float
    low: float | None
    high: float | None
    baseline: float | None
    change: float | None
    p: float | None
    failed: bool


def failure_table(id: str, headline: str, rows: Sequence[FailureRow], facts: Iterable[str], hint: str) -> str:
    """The text of a failure, to be read without a traceback: what fell, from where, how surely, and what to
    do next.

    Args:
        id: the subject's readable id.
        headline: what happened, in one sentence.
        rows: the metrics compared; those that failed are marked with `>`.
        facts: further lines, each a sentence.
        hint: the command that comes next.
    """
    table = [
        ("metric", "now", "95 % interval", "baseline", "change", "p (paired)"),
        *map(_failure_cells, rows),
    ]
    return marked_table(id, headline, table, [row.failed for row in rows], [*facts, hint])


def marked_table(
    id: str, headline: str, table: Sequence[Sequence[str]], failed: Sequence[bool], lines_below: Iterable[str]
) -> str:
    """A headline, a table of text with its headings first, its failed rows marked with `>`, and lines below
    it.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths[0] += 1  # the names stand a little apart from the numbers
    marks = ["  ", *("> " if one else "  " for one in failed)]
    lines = [
        mark + "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        for mark, cells in zip(marks, table, strict=True)
    ]
    return "\n".join(
        line.rstrip() for line in (f"{id}: {headline}", *lines, *(f"  {line}" for line in lines_below))
    )


def _failure_cells(row: FailureRow) -> tuple[str, ...]:
    interval = NOTHING if row.low is None or row.high is None else f"[{number(row.low)}, {number(row.high)}]"
    return (row.metric, number(row.now), interval, number(row.baseline), signed(row.change), p_value(row.p))


# The page.


def face_sets(report: Record) -> dict[str, Record]:
    """The descriptions of the faces used, by their `dataset/split`."""
    return {name: data for name, data in (report.get("data") or {}).items() if isinstance(data, Mapping)}
