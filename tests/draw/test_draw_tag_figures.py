"""Figures of several labels: drawn for any number of labels, pictures and names, and the same from the same numbers."""

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from sightline.core.errors import DataError
from sightline.draw.tag_figures import _worst, label_bars, precision_recall_curves


def tables(n, k, seed=0):
    random = np.random.default_rng(seed)
    target = random.random((n, k)) < 0.3
    return np.clip(random.random((n, k)) * 0.7 + 0.3 * target, 0, 1), target


@pytest.mark.parametrize(("n", "labels"), [(2, 1), (40, 3), (60, 12), (60, 90)])
def test_any_number_of_labels_is_drawn(n, labels):
    scores, target = tables(n, labels)
    target[0] = True
    names = [f"$x_{k}$ {'long name ' * k}<b>" for k in range(labels)]
    for data in (
        label_bars(scores, target, scores > 0.6, names),
        label_bars(scores, target, scores > 2, names),  # nothing is claimed
        precision_recall_curves(scores, target, names, np.full(labels, 0.6)),
        precision_recall_curves(scores, target, names, np.full(labels, 2.0)),
    ):
        assert min(Image.open(io.BytesIO(data)).size) > 200


def test_the_same_numbers_make_the_same_file():
    scores, target = tables(30, 3)
    first, again = (precision_recall_curves(scores, target, "abc", np.full(3, 0.5)) for _ in range(2))
    assert first == again


def test_the_worst_come_first_and_labels_without_a_picture_not_at_all():
    metrics = pytest.importorskip("sklearn.metrics")
    scores, target = tables(200, 5)
    target[:, 2] = False
    areas, rows = _worst(scores, target, "abcde", 3)
    wanted = {k: metrics.average_precision_score(target[:, k], scores[:, k]) for k in (0, 1, 3, 4)}
    assert rows == sorted(wanted, key=wanted.__getitem__)[:3]
    assert [areas[k] for k in wanted] == pytest.approx(list(wanted.values()))
    assert np.isnan(areas[2])


@pytest.mark.parametrize("broken", ["shape", "names", "nothing"])
def test_what_cannot_be_drawn_is_said(broken):
    scores, target = tables(10, 3)
    target = target[:5] if broken == "shape" else target & (broken != "nothing")
    names = "ab" if broken == "names" else "abc"
    with pytest.raises(DataError):
        label_bars(scores, target, target, names)
