"""Files that are replaced as a whole, and their versions in caches."""

import json

import pytest

from fer_models.artifacts import checksummed_files
from fer_models.artifacts.atomic_write import atomic_write


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "shared").mkdir()
    target, link = tmp_path / "shared" / "baselines.json", tmp_path / "baselines.json"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


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
