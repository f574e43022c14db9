"""Smaller numbers in an ONNX graph, by the tools of ONNX Runtime. Inputs and outputs stay float32.

`int8-dynamic`: 8-bit weights; the range of activations is computed for each batch. `int8-static`: 8-bit
weights and activations, whose ranges are those of calibration faces. `fp16`: 16-bit floats.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.preprocess import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from fer_models.errors import UsageError
from fer_models.export.onnx_graph import INPUT
from fer_models.third_party_code import wrap_errors

DYNAMIC, STATIC, FP16 = "int8-dynamic", "int8-static", "fp16"
#: Calibration faces per batch.
_BATCH = 8


def quantize(source: Path, target: Path, method: str, calibration: NDArray[np.float32] | None = None) -> None:
    """Write a smaller copy of an ONNX file.

    Args:
        source: a file of `onnx_graph.write_graph`.
        target: the file to write.
        method: `int8-dynamic`, `int8-static` or `fp16`.
        calibration: preprocessed faces (n, channels, size, size), for `int8-static`.

    Raises:
        UsageError: ONNX Runtime cannot quantize this graph.
    """
    write: dict[str, Callable[[Path], None]] = {
        DYNAMIC: lambda prepared: _dynamic(prepared, target),
        STATIC: lambda prepared: _static(prepared, target, calibration),
        FP16: lambda prepared: _half(prepared, target),
    }
    failed = f"ONNX Runtime cannot quantize this network ({method})"
    with TemporaryDirectory(dir=target.parent) as folder, wrap_errors(UsageError, failed), _quiet():
        plain, prepared = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
        onnx.save(_without_shapes(source), plain)
        # Symbolic shapes are for transformers, and fail on the shapes that torch's exporter computes.
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        write[method](prepared)


def _without_shapes(source: Path) -> onnx.ModelProto:
    """The graph without the shapes of its inner tensors: they are inferred again after optimization."""
    model = onnx.load(source)
    del model.graph.value_info[:]
    return model


def _dynamic(source: Path, target: Path) -> None:
    # ONNX Runtime's convolution of integers takes unsigned weights only.
    quantize_dynamic(_without_shapes(source), target, per_channel=True, weight_type=QuantType.QUInt8)


def _static(source: Path, target: Path, calibration: NDArray[np.float32] | None) -> None:
    assert calibration is not None  # `export.export` requires calibration faces
    # Signed 8-bit activations and weights, one scale per output channel: what ONNX Runtime recommends first
    # for CPUs (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
    # The range of an activation is the mean over batches of its range: with the range over all faces, a few
    # faces with extreme activations take most of the 256 steps (EfficientNet-B0: 26 % of the answers are
    # those of float32, instead of 97 %).
    options = {"CalibMovingAverage": True}
    quantize_static(source, target, _Batches(calibration), per_channel=True, extra_options=options)


def _half(source: Path, target: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Batches of calibration faces, as ONNX Runtime reads them."""

    def __init__(self, faces: NDArray[np.float32]) -> None:
        self._batches = iter([{INPUT: faces[i : i + _BATCH]} for i in range(0, len(faces), _BATCH)])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None after the last."""
        return next(self._batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence ONNX Runtime's advice, which `quantize` follows already."""
    root = logging.getLogger()
    level = root.level
    try:
        root.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
