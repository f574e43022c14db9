import warnings
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from fakes import answers_of
from hypothesis import given, settings

from fer_models.artifacts import checksummed_files
from fer_models.errors import DamagedFileWarning, PredictionError, StoreError
from fer_models.store import predictions as stores
from fer_models.store.predictions import Store, canonical_order, load_partition, read_shard
from fer_models.store.subject import Subject

SUBJECT = Subject("drawn", "validation", "raw", "oracle")
texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)


def shelf_of(root, answers, key="k" * 64, subject=SUBJECT):
    return Store(root).partition(subject, key, answers.faces, answers.truth, answers.index)


def write(shelf, answers):
    with shelf.locked():
        for shard in shelf.missing(remove_damaged=True):
            rows = shelf.rows(shard)
            shelf.write(shard, answers.select(np.arange(rows.start, rows.stop)), {"device": "cpu"}, 0.5)


def parts_of(shelf):
    """The files of a shelf's shards, in order."""
    return sorted(shelf.folder.glob("part-*.parquet"))


def assert_same(a, b):
    assert (a.faces, a.status, a.text, a.has_probabilities) == (
        b.faces,
        b.status,
        b.text,
        b.has_probabilities,
    )
    for name in ("index", "truth", "answer"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    np.testing.assert_array_equal(a.probabilities.astype(np.float32), b.probabilities.astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6), texts, texts), min_size=1, max_size=40))
def test_what_is_written_is_what_is_read_whatever_a_model_says(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("store")
    plain = answers_of(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]))
    status = tuple("ok" if answer >= 0 else f"because {why}" for _, answer, why, _ in rows)
    said = replace(plain, status=status, text=tuple(r[3] for r in rows), has_probabilities=len(rows) % 2 == 0)
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
    before = [part.read_bytes() for part in parts_of(shelf)]
    parts_of(shelf)[1].unlink()
    assert_same(shelf.read(), answers)  # what was read once is not read again
    shelf = shelf_of(tmp_path, answers)
    assert shelf.missing() == [1]
    with pytest.raises(StoreError, match="missing"):
        shelf.read()
    write(shelf, answers)
    assert [part.read_bytes() for part in parts_of(shelf)] == before
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
    assert [p.name for p in parts_of(one)] == [p.name for p in parts_of(two)]
    assert [p.read_bytes() for p in parts_of(one)] == [p.read_bytes() for p in parts_of(two)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b"not parquet at all",
        lambda b: b[:200] + b"\0" * 200 + b[400:],
    ],
)
def test_a_damaged_shard_is_missing_and_written_again_with_a_warning(tmp_path, damage):
    answers = answers_of(np.arange(20) % 7, np.arange(20) % 5)
    shelf = shelf_of(tmp_path, answers)
    write(shelf, answers)
    (path,) = parts_of(shelf)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    content = path.read_bytes()
    with pytest.raises(StoreError, match=f"{path.name} is damaged: .*Run `pytest evals` again") as caught:
        load_partition(shelf.folder)
    assert "\n" not in str(caught.value)
    again = shelf_of(tmp_path, answers)
    assert again.missing() == [0]
    assert path.read_bytes() == content  # without the lock nothing is removed
    with pytest.warns(DamagedFileWarning, match=f"{path.name} is damaged: .*computed anew"):
        write(again, answers)
    assert path.read_bytes() == whole
    assert_same(again.read(), answers)


def test_damage_is_a_warning_also_where_warnings_are_errors(tmp_path):
    answers = answers_of(np.arange(20) % 7, np.arange(20) % 5)
    write(shelf_of(tmp_path, answers), answers)
    again = shelf_of(tmp_path, answers)
    parts_of(again)[0].write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        write(again, answers)
    assert [w.category for w in caught] == [DamagedFileWarning]
    assert_same(again.read(), answers)


def test_an_edited_answer_is_not_believed_although_its_file_has_the_right_checksum(tmp_path):
    answers = answers_of(np.arange(70) % 7, np.zeros(70, dtype=int))
    shelf = shelf_of(tmp_path, answers)
    write(shelf, answers)
    (path,) = parts_of(shelf)
    table = checksummed_files.from_parquet(path.read_bytes())
    perfect = table.set_column(table.schema.get_field_index("answer"), "answer", table["truth"])
    content = checksummed_files.to_parquet(perfect)
    path.unlink()
    edited = shelf.folder / f"part-00000-{checksummed_files.checksum(content)}.parquet"
    edited.write_bytes(content)
    with pytest.raises(StoreError, match="an answer is not the most probable emotion"):
        read_shard(edited)
    assert shelf_of(tmp_path, answers).missing() == [0]


def test_what_no_reader_would_accept_is_not_written(tmp_path):
    answers = answers_of(np.arange(7), np.arange(7))
    shelf = shelf_of(tmp_path, answers)
    with (
        shelf.locked(),
        pytest.raises(PredictionError, match="'oracle' gave predictions that cannot be stored"),
    ):
        shelf.write(0, replace(answers, answer=np.zeros(7, dtype=np.int64)), {}, 0.1)
    assert parts_of(shelf) == []


def test_a_foreign_parquet_file_is_not_used(tmp_path):
    answers = answers_of(np.arange(5), np.arange(5))
    shelf = shelf_of(tmp_path, answers)
    shelf.folder.mkdir(parents=True)
    content = checksummed_files.to_parquet(pa.table({"a": [1]}))
    (shelf.folder / f"part-00000-{checksummed_files.checksum(content)}.parquet").write_bytes(content)
    with pytest.raises(StoreError, match="missing or damaged"):
        shelf.read()
    with pytest.warns(DamagedFileWarning, match="not written by fer-models"):
        write(shelf, answers)
    assert_same(shelf.read(), answers)


def test_another_subjects_shard_is_not_used(tmp_path):
    answers = answers_of(np.arange(5), np.arange(5))
    one = shelf_of(tmp_path, answers, key="a" * 64)
    write(one, answers)
    two = shelf_of(tmp_path, answers, key="b" * 64)
    two.folder.mkdir(parents=True)
    (part,) = parts_of(one)
    (two.folder / part.name).write_bytes(part.read_bytes())
    with pytest.warns(DamagedFileWarning, match="another subject"):
        write(two, answers)
    assert_same(two.read(), answers)


def test_rows_are_those_that_faces_have_in_the_dataset_now(tmp_path):
    """The key does not depend on the order of the dataset's rows, so a shard may have been written with other
    ones.
    """
    answers = answers_of(np.arange(14) % 7, np.arange(14) % 7)
    write(shelf_of(tmp_path, answers), answers)
    turned = shelf_of(tmp_path, replace(answers, index=answers.index[::-1].copy()))
    assert turned.read().index.tolist() == answers.index[::-1].tolist()


def test_a_store_that_is_complete_need_not_be_writable(tmp_path):
    answers = answers_of(np.arange(14) % 7, np.arange(14) % 7)
    shelf = shelf_of(tmp_path, answers)
    write(shelf, answers)
    (shelf.folder / ".lock").unlink()
    assert_same(shelf_of(tmp_path, answers).read(), answers)
    assert not (shelf.folder / ".lock").exists()


def test_the_time_of_a_run_is_unknown_where_it_is_damaged(tmp_path):
    answers = answers_of(np.arange(14) % 7, np.arange(14) % 7)
    shelf = shelf_of(tmp_path, answers)
    write(shelf, answers)
    assert shelf.seconds() == 0.5
    (seconds,) = shelf.folder.glob("seconds-*.json")
    for content in ("null", "[]", '{"0": "long"}', "{", '{"1": 2}'):
        seconds.write_text(content)
        assert shelf_of(tmp_path, answers).seconds() is None
        (shelf.folder / f"seconds-{checksummed_files.checksum(content.encode())}.json").write_text(content)
        seconds.unlink()
        (seconds,) = shelf.folder.glob("seconds-*.json")
        assert shelf_of(tmp_path, answers).seconds() is None


def test_a_folder_of_answers_tells_whose_they_are(tmp_path):
    answers = answers_of(np.arange(7), np.arange(7))
    shelf = shelf_of(tmp_path, answers)
    write(shelf, answers)
    read, subject = load_partition(shelf.folder)
    assert subject == SUBJECT
    assert_same(read, answers)
    with pytest.raises(StoreError, match="no stored answers"):
        load_partition(tmp_path)


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
