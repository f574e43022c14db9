"""Training of `phi3v-nano`: a small language model learns to say what a small image tower sees, in
Phi-3.5-vision's architecture and files.

The tower is trained before, as a network of its own (`fer-models train phi3v-nano-vision`), and stays as it
is; its features of the training faces are computed once. The projector, the separators and the language model
learn to answer: to questions of the package in every order of their lists, with the emotion's name or letter.
What the face is said to be is drawn anew each time from the same targets that the tower learnt (its label,
softened by a teacher), so that what it writes is as sure as it should be. One question is kept back: how well
it is understood tells whether the language model reads questions, or has learnt them by heart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from torch.nn import functional as F

from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.device import resolve_precision
from fer_models.artifacts.hashing import sha256_of
from fer_models.artifacts.safetensors_io import pick_device
from fer_models.classifiers.cnn import normalise
from fer_models.classifiers.vlm import phi3v, questions
from fer_models.classifiers.vlm.base import LIKELIHOOD, VlmClassifier
from fer_models.classifiers.vlm.questions import QUESTIONS, Question
from fer_models.datasets.base import FaceSet
from fer_models.errors import WeightsError, WeightsMissingError
from fer_models.training import provenance, schedule
from fer_models.training.augment import augment
from fer_models.training.recipes import PHI3V_NANO, RECIPES, VISION_ENCODER, Augmentation
from fer_models.training.session import ProgressCallback
from fer_models.training.soft_targets import targets
from fer_models.training.supervised import TrainingResult, as_tensor

#: Phi-3's special tokens, by their names there; numbers are given in this order.
SPECIAL = ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|user|>", "<|end|>")
#: Faces whose features are computed at once.
_AT_ONCE = 256


@dataclass(frozen=True)
class VlmRecipe:
    """Everything that decides what the training does, but for its data, its eyes and its machine.

    Attributes:
        hidden, layers, heads, intermediate: the language model's widths and depth.
        pieces: how many pieces of words the tokenizer learns from the questions, beside bytes and special
            tokens.
        views: differently augmented looks at each training face, the first one as it is.
        kept_back: the question that is never asked in training.
        lr: the peak, after 5 % of all updates; then a cosine to zero. Optimizer AdamW.
        precision: `auto` (what the machine is fast at), `float32` or `bf16` (autocast; on a CPU with
            instructions for it a step takes a fifth less).
    """

    hidden: int = 192
    layers: int = 3
    heads: int = 6
    intermediate: int = 384
    pieces: int = 160
    views: int = 2
    kept_back: str = "feeling"
    epochs: int = 4
    batch_size: int = 128
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    precision: str = "auto"
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(erase=0.0, rotate=10.0))


def train(
    recipe: VlmRecipe,
    training: list[FaceSet],
    validation: FaceSet,
    output: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    report: ProgressCallback | None = None,
) -> TrainingResult:
    """Train and write the folder `phi3v-nano`. It takes minutes, so a killed run starts anew; the last epoch
    is kept, whatever it scores.

    Args:
        training, validation, output, seed, device, report: as in `loop.train`. The validation split is scored
            once, at the end.

    Raises:
        WeightsMissingError: the eyes, or the teacher of their recipe, are not on this machine.
        WeightsError: the eyes do not fit.
    """
    torch.manual_seed(seed)
    where, eyes = pick_device(device), weights.find(VISION_ENCODER)
    recipe = replace(recipe, precision=resolve_precision(recipe.precision, where.type))
    if eyes is None:
        raise WeightsMissingError(
            f"{VISION_ENCODER}, which {PHI3V_NANO} sees with, is not here. Train it first: fer-models train {VISION_ENCODER}"
        )
    words = tokenizer(recipe.pieces)
    config = configuration(recipe, words.get_vocab_size())
    network = phi3v.Phi3V(config)
    load_image_encoder(network, eyes)
    began, said = time.perf_counter(), targets(training, RECIPES[VISION_ENCODER], where)
    chat = phi3v.Phi3VBackend(network.to(where), words, 1)
    views = [_seen(network, training, recipe, view, seed, where, report) for view in range(recipe.views)]
    learner, history = Trainer(chat, recipe, where, len(said), seed), []
    for epoch in range(recipe.epochs):
        loss = learner.epoch(views[epoch % recipe.views], said, epoch, report)
        now = time.perf_counter()
        seconds, began = now - began, now
        history.append({"epoch": epoch + 1, "size": float(network.side), "loss": loss, "seconds": seconds})
        history[-1]["images_per_second"] = learner.steps * recipe.batch_size / seconds
    network.eval()
    history[-1]["validation_accuracy"] = accuracy = _accuracy(chat, validation)
    seen = json.loads(weights.metadata(eyes).get("provenance", "null"))
    made = provenance.record(
        PHI3V_NANO,
        recipe,
        seed=seed,
        training=map(provenance.described, training),
        validation=provenance.described(validation),
        history=history,
        device=where,
        packages=("torch", "transformers", "tokenizers", "numpy"),
        image_tower={"model": VISION_ENCODER, "sha256": sha256_of(eyes), "provenance": seen},
    )
    phi3v.save(network, config, words, output / PHI3V_NANO, {"provenance": json.dumps(made)})
    return TrainingResult(output / PHI3V_NANO, recipe.epochs, accuracy, history)


# -- what it is made of -------------------------------------------------------------------------------


def tokenizer(pieces: int) -> Tokenizer:
    """Built like Llama's, which Phi-3's is: pieces of words behind a mark for the space, and bytes for what
    has no piece.

    Args:
        pieces: how many pieces are learnt from the questions of the package.
    """
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizer
    texts = [question.render() for question in QUESTIONS.values()] + [
        f"{reply}" for reply in QUESTIONS["one-word"].replies
    ] * 4
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=pieces, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    ids = [
        *SPECIAL[:3],
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *sorted(learnt["vocab"], key=learnt["vocab"].get),
    ]
    merges = [tuple(pair) for pair in learnt["merges"]]
    made = Tokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate(ids)},
            merges,
            unk_token=SPECIAL[0],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    made.normalizer = normalizer
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(
        [AddedToken(token, rstrip=token == "<|assistant|>", normalized=False) for token in SPECIAL[3:]]
    )
    return made


def configuration(recipe: VlmRecipe, vocabulary: int) -> dict[str, Any]:
    """The config.json of Phi-3.5-vision's form; the tower has one layer more than the eyes, which nobody
    reads (`hidden_states[-2]`).
    """
    half = recipe.hidden // recipe.heads // 2
    tower = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "image_size": 48,
        "patch_size": 6,
    }
    return {
        "architectures": ["Phi3VForCausalLM"],
        "model_type": "phi3_v",
        "vocab_size": vocabulary,
        "hidden_size": recipe.hidden,
        "intermediate_size": recipe.intermediate,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.heads,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "type": "su",
            "short_factor": [1.0] * half,
            "long_factor": [1.0 + i for i in range(half)],
        },
        "sliding_window": 262144,
        "tie_word_embeddings": False,
        "bos_token_id": SPECIAL.index("<s>"),
        "eos_token_id": SPECIAL.index("</s>"),
        "pad_token_id": SPECIAL.index("<unk>"),
        "img_processor": {
            "name": "clip_vision_model",
            "image_dim_out": tower["hidden_size"],
            "num_img_tokens": 16,
            "vision_config": tower,
        },
    }


@torch.no_grad()
def load_image_encoder(network: phi3v.Phi3V, path: Path) -> None:
    """Put the weights of timm's transformer into the image tower, and lock it. The layer that nobody reads
    becomes zero.

    Raises:
        WeightsError: they do not fit.
    """
    state, _ = safetensors_io.read(path)
    lent: dict[str, torch.Tensor] = {}
    try:
        lent["embeddings.class_embedding"] = state["cls_token"].reshape(-1)
        lent["embeddings.position_embedding.weight"] = state["pos_embed"][0]
        lent["embeddings.patch_embedding.weight"] = state["patch_embed.proj.weight"]
        for end in ("weight", "bias"):
            lent[f"pre_layrnorm.{end}"] = state[f"norm_pre.{end}"]
            for layer in range(sum(name.endswith("norm1.weight") for name in state)):
                own, other = f"encoder.layers.{layer}", f"blocks.{layer}"
                for letter, tensor in zip("qkv", state[f"{other}.attn.qkv.{end}"].chunk(3), strict=True):
                    lent[f"{own}.self_attn.{letter}_proj.{end}"] = tensor
                lent[f"{own}.self_attn.out_proj.{end}"] = state[f"{other}.attn.proj.{end}"]
                for here, there in (
                    ("layer_norm1", "norm1"),
                    ("layer_norm2", "norm2"),
                    ("mlp.fc1", "mlp.fc1"),
                    ("mlp.fc2", "mlp.fc2"),
                ):
                    lent[f"{own}.{here}.{end}"] = state[f"{other}.{there}.{end}"]
        tower = {name.removeprefix("vision_model."): name for name in network.tower.state_dict()}
        told = network.tower.load_state_dict(
            {tower[name]: tensor for name, tensor in lent.items()}, strict=False
        )
    except (KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{path} does not fit the image tower ({' '.join(str(error).split())[:150]}). Train it: fer-models train {VISION_ENCODER}"
        ) from error
    unread = (f"encoder.layers.{network.tower.config.num_hidden_layers - 1}.", "post_layernorm.")
    absent = [name for name in told.missing_keys if not any(part in name for part in unread)]
    if absent:
        raise WeightsError(
            f"{path} does not fit the image tower: {absent[0]} is missing. Train it: fer-models train {VISION_ENCODER}"
        )
    for name, parameter in network.tower.named_parameters():
        parameter.requires_grad = False
        if name in told.missing_keys:
            parameter.zero_()


@torch.inference_mode()
def _seen(
    network: phi3v.Phi3V,
    training: list[FaceSet],
    recipe: VlmRecipe,
    view: int,
    seed: int,
    device: torch.device,
    report: ProgressCallback | None,
) -> torch.Tensor:
    """One look at all training faces: float16 (n, patches**2, d), on the CPU."""
    faces, parts = torch.cat([as_tensor(s, 3, network.side) for s in training]), []
    for start in range(0, len(faces), _AT_ONCE):
        batch = faces[start : start + _AT_ONCE].to(device)
        pixels = (
            batch.float()
            if view == 0
            else augment(batch, network.side, recipe.augmentation, seed + view * len(faces) + start)
        )
        parts.append(
            network.encode_image(normalise(pixels, RECIPES[VISION_ENCODER].architecture)).half().cpu()
        )
        if report is not None:
            report(
                f"look {view + 1}/{recipe.views} at the faces",
                min(start + _AT_ONCE, len(faces)),
                len(faces),
                {},
            )
    return torch.cat(parts)


class Trainer:
    """Projector, separators and language model, and the questions they learn from."""

    def __init__(
        self, chat: phi3v.Phi3VBackend, recipe: VlmRecipe, device: torch.device, n: int, seed: int
    ) -> None:
        self.chat, self.recipe, self.device, self.seed = chat, recipe, device, seed
        self.asked = [question for question in QUESTIONS.values() if question.name != recipe.kept_back]
        self.steps = max(1, n // recipe.batch_size)
        parameters, total = chat.network.parameters(), self.steps * recipe.epochs
        self.optimizer, self.schedule = schedule.adamw(parameters, recipe.lr, recipe.weight_decay, total)

    def epoch(
        self, features: torch.Tensor, said: torch.Tensor, epoch: int, report: ProgressCallback | None
    ) -> float:
        """One pass over all faces, each batch asked one question; returns the mean loss."""
        rng = np.random.default_rng([self.seed, epoch])
        order, losses = rng.permutation(len(said)), []
        self.chat.network.train()
        for step in range(self.steps):
            rows = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            question = self.asked[rng.integers(len(self.asked))].shuffled(int(rng.integers(1 << 30)))
            losses.append(self._step(features[rows], _drawn(said[rows].numpy(), rng), question))
            if report is not None:
                report(
                    f"epoch {epoch + 1}/{self.recipe.epochs}",
                    step + 1,
                    self.steps,
                    {"loss": float(np.mean(losses[-50:]))},
                )
        return float(np.mean(losses))

    def _step(self, features: torch.Tensor, emotions: NDArray[np.int64], question: Question) -> float:
        replies = [question.replies[e] for e in emotions]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            loss = answering_loss(self.chat, features.float().to(self.device), replies, question.render())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]], 1.0
        )
        self.optimizer.step()
        self.schedule.step()
        return float(loss.item())


def answering_loss(
    chat: phi3v.Phi3VBackend, features: torch.Tensor, replies: Sequence[str], question: str
) -> torch.Tensor:
    """The mean cross-entropy, in nats per token, of the replies and the mark that ends them, after pictures
    and one question.

    Args:
        features: (n, patches**2, d), what the tower sees.
        replies: one per picture.
    """
    network, device = chat.network, features.device
    end = chat.tokenizer.token_to_id("<|end|>")
    ids = [[*chat.tokenizer.encode(reply, add_special_tokens=False).ids, end] for reply in replies]
    longest = max(map(len, ids))
    wanted = torch.tensor([[*own, *[-100] * (longest - len(own))] for own in ids], device=device)
    before, after = (network.embed_text(part).expand(len(features), -1, -1) for part in chat.prompt(question))
    told = network.language.model.embed_tokens(wanted[:, :-1].clamp(min=0))
    embeds = torch.cat([before, network.project(features), after, told], dim=1)
    logits = network.language(inputs_embeds=embeds, logits_to_keep=longest).logits
    return F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=-100)


def _drawn(said: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """One emotion per row of probabilities (n, 7), drawn with these."""
    cumulative = said.cumsum(axis=1)
    return np.asarray(
        (cumulative < rng.random((len(said), 1)) * cumulative[:, -1:]).sum(axis=1), dtype=np.int64
    )


def _accuracy(chat: phi3v.Phi3VBackend, faces: FaceSet) -> float:
    """How often the likeliest reply to the default question is right."""
    asked = VlmClassifier(chat, questions.load("one-word"), LIKELIHOOD)
    said = np.concatenate([asked.predict(batch).answer for _, batch in faces.batches(_AT_ONCE)])
    return float((said == faces.labels).mean())
