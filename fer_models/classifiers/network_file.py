"""Description of a network in a file: its tensors, its metadata, and the JSON file next to it.

`onnx_file` and `tflite_file` read the files; `network_classifier` predicts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers.network_format import NetworkFormat, missing
from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError, UsageError, WeightsError, one_line

#: The key of the description in the metadata of an ONNX or TFLite file.
METADATA_KEY = "fer_models"
#: The types of an input: uint8 and int8 only for pixels or with a quantization.
INPUT_TYPES = ("float32", "float16", "float64", "uint8", "int8")
#: The largest fixed batch: missing faces are filled up, so a larger one would only use memory.
LARGEST_BATCH = 1024
#: The largest sidecar, in bytes.
_LARGEST_SIDECAR = 1_000_000
_EXAMPLE: Mapping[str, Any] = {
    "labels": list(LABELS),
    "size": 48,
    "channels": 3,
    "layout": "nchw",
    "range": [0, 1],
    "output": "logits",
}


@dataclass(frozen=True)
class Tensor:
    """Input or output of a network, as its file declares it.

    Attributes:
        name: its name.
        shape: its sizes, None for an axis of any size; None where the file does not declare it.
        dtype: NumPy's name of its type, or the file's own where NumPy has none.
        scale, zero_point: a quantized value q means `(q - zero_point) * scale`; scale 0 for any other.
        is_softmax: a softmax computes it.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    is_softmax: bool = False

    @property
    def batch_size(self) -> int | None:
        """The size of the first axis; None if it is free or unknown."""
        return self.shape[0] if self.shape else None

    @property
    def shown_shape(self) -> str:
        """The shape in a message, such as `? x 3 x 48 x 48`."""
        if self.shape is None:
            return "unknown"
        return " x ".join("?" if size is None else str(size) for size in self.shape) or "of a single number"


@dataclass(frozen=True)
class NetworkFile:
    """Description of the network in a file.

    Attributes:
        path: the file.
        input: its only input.
        outputs: its outputs, at least one.
        description: the JSON in its metadata; None without it.
        data_files: further files with weights.
    """

    path: Path
    input: Tensor
    outputs: tuple[Tensor, ...]
    description: str | None = None
    data_files: tuple[Path, ...] = ()

    def output(self, name: str | None) -> Tensor:
        """The output named `name`, or the only one.

        Raises:
            UsageError: no such output, or several.
        """
        selected = [tensor for tensor in self.outputs if name in (None, tensor.name)]
        if len(selected) == 1:
            return selected[0]
        raise UsageError(
            f"{self.path}: its output_name must be one of {_listing(self.outputs)}"
            + ("." if name is None else f"; '{one_line(name, 60)}' is none of them.")
        )


def network_file(
    path: Path,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    description: str | None,
    *data_files: Path,
) -> NetworkFile:
    """Description of a network with one input.

    Raises:
        WeightsError: it has no input, several inputs, or no output.
    """
    if len(inputs) == 1 and outputs:
        return NetworkFile(path, inputs[0], tuple(outputs), description, data_files)
    raise WeightsError(
        f"{path} has {len(inputs)} inputs ({_listing(inputs)}) and {len(outputs)} outputs. "
        "A network that predicts from a face has one input. Export it again."
    )


def sidecar(path: Path) -> Path:
    """The JSON file that describes the network in `path`: `my.json` for `my.onnx`."""
    return path.with_suffix(".json")


def read_format(file: NetworkFile) -> NetworkFormat:
    """The format of a network: its sidecar, else the metadata of the file, else what its tensors tell.

    Raises:
        UsageError: something is missing (the message has an example with everything), wrong, or contradicts
            the file.
    """
    metadata = _parse(file.description, f"The metadata '{METADATA_KEY}' of {file.path}")
    values = {**metadata, **_sidecar_values(file.path)}
    is_ambiguous = len(file.outputs) > 1 and "output_name" not in values
    target = next(
        (tensor for tensor in file.outputs if tensor.name == values.get("output_name")), file.outputs[0]
    )
    values = {**_known_values(file.input, target, values.get("layout")), **values}
    if absent := [*missing(values), *(["output_name"] if is_ambiguous else [])]:
        first = {"output_name": target.name} if is_ambiguous else {}
        example = json.dumps({**_EXAMPLE, **first, **values}, ensure_ascii=False)
        choices = f" output_name is one of {_listing(file.outputs)}." if is_ambiguous else ""
        raise UsageError(
            f"{file.path} does not tell everything about its input and output: {', '.join(absent)} must be "
            f"given.{choices} Write {sidecar(file.path)}, for example {one_line(example, 2000)} and check "
            "each value: with a wrong one the network still predicts, but worse."
        )
    try:
        network_format = NetworkFormat.from_json(values)
    except FerModelsError as error:
        raise UsageError(
            f"The description of {file.path} is wrong: {error} Correct it in {sidecar(file.path)}."
        ) from error
    check_format(file, network_format)
    return network_format


def check_format(file: NetworkFile, network_format: NetworkFormat) -> None:
    """Compare a format with the tensors of the file.

    Raises:
        UsageError: they contradict each other.
    """
    source, target = file.input, file.output(network_format.output_name)
    declared = (None, *network_format.input_shape)
    problem = ""
    if source.shape is not None and not _agree(source.shape, declared):
        expected = Tensor("", declared, "").shown_shape
        problem = f"its input is {source.shown_shape}, by its description {expected}"
    elif (source.batch_size or 1) > LARGEST_BATCH:
        problem = f"it takes {source.batch_size:,} faces at once, at most {LARGEST_BATCH:,} are allowed"
    elif source.dtype not in INPUT_TYPES:
        problem = f"its input has the type {one_line(source.dtype, 40)}; known are {', '.join(INPUT_TYPES)}"
    elif source.dtype == "uint8" and not source.scale and not _takes_pixels(network_format):
        problem = 'its input has the type uint8, so it takes pixels: "range": [0, 255] without mean and std'
    elif source.dtype == "int8" and not source.scale:
        problem = "its input has the type int8 without a scale, so the value of a pixel is unknown"
    elif "float" not in target.dtype and not target.scale:
        problem = (
            f"its output has the type {one_line(target.dtype, 40)}, and no scale: it has no probabilities"
        )
    elif (columns := _columns(target)) not in (None, len(network_format.labels)):
        problem = f"it has {columns} outputs, and its description {len(network_format.labels)} labels"
    elif target.is_softmax and network_format.output == "logits":
        problem = "its outputs come from a softmax, so they are probabilities, not logits"
    if problem:
        raise UsageError(f"{file.path} cannot be used: {problem}. Correct {sidecar(file.path)} or the file.")


def _sidecar_values(network: Path) -> dict[str, Any]:
    path = sidecar(network)
    try:
        text = read_text(path, _LARGEST_SIDECAR)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read ({one_line(str(error))}). Correct it, or remove it."
        ) from error
    return _parse(text, str(path))


def _parse(text: str | None, source: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        values = parse_json(text)
        if not isinstance(values, dict):
            raise ValueError(f"it is a {type(values).__name__}, not an object")
    except ValueError as error:
        raise UsageError(
            f"{source} is no JSON object ({one_line(str(error))}). Example: {json.dumps(_EXAMPLE)}"
        ) from error
    return values


def _listing(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"'{one_line(tensor.name, 60)}'" for tensor in tensors[:20]) or "none"


def _known_values(source: Tensor, target: Tensor, layout: Any) -> dict[str, Any]:
    """The fields of a format that follow from the tensors of a file."""
    values: dict[str, Any] = {"output": "probabilities"} if target.is_softmax else {}
    if source.dtype == "uint8" and not source.scale:
        values["range"] = [0, 255]
    if source.shape is None or len(source.shape) != 4:
        return values
    axes = {"nchw": source.shape[1:], "nhwc": (source.shape[3], *source.shape[1:3])}
    fits = [name for name, (channels, _, _) in axes.items() if channels in (1, 3)]
    if len(fits) == 1:
        values["layout"] = fits[0]
    if (channels_first := axes.get(layout if isinstance(layout, str) else values.get("layout", ""))) is None:
        return values
    channels, height, width = channels_first
    if channels in (1, 3):
        values["channels"] = channels
    if height is not None and height == width:
        values["size"] = height
    return values


def _columns(target: Tensor) -> int | None:
    """The number of outputs per face; None where the file does not declare it."""
    if target.shape is None or len(target.shape) < 2 or None in target.shape[1:]:
        return None
    return int(np.prod([size or 0 for size in target.shape[1:]], dtype=object))


def _agree(shape: Sequence[int | None], declared: Sequence[int | None]) -> bool:
    pairs = zip(shape, declared, strict=False)
    return len(shape) == len(declared) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _takes_pixels(network_format: NetworkFormat) -> bool:
    unscaled = set(network_format.mean) == {0.0} and set(network_format.std) == {1.0}
    return network_format.range == (0.0, 255.0) and unscaled
