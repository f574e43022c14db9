"""Stores of a known model whose files tests damage, and what runs and readers make of them."""

from __future__ import annotations

import warnings

import numpy as np
from fakes import oracle_labels, run, toy_faces

from fer_models.artifacts import checksummed_files
from fer_models.classifiers.dummy import Oracle
from fer_models.emotions import Emotion
from fer_models.errors import DamagedFileWarning, FerModelsError
from fer_models.store.subject import Subject

FACES = toy_faces(28)
SUBJECT = Subject("toy", "validation", "raw", "fake")
COLUMNS = ("face", "index", "truth", "answer", "p_sad", "status", "text")
#: What the model of these tests answers: wrong on one face in four.
ANSWERS = {
    h: label if int(h, 16) % 4 else Emotion((label + 1) % 7) for h, label in oracle_labels(FACES).items()
}


def predict(root, model=None):
    """The answers of a run over the store at `root`, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = run(root, FACES, model or Oracle(ANSWERS, 0.5)).predictions
    assert all(w.category is DamagedFileWarning for w in caught)
    return answers, [str(w.message) for w in caught]


def content_of(root):
    """Every file by its path, without locks and times."""
    files = (
        p for p in root.rglob("*") if p.is_file() and p.name != ".lock" and not p.name.startswith("seconds-")
    )
    return {p.relative_to(root): p.read_bytes() for p in files}


def result_or_none(read):
    """What `read` gives; None where it raises an error of this package, on one line."""
    try:
        return read()
    except FerModelsError as error:
        text = str(error)
    assert text
    assert "\n" not in text
    return None


def same(a, b):
    assert (a.faces, a.status, a.text, a.has_probabilities) == (
        b.faces,
        b.status,
        b.text,
        b.has_probabilities,
    )
    for name in ("index", "truth", "answer", "probabilities"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def shard_of(root, number=0):
    (path,) = root.rglob(f"part-{number:05d}-*.parquet")
    return path


def seal(path, content):
    """The file with other content, and the right checksum in its name."""
    stem = path.stem.rpartition("-")[0]
    path.unlink()
    sealed = path.with_name(f"{stem}-{checksummed_files.checksum(content)}{path.suffix}")
    sealed.write_bytes(content)
    return sealed


BYTES = {
    "empty": lambda b: b"",
    "one byte": lambda b: b[:1],
    "the first half": lambda b: b[: len(b) // 2],
    "the second half": lambda b: b[len(b) // 2 :],
    "the last byte cut": lambda b: b[:-1],
    "one byte more": lambda b: b + b"\0",
    "zeros": lambda b: bytes(len(b)),
    "zeros in the middle": lambda b: b[:200] + bytes(200) + b[400:],
    "no footer": lambda b: b[:-8] + bytes(8),
    "only the magic number": lambda b: b"PAR1",
    "magic numbers around nothing": lambda b: b"PAR1" + (0).to_bytes(4, "little") + b"PAR1",
    "a footer of 4 GiB": lambda b: b[:-8] + b"\xff\xff\xff\xff" + b"PAR1",
    "text": lambda b: b"not parquet at all",
    "a pickle": lambda b: b"\x80\x04]\x94.",
    "JSON": lambda b: b"{}",
}
