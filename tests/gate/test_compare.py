import json
import os
import re
import subprocess
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser

import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import answers_of, drawn, in_order
from hypothesis import example, given, settings
from markdown_it import MarkdownIt
from PIL import Image

from fer_models import cli
from fer_models.emotions import LABELS
from fer_models.gate import baselines, gate
from fer_models.gate import compare as sides
from fer_models.gate.run_sources import RunSource
from fer_models.report import comparison as report
from fer_models.scoring.metrics import measure
from fer_models.store.partition import SHARD, Store
from fer_models.store.predictions import PredictionTable
from fer_models.store.subject import Subject

SUBJECT = Subject("drawn", "validation", "raw", "net")
OTHER = Subject("drawn", "validation", "bicubic", "net")
HOSTILE = "|`<img src=x onerror=alert(1)>`|\n\n# @all [a](b) \x1b[31m</td></details>"


def some(wrong=0, n=490, seed=None):
    """Answers of which two in three are right, less `wrong`; with a seed, each as sure as chance has it."""
    truth = np.arange(n) % 7
    answer = truth.copy()
    answer[::3] = (truth[::3] + 1) % 7
    right = np.flatnonzero(answer == truth)[:wrong]
    answer[right] = (truth[right] + 1) % 7
    certainty = 0.7 if seed is None else np.random.default_rng(seed).uniform(0.3, 0.9, n)
    return answers_of(truth, answer) if seed is None else surely(answers_of(truth, answer), certainty)


def surely(answers, certainty):
    p = np.repeat(((1 - certainty) / 6)[:, None], 7, axis=1)
    p[np.arange(len(answers)), answers.answer] = certainty
    return PredictionTable(
        answers.faces, answers.index, answers.truth, answers.answer, p, answers.status, answers.text
    )


def stored(root, answers, subject=SUBJECT, key="k", age=0):
    """The folder of a subject in the store at `root`, written `age` seconds ago."""
    shelf = Store(root).partition(subject, key * 64, answers.faces, answers.truth, answers.index)
    with shelf.locked():
        for shard in shelf.missing():
            rows = shelf.rows(shard)
            shelf.write(shard, answers.select(np.arange(rows.start, rows.stop)), {}, 1.0)
    for path in shelf.folder.glob("part-*.parquet"):
        when = path.stat().st_mtime - age
        os.utime(path, (when, when))
    return shelf.folder


def shard(folder, number):
    """The file of one shard."""
    (path,) = folder.glob(f"part-{number:05d}-*.parquet")
    return path


def record(answers, subject=SUBJECT, **changes):
    measured = measure(answers.truth, answers.answer, answers.probabilities, resamples=100)
    return replace(baselines.record_of(subject, answers.fingerprint, answers, measured, {}), **changes)


def recorded(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    baselines.Baselines(records).write(path)
    return path


def git(folder, *arguments):
    identity = (
        "-c",
        "user.name=A Tester",
        "-c",
        "user.email=tester@example.org",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "init.defaultBranch=main",
    )
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def compare(capsys):
    """Runs `fer-models compare` and returns its exit code, what it printed and what it complained of."""

    def run(*arguments):
        code = cli.main(["compare", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def repository_of_two(tmp_path, monkeypatch):
    """A git repository whose baselines.json was worse at its first revision, with a store of today; the
    working directory of the test.
    """
    root = tmp_path / "repository"
    recorded(root / "baselines.json", record(some(30)))
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "worse")
    recorded(root / "baselines.json", record(some()))
    recorded(root / "older" / "records.json", record(some(30)))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "better")
    stored(root / ".evals" / "store", some(15))
    monkeypatch.chdir(root)
    return root


# The two sides.


def test_two_stored_runs_are_compared_face_by_face(compare, tmp_path):
    before, same, worse = (stored(tmp_path / name, some(k)) for name, k in (("a", 0), ("b", 0), ("c", 30)))
    code, said, _ = compare(before, same)
    assert code == 0
    assert "1 subject compared: 1 PASS" in said
    code, said, _ = compare(before, worse)
    assert code == 1
    assert "1 subject compared: 1 FAIL" in said
    assert "30 faces were right and are wrong now, 0 the other way" in said


def test_a_stored_run_is_compared_with_recorded_baselines(compare, tmp_path):
    path = recorded(tmp_path / "baselines.json", record(some()))
    assert compare(path, stored(tmp_path / "now", some()))[0] == 0
    assert compare(path, stored(tmp_path / "worse", some(30)))[0] == 1
    assert compare(tmp_path / "none.json", stored(tmp_path / "other", some()))[0] == 4


def test_the_floor_of_a_record_holds_but_stored_answers_have_none(compare, tmp_path):
    few, fewer = some(n=70), some(4, n=70)  # five points down: too few faces to establish it
    now = stored(tmp_path / "now", fewer)
    assert compare(recorded(tmp_path / "baselines.json", record(few, floor=0.66)), now)[0] == 1
    code, said, _ = compare(stored(tmp_path / "before", few), now)
    assert code == 0
    assert "hard floor" not in said


def test_a_git_revision_is_compared_with_the_store_of_the_working_tree(compare, repository_of_two):
    code, said, _ = compare("HEAD", "--format", "json")
    assert code == 1
    assert json.loads(said)["results"][0]["changes"]["faces"]["negative_flips"] == 15
    assert json.loads(said)["before"] == "HEAD"
    code, said, _ = compare("HEAD~1", "--format", "json")
    assert code == 0
    assert json.loads(said)["results"][0]["changes"]["faces"]["positive_flips"] == 15
    assert compare("main")[1] == compare("HEAD")[1].replace("HEAD ->", "main ->")


def test_a_revision_may_name_its_file(compare, repository_of_two):
    assert compare("HEAD:older/records.json")[0] == 0
    assert compare("HEAD:baselines.json")[0] == 1


def test_what_exists_is_a_path_and_no_revision(compare, repository_of_two):
    recorded(repository_of_two / "main", record(some(15)))
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
def test_a_revision_that_cannot_be_read_is_a_usage_error_that_says_why(
    compare, repository_of_two, argument, message
):
    code, said, complaint = compare(argument)
    assert (code, said) == (4, "")
    assert message in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("argument", ["--output=stolen", "-h", "-c"])
def test_a_revision_never_becomes_an_option_of_git(compare, repository_of_two, argument):
    code, _, complaint = compare("--", argument)
    assert code == 4
    assert "no name of a git revision" in complaint
    assert not (repository_of_two / "stolen").exists()


def test_outside_a_repository_a_revision_is_a_usage_error(compare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    code, _, complaint = compare("main", stored(tmp_path / "now", some()))
    assert code == 4
    assert "no git repository" in complaint


def test_without_git_a_revision_is_a_usage_error(compare, repository_of_two, monkeypatch):
    monkeypatch.setenv("PATH", str(repository_of_two / "empty"))
    code, _, complaint = compare("main")
    assert code == 4
    assert "git cannot be run" in complaint


def test_a_revision_with_broken_baselines_is_named(compare, repository_of_two):
    (repository_of_two / "baselines.json").write_bytes(b'\xff{"schema": 2}')
    git(repository_of_two, "commit", "-q", "-a", "-m", "broken")
    code, _, complaint = compare("HEAD")
    assert code == 4
    assert "HEAD:baselines.json is no text in UTF-8" in complaint
    (repository_of_two / "baselines.json").write_text('{"schema": 2, "measured": []}')
    git(repository_of_two, "commit", "-q", "-a", "-m", "empty")
    assert "HEAD has no measured record" in compare("HEAD")[2]


def test_every_subject_on_both_sides_is_compared_and_the_others_are_listed(compare, tmp_path):
    third, fourth = (Subject("drawn", "validation", "raw", name) for name in ("gone", "new"))
    for root, subjects in (("a", (SUBJECT, OTHER, third)), ("b", (SUBJECT, OTHER, fourth))):
        for subject in subjects:
            stored(tmp_path / root, some(30 if (root, subject) == ("b", OTHER) else 0), subject)
    code, said, _ = compare(tmp_path / "a", tmp_path / "b", "--all")
    assert code == 1
    assert "2 subjects compared: 1 FAIL, 1 PASS" in said
    assert f"Only in {tmp_path / 'a'}: gone-raw on drawn/validation" in said
    assert f"Only in {tmp_path / 'b'}: new-raw on drawn/validation" in said
    counted = compare(tmp_path / "a", tmp_path / "b")[1]
    assert f"Only in {tmp_path / 'a'}: 1 subject (--all lists them)" in counted
    assert "gone-raw" not in counted
    found = json.loads(compare(tmp_path / "a", tmp_path / "b", "--format", "json")[1])
    assert [r["verdict"] for r in found["results"]] == ["FAIL", "PASS"]
    assert (found["only_before"], found["only_after"]) == ([third.as_json()], [fourth.as_json()])


def test_all_subjects_are_judged_together(compare, tmp_path):
    for root, wrong in (("a", 0), ("b", 8)):
        stored(tmp_path / root, some(wrong))
    assert compare(tmp_path / "a", tmp_path / "b")[0] == 1
    for root in "ab":
        stored(tmp_path / root, some(), OTHER)
    assert compare(tmp_path / "a", tmp_path / "b")[0] == 0


def test_of_several_answers_of_a_subject_the_newest_count(compare, tmp_path):
    before = stored(tmp_path / "before", some())
    stored(tmp_path / "now", some(30), key="o", age=60)
    stored(tmp_path / "now", some(), key="n")
    assert compare(before, tmp_path / "now")[0] == 0
    stored(tmp_path / "now", some(30), key="p", age=-60)
    assert compare(before, tmp_path / "now")[0] == 1


def test_of_several_folders_of_a_subject_the_one_on_the_same_faces_counts(compare, tmp_path):
    """The evals of questions and orders store 70 faces of a subject after all of its faces."""
    records = recorded(tmp_path / "baselines.json", record(some()))
    stored(tmp_path / "now", some(30), key="w", age=120)
    stored(tmp_path / "now", some(), key="a", age=60)
    stored(tmp_path / "now", some(n=70), key="q")
    code, said, _ = compare(records, tmp_path / "now")
    assert code == 0
    assert "1 subject compared: 1 PASS" in said
    assert "Not compared" not in said
    few = stored(tmp_path / "few", some(n=70))
    assert compare(tmp_path / "now", few)[0] == 0


def test_in_a_store_what_is_incomplete_or_corrupt_is_named_and_left_out(compare, tmp_path):
    before = stored(tmp_path / "before", some())
    stored(tmp_path / "now", some(), age=60)
    cut = stored(tmp_path / "now", some(30), key="c")
    shard(cut, 0).unlink()
    broken = stored(tmp_path / "now", some(30), OTHER, key="b")
    shard(broken, 1).write_bytes(b"PAR1")
    code, said, _ = compare(before, tmp_path / "now")
    assert code == 0
    assert f"Note: {cut.name} was left out" in said
    assert f"Note: {broken.name} was left out" in said
    assert "lacks a shard" in compare(before, cut)[2]
    assert "is damaged" in compare(before, broken)[2]
    assert compare(before, cut)[0] == compare(before, broken)[0] == 1


def test_a_store_without_answers_is_a_usage_error(compare, tmp_path):
    (tmp_path / "empty" / "net").mkdir(parents=True)
    before = stored(tmp_path / "before", some())
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        code, _, complaint = compare(before, folder)
        assert code == 4
        assert "pytest evals" in complaint


def test_sides_with_nothing_in_common_list_what_each_holds(compare, tmp_path):
    before, now = stored(tmp_path / "a", some(), OTHER), stored(tmp_path / "b", some())
    code, _, complaint = compare(before.parent, now)
    assert code == 4
    assert "net-bicubic on drawn/validation" in complaint
    assert "net-raw on drawn/validation" in complaint


def test_two_models_are_compared_when_both_folders_are_named(compare, tmp_path):
    rival = Subject("drawn", "validation", "raw", "rival")
    code, said, _ = compare(stored(tmp_path / "a", some()), stored(tmp_path / "b", some(30), rival))
    assert code == 1
    assert "net-raw on drawn/validation -> rival-raw on drawn/validation" in said


# Faces that differ.


def test_runs_on_different_faces_are_not_compared(compare, tmp_path):
    before = stored(tmp_path / "a", some())
    code, said, complaint = compare(before, stored(tmp_path / "b", some(n=70)))
    assert (code, said) == (1, "")
    assert "different faces" in complaint
    assert "490 of drawn/validation" in complaint
    assert "70 of drawn/validation" in complaint


def test_runs_on_different_splits_are_not_compared_even_if_the_faces_are_the_same(compare, tmp_path):
    elsewhere = Subject("drawn", "test", "raw", "net")
    code, _, complaint = compare(stored(tmp_path / "a", some()), stored(tmp_path / "b", some(), elsewhere))
    assert code == 1
    assert "drawn/validation" in complaint
    assert "drawn/test" in complaint
    assert "Accuracies on different splits or sizes cannot be compared" in complaint


def test_among_others_a_subject_with_different_faces_is_named_and_is_no_pass(compare, tmp_path):
    for root, n in (("a", 490), ("b", 70)):
        stored(tmp_path / root, some())
        stored(tmp_path / root, some(n=n), OTHER)
    code, said, _ = compare(tmp_path / "a", tmp_path / "b")
    assert code == 1
    assert "1 subject compared: 1 PASS" in said
    assert (
        "Not compared: net-bicubic on drawn/validation: the two sides have predictions for different faces"
        in said
    )


def test_a_part_of_a_records_faces_is_compared_with_that_part_of_the_record(compare, tmp_path):
    """As a standard run leaves it: the model on all faces as they are, and a restoration on some of them."""
    whole, rows = some(), np.arange(0, 490, 7)
    before = recorded(tmp_path / "baselines.json", record(whole), record(some(wrong=30), OTHER))
    stored(tmp_path / "store", whole)
    stored(tmp_path / "store", some(wrong=30).select(rows), OTHER)
    code, said, _ = compare(before, tmp_path / "store")
    assert code == 0
    assert "2 subjects compared: 2 PASS" in said
    stored(tmp_path / "worse", whole)
    truth = whole.truth
    stored(tmp_path / "worse", answers_of(truth, (truth + 1) % 7).select(rows), OTHER)
    code, said, _ = compare(before, tmp_path / "worse")
    assert code == 1
    assert "net-bicubic on drawn/validation: accuracy" in said


def test_a_part_without_the_whole_beside_it_is_not_compared(compare, tmp_path):
    before = recorded(tmp_path / "baselines.json", record(some(), OTHER))
    stored(tmp_path / "store", some().select(np.arange(0, 490, 7)), OTHER)
    code, _, complaint = compare(before, tmp_path / "store")
    assert code == 1
    assert "different faces" in complaint


def test_a_run_that_stopped_at_a_shard_is_not_taken_for_one_on_fewer_faces(compare, tmp_path):
    before, now = stored(tmp_path / "a", some()), stored(tmp_path / "b", some())
    shard(now, 1).unlink()
    assert f"predictions for {SHARD} of" in compare(before, now)[2]
    assert "Run it again" in compare(before, now)[2]


# Flips.


def test_flips_are_sorted_by_how_much_probability_the_true_emotion_lost(compare, tmp_path):
    code, said, _ = compare(
        stored(tmp_path / "a", some(10, seed=1)),
        stored(tmp_path / "b", some(40, seed=2)),
        "--format",
        "json",
        "--flips",
        100,
    )
    assert code == 1
    fell, rose = (json.loads(said)["results"][0]["flips"][way] for way in ("negative", "positive"))
    assert len(fell) == 30
    assert rose == []
    lost = [flip["p_true"]["before"] - flip["p_true"]["now"] for flip in fell]
    assert lost == sorted(lost, reverse=True)
    for flip in fell:
        assert flip["before"] == flip["truth"] != flip["now"]
        assert flip["truth"] == LABELS[flip["index"] % 7]
        assert flip["face"] == f"{flip['index']:064x}"[:12]


def test_the_other_way_the_greatest_gain_comes_first_and_no_answer_is_named():
    before, now = some(40, seed=1), some(10, seed=2)
    silent = np.flatnonzero(before.correct)[0]
    now.answer[silent], now.probabilities[silent] = -1, np.nan
    paired = sides.match_subjects(
        RunSource("a", {SUBJECT: before}, is_single=True), RunSource("b", {SUBJECT: now}, is_single=True)
    )
    fell, rose = sides.flips(paired.pairs[0])
    assert [(flip.index, flip.now, flip.p_now) for flip in fell] == [(silent, None, 0.0)]
    gained = [flip.p_now - flip.p_before for flip in rose]
    assert len(rose) == 30
    assert gained == sorted(gained, reverse=True)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6), st.integers(-1, 6)), min_size=1, max_size=60)
)
def test_flips_are_exactly_the_faces_whose_correctness_changed(rows):
    truth, was, now = (np.array(column) for column in zip(*rows, strict=True))
    earlier, later = (
        RunSource(name, {SUBJECT: answers_of(truth, answer)}) for name, answer in (("a", was), ("b", now))
    )
    fell, rose = sides.flips(sides.match_subjects(earlier, later).pairs[0])
    assert {flip.index for flip in fell} == {i for i, (t, b, n) in enumerate(rows) if b == t != n}
    assert {flip.index for flip in rose} == {i for i, (t, b, n) in enumerate(rows) if b != t == n}


def test_as_many_flips_are_listed_as_asked_for(compare, tmp_path):
    before, now = stored(tmp_path / "a", some()), stored(tmp_path / "b", some(30))
    for options, listed in (([], 20), (["--flips", 0], 0), (["--flips", 50], 30)):
        text = compare(before, now, *options)[1]
        assert len(re.findall(r"^ +\d+   [0-9a-f]{12} ", text, re.MULTILINE)) == listed
    assert compare(before, now, "--flips", -1)[0] == 4


# Formats and exit codes.


def test_strict_lets_an_inconclusive_fall_fail(compare, tmp_path):
    before, now = stored(tmp_path / "a", some(n=70)), stored(tmp_path / "b", some(2, n=70))
    assert compare(before, now)[0] == 0
    code, said, _ = compare(before, now, "--strict-gate")
    assert code == 1
    assert "INCONCLUSIVE" in said


def test_json_holds_every_number_and_the_verdict(compare, tmp_path):
    before, now = stored(tmp_path / "a", some()), stored(tmp_path / "b", some(30))
    code, said, _ = compare(before, now, "--format", "json")
    found = json.loads(said)
    result = found["results"][0]
    assert (code, found["failed"], result["verdict"], result["n"]) == (1, True, gate.FAIL, 490)
    assert result["subject"] == result["before_subject"] == SUBJECT.as_json()
    assert result["metrics"]["accuracy"]["before"] == pytest.approx(some().correct.mean())
    assert result["metrics"]["accuracy"]["now"]["value"] == pytest.approx(some(30).correct.mean())
    assert result["changes"]["faces"] == {
        "negative_flips": 30,
        "positive_flips": 0,
        "minimum_detectable_fall": result["changes"]["faces"]["minimum_detectable_fall"],
    }
    assert "fell below" in result["message"]


@pytest.mark.parametrize("form", ["text", "markdown", "json", "html"])
def test_a_file_holds_what_would_be_printed(compare, tmp_path, form):
    before, now = stored(tmp_path / "a", some()), stored(tmp_path / "b", some(30))
    code, said, _ = compare(before, now, "--format", form)
    file = tmp_path / "new" / "comparison"
    assert compare(before, now, "--format", form, "--output", file) == (code, "", "")
    assert file.read_text(encoding="utf-8") == said


def test_a_file_that_cannot_be_written_is_a_usage_error(compare, tmp_path):
    before, now = stored(tmp_path / "a", some()), stored(tmp_path / "b", some())
    code, _, complaint = compare(before, now, "--output", tmp_path)
    assert code == 4
    assert "--output FILE" in complaint


def tables_in(markdown):
    """The tables of a Markdown text as a renderer sees them: rows of cells, code and text alike."""
    rows = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type == "table_open":
            rows.append([])
        elif token.type == "tr_open":
            rows[-1].append([])
        elif token.type == "inline" and rows and token.level >= 3:
            rows[-1][-1].append("".join(child.content for child in token.children))
    return rows


def tokens_in(markdown):
    """Everything that a renderer finds in a Markdown text."""
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        yield token
        yield from token.children or ()


def markup_in(markdown):
    """The HTML in a Markdown text."""
    return (token.content for token in tokens_in(markdown) if token.type.startswith("html"))


def test_markdown_is_a_table_with_the_changed_faces_behind_a_click(compare, tmp_path):
    said = compare(
        stored(tmp_path / "a", some()), stored(tmp_path / "b", some(30)), "--format", "markdown", "--flips", 5
    )[1]
    summary, flips = tables_in(said)
    assert summary[0] == ["subject", "n", "before", "now", "change", "p", "verdict"]
    assert summary[1][:2] == ["net-raw on drawn/validation", "490"]
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", summary[1][3])
    assert summary[1][-1] == "FAIL"
    assert len(flips) == 1 + 5
    assert said.count("<details>") == said.count("</details>") == 2
    assert "30 faces were right and are wrong now" in said


@lru_cache
def judged():
    """A subject that fell, and its flips."""
    earlier, later = (RunSource(name, {SUBJECT: some(wrong, n=70)}) for name, wrong in (("a", 0), ("b", 30)))
    pair = sides.match_subjects(earlier, later).pairs[0]
    a = pair.predictions
    measured = measure(a.truth, a.answer, a.probabilities, resamples=50)
    verdict = gate.judge(
        [
            gate.compare(
                SUBJECT, a, measured, pair.record, fingerprint=a.fingerprint, labels=a.truth, resamples=99
            )
        ]
    )[0]
    return verdict, sides.flips(pair)


def compared(name):
    """A comparison in which everything from outside is called `name`."""
    verdict, (fell, rose) = judged()
    subject = Subject(name, name, name, name, name, name)
    verdict = replace(verdict, comparison=replace(verdict.comparison, subject=subject))
    fell = [replace(flip, face=name) for flip in fell]
    return report.RunComparison(
        name,
        name,
        [report.ComparedModel(subject, verdict, fell, rose)],
        [subject],
        [subject],
        [name],
        [name],
        listed=2,
    )


NAMES = st.one_of(
    st.text(min_size=1, max_size=20), st.text(alphabet="`|<>\\\n*_[]()!&~#@-: a", min_size=1, max_size=30)
)


@settings(deadline=None, max_examples=40)
@example(HOSTILE)
@example(" ")
@given(NAMES)
def test_no_name_breaks_the_tables_of_the_markdown_or_gets_markup_into_it(name):
    said = report.markdown(compared(name))
    plain = report.markdown(compared("net"))
    assert [token.type for token in tokens_in(said)] == [token.type for token in tokens_in(plain)]
    assert [[len(row) for row in table] for table in tables_in(said)] == [
        [len(row) for row in table] for table in tables_in(plain)
    ]
    assert Tags("".join(markup_in(said))).tags == Tags("".join(markup_in(plain))).tags


class Tags(HTMLParser):
    """Every tag with its attributes' names, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))

    def handle_data(self, data):
        self.text += data


@settings(deadline=None, max_examples=20)
@given(NAMES)
def test_no_name_becomes_markup_in_the_html(name):
    assert Tags(report.html(compared(name))).tags == Tags(report.html(compared("net"))).tags


@settings(deadline=None, max_examples=20)
@given(NAMES)
def test_no_name_reaches_a_terminal_with_control_characters(name):
    said = report.text(compared(name))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said)
    assert json.loads(report.as_json(compared(name)))["before"] == name


def test_html_is_a_page_of_its_own_that_fetches_nothing(compare, tmp_path):
    said = compare(stored(tmp_path / "a", some()), stored(tmp_path / "b", some(30)), "--format", "html")[1]
    page = Tags(said)
    assert said.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?://|url\(|@import", said)
    assert "30 faces were right and are wrong now" in page.text
    assert "add --dataset NAME" in page.text


# Pictures.


def with_faces(tmp_path, n=28):
    """A folder of class folders, and answers to its test split before and now."""
    faces = drawn(n)
    for i, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        folder = tmp_path / "faces" / "test" / LABELS[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    order, hashes, truth = in_order(faces)
    now = np.where(np.arange(n) < 3, (truth + 1) % 7, truth)
    sound, fallen = (answers_of(truth, answer) for answer in (truth, now))
    subject = Subject("faces", "test", "raw", "net")
    folders = [
        stored(
            tmp_path / root,
            PredictionTable(hashes, order, truth, a.answer, a.probabilities, a.status, a.text),
            subject,
        )
        for root, a in (("a", sound), ("b", fallen))
    ]
    return tmp_path / "faces", *folders


def test_with_the_dataset_the_page_shows_the_changed_faces(compare, tmp_path):
    dataset, before, now = with_faces(tmp_path)
    said = compare(before, now, "--format", "html", "--dataset", dataset)[1]
    pictures = re.findall(r'<img src="data:image/png;base64,[A-Za-z0-9+/=]+" width="96" height="96"', said)
    assert len(pictures) == len(set(pictures)) == 3
    assert "add --dataset" not in said
    assert said == compare(before, now, "--format", "html", "--dataset", "faces", "--data-root", dataset)[1]


def test_faces_that_the_dataset_does_not_hold_are_counted(compare, tmp_path):
    dataset, *_ = with_faces(tmp_path)
    elsewhere = Subject("drawn", "test", "raw", "net")
    before, now = (stored(tmp_path / root, some(k), elsewhere) for root, k in (("c", 0), ("d", 5)))
    said = compare(before, now, "--format", "html", "--dataset", dataset)[1]
    assert "<img" not in said
    assert "5 listed faces not found in the dataset" in said


@pytest.mark.parametrize(
    "options",
    [
        ["--data-root", "."],
        ["--download"],
        ["--dataset", "synthetic"],
        ["--dataset", "synthetic", "--format", "json"],
    ],
)
def test_options_about_pictures_that_cannot_work_are_usage_errors(compare, tmp_path, options):
    before = stored(tmp_path / "a", some())
    assert compare(before, before, *options)[0] == 4
