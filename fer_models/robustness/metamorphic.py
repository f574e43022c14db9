"""Small changes that leave a face's emotion what it is: how many answers they change, and the smallest change
that turns one face's answer.

No label is needed for that: the answer to the face as it is serves as the truth for its changed copies
(metamorphic testing, Chen et al. 2018, doi:10.1145/3143561).
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

Ask = Callable[[Sequence[Face]], Predictions]
#: The largest changes that are tried: pixels, steps of 255, per cent.
SHIFT, LIGHT, CONTRAST = 2, 25, 20


@dataclass(frozen=True)
class Perturbation:
    """One small change of a picture.

    Attributes:
        mirror: left and right exchanged.
        right, down: by how many pixels it is moved; what comes in from the edge repeats the edge.
        light: what is added to every value, in steps of 255.
        contrast: by how many per cent the differences from the mean grow.
    """

    mirror: bool = False
    right: int = 0
    down: int = 0
    brightness: int = 0
    contrast: int = 0

    def apply(self, face: Face) -> Face:
        """A changed copy: uint8 RGB of the same size; no change leaves every pixel as it is."""
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


def _moved(by: int) -> tuple[Perturbation, ...]:
    return Perturbation(right=by), Perturbation(right=-by), Perturbation(down=by), Perturbation(down=-by)


#: The changes that are counted, by name; the share of changed answers is the mean over a family.
RELATIONS: Mapping[str, tuple[Perturbation, ...]] = {
    "mirror image": (Perturbation(mirror=True),),
    "1 pixel shift": _moved(1),
    "2 pixels shift": _moved(2),
    "5 % brightness": (Perturbation(brightness=13), Perturbation(brightness=-13)),
    "10 % contrast": (Perturbation(contrast=10), Perturbation(contrast=-10)),
}
#: How often a face is asked for the families: as it is, and changed.
COPIES = 1 + sum(map(len, RELATIONS.values()))
#: What the figures of a record are called in its `metrics`.
PREFIX = "metamorphic: "


@dataclass(frozen=True)
class MinimalFlip:
    """The smallest change found that gives one face another answer.

    Attributes:
        face: its pixel hash. index: its row in the whole split.
        answer, changed_answer: before and after, as emotions' numbers; -1 for no answer.
        change: in words.
        before, after: the pictures as data URLs.
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
    """How much small changes matter to one model.

    Attributes:
        n: faces asked.
        face_counts: for each of `FAMILIES`, how many answers about each face it changes.
        flips: for some faces the smallest change that turns the answer.
        steady: how many of the searched faces no change of these sizes turned.
        suffix: what the recorded figures' names say of `n` (`Depth.size_suffix`).
    """

    n: int
    face_counts: dict[str, FaceCounts] = field(compare=False)
    flips: tuple[MinimalFlip, ...]
    n_robust: int
    suffix: str = ""

    @property
    def flip_rate(self) -> dict[str, float]:
        """The share of changed answers for each of `FAMILIES`."""
        return {name: counts.value for name, counts in self.face_counts.items()}

    def figures(self) -> dict[str, FaceCounts]:
        """What is recorded, and must not rise."""
        return {
            f"{PREFIX}flip rate, {name}{self.suffix}": counts for name, counts in self.face_counts.items()
        }

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        flips = [asdict(flip) for flip in self.flips]
        return {"n": self.n, "flip_rate": self.flip_rate, "flips": flips, "n_robust": self.n_robust}


def measure(
    ask: Ask,
    faces: Sequence[Face],
    names: Sequence[tuple[str, int]],
    *,
    searched: int = 3,
    examples: int = 60,
    number: int = 0,
    suffix: str = "",
) -> MetamorphicRobustness:
    """Change all faces by all of `FAMILIES`, and look for the smallest change that turns some of them.

    Args:
        ask: the model.
        names: each face's pixel hash and row.
        searched: how many faces are searched, evenly from those that the model doubts to those that it is
            sure of.
        examples: how many changes are tried for each of these, at most; shrinking comes on top.
        number: the seed.
        suffix: as in `Metamorphic`.
    """
    plain = ask(faces)
    before = plain.answer
    every = [change for family in RELATIONS.values() for change in family]
    after = ask([change.apply(face) for change in every for face in faces]).answer.reshape(
        len(every), len(faces)
    )
    flipped = dict(zip(every, after != before, strict=True))
    by_face = {
        name: FaceCounts(np.sum([flipped[change] for change in family], axis=0, dtype=np.int64), len(family))
        for name, family in RELATIONS.items()
    }
    by_sureness = np.argsort(np.nan_to_num(plain.probabilities, nan=0.0).max(axis=1), kind="stable")
    picked = [
        by_sureness[len(faces) * (2 * k + 1) // (2 * searched)] for k in range(min(searched, len(faces)))
    ]
    found = [_turned(ask, faces[i], int(before[i]), names[i], examples, number) for i in picked]
    flips = tuple(flip for flip in found if flip is not None)
    return MetamorphicRobustness(len(faces), by_face, flips, len(found) - len(flips), suffix)


def _turned(
    ask: Ask, face: Face, before: int, name: tuple[str, int], examples: int, number: int
) -> MinimalFlip | None:
    known: dict[Perturbation, int] = {}

    def answer(change: Perturbation) -> int:
        if change not in known:
            known[change] = int(ask([change.apply(face)]).answer[0])
        return known[change]

    try:
        change = find(
            changes(),
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


def changes() -> st.SearchStrategy[Perturbation]:
    """All changes up to the largest, those of a single kind first: shrinking goes towards these, and towards
    none.
    """
    pixels, light, contrast = (
        st.integers(-SHIFT, SHIFT),
        st.integers(-LIGHT, LIGHT),
        st.integers(-CONTRAST, CONTRAST),
    )
    return st.one_of(
        st.builds(Perturbation, mirror=st.booleans()),
        st.builds(Perturbation, right=pixels),
        st.builds(Perturbation, down=pixels),
        st.builds(Perturbation, brightness=light),
        st.builds(Perturbation, contrast=contrast),
        st.builds(
            Perturbation, mirror=st.booleans(), right=pixels, down=pixels, brightness=light, contrast=contrast
        ),
    )
