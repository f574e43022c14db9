"""Random appearance of one synthetic face: identity, pose, light and occlusion."""

from __future__ import annotations

import numpy as np

from fer_models.datasets.synthetic_camera import SIZE, Array
from fer_models.datasets.synthetic_canvas import Canvas

_OCCLUSIONS = {"none": 0.8, "hand": 0.06, "bar": 0.04, "strand": 0.06, "text": 0.04}


class Appearance:
    """One face: the intensities of its action units, and all else that is sampled from `rng`.

    The order of the samples decides the pixels of every face, so it must not change.
    """

    def __init__(self, units: dict[int, float], rng: np.random.RandomState) -> None:
        self.au, self.rng = units, rng
        u = rng.uniform
        self.skin, self.contrast = u(0.42, 0.82), u(0.75, 1.1)
        self.hair_tone = float(np.clip(u(0.03, 0.55) if u() < 0.85 else u(0.6, 0.85), 0.0, 0.9))
        self.hair_style, self.hairline, self.hair_volume = rng.randint(5), u(-1.05, -0.78), u(0.06, 0.28)
        self.long_hair, self.beard = u() < 0.4, (u(0.15, 0.6) if u() < 0.18 else 0.0)
        self.length, self.jaw = u(1.15, 1.34), u(0.72, 0.98)
        self.eye_u, self.eye_v = u(0.37, 0.45), u(-0.24, -0.13)
        self.eye_w, self.eye_h, self.eye_tilt = u(0.17, 0.235), u(0.075, 0.115), u(-0.03, 0.03)
        self.brow_v, self.brow_w = u(0.22, 0.32), u(0.022, 0.06)
        self.brow_arch, self.brow_dark = u(0.0, 0.07), u(0.45, 0.95)
        self.nose_v, self.nose_w = u(0.22, 0.36), u(0.12, 0.19)
        self.mouth_v, self.mouth_w, self.lip = u(0.60, 0.72), u(0.26, 0.37), u(0.035, 0.075)
        self.lip_tone, self.corner_rest = u(0.62, 0.88), u(-0.025, 0.025)
        self.age = u() ** 1.5
        self.glasses = u() < 0.1
        self.roll, self.yaw, self.pitch = rng.normal(0, 0.11), rng.normal(0, 0.28), rng.normal(0, 0.2)
        self.scale, self.dx, self.dy = u(16.0, 20.5), rng.normal(0, 1.0), rng.normal(0, 1.0)
        self.light = np.array([rng.normal(0, 0.45), rng.normal(-0.35, 0.3), 1.0])
        self.light /= np.sqrt((self.light**2).sum())
        self.ambient = u(0.45, 0.8)
        self.background, self.background_slope = u(0.05, 0.95), rng.normal(0, 0.15, 2)
        self.occlusion = rng.choice(list(_OCCLUSIONS), p=list(_OCCLUSIONS.values()))

    @property
    def chin(self) -> float:
        """Vertical position of the chin, which the jaw's action units move."""
        return self.length + 0.20 * self.au[26] + 0.05 * self.au[25] - 0.04 * self.au[17]

    def darken(self, amount: float) -> float:
        """A tone darker than the skin; 1 is nearly black."""
        return float(np.clip(self.skin * (1.0 - amount * self.contrast), 0.02, 1.0))

    def outline(self, canvas: Canvas) -> Array:
        """Signed distance to the head: round above the cheeks, narrowing to the jaw below."""
        below, narrowing = canvas.v > 0, np.clip(canvas.v / self.chin, 0, 1) ** 2
        width = np.where(below, 1.0 - (1.0 - self.jaw) * narrowing, 1.0) * 0.96
        height = np.where(below, self.chin, 1.25)
        distance: Array = (np.sqrt((canvas.u / width) ** 2 + (canvas.v / height) ** 2) - 1.0) * 0.9
        return distance

    def shade(self, canvas: Canvas) -> Array:
        """Lambert's law on an ellipsoid lit from one side, around the tone of the skin."""
        nu = np.clip(canvas.u / 1.15, -1, 1)
        nv = np.clip(canvas.v / 1.6, -1, 1)
        nz = np.sqrt(np.clip(1.0 - nu**2 - nv**2, 0.05, 1.0))
        lambert: Array = np.clip(nu * self.light[0] + nv * self.light[1] + nz * self.light[2], 0.0, 1.0)
        return self.skin * (self.ambient + (1.15 - self.ambient) * lambert)

    def head_canvas(self) -> Canvas:
        """A canvas with the background, in the coordinates of the rolled and shifted head."""
        y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
        cx, cy = (SIZE - 1) / 2 + self.dx, (SIZE - 1) / 2 + self.dy
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        u = ((x - cx) * cos + (y - cy) * sin) / self.scale
        v = (-(x - cx) * sin + (y - cy) * cos) / self.scale + 0.08
        tones = self.background + self.background_slope[0] * u + self.background_slope[1] * v
        return Canvas(tones, u, v, 1.0 / self.scale)

    def front_canvas(self, head: Canvas) -> Canvas:
        """The same canvas in coordinates of the curved front, which shifts with yaw and pitch.

        The far side is foreshortened.
        """
        shifted = head.u - 0.28 * self.yaw
        far = shifted * self.yaw > 0
        side = np.where(far, 1.0 - 0.28 * abs(self.yaw), 1.0 + 0.10 * abs(self.yaw))
        return head.with_coordinates(shifted / side, head.v - 0.16 * self.pitch)
