"""ONNX graphs of torch networks, by torch's own exporter. Metadata holds the format and the provenance."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch

from fer_models.export.networks import ExportableNetwork

#: The version of ONNX's operators: the default of torch 2.14, known to ONNX Runtime 1.18 and later.
OPSET = 20
#: The key in the file's metadata for the JSON of how it was made; `network_file.METADATA_KEY` is that of its
#: `NetworkFormat`.
PROVENANCE_KEY = "fer_models_provenance"
INPUT, OUTPUT = "faces", "logits"


def write_graph(network: ExportableNetwork, path: Path, *, single_face: bool = False) -> None:
    """Write the graph of a network; weights are float32 and inside the file.

    Args:
        network: the network.
        path: the file to write.
        single_face: the batch axis is 1; by default it is free.
    """
    module, network_format = (
        network.module.eval().to(memory_format=torch.contiguous_format),
        network.network_format,
    )
    size = network_format.size
    # Two faces for a free axis: torch takes an axis of one for a constant.
    example = torch.zeros(1 if single_face else 2, network_format.channels, size, size)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=None if single_face else ({0: torch.export.Dim("n")},),
            verbose=False,
        )
    assert program is not None  # None only without dynamo
    program.save(path, external_data=False)


def add_metadata(path: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Add JSON objects to the metadata of an ONNX file."""
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: json.dumps(dict(value)) for key, value in values.items()})
    onnx.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter: its warnings are about operators of torchvision, and its own deprecations."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
