"""Stores on a full disk, without rights, or locked by another process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from damaged_stores import ANSWERS, FACES, content_of, predict, same, shard_of
from fakes import run
from filelock import FileLock

from fer_models.classifiers.dummy import Oracle
from fer_models.errors import DamagedFileWarning, StoreError
from fer_models.store.partition import load_partition

pytestmark = pytest.mark.usefixtures("small_shards", "hang_guard")


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
