"""The models that come with the package, each written out.

Importing this module imports none of their libraries: each record's `load` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fer_models.artifacts import hub, weights
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers import prompts as prompt_sets
from fer_models.classifiers.base import Classifier
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm import base, questions
from fer_models.classifiers.vlm.base import GENERATE
from fer_models.classifiers.vlm.questions import Question
from fer_models.errors import UsageError, WeightsError, one_line
from fer_models.zoo.model_name import CROPS, ModelName
from fer_models.zoo.published import PUBLISHED
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
        return cnn.load(path, device=runtime.device, precision=runtime.precision, compiled=runtime.compiled)

    return ModelSpec(name, load, description, weights=where)


VGG19 = _cnn(
    "vgg19",
    "VGG19 with batch norm, global pooling and one linear layer (timm), "
    "trained on FER-2013 and synthetic faces",
)
RESNET50 = _cnn("resnet50", "ResNet-50 (timm), trained on FER-2013 and synthetic faces")
EFFICIENTNET_B0 = _cnn(
    "efficientnet_b0", "EfficientNet-B0 with a stride-1 stem (timm), trained on FER-2013 and synthetic faces"
)


def clip_spec(
    name: str,
    description: str,
    weights: Weights,
    load: Callable[[Path, PromptSet, Runtime], Classifier],
    prompts: PromptSet | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    precision: str = AUTO_BF16,
) -> ModelSpec:
    """A zero-shot model with a prompt set; `load` makes it from its file."""
    prompt_set = prompts or prompt_sets.load(DEFAULT_PROMPTS)

    def load_model(runtime: Runtime) -> Classifier:
        path = weights.locate()
        assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
        return load(path, prompt_set, runtime)

    return ModelSpec(
        name,
        load_model,
        description,
        weights=weights,
        settings={**settings, "prompts": prompt_set.as_json()},
        precision=precision,
        prompt=prompt_set.name,
        with_prompts=lambda other: clip_spec(
            name, description, weights, load, other, settings, precision=precision
        ),
        has_embeddings=True,
    )


def open_clip_spec(name: str, architecture: str, tag: str, repository: str) -> ModelSpec:
    """A pretrained checkpoint of open_clip's list.

    Its repository on the Hub is an argument, so that listing the zoo does not import open_clip.
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
            compiled=runtime.compiled,
        )

    def fetch() -> Path:
        from fer_models.classifiers import clip

        for text_repository in clip.text_repositories(architecture):
            hub.fetch_texts(text_repository)
        return hub.fetch(repository, HUB_FILES)

    return clip_spec(
        name,
        f"CLIP {architecture}/{tag} (open_clip), zero-shot",
        Weights(lambda: hub.find_cached(repository, HUB_FILES), f"fer-models weights fetch {name}", fetch),
        load,
        settings={"network": f"{architecture}/{tag}"},
    )


def vlm_spec(
    name: str,
    description: str,
    weights: Weights,
    *,
    question: Question | None = None,
    answer_mode: str = GENERATE,
    crops: int | None = None,
    precision: str = AUTO_BF16,
) -> ModelSpec:
    """A vision-language model with a question and an answer mode.

    Args:
        name: its name without variants: those of `answer_mode` and `crops` are added.
        description: what it is, without its answer mode.
        weights: the folder of its files.
        question: the question; the default one if None.
        answer_mode: one of `vlm.base.ANSWER_MODES`.
        crops: Phi-3.5-vision's `num_crops` where it is not 1.
        precision: as in `ModelSpec`.
    """
    used_question = question or questions.load(DEFAULT_QUESTION)

    def load(runtime: Runtime) -> Classifier:
        folder = weights.locate()
        assert folder is not None  # `ModelSpec.weights_path` has refused missing files before
        return base.VlmClassifier(_load_vlm(folder, runtime, crops), used_question, answer_mode)

    fields: dict[str, Any] = {"question": used_question, "answer_mode": answer_mode, "crops": crops}

    def change(**changed: Any) -> ModelSpec:
        return vlm_spec(name, description, weights, **{**fields, **changed}, precision=precision)

    def with_variant(variant: str) -> ModelSpec:
        mode = variant.removeprefix("+")
        if mode in base.ANSWER_MODES:
            return change(answer_mode=mode)
        allowed = {f"+{n}{CROPS}": n for n in range(1, MAX_CROPS + 1)}
        if variant not in allowed:
            limits = f"+1{CROPS} to +{MAX_CROPS}{CROPS}"
            raise UsageError(f"{name}{one_line(variant)}: the number of crops can be {limits}.")
        return change(crops=allowed[variant])

    variants = [] if crops is None else [f"{crops}{CROPS}"]
    method = "its generated reply is parsed"
    if answer_mode != GENERATE:
        variants.append(answer_mode)
        method = f"the probabilities of the seven replies are compared ({answer_mode})"
    return ModelSpec(
        str(ModelName.parse(name).with_variants(*variants)),
        load,
        f"{description}; {method}",
        weights=weights,
        settings={"question": used_question.as_json(), "answer": answer_mode, "num_crops": crops},
        precision=precision,
        prompt=used_question.name,
        question=used_question,
        with_question=lambda other: change(question=other),
        with_variant=with_variant,
    )


def _load_vlm(folder: Path, runtime: Runtime, crops: int | None) -> base.VlmBackend:
    """Load the model in a folder: Phi-3-vision and Phi-3.5-vision by our port, others by transformers."""
    try:
        model_type = parse_json(read_text(folder / "config.json")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{folder / 'config.json'} cannot be read ({one_line(str(error))}). Fetch the model anew."
        ) from error
    if model_type == "phi3_v":
        from fer_models.classifiers.vlm import phi3v

        return phi3v.load(folder, num_crops=crops or 1, device=runtime.device, precision=runtime.precision)
    if crops is not None:
        raise UsageError(
            f"{folder.name} is a {model_type}: only Phi-3-vision and Phi-3.5-vision take a number of crops."
        )
    from fer_models.classifiers.vlm import hf

    return hf.load(folder, device=runtime.device, precision=runtime.precision)


def _load_clip_nano(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
    from fer_models.classifiers import clip

    return clip.load(
        path, prompts, device=runtime.device, precision=runtime.precision, compiled=runtime.compiled
    )


#: The most crops of one image: the published setting of Phi-3.5-vision for a single image (for several
#: images it is 4).
MAX_CROPS = 16
#: The default question of vision-language models.
DEFAULT_QUESTION = "one-word"
#: The default prompt set of CLIP models: the prompts of the CLIP paper's authors.
DEFAULT_PROMPTS = "openai"
#: File names of open_clip's weights in a repository on the Hub, best first; pickles are not among them.
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")

#: Of the shipped zero-shot models, also with other weights: a comparison is then one of weights.
NANO_PRECISION = "float32"

CLIP_NANO = clip_spec(
    "clip-nano",
    "a small CLIP of our own (EfficientNet-B0 and a 3-layer text encoder, open_clip), zero-shot",
    Weights(
        lambda: weights.find("clip-nano"), "fer-models train clip-nano --dataset fer2013 --data-root FOLDER"
    ),
    _load_clip_nano,
    precision=NANO_PRECISION,
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

#: The paper's vision-language model, 4.2 billion parameters; float32 would take twice the 8.6 GB, so `auto`
#: is the published precision.
PHI_35 = "microsoft/Phi-3.5-vision-instruct"
PHI_35_VISION = vlm_spec(
    "phi-3.5-vision",
    f"{PHI_35} (4.2 B parameters)",
    Weights(
        lambda: hub.find_cached_model(PHI_35),
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
    precision=NANO_PRECISION,
)
VLMS = tuple(
    spec
    for plain in (PHI3V_NANO, PHI_35_VISION)
    if plain.with_variant
    for spec in (plain, plain.with_variant("+likelihood"))
)

MODELS: Registry[ModelSpec] = Registry("model", VGG19, RESNET50, EFFICIENTNET_B0, *CLIPS, *VLMS, *PUBLISHED)

#: The shipped models, the least time per face first (`benchmarks/first_verdict.py` prints the times).
FASTEST = (EFFICIENTNET_B0.name, RESNET50.name, CLIP_NANO.name, PHI3V_NANO.name, VGG19.name)
