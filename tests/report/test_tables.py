"""Tables of results: in the terminal, in the text of a failure, and on the page."""

from __future__ import annotations

from typing import Any

import pytest
from eval_reports import baseline, changes, cost, face_set, report, restoration_entry, result
from hypothesis import given
from hypothesis import strategies as st

from fer_models.emotions import LABELS
from fer_models.errors import UsageError
from fer_models.report import formatting, tables
from fer_models.report.html_report import section_html
from fer_models.report.tables import FailureRow, failure_table
from fer_models.report.templates import render


def page(section: str, **sections: Any) -> str:
    """One section of the page."""
    return section_html(report(**sections), section)


def per_class(**changed: Any) -> str:
    (entry,) = report(results=[result(**changed)]).results
    return render("per_class", result=entry)


def test_a_failure_reads_exactly_as_the_design_shows_it() -> None:
    rows = [
        FailureRow("accuracy", 0.641, 0.625, 0.657, 0.668, -0.027, 0.0004, failed=True),
        FailureRow("macro_f1", 0.618, 0.600, 0.634, 0.631, -0.013, 0.03, failed=False),
    ]
    facts = [
        "201 faces were correct and are wrong now, 104 the other way; worst class: fear 0.48 -> 0.39",
        "n = 3589 can establish a fall of 1.6 points",
    ]
    hint = "If intended, repeat the run with --update-baselines, and review the diff."
    text = failure_table(
        "efficientnet_b0-raw on fer2013/private_test", "accuracy fell below its baseline.", rows, facts, hint
    )
    assert text == (
        "efficientnet_b0-raw on fer2013/private_test: accuracy fell below its baseline.\n"
        "  metric      now     95 % interval    baseline   change   p (paired)\n"
        "> accuracy    0.641   [0.625, 0.657]   0.668      -0.027   0.0004\n"
        "  macro_f1    0.618   [0.600, 0.634]   0.631      -0.013   0.03\n"
        "  201 faces were correct and are wrong now, 104 the other way; worst class: fear 0.48 -> 0.39\n"
        "  n = 3589 can establish a fall of 1.6 points\n"
        f"  {hint}"
    )


def test_a_failure_without_a_baseline_shows_dashes_in_its_place() -> None:
    text = failure_table(
        "m on d/s",
        "accuracy is under its floor.",
        [FailureRow("accuracy", 0.5, None, None, None, None, None, True)],
        [],
        "Run it again.",
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
        (0.00196, "0.00196"),
        (0.00996, "0.00996"),
        (0.03, "0.03"),
        (0.0478, "0.0478"),
        (0.314, "0.31"),
        (1.0, "1.00"),
        (None, "-"),
    ],
)
def test_a_p_value_has_as_many_digits_as_decide_something(value: float | None, words: str) -> None:
    assert formatting.p_value(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0031, "3.1 ms"), (0.9999, "1 s"), (4.2, "4.2 s"), (200, "3 min 20 s"), (None, "-")],
)
def test_seconds_are_written_in_the_unit_that_fits(value: float | None, words: str) -> None:
    assert formatting.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(512, "512"), (999.9, "1.00 k"), (139_570_240, "140 M"), (1.63e9, "1.63 G"), (None, "-")],
)
def test_amounts_keep_three_digits_and_a_prefix(value: float | None, words: str) -> None:
    assert formatting.amount(value) == words


def test_a_skip_is_one_line_with_its_reason_and_command() -> None:
    skipped = [
        {
            "model": "clip-vit-l-14",
            "reason": "weights are\nnot here.",
            "command": "fer-models weights get clip-vit-l-14",
        },
        {"model": "m", "reason": "r"},
    ]
    assert tables.skips(report(skipped=skipped)) == [
        "skipped clip-vit-l-14: weights are not here. Run: fer-models weights get clip-vit-l-14",
        "skipped m: r",
    ]
    assert tables.skips(report()) == []


def test_the_page_shows_a_column_of_unanswered_faces_only_if_there_are_any() -> None:
    assert "no prediction" not in page("subjects_table", results=[result()])
    assert "no prediction" in page("subjects_table", results=[result(unanswered=12)])


def test_the_change_is_the_gates_own_if_it_recorded_one() -> None:
    entry = result(baseline=baseline(0.7), changes=changes(-0.5, p=0.0004))
    (recorded,), (unrecorded,) = report(results=[entry]).results, report(results=[result()]).results
    assert recorded.change() == -0.5
    assert "0.0004" in page("subjects_table", results=[entry])
    assert unrecorded.change() is None


def test_an_emotion_without_a_score_has_a_dash_and_the_averages_come_last() -> None:
    scores = {
        "precision": None,
        "recall": 0.0,
        "f1": None,
        "support": 55,
        "intervals": {"precision": None, "recall": [0.0, 0.065], "f1": None},
    }
    table = per_class(per_class=dict.fromkeys(LABELS, scores))
    assert table.count('<td class="num">-</td>') == 5 * len(LABELS) + 2, (
        "two scores, three of the baseline; two averages"
    )
    assert table.count("[0.000, 0.065]") == len(LABELS)
    assert table.index("neutral") < table.index("macro") < table.index("0.668")
    assert per_class() == ""


def test_what_training_took_stands_in_a_table_of_its_own() -> None:
    figures = {
        "epochs": 24,
        "seconds_per_epoch": 620.0,
        "seconds": 12_000.0,
        "images_per_second": 55.0,
        "peak_memory_mb": 3000.0,
        "joules": None,
    }
    trained = {**cost("training", "<vgg19>"), "device": "cpu, 2 threads", **figures}
    text = page("costs", costs=[trained, cost(seconds=0.1)])
    assert text.count("<table") == 3  # sizes of models, times, trainings
    for cell in ("&lt;vgg19&gt;", "cpu, 2 threads", "10 min 20 s", "3 h 20 min", "3,000 MiB"):
        assert cell in text
    assert page("costs", costs=[trained]).count("<table") == 1
    assert "1.5 kWh" in page("costs", costs=[{**trained, "joules": 5.4e6}])


def test_costs_stand_in_the_order_of_a_models_life() -> None:
    phases = ("training step", "unheard of", "inference", "preprocessing")
    table = page("costs", costs=[cost(phase) for phase in phases])
    order = [table.index(phase) for phase in ("preprocessing", "inference", "training step", "unheard of")]
    assert order == sorted(order)


def test_any_records_become_a_table_with_all_their_keys() -> None:
    records: list[dict[str, Any]] = [
        {"prompt": "a {} face", "accuracy": 0.42},
        {"prompt": "other", "macro_f1": 0.3},
    ]
    table = page("published", published=records)
    assert "macro f1" in table
    assert "0.4200" in table
    assert page("published") == ""


def test_the_faces_are_described_with_shares_fingerprint_and_notes() -> None:
    faces = face_set(n=4, counts={"happy": 3, "sad": 1}, notes=["two twice"])
    block = page("faces", data={"fer2013/test": faces})
    assert all(
        word in block for word in ("fer2013/test", "4 faces", "75.0%", "<code>9c11</code>", "two twice")
    )
    assert page("faces") == ""


def test_nested_values_of_the_environment_are_written_as_lists() -> None:
    values = {"packages": {"torch": "2.9.1"}, "options": ["--limit", 70], "gpu": None}
    block = page("environment", environment=values)
    assert "--limit, 70" in block
    assert '<li><span class="key">torch</span> 2.9.1</li>' in block


NULLS = ("leakage", "responses", "votes", "verdict", "baseline", "changes", "log_loss", "inference_seconds")


def test_values_that_were_not_measured_leave_cells_empty() -> None:
    unmeasured = result(metrics={}, **dict.fromkeys(NULLS))
    empty = report(
        results=[unmeasured],
        costs=[cost(model=None)],
        published=[{}],
        environment={"gpu": None},
        data={"fer2013/private_test": face_set(counts={})},
    )
    for section in (
        "leaderboard",
        "subjects",
        "subjects_table",
        "costs",
        "published",
        "environment",
        "faces",
    ):
        content = section_html(empty, section)
        assert content.strip()
        assert "None" not in content


@pytest.mark.parametrize("name", ["results", "costs", "data", "environment", "skipped", "published"])
def test_a_section_that_is_null_is_refused_by_name(name: str) -> None:
    with pytest.raises(
        UsageError, match="no list of results" if name == "results" else f"The field {name} is"
    ):
        report(**{name: None})


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("<b>&", "&lt;b&gt;&amp;"),
        ("\"'", "&#34;&#39;"),
        ("\x1b\u202e", "\ufffd\ufffd"),
        (None, "-"),
        (7, "7"),
    ],
)
def test_every_value_is_escaped_and_cleaned_but_no_markup_twice(value: object, escaped: str) -> None:
    page_ = page("environment", environment={"key": value, "list": [value]})
    assert f'<td class="text">{escaped}</td>' in page_
    assert "&amp;lt;" not in page_


def test_a_part_of_a_split_is_ranked_for_itself_against_the_baseline_on_its_own_faces():
    def part_of_split(n, accuracy, change):
        return result("m", accuracy, n=n, of=1050, baseline=baseline(0.7), changes=changes(change))

    ranked = report(results=[part_of_split(70, 0.9, -0.05), part_of_split(1050, 0.65, -0.05)]).ranked
    assert list(ranked) == ["fer2013/private_test", "fer2013/private_test, 70 of 1,050 faces"]
    (full,), (part,) = ranked.values()
    assert full.baseline_value("accuracy") == 0.7
    assert part.baseline_value("accuracy") == pytest.approx(0.95)


def test_what_a_depth_left_out_is_listed_with_the_command_for_all():
    standard = {"name": "standard", "left_out": ["corruption severities 1"]}
    assert tables.left_out(report(depth=standard)) == [
        "Depth standard left out:",
        "  - corruption severities 1",
        "Everything: repeat the run with --depth full",
    ]
    assert tables.left_out(report()) == []


def restoration(**changed: Any) -> dict[str, Any]:
    return {**restoration_entry(), "verdict": "no difference shown", **changed}


def test_a_restoration_without_a_shown_difference_has_the_number_of_faces_that_would_show_it() -> None:
    block = page("restorations", restorations=[restoration(required_sample_size=5210)])
    assert "faces needed</th>" in block
    assert '<td class="num">5,210</td>' in block
    assert "Faces needed: this many faces would show this change in 80 % of runs" in block
    assert (
        "this change needs about 5,210 faces"
        in tables.restorations(report(restorations=[restoration(required_sample_size=5210)]))[0]
    )


def test_a_restoration_with_a_change_of_0_has_a_dash_and_no_explanation() -> None:
    block = page("restorations", restorations=[restoration()])
    assert "Faces needed" not in block
    assert "needs about" not in tables.restorations(report(restorations=[restoration()]))[0]


@pytest.mark.parametrize(("required", "is_shown"), [(11_851, True), (None, False)])
def test_a_subject_says_how_many_faces_would_establish_its_fall(required: int | None, is_shown: bool) -> None:
    compared = changes(-0.01)
    compared["faces"]["required_sample_size"] = required
    block = page("subjects", results=[result(verdict="INCONCLUSIVE", changes=compared)])
    sentence = "about 11,851 faces in all (8,262 more) would establish this fall."
    assert (sentence in block) == is_shown


def test_the_line_on_missing_predictions_names_the_models_with_the_most() -> None:
    results = [result(f"m{i}", unanswered=i, id=f"m{i}") for i in range(7)]
    (line,) = tables.missing_predictions(report(results=results))
    assert line == (
        "faces without a prediction: m6-raw 6 of 3,589, m5-raw 5 of 3,589, m4-raw 4 of 3,589, "
        "m3-raw 3 of 3,589, 2 more"
    )
    assert tables.missing_predictions(report(results=[result()])) == []


def test_the_effect_of_a_restoration_is_one_line_with_its_corrected_and_broken_faces():
    change = {"before": 0.7, "after": 0.659, "change": -0.041, "low": -0.05, "high": -0.03}
    effect = {
        "subject": {"dataset": "fer2013", "split": "private_test", "corruption": None},
        **{"model": "vgg19", "restoration": "gfpgan", "against": "raw", "n": 3589},
        **{"accuracy": change, "macro_f1": None, "corrected": 12, "broken": 34, "p": 0.2},
        **{"minimum_detectable_effect": 0.016, "per_class": {}, "p_adjusted": 0.4},
        "required_sample_size": 5210,
        **{"seconds_per_face": None, "fidelity": None, "verdict": "no difference shown"},
        **{"seconds_per_corrected_face": None, "faces": {}},
    }
    (line,) = tables.restorations(report(restorations=[effect]))
    assert line == (
        "gfpgan against raw, vgg19: no difference shown "
        "(0.700 -> 0.659 on 3,589 faces, 12 corrected, 34 broken, p 0.40; "
        "these faces would show 1.6 points, this change needs about 5,210 faces)"
    )
