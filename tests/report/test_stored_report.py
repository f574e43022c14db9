"""The report of a store, and `fer-models report --store`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark.expression import Expression
from fakes_runs import OTHER, SUBJECT, predictions_of, record_of, shard_file, write_baselines, write_partition

from fer_models import cli
from fer_models.errors import UsageError
from fer_models.gate.baselines import Baselines
from fer_models.report.eval_report import EvalReport
from fer_models.report.html_report import page_html
from fer_models.report.stored_report import stored_report


def by_id(report: EvalReport) -> dict[str, str | None]:
    return {result.id: result.verdict for result in report.results}


def test_a_store_is_scored_and_judged_as_one_family(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of(wrong=60))
    write_partition(tmp_path, predictions_of(), OTHER, key="l")
    report = stored_report(tmp_path, Baselines((record_of(predictions_of()),)))
    assert by_id(report) == {SUBJECT.id: "FAIL", OTHER.id: "NEW"}
    failed = next(result for result in report.results if result.verdict == "FAIL")
    assert failed.fails
    assert "accuracy" in failed.failed_metrics
    assert failed.changes is not None
    assert failed.changes.faces.negative_flips == 60
    assert all(face.is_negative and face.picture is None for face in failed.flips)
    assert failed.from_store


def test_the_command_of_a_model_that_no_run_has_by_itself_names_it(tmp_path: Path) -> None:
    names = ("vgg19", "vgg19+clip-nano", "timm:net", "resnet50@w.safetensors", "a model")
    for i, name in enumerate(names):
        write_partition(tmp_path, predictions_of(), replace(SUBJECT, model=name), key=str(i))
    commands = {
        one.subject.model: shlex.split(one.command) for one in stored_report(tmp_path, Baselines()).results
    }
    assert {name for name, words in commands.items() if "--model" in words} == set(names[2:])
    restoration = SUBJECT.restoration
    assert commands["timm:net"][-4:] == ["--model", "timm:net", "-k", f"accuracy and timm:net-{restoration}"]
    assert commands["a model"][-4:] == ["--model", "a model", "-k", "accuracy"]
    for words in commands.values():
        Expression.compile(words[-1])


def test_of_several_predictions_of_a_subject_the_newest_count(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of(wrong=60), key="o", age=100)
    write_partition(tmp_path, predictions_of())
    report = stored_report(tmp_path, Baselines((record_of(predictions_of()),)))
    assert by_id(report) == {SUBJECT.id: "PASS"}


def test_a_record_of_other_faces_is_an_error_of_its_subject_and_not_of_the_others(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of())
    write_partition(tmp_path, predictions_of(), OTHER, key="l")
    records = (record_of(predictions_of(n=70)), record_of(predictions_of(), OTHER))
    report = stored_report(tmp_path, Baselines(records))
    assert by_id(report) == {SUBJECT.id: "ERROR", OTHER.id: "PASS"}
    (failure,) = report.failures
    assert "different faces" in failure.message


def test_a_damaged_partition_is_an_error_of_the_report(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of())
    shard_file(write_partition(tmp_path, predictions_of(), OTHER, key="l"), 0).write_bytes(b"damaged")
    report = stored_report(tmp_path, Baselines())
    assert by_id(report) == {SUBJECT.id: "NEW"}
    assert len(report.errors) == 1


def test_the_page_of_a_store_says_what_a_store_has_not(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of())
    page = page_html(stored_report(tmp_path, Baselines()))
    assert "are not in a store" in page
    assert 'id="costs"' not in page


def test_a_part_of_a_split_is_shown_as_a_part(tmp_path: Path) -> None:
    whole = predictions_of()
    write_partition(tmp_path, whole, OTHER, key="l")
    write_partition(tmp_path, whole.select(np.arange(70)))
    report = stored_report(tmp_path, Baselines((record_of(whole),)))
    (part,) = [result for result in report.results if result.subject == SUBJECT]
    assert (part.n, part.of, part.verdict) == (70, 490, "PASS")


def test_a_model_is_selected_and_a_selection_without_predictions_is_refused(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of())
    write_partition(tmp_path, predictions_of(), replace(SUBJECT, model="other"), key="l")
    report = stored_report(tmp_path, Baselines(), lambda subject: subject.model == "other")
    assert [result.subject.model for result in report.results] == ["other"]
    with pytest.raises(UsageError, match="2 other subjects"):
        stored_report(tmp_path, Baselines(), lambda subject: False)
    with pytest.raises(UsageError, match="is no folder"):
        stored_report(tmp_path / "nowhere", Baselines())


def test_a_record_that_contradicts_itself_is_an_error_of_its_subject_alone(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of())
    write_partition(tmp_path, predictions_of(), OTHER, key="l")
    false = record_of(predictions_of(), metrics={"accuracy": 0.99, "macro_f1": 0.99})
    report = stored_report(tmp_path, Baselines((false, record_of(predictions_of(), OTHER))))
    assert by_id(report) == {SUBJECT.id: "ERROR", OTHER.id: "PASS"}
    assert "contradicts itself" in report.failures[0].message


def test_a_selection_is_judged_as_part_of_the_split_that_other_models_predicted(tmp_path: Path) -> None:
    """A record does not name faces; the predictions of another model for all faces do."""
    whole, other = predictions_of(), replace(SUBJECT, model="other")
    write_partition(tmp_path, whole, other, key="l")
    write_partition(tmp_path, whole.select(np.arange(70)))
    records = Baselines((record_of(whole), record_of(whole, other)))
    report = stored_report(tmp_path, records, lambda subject: subject.model == SUBJECT.model)
    assert by_id(report) == {SUBJECT.id: "PASS"}
    (result,) = report.results
    assert result.baseline is not None
    assert result.baseline.metrics == records.measured[0].metrics, "that of the whole split, as in a run"


def test_a_part_of_a_split_of_unknown_size_is_no_full_split(tmp_path: Path) -> None:
    part = predictions_of().select(np.arange(0, 490, 7))
    write_partition(tmp_path, part)
    report = stored_report(tmp_path, Baselines())
    (result,) = report.results
    assert result.is_part
    (faces,) = report.data.values()
    assert (faces.n, faces.of) == (70, 484)
    assert "484 or more" in faces.notes[-1]


def test_a_record_of_the_same_faces_without_stored_predictions_is_named(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of())
    elsewhere = replace(SUBJECT, split="test")
    records = Baselines(tuple(record_of(predictions_of(), one) for one in (SUBJECT, OTHER, elsewhere)))
    assert stored_report(tmp_path, records).not_judged == (OTHER.id,)
    assert stored_report(tmp_path, records, lambda one: one == SUBJECT).not_judged == ()


def test_replies_to_an_unknown_question_are_not_counted_as_something_else(tmp_path: Path) -> None:
    table = replace(predictions_of(), text=("B",) * 490)
    write_partition(tmp_path, table, replace(SUBJECT, prompt="of my own"))
    (result,) = stored_report(tmp_path, Baselines()).results
    assert result.responses is None
    assert "its replies are not shown" in result.notes[0]


def test_the_command_of_a_subject_has_its_prompts_or_its_question(tmp_path: Path) -> None:
    options = {"openai": " --prompts openai", "one-word": " --question one-word", "mine": "", None: ""}
    subjects = {prompt: replace(SUBJECT, prompt=prompt) for prompt in options}
    for prompt, subject in subjects.items():
        write_partition(tmp_path, predictions_of(), subject, key=prompt or "none")
    commands = {result.id: result.command for result in stored_report(tmp_path, Baselines()).results}
    for prompt, subject in subjects.items():
        assert f"--split {subject.split}{options[prompt]} -k " in commands[subject.id]


def test_the_command_takes_the_store_its_baselines_and_a_selection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_partition(tmp_path / "store", predictions_of(wrong=60))
    write_partition(tmp_path / "store", predictions_of(), OTHER, key="l")
    records = write_baselines(tmp_path / "b.json", record_of(predictions_of()))
    options = ["--store", "store", "--baselines", str(records), "--model", "net"]
    assert cli.main(["report", *options, "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("**`net-raw` regressed")
    assert cli.main(["report", *options]) == 0
    assert "net-raw regressed" in Path("reports/stored.html").read_text(encoding="utf-8")


def test_with_the_strict_gate_a_subject_without_a_baseline_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_partition(tmp_path, predictions_of())
    for options, failures in ([], 0), (["--strict-gate"], 1):
        assert cli.main(["report", "--store", str(tmp_path), "--format", "junit", *options]) == 0
        assert capsys.readouterr().out.count("<failure") == failures


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "net"], "Add --store FOLDER"),
        (["--strict-gate"], "--strict-gate: only for stored predictions"),
        (["evals.json", "--store", "store"], "not both"),
        (["--store", "store", "--baselines", "nowhere.json"], "no such file"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", *arguments]) == 4
    assert words in capsys.readouterr().err


def test_records_that_the_store_lacks_are_not_called_left_out_by_the_user(tmp_path: Path) -> None:
    write_partition(tmp_path, predictions_of())
    records = (record_of(predictions_of()), record_of(predictions_of(), OTHER))
    report = stored_report(tmp_path, Baselines(records))
    assert report.not_judged == (OTHER.id,)
    page = page_html(report)
    assert "without predictions in the store" in page
    assert "left out by the selection of tests" not in page
