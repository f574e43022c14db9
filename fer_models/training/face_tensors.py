"""Face sets as tensors, and their embeddings by a frozen image encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from fer_models.datasets.base import FaceSet
from fer_models.images import grey, resize
from fer_models.training.augment import augment
from fer_models.training.recipes import Augmentation
from fer_models.training.session import ProgressCallback

#: Faces per forward pass of a frozen image encoder.
BATCH_SIZE = 256


class ViewRecipe(Protocol):
    """The part of a recipe that decides the views: their number, and their augmentation."""

    @property
    def views(self) -> int:
        """The number of views of each face."""

    @property
    def augmentation(self) -> Augmentation:
        """The augmentation of every view but the first."""


def as_tensor(faces: FaceSet, channels: int, side: int) -> torch.Tensor:
    """A face set as one uint8 tensor (n, channels, side, side)."""
    out = torch.empty(len(faces), channels, side, side, dtype=torch.uint8)
    for i in range(len(faces)):
        face = resize(faces.face(i), side)
        out[i] = torch.from_numpy(grey(face)[None] if channels == 1 else face.transpose(2, 0, 1).copy())
    return out


def concatenate_sets(sets: Sequence[FaceSet], channels: int, side: int) -> torch.Tensor:
    """Several face sets, one after the other, as one uint8 tensor (n, channels, side, side)."""
    return torch.cat([as_tensor(faces, channels, side) for faces in sets])


def embed_views(
    faces: torch.Tensor,
    encode: Callable[[torch.Tensor], torch.Tensor],
    recipe: ViewRecipe,
    seed: int,
    device: torch.device,
    report: ProgressCallback | None,
) -> list[torch.Tensor]:
    """Embeddings of all faces, once per view: the faces as they are, then augmented copies.

    The same seed gives the same views, so a resumed run computes them again instead of storing them.

    Args:
        faces: uint8 (n, channels, side, side).
        encode: from float32 pixels in 0..255 (k, channels, side, side) to embeddings (k, ...).
        recipe: the number of views and the augmentation.
        seed: decides the augmentation, together with the view and the row.
        device: the device of the encoder.
        report: called after each batch.

    Returns:
        One float16 tensor (n, ...) per view, on the CPU.
    """
    n, side, views = len(faces), faces.shape[-1], []
    for view in range(recipe.views):
        embeddings = []
        for start in range(0, n, BATCH_SIZE):
            batch = faces[start : start + BATCH_SIZE].to(device)
            if view == 0:
                pixels = batch.float()
            else:
                pixels = augment(batch, side, recipe.augmentation, seed + view * n + start)
            embeddings.append(encode(pixels).half().cpu())
            if report is not None:
                report(f"embed view {view + 1}/{recipe.views}", min(start + BATCH_SIZE, n), n, {})
        views.append(torch.cat(embeddings))
    return views
