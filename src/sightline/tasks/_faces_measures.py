"""How well faces are told apart: a meter of verification and identification, what another graph changes, a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.core.protocols import Change
from sightline.core.results import Faces
from sightline.data.samples import Label
from sightline.draw.report import Picture
from sightline.metrics.comparisons import Comparisons, all_pairs, pair_weights
from sightline.metrics.identification import measure_identification, searches
from sightline.metrics.intervals import bootstrap, unmeasured
from sightline.metrics.means import Floats
from sightline.metrics.pair_intervals import mean_by_person, worth_by_person
from sightline.metrics.ranking import areas, rank_labels
from sightline.metrics.verification import det_band, measure_verification, measured_rates

PROBES = 2_000
"""Faces that are searched among the others, at most."""
PAIRS, REPLICATES = 100_000, 200
"""Pairs of each kind by which two graphs are compared, and how often their people are drawn anew."""
DECIDABLE = 1.0
"""Points that the interval of a loss may be wide."""
LEAST_PEOPLE = 10
"""People from whom on drawing them anew says how sure a loss is."""
MOVED, SHARE = 0.1, 0.95
"""How far the two graphs' vectors of this share of the faces may be apart, or they are two models; the distance, one
less the cosine, of two people's is 1."""
BAND = np.geomspace(1e-6, 0.9, 40)
"""Rates of false matches at which the band of the figure is found."""


class FaceMeter:
    """Collects the largest face of each picture and whose it is; pairs of all of them are compared in the end."""

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold
        self._vectors: list[NDArray[np.float32] | None] = []
        self._people: list[str] = []
        self._quality: list[float] = []

    def update(self, result: Faces, target: Any, group: str) -> None:
        """Take in the faces of one picture of one person; where none is claimed or described, that is counted."""
        if not isinstance(target, Label):
            raise DataError(f"{group} does not say whose face it is; put each person's pictures into a folder")
        self._vectors.append(_vector(result))
        self._people.append(target.name)
        self._quality.append(0.0 if result.largest is None else float(result.quality[result.largest]))

    def compute(self) -> dict[str, Measure]:
        """Verification of all pairs, identification of each by the others, the threshold's own rates, and failures.

        NaN where nothing of the kind was compared.
        """
        people = np.array(self._people)
        got = np.array([vector is not None for vector in self._vectors], np.bool_)
        vectors = _stacked([vector for vector in self._vectors if vector is not None])
        pairs = all_pairs(vectors, people[got])
        found = measure_verification(pairs)
        measures = {name: found[name] for name in ("auroc", *(name for name in found if name != "auroc"))}
        measures["rank_1"] = _rank_1(vectors, people[got])
        if self.threshold is not None:
            measures["fmr"], measures["fnmr"] = measured_rates(pairs, self.threshold)
        number = np.unique(people, return_inverse=True)[1]
        measures["failure_to_acquire"] = worth_by_person((~got).astype(np.float64), int((~got).sum()), number).measure()
        quality = np.array(self._quality)[got]
        if quality.min(initial=1.0) < 1:  # else nothing judged it
            measures["quality"] = mean_by_person(quality, number[got])
        return measures


def meters(card: Card) -> list[FaceMeter]:
    """One meter for all measures of faces."""
    return [FaceMeter(threshold_of(card))]


def threshold_of(card: Card) -> float | None:
    """The cosine at and above which two faces are taken for one person's; None where the card has none."""
    return float(card.operating["threshold"]) if "threshold" in card.operating else None


def _rank_1(vectors: NDArray[np.float32], people: NDArray[Any]) -> Measure:
    """How often the most alike of the other faces is of the same person, by people who have several."""
    names, number, counts = np.unique(people, return_inverse=True, return_counts=True)
    probes = np.flatnonzero(counts[number] > 1)
    if len(names) < 2 or not len(probes):
        return unmeasured(0)
    if len(probes) > PROBES:
        probes = np.sort(np.random.Generator(np.random.Philox(0)).permutation(probes)[:PROBES])
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(len(names)))
    best = np.empty((len(probes), len(names)), np.float32)
    for row, probe in enumerate(probes):
        alike = vectors @ vectors[probe]
        alike[probe] = -np.inf
        best[row] = np.maximum.reduceat(alike[order], starts)
    return measure_identification(searches(best, people[probes], names), -np.inf)["rank_1"]


def change(before: Sequence[Faces], after: Sequence[Faces], targets: Sequence[Label], card: Card) -> Change:
    """What another graph's vectors cost in AUROC, and how alike they are to those of the graph they replace."""
    both = [(_vector(was), _vector(now), target.name) for was, now, target in zip(before, after, targets)]
    kept = [(was, now, name) for was, now, name in both if was is not None and now is not None]
    lost = len(both) - len(kept)
    was, now = (_stacked(each) for each in ([one for one, _, _ in kept], [other for _, other, _ in kept]))
    people = np.array([name for *_, name in kept])
    pairs = [all_pairs(each, people, most=PAIRS) for each in (was, now)]
    points, low, high = _auroc_lost(*pairs)
    moved = _moved(was, now, pairs[0])
    interval = f"[{0.0 - high:+.2f}, {0.0 - low:+.2f}]"
    gone = f", {lost:,} of {len(both):,} faces are no longer described" if lost else ""
    told = f"{100 * SHARE:g} % of the vectors move by up to {100 * moved:.2g} % of the way to another person's"
    return Change(
        points=points,
        detail=f"AUROC {0.0 - points:+.2f} points {interval}, {told}{gone}",
        decidable=bool(high - low <= DECIDABLE and pairs[0].people >= LEAST_PEOPLE),
        another=told if moved > MOVED else "",
        figures={"points": points, "low": low, "high": high, "moved": moved, "lost": float(lost)},
    )


def _moved(was: NDArray[np.float32], now: NDArray[np.float32], pairs: Comparisons) -> float:
    """How far a face's two vectors are apart, most of them, where the mean distance of two people's is 1."""
    if not len(was):
        return 1.0
    apart = 1 - float(pairs.scores[~pairs.mated].mean()) if not pairs.mated.all() else 1.0
    return max(0.0, float(np.quantile(1 - np.einsum("nd,nd->n", was, now), SHARE)) / max(apart, 1e-9))


def _vector(result: Faces) -> NDArray[np.float32] | None:
    """Of the largest face, where it could be described."""
    place = result.largest
    return None if place is None or not result.vectors[place].any() else result.vectors[place]


def _stacked(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Vectors as a table (N, D); of none, one without rows."""
    return np.stack(vectors) if len(vectors) else np.zeros((0, 1), np.float32)


def _auroc_lost(was: Comparisons, now: Comparisons) -> tuple[float, float, float]:
    """Points of AUROC lost, with the 95 % interval: all there is where nothing can be told; both of the same pairs."""
    if was.mated.all() or not was.mated.any():
        return 0.0, -100.0, 100.0
    ranked = [rank_labels(each.scores[:, None], each.mated[:, None]) for each in (was, now)]

    def lost(drawn: Floats) -> float:
        weights = pair_weights(was, drawn)
        first, second = (areas(each, weights)[0][0] for each in ranked)
        return 100 * float(first - second)

    people = np.arange(was.people)
    low, high = bootstrap(lost, people, replicates=REPLICATES)
    return lost(np.ones(len(people))), float(low), float(high)


def figures(results: Sequence[Faces], targets: Sequence[Label], card: Card) -> dict[str, Picture]:
    """The DET curve and the scores of mated and non-mated pairs, where there are some of both."""
    from sightline.draw.det_figure import det_figure

    held = [
        (vector, target.name) for result, target in zip(results, targets) if (vector := _vector(result)) is not None
    ]
    if not held:
        return {}
    pairs = all_pairs(np.array([vector for vector, _ in held]), np.array([name for _, name in held]), most=PAIRS)
    if pairs.mated.all() or not pairs.mated.any():
        return {}
    rates = BAND[BAND * (~pairs.mated).sum() >= 1]
    band = (rates, *det_band(pairs, rates, replicates=REPLICATES))
    threshold = threshold_of(card)
    data = det_figure(pairs.scores, pairs.mated, threshold=np.nan if threshold is None else threshold, band=band)
    caption = "Faces of one person that are not matched over faces of two people that are, at every threshold."
    return {"det.png": Picture(title="Verification", caption=caption, data=data, section="sure")}
