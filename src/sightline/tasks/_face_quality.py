"""Quality of a face for recognition: size, sharpness, pose, light and what covers it, each told apart.

In the spirit of ISO/IEC 29794-5: parts from 0 to 1, of which the weakest decides, and below a half each has a reason
that a photographer can do something about. They are measured on the aligned face (`data.chips`), without a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.chips import CANON

Floats = NDArray[np.float64]

ENOUGH = 0.5
"""From which on a face is fit to be enrolled."""
_FACE = (slice(16, 104), slice(16, 96))
_EYES, _MOUTH = (slice(42, 62), slice(26, 86)), (slice(80, 104), slice(34, 78))
_LEFT, _RIGHT = (slice(40, 104), slice(20, 52)), (slice(40, 104), slice(60, 92))
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_RAMPS = {
    "size": (6.0, 26.0),
    "sharpness": (0.03, 0.13),
    "yaw": (0.45, 0.12),
    "pitch": (0.33, 0.09),
    "contrast": (8.0, 36.0),
    "clipped": (0.5, 0.06),
    "mouth": (0.05, 0.6),
    "sides": (0.1, 0.7),
}
"""Where each measure is worth nothing and where it is good enough: pixels between the eyes; what is fine of the
contrast; the nose beside the middle and above or below, in distances between the eyes and of eyes and mouth; deviation
of grey levels; share of pixels that are black or white; texture of the mouth to that of the eyes, and of the weaker
half to the other."""


@dataclass(frozen=True)
class Quality:
    """How fit a face is to be recognised."""

    parts: dict[str, float]
    """From 0 to 1 each: size, sharpness, pose, light, cover."""
    reason: str
    """What is wrong with it, and what to do, where its score is below `ENOUGH`; else empty."""

    @property
    def score(self) -> float:
        """That of the weakest part."""
        return min(self.parts.values())


def quality(chip: NDArray[np.uint8], points: Any = None) -> Quality:
    """Quality of an aligned face (112, 112, 3) whose landmarks (5, 2) were these in the picture, in its pixels.

    Without landmarks, as for faces that were cut out and aligned elsewhere, size and pose count as good.
    """
    grey = chip.astype(np.float32) @ _LUMA
    eyes, yaw, pitch = _pose(CANON if points is None else np.asarray(points, np.float64))
    eyes = _RAMPS["size"][1] if points is None else eyes
    face = grey[_FACE]
    spread = float(face.std())
    clipped = float(((face < 6) | (face > 249)).mean())
    texture = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    mouth = float(texture[_MOUTH].mean() / max(texture[_EYES].mean(), 1e-6))
    halves = sorted(float(texture[half].mean()) for half in (_LEFT, _RIGHT))
    parts = {
        "size": _ramp("size", eyes),
        "sharpness": _ramp("sharpness", _fine(face) / max(spread, 1.0)),
        "pose": min(_ramp("yaw", abs(yaw)), _ramp("pitch", abs(pitch))),
        "light": min(_ramp("contrast", spread), _ramp("clipped", clipped)),
        "cover": min(_ramp("mouth", mouth), _ramp("sides", halves[0] / max(halves[1], 1e-6))),
    }
    weakest = min(parts, key=lambda name: parts[name])
    reason = "" if parts[weakest] >= ENOUGH else _said(weakest, eyes, yaw, pitch, float(face.mean()), mouth)
    return Quality(parts, reason)


def _said(weakest: str, eyes: float, yaw: float, pitch: float, mean: float, mouth: float) -> str:
    """What is wrong, and what to do."""
    if weakest == "size":
        return f"too small: {eyes:.0f} pixels between the eyes, and {_limit('size'):.0f} are wanted; come nearer"
    if weakest == "sharpness":
        return "not sharp; hold still, focus, or take a larger picture"
    if weakest == "pose":
        turned = "to the side" if _ramp("yaw", abs(yaw)) <= _ramp("pitch", abs(pitch)) else "up or down"
        return f"turned {turned}; look into the camera"
    if weakest == "light":
        return f"{'too dark' if mean < 60 else 'too bright' if mean > 190 else 'badly lit'}; change the light"
    return f"{'mouth' if _ramp('mouth', mouth) < ENOUGH else 'one side'} covered or in shadow; show the whole face"


def _pose(points: Floats) -> tuple[float, float, float]:
    """Pixels between the eyes, and how far the nose is off the middle, sideways and along, in shares."""
    left, right, nose = points[0], points[1], points[2]
    mouth, middle = (points[3] + points[4]) / 2, (left + right) / 2
    eyes = float(np.hypot(*(right - left)))
    along = (right - left) / max(eyes, 1e-6)
    down = np.array([-along[1], along[0]])
    length = float((mouth - middle) @ down)
    if length <= 0.2 * eyes:  # mouth beside or above the eyes: no face that looks this way
        return eyes, 1.0, 1.0
    return eyes, float((nose - middle) @ along / eyes), float((nose - middle) @ down / length - _UPRIGHT)


_UPRIGHT = float((CANON[2, 1] - CANON[:2, 1].mean()) / (CANON[3:, 1].mean() - CANON[:2, 1].mean())) + 0.05
"""How far down the nose is between eyes and mouth when a face looks ahead: a little more than in the mean template."""


def _fine(face: NDArray[np.float32]) -> float:
    """Mean absolute Laplacian."""
    middle, around = face[1:-1, 1:-1], face[:-2, 1:-1] + face[2:, 1:-1] + face[1:-1, :-2] + face[1:-1, 2:]
    return float(np.abs(4 * middle - around).mean())


def _ramp(name: str, value: float) -> float:
    low, high = _RAMPS[name]
    return float(np.clip((value - low) / (high - low), 0, 1))


def _limit(name: str) -> float:
    """The value that is just enough."""
    low, high = _RAMPS[name]
    return low + ENOUGH * (high - low)
