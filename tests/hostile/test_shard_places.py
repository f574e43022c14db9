"""Shards exchanged, linked, missing or out of place: a run computes them anew, and readers refuse them in a
sentence.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damaged_stores import ANSWERS, FACES, SUBJECT, content_of, predict, result_or_none, same, shard_of
from fakes import in_canonical_order, run

from fer_models.classifiers.dummy import Oracle
from fer_models.errors import DamagedFileWarning, StoreError
from fer_models.store.partition import Store, load_partition

pytestmark = pytest.mark.usefixtures("small_shards", "hang_guard")


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
    with (
        pytest.warns(DamagedFileWarning, match="it is not a file"),
        pytest.raises(StoreError, match="cannot be stored in"),
    ):
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
