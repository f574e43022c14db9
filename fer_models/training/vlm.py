"""Training of `phi3v-nano`: a small language model learns to name the emotion in image embeddings.

It has Phi-3.5-vision's architecture and files. The image tower is trained before, as a network of its own
(`fer-models train phi3v-nano-vision`), and stays frozen: its embeddings of the training faces are computed
once. The projector, the separators and the language model learn to reply with the emotion's name or letter to
the questions of the package, in every order of their lists. The emotion of a face is sampled anew each time
from its label, softened by the teacher of `phi3v-nano-vision`'s recipe, so that the replies are as certain as
these targets. One question
is held out: its accuracy shows whether the language model reads questions or has memorized them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from torch.nn import functional as F

from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.cnn import normalise
from fer_models.classifiers.vlm import phi3v, questions
from fer_models.classifiers.vlm.base import LIKELIHOOD, VlmClassifier
from fer_models.classifiers.vlm.questions import QUESTIONS
from fer_models.errors import WeightsError, reason_of
from fer_models.training.face_tensors import BATCH_SIZE, concatenate_sets, embed_views
from fer_models.training.recipes import RECIPES, VISION_ENCODER, Augmentation
from fer_models.training.schedule import build_adamw
from fer_models.training.session import KEEP_LAST, RunOptions, Session, Step, TrainingData
from fer_models.training.soft_targets import compute_targets, describe_targets

#: Phi-3's special tokens, by their names there; numbers are given in this order.
SPECIAL = ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|user|>", "<|end|>")
#: Parts of a transformer block in transformers' CLIP, and timm's names of them.
_BLOCK_PARTS = {
    "self_attn.out_proj": "attn.proj",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


@dataclass(frozen=True)
class VlmRecipe:
    """Everything that decides the training except its data, its vision encoder and its machine.

    Attributes:
        hidden, layers, heads, intermediate: the language model's widths and depth.
        pieces: the number of subwords that the tokenizer learns from the questions, in addition to bytes and
            special tokens.
        views: differently augmented copies of each training face, the first one as it is.
        kept_back: the question that is held out from training.
        lr: the peak, after 5 % of all updates; then a cosine to zero. Optimizer AdamW.
        precision: `auto` (bf16 on a device with instructions for it), `float32` or `bf16` (autocast; on a CPU
            with instructions for it a step takes a fifth less).
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


class VlmTraining(Session):
    """Training run of a vision language model with a frozen image tower; writes a folder.

    The last epoch is kept, whatever its accuracy: the validation split is scored once, at the end, and
    chooses nothing.

    Raises:
        WeightsMissingError: the vision encoder, or the teacher of its recipe, is not on this machine.
        WeightsError: the vision encoder does not fit.
    """

    keep = KEEP_LAST
    suffix = ""
    packages = ("torch", "transformers", "tokenizers", "numpy")
    recipe: VlmRecipe
    network: phi3v.Phi3V

    def __init__(self, name: str, recipe: VlmRecipe, data: TrainingData, options: RunOptions) -> None:
        super().__init__(name, recipe, data, options, safetensors_io.pick_device(options.device))
        problem = f"{name} needs the weights of {VISION_ENCODER}, and they are not here."
        path = weights.find_trained(VISION_ENCODER, problem)
        provenance = weights.training_record(weights.metadata(path), path)
        self.image_tower = {"model": VISION_ENCODER, "sha256": sha256_of(path), "provenance": provenance}
        self.tokenizer = build_tokenizer(recipe.pieces)
        self.config = build_config(recipe, self.tokenizer.get_vocab_size())
        self.network = phi3v.Phi3V(self.config)
        load_image_encoder(self.network, path)
        self.backend = phi3v.Phi3VBackend(self.network.to(self.device), self.tokenizer, 1)
        self.questions = [question for question in QUESTIONS.values() if question.name != recipe.kept_back]
        self.optimizer = build_adamw(self.network.parameters(), recipe.lr, recipe.weight_decay, beta2=0.98)
        self.warmup = max(1, self.steps * recipe.epochs // 20)

    def prepare(self) -> None:
        """Compute the targets and the embeddings of all views of the training faces."""
        recipe = RECIPES[VISION_ENCODER]
        targets = compute_targets(self.data.training, recipe, self.device, self.options.report)
        self.targets = targets.numpy()
        with torch.inference_mode():
            self.views = embed_views(
                concatenate_sets(self.data.training, 3, self.network.side),
                lambda pixels: self.network.encode_image(normalise(pixels, recipe.architecture)),
                self.recipe,
                self.options.seed,
                self.device,
                self.options.report,
            )

    # -- one epoch --------------------------------------------------------------------------------

    def size_at(self, epoch: int) -> int:
        """The side of the network's input, in pixels."""
        return self.network.side

    def train_batch(self, batch: NDArray[np.int64], step: Step) -> float:
        """One update with one question for all faces of the batch."""
        rng = self.rng
        question = self.questions[rng.integers(len(self.questions))].shuffled(int(rng.integers(1 << 30)))
        replies = [question.replies[emotion] for emotion in sample_emotions(self.targets[batch], rng)]
        embeddings = self.views[step.epoch % self.recipe.views][batch].float().to(self.device)
        with self.autocast():
            loss = reply_loss(self.backend, embeddings, replies, question.render())
        return self.apply_gradients(loss, max_norm=1.0)

    def is_validated(self, epoch: int) -> bool:
        """Whether this is the last epoch."""
        return epoch + 1 == self.recipe.epochs

    def validate(self) -> dict[str, float]:
        """Accuracy of the likeliest reply to the default question."""
        self.network.eval()
        classifier = VlmClassifier(self.backend, questions.load("one-word"), LIKELIHOOD)
        faces = self.data.validation
        predictions = [classifier.predict(batch).answer for _, batch in faces.batches(BATCH_SIZE)]
        return {"validation_accuracy": float((np.concatenate(predictions) == faces.labels).mean())}

    # -- files ------------------------------------------------------------------------------------

    def inputs(self) -> dict[str, Any]:
        """Weights of the image tower, and the sources of the targets."""
        targets = describe_targets(self.data.training, RECIPES[VISION_ENCODER])
        return {"image_tower": self.image_tower, "targets": targets}

    def save_weights(self, path: Path) -> None:
        """Write a folder of Phi-3.5-vision's layout."""
        metadata = {"provenance": json.dumps(self.provenance())}
        phi3v.save(self.network, self.config, self.tokenizer, path, metadata)


def reply_loss(
    backend: phi3v.Phi3VBackend, embeddings: torch.Tensor, replies: Sequence[str], question: str
) -> torch.Tensor:
    """Mean cross-entropy, in nats per token, of the replies and their end token after picture and question.

    Args:
        backend: the network and its tokenizer.
        embeddings: (n, patches**2, d), of the image tower.
        replies: one per picture.
        question: the text of the question.
    """
    network, device = backend.network, embeddings.device
    end = backend.tokenizer.token_to_id("<|end|>")
    ids = [[*backend.tokenizer.encode(reply, add_special_tokens=False).ids, end] for reply in replies]
    longest = max(map(len, ids))
    targets = torch.tensor([[*row, *[-100] * (longest - len(row))] for row in ids], device=device)
    before, after = (
        network.embed_text(part).expand(len(embeddings), -1, -1) for part in backend.prompt(question)
    )
    reply_embeddings = network.language.model.embed_tokens(targets[:, :-1].clamp(min=0))
    inputs = torch.cat([before, network.project(embeddings), after, reply_embeddings], dim=1)
    logits = network.language(inputs_embeds=inputs, logits_to_keep=longest).logits
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)


def sample_emotions(probabilities: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Sample one emotion per row of probabilities (n, 7)."""
    cumulative = probabilities.cumsum(axis=1)
    thresholds = rng.random((len(probabilities), 1)) * cumulative[:, -1:]
    return np.asarray((cumulative < thresholds).sum(axis=1), dtype=np.int64)


# -- parts of the model -------------------------------------------------------------------------------


def build_tokenizer(pieces: int) -> Tokenizer:
    """Tokenizer like Llama's, which Phi-3's is: subwords that begin with a mark for the space, else bytes.

    Args:
        pieces: the number of subwords that are learned from the questions of the package.
    """
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizer
    names = [str(reply) for reply in QUESTIONS["one-word"].replies]
    texts = [question.render() for question in QUESTIONS.values()] + names * 4
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=pieces, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = [*SPECIAL[:3], *byte_tokens, *sorted(model["vocab"], key=model["vocab"].get)]
    vocabulary, merges = {token: i for i, token in enumerate(tokens)}, [tuple(m) for m in model["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=SPECIAL[0], fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, rstrip=token == "<|assistant|>", normalized=False) for token in SPECIAL[3:]]
    )
    return tokenizer


def build_config(recipe: VlmRecipe, vocabulary: int) -> dict[str, Any]:
    """The config.json in Phi-3.5-vision's form.

    The image tower has one layer more than the vision encoder, because the model uses the last but one
    (`hidden_states[-2]`).
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
    """Load the weights of timm's transformer into the image tower and freeze it; the unused layer is zero.

    Raises:
        WeightsError: they do not fit.
    """
    state, _ = safetensors_io.read(path)
    try:
        tower = {name.removeprefix("vision_model."): name for name in network.tower.state_dict()}
        tensors = {tower[name]: tensor for name, tensor in _tower_tensors(state).items()}
        missing = network.tower.load_state_dict(tensors, strict=False).missing_keys
    except (KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{path} does not fit the image tower ({reason_of(error)}). "
            f"Train it: fer-models train {VISION_ENCODER}"
        ) from error
    unused = (f"encoder.layers.{network.tower.config.num_hidden_layers - 1}.", "post_layernorm.")
    if absent := [name for name in missing if not any(part in name for part in unused)]:
        problem = f"{path} does not fit the image tower: {absent[0]} is missing."
        raise WeightsError(f"{problem} Train it: fer-models train {VISION_ENCODER}")
    for name, parameter in network.tower.named_parameters():
        parameter.requires_grad = False
        if name in missing:
            parameter.zero_()


def _tower_tensors(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of timm's transformer by their names in transformers' CLIP image tower."""
    tensors = {
        "embeddings.class_embedding": state["cls_token"].reshape(-1),
        "embeddings.position_embedding.weight": state["pos_embed"][0],
        "embeddings.patch_embedding.weight": state["patch_embed.proj.weight"],
    }
    layers = sum(name.endswith("norm1.weight") for name in state)
    for kind in ("weight", "bias"):
        tensors[f"pre_layrnorm.{kind}"] = state[f"norm_pre.{kind}"]
        for layer in range(layers):
            target, source = f"encoder.layers.{layer}", f"blocks.{layer}"
            for letter, tensor in zip("qkv", state[f"{source}.attn.qkv.{kind}"].chunk(3), strict=True):
                tensors[f"{target}.self_attn.{letter}_proj.{kind}"] = tensor
            for target_part, source_part in _BLOCK_PARTS.items():
                tensors[f"{target}.{target_part}.{kind}"] = state[f"{source}.{source_part}.{kind}"]
    return tensors
