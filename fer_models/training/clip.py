"""Training of `clip-nano`: a text tower that learns to name what an image tower sees.

The image tower starts as a network of the zoo that was trained on labels, and stays as it is: its features of
the training faces are computed once. A projection of them and the text tower learn together, each face
against captions of many templates and words (locked-image tuning, Zhai et al. 2022, arXiv:2111.07991).
Captions of the same emotion are no negatives of each other: the target is shared among all of them in the
batch, in both directions (UniCL, Yang et al. 2022, arXiv:2204.03610).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import clip
from fer_models.classifiers import prompts as prompt_sets
from fer_models.datasets.base import FaceSet
from fer_models.errors import WeightsError, WeightsMissingError
from fer_models.training import provenance, schedule
from fer_models.training.augment import augment
from fer_models.training.recipes import Augmentation
from fer_models.training.session import ProgressCallback
from fer_models.training.supervised import TrainingResult, as_tensor

#: How `cnn` prepares pictures for the network the image tower starts from; open_clip prepares them the same
#: way from these.
_PREPROCESS = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


@dataclass(frozen=True)
class ContrastiveRecipe:
    """Everything that decides what the training does, but for its data and its machine.

    Attributes:
        architecture: open_clip's name for the network.
        image_tower: the network of the zoo whose weights the image tower gets.
        views: differently augmented looks at each training face.
        captions: the prompt set that trains. chosen_by: the one whose accuracy on the validation split
            chooses the epoch.
        lr: the peak, after 5 % of all updates; then a cosine to zero. Optimizer AdamW.
        largest_scale: an upper bound of the scale of cosines (as in Radford et al. 2021: 100).
    """

    architecture: str = clip.NANO
    image_tower: str = "efficientnet_b0"
    views: int = 4
    captions: str = "captions"
    chosen_by: str = "openai"
    epochs: int = 30
    batch_size: int = 512
    lr: float = 2e-3
    weight_decay: float = 0.05
    largest_scale: float = 100.0
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(erase=0.0, rotate=10.0))


def train(
    recipe: ContrastiveRecipe,
    training: list[FaceSet],
    validation: FaceSet,
    output: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    report: ProgressCallback | None = None,
) -> TrainingResult:
    """Train and write `NAME.safetensors`, named after the architecture. It takes minutes, so a killed run
    starts anew.

    Args:
        training, validation, output, seed, device, report: as in `loop.train`.

    Raises:
        WeightsMissingError: the network that the image tower starts from is not on this machine.
        WeightsError: it does not fit the image tower.
    """
    torch.manual_seed(seed)
    where, start = safetensors_io.pick_device(device), weights.find(recipe.image_tower)
    if start is None:
        raise WeightsMissingError(
            f"{recipe.image_tower}, whose eyes {recipe.architecture} gets, is not here: fer-models train {recipe.image_tower}"
        )
    model: Any = clip.create(recipe.architecture, _PREPROCESS).to(where)
    load_image_encoder(model, start)
    labels = torch.from_numpy(np.concatenate([faces.labels for faces in training]))
    began = time.perf_counter()
    views = _views(model, training, recipe, seed, where, report)
    looking = time.perf_counter() - began
    held_out = clip.Clip(
        model, open_clip.get_tokenizer(recipe.architecture), prompt_sets.load(recipe.chosen_by), where
    )
    validation_features = torch.cat(
        [_trunk(model, held_out.preprocess(batch)) for _, batch in validation.batches(256)]
    )
    learner = Trainer(
        model, recipe, prompt_sets.load(recipe.captions), held_out.tokenizer, where, len(labels), seed
    )
    history: list[dict[str, float]] = []
    path = output / f"{recipe.architecture}.safetensors"
    for epoch in range(recipe.epochs):
        began = time.perf_counter()
        loss = learner.epoch(views[epoch % recipe.views], labels, epoch, report)
        accuracy = _accuracy(model, validation_features, validation.labels, recipe.chosen_by)
        seconds = time.perf_counter() - began + (looking if epoch == 0 else 0.0)
        record = {
            "epoch": epoch + 1,
            "size": float(model.visual.image_size[0]),
            "loss": loss,
            "seconds": seconds,
        }
        record |= {
            "images_per_second": learner.steps * recipe.batch_size / seconds,
            "validation_accuracy": accuracy,
        }
        history.append(record)
        if accuracy > max((r["validation_accuracy"] for r in history[:-1]), default=-1.0):
            made = provenance.record(
                recipe.architecture,
                recipe,
                seed=seed,
                training=map(provenance.described, training),
                validation=provenance.described(validation),
                history=history,
                device=where,
                packages=("torch", "timm", "open_clip_torch", "numpy"),
                image_tower={"model": recipe.image_tower, "sha256": sha256_of(start)},
                captions=prompt_sets.load(recipe.captions).as_json(),
            )
            clip.save(model, path, {"provenance": json.dumps(made)}, recipe.architecture)
    best = max(history, key=lambda r: (r["validation_accuracy"], -r["epoch"]))
    return TrainingResult(path, int(best["epoch"]), best["validation_accuracy"], history)


def load_image_encoder(model: Any, path: Path) -> None:
    """Put the weights of a network of ours for grey faces into the image tower of `model`, for three equal
    channels.

    Raises:
        WeightsError: they do not fit.
    """
    state, _ = safetensors_io.read(path)
    trunk = model.visual.trunk.state_dict()
    lent = {}
    for name, own in trunk.items():
        tensor = state.get(name)
        if tensor is not None and tensor.ndim == 4 and tensor.shape[1] == 1 and own.shape[1] == 3:
            tensor = (
                tensor.repeat(1, 3, 1, 1) / 3
            )  # one third of the grey kernel per channel: the same sum where all are equal
        if tensor is None or tensor.shape != own.shape:
            raise WeightsError(
                f"{path} does not fit the image tower: {name} is missing or has another shape."
            )
        lent[name] = tensor
    model.visual.trunk.load_state_dict(lent)
    for parameter in model.visual.trunk.parameters():
        parameter.requires_grad = False


@torch.inference_mode()
def _trunk(model: Any, batch: torch.Tensor) -> torch.Tensor:
    """What the image tower sees before its projection: float32 (n, width), on the CPU."""
    model.visual.trunk.eval()
    seen: torch.Tensor = model.visual.trunk(batch).float().cpu()
    return seen


def _views(
    model: Any,
    training: list[FaceSet],
    recipe: ContrastiveRecipe,
    seed: int,
    device: torch.device,
    report: ProgressCallback | None,
) -> list[torch.Tensor]:
    """`recipe.views` looks at all training faces, the first one as they are: float16 (n, width) each."""
    side = model.visual.image_size[0]
    faces = torch.cat([as_tensor(s, 1, side) for s in training])
    mean, std = (torch.tensor(_PREPROCESS[key], device=device).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    found, size = [], 256
    for view in range(recipe.views):
        parts = []
        for start in range(0, len(faces), size):
            batch = faces[start : start + size].to(device)
            grey = (
                batch.float()
                if view == 0
                else augment(batch, side, recipe.augmentation, seed + view * len(faces) + start)
            )
            parts.append(_trunk(model, (grey.expand(-1, 3, -1, -1) / 255 - mean) / std).half())
            if report is not None:
                report(
                    f"look {view + 1}/{recipe.views} at the faces",
                    min(start + size, len(faces)),
                    len(faces),
                    {},
                )
        found.append(torch.cat(parts))
    return found


class Trainer:
    """The text tower and the projection, and the captions they learn from."""

    def __init__(
        self,
        model: Any,
        recipe: ContrastiveRecipe,
        captions: prompt_sets.PromptSet,
        tokenizer: Any,
        device: torch.device,
        n: int,
        seed: int,
    ) -> None:
        self.model, self.recipe, self.device, self.seed = model, recipe, device, seed
        texts = [captions.texts(emotion) for emotion in range(len(captions.words))]
        self.tokens = [tokenizer(some).to(device) for some in texts]
        self.steps = max(1, n // recipe.batch_size)
        parameters, total = model.parameters(), self.steps * recipe.epochs
        self.optimizer, self.schedule = schedule.adamw(parameters, recipe.lr, recipe.weight_decay, total)

    def epoch(
        self, features: torch.Tensor, labels: torch.Tensor, epoch: int, report: ProgressCallback | None
    ) -> float:
        """One pass over all faces; returns the mean loss."""
        rng = np.random.default_rng([self.seed, epoch])
        order, losses = rng.permutation(len(labels)), []
        self.model.train()
        self.model.visual.trunk.eval()
        for step in range(self.steps):
            rows = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            losses.append(self._step(features[rows].float().to(self.device), labels[rows], rng))
            if report is not None:
                report(
                    f"epoch {epoch + 1}/{self.recipe.epochs}",
                    step + 1,
                    self.steps,
                    {"loss": float(np.mean(losses[-50:]))},
                )
        self.model.eval()
        return float(np.mean(losses))

    def _step(self, features: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> float:
        tokens = torch.stack([self.tokens[e][rng.integers(len(self.tokens[e]))] for e in labels.tolist()])
        images = F.normalize(self.model.visual.head(features), dim=-1)
        texts = F.normalize(self.model.encode_text(tokens), dim=-1)
        logits = self.model.logit_scale.exp() * images @ texts.T
        same = (labels[:, None] == labels[None, :]).float().to(self.device)
        target = same / same.sum(dim=1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, float(np.log(self.recipe.largest_scale)))
        return float(loss.item())


@torch.inference_mode()
def _accuracy(model: Any, features: torch.Tensor, labels: NDArray[np.int64], prompts: str) -> float:
    device = next(model.parameters()).device
    asked = clip.Clip(model, open_clip.get_tokenizer(clip.NANO), prompt_sets.load(prompts), device)
    images = F.normalize(model.visual.head(features.to(device)), dim=-1).cpu().numpy()
    return float((asked.classify(images).answer == labels).mean())
