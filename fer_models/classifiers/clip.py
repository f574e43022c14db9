"""CLIP and its kin from open_clip, zero-shot. The only module that imports open_clip.

A face becomes a direction once; a prompt becomes a direction once; an answer is which emotion's direction
lies nearest. So a new prompt costs no look at any face.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.json_io import parse_json
from fer_models.artifacts.resources import ASSETS
from fer_models.classifiers import (
    flops,
    timm_models,  # noqa: F401 (the image tower of clip-nano)
)
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import PromptTooLongError, UnknownNameError, UsageError, WeightsError, one_line
from fer_models.images import Face

#: What marks a file of ours in its metadata.
FORMAT = "fer-models-clip"
#: Our own architecture, as open_clip reads any other: a data file.
NANO = "clip-nano"
_CONFIG = ASSETS / "open_clip" / f"{NANO}.json"
open_clip.add_model_config(_CONFIG)


class Clip:
    """A model of two towers, asked with one prompt set."""

    labels = LABELS

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        prompts: PromptSet,
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        """`model` is what `open_clip.create_model` made; its own preparation of pictures is used as it is."""
        self.model: Any = model.eval().to(device)
        self.tokenizer, self.prompts, self.device, self.precision = tokenizer, prompts, device, precision
        self.transform = image_transform_v2(
            PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)), is_train=False
        )
        self._texts: dict[str, NDArray[np.float32]] = {}

    # -- pictures ---------------------------------------------------------------------------------

    def preprocess(self, faces: Sequence[Face], /) -> torch.Tensor:
        """Faces as the model was trained to see them: float32 (n, 3, side, side) on the device."""
        prepared: list[torch.Tensor] = [self.transform(Image.fromarray(face)) for face in faces]
        return torch.stack(prepared).to(self.device)

    @torch.inference_mode()
    def _encode(self, batch: torch.Tensor) -> NDArray[np.float32]:
        with self._autocast():
            features = self.model.encode_image(batch)
        found: NDArray[np.float32] = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
        return found

    def embed(self, faces: Sequence[Face], /) -> NDArray[np.float32]:
        """The direction of each face: float32 (n, d), unit length. They do not depend on any prompt."""
        return self._encode(self.preprocess(faces))

    # -- words ------------------------------------------------------------------------------------

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The direction of each text: float32 (k, d), unit length; each text is encoded once.

        Raises:
            UsageError: a text is longer than the model can read.
        """
        fresh = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for start in range(0, len(fresh), 256):
            part = fresh[start : start + 256]
            with self._autocast():
                features = self.model.encode_text(self._tokenize(part).to(self.device))
            self._texts |= zip(
                part, torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy(), strict=True
            )
        return np.stack([self._texts[text] for text in texts])

    def _tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        encode, room = (
            getattr(self.tokenizer, "encode", None),
            getattr(self.tokenizer, "context_length", None),
        )
        if encode is not None and room is not None:
            for text in texts:
                if (
                    needed := len(encode(text)) + 2
                ) > room:  # with a mark at each end; the tokenizer would cut without a word
                    raise PromptTooLongError(
                        f"The prompt {text[:60]!r}… takes {needed} tokens; this model reads {room}. Shorten it."
                    )
        tokens: torch.Tensor = self.tokenizer(list(texts))
        return tokens

    def class_embeddings(self, prompts: PromptSet) -> NDArray[np.float32]:
        """One direction per emotion, float32 (7, d): the mean of the directions of all its texts, as unit
        length again (as in Radford et al. 2021, arXiv:2103.00020, section 3.1.4, over templates and
        synonyms)."""
        means = [self.embed_texts(prompts.texts(emotion)).mean(axis=0) for emotion in EMOTIONS]
        found: NDArray[np.float32] = np.stack([mean / np.linalg.norm(mean) for mean in means])
        return found

    # -- answers ----------------------------------------------------------------------------------

    @property
    def scale(self) -> float:
        """What cosines are multiplied by before the softmax: learnt by the model (100 for OpenAI's)."""
        return float(self.model.logit_scale.detach().exp())

    def classify(self, features: NDArray[np.float32], prompts: PromptSet | None = None) -> Predictions:
        """Answers to faces given by their directions, with the model's own prompts or others."""
        return classify(features, self.class_embeddings(prompts or self.prompts), self.scale)

    def infer(self, batch: torch.Tensor, /) -> Predictions:
        """The answers to a prepared batch."""
        return self.classify(self._encode(batch))

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.infer(self.preprocess(faces))

    @property
    def parameters(self) -> int:
        """Number of parameters, both towers."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one face (the image tower), see `arithmetic.macs`."""
        return flops.macs(
            lambda: self.model.encode_image(self.preprocess([np.zeros((48, 48, 3), dtype=np.uint8)]))
        )

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        return torch.autocast(self.device.type, dtype) if dtype is not None else contextlib.nullcontext()


def classify(features: NDArray[np.float32], directions: NDArray[np.float32], scale: float) -> Predictions:
    """The softmax of the scaled cosines.

    Args:
        features: (n, d), directions: (7, d), both of unit length.
    """
    logits = scale * (features @ directions.T).astype(np.float64)
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Predictions.from_probabilities(rows / rows.sum(axis=1, keepdims=True), LABELS)


# -- from files ---------------------------------------------------------------------------------------


def create(architecture: str, preprocess: dict[str, Any] | None = None) -> torch.nn.Module:
    """The network of an architecture that open_clip knows (or `clip-nano`), with random weights.

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
) -> Clip:
    """The classifier in a safetensors file.

    Args:
        path: a file of ours, or a checkpoint of open_clip's.
        architecture: open_clip's name for the network; not needed for a file of ours.
        preprocess: mean, std, interpolation and resize_mode where they differ from OpenAI's.
        device, precision: as in `cnn.load`.

    Raises:
        WeightsError: the file is unsound, or does not fit the architecture: nothing is left to random
            weights.
    """
    state, metadata = safetensors_io.read(path)
    if metadata.get("format") == FORMAT:
        try:
            architecture, preprocess = metadata["architecture"], dict(parse_json(metadata["preprocess"]))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {one_line(str(error))}"
            raise WeightsError(
                f"{path} does not say what its network is ({reason}). Get a sound copy."
            ) from error
    if architecture is None:
        raise WeightsError(
            f"{path} does not say what network it is of. Name it: --model open_clip:ARCHITECTURE@{path}"
        )
    model = create(architecture, preprocess)
    _load_state_dict(model, state, architecture, path)
    return Clip(
        model, open_clip.get_tokenizer(architecture), prompts, safetensors_io.pick_device(device), precision
    )


def _load_state_dict(
    model: torch.nn.Module, state: dict[str, torch.Tensor], architecture: str, path: Path
) -> None:
    own = model.state_dict()
    try:
        if "logit_scale" in state:
            state["logit_scale"] = state["logit_scale"].reshape(own["logit_scale"].shape)
        safetensors_io.check_state_dict(model, state, architecture, path)
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        what = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path} does not fit {architecture}: {what}… Check the architecture's name."
        ) from error


def pretrained_config(architecture: str, tag: str) -> tuple[str, dict[str, Any]]:
    """Where open_clip's own list says that a checkpoint is: the repository on the Hub, and how its pictures
    are prepared.

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
    said, config = open_clip.get_pretrained_cfg(architecture, tag), open_clip.get_model_config(architecture)
    if bool(said.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = (
            f"{architecture}-quickgelu" if said.get("quick_gelu") else architecture.removesuffix("-quickgelu")
        )
        raise UsageError(
            f"{architecture}/{tag} would run with the wrong activation, and silently worse. Ask open_clip:{other}/{tag}"
        )
    repository = str(said.get("hf_hub") or "").strip("/")
    if repository.count("/") != 1:
        raise UsageError(
            f"{architecture}/{tag} is not on the Hub. Fetch it yourself, as safetensors: --model open_clip:{architecture}@FILE"
        )
    return repository, {
        key: said[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in said
    }


def load_repository(
    folder: Path, prompts: PromptSet, *, device: str = "auto", precision: str = "float32"
) -> Clip:
    """The classifier in a local copy of a repository of open_clip's format (`open_clip_config.json` and
    safetensors).

    Raises:
        WeightsError: it is not one, or its files do not fit each other.
    """
    try:
        with _quiet():
            model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
            tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise WeightsError(
            f"{folder} is no model of open_clip's ({' '.join(str(error).split())[:200]}). Fetch it anew."
        ) from error
    return Clip(model, tokenizer, prompts, safetensors_io.pick_device(device), precision)


def save(model: torch.nn.Module, path: Path, metadata: dict[str, str], architecture: str = NANO) -> None:
    """Write a model as a file of ours, from which `load` makes it again."""
    wanted = {
        key: asdict(PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)))[key]
        for key in ("mean", "std", "interpolation", "resize_mode")
    }
    said = {
        "format": FORMAT,
        "architecture": architecture,
        "preprocess": json.dumps(wanted),
        "labels": json.dumps(list(LABELS)),
    }
    safetensors_io.write(model.state_dict(), path, {**said, **metadata})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip warns and logs of random weights before ours are put in, and of its own internals; what
    matters raises.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
