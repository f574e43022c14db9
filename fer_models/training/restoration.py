"""Training of `gfpgan-nano`: a small GFPGAN network learns to restore degraded pictures like FER-2013's.

The targets are the faces themselves; the inputs are the same faces blurred, shrunk, with noise and
compressed, each time with other strengths (the degradation of Wang et al. 2021, arXiv:2101.04061, eq. 1:
blur, shrink, noise, JPEG). The loss is the distance of pixels and of their edges, and of the features of a
network of the zoo for the restored face and for the face itself (in that paper the identity preserving loss,
with a face recognition network). There is
no discriminator: FER needs a small network that must not invent a face. The epoch is chosen on the validation
split, which is always degraded in the same way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from timm.utils import ModelEmaV3  # type: ignore[attr-defined]
from torch.nn import functional as F

from fer_models import corruptions
from fer_models.artifacts import safetensors_io
from fer_models.images import Face, resize, to_rgb
from fer_models.restorers import gfpgan
from fer_models.training.checkpoint import load_initial_weights
from fer_models.training.face_tensors import as_tensor, concatenate_sets
from fer_models.training.perceptual_loss import LossNetwork, standardize
from fer_models.training.schedule import build_adamw
from fer_models.training.session import RunOptions, Session, Step, TrainingData

#: The second number of the seeds of an epoch's random numbers, and the first one of the validation split's.
_EPOCH, _VALIDATION = 1, 2


@dataclass(frozen=True)
class Degradation:
    """Degradation of a face: each step has a probability, and a strength between two bounds.

    The bounds begin at no change and reach as far as severity 5 of the corruptions of the same kinds.

    Attributes:
        blur: the standard deviation of a Gaussian, in pixels.
        side: the shorter side to which the face is shrunk, in pixels, before it is enlarged again.
        noise: the standard deviation of normal noise, for values 0..1.
        jpeg: the quality.
        likely: the probability of each step.
    """

    blur: tuple[float, float] = (0.0, 1.2)
    side: tuple[float, float] = (12, 48)
    noise: tuple[float, float] = (0.0, 0.18)
    jpeg: tuple[float, float] = (25, 95)
    likely: float = 0.6

    def apply(self, face: Face, rng: np.random.Generator) -> Face:
        """A degraded copy; about one in forty is unchanged."""
        picture = corruptions.to_picture(face)
        is_applied = rng.random(4) < self.likely
        blur, side, noise, quality = (
            rng.uniform(*bounds) for bounds in (self.blur, self.side, self.noise, self.jpeg)
        )
        if is_applied[0]:
            picture = ndimage.gaussian_filter(picture, (blur, blur, 0))
        if is_applied[1]:
            picture = corruptions.low_resolution(picture, side, rng)
        if is_applied[2]:
            picture = corruptions.gaussian_noise(picture, noise, rng)
        if is_applied[3]:
            picture = corruptions.jpeg(picture, quality, rng)
        return corruptions.to_face(picture)


@dataclass(frozen=True)
class RestorationRecipe:
    """Everything that decides the training except its data and its machine.

    Attributes:
        shape: the network.
        side: the side at which faces are degraded, in pixels: FER-2013's own.
        lr: the peak, after 5 % of all updates; then a cosine to zero. Optimizer AdamW.
        ema: decay per update of the averaged weights, which are validated and kept.
        edges: the weight of the distance of neighbouring pixels' differences, against 1 for that of the
            pixels.
        pyramid: the weight of the pictures that the network's first half predicts at each size (GFPGAN's
            pyramid restoration guidance).
        recogniser: the network of the zoo whose features are compared, None for none.
        recognition: the weight of their distance, which is 0..2, against 1 for that of the pixels.
        precision: `auto` (bf16 on a device with instructions for it), `float32` or `bf16` (autocast).
    """

    shape: gfpgan.GfpganConfig = gfpgan.NANO
    side: int = 48
    epochs: int = 3
    batch_size: int = 32
    lr: float = 2e-3
    weight_decay: float = 1e-4
    clip_grad: float = 1.0
    ema: float = 0.998
    edges: float = 1.0
    pyramid: float = 0.5
    recogniser: str | None = "resnet50"
    recognition: float = 0.5
    precision: str = "auto"
    degradation: Degradation = field(default_factory=Degradation)

    def continued(self) -> RestorationRecipe:
        """The recipe for training that starts from trained weights: half the peak rate."""
        return replace(self, lr=self.lr / 2)


@dataclass(frozen=True)
class Score:
    """Closeness of faces to their targets.

    Attributes:
        distance: the loss without the pyramid: of pixels, edges and recognition features.
        psnr: the peak signal-to-noise ratio of all their pixels, in dB.
    """

    distance: float
    psnr: float

    def as_metrics(self) -> dict[str, float]:
        """The score as metrics of an epoch's record."""
        return {"validation_distance": self.distance, "validation_psnr": self.psnr}


class RestorationTraining(Session):
    """Training run of a restoration network; the labels of the faces are not used.

    The epoch with the smallest distance of the restored validation faces is kept. `reference` holds the
    metrics of the degraded faces themselves, enlarged as the network gets them.

    Raises:
        WeightsError: the initial weights are not of the recipe's network.
        WeightsMissingError: the recognition network is not on this machine.
    """

    criterion = "validation_distance"
    minimize = True
    packages = ("torch", "timm", "spandrel", "numpy", "scipy", "pillow")
    recipe: RestorationRecipe

    def __init__(self, name: str, recipe: RestorationRecipe, data: TrainingData, options: RunOptions) -> None:
        super().__init__(name, recipe, data, options, safetensors_io.pick_device(options.device))
        recipe = self.recipe
        self.faces = concatenate_sets(data.training, 1, recipe.side).numpy()
        self.validation = as_tensor(data.validation, 1, recipe.side).numpy()
        self.recogniser = None if recipe.recogniser is None else LossNetwork(recipe.recogniser, self.device)
        self.network = gfpgan.build(recipe.shape).to(self.device)
        self.started_from = load_initial_weights(self.network, "GFPGAN", options.init_from)
        self.optimizer = build_adamw(self.network.parameters(), recipe.lr, recipe.weight_decay, beta2=0.99)
        self.warmup = max(1.0, 0.05 * self.steps * recipe.epochs)
        self.ema: ModelEmaV3 = ModelEmaV3(self.network, decay=recipe.ema, use_warmup=True)
        self.unrestored = self.score(lambda degraded: degraded)
        self.reference = self.unrestored.as_metrics()

    # -- one epoch --------------------------------------------------------------------------------

    def size_at(self, epoch: int) -> int:
        """The side of the network's input, in pixels."""
        return self.recipe.shape.out_size

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Rows of each batch: a new shuffle per epoch."""
        return self.shuffled_batches(np.random.default_rng([self.options.seed, _EPOCH, epoch]))

    def train_batch(self, batch: NDArray[np.int64], step: Step) -> float:
        """Update on one batch of faces, degraded at random."""
        rng = np.random.default_rng([self.options.seed, _EPOCH, step.epoch, step.index])
        faces = [to_rgb(face[0, :, :: rng.choice((1, -1))]) for face in self.faces[batch]]
        degraded, target = self.degrade(faces, rng)
        with self.autocast():
            restored, pyramid = self.network(degraded, randomize_noise=False)
            loss = self.distance(restored, target)
        for image in pyramid:
            scaled_target = F.adaptive_avg_pool2d(target, image.shape[-1])
            loss = loss + self.recipe.pyramid / len(pyramid) * F.l1_loss(image.float(), scaled_target)
        value = self.apply_gradients(loss, self.recipe.clip_grad)
        self.ema.update(self.network, step=step.update)
        return value

    def degrade(self, faces: list[Face], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Degraded faces and targets, as the network takes and returns them.

        Returns:
            Two float32 tensors (n, 3, size, size) in -1..1, on the device.
        """
        size = self.recipe.shape.out_size
        degraded = gfpgan.to_network([self.recipe.degradation.apply(face, rng) for face in faces], size)
        target = gfpgan.to_network([resize(face, size) for face in faces], size)
        return degraded.to(self.device), target.to(self.device)

    def distance(self, restored: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Distance of two batches: of their pixels, their edges and their recognition features."""
        difference = restored.float() - target
        across, down = difference.diff(dim=3).abs().mean(), difference.diff(dim=2).abs().mean()
        distance = difference.abs().mean() + self.recipe.edges * (across + down) / 2
        if self.recogniser is None:
            return distance
        with torch.no_grad():
            wanted = self.recogniser.extract_features(_to_pixels(target))
        features = self.recogniser.extract_features(_to_pixels(restored))
        similarity = F.cosine_similarity(standardize(features, wanted), standardize(wanted, wanted), dim=1)
        return distance + self.recipe.recognition * (1 - similarity).mean()

    # -- validation -------------------------------------------------------------------------------

    def validate(self) -> dict[str, float]:
        """Distance and PSNR of the restored validation faces."""
        return self.score(self._restore).as_metrics()

    def validation_batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Degraded validation faces and their targets, the same ones each time."""
        for start in range(0, len(self.validation), 64):
            faces = [to_rgb(face[0]) for face in self.validation[start : start + 64]]
            yield self.degrade(faces, np.random.default_rng([_VALIDATION, start]))

    @torch.inference_mode()
    def score(self, restore: Callable[[torch.Tensor], torch.Tensor]) -> Score:
        """Score all validation faces after `restore`."""
        squares, values, distance, faces = 0.0, 0, 0.0, 0
        for degraded, target in self.validation_batches():
            restored = restore(degraded).float().clamp(-1, 1)
            error = (restored - target) / 2
            squares, values = squares + float(error.double().square().sum()), values + error.numel()
            with self.autocast():
                distance += float(self.distance(restored, target)) * len(target)
            faces += len(target)
        return Score(distance / faces, 10 * math.log10(values / max(squares, 1e-12)))

    def _restore(self, degraded: torch.Tensor) -> torch.Tensor:
        self.ema.module.eval()
        with self.autocast():
            restored: torch.Tensor = self.ema.module(degraded, return_rgb=False, randomize_noise=False)[0]
        return restored

    # -- files ------------------------------------------------------------------------------------

    def inputs(self) -> dict[str, Any]:
        """Weights of the recognition network, and initial weights."""
        recogniser = self.recogniser and {"model": self.recipe.recogniser, "sha256": self.recogniser.sha256}
        return {"recogniser": recogniser, "started_from": self.started_from}

    def details(self) -> dict[str, Any]:
        """The score of the degraded validation faces."""
        return {"unrestored": asdict(self.unrestored)}

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights to `NAME.safetensors`."""
        gfpgan.save(self.ema.module, self.recipe.shape, path, {"provenance": json.dumps(self.provenance())})


def _to_pixels(faces: torch.Tensor) -> torch.Tensor:
    """Faces in -1..1 as pixels in 0..255."""
    return (faces.float() + 1) * 127.5
