"""Description of the network in a TFLite file, by the schema in LiteRT's package. The network is not run.

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from fer_models.classifiers.network_file import METADATA_KEY, NetworkFile, Tensor, network_file
from fer_models.errors import WeightsError, one_line

#: The size in bytes that no file has: the limit of FlatBuffers.
LARGEST_FILE = 2**31
#: The most numbers of one tensor: a gigabyte in float32, more than any network for one face needs.
LARGEST_TENSOR = 2**28
#: NumPy's names of the types of tensors; all others are `other`.
_TYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.FLOAT64: "float64",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
}


def read(path: Path) -> NetworkFile:
    """Read the tensors and the description of a network.

    Raises:
        WeightsError: no TFLite file, not one input, or no output.
    """
    try:
        if (size := path.stat().st_size) >= LARGEST_FILE:
            raise ValueError(f"it has {size:,} bytes, less than {LARGEST_FILE:,} are allowed")
        data = path.read_bytes()
        if not schema.Model.ModelBufferHasIdentifier(data, 0):
            raise ValueError("it does not contain the identifier TFL3")
        return _read(path, data)
    # Numbers of a damaged file lead outside it, or to nothing: then the schema's functions return None.
    except (OSError, ValueError, IndexError, TypeError, AttributeError, struct.error, OverflowError) as error:
        raise WeightsError(
            f"{path} cannot be read as a TFLite file ({one_line(str(error))}). Get a valid copy."
        ) from error


def _read(path: Path, data: bytes) -> NetworkFile:
    model = schema.Model.GetRootAs(data, 0)
    graph: Any = model.Subgraphs(0)
    _check_sizes(graph)
    softmaxes = set()
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Operators up to 127 are in the older field, others in the newer one; each is 0 without a value.
        if max(code.DeprecatedBuiltinCode(), code.BuiltinCode()) == schema.BuiltinOperator.SOFTMAX:
            softmaxes.add(operator.Outputs(0))
    inputs = [_tensor(graph.Tensors(graph.Inputs(i))) for i in range(graph.InputsLength())]
    targets = [graph.Outputs(i) for i in range(graph.OutputsLength())]
    outputs = [_tensor(graph.Tensors(i), is_softmax=i in softmaxes) for i in targets]
    return network_file(path, inputs, outputs, _description(model))


def _tensor(tensor: Any, is_softmax: bool = False) -> Tensor:
    name = (tensor.Name() or b"").decode(errors="replace")
    sizes = [tensor.Shape(axis) for axis in range(tensor.ShapeLength())]
    signature = [tensor.ShapeSignature(axis) for axis in range(tensor.ShapeSignatureLength())]
    shape = tuple(size if size > 0 else None for size in signature or sizes)  # -1: an axis of any size
    dtype = _TYPES.get(tensor.Type(), "other")
    quantization = tensor.Quantization()
    is_quantized = "int" in dtype and quantization is not None and quantization.ScaleLength() == 1
    if not is_quantized:
        return Tensor(name, shape, dtype, is_softmax=is_softmax)
    scale, zero_point = float(quantization.Scale(0)), int(quantization.ZeroPoint(0))
    if not 0 < scale < math.inf:
        raise ValueError(f"the scale of '{one_line(name, 60)}' is {scale}")
    return Tensor(name, shape, dtype, scale, zero_point, is_softmax)


def _check_sizes(graph: Any) -> None:
    """Refuse a network before LiteRT allocates tensors of any size that the file claims."""
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        numbers = math.prod(abs(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))
        if numbers > LARGEST_TENSOR:
            raise ValueError(
                f"it claims a tensor of {numbers:,} numbers, at most {LARGEST_TENSOR:,} are allowed"
            )


def _description(model: Any) -> str | None:
    entries = (model.Metadata(i) for i in range(model.MetadataLength()))
    buffers = [entry.Buffer() for entry in entries if entry.Name() == METADATA_KEY.encode()]
    return model.Buffers(buffers[0]).DataAsNumpy().tobytes().decode() if buffers else None
