import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import approximate_polygon, points_in_poly

from sightline.core.errors import DataError
from sightline.metrics.regions import components, outline, simplified

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14)))


def drawn(*rows):
    return np.array([[cell != "." for cell in row] for row in rows], np.bool_)


def area(polygon):
    x, y = polygon.astype(np.float64).T
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def blob(seed, side=160):
    """The largest component of smoothed noise: bays, holes and thin bridges."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 5)
    labels, _ = ndimage.label(noise > 0, np.ones((3, 3)))
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


@settings(deadline=None)
@given(MASKS)
def test_components_are_those_of_scipy_in_reading_order(mask):
    labels = components(mask)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, ndimage.label(mask, np.ones((3, 3)))[0])
    held, first = np.unique(labels[mask], return_index=True)
    assert held.tolist() == list(range(1, len(held) + 1)) and (np.diff(first) > 0).all()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("order", ["C", "F"])
def test_components_of_noise_at_every_density(share, order):
    mask = np.asarray(np.random.default_rng(3).random((211, 190)) < share, order=order)
    np.testing.assert_array_equal(components(mask), ndimage.label(mask, np.ones((3, 3)))[0])


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (drawn("#.#", "#.#", "###"), 1),  # joined only in the last row
        (drawn("#..", ".#.", "..#"), 1),
        (drawn("#.", "..", ".#"), 2),
        (drawn("..#", "#.."), 2),  # the end of a row does not touch the start of the next
        (drawn("#.#.#.#", ".#...#.", "...#..."), 3),
        (np.zeros((4, 5), np.bool_), 0),
        (np.zeros((0, 5), np.bool_), 0),
        (np.zeros((5, 0), np.bool_), 0),
        (np.ones((3, 1), np.bool_), 1),
    ],
)
def test_number_of_components(mask, expected):
    labels = components(mask)
    assert labels.shape == mask.shape and labels.max(initial=0) == expected


def test_a_spiral_is_one_component_with_one_outline():
    spiral = np.zeros((61, 61), np.bool_)
    top, left, bottom, right = 0, 0, 60, 60
    while top <= bottom and left <= right:
        spiral[top, max(left - 2, 0) : right + 1] = True
        spiral[top : bottom + 1, right] = True
        spiral[bottom, left : right + 1] = True
        spiral[top + 2 : bottom + 1, left] = True
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    assert components(spiral).max() == ndimage.label(spiral, np.ones((3, 3)))[1] == 1
    assert area(outline(spiral)) == ndimage.binary_fill_holes(spiral).sum()


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (drawn("#"), [(0, 0), (1, 0), (1, 1), (0, 1)]),
        (drawn("....", "..##", "..##"), [(2, 1), (4, 1), (4, 3), (2, 3)]),
        (drawn("###", "#.#", "###"), [(0, 0), (3, 0), (3, 3), (0, 3)]),
        (drawn("#.", "##"), [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)]),
        (drawn("#.", ".#"), [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (1, 2), (1, 1), (0, 1)]),
        (drawn(".#", "#."), [(1, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 1), (1, 1)]),
    ],
)
def test_known_outlines(mask, expected):
    polygon = outline(mask)
    assert polygon.dtype == np.float32
    assert [tuple(corner) for corner in polygon.tolist()] == expected


@settings(deadline=None)
@given(MASKS)
def test_an_outline_holds_its_component_and_its_holes_and_nothing_else(mask):
    labels = components(mask)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    for number in range(1, labels.max() + 1):
        polygon = outline(labels == number)
        filled = ndimage.binary_fill_holes(labels == number)
        inside = points_in_poly(np.stack([x.ravel(), y.ravel()], axis=1), polygon).reshape(mask.shape)
        np.testing.assert_array_equal(inside, filled)
        assert area(polygon) == filled.sum()  # positive: clockwise on the screen
        edges = np.roll(polygon, -1, axis=0) - polygon
        assert ((edges != 0).sum(axis=1) == 1).all()  # along pixels
        assert ((edges != 0) != np.roll(edges != 0, 1, axis=0)).all()  # a corner at each end


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [0.6, 1.5, 4.0])
def test_simplified_outlines_agree_with_scikit_image_half_by_half(seed, tolerance):
    polygon = outline(blob(seed)).astype(np.float64)
    polygon += np.random.default_rng(seed).uniform(-0.01, 0.01, polygon.shape)  # so that no two are equally far out
    far = np.hypot(*(polygon - polygon[0]).T).argmax()
    halves = polygon[: far + 1], np.concatenate([polygon[far:], polygon[:1]])
    expected = np.concatenate([approximate_polygon(half, tolerance)[:-1] for half in halves])
    found = simplified(polygon, tolerance)
    assert len(found) < len(polygon)
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(MASKS.filter(np.any), st.floats(0.1, 5))
def test_no_corner_left_out_lies_further_off_than_the_tolerance(mask, tolerance):
    polygon = outline(mask)
    found = simplified(polygon, tolerance)
    assert found.dtype == polygon.dtype and len(found) >= 4
    starts, along = found.astype(np.float64), (np.roll(found, -1, axis=0) - found).astype(np.float64)
    to = polygon[:, None] - starts
    place = np.clip((to * along).sum(axis=2) / np.square(along).sum(axis=1), 0, 1)
    off = np.linalg.norm(to - place[..., None] * along, axis=2).min(axis=1)
    assert (off <= tolerance + 1e-9).all()


def test_what_cannot_be_simplified_stays_as_it_is():
    line = np.array([[0, 0], [1, 0], [1, 0.01]])
    assert simplified(line, 5.0) is line
    strip = outline(np.ones((1, 40), np.bool_))
    np.testing.assert_array_equal(simplified(strip, 3.0), strip)


@pytest.mark.parametrize("function", [components, outline])
@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.zeros((2, 2), np.uint8), r"\(H, W\) of bool, not uint8"),
        (np.zeros(3, np.bool_), r"not bool of shape \(3,\)"),
    ],
)
def test_what_is_no_mask_is_refused(function, mask, said):
    with pytest.raises(DataError, match=said):
        function(mask)


def test_nothing_has_no_outline():
    with pytest.raises(DataError, match="without a pixel"):
        outline(np.zeros((3, 3), np.bool_))
