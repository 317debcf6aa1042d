"""memorised: does a generator make pictures, or give back those that it was trained on?

A made picture may be near a training picture because it is a copy, or because it is an easy one: a plain picture in the
middle of its kind is near to many. So distances are judged twice over. Beside each distance to the nearest training
picture stands that to the k-th nearest: their ratio is small only where one picture is singled out (Carlini et al.,
2023, ask the same of diffusion models). And how small a ratio comes about by chance is told by real pictures that were
held out: they are as near to the training pictures as pictures of the same kind are that nobody copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.core.measures import Measure
from sightline.metrics import intervals
from sightline.metrics.coverage import squared_distances
from sightline.metrics.drift import excess
from sightline.metrics.means import Floats
from sightline.metrics.pair_intervals import EFFECTIVE
from sightline.metrics.set_distance import blocks, checked_sets

COPIES, SOME, NO_SIGN, UNKNOWN = "copies", "some copies", "no sign of copies", "cannot be told"
AMONG = 5
"""The neighbour that the nearest is compared with, by default; a smaller one where there are few training pictures."""
SHARE = 0.05
"""Share of held-out real pictures whose ratio counts as low."""
SURE = 0.01
"""p-value below which chance is no explanation."""
MUCH = 0.1
"""Share of copies from which a generator is called a copier."""
SHOWN = 12
"""Pairs that are kept to be shown."""
CELLS, FILLED = 10, 50
"""Parts of the space for C_T, at most, and how many held-out pictures there are for each of them."""
_STEPS = 10

Labels = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""The class of each made, training and held-out picture."""


@dataclass(frozen=True)
class Pair:
    """A made picture and the training picture it is nearest to."""

    made: int
    """Row of the made picture,"""
    train: int
    """and of the training picture."""
    distance: float
    """Euclidean, in units of the features."""
    ratio: float
    """This distance over that to the k-th nearest, in [0, 1]."""
    rarity: float
    """Conformal p-value: the share of held-out real pictures with a ratio as low, (1 + so many) / (H + 1)."""


@dataclass(frozen=True, eq=False)
class Copying:
    """How near made pictures are to training pictures, beside how near held-out real ones are."""

    space: str
    """What distances are taken in, as it is quoted: `pixels`, `mobilenet-v2-int8 features`."""
    verdict: str
    """`copies`, `some copies`, `no sign of copies`, or `cannot be told`."""
    low: Measure
    """Share of made pictures with a ratio lower than SHARE of held-out ones have."""
    expected: float
    """What that share is for pictures from the law of the held-out ones; NaN with fewer than 19 of these."""
    copied: float
    """The share of copies that explains the rest, in [0, 1]: (low - expected) / (1 - expected)."""
    closest: int
    """Made pictures whose ratio is lower than that of every held-out one; made / (held + 1) are to be expected."""
    p: float
    """Chance of as many low ratios, or as many that no held-out one reaches, where nothing is copied: twice the
    smaller one. Each is exact, beta-binomial, for as many independent made pictures as `effective` says there are."""
    c_t: float
    """The statistic of Meehan et al. (2020) on plain distances, in deviations: far below 0 where made pictures are
    nearer than held-out ones. A generator of little variety has that, too, without any copy: not in the verdict."""
    made: int
    train: int
    held: int
    """How many pictures there are of each; held is 0 where training pictures stood in for held-out ones."""
    k: int
    """The neighbour that the nearest was compared with."""
    pairs: tuple[Pair, ...]
    """Those of the lowest ratios, the lowest first."""
    nearest: NDArray[np.intp] = field(repr=False)
    """Row of each made picture's nearest training picture, (N,),"""
    distance: Floats = field(repr=False)
    """the distance, (N,),"""
    ratio: Floats = field(repr=False)
    """and the ratio, (N,)."""

    def line(self) -> str:
        """The verdict in one sentence, with what it rests on."""
        if self.verdict == UNKNOWN:
            return f"copies {UNKNOWN}: {self.held} held-out pictures are too few, 19 are the least, better 200"
        return (
            f"{self.verdict} in {self.space}: {100 * self.low.value:.1f} % of {self.made:,} made pictures are as close "
            f"to one of {self.train:,} training pictures as {100 * self.expected:.1f} % of real ones are "
            f"(p {'< 0.0001' if self.p < 1e-4 else f'= {self.p:.2g}'})"
        )


def copying(
    made: NDArray[Any],
    train: NDArray[Any],
    *,
    held: NDArray[Any] | None = None,
    labels: Labels | None = None,
    k: int = AMONG,
    space: str = "features",
) -> Copying:
    """Judge made pictures (N, D) by the training pictures (M, D) of the generator and real ones held out, (H, D).

    Rows are features, or pixels flattened; it is best to ask in both. held: real pictures that the generator has not
    seen; without them each training picture is held against the others, whose p-value is near enough only. labels: of
    each picture its class; neighbours are then sought within it, for generators that are told the class.
    k: the neighbour that the nearest is compared with, at most a picture fewer than there are (in the smallest class).
    What stands more than k times among the training pictures is no longer singled out: leave duplicates out before.

    The verdict is `copies` or `some copies` where p is below SURE, by whether `copied` is MUCH. Takes O(N M D) steps.
    Raises UsageError for k below 2, DataError for shapes that do not fit, numbers that are not finite, and fewer than 3
    training pictures (in a class).

    >>> random = np.random.default_rng(0)
    >>> train, held, fresh = random.normal(size=(3, 300, 6))
    >>> copying(fresh, train, held=held).verdict
    'no sign of copies'
    >>> found = copying(train + 0.01 * fresh, train, held=held)
    >>> found.verdict, found.pairs[0].made == found.pairs[0].train
    ('copies', True)
    """
    rows = checked_sets(made, train, *([] if held is None else [held]))
    kinds = _kinds(rows, labels, held is not None)
    k = _among(k, kinds[1], spare=held is None)
    nearest, distance, ratio = _neighbours(rows[0], rows[1], kinds[0], kinds[1], k)
    own = held is None
    real, of_real = (rows[1], kinds[1]) if own else (rows[2], kinds[2])
    _, real_distance, real_ratio = _neighbours(real, rows[1], of_real, kinds[1], k, own=own)
    low, expected, copied, p, closest = _judged(ratio, real_ratio, nearest)
    cells = (kinds[0], of_real) if labels is not None else _cells(rows[0], real, rows[1])
    order = np.argsort(ratio, kind="stable")[:SHOWN]
    rarity = (1 + np.searchsorted(np.sort(real_ratio), ratio[order], side="right")) / (len(real) + 1)
    pairs = tuple(
        Pair(int(i), int(nearest[i]), float(distance[i]), float(ratio[i]), float(rare))
        for i, rare in zip(order, rarity)
    )
    return Copying(
        space=space,
        verdict=UNKNOWN if np.isnan(expected) else NO_SIGN if p >= SURE else COPIES if copied >= MUCH else SOME,
        low=low,
        expected=expected,
        copied=copied,
        closest=closest,
        p=p,
        c_t=c_t(distance, real_distance, cells=cells),
        made=len(rows[0]),
        train=len(rows[1]),
        held=0 if own else len(real),
        k=k,
        pairs=pairs,
        nearest=nearest,
        distance=distance,
        ratio=ratio,
    )


def c_t(made: Floats, held: Floats, *, cells: tuple[NDArray[Any], NDArray[Any]] | None = None) -> float:
    """C_T of Meehan et al. (2020): are made pictures nearer to the training pictures than held-out ones are?

    made, held: distances to the nearest training picture, (N,) and (H,). cells: the part of the space that each lies
    in. The Mann-Whitney statistic in deviations from its mean, averaged over cells by their share of held-out pictures;
    cells without any made or held-out ones are left out. About 0 is healthy, -3 or less is near beyond chance, 3 or
    more is far. NaN where no cell has both.

    >>> round(c_t(np.arange(20.0), np.arange(20.0)), 9), c_t(np.arange(20.0), np.arange(20.0) + 15) < -3
    (0.0, True)
    """
    of_made, of_held = cells or (np.zeros(len(made)), np.zeros(len(held)))
    total, weight = 0.0, 0
    for cell in np.intersect1d(of_made, of_held):
        a, b = made[of_made == cell], held[of_held == cell]
        total += len(b) * _mann_whitney(a, b)
        weight += len(b)
    return total / weight if weight else float("nan")


def _mann_whitney(a: Floats, b: Floats) -> float:
    """How far the first sample lies above the second, in deviations; ties count half, and make these smaller."""
    ordered, count = np.sort(b), len(a) + len(b)
    wins = np.searchsorted(ordered, a, side="left") + np.searchsorted(ordered, a, side="right")
    ties = np.unique(np.concatenate([a, b]), return_counts=True)[1].astype(np.float64)
    spread = len(a) * len(b) / 12 * (count + 1 - (ties**3 - ties).sum() / (count * max(1, count - 1)))
    return float((wins.sum() / 2 - len(a) * len(b) / 2) / np.sqrt(spread)) if spread > 0 else 0.0


def _judged(ratio: Floats, real: Floats, nearest: NDArray[np.intp]) -> tuple[Measure, float, float, float, int]:
    """Low ratios with their interval, how many are expected, the share of copies, p, and those lower than all."""
    ordered, count = np.sort(real), len(ratio)
    closest = int((ratio < ordered[0]).sum())
    beyond = int(SHARE * (len(real) + 1) + 1e-9) - 1
    if beyond < 0:
        return intervals.unmeasured(count), float("nan"), float("nan"), float("nan"), closest
    alarms, expected = ratio < ordered[beyond], (beyond + 1) / (len(real) + 1)
    p = min(_chance(alarms, nearest, beyond, len(real)), _chance(ratio < ordered[0], nearest, 0, len(real)))
    worth, value = effective(alarms, nearest), float(alarms.mean())
    lower, upper = (float(bound) for bound in intervals.wilson(value * worth, worth))
    low = Measure(value, min(lower, value), max(upper, value), EFFECTIVE, round(worth))
    return low, expected, max(0.0, (value - expected) / (1 - expected)), min(1.0, 2 * p), closest


def _chance(alarms: NDArray[np.bool_], nearest: NDArray[np.intp], beyond: int, held: int) -> float:
    count = round(effective(alarms, nearest))
    return excess(float(alarms.mean()) * count, count, beyond=beyond, n=held)


def effective(alarms: NDArray[np.bool_], nearest: NDArray[np.intp]) -> float:
    """How many independent pictures made ones (N,) are worth, that are alike where they have one nearest picture.

    N over the design effect of these clusters (Kish, 1965); at most N, and at least as many as there were if all of a
    cluster said the same. A generator of ten pictures, made again and again with noise, is worth about ten.

    >>> effective(np.array([True, True, False, False]), np.array([4, 4, 9, 9]))
    2.0
    """
    sizes = np.bincount(nearest)
    apart = alarms - alarms.mean()
    least, most = float(len(alarms) ** 2 / (sizes.astype(np.float64) ** 2).sum()), float(len(alarms))
    together = float((np.bincount(nearest, weights=apart) ** 2).sum())
    return min(most, max(least, most * float((apart**2).sum()) / together)) if together > 1e-12 else least


def _neighbours(
    rows: Floats, train: Floats, kinds: NDArray[Any], of_train: NDArray[Any], k: int, *, own: bool = False
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """The nearest training picture of the same kind, its distance, and the ratio to the k-th; own: not a row itself."""
    nearest, distance, ratio = np.empty(len(rows), np.intp), np.empty(len(rows)), np.empty(len(rows))
    for here in blocks(len(rows), max(len(train), k * train.shape[1])):
        table = squared_distances(rows[here], train)
        table[kinds[here, None] != of_train] = np.inf
        if own:
            table[np.arange(len(table)), np.arange(here.start, here.stop)] = np.inf
        close = np.argpartition(table, k - 1, axis=1)[:, :k]
        # Taken anew from the differences, as a copy's distance would be lost in the rounding of squares.
        apart = np.sqrt(((rows[here, None] - train[close]) ** 2).sum(axis=2))
        first, farthest = apart.argmin(axis=1), apart.max(axis=1)
        line = np.arange(len(table))
        nearest[here], distance[here] = close[line, first], apart[line, first]
        ratio[here] = np.divide(distance[here], farthest, out=np.zeros(len(table)), where=farthest > 0)
    return nearest, distance, ratio


def _kinds(rows: list[Floats], labels: Labels | None, given: bool) -> list[NDArray[Any]]:
    if labels is None:
        return [np.zeros(len(each), np.intp) for each in rows]
    kinds = [np.asarray(each) for each in labels][: 3 if given else 2]
    if any(kind.shape != (len(each),) for kind, each in zip(kinds, rows)):
        sizes, wanted = (", ".join(map(str, each)) for each in ([k.shape for k in kinds], [len(r) for r in rows]))
        raise DataError(f"labels must be one a picture, of made, training and held-out ones: {wanted}, not {sizes}")
    for kind, name in zip(kinds, ("made", "training", "held-out")):
        if unknown := sorted(set(kind.tolist()) - set(kinds[1].tolist())):
            raise DataError(f"{name} pictures are of class {unknown[0]!r}, which no training picture is")
    return kinds


def _among(k: int, kinds: NDArray[Any], *, spare: bool) -> int:
    """The k that the smallest class has neighbours for."""
    if k < 2:
        raise UsageError(f"k is {k}; the nearest picture is compared with the second nearest or a later one")
    fewest = int(np.unique(kinds, return_counts=True)[1].min()) - spare
    if fewest < 2:
        raise DataError("a nearest picture is judged beside others: 3 training pictures (of each class) are the least")
    return min(k, fewest)


def _cells(made: Floats, held: Floats, train: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
    """The part of the space that each lies in: k-means of the training pictures, from starts far apart."""
    count = max(1, min(CELLS, len(held) // FILLED, len(train) // 5))
    centres = train[:1]
    while len(centres) < count:
        centres = np.vstack([centres, train[squared_distances(train, centres).min(axis=1).argmax()]])
    for _ in range(_STEPS):
        member = squared_distances(train, centres).argmin(axis=1)
        filled = np.unique(member)  # an empty part is given up
        centres = np.stack([train[member == part].mean(axis=0) for part in filled])
    return squared_distances(made, centres).argmin(axis=1), squared_distances(held, centres).argmin(axis=1)
