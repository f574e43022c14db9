"""A report as JUnit XML."""

from xml.etree import ElementTree as ET

import hypothesis.strategies as st
import pytest
from eval_reports import full_content, full_report, prompt_entry, report, result, robustness_entry
from hypothesis import example, given

from fer_models.report.eval_report import EvalReport
from fer_models.report.junit import junit_xml


def cases(one):
    """The test cases by suite and name: their outcome, its attributes and text."""
    read = {}
    for suite in ET.fromstring(junit_xml(one)).iter("testsuite"):
        for case in suite.iter("testcase"):
            assert case.get("classname") == suite.get("name")
            outcomes = [(child.tag, child.get("type"), child.get("message"), child.text) for child in case]
            read[suite.get("name"), case.get("name")] = outcomes
    return read


PLACE = "fer2013/private_test"


def test_each_verdict_is_a_test_case():
    results = [
        result("good"),
        result("bad", verdict="FAIL", fails=True, message="it fell\n> accuracy"),
        result("broken", verdict="ERROR", fails=True, message="other faces"),
        result("unsure", verdict="INCONCLUSIVE", message="too few faces"),
        result("control", verdict=None),
    ]
    assert cases(report(results=results)) == {
        (PLACE, f"good-raw on {PLACE}"): [],
        (PLACE, f"bad-raw on {PLACE}"): [("failure", "FAIL", "it fell", "it fell\n> accuracy")],
        (PLACE, f"broken-raw on {PLACE}"): [("error", "ERROR", "other faces", "other faces")],
        (PLACE, f"unsure-raw on {PLACE}"): [("system-out", None, None, "too few faces")],
        (PLACE, f"control-raw on {PLACE}"): [
            ("skipped", "-", *["It was predicted, and no selected test judges it."] * 2)
        ],
    }


@pytest.mark.parametrize("verdict", ["NEW", "INCONCLUSIVE", "PASS"])
def test_a_verdict_that_fails_by_an_option_is_a_failure(verdict):
    (outcome,) = cases(report(results=[result(verdict=verdict, fails=True, message="m")])).values()
    assert outcome == [("failure", verdict, "m", "m")]


def test_judged_robustness_checks_are_test_cases():
    entry, bad = prompt_entry(), {**prompt_entry(), "fails": True, "message": "it fell"}
    bad["figures"][0]["verdict"] = "FAIL"
    measured = {**robustness_entry(), "flip_rate": {}, "flips": [], "n_robust": 0}
    assert cases(report(prompts=[entry], metamorphic=[measured])) == {
        ("robustness", f"prompts: vgg19-raw on {PLACE}"): []
    }
    assert list(cases(report(prompts=[bad])).values()) == [[("failure", "FAIL", "it fell", "it fell")]]


def test_errors_and_skipped_models_are_test_cases():
    read = cases(full_report())
    assert read["errors", "m"] == [("error", "ERROR", "no such faces", "no such faces")]
    reason = "its weights are not here. Run: fer-models weights get phi-3.5-vision"
    assert read["skipped models", "phi-3.5-vision"] == [("skipped", "SKIPPED", reason, reason)]


def test_an_error_of_a_result_is_listed_once():
    broken = result(verdict="ERROR", fails=True, message="m", id="i")
    assert len(cases(report(results=[broken], errors=[{"subject": "i", "message": "m"}]))) == 1


def test_the_suites_count_their_cases():
    root = ET.fromstring(junit_xml(full_report()))
    suites = list(root.iter("testsuite"))
    for name, tags in {
        "failures": "failure",
        "errors": "error",
        "skipped": "skipped",
        "tests": "testcase",
    }.items():
        for suite in (root, *suites):
            assert int(suite.get(name)) == len(list(suite.iter(tags)))
        assert int(root.get(name)) == sum(int(suite.get(name)) for suite in suites) > 0


def test_a_time_is_given_where_it_is_known():
    text = junit_xml(report(results=[result("a", inference_seconds=None), result("b")]))
    assert [case.get("time") for case in ET.fromstring(text).iter("testcase")] == [None, "3.140"]


@example("\x00\ufffe\r\ud800]]>&<\"'\u202e")
@given(st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=40))
def test_any_text_gives_valid_xml_that_has_it(text):
    fields = {"verdict": "FAIL", "fails": True, "message": f"start {text} end"}
    errors = [{"subject": f"a{text}", "message": text}]
    whole = {**full_content(), "results": [result(f"m{text}", **fields)], "errors": errors, "cost_ratios": []}
    document = junit_xml(EvalReport.from_json(whole))
    document.encode("utf-8")
    (failure,) = (one for one in ET.fromstring(document).iter("failure") if one.text)
    assert failure.text.startswith("start ")
    assert failure.text.endswith(" end")
    assert len(failure.text) == len(text) + len("start  end")


def test_an_empty_report_is_a_document_without_cases():
    assert ET.fromstring(junit_xml(report())).attrib == {
        "name": "fer-models",
        **dict.fromkeys(("tests", "failures", "errors", "skipped"), "0"),
    }
