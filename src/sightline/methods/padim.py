"""padim: one Gaussian for each place of a good part, in an encoder's inner maps; what is far from its own is wrong.

Defard et al., ICPR 2021. The map is the Mahalanobis distance of each patch; covariances are held up by shrinkage
(Ledoit and Wolf, 2004), so that fewer parts than numbers do. Made for parts that always lie alike. Needs no PyTorch.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.events import Epoch, Event, Progress, drain
from sightline.core.protocols import Array, Arrays
from sightline.core.recipe import Recipe, setting
from sightline.encoders import taps
from sightline.encoders.sheet import Sheet
from sightline.methods._folds import folds_of, good_of
from sightline.methods._maps import answered, finished, patches_of, with_known
from sightline.methods._subspace import subspace_of

Floats = NDArray[np.float32]

TASKS = frozenset({"anomaly"})
OUTPUTS = {"map": "B h w", "score": "B"}
LEAST = 0.01
"""Added to each variance, as a share of the mean one of all places: where good parts never differ, as on a black
ground, the least difference would be an alarm."""
CROSSES = True
"""`fit` also says what models without a good part say of it."""


@dataclass(frozen=True)
class Options(taps.Taps):
    """The encoder, and what the Gaussians are of."""

    dims: int = setting(100, "numbers of a patch that are compared, at most: its main components", low=2, high=2048)
    place: str = setting(
        "each", "a Gaussian for each place of the part, or one shared by all", choices=("each", "shared")
    )
    folds: int = setting(5, "parts in turn left out, so that thresholds are of unseen parts", low=2, high=50)


VARIANTS = taps.Files(Options)
asks, brings = taps.asks, taps.brings


def fit(
    images: Array, targets: Arrays, card: Card, options: Options, recipe: Recipe
) -> Generator[Event, None, dict[str, Array]]:
    """Learn from prepared pictures (N, H, W, C) and {"anomalous": (N,) int64}, of which those with 0 are good.

    Returns `place.mean` (P, d) and `place.whiten` (P, d, d), P being all places or 1, the subspace and the encoder, and
    `crossed.*` as patchcore does. Raises DataError for fewer than two good parts, UsageError for an encoder that cannot
    be used.
    """
    began = time.perf_counter()
    good, blob = good_of(targets), taps.blob_of(options)
    encoder = taps.opened(blob, card.preparation, options)
    space, patches = yield from patches_of(images, good, encoder, options.dims, even=not blob)
    fold = folds_of(targets, options.folds, recipe.seed)
    apart = np.empty(patches.shape[:3], np.float32)
    for number in range(fold.max() + 1):
        mean, whiten = gaussians(patches[good[fold[good] != number]], options.place)
        apart[fold == number] = distances(patches[fold == number], mean, whiten)
        yield Progress(what="Gaussians without a part of the pictures", done=number + 1, total=int(fold.max()) + 1)
    mean, whiten = gaussians(patches[good], options.place)
    told = yield from with_known(patches, apart, targets, fold, len(card.classes), top=options.top)
    seconds, far = time.perf_counter() - began, float(np.median(apart))
    yield Epoch(epoch=1, epochs=1, step=len(good), loss=far, lr=0.0, seconds=seconds, metrics={})
    arrays: dict[str, Array] = {"place.mean": mean, "place.whiten": whiten, "encoder": np.frombuffer(blob, np.uint8)}
    return arrays | space.to_arrays() | told


def gaussians(patches: Floats, place: str) -> tuple[Floats, Floats]:
    """Means (P, d) and matrices (P, d, d) that make deviations white, from good patches (N, h, w, d)."""
    count, width = len(patches), patches.shape[-1]
    by_place = patches.reshape(count, -1, width).transpose(1, 0, 2)
    if place == "shared":
        by_place = by_place.reshape(1, -1, width)
    mean = by_place.mean(axis=1, dtype=np.float64).astype(np.float32)
    whiten = np.empty((len(by_place), width, width), np.float32)
    least = np.eye(width) * (LEAST * float(by_place.var(axis=1).mean()) + 1e-9)
    for row, (some, centre) in enumerate(zip(by_place, mean)):
        covariance = _shrunk((some - centre).astype(np.float64)) + least
        whiten[row] = np.linalg.inv(np.linalg.cholesky(covariance)).T
    return mean, whiten


def _shrunk(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance (d, d) of centred rows (N, d), drawn towards a multiple of unity as far as Ledoit and Wolf say."""
    count, width = centred.shape
    plain = centred.T @ centred / count
    level = float(np.trace(plain)) / width
    spread = float(((plain - level * np.eye(width)) ** 2).sum())
    noise = float(((centred**2).T @ (centred**2)).sum() / count - (plain**2).sum()) / count
    share = min(1.0, max(noise, 0.0) / spread) if spread > 0 else 1.0
    return np.asarray((1 - share) * plain + share * level * np.eye(width))


def distances(patches: Floats, mean: Floats, whiten: Floats) -> Floats:
    """Mahalanobis distances (N, h, w), float32, of patches (N, h, w, d)."""
    flat = patches.reshape(len(patches), -1, patches.shape[-1])
    found = np.empty(flat.shape[:2], np.float32)
    for row, picture in enumerate(flat):
        white = np.matmul((picture - mean)[:, None], whiten)[:, 0]
        found[row] = np.sqrt((white**2).sum(axis=-1))
    return found.reshape(patches.shape[:3])


def forward(images: Array, arrays: Arrays, card: Card, options: Options) -> dict[str, Array]:
    """Prepared pictures (N, H, W, C) → `map` (N, h, w), `score` (N,), its maximum, and with kinds of defects `kinds`
    (N, K, h, w), all float32."""
    encoder = taps.opened(arrays["encoder"].tobytes(), card.preparation, options)
    patches = subspace_of(arrays).project(drain(encoder.places_of(images)))
    return answered(distances(patches, arrays["place.mean"], arrays["place.whiten"]), patches, arrays, top=options.top)


def graph(arrays: Arrays, card: Card, options: Options) -> Any:
    """Encoder, subspace and Gaussians as one `onnx.ModelProto`, from `image` B H W C in the card's dtype."""
    sheet, space = Sheet(), subspace_of(arrays)
    maps = taps.add_maps(sheet, arrays["encoder"].tobytes(), card.preparation, options)
    patches = space.add(sheet, taps.rows_of(sheet, maps))
    distance = add_distances(sheet, patches, arrays["place.mean"], arrays["place.whiten"], opset=maps.opset)
    return finished(sheet, maps, card.preparation, patches, distance, arrays, top=options.top)


def add_distances(sheet: Sheet, patches: str, mean: Floats, whiten: Floats, *, opset: int) -> str:
    """`distances` in a graph: patches (B, n, d) → (B, n)."""
    sheet.constant("place.mean", mean)
    sheet.constant("place.whiten", whiten)
    sheet.add("Sub", [patches, "place.mean"], "off")
    if len(mean) == 1:
        sheet.add("MatMul", "off place.whiten", "white.rows")
    else:  # places first, so that each meets its own matrix
        sheet.add("Transpose", "off", "off.places", {"perm": [1, 0, 2]})
        sheet.add("MatMul", "off.places place.whiten", "white.places")
        sheet.add("Transpose", "white.places", "white.rows", {"perm": [1, 0, 2]})
    sheet.add("Mul", "white.rows white.rows", "white.squares")
    taps.reduced(sheet, "ReduceSum", "white.squares", "white.sum", [2], opset=opset)
    return sheet.add("Sqrt", "white.sum", "distance")
