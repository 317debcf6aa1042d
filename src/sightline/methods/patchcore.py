"""patchcore: a memory of what good parts look like, patch by patch; what is far from all of it does not belong.

Roth et al., CVPR 2022. Patches are rows of an encoder's inner maps; the memory is a coreset of those of good parts, and
the map of a picture is each patch's distance from the nearest one. Needs no PyTorch.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.events import Epoch, Event, Note, Progress, drain
from sightline.core.protocols import Array, Arrays
from sightline.core.recipe import Recipe, setting
from sightline.encoders import taps
from sightline.encoders.sheet import Sheet
from sightline.methods._coreset import Coreset, coreset
from sightline.methods._folds import folds_of, good_of
from sightline.methods._maps import answered, finished, patches_of, with_known
from sightline.methods._subspace import subspace_of

TASKS = frozenset({"anomaly"})
OUTPUTS = {"map": "B h w", "score": "B"}
CROSSES = True
"""`fit` also says what memories without a good part say of it."""

BANK_ROWS = 2048
"""Patches of the memory that are held against a picture at a time, so that distances stay in the cache."""
ROUNDING = 1e-3
"""Share of a patch's squared length that is added to its squared distance: what float32 rounds away where the two are
equal would be large under the root, and differ from one engine to the next."""


@dataclass(frozen=True)
class Options(taps.Taps):
    """The encoder, and how much is remembered."""

    share: float = setting(0.1, "share of all patches of good parts that is remembered", low=0.0001, high=1)
    dims: int = setting(128, "numbers of a patch that are compared, at most: its main components", low=2, high=2048)
    project: int = setting(
        0, "numbers of the random projection that the memory is chosen in (0: chosen by the patches themselves)", low=0
    )
    folds: int = setting(
        5, "parts in turn left out of the memory, so that thresholds are of unseen parts", low=2, high=50
    )


VARIANTS = taps.Files(Options)
asks, brings = taps.asks, taps.brings


def fit(
    images: Array, targets: Arrays, card: Card, options: Options, recipe: Recipe
) -> Generator[Event, None, dict[str, Array]]:
    """Learn from prepared pictures (N, H, W, C) and {"anomalous": (N,) int64}, of which those with 0 are remembered.

    Known defects, those with 1, sharpen the map where there are some (see `_known`). Returns `bank` (M, d), the
    subspace it lives in, `encoder`, the bytes of its file as uint8; and of the G good parts, which are the rows
    `crossed.row`, what memories without them say of them: `crossed.map` (G, h, w) and `crossed.score` (G,).
    Raises DataError for fewer than two good parts, UsageError for an encoder that cannot be used.
    """
    began = time.perf_counter()
    good, blob = good_of(targets), taps.blob_of(options)
    encoder = taps.opened(blob, card.preparation, options)
    space, patches = yield from patches_of(images, good, encoder, options.dims, even=not blob)
    counts = targets["anomalous"] == 0
    bank, radius = yield from _remembered(patches, counts, options, recipe.seed, what="patches remembered")
    text = (
        f"{len(bank):,} of {len(good) * patches[0].size // space.width:,} patches are remembered; none is farther than"
    )
    yield Note(text=f"{text} about {radius:.3g} from the nearest of them")
    fold = folds_of(targets, options.folds, recipe.seed)
    apart = np.empty(patches.shape[:3], np.float32)
    for number in range(fold.max() + 1):
        what = f"patches remembered without part {number + 1} of {fold.max() + 1}"
        some, _ = yield from _remembered(patches, counts & (fold != number), options, recipe.seed, what=what)
        apart[fold == number] = distances(patches[fold == number], some)
    arrays: dict[str, Array] = {"bank": bank, "encoder": np.frombuffer(blob, np.uint8), **space.to_arrays()}
    told = yield from with_known(patches, apart, targets, fold, len(card.classes), top=options.top)
    seconds = time.perf_counter() - began
    yield Epoch(epoch=1, epochs=1, step=len(bank), loss=radius, lr=0.0, seconds=seconds, metrics={})
    return arrays | told


def _remembered(
    patches: NDArray[np.float32], counts: NDArray[np.bool_], options: Options, seed: int, *, what: str
) -> Generator[Event, None, tuple[NDArray[np.float32], float]]:
    """A coreset of the patches (N, h, w, d) of those pictures that count (N,), as (M, d), and its radius."""
    flat = patches.reshape(-1, patches.shape[-1])
    left_out = np.repeat(~counts, patches.shape[1] * patches.shape[2])
    count = max(1, round(options.share * int((~left_out).sum())))
    chosen = flat
    if 0 < options.project < flat.shape[1]:
        random = np.random.Generator(np.random.Philox(seed % 2**64))
        matrix = random.standard_normal((flat.shape[1], options.project)).astype(np.float32)
        chosen = flat @ (matrix / np.sqrt(np.float32(options.project)))
    for step in coreset(chosen, count, left_out=left_out, seed=seed):
        if isinstance(step, Coreset):
            break
        yield Progress(what=what, done=step, total=count)
    assert isinstance(step, Coreset)
    return flat[step.picks], step.radius


def distances(patches: NDArray[np.float32], bank: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each patch (N, h, w, d) from the nearest one of the memory (M, d): (N, h, w), float32.

    One of a patch that is remembered is a thirtieth of its length, not 0; of others hardly more than it is: `ROUNDING`.
    """
    found = np.empty(patches.shape[:3], np.float32)
    squares = np.einsum("md,md->m", bank, bank)
    for row, picture in enumerate(patches):
        flat = picture.reshape(-1, picture.shape[-1])
        least = np.full(len(flat), np.inf, np.float32)
        for start in range(0, len(bank), BANK_ROWS):
            part = bank[start : start + BANK_ROWS]
            np.minimum(least, (squares[start : start + BANK_ROWS] - 2 * (flat @ part.T)).min(axis=1), out=least)
        squared = np.einsum("nd,nd->n", flat, flat)
        found[row] = np.sqrt(np.maximum(least + squared, 0) + np.float32(ROUNDING) * squared).reshape(found.shape[1:])
    return found


def forward(images: Array, arrays: Arrays, card: Card, options: Options) -> dict[str, Array]:
    """Prepared pictures (N, H, W, C) → `map` (N, h, w), `score` (N,), its maximum, and with kinds of defects `kinds`
    (N, K, h, w), all float32."""
    encoder = taps.opened(arrays["encoder"].tobytes(), card.preparation, options)
    patches = subspace_of(arrays).project(drain(encoder.places_of(images)))
    return answered(distances(patches, arrays["bank"]), patches, arrays, top=options.top)


def graph(arrays: Arrays, card: Card, options: Options) -> Any:
    """Encoder, subspace and memory as one `onnx.ModelProto`, from `image` B H W C in the card's dtype."""
    sheet, space = Sheet(), subspace_of(arrays)
    maps = taps.add_maps(sheet, arrays["encoder"].tobytes(), card.preparation, options)
    patches = space.add(sheet, taps.rows_of(sheet, maps))
    distance = add_distances(sheet, patches, arrays["bank"], opset=maps.opset)
    return finished(sheet, maps, card.preparation, patches, distance, arrays, top=options.top)


def add_distances(sheet: Sheet, patches: str, bank: NDArray[np.float32], *, opset: int) -> str:
    """`distances` in a graph: patches (B, n, d) → (B, n)."""
    least = []
    for number, start in enumerate(range(0, len(bank), BANK_ROWS)):
        part, name = bank[start : start + BANK_ROWS], f"bank.{number}"
        sheet.constant(f"{name}.twice", -2 * part.T)
        sheet.constant(f"{name}.squares", np.einsum("md,md->m", part, part))
        sheet.add("MatMul", [patches, f"{name}.twice"], f"{name}.product")
        sheet.add("Add", [f"{name}.product", f"{name}.squares"], f"{name}.apart")
        least.append(taps.reduced(sheet, "ReduceMin", f"{name}.apart", f"{name}.least", [2], opset=opset))
    x = sheet.add("Min", least, "bank.least") if len(least) > 1 else least[0]
    sheet.add("Mul", [patches, patches], "patches.squares")
    taps.reduced(sheet, "ReduceSum", "patches.squares", "patches.length", [2], opset=opset)
    sheet.add("Add", [x, "patches.length"], "squared")
    sheet.add("Relu", "squared", "squared.positive")
    sheet.add("Mul", ["patches.length", sheet.constant("rounding", np.float32(ROUNDING))], "patches.rounding")
    sheet.add("Add", "squared.positive patches.rounding", "squared.held")
    return sheet.add("Sqrt", "squared.held", "distance")
