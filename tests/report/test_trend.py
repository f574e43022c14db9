"""Runs of a subject over time: in evals.json, in the terminal and in the chart."""

from __future__ import annotations

from typing import Any

import pytest
from eval_reports import report, trend, trend_run
from history_runs import entry
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.cells import cell_len

from fer_models.errors import UsageError
from fer_models.report import history_tables, trend_entries, trend_figure
from fer_models.report.templates import render
from fer_models.report.trend_entries import Trend

SHARES = st.none() | st.floats(0.1, 0.9)
NAMES = st.text(min_size=1)


def trend_of(*runs: dict[str, Any], **names: Any) -> Trend:
    return report(trends=[trend(*runs, **names)]).trends[0]


# The entries.


def test_a_trend_has_the_last_runs_and_what_changed_before_each() -> None:
    entries = [
        entry(0.66, key="1", inputs={"weights": "a"}),
        entry(0.64, key="2", inputs={"weights": "b"}),
        entry(0.65, key="2", inputs={"weights": "b"}, cached_only=True),
    ]
    made = trend_entries.trend(entries, longest=2)
    assert [run.changed for run in made.runs] == [("weights",), ()]
    assert [run.predictions for run in made.runs] == ["new", "cached-only"]
    assert made.steps == [None, pytest.approx(0.01)]


def test_runs_on_different_numbers_of_faces_are_trends_of_their_own() -> None:
    entries = [entry(n=100, of=100), entry(n=70, of=100), entry(n=100, of=100), entry(model="other")]
    made = trend_entries.trends(entries)
    assert [(each.name, each.limit, len(each.runs)) for each in made] == [
        ("vgg19-raw", None, 2),
        ("vgg19-raw", 70, 1),
        ("other-raw", None, 1),
    ]
    assert made[1].face_set == "fer2013/private_test, 70 faces"


@given(st.lists(SHARES, min_size=1))
def test_the_steps_of_a_trend_add_up_to_its_change(values: list[float | None]) -> None:
    made = trend_entries.trend([entry(value) for value in values], longest=100)
    assert len(made.steps) == len(values)
    if None not in values:
        assert sum(filter(None, made.steps)) == pytest.approx(values[-1] - values[0])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": "yesterday"}, "not ISO 8601"),
        ({"verdict": "GOOD"}, "verdict is 'GOOD'"),
        ({"n": "7"}, r"runs\[0\].n"),
    ],
)
def test_an_invalid_run_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        trend_of({**trend_run(), **change})


def test_a_trend_without_runs_is_refused() -> None:
    with pytest.raises(UsageError, match="has no run"):
        trend_of()


# The terminal.


def lines(made: Trend, last: int = 20) -> list[str]:
    return [line.plain for line in history_tables.runs(made, last)]


def test_the_runs_of_a_subject_have_what_changed_under_them() -> None:
    text = lines(
        trend_of(
            trend_run(0.66),
            trend_run(0.64, 2, verdict="FAIL", changed=["weights", "torch 2.9.0 -> 2.9.1"]),
            trend_run(0.64, 3, cached_only=True, from_store=True),
        )
    )
    assert text[0] == "vgg19-raw on fer2013/private_test"
    assert text[3].split() == ["2026-01-01", "12:30", "0.660", "[.644,", ".675]", "-", "PASS", "new"]
    assert text[4].split() == ["2026-01-02", "12:30", "0.640", "[.624,", ".655]", "-0.020", "FAIL", "new"]
    assert text[5] == "  changed: weights, torch 2.9.0 -> 2.9.1"
    assert text[6].endswith("+0.000  PASS     cached-only")


def test_earlier_runs_are_counted_and_the_first_shown_one_keeps_its_difference() -> None:
    text = lines(trend_of(trend_run(0.66), trend_run(0.64, 2)), last=1)
    assert "-0.020" in text[3]
    assert text[-1] == "1 earlier run: --last 2"


@given(st.lists(st.tuples(SHARES, st.lists(NAMES)), min_size=1, max_size=4), NAMES, NAMES)
def test_no_table_is_wider_than_80_columns(
    runs: list[tuple[float | None, list[str]]], model: str, dataset: str
) -> None:
    made = trend_of(
        *(trend_run(value, verdict="INCONCLUSIVE", cached_only=True, changed=names) for value, names in runs),
        model=model,
        dataset=dataset,
    )
    for line in (*history_tables.runs(made, 20), *history_tables.overview([made])):
        assert cell_len(line.plain) <= 80
        assert "\n" not in line.plain


def test_the_overview_has_one_line_for_each_subject() -> None:
    made = [trend_of(trend_run(0.6), trend_run(0.7, 9)), trend_of(trend_run(0.5), limit=70)]
    text = [line.plain for line in history_tables.overview(made)]
    assert text[2] == "fer2013/private_test"
    assert text[3].split() == ["vgg19-raw", "2", "2026-01-01", "2026-01-09", "0.700", "[.684,", ".715]", "▁█"]
    assert text[4] == "fer2013/private_test, 70 faces"


def test_a_sparkline_is_flat_where_intervals_explain_the_differences() -> None:
    values = (0.660, 0.662, 0.661)
    flat = history_tables.sparkline(trend_of(*(trend_run(value) for value in values)))
    assert max(flat) <= "▅"
    assert min(flat) >= "▄"
    steep = history_tables.sparkline(trend_of(*(trend_run(value) for value in (0.5, 0.9, 0.7))))
    assert steep[:2] == "▁█"
    assert history_tables.sparkline(trend_of(trend_run(None))) == "-"


# The page.


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The matplotlib figures of the charts, before they become a picture."""
    made: list[Figure] = []
    monkeypatch.setattr(trend_figure, "to_picture", lambda figure, description: made.append(figure))
    return made


def test_the_chart_marks_where_something_changed(figure: list[Figure]) -> None:
    runs = [trend_run(0.66), trend_run(0.64, 2, changed=["weights"]), trend_run(None, 3), trend_run(0.65, 4)]
    trend_figure.trend(report(trends=[trend(*runs)]))
    (ax,) = figure[0].axes
    marks = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]  # type: ignore[index]
    assert marks == [0.5]
    points = [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "o"]  # type: ignore[index]
    assert points == [0.66, 0.64, 0.65]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2026-01-01", "2026-01-04"]


def test_the_chart_has_failed_subjects_first_and_at_most_eight(figure: list[Figure]) -> None:
    names = [f"model {i}" for i in range(9)]
    trends = [trend(trend_run(), trend_run(day=2), model=name) for name in names]
    trends.append(trend(trend_run(), trend_run(day=2, verdict="FAIL"), model="failed"))
    trend_figure.trend(report(trends=trends))
    titles = [ax.get_title("left").split("\n")[0] for ax in figure[0].axes]
    assert titles == ["failed-raw", *(f"{name}-raw" for name in names[:7])]


def test_a_subject_with_one_run_is_not_drawn_and_has_no_table() -> None:
    once = report(trends=[trend(trend_run())])
    assert trend_figure.trend(once) is None
    assert render("trend", report=once, trend_chart=trend_figure.trend) == ""
    assert render("trend", report=report(), trend_chart=trend_figure.trend) == ""


def test_the_page_has_a_picture_and_a_folded_table_with_escaped_names() -> None:
    hostile = "<script>$x_y^{"
    runs = [trend_run(), trend_run(0.6, 2, changed=["weights", "torch 2.9.0 -> 2.9.1"])]
    html = render(
        "trend", report=report(trends=[trend(*runs, model=hostile)]), trend_chart=trend_figure.trend
    )
    assert html.count("<details>") == html.count("</details>") == 1
    assert "<script" not in html
    assert "&lt;script&gt;$x_y^{-raw" in html
    assert "weights, torch 2.9.0 -&gt; 2.9.1" in html
    assert html.count("<svg ") == 1
    assert html.count("<tr>") == 3
