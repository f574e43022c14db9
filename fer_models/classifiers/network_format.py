"""Input and output of a network: what an ONNX or TFLite file leaves open.

A wrong value here is no error of the runtime: the network predicts, only worse. So nothing of it is guessed;
it comes from the metadata of the file, or from `FILE.json` next to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_models.emotions import LabelSpace
from fer_models.errors import FerModelsError, UsageError, one_line
from fer_models.images import Face, grey

LAYOUTS = ("nchw", "nhwc")
COLOR_ORDERS = ("rgb", "bgr")
OUTPUTS = ("logits", "probabilities")
RESAMPLINGS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
#: The largest side of an input, in pixels.
LARGEST_SIZE = 2048
#: Fields with a default: every other one must be given.
OPTIONAL = ("color_order", "mean", "std", "resample", "output_name", "same_as", "quantization")


@dataclass(frozen=True)
class NetworkFormat:
    """Input and output of a network.

    An input value is `(low + pixel / 255 * (high - low) - mean) / std`, with `range = (low, high)`.

    Attributes:
        labels: the name of each output column.
        size: the side of the square input, in pixels.
        channels: 1 for grey, 3 for colour.
        layout: `nchw` or `nhwc`.
        range: the values of a black and of a white pixel, before `mean` and `std`: (0, 1), (0, 255), (-1, 1).
        output: `logits` (a softmax is applied) or `probabilities`.
        color_order: `rgb` or `bgr`; without meaning for one channel.
        mean, std: per channel, in the order of the input; one number for all.
        resample: the filter that resizes a face: `nearest`, `bilinear` or `bicubic`.
        output_name: the output of a file with several; None for the only one.
        same_as: the model that this file was exported from, such as `vgg19`; None for any other.
        quantization: how its numbers were made smaller, such as `int8-dynamic`; None for float32.

    Raises:
        UsageError: a value of another type, or outside its range.
    """

    labels: tuple[str, ...]
    size: int
    channels: int
    layout: str
    range: tuple[float, float]
    output: str
    color_order: str = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resample: str = "bicubic"
    output_name: str | None = None
    same_as: str | None = None
    quantization: str | None = None

    def __post_init__(self) -> None:
        _check_labels(self.labels)
        _check(
            _is_int(self.size) and 1 <= self.size <= LARGEST_SIZE, "size", self.size, f"1 to {LARGEST_SIZE}"
        )
        _check(_is_int(self.channels) and self.channels in (1, 3), "channels", self.channels, "1 or 3")
        for name, allowed in (("layout", LAYOUTS), ("color_order", COLOR_ORDERS), ("output", OUTPUTS)):
            _check(getattr(self, name) in allowed, name, getattr(self, name), " or ".join(allowed))
        _check(self.resample in RESAMPLINGS, "resample", self.resample, " or ".join(RESAMPLINGS))
        low_high = _floats("range", self.range)
        _check(
            len(low_high) == 2 and low_high[0] < low_high[1],
            "range",
            self.range,
            "[low, high], such as [0, 1]",
        )
        for name in ("mean", "std"):
            values = _floats(name, getattr(self, name))
            allowed_counts = f"1 or {self.channels} numbers" if self.channels > 1 else "1 number"
            _check(len(values) in (1, self.channels), name, getattr(self, name), allowed_counts)
            object.__setattr__(self, name, values)
        _check(all(std > 0 for std in self.std), "std", self.std, "numbers above 0")
        for name, kind in (("output_name", "output"), ("same_as", "model"), ("quantization", "method")):
            text = getattr(self, name)
            _check(text is None or isinstance(text, str), name, text, f"the name of a {kind}")
        object.__setattr__(self, "range", low_high)
        object.__setattr__(self, "labels", tuple(self.labels))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NetworkFormat:
        """Make the format from a JSON object; `missing` lists what it must hold.

        Raises:
            UsageError: a key is missing or unknown, or a value is wrong.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [key for key in values if key not in known]:
            raise UsageError(f"'{one_line(unknown[0], 60)}' is unknown. Known: {', '.join(known)}.")
        if absent := missing(values):
            raise UsageError(f"{', '.join(absent)} must be given.")
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values, for `from_json`."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of the input of one face: (channels, size, size), or (size, size, channels)."""
        square = (self.size, self.size)
        return (self.channels, *square) if self.layout == "nchw" else (*square, self.channels)

    def preprocess(self, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Preprocess n faces: float32 (n, channels, size, size), or (n, size, size, channels)."""
        convert = _resize_to_grey if self.channels == 1 else _resize
        shape = (len(faces), self.size, self.size, self.channels)
        pixels: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        for i, face in enumerate(faces):
            pixels[i] = convert(face, self.size, self.resample)
        if self.color_order == "bgr":
            pixels = pixels[..., ::-1]
        low, high, mean, std = (np.asarray(v, np.float32) for v in (*self.range, self.mean, self.std))
        # In place, in the arithmetic of `cnn.normalise`, so that both give the same bits.
        values = pixels.astype(np.float32)
        values /= np.float32(255)
        values *= high - low
        values += low
        values -= mean
        values /= std
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.layout == "nchw" else values)

    def probabilities(self, outputs: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Probabilities (n, k) of the output columns: the softmax of logits, or the outputs as they are."""
        columns = np.asarray(outputs, dtype=np.float64)
        if self.output == "probabilities":
            return columns
        with np.errstate(invalid="ignore"):  # infinite logits become NaN, which `Predictions` refuses
            exponentials = np.exp(columns - columns.max(axis=1, keepdims=True, initial=-np.inf))
            shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return shares


def missing(values: Mapping[str, Any]) -> list[str]:
    """The fields of a `NetworkFormat` that must be given and are not among `values`."""
    return [field.name for field in fields(NetworkFormat) if field.name not in (*OPTIONAL, *values)]


def _resize(face: Face, size: int, resample: str) -> Face:
    if face.shape[:2] == (size, size):
        return face
    return np.asarray(Image.fromarray(face).resize((size, size), RESAMPLINGS[resample]))


def _resize_to_grey(face: Face, size: int, resample: str) -> Face:
    """Resize, and convert to grey (size, size, 1). Of a grey face, only one channel is resized."""
    channel = face[..., :1]
    if (face == channel).all():
        return _resize(channel[..., 0], size, resample)[..., None]
    return grey(_resize(face, size, resample))[..., None]


def _check_labels(labels: Any) -> None:
    _check(
        isinstance(labels, tuple | list)
        and len(labels) > 0
        and all(isinstance(name, str) for name in labels),
        "labels",
        labels,
        'names in the order of the outputs, such as ["angry", "disgust", "fear", …]',
    )
    try:
        LabelSpace.from_names("labels", labels)
    except FerModelsError as error:
        raise UsageError(f"labels: {error}") from error


def _floats(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, tuple | list) else (value,)
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    _check(numbers, name, value, "a number, or a list of numbers")
    return tuple(float(v) for v in values)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check(ok: bool, name: str, value: Any, allowed: str) -> None:
    if not ok:
        raise UsageError(f"{name} is {one_line(repr(value), 80)}; it must be {allowed}.")
