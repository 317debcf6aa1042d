"""The figure of verification: drawn for few, many, tied and perfect scores, and the same from the same numbers."""

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from sightline.core.errors import DataError
from sightline.draw.det_figure import HALF, _cuts, _limits, _rates, det_figure

BAND = (np.array([0.01, 0.1]), np.array([0.0, 0.0]), np.array([0.5, 0.2]))


def made(others, own, apart, seed=0):
    random = np.random.default_rng(seed)
    scores = np.concatenate([random.normal(size=others), random.normal(size=own) + apart])
    return scores, np.arange(others + own) >= others


@pytest.mark.parametrize(
    ("others", "own", "apart"), [(1, 1, 0.0), (40, 3, 9.0), (5000, 400, 2.0), (30, 30, -3.0), (50_000, 9, 4.0)]
)
def test_any_scores_are_drawn(others, own, apart):
    scores, mated = made(others, own, apart)
    assert min(Image.open(io.BytesIO(det_figure(scores, mated, threshold=1.0, band=BAND))).size) > 400


@pytest.mark.parametrize("threshold", [float("nan"), -99.0, 99.0])
def test_any_threshold_is_drawn(threshold):
    assert det_figure(*made(40, 9, 1.0), threshold=threshold).startswith(b"\x89PNG")


def test_equal_scores_are_drawn():
    assert det_figure(np.ones(6), np.arange(6) > 2, threshold=1.0).startswith(b"\x89PNG")


def test_the_same_numbers_make_the_same_file_and_others_another():
    scores, mated = made(300, 50, 2.0)
    first, again = (det_figure(scores, mated, threshold=1.0, band=BAND) for _ in range(2))
    assert first == again
    assert first != det_figure(scores, mated, threshold=1.0)
    assert first != det_figure(scores, mated, threshold=1.1, band=BAND)


@pytest.mark.parametrize("own", [5, 3000])
def test_the_curve_that_is_drawn_has_its_corners(own):
    scores, mated = made(20_000, own, 2.5)
    other, same = np.sort(scores[~mated]), np.sort(scores[mated])
    limits = _limits(other, same, np.zeros((2, 1)))
    cuts = _cuts(other, same, limits)
    assert len(cuts) < 2500
    fmr, fnmr = _rates(other, same, cuts)
    false, missed = _rates(other, same, np.append(np.unique(scores), np.inf))
    seen = (false <= HALF) & (missed <= HALF) & (false > 0)
    drawn = np.interp(false[seen], fmr[::-1], fnmr[::-1])
    assert np.abs(drawn - missed[seen]).max() <= max(0.006, 1 / own)
    assert (fmr.min(), fnmr.min()) == (0, 0)


@pytest.mark.parametrize(
    ("scores", "mated", "band", "said"),
    [
        ([0.5], [True, False], None, r"\(N,\)"),
        ([np.inf, 0.5], [True, False], None, "finite"),
        ([0.5, 0.6], [True, True], None, "absent"),
        ([], [], None, "absent"),
        ([0.5, 0.6], [True, False], (np.ones(2), np.ones(2), np.ones(3)), "band"),
        ([0.5, 0.6], [True, False], (np.ones(2), np.ones(2)), "band"),
    ],
)
def test_what_cannot_be_drawn_is_refused(scores, mated, band, said):
    with pytest.raises(DataError, match=said):
        det_figure(np.array(scores), np.array(mated, bool), band=band)
