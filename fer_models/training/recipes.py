"""Training recipes of the networks, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fer_models.classifiers.architecture import Architecture
from fer_models.errors import UsageError

#: Targets of a recipe: the dataset's labels, or the votes of FER+.
BY_LABEL, VOTES = "labels", "votes"


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training face, sampled anew in each epoch.

    Attributes:
        mirror: probability of a left-right flip.
        rotate: largest rotation, degrees.
        scale: largest relative change of size.
        shift: largest shift, as a share of the side.
        brightness: largest shift, as a share of half the way from black to white.
        contrast: largest relative change.
        erase: probability that a random rectangle (2-20 % of the area) is filled with one tone.
    """

    mirror: float = 0.5
    rotate: float = 15.0
    scale: float = 0.15
    shift: float = 0.08
    brightness: float = 0.25
    contrast: float = 0.25
    erase: float = 0.25


#: Faces as they are.
NO_AUGMENTATION = Augmentation(
    mirror=0.0, rotate=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, erase=0.0
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a supervised training run except its data and its machine.

    Attributes:
        sizes: (share of the epochs, side in pixels) steps: small faces first, full size last. A small side
            costs a fraction of a full one, and the early epochs lose little accuracy (progressive learning,
            Tan & Le 2021, arXiv:2104.00298).
        lr: the peak learning rate, reached after `warmup` (share of all updates), then a cosine to zero.
        ema: decay per update of the averaged weights, which are validated and kept.
        precision: `auto` (bf16 on a device with instructions for it), `float32` or `bf16` (autocast).
        targets: `labels`, or `votes`: the shares of FER+'s raters who chose each emotion, where most chose
            one of the seven (Barsoum et al. 2016, arXiv:1608.01041: their cross-entropy scheme); the label
            elsewhere.
        teacher: a network whose predictions for the training faces, without augmentation, are mixed into the
            labels (distillation, Hinton et al. 2015, arXiv:1503.02531): they mark ambiguous faces, and soften
            labels that most raters would not have given. `A+B`: the mean of two.
        teacher_share: the weight of the teachers' probabilities against the label's, 0..1.
        consistent_teacher: the teachers predict every augmented face as the network sees it, instead of each
            face once (Beyer et al. 2022, arXiv:2106.05237). Each update takes a forward pass of the teachers.
        logit_adjustment: this times the logarithm of an emotion's share of the labels of a face set is added
            to its logit in the loss, so that the network learns without that share (Menon et al. 2021,
            arXiv:2007.07314): 0 is for accuracy, 1 for the mean of the recalls. The epoch is chosen by
            accuracy nevertheless.
        hint: a trained network of the zoo whose features the middle block of a transformer is trained to
            match (see `feature_distillation`).
        infobatch_ratio: the share of the learned faces that each epoch leaves out, 0 to below 1 (see
            `infobatch`).
        validate_from: share of the epochs after which the averaged weights are scored on the validation split
            every epoch.
    """

    architecture: Architecture
    epochs: int
    batch_size: int
    lr: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.15
    label_smoothing: float = 0.1
    drop_rate: float = 0.0
    sizes: tuple[tuple[float, int], ...] = ((0.0, 48),)
    ema: float = 0.998
    clip_grad: float | None = None
    precision: str = "auto"
    targets: str = BY_LABEL
    teacher: str | None = None
    teacher_share: float = 0.6
    consistent_teacher: bool = False
    logit_adjustment: float = 0.0
    hint: str | None = None
    infobatch_ratio: float = 0.0
    validate_from: float = 0.7
    augmentation: Augmentation = field(default_factory=Augmentation)

    def continued(self) -> Recipe:
        """The recipe for training that starts from trained weights.

        Half the peak rate, a short warm-up, full-size faces throughout, and no teacher: a trained network may
        be more accurate than the teacher, and would lose accuracy.
        """
        return replace(self, lr=self.lr / 2, warmup=0.05, sizes=((0.0, self.sizes[-1][1]),), teacher=None)

    def size_at(self, epoch: int) -> int:
        """The side of the training faces in `epoch` (from 0): in the last one always the full size."""
        if epoch >= self.epochs - 1:
            return self.sizes[-1][1]
        return [size for share, size in self.sizes if epoch >= share * self.epochs - 1e-9][-1]


RECIPES: dict[str, Recipe] = {
    "vgg19": Recipe(
        Architecture("vgg19_bn", linear_head=True),
        epochs=20,
        batch_size=128,
        lr=0.05,
        drop_rate=0.1,
        sizes=((0.0, 32), (0.4, 40), (0.9, 48)),
        augmentation=Augmentation(erase=0.1),
    ),
    "resnet50": Recipe(
        Architecture("resnet50", size=64),
        epochs=15,
        batch_size=64,
        lr=0.05,
        drop_rate=0.1,
        sizes=((0.0, 48), (0.6, 64)),
        teacher="vgg19",
        augmentation=Augmentation(erase=0.1),
    ),
    "efficientnet_b0": Recipe(
        Architecture("efficientnet_b0", stem_stride=1),
        epochs=15,
        batch_size=64,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.05,
        warmup=0.1,
        drop_rate=0.1,
        sizes=((0.0, 32), (0.53, 48)),
        clip_grad=2.0,
        teacher="vgg19",
        augmentation=Augmentation(erase=0.1, rotate=12.0),
    ),
}
#: The same with FER+'s votes as targets: other labels are another task, so these networks have other names.
RECIPES |= {
    f"{name}-ferplus": replace(recipe, targets=VOTES, teacher=None) for name, recipe in RECIPES.items()
}
#: The vision encoder of phi3v-nano. Transformers need more distillation than convolutional networks (Touvron
#: et al. 2021, arXiv:2012.12877); its faces are normalized as for CLIP's image tower.
VISION_ENCODER = "phi3v-nano-vision"
RECIPES[VISION_ENCODER] = Recipe(
    Architecture(
        "phi3v_nano_vision",
        channels=3,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
    epochs=16,
    batch_size=64,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.05,
    warmup=0.05,
    clip_grad=1.0,
    teacher="vgg19",
    teacher_share=0.8,
    hint="efficientnet_b0",
    augmentation=Augmentation(erase=0.0, rotate=10.0),
)
#: Networks with recipes of their own, in `training.clip`, `training.vlm` and `training.restoration`.
CLIP_NANO, PHI3V_NANO, GFPGAN_NANO = "clip-nano", "phi3v-nano", "gfpgan-nano"

AnyRecipe = TypeVar("AnyRecipe")  # a recipe's dataclass


def adapt(recipe: AnyRecipe, **values: Any) -> AnyRecipe:
    """The recipe with the user's values.

    Args:
        recipe: any recipe.
        values: fields of the recipe; None keeps the recipe's own value.

    Raises:
        UsageError: `infobatch_ratio` is outside 0 to below 1, or not 0 with a consistent teacher or a hint;
            `logit_adjustment` or `teacher_share` is outside 0..1; `teacher_share` or `consistent_teacher` is
            given without a teacher; `epochs` or `batch_size` is below 1; or `lr` is not above 0.
    """
    for name in ("epochs", "batch_size"):
        if (value := values.get(name)) is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}.")
    if (lr := values.get("lr")) is not None and not (lr > 0 and math.isfinite(lr)):
        raise UsageError(f"--lr must be above 0 and finite, got {lr}.")
    ratio = values.get("infobatch_ratio")
    if ratio is not None and not 0 <= ratio < 1:
        raise UsageError(f"--infobatch-ratio must be at least 0 and below 1, got {ratio}.")
    for name in ("logit_adjustment", "teacher_share"):
        if (value := values.get(name)) is not None and not 0 <= value <= 1:
            raise UsageError(f"--{name.replace('_', '-')} must be 0 to 1, got {value}.")
    changes = {name: value for name, value in values.items() if value is not None}
    adapted: AnyRecipe = replace(recipe, **changes)  # type: ignore[type-var]
    for name in ("consistent_teacher", "teacher_share"):
        if name in changes and getattr(adapted, "teacher", None) is None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} needs a teacher. Add --teacher NAME, such as vgg19.")
    if getattr(adapted, "infobatch_ratio", 0):
        _require_fixed_targets(adapted)
    return adapted


def _require_fixed_targets(recipe: Any) -> None:
    """Check that InfoBatch knows the whole loss of a face. Raises UsageError where it does not."""
    if getattr(recipe, "hint", None) is not None:
        raise UsageError(
            "--infobatch-ratio is for networks without a hint: the features of the learned faces would count "
            "too little. Leave it out."
        )
    if getattr(recipe, "consistent_teacher", False):
        raise UsageError(
            "--infobatch-ratio needs fixed targets, and --consistent-teacher has others in each epoch. "
            "Leave one of them out."
        )
