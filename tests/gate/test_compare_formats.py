"""Formats and exit codes of `fer-models compare`."""

import json
import re
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from fakes import in_canonical_order, prediction_table, toy_faces
from fakes_runs import SUBJECT, predictions_of, write_partition
from hypothesis import example, given, settings
from markup import HOSTILE, NAMES, Tags, markup_in, tables_in, tokens_in
from PIL import Image

from fer_models.emotions import LABELS
from fer_models.gate import compare as sides
from fer_models.gate import gate
from fer_models.gate.flips import flips_of_match
from fer_models.gate.run_sources import RunSource
from fer_models.report import comparison as report
from fer_models.scoring.metrics import measure
from fer_models.store.subject import Subject


def test_an_inconclusive_fall_fails_under_strict(compare, tmp_path):
    before, now = (
        write_partition(tmp_path / "a", predictions_of(n=70)),
        write_partition(tmp_path / "b", predictions_of(2, n=70)),
    )
    assert compare(before, now)[0] == 0
    code, output, _ = compare(before, now, "--strict-gate")
    assert code == 1
    assert "INCONCLUSIVE" in output


def test_json_has_every_number_and_the_verdict(compare, tmp_path):
    before, now = (
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of(30)),
    )
    code, output, _ = compare(before, now, "--format", "json")
    comparison = json.loads(output)
    result = comparison["results"][0]
    assert (code, comparison["failed"], result["verdict"], result["n"]) == (1, True, gate.FAIL, 490)
    assert result["subject"] == result["before_subject"] == SUBJECT.as_json()
    assert result["metrics"]["accuracy"]["before"] == pytest.approx(predictions_of().correct.mean())
    assert result["metrics"]["accuracy"]["now"]["value"] == pytest.approx(predictions_of(30).correct.mean())
    faces = result["changes"]["faces"]
    assert (faces["negative_flips"], faces["positive_flips"]) == (30, 0)
    assert set(faces) == {
        "negative_flips",
        "positive_flips",
        "minimum_detectable_fall",
        "required_sample_size",
    }
    assert "fell below" in result["message"]


@pytest.mark.parametrize("form", ["text", "markdown", "json", "html"])
def test_a_file_has_the_content_that_would_be_printed(compare, tmp_path, form):
    before, now = (
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of(30)),
    )
    code, output, _ = compare(before, now, "--format", form)
    file = tmp_path / "new" / "comparison"
    assert compare(before, now, "--format", form, "--output", file) == (code, "", "")
    assert file.read_text(encoding="utf-8") == output


def test_a_file_that_cannot_be_written_is_a_usage_error(compare, tmp_path):
    before, now = (
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of()),
    )
    code, _, error = compare(before, now, "--output", tmp_path)
    assert code == 4
    assert "--output FILE" in error


def test_markdown_is_a_table_with_the_changed_faces_behind_a_click(compare, tmp_path):
    output = compare(
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of(30)),
        "--format",
        "markdown",
        "--flips",
        5,
    )[1]
    summary, flips = tables_in(output)
    assert summary[0] == ["subject", "n", "before", "now", "change", "p", "verdict"]
    assert summary[1][:2] == ["net-raw on toy/validation", "490"]
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", summary[1][3])
    assert summary[1][-1] == "FAIL"
    assert len(flips) == 1 + 5
    assert output.count("<details>") == output.count("</details>") == 2
    assert "30 faces were correct and are wrong now" in output


@lru_cache
def judged():
    """A subject with negative flips, and these."""
    earlier, later = (
        RunSource(name, {SUBJECT: predictions_of(wrong, n=70)}) for name, wrong in (("a", 0), ("b", 30))
    )
    pair = sides.match_subjects(earlier, later).pairs[0]
    a = pair.predictions
    measured = measure(a.truth, a.answer, a.probabilities, resamples=50)
    faces = gate.ComparedFaces(a.fingerprint, a.truth)
    comparison = gate.compare(SUBJECT, a, measured, pair.record, faces, resamples=99)
    return gate.judge([comparison])[0], flips_of_match(pair)


def compared(name):
    """A comparison in which everything from outside is named `name`."""
    verdict, (negative, positive) = judged()
    subject = Subject(name, name, name, name, name, name)
    verdict = replace(verdict, comparison=replace(verdict.comparison, subject=subject))
    negative = [replace(flip, face=name) for flip in negative]
    models = [report.ComparedModel(subject, verdict, negative, positive)]
    return report.RunComparison(name, name, models, [subject], [subject], [name], [name], listed=2)


@settings(deadline=None, max_examples=40)
@example(HOSTILE)
@example(" ")
@given(NAMES)
def test_no_name_breaks_the_tables_of_the_markdown_or_adds_markup(name):
    output = report.markdown(compared(name))
    plain = report.markdown(compared("net"))
    assert [token.type for token in tokens_in(output)] == [token.type for token in tokens_in(plain)]
    assert [[len(row) for row in table] for table in tables_in(output)] == [
        [len(row) for row in table] for table in tables_in(plain)
    ]
    assert Tags("".join(markup_in(output))).tags == Tags("".join(markup_in(plain))).tags


@settings(deadline=None, max_examples=20)
@given(NAMES)
def test_no_name_becomes_markup_in_the_html(name):
    assert Tags(report.html(compared(name))).tags == Tags(report.html(compared("net"))).tags


@settings(deadline=None, max_examples=20)
@given(NAMES)
def test_no_name_reaches_a_terminal_with_control_characters(name):
    output = report.text(compared(name))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", output)
    assert json.loads(report.as_json(compared(name)))["before"] == name


def test_html_is_a_single_page_without_external_files(compare, tmp_path):
    output = compare(
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of(30)),
        "--format",
        "html",
    )[1]
    page = Tags(output)
    assert output.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?://|url\(|@import", output)
    assert "30 faces were correct and are wrong now" in page.text
    assert "add their dataset to the command: --dataset NAME" in " ".join(page.text.split())


# Pictures.


def with_faces(tmp_path, n=28):
    """A folder of class folders, and predictions for its test split before and now."""
    faces = toy_faces(n)
    for i, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        folder = tmp_path / "faces" / "test" / LABELS[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    order, hashes, truth = in_canonical_order(faces)
    now = np.where(np.arange(n) < 3, (truth + 1) % 7, truth)
    same, worse = (prediction_table(truth, answer) for answer in (truth, now))
    subject = Subject("faces", "test", "raw", "net")
    tables = {root: replace(table, faces=hashes, index=order) for root, table in (("a", same), ("b", worse))}
    folders = [write_partition(tmp_path / root, table, subject) for root, table in tables.items()]
    return tmp_path / "faces", *folders


def test_with_the_dataset_the_page_shows_the_changed_faces(compare, tmp_path):
    dataset, before, now = with_faces(tmp_path)
    output = compare(before, now, "--format", "html", "--dataset", dataset)[1]
    pictures = re.findall(r'<img src="data:image/png;base64,[A-Za-z0-9+/=]+" width="96" height="96"', output)
    assert len(pictures) == len(set(pictures)) == 3
    assert "add their dataset" not in output
    assert output == compare(before, now, "--format", "html", "--dataset", "faces", "--data-root", dataset)[1]


def test_faces_that_the_dataset_does_not_have_are_counted(compare, tmp_path):
    dataset, *_ = with_faces(tmp_path)
    elsewhere = Subject("toy", "test", "raw", "net")
    before, now = (
        write_partition(tmp_path / root, predictions_of(k), elsewhere) for root, k in (("c", 0), ("d", 5))
    )
    output = compare(before, now, "--format", "html", "--dataset", dataset)[1]
    assert "<img" not in output
    assert "5 listed faces not found in the dataset" in output


@pytest.mark.parametrize(
    "options",
    [
        ["--data-root", "."],
        ["--download"],
        *(["--dataset", "synthetic", *form] for form in ([], ["--format", "json"])),
    ],
)
def test_options_about_pictures_that_cannot_work_are_usage_errors(compare, tmp_path, options):
    before = write_partition(tmp_path / "a", predictions_of())
    assert compare(before, before, *options)[0] == 4
