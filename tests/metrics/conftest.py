"""Generated answers, with ties among the scores, and scikit-learn as the independent reference."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray


class Case(NamedTuple):
    scores: NDArray[np.float64]
    target: NDArray[np.int64]
    predicted: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    classes: int


CASES = {
    "ten classes": (300, 10, 0, None),
    "two classes": (80, 2, 1, None),
    "drawn again, some not": (200, 4, 2, "counts"),
    "fractions": (150, 3, 3, "fractions"),
    "two weighted": (60, 2, 4, "counts"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Probabilities of one decimal, so that many are tied, every class present and answered."""
    n, classes, seed, kind = CASES[request.param]
    random = np.random.default_rng(seed)
    target = random.integers(classes, size=n)
    scores = random.dirichlet(np.ones(classes), size=n)
    scores[np.arange(n), target] += 0.5
    scores = np.round(scores / scores.sum(axis=1, keepdims=True), 1)
    scores[:, 0] = np.maximum(scores[:, 0] + 1 - scores.sum(axis=1), 0)
    weights = {"counts": random.integers(0, 4, n).astype(np.float64), "fractions": random.random(n)}.get(kind or "")
    return Case(scores, target, scores.argmax(axis=1), weights, classes)


@pytest.fixture(scope="session")
def reference() -> Any:
    return pytest.importorskip("sklearn.metrics")
