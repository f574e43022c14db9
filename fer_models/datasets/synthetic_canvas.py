"""Antialiased drawing in grey tones: fills by signed distance, strokes along polylines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Canvas:
    """A picture in tones 0..1 over face coordinates.

    Attributes:
        tones: the picture, shape (height, width).
        u: the horizontal coordinate of each pixel, to the right; one unit is half the width of the head.
        v: the vertical coordinate of each pixel, downwards, in the same unit.
        pixel: the size of a pixel in face coordinates.
    """

    tones: Array
    u: Array
    v: Array
    pixel: float

    def with_coordinates(self, u: Array, v: Array) -> Canvas:
        """The same picture under other coordinates."""
        return Canvas(self.tones, u, v, self.pixel)

    def fill(
        self, distance: Array, tone: Array | float, alpha: Array | float = 1.0, soft: float = 1.0
    ) -> None:
        """Paint where the signed `distance` is negative; `soft` is the width of the edge in pixels."""
        cover = self.coverage(distance, soft) * alpha
        self.tones[...] = self.tones * (1.0 - cover) + np.asarray(tone) * cover

    def fill_ellipse(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        tone: Array | float,
        alpha: Array | float = 1.0,
        soft: float = 1.0,
    ) -> None:
        """Paint an axis-parallel ellipse, as `fill`."""
        self.fill(self.ellipse(centre, radii), tone, alpha, soft)

    def stroke(
        self, points: Array, width: Array | float, tone: float, alpha: float = 1.0, soft: float = 1.0
    ) -> None:
        """Paint along a polyline (k, 2) whose half-width is `width`, a number or one per point."""
        if alpha == 0.0:
            return
        widths = np.broadcast_to(np.asarray(width, dtype=np.float64), len(points))
        near = self._near(points, float(widths.max()) + self.pixel * soft)
        u, v, spans = self.u[near], self.v[near], points[1:] - points[:-1]
        # every segment against every pixel near the line
        (start_u, start_v), (du, dv) = points[:-1].T[:, :, None], spans.T[:, :, None]
        first, last = widths[:-1, None], widths[1:, None]
        t = np.clip(((u - start_u) * du + (v - start_v) * dv) / (du * du + dv * dv + 1e-12), 0.0, 1.0)
        gap = np.sqrt((u - start_u - t * du) ** 2 + (v - start_v - t * dv) ** 2)
        gap = gap - (first + t * (last - first))
        cover = self.coverage(gap.min(axis=0), soft) * alpha
        self.tones[near] = self.tones[near] * (1.0 - cover) + tone * cover

    def coverage(self, distance: Array, soft: float = 1.0) -> Array:
        """The share of each pixel, 0..1, where the signed `distance` is negative."""
        share: Array = np.clip(0.5 - distance / (self.pixel * soft), 0.0, 1.0)
        return share

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
        """Signed distance (approximate) to an axis-parallel ellipse."""
        (cu, cv), (ru, rv) = centre, radii
        distance: Array = (np.sqrt(((self.u - cu) / ru) ** 2 + ((self.v - cv) / rv) ** 2) - 1.0) * min(radii)
        return distance

    def between(self, left: float, right: float, top: Array, bottom: Array) -> Array:
        """Signed distance (approximate) to the region between two curves over left <= u <= right."""
        vertical = np.maximum(top - self.v, self.v - bottom)
        distance: Array = np.maximum(vertical, np.maximum(left - self.u, self.u - right))
        return distance

    def _near(self, points: Array, reach: float) -> tuple[NDArray[np.intp], ...]:
        """Pixels of the bounding box of a polyline, enlarged by `reach`: a stroke changes no other."""
        (left, top), (right, bottom) = points.min(axis=0) - reach, points.max(axis=0) + reach
        return np.nonzero((self.u >= left) & (self.u <= right) & (self.v >= top) & (self.v <= bottom))


def curve(*points: tuple[float, float], steps: int = 6) -> Array:
    """Polyline along the quadratic curve through three points, or the straight line through two."""
    p = np.asarray(points, dtype=np.float64)
    t = np.linspace(0.0, 1.0, steps)[:, None]
    if len(p) == 2:
        line: Array = (1 - t) * p[0] + t * p[1]
        return line
    control = 2 * p[1] - 0.5 * (p[0] + p[2])
    polyline: Array = (1 - t) ** 2 * p[0] + 2 * t * (1 - t) * control + t**2 * p[2]
    return polyline
