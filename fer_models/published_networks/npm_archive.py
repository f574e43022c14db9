"""Files inside an archive that `npm pack` wrote (.tgz), read into memory by name.

Nothing is extracted to disk, and no link is followed.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from fer_models.errors import WeightsError, reason_of
from fer_models.published_networks.packages import PinnedFile

#: The most bytes of an archive after decompression, 128 MiB: face-api's has 24 MB. It bounds the memory for
#: an archive that decompresses to far more than its size.
LARGEST = 2**27
#: The most members of an archive; face-api's has 254.
MOST_MEMBERS = 10_000


def read_members(archive: Path, files: Sequence[PinnedFile], install_hint: str) -> list[bytes]:
    """Read some files of an archive.

    Args:
        archive: the file that `npm pack` wrote.
        files: the members by their full names, such as `package/model/face_expression_model.bin`.
        install_hint: the command that gets the archive.

    Returns:
        The content of each of `files`.

    Raises:
        WeightsError: the archive is damaged or too large, a member is missing or a link, or its content is
            not the published one.
    """
    wanted = {file.name: file for file in files}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_decompress(archive)), mode="r:") as members:
            for count, member in enumerate(members, 1):
                if count > MOST_MEMBERS:
                    raise ValueError(f"it has more than {MOST_MEMBERS:,} members")
                if member.name in wanted and member.name not in contents:
                    contents[member.name] = _content(members, member, wanted[member.name])
                if len(contents) == len(wanted):
                    break
        if absent := [name for name in wanted if name not in contents]:
            raise ValueError(f"it has no {absent[0]}")
    except Exception as error:  # damaged archives make tarfile raise almost anything: struct.error, KeyError
        raise WeightsError(
            f"{archive} cannot be used ({reason_of(error)}). Get the published archive: {install_hint}"
        ) from error
    for file in files:
        file.check(contents[file.name], archive, install_hint)
    return [contents[file.name] for file in files]


def _decompress(archive: Path) -> bytes:
    """Decompress the whole archive, and so check its checksum too."""
    with gzip.open(archive) as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it decompresses to more than {LARGEST:,} bytes")
    return data


def _content(members: tarfile.TarFile, member: tarfile.TarInfo, file: PinnedFile) -> bytes:
    """Read a member; its size is checked first."""
    if not member.isreg() or member.issparse():
        raise ValueError(f"its {member.name} is a link or no regular file")
    if member.size != file.size:
        raise ValueError(f"its {member.name} has {member.size:,} bytes, the published file {file.size:,}")
    stream = members.extractfile(member)
    return stream.read() if stream is not None else b""
