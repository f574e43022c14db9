"""Description of the network in an ONNX file, by the package onnx. The network is not run, or even loaded.

Only this module imports onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from fer_models.classifiers.network_file import METADATA_KEY, NetworkFile, Tensor, network_file
from fer_models.errors import WeightsError, one_line

#: The size in bytes that no ONNX file has: protobuf's limit. Larger networks have data files.
LARGEST_FILE = 2**31


def read(path: Path) -> NetworkFile:
    """Read the tensors, the description and the names of the data files of a network, without its weights.

    Raises:
        WeightsError: no ONNX file, not one input, no output, or weights outside the folder of the file.
    """
    try:
        if (size := path.stat().st_size) >= LARGEST_FILE:
            raise ValueError(f"it has {size:,} bytes, less than {LARGEST_FILE:,} are allowed")
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as an ONNX file ({one_line(str(error))}). Get a valid copy."
        ) from error
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}  # older files list them among the inputs, too
    softmaxes = {name for node in graph.node if node.op_type == "Softmax" for name in node.output}
    inputs = [_tensor(value) for value in graph.input if value.name not in weights]
    outputs = [_tensor(value, is_softmax=value.name in softmaxes) for value in graph.output]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    data_files = [_data_file(path, location) for location in sorted(set(_external_locations(model)))]
    return network_file(path, inputs, outputs, metadata.get(METADATA_KEY), *data_files)


def _tensor(value: onnx.ValueInfoProto, is_softmax: bool = False) -> Tensor:
    declared = value.type.tensor_type
    sizes = [axis.dim_value if axis.HasField("dim_value") else None for axis in declared.shape.dim]
    shape = tuple(size if size and size > 0 else None for size in sizes)
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type).name
    except KeyError:
        dtype = (
            f"number {declared.elem_type}" if declared.elem_type else value.type.WhichOneof("value") or "none"
        )
    return Tensor(value.name, shape if declared.HasField("shape") else None, dtype, is_softmax=is_softmax)


def _external_locations(message: Message) -> Iterator[str]:
    """The locations of all tensors in a message whose values are in other files."""
    if isinstance(message, onnx.TensorProto):
        if message.data_location == onnx.TensorProto.EXTERNAL:
            # All of them: ONNX Runtime reads the last.
            yield from [e.value for e in message.external_data if e.key == "location"] or [""]
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            parts: Any = value if field.is_repeated else [value]
            for part in parts:
                yield from _external_locations(part)


def _data_file(path: Path, location: str) -> Path:
    """The file with weights at `location`, relative to the folder of `path`.

    Raises:
        WeightsError: it is not in that folder, by its name or by a link, or does not exist.
    """
    folder = path.parent.resolve()
    try:
        file = (folder / location).resolve()
        # ONNX Runtime itself reads any path. With `*/_ORT_MEM_ADDR_/*` it reads an address in memory.
        is_inside = file.is_relative_to(folder) and not Path(location).is_absolute() and "*" not in location
        is_file = file.is_file()
    except (OSError, ValueError, RuntimeError):  # a null character, a name that is too long, a loop of links
        is_inside = is_file = False
    shown = one_line(location, 120)
    if not is_inside:
        raise WeightsError(
            f"{path} has weights in '{shown}', outside its folder. "
            "Export it again, with its weights in its own folder."
        )
    if not is_file:
        raise WeightsError(f"{path} needs the file '{shown}' in its folder. Copy both files together.")
    return file
