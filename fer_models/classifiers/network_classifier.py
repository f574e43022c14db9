"""Classifiers around a network of any runtime: `onnx` and `tflite` run it."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.base import Predictions
from fer_models.classifiers.network_file import NetworkFile, Tensor, check_format
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.errors import PredictionError
from fer_models.images import Face


class NetworkClassifier:
    """Classifier around a network that maps a batch of inputs to its outputs."""

    is_prefetchable = True

    def __init__(
        self,
        file: NetworkFile,
        network_format: NetworkFormat,
        run: Callable[[NDArray[Any]], NDArray[Any]],
        batch_size: int | None,
        device: str = "cpu",
    ) -> None:
        """Compose the classifier.

        Args:
            file: the file, for the types of its tensors and for messages.
            network_format: its input and output, which `check_format` has compared with the file.
            run: maps inputs (n, …) of the input's type to outputs (n, …) of the output's type.
            batch_size: the only n that `run` accepts; None for any n above 0.
            device: on which `run` computes.
        """
        self.network_format, self.device = network_format, device
        self._file, self._run, self._batch_size = file, run, batch_size
        self._input = file.input
        self._output = file.output(network_format.output_name)

    def with_format(self, network_format: NetworkFormat, /) -> NetworkClassifier:
        """See `Reformattable.with_format`. Raises UsageError: the format contradicts the file."""
        check_format(self._file, network_format)
        classifier = copy.copy(self)
        classifier.network_format = network_format
        return classifier

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
                f"{self._file.path} returns an array of shape {outputs.shape} for {batch} faces and "
                f"{columns} labels. Export it with a free batch axis, or with a batch of 1."
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


def threads() -> int:
    """The number of threads of torch where it is loaded, else of processor cores."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else os.cpu_count() or 1
