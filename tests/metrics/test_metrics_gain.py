"""Gains over seeds: against scipy, and intervals that hold the true gain in simulated trainings."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sightline.core.errors import DataError
from sightline.metrics.gain import HARMS, NONE, USE, Gain, gain, gain_by_picture, t_quantile

Bools = NDArray[np.bool_]


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 4, 7.3, 30, 200, 5000, 1e5])
@pytest.mark.parametrize("p", [0.6, 0.9, 0.975, 0.995])
def test_quantiles_like_scipy(p: float, freedom: float) -> None:
    assert t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-8)


@pytest.mark.parametrize(("seeds", "shift"), [(2, 0.0), (5, 0.02), (12, -0.03)])
def test_over_seeds_like_scipy(seeds: int, shift: float) -> None:
    random = np.random.default_rng(seeds)
    plain = 0.9 + 0.01 * random.normal(size=seeds)
    helped = plain + shift + 0.01 * random.normal(size=seeds)
    found = gain(helped, plain)
    wanted = stats.ttest_rel(helped, plain).confidence_interval(0.95)
    assert (found.measure.low, found.measure.high) == pytest.approx((wanted.low, wanted.high))
    assert found.measure.value == pytest.approx((helped - plain).mean())
    assert (found.measure.interval, found.measure.n) == (f"t({seeds} seeds)", seeds)


@pytest.mark.parametrize(("shift", "advice"), [(0.05, USE), (-0.05, HARMS), (0.001, NONE), (-0.001, NONE)])
def test_advice_follows_the_interval(shift: float, advice: str) -> None:
    plain = np.array([0.90, 0.91, 0.89, 0.92, 0.90])
    found = gain(plain + shift + np.array([0.01, -0.01, 0.0, 0.01, -0.01]), plain)
    assert found.advice == advice
    assert found.line().startswith(advice)


def test_seeds_to_decide_are_the_fewest_that_would() -> None:
    differences = np.array([0.01, -0.01, 0.02, 0.005, 0.0])
    found = gain(0.9 + differences, np.full(5, 0.9))
    mean, deviation = differences.mean(), differences.std(ddof=1)

    def half(count: int) -> float:
        return float(stats.t.ppf(0.975, count - 1) * deviation / np.sqrt(count))

    assert found.advice == NONE and found.seeds_to_decide is not None
    assert half(found.seeds_to_decide) < mean <= half(found.seeds_to_decide - 1)
    assert f"{found.seeds_to_decide} seeds would tell" in found.line()
    assert gain([0.5, 0.6], [0.6, 0.5]).seeds_to_decide is None  # the mean is 0, and stays so
    assert gain([0.7, 0.7], [0.6, 0.6]).seeds_to_decide == 2


def trained(
    random: np.random.Generator, *, seeds: int, scenes: int, frames: int, spread: float, apart: float
) -> tuple[Bools, Bools]:
    """Right or wrong of nets that differ by seed and pictures that are hard or easy, the same for frames of a scene.

    The gain on the scale of chances is 0 on average over seeds and scenes, with deviations spread and apart.
    """
    hard = np.repeat(random.uniform(0.45, 0.75, size=scenes), frames)
    of_scene = np.repeat(random.choice([-apart, apart], size=scenes), frames)
    of_seed = spread * random.normal(size=(seeds, 1))
    shape = seeds, scenes * frames
    return random.random(shape) < hard + of_scene + of_seed, random.random(shape) < hard


@pytest.mark.parametrize(("spread", "apart"), [(0.1, 0.2), (0.0, 0.3), (0.3, 0.0), (0.0, 0.0)])
def test_over_seeds_and_pictures_as_written_down(spread: float, apart: float) -> None:
    """The mean squares of a table of two ways, as textbooks have them, and which case it is."""
    random = np.random.default_rng(8)
    helped, plain = trained(random, seeds=5, scenes=40, frames=1, spread=spread, apart=apart)
    table = helped.astype(float) - plain
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    of_seeds, of_pictures = 40 * rows.var(ddof=1), 5 * columns.var(ddof=1)
    rest = ((table - rows - columns + table.mean()) ** 2).sum() / (4 * 39)
    whole, largest = of_seeds + of_pictures - rest, max(of_seeds, of_pictures)
    freedom = whole**2 / (of_seeds**2 / 4 + of_pictures**2 / 39 + rest**2 / (4 * 39))
    if whole <= largest:
        whole, freedom = largest, 4 if of_seeds > of_pictures else 39
    half = stats.t.ppf(0.975, freedom) * np.sqrt(whole / 200)
    found = gain_by_picture(helped, plain).measure
    assert (found.low, found.high) == pytest.approx((table.mean() - half, table.mean() + half))


@pytest.mark.parametrize(
    ("spread", "apart", "frames"),
    [(0.0, 0.0, 1), (0.05, 0.0, 1), (0.0, 0.2, 1), (0.03, 0.15, 1), (0.0, 0.2, 4), (0.03, 0.2, 4)],
)
def test_over_seeds_and_pictures_the_true_gain_is_held(spread: float, apart: float, frames: int) -> None:
    random, held = np.random.default_rng(1), 0
    for _ in range(200):
        helped, plain = trained(random, seeds=5, scenes=100, frames=frames, spread=spread, apart=apart)
        found = gain_by_picture(helped, plain, groups=np.repeat(np.arange(100), frames)).measure
        held += found.low <= 0 <= found.high
    assert 0.91 <= held / 200 <= 1


def test_what_the_simpler_ways_miss() -> None:
    """Seeds alone know nothing of other pictures, pictures alone nothing of other seeds, frames count too often."""
    random, missed = np.random.default_rng(2), {"seeds": 0, "pictures": 0, "frames": 0, "all": 0}
    groups = np.repeat(np.arange(60), 4)
    for _ in range(200):
        helped, plain = trained(random, seeds=5, scenes=60, frames=4, spread=0.05, apart=0.3)
        each = (helped.astype(float) - plain).mean(axis=0)
        ways = {
            "seeds": gain(helped.mean(axis=1), plain.mean(axis=1)).measure,
            "frames": gain_by_picture(helped, plain).measure,
            "all": gain_by_picture(helped, plain, groups=groups).measure,
        }
        for name, found in ways.items():
            missed[name] += not found.low <= 0 <= found.high
        missed["pictures"] += abs(each.mean()) > 1.96 * each.std() / np.sqrt(each.size)
    assert missed["all"] <= 18
    assert min(missed["seeds"], missed["pictures"], missed["frames"]) >= 20


def test_five_seeds_drawn_again_are_less_unlike_than_five_others() -> None:
    """Why both are not simply drawn with replacement."""
    random, held = np.random.default_rng(2), {"bootstrap": 0, "effects": 0}
    for _ in range(200):
        helped, plain = trained(random, seeds=5, scenes=60, frames=4, spread=0.15, apart=0.0)
        found = gain_by_picture(helped, plain, groups=np.repeat(np.arange(60), 4)).measure
        held["bootstrap"] += _within(random, helped.astype(float) - plain)
        held["effects"] += found.low <= 0 <= found.high
    assert held["bootstrap"] <= 182 <= held["effects"] - 3


def _within(random: np.random.Generator, apart: NDArray[np.float64]) -> bool:
    """Whether 0 is in the percentile interval of seeds and scenes of four frames, both drawn with replacement."""
    scenes = apart.reshape(5, 60, 4).mean(axis=2)
    means = [scenes[random.integers(5, size=5)][:, random.integers(60, size=60)].mean() for _ in range(200)]
    return bool(np.quantile(means, 0.025) <= 0 <= np.quantile(means, 0.975))


def test_one_picture_a_group_and_copies_of_pictures_change_nothing() -> None:
    random = np.random.default_rng(3)
    helped, plain = trained(random, seeds=4, scenes=50, frames=1, spread=0.05, apart=0.1)

    def numbers(found: Gain) -> tuple[float, float, float]:
        return found.measure.value, found.measure.low, found.measure.high

    alone = numbers(gain_by_picture(helped, plain))
    assert numbers(gain_by_picture(helped, plain, groups=np.arange(50)[::-1])) == pytest.approx(alone)
    twice = gain_by_picture(helped.repeat(2, axis=1), plain.repeat(2, axis=1), groups=np.repeat(np.arange(50), 2))
    assert numbers(twice) == pytest.approx(alone)
    order = random.permutation(4)
    assert numbers(gain_by_picture(helped[order], plain[order])) == pytest.approx(alone)


def test_more_seeds_cannot_make_up_for_few_pictures() -> None:
    random = np.random.default_rng(4)
    hit = random.random(40) < 0.55
    helped = np.tile(np.where(np.arange(40) < 21, True, hit), (5, 1))
    plain = np.tile(np.where(np.arange(40) < 19, True, hit), (5, 1))
    helped[:, 30:], plain[:, 30:] = np.arange(10) % 2 == 0, np.arange(10) % 2 == 1
    found = gain_by_picture(helped, plain)
    assert (found.advice, found.seeds_to_decide) == (NONE, None)
    assert "seeds alone cannot tell" in found.line()


@pytest.mark.parametrize(
    ("helped", "plain", "said"),
    [
        ([0.1, 0.2], [0.1], r"\(S,\) each, paired, not \(2,\) and \(1,\)"),
        ([0.1], [0.1], "one seed says nothing"),
        ([0.1, np.nan], [0.1, 0.2], "not finite"),
        ([[0.1], [0.2]], [[0.1], [0.2]], r"\(S,\) each"),
    ],
)
def test_what_cannot_be_compared(helped: list[float], plain: list[float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        gain(helped, plain)


def test_pictures_that_cannot_be_compared() -> None:
    right = np.ones((3, 4))
    with pytest.raises(DataError, match=r"\(S, N\) each"):
        gain_by_picture(right[0], right[0])
    with pytest.raises(DataError, match=r"one a picture, \(4,\), not \(3,\)"):
        gain_by_picture(right, right, groups=np.arange(3))
    with pytest.raises(DataError, match="all test pictures are of one group"):
        gain_by_picture(right, right, groups=np.zeros(4))
