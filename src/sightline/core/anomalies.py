"""AnomalyMap: the answer about a part that may be flawed, with every region that does not belong."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.results import Result

GOOD = "good"
"""What the kind of a flawless part is called where a layout or a table has to name it."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One connected part of a picture that does not belong."""

    polygon: NDArray[np.float32]
    """Its outline, shape (M, 2), float32: x and y in pixels of the upright picture, a pixel's edges being whole
    numbers; closed from the last to the first, holes left out."""
    xyxy: tuple[float, float, float, float]
    """Left, top, right, bottom of the outline, in pixels."""
    area: float
    """In square pixels of the picture."""
    peak: float
    """Largest value of the map in it."""
    peak_xy: tuple[float, float]
    """Where that is, in pixels."""
    kind: str = ""
    """The kind of defect it looks like; "" where no kinds were learnt or none is likely."""
    chance: float = float("nan")
    """Probability of that kind among the kinds, in [0, 1]; NaN without one."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        told: dict[str, Any] = {
            "xyxy": [round(value, 2) for value in self.xyxy],
            "area": round(self.area, 1),
            "peak": round(self.peak, 6),
            "peak_xy": [round(value, 2) for value in self.peak_xy],
            "polygon": [[round(float(x), 2), round(float(y), 2)] for x, y in self.polygon],
        }
        return {"kind": self.kind, "chance": round(self.chance, 6), **told} if self.kind else told


@dataclass(frozen=True, kw_only=True)
class AnomalyMap(Result):
    """How far a picture is from the good ones, where, and whether that is an alarm.

    >>> plain = {"grid": np.zeros((4, 4), np.float32), "to_grid": np.diag([0.1, 0.1, 1.0]), "size_hw": (40, 40)}
    >>> AnomalyMap(score=1.5, threshold=2.0, p_value=0.3, **plain).line()
    'good (0.75 of the threshold, p 0.3)'
    """

    score: float
    """Larger is less like the good ones; in units of the method."""
    threshold: float
    """A score above this is an alarm; NaN where none was chosen, and nothing is one."""
    p_value: float
    """Share of good parts that would score at least as high, by the good ones held out (conformal), in (0, 1]."""
    grid: NDArray[np.float32]
    """Shape (h, w), float32: the map as the graph puts it out, in units of the score."""
    to_grid: NDArray[np.float64]
    """Shape (3, 3): homography from x, y, 1 in pixels of the upright picture to pixels of the grid, in both a pixel's
    edges being whole numbers. Where it leads beyond the grid nothing was looked at."""
    size_hw: tuple[int, int]
    """Height and width of the picture in pixels."""
    kind_grid: NDArray[np.float32] | None = None
    """Shape (K, h, w), float32: how much each place looks like each kind of defect, as logits; None where no kinds were
    learnt."""
    regions: tuple[Region, ...] = ()
    """Of an alarm, what does not belong, the highest peak first."""

    @property
    def alarm(self) -> bool:
        """Whether the score is above the threshold; never of a part that was not judged."""
        return self.abstained is None and self.score > self.threshold

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of defects that its regions look like, the most frequent first."""
        counts = Counter(region.kind for region in self.regions if region.kind)
        return tuple(sorted(counts, key=lambda name: (-counts[name], name)))

    def heat(self, *, at_most: int = 0, outside: float = 0.0) -> NDArray[np.float32]:
        """The map in the picture's own pixels, (H, W) float32, bilinear; `outside` where nothing was looked at.

        at_most: longer side in pixels that it is brought down to, where it is longer (0: never).
        """
        from PIL import Image

        height, width = self.size_hw
        by = min(1.0, at_most / max(height, width)) if at_most else 1.0
        out = max(1, round(width * by)), max(1, round(height * by))
        back = self.to_grid @ np.diag([width / out[0], height / out[1], 1.0])
        back = back / back[2, 2]
        padded = np.pad(self.grid, 1, mode="edge")  # so that the outermost half pixels are not cut off
        shift = np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 1]]) @ back
        shift = shift / shift[2, 2]
        image = Image.fromarray(padded.astype(np.float32))
        how = Image.Transform.PERSPECTIVE, tuple(shift.ravel()[:8])
        found = np.asarray(image.transform(out, *how, resample=Image.Resampling.BILINEAR), np.float32)
        return np.where(self._seen(back, out), found, np.float32(outside))

    def _seen(self, back: NDArray[np.float64], out: tuple[int, int]) -> NDArray[np.bool_]:
        """Which pixels (H, W) lie within the grid."""
        x, y = np.meshgrid(np.arange(out[0]) + 0.5, np.arange(out[1]) + 0.5)
        u, v, w = (row[0] * x + row[1] * y + row[2] for row in back)
        edge = 1e-6 * max(self.grid.shape)
        inside = (u >= -edge * w) & (u <= (self.grid.shape[1] + edge) * w)
        found: NDArray[np.bool_] = inside & (v >= -edge * w) & (v <= (self.grid.shape[0] + edge) * w)
        return found

    def line(self) -> str:
        """Good, or what was found, with the score as a share of the threshold."""
        if self.abstained:
            return f"(not sure: {self.abstained})"
        share = f"{self.score / self.threshold:.2f} of the threshold" if self.threshold > 0 else f"{self.score:.3g}"
        found = ", ".join(self.kinds) or "something that does not belong"
        places = f"{len(self.regions)} region{'s' if len(self.regions) != 1 else ''}"
        text = f"{found} in {places}" if self.alarm else "good"
        return f"{text} ({share}, p {self.p_value:.2g})"

    def to_dict(self) -> dict[str, Any]:
        """`alarm`, `score`, `threshold`, `p_value`, `kinds`, and `regions` with outlines in pixels."""
        return {
            "alarm": self.alarm,
            "score": round(self.score, 6),
            "threshold": None if np.isnan(self.threshold) else round(self.threshold, 6),
            "p_value": round(self.p_value, 6),
            "kinds": list(self.kinds),
            "regions": [region.to_dict() for region in self.regions],
            "abstained": self.abstained,
        }

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(each.kind)}</td><td>{each.peak:.3g}</td><td>{each.area:.0f}</td>"
            f"<td>{', '.join(f'{value:.0f}' for value in each.xyxy)}</td></tr>"
            for each in self.regions
        )
        head = "<tr><th>kind</th><th>peak</th><th>area, px²</th><th>left, top, right, bottom</th></tr>"
        return f"<p>{html.escape(self.line())}</p>" + (f"<table>{head}{rows}</table>" if rows else "")
