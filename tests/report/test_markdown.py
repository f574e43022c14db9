"""A report as Markdown."""

import pytest
from eval_reports import changes, content, full_content, full_report, prompt_entry, report, result, subject
from hypothesis import example, given, settings
from markup import HOSTILE, NAMES, Tags, markup_in, tables_in, tokens_in

from fer_models.report.eval_report import EvalReport
from fer_models.report.markdown import markdown

FLIP = {
    "index": 7,
    "face": "0123456789ab",
    "truth": "sad",
    "before": "sad",
    "now": None,
    "p_true": {"before": 0.9, "now": 0.004},
    "probabilities": None,
    "picture": None,
}


def failed(model="vgg19", message="it fell", **more):
    return result(model, verdict="FAIL", fails=True, message=message, id=f"{model}-raw on x/y", **more)


def test_the_verdict_comes_first_and_then_a_table_of_all_results():
    text = markdown(report(results=[result(changes=changes(-0.012, 0.00003)), result("resnet50", 0.7)]))
    assert text.startswith("**2 models, 2 combinations on `fer2013/private_test`, 3,589 faces: nothing")
    assert tables_in(text) == [
        [
            ["subject", "n", "accuracy", "change", "p", "verdict"],
            ["resnet50-raw", "3,589", "0.700 [0.684, 0.715]", "-", "-", "PASS"],
            ["vgg19-raw", "3,589", "0.668 [0.652, 0.683]", "-0.012", "< 0.0001", "PASS"],
        ]
    ]


def test_results_on_other_faces_have_a_table_of_their_own():
    text = markdown(report(results=[result(), result("vgg19", split="public_test")]))
    assert [len(table) for table in tables_in(text)] == [2, 2]
    assert "`fer2013/public_test`" in text


def test_failures_errors_and_inconclusive_verdicts_are_folded_with_their_messages_in_this_order():
    results = [
        result("a", verdict="INCONCLUSIVE", message="a may have\n  fallen"),
        result("b", verdict="ERROR", fails=True, message="b broke"),
        failed("c", "c fell\n> accuracy"),
        result("d", verdict="NEW", message="no baseline for d"),
    ]
    text = markdown(report(results=results, errors=[{"subject": "e", "message": "e is gone"}]))
    summaries = [token for token in markup_in(text) if "<summary>" in token]
    assert [Tags(one).text.strip().partition(":")[0] for one in summaries] == [
        "FAIL",
        "ERROR",
        "ERROR",
        "INCONCLUSIVE",
    ]
    blocks = [token.content for token in tokens_in(text) if token.type == "fence"]
    assert blocks == ["c fell\n> accuracy\n", "b broke\n", "e is gone\n", "a may have\n  fallen\n"]
    assert "no baseline for d" not in text, "the table shows it already"


def test_robustness_that_fails_is_folded_with_its_message():
    entry = {**prompt_entry(), "fails": True, "message": "the worst template fell"}
    entry["figures"][0]["verdict"] = "FAIL"
    text = markdown(report(prompts=[entry]))
    assert "FAIL: prompts: vgg19-raw on fer2013/private_test" in text
    assert "the worst template fell" in text
    assert "robustness: 1 FAIL of 1 figure" in text


def test_the_faces_that_changed_are_listed():
    (_, faces) = tables_in(markdown(report(results=[failed(flips=[FLIP], changes=changes(-0.1))])))
    assert faces[1] == ["7", "0123456789ab", "sad", "sad", "no prediction", "0.90", "0.00"]


@pytest.mark.parametrize(("shown", "note"), [(1, "(1 shown)"), (2, "")])
def test_the_number_of_faces_that_changed_is_that_of_all_faces(shown, note):
    text = markdown(report(results=[failed(flips=[FLIP] * shown, changes=changes(-0.1))]))
    assert f"1 face correct before and wrong now, 1 the other way{' ' if note else ''}{note}</code>" in text


def test_restorations_skips_and_what_was_left_out_are_shown():
    text = markdown(full_report())
    effects = tables_in(text)[-1]
    assert effects[1] == ["gfpgan", "raw", "vgg19", "3,589", "0.700", "0.659", "12", "34", "0.002", "harms"]
    assert "fer-models weights get phi-3.5-vision" in text
    assert "1 recorded subject left out by the selection of tests" in text
    assert "Depth standard left out: corruption severities 1" in text
    assert "its prompt was chosen on public_test" in text


def test_faces_without_a_prediction_have_a_column_where_there_are_some():
    text = markdown(report(results=[result("a", unanswered=1794), result("b", id="b")]))
    (table,) = tables_in(text)
    assert table[0] == ["subject", "n", "no prediction", "accuracy", "change", "p", "verdict"]
    assert sorted(row[2] for row in table[1:]) == ["0", "1,794"]
    assert "no prediction" not in markdown(report(results=[result()]))


def test_a_text_over_the_limit_loses_the_faces_that_changed_first():
    flips = [{**FLIP, "index": i} for i in range(200)]
    one = report(results=[failed(flips=flips, message="m" * 3000), result("resnet50")])
    whole = markdown(one)
    size = len(whole.encode())
    assert markdown(one, size) == whole
    without_flips = markdown(one, size - 1)
    assert "the text is too long here: the faces that changed." in without_flips
    assert "m" * 3000 in without_flips
    assert len(tables_in(without_flips)) == 1
    without_details = markdown(one, len(without_flips.encode()) - 1)
    assert "the faces that changed, messages and details." in without_details
    assert len(tables_in(without_details)) == 1
    shortest = markdown(one, 10)
    assert tables_in(shortest) == []
    assert shortest.startswith("**`vgg19-raw` failed")


def test_the_limit_counts_bytes():
    one = report(results=[failed(message="é" * 1000)])
    size = len(markdown(one).encode())
    assert len(markdown(one, size - 1).encode()) < size


def renamed(name):
    """The report with everything, in which each text from outside is `name`."""

    def rename(value, key=""):
        if isinstance(value, dict):
            return {inner: rename(one, inner) for inner, one in value.items()}
        if isinstance(value, list | tuple):
            return [rename(one, key) for one in value]
        if not isinstance(value, str) or key in ("verdict", "picture", "before", "after"):
            return value
        return f"message {name}" if key == "message" else name

    sections = full_content()
    named = ("results", "prompts", "parity", "restorations", "skipped", "not_judged", "errors", "depth")
    whole = content(**{key: rename(sections[key]) for key in named})
    whole["results"].append(
        failed(name, f"message {name}", flips=[{**FLIP, "face": name, "truth": name, "before": name}])
    )
    whole["results"][-1]["subject"] = subject(model=name, dataset=name, split=name, prompt=name)
    return EvalReport.from_json(whole)


@pytest.mark.slow
@settings(max_examples=40)
@example(HOSTILE)
@example(" ")
@given(NAMES)
def test_no_text_from_outside_breaks_a_table_or_adds_markup(name):
    text, plain = markdown(renamed(name)), markdown(renamed("net"))
    assert [token.type for token in tokens_in(text)] == [token.type for token in tokens_in(plain)]
    assert [[len(row) for row in one] for one in tables_in(text)] == [
        [len(row) for row in one] for one in tables_in(plain)
    ]
    assert Tags("".join(markup_in(text))).tags == Tags("".join(markup_in(plain))).tags


class Prose(Tags):
    """The text outside of code in HTML."""

    def __init__(self, page):
        self.depth = 0
        super().__init__(page)

    def handle_starttag(self, tag, attributes):
        self.depth += tag == "code"

    def handle_endtag(self, tag):
        self.depth -= tag == "code"

    def handle_data(self, data):
        self.text += "" if self.depth else data


def test_nobody_is_mentioned_and_nothing_is_linked():
    """GitHub looks for these in all text that is not code, escaped or not."""
    text = markdown(renamed("@all https://x.example #1 a@b.example"))
    prose = "".join(token.content for token in tokens_in(text) if token.type in ("text", "html_inline"))
    assert not {"@", "#", "http"} & set(prose)
    assert "@" not in prose + Prose("".join(markup_in(text))).text
