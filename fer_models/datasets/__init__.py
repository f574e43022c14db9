"""The one door to labelled faces: `load` finds the dataset that a name stands for. Nothing heavy is imported
until a set is read.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from fer_models.datasets import fer2013, fer2013_rows, folders, hub, schemes, synthetic
from fer_models.datasets.base import FaceSet, Images
from fer_models.errors import UnknownNameError, UsageError

__all__ = [
    "DATASETS",
    "FaceSet",
    "Images",
    "default_split",
    "evaluation_split",
    "folder",
    "load",
    "splits",
    "training_splits",
]

#: The datasets known by name; any folder of class folders is one more.
DATASETS: tuple[str, ...] = ("synthetic", "fer2013")

_A_FOLDER = "A folder of class folders works too: --dataset FOLDER."
_DEFAULTS = {"synthetic": "test", "fer2013": "public_test"}


def load(
    name: str,
    split: str | None = None,
    root: Path | None = None,
    *,
    download: bool = False,
    label_scheme: str | None = None,
) -> FaceSet:
    """The faces of one split of a dataset.

    Args:
        name: `synthetic`, `fer2013`, the path of a folder of class folders, or (with `root`) any name to call
            such a folder by.
        split: one of `splits(name, root)`; `default_split(name, root)` when None.
        root: where the data lies. `synthetic` needs none.
        download: fetch `fer2013` from the Hub when there is no `root`.
        label_scheme: what numbered class folders mean, one of `schemes.SCHEMES` or a JSON file; None where
            folders have names.

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
    if name == "synthetic":
        if root is not None:
            raise UsageError(
                f"The drawn faces need no --data-root, got {root}. To evaluate the faces in it, add --dataset fer2013 (or a name for it)."
            )
        return synthetic.load(split or _DEFAULTS[name])
    if name == "fer2013":
        split = split or _DEFAULTS[name]
        if split not in fer2013_rows.SPLITS:  # known before anything is fetched
            raise UnknownNameError("split of fer2013", split, fer2013_rows.SPLITS)
        if root is None and not download:
            raise UsageError(
                "fer2013 is not part of this package. Say where it lies with --data-root FOLDER, or fetch it with --download."
            )
        return fer2013.load(split, root if root is not None else hub.download(hub.FER2013_REPO))
    split = split or default_split(name, root)
    faces = folders.load(split, _folder(name, root), None if root is None else name, scheme)
    return replace(faces, options=_options(name, root, label_scheme))


def _options(name: str, root: Path | None, label_scheme: str | None) -> str:
    """The options that select a dataset, for a command line."""
    given = {"--dataset": name, "--data-root": root, "--label-scheme": label_scheme}
    return " ".join(
        f"{option} {shlex.quote(str(value))}" for option, value in given.items() if value is not None
    )


def folder(name: str, root: Path | None = None, *, download: bool = False) -> Path | None:
    """Where the files of a dataset lie; None for `synthetic`, which has none. Arguments and errors as
    `load`.
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
    known = {"synthetic": tuple(synthetic.SPLITS), "fer2013": fer2013_rows.SPLITS}
    return known[name] if name in known else folders.splits(_folder(name, root))


def default_split(name: str, root: Path | None = None) -> str:
    """The split evaluated when none is named: `synthetic` test, `fer2013` public_test, a folder's test split
    or its only one.

    Raises:
        UnknownNameError: neither a known dataset nor a folder.
        UsageError: a folder with several splits, of which none is plainly its test.
    """
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    there = splits(name, root)
    if "test" in there:
        return "test"
    held_out = [split for split in there if split != "train"] or list(there)
    if len(held_out) == 1:
        return held_out[0]
    raise UsageError(
        f"{name} has the splits {', '.join(there)}, and none is plainly its test. Choose with --split."
    )


def _folder(name: str, root: Path | None) -> Path:
    """The folder of a dataset that is not known by name."""
    if root is not None:
        if os.sep in name:
            raise UsageError(
                f"--dataset {name} and --data-root {root} both name a folder. Give the folder once, as either."
            )
        return root
    folder = Path(
        os.path.expanduser(name)
    )  # unlike Path.expanduser, it leaves the name of an unknown user as it is
    if not os.path.isdir(folder):
        raise UnknownNameError("dataset or folder", name, DATASETS, _A_FOLDER)
    return folder


def training_splits(name: str, root: Path | None = None) -> tuple[str, str]:
    """The split that trains and the one on which the epoch is chosen. The test split is neither.

    Raises:
        UsageError: a folder without both.
    """
    known = {"synthetic": ("train", "validation"), "fer2013": ("train", "public_test")}
    if name in known:
        return known[name]
    there = splits(name, root)
    validation = next((s for s in ("validation", "valid", "val", "public_test") if s in there), None)
    if "train" not in there or validation is None:
        raise UsageError(
            f"{name} has the splits {', '.join(there)}; training needs train and validation folders, so that no epoch is chosen on test."
        )
    return "train", validation


def evaluation_split(name: str, root: Path | None = None) -> str:
    """The split that neither trains nor chooses: fer2013's private_test, `test` elsewhere.

    Raises:
        UsageError: a folder without one.
    """
    if name == "fer2013":
        return "private_test"
    if "test" not in (there := splits(name, root)):
        raise UsageError(f"{name} has the splits {', '.join(there)}, and no test.")
    return "test"
