"""Known defects: a handful of them sharpens the map, and tells kinds apart, without making it blind to others.

One regression a kind tells its patches from those of good parts. The map is raised where one of them says yes, never
lowered, and by how much is decided by defects and good parts that the regressions did not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.protocols import Array, Arrays
from sightline.encoders.sheet import Sheet
from sightline.methods._subspace import sampled

Floats = NDArray[np.float32]

Score = Callable[[Floats], Floats]
"""Maps (N, h, w) → their scores (N,)."""
GAINS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)
"""By how much the map may be raised: shares of its median on good parts for each unit of logit."""
NORMAL = 20_000
"""Patches of good parts that are learnt from, drawn from all."""
SHOWN = 0.05
"""Of a defect without a mask, the share of its patches, the farthest ones, that is taken for it."""
PENALTY = 1.0
"""L2 penalty of the weights, of standardised numbers, with each side of the regression weighing as 100 patches."""
STEPS = 12


@dataclass(frozen=True)
class Known:
    """What tells kinds of defects from good patches."""

    weight: Floats
    """Shape (K, d)."""
    bias: Floats
    """Shape (K,)."""
    gain: float
    """How much the map is raised for a unit of logit."""

    def kinds(self, patches: Floats) -> Floats:
        """Logits (N, K, h, w) of patches (N, h, w, d)."""
        return np.moveaxis(patches @ self.weight.T + self.bias, -1, 1)

    def raised(self, distance: Floats, kinds: Floats) -> Floats:
        """Maps (N, h, w), raised where a kind is likelier than not."""
        found: Floats = distance + np.float32(self.gain) * np.maximum(kinds.max(axis=1), 0)
        return found

    def to_arrays(self) -> dict[str, Array]:
        """By name, to be stored."""
        gain = np.array([self.gain], np.float32)
        return {"known.weight": self.weight, "known.bias": self.bias, "known.gain": gain}

    def add(self, sheet: Sheet, patches: str, distance: str, *, reduce: Any) -> tuple[str, str]:
        """The same in a graph: from patches (B, n, d) and distances (B, n) to the raised map (B, n) and logits
        (B, n, K). reduce: (kind, tensor, output, axes) → a reduction over axes."""
        sheet.constant("known.weight", self.weight.T)
        sheet.constant("known.bias", self.bias)
        sheet.constant("known.gain", np.float32(self.gain))
        sheet.add("MatMul", [patches, "known.weight"], "known.product")
        logits = sheet.add("Add", "known.product known.bias", "known.logits")
        reduce("ReduceMax", logits, "known.best", [2])
        sheet.add("Relu", "known.best", "known.yes")
        sheet.add("Mul", "known.yes known.gain", "known.more")
        return sheet.add("Add", [distance, "known.more"], "known.map"), logits


def known_of(arrays: Mapping[str, Any]) -> Known | None:
    """The inverse of `to_arrays`; None where no defects were known."""
    if "known.weight" not in arrays:
        return None
    gain = float(np.asarray(arrays["known.gain"]).reshape(-1)[0])
    return Known(np.asarray(arrays["known.weight"]), np.asarray(arrays["known.bias"]), gain)


@dataclass(frozen=True)
class Sharpened:
    """Known defects learnt, and how they are told from good parts by models that saw neither."""

    known: Known
    crossed: Floats
    """Shape (G, h, w): the raised maps of good parts."""
    before: float
    """AUROC of the defects left out against the good parts left out, by distance alone."""
    after: float
    """The same with the gain that was chosen; by this very figure, so that it flatters a little."""


def sharpened(
    patches: Floats, distance: Floats, targets: Arrays, fold: NDArray[np.int64], kinds: int, *, score: Score
) -> Sharpened:
    """Learn from patches (N, h, w, d) of good and defective parts.

    distance: maps (N, h, w) of models that did not see the picture; fold: of each picture (N,). targets: `anomalous`
    (N,), `kind` (N,) from 0 to kinds - 1 (-1: good), `mask` (N, y, x), the share of each place that is defective, -1
    where that is not known. A defective picture none of which is defective, as a tile beside the defect, counts as
    neither good nor bad. score: what a map is judged by.
    """
    bad = targets["anomalous"] == 1
    inside = np.stack([_inside(mask, far) for mask, far in zip(targets["mask"], distance)])
    raised = np.zeros((len(GAINS), *distance.shape), np.float32)
    typical = float(np.median(distance[~bad]))
    for number in np.unique(fold):
        out = fold == number
        known = _learnt(patches[~out], inside[~out], targets["kind"][~out], kinds)
        logits = known.kinds(patches[out])
        for place, gain in enumerate(GAINS):
            raised[place, out] = Known(known.weight, known.bias, gain * typical).raised(distance[out], logits)
    told = ~bad | inside.any(axis=(1, 2))
    areas = [_auroc(score(each[told]), bad[told]) for each in raised]
    best = int(np.argmax(areas))
    last = _learnt(patches, inside, targets["kind"], kinds)
    known = Known(last.weight, last.bias, GAINS[best] * typical)
    return Sharpened(known, raised[best][~bad], areas[0], areas[best])


def _inside(mask: Array, distance: Floats) -> NDArray[np.bool_]:
    """Which places (h, w) of a picture are defective; where that is not known, those that are farthest."""
    if (mask < 0).all():
        return np.asarray(distance >= np.quantile(distance, 1 - SHOWN), np.bool_)
    shape = distance.shape
    rows = np.minimum((np.arange(shape[0]) + 0.5) * mask.shape[0] / shape[0], mask.shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(shape[1]) + 0.5) * mask.shape[1] / shape[1], mask.shape[1] - 1).astype(int)
    share = mask[rows][:, columns]
    return np.asarray((share >= min(0.5, float(share.max()))) & (share > 0), np.bool_)


def _learnt(patches: Floats, inside: NDArray[np.bool_], kind: Array, kinds: int) -> Known:
    """One regression a kind, against good patches; a kind without patches never says yes."""
    good = patches[kind < 0].reshape(-1, patches.shape[-1])
    good = good[sampled(len(good), NORMAL)].astype(np.float64)
    mean, spread = good.mean(axis=0), good.std(axis=0) + 1e-6
    weights, biases = np.zeros((kinds, good.shape[1])), np.full(kinds, -10.0)
    for number in range(kinds):
        own = patches[kind == number][inside[kind == number]].astype(np.float64)
        if len(own):
            weights[number], biases[number] = _regression((good - mean) / spread, (own - mean) / spread)
    weights = weights / spread
    return Known(weights.astype(np.float32), (biases - weights @ mean).astype(np.float32), 0.0)


def _regression(no: NDArray[np.float64], yes: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Logistic regression by Newton's method, both sides weighing alike: weights (d,) and bias."""
    x = np.concatenate([np.c_[no, np.ones(len(no))], np.c_[yes, np.ones(len(yes))]])
    t = np.r_[np.zeros(len(no)), np.ones(len(yes))]
    w = np.r_[np.full(len(no), 100 / len(no)), np.full(len(yes), 100 / len(yes))]
    ridge = np.diag(np.r_[np.full(x.shape[1] - 1, PENALTY), 1e-6])
    beta = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (w * (p - t)) + ridge @ beta
        curve = (x * (w * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ x + ridge
        step = np.linalg.solve(curve, slope)
        beta -= step * min(1.0, 10 / max(1e-9, float(np.abs(x @ step).max())))
    return beta[:-1], float(beta[-1])


def _auroc(scores: Array, positive: Array) -> float:
    """Area under the ROC curve, ties half."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    yes = int(positive.sum())
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / max(1, yes * (len(scores) - yes)))
