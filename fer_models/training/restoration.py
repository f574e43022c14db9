"""Training of `gfpgan-nano`: a small GFPGAN network that learns to undo what happens to pictures like
FER-2013's.

The faces themselves are what it shall give back; what it gets are the same faces blurred, shrunk, made noisy
and compressed, each time otherwise (the degradation of Wang et al. 2021, arXiv:2101.04061, eq. 1: blur,
shrink, noise, JPEG). It learns from the distance of pixels and of their edges, and from what a network of the
zoo sees in the restored face and in the face itself (there the identity preserving loss, with a face
recognition network), without discriminator: a small network that must not invent a face is what FER needs.
The epoch is chosen on the validation split, degraded once and for all.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from timm.utils import ModelEmaV3  # type: ignore[attr-defined]
from torch.nn import functional as F

from fer_models import corruptions
from fer_models.artifacts import safetensors_io
from fer_models.artifacts.device import resolve_precision
from fer_models.datasets.base import FaceSet
from fer_models.images import Face, resize, to_rgb
from fer_models.restorers import gfpgan
from fer_models.training import provenance
from fer_models.training.perceptual_loss import LossNetwork, standardised
from fer_models.training.session import History, ProgressCallback, Session, init_from
from fer_models.training.supervised import as_tensor

#: The first words of the seeds of what is drawn for an epoch, and for the validation split.
_EPOCH, _VALIDATION = 1, 2


@dataclass(frozen=True)
class Degradation:
    """How badly a face is treated: each step has a strength between two bounds, and happens with a
    probability of its own.

    The bounds reach as far as the corruptions of the same kinds do at severity 5, and begin at nothing.

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
        """A degraded copy; about one in forty is none."""
        picture = corruptions.to_picture(face)
        happens = rng.random(4) < self.likely
        blur, side, noise, quality = (
            rng.uniform(*bounds) for bounds in (self.blur, self.side, self.noise, self.jpeg)
        )
        if happens[0]:
            picture = ndimage.gaussian_filter(picture, (blur, blur, 0))
        if happens[1]:
            picture = corruptions.low_resolution(picture, side, rng)
        if happens[2]:
            picture = corruptions.gaussian_noise(picture, noise, rng)
        if happens[3]:
            picture = corruptions.jpeg(picture, quality, rng)
        return corruptions.to_face(picture)


@dataclass(frozen=True)
class RestorationRecipe:
    """Everything that decides what the training does, but for its data and its machine.

    Attributes:
        shape: the network.
        side: the side at which faces are degraded, in pixels: FER-2013's own.
        lr: the peak, after 5 % of all updates; then a cosine to zero. Optimizer AdamW.
        ema: decay per update of the averaged weights, which are what is validated and kept.
        edges: the weight of the distance of neighbouring pixels' differences, against 1 for that of the
            pixels.
        pyramid: the weight of the pictures that the network's first half gives at each size (GFPGAN's pyramid
            restoration guidance).
        recogniser: the network of the zoo whose features are compared, None for none.
        recognition: the weight of their distance, which is 0..2, against 1 for that of the pixels.
        precision: `auto` (what the machine is fast at), `float32` or `bf16` (autocast).
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
        """The recipe for going on from trained weights: half the peak rate."""
        return replace(self, lr=self.lr / 2)


@dataclass(frozen=True)
class Score:
    """How near faces are to what they should be.

    Attributes:
        distance: what the training makes small, but for the pyramid: of pixels, of edges and of what the
            recogniser sees.
        psnr: the peak signal-to-noise ratio of all their pixels, in dB.
    """

    distance: float
    psnr: float


@dataclass(frozen=True)
class RestorationTrainingResult:
    """What a training run left.

    Attributes:
        weights: the safetensors file.
        best_epoch: the epoch kept, from 1: the one that gives back the degraded validation faces with the
            smallest distance.
        best: how near it brings them.
        unrestored: how near they are themselves, enlarged as the network gets them.
        history: one record per epoch: loss, learning rate, seconds, `validation_distance` and
            `validation_psnr`.
    """

    weights: Path
    best_epoch: int
    best: Score
    unrestored: Score
    history: History


def train(
    name: str,
    recipe: RestorationRecipe,
    training: list[FaceSet],
    validation: FaceSet,
    output: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    resume: bool = True,
    start: Path | None = None,
    report: ProgressCallback | None = None,
) -> RestorationTrainingResult:
    """Train one network and write `NAME.safetensors`; a killed run goes on from its last epoch, with the same
    loss curve.

    Args:
        name, training, validation, output, seed, resume, start, report: as in `loop.train`; labels are not
            looked at.
        device: as in `tensors.pick_device`.

    Raises:
        UsageError: the checkpoint found belongs to another run, or the loss stopped being a number.
        WeightsError: the checkpoint cannot be read, or `start` is not a network of this recipe.
        WeightsMissingError: the recogniser is not on this machine.
    """
    session = _Training(name, recipe, training, validation, seed, safetensors_io.pick_device(device), start)
    weights, best = session.run(output, resume, report), session.best()
    score = Score(best["validation_distance"], best["validation_psnr"])
    return RestorationTrainingResult(weights, int(best["epoch"]), score, session.unrestored, session.history)


class _Training(Session):
    """One run of a network that learns to restore."""

    recipe: RestorationRecipe

    def __init__(
        self,
        name: str,
        recipe: RestorationRecipe,
        training: list[FaceSet],
        validation: FaceSet,
        seed: int,
        device: torch.device,
        start: Path | None = None,
    ) -> None:
        recipe = replace(recipe, precision=resolve_precision(recipe.precision, device.type))
        self.name, self.recipe, self.seed, self.device = name, recipe, seed, device
        torch.manual_seed(seed)
        self.faces = torch.cat([as_tensor(faces, 1, recipe.side) for faces in training]).numpy()
        self.held_out = as_tensor(validation, 1, recipe.side).numpy()
        self.data = [provenance.described(faces) for faces in (*training, validation)]
        self.steps = len(self.faces) // recipe.batch_size or 1
        self.recogniser = None if recipe.recogniser is None else LossNetwork(recipe.recogniser, device)
        self.network = gfpgan.build(recipe.shape).to(device)
        self.started_from = None if start is None else init_from(self.network, "GFPGAN", start)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
        )
        self.ema = ModelEmaV3(self.network, decay=recipe.ema, use_warmup=True)
        self.unrestored = self.score(lambda degraded: degraded)
        self.history = []

    def identity(self) -> dict[str, Any]:
        return {
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "data": self.data,
            "start": self.started_from,
            "recogniser": self.seen_by,
        }

    @property
    def seen_by(self) -> str | None:
        """The sha256 of the recogniser's weights."""
        return None if self.recogniser is None else self.recogniser.sha256

    def epoch(self, epoch: int, report: ProgressCallback | None) -> dict[str, float]:
        """Train one epoch and score the averaged weights."""
        recipe, losses, started = self.recipe, [], time.perf_counter()
        order = np.random.default_rng([self.seed, _EPOCH, epoch]).permutation(len(self.faces))
        self.network.train()
        for step in range(self.steps):
            rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            losses.append(self._step(rows, epoch, step))
            if report is not None:
                report(
                    f"epoch {epoch + 1}/{recipe.epochs}",
                    step + 1,
                    self.steps,
                    {"loss": float(np.mean(losses[-50:]))},
                )
        seconds, lr = time.perf_counter() - started, self.optimizer.param_groups[0]["lr"]
        record = {
            "epoch": epoch + 1,
            "size": recipe.shape.out_size,
            "loss": float(np.mean(losses)),
            "lr": lr,
            "seconds": seconds,
        }
        record["faces"] = min(self.steps * recipe.batch_size, len(self.faces))
        record["images_per_second"] = record["faces"] / seconds
        score = self.score(self._restored)
        record |= {"validation_distance": score.distance, "validation_psnr": score.psnr}
        self.history.append(record)
        return record

    def _step(self, rows: np.ndarray[Any, Any], epoch: int, step: int) -> float:
        """One update; returns the loss."""
        done, total = epoch * self.steps + step, self.steps * self.recipe.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * min(
                (done + 1) / max(1.0, 0.05 * total), 0.5 * (1 + math.cos(math.pi * done / total))
            )
        rng = np.random.default_rng([self.seed, _EPOCH, epoch, step])
        faces = [to_rgb(face[0, :, :: rng.choice((1, -1))]) for face in self.faces[rows]]
        degraded, sharp = self._pairs(faces, rng)
        with self._autocast():
            restored, smaller = self.network(degraded, randomize_noise=False)
            loss = self._distance(restored, sharp)
        for guess in smaller:
            loss = loss + self.recipe.pyramid / len(smaller) * F.l1_loss(
                guess.float(), F.adaptive_avg_pool2d(sharp, guess.shape[-1])
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_grad)
        self.optimizer.step()
        self.ema.update(self.network, step=done)
        return float(loss.item())

    def _distance(self, restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        """How far two batches are apart: in their pixels, in their edges, and in what the recogniser sees."""
        difference = restored.float() - sharp
        across, down = difference.diff(dim=3).abs().mean(), difference.diff(dim=2).abs().mean()
        distance = difference.abs().mean() + self.recipe.edges * (across + down) / 2
        if self.recogniser is None:
            return distance
        with torch.no_grad():
            wanted = self.recogniser.features(_shown(sharp))
        seen = self.recogniser.features(_shown(restored))
        alike = F.cosine_similarity(standardised(seen, wanted), standardised(wanted, wanted), dim=1)
        return distance + self.recipe.recognition * (1 - alike).mean()

    def _pairs(self, faces: list[Face], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Degraded and sharp faces as the network gets and gives them: float32 (n, 3, size, size) in -1..1,
        on the device.
        """
        size = self.recipe.shape.out_size
        degraded = gfpgan.to_network([self.recipe.degradation.apply(face, rng) for face in faces], size)
        return degraded.to(self.device), gfpgan.to_network([resize(face, size) for face in faces], size).to(
            self.device
        )

    def _validation(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(self.held_out), 64):
            faces = [to_rgb(face[0]) for face in self.held_out[start : start + 64]]
            yield self._pairs(faces, np.random.default_rng([_VALIDATION, start]))

    @torch.inference_mode()
    def score(self, restore: Callable[[torch.Tensor], torch.Tensor]) -> Score:
        """How near all validation faces are to what they should be, after `restore`."""
        squares, n, distance, faces = 0.0, 0, 0.0, 0
        for degraded, sharp in self._validation():
            restored = restore(degraded).float().clamp(-1, 1)
            error = (restored - sharp) / 2
            squares, n = squares + float(error.double().square().sum()), n + error.numel()
            with self._autocast():
                distance, faces = (
                    distance + float(self._distance(restored, sharp)) * len(sharp),
                    faces + len(sharp),
                )
        return Score(distance / faces, 10 * math.log10(n / max(squares, 1e-12)))

    def _restored(self, degraded: torch.Tensor) -> torch.Tensor:
        self.ema.module.eval()
        with self._autocast():
            restored: torch.Tensor = self.ema.module(degraded, return_rgb=False, randomize_noise=False)[0]
        return restored

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def best(self) -> dict[str, float]:
        """The record of the epoch with the smallest distance so far."""
        return min(self.history, key=lambda r: r["validation_distance"])

    def save_weights(self, path: Path) -> None:
        gfpgan.save(self.ema.module, self.recipe.shape, path, {"provenance": json.dumps(self.provenance())})

    def provenance(self) -> dict[str, Any]:
        """What these weights are and how they came about."""
        return provenance.record(
            self.name,
            self.recipe,
            seed=self.seed,
            training=self.data[:-1],
            validation=self.data[-1],
            history=self.history,
            device=self.device,
            packages=("torch", "timm", "spandrel", "numpy", "scipy", "pillow"),
            unrestored=asdict(self.unrestored),
            recogniser=None
            if self.seen_by is None
            else {"model": self.recipe.recogniser, "sha256": self.seen_by},
            started_from=self.started_from,
        )


def _shown(faces: torch.Tensor) -> torch.Tensor:
    """Faces in -1..1 as a recogniser gets them: 0..255."""
    return (faces.float() + 1) * 127.5
