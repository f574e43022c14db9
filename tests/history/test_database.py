"""The file of the history: nothing is lost, mixed or overwritten."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest
from fakes import full_disk
from guards import outcome
from history_runs import RUN, SCORES, entry, write_history
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.errors import UsageError, encodable
from fer_models.history.database import History, history_path
from fer_models.history.records import Entry, RunRecord, SubjectRecord, series_of
from fer_models.store.subject import Subject

TEXT = st.text().map(encodable)
OPTIONAL = st.none() | TEXT
SHARES = st.none() | st.floats(0, 1)
COUNTS = st.integers(0, 2**62)
SUBJECTS = st.builds(Subject, TEXT, TEXT, TEXT, TEXT, OPTIONAL, OPTIONAL)
RUNS = st.builds(
    RunRecord,
    time=st.datetimes().map(lambda time: f"{time.isoformat(timespec='seconds')}+00:00"),
    version=TEXT,
    command=TEXT,
    depth=TEXT,
    cached_only=st.booleans(),
    exit_code=st.integers(0, 5),
    verdicts=st.dictionaries(TEXT, COUNTS, max_size=2),
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
    machine=TEXT,
)
SCORED = st.builds(
    SubjectRecord,
    subject=SUBJECTS,
    n=COUNTS,
    of=COUNTS,
    accuracy=SHARES,
    low=SHARES,
    high=SHARES,
    macro_f1=SHARES,
    verdict=OPTIONAL,
    change=st.none() | st.floats(-1, 1),
    from_store=st.booleans(),
    device=OPTIONAL,
    key=TEXT,
    fingerprint=TEXT,
    inputs=st.dictionaries(TEXT, TEXT, max_size=2),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(RUNS, st.lists(SCORED, max_size=2)), max_size=3))
def test_what_is_appended_is_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[RunRecord, list[SubjectRecord]]]
) -> None:
    history = History(tmp_path_factory.mktemp("history") / "history.sqlite")
    for run, subjects in runs:
        history.append(run, subjects)
    expected = [Entry(run, scores) for run, subjects in runs for scores in subjects]
    assert (history.entries() if runs else []) == expected
    for series in {series_of(scores) for _, scores in expected}:
        of_series = [each for each in expected if series_of(each.scores) == series]
        assert history.entries(series) == of_series
        assert history.entries(series, last=1) == of_series[-1:]


@pytest.mark.parametrize("name", ["'); DROP TABLE runs; --", "%", "\x00", "日本", "a" * 10_000])
def test_hostile_names_stay_text(tmp_path: Path, name: str) -> None:
    history = write_history(tmp_path / "h.sqlite", entry(model=name), entry(model="other"))
    assert [each.scores.subject.model for each in history.entries()] == [name, "other"]
    assert [each.scores.subject.model for each in history.entries(series_of(entry(model=name).scores))] == [
        name
    ]


def test_a_name_that_is_no_unicode_is_found_again(tmp_path: Path) -> None:
    named = entry(model="\udcff")
    history = write_history(tmp_path / "h.sqlite", named)
    (found,) = history.entries(series_of(named.scores))
    assert found.scores.subject.model == "\ufffd"


@pytest.mark.parametrize("name", ["a b.sqlite", "50%?mode=memory#x.sqlite", "é.sqlite"])
def test_the_path_of_a_file_is_not_parsed(tmp_path: Path, name: str) -> None:
    write_history(tmp_path / name, entry())
    assert os.listdir(tmp_path) == [name]


def test_the_history_is_beside_the_store(tmp_path: Path) -> None:
    assert history_path(tmp_path / ".evals" / "store") == tmp_path / ".evals" / "history.sqlite"


def append_many(path: Path, name: str, count: int) -> None:
    for number in range(count):
        History(path).append(entry(command=f"{name} {number}").run, [SCORES, SCORES])


@pytest.mark.slow
def test_several_processes_append_to_one_file_and_no_run_is_lost_or_torn(tmp_path: Path) -> None:
    path, count = tmp_path / "h.sqlite", 10
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=append_many, args=(path, name, count)) for name in ("a", "b")]
    for process in others:
        process.start()
    for process in others:
        process.join()
    assert [process.exitcode for process in others] == [0, 0]
    commands = [each.run.command for each in History(path).entries()]
    assert commands[::2] == commands[1::2], "the subjects of a run are together"
    for name in ("a", "b"):
        assert [c for c in commands[::2] if c.startswith(name)] == [f"{name} {i}" for i in range(count)]


def test_a_run_that_cannot_be_appended_completely_leaves_nothing(tmp_path: Path) -> None:
    history = write_history(tmp_path / "h.sqlite", entry())
    incomplete = entry(key=None).scores  # a subject without a key
    with pytest.raises(UsageError, match="NOT NULL"):
        history.append(RUN, [SCORES, incomplete])
    assert len(history.entries()) == 1


def test_a_history_that_does_not_exist_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no history .*h\.sqlite\. `pytest evals` makes one"):
        History(tmp_path / "h.sqlite").entries()
    assert not list(tmp_path.iterdir()), "reading makes no file"


def test_an_empty_file_is_a_history_without_runs(tmp_path: Path) -> None:
    (tmp_path / "h.sqlite").touch()
    assert History(tmp_path / "h.sqlite").entries() == []
    assert len(write_history(tmp_path / "h.sqlite", entry()).entries()) == 1


def write_text(path: Path) -> None:
    path.write_text("not a database, but a longer text than the header of one " * 40)


def write_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (address TEXT)")
    connection.close()


def write_newer(path: Path) -> None:
    write_history(path, entry())
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()


def write_half(path: Path) -> None:
    write_history(path, *[entry()] * 40)
    path.write_bytes(path.read_bytes()[:4096])


UNUSABLE = {
    write_text: "file is not a database",
    write_foreign: "is a database of another program",
    write_newer: "has schema 2, but this version of fer-models reads schema 1. Update fer-models",
    write_half: "malformed",
    Path.mkdir: "is not a file",
}


@pytest.mark.parametrize(
    ("write", "words"), UNUSABLE.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_an_unusable_file_is_refused_in_one_sentence_and_stays_as_it_is(
    tmp_path: Path, write: object, words: str
) -> None:
    path = tmp_path / "h.sqlite"
    write(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    for call in (lambda: History(path).append(RUN, [SCORES]), lambda: History(path).entries()):
        text = outcome(call)
        assert isinstance(text, str)
        assert words in text
        assert "Move this file away" in text
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE subjects SET accuracy = 'high'", "accuracy is 'high'"),
        ("UPDATE subjects SET accuracy = 9e999", "accuracy is inf"),
        ("UPDATE subjects SET faces = 0.5", "faces is 0.5"),
        ("UPDATE subjects SET inputs = '[1]'", "inputs is [1]"),
        ("UPDATE subjects SET inputs = '{'", "Expecting property name"),
        ("UPDATE subjects SET model = CAST(X'ff' AS TEXT)", "Could not decode to UTF-8"),
        ("UPDATE runs SET time = 'yesterday'", "Invalid isoformat string"),
        ("ALTER TABLE subjects DROP COLUMN verdict", "verdict"),
        ("DROP TABLE runs", "no such table"),
    ],
)
def test_a_row_with_a_wrong_value_is_refused(tmp_path: Path, statement: str, words: str) -> None:
    history = write_history(tmp_path / "h.sqlite", entry())
    with sqlite3.connect(history.path) as connection:
        connection.execute(statement)
    connection.close()
    text = outcome(history.entries)
    assert isinstance(text, str)
    assert words in text


@pytest.mark.skipif(os.name != "posix", reason="the size of files cannot be limited")
def test_a_full_disk_leaves_the_history_as_it_was(tmp_path: Path) -> None:
    history = write_history(tmp_path / "h.sqlite", entry())
    with full_disk(history.path.stat().st_size):
        text = outcome(lambda: history.append(RUN, [SCORES] * 200))
    assert isinstance(text, str)
    assert "Free some space" in text
    assert len(history.entries()) == 1


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    text = outcome(lambda: History(tmp_path / "no" / "h.sqlite").append(RUN, [SCORES]))
    assert "unable to open" in text
    assert "--store FOLDER" in text


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="rights do not bind this user")
def test_a_read_only_history_is_read_and_not_written(tmp_path: Path) -> None:
    history = write_history(tmp_path / "h.sqlite", entry())
    history.path.chmod(0o444)
    assert len(history.entries(series_of(SCORES))) == 1
    text = outcome(lambda: history.append(RUN, [SCORES]))
    assert "readonly" in text
    assert "writable" in text
