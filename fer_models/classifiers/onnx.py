"""Classifiers in ONNX files, run by ONNX Runtime. Only this module imports onnxruntime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from fer_models.classifiers import onnx_file
from fer_models.classifiers.network_classifier import NetworkClassifier, threads
from fer_models.classifiers.network_file import check_format
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.errors import UsageError, WeightsError, one_line

#: The execution provider of each device.
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
#: ONNX Runtime's level of messages that ends the process; everything else becomes an exception.
_FATAL = 4


def load(path: Path, network_format: NetworkFormat, device: str = "auto") -> NetworkClassifier:
    """The classifier in an ONNX file. No library with further operators is loaded.

    Args:
        path: the file; its external data files are in the same folder.
        network_format: its input and output, such as `network_file.read_format` returns.
        device: `auto` (CUDA where this installation of ONNX Runtime has it, else CPU), `cpu` or `cuda`.

    Raises:
        WeightsError: the file is damaged, or has operators or a version that ONNX Runtime does not have.
        UsageError: no such device, or the format contradicts the file.
    """
    file = onnx_file.read(path)
    check_format(file, network_format)
    session = _session(path, _providers(device))
    if device == "cuda" and _PROVIDERS["cuda"] not in session.get_providers():
        raise UsageError("ONNX Runtime cannot use a GPU of this machine. Use --device cpu.")
    source, target = file.input, file.output(network_format.output_name)

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        outputs: NDArray[Any] = session.run([target.name], {source.name: batch})[0]
        return outputs

    # ONNX Runtime falls back to the CPU silently.
    device_in_use = "cuda" if _PROVIDERS["cuda"] in session.get_providers() else "cpu"
    return NetworkClassifier(file, network_format, run, source.batch_size, device_in_use)


def _providers(device: str) -> list[str]:
    available = onnxruntime.get_available_providers()
    devices = ("cuda", "cpu") if device == "auto" else (device,)
    providers = [_PROVIDERS[name] for name in devices if _PROVIDERS.get(name) in available]
    if providers:
        return providers
    hint = "pip install onnxruntime-gpu" if device == "cuda" else "ONNX files run on cpu or cuda"
    raise UsageError(f"ONNX Runtime has no device {device!r} here: {hint}. Or use --device cpu.")


def _session(path: Path, providers: list[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = _FATAL
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # its exceptions have no class of their own in common
        raise WeightsError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {_reason(error)}. Get a valid copy, "
            "or export the network again, for this version and with the operators of ONNX only."
        ) from error


def _reason(error: Exception) -> str:
    """The text of an error of ONNX Runtime without the code, the file and the C++ function that raised it."""
    text = re.sub(r"^.* : \w+ : (Load model from .*? failed:)?", "", one_line(str(error), 1000))
    return one_line(re.sub(r"/\S+\.(cc|h):\d+ .*?\) (?=[A-Z])", "", text)).rstrip(".")
