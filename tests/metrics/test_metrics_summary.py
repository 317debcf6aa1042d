"""Summaries become measures: their names, and which interval each gets."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.metrics import intervals
from sightline.metrics.means import Floats
from sightline.metrics.summary import measured

RIGHT = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
ALONE = np.array([f"{i}.png" for i in range(6)])
PAIRED = np.array(["a", "a", "b", "b", "c", "c"])


def summary(weights: Floats) -> dict[str, float | Floats]:
    share = float(weights @ RIGHT / weights.sum())
    return {"share": share, "share/": np.array([share, 1.0]), "constant": 0.5}


@pytest.mark.parametrize(
    ("groups", "name", "interval"),
    [
        (ALONE, "share", "wilson"),
        (PAIRED, "share", "bootstrap"),
        (ALONE, "share/cat", "bootstrap"),  # no proportion, as far as `sizes` says
        (PAIRED, "share/dog", "wilson"),  # a proportion that does not vary
        (ALONE, "constant", "none"),
    ],
)
def test_each_measure_gets_its_interval(groups: np.ndarray, name: str, interval: str) -> None:
    found = measured(
        summary, groups, ("cat", "dog"), sizes=lambda member: {"share": int(member.max()) + 1, "share/dog": 3}
    )
    assert list(found) == ["share", "share/cat", "share/dog", "constant"]
    assert found[name].interval.startswith(interval)
    if interval == "wilson":
        n = 6 if name == "share" else 3
        assert found[name] == intervals.proportion(found[name].value, n)
