"""Look-alikes: against a loop over all pairs of people, in blocks of any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.errors import DataError, UsageError
from sightline.metrics import look_alikes as module
from sightline.metrics.look_alikes import look_alikes


@given(st.integers(1, 25), st.integers(1, 6), st.integers(1, 9), st.integers(1, 400))
@settings(max_examples=50)
def test_the_most_alike_people_are_found(samples, people, most, cells):
    random = np.random.default_rng([samples, people, most])
    vectors, names = random.normal(size=(samples, 3)), random.choice(list("fedcba")[:people], samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CELLS", cells)
        found = look_alikes(vectors, names, most=most)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    best = {}
    for i in range(samples):
        for j in range(samples):
            if names[i] < names[j]:
                pair = names[i], names[j]
                best[pair] = max(best.get(pair, (-2.0, (0, 0))), (float(unit[i] @ unit[j]), (i, j)))
    expected = sorted(((score, pair, places) for pair, (score, places) in best.items()), reverse=True)[:most]
    assert [each.people for each in found] == [pair for _, pair, _ in expected]
    assert [each.samples for each in found] == [places for _, _, places in expected]
    np.testing.assert_allclose([each.score for each in found], [score for score, _, _ in expected], atol=1e-5)


def test_nobody_is_like_nobody():
    assert look_alikes(np.zeros((0, 3)), np.zeros(0)) == []
    assert look_alikes(np.ones((4, 3)), np.zeros(4)) == []


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        look_alikes(np.ones((2, 3)), np.arange(2), most=0)
    with pytest.raises(DataError, match="no length"):
        look_alikes(np.zeros((2, 3)), np.arange(2))
