"""Any dataset of class folders (CK+48, SFEW, one's own), and the layouts of RAF-DB, AffectNet, KDEF and
JAFFE.

Layouts: `root/CLASS/…` or `root/SPLIT/CLASS/…`, where CLASS is the name of an emotion in any known spelling,
or a number of a label scheme that the user names; RAF-DB's list of labels and AffectNet's annotations as they
are published (`annotated`); KDEF's and JAFFE's file names.
Everything that is left out (contempt, files that are no images, …) is counted in the set's notes.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_models import images
from fer_models.datasets import annotated, schemes
from fer_models.datasets.base import FaceSet
from fer_models.datasets.schemes import LabelScheme
from fer_models.emotions import EMOTIONS, LABELS, Emotion, parse_label
from fer_models.errors import DatasetError, UnknownNameError, printable

#: The split of a dataset whose folders name none.
UNSPLIT = "all"
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "train_set"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "val_set"), "validation"),
    **dict.fromkeys(("test", "testing", "test_set"), "test"),
    **{name: name for name in ("public_test", "private_test")},
}
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm"}
#: Sex and number of the person, session, emotion and angle: `AF01ANS.JPG` (https://kdef.se).
_KDEF = re.compile(r"[AB][FM]\d\d(AF|AN|DI|HA|NE|SA|SU)(S|HL|HR|FL|FR)\.(?:jpe?g|png)", re.IGNORECASE)
#: Person, emotion and take: `KA.AN1.39.tiff`.
_JAFFE = re.compile(r"[A-Z]{2}\.(AN|DI|FE|HA|NE|SA|SU)\d\.\d+\.(?:tiff?|png|jpe?g)", re.IGNORECASE)
#: A numbered class folder; zeros in front do not matter.
_NUMBER = re.compile(r"[0-9]{1,3}")
#: How many class numbers a message lists.
_LISTED = 12
_ANGLES = {"S": "straight", "HL": "half left", "HR": "half right", "FL": "full left", "FR": "full right"}


@dataclass(frozen=True)
class FileImages:
    """Pictures that stay in their files: each is decoded when it is asked for, as uint8 RGB (H, W, 3).

    Reading one raises ImageError when its file is no sound image, naming the file.
    """

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return images.read(self.paths[index])


@dataclass
class _Found:
    """What lies under one split's folder."""

    faces: list[tuple[Path, Emotion]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)  # class -> faces outside the seven emotions
    ignored_files: list[Path] = field(default_factory=list)  # files that are no images, or belong to no class


def splits(root: Path) -> tuple[str, ...]:
    """The splits that the folders under `root` make: `train`, `validation`, `test`, …, or only `all`.

    Raises:
        DatasetError: `root` is no folder, or two of its folders claim to be the same split.
    """
    return annotated.raf_db_splits(root) or tuple(_split_folders(root))


def load(split: str, root: Path, name: str | None = None, scheme: LabelScheme | None = None) -> FaceSet:
    """The faces of one split, decoded from their files when they are asked for.

    Args:
        split: one of `splits(root)`; spellings such as `val` are understood.
        root: the dataset's folder.
        name: the dataset's name in subjects and baselines; the folder's own by default.
        scheme: what numbered class folders mean; None where they have names.

    Returns:
        The faces in the order of their paths, each called by its path under `root`. `notes` tell how numbers
        were read, what was dropped, what was ignored, and which emotions have no face.

    Raises:
        UnknownNameError: no such split.
        DatasetError: no folder, no face, a folder whose name is no emotion, numbered folders without a scheme
            or with numbers that it does not have, a scheme without numbered folders, or broken labels of
            RAF-DB or AffectNet.
    """
    listed = annotated.raf_db_splits(root)
    by_split = dict.fromkeys(listed, root) if listed else _split_folders(root)
    name = name or root.resolve().name
    wanted = split if split in by_split else _SPLIT_NAMES.get(split.lower(), split)
    if wanted not in by_split:
        raise UnknownNameError(f"split of {printable(name)}", split, by_split)
    has_own_labels = bool(listed) or annotated.is_affectnet(by_split[wanted])
    if has_own_labels and scheme is not None:
        owner = "RAF-DB" if listed else "AffectNet"
        raise DatasetError(f"The labels in {root} are {owner}'s own. Leave out --label-scheme {scheme.name}.")
    if has_own_labels:
        labelled = (
            annotated.load_raf_db(root, wanted) if listed else annotated.load_affectnet(by_split[wanted])
        )
        found = _by_annotation(labelled)
    else:
        found = _classify(by_split[wanted], _numbering(by_split.values(), root, scheme))
    if not found.faces:
        raise DatasetError(
            f"{by_split[wanted]} holds no labelled image. Looked for CLASS/*.jpg (png, tiff, …), where CLASS is an "
            "emotion's name such as angry, for RAF-DB's EmoLabel and Image/aligned, for AffectNet's annotations and "
            "images, and for KDEF's and JAFFE's file names. "
            "For FER-2013's csv or parquet files use --dataset fer2013 --data-root FOLDER."
        )
    labels = np.array([emotion for _, emotion in found.faces], dtype=np.int64)
    others = [] if wanted == UNSPLIT or listed else _folders(root)
    ignored = [folder.name for folder in others if folder not in by_split.values()]
    notes = [*found.notes, *_what_is_missing(found, labels)] + [
        f"ignored the folders that are no split: {', '.join(ignored)}"
    ] * bool(ignored)
    paths = tuple(path for path, _ in found.faces)
    sources = [path.relative_to(root).as_posix() for path in paths]
    return FaceSet(name, wanted, FileImages(paths), labels, sources, tuple(notes))


def _what_is_missing(found: _Found, labels: NDArray[np.int64]) -> Iterator[str]:
    if found.dropped:
        listing = ", ".join(f"{label} {n}" for label, n in sorted(found.dropped.items()))
        yield f"dropped {found.dropped.total()} faces outside the seven emotions: {listing}"
    absent = [emotion.label for emotion in EMOTIONS if emotion not in labels]
    if absent:
        yield f"no face of: {', '.join(absent)}"
    if found.ignored_files:
        yield f"ignored {len(found.ignored_files)} files that are no images or stand outside the classes (such as {min(found.ignored_files).name})"


# -- folders and files --------------------------------------------------------------------------------


def _split_folders(root: Path) -> dict[str, Path]:
    if not os.path.isdir(root):
        raise DatasetError(
            f"{root} is not a folder. Give a dataset's folder: --dataset FOLDER, or --data-root FOLDER."
        )
    named: dict[str, Path] = {}
    for folder in _folders(root):
        split = _SPLIT_NAMES.get(folder.name.lower())
        if split in named:
            raise DatasetError(
                f"{folder} and {named[split].name} both claim to be the {split} split. Rename or remove one of them."
            )
        if split is not None:
            named[split] = folder
    return named or {UNSPLIT: root}


def _folders(folder: Path) -> list[Path]:
    return [child for child in _visible(folder) if os.path.isdir(child)]


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed ({error.strerror}).") from error


def list_files(folder: Path, seen: set[Path] | None = None) -> Iterator[Path]:
    """All visible files under `folder`, in order, and what else has a name there: broken links, pipes,
    devices.

    Each real folder is listed once, however many links lead to it: links may lead in a circle.

    Raises:
        DatasetError: a folder cannot be listed.
    """
    seen = set() if seen is None else seen
    if (here := folder.resolve()) in seen:
        return
    seen.add(here)
    for child in _visible(folder):
        if os.path.isdir(child):
            yield from list_files(child, seen)
        else:
            yield child


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


# -- classes ------------------------------------------------------------------------------------------


def _classify(folder: Path, scheme: LabelScheme | None) -> _Found:
    """The labelled faces under `folder`: by file name when most are named as KDEF's or JAFFE's, by class
    folder otherwise.
    """
    everything = list(list_files(folder))
    pictures = [path for path in everything if _is_image(path)]
    for name, pattern in (("KDEF", _KDEF), ("JAFFE", _JAFFE)):
        if 2 * sum(pattern.fullmatch(path.name) is not None for path in pictures) > len(pictures):
            return _by_file_name(name, pattern, everything)
    found = _Found(ignored_files=[path for path in _visible(folder) if not os.path.isdir(path)])
    if scheme:
        found.notes.append(f"numbered folders read by the label scheme {scheme.name}: {scheme.describe()}")
    for named in _folders(folder):
        emotion = _emotion(named, scheme)
        for path in list_files(named):
            if not _is_image(path):
                found.ignored_files.append(path)
            elif emotion is None:
                found.dropped[scheme.describe_class(int(named.name)) if scheme else named.name] += 1
            else:
                found.faces.append((path, emotion))
    return found


def _by_file_name(name: str, pattern: re.Pattern[str], everything: list[Path]) -> _Found:
    found, angles = _Found(), Counter[str]()
    for path in everything:
        match = pattern.fullmatch(path.name)
        emotion = parse_label(match[1]) if match else None
        if match is None or emotion is None:
            found.ignored_files.append(path)
            continue
        found.faces.append((path, emotion))
        angles.update(match.groups()[1:])
    listing = (
        ", ".join(f"{angles[key.upper()] + angles[key.lower()]} {angle}" for key, angle in _ANGLES.items())
        if angles
        else ""
    )
    found.notes.append(
        f"labels from {name}'s file names" + (f"; all angles kept: {listing}" if listing else "")
    )
    return found


def _by_annotation(labels: annotated.AnnotatedSplit) -> _Found:
    found = _Found(notes=[f"labels from {labels.source}: {labels.scheme.describe()}", *labels.notes])
    for path, number in labels.rows:
        emotion = labels.scheme.emotion(number)
        if emotion is None:
            found.dropped[labels.scheme.describe_class(number)] += 1
        else:
            found.faces.append((path, emotion))
    return found


def _emotion(folder: Path, scheme: LabelScheme | None) -> Emotion | None:
    try:
        return scheme.emotion(int(folder.name)) if scheme else parse_label(folder.name)
    except DatasetError as error:
        raise DatasetError(
            f"{folder} is not a class folder: {error} Rename it to an emotion, or move it away."
        ) from error


def _numbering(split_folders: Iterable[Path], root: Path, scheme: LabelScheme | None) -> LabelScheme | None:
    """The scheme of numbered class folders; None where they have names.

    Raises:
        DatasetError: numbered folders without a scheme, or the opposite. Numbers are never guessed: 0..7 are
            AffectNet's, CK+'s and FER+'s, 1..7 RAF-DB's and CK+'s without neutral, 0..6 FER-2013's,
            AffectNet's without contempt, and the alphabet's.
    """
    named = [child for folder in split_folders for child in _folders(folder)]
    numbers = sorted({int(child.name) for child in named if _NUMBER.fullmatch(child.name)})
    all_numbered = bool(named) and all(_NUMBER.fullmatch(child.name) for child in named)
    if scheme is not None and not all_numbered:
        other = next((child for child in named if not _NUMBER.fullmatch(child.name)), root)
        raise DatasetError(
            f"--label-scheme {scheme.name} is for numbered class folders, and {other} is none. "
            "Leave the option out, or move that away."
        )
    if scheme is None and all_numbered:
        listing = ", ".join(map(str, numbers[:_LISTED])) + (", …" if len(numbers) > _LISTED else "")
        raise DatasetError(
            f"The class folders in {root} are numbers ({listing}), which datasets use in different orders. "
            f"{schemes.suggest_schemes(numbers)} Or rename the folders to emotions ({', '.join(LABELS)})."
        )
    return scheme
