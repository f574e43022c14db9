"""Eyes, brows, nose, mouth and wrinkles of a synthetic face, as its action units (`au`) shape them."""

from __future__ import annotations

import numpy as np

from fer_models.datasets.synthetic_appearance import Appearance
from fer_models.datasets.synthetic_canvas import Array, Canvas, curve

_SIDES = (-1.0, 1.0)


def draw_features(c: Canvas, face: Appearance) -> None:
    """Draw all features on the front of the head."""
    _draw_wrinkles(c, face)
    _draw_nose(c, face)
    for side in _SIDES:
        _draw_eye(c, face, side)
    _draw_mouth(c, face)
    for side in _SIDES:
        _draw_brow(c, face, side)


def _clip(value: float, low: float = 0.0, high: float = 1.0) -> float:
    return float(np.clip(value, low, high))


# -- eyes and brows -------------------------------------------------------------------------------------


def _draw_eye(c: Canvas, face: Appearance, s: float) -> None:
    au = face.au
    cu, cv, w = s * face.eye_u, face.eye_v, face.eye_w * (1 + 0.08 * au[5])
    up = face.eye_h * (1.0 + 1.05 * au[5] - 0.55 * au[7] - 0.30 * au[6] - 0.15 * au[12] - 0.25 * au[9])
    down = face.eye_h * (0.75 + 0.25 * au[5] - 0.40 * au[7] - 0.75 * au[6] - 0.40 * au[9])
    up, down = max(up, 0.02), max(down, -0.015)
    lift = -0.05 * au[1] * (au[1] > 0) - 0.02 * au[2]
    x = (c.u - cu) / w
    tilt = face.eye_tilt * x * s
    arc = np.clip(1.0 - x**2, 0.0, 1.0)
    opening = c.between(cu - w, cu + w, cv - up * arc + lift * 0.4 + tilt, cv + down * arc + tilt)
    gaze = cu + 0.03 * face.yaw
    inside = c.coverage(opening)
    c.fill(opening, min(face.skin * 0.4 + 0.55, 0.98) * 0.92)
    c.fill_ellipse((gaze, cv - 0.02), (0.088, 0.092), 0.10 + 0.15 * (face.hair_tone > 0.4), inside)
    c.fill_ellipse((gaze - 0.025, cv - 0.05), (0.022, 0.022), 0.95, inside * 0.8)
    points = np.linspace(-1.0, 1.0, 7)
    bow, slant = 1 - points**2, face.eye_tilt * points * s
    upper_lid = np.stack([cu + w * points, cv - up * bow + lift * 0.4 + slant], axis=1)
    lower_lid = np.stack([cu + w * points, cv + down * bow + slant], axis=1)
    _draw_lids(c, face, upper_lid, lower_lid)


def _draw_lids(c: Canvas, face: Appearance, upper: Array, lower: Array) -> None:
    """Draw the lids of one eye along two polylines, the crease above and the bag below."""
    au = face.au
    c.stroke(upper, 0.018 + 0.012 * face.brow_dark, face.darken(0.8), 0.9)
    crease = upper + np.array([0.0, -0.055 - 0.02 * au[5]])
    c.stroke(crease, 0.008, face.darken(0.45), 0.55 * (1 - 0.5 * au[5]))
    c.stroke(lower, 0.008, face.darken(0.5), 0.6)
    bag = lower + np.array([0.0, 0.07])
    strength = 0.15 + 0.3 * face.age * 0.6 + 0.35 * max(au[6], au[7] * 0.7)
    c.stroke(bag, 0.012, face.darken(0.4), strength, soft=1.5)


def _draw_brow(c: Canvas, face: Appearance, s: float) -> None:
    au = face.au
    base = face.eye_v - face.brow_v + 0.10 * au[4] + 0.05 * au[9] + 0.03 * au[7]
    inner_v = base + 0.03 - 0.20 * au[1] + 0.10 * au[4] + 0.04 * au[9]
    middle_v = base - face.brow_arch - 0.12 * au[1] - 0.14 * au[2] + 0.03 * au[4]
    outer_v = base + 0.05 - 0.17 * au[2] + 0.05 * au[1] * (1 - au[2])
    inner_u = s * (face.eye_u - 0.24 - 0.07 * au[4])
    middle_u, outer_u = s * (face.eye_u + 0.02), s * (face.eye_u + 0.27)
    brow = curve((inner_u, inner_v), (middle_u, middle_v), (outer_u, outer_v))
    width = np.asarray(np.linspace(1.25, 0.45, len(brow)) * face.brow_w, dtype=np.float64)
    c.stroke(brow, width, min(face.hair_tone, face.skin * 0.6), face.brow_dark)


# -- nose -----------------------------------------------------------------------------------------------


def _draw_nose(c: Canvas, face: Appearance) -> None:
    au9, eye_v = face.au[9], face.eye_v
    v, w = face.nose_v - 0.06 * au9, face.nose_w * (1 + 0.18 * au9)
    s = 1.0 if face.light[0] < 0 else -1.0  # the side in shadow
    shadow = curve((s * 0.08, eye_v - 0.02), (s * 0.09, 0.1), (s * (w - 0.02), v))
    c.stroke(shadow, 0.02, face.darken(0.35), 0.45, soft=2.5)
    ridge = curve((0.0, eye_v), (0.0, v - 0.06))
    c.stroke(ridge, 0.03, min(face.skin * 1.18, 1.0), 0.5, soft=2.5)
    for s in _SIDES:
        c.fill_ellipse((s * w * 0.5, v + 0.045), (0.042, 0.024), face.darken(0.85), 0.85)
        wing = curve((s * w, v - 0.07), (s * (w + 0.035), v), (s * w * 0.8, v + 0.05))
        c.stroke(wing, 0.012, face.darken(0.5), 0.6 + 0.3 * au9)
    tip = curve((-w * 0.5, v + 0.06), (0.0, v + 0.085), (w * 0.5, v + 0.06))
    c.stroke(tip, 0.014, face.darken(0.5), 0.6)
    for k in range(3):  # AU9 wrinkles the bridge
        y = eye_v + 0.02 + 0.07 * k
        c.stroke(curve((-0.09, y), (0.0, y - 0.03), (0.09, y)), 0.010, face.darken(0.55), 0.9 * au9)
    for s in _SIDES:
        fold = curve((s * 0.06, eye_v), (s * 0.16, 0.08), (s * 0.2, v - 0.04))
        c.stroke(fold, 0.012, face.darken(0.5), 0.7 * au9)


# -- mouth ----------------------------------------------------------------------------------------------


def _draw_mouth(c: Canvas, face: Appearance) -> None:
    au = face.au
    w = face.mouth_w * _mouth_stretch(au)
    thin = max(1.0 - 0.65 * au[23] - 0.5 * au[24] - 0.25 * au[12] - 0.2 * au[20], 0.2)
    v = face.mouth_v - 0.02 * au[12] + 0.03 * au[26]
    corner = v + face.corner_rest - 0.17 * au[12] + 0.16 * au[15] + 0.03 * au[20] + 0.02 * au[10]
    gap = _mouth_gap(au)
    upper = v - (0.09 * au[10] + 0.04 * au[9]) - 0.3 * gap
    lower = v + 0.7 * gap + 0.05 * au[16] - 0.05 * au[17] - (0.03 * au[12] if gap == 0 else 0.0)
    lower = max(lower, upper)
    arc = 1.0 - np.clip(c.u / w, -1.0, 1.0) ** 2
    inner_top = corner + (upper - corner) * arc
    inner_bottom = corner + (lower - corner) * arc
    tone = face.skin * face.lip_tone
    cupid = 0.25 * np.exp(-((c.u / 0.06) ** 2)) * face.lip * thin
    top = inner_top - face.lip * 0.8 * thin * arc**0.7 + cupid
    bottom = inner_bottom + face.lip * 1.15 * thin * arc**0.7
    c.fill(c.between(-w, w, top, inner_top + 0.004), tone * 0.9, 0.9)
    c.fill(c.between(-w, w, inner_bottom - 0.004, bottom), min(tone * 1.04, 1.0), 0.9)
    c.fill(c.between(-w, w, bottom, bottom + 0.05 * arc), face.darken(0.35), 0.5, soft=2)
    if gap > 0.03:
        _draw_open_mouth(c, au, gap, inner_top, inner_bottom, w)
    else:
        points = np.linspace(-1.0, 1.0, 9)
        bow = (0.5 * (upper + lower) - corner) * (1 - points**2)
        line = np.stack([points * w, corner + bow], axis=1)
        c.stroke(line, 0.014, face.darken(0.8), 0.9)
    for s in _SIDES:
        strength = 0.45 + 0.3 * max(au[12], au[15], au[20])
        c.fill_ellipse((s * w * 1.02, corner), (0.03, 0.025), face.darken(0.6), strength, soft=1.5)
    if au[17] > 0.15:
        c.fill_ellipse((0.0, v + 0.22), (0.16, 0.05), face.darken(0.4), 0.6 * au[17], soft=3)


def _mouth_stretch(au: dict[int, float]) -> float:
    """The width of the mouth as a factor of its width at rest."""
    narrow = 0.24 * au[26] * (1 - au[12])
    return 1 + 0.42 * au[12] + 0.38 * au[20] - 0.20 * au[23] - narrow - 0.08 * au[17]


def _mouth_gap(au: dict[int, float]) -> float:
    """The distance between the lips, 0 for a closed mouth."""
    if au[25] + au[26] + au[16] <= 0.25:
        return 0.0
    gap = 0.02 + 0.10 * au[25] + 0.30 * au[26] + 0.05 * au[16] - 0.10 * au[24] - 0.06 * au[23]
    return max(gap, 0.0)


def _draw_open_mouth(
    c: Canvas, au: dict[int, float], gap: float, top: Array, bottom: Array, width: float
) -> None:
    """Draw the opening between the curves `top` and `bottom`, and the teeth in it."""
    opening = c.between(-width, width, top, bottom)
    inside = c.coverage(opening)
    c.fill(opening, 0.07)
    teeth = _clip(0.25 + au[12] + 0.7 * au[20] + 0.4 * au[10] - 0.4 * au[26] * (1 - au[12]))
    c.fill(c.v - (top + min(0.11, 0.55 * gap + 0.03)), 0.92, inside * teeth)
    if au[16] > 0.3 or au[20] > 0.5:
        c.fill(bottom - 0.05 - c.v, 0.85, inside * 0.6 * max(au[16], au[20]))


# -- wrinkles -------------------------------------------------------------------------------------------


def _draw_wrinkles(c: Canvas, face: Appearance) -> None:
    au, dark = face.au, face.darken(0.42)
    lift, old = min(1.0, au[1] * 0.7 + au[2] * 0.5), face.age * 0.35
    for k in range(3):  # raised brows fold the forehead
        y = face.eye_v - 0.48 - 0.10 * k
        dip = 0.05 * au[1] * (1 - au[2])
        fold = curve((-0.45, y + 0.02), (0.0, y - 0.03 + dip), (0.45, y + 0.02))
        c.stroke(fold, 0.010, dark, _clip(lift * 0.75 + old * 0.3, 0, 0.9))
    for s in _SIDES:
        frown = curve((s * 0.06, face.eye_v - 0.30), (s * 0.055, face.eye_v - 0.10))
        c.stroke(frown, 0.014, dark, 0.85 * au[4])
        strength = _clip(0.18 + old + 0.6 * au[12] + 0.5 * au[9] + 0.6 * au[10] + 0.15 * au[6], 0, 0.95)
        pull = 0.14 * au[12] + 0.05 * au[20]
        nasolabial = curve(
            (s * (face.nose_w + 0.04), face.nose_v - 0.03 - 0.05 * au[9]),
            (s * (0.37 + pull), 0.44),
            (s * (0.40 + pull), face.mouth_v - 0.02 + 0.06 * au[15]),
        )
        c.stroke(nasolabial, 0.013, dark, strength * 0.8, soft=1.8)
        u = s * (face.eye_u + face.eye_w + 0.03)
        for k in (-1, 0, 1):  # crow's feet
            start, end = face.eye_v + 0.02 + 0.02 * k, face.eye_v + 0.02 + 0.07 * k
            c.stroke(curve((u, start), (u + s * 0.14, end)), 0.008, dark, 0.75 * au[6])
        marionette = curve((s * 0.36, face.mouth_v + 0.10), (s * 0.40, face.mouth_v + 0.26))
        c.stroke(marionette, 0.012, dark, 0.5 * au[15] + 0.2 * old, soft=1.8)
