"""What this machine can run: versions, device, weights, data, extras. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from fer_models.artifacts import device, weights
from fer_models.errors import FerModelsError, WeightsMissingError, printable
from fer_models.restorers import full_image
from fer_models.zoo import models, restorers

_PACKAGE = "fer-models"
#: The extras for the development of this project.
_DEVELOPMENT = frozenset({"dev", "docs", "browser", "scaling"})
#: Bytes per GB.
_GB = 10**9
#: The sections of a diagnosis, in order.
SECTIONS = ("machine", "packages", "weights", "data", "extras")


@dataclass(frozen=True)
class Finding:
    """One examined thing.

    Attributes:
        section: one of `SECTIONS`.
        name: the name of the thing.
        value: a version, a size, a path, or what is wrong.
        state: `here`; `missing`, which no default run needs; or `problem`, which must be solved first.
        command: what to type next, or empty.
    """

    section: str
    name: str
    value: str
    state: str = "here"
    command: str = ""


def diagnose(
    folder: Path,
    dataset: str = "synthetic",
    data_root: Path | None = None,
    split: str | None = None,
    label_scheme: str | None = None,
) -> list[Finding]:
    """Examine this machine for a run in `folder`, and on a dataset if one is named, as `datasets.load`."""
    return [
        *_machine(folder),
        *_packages(),
        *_shipped_weights(),
        *_other_weights(),
        *_data(dataset, data_root, split, label_scheme),
        *_extras(),
    ]


def _machine(folder: Path) -> Iterator[Finding]:
    yield Finding("machine", "python", sys.version.split()[0])
    yield Finding("machine", "processor", printable(device.describe_machine()))
    try:
        yield from _device()
    except (ImportError, OSError, RuntimeError) as error:  # a broken installation of torch
        reason = printable(str(error).partition("\n")[0])
        yield Finding(
            "machine", "device", f"torch fails: {reason}", "problem", "pip install torch torchvision"
        )
    memory = device.free_memory("cpu")
    yield Finding("machine", "free memory", "unknown" if memory is None else f"{memory / _GB:.1f} GB")
    yield Finding("machine", "free disk", f"{shutil.disk_usage(folder).free / _GB:.1f} GB")
    if not os.access(folder, os.W_OK):
        advice = "Change to another folder, or: pytest evals --work-dir FOLDER"
        yield Finding("machine", "folder", f"{printable(folder)} cannot be written.", "problem", advice)


def _device() -> Iterator[Finding]:
    import torch

    name = "cpu"
    if torch.cuda.is_available():
        name = f"cuda: {torch.cuda.get_device_name()}"
    elif torch.backends.mps.is_available():
        name = "mps"
    kind = name.partition(":")[0]
    yield Finding("machine", "device", name)
    yield Finding("machine", "default precision", device.resolve_precision("auto", kind))


def _requirements() -> list[Requirement]:
    """The requirements of this package and of all its extras; none where it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return [Requirement(text) for text in metadata.requires(_PACKAGE) or ()]
    return []


def _packages() -> Iterator[Finding]:
    """The required packages: their version, or what is wrong with it."""
    requirements = [r for r in _requirements() if r.marker is None or r.marker.evaluate({"extra": ""})]
    if not requirements:
        wrong = "not installed as a package, so its requirements are unknown"
        yield Finding("packages", _PACKAGE, wrong, "missing", "pip install fer-models")
    for requirement in requirements:
        version, command = _version(requirement), f'pip install "{requirement}"'
        if version is None:
            yield Finding("packages", requirement.name, "not installed", "problem", command)
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong = f"{version} is installed; needed: {requirement.specifier}"
            yield Finding("packages", requirement.name, wrong, "problem", command)
        else:
            yield Finding("packages", requirement.name, version)


def _version(requirement: Requirement) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def _shipped_weights() -> Iterator[Finding]:
    """The files that are installed with the package: one that is missing is a problem."""
    missing = [name for name in weights.manifest() if not (weights.SHIPPED / name).is_file()]
    for name in missing:
        reinstall = "pip install --force-reinstall --no-deps fer-models"
        yield Finding("weights", name, "This file of the package is missing.", "problem", reinstall)


def _other_weights() -> Iterator[Finding]:
    """The weights of each model and restoration of the zoo."""
    yield Finding("weights", "folder for yours", printable(weights.user_weights_dir()))
    for spec in (*models.MODELS, *restorers.RESTORERS):
        if spec.weights is None:
            continue
        try:
            path = spec.weights_path()
            yield Finding("weights", spec.name, "here" if path else "needs none")
        except WeightsMissingError:
            yield Finding("weights", spec.name, "missing", "missing", spec.weights.install_hint)
        except (FerModelsError, OSError) as error:
            yield Finding("weights", spec.name, printable(error), "problem")
    name = full_image.FACE_DETECTION
    is_here = all((full_image.folder() / file).is_file() for file in full_image.FILES)
    command = f"fer-models weights fetch {name}"
    yield (
        Finding("weights", name, "here")
        if is_here
        else Finding("weights", name, "missing", "missing", command)
    )


def _data(dataset: str, root: Path | None, split: str | None, label_scheme: str | None) -> Iterator[Finding]:
    """The faces that are named, read once; the synthetic faces are rendered and need no file."""
    from fer_models import datasets

    yield Finding("data", "synthetic", "needs no file")
    command = "fer-models doctor --dataset fer2013 --data-root FOLDER"
    if dataset == "synthetic" and root is None:
        yield Finding("data", "others", "not examined: no --dataset is given", "missing", command)
        return
    try:
        faces = datasets.load(dataset, split, root, label_scheme=label_scheme)
        yield Finding("data", printable(faces.name), f"{len(faces):,} faces")
    except (FerModelsError, OSError) as error:
        hint = command if dataset == "fer2013" else "fer-models doctor --help"
        yield Finding("data", printable(dataset), printable(error), "problem", hint)


def _extras() -> Iterator[Finding]:
    """The optional extras: whether all their packages are installed."""
    extras: dict[str, list[Requirement]] = {}
    for requirement in _requirements():
        for extra in _extras_of(requirement):
            extras.setdefault(extra, []).append(requirement)
    for extra, requirements in extras.items():
        versions = {requirement.name: _version(requirement) for requirement in requirements}
        text = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
        state, command = "here", ""
        if None in versions.values():
            state, command = "missing", f'pip install "{_PACKAGE}[{extra}]"'
        yield Finding("extras", extra, text, state, command)


def _extras_of(requirement: Requirement) -> Sequence[str]:
    """The extras that a requirement belongs to on this Python, without those for developers."""
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return ()
    with suppress(metadata.PackageNotFoundError):
        names = metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []
        return [name for name in names if name not in _DEVELOPMENT and marker.evaluate({"extra": name})]
    return ()
