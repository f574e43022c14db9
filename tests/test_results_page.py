"""`docs/results.md`, which `benchmarks/results_page.py` writes."""

import dataclasses
import importlib.util

import pytest


@pytest.fixture
def results_page(repository):
    spec = importlib.util.spec_from_file_location(
        "results_page", repository / "benchmarks" / "results_page.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_results_page_shows_the_recorded_numbers(results_page, repository):
    written = (repository / "docs" / "results.md").read_text(encoding="utf-8")
    assert written == results_page.page(), "Run: python benchmarks/results_page.py"


def test_a_new_record_needs_the_labels_again(results_page, monkeypatch):
    changed = [
        dataclasses.replace(record, answers=record.answers[::-1]) if record.model == "vgg19" else record
        for record in results_page.records()
    ]
    monkeypatch.setattr(results_page, "records", lambda: changed)
    with pytest.raises(SystemExit, match=r"results_page\.py --data-root FOLDER"):
        results_page.page()


def test_the_readme_names_the_recorded_accuracy(results_page, repository):
    (record,) = (r for r in results_page.records() if results_page.key(r) == "private_test vgg19 raw")
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert f"predicts {record.metrics['accuracy']:.1%} of the faces" in readme.replace(" %", "%")
