"""Datasets in WebDataset's layout: tar files ("shards") in one folder, which are read without unpacking.

A sample is the files of a shard whose names are equal up to the first dot: an image (`KEY.png`, `KEY.jpg`, …)
and its label, `KEY.cls` (a class number or an emotion's name) or `KEY.json` (an object with `label`). The
splits are in the names of the shards, as in `train-000.tar`. Only the labels and the place of each image are
kept in memory. A shard is untrusted: no member is written to disk, and links, devices and names
that lead out of the shard are refused.
"""

from __future__ import annotations

import os
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fer_models import images
from fer_models.artifacts.json_io import parse_json
from fer_models.datasets.base import FaceSet
from fer_models.datasets.folders import SPLIT_NAMES, SUFFIXES, UNSPLIT, omission_notes, unknown_numbers_error
from fer_models.datasets.listing import list_visible
from fer_models.datasets.schemes import LabelScheme
from fer_models.emotions import LABELS, Emotion, parse_label
from fer_models.errors import DatasetError, ImageError, UnknownNameError, one_line, printable
from fer_models.text_column import TextColumn

#: The number of a shard at the end of its name: `-000`, or `-00000-of-00004`.
_NUMBER = re.compile(r"[-_.]?\d+(-of-\d+)?$")
#: The largest label file in bytes.
_LARGEST_LABEL = 2**16
#: Suffixes of label files; the first counts where a sample has both.
_LABELS = (".cls", ".json")
#: A class number.
_CLASS = re.compile(r"[0-9]{1,3}")
#: The bytes of a header in a tar file.
_BLOCK = 512
_NEW_SHARD_HINT = "Write the shard anew: an image and a .cls or .json file per sample, as plain files."


@dataclass(frozen=True)
class TarImages:
    """Images in tar files, each decoded on access as uint8 RGB (H, W, 3).

    Reading one raises ImageError, which names shard and member, when it is no valid image.

    Attributes:
        shards: the tar files.
        members: the name of each image in its shard.
        shard, start, size: for each image the position of its tar file in `shards`, and where its bytes are.
    """

    shards: tuple[Path, ...]
    members: TextColumn
    shard: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        path, size = self.shards[self.shard[index]], int(self.size[index])
        name = f"{path}: {self.members[index]}"
        try:
            with path.open("rb") as file:
                file.seek(int(self.start[index]))
                data = file.read(size)
        except OSError as error:
            raise ImageError(f"{path} cannot be opened ({error.strerror}).") from error
        if len(data) < size:
            raise ImageError(f"{name} is cut: the file changed since it was listed. Run again.")
        return images.decode(data, name)


def shard_files(root: Path) -> list[Path]:
    """List the tar files of a folder without folders, sorted; none for any other folder.

    Raises:
        DatasetError: it cannot be listed.
    """
    if not os.path.isdir(root):
        return []
    children = list_visible(root)
    if any(os.path.isdir(child) for child in children):
        return []
    return [child for child in children if child.suffix.lower() == ".tar"]


def splits(root: Path) -> tuple[str, ...]:
    """The splits of the shards in `root`: `train`, `validation`, `test`, …, or only `all`.

    Raises:
        DatasetError: two names of the same split.
    """
    return tuple(_by_split(shard_files(root)))


def load(split: str, root: Path, name: str | None = None, scheme: LabelScheme | None = None) -> FaceSet:
    """Load the faces of one split; each is read from its shard and decoded on access.

    Args:
        split: one of `splits(root)`; spellings such as `val` are accepted.
        root: the folder of the shards.
        name: the dataset's name in subjects and baselines; the folder's name by default.
        scheme: the meaning of numbers as labels; None where labels are names.

    Returns:
        The faces in the order of shards and members, each with shard and member as its source. `notes` list
        the meaning of numbers, dropped and ignored files, and emotions without a face.

    Raises:
        UnknownNameError: no such split.
        DatasetError: a shard is no tar file, is cut, or has a member that is no plain file; a sample without
            an image or a label; a label that is no emotion, or a number without a scheme.
    """
    by_split = _by_split(shard_files(root))
    name = name or root.resolve().name
    wanted = split if split in by_split else SPLIT_NAMES.get(split.lower(), split)
    if wanted not in by_split:
        raise UnknownNameError(f"split of {printable(name)}", split, by_split)
    shards = by_split[wanted]
    samples = _Samples()
    for number, path in enumerate(shards):
        _read_shard(path, number, samples)
    emotions = _parse_labels(samples, shards, root, scheme)
    rows = np.array([row for row, emotion in enumerate(emotions) if emotion is not None], dtype=np.int64)
    if not len(rows):
        raise DatasetError(f"The tar files of {wanted} in {root} hold no labelled image. {_NEW_SHARD_HINT}")
    labels = np.array([emotions[row] for row in rows], dtype=np.int64)
    dropped = Counter(
        scheme.describe_class(int(label)) if scheme else label
        for label, emotion in zip(samples.labels, emotions, strict=True)
        if emotion is None
    )
    notes = [f"numbered labels read by the label scheme {scheme.name}: {scheme.describe()}"] if scheme else []
    notes += omission_notes(dropped, labels, samples.ignored_files)
    used = {path for paths in by_split.values() for path in paths}
    if others := [path.name for path in shard_files(root) if path not in used]:
        notes.append(f"ignored the tar files that are no split: {', '.join(others)}")
    tar_images = samples.images(shards, rows)
    sources = [
        f"{shards[shard].name}/{member}"
        for shard, member in zip(tar_images.shard.tolist(), tar_images.members, strict=True)
    ]
    return FaceSet(name, wanted, tar_images, labels, sources, tuple(notes))


@dataclass
class _Samples:
    """Labelled images of some shards.

    Attributes:
        members: the name of each image in its shard.
        labels: the text of each label.
        shard, start, size: as in `TarImages`.
        ignored_files: the members that are neither image nor label.
    """

    members: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    shard: array[int] = field(default_factory=partial(array, "q"))
    start: array[int] = field(default_factory=partial(array, "q"))
    size: array[int] = field(default_factory=partial(array, "q"))
    ignored_files: list[Path] = field(default_factory=list)

    def images(self, shards: Sequence[Path], rows: NDArray[np.int64]) -> TarImages:
        """The images in some rows."""
        shard, start, size = (np.array(c, dtype=np.int64)[rows] for c in (self.shard, self.start, self.size))
        return TarImages(tuple(shards), TextColumn.of(map(printable, self.members))[rows], shard, start, size)


def _by_split(shards: Sequence[Path]) -> dict[str, list[Path]]:
    """Group shards by the split in their names; all of them are `all` where no name has a split."""
    by_split: dict[str, list[Path]] = {}
    spelling: dict[str, str] = {}
    for path in shards:
        words = _NUMBER.sub("", path.stem.lower())
        while words and words not in SPLIT_NAMES:  # `fer_public_test`, `public_test`
            words = re.sub(r"^[^-_.]*[-_.]?", "", words, count=1)
        if not words:
            continue
        split = SPLIT_NAMES[words]
        if spelling.setdefault(split, words) != words:
            raise DatasetError(
                f"{path} and {by_split[split][0].name} both claim to be the {split} split. "
                "Rename or remove one of them."
            )
        by_split.setdefault(split, []).append(path)
    return by_split or {UNSPLIT: list(shards)}


# -- one shard ------------------------------------------------------------------------------------------


def _read_shard(path: Path, number: int, samples: _Samples) -> None:
    """Add the samples of a shard, in the order of their images.

    Raises:
        DatasetError: see `load`.
    """
    members: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, dict[str, str]] = {}
    for member, content in _members(path):
        key, suffix = _split_name(member.name)
        if suffix in SUFFIXES:
            if key in members:
                raise DatasetError(f"{path} has two images of the sample {one_line(key)}. {_NEW_SHARD_HINT}")
            members[key] = member
        elif suffix in _LABELS:
            if suffix in labels.setdefault(key, {}):
                raise DatasetError(f"{path} has two files {one_line(member.name)}. {_NEW_SHARD_HINT}")
            labels[key][suffix] = _label_text(content, suffix, f"{path}: {member.name}")
        else:
            samples.ignored_files.append(Path(member.name))
    for alone in members.keys() ^ labels.keys():
        missing = "image" if alone in labels else "label"
        raise DatasetError(f"{path}: the sample {one_line(alone)} has no {missing}. {_NEW_SHARD_HINT}")
    for key, member in members.items():
        samples.members.append(member.name)
        samples.labels.append(labels[key].get(".cls", labels[key].get(".json", "")))
        for column, value in (
            (samples.shard, number),
            (samples.start, member.offset_data),
            (samples.size, member.size),
        ):
            column.append(value)


def _split_name(name: str) -> tuple[str, str]:
    """The key and the suffix of a member, as WebDataset splits them: at the first dot of the file name."""
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{suffix}".lower()


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Iterate over the visible plain files of a shard, with the content of those that are labels.

    Raises:
        DatasetError: it is no tar file, is cut, or has a member that is no plain file.
    """
    if not os.path.isfile(path):
        raise DatasetError(f"{path} is no regular file. Move it away.")
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            end = os.fstat(file.fileno()).st_size
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined] # it would keep them all
                _check_member(member, path, end)
                is_hidden = any(part.startswith(".") for part in PurePosixPath(member.name).parts)
                if member.isdir() or is_hidden:
                    continue
                is_label = _split_name(member.name)[1] in _LABELS
                content = tar.extractfile(member) if is_label else None
                yield member, b"" if content is None else content.read(_LARGEST_LABEL + 1)
            # tarfile takes a damaged header for the end.
            file.seek(tar.offset)
            rest = file.read(_BLOCK)
            if rest.count(0) < _BLOCK:
                raise DatasetError(f"{path} is cut or damaged at byte {tar.offset:,}. Get a new copy.")
            while rest := file.read(2**20):
                if rest.count(0) < len(rest):
                    raise DatasetError(
                        f"{path} has data after its end, as joined tar files have. Give each as a file."
                    )
    except DatasetError:
        raise
    except Exception as error:  # damaged headers make tarfile raise almost anything
        reason = next(iter(str(error).splitlines()), "")[:160] or type(error).__name__
        raise DatasetError(
            f"{path} cannot be read as an uncompressed tar file ({reason}). Decompress it, or get a new copy."
        ) from error


def _check_member(member: tarfile.TarInfo, path: Path, end: int) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise DatasetError(
            f"{path} has a member whose name leads out of it: {one_line(member.name)}. "
            f"Do not use this file. {_NEW_SHARD_HINT}"
        )
    if not member.isdir() and (not member.isreg() or member.issparse()):
        kind = "a link" if member.islnk() or member.issym() else "a device, a pipe or a sparse file"
        raise DatasetError(
            f"{path}: its member {one_line(member.name)} is {kind}, no plain file. {_NEW_SHARD_HINT}"
        )
    if not 0 <= member.size <= images.LARGEST_FILE:
        raise DatasetError(
            f"{path}: its member {one_line(member.name)} has {member.size:,} bytes; "
            f"the largest file allowed has {images.LARGEST_FILE:,}. {_NEW_SHARD_HINT}"
        )
    if member.offset_data + member.size > end:
        raise DatasetError(f"{path} is cut: it ends inside of {one_line(member.name)}. Get a new copy.")


# -- labels ---------------------------------------------------------------------------------------------


def _label_text(content: bytes, suffix: str, name: str) -> str:
    """The label in a label file: the text of `.cls`, or the field `label` of `.json`."""
    try:
        if len(content) > _LARGEST_LABEL:
            raise DatasetError(f"it has more than {_LARGEST_LABEL:,} bytes")
        text = content.decode("utf-8")
        if suffix == ".cls":
            return text.strip()
        value = parse_json(text)
        label = value.get("label") if isinstance(value, dict) else None
        if type(label) not in (int, str):  # True is an int too, and no class
            raise ValueError("it has no field label with a class number or an emotion's name")
        return str(label).strip()
    except (ValueError, DatasetError) as error:
        raise DatasetError(
            f"{name} cannot be read as a label ({one_line(str(error))}). {_NEW_SHARD_HINT}"
        ) from error


def _parse_labels(
    samples: _Samples, shards: Sequence[Path], root: Path, scheme: LabelScheme | None
) -> list[Emotion | None]:
    """The emotion of each sample, None for a class outside the seven.

    Raises:
        DatasetError: numbers without a scheme, names with one, or a label that is no emotion.
    """
    is_number = {label: _CLASS.fullmatch(label) is not None for label in set(samples.labels)}
    if scheme is None and is_number and all(is_number.values()):
        numbers = sorted({int(label) for label in is_number})
        raise unknown_numbers_error(
            f"The labels in the tar files of {root}", numbers, f"Or write emotions ({', '.join(LABELS)})."
        )
    parsed: dict[str, Emotion | None] = {}
    for row, label in enumerate(samples.labels):
        if label in parsed:
            continue
        try:
            if scheme is not None and not is_number[label]:
                raise DatasetError(
                    f"--label-scheme {scheme.name} is for numbers, got '{one_line(label, 60)}'. "
                    "Leave the option out, or write numbers."
                )
            parsed[label] = scheme.emotion(int(label)) if scheme else parse_label(label)
        except DatasetError as error:
            place = f"{shards[samples.shard[row]]}: the label of {samples.members[row]}"
            raise DatasetError(f"{place} is not valid: {error}") from error
    return [parsed[label] for label in samples.labels]
