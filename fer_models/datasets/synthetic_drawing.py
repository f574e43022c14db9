"""Synthetic faces, each drawn from facial action units.

Brows, lids, nose, mouth and jaw move as the action units (Ekman & Friesen's FACS) of an emotion require
(EMFACS prototypes), with a random intensity, random other units, and often a weak second emotion. Weak
intensities overlap between emotions on purpose: no model reaches 100 %. Identity, pose, lighting, occlusion,
blur, noise and JPEG artefacts vary from face to face.

Only `RandomState` (whose streams are frozen) and float64 arithmetic are used, so face `i` of a split has the
same pixels everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_models.datasets.synthetic_appearance import Appearance
from fer_models.datasets.synthetic_camera import Array, photograph
from fer_models.datasets.synthetic_features import draw_features
from fer_models.datasets.synthetic_head import draw_fringe, draw_glasses, draw_head, draw_occlusion
from fer_models.emotions import EMOTIONS, Emotion

_SEEDS = {"train": 2013, "validation": 2014, "test": 2015}
#: The action units of each emotion and their strengths in its full expression (EMFACS prototypes).
ACTION_UNITS: dict[Emotion, dict[int, float]] = {
    Emotion.ANGRY: {4: 1.0, 5: 0.4, 7: 0.7, 23: 0.9, 24: 0.6},
    Emotion.DISGUST: {4: 0.3, 7: 0.4, 9: 1.0, 10: 0.9, 15: 0.5, 16: 0.6},
    Emotion.FEAR: {1: 1.0, 2: 0.6, 4: 0.6, 5: 1.0, 20: 1.0, 25: 0.6, 26: 0.25},
    Emotion.HAPPY: {6: 0.9, 12: 1.0, 25: 0.6},
    Emotion.SAD: {1: 1.0, 4: 0.6, 7: 0.3, 15: 1.0, 17: 0.6},
    Emotion.SURPRISE: {1: 0.9, 2: 1.0, 5: 0.8, 25: 0.6, 26: 1.0},
    Emotion.NEUTRAL: {},
}
_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 16, 17, 20, 23, 24, 25, 26)


def draw(split: str, index: int) -> NDArray[np.uint8]:
    """Draw face `index` of `split`: grey (48, 48) uint8; its emotion is `index % 7`."""
    rng = np.random.RandomState([_SEEDS[split], index])
    units = expression(Emotion(index % len(EMOTIONS)), rng)
    return photograph(_draw_tones(Appearance(units, rng)), rng)


def _draw_tones(face: Appearance) -> Array:
    """Draw a face in tones, (48, 48), nominally 0..1."""
    head = face.head_canvas()
    front = face.front_canvas(head)
    draw_head(head, face)
    draw_features(front, face)
    if face.glasses:
        draw_glasses(front, face)
    draw_fringe(head, face)
    draw_occlusion(head, face)
    return head.tones


def expression(emotion: Emotion, rng: np.random.RandomState) -> dict[int, float]:
    """Sample the intensity of each action unit, 0..1, for one face that shows `emotion`.

    The strength of the expression is 0.22 + 0.78 Beta(2.2, 1.4), so some faces hardly show it. Each unit
    varies around it, a second emotion adds up to 0.40, and every unit of every face gets noise, also of
    neutral faces.
    """
    strength = 0.22 + 0.78 * rng.beta(2.2, 1.4)
    second = Emotion(rng.randint(len(EMOTIONS)))
    second_strength = 0.40 * rng.beta(1.0, 3.0)
    units: dict[int, float] = {}
    for unit in _UNITS:
        main = ACTION_UNITS[emotion].get(unit, 0.0) * strength * np.clip(rng.normal(1.0, 0.22), 0.2, 1.5)
        weak = ACTION_UNITS[second].get(unit, 0.0) * second_strength
        noise = abs(rng.normal(0.0, 0.07)) + (0.3 * rng.uniform() if rng.uniform() < 0.05 else 0.0)
        units[unit] = float(np.clip(max(main, weak) + noise, 0.0, 1.0))
    if emotion is Emotion.HAPPY and rng.uniform() < 0.25:  # a laugh opens the jaw
        units[26] = max(units[26], 0.5 * strength)
    return units
