"""Figures of detection: drawn for any number of classes, curves and names, and the same from the same numbers."""

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from sightline.core.errors import DataError
from sightline.draw.detect_figures import _at, error_bars, f1_curves, precision_recall

COUNTS = {"classification": 14, "localisation": 0, "missed": 12_345}
COSTS = {"classification": 0.076, "localisation": -0.001, "missed": 0.3, "false positives": 0.1}


def made(classes, seed=0):
    """Recall, precision, threshold and F1 of each class; every fourth has nothing found."""
    random = np.random.default_rng(seed)
    curves = []
    for k in range(classes):
        points = 0 if k % 4 == 3 else int(random.integers(1, 40))
        recall = np.sort(random.random(points))
        precision, threshold = random.random(points), np.sort(random.random(points))[::-1]
        curves.append((recall, precision, threshold, 2 * recall * precision / (recall + precision + 1e-9)))
    return tuple(zip(*curves))


@pytest.mark.parametrize("classes", [1, 4, 7, 90])
def test_any_number_of_classes_is_drawn(classes):
    recall, precision, threshold, f1 = made(classes)
    names = [f"_$x_{k}$ {'long name ' * k}<b>" for k in range(classes)]
    areas = np.where(np.arange(classes) % 4 == 3, 0.0, np.linspace(0.9, 0.1, classes))
    areas[2:3] = np.nan
    for chosen in (np.full(classes, 0.5), np.full(classes, 2.0)):
        for data in (
            precision_recall(recall, precision, threshold, names, areas=areas, chosen=chosen),
            f1_curves(f1, threshold, names, chosen=chosen, shown=~np.isnan(areas)),
        ):
            assert min(Image.open(io.BytesIO(data)).size) > 200


def test_classes_of_which_nothing_is_found_are_drawn_alone_too():
    nothing = (np.zeros(0),)
    options = {"areas": np.zeros(1), "chosen": np.full(1, 0.5)}
    assert precision_recall(nothing, nothing, nothing, ["cat"], **options).startswith(b"\x89PNG")


@pytest.mark.parametrize("value", [None, 0.454])
def test_errors_are_drawn(value):
    assert min(Image.open(io.BytesIO(error_bars(COUNTS, COSTS, value=value))).size) > 200
    assert error_bars({}, {"missed": 0.0}).startswith(b"\x89PNG")


def test_the_same_numbers_make_the_same_file():
    assert error_bars(COUNTS, COSTS) == error_bars(COUNTS, COSTS)
    recall, precision, threshold, _ = made(3)
    options = {"areas": np.full(3, 0.5), "chosen": np.full(3, 0.5)}
    first, again = (precision_recall(recall, precision, threshold, "abc", **options) for _ in range(2))
    assert first == again


def test_a_curve_between_its_points():
    threshold, values = np.array([0.9, 0.5]), np.array([0.2, 0.6])
    assert _at(np.array([0.0, 0.5, 0.51, 0.9, 0.91]), threshold, values).tolist() == [0.6, 0.6, 0.2, 0.2, 0.0]
    assert _at(np.array([0.5]), np.zeros(0), np.zeros(0)).tolist() == [0.0]


def test_what_cannot_be_drawn_is_said():
    recall, precision, threshold, f1 = made(3)
    half = np.full(3, 0.5)
    with pytest.raises(DataError, match="one"):
        precision_recall(recall[:2], precision, threshold, "abc", areas=half, chosen=half)
    with pytest.raises(DataError, match="equal length"):
        f1_curves([each[:-1] for each in f1], threshold, "abc", chosen=half, shown=half > 0)
    with pytest.raises(DataError, match="none of the classes is there"):
        precision_recall(recall, precision, threshold, "abc", areas=np.full(3, np.nan), chosen=half)
    with pytest.raises(DataError, match="none of the classes is there"):
        f1_curves(f1, threshold, "abc", chosen=half, shown=half > 1)
    for counts, costs in (({}, {}), ({"missed": 1}, {"both": 0.1})):
        with pytest.raises(DataError, match="each kind of error needs its cost"):
            error_bars(counts, costs)
