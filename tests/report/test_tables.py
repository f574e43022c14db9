"""Results as tables: the terminal's, a failure's, the page's."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from fer_models.emotions import LABELS
from fer_models.report import data_quality, html_tables, tables
from fer_models.report.markup import Html, element
from fer_models.report.tables import FailureRow, failure_table


def result(model: str = "vgg19", accuracy: float = 0.668, **changed: Any) -> dict[str, Any]:
    scores = {"value": accuracy, "low": accuracy - 0.016, "high": accuracy + 0.015}
    subject = {
        "dataset": "fer2013",
        "split": "private_test",
        "corruption": None,
        "restoration": "raw",
        "model": model,
        "prompt": None,
    }
    return {
        "subject": {**subject, **{key: changed.pop(key) for key in subject if key in changed}},
        "id": f"{model}-raw on fer2013/private_test",
        "n": 3589,
        "unanswered": 0,
        "metrics": {"accuracy": scores, "macro_f1": scores},
        "verdict": "PASS",
        "inference_seconds": 3.14,
        "from_store": False,
        **changed,
    }


def printed(table: Table, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_failure_reads_exactly_as_the_design_shows_it() -> None:
    rows = [
        FailureRow("accuracy", 0.641, 0.625, 0.657, 0.668, -0.027, 0.0004, failed=True),
        FailureRow("macro_f1", 0.618, 0.600, 0.634, 0.631, -0.013, 0.03, failed=False),
    ]
    facts = [
        "201 faces were right and are wrong now, 104 the other way; worst class: fear 0.48 -> 0.39",
        "n = 3589 can establish a fall of 1.6 points",
    ]
    hint = (
        "If the change is intended: pytest evals --update-baselines, then review the diff of baselines.json."
    )
    text = failure_table(
        "efficientnet_b0-raw on fer2013/private_test", "accuracy fell below its baseline.", rows, facts, hint
    )
    assert text == (
        "efficientnet_b0-raw on fer2013/private_test: accuracy fell below its baseline.\n"
        "  metric      now     95 % interval    baseline   change   p (paired)\n"
        "> accuracy    0.641   [0.625, 0.657]   0.668      -0.027   0.0004\n"
        "  macro_f1    0.618   [0.600, 0.634]   0.631      -0.013   0.03\n"
        "  201 faces were right and are wrong now, 104 the other way; worst class: fear 0.48 -> 0.39\n"
        "  n = 3589 can establish a fall of 1.6 points\n"
        "  If the change is intended: pytest evals --update-baselines, then review the diff of baselines.json."
    )


def test_a_failure_without_a_baseline_shows_dashes_in_its_place() -> None:
    text = failure_table(
        "m on d/s",
        "accuracy is under its floor.",
        [FailureRow("accuracy", 0.5, None, None, None, None, None, True)],
        [],
        "Look.",
    )
    assert text.splitlines()[2].split() == [">", "accuracy", "0.500", "-", "-", "-", "-"]


@given(st.text("abcdefg_", min_size=1, max_size=40), st.floats(-1, 1), st.booleans())
def test_the_columns_of_a_failure_stand_under_their_headings(
    metric: str, change: float, failed: bool
) -> None:
    row = FailureRow(metric, 0.5, 0.4, 0.6, 0.5 - change, change, 0.2, failed)
    _, head, line, _ = failure_table("m on d/s", "it fell.", [row], [], "hint").splitlines()
    assert line.startswith("> " if failed else "  ")
    assert line[head.index("now") :].startswith("0.500   [0.400, 0.600]")
    assert line[head.index("change")] in "+-"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.00004, "< 0.0001"),
        (0.0004, "0.0004"),
        (0.0099, "0.0099"),
        (0.03, "0.03"),
        (1.0, "1.00"),
        (None, "-"),
    ],
)
def test_a_p_value_has_as_many_digits_as_decide_something(value: float | None, words: str) -> None:
    assert tables.p_value(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0031, "3.1 ms"), (0.9999, "1 s"), (4.2, "4.2 s"), (200, "3 min 20 s"), (None, "-")],
)
def test_seconds_are_written_in_the_unit_that_fits(value: float | None, words: str) -> None:
    assert tables.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(512, "512"), (999.9, "1.00 k"), (139_570_240, "140 M"), (1.63e9, "1.63 G"), (None, "-")],
)
def test_amounts_keep_three_digits_and_a_prefix(value: float | None, words: str) -> None:
    assert tables.amount(value) == words


def test_the_terminal_ranks_by_accuracy_and_shows_change_verdict_and_time() -> None:
    fallen = result(
        "resnet50", 0.7, verdict="FAIL", baseline={"metrics": {"accuracy": 0.727}}, from_store=True
    )
    text = printed(tables.leaderboard({"results": [result("vgg19", 0.6), fallen]}))
    assert text.index("resnet50-raw") < text.index("vgg19-raw")
    line = next(line for line in text.splitlines() if "resnet50-raw" in line)
    assert line.split() == [
        "resnet50-raw",
        "3589",
        "0.700",
        "[.684,",
        ".715]",
        "0.700",
        "[.684,",
        ".715]",
        "-0.027",
        "FAIL",
        "stored",
    ]


def test_the_terminal_names_the_faces_once_and_groups_by_them() -> None:
    alone = printed(tables.leaderboard({"results": [result("a"), result("b")]}))
    assert alone.count("fer2013/private_test") == 1
    both = printed(
        tables.leaderboard(
            {"results": [result("a", 0.4), result("b", 0.9, corruption="blur:3"), result("c", 0.5)]}
        )
    )
    order = [
        both.index(word)
        for word in ("fer2013/private_test\n", "c-raw", "a-raw", "fer2013/private_test, blur:3", "b-raw")
        if word in both
    ]
    assert order == sorted(order)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=4),
    st.sampled_from(["INCONCLUSIVE", "[bold]", None]),
)
def test_the_terminal_table_fits_100_columns_whatever_the_names(
    names: list[str], verdict: str | None
) -> None:
    results = [
        result(name, 1.0, verdict=verdict, baseline={"metrics": {"accuracy": 0.5}}, inference_seconds=7000)
        for name in names
    ]
    lines = printed(tables.leaderboard({"results": results})).splitlines()
    assert any("1.000" in line and "+0.500" in line and "116 min 40 s" in line for line in lines)


def test_brackets_in_a_name_are_not_markup_in_the_terminal() -> None:
    assert "[red]x-raw" in printed(tables.leaderboard({"results": [result("[red]x")]}))


def test_an_escape_sequence_in_a_name_does_not_reach_the_terminal() -> None:
    report = {"results": [result("\x1b[31mred")], "skipped": [{"model": "m\x1b]0;x\x07", "reason": "r"}]}
    assert "\x1b" not in printed(tables.leaderboard(report)) + "".join(tables.skips(report))


def test_a_skip_is_one_line_with_its_reason_and_command() -> None:
    skipped = [
        {
            "model": "clip-vit-l-14",
            "reason": "weights are\nnot here.",
            "command": "fer-models weights get clip-vit-l-14",
        },
        {"model": "m"},
    ]
    assert tables.skips({"skipped": skipped}) == [
        "skipped clip-vit-l-14: weights are not here. Run: fer-models weights get clip-vit-l-14",
        "skipped m: no reason given",
    ]
    assert tables.skips({}) == []


def test_the_page_shows_a_column_of_unanswered_faces_only_if_there_are_any() -> None:
    assert "no answer" not in html_tables.leaderboard_html({"results": [result()]})
    assert "no answer" in html_tables.leaderboard_html({"results": [result(unanswered=12)]})


def test_the_change_is_the_gates_own_if_it_recorded_one() -> None:
    recorded = result(
        baseline={"metrics": {"accuracy": 0.7}}, changes={"accuracy": {"change": -0.5, "p": 0.0004}}
    )
    assert tables.change_of(recorded) == -0.5
    assert "0.0004" in html_tables.leaderboard_html({"results": [recorded]})
    assert tables.change_of(result()) is None


def test_an_emotion_without_a_score_has_a_dash_and_the_averages_come_last() -> None:
    scores = {
        "precision": None,
        "recall": 0.0,
        "f1": None,
        "support": 55,
        "intervals": {"precision": None, "recall": [0.0, 0.065]},
    }
    table = html_tables.per_class_html(result(per_class=dict.fromkeys(LABELS, scores)))
    assert table.count('<td class="num">- </td>') == 2 * len(LABELS) + 2, "and two averages were not measured"
    assert table.count("[0.000, 0.065]") == len(LABELS)
    assert table.index("neutral") < table.index("macro") < table.index("0.668")
    assert html_tables.per_class_html(result()) == ""


def test_what_training_took_stands_in_a_table_of_its_own() -> None:
    figures = {
        "epochs": 24,
        "seconds_per_epoch": 620.0,
        "seconds": 12_000.0,
        "images_per_second": 55.0,
        "peak_memory_mb": 3000.0,
        "joules": None,
    }
    trained = {
        "phase": "training",
        "model": "<vgg19>",
        "restoration": "raw",
        "device": "cpu, 2 threads",
        **figures,
    }
    page = html_tables.costs_html(
        {"costs": [trained, {"phase": "inference", "model": "vgg19", "restoration": "raw", "seconds": 0.1}]}
    )
    assert page.count("<table") == 2
    for cell in ("&lt;vgg19&gt;", "cpu, 2 threads", "10 min 20 s", "3 h 20 min", "3,000 MB"):
        assert cell in page
    assert html_tables.costs_html({"costs": [trained]}).count("<table") == 1
    assert "1.5 kWh" in html_tables.costs_html({"costs": [trained | {"joules": 5.4e6}]})


def test_costs_stand_in_the_order_of_a_models_life() -> None:
    costs = [
        {"phase": phase, "model": "vgg19", "restoration": "raw"}
        for phase in ("training step", "unheard of", "inference", "preprocessing")
    ]
    table = html_tables.costs_html({"costs": costs})
    order = [table.index(phase) for phase in ("preprocessing", "inference", "training step", "unheard of")]
    assert order == sorted(order)


def test_any_records_become_a_table_with_all_their_keys() -> None:
    records: list[dict[str, Any]] = [
        {"prompt": "a {} face", "accuracy": {"value": 0.42, "low": 0.4, "high": 0.44}},
        {"prompt": "other", "macro_f1": 0.3},
    ]
    table = html_tables.records_html(records)
    assert "macro f1" in table
    assert "[0.400, 0.440]" in table
    assert html_tables.records_html([]) == ""


def test_the_faces_are_described_with_shares_fingerprint_and_notes() -> None:
    data = {
        "fer2013/test": {
            "n": 4,
            "fingerprint": "9c11",
            "counts": {"happy": 3, "sad": 1},
            "notes": ["two twice"],
        }
    }
    block = data_quality.data_html({"data": data})
    assert all(
        word in block for word in ("fer2013/test", "4 faces", "75.0%", "<code>9c11</code>", "two twice")
    )
    assert data_quality.data_html({}) == ""


def test_nested_values_of_the_environment_are_written_as_lists() -> None:
    block = html_tables.environment_html(
        {"environment": {"packages": {"torch": "2.9.1"}, "options": ["--limit", 70], "gpu": None}}
    )
    assert "--limit, 70" in block
    assert '<li><span class="key">torch</span> 2.9.1</li>' in block


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {
            "results": None,
            "costs": None,
            "data": None,
            "environment": None,
            "skipped": None,
            "published": None,
        },
        {"results": [{}]},
        {
            "results": [
                {
                    "subject": None,
                    "metrics": None,
                    "baseline": None,
                    "changes": None,
                    "per_class": None,
                    "verdict": None,
                }
            ],
            "costs": [{}],
        },
        {
            "results": [{"metrics": {"accuracy": {"value": None}}}],
            "data": {"a/b": {}, "more": 3},
            "skipped": [{}],
            "published": [{}],
        },
    ],
)
def test_missing_keys_leave_cells_empty(broken: dict[str, Any]) -> None:
    printed(tables.leaderboard(broken))
    tables.skips(broken)
    of_tables = (
        html_tables.leaderboard_html,
        html_tables.costs_html,
        html_tables.published_html,
        html_tables.environment_html,
    )
    for render in (*of_tables, data_quality.data_html, data_quality.labels_html):
        assert isinstance(render(broken), Html)


def test_an_element_escapes_its_children_and_attributes_but_no_markup_twice() -> None:
    assert (
        element("p", "<b>", element("i", "&"), title='"<')
        == '<p title="&quot;&lt;">&lt;b&gt;<i>&amp;</i></p>'
    )
    assert element("p", title=Html('"')) == '<p title="&quot;"></p>'
    assert element("details", open=True, class_=None) == "<details open></details>"


def test_a_part_of_a_split_is_ranked_for_itself_against_the_baseline_on_its_own_faces():
    def result(n, accuracy, change):
        return {
            "subject": {"dataset": "fer2013", "split": "test", "model": "m", "restoration": "raw"},
            "n": n,
            "of": 1050,
            "metrics": {"accuracy": {"value": accuracy}},
            "baseline": {"metrics": {"accuracy": 0.7}},
            "changes": {"accuracy": {"change": change}},
        }

    part, whole = result(70, 0.9, -0.05), result(1050, 0.65, -0.05)
    assert list(tables.ranked({"results": [part, whole]})) == [
        "fer2013/test",
        "fer2013/test, 70 of 1,050 faces",
    ]
    assert tables.baseline_of(whole, "accuracy") == 0.7
    assert tables.baseline_of(part, "accuracy") == pytest.approx(0.95)


def test_what_a_depth_left_out_is_listed_with_the_command_for_all():
    report = {"depth": {"name": "standard", "left_out": ["corruption severities 1"]}}
    assert tables.left_out(report) == [
        "Depth standard left out:",
        "  - corruption severities 1",
        "Everything: pytest evals --depth full",
    ]
    assert tables.left_out({"depth": {"name": "full", "left_out": []}}) == tables.left_out({}) == []
