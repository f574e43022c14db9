"""Training of `clip-nano`: a text tower learns to name the emotion in embeddings of a trained image tower.

The image tower starts as a network of the zoo that was trained on labels, and stays frozen: its embeddings of
the training faces are computed once. A projection of them and the text tower are trained together, each face
against captions of many templates and words (locked-image tuning, Zhai et al. 2022, arXiv:2111.07991).
Captions of the
same emotion are no negatives of each other: all of them in the batch share the target, in both directions
(UniCL, Yang et al. 2022, arXiv:2204.03610).
"""

from __future__ import annotations

import json
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
from fer_models.errors import WeightsError
from fer_models.training.face_tensors import BATCH_SIZE, concatenate_sets, embed_views
from fer_models.training.recipes import Augmentation
from fer_models.training.schedule import build_adamw
from fer_models.training.session import RunOptions, Session, Step, TrainingData

#: The preprocessing that `cnn` applies for the network of the image tower, as open_clip's options.
_PREPROCESS = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


@dataclass(frozen=True)
class ContrastiveRecipe:
    """Everything that decides the training except its data and its machine.

    Attributes:
        architecture: open_clip's name of the network.
        image_tower: the network of the zoo whose weights the image tower gets.
        views: differently augmented copies of each training face.
        captions: the prompt set of the captions.
        chosen_by: the prompt set whose accuracy on the validation split chooses the epoch.
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


class ClipTraining(Session):
    """Training run of a CLIP model with a frozen image tower.

    Raises:
        WeightsMissingError: the weights of the image tower are not on this machine.
        WeightsError: they do not fit the image tower.
    """

    packages = ("torch", "timm", "open_clip_torch", "numpy")
    recipe: ContrastiveRecipe

    def __init__(self, name: str, recipe: ContrastiveRecipe, data: TrainingData, options: RunOptions) -> None:
        super().__init__(name, recipe, data, options, safetensors_io.pick_device(options.device))
        problem = f"{name} needs the weights of {recipe.image_tower}, and they are not here."
        path = weights.find_trained(recipe.image_tower, problem)
        self.image_tower = {"model": recipe.image_tower, "sha256": sha256_of(path)}
        self.network: Any = clip.create(recipe.architecture, _PREPROCESS).to(self.device)
        load_image_encoder(self.network, path)
        self.tokenizer = open_clip.get_tokenizer(recipe.architecture)
        self.captions, self.prompts = prompt_sets.load(recipe.captions), prompt_sets.load(recipe.chosen_by)
        captions = [self.captions.texts(emotion) for emotion in range(len(self.captions.words))]
        self.tokens = [self.tokenizer(texts).to(self.device) for texts in captions]
        self.labels = torch.from_numpy(np.concatenate([faces.labels for faces in data.training]))
        self.optimizer = build_adamw(self.network.parameters(), recipe.lr, recipe.weight_decay, beta2=0.98)
        self.warmup = max(1, self.steps * recipe.epochs // 20)

    def prepare(self) -> None:
        """Compute the embeddings of all views of the training faces, and of the validation faces."""
        mean, std = (
            torch.tensor(_PREPROCESS[key], device=self.device).reshape(1, 3, 1, 1) for key in ("mean", "std")
        )
        faces = concatenate_sets(self.data.training, 1, self.size_at(0))
        self.views = embed_views(
            faces,
            lambda pixels: encode_image(self.network, (pixels.expand(-1, 3, -1, -1) / 255 - mean) / std),
            self.recipe,
            self.options.seed,
            self.device,
            self.options.report,
        )
        validation = (batch for _, batch in self.data.validation.batches(BATCH_SIZE))
        preprocess = self._classifier().preprocess
        embeddings = [encode_image(self.network, preprocess(batch)) for batch in validation]
        self.validation_embeddings = torch.cat(embeddings)

    def _classifier(self) -> clip.Clip:
        """The model with the prompts of the validation. A new one each time, because it caches embeddings."""
        return clip.Clip(self.network, self.tokenizer, self.prompts, self.device)

    # -- one epoch --------------------------------------------------------------------------------

    def size_at(self, epoch: int) -> int:
        """The side of the network's input, in pixels."""
        return int(self.network.visual.image_size[0])

    def set_training_mode(self) -> None:
        """Set the network to training mode, except the frozen image tower."""
        self.network.train()
        self.network.visual.trunk.eval()

    def train_batch(self, batch: NDArray[np.int64], step: Step) -> float:
        """Update on one batch, each face with a random caption of its emotion."""
        embeddings = self.views[step.epoch % self.recipe.views][batch].float().to(self.device)
        labels, model = self.labels[batch], self.network
        captions = [self.tokens[e][self.rng.integers(len(self.tokens[e]))] for e in labels.tolist()]
        images = F.normalize(model.visual.head(embeddings), dim=-1)
        texts = F.normalize(model.encode_text(torch.stack(captions)), dim=-1)
        logits = model.logit_scale.exp() * images @ texts.T
        is_same_emotion = (labels[:, None] == labels[None, :]).float().to(self.device)
        target = is_same_emotion / is_same_emotion.sum(dim=1, keepdim=True)
        loss = self.apply_gradients((F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2)
        with torch.no_grad():
            model.logit_scale.clamp_(0, float(np.log(self.recipe.largest_scale)))
        return loss

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Zero-shot accuracy with the prompts of `chosen_by`."""
        classifier = self._classifier()  # sets the network to evaluation mode
        embeddings = self.network.visual.head(self.validation_embeddings.to(self.device))
        predictions = classifier.classify(F.normalize(embeddings, dim=-1).cpu().numpy())
        return {"validation_accuracy": float((predictions.answer == self.data.validation.labels).mean())}

    # -- files ------------------------------------------------------------------------------------

    def inputs(self) -> dict[str, Any]:
        """Weights of the image tower, captions, and the prompts that choose the epoch."""
        texts = {"captions": self.captions.as_json(), "chosen_by": self.prompts.as_json()}
        return {"image_tower": self.image_tower, **texts}

    def save_weights(self, path: Path) -> None:
        """Write `NAME.safetensors`."""
        metadata = {"provenance": json.dumps(self.provenance())}
        clip.save(self.network, path, metadata, self.recipe.architecture)


def load_image_encoder(model: Any, path: Path) -> None:
    """Load the weights of a network for grey faces into the image tower of `model`, and freeze it.

    Raises:
        WeightsError: they do not fit.
    """
    state, _ = safetensors_io.read(path)
    weights: dict[str, torch.Tensor] = {}
    for name, target in model.visual.trunk.state_dict().items():
        tensor = state.get(name)
        if tensor is not None and tensor.ndim == 4 and tensor.shape[1] == 1 and target.shape[1] == 3:
            # One third of the grey kernel per channel: the same sum where all channels are equal.
            tensor = tensor.repeat(1, 3, 1, 1) / 3
        if tensor is None or tensor.shape != target.shape:
            raise WeightsError(
                f"{path} does not fit the image tower: {name} is missing or has another shape."
            )
        weights[name] = tensor
    model.visual.trunk.load_state_dict(weights)
    for parameter in model.visual.trunk.parameters():
        parameter.requires_grad = False


@torch.inference_mode()
def encode_image(model: Any, batch: torch.Tensor) -> torch.Tensor:
    """Embeddings of the image tower before its projection: float32 (n, width), on the CPU."""
    model.visual.trunk.eval()
    embeddings: torch.Tensor = model.visual.trunk(batch).float().cpu()
    return embeddings
