"""Logistic regression with its penalty chosen by cross-validation, for one label or several: the head of a probe."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import DataError, MissingExtraError
from sightline.core.events import Event, Note, Progress
from sightline.core.protocols import Array, Arrays
from sightline.methods._labels import FOLDS as LABEL_FOLDS
from sightline.methods._labels import Fit, check_present, cross_validated, label_losses, solved_labels

Floats = NDArray[np.float32]
STRENGTHS = tuple(float(c) for c in np.logspace(-3, 1, 7))
FOLDS = 5
FLAT = np.float32(0.02)
"""Added to a feature's deviation, so that one that hardly varies is not blown up."""
NEVER = -30.0
"""Bias of a class without a training picture, in units of log-probability below the others."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear head and how it was found."""

    weight: Floats
    """Shape (K, F)."""
    bias: Floats
    """Shape (K,)."""
    steps: int
    """Of the solver."""
    loss: float
    """Mean log-loss on the training pictures, in nats."""
    figures: dict[str, float]
    """Measures from the cross-validation; none where the penalty was given."""


def fitted(features: Floats, targets: Arrays, card: Card, *, c: float, seed: int) -> Generator[Event, None, Head]:
    """Solve for features (N, F), centred, and targets as `check_targets` takes them.

    c: the inverse strength of the L2 penalty on features scaled by their deviations; 0 takes the strongest of seven
    whose log-loss in 5-fold stratified cross-validation is within one standard error of the least (Breiman et al.,
    1984). Several labels share one, from 3 folds. Rows of one number in `targets["group"]`, where there is that, stand
    in one fold, and the only ones of a class are learnt from in each. The same seed gives the same weights.
    """
    labels = check_targets(targets, card)
    several, groups = labels.ndim == 2, targets.get("group", np.arange(len(labels)))
    spread = features.std(axis=0) + FLAT
    figures = dict[str, float]()
    with _one_thread():
        scaled, axes = _rotated(features / spread)
        if not c:
            chosen = _strength_for_labels if several else _chosen_strength
            c, figures = yield from chosen(scaled, labels, groups, seed)
        weight, bias, steps, loss = (_solved_each if several else _solved)(scaled, labels, c)
    weight = (weight if axes is None else weight @ axes) / spread
    if not several:
        weight, bias = _for_all_classes(weight, bias, labels, len(card.classes))
    return Head(weight=weight.astype(np.float32), bias=bias.astype(np.float32), steps=steps, loss=loss, figures=figures)


def _one_thread() -> Any:
    """While it lasts, sums are the same every time, and threads of small sums do not wait for each other."""
    try:
        import scipy.optimize  # noqa: F401 - brings threads of its own, which are to be held as well
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"this method needs {error.name}: pip install 'sightline[fit]'") from None
    return threadpool_limits(1)


def check_targets(targets: Arrays, card: Card) -> NDArray[Any]:
    """Class numbers (N,) of {"label"}, or whether each label is there (N, K) of {"present"}.

    Raises DataError for fewer than two classes, or for labels that the card does not have.
    """
    several = "present" in targets
    return check_present(targets["present"], len(card.classes)) if several else _checked_labels(targets, card)


def _rotated(scaled: Floats) -> tuple[Floats, Floats | None]:
    """Features of fewer pictures than numbers, along their principal axes (N, F): the penalised solution is the same.

    It lies in the span of the pictures, and the penalty does not see a rotation; the solver then works on (N, N).
    """
    if scaled.shape[0] >= scaled.shape[1]:
        return scaled, None
    wide = scaled.astype(np.float64)
    squares, across = np.linalg.eigh(wide @ wide.T)
    kept = squares > 1e-10 * squares[-1]
    lengths = np.sqrt(squares[kept])
    axes = across[:, kept].T @ wide / lengths[:, None]
    return (across[:, kept] * lengths).astype(np.float32), axes.astype(np.float32)


def _checked_labels(targets: Arrays, card: Card) -> NDArray[np.int64]:
    """Class numbers (N,): one picture has nothing to be told from, and a label must be one of the card's."""
    labels = np.asarray(targets["label"], np.int64)
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(f"the training pictures show {len(present)} of the {len(card.classes)} classes; two are needed")
    if present[0] < 0 or present[-1] >= len(card.classes):
        raise DataError(f"labels go from {present[0]} to {present[-1]}, the card names {len(card.classes)} classes")
    return labels


def _chosen_strength(
    scaled: Floats, labels: NDArray[np.int64], groups: Array, seed: int
) -> Generator[Event, None, tuple[float, dict[str, float]]]:
    """The strongest penalty within one standard error of the least cross-validated log-loss, and its figures."""
    folds = list(_folds(labels, groups, seed))
    if len(folds) < 2:
        text = "fewer than two classes have two pictures, so the penalty cannot be cross-validated: c = 0.01"
        yield Note(text=text, kind="choice")
        return 0.01, {}
    losses, hits = np.zeros((2, len(folds), len(STRENGTHS)))
    for index, (inside, outside) in enumerate(folds):
        losses[index], hits[index] = _path(scaled[inside], labels[inside], scaled[outside], labels[outside])
        yield Progress(what="folds of the cross-validation", done=index + 1, total=len(folds))
    taken, loss = _simplest(losses)
    figures = {"accuracy": float(hits[:, taken].mean()), "log_loss": loss}
    text = f"c = {STRENGTHS[taken]:.2g}: cross-validated log-loss {loss:.3f}, accuracy {figures['accuracy']:.3f}"
    yield Note(text=text, kind="choice")
    return STRENGTHS[taken], figures


def _strength_for_labels(
    scaled: Floats, there: NDArray[np.bool_], groups: Array, seed: int
) -> Generator[Event, None, tuple[float, dict[str, float]]]:
    """The same for several labels, one strength for all of them."""
    losses = []
    for number, fold in cross_validated(scaled, there, groups, STRENGTHS, seed=seed, fit=_one_label(1e-3)):
        losses.append(fold)
        yield Progress(what="folds of the cross-validation", done=number + 1, total=min(LABEL_FOLDS, len(scaled)))
    taken, loss = _simplest(np.array(losses))
    yield Note(text=f"c = {STRENGTHS[taken]:.2g}: cross-validated log-loss {loss:.3f} a label", kind="choice")
    return STRENGTHS[taken], {"log_loss": loss}


def _simplest(losses: Array) -> tuple[int, float]:
    """Of log-losses (folds, strengths) the first whose mean is within one standard error of the least, and its mean."""
    mean, error = losses.mean(axis=0), losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
    best = int(np.argmin(mean))
    taken = int(np.argmax(mean <= mean[best] + error[best]))
    return taken, float(mean[taken])


def _solved_each(x: Floats, there: NDArray[np.bool_], strength: float) -> tuple[Array, Array, int, float]:
    """Weights (K, F) and biases (K,) of labels that are independent, how many were solved, and the mean log-loss."""
    weight, bias = solved_labels(x, there, strength, _one_label(1e-4))
    return weight, bias, int((there.any(axis=0) & ~there.all(axis=0)).sum()), label_losses(x, there, weight, bias)


def _one_label(tolerance: float) -> Fit:
    """A solver for one label against the rest."""

    def fit(strength: float, x: Array, there: Array) -> tuple[Array, float]:
        table, _ = _minimised(x, there[:, None].astype(np.float32), strength, tolerance=tolerance)
        return table[0, :-1], float(table[0, -1])

    return fit


def _folds(labels: NDArray[np.int64], groups: Array, seed: int) -> Iterator[tuple[Array, Array]]:
    """The rows to learn from and those left out, of each fold; none where fewer than two classes have two groups.

    Each class is spread over the folds as evenly as whole groups allow. The only group of a class is never left out,
    and no row is whose class cannot be learnt without it.
    """
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    pairs = np.unique(np.stack([labels, member]), axis=1)  # which classes are in which groups
    met = np.bincount(pairs[0])
    if (met > 1).sum() < 2:
        return
    mixed = np.random.Generator(np.random.Philox(seed % 2**64)).permutation(len(first))
    mixed = mixed[~np.isin(mixed, pairs[1, met[pairs[0]] == 1])]
    count = min(FOLDS, int(met[met > 1].min()))
    fold = np.full(len(first), -1)
    fold[mixed[np.argsort(labels[first][mixed], kind="stable")]] = np.arange(len(mixed)) % count
    for number in range(count):
        inside = fold[member] != number
        outside = ~inside & np.isin(labels, labels[inside])
        if outside.any():
            yield np.flatnonzero(inside), np.flatnonzero(outside)


def _path(x: Floats, y: NDArray[np.int64], x_out: Floats, y_out: NDArray[np.int64]) -> tuple[Array, Array]:
    """Log-loss and accuracy on the pictures left out, for each strength; each solution starts from the last."""
    wanted, names = _wanted(y)
    truth, losses, hits, table = np.searchsorted(names, y_out), [], [], None
    for strength in STRENGTHS:
        table, _ = _minimised(x, wanted, strength, tolerance=1e-3, start=table)
        logits = _logits(x_out, *_rows_of(table))
        losses.append(_log_loss(logits, truth))
        hits.append((logits.argmax(axis=1) == truth).mean())
    return np.array(losses), np.array(hits)


def _solved(x: Floats, y: NDArray[np.int64], strength: float) -> tuple[Array, Array, int, float]:
    """Weights (k, F) and biases (k,) of the k classes present, solver steps, and the mean log-loss reached."""
    wanted, names = _wanted(y)
    table, steps = _minimised(x, wanted, strength, tolerance=1e-4)
    weight, bias = _rows_of(table)
    return weight, bias, steps, _log_loss(_logits(x, weight, bias), np.searchsorted(names, y))


def _wanted(y: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """What the scores are to say, (N, k), of two classes whether it is the second (N, 1); and the k classes present."""
    names = np.unique(y)
    wanted = (y[:, None] == names).astype(np.float32)
    return wanted[:, 1:] if len(names) == 2 else wanted, names


def _rows_of(table: Array) -> tuple[Array, Array]:
    """Weights (k, F) and biases (k,) from a solution; of two classes each has half of the log-odds, with its sign."""
    table = np.concatenate([-table, table]) / 2 if len(table) == 1 else table
    return table[:, :-1], table[:, -1]


def _logits(x: Floats, weight: Array, bias: Array) -> Array:
    return np.asarray(x @ weight.T + bias)


def _log_loss(logits: Array, truth: NDArray[np.intp]) -> float:
    """Mean over rows, in nats."""
    return float((_log_sum(logits)[:, 0] - logits[np.arange(len(truth)), truth]).mean())


def _minimised(
    x: Floats, wanted: Floats, strength: float, *, tolerance: float, start: Array | None = None
) -> tuple[Array, int]:
    """The least penalised log-loss by L-BFGS (Liu & Nocedal, 1989): weights and, last, the bias, (R, F + 1), and steps.

    x: (N, F). wanted: (N, R), of several rows one that is 1. The loss is summed over pictures, times strength, plus
    half the squared weights; the bias is free. tolerance: of the gradient of the mean. start: a solution nearby.
    """
    from scipy.optimize import minimize

    rows, decay = wanted.shape[1], 1.0 / (strength * len(x))

    def loss_and_gradient(flat: Array) -> tuple[float, Array]:
        table = flat.reshape(rows, -1)
        weight = table[:, :-1]
        logits = x @ weight.T.astype(np.float32) + table[:, -1].astype(np.float32)
        whole = np.logaddexp(0, logits) if rows == 1 else _log_sum(logits)
        gap = (np.exp(logits - whole) - wanted) / np.float32(len(x))
        loss = (whole.sum(dtype=np.float64) - (wanted * logits).sum(dtype=np.float64)) / len(x)
        gradient = np.empty_like(table)
        gradient[:, :-1], gradient[:, -1] = gap.T @ x + decay * weight, gap.sum(axis=0)
        return float(loss + decay / 2 * (weight**2).sum()), gradient.ravel()

    first = np.zeros(rows * (x.shape[1] + 1)) if start is None else start.ravel()
    options = {"maxiter": 500, "gtol": tolerance, "ftol": 64 * np.finfo(np.float64).eps, "maxls": 50}
    found = minimize(loss_and_gradient, first, jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(rows, -1), int(found.nit)


def _log_sum(logits: Array) -> Array:
    """Logarithm of the sum of exponentials of each row, (N, 1)."""
    most = logits.max(axis=1, keepdims=True)
    found: Array = most + np.log(np.exp(logits - most).sum(axis=1, keepdims=True))
    return found


def _for_all_classes(weight: Array, bias: Array, labels: NDArray[np.int64], classes: int) -> tuple[Array, Array]:
    """Rows for the classes present, spread out over all; one without a picture can never be the answer."""
    present = np.unique(labels)
    if len(present) == classes:
        return weight, bias
    full = np.repeat(weight.mean(axis=0, keepdims=True), classes, axis=0)
    offsets = np.full(classes, bias.mean() + NEVER)
    full[present], offsets[present] = weight, bias
    return full, offsets
