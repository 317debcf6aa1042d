"""_known: a handful of known defects sharpens the map where it helps, never lowers it, and tells kinds apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.methods._known import GAINS, Known, _auroc, _inside, _regression, known_of, sharpened

HW = (6, 5)
GOOD, BAD = 24, 12


def made(*, hidden: bool = True, kinds: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Patches (N, h, w, 6), maps (N, h, w) and targets: of each defective part four places are shifted along the axis
    of its kind; `hidden`, as far as good parts' patches differ anyway, so that distance says nothing of it."""
    rng = np.random.default_rng(seed)
    patches = rng.normal(0, 1, (GOOD + BAD, *HW, 6)).astype(np.float32)
    kind = np.r_[np.full(GOOD, -1), np.arange(BAD) % kinds]
    mask = np.zeros((GOOD + BAD, *HW), np.float32)
    mask[GOOD:, 2:4, 1:3] = 1
    for row in range(GOOD, GOOD + BAD):
        patches[row, 2:4, 1:3] *= 0.2
        patches[row, 2:4, 1:3, kind[row]] += 3.5
    distance = rng.uniform(1, 2, mask.shape).astype(np.float32)
    if not hidden:
        distance += 5 * mask
    targets = {"anomalous": (kind >= 0).astype(np.int64), "kind": kind.astype(np.int64), "mask": mask}
    return patches, distance, targets


FOLD = np.arange(GOOD + BAD) % 4


def highest(maps: np.ndarray) -> np.ndarray:
    return maps.max(axis=(1, 2))


def test_defects_that_are_not_far_are_found_once_some_are_known() -> None:
    patches, distance, targets = made()
    found = sharpened(patches, distance, targets, FOLD, 2, score=highest)
    assert found.before < 0.75
    assert found.after > 0.95
    assert found.known.gain > 0
    bad = targets["anomalous"] == 1
    fresh, farness, _ = made(seed=1)
    raised = found.known.raised(farness, found.known.kinds(fresh))
    assert _auroc(raised.max(axis=(1, 2)), bad) > 0.95
    peaks = raised[bad].reshape(BAD, -1).argmax(axis=1)
    rows, columns = np.unravel_index(peaks, HW)
    assert np.mean(np.isin(rows, (2, 3)) & np.isin(columns, (1, 2))) > 0.9


def test_a_map_that_is_right_already_is_left_as_it_is() -> None:
    patches, distance, targets = made(hidden=False)
    found = sharpened(patches, distance, targets, FOLD, 2, score=highest)
    assert (found.before, found.after, found.known.gain) == (1.0, 1.0, 0.0)
    np.testing.assert_array_equal(found.crossed, distance[:GOOD])


def test_maps_are_never_lowered() -> None:
    patches, distance, targets = made()
    found = sharpened(patches, distance, targets, FOLD, 2, score=highest)
    assert (found.crossed >= distance[:GOOD]).all()
    assert found.crossed.shape == (GOOD, *HW)
    for gain in GAINS:
        known = Known(found.known.weight, found.known.bias, gain)
        assert (known.raised(distance, known.kinds(patches)) >= distance).all()


def test_what_is_crossed_is_said_by_regressions_that_did_not_see_the_part() -> None:
    """A good part like a defect raises its own map, whereas one that learnt from it would keep it low."""
    patches, distance, targets = made(kinds=1)
    patches[0, 2:4, 1:3] = patches[GOOD, 2:4, 1:3]
    found = sharpened(patches, distance, targets, FOLD, 1, score=highest)
    assert found.known.gain > 0
    typical = float(np.median(distance[:GOOD]))
    assert (found.crossed[0, 2:4, 1:3] - distance[0, 2:4, 1:3]).min() > 0.25 * found.known.gain / typical


def test_kinds_are_told_apart() -> None:
    patches, distance, targets = made()
    known = sharpened(patches, distance, targets, FOLD, 2, score=highest).known
    fresh, _, others = made(seed=2)
    kinds = known.kinds(fresh)
    assert kinds.shape == (GOOD + BAD, 2, *HW)
    inside = kinds[GOOD:, :, 2:4, 1:3].mean(axis=(2, 3))
    np.testing.assert_array_equal(inside.argmax(axis=1), others["kind"][GOOD:])
    assert (inside.max(axis=1) > 0).all()


def test_masks_may_be_unknown() -> None:
    patches, distance, targets = made(hidden=False)
    targets["mask"][GOOD:] = -1
    found = sharpened(patches, distance, targets, FOLD, 2, score=highest)
    inside = found.known.kinds(patches)[GOOD:, :, 2:4, 1:3].mean(axis=(2, 3))
    np.testing.assert_array_equal(inside.argmax(axis=1), targets["kind"][GOOD:])


def test_a_kind_of_one_example_and_one_of_none() -> None:
    patches, distance, targets = made(kinds=1)
    targets["kind"][GOOD] = 2  # its only example is left out of its own fold
    known = sharpened(patches, distance, targets, FOLD, 4, score=highest).known
    kinds = known.kinds(patches)
    assert kinds.shape[1] == 4
    assert np.isfinite(kinds).all()
    assert kinds[:, [1, 3]].max() < -9  # nothing was shown of these


def test_a_tile_beside_the_defect_is_neither_good_nor_bad() -> None:
    patches, distance, targets = made()
    alone = sharpened(patches, distance, targets, FOLD, 2, score=highest)
    beside = GOOD + BAD
    patches = np.concatenate([patches, patches[:1]])
    distance = np.concatenate([distance, np.zeros_like(distance[:1])])  # as good as can be
    targets = {
        "anomalous": np.r_[targets["anomalous"], 1],
        "kind": np.r_[targets["kind"], 0],
        "mask": np.concatenate([targets["mask"], np.zeros((1, *HW), np.float32)]),
    }
    found = sharpened(patches, distance, targets, np.r_[FOLD, 0], 2, score=highest)
    assert (found.before, found.after) == (alone.before, alone.after)
    assert len(found.crossed) == beside - BAD


@pytest.mark.parametrize(
    ("share", "wanted"),
    [
        ([[0.0, 0.0], [0.0, 0.9]], [[0, 0], [0, 1]]),
        ([[0.0, 0.1], [0.0, 0.3]], [[0, 0], [0, 1]]),  # small: where there is most of it
        ([[0.6, 0.5], [0.49, 1.0]], [[1, 1], [0, 1]]),
        ([[0.0, 0.0], [0.0, 0.0]], [[0, 0], [0, 0]]),
    ],
)
def test_where_a_defect_is(share: list[list[float]], wanted: list[list[int]]) -> None:
    found = _inside(np.array(share, np.float32), np.zeros((2, 2), np.float32))
    np.testing.assert_array_equal(found, np.array(wanted, bool))


def test_masks_and_maps_may_be_of_unequal_sizes() -> None:
    share = np.zeros((8, 8), np.float32)
    share[4:, :4] = 1
    np.testing.assert_array_equal(_inside(share, np.zeros((2, 4), np.float32)), [[0, 0, 0, 0], [1, 1, 0, 0]])
    np.testing.assert_array_equal(np.argwhere(_inside(share, np.zeros((16, 16), np.float32))).min(axis=0), [8, 0])
    far = np.arange(100, dtype=np.float32).reshape(10, 10)
    assert _inside(np.full((8, 8), -1, np.float32), far).sum() == 5
    assert _inside(np.full((8, 8), -1, np.float32), far)[-1, -5:].all()


def test_the_regression_is_scikit_learns() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    no, yes = rng.normal(0, 1, (300, 4)), rng.normal(0.8, 1, (40, 4))
    weight, bias = _regression(no, yes)
    reference = linear.LogisticRegression(C=1.0, tol=1e-9, max_iter=1000)
    each = np.r_[np.full(300, 100 / 300), np.full(40, 100 / 40)]
    reference.fit(np.r_[no, yes], np.r_[np.zeros(300), np.ones(40)], sample_weight=each)
    np.testing.assert_allclose(weight, reference.coef_[0], atol=1e-4)
    assert bias == pytest.approx(float(reference.intercept_[0]), abs=1e-4)


def test_the_regression_comes_to_rest_where_the_sides_are_far_apart() -> None:
    rng = np.random.default_rng(0)
    weight, bias = _regression(rng.normal(0, 1, (500, 3)), rng.normal(40, 0.1, (3, 3)))
    assert np.isfinite(weight).all()
    assert 40 * weight.sum() + bias > 3 > -3 > bias


@pytest.mark.parametrize("seed", range(5))
def test_auroc_counts_ties_half(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 6, 50), rng.random(50) < 0.3
    assert _auroc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))
    assert _auroc(np.ones(50), positive) == 0.5


def test_arrays_come_back() -> None:
    known = Known(np.ones((2, 3), np.float32), np.zeros(2, np.float32), 0.25)
    again = known_of(known.to_arrays())
    assert again is not None
    assert again.gain == 0.25
    np.testing.assert_array_equal(again.weight, known.weight)
    assert known_of({"bank": np.zeros(3)}) is None
