"""Published claims next to what was measured here."""

from dataclasses import replace

import pytest
from eval_reports import report, result
from fakes_runs import predictions_of, record_of

from fer_models.report.html_report import section_html
from fer_models.report.published_claims import with_results
from fer_models.store.subject import Subject

CLAIM = {"model": "ResNet-50", "dataset": "fer2013", "split": None, "accuracy": 0.8572}
RECORD = record_of(
    predictions_of(), Subject("fer2013", "private_test", "raw", "resnet50"), recorded={"date": "2026-01-02"}
)


def measured(claim, results=(), records=(RECORD,)):
    typed = report(results=list(results)).results
    (annotated,) = with_results([claim], typed, records)
    return annotated["measured_here"]


def test_the_same_letters_and_digits_are_the_same_model():
    (entry,) = measured(CLAIM)
    assert entry["accuracy"] == pytest.approx(RECORD.metrics["accuracy"])
    assert entry["low"] < entry["accuracy"] < entry["high"]
    assert (entry["split"], entry["source"]) == ("private_test", "recorded 2026-01-02")
    assert measured({**CLAIM, "model": "ResNet-18"}) == []


def test_a_model_is_also_found_by_the_name_under_which_it_is_evaluated_here():
    assert len(measured({**CLAIM, "model": "R50", "evaluated_as": "resnet50"})) == 1


@pytest.mark.parametrize(("key", "other"), [("dataset", "rafdb"), ("split", "public_test")])
def test_another_dataset_or_split_is_not_compared(key, other):
    assert measured({**CLAIM, key: other}) == []


def test_the_result_of_the_run_replaces_the_record_of_its_subject():
    (entry,) = measured(CLAIM, [result("resnet50", 0.61)])
    assert (entry["accuracy"], entry["source"]) == (0.61, "this run")


def test_corrupted_faces_and_the_control_are_left_out():
    others = (replace(RECORD, corruption="blur@3"), replace(RECORD, restoration="bicubic"))
    assert measured(CLAIM, records=others) == []


def test_a_claim_without_a_model_matches_nothing():
    assert measured({"source": "a paper"}, [result("resnet50")]) == []


def test_the_page_shows_compared_claims_and_folds_the_others():
    claims = with_results([CLAIM, {**CLAIM, "model": "other"}], (), (RECORD,))
    page = section_html(report(published=claims), "published")
    assert "1 more claim, on models" in page
    assert "recorded 2026-01-02" in page
    assert page.index("ResNet-50") < page.index("<details>") < page.index("other</th>")


def test_a_result_on_a_part_of_the_faces_does_not_replace_a_record_of_all():
    part = result("resnet50", 0.61, n=49)
    (entry,) = measured(CLAIM, [part])
    assert entry["source"] == "recorded 2026-01-02"
    (alone,) = measured(CLAIM, [part], records=())
    assert (alone["n"], alone["source"]) == (49, "this run")
    page = section_html(
        report(published=with_results([CLAIM], report(results=[part]).results, ())), "published"
    )
    assert "49 faces, this run" in page
