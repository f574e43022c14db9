"""Damaged, exchanged, edited and impossible files in every cache: a run computes anew what it cannot believe,
and readers say so in a sentence.

Each case writes a whole cache, does something to it, and lets a run and a reader outside a run meet the
result. "Sealed" files have the right checksum in their names: what is wrong with them must be noticed by what
is in them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fakes import full_disk, in_canonical_order, oracle_labels, pipeline, run, toy_faces
from filelock import FileLock

from fer_models import cli
from fer_models.artifacts import checksummed_files, text_cache
from fer_models.classifiers import prompts
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.dummy import Oracle
from fer_models.cost.store import CostStore
from fer_models.emotions import LABELS, Emotion
from fer_models.errors import DamagedFileWarning, FerModelsError, StoreError
from fer_models.inference import embeddings
from fer_models.inference.prediction_cache import PredictionCache, PromptCache
from fer_models.inference.restoration_cache import CachedRestorer
from fer_models.robustness import prompt_search
from fer_models.store import partition as stores
from fer_models.store.partition import Store, load_partition
from fer_models.store.subject import Subject

FACES = toy_faces(28)
SUBJECT = Subject("toy", "validation", "raw", "fake")
COLUMNS = ("face", "index", "truth", "answer", "p_sad", "status", "text")
#: What the model of these tests answers: wrong on one face in four.
ANSWERS = {
    h: label if int(h, 16) % 4 else Emotion((label + 1) % 7) for h, label in oracle_labels(FACES).items()
}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(stores, "SHARD", 16)


@pytest.fixture(autouse=True)
def hang_guard():
    """No case takes longer than 10 s: an alarm ends it."""

    def too_long(*args):
        raise TimeoutError("this case takes longer than 10 s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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


# -- shards: what is in the file ------------------------------------------------------------------


def column(name, change):
    """An edit of one column: `change` makes new values from a list of the old."""

    def edit(table):
        at = table.schema.get_field_index(name)
        return table.set_column(
            at, table.schema.field(at), pa.array(change(table[name].to_pylist()), table.schema.field(at).type)
        )

    return edit


def typed(name, kind):
    def edit(table):
        at = table.schema.get_field_index(name)
        return table.set_column(at, name, table[name].cast(kind))

    return edit


def metadata(**changes):
    """An edit of the metadata's fields; `...` removes one."""

    def edit(table):
        fields = json.loads(table.schema.metadata[b"fer-models"]) | changes
        text = json.dumps({name: value for name, value in fields.items() if value is not ...})
        return table.replace_schema_metadata({b"fer-models": text.encode()})

    return edit


def raw_metadata(content):
    return lambda table: table.replace_schema_metadata(None if content is None else {b"fer-models": content})


def first(value):
    return lambda values: [value, *values[1:]]


def emotions(*changes):
    """An edit of all seven probabilities of the first row."""

    def edit(table):
        for label, value in zip(LABELS, changes, strict=True):
            table = column(f"p_{label}", first(value))(table)
        return table

    return edit


def perfect(table):
    at = table.schema.get_field_index("answer")
    return table.set_column(at, "answer", table["truth"])


def exchanged(table):
    """The probabilities of two emotions, the answers left as they are."""
    names = ["p_happy" if n == "p_sad" else "p_sad" if n == "p_happy" else n for n in table.column_names]
    return (
        table.rename_columns(names).select(table.column_names).replace_schema_metadata(table.schema.metadata)
    )


EDITS = {
    **{f"no column {name}": lambda table, name=name: table.drop_columns([name]) for name in COLUMNS},
    "one more column": lambda table: table.append_column("more", pa.nulls(len(table))),
    "columns in another order": lambda table: table.select(table.column_names[::-1]),
    "a column of another name": lambda table: table.rename_columns(["FACE", *table.column_names[1:]]),
    "row numbers of 64 bits": typed("index", pa.int64()),
    "row numbers as text": typed("index", pa.string()),
    "probabilities of 64 bits": typed("p_happy", pa.float64()),
    "probabilities as text": typed("p_happy", pa.string()),
    "faces as bytes": typed("face", pa.binary()),
    "emotions as dictionary": lambda table: table.set_column(2, "truth", table["truth"].dictionary_encode()),
    "long text": typed("text", pa.large_string()),
    "a null face": column("face", first(None)),
    "a null row number": column("index", first(None)),
    "a null label": column("truth", first(None)),
    "a null status": column("status", first(None)),
    "a null text": column("text", first(None)),
    "another face": column("face", first("0" * 64)),
    "faces in another order": column("face", lambda values: values[::-1]),
    "another label": column("truth", lambda values: [LABELS[(LABELS.index(values[0]) + 1) % 7], *values[1:]]),
    "a label that does not exist": column("truth", first("joy")),
    "no rows": lambda table: table.slice(0, 0),
    "a row less": lambda table: table.slice(1),
    "a row twice": lambda table: pa.concat_tables([table, table.slice(0, 1)]),
    "rows in another order": lambda table: table.take(list(range(len(table)))[::-1]),
    "every answer as labelled": perfect,
    "one answer edited": column(
        "answer", lambda values: [LABELS[(LABELS.index(values[0]) + 1) % 7], *values[1:]]
    ),
    "an answer that does not exist": column("answer", first("joy")),
    "an answer removed": column("answer", first(None)),
    "every answer removed": column("answer", lambda values: [None] * len(values)),
    "probabilities exchanged": exchanged,
    "another emotion more probable": emotions(*([1 / 7 + 0.06] + [(6 / 7 - 0.06) / 6] * 6)[::-1]),
    "probabilities that are no numbers": emotions(*[float("nan")] * 7),
    "one probability missing": column("p_sad", first(None)),
    "no probabilities": emotions(*[None] * 7),
    "a probability above 1": column("p_sad", first(1.5)),
    "a probability below 0": column("p_sad", first(-0.1)),
    "an infinite probability": column("p_sad", first(float("inf"))),
    "a status without an answer": column("status", first("silent")),
    "no metadata": raw_metadata(None),
    **{
        f"metadata {text!r}": raw_metadata(text)
        for text in (b"", b"null", b"[]", b"{}", b"7", b'"text"', b"{", b"\xff\xfe", b"[" * 900)
    },
    **{
        f"metadata without {name}": metadata(**{name: ...})
        for name in ("schema", "subject", "key", "shard", "n", "has_probabilities", "provenance")
    },
    **{f"schema {value!r}": metadata(schema=value) for value in (0, 99, "1", None)},
    **{
        f"subject {value!r}": metadata(subject=value)
        for value in (None, [], {}, {"model": "fake"}, {**SUBJECT.as_json(), "model": 7})
    },
    **{f"key {value!r}": metadata(key=value) for value in (None, "", "f" * 64, 7)},
    **{f"shard {value!r}": metadata(shard=value) for value in (1, -1, True, "0", None)},
    **{f"n {value!r}": metadata(n=value) for value in (0, 16, 2.5, None)},
    "has_probabilities as text": metadata(has_probabilities="no"),
    "provenance as a list": metadata(provenance=[]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_sealed_shard_with_wrong_content_is_not_believed(tmp_path, edit):
    expected, _ = predict(tmp_path)
    whole = content_of(tmp_path)
    path = shard_of(tmp_path)
    sealed = seal(path, checksummed_files.to_parquet(edit(checksummed_files.from_parquet(path.read_bytes()))))
    result_or_none(
        lambda: load_partition(sealed.parent)
    )  # outside a run some of these are sound answers about other faces
    answers, messages = predict(tmp_path)
    assert len(messages) == 1
    assert f"{sealed} is damaged: " in messages[0]
    same(answers, expected)
    assert content_of(tmp_path) == whole
    same(load_partition(sealed.parent)[0], expected)


# -- shards: the bytes of the file ----------------------------------------------------------------

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


@pytest.mark.parametrize("sealed", [False, True], ids=["as it is", "sealed"])
@pytest.mark.parametrize("damage", BYTES.values(), ids=BYTES)
def test_a_shard_of_wrong_bytes_is_not_believed(tmp_path, damage, sealed):
    expected, _ = predict(tmp_path)
    whole, path = content_of(tmp_path), shard_of(tmp_path, 1)
    content = damage(path.read_bytes())
    if sealed:
        path = seal(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged: .*Run `pytest evals` again") as caught:
        load_partition(path.parent)
    assert "\n" not in str(caught.value)
    answers, messages = predict(tmp_path)
    assert [text.startswith(f"{path} is damaged: ") for text in messages] == [True]
    same(answers, expected)
    assert content_of(tmp_path) == whole


# -- shards: the file in its folder ---------------------------------------------------------------


def swapped_contents(root):
    one, two = shard_of(root, 0), shard_of(root, 1)
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)


def swapped_names(root):
    one, two = shard_of(root, 0), shard_of(root, 1)
    one.rename(one.parent / "aside")
    two.rename(two.with_name(two.name.replace("part-00001", "part-00000")))
    (one.parent / "aside").rename(one.with_name(one.name.replace("part-00000", "part-00001")))


def without_checksum(root):
    shard_of(root).rename(shard_of(root).with_name("part-00000.parquet"))


def another_checksum(root):
    path = shard_of(root)
    path.rename(path.with_name(f"part-00000-{'0' * 16}.parquet"))


def another_subjects(root):
    with tempfile.TemporaryDirectory() as elsewhere:
        order, hashes, truth = in_canonical_order(FACES)
        partition = Store(Path(elsewhere)).partition(
            replace(SUBJECT, model="other"), "o" * 64, hashes, truth, order
        )
        answers, _ = predict(root)
        with partition.locked():
            partition.write(0, answers.select(np.arange(16)), {}, 0.1)
        path = shard_of(root)
        path.unlink()
        shutil.copy(next(partition.folder.glob("part-00000-*")), path.parent)


def an_additional_damaged_one(root):
    (shard_of(root).parent / f"part-00000-{'0' * 16}.parquet").write_bytes(b"damaged")


def a_link_to_nothing(root):
    path = shard_of(root)
    path.unlink()
    path.symlink_to("nowhere")


def a_link_to_itself(root):
    path = shard_of(root)
    path.unlink()
    path.symlink_to(path.name)


def a_pipe(root):
    path = shard_of(root)
    path.unlink()
    os.mkfifo(path)


def a_device_without_end(root):
    path = shard_of(root)
    path.unlink()
    path.symlink_to("/dev/zero")


def a_folder_of_another_checksum(root):
    path = shard_of(root)
    path.unlink()
    path.with_name(f"part-00000-{'0' * 16}.parquet").mkdir()


def left_over_parts(root):
    (shard_of(root).parent / "part-00000.1.part").write_bytes(b"half")
    (shard_of(root).parent / "seconds.1.part").mkdir()
    shard_of(root).unlink()


def removed(root):
    shard_of(root).unlink()


def all_removed(root):
    shutil.rmtree(shard_of(root).parent)


def third_party_files(root):
    path = shard_of(root)
    for name in (
        "part-.parquet",
        "part-x.parquet",
        "part-00000-short.parquet",
        "notes.txt",
        "part-00000-XYZ.parquet",
        "part-99999.parquet",
    ):
        path.with_name(name).write_bytes(b"somebody's")
    path.unlink()


PLACES = [
    swapped_contents, swapped_names, without_checksum, another_checksum, another_subjects,
    an_additional_damaged_one, a_link_to_nothing, a_link_to_itself, a_pipe, a_device_without_end,
    a_folder_of_another_checksum, left_over_parts, removed, all_removed, third_party_files,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=[place.__name__ for place in PLACES])
def test_a_shard_out_of_place_is_computed_anew(tmp_path, place):
    expected, _ = predict(tmp_path)
    whole, name = content_of(tmp_path), shard_of(tmp_path).parent
    place(tmp_path)
    if (actual := result_or_none(lambda: load_partition(name))) is not None:
        same(actual[0], expected)
    answers, messages = predict(tmp_path)
    assert all("is damaged" in text for text in messages)
    same(answers, expected)
    assert whole.items() <= content_of(tmp_path).items()


def test_a_folder_with_the_name_of_a_shard_is_told_and_stays(tmp_path):
    predict(tmp_path)
    path = shard_of(tmp_path)
    path.unlink()
    (path / "somebodys").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be stored in"):
        run(tmp_path, FACES, Oracle(ANSWERS, 0.5))
    assert (path / "somebodys").is_dir()
    with pytest.raises(StoreError, match="it is not a file"):
        load_partition(path.parent)


@pytest.mark.parametrize("what", ["store", "parent", "subject", "lock"])
def test_a_store_that_cannot_be_one_is_told_in_a_sentence(tmp_path, what):
    predict(tmp_path / "right")
    subject = shard_of(tmp_path / "right").parent.name
    place = {"store": "s", "parent": "p", "subject": f"s/{subject}", "lock": f"s/{subject}/.lock"}[what]
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    if what == "lock":
        (tmp_path / place).mkdir()
    else:
        (tmp_path / place).write_text("a file in the way")
    with pytest.raises(StoreError, match="choose --store FOLDER"):
        run(tmp_path / ("p/store" if what == "parent" else "s"), FACES, Oracle(ANSWERS))


@pytest.mark.parametrize("part", ["store", "subject"])
def test_a_linked_folder_is_as_good_as_its_own(tmp_path, part):
    expected, _ = predict(tmp_path / "store")
    linked = tmp_path / "store" if part == "store" else shard_of(tmp_path / "store").parent
    linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")
    shard_of(tmp_path / "elsewhere").write_bytes(b"")
    answers, messages = predict(tmp_path / "store")
    assert len(messages) == 1
    same(answers, expected)


@pytest.mark.parametrize(
    "edit", ["every answer as labelled", "metadata b'[]'", "no column face", "a null face"]
)
def test_compare_says_what_is_wrong_in_one_line(tmp_path, capsys, edit):
    predict(tmp_path / "a")
    predict(tmp_path / "b")
    path = shard_of(tmp_path / "b")
    sealed = seal(
        path, checksummed_files.to_parquet(EDITS[edit](checksummed_files.from_parquet(path.read_bytes())))
    )
    assert cli.main(["compare", str(shard_of(tmp_path / "a").parent), str(sealed.parent)]) == 1
    stderr = capsys.readouterr().err
    assert "is damaged" in stderr
    assert stderr.count("\n") == 1
    assert sealed.exists()


# -- a disk that takes nothing more, and rights that are missing ----------------------------------


class FullDisk(Oracle):
    """The oracle; while it predicts, the disk under one temporary file becomes full."""

    def __init__(self, place):
        super().__init__(ANSWERS, 0.5)
        self.place = place

    def predict(self, faces):
        if not self.place.is_symlink():
            self.place.symlink_to("/dev/full")
        return super().predict(faces)


@pytest.mark.parametrize("shard", [0, 1])
def test_a_full_disk_is_told_and_what_was_written_stays(tmp_path, shard):
    expected, _ = predict(tmp_path)
    part, whole = shard_of(tmp_path).parent / f"part-{shard:05d}.{os.getpid()}.part", content_of(tmp_path)
    shard_of(tmp_path, shard).write_bytes(b"")
    with (
        pytest.warns(DamagedFileWarning),
        pytest.raises(StoreError, match=r"No space left on device.*Free some space"),
    ):
        run(tmp_path, FACES, FullDisk(part))
    assert not part.is_symlink()
    assert content_of(tmp_path).items() <= whole.items()
    assert len(content_of(tmp_path)) == 1
    same(predict(tmp_path)[0], expected)
    assert content_of(tmp_path) == whole


def test_times_that_cannot_be_written_cost_no_answer(tmp_path):
    expected, _ = predict(tmp_path / "right")
    place = tmp_path / "full" / shard_of(tmp_path / "right").parent.name
    answers, _ = predict(tmp_path / "full", FullDisk(place / f"seconds.{os.getpid()}.part"))
    same(answers, expected)
    assert len(list(place.glob("part-*.parquet"))) == 2


@contextmanager
def somebody():
    """A user without rights, in a folder that everybody can read."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    try:
        predict(place)  # everything is imported now
        yield place
    finally:
        os.system(f"chmod -R u+rwX {place}")
        shutil.rmtree(place)


@contextmanager
def without_rights():
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


def test_a_complete_store_that_is_read_only_is_read():
    with somebody() as place:
        shard_of(place).parent.chmod(0o555)
        with without_rights():
            answers, messages = predict(place, model="nobody is asked")
        assert messages == []
        assert len(answers) == 28


def test_an_incomplete_store_that_is_read_only_is_told():
    with somebody() as place:
        shard_of(place).unlink()
        shard_of(place, 1).parent.chmod(0o555)
        with without_rights(), pytest.raises(StoreError, match=r"Permission denied|cannot be stored"):
            run(place, FACES, Oracle(ANSWERS))


def test_a_shard_that_cannot_be_read_is_computed_anew():
    with somebody() as place:
        path = shard_of(place)
        for file in path.parent.iterdir():
            file.chmod(0o666)
        path.parent.chmod(0o777)
        path.chmod(0)
        expected = load_partition(path.parent)[0] if os.geteuid() == 0 else None
        with without_rights():
            with pytest.raises(StoreError, match="Permission denied"):
                load_partition(path.parent)
            answers, messages = predict(place)
        assert len(messages) == 1
        assert "Permission denied" in messages[0]
        if expected is not None:
            same(answers, expected)


def test_a_folder_that_cannot_be_read_is_told():
    with somebody() as place:
        shard_of(place).parent.chmod(0)
        with without_rights(), pytest.raises(StoreError, match="cannot be stored"):
            run(place, FACES, Oracle(ANSWERS))


# -- the lock -------------------------------------------------------------------------------------


def hold(path, ready, seconds):
    with FileLock(path):
        ready.set()
        time.sleep(seconds)


@pytest.mark.parametrize("killed", [False, True], ids=["released", "killed"])
def test_a_lock_that_another_process_holds_is_waited_for(tmp_path, killed):
    expected, _ = predict(tmp_path)
    path = shard_of(tmp_path)
    path.write_bytes(b"")
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(path.parent / ".lock", ready, 60 if killed else 0.5))
    process.start()
    assert ready.wait(5)
    if killed:
        process.kill()
    answers, messages = predict(tmp_path)
    process.join()
    assert len(messages) == 1
    same(answers, expected)


# -- the other caches -----------------------------------------------------------------------------


class Looking:
    def embed(self, faces):
        return np.array(
            [[part.mean() for part in np.array_split(face, 3)] for face in faces], dtype=np.float32
        )


def embedded(root):
    order, hashes, _ = in_canonical_order(FACES)
    partition = embeddings.embedding_partition(root, "toy", {"model": 1}, hashes)
    return embeddings.embed_missing_shards(
        partition, FACES.select(order), lambda: pipeline(Looking(), name="looking"), batch_size=8
    )


def sharp(faces):
    rows = np.full((len(faces), 7), 0.05)
    rows[np.arange(len(faces)), [int(face.sum()) % 7 for face in faces]] = 0.7
    return Predictions.from_probabilities(rows, unanswered={0: "silent"}, text=["said"] * len(faces))


def predicted(root):
    memory = PredictionCache(root, "model", {"model": 1}, LABELS, sharp)
    predictions = memory.predict(FACES.faces(range(9)))
    memory.save()
    return [predictions.probabilities, *predictions.status, *predictions.text]


def prompted(root):
    memory = PromptCache(
        root, "prompts", {"model": 1}, lambda prompt_set: np.arange(28) % 7 - (len(prompt_set.templates) > 1)
    )
    actual = [memory.classify(prompts.load(name)) for name in ("plain", "openai")]
    memory.save()
    return actual


class Negative:
    def restore(self, faces):
        return [255 - face for face in faces]


def restored(root):
    return CachedRestorer(root, "negative", {"restorer": 1}, Negative).restore(FACES.faces(range(3)))


def noted(root):
    return text_cache.cached_text(
        root, "audit", "of these files", lambda: json.dumps({"copies": 7}), json.loads
    )


def cost(root):
    return [CostStore(root).get_or_measure({"phase": "inference"}, lambda: {"seconds": 0.25})["seconds"]]


def searched(root):
    truth = np.arange(70) % 7
    answer = lambda prompt_set: truth if "blurry" not in prompt_set.texts(0)[0] else (truth + 1) % 7  # noqa: E731
    result = prompt_search.search(
        answer, prompts.load("plain"), truth, examples=60, breaking_file=root / "search.json"
    )
    return [result.as_json()]


def table_edit(edit):
    return lambda b: checksummed_files.to_parquet(edit(checksummed_files.from_parquet(b)))


def drop(name):
    return table_edit(lambda table: table.drop_columns([name]))


def key(name, value):
    return table_edit(lambda table: table.replace_schema_metadata(None if value is None else {name: value}))


def doubled(name):
    return table_edit(
        lambda table: table.set_column(
            table.schema.get_field_index(name), name, pc.multiply(table[name], 2.0)
        )
    )


_ANY = {
    "empty": BYTES["empty"],
    "half": BYTES["the first half"],
    "zeros": BYTES["zeros"],
    "longer": BYTES["one byte more"],
}
_JSON = {
    text: lambda b, text=text: text.encode()
    for text in ("null", "[]", "{}", "7", '"text"', "[null]", "[[]]", '[{"kind": 1}]', "{")
}
_INFINITE = pa.FixedSizeListArray.from_arrays(pa.array([float("inf")] * 48, pa.float32()), 3)
_FEATURES = b"fer-models-features"
_PREDICTIONS = b"fer-models-predictions"
CACHES = {
    embedded: {
        "no column": drop("features"),
        "no faces": drop("face"),
        "another key": key(_FEATURES, b'{"key": "other"}'),
        "key []": key(_FEATURES, b"[]"),
        "key null": key(_FEATURES, b"null"),
        "no key": key(_FEATURES, None),
        "not JSON": key(_FEATURES, b"{"),
        "fewer rows": table_edit(lambda table: table.slice(1)),
        "lists for arrays": table_edit(
            lambda table: table.set_column(1, "features", pa.array([[1.0]] * len(table)))
        ),
        "text": table_edit(lambda table: table.set_column(1, "features", pa.array(["x"] * len(table)))),
        "float64": table_edit(
            lambda table: table.set_column(1, "features", table["features"].cast(pa.list_(pa.float64(), 3)))
        ),
        "infinite": table_edit(lambda table: table.set_column(1, "features", _INFINITE)),
    },
    predicted: {
        "no column": drop("p_sad"),
        "no status": drop("status"),
        "another key": key(_PREDICTIONS, b"other"),
        "no key": key(_PREDICTIONS, None),
        "above 1": doubled("p_happy"),
        "null faces": table_edit(
            lambda table: table.set_column(0, "face", pa.nulls(len(table), pa.string()))
        ),
        "null text": table_edit(lambda table: table.set_column(9, "text", pa.nulls(len(table), pa.string()))),
        "no probabilities": table_edit(
            lambda table: table.set_column(1, table.column_names[1], pa.nulls(len(table), pa.float32()))
        ),
        "status ok": table_edit(lambda table: table.set_column(8, "status", pa.array(["ok"] * len(table)))),
    },
    prompted: {
        "no column": drop("emotions"),
        "another key": key(_PREDICTIONS, b"other"),
        "no such emotion": table_edit(
            lambda table: table.set_column(1, "emotions", pa.array([bytes([9] * 28)] * len(table)))
        ),
        "numbers": table_edit(lambda table: table.set_column(1, "emotions", pa.array([7] * len(table)))),
        "neither": table_edit(
            lambda table: table.set_column(1, "emotions", pa.nulls(len(table), pa.binary()))
        ),
    },
    restored: {
        "text": lambda b: b"no picture",
        "no image data": lambda b: b[:60] + b[-12:],
        "a GIF": lambda b: b"GIF89a" + bytes(40),
    },
    noted: {"{": _JSON["{"], "text": lambda b: b"copies: 7", "no UTF-8": lambda b: b"\xff\xfe"},
    cost: _JSON,
    searched: {text: change for text, change in _JSON.items() if text not in ("[]", "{}")},
}
CASES = [
    pytest.param(make, change, sealed, id=f"{make.__name__}, {name}, {'sealed' if sealed else 'as it is'}")
    for make, changes in CACHES.items()
    for sealed, some in ((False, {**_ANY, **changes}), (True, changes))
    for name, change in some.items()
]


def assert_equal(actual, expected):
    if isinstance(expected, dict):
        assert actual == expected
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("make", "change", "sealed"), CASES)
def test_what_is_wrong_in_a_cache_is_computed_anew(tmp_path, make, change, sealed):
    expected = make(tmp_path)
    whole = content_of(tmp_path)
    path = tmp_path / sorted(whole)[0]
    content = change(whole[sorted(whole)[0]])
    path = seal(path, content) if sealed else path
    path.write_bytes(content)
    with pytest.warns(DamagedFileWarning) as caught:
        actual = make(tmp_path)
    assert [str(w.message).startswith(f"{path} is damaged: ") for w in caught] == [True]
    assert_equal(actual, expected)
    assert content_of(tmp_path) == whole


@pytest.mark.parametrize(
    "make", [embedded, predicted, prompted, restored, noted, cost, searched], ids=lambda make: make.__name__
)
def test_a_disk_that_is_full_from_the_start_is_told_in_a_sentence_or_costs_nothing(tmp_path, make):
    with full_disk(3):
        if make in (cost, searched):  # conveniences: what cannot be kept is computed again the next time
            make(tmp_path)
        else:
            with pytest.raises(StoreError, match="cannot be stored"):
                make(tmp_path)
    assert content_of(tmp_path) == {}
    make(tmp_path)


@pytest.mark.parametrize(
    "make", [embedded, predicted, prompted, restored, noted], ids=lambda make: make.__name__
)
def test_a_cache_whose_folder_is_a_file_is_told_in_a_sentence(tmp_path, make):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be stored"):
        make(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"
