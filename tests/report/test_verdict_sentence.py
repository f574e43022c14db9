"""The verdict on a run in a sentence."""

import pytest
from eval_reports import (
    baseline,
    changes,
    cost_ratio_entry,
    full_report,
    parity_entry,
    prompt_entry,
    report,
    restoration_entry,
    result,
    robustness_entry,
)

from fer_models.report import parity
from fer_models.report.formatting import one_line
from fer_models.report.outcomes import Status, outcomes
from fer_models.report.verdict_sentence import verdict_sentence

PLACE = "fer2013/private_test"


def regressed(model="vgg19", before=0.708, now=0.684, p=0.00001, metric="accuracy", **more):
    """A result whose accuracy (or another metric) fell and fails."""
    fallen = {**changes(0.0), metric: {"change": now - before, "p": p, "failed": True}}
    return result(model, now, verdict="FAIL", fails=True, baseline=baseline(before), changes=fallen, **more)


def with_verdict(model, verdict, **more):
    return result(model, verdict=verdict, id=f"{model}-raw on {PLACE}", **more)


def figure(verdict="PASS", change=-0.02, name="prompts: worst template"):
    fields = {**prompt_entry()["figures"][0], "verdict": verdict, "change": change, "name": name}
    return {**fields, "baseline": 0.42, "now": 0.42 + change, "p": 0.0004}


def prompts_with(*figures, **more):
    return {**prompt_entry(), "figures": list(figures), **more}


def export(verdict="PASS", **more):
    return {
        **parity_entry(),
        "verdict": verdict,
        "subject": {**result()["subject"], "model": "onnx:v"},
        **more,
    }


def test_a_run_without_regressions_gives_its_scope():
    results = [result("vgg19"), result("resnet50"), result("vgg19", restoration="gfpgan")]
    sentence = verdict_sentence(report(results=results))
    assert sentence == f"2 models, 3 combinations on {PLACE}, 3,589 faces: nothing regressed."


def test_a_single_combination_is_named():
    assert verdict_sentence(report(results=[result("clip", prompt="plain")])) == (
        f"clip-raw · plain on {PLACE}, 3,589 faces: nothing regressed."
    )


def test_a_part_of_the_faces_and_several_sets_of_faces_are_counted():
    part = result("vgg19", n=70)
    assert f"vgg19-raw on {PLACE}, 70 of 3,589 faces:" in verdict_sentence(report(results=[part]))
    with_restored_part = [result("vgg19"), result("vgg19", n=70, restoration="gfpgan")]
    assert "2 combinations" in (text := verdict_sentence(report(results=with_restored_part)))
    assert f"on {PLACE}, 3,589 faces:" in text
    several = [result("vgg19"), result("vgg19", split="public_test"), result("vgg19", corruption="jpeg@2")]
    assert "on 3 sets of faces, 10,767 faces:" in verdict_sentence(report(results=several))


def test_a_regression_is_named_with_its_change_and_p():
    sentence = verdict_sentence(report(results=[result("resnet50"), regressed()]))
    assert sentence == f"vgg19-raw regressed on {PLACE}: accuracy 0.708 -> 0.684 (p < 0.0001)."


def test_the_worst_accuracy_is_named_first_and_the_others_are_counted():
    results = [regressed("a"), regressed("b", 0.7, 0.5, p=0.004), regressed("c", 0.9, 0.2, metric="macro_f1")]
    sentence = verdict_sentence(report(results=results, prompts=[prompts_with(figure("FAIL"))]))
    assert sentence == (
        f"b-raw regressed on {PLACE}: accuracy 0.700 -> 0.500 (p = 0.004). "
        "2 other combinations and 1 other robustness figure failed too."
    )


def test_a_cost_that_failed_is_named_after_robustness_and_is_no_robustness_figure():
    slower = {**cost_ratio_entry(), "fails": True}
    slower["figures"] = [{**figure("FAIL", 0.8, "cost: ratio"), "baseline": 11.1, "now": 11.9}]
    made = report(results=[result()], prompts=[prompts_with(figure("FAIL"))], cost_ratios=[slower])
    sentence = verdict_sentence(made)
    assert ": prompts: worst template 0.420 -> 0.400" in sentence
    assert "1 other cost failed too." in sentence
    assert ": cost: ratio 11.100 -> 11.900" in verdict_sentence(report(cost_ratios=[slower]))


def test_what_was_predicted_only_is_counted_without_errors():
    results = [with_verdict("a", None), with_verdict("b", "ERROR", fails=True)]
    sentence = verdict_sentence(report(results=results))
    assert sentence.startswith("Nothing was judged: 1 combination predicted only. 1 error: b-raw on")


def test_a_recall_that_fell_has_its_change_only():
    sentence = verdict_sentence(report(results=[regressed(metric="recall:fear", p=0.002)]))
    assert sentence == f"vgg19-raw regressed on {PLACE}: recall of fear -0.024 (p = 0.002)."


def test_a_failure_without_a_fall_gives_its_reason():
    message = (
        "vgg19-raw on fer2013/private_test: accuracy 0.612 is under the record's hard floor of 0.650.\n  x"
    )
    failed = with_verdict("vgg19", "FAIL", fails=True, message=message)
    assert verdict_sentence(report(results=[failed])) == (
        f"vgg19-raw failed on {PLACE}: accuracy 0.612 is under the record's hard floor of 0.650."
    )
    silent = with_verdict("vgg19", "FAIL", fails=True)
    assert verdict_sentence(report(results=[silent])) == f"vgg19-raw failed on {PLACE}."


def test_robustness_that_regressed_is_named_with_its_figure():
    entry = prompts_with(
        figure("FAIL", -0.02), figure("FAIL", -0.1, "prompts: flip rate"), figure(), fails=True
    )
    assert verdict_sentence(report(results=[result()], prompts=[entry])) == (
        f"vgg19-raw regressed on {PLACE}: prompts: flip rate 0.420 -> 0.320 (p = 0.0004). "
        "1 other robustness figure failed too."
    )


def test_an_export_that_differs_is_named_with_its_reference():
    assert verdict_sentence(report(parity=[export("FAIL"), export("PASS")])) == (
        f"onnx:v-raw differs from vgg19 on {PLACE}: 1 of 14 predictions, accuracy 0.700 -> 0.659 (p = 0.001)."
    )


def test_a_restoration_that_harms_is_no_failure():
    sentence = verdict_sentence(report(results=[result()], restorations=[restoration_entry()]))
    assert sentence.endswith("nothing regressed.")


def test_inconclusive_results_are_listed():
    uncertain = [with_verdict(name, "INCONCLUSIVE") for name in "abcde"]
    sentence = verdict_sentence(
        report(results=[*uncertain, result()], prompts=[prompts_with(figure("INCONCLUSIVE"))])
    )
    assert sentence == (
        f"6 models, 6 combinations on {PLACE}, 3,589 faces: nothing regressed beyond doubt. "
        "5 are inconclusive: a-raw, b-raw, c-raw, 2 more. 1 robustness figure is inconclusive."
    )


def test_a_combination_without_a_baseline_is_no_pass():
    new = [with_verdict("mine", "NEW")]
    assert verdict_sentence(report(results=new)) == (
        f"mine-raw on {PLACE}, 3,589 faces: nothing was compared. 1 has no baseline yet: mine-raw."
    )
    sentence = verdict_sentence(
        report(results=[*new, result()], prompts=[prompts_with(*[figure("NEW")] * 2)])
    )
    assert sentence.endswith(
        "nothing regressed. 1 has no baseline yet: mine-raw. 2 robustness figures have no baseline yet."
    )


def test_degraded_probabilities_are_listed():
    log_loss = {
        "before": 0.5,
        "now": 0.4,
        "change": -0.1,
        "low": -0.2,
        "high": -0.05,
        "p": 0.001,
        "found": True,
    }
    sentence = verdict_sentence(report(results=[result(log_loss=log_loss)]))
    assert sentence.endswith(
        "nothing regressed. 1 gives the true emotion a lower probability (DEGRADED): vgg19-raw."
    )


def test_a_verdict_that_fails_by_an_option_only_is_explained():
    strict = with_verdict("mine", "NEW", fails=True)
    assert verdict_sentence(report(results=[strict])).endswith("The run fails, because of --strict-gate.")
    assert "strict" not in verdict_sentence(report(results=[strict, regressed()]))
    entry = prompts_with(figure("NEW"), fails=True)
    assert "strict" in verdict_sentence(report(prompts=[entry]))


def test_what_could_not_be_judged_is_always_said():
    wrong = with_verdict("wrong", "ERROR", fails=True)
    errors = [
        {"subject": f"wrong-raw on {PLACE}", "message": "again"},
        {"subject": "gone-raw on x/y", "message": "no such file"},
    ]
    both = f"2 errors: wrong-raw on {PLACE}, gone-raw on x/y."
    for results in ([wrong], [wrong, result()], [wrong, regressed()]):
        sentence = verdict_sentence(report(results=results, errors=errors))
        assert sentence.endswith(both)
        assert "strict" not in sentence
    assert verdict_sentence(report(results=[wrong], errors=errors)).startswith("Nothing was judged.")


def test_a_report_without_verdicts_says_why():
    assert verdict_sentence(report()) == "Nothing was judged."
    predicted = result("vgg19", verdict=None)
    assert (
        verdict_sentence(report(results=[predicted])) == "Nothing was judged: 1 combination predicted only."
    )
    skipped = [{"model": name, "reason": "no weights"} for name in ("a", "b")]
    assert verdict_sentence(report(skipped=skipped)) == "Nothing was judged: 2 models were skipped (a, b)."


def test_a_robustness_entry_without_figures_is_no_verdict():
    measured = {**prompt_entry(), **robustness_entry(), "id": "x"}
    assert verdict_sentence(report(prompts=[measured])) == "Nothing was judged."


def test_names_from_outside_are_quoted_each():
    def quote(text):
        return f"<{one_line(text)}>"

    hostile = regressed("@all\n`x`", id="i")
    assert verdict_sentence(report(results=[hostile]), quote) == (
        f"<@all `x`-raw> regressed on <{PLACE}>: accuracy 0.708 -> 0.684 (p < 0.0001)."
    )


@pytest.mark.parametrize("quote", [one_line, repr])
def test_a_report_with_everything_has_a_verdict_on_one_line(quote):
    sentence = verdict_sentence(full_report(), quote)
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_a_degraded_export_is_named_and_no_plain_pass():
    entry = export(is_degraded=True, message="onnx:v: it gives the true emotion a lower probability")
    made = report(results=[result()], parity=[entry])
    assert "1 gives the true emotion a lower probability (DEGRADED): onnx:v-raw." in verdict_sentence(made)
    outcome = next(one for one in outcomes(made) if one.group == "robustness")
    assert (outcome.label, outcome.status) == ("PASS, DEGRADED", Status.UNCERTAIN)
    strict = report(results=[result()], parity=[{**entry, "fails": True}])
    failed = next(one for one in outcomes(strict) if one.group == "robustness")
    assert (failed.label, failed.status) == ("PASS, DEGRADED", Status.FAILED)
    assert "PASS, DEGRADED" in parity.lines(made)[0]
