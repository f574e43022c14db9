"""Export of a model: write the network to a file, load the file again, and compare its predictions."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import network_file, onnx, onnx_file
from fer_models.classifiers.base import Classifier, Predictions
from fer_models.datasets import synthetic
from fer_models.datasets.base import FaceSet
from fer_models.errors import PredictionError, UsageError
from fer_models.export import onnx_graph, quantization
from fer_models.export.networks import ExportableNetwork, exportable_network
from fer_models.images import Face
from fer_models.scoring.agreement import LARGEST_DIFFERENCE, MINIMUM_AGREEMENT, Agreement, measure_agreement
from fer_models.third_party_code import wrap_errors
from fer_models.zoo.spec import ModelSpec, Runtime

#: Synthetic faces of the comparison: ten of each emotion.
COMPARED_FACES = 70
_VERSIONS = ("fer-models", "torch", "onnx", "onnxscript")
_BATCH = 35


@dataclass(frozen=True)
class Export:
    """An exported model.

    Attributes:
        path: the file.
        agreement: with the model in torch, on `COMPARED_FACES` synthetic faces.
        note: how the file differs from the model for faces that are not square; empty if it does not.
    """

    path: Path
    agreement: Agreement
    note: str


def export(
    spec: ModelSpec,
    folder: Path,
    *,
    method: str | None = None,
    calibration: FaceSet | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a model as one ONNX file, atomically, after a comparison with the model in torch.

    Args:
        spec: the model; it is exported in float32.
        folder: the folder of the file; it is created if it is missing.
        method: a method of `quantization`; None for float32.
        calibration: faces of a training split, for `int8-static`.
        overwrite: replace an existing file.

    Raises:
        UsageError: the model is no single network, the file exists or cannot be written, or the network
            cannot be quantized.
        WeightsMissingError: the weights are not on this machine.
        PredictionError: the file does not predict as the model does; nothing is written.
    """
    path = folder / file_name(spec.name, method)
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists. Give --overwrite to replace it, or another --output FOLDER.")
    spec.weights_path()
    with wrap_errors(PredictionError, f"The model {spec.name!r} cannot be loaded"):
        classifier = spec.load(Runtime("cpu", "float32"))
    network = exportable_network(spec.name, classifier)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".export-", dir=folder) as working_folder:
            part = Path(working_folder) / path.name
            _write(network, part, method, calibration)
            described = replace(network.network_format, quantization=method)
            provenance = _provenance(spec, method, calibration)
            onnx_graph.add_metadata(
                part, {network_file.METADATA_KEY: described.as_json(), onnx_graph.PROVENANCE_KEY: provenance}
            )
            agreement = compare(classifier, part)
            if method is None and not agreement.is_exact:
                raise PredictionError(_mismatch(spec.name, agreement))
            part.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}). Choose another folder: --output FOLDER"
        ) from error
    return Export(path, agreement, network.note)


def file_name(model: str, method: str | None) -> str:
    """The name of the file: `vgg19.onnx`, `vgg19-int8-static.onnx`; `/`, `:` and `@` become `-`."""
    stem = re.sub(r"[^A-Za-z0-9._+-]+", "-", model)
    return f"{stem}{f'-{method}' if method else ''}.onnx"


def _write(network: ExportableNetwork, path: Path, method: str | None, calibration: FaceSet | None) -> None:
    """Write the graph, quantized by `method`."""
    network_format, float32 = network.network_format, path.with_name("float32.onnx")
    with wrap_errors(UsageError, f"torch cannot export {network_format.same_as} to ONNX"):
        # A dynamic range is that of the whole batch: with several faces in a batch, a prediction would
        # depend on the other faces.
        onnx_graph.write_graph(network, float32, single_face=method == quantization.DYNAMIC)
    if method is None:
        float32.replace(path)
        return
    batch = None
    if calibration is not None:
        batch = network_format.preprocess(calibration.faces(range(len(calibration))))
    quantization.quantize(float32, path, method, batch)


def compare(classifier: Classifier, path: Path) -> Agreement:
    """Compare the file at `path` with the model in torch on synthetic faces.

    Raises:
        UsageError, WeightsError: the file cannot be loaded.
        PredictionError: it cannot predict.
    """
    faces = _synthetic_faces()
    exported = onnx.load(path, network_file.read_format(onnx_file.read(path)), "cpu")
    reference, candidate = (_predict(each, faces) for each in (classifier, exported))
    return measure_agreement(
        (reference.answer, reference.probabilities), (candidate.answer, candidate.probabilities)
    )


def _synthetic_faces() -> list[Face]:
    faces = synthetic.load("test")
    return faces.faces(faces.stratified_rows(COMPARED_FACES))


def _predict(classifier: Classifier, faces: list[Face]) -> Predictions:
    batches = [faces[i : i + _BATCH] for i in range(0, len(faces), _BATCH)]
    return Predictions.joined([classifier.predict(batch) for batch in batches])


def _mismatch(name: str, agreement: Agreement) -> str:
    return (
        f"The exported file does not predict as {name} does: {len(agreement.differing)} of {agreement.n} "
        f"predictions differ, and a probability by {agreement.largest_difference:.2g} "
        f"(allowed: {1 - MINIMUM_AGREEMENT:.1%} of the predictions, and {LARGEST_DIFFERENCE:g}). Nothing was "
        "written. Please report this with the versions of torch, onnx and onnxruntime: pip list"
    )


def _provenance(spec: ModelSpec, method: str | None, calibration: FaceSet | None) -> Mapping[str, Any]:
    """How the file was made: model, weights, versions, quantization and its faces."""
    import onnxruntime  # the version of the distribution would miss onnxruntime-gpu

    weights, versions = spec.weights_path(), {name: version(name) for name in _VERSIONS}
    versions |= {"python": sys.version.split()[0], "onnxruntime": str(onnxruntime.__version__)}
    faces = None
    if calibration is not None:
        faces = {"name": calibration.name, "n": len(calibration), "fingerprint": calibration.fingerprint}
    return {
        "model": spec.name,
        "weights_sha256": None if weights is None else sha256_of(weights),
        "opset": onnx_graph.OPSET,
        "quantization": method,
        "calibration": faces,
        "versions": versions,
    }
