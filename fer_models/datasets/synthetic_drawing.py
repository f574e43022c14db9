"""Drawing of one synthetic face from facial action units.

Each face is drawn from facial action units (Ekman & Friesen's FACS): brows, lids, nose, mouth and jaw move as
the emotion's known combination of units says (EMFACS prototypes), with an intensity of its own, units that
belong to nothing, and often a trace of a second emotion. Weak intensities overlap between emotions on
purpose: no model reaches 100 %. Identity, pose, lighting, occlusion, blur, noise and JPEG artefacts vary from
face to face.

Only `RandomState` (whose streams are frozen) and float64 arithmetic are used, so face `i` of a split has the
same pixels everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_models.datasets.synthetic_camera import SIZE, Array, camera
from fer_models.emotions import EMOTIONS, Emotion

_SEEDS = {"train": 2013, "validation": 2014, "test": 2015}
#: The action units of each emotion and how strongly each moves in its full expression (EMFACS prototypes).
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
    """Face `index` of `split` as a grey (48, 48) uint8 array; its emotion is `index % 7`."""
    rng = np.random.RandomState([_SEEDS[split], index])
    units = expression(Emotion(index % len(EMOTIONS)), rng)
    tones = _Face(units, rng).draw()
    return camera(tones, rng)


def expression(emotion: Emotion, rng: np.random.RandomState) -> dict[int, float]:
    """The intensity of each action unit, 0..1, for one face that shows `emotion`.

    The intensity of the whole is 0.22 + 0.78 Beta(2.2, 1.4), so that some faces hardly show it; each unit
    varies around it; a second emotion mixes in at up to 0.40, and stray units stir in every face, neutral
    ones included.
    """
    strength = 0.22 + 0.78 * rng.beta(2.2, 1.4)
    other = Emotion(rng.randint(len(EMOTIONS)))
    trace = 0.40 * rng.beta(1.0, 3.0)
    units: dict[int, float] = {}
    for unit in _UNITS:
        main = ACTION_UNITS[emotion].get(unit, 0.0) * strength * np.clip(rng.normal(1.0, 0.22), 0.2, 1.5)
        stray = abs(rng.normal(0.0, 0.07)) + (0.3 * rng.uniform() if rng.uniform() < 0.05 else 0.0)
        units[unit] = float(np.clip(max(main, ACTION_UNITS[other].get(unit, 0.0) * trace) + stray, 0.0, 1.0))
    if emotion is Emotion.HAPPY and rng.uniform() < 0.25:  # a laugh opens the jaw
        units[26] = max(units[26], 0.5 * strength)
    return units


@dataclass
class _Canvas:
    """A picture in tones 0..1 over face coordinates: u to the right, v down, one unit is half the width of
    the head.
    """

    tones: Array
    u: Array
    v: Array
    pixel: float  # the size of a pixel in face coordinates, for antialiasing

    def on(self, u: Array, v: Array) -> _Canvas:
        """The same picture under other coordinates."""
        return _Canvas(self.tones, u, v, self.pixel)

    def fill(
        self, distance: Array, tone: Array | float, alpha: Array | float = 1.0, soft: float = 1.0
    ) -> None:
        """Paint where the signed `distance` is negative; `soft` is the width of the edge in pixels."""
        cover = np.clip(0.5 - distance / (self.pixel * soft), 0.0, 1.0) * alpha
        self.tones[...] = self.tones * (1.0 - cover) + np.asarray(tone) * cover

    def stroke(
        self, points: Array, width: Array | float, tone: float, alpha: float = 1.0, soft: float = 1.0
    ) -> None:
        """Paint along a polyline (k, 2) whose half-width is `width`, a number or one per point."""
        if alpha == 0.0:
            return
        widths = np.broadcast_to(np.asarray(width, dtype=np.float64), len(points))
        near = self._around(points, float(widths.max()) + self.pixel * soft)
        u, v, ends = self.u[near], self.v[near], points[1:] - points[:-1]
        (au, av), (du, dv) = (
            points[:-1].T[:, :, None],
            ends.T[:, :, None],
        )  # every segment against every pixel near the line
        wa, wb = widths[:-1, None], widths[1:, None]
        t = np.clip(((u - au) * du + (v - av) * dv) / (du * du + dv * dv + 1e-12), 0.0, 1.0)
        gap = np.sqrt((u - au - t * du) ** 2 + (v - av - t * dv) ** 2) - (wa + t * (wb - wa))
        cover = np.clip(0.5 - gap.min(axis=0) / (self.pixel * soft), 0.0, 1.0) * alpha
        self.tones[near] = self.tones[near] * (1.0 - cover) + tone * cover

    def _around(self, points: Array, reach: float) -> tuple[NDArray[np.intp], ...]:
        """The pixels of the box that holds everything within `reach` of a polyline: a stroke changes no
        other.
        """
        (left, top), (right, bottom) = points.min(axis=0) - reach, points.max(axis=0) + reach
        return np.nonzero((self.u >= left) & (self.u <= right) & (self.v >= top) & (self.v <= bottom))

    def between(self, left: float, right: float, top: Array, bottom: Array) -> Array:
        """Signed distance (approximate) to the region between two curves over left <= u <= right."""
        distance: Array = np.maximum(
            np.maximum(top - self.v, self.v - bottom), np.maximum(left - self.u, self.u - right)
        )
        return distance


def _curve(*points: tuple[float, float], steps: int = 6) -> Array:
    """The quadratic curve through three points, or the straight line through two, as a polyline."""
    p = np.asarray(points, dtype=np.float64)
    t = np.linspace(0.0, 1.0, steps)[:, None]
    if len(p) == 2:
        line: Array = (1 - t) * p[0] + t * p[1]
        return line
    middle = 2 * p[1] - 0.5 * (p[0] + p[2])
    curve: Array = (1 - t) ** 2 * p[0] + 2 * t * (1 - t) * middle + t**2 * p[2]
    return curve


def _ellipse(u: Array, v: Array, cu: float, cv: float, ru: float, rv: float) -> Array:
    return (np.sqrt(((u - cu) / ru) ** 2 + ((v - cv) / rv) ** 2) - 1.0) * min(ru, rv)


class _Face:
    """One face: an identity, a pose and a light drawn from `rng`, and the action units' geometry."""

    def __init__(self, units: dict[int, float], rng: np.random.RandomState) -> None:
        self.au = units
        u = rng.uniform
        self.skin, self.contrast = u(0.42, 0.82), u(0.75, 1.1)
        self.hair_tone = float(np.clip(u(0.03, 0.55) if u() < 0.85 else u(0.6, 0.85), 0.0, 0.9))
        self.hair_style, self.hairline, self.hair_volume = rng.randint(5), u(-1.05, -0.78), u(0.06, 0.28)
        self.long_hair, self.beard = u() < 0.4, (u(0.15, 0.6) if u() < 0.18 else 0.0)
        self.length, self.jaw = u(1.15, 1.34), u(0.72, 0.98)
        self.eye_u, self.eye_v = u(0.37, 0.45), u(-0.24, -0.13)
        self.eye_w, self.eye_h, self.eye_tilt = u(0.17, 0.235), u(0.075, 0.115), u(-0.03, 0.03)
        self.brow_v, self.brow_w, self.brow_arch, self.brow_dark = (
            u(0.22, 0.32),
            u(0.022, 0.06),
            u(0.0, 0.07),
            u(0.45, 0.95),
        )
        self.nose_v, self.nose_w = u(0.22, 0.36), u(0.12, 0.19)
        self.mouth_v, self.mouth_w, self.lip = u(0.60, 0.72), u(0.26, 0.37), u(0.035, 0.075)
        self.lip_tone, self.corner_rest = u(0.62, 0.88), u(-0.025, 0.025)
        self.age = u() ** 1.5
        self.glasses, self.roll, self.yaw, self.pitch = (
            u() < 0.1,
            rng.normal(0, 0.11),
            rng.normal(0, 0.28),
            rng.normal(0, 0.2),
        )
        self.scale, self.dx, self.dy = u(16.0, 20.5), rng.normal(0, 1.0), rng.normal(0, 1.0)
        self.light = np.array([rng.normal(0, 0.45), rng.normal(-0.35, 0.3), 1.0])
        self.light /= np.sqrt((self.light**2).sum())
        self.ambient = u(0.45, 0.8)
        self.background, self.background_slope = u(0.05, 0.95), rng.normal(0, 0.15, 2)
        self.occlusion = rng.choice(
            ["none", "hand", "bar", "strand", "text"], p=[0.8, 0.06, 0.04, 0.06, 0.04]
        )
        self.rng = rng

    def draw(self) -> Array:
        """The face in tones, (48, 48), nominally 0..1."""
        y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
        cx, cy = (SIZE - 1) / 2 + self.dx, (SIZE - 1) / 2 + self.dy
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        u = ((x - cx) * cos + (y - cy) * sin) / self.scale
        v = (-(x - cx) * sin + (y - cy) * cos) / self.scale + 0.08
        canvas = _Canvas(
            self.background + self.background_slope[0] * u + self.background_slope[1] * v,
            u,
            v,
            1.0 / self.scale,
        )
        self._head(canvas)
        # Features sit on a curved front: they shift with yaw and pitch, and the far side is foreshortened.
        shifted = u - 0.28 * self.yaw
        side = np.where(shifted * self.yaw > 0, 1.0 - 0.28 * abs(self.yaw), 1.0 + 0.10 * abs(self.yaw))
        front = canvas.on(shifted / side, v - 0.16 * self.pitch)
        self._wrinkles(front)
        self._nose(front)
        for s in (-1.0, 1.0):
            self._eye(front, s)
        self._mouth(front)
        for s in (-1.0, 1.0):
            self._brow(front, s)
        if self.glasses:
            self._glasses(front)
        self._fringe(canvas)
        self._occlude(canvas)
        return canvas.tones

    # -- the head ---------------------------------------------------------------------------------

    @property
    def chin(self) -> float:
        return self.length + 0.20 * self.au[26] + 0.05 * self.au[25] - 0.04 * self.au[17]

    def _outline(self, c: _Canvas, grow: float = 0.0) -> Array:
        """Signed distance to the head: round above the cheeks, narrowing to the jaw below."""
        width = (
            np.where(c.v > 0, 1.0 - (1.0 - self.jaw) * np.clip(c.v / self.chin, 0, 1) ** 2, 1.0) * 0.96 + grow
        )
        height = np.where(c.v > 0, self.chin, 1.25) + grow
        return (np.sqrt((c.u / width) ** 2 + (c.v / height) ** 2) - 1.0) * 0.9

    def _shade(self, c: _Canvas) -> Array:
        """Lambert's law on an ellipsoid lit from one side, around the skin's own tone."""
        nu = np.clip(c.u / 1.15, -1, 1)
        nv = np.clip(c.v / 1.6, -1, 1)
        nz = np.sqrt(np.clip(1.0 - nu**2 - nv**2, 0.05, 1.0))
        lambert: Array = np.clip(nu * self.light[0] + nv * self.light[1] + nz * self.light[2], 0.0, 1.0)
        return self.skin * (self.ambient + (1.15 - self.ambient) * lambert)

    def _head(self, c: _Canvas) -> None:
        skin = self._shade(c)
        if self.long_hair:
            c.fill(
                np.maximum(np.abs(c.u) - 1.0 - self.hair_volume, -c.v - 0.2),
                self.hair_tone * (0.92 + 0.05 * np.cos(17 * c.u)),
            )
        c.fill(_ellipse(c.u, c.v, 0, -0.28, 1.0 + self.hair_volume, 1.1 + self.hair_volume), self.hair_tone)
        c.fill(np.maximum(np.abs(c.u) - 0.52, 0.6 - c.v), skin * 0.72)  # neck, in the chin's shadow
        shoulders = c.v - (self.length + 0.22 + 0.35 * c.u**2)
        c.fill(-shoulders, 0.15 + 0.6 * (self.background < 0.5))
        for s in (-1.0, 1.0):
            c.fill(_ellipse(c.u, c.v, s * 0.98, 0.02, 0.12, 0.24), skin * 0.85)
        c.fill(self._outline(c), skin, soft=1.6)
        for s in (-1.0, 1.0):  # cheeks catch the light, more so when AU6 lifts them
            cheek = _ellipse(c.u, c.v, s * 0.55, 0.26 - 0.06 * self.au[6], 0.26, 0.20)
            c.fill(cheek, np.minimum(skin * 1.12, 1.0), 0.25 + 0.35 * self.au[6], soft=6)
            c.fill(
                _ellipse(c.u, c.v, s * self.eye_u, self.eye_v - 0.02, 0.27, 0.16), skin * 0.72, 0.45, soft=6
            )  # sockets
        c.fill(_ellipse(c.u, c.v, 0, self.chin - 0.2, 0.24, 0.14), np.minimum(skin * 1.08, 1.0), 0.3, soft=6)
        if self.beard:
            beard = np.maximum(
                self._outline(c), 0.38 + 0.35 * (np.abs(c.u) < 0.33) * 0.5 - c.v + 0.1 * np.abs(c.u)
            )
            c.fill(beard, self.hair_tone, self.beard, soft=4)

    def _fringe(self, c: _Canvas) -> None:
        line = self.hairline + np.array([0.0, 0.18, -0.1, 0.1, 0.0])[self.hair_style] * c.u + 0.30 * c.u**2
        if self.hair_style == 4:  # a full fringe with teeth
            line = line + 0.12 + 0.05 * np.sin(14 * c.u)
        crown = np.maximum(
            c.v - line, _ellipse(c.u, c.v, 0, -0.28, 1.02 + self.hair_volume, 1.1 + self.hair_volume)
        )
        c.fill(
            crown, self.hair_tone * (0.95 - 0.12 * (c.v + 0.9) + 0.04 * np.cos(19 * c.u + 4 * c.v)), soft=1.5
        )

    # -- the features -----------------------------------------------------------------------------

    def _dark(self, amount: float) -> float:
        """A tone darker than the skin; 1 is nearly black."""
        return float(np.clip(self.skin * (1.0 - amount * self.contrast), 0.02, 1.0))

    def _eye(self, c: _Canvas, s: float) -> None:
        au = self.au
        cu, cv, w = s * self.eye_u, self.eye_v, self.eye_w * (1 + 0.08 * au[5])
        up = self.eye_h * (1.0 + 1.05 * au[5] - 0.55 * au[7] - 0.30 * au[6] - 0.15 * au[12] - 0.25 * au[9])
        down = self.eye_h * (0.75 + 0.25 * au[5] - 0.40 * au[7] - 0.75 * au[6] - 0.40 * au[9])
        up, down = max(up, 0.02), max(down, -0.015)
        lift = -0.05 * au[1] * (au[1] > 0) - 0.02 * au[2]
        x = (c.u - cu) / w
        tilt = self.eye_tilt * x * s
        arc = np.clip(1.0 - x**2, 0.0, 1.0)
        top, bottom = cv - up * arc + lift * 0.4 + tilt, cv + down * arc + tilt
        opening = c.between(cu - w, cu + w, top, bottom)
        gaze = cu + 0.03 * self.yaw
        inside = np.clip(0.5 - opening / c.pixel, 0.0, 1.0)
        c.fill(opening, min(self.skin * 0.4 + 0.55, 0.98) * 0.92)
        c.fill(
            _ellipse(c.u, c.v, gaze, cv - 0.02, 0.088, 0.092), 0.10 + 0.15 * (self.hair_tone > 0.4), inside
        )
        c.fill(_ellipse(c.u, c.v, gaze - 0.025, cv - 0.05, 0.022, 0.022), 0.95, inside * 0.8)
        points = np.linspace(-1.0, 1.0, 7)
        lid = np.stack(
            [cu + w * points, cv - up * (1 - points**2) + lift * 0.4 + self.eye_tilt * points * s], axis=1
        )
        c.stroke(lid, 0.018 + 0.012 * self.brow_dark, self._dark(0.8), 0.9)
        crease = lid + np.array([0.0, -0.055 - 0.02 * au[5]])
        c.stroke(crease, 0.008, self._dark(0.45), 0.55 * (1 - 0.5 * au[5]))
        low = np.stack([cu + w * points, cv + down * (1 - points**2) + self.eye_tilt * points * s], axis=1)
        c.stroke(low, 0.008, self._dark(0.5), 0.6)
        bag = low + np.array([0.0, 0.07])
        c.stroke(
            bag,
            0.012,
            self._dark(0.4),
            0.15 + 0.3 * self.age * 0.6 + 0.35 * max(au[6], au[7] * 0.7),
            soft=1.5,
        )

    def _brow(self, c: _Canvas, s: float) -> None:
        au = self.au
        base = self.eye_v - self.brow_v + 0.10 * au[4] + 0.05 * au[9] + 0.03 * au[7]
        inner = base + 0.03 - 0.20 * au[1] + 0.10 * au[4] + 0.04 * au[9]
        middle = base - self.brow_arch - 0.12 * au[1] - 0.14 * au[2] + 0.03 * au[4]
        outer = base + 0.05 - 0.17 * au[2] + 0.05 * au[1] * (1 - au[2])
        iu = s * (self.eye_u - 0.24 - 0.07 * au[4])
        mu, ou = s * (self.eye_u + 0.02), s * (self.eye_u + 0.27)
        points = _curve((iu, inner), (mu, middle), (ou, outer))
        width = np.asarray(np.linspace(1.25, 0.45, len(points)) * self.brow_w, dtype=np.float64)
        tone = min(self.hair_tone, self.skin * 0.6)
        c.stroke(points, width, tone, self.brow_dark)

    def _nose(self, c: _Canvas) -> None:
        au, v, w = self.au, self.nose_v - 0.06 * self.au[9], self.nose_w * (1 + 0.18 * self.au[9])
        shadow = 1.0 if self.light[0] < 0 else -1.0
        c.stroke(
            _curve((shadow * 0.08, self.eye_v - 0.02), (shadow * 0.09, 0.1), (shadow * (w - 0.02), v)),
            0.02,
            self._dark(0.35),
            0.45,
            soft=2.5,
        )
        c.stroke(_curve((0.0, self.eye_v), (0.0, v - 0.06)), 0.03, min(self.skin * 1.18, 1.0), 0.5, soft=2.5)
        for s in (-1.0, 1.0):
            c.fill(_ellipse(c.u, c.v, s * w * 0.5, v + 0.045, 0.042, 0.024), self._dark(0.85), 0.85)
            c.stroke(
                _curve((s * w, v - 0.07), (s * (w + 0.035), v), (s * w * 0.8, v + 0.05)),
                0.012,
                self._dark(0.5),
                0.6 + 0.3 * au[9],
            )
        c.stroke(
            _curve((-w * 0.5, v + 0.06), (0.0, v + 0.085), (w * 0.5, v + 0.06)), 0.014, self._dark(0.5), 0.6
        )
        for k in range(3):  # AU9 gathers the bridge
            y = self.eye_v + 0.02 + 0.07 * k
            c.stroke(_curve((-0.09, y), (0.0, y - 0.03), (0.09, y)), 0.010, self._dark(0.55), 0.9 * au[9])
        for s in (-1.0, 1.0):
            c.stroke(
                _curve((s * 0.06, self.eye_v), (s * 0.16, 0.08), (s * 0.2, v - 0.04)),
                0.012,
                self._dark(0.5),
                0.7 * au[9],
            )

    def _mouth(self, c: _Canvas) -> None:
        au = self.au
        w = self.mouth_w * (
            1 + 0.42 * au[12] + 0.38 * au[20] - 0.20 * au[23] - 0.24 * au[26] * (1 - au[12]) - 0.08 * au[17]
        )
        thin = max(1.0 - 0.65 * au[23] - 0.5 * au[24] - 0.25 * au[12] - 0.2 * au[20], 0.2)
        v = self.mouth_v - 0.02 * au[12] + 0.03 * au[26]
        corner = v + self.corner_rest - 0.17 * au[12] + 0.16 * au[15] + 0.03 * au[20] + 0.02 * au[10]
        parted = au[25] + au[26] + au[16] > 0.25
        gap = (
            max(0.02 + 0.10 * au[25] + 0.30 * au[26] + 0.05 * au[16] - 0.10 * au[24] - 0.06 * au[23], 0.0)
            if parted
            else 0.0
        )
        rise = 0.09 * au[10] + 0.04 * au[9]
        upper = v - rise - 0.3 * gap
        lower = v + 0.7 * gap + 0.05 * au[16] - 0.05 * au[17] - (0.03 * au[12] if gap == 0 else 0.0)
        lower = max(lower, upper)
        x = np.clip(c.u / w, -1.0, 1.0)
        arc = 1.0 - x**2
        inner_top = corner + (upper - corner) * arc
        inner_bottom = corner + (lower - corner) * arc
        tone = self.skin * self.lip_tone
        cupid = 0.25 * np.exp(-((c.u / 0.06) ** 2)) * self.lip * thin
        top = inner_top - self.lip * 0.8 * thin * arc**0.7 + cupid
        bottom = inner_bottom + self.lip * 1.15 * thin * arc**0.7
        c.fill(c.between(-w, w, top, inner_top + 0.004), tone * 0.9, 0.9)
        c.fill(c.between(-w, w, inner_bottom - 0.004, bottom), min(tone * 1.04, 1.0), 0.9)
        c.fill(c.between(-w, w, bottom, bottom + 0.05 * arc), self._dark(0.35), 0.5, soft=2)
        points = np.linspace(-1.0, 1.0, 9)
        line = np.stack([points * w, corner + (0.5 * (upper + lower) - corner) * (1 - points**2)], axis=1)
        if gap > 0.03:
            hole = c.between(-w, w, inner_top, inner_bottom)
            inside = np.clip(0.5 - hole / c.pixel, 0.0, 1.0)
            c.fill(hole, 0.07)
            teeth = float(
                np.clip(0.25 + au[12] + 0.7 * au[20] + 0.4 * au[10] - 0.4 * au[26] * (1 - au[12]), 0.0, 1.0)
            )
            c.fill(c.v - (inner_top + min(0.11, 0.55 * gap + 0.03)), 0.92, inside * teeth)
            if au[16] > 0.3 or au[20] > 0.5:
                c.fill(inner_bottom - 0.05 - c.v, 0.85, inside * 0.6 * max(au[16], au[20]))
        else:
            c.stroke(line, 0.014, self._dark(0.8), 0.9)
        for s in (-1.0, 1.0):
            c.fill(
                _ellipse(c.u, c.v, s * w * 1.02, corner, 0.03, 0.025),
                self._dark(0.6),
                0.45 + 0.3 * max(au[12], au[15], au[20]),
                soft=1.5,
            )
        if au[17] > 0.15:
            c.fill(_ellipse(c.u, c.v, 0.0, v + 0.22, 0.16, 0.05), self._dark(0.4), 0.6 * au[17], soft=3)

    def _wrinkles(self, c: _Canvas) -> None:
        au, dark = self.au, self._dark(0.42)
        lift, old = min(1.0, au[1] * 0.7 + au[2] * 0.5), self.age * 0.35
        for k in range(3):  # the forehead folds across when the brows rise
            y = self.eye_v - 0.48 - 0.10 * k
            dip = 0.05 * au[1] * (1 - au[2])
            c.stroke(
                _curve((-0.45, y + 0.02), (0.0, y - 0.03 + dip), (0.45, y + 0.02)),
                0.010,
                dark,
                float(np.clip(lift * 0.75 + old * 0.3, 0, 0.9)),
            )
        for s in (-1.0, 1.0):
            c.stroke(
                _curve((s * 0.06, self.eye_v - 0.30), (s * 0.055, self.eye_v - 0.10)),
                0.014,
                dark,
                0.85 * au[4],
            )
            fold = float(
                np.clip(0.18 + old + 0.6 * au[12] + 0.5 * au[9] + 0.6 * au[10] + 0.15 * au[6], 0, 0.95)
            )
            pull = 0.14 * au[12] + 0.05 * au[20]
            c.stroke(
                _curve(
                    (s * (self.nose_w + 0.04), self.nose_v - 0.03 - 0.05 * au[9]),
                    (s * (0.37 + pull), 0.44),
                    (s * (0.40 + pull), self.mouth_v - 0.02 + 0.06 * au[15]),
                ),
                0.013,
                dark,
                fold * 0.8,
                soft=1.8,
            )
            for k in (-1, 0, 1):
                eye = s * (self.eye_u + self.eye_w + 0.03)
                c.stroke(
                    _curve(
                        (eye, self.eye_v + 0.02 + 0.02 * k), (eye + s * 0.14, self.eye_v + 0.02 + 0.07 * k)
                    ),
                    0.008,
                    dark,
                    0.75 * au[6],
                )
            c.stroke(
                _curve((s * 0.36, self.mouth_v + 0.10), (s * 0.40, self.mouth_v + 0.26)),
                0.012,
                dark,
                0.5 * au[15] + 0.2 * old,
                soft=1.8,
            )

    # -- what stands in the way -------------------------------------------------------------------

    def _glasses(self, c: _Canvas) -> None:
        for s in (-1.0, 1.0):
            rim = np.abs(_ellipse(c.u, c.v, s * self.eye_u, self.eye_v + 0.02, 0.30, 0.22)) - 0.018
            c.fill(rim, 0.08, 0.9)
        c.stroke(_curve((-0.12, self.eye_v), (0.12, self.eye_v)), 0.016, 0.08, 0.9)

    def _occlude(self, c: _Canvas) -> None:
        u = self.rng.uniform
        if self.occlusion == "hand":
            s, top = np.sign(u(-1, 1)), u(0.2, 0.6)
            for k in range(4):
                c.stroke(
                    _curve((s * (0.35 + 0.2 * k), top + 0.05 * k), (s * (0.6 + 0.2 * k), 1.7)),
                    0.10,
                    self.skin * 0.92,
                )
                c.stroke(
                    _curve((s * (0.45 + 0.2 * k), top + 0.1), (s * (0.7 + 0.2 * k), 1.7)),
                    0.012,
                    self._dark(0.4),
                )
        elif self.occlusion == "bar":
            edge, tone = u(0.5, 0.85) * np.sign(u(-1, 1)), u(0.0, 0.9)
            c.fill((edge - c.u) * np.sign(edge), tone)
        elif self.occlusion == "strand":
            s = np.sign(u(-1, 1))
            c.stroke(
                _curve((s * 0.1, -1.3), (s * u(0.4, 0.8), -0.4), (s * u(0.5, 0.9), u(0.2, 1.0))),
                u(0.03, 0.09),
                self.hair_tone,
                0.9,
            )
        elif self.occlusion == "text":
            at, tone = u(-0.2, 1.1), float(u() < 0.7)
            for k in range(9):
                c.stroke(
                    _curve((-0.8 + 0.18 * k, at), (-0.74 + 0.18 * k, at + u(0.08, 0.2))), 0.02, tone, 0.55
                )
