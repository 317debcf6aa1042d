"""Figures are PNGs of a sensible size, the same each time, whatever the names and however little the data."""

import io
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from sightline.core.errors import DataError, MissingExtraError
from sightline.draw.figures import confusion, curves, reliability, row_shares, threshold_curve

matplotlib = pytest.importorskip("matplotlib")
NAN = float("nan")
HISTORY = [
    {"epoch": e, "loss": 2.0 / e, "log_loss": 2.5 / e, "accuracy": 1 - 0.5 / e, "lr": 0.1 / e} for e in range(1, 13)
]
NAMES = ("$x_1$ {", "日本語", "مرحبا", "a" * 300, "\udcff", "<b>", "%d \\frac", "")
BINS = np.arange(10) / 10 + 0.05


def decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def saturated(picture: np.ndarray) -> int:
    """How many pixels carry colour: what is drawn, beyond axes and letters."""
    return int((np.ptp(picture.astype(int), axis=2) > 60).sum())


@pytest.mark.parametrize(
    "history",
    [
        HISTORY,
        HISTORY[:1],
        [{"loss": 1.0}],
        [{"loss": NAN, "accuracy": 0.5}, {"loss": 1.0}],
        [{"epoch": 1, "loss": 1.0, "accuracy": NAN, "lr": 0.1}],
    ],
)
def test_curves(history: list[dict[str, float]]) -> None:
    picture = decoded(curves(history, metric="accuracy"))
    assert picture.shape[0] == 435 and saturated(picture) > 30


def test_curves_draw_a_panel_for_each_thing_that_was_measured() -> None:
    widths = [decoded(curves(h, metric="accuracy")).shape[1] for h in (HISTORY, [{"loss": 1.0}])]
    assert widths[0] > 2.5 * widths[1]


@pytest.mark.parametrize("history", [[], [{"epoch": 1}], [{"loss": NAN}]])
def test_curves_of_nothing_are_refused(history: list[dict[str, float]]) -> None:
    with pytest.raises(DataError):
        curves(history, metric="accuracy")


@pytest.mark.parametrize("k", [1, 2, 10, 30, 100, 200])
def test_confusion_is_readable_at_any_size(k: int) -> None:
    matrix = np.diag(np.arange(1, k + 1))
    picture = decoded(confusion(matrix, [NAMES[i % len(NAMES)] for i in range(k)]))
    assert min(picture.shape[:2]) > 400 and max(picture.shape[:2]) < 2200
    assert saturated(picture) > 1500


def test_confusion_shades_the_share_of_the_row_not_the_count() -> None:
    matrices = (np.diag([2, 7]), np.diag([3, 3]), np.full((2, 2), 500))
    full = [(decoded(confusion(m, ("a", "b"))) == (0, 0x3F, 0x66)).all(axis=2).sum() for m in matrices]
    assert full[0] == pytest.approx(full[1], rel=0.02) and full[2] < 0.05 * full[0]


def test_row_shares_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, answer = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    expected = confusion_matrix(truth, answer, normalize="true")
    np.testing.assert_allclose(row_shares(confusion_matrix(truth, answer)), expected)
    assert row_shares(np.array([[NAN, 2.0], [0.0, 0.0]])).tolist() == [[0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("accuracy", "count"),
    [(BINS - 0.02, np.arange(10)), (np.full(10, NAN), np.zeros(10)), (np.where(BINS > 0.5, BINS, NAN), BINS > 0.5)],
)
def test_reliability(accuracy: np.ndarray, count: np.ndarray) -> None:
    picture = decoded(reliability(BINS, accuracy, count, note="ECE 0.02 $日本"))
    assert picture.shape == (750, 720, 3)
    empty = decoded(reliability(BINS, np.full(10, NAN), np.zeros(10)))
    assert (saturated(picture) > saturated(empty)) == bool(np.any(count))


@pytest.mark.parametrize("chosen", [None, 0.0, 0.83, 1.0, 1.2])
def test_threshold_curve(chosen: float | None) -> None:
    t = np.append(np.linspace(0.3, 1, 40), np.inf)
    picture = decoded(threshold_curve(t, np.append(t[:-1], NAN), np.clip(1.3 - t, 0, 1), chosen=chosen))
    assert picture.shape == (750, 720, 3) and saturated(picture) > 1000


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_order_of_thresholds_does_not_matter(order: slice) -> None:
    t = np.linspace(0.5, 1, 9)
    assert threshold_curve(t[order], t[order], 1 - t[order], chosen=0.7) == threshold_curve(t, t, 1 - t, chosen=0.7)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: confusion(np.zeros((2, 3)), ("a", "b")),
        lambda: confusion(np.zeros((0, 0)), ()),
        lambda: reliability(BINS, BINS[:3], BINS),
        lambda: threshold_curve(BINS, BINS[:3], BINS),
        lambda: threshold_curve(np.array([]), np.array([]), np.array([])),
        lambda: threshold_curve(np.array([np.inf]), np.array([1.0]), np.array([0.0])),
    ],
)
def test_what_does_not_fit_is_refused(draw: object) -> None:
    with pytest.raises(DataError):
        draw()  # type: ignore[operator]


def test_same_numbers_same_bytes_and_the_users_settings_stay_out() -> None:
    before = curves(HISTORY, metric="accuracy")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 20}):
        assert curves(HISTORY, metric="accuracy") == before
        assert matplotlib.rcParams["font.size"] == 30


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sightline\[fit\]'"):
        curves(HISTORY, metric="accuracy")
