"""Partitions on an S3 server: the files of a local store, without a lock."""

import numpy as np
import pytest
from fakes import oracle_labels, run
from fakes_runs import SUBJECT, predictions_of

from fer_models.artifacts.object_storage import ObjectPath
from fer_models.classifiers.dummy import Oracle
from fer_models.errors import DamagedFileWarning, StoreError
from fer_models.gate import run_sources
from fer_models.store import partition as stores
from fer_models.store.partition import Store, load_partition, read_partition


def partition_of(s3_folder, table):
    return Store(s3_folder).partition(SUBJECT, "k" * 64, table.faces, table.truth, table.index)


def write(partition, table, *numbers):
    for number in numbers:
        rows = partition.rows(number)
        partition.write(number, table.select(np.arange(rows.start, rows.stop)), {}, 1.0)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_the_files_are_those_of_a_local_store(s3_folder, tmp_path):
    table = predictions_of()
    there, here = partition_of(s3_folder, table), partition_of(tmp_path, table)
    for partition in (there, here):
        with partition.locked():
            write(partition, table, *partition.missing())
    assert files(there.folder) == files(here.folder)
    assert there.seconds() == here.seconds() == 2.0
    loaded, subject = load_partition(there.folder)
    assert subject == SUBJECT
    assert loaded.answer.tolist() == table.answer.tolist()
    assert read_partition(there.folder).seconds == 2.0


def test_two_runs_that_write_the_same_shard_at_once_leave_one_file(s3_folder):
    table = predictions_of()
    one, other = partition_of(s3_folder, table), partition_of(s3_folder, table)
    with one.locked(), other.locked():  # nobody waits
        assert one.missing() == other.missing() == [0, 1]
        write(one, table, 0)
        write(other, table, 1, 0)
        write(one, table, 1)
    for partition in (one, other):
        assert partition.read().answer.tolist() == table.answer.tolist()
    assert len([name for name in files(one.folder) if name.startswith("part-")]) == 2


def test_two_runs_on_different_devices_never_remove_each_others_shard(s3_folder, monkeypatch):
    """The worst moment: one run writes and removes earlier versions when the other has just written."""
    table = predictions_of()
    one, other = partition_of(s3_folder, table), partition_of(s3_folder, table)
    write_bytes, others = ObjectPath.write_bytes, [one]

    def write_and_let_the_other_write(path, content):
        write_bytes(path, content)
        if others:
            rows = others.pop().rows(0)
            one.write(0, table.select(np.arange(rows.start, rows.stop)), {"device": "cuda"}, 1.0)

    monkeypatch.setattr(ObjectPath, "write_bytes", write_and_let_the_other_write)
    write(other, table, 0, 1)
    assert one.missing() == []
    assert one.read().answer.tolist() == table.answer.tolist()


def test_a_damaged_shard_is_predicted_again_with_a_warning(s3_folder, few, monkeypatch):
    monkeypatch.setattr(stores, "SHARD", 8)
    model = Oracle(oracle_labels(few))
    first = run(s3_folder, few, model)
    (folder,) = s3_folder.iterdir()
    shards = sorted(folder.glob("part-*"))
    assert len(shards) == 4
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[:-1])
    with pytest.warns(DamagedFileWarning, match="part-00001-"):
        again = run(s3_folder, few, model)
    assert not again.from_store
    assert again.predictions.answer.tolist() == first.predictions.answer.tolist()
    assert shards[1].read_bytes() == whole
    assert run(s3_folder, few, model).from_store


def test_a_store_is_read_newest_first_and_a_part_of_it_is_left_out(s3_folder):
    old, new = predictions_of(wrong=5), predictions_of()
    for key, table in (("a", old), ("b", new)):
        partition = Store(s3_folder).partition(SUBJECT, key * 64, table.faces, table.truth, table.index)
        write(partition, table, 0, 1)
    broken = Store(s3_folder).partition(SUBJECT, "c" * 64, old.faces, old.truth, old.index)
    write(broken, old, 1)
    stored, damaged = run_sources.read_store(s3_folder)
    assert {one.key[0] for one in stored} == {"a", "b"}
    assert list(damaged) == [broken.folder.name]
    source = run_sources.load_baseline(str(s3_folder))
    assert len(source.subjects[SUBJECT]) == 490


def test_an_empty_folder_is_named(s3_folder):
    with pytest.raises(StoreError, match=r"s3://faces/.*has no stored predictions"):
        read_partition(s3_folder)
