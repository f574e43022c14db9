"""The history of runs in an SQLite file, which several processes may read and append to.

A run is appended in one transaction, so a file never holds a part of a run. Readers and writers wait for each
other. The rollback journal is used and not the write-ahead log: it also works on network drives, and a
read-only copy of the file can be read.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from fer_models.artifacts.object_storage import ObjectPath, StorePath
from fer_models.errors import UsageError, encodable, one_line
from fer_models.history.records import Entry, RunRecord, Series, SubjectRecord
from fer_models.store.subject import Subject

#: In the header of the file: that it is a history of this project, and the version of its tables.
_APPLICATION_ID = 0x46455248  # "FERH"
_SCHEMA = 1
#: How long a process waits for the others, in seconds.
_BUSY_TIMEOUT = 30
_NAME = "history.sqlite"
_ADVICE = "Move this file away, or name another one: `pytest evals` makes a new one next to its store."
_NOT_WRITABLE = "Make the file and its folder writable, or choose another store: --store FOLDER"
_ADVICE_BY_REASON = {
    "disk is full": "Free some space on its disk.",
    "disk I/O error": "Free some space on its disk, or check the disk.",
    "locked": "Another process uses it. Try again when that one has ended.",
    "readonly": _NOT_WRITABLE,
    "unable to open": _NOT_WRITABLE,
}

_TABLES = (
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY, time TEXT NOT NULL, version TEXT NOT NULL, command TEXT NOT NULL,
        depth TEXT NOT NULL, cached_only INTEGER NOT NULL, exit_code INTEGER NOT NULL,
        verdicts TEXT NOT NULL, versions TEXT NOT NULL, machine TEXT NOT NULL)""",
    """CREATE TABLE subjects (
        run INTEGER NOT NULL REFERENCES runs (id), dataset TEXT NOT NULL, split TEXT NOT NULL,
        corruption TEXT, restoration TEXT NOT NULL, model TEXT NOT NULL, prompt TEXT,
        faces INTEGER NOT NULL, faces_of_split INTEGER NOT NULL,
        accuracy REAL, low REAL, high REAL, macro_f1 REAL, verdict TEXT, change REAL,
        from_store INTEGER NOT NULL, device TEXT, subject_key TEXT NOT NULL, fingerprint TEXT NOT NULL,
        inputs TEXT NOT NULL)""",
    "CREATE INDEX subjects_by_model ON subjects (model, dataset, split, restoration)",
)
_ADD_RUN = """INSERT INTO runs (
    time, version, command, depth, cached_only, exit_code, verdicts, versions, machine
) VALUES (
    :time, :version, :command, :depth, :cached_only, :exit_code, :verdicts, :versions, :machine)"""
_ADD_SUBJECT = """INSERT INTO subjects VALUES (
    :run, :dataset, :split, :corruption, :restoration, :model, :prompt, :n, :of,
    :accuracy, :low, :high, :macro_f1, :verdict, :change, :from_store, :device, :key, :fingerprint,
    :inputs)"""
_ENTRIES = "SELECT * FROM subjects JOIN runs ON runs.id = subjects.run"
_OF_SERIES = """ WHERE model = :model AND dataset = :dataset AND split = :split
    AND restoration = :restoration AND corruption IS :corruption AND prompt IS :prompt
    AND (CASE WHEN faces < faces_of_split THEN faces END) IS :limit"""
_NEWEST_FIRST = " ORDER BY runs.id DESC, subjects.rowid DESC LIMIT :last"


def history_path(store: StorePath, local_folder: Path = Path(".evals")) -> Path:
    """The history of the runs that use a store: a file in the folder that holds the store.

    It is in `local_folder` where the store is in object storage.
    """
    return (local_folder if isinstance(store, ObjectPath) else store.parent) / _NAME


class History:
    """The history in one file, which is made by the first run that is appended.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, run: RunRecord, subjects: Iterable[SubjectRecord]) -> None:
        """Append a run, completely or not at all.

        Raises:
            UsageError: the file cannot be written, or is no history of this version.
        """
        with self._connected("rwc") as connection, connection:
            connection.execute("BEGIN IMMEDIATE")  # from here on the only writer
            if not self._has_tables(connection):
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {_SCHEMA}")
            number = connection.execute(_ADD_RUN, _parameters(asdict(run))).lastrowid
            for scores in subjects:
                fields = {**asdict(scores), **scores.subject.as_json(), "run": number}
                del fields["subject"]
                connection.execute(_ADD_SUBJECT, _parameters(fields))

    def entries(self, series: Series | None = None, last: int | None = None) -> list[Entry]:
        """Read entries, in the order in which their runs were appended.

        Args:
            series: the series that is read; None for all.
            last: the most entries, those appended last; None for all.

        Raises:
            UsageError: the file does not exist, cannot be read, or is no history of this version.
        """
        if not os.path.lexists(self.path):
            raise UsageError(
                f"There is no history {self.path}. `pytest evals` makes one next to its store. "
                "For another one: --store FOLDER or --history FILE"
            )
        query = _ENTRIES
        values: dict[str, Any] = {"last": -1 if last is None else last}
        if series is not None:
            query += _OF_SERIES
            values |= {**series.subject.as_json(), "limit": series.limit}
        with self._connected("rw" if os.access(self.path, os.W_OK) else "ro") as connection:
            if not self._has_tables(connection):
                return []
            rows = connection.execute(query + _NEWEST_FIRST, _parameters(values))
            try:
                return [_entry(dict(row)) for row in rows][::-1]
            except (ValueError, KeyError, RecursionError) as error:
                reason = one_line(str(error))
                raise UsageError(f"The history {self.path} is damaged: {reason}. {_ADVICE}") from error

    @contextmanager
    def _connected(self, mode: str) -> Iterator[sqlite3.Connection]:
        """Open the file. Every error of SQLite becomes a UsageError."""
        try:
            if self.path.exists() and not self.path.is_file():
                raise UsageError(f"The history {self.path} is not a file. {_ADVICE}")
            address = f"{self.path.absolute().as_uri()}?mode={mode}"
            options: dict[str, Any] = {"uri": True, "timeout": _BUSY_TIMEOUT, "isolation_level": None}
            with closing(sqlite3.connect(address, **options)) as connection:
                connection.row_factory = sqlite3.Row
                yield connection
        except (sqlite3.Error, OSError) as error:
            reason = one_line(str(error))
            raise UsageError(
                f"The history {self.path} cannot be used ({reason}). {_advice(reason)}"
            ) from error

    def _has_tables(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is a history of this version; False for an empty file.

        Raises:
            UsageError: it is neither.
        """
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != _APPLICATION_ID:
            if tables or application or schema:
                raise UsageError(f"{self.path} is a database of another program. {_ADVICE}")
            return False
        if schema != _SCHEMA:
            raise UsageError(
                f"The history {self.path} has schema {schema}, but this version of fer-models reads schema "
                f"{_SCHEMA}. Update fer-models. {_ADVICE}"
            )
        return True


def _advice(reason: str) -> str:
    """What to do about an error of SQLite or of the system."""
    for words, advice in _ADVICE_BY_REASON.items():
        if words in reason:
            return advice
    return _ADVICE


def _parameters(fields: dict[str, Any]) -> dict[str, Any]:
    """Values for SQLite: mappings as JSON, and text that can be encoded."""
    return {name: _parameter(value) for name, value in fields.items()}


def _parameter(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value)
    return encodable(value) if isinstance(value, str) else value


def _entry(row: dict[str, Any]) -> Entry:
    """Decode a row. Raises ValueError or KeyError where a value has a wrong type, or is missing."""
    time = _text(row, "time")
    datetime.fromisoformat(time)
    run = RunRecord(
        time=time,
        version=_text(row, "version"),
        command=_text(row, "command"),
        depth=_text(row, "depth"),
        cached_only=bool(_integer(row, "cached_only")),
        exit_code=_integer(row, "exit_code"),
        verdicts=_mapping(row, "verdicts", int),
        versions=_mapping(row, "versions", str),
        machine=_text(row, "machine"),
    )
    names = {name: _text(row, name) for name in ("dataset", "split", "restoration", "model")}
    scores = SubjectRecord(
        subject=Subject(
            **names, corruption=_optional_text(row, "corruption"), prompt=_optional_text(row, "prompt")
        ),
        n=_integer(row, "faces"),
        of=_integer(row, "faces_of_split"),
        accuracy=_number(row, "accuracy"),
        low=_number(row, "low"),
        high=_number(row, "high"),
        macro_f1=_number(row, "macro_f1"),
        verdict=_optional_text(row, "verdict"),
        change=_number(row, "change"),
        from_store=bool(_integer(row, "from_store")),
        device=_optional_text(row, "device"),
        key=_text(row, "subject_key"),
        fingerprint=_text(row, "fingerprint"),
        inputs=_mapping(row, "inputs", str),
    )
    return Entry(run, scores)


def _text(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, which is no text")
    return value


def _optional_text(row: dict[str, Any], name: str) -> str | None:
    return None if row[name] is None else _text(row, name)


def _integer(row: dict[str, Any], name: str) -> int:
    value = row[name]
    if not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}, which is no integer")
    return value


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row[name]
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}, which is no number")
    return value


def _mapping(row: dict[str, Any], name: str, kind: type) -> dict[str, Any]:
    value = json.loads(_text(row, name))
    if not isinstance(value, dict) or not all(isinstance(inner, kind) for inner in value.values()):
        raise ValueError(f"{name} is {value!r}, which is no mapping")
    return value
