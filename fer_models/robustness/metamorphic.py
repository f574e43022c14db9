"""Metamorphic robustness: predictions under perturbations that keep the emotion of a face.

No label is needed: the prediction for the face itself is the reference for its perturbed copies (metamorphic
testing, Chen et al. 2018, doi:10.1145/3143561).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from fer_models.classifiers.base import Predictions
from fer_models.images import Face, data_url
from fer_models.scoring.face_counts import FaceCounts

Predict = Callable[[Sequence[Face]], Predictions]
#: The largest perturbations that are tried: pixels, steps of 255, per cent.
SHIFT, BRIGHTNESS, CONTRAST = 2, 25, 20


@dataclass(frozen=True)
class Perturbation:
    """One perturbation of an image.

    Attributes:
        mirror: left and right exchanged.
        right, down: by how many pixels it is moved; what comes in from the edge repeats the edge.
        brightness: added to every value, in steps of 255.
        contrast: growth of the differences from the mean, in per cent.
    """

    mirror: bool = False
    right: int = 0
    down: int = 0
    brightness: int = 0
    contrast: int = 0

    def apply(self, face: Face) -> Face:
        """A perturbed copy: uint8 RGB of the same size; no perturbation keeps every pixel."""
        reach = max(abs(self.right), abs(self.down))
        height, width = face.shape[:2]
        padded = np.pad(
            face[:, ::-1] if self.mirror else face, ((reach, reach), (reach, reach), (0, 0)), mode="edge"
        )
        moved = padded[
            reach - self.down : reach - self.down + height, reach - self.right : reach - self.right + width
        ].astype(np.float64)
        mean = moved.mean()
        changed = (moved - mean) * (1 + self.contrast / 100) + mean + self.brightness
        return np.ascontiguousarray(np.round(np.clip(changed, 0, 255)).astype(np.uint8))

    def __str__(self) -> str:
        parts = ["mirror image"] if self.mirror else []
        for pixels, there, back in ((self.right, "right", "left"), (self.down, "down", "up")):
            parts += [f"{abs(pixels)} px {there if pixels > 0 else back}"] if pixels else []
        parts += [f"{self.brightness / 255:+.1%} brightness"] if self.brightness else []
        parts += [f"{self.contrast:+d} % contrast"] if self.contrast else []
        return ", ".join(parts) or "no change"


def _shifts(by: int) -> tuple[Perturbation, ...]:
    return Perturbation(right=by), Perturbation(right=-by), Perturbation(down=by), Perturbation(down=-by)


#: The metamorphic relations by name; a flip rate is the mean over the perturbations of a relation.
RELATIONS: Mapping[str, tuple[Perturbation, ...]] = {
    "mirror image": (Perturbation(mirror=True),),
    "1 pixel shift": _shifts(1),
    "2 pixels shift": _shifts(2),
    "5 % brightness": (Perturbation(brightness=13), Perturbation(brightness=-13)),
    "10 % contrast": (Perturbation(contrast=10), Perturbation(contrast=-10)),
}
#: Number of predictions per face for the relations: of the face itself, and of its perturbed copies.
COPIES = 1 + sum(map(len, RELATIONS.values()))
#: Prefix of the figures in the `metrics` of a record.
PREFIX = "metamorphic: "


@dataclass(frozen=True)
class MinimalFlip:
    """The smallest perturbation found that flips the prediction for one face.

    Attributes:
        face: its pixel hash.
        index: its row in the full split.
        answer, changed_answer: before and after, as emotions' numbers; -1 for none.
        change: the perturbation as text.
        before, after: the images as data URLs.
    """

    face: str
    index: int
    answer: int
    changed_answer: int
    change: str
    before: str
    after: str


@dataclass(frozen=True)
class MetamorphicRobustness:
    """Metamorphic robustness of one model.

    Attributes:
        n: the number of faces.
        face_counts: for each of `RELATIONS`, the number of flipped predictions per face.
        flips: for some faces, the smallest perturbation that flips the prediction.
        n_robust: the number of searched faces that no perturbation of these sizes flipped.
        suffix: of the recorded figures' names, for `n` (`Depth.size_suffix`).
    """

    n: int
    face_counts: dict[str, FaceCounts] = field(compare=False)
    flips: tuple[MinimalFlip, ...]
    n_robust: int
    suffix: str = ""

    @property
    def flip_rate(self) -> dict[str, float]:
        """The share of flipped predictions for each of `RELATIONS`."""
        return {name: counts.value for name, counts in self.face_counts.items()}

    def figures(self) -> dict[str, FaceCounts]:
        """The recorded figures, which must not rise."""
        return {
            f"{PREFIX}flip rate, {name}{self.suffix}": counts for name, counts in self.face_counts.items()
        }

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        flips = [asdict(flip) for flip in self.flips]
        return {"n": self.n, "flip_rate": self.flip_rate, "flips": flips, "n_robust": self.n_robust}


def measure(
    predict: Predict,
    faces: Sequence[Face],
    names: Sequence[tuple[str, int]],
    *,
    searched: int = 3,
    examples: int = 60,
    number: int = 0,
    suffix: str = "",
) -> MetamorphicRobustness:
    """Predict all faces under all of `RELATIONS`, and search the smallest flips of some faces.

    Args:
        predict: the model.
        faces: without perturbation.
        names: each face's pixel hash and row.
        searched: the number of faces that are searched, evenly from the least to the most confident
            prediction.
        examples: the number of perturbations tried for each of these, at most; shrinking adds some.
        number: the seed.
        suffix: as in `MetamorphicRobustness`.
    """
    plain = predict(faces)
    before = plain.answer
    every = [change for family in RELATIONS.values() for change in family]
    after = predict([change.apply(face) for change in every for face in faces]).answer
    flipped = dict(zip(every, after.reshape(len(every), len(faces)) != before, strict=True))
    by_face = {
        name: FaceCounts(np.sum([flipped[change] for change in family], axis=0, dtype=np.int64), len(family))
        for name, family in RELATIONS.items()
    }
    by_confidence = np.argsort(np.nan_to_num(plain.probabilities, nan=0.0).max(axis=1), kind="stable")
    n = len(faces)
    rows = [by_confidence[n * (2 * k + 1) // (2 * searched)] for k in range(min(searched, n))]
    searches = [_smallest_flip(predict, faces[i], int(before[i]), names[i], examples, number) for i in rows]
    flips = tuple(flip for flip in searches if flip is not None)
    return MetamorphicRobustness(n, by_face, flips, len(searches) - len(flips), suffix)


def _smallest_flip(
    predict: Predict, face: Face, before: int, name: tuple[str, int], examples: int, number: int
) -> MinimalFlip | None:
    """The smallest perturbation found that flips the prediction for a face; None where none does."""
    answers: dict[Perturbation, int] = {}

    def answer(change: Perturbation) -> int:
        if change not in answers:
            answers[change] = int(predict([change.apply(face)]).answer[0])
        return answers[change]

    try:
        change = find(
            perturbations(),
            lambda change: answer(change) != before,
            settings=settings(
                max_examples=examples,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                verbosity=Verbosity.quiet,
            ),
            random=Random(number),
        )
    except NoSuchExample:
        return None
    return MinimalFlip(
        *name, before, answer(change), str(change), data_url(face), data_url(change.apply(face))
    )


def perturbations() -> st.SearchStrategy[Perturbation]:
    """All perturbations up to the largest; shrinking goes towards those of a single kind, and to none."""
    pixels, contrast = st.integers(-SHIFT, SHIFT), st.integers(-CONTRAST, CONTRAST)
    brightness = st.integers(-BRIGHTNESS, BRIGHTNESS)
    return st.one_of(
        st.builds(Perturbation, mirror=st.booleans()),
        st.builds(Perturbation, right=pixels),
        st.builds(Perturbation, down=pixels),
        st.builds(Perturbation, brightness=brightness),
        st.builds(Perturbation, contrast=contrast),
        st.builds(
            Perturbation,
            mirror=st.booleans(),
            right=pixels,
            down=pixels,
            brightness=brightness,
            contrast=contrast,
        ),
    )
