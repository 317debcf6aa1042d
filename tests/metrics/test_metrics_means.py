import numpy as np
import pytest

from sightline.core.errors import DataError
from sightline.metrics.means import check_labels, check_scores, macro, share, weighted_mean


def test_share_of_nothing_is_nan_and_no_warning():
    np.testing.assert_array_equal(share([1.0, 0.0, 2.0], [2.0, 0.0, 0.0]), [0.5, np.nan, np.nan])


@pytest.mark.parametrize(
    ("values", "weights", "mean"),
    [
        ([1, 2, 3], None, 2.0),
        ([1, 2, 3], [1, 0, 1], 2.0),
        ([1, 2, 3], [0, 0, 4], 3.0),
        ([True, False], [3, 1], 0.75),
        ([1, 2], [0, 0], np.nan),
        ([], None, np.nan),
        ([], [], np.nan),
    ],
)
def test_weighted_mean(values, weights, mean):
    given = None if weights is None else np.array(weights, np.float64)
    assert weighted_mean(np.array(values), given) == pytest.approx(mean, nan_ok=True)


def test_macro_leaves_out_what_is_undefined():
    assert macro(np.array([0.2, np.nan, 0.4])) == pytest.approx(0.3)
    assert np.isnan(macro(np.array([np.nan, np.nan])))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "0 to 3; with 3 classes 0 to 2 fit"),
        ([-1, 1], "-1 to 1"),
        ([0.0, 1.0], "float64"),
        ([[0], [1]], r"shape \(2, 1\)"),
    ],
)
def test_labels_that_are_no_class_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        check_labels(np.array(labels), 3, what="the target")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[0.5, 0.5]], r"\(1, 2\) and \(2,\)"),
        ([0.5, 0.5], r"\(2,\)"),
        ([[0.5, 0.5], [np.nan, 0.5]], "not finite"),
        ([[1.0], [1.0]], "0 to 1; with 1 classes"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, message):
    with pytest.raises(DataError, match=message):
        check_scores(np.array(scores), np.array([0, 1]))
