"""Labelled face datasets, loaded by name.

No large library is imported until a dataset is read.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fer_models.datasets import fer2013, fer2013_rows, folders, hub, schemes, synthetic, webdataset
from fer_models.datasets.base import FaceSet, Images
from fer_models.errors import DatasetError, UnknownNameError, UsageError

__all__ = [
    "DATASETS",
    "FaceSet",
    "Images",
    "default_split",
    "evaluation_split",
    "folder",
    "load",
    "recorded_names",
    "splits",
    "training_splits",
    "validation_split",
]

#: The datasets with a name of their own; any folder of class folders is one more.
DATASETS: tuple[str, ...] = ("synthetic", "fer2013")

_FOLDER_HINT = "A folder of class folders or of WebDataset's tar files works too: --dataset FOLDER."
_DEFAULT_SPLITS = {"synthetic": "test", "fer2013": "public_test"}


def load(
    name: str,
    split: str | None = None,
    root: Path | None = None,
    *,
    download: bool = False,
    label_scheme: str | None = None,
) -> FaceSet:
    """Load the faces of one split of a dataset.

    Args:
        name: `synthetic`, `fer2013`, the path of a folder of class folders or of WebDataset's tar files, or
            (with `root`) any name to call such a folder by.
        split: one of `splits(name, root)`; `default_split(name, root)` when None.
        root: the folder of the data. `synthetic` needs none.
        download: fetch `fer2013` from the Hub when there is no `root`.
        label_scheme: what numbered class folders (or labels in tar files) mean, one of `schemes.SCHEMES` or a
            JSON file; None where they have names.

    Raises:
        UnknownNameError: neither a known dataset nor a folder, or no such split or scheme.
        UsageError: `fer2013` with neither `root` nor `download`, a `root` for `synthetic`, several splits and
            none chosen, or a `label_scheme` for a dataset that has no numbered folders.
        DatasetError: the data cannot be read as what it claims to be.
    """
    scheme = None if label_scheme is None else schemes.find(label_scheme)
    if scheme is not None and name in DATASETS:
        raise UsageError(
            f"--label-scheme {label_scheme} is for numbered class folders; the labels of {name} are known. "
            "Leave it out."
        )
    split = split or default_split(name, root)
    if name == "synthetic":
        if root is not None:
            raise UsageError(
                f"The synthetic faces need no --data-root, got {root}. To evaluate the faces in it, "
                "add --dataset fer2013 (or a name for it)."
            )
        return synthetic.load(split)
    if name == "fer2013":
        return _load_fer2013(split, root, download)
    path = _folder(name, root)
    load_folder = webdataset.load if webdataset.shard_files(path) else folders.load
    faces = load_folder(split, path, None if root is None else name, scheme)
    if scheme is not None and scheme.name == schemes.FER2013 and fer2013.is_alphabetical(faces.labels):
        raise DatasetError(
            f"{path}: the counts of {faces.name} are those of FER-2013 with alphabetical class numbers. "
            f"Use --label-scheme {schemes.FER2013_ALPHABETICAL}"
        )
    return replace(faces, options=_options(name, root, label_scheme))


def _load_fer2013(split: str, root: Path | None, download: bool) -> FaceSet:
    if split not in fer2013_rows.SPLITS:  # checked before anything is fetched
        raise UnknownNameError("split of fer2013", split, fer2013_rows.SPLITS)
    if root is None and not download:
        raise UsageError(
            "fer2013 is not part of this package. "
            "Give its folder with --data-root FOLDER, or fetch it with --download."
        )
    return fer2013.load(split, root if root is not None else hub.download(hub.FER2013_REPO))


def _options(name: str, root: Path | None, label_scheme: str | None) -> str:
    """The options that select a dataset, for a command line."""
    options = {"--dataset": name, "--data-root": root, "--label-scheme": label_scheme}
    return " ".join(f"{key} {shlex.quote(str(value))}" for key, value in options.items() if value is not None)


def folder(name: str, root: Path | None = None, *, download: bool = False) -> Path | None:
    """The folder of a dataset's files; None for `synthetic`, which has none.

    Arguments and errors are those of `load`.
    """
    if name == "synthetic":
        return None
    if name == "fer2013":
        return root if root is not None or not download else hub.download(hub.FER2013_REPO)
    return _folder(name, root)


def splits(name: str, root: Path | None = None) -> tuple[str, ...]:
    """The splits of a dataset, for messages and choices.

    Raises:
        UnknownNameError: neither a known dataset nor a folder.
        DatasetError: a folder that cannot be read.
    """
    by_name = {"synthetic": tuple(synthetic.SPLITS), "fer2013": fer2013_rows.SPLITS}
    if name in by_name:
        return by_name[name]
    path = _folder(name, root)
    return webdataset.splits(path) if webdataset.shard_files(path) else folders.splits(path)


def default_split(name: str, root: Path | None = None) -> str:
    """The split that is evaluated by default.

    It is test for `synthetic`, public_test for `fer2013`, and a folder's test split or only held-out one.

    Raises:
        UnknownNameError: neither a known dataset nor a folder.
        UsageError: a folder with several held-out splits and no test split.
    """
    if name in _DEFAULT_SPLITS:
        return _DEFAULT_SPLITS[name]
    available = splits(name, root)
    if "test" in available:
        return "test"
    held_out = [split for split in available if split != "train"] or list(available)
    if len(held_out) == 1:
        return held_out[0]
    raise UsageError(f"{name} has the splits {', '.join(available)}, and no test split. Choose with --split.")


def _folder(name: str, root: Path | None) -> Path:
    """The folder of a dataset that is none of `DATASETS`."""
    if root is not None:
        if os.sep in name:
            raise UsageError(
                f"--dataset {name} and --data-root {root} both name a folder. Give only one of them."
            )
        return root
    folder = Path(os.path.expanduser(name))  # Path.expanduser raises for an unknown user
    if not os.path.isdir(folder):
        raise UnknownNameError("dataset or folder", name, DATASETS, _FOLDER_HINT)
    return folder


def recorded_names(name: str, split: str, root: Path | None = None) -> tuple[str, str]:
    """The names that records have of a dataset and a split, such as `validation` for `val`."""
    if name in DATASETS:
        return name, split
    dataset = Path(os.path.expanduser(name)).resolve().name if root is None else name
    return dataset, split if split in splits(name, root) else folders.SPLIT_NAMES.get(split.lower(), split)


def training_splits(name: str, root: Path | None = None) -> tuple[str, str]:
    """The training split, and the validation split on which the epoch is chosen.

    Raises:
        UsageError: a folder without both.
    """
    if name == "fer2013":
        return "train", "public_test"
    available, validation = splits(name, root), validation_split(name, root)
    if "train" not in available:
        raise UsageError(
            f"{name} has the splits {', '.join(available)}, and no training split. Name a folder `train`."
        )
    return "train", validation


def validation_split(name: str, root: Path | None = None) -> str:
    """The split on which epochs are chosen, and on which fusions and temperatures are fitted.

    Raises:
        UsageError: a folder without one.
    """
    if name == "fer2013":
        return "public_test"
    return _first_split(
        name, root, ("validation", "public_test"), "so that nothing is chosen or fitted on test"
    )


def evaluation_split(name: str, root: Path | None = None) -> str:
    """The test split, which training does not use: `test` or `private_test`.

    Raises:
        UsageError: a folder without one.
    """
    if name == "fer2013":
        return "private_test"
    return _first_split(name, root, ("test", "private_test"), "with faces that training does not use")


def _first_split(name: str, root: Path | None, candidates: Sequence[str], reason: str) -> str:
    """The first of `candidates` that a dataset has; `reason` ends the sentence of the error."""
    available = splits(name, root)
    for split in candidates:
        if split in available:
            return split
    raise UsageError(
        f"{name} has the splits {', '.join(available)}, and no {candidates[0]} split. "
        f"Name a folder `{candidates[0]}`, {reason}."
    )
