"""Classifiers in TFLite files, run by LiteRT on the CPU. Only this module imports its interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from fer_models.classifiers import tflite_file
from fer_models.classifiers.network_classifier import NetworkClassifier, threads
from fer_models.classifiers.network_file import NetworkFile, check_format
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.errors import WeightsError
from fer_models.third_party_code import contained

_HINT = (
    "Get a valid copy, or convert the network with built-in operators only: operators of TensorFlow (Flex) "
    "and custom operators are in other libraries."
)


def load(path: Path, network_format: NetworkFormat) -> NetworkClassifier:
    """The classifier in a TFLite file.

    Many files have a batch axis of 1 that the network does not depend on. So LiteRT tries a batch of 2; where
    it refuses, the network predicts face by face.

    Args:
        path: the file.
        network_format: its input and output, such as `network_file.read_format` returns.

    Raises:
        WeightsError: the file is damaged, or has operators that LiteRT does not have.
        UsageError: the format contradicts the file.
    """
    file = tflite_file.read(path)
    check_format(file, network_format)
    fixed = file.input.batch_size
    network = _Network(file, network_format)
    with contained(WeightsError, f"LiteRT cannot load {path}", _HINT):
        network.resize(fixed or 1)
    if fixed in (None, 1):
        fixed = None if _Network(file, network_format).accepts(2) else 1
    return NetworkClassifier(file, network_format, network.run, fixed)


class _Network:
    """Interpreter of one input and one output, for batches of any size that the network accepts."""

    def __init__(self, file: NetworkFile, network_format: NetworkFormat) -> None:
        with contained(WeightsError, f"LiteRT cannot load {file.path}", _HINT):
            self._interpreter = Interpreter(model_path=str(file.path), num_threads=threads())
        output = file.outputs.index(file.output(network_format.output_name))
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[output]
        self._shape = network_format.input_shape
        self._batch_size: int | None = None

    def resize(self, batch_size: int) -> None:
        """Allocate the tensors for another size of the batch axis."""
        if batch_size != self._batch_size:
            self._interpreter.resize_tensor_input(self._input["index"], (batch_size, *self._shape))
            self._interpreter.allocate_tensors()
            self._batch_size = batch_size

    def accepts(self, batch_size: int) -> bool:
        """Whether the outputs have the batch axis of the inputs. Use no network again that does not."""
        faces = np.zeros((batch_size, *self._shape), self._input["dtype"])
        try:
            return self.run(faces).shape[:1] == (batch_size,)
        except (ValueError, RuntimeError):
            return False

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The outputs (n, …) of a batch (n, …)."""
        self.resize(len(batch))
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        outputs: NDArray[Any] = self._interpreter.get_tensor(self._output["index"])
        return outputs
