"""Zero-shot classifiers of open_clip: CLIP and similar models. The only module that imports open_clip.

Each face and each prompt is embedded once; the prediction is the emotion with the nearest embedding. So with
another prompt, no face is encoded again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from scipy.special import softmax

from fer_models.artifacts import hub, safetensors_io
from fer_models.artifacts.json_io import parse_json
from fer_models.artifacts.resources import ASSETS
from fer_models.classifiers import (
    flops,
    timm_models,  # noqa: F401 (registers the image encoder of clip-nano)
)
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.torch_network import autocast, compile_network, parameter_count
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import PromptTooLongError, UnknownNameError, UsageError, WeightsError, one_line
from fer_models.images import Face

#: The format of this package's files, in their metadata.
FORMAT = "fer-models-clip"
#: This package's own architecture, as a model configuration of open_clip.
NANO = "clip-nano"
#: The fields of open_clip's preprocessing that checkpoints set.
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
#: What the settings of a repository may say about its tokenizer.
_TOKENIZER_SETTINGS = {"clean", "strip_sep_token", "language"}
_CONFIG = ASSETS / "open_clip" / f"{NANO}.json"
open_clip.add_model_config(_CONFIG)


class Clip:
    """Classifier around an image encoder and a text encoder, with one prompt set."""

    labels = LABELS
    is_prefetchable = True

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        prompts: PromptSet,
        device: torch.device,
        precision: str = "float32",
        *,
        compiled: bool = False,
    ) -> None:
        """Wrap a model.

        Args:
            model: from `open_clip.create_model`; its own image preprocessing is used. In `bf16` its image
                encoder is converted in place, as a whole: autocast would convert activations back and forth
                at every layer.
            tokenizer: of its text encoder, which computes in float32 in `bf16` too.
            prompts: the prompt set.
            device: where it computes.
            precision: `float32`, `bf16` or `fp16`.
            compiled: compile the image encoder; see `torch_network.compile_network`.
        """
        self.model: Any = model.eval().to(device)
        self._image_dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.model.visual.to(self._image_dtype)
        encode_image: Any = self.model.encode_image
        self._encode_image = compile_network(encode_image) if compiled else encode_image
        self.tokenizer, self.prompts, self.device, self.precision = tokenizer, prompts, device, precision
        self.preprocess_config = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
        self.transform = image_transform_v2(self.preprocess_config, is_train=False)
        self._texts: dict[str, NDArray[np.float32]] = {}

    # -- images -----------------------------------------------------------------------------------

    def preprocess(self, faces: Sequence[Face], /) -> torch.Tensor:
        """Preprocess faces as in training: float32 (n, 3, side, side) on the device."""
        images: list[torch.Tensor] = [self.transform(Image.fromarray(face)) for face in faces]
        return torch.stack(images).to(self.device)

    @torch.inference_mode()
    def encode(self, batch: torch.Tensor) -> NDArray[np.float32]:
        """Embed a preprocessed batch: float32 (n, d), unit length."""
        with self._autocast():
            features = self._encode_image(batch.to(self._image_dtype))
        return _unit_length(features)

    def _autocast(self) -> AbstractContextManager[object]:
        """In `bf16` each encoder has its own type, and nothing is cast."""
        return autocast(self.device, "float32" if self.precision == "bf16" else self.precision)

    def embed(self, faces: Sequence[Face], /) -> NDArray[np.float32]:
        """Embed each face: float32 (n, d), unit length. Embeddings do not depend on prompts."""
        return self.encode(self.preprocess(faces))

    # -- prompts ----------------------------------------------------------------------------------

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed each text: float32 (k, d), unit length; each text is encoded once.

        Raises:
            PromptTooLongError: a text has more tokens than the model's context.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            with self._autocast():
                features = self.model.encode_text(self._tokenize(part).to(self.device))
            self._texts |= zip(part, _unit_length(features), strict=True)
        return np.stack([self._texts[text] for text in texts])

    def _tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        limit = getattr(self.tokenizer, "context_length", None)
        if limit is not None:
            for text in texts:
                length = self._count_tokens(text)
                if length > limit:  # the tokenizer would cut the text without a warning
                    raise PromptTooLongError(
                        f"The prompt {text[:60]!r}… takes {length} tokens; this model reads {limit}. "
                        "Shorten it."
                    )
        tokens: torch.Tensor = self.tokenizer(list(texts))
        return tokens

    def _count_tokens(self, text: str) -> int:
        """The number of tokens of a text, with those at its ends."""
        encode = getattr(self.tokenizer, "encode", None)
        if encode is not None:  # open_clip's own tokenizers
            return len(encode(text)) + 2
        return len(self.tokenizer.tokenizer(self.tokenizer.clean_fn(text))["input_ids"])  # transformers'

    def class_embeddings(self, prompts: PromptSet) -> NDArray[np.float32]:
        """Embed each emotion: float32 (7, d), the mean over all its texts, at unit length.

        As in Radford et al. 2021, arXiv:2103.00020, section 3.1.4, over templates and synonyms.
        """
        means = [self.embed_texts(prompts.texts(emotion)).mean(axis=0) for emotion in EMOTIONS]
        embeddings: NDArray[np.float32] = np.stack([mean / np.linalg.norm(mean) for mean in means])
        return embeddings

    # -- predictions ------------------------------------------------------------------------------

    @property
    def scale(self) -> float:
        """The factor of the cosines before the softmax, learnt by the model (100 for OpenAI's)."""
        return float(self.model.logit_scale.detach().exp())

    def classify(self, features: NDArray[np.float32], prompts: PromptSet | None = None) -> Predictions:
        """Predict from embeddings of faces, with the model's own prompts or others."""
        return classify(features, self.class_embeddings(prompts or self.prompts), self.scale)

    def infer(self, batch: torch.Tensor, /) -> Predictions:
        """Predict from a preprocessed batch."""
        return self.classify(self.encode(batch))

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.infer(self.preprocess(faces))

    @property
    def parameters(self) -> int:
        """Number of parameters of both encoders."""
        return parameter_count(self.model)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the image encoder for one face; see `flops.macs`."""
        batch = self.preprocess([np.zeros((48, 48, 3), dtype=np.uint8)]).to(self._image_dtype)
        return flops.macs(lambda: self.model.encode_image(batch))


def _unit_length(features: torch.Tensor) -> NDArray[np.float32]:
    embeddings: NDArray[np.float32] = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return embeddings


def classify(features: NDArray[np.float32], classes: NDArray[np.float32], scale: float) -> Predictions:
    """Predict by the softmax of the scaled cosines.

    Args:
        features: embeddings of faces, (n, d), of unit length.
        classes: embeddings of the emotions, (7, d), of unit length.
        scale: the factor of the cosines.
    """
    logits = scale * (features @ classes.T).astype(np.float64)
    return Predictions.from_probabilities(softmax(logits, axis=1), LABELS)


# -- from files ---------------------------------------------------------------------------------------


def create(architecture: str, preprocess: dict[str, Any] | None = None) -> torch.nn.Module:
    """Create the network of an architecture of open_clip (or `clip-nano`), with random weights.

    Raises:
        UnknownNameError: open_clip has none of that name.
    """
    if architecture not in open_clip.list_models():
        raise UnknownNameError("open_clip architecture", architecture, open_clip.list_models())
    with _quiet():
        model: torch.nn.Module = open_clip.create_model(
            architecture, pretrained_text=False, force_preprocess_cfg=preprocess
        )
    return model


def load(
    path: Path,
    prompts: PromptSet,
    *,
    architecture: str | None = None,
    preprocess: dict[str, Any] | None = None,
    device: str = "auto",
    precision: str = "float32",
    compiled: bool = False,
) -> Clip:
    """The classifier in a safetensors file.

    Args:
        path: a file of this package, or a checkpoint of open_clip.
        prompts: the prompt set of the classifier.
        architecture: open_clip's name for the network; not needed for a file of this package, which must
            hold it.
        preprocess: mean, std, interpolation and resize_mode where they differ from OpenAI's.
        device: as in `cnn.load`.
        precision: as in `cnn.load`.
        compiled: compile the image encoder; see `torch_network.compile_network`.

    Raises:
        WeightsError: the file is unsound, is of another network, or does not fit it; no weight stays
            random.
    """
    state, metadata = safetensors_io.read(path)
    if metadata.get("format") == FORMAT:
        named = architecture
        try:
            architecture, preprocess = metadata["architecture"], dict(parse_json(metadata["preprocess"]))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {one_line(str(error))}"
            raise WeightsError(
                f"{path} does not say what its network is ({reason}). Get a sound copy."
            ) from error
        if named not in (None, architecture):
            raise WeightsError(
                f"{path} holds the network {one_line(architecture)}, not {named}. "
                f"Name what it holds: --model open_clip:{one_line(architecture)}@{path}"
            )
    if architecture is None:
        raise WeightsError(
            f"{path} does not say what network it is of. Name it: --model open_clip:ARCHITECTURE@{path}"
        )
    model = create(architecture, preprocess)
    _load_state_dict(model, state, architecture, path)
    text = open_clip.get_model_config(architecture).get("text_cfg", {})
    try:
        tokenizer = _tokenizer(architecture, text)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The vocabulary of {architecture} is not on this machine ({one_line(str(error), 160)}). "
            "Get it: fer-models weights fetch, with the name of the model"
        ) from error
    device_in_use = safetensors_io.pick_device(device)
    return Clip(model, tokenizer, prompts, device_in_use, precision, compiled=compiled)


def _tokenizer(name: str, text: Mapping[str, Any]) -> Any:
    """The tokenizer of an open_clip model, from files of this machine.

    A repository's settings go to transformers as they are. Whatever they say: no code, no network.

    Args:
        name: as open_clip takes it.
        text: the settings of its text encoder.

    Raises:
        ValueError: they hold an option that could do more than say how texts are split.
    """
    if unknown := set(text.get("tokenizer_kwargs", {})) - _TOKENIZER_SETTINGS:
        raise ValueError(f"its tokenizer has the unknown settings {', '.join(sorted(unknown))}")
    from_transformers = bool(text.get("hf_tokenizer_name"))
    safe = {"trust_remote_code": False, "local_files_only": True} if from_transformers else {}
    with _quiet():
        return open_clip.get_tokenizer(name, **safe)


def text_repositories(architecture: str) -> list[str]:
    """The repositories on the Hub with the vocabulary and the settings of an architecture's text encoder."""
    text = open_clip.get_model_config(architecture).get("text_cfg", {})
    names = (text.get("hf_tokenizer_name"), text.get("hf_model_name"))
    return [name for name in dict.fromkeys(names) if name]


def _load_state_dict(
    model: torch.nn.Module, state: dict[str, torch.Tensor], architecture: str, path: Path
) -> None:
    expected = model.state_dict()
    try:
        if "logit_scale" in state:
            state["logit_scale"] = state["logit_scale"].reshape(expected["logit_scale"].shape)
        safetensors_io.check_state_dict(model, state, architecture, path)
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = one_line(str(error), 200)
        raise WeightsError(
            f"{path} does not fit {architecture} ({reason}). Check the architecture's name."
        ) from error


def pretrained_config(architecture: str, tag: str) -> tuple[str, dict[str, Any]]:
    """Repository of a pretrained checkpoint on the Hub, and its preprocessing, from open_clip's list.

    Raises:
        UnknownNameError: open_clip lists no such architecture or tag.
        UsageError: the checkpoint was trained with another activation than this architecture has (QuickGELU),
            or is not on the Hub.
    """
    if architecture not in open_clip.list_models():
        raise UnknownNameError("open_clip architecture", architecture, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise UnknownNameError(f"checkpoint of {architecture}", tag, tags)
    pretrained = open_clip.get_pretrained_cfg(architecture, tag)
    config = open_clip.get_model_config(architecture)
    quick_gelu = bool(pretrained.get("quick_gelu"))
    if quick_gelu != bool(config.get("quick_gelu")):
        other = f"{architecture}-quickgelu" if quick_gelu else architecture.removesuffix("-quickgelu")
        raise UsageError(
            f"{architecture}/{tag} would run with the wrong activation, and be less accurate. "
            f"Use open_clip:{other}/{tag}"
        )
    repository = str(pretrained.get("hf_hub") or "").strip("/")
    if repository.count("/") != 1:
        raise UsageError(
            f"{architecture}/{tag} is not on the Hub. Fetch it yourself, as safetensors: "
            f"--model open_clip:{architecture}@FILE"
        )
    return repository, {key: pretrained[key] for key in _PREPROCESSING if key in pretrained}


def published_preprocessing(architecture: str) -> dict[str, Any] | None:
    """The preprocessing of an architecture's published checkpoints; None where they differ, or are none."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    configs = [open_clip.get_pretrained_cfg(architecture, tag) for tag in tags]
    settings = [{key: config[key] for key in _PREPROCESSING if key in config} for config in configs]
    return settings[0] if settings and all(one == settings[0] for one in settings) else None


def load_repository(
    folder: Path,
    prompts: PromptSet,
    *,
    device: str = "auto",
    precision: str = "float32",
    compiled: bool = False,
) -> Clip:
    """The classifier in a local copy of a repository in open_clip's format.

    The folder holds `open_clip_config.json` and safetensors.

    Raises:
        WeightsError: it is not such a copy, or its files do not fit each other.
    """
    try:
        with _quiet():
            model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
        settings = parse_json((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        tokenizer = _tokenizer(f"local-dir:{folder}", settings["model_cfg"].get("text_cfg", {}))
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        reason = one_line(str(error), 200)
        raise WeightsError(f"{folder} is no model of open_clip's ({reason}). Fetch it anew.") from error
    device_in_use = safetensors_io.pick_device(device)
    return Clip(model, tokenizer, prompts, device_in_use, precision, compiled=compiled)


def save(model: torch.nn.Module, path: Path, metadata: dict[str, str], architecture: str = NANO) -> None:
    """Write a model as a file of this package, for `load`."""
    config = asdict(PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)))
    preprocessing = {key: config[key] for key in _PREPROCESSING}
    own_metadata = {
        "format": FORMAT,
        "architecture": architecture,
        "preprocess": json.dumps(preprocessing),
        "labels": json.dumps(list(LABELS)),
    }
    safetensors_io.write(model.state_dict(), path, {**own_metadata, **metadata})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence open_clip: it warns of random weights before the file's are loaded; real problems raise.

    Nothing is downloaded meanwhile: the settings of a model can name other repositories.
    """
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with hub.offline(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
