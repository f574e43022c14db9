"""The table at the end of a run, in a terminal."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
from eval_reports import baseline, face_set, report, result
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fer_models.report import tables
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import one_line, shorten
from fer_models.report.leaderboard import leaderboard

#: The columns of a terminal that is not made wider.
STANDARD = 80
#: A name is as wide as its characters: no test depends on how a terminal joins them.
NAMES = st.text(st.characters(exclude_categories=["C", "Z", "M"]), min_size=1, max_size=120)


def printed(content: EvalReport, width: int = STANDARD) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for line in leaderboard(content, width):
        console.print(line)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.split("\n")]


def regressed(model: str, **changed: Any) -> dict[str, Any]:
    return result(model, 0.7, verdict="FAIL", baseline=baseline(0.727), **changed)


def test_the_best_accuracy_is_first_and_change_verdict_and_time_are_shown() -> None:
    lines = printed(report(results=[result("vgg19", 0.6), regressed("resnet50", from_store=True)]))
    first = next(line for line in lines if "resnet50-raw" in line)
    assert lines.index(first) < next(i for i, line in enumerate(lines) if "vgg19-raw" in line)
    scores = ["0.700", "[.684,", ".715]"]
    assert first.split() == ["resnet50-raw", *scores, *scores, "-0.027", "FAIL", "stored"]


@pytest.mark.parametrize(
    ("letters", "intervals", "headings"),
    [
        (12, 2, ["model", "accuracy", "macro", "F1", "change", "verdict", "time"]),
        (25, 1, ["model", "accuracy", "macro", "F1", "change", "verdict", "time"]),
        (33, 1, ["model", "accuracy", "macro", "F1", "change", "verdict"]),
    ],
)
def test_beside_longer_names_first_the_interval_of_macro_f1_and_then_the_time_is_left_out(
    letters: int, intervals: int, headings: list[str]
) -> None:
    name = "m" * (letters - len("-raw"))
    lines = printed(report(results=[result(name, 0.7)]))
    (line,) = (line for line in lines if line.startswith(f"{name}-raw"))
    assert line.count("0.700 [.684, .715]") == intervals
    assert lines[0].split() == headings
    (wide,) = (line for line in printed(report(results=[result(name, 0.7)]), 120) if name in line)
    assert wide.count("0.700 [.684, .715]") == 2


def test_the_faces_are_named_once_with_their_number_and_results_are_grouped_by_them() -> None:
    alone = "\n".join(printed(report(results=[result("a"), result("b")])))
    assert alone.count("fer2013/private_test, 3,589 faces") == 1
    results = [result("a", 0.4), result("b", 0.9, corruption="blur:3"), result("c", 0.5)]
    both = "\n".join(printed(report(results=results)))
    titles = ("fer2013/private_test, 3,589 faces", "c-raw", "a-raw", "fer2013/private_test, blur:3", "b-raw")
    order = [both.index(word) for word in titles]
    assert order == sorted(order)


def test_a_reference_on_other_faces_has_its_own_number() -> None:
    scores = [
        {"name": name, "n": n, "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}
        for name, n in (("majority vote", 3000), ("constant", 3589))
    ]
    data = {"fer2013/private_test": face_set(references=scores)}
    lines = printed(report(results=[result()], data=data))
    assert any(line.startswith("majority vote (n = 3,000)") for line in lines)
    assert any(line.startswith("constant  ") for line in lines)


def test_a_reference_is_shown_for_a_part_of_the_split_only_next_to_results_on_the_same_part() -> None:
    score = {"value": 0.25, "low": 0.2, "high": 0.3}
    data = {
        "fer2013/private_test": face_set(
            n=350, references=[{"name": "constant", "n": 350, "accuracy": score}]
        )
    }
    results = [result(n=350), result(n=49, restoration="bicubic", id="part")]
    lines = printed(report(results=results, data=data))
    (place,) = [i for i, line in enumerate(lines) if line.startswith("constant")]
    assert place < next(i for i, line in enumerate(lines) if "49 of 3,589" in line)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.sampled_from(["INCONCLUSIVE", "PASS", None]),
    st.sampled_from([0.003, 7000.0, None]),
    st.integers(80, 200),
)
def test_no_line_is_wider_than_the_terminal_and_every_name_that_fits_a_line_is_whole(
    names: list[str], verdict: str | None, time: float | None, width: int
) -> None:
    results = [
        result(name, 1.0, verdict=verdict, baseline=baseline(0.5), inference_seconds=time) for name in names
    ]
    lines = printed(report(results=results), width)
    assert max(map(cell_len, lines)) <= width
    for entry in report(results=results).results:
        name = one_line(entry.name)
        shown = name if cell_len(name) <= width else shorten(name, width)
        assert any(line == shown or line.startswith(f"{shown}  ") for line in lines)
    assert sum("1.000 [.984, 1.015]" in line and "+0.500" in line for line in lines) == len(names)


@pytest.mark.parametrize("restoration", ["raw", "gfpgan-nano"])
def test_a_name_that_does_not_fit_beside_its_scores_has_a_line_of_its_own(restoration: str) -> None:
    name = "m" * 60
    lines = printed(report(results=[result(name, restoration=restoration), result("short", 0.1)]))
    at = lines.index(f"{name}-{restoration}")
    assert lines[at + 1].split()[:2] == ["0.668", "[.652,"]
    short = next(line for line in lines if line.startswith("short-raw"))
    assert lines[at + 1].index("0.668") == short.index("0.100"), "the scores are in the same columns"


def test_a_name_longer_than_a_line_is_shortened_in_its_middle() -> None:
    name = f"first{'m' * 100}last"
    lines = printed(report(results=[result(name, restoration="gfpgan-nano")]))
    (line,) = (line for line in lines if "…" in line)
    assert line.startswith("firstmmm")
    assert line.endswith("mmmlast-gfpgan-nano")
    assert cell_len(line) == STANDARD


@given(st.text(max_size=100), st.integers(1, 60))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cell_len(short) <= width
    if short != text:
        head, _, tail = short.rpartition("…") if "…" not in text else ("", "", "")
        assert text.startswith(head)
        assert text.endswith(tail)


@given(st.integers(1, 70), st.integers(0, 200))
def test_a_text_of_narrow_characters_is_shortened_to_the_whole_width(width: int, length: int) -> None:
    text = "".join(itertools.islice(itertools.cycle("abcdefg"), length))
    assert len(shorten(text, width)) == min(length, width)


def test_brackets_in_a_name_are_not_markup_in_the_terminal() -> None:
    assert any("[red]x-raw" in line for line in printed(report(results=[result("[red]x")])))


def test_an_escape_sequence_in_a_name_does_not_reach_the_terminal() -> None:
    skipped = [{"model": "m\x1b]0;x\x07", "reason": "r"}]
    hostile = report(results=[result("\x1b[31mred\u2028x")], skipped=skipped)
    text = "".join(printed(hostile)) + "".join(tables.skips(hostile))
    assert "\x1b" not in text
    assert "\u2028" not in text


def test_values_that_were_not_measured_are_dashes() -> None:
    nulls = ("leakage", "responses", "votes", "verdict", "baseline", "changes", "log_loss")
    unmeasured = result(metrics={}, inference_seconds=None, **dict.fromkeys(nulls))
    (line,) = (line for line in printed(report(results=[unmeasured])) if "vgg19-raw" in line)
    assert line.split()[1:] == ["-"] * 5
