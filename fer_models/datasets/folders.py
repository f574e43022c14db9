"""Any dataset of class folders, and KDEF and JAFFE by their file names: FER-2013's folders, CK+48, RAF-DB, AffectNet, SFEW, one's own.

Layouts: `root/CLASS/…` or `root/SPLIT/CLASS/…`, where CLASS is the name of an emotion in any known spelling, or RAF-DB's `1..7`, or
AffectNet's `0..7`. Everything that is left out (contempt, files that are no images, …) is counted in the set's notes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_models import images
from fer_models.datasets.base import FaceSet
from fer_models.emotions import AFFECTNET, EMOTIONS, RAF_DB, Emotion, LabelSpace, parse_label
from fer_models.errors import DatasetError, UnknownNameError

#: The split of a dataset whose folders name none.
WHOLE = "all"
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
    strangers: list[Path] = field(default_factory=list)  # files that are no images, or belong to no class


def splits(root: Path) -> tuple[str, ...]:
    """The splits that the folders under `root` make: `train`, `validation`, `test`, …, or only `all`.

    Raises:
        DatasetError: `root` is no folder, or two of its folders claim to be the same split.
    """
    return tuple(_split_folders(root))


def load(split: str, root: Path, name: str | None = None) -> FaceSet:
    """The faces of one split, decoded from their files when they are asked for.

    Args:
        split: one of `splits(root)`; spellings such as `val` are understood.
        root: the dataset's folder.
        name: the dataset's name in subjects and baselines; the folder's own by default.

    Returns:
        The faces in the order of their paths, each called by its path under `root`. `notes` tell how numbered folders were read,
        what was dropped, what was ignored, and which emotions have no face.

    Raises:
        UnknownNameError: no such split.
        DatasetError: no folder, no face, a folder whose name is no emotion, or numbered folders that could mean several things.
    """
    by_split = _split_folders(root)
    name = name or root.resolve().name
    wanted = split if split in by_split else _SPLIT_NAMES.get(split.lower(), split)
    if wanted not in by_split:
        raise UnknownNameError(f"split of {name}", split, by_split)
    found = _classify(by_split[wanted], _numbering(by_split.values(), name))
    if not found.faces:
        raise DatasetError(
            f"{by_split[wanted]} holds no labelled image. Looked for CLASS/*.jpg (png, tiff, …), where CLASS is an emotion's name such as angry, and "
            "for KDEF's and JAFFE's file names. For FER-2013's csv or parquet files use --dataset fer2013 --data-root FOLDER."
        )
    labels = np.array([emotion for _, emotion in found.faces], dtype=np.int64)
    beside = [] if wanted == WHOLE else [folder.name for folder in _folders(root) if folder not in by_split.values()]
    notes = [*found.notes, *_what_is_missing(found, labels)] + [f"ignored the folders beside the splits: {', '.join(beside)}"] * bool(beside)
    paths = tuple(path for path, _ in found.faces)
    return FaceSet(name, wanted, FileImages(paths), labels, [path.relative_to(root).as_posix() for path in paths], tuple(notes))


def _what_is_missing(found: _Found, labels: NDArray[np.int64]) -> Iterator[str]:
    if found.dropped:
        listing = ", ".join(f"{label} {n}" for label, n in sorted(found.dropped.items()))
        yield f"dropped {found.dropped.total()} faces outside the seven emotions: {listing}"
    absent = [emotion.label for emotion in EMOTIONS if emotion not in labels]
    if absent:
        yield f"no face of: {', '.join(absent)}"
    if found.strangers:
        yield f"ignored {len(found.strangers)} files that are no images or stand outside the classes (such as {min(found.strangers).name})"


# -- folders and files --------------------------------------------------------------------------------


def _split_folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder. Give a dataset's folder: --dataset FOLDER, or --data-root FOLDER.")
    named: dict[str, Path] = {}
    for folder in _folders(root):
        split = _SPLIT_NAMES.get(folder.name.lower())
        if split in named:
            raise DatasetError(f"{folder} and {named[split].name} both claim to be the {split} split. Rename or remove one of them.")
        if split is not None:
            named[split] = folder
    return named or {WHOLE: root}


def _folders(folder: Path) -> list[Path]:
    return [child for child in _visible(folder) if child.is_dir()]


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed ({error.strerror}).") from error


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All visible files under `folder`, in order; a link that leads back to a folder above is not followed."""
    here = folder.resolve()
    if here in above:
        return
    for child in _visible(folder):
        if child.is_dir():
            yield from _files(child, (*above, here))
        elif child.is_file() or child.is_symlink():  # a dangling link is a face that cannot be read, not one to pass over
            yield child


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


# -- classes ------------------------------------------------------------------------------------------


def _classify(folder: Path, numbering: LabelSpace | None) -> _Found:
    """The labelled faces under `folder`: by file name when most are named as KDEF's or JAFFE's, by class folder otherwise."""
    files = list(_files(folder))
    pictures = [path for path in files if _is_image(path)]
    for name, pattern in (("KDEF", _KDEF), ("JAFFE", _JAFFE)):
        if 2 * sum(pattern.fullmatch(path.name) is not None for path in pictures) > len(pictures):
            return _by_file_name(name, pattern, files)
    found = _Found(strangers=[path for path in _visible(folder) if not path.is_dir()])
    if numbering:
        found.notes.append(f"numbered folders read as {numbering.name}: {_spell(numbering)}")
    for named in _folders(folder):
        emotion = _emotion(named, numbering)
        for path in _files(named):
            if not _is_image(path):
                found.strangers.append(path)
            elif emotion is None:
                found.dropped[named.name] += 1
            else:
                found.faces.append((path, emotion))
    return found


def _by_file_name(name: str, pattern: re.Pattern[str], files: list[Path]) -> _Found:
    found, angles = _Found(), Counter[str]()
    for path in files:
        match = pattern.fullmatch(path.name)
        emotion = parse_label(match[1]) if match else None
        if match is None or emotion is None:
            found.strangers.append(path)
            continue
        found.faces.append((path, emotion))
        angles.update(match.groups()[1:])
    listing = ", ".join(f"{angles[key.upper()] + angles[key.lower()]} {angle}" for key, angle in _ANGLES.items()) if angles else ""
    found.notes.append(f"labels from {name}'s file names" + (f"; all angles kept: {listing}" if listing else ""))
    return found


def _emotion(folder: Path, numbering: LabelSpace | None) -> Emotion | None:
    try:
        return numbering.emotion(int(folder.name)) if numbering else parse_label(folder.name)
    except (DatasetError, ValueError) as error:
        raise DatasetError(f"{folder} is not a class folder: {error} Rename it to an emotion, or move it away.") from error


def _spell(space: LabelSpace) -> str:
    return ", ".join(f"{i} {'(dropped)' if emotion is None else emotion.label}" for i, emotion in enumerate(space.order) if i or emotion is not None)


def _numbering(split_folders: Iterable[Path], name: str) -> LabelSpace | None:
    """What numbered class folders mean, from the numbers of all splits together; None when they bear names.

    Raises:
        DatasetError: the numbers fit several datasets. 0..6 are FER-2013's in csv order, AffectNet's without contempt and the
            alphabet's: only a dataset called AffectNet settles it.
    """
    named = [child for folder in split_folders for child in _folders(folder)]
    numbers = {int(child.name) for child in named if re.fullmatch(r"\d{1,3}", child.name)}
    if not numbers or any(not child.name.isdigit() for child in named):
        return None
    if 0 in numbers and (7 <= max(numbers) <= 10 or (max(numbers) < 7 and "affectnet" in name.lower())):
        return AFFECTNET
    if 0 not in numbers and (max(numbers) == 7 or (max(numbers) < 7 and "raf" in name.lower())):
        return RAF_DB
    raise DatasetError(
        f"The class folders of {name} are numbers ({', '.join(map(str, sorted(numbers)))}), which datasets use in different orders. "
        "Rename them to emotions (angry, disgust, fear, happy, sad, surprise, neutral)."
    )
