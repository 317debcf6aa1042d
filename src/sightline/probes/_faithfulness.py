"""Whether a map can be believed: what covering its strongest places does to the answer, beside random maps.

Deletion and insertion (Petsiuk et al., 2018): pixels are covered, strongest first, and the score should fall at once;
or uncovered, strongest first, and it should rise at once. Two covers are averaged, the training mean and a strong
blur, since each leaves traces of its own. A figure alone says little, so random maps as coarse as this one, and a
plain spot in the middle, go through the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Preparation
from sightline.core.protocols import Array, Request
from sightline.probes._maps import resized
from sightline.probes._view import Watch

Floats = NDArray[np.float64]

STEPS = 8
"""Parts into which the picture's pixels are divided."""
FIELDS = 10
"""Random maps; each also counts upside down, for twenty."""
TRUSTED, HINT = 0.95, 0.8
"""Shares of random maps to be better than."""
SLIGHT = 0.01
"""A change of the score too small to explain."""


@dataclass(frozen=True)
class Verdict:
    """One sentence, and the figures behind it."""

    sentence: str
    figures: Mapping[str, float]


def judged(grid: NDArray[Any], request: Request, watched: Watch, preparation: Preparation, *, seed: int = 0) -> Verdict:
    """Hold a map over the graph's input, of any coarseness (h, w), against random ones on this picture.

    Runs the graph on about 340 versions of the picture. The figures, each in [0, 1]: `deletion` (low is good) and
    `insertion` (high is good), areas under the curves of the score; the same of the random maps on average
    (`random_`) and of the spot in the middle (`centre_`); `better_than_random`, the share of random maps that part
    the two curves less.
    """
    image = request.arrays["image"]
    curves = _Curves(image, covers(image, preparation), watched)
    ...
