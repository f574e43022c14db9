"""Comparison of two runs: sources, faces and flips."""

import json
import re
import subprocess
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import prediction_table
from fakes_runs import OTHER, SUBJECT, predictions_of, record_of, shard_file, write_baselines, write_partition
from hypothesis import given, settings

from fer_models.emotions import LABELS
from fer_models.gate import compare as sides
from fer_models.gate.flips import flips_of_match, list_flips
from fer_models.gate.run_sources import RunSource
from fer_models.store.partition import SHARD, Store
from fer_models.store.subject import Subject


def git(folder, *arguments):
    identity = ("user.name=A Tester", "user.email=tester@example.org")
    settings = (*identity, "commit.gpgsign=false", "init.defaultBranch=main")
    options = [option for setting in settings for option in ("-c", setting)]
    subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository_of_two(tmp_path, monkeypatch):
    """A git repository with a store; its baselines.json was worse at the first revision."""
    root = tmp_path / "repository"
    write_baselines(root / "baselines.json", record_of(predictions_of(30)))
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "worse")
    write_baselines(root / "baselines.json", record_of(predictions_of()))
    write_baselines(root / "older" / "records.json", record_of(predictions_of(30)))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "better")
    write_partition(root / ".evals" / "store", predictions_of(15))
    monkeypatch.chdir(root)
    return root


# The two sides.


def test_two_stored_runs_are_compared_face_by_face(compare, tmp_path):
    before, same, worse = (
        write_partition(tmp_path / name, predictions_of(k)) for name, k in (("a", 0), ("b", 0), ("c", 30))
    )
    code, output, _ = compare(before, same)
    assert code == 0
    assert "1 subject compared: 1 PASS" in output
    code, output, _ = compare(before, worse)
    assert code == 1
    assert "1 subject compared: 1 FAIL" in output
    assert "30 faces were correct and are wrong now, 0 the other way" in output


def test_a_stored_run_is_compared_with_recorded_baselines(compare, tmp_path):
    path = write_baselines(tmp_path / "baselines.json", record_of(predictions_of()))
    assert compare(path, write_partition(tmp_path / "now", predictions_of()))[0] == 0
    assert compare(path, write_partition(tmp_path / "worse", predictions_of(30)))[0] == 1
    assert compare(tmp_path / "none.json", write_partition(tmp_path / "other", predictions_of()))[0] == 4


def test_a_record_has_a_floor_and_stored_predictions_have_none(compare, tmp_path):
    few, fewer = (
        predictions_of(n=70),
        predictions_of(4, n=70),
    )  # five points down: too few faces to establish it
    now = write_partition(tmp_path / "now", fewer)
    assert compare(write_baselines(tmp_path / "baselines.json", record_of(few, floor=0.66)), now)[0] == 1
    code, output, _ = compare(write_partition(tmp_path / "before", few), now)
    assert code == 0
    assert "hard floor" not in output


def test_a_git_revision_is_compared_with_the_store_of_the_working_tree(compare, repository_of_two):
    code, output, _ = compare("HEAD", "--format", "json")
    assert code == 1
    assert json.loads(output)["results"][0]["changes"]["faces"]["negative_flips"] == 15
    assert json.loads(output)["before"] == "HEAD"
    code, output, _ = compare("HEAD~1", "--format", "json")
    assert code == 0
    assert json.loads(output)["results"][0]["changes"]["faces"]["positive_flips"] == 15
    assert compare("main")[1] == compare("HEAD")[1].replace("HEAD ->", "main ->")


def test_a_revision_may_name_its_file(compare, repository_of_two):
    assert compare("HEAD:older/records.json")[0] == 0
    assert compare("HEAD:baselines.json")[0] == 1


def test_an_existing_path_is_no_revision(compare, repository_of_two):
    write_baselines(repository_of_two / "main", record_of(predictions_of(15)))
    assert compare("main")[0] == 0
    assert compare("main:baselines.json")[0] == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("no-such-branch", "git knows no revision 'no-such-branch'"),
        ("HEAD:no/such.json", "has no file no/such.json"),
        ("HEAD:older", "has no file older"),
        (":baselines.json", "no name of a git revision"),
        ("nowhere/store", "git knows no revision 'nowhere/store'"),
        ("HEAD..main", "git knows no revision 'HEAD..main'"),
    ],
)
def test_a_revision_that_cannot_be_read_is_a_usage_error_with_the_reason(
    compare, repository_of_two, argument, message
):
    code, output, error = compare(argument)
    assert (code, output) == (4, "")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("argument", ["--output=stolen", "-h", "-c"])
def test_a_revision_never_becomes_an_option_of_git(compare, repository_of_two, argument):
    code, _, error = compare("--", argument)
    assert code == 4
    assert "no name of a git revision" in error
    assert not (repository_of_two / "stolen").exists()


def test_outside_a_repository_a_revision_is_a_usage_error(compare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    code, _, error = compare("main", write_partition(tmp_path / "now", predictions_of()))
    assert code == 4
    assert "git reads no revisions here (fatal: not a git repository" in error


def test_without_git_a_revision_is_a_usage_error(compare, repository_of_two, monkeypatch):
    monkeypatch.setenv("PATH", str(repository_of_two / "empty"))
    code, _, error = compare("main")
    assert code == 4
    assert "git cannot be run" in error


def test_a_revision_with_broken_baselines_is_named(compare, repository_of_two):
    (repository_of_two / "baselines.json").write_bytes(b'\xff{"schema": 2}')
    git(repository_of_two, "commit", "-q", "-a", "-m", "broken")
    code, _, error = compare("HEAD")
    assert code == 4
    assert "HEAD:baselines.json is no text in UTF-8" in error
    (repository_of_two / "baselines.json").write_text('{"schema": 2, "measured": []}')
    git(repository_of_two, "commit", "-q", "-a", "-m", "empty")
    assert "HEAD has no measured record" in compare("HEAD")[2]


def test_every_subject_of_both_sides_is_compared_and_the_others_are_listed(compare, tmp_path):
    third, fourth = (Subject("toy", "validation", "raw", name) for name in ("gone", "new"))
    for root, subjects in (("a", (SUBJECT, OTHER, third)), ("b", (SUBJECT, OTHER, fourth))):
        for subject in subjects:
            write_partition(
                tmp_path / root, predictions_of(30 if (root, subject) == ("b", OTHER) else 0), subject
            )
    code, output, _ = compare(tmp_path / "a", tmp_path / "b", "--all")
    assert code == 1
    assert "2 subjects compared: 1 FAIL, 1 PASS" in output
    assert f"Only in {tmp_path / 'a'}: gone-raw on toy/validation" in output
    assert f"Only in {tmp_path / 'b'}: new-raw on toy/validation" in output
    counted = compare(tmp_path / "a", tmp_path / "b")[1]
    assert f"Only in {tmp_path / 'a'}: 1 subject (--all lists them)" in counted
    assert "gone-raw" not in counted
    output = json.loads(compare(tmp_path / "a", tmp_path / "b", "--format", "json")[1])
    assert [r["verdict"] for r in output["results"]] == ["FAIL", "PASS"]
    assert (output["only_before"], output["only_after"]) == ([third.as_json()], [fourth.as_json()])


def test_all_subjects_are_judged_together(compare, tmp_path):
    for root, wrong in (("a", 0), ("b", 8)):
        write_partition(tmp_path / root, predictions_of(wrong))
    assert compare(tmp_path / "a", tmp_path / "b")[0] == 1
    for root in "ab":
        write_partition(tmp_path / root, predictions_of(), OTHER)
    assert compare(tmp_path / "a", tmp_path / "b")[0] == 0


def test_of_several_predictions_of_a_subject_the_newest_count(compare, tmp_path):
    before = write_partition(tmp_path / "before", predictions_of())
    write_partition(tmp_path / "now", predictions_of(30), key="o", age=60)
    write_partition(tmp_path / "now", predictions_of(), key="n")
    assert compare(before, tmp_path / "now")[0] == 0
    write_partition(tmp_path / "now", predictions_of(30), key="p", age=-60)
    assert compare(before, tmp_path / "now")[0] == 1


def test_of_several_folders_of_a_subject_the_one_on_the_same_faces_counts(compare, tmp_path):
    """Evals of questions store predictions for 70 faces of a subject after those for all its faces."""
    records = write_baselines(tmp_path / "baselines.json", record_of(predictions_of()))
    write_partition(tmp_path / "now", predictions_of(30), key="w", age=120)
    write_partition(tmp_path / "now", predictions_of(), key="a", age=60)
    write_partition(tmp_path / "now", predictions_of(n=70), key="q")
    code, output, _ = compare(records, tmp_path / "now")
    assert code == 0
    assert "1 subject compared: 1 PASS" in output
    assert "Not compared" not in output
    few = write_partition(tmp_path / "few", predictions_of(n=70))
    assert compare(tmp_path / "now", few)[0] == 0


def test_incomplete_or_damaged_folders_of_a_store_are_named_and_left_out(compare, tmp_path):
    before = write_partition(tmp_path / "before", predictions_of())
    write_partition(tmp_path / "now", predictions_of(), age=60)
    cut = write_partition(tmp_path / "now", predictions_of(30), key="c")
    shard_file(cut, 0).unlink()
    broken = write_partition(tmp_path / "now", predictions_of(30), OTHER, key="b")
    shard_file(broken, 1).write_bytes(b"PAR1")
    code, output, _ = compare(before, tmp_path / "now")
    assert code == 0
    assert f"Note: {cut.name} was left out" in output
    assert f"Note: {broken.name} was left out" in output
    assert "lacks a shard" in compare(before, cut)[2]
    assert "is damaged" in compare(before, broken)[2]
    assert compare(before, cut)[0] == compare(before, broken)[0] == 1


def test_a_store_without_predictions_is_a_usage_error(compare, tmp_path):
    (tmp_path / "empty" / "net").mkdir(parents=True)
    before = write_partition(tmp_path / "before", predictions_of())
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        code, _, error = compare(before, folder)
        assert code == 4
        assert "pytest evals" in error


def test_sides_without_a_common_subject_list_their_subjects(compare, tmp_path):
    before, now = (
        write_partition(tmp_path / "a", predictions_of(), OTHER),
        write_partition(tmp_path / "b", predictions_of()),
    )
    code, _, error = compare(before.parent, now)
    assert code == 4
    assert "net-bicubic on toy/validation" in error
    assert "net-raw on toy/validation" in error


def test_two_models_are_compared_when_both_folders_are_given(compare, tmp_path):
    rival = Subject("toy", "validation", "raw", "rival")
    code, output, _ = compare(
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of(30), rival),
    )
    assert code == 1
    assert "net-raw on toy/validation -> rival-raw on toy/validation" in output


# Faces that differ.


def test_runs_on_different_faces_are_not_compared(compare, tmp_path):
    before = write_partition(tmp_path / "a", predictions_of())
    code, output, error = compare(before, write_partition(tmp_path / "b", predictions_of(n=70)))
    assert (code, output) == (1, "")
    assert "different faces" in error
    assert "490 of toy/validation" in error
    assert "70 of toy/validation" in error


def test_runs_on_different_splits_are_not_compared_even_if_the_faces_are_the_same(compare, tmp_path):
    elsewhere = Subject("toy", "test", "raw", "net")
    code, _, error = compare(
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of(), elsewhere),
    )
    assert code == 1
    assert "toy/validation" in error
    assert "toy/test" in error
    assert "Accuracies on different splits or sizes cannot be compared" in error


def test_among_others_a_subject_with_different_faces_is_listed_and_is_no_pass(compare, tmp_path):
    for root, n in (("a", 490), ("b", 70)):
        write_partition(tmp_path / root, predictions_of())
        write_partition(tmp_path / root, predictions_of(n=n), OTHER)
    code, output, _ = compare(tmp_path / "a", tmp_path / "b")
    assert code == 1
    assert "1 subject compared: 1 PASS" in output
    assert (
        "Not compared: net-bicubic on toy/validation: the two sides have predictions for different faces"
        in output
    )


def test_a_part_of_a_records_faces_is_compared_with_that_part_of_the_record(compare, tmp_path):
    """As in a standard run: raw predictions for all faces, and a restoration of some of them."""
    full, rows = predictions_of(), np.arange(0, 490, 7)
    before = write_baselines(
        tmp_path / "baselines.json", record_of(full), record_of(predictions_of(wrong=30), OTHER)
    )
    write_partition(tmp_path / "store", full)
    write_partition(tmp_path / "store", predictions_of(wrong=30).select(rows), OTHER)
    code, output, _ = compare(before, tmp_path / "store")
    assert code == 0
    assert "2 subjects compared: 2 PASS" in output
    write_partition(tmp_path / "worse", full)
    truth = full.truth
    write_partition(tmp_path / "worse", prediction_table(truth, (truth + 1) % 7).select(rows), OTHER)
    code, output, _ = compare(before, tmp_path / "worse")
    assert code == 1
    assert "net-bicubic on toy/validation: accuracy" in output


def test_a_part_without_predictions_for_all_faces_is_not_compared(compare, tmp_path):
    before = write_baselines(tmp_path / "baselines.json", record_of(predictions_of(), OTHER))
    write_partition(tmp_path / "store", predictions_of().select(np.arange(0, 490, 7)), OTHER)
    code, _, error = compare(before, tmp_path / "store")
    assert code == 1
    assert "different faces" in error


def test_a_run_that_stopped_at_a_shard_is_no_run_on_fewer_faces(compare, tmp_path):
    before, now = (
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of()),
    )
    shard_file(now, 1).unlink()
    assert f"predictions for {SHARD} of" in compare(before, now)[2]
    assert "Run it again" in compare(before, now)[2]


# Flips.


def test_flips_are_sorted_by_the_lost_probability_of_the_true_emotion(compare, tmp_path):
    before = write_partition(tmp_path / "a", predictions_of(10, seed=1))
    now = write_partition(tmp_path / "b", predictions_of(40, seed=2))
    code, output, _ = compare(before, now, "--format", "json", "--flips", 100)
    assert code == 1
    negative, positive = (json.loads(output)["results"][0]["flips"][way] for way in ("negative", "positive"))
    assert len(negative) == 30
    assert positive == []
    lost = [flip["p_true"]["before"] - flip["p_true"]["now"] for flip in negative]
    assert lost == sorted(lost, reverse=True)
    for flip in negative:
        assert flip["before"] == flip["truth"] != flip["now"]
        assert flip["truth"] == LABELS[flip["index"] % 7]
        assert flip["face"] == f"{flip['index']:064x}"[:12]


def test_positive_flips_start_with_the_greatest_gain_and_no_prediction_is_none():
    before, now = predictions_of(40, seed=1), predictions_of(10, seed=2)
    silent = np.flatnonzero(before.correct)[0]
    now.answer[silent], now.probabilities[silent] = -1, np.nan
    paired = sides.match_subjects(
        RunSource("a", {SUBJECT: before}, is_single=True), RunSource("b", {SUBJECT: now}, is_single=True)
    )
    negative, positive = flips_of_match(paired.pairs[0])
    assert [(flip.index, flip.now, flip.p_now) for flip in negative] == [(silent, None, 0.0)]
    gained = [flip.p_now - flip.p_before for flip in positive]
    assert len(positive) == 30
    assert gained == sorted(gained, reverse=True)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6), st.integers(-1, 6)), min_size=1, max_size=60)
)
def test_flips_are_exactly_the_faces_whose_correctness_changed(rows):
    truth, was, now = (np.array(column) for column in zip(*rows, strict=True))
    earlier, later = (
        RunSource(name, {SUBJECT: prediction_table(truth, answer)})
        for name, answer in (("a", was), ("b", now))
    )
    negative, positive = flips_of_match(sides.match_subjects(earlier, later).pairs[0])
    assert {flip.index for flip in negative} == {i for i, (t, b, n) in enumerate(rows) if b == t != n}
    assert {flip.index for flip in positive} == {i for i, (t, b, n) in enumerate(rows) if b != t == n}


def test_at_most_the_given_number_of_flips_is_listed(compare, tmp_path):
    before, now = (
        write_partition(tmp_path / "a", predictions_of()),
        write_partition(tmp_path / "b", predictions_of(30)),
    )
    for options, listed in (([], 20), (["--flips", 0], 0), (["--flips", 50], 30)):
        text = compare(before, now, *options)[1]
        assert len(re.findall(r"^ +\d+   [0-9a-f]{12} ", text, re.MULTILINE)) == listed
    assert compare(before, now, "--flips", -1)[0] == 4


def test_a_failure_names_a_command_that_records(compare, tmp_path):
    path = write_baselines(tmp_path / "baselines.json", record_of(predictions_of()))
    code, output, _ = compare(path, write_partition(tmp_path / "worse", predictions_of(30)))
    assert code == 1
    assert "fer-models eval --update-baselines" in output
    assert "repeat the run" not in output


def test_predictions_that_a_run_read_again_are_the_newest(compare, tmp_path):
    """A run with the weights of before writes nothing: it reads what is stored."""
    old = predictions_of()
    write_partition(tmp_path / "store", predictions_of(30), key="b", age=10)
    write_partition(tmp_path / "store", old, key="a", age=100)
    path = write_baselines(tmp_path / "baselines.json", record_of(old))
    assert compare(path, tmp_path / "store")[0] == 1
    partition = Store(tmp_path / "store").partition(SUBJECT, "a" * 64, old.faces, old.truth, old.index)
    assert partition.read().answer.tolist() == old.answer.tolist()
    assert compare(path, tmp_path / "store")[0] == 0


def test_a_model_without_probabilities_has_none_in_its_changed_faces(tmp_path):
    before, now = predictions_of(), predictions_of(5)
    negative, _ = list_flips(replace(now, has_probabilities=False), before.answer, before.p_true)
    assert len(negative) == 5
    assert all(flip.p_before is None and flip.p_now is None for flip in negative)
    assert negative[0].as_json()["p_true"] == {"before": None, "now": None}
