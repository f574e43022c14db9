"""Networks in files: what a file and its description tell, and predictions of any runtime.

`onnx_file`, `onnx` and `tflite` read the files and run the networks; all that they share is here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.network_format import NetworkFormat, missing
from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError, PredictionError, UsageError, one_line
from fer_models.images import Face

#: The key of the description in the metadata of an ONNX or TFLite file.
METADATA_KEY = "fer_models"
#: The types of an input: uint8 and int8 only for pixels or with a quantization.
INPUT_TYPES = ("float32", "float16", "float64", "uint8", "int8")
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
    def shown_shape(self) -> str:
        """The shape in a message, such as `? x 3 x 48 x 48`."""
        if self.shape is None:
            return "unknown"
        return " x ".join("?" if size is None else str(size) for size in self.shape) or "of a single number"


@dataclass(frozen=True)
class NetworkFile:
    """What the file of a network tells.

    Attributes:
        path: the file.
        inputs, outputs: its tensors, at least one of each.
        description: the JSON in its metadata; None without it.
        data_files: further files with weights.
    """

    path: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    description: str | None = None
    data_files: tuple[Path, ...] = ()

    def input(self, name: str | None) -> Tensor:
        """The input named `name`, or the only one."""
        return self._select("input", self.inputs, name)

    def output(self, name: str | None) -> Tensor:
        """The output named `name`, or the only one."""
        return self._select("output", self.outputs, name)

    def _select(self, kind: str, tensors: Sequence[Tensor], name: str | None) -> Tensor:
        selected = [tensor for tensor in tensors if name in (None, tensor.name)]
        if len(selected) == 1:
            return selected[0]
        names = _listing([tensor.name for tensor in tensors])
        given = "" if name is None else f"; '{one_line(name, 60)}' is not one of them"
        raise UsageError(
            f"{self.path} has the {kind}s {names}{given}. "
            f"Give one of these names as {kind}_name in {sidecar(self.path)}."
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
    names = {"input_name": file.inputs, "output_name": file.outputs}
    unnamed = {key: [tensor.name for tensor in tensors] for key, tensors in names.items() if len(tensors) > 1}
    unnamed = {key: choices for key, choices in unnamed.items() if key not in values}
    source, target = (_named_or_first(tensors, values.get(key)) for key, tensors in names.items())
    values = {**_known_values(source, target, values.get("layout")), **values}
    if absent := [*missing(values), *unnamed]:
        first = {key: choices[0] for key, choices in unnamed.items()}
        example = json.dumps({**_EXAMPLE, **first, **values}, ensure_ascii=False)
        choices = "".join(f" {key} is one of {_listing(choices)}." for key, choices in unnamed.items())
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
    source, target = file.input(network_format.input_name), file.output(network_format.output_name)
    declared = (None, *network_format.input_shape)
    problem = ""
    if source.shape is not None and not _agree(source.shape, declared):
        expected = Tensor("", declared, "").shown_shape
        problem = f"its input is {source.shown_shape}, by its description {expected}"
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


class NetworkClassifier:
    """Classifier around a network that maps a batch of inputs to its outputs."""

    def __init__(
        self,
        file: NetworkFile,
        network_format: NetworkFormat,
        run: Callable[[NDArray[Any]], NDArray[Any]],
        batch_size: int | None,
    ) -> None:
        """Compose the classifier.

        Args:
            file: the file, for the types of its tensors and for messages.
            network_format: its input and output.
            run: maps inputs (n, …) of the input's type to outputs (n, …) of the output's type.
            batch_size: the only n that `run` accepts; None for any n above 0.

        Raises:
            UsageError: format and file contradict each other.
        """
        check_format(file, network_format)
        self.network_format = network_format
        self._path, self._run, self._batch_size = file.path, run, batch_size
        self._input = file.input(network_format.input_name)
        self._output = file.output(network_format.output_name)

    def preprocess(self, faces: Sequence[Face], /) -> NDArray[Any]:
        """Preprocess n faces to the input of the network, in its type."""
        values = self.network_format.preprocess(faces)
        if self._input.scale:
            return quantize(values, self._input)
        inputs: NDArray[Any] = values.astype(self._input.dtype, copy=False)
        return inputs

    def infer(self, batch: NDArray[Any], /) -> Predictions:
        """Predict from a preprocessed batch."""
        step = self._batch_size or max(len(batch), 1)
        outputs = [self._run_padded(batch[i : i + step]) for i in range(0, len(batch), step)]
        labels = self.network_format.labels
        columns = np.concatenate(outputs) if outputs else np.zeros((0, len(labels)))
        rows = self.network_format.probabilities(columns)
        if self._output.scale and self.network_format.output == "probabilities":
            rows = _rescale_rounded(rows, self._output.scale)
        return Predictions.from_probabilities(rows, labels)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.infer(self.preprocess(faces))

    def _run_padded(self, chunk: NDArray[Any]) -> NDArray[np.float64]:
        """Outputs (n, columns) for a chunk; it is filled up with its last input to a fixed batch size."""
        n = len(chunk)
        padding = (self._batch_size or n) - n
        outputs = self._run(
            np.concatenate([chunk, np.repeat(chunk[-1:], padding, axis=0)]) if padding else chunk
        )
        columns, batch = len(self.network_format.labels), n + padding
        has_batch_axis = outputs.shape[:1] == (batch,) and columns in (*outputs.shape[1:], 1)
        is_single_row = batch == 1 and columns in outputs.shape
        if outputs.size != batch * columns or not (has_batch_axis or is_single_row):
            raise PredictionError(
                f"{self._path} returns an array of shape {outputs.shape} for {batch} faces and {columns} "
                "labels. Export it with a free batch axis, or with a batch of 1."
            )
        rows = outputs.reshape(batch, columns)[:n]
        return dequantize(rows, self._output) if self._output.scale else rows.astype(np.float64)


def quantize(values: NDArray[np.float32], tensor: Tensor) -> NDArray[Any]:
    """Quantize values: `round(value / scale) + zero_point`, limited to the range of the tensor's type."""
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(values / tensor.scale) + tensor.zero_point
    quantized: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(tensor.dtype)
    return quantized


def dequantize(steps: NDArray[Any], tensor: Tensor) -> NDArray[np.float64]:
    """The values of quantized steps: `(step - zero_point) * scale`."""
    return (steps.astype(np.float64) - tensor.zero_point) * tensor.scale


def _rescale_rounded(rows: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Rescale rows to sum to 1 where quantization, half a step per column, explains that they do not."""
    total = rows.sum(axis=1, keepdims=True)
    return np.where(
        np.abs(total - 1) <= rows.shape[1] * scale / 2, rows / np.where(total > 0, total, 1), rows
    )


def fixed_batch_size(tensor: Tensor) -> int | None:
    """The size of the batch axis; None if it is free or unknown."""
    return tensor.shape[0] if tensor.shape else None


def threads() -> int:
    """The number of threads of torch where it is loaded, else of processor cores."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else os.cpu_count() or 1


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


def _named_or_first(tensors: Sequence[Tensor], name: Any) -> Tensor:
    return next((tensor for tensor in tensors if tensor.name == name), tensors[0])


def _listing(names: Sequence[str]) -> str:
    return ", ".join(f"'{one_line(name, 60)}'" for name in names[:20])


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
