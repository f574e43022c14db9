"""Files that are replaced as a whole, and their versions in caches."""

import errno
import json
import os
import time

import pytest

from fer_models.artifacts import checksummed_files
from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import DamagedFileWarning


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "shared").mkdir()
    target, link = tmp_path / "shared" / "baselines.json", tmp_path / "baselines.json"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="names of POSIX")
def test_a_folder_with_a_name_that_is_no_utf_8_has_a_hash(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = sha256_of(tmp_path)
    (tmp_path / "caf\udce9.txt").write_text("")
    assert sha256_of(tmp_path) != before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_or_a_device_is_never_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"), atomic_write(tmp_path / "pipe") as part:
        part.write_text("never")
    assert (tmp_path / "pipe").is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_two_writers_of_a_file_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "baselines.json"
    with atomic_write(path) as first:
        first.write_text("first")
        with atomic_write(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_the_temporary_file_of_a_killed_process_is_removed_a_day_later(tmp_path):
    old, new = (tmp_path / f".[a].json.{name}.part" for name in ("killed", "running"))
    for part in (old, new):
        part.write_text("")
    os.utime(old, (time.time() - 90_000,) * 2)
    with atomic_write(tmp_path / "[a].json") as part:
        part.write_text("{}")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_file_that_cannot_be_read_now_is_not_removed(tmp_path, monkeypatch):
    with checksummed_files.locked_directory(tmp_path, "Tests"):
        checksummed_files.write(tmp_path, "seconds.json", b"[1]", "Tests")

        def too_many_open_files(*arguments):
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.read_bytes", too_many_open_files)
            with pytest.warns(DamagedFileWarning, match="Too many open files"):
                found = checksummed_files.find(tmp_path, "seconds.json", json.loads, remove_damaged=True)
        assert found is None
    assert checksummed_files.find(tmp_path, "seconds.json", json.loads) == [1]


def test_a_kill_while_a_file_is_replaced_leaves_a_version(tmp_path, monkeypatch):
    with checksummed_files.locked_directory(tmp_path, "Tests"):
        checksummed_files.write(tmp_path, "seconds.json", b"[1]", "Tests")

        def killed(*arguments):
            raise KeyboardInterrupt

        monkeypatch.setattr("pathlib.Path.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            checksummed_files.write(tmp_path, "seconds.json", b"[2]", "Tests")
    assert checksummed_files.find(tmp_path, "seconds.json", json.loads) == [1]


def test_deep_json_in_a_cache_is_damaged_and_no_crash(tmp_path):
    content = b"[" * 20_000
    name = f"facts-{checksummed_files.checksum(content)}.json"
    (tmp_path / name).write_bytes(content)
    assert checksummed_files.find(tmp_path, "facts.json", json.loads) is None
