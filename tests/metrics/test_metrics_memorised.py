"""Copies: against loops, and planted copiers beside healthy generators and those of little variety."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.metrics import set_distance
from sightline.metrics.drift import excess
from sightline.metrics.memorised import COPIES, NO_SIGN, SOME, UNKNOWN, Copying, c_t, copying, effective

Rows = NDArray[np.float64]


def by_loops(made: Rows, train: Rows, k: int) -> tuple[list[int], list[float], list[float]]:
    nearest, distance, ratio = [], [], []
    for row in made:
        apart = [float(np.linalg.norm(row - other)) for other in train]
        order = sorted(range(len(train)), key=lambda place: apart[place])
        nearest.append(order[0])
        distance.append(apart[order[0]])
        ratio.append(apart[order[0]] / apart[order[k - 1]])
    return nearest, distance, ratio


@pytest.mark.parametrize("k", [2, 5, 20])
def test_like_loops(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(k)
    made, train, held = random.normal(size=(30, 4)), random.normal(size=(20, 4)), random.normal(size=(99, 4))
    monkeypatch.setattr(set_distance, "BLOCK", 640)
    found = copying(made, train, held=held, k=k)
    nearest, distance, ratio = by_loops(made, train, k)
    assert found.nearest.tolist() == nearest
    np.testing.assert_allclose(found.distance, distance)
    np.testing.assert_allclose(found.ratio, ratio)
    ordered = np.sort(by_loops(held, train, k)[2])
    assert found.low.value == pytest.approx(np.mean(np.array(ratio) < ordered[4]))
    assert (found.expected, found.closest) == (0.05, int((np.array(ratio) < ordered[0]).sum()))
    first = found.pairs[0]
    assert first.ratio == pytest.approx(min(ratio)) and first.made == int(np.argmin(ratio))
    assert first.train == nearest[first.made]
    assert first.rarity == pytest.approx((1 + (ordered <= min(ratio)).sum()) / 100)
    assert [pair.ratio for pair in found.pairs] == sorted(pair.ratio for pair in found.pairs)
    assert (found.made, found.train, found.held, found.k) == (30, 20, 99, k)


@pytest.fixture(scope="module")
def digits() -> tuple[Rows, NDArray[np.int64]]:
    """scikit-learn's digits as rows of 64 shares, shuffled, and which they are."""
    loaded = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    return loaded.data[order] / 16, loaded.target[order]


def generators(rows: Rows, kinds: NDArray[np.int64], train: int, seed: int) -> tuple[Rows, Rows, dict[str, Rows]]:
    """Training pictures, held-out ones, and 400 pictures of each generator."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows))
    rows, kinds = rows[order], kinds[order]
    learnt, held, fresh, rest = np.split(rows, [train, train + 500, train + 900])
    of_rest = kinds[train + 900 :]
    drawn, other = random.integers(train, size=(2, 400))
    share = random.uniform(0.2, 0.8, size=(400, 1))

    def gaussian(scale: float) -> Rows:
        """Of each class as much of its spread as scale says."""
        parts = [rest[of_rest == kind] for kind in range(10)]
        made = [random.multivariate_normal(p.mean(0), scale * np.cov(p.T) + 1e-6 * np.eye(64), 40) for p in parts]
        return np.clip(np.concatenate(made), 0, 1)

    noisy = {level: np.clip(learnt[drawn] + level * random.normal(size=(400, 64)), 0, 1) for level in (0.01, 0.05)}
    return (
        learnt,
        held,
        {
            "fresh": fresh,
            "gaussian": gaussian(1.0),
            "narrow": gaussian(0.3),
            "ten pictures": gaussian(0.02),
            "copies": noisy[0.01],
            "noisy copies": noisy[0.05],
            "half": np.concatenate([noisy[0.05][:200], fresh[200:]]),
            "blends": share * learnt[drawn] + (1 - share) * learnt[other],
            "one picture": np.clip(learnt[:1] + 0.01 * random.normal(size=(400, 64)), 0, 1),
        },
    )


HEALTHY = ("fresh", "gaussian", "narrow", "ten pictures")


@pytest.mark.parametrize("train", [50, 300])
@pytest.mark.parametrize("seed", range(3))
def test_copiers_are_told_from_healthy_and_narrow_generators(
    digits: tuple[Rows, NDArray[np.int64]], train: int, seed: int
) -> None:
    learnt, held, made = generators(*digits, train, seed)
    found = {name: copying(rows, learnt, held=held, space="pixels") for name, rows in made.items()}
    assert {name for name in made if found[name].verdict == NO_SIGN} == set(HEALTHY)
    assert all(found[name].verdict == COPIES for name in ("copies", "noisy copies", "half", "blends"))
    assert found["half"].copied == pytest.approx(0.5, abs=0.06)
    assert found["copies"].copied > 0.99 and found["copies"].pairs[0].rarity < 0.01
    assert found["copies"].line().startswith("copies in pixels: 100.0 % of 400 made pictures")


def test_distances_alone_take_a_narrow_generator_for_a_copier(digits: tuple[Rows, NDArray[np.int64]]) -> None:
    """Why the verdict does not rest on C_T."""
    learnt, held, made = generators(*digits, 50, 1)
    found = {name: copying(rows, learnt, held=held) for name, rows in made.items()}
    assert found["copies"].c_t < -3 and found["narrow"].c_t < -3 < found["fresh"].c_t
    assert found["narrow"].p > 0.05


def test_within_classes(digits: tuple[Rows, NDArray[np.int64]]) -> None:
    rows, kinds = digits
    parts = [slice(0, 100), slice(100, 600), slice(600, 1000)]
    (learnt, held, fresh), (of_learnt, of_held, of_fresh) = ([each[p] for p in parts] for each in (rows, kinds))
    healthy = copying(fresh, learnt, held=held, labels=(of_fresh, of_learnt, of_held))
    assert healthy.verdict == NO_SIGN
    assert (of_learnt[healthy.nearest] == of_fresh).all()
    for kind in range(10):
        here, there = np.flatnonzero(of_fresh == kind), np.flatnonzero(of_learnt == kind)
        nearest = there[by_loops(fresh[here], learnt[there], 2)[0]]
        np.testing.assert_array_equal(healthy.nearest[here], nearest)
    copies = learnt + 0.03 * np.random.default_rng(0).normal(size=learnt.shape)
    assert copying(copies, learnt, held=held, labels=(of_learnt, of_learnt, of_held)).verdict == COPIES
    with pytest.raises(DataError, match=r"made pictures are of class 11, which no training picture is"):
        copying(fresh, learnt, held=held, labels=(of_fresh * 0 + 11, of_learnt, of_held))
    with pytest.raises(DataError, match=r"labels must be one a picture.*: 400, 100, 500, not \(100,\)"):
        copying(fresh, learnt, held=held, labels=(of_learnt, of_learnt, of_held))


def test_without_held_out_pictures_training_pictures_stand_in(digits: tuple[Rows, NDArray[np.int64]]) -> None:
    learnt, _, made = generators(*digits, 300, 2)
    found = {name: copying(made[name], learnt) for name in ("fresh", "narrow", "copies", "half")}
    verdicts = {name: each.verdict for name, each in found.items()}
    assert verdicts == {"fresh": NO_SIGN, "narrow": NO_SIGN, "copies": COPIES, "half": COPIES}
    assert found["fresh"].held == 0


def drawn(seed: int, *, made: int = 200, copies: int = 0) -> Copying:
    """Of one law in six dimensions, with so many copies among the made."""
    random = np.random.default_rng(seed)
    train, held, fresh = (random.normal(size=(count, 6)) for count in (50, 1000, made))
    fresh[:copies] = train[random.integers(50, size=copies)] + 0.01 * random.normal(size=(copies, 6))
    return copying(fresh, train, held=held)


def test_a_healthy_generator_is_seldom_blamed_and_p_is_no_smaller_than_it_says() -> None:
    p = np.array([drawn(seed).p for seed in range(300)])
    assert (p < 0.01).sum() <= 8
    assert (p < 0.1).sum() <= 42
    assert (p < 0.5).sum() > 60  # it says something


def test_some_copies_and_how_many() -> None:
    found = drawn(1, made=1000, copies=80)
    assert found.verdict == SOME
    assert found.low.low < 0.05 + 0.08 * 0.95 < found.low.high
    assert found.copied == pytest.approx(0.08, abs=0.03)
    assert found.closest >= 70


def test_too_few_held_out_pictures() -> None:
    random = np.random.default_rng(0)
    train, held = random.normal(size=(30, 3)), random.normal(size=(19, 3))
    assert copying(train, train, held=held).verdict == COPIES
    few = copying(train, train, held=held[:18])
    assert few.verdict == UNKNOWN and np.isnan(few.p) and few.pairs[0].ratio == 0
    assert few.line() == "copies cannot be told: 18 held-out pictures are too few, 19 are the least, better 200"


def test_copies_of_what_stands_many_times_among_the_training_pictures() -> None:
    """All k neighbours are at no distance: that is a copy, not a division by zero."""
    random = np.random.default_rng(0)
    train = np.repeat(random.normal(size=(10, 3)), 6, axis=0)
    found = copying(train[::6], train, held=random.normal(size=(100, 3)))
    assert (found.ratio == 0).all() and found.verdict == COPIES


@pytest.mark.parametrize("shape", [(40, 25), (7, 90)])
@pytest.mark.parametrize("tied", [False, True])
def test_c_t_of_one_cell_like_scipy(shape: tuple[int, int], tied: bool) -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(1)
    made, held = (random.gamma(3, size=count) for count in shape)
    if tied:
        made, held = made.round(), held.round()
    wanted = stats.mannwhitneyu(made, held, method="asymptotic", use_continuity=False, alternative="greater").pvalue
    assert stats.norm.sf(c_t(made, held)) == pytest.approx(wanted)


def test_c_t_averages_cells_by_their_held_out_pictures() -> None:
    random = np.random.default_rng(2)
    made, held = random.random(30), random.random(40)
    of_made, of_held = np.repeat([0, 1, 2], 10), np.repeat([0, 1, 3], [10, 20, 10])
    parts = [c_t(made[of_made == cell], held[of_held == cell]) for cell in (0, 1)]
    assert c_t(made, held, cells=(of_made, of_held)) == pytest.approx((10 * parts[0] + 20 * parts[1]) / 30)
    assert np.isnan(c_t(made, held, cells=(of_made, of_held + 9)))


def test_effective_numbers() -> None:
    random = np.random.default_rng(3)
    nearest = np.repeat(np.arange(40), 25)
    assert effective(np.repeat(random.random(40) < 0.3, 25), nearest) == pytest.approx(40)
    assert effective(random.random(1000) < 0.3, nearest) > 600
    assert effective(np.ones(1000, np.bool_), nearest) == 40
    assert effective(random.random(1000) < 0.3, np.arange(1000)) == pytest.approx(1000)


def test_what_is_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(UsageError, match="k is 1; the nearest picture is compared with the second"):
        copying(rows, rows, held=rows, k=1)
    with pytest.raises(DataError, match="3 training pictures"):
        copying(rows, rows[:1], held=rows)
    with pytest.raises(DataError, match="not finite"):
        copying(rows * np.nan, rows)
    assert copying(rows, rows[:3], held=rows, k=5).k == 3
    assert excess(0, 10, beyond=0, n=30) == 1.0
