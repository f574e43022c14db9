import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import answers_of
from hypothesis import given, settings

from fer_models.errors import StoreError
from fer_models.evaluation import store as stores
from fer_models.evaluation.store import Answers, Store, canonical_order, stored
from fer_models.evaluation.subject import Subject

SUBJECT = Subject("drawn", "validation", "raw", "oracle")
texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)


def shelf_of(root, answers, key="k" * 64, subject=SUBJECT):
    return Store(root).shelf(subject, key, answers.faces, answers.truth)


def write(shelf, answers):
    with shelf.locked():
        for shard in shelf.missing():
            rows = shelf.rows(shard)
            part = Answers(
                answers.faces[rows],
                answers.index[rows],
                answers.truth[rows],
                answers.answer[rows],
                answers.probabilities[rows],
                answers.status[rows],
                answers.text[rows],
            )
            shelf.write(shard, part, {"device": "cpu"}, 0.5)


def assert_same(a, b):
    assert (a.faces, a.status, a.text) == (b.faces, b.status, b.text)
    for name in ("index", "truth", "answer"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    np.testing.assert_array_equal(a.probabilities.astype(np.float32), b.probabilities.astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6), texts, texts), min_size=1, max_size=40))
def test_what_is_written_is_what_is_read_whatever_a_model_says(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("store")
    plain = answers_of(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]))
    said = Answers(plain.faces, plain.index, plain.truth, plain.answer, plain.probabilities, tuple(r[2] for r in rows), tuple(r[3] for r in rows))
    shelf = shelf_of(root, said)
    write(shelf, said)
    assert_same(shelf.read(), said)


def test_a_subject_is_cut_into_shards_and_missing_ones_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "SHARD", 10)
    answers = answers_of(np.arange(25) % 7, np.zeros(25, dtype=int))
    shelf = shelf_of(tmp_path, answers)
    assert shelf.missing() == [0, 1, 2]
    write(shelf, answers)
    assert shelf.missing() == []
    (shelf.folder / "part-00001.parquet").unlink()
    assert shelf.missing() == [1]
    with pytest.raises(StoreError, match="missing"):
        shelf.read()
    before = (shelf.folder / "part-00000.parquet").read_bytes()
    write(shelf, answers)
    assert (shelf.folder / "part-00000.parquet").read_bytes() == before
    assert_same(shelf.read(), answers)


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path):
    answers = answers_of(np.arange(20) % 7, np.arange(20) % 5)
    shelf = shelf_of(tmp_path, answers)
    shelf.folder.mkdir(parents=True)
    (shelf.folder / "part-00000.123.part").write_bytes(b"half")
    write(shelf, answers)
    assert not list(shelf.folder.glob("*.part"))
    assert_same(shelf.read(), answers)


def test_the_same_answers_make_the_same_bytes(tmp_path):
    answers = answers_of(np.arange(20) % 7, np.arange(20) % 5)
    one, two = shelf_of(tmp_path / "a", answers), shelf_of(tmp_path / "b", answers)
    write(one, answers)
    write(two, answers)
    assert (one.folder / "part-00000.parquet").read_bytes() == (two.folder / "part-00000.parquet").read_bytes()


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not parquet at all", lambda b: b[:200] + b"\0" * 200 + b[400:]]
)
def test_a_corrupt_shard_is_named_and_left_as_it_is(tmp_path, damage):
    answers = answers_of(np.arange(20) % 7, np.arange(20) % 5)
    shelf = shelf_of(tmp_path, answers)
    write(shelf, answers)
    path = shelf.folder / "part-00000.parquet"
    path.write_bytes(damage(path.read_bytes()))
    content = path.read_bytes()
    with pytest.raises(StoreError, match=r"part-00000\.parquet") as caught:
        shelf.read()
    assert "Delete it and run again" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_foreign_parquet_file_is_refused(tmp_path):
    answers = answers_of(np.arange(5), np.arange(5))
    shelf = shelf_of(tmp_path, answers)
    shelf.folder.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), shelf.folder / "part-00000.parquet")
    with pytest.raises(StoreError, match="not written by fer-models"):
        shelf.read()


def test_another_subjects_shard_is_refused(tmp_path):
    answers = answers_of(np.arange(5), np.arange(5))
    one = shelf_of(tmp_path, answers, key="a" * 64)
    write(one, answers)
    two = shelf_of(tmp_path, answers, key="b" * 64)
    two.folder.mkdir(parents=True)
    (two.folder / "part-00000.parquet").write_bytes((one.folder / "part-00000.parquet").read_bytes())
    with pytest.raises(StoreError, match="another subject"):
        two.read()


def test_a_folder_of_answers_tells_whose_they_are(tmp_path):
    answers = answers_of(np.arange(7), np.arange(7))
    shelf = shelf_of(tmp_path, answers)
    write(shelf, answers)
    read, subject = stored(shelf.folder)
    assert subject == SUBJECT
    assert_same(read, answers)
    with pytest.raises(StoreError, match="no stored answers"):
        stored(tmp_path)


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    shelf = shelf_of(tmp_path / "file", answers_of(np.arange(3), np.arange(3)))
    with pytest.raises(StoreError, match="--store"), shelf.locked():
        pass


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), min_size=1, max_size=12), st.randoms())
def test_canonical_order_does_not_depend_on_the_order_of_rows(rows, random):
    def ordered(rows):
        order = canonical_order(tuple(r[0] for r in rows), np.array([r[1] for r in rows]))
        return [rows[i] for i in order]

    shuffled = list(rows)
    random.shuffle(shuffled)
    assert ordered(rows) == ordered(shuffled)


@given(st.text("abc/ é:\\", min_size=1, max_size=8))
def test_a_subjects_folder_name_is_safe_and_its_key_tells_it_apart(name):
    subject = Subject("drawn", "test", "raw", name)
    folder = subject.folder(subject.key({}))
    assert "/" not in folder
    assert "\\" not in folder
    assert subject.key({"weights": 1}) != subject.key({"weights": 2})
    assert Subject.from_json(subject.as_json()) == subject
