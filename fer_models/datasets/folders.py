"""Class-folder datasets (CK+48, SFEW, one's own), and the layouts of RAF-DB, AffectNet, KDEF and JAFFE.

Layouts: `root/CLASS/…` or `root/SPLIT/CLASS/…`, where CLASS is the name of an emotion in any accepted
spelling, or a number of a label scheme that the user selects; RAF-DB's list of labels and AffectNet's
annotations as they are published (`annotated`); KDEF's and JAFFE's file names.
Notes of the set count all that is left out (contempt, files that are no images, …).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_models import images
from fer_models.datasets import annotated, schemes
from fer_models.datasets.base import FaceSet
from fer_models.datasets.listing import list_visible
from fer_models.datasets.schemes import LabelScheme
from fer_models.emotions import EMOTIONS, LABELS, Emotion, parse_label
from fer_models.errors import DatasetError, UnknownNameError, printable

if TYPE_CHECKING:
    import pyarrow as pa

#: The split of a dataset without split folders.
UNSPLIT = "all"
#: Spellings of splits.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "train_set"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "val_set"), "validation"),
    **dict.fromkeys(("test", "testing", "test_set"), "test"),
    **{name: name for name in ("public_test", "private_test")},
}
#: File names of images end with one of these, in lower case.
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm"}
#: Sex and number of the person, session, emotion and angle: `AF01ANS.JPG` (https://kdef.se).
_KDEF = re.compile(
    r"[AB](?P<sex>[FM])\d\d(?P<emotion>AF|AN|DI|HA|NE|SA|SU)(?P<view>S|HL|HR|FL|FR)\.(?:jpe?g|png)",
    re.IGNORECASE,
)
#: Person, emotion and take: `KA.AN1.39.tiff`.
_JAFFE = re.compile(r"[A-Z]{2}\.(?P<emotion>AN|DI|FE|HA|NE|SA|SU)\d\.\d+\.(?:tiff?|png|jpe?g)", re.IGNORECASE)
#: A numbered class folder, perhaps with leading zeros.
_NUMBER = re.compile(r"[0-9]{1,3}")
#: How many class numbers a message lists.
_LISTED = 12
_SEXES = {"F": "female", "M": "male"}
_ANGLES = {"S": "straight", "HL": "half left", "HR": "half right", "FL": "full left", "FR": "full right"}


@dataclass(frozen=True)
class FileImages:
    """Images in files, each decoded on access as uint8 RGB (H, W, 3).

    Reading one raises ImageError, which names the file, when the file is no valid image.

    Attributes:
        paths: the bytes of each path; some paths are no text.
    """

    paths: pa.Array

    @classmethod
    def of(cls, paths: Iterable[Path]) -> FileImages:
        """The images in some files."""
        import pyarrow as pa

        return cls(pa.array([os.fsencode(path) for path in paths], pa.large_binary()))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return images.read(Path(os.fsdecode(self.paths[index].as_py())))


@dataclass
class _SplitFiles:
    """Files of one split.

    Attributes:
        faces: the labelled images.
        notes: remarks for readers of the results.
        dropped: class -> number of faces outside the seven emotions.
        ignored_files: files that are no images, or belong to no class.
        attributes: what the dataset says of each image, by its path and by name.
    """

    faces: list[tuple[Path, Emotion]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    ignored_files: list[Path] = field(default_factory=list)
    attributes: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)


def splits(root: Path) -> tuple[str, ...]:
    """The splits under `root`: `train`, `validation`, `test`, …, or only `all`.

    Raises:
        DatasetError: `root` is no folder, or two of its folders are the same split.
    """
    return annotated.raf_db_splits(root) or tuple(_split_folders(root))


def load(split: str, root: Path, name: str | None = None, scheme: LabelScheme | None = None) -> FaceSet:
    """Load the faces of one split; each is decoded on access.

    Args:
        split: one of `splits(root)`; spellings such as `val` are accepted.
        root: the dataset's folder.
        name: the dataset's name in subjects and baselines; the folder's name by default.
        scheme: the meaning of numbered class folders; None where they have names.

    Returns:
        The faces in the order of their paths, each with its path under `root` as its source. `notes` list the
        meaning of numbers, dropped and ignored files, and emotions without a face.

    Raises:
        UnknownNameError: no such split.
        DatasetError: no folder, no face, a folder whose name is no emotion, numbered folders without a scheme
            or with numbers that it does not have, a scheme without numbered folders, or broken labels of
            RAF-DB or AffectNet.
    """
    listed = annotated.raf_db_splits(root)
    by_split = dict.fromkeys(listed, root) if listed else _split_folders(root)
    name = name or root.resolve().name
    wanted = split if split in by_split else SPLIT_NAMES.get(split.lower(), split)
    if wanted not in by_split:
        raise UnknownNameError(f"split of {printable(name)}", split, by_split)
    folder, is_affectnet = by_split[wanted], not listed and annotated.is_affectnet(by_split[wanted])
    if scheme is not None and (listed or is_affectnet):
        owner = "RAF-DB" if listed else "AffectNet"
        raise DatasetError(f"The labels in {root} are {owner}'s own. Leave out --label-scheme {scheme.name}.")
    if listed:
        files = _label_by_annotation(annotated.load_raf_db(root, wanted))
    elif is_affectnet:
        files = _label_by_annotation(annotated.load_affectnet(folder))
    else:
        files = _label_by_name(folder, _check_scheme(by_split.values(), root, scheme))
    if not files.faces:
        raise DatasetError(f"{folder} holds no labelled image. {_LAYOUT_HINT}")
    labels = np.array([emotion for _, emotion in files.faces], dtype=np.int64)
    notes = [*files.notes, *omission_notes(files.dropped, labels, files.ignored_files)]
    others = [] if wanted == UNSPLIT or listed else _folders(root)
    if ignored := [other.name for other in others if other not in by_split.values()]:
        notes.append(f"ignored the folders that are no split: {', '.join(ignored)}")
    paths = tuple(path for path, _ in files.faces)
    sources = [path.relative_to(root).as_posix() for path in paths]
    attributes = _attributes_of(paths, files.attributes)
    return FaceSet(name, wanted, FileImages.of(paths), labels, sources, tuple(notes), attributes=attributes)


def _attributes_of(
    paths: tuple[Path, ...], attributes: Mapping[Path, Mapping[str, str]]
) -> dict[str, list[str]]:
    names = sorted({name for each in attributes.values() for name in each})
    return {name: [attributes.get(path, {}).get(name, "") for path in paths] for name in names}


_LAYOUT_HINT = (
    "Looked for CLASS/*.jpg (png, tiff, …), where CLASS is an emotion's name such as angry, "
    "for RAF-DB's EmoLabel and Image/aligned, for AffectNet's annotations and images, "
    "for KDEF's and JAFFE's file names, and for WebDataset's tar files in a folder without folders. "
    "For FER-2013's csv or parquet files use --dataset fer2013 --data-root FOLDER."
)


def omission_notes(
    dropped: Counter[str], labels: NDArray[np.int64], ignored_files: Sequence[Path]
) -> Iterator[str]:
    """Notes on dropped faces by class, emotions without a face, and ignored files."""
    if dropped:
        listing = ", ".join(f"{label} {n}" for label, n in sorted(dropped.items()))
        yield f"dropped {dropped.total()} faces outside the seven emotions: {listing}"
    absent = [emotion.label for emotion in EMOTIONS if emotion not in labels]
    if absent:
        yield f"no face of: {', '.join(absent)}"
    if ignored_files:
        example = min(ignored_files).name
        yield (
            f"ignored {len(ignored_files)} files that are no images or belong to no class (such as {example})"
        )


# -- folders and files --------------------------------------------------------------------------------


def _split_folders(root: Path) -> dict[str, Path]:
    if not os.path.isdir(root):
        raise DatasetError(
            f"{root} is not a folder. Give a dataset's folder: --dataset FOLDER, or --data-root FOLDER."
        )
    by_split: dict[str, Path] = {}
    for folder in _folders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in by_split:
            raise DatasetError(
                f"{folder} and {by_split[split].name} both claim to be the {split} split. "
                "Rename or remove one of them."
            )
        if split is not None:
            by_split[split] = folder
    return by_split or {UNSPLIT: root}


def _folders(folder: Path) -> list[Path]:
    return [child for child in list_visible(folder) if os.path.isdir(child)]


def list_files(folder: Path) -> Iterator[Path]:
    """List all visible files under `folder`, in order, with broken links, pipes and devices.

    Each real folder is listed once, however many links lead to it: links may form a cycle.

    Raises:
        DatasetError: a folder cannot be listed.
    """
    visited: set[Path] = set()
    waiting = [folder]  # the next one last; not a recursion, which deep folders would end
    while waiting:
        path = waiting.pop()
        if not os.path.isdir(path):
            yield path
        elif (real := path.resolve()) not in visited:
            visited.add(real)
            waiting += reversed(list(list_visible(path)))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


# -- classes ------------------------------------------------------------------------------------------


def _label_by_name(folder: Path, scheme: LabelScheme | None) -> _SplitFiles:
    """Label images by file name if most have names of KDEF or JAFFE, else by class folder."""
    paths = list(list_files(folder))
    image_names = [path.name for path in paths if _is_image(path)]
    for name, pattern in (("KDEF", _KDEF), ("JAFFE", _JAFFE)):
        if 2 * sum(pattern.fullmatch(image) is not None for image in image_names) > len(image_names):
            return _label_by_file_name(name, pattern, paths)
    files = _SplitFiles(ignored_files=[path for path in list_visible(folder) if not os.path.isdir(path)])
    if scheme:
        files.notes.append(f"numbered folders read by the label scheme {scheme.name}: {scheme.describe()}")
    for class_folder in _folders(folder):
        emotion = _folder_emotion(class_folder, scheme)
        for path in list_files(class_folder):
            if not _is_image(path):
                files.ignored_files.append(path)
            elif emotion is None:
                name = class_folder.name
                files.dropped[scheme.describe_class(int(name)) if scheme else name] += 1
            else:
                files.faces.append((path, emotion))
    return files


def _label_by_file_name(name: str, pattern: re.Pattern[str], paths: list[Path]) -> _SplitFiles:
    files, people = _SplitFiles(), {}
    for path in paths:
        match = pattern.fullmatch(path.name)
        emotion = parse_label(match["emotion"]) if match else None
        if match is None or emotion is None:
            files.ignored_files.append(path)
            continue
        files.faces.append((path, emotion))
        codes = {key: code.upper() for key, code in match.groupdict().items()}
        if "view" in codes:
            people[path] = {"sex": _SEXES[codes["sex"]], "view": _ANGLES[codes["view"]]}
    note = f"labels from {name}'s file names"
    if people:
        views = Counter(person["view"] for person in people.values())
        note += "; all angles: " + ", ".join(f"{views[angle]} {angle}" for angle in _ANGLES.values())
    files.notes.append(note)
    files.attributes = people
    return files


def _label_by_annotation(split: annotated.AnnotatedSplit) -> _SplitFiles:
    notes = [f"labels from {split.source}: {split.scheme.describe()}", *split.notes]
    files = _SplitFiles(notes=notes, attributes=split.attributes)
    for path, number in split.rows:
        emotion = split.scheme.emotion(number)
        if emotion is None:
            files.dropped[split.scheme.describe_class(number)] += 1
        else:
            files.faces.append((path, emotion))
    return files


def _folder_emotion(folder: Path, scheme: LabelScheme | None) -> Emotion | None:
    try:
        return scheme.emotion(int(folder.name)) if scheme else parse_label(folder.name)
    except DatasetError as error:
        raise DatasetError(
            f"{folder} is not a class folder: {error} Rename it to an emotion, or move it away."
        ) from error


def _check_scheme(
    split_folders: Iterable[Path], root: Path, scheme: LabelScheme | None
) -> LabelScheme | None:
    """Check that class folders are numbered if and only if there is a scheme, and return the scheme.

    Raises:
        DatasetError: numbered folders without a scheme, or the opposite. Numbers are never guessed: 0..7 are
            AffectNet's, CK+'s and FER+'s, 1..7 RAF-DB's and CK+'s without neutral, 0..6 FER-2013's,
            AffectNet's without contempt, and the alphabet's.
    """
    class_folders = [child for folder in split_folders for child in _folders(folder)]
    names = [child for child in class_folders if not _NUMBER.fullmatch(child.name)]
    all_numbered = bool(class_folders) and not names
    if scheme is not None and not all_numbered:
        other = next(iter(names), root)
        raise DatasetError(
            f"--label-scheme {scheme.name} is for numbered class folders, and {other} is none. "
            "Leave the option out, or move that away."
        )
    if scheme is None and all_numbered:
        numbers = sorted({int(child.name) for child in class_folders})
        raise unknown_numbers_error(
            f"The class folders in {root}",
            numbers,
            f"Or rename the folders to emotions ({', '.join(LABELS)}).",
        )
    return scheme


def unknown_numbers_error(labels: str, numbers: Sequence[int], hint: str) -> DatasetError:
    """The error about `labels` that are `numbers` of no scheme, with a further `hint`."""
    listing = ", ".join(map(str, numbers[:_LISTED])) + (", …" if len(numbers) > _LISTED else "")
    return DatasetError(
        f"{labels} are numbers ({listing}), which datasets use in different orders. "
        f"{schemes.suggest_schemes(numbers)} {hint}"
    )
