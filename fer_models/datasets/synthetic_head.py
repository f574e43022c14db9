"""Head, hair, glasses and occluding objects of a synthetic face."""

from __future__ import annotations

import numpy as np

from fer_models.datasets.synthetic_appearance import Appearance
from fer_models.datasets.synthetic_canvas import Canvas, curve

_SIDES = (-1.0, 1.0)


def draw_head(c: Canvas, face: Appearance) -> None:
    """Draw hair, neck, shoulders, ears, skin and beard."""
    skin, volume = face.shade(c), face.hair_volume
    bright = np.minimum(skin * 1.12, 1.0)
    if face.long_hair:
        sides = np.maximum(np.abs(c.u) - 1.0 - volume, -c.v - 0.2)
        c.fill(sides, face.hair_tone * (0.92 + 0.05 * np.cos(17 * c.u)))
    c.fill_ellipse((0, -0.28), (1.0 + volume, 1.1 + volume), face.hair_tone)
    c.fill(np.maximum(np.abs(c.u) - 0.52, 0.6 - c.v), skin * 0.72)  # neck, in the chin's shadow
    shoulders = c.v - (face.length + 0.22 + 0.35 * c.u**2)
    c.fill(-shoulders, 0.15 + 0.6 * (face.background < 0.5))
    for s in _SIDES:
        c.fill_ellipse((s * 0.98, 0.02), (0.12, 0.24), skin * 0.85)  # ears
    outline = face.outline(c)
    c.fill(outline, skin, soft=1.6)
    for s in _SIDES:
        # AU6 lifts the cheeks, which makes them brighter.
        cheek = s * 0.55, 0.26 - 0.06 * face.au[6]
        c.fill_ellipse(cheek, (0.26, 0.20), bright, 0.25 + 0.35 * face.au[6], soft=6)
        socket = s * face.eye_u, face.eye_v - 0.02
        c.fill_ellipse(socket, (0.27, 0.16), skin * 0.72, 0.45, soft=6)
    c.fill_ellipse((0, face.chin - 0.2), (0.24, 0.14), np.minimum(skin * 1.08, 1.0), 0.3, soft=6)
    if face.beard:
        beard = 0.38 + 0.35 * (np.abs(c.u) < 0.33) * 0.5 - c.v + 0.1 * np.abs(c.u)
        c.fill(np.maximum(outline, beard), face.hair_tone, face.beard, soft=4)


def draw_fringe(c: Canvas, face: Appearance) -> None:
    """Draw the hair above the hairline."""
    slope = np.array([0.0, 0.18, -0.1, 0.1, 0.0])[face.hair_style]
    line = face.hairline + slope * c.u + 0.30 * c.u**2
    if face.hair_style == 4:  # a full fringe with teeth
        line = line + 0.12 + 0.05 * np.sin(14 * c.u)
    hair = c.ellipse((0, -0.28), (1.02 + face.hair_volume, 1.1 + face.hair_volume))
    tone = face.hair_tone * (0.95 - 0.12 * (c.v + 0.9) + 0.04 * np.cos(19 * c.u + 4 * c.v))
    c.fill(np.maximum(c.v - line, hair), tone, soft=1.5)


def draw_glasses(c: Canvas, face: Appearance) -> None:
    """Draw the rims and the bridge of glasses."""
    for s in _SIDES:
        rim = np.abs(c.ellipse((s * face.eye_u, face.eye_v + 0.02), (0.30, 0.22))) - 0.018
        c.fill(rim, 0.08, 0.9)
    c.stroke(curve((-0.12, face.eye_v), (0.12, face.eye_v)), 0.016, 0.08, 0.9)


def draw_occlusion(c: Canvas, face: Appearance) -> None:
    """Draw the object that covers a part of the face, if there is one."""
    if face.occlusion in _OCCLUSIONS:
        _OCCLUSIONS[face.occlusion](c, face)


def _draw_hand(c: Canvas, face: Appearance) -> None:
    u = face.rng.uniform
    s, top = np.sign(u(-1, 1)), u(0.2, 0.6)
    for k in range(4):
        finger = curve((s * (0.35 + 0.2 * k), top + 0.05 * k), (s * (0.6 + 0.2 * k), 1.7))
        c.stroke(finger, 0.10, face.skin * 0.92)
        edge = curve((s * (0.45 + 0.2 * k), top + 0.1), (s * (0.7 + 0.2 * k), 1.7))
        c.stroke(edge, 0.012, face.darken(0.4))


def _draw_bar(c: Canvas, face: Appearance) -> None:
    u = face.rng.uniform
    edge, tone = u(0.5, 0.85) * np.sign(u(-1, 1)), u(0.0, 0.9)
    c.fill((edge - c.u) * np.sign(edge), tone)


def _draw_strand(c: Canvas, face: Appearance) -> None:
    u = face.rng.uniform
    s = np.sign(u(-1, 1))
    strand = curve((s * 0.1, -1.3), (s * u(0.4, 0.8), -0.4), (s * u(0.5, 0.9), u(0.2, 1.0)))
    c.stroke(strand, u(0.03, 0.09), face.hair_tone, 0.9)


def _draw_text(c: Canvas, face: Appearance) -> None:
    u = face.rng.uniform
    baseline, tone = u(-0.2, 1.1), float(u() < 0.7)
    for k in range(9):
        letter = curve((-0.8 + 0.18 * k, baseline), (-0.74 + 0.18 * k, baseline + u(0.08, 0.2)))
        c.stroke(letter, 0.02, tone, 0.55)


_OCCLUSIONS = {"hand": _draw_hand, "bar": _draw_bar, "strand": _draw_strand, "text": _draw_text}
