import warnings
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from fakes import prediction_table
from hypothesis import given, settings

from fer_models.artifacts import checksummed_files
from fer_models.errors import DamagedFileWarning, PredictionError, StoreError
from fer_models.store import partition as partitions
from fer_models.store.partition import Store, load_partition, read_shard
from fer_models.store.predictions import canonical_order
from fer_models.store.subject import Subject

SUBJECT = Subject("toy", "validation", "raw", "oracle")
texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)


def partition_of(root, predictions, key="k" * 64, subject=SUBJECT):
    return Store(root).partition(subject, key, predictions.faces, predictions.truth, predictions.index)


def write(partition, predictions):
    with partition.locked():
        for shard in partition.missing(remove_damaged=True):
            rows = partition.rows(shard)
            partition.write(
                shard, predictions.select(np.arange(rows.start, rows.stop)), {"device": "cpu"}, 0.5
            )


def shard_files(partition):
    """List the shard files of a partition, in order."""
    return sorted(partition.folder.glob("part-*.parquet"))


def assert_same(a, b):
    for name in ("faces", "status", "text", "has_probabilities"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("index", "truth", "answer"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    np.testing.assert_array_equal(a.probabilities.astype(np.float32), b.probabilities.astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6), texts, texts), min_size=1, max_size=40))
def test_predictions_are_read_as_they_were_written_whatever_a_model_replies(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("store")
    plain = prediction_table(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]))
    status = tuple("ok" if emotion >= 0 else f"because {reason}" for _, emotion, reason, _ in rows)
    text, has_probabilities = tuple(r[3] for r in rows), len(rows) % 2 == 0
    predictions = replace(plain, status=status, text=text, has_probabilities=has_probabilities)
    partition = partition_of(root, predictions)
    write(partition, predictions)
    assert_same(partition.read(), predictions)


def test_a_subject_is_cut_into_shards_and_missing_ones_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "SHARD", 10)
    predictions = prediction_table(np.arange(25) % 7, np.zeros(25, dtype=int))
    partition = partition_of(tmp_path, predictions)
    assert partition.missing() == [0, 1, 2]
    write(partition, predictions)
    assert partition.missing() == []
    before = [part.read_bytes() for part in shard_files(partition)]
    shard_files(partition)[1].unlink()
    assert_same(partition.read(), predictions)  # a shard that was read once is not read again
    partition = partition_of(tmp_path, predictions)
    assert partition.missing() == [1]
    with pytest.raises(StoreError, match="missing"):
        partition.read()
    write(partition, predictions)
    assert [part.read_bytes() for part in shard_files(partition)] == before
    assert_same(partition.read(), predictions)


def test_half_written_files_of_a_killed_run_are_removed(tmp_path):
    predictions = prediction_table(np.arange(20) % 7, np.arange(20) % 5)
    partition = partition_of(tmp_path, predictions)
    partition.folder.mkdir(parents=True)
    (partition.folder / "part-00000.123.part").write_bytes(b"half")
    write(partition, predictions)
    assert not list(partition.folder.glob("*.part"))
    assert_same(partition.read(), predictions)


def test_the_same_predictions_make_the_same_bytes(tmp_path):
    predictions = prediction_table(np.arange(20) % 7, np.arange(20) % 5)
    one, two = partition_of(tmp_path / "a", predictions), partition_of(tmp_path / "b", predictions)
    write(one, predictions)
    write(two, predictions)
    assert [p.name for p in shard_files(one)] == [p.name for p in shard_files(two)]
    assert [p.read_bytes() for p in shard_files(one)] == [p.read_bytes() for p in shard_files(two)]


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
    predictions = prediction_table(np.arange(20) % 7, np.arange(20) % 5)
    partition = partition_of(tmp_path, predictions)
    write(partition, predictions)
    (path,) = shard_files(partition)
    original = path.read_bytes()
    path.write_bytes(damage(original))
    content = path.read_bytes()
    with pytest.raises(StoreError, match=f"{path.name} is damaged: .*Run `pytest evals` again") as caught:
        load_partition(partition.folder)
    assert "\n" not in str(caught.value)
    again = partition_of(tmp_path, predictions)
    assert again.missing() == [0]
    assert path.read_bytes() == content  # without the lock nothing is removed
    with pytest.warns(DamagedFileWarning, match=f"{path.name} is damaged: .*computed anew"):
        write(again, predictions)
    assert path.read_bytes() == original
    assert_same(again.read(), predictions)


def test_damage_is_a_warning_also_where_warnings_are_errors(tmp_path):
    predictions = prediction_table(np.arange(20) % 7, np.arange(20) % 5)
    write(partition_of(tmp_path, predictions), predictions)
    again = partition_of(tmp_path, predictions)
    shard_files(again)[0].write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        write(again, predictions)
    assert [w.category for w in caught] == [DamagedFileWarning]
    assert_same(again.read(), predictions)


def test_an_edited_prediction_is_rejected_although_its_file_has_the_correct_checksum(tmp_path):
    predictions = prediction_table(np.arange(70) % 7, np.zeros(70, dtype=int))
    partition = partition_of(tmp_path, predictions)
    write(partition, predictions)
    (path,) = shard_files(partition)
    table = checksummed_files.from_parquet(path.read_bytes())
    perfect = table.set_column(table.schema.get_field_index("answer"), "answer", table["truth"])
    content = checksummed_files.to_parquet(perfect)
    path.unlink()
    edited = partition.folder / f"part-00000-{checksummed_files.checksum(content)}.parquet"
    edited.write_bytes(content)
    with pytest.raises(StoreError, match="a prediction is not the most probable emotion"):
        read_shard(edited)
    assert partition_of(tmp_path, predictions).missing() == [0]


def test_predictions_that_no_reader_would_accept_are_not_written(tmp_path):
    predictions = prediction_table(np.arange(7), np.arange(7))
    partition = partition_of(tmp_path, predictions)
    message = "'oracle' gave predictions that cannot be stored"
    with partition.locked(), pytest.raises(PredictionError, match=message):
        partition.write(0, replace(predictions, answer=np.zeros(7, dtype=np.int64)), {}, 0.1)
    assert shard_files(partition) == []


def test_a_third_party_parquet_file_is_not_used(tmp_path):
    predictions = prediction_table(np.arange(5), np.arange(5))
    partition = partition_of(tmp_path, predictions)
    partition.folder.mkdir(parents=True)
    content = checksummed_files.to_parquet(pa.table({"a": [1]}))
    (partition.folder / f"part-00000-{checksummed_files.checksum(content)}.parquet").write_bytes(content)
    with pytest.raises(StoreError, match="missing or damaged"):
        partition.read()
    with pytest.warns(DamagedFileWarning, match="not written by fer-models"):
        write(partition, predictions)
    assert_same(partition.read(), predictions)


def test_another_subjects_shard_is_not_used(tmp_path):
    predictions = prediction_table(np.arange(5), np.arange(5))
    one = partition_of(tmp_path, predictions, key="a" * 64)
    write(one, predictions)
    two = partition_of(tmp_path, predictions, key="b" * 64)
    two.folder.mkdir(parents=True)
    (part,) = shard_files(one)
    (two.folder / part.name).write_bytes(part.read_bytes())
    with pytest.warns(DamagedFileWarning, match="another subject"):
        write(two, predictions)
    assert_same(two.read(), predictions)


def test_rows_are_the_current_ones_of_the_dataset(tmp_path):
    """The key does not depend on the order of the dataset's rows, so a shard may have other ones."""
    predictions = prediction_table(np.arange(14) % 7, np.arange(14) % 7)
    write(partition_of(tmp_path, predictions), predictions)
    reordered = partition_of(tmp_path, replace(predictions, index=predictions.index[::-1].copy()))
    assert reordered.read().index.tolist() == predictions.index[::-1].tolist()


def test_a_store_that_is_complete_need_not_be_writable(tmp_path):
    predictions = prediction_table(np.arange(14) % 7, np.arange(14) % 7)
    partition = partition_of(tmp_path, predictions)
    write(partition, predictions)
    (partition.folder / ".lock").unlink()
    assert_same(partition_of(tmp_path, predictions).read(), predictions)
    assert not (partition.folder / ".lock").exists()


def test_the_time_of_a_run_is_unknown_where_it_is_damaged(tmp_path):
    predictions = prediction_table(np.arange(14) % 7, np.arange(14) % 7)
    partition = partition_of(tmp_path, predictions)
    write(partition, predictions)
    assert partition.seconds() == 0.5
    (seconds,) = partition.folder.glob("seconds-*.json")
    for content in ("null", "[]", '{"0": "long"}', "{", '{"1": 2}'):
        seconds.write_text(content)
        assert partition_of(tmp_path, predictions).seconds() is None
        (partition.folder / f"seconds-{checksummed_files.checksum(content.encode())}.json").write_text(
            content
        )
        seconds.unlink()
        (seconds,) = partition.folder.glob("seconds-*.json")
        assert partition_of(tmp_path, predictions).seconds() is None


def test_a_folder_of_predictions_names_its_subject(tmp_path):
    predictions = prediction_table(np.arange(7), np.arange(7))
    partition = partition_of(tmp_path, predictions)
    write(partition, predictions)
    loaded, subject = load_partition(partition.folder)
    assert subject == SUBJECT
    assert_same(loaded, predictions)
    with pytest.raises(StoreError, match="no stored predictions"):
        load_partition(tmp_path)


def test_a_store_that_cannot_be_written_is_an_error_that_names_the_option(tmp_path):
    (tmp_path / "file").write_text("in the way")
    partition = partition_of(tmp_path / "file", prediction_table(np.arange(3), np.arange(3)))
    with pytest.raises(StoreError, match="--store"), partition.locked():
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
def test_a_subjects_folder_name_is_safe_and_its_key_is_unique(name):
    subject = Subject("toy", "test", "raw", name)
    folder = subject.folder(subject.key({}))
    assert "/" not in folder
    assert "\\" not in folder
    assert subject.key({"weights": 1}) != subject.key({"weights": 2})
    assert Subject.from_json(subject.as_json()) == subject
