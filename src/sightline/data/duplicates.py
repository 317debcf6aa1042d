"""Near-duplicates: pictures that differ by size, compression, brightness, a small crop or turn, or stand mirrored.

Each picture leaves a sketch, the signs of which are a 64-bit hash. Pairs of nearby hashes, in any of the eight ways a
square can lie, are candidates. Both pictures of a candidate are then read again, laid upon each other by an affine map
and correlated pixel by pixel; what counts is the fine detail, which look-alikes do not share.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Preparation
from sightline.core.errors import PictureError
from sightline.core.events import Progress
from sightline.data.align import aligned_correlation
from sightline.data.pictures import Picture, read_picture
from sightline.data.prepare import prepare
from sightline.data.samples import SPLITS, Samples, check_digests

Array = NDArray[Any]

SMALLEST = 64
"""Pictures whose shorter side is no longer than this are not judged: so small, different things look alike."""
ALIKE = 0.85
"""Correlation of the aligned detail from which two pictures are near-duplicates. Measured: copies that were cropped,
turned, brightened or recompressed reach 0.95 and more, different ones of one kind (X-rays, cartons) at most 0.78."""
RADIUS = 16
"""Hash bits that may differ: of 64, unrelated pictures differ in 24 to 32."""
LIKENESS = 0.78
"""Cosine of two sketches from which a pair is a candidate; crops of 5 % a side reach 0.80."""
NEIGHBOURS = 8
"""Candidates kept for each picture, the likeliest; bounds the work where thousands of pictures look alike."""
_ENOUGH = 96
"""Pixels of a side that a sketch looks at, or up to twice as many; ten waves need no more."""
_FLAT = 0.5
"""Norm of a sketch, in shades of 255, below which a picture shows nothing."""
_SIDE, _BLOCK, _BATCH = 128, 64, 64


def _frequencies() -> list[tuple[int, int]]:
    """64 low frequencies of a 2-D cosine transform without the mean, a set that is symmetric in its two axes."""
    return [(u, v) for u in range(11) for v in range(11) if 0 < u + v <= 10 and (u, v) != (5, 5)]


_UV = np.array(_frequencies())
WAYS = tuple((bool(way & 4), bool(way & 2), bool(way & 1)) for way in range(8))
"""How a second picture may lie: transposed, then flipped top to bottom, then left to right."""


@dataclass(frozen=True)
class Near:
    """Two rows, the earlier split's first, that hold nearly the same picture."""

    first: int
    second: int
    correlation: float
    """Of the aligned detail, ALIKE to 1."""


def sketch(picture: Picture) -> NDArray[np.float32]:
    """The 64 lowest frequencies of the cosine transform of the picture's green, at unit length: shape (64,).

    All zero, and so never a candidate, for a picture of at most SMALLEST pixels on its shorter side or without
    contrast. A mirrored or turned picture has the same numbers with other signs and in another order.
    """
    if min(picture.size_hw) <= SMALLEST:
        return np.zeros(64, np.float32)
    pixels = picture.pixels
    step = max(1, min(pixels.shape[:2]) // _ENOUGH)
    plane = pixels[::step, ::step, pixels.shape[2] // 2].astype(np.float32) * np.float32(255 / picture.high)
    height, width = plane.shape
    values = (_waves(height) @ plane @ _waves(width).T)[_UV[:, 0], _UV[:, 1]]
    size = np.float32(np.linalg.norm(values))
    flat = _FLAT if pixels.dtype == np.uint8 else _FLAT / 64  # deep pictures may use a small part of their scale
    return values / size if size > flat else np.zeros(64, np.float32)


def candidates(sketches: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of rows (M, 2), the later row first, whose hashes and sketches are close, and the index in WAYS of each.

    Every pair of hashes is compared, in blocks: for 100,000 pictures 4 * 10**10 comparisons.
    """
    alive = np.flatnonzero(sketches.any(axis=1))
    sketches = np.ascontiguousarray(sketches[alive], np.float32)
    variants = [_lying(sketches, way) for way in WAYS]
    hashes = [np.packbits(each > 0, axis=1).view(np.uint64)[:, 0] for each in variants]
    pairs, ways = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(alive), _BLOCK):
        stop = min(start + _BLOCK, len(alive))
        rows, columns, likeness, way = _block(sketches, variants, hashes, start, stop)
        keep = _likeliest(rows, columns, likeness)
        pairs.append(np.stack([alive[rows[keep]], alive[columns[keep]]], axis=1))
        ways.append(way[keep])
    return np.concatenate(pairs), np.concatenate(ways)


def find_near(samples: Samples, sketches: Array, digests: Sequence[str]) -> Iterator[Progress | tuple[Near, ...]]:
    """All near-duplicates among rows of different pixels; yields Progress as candidates are read again, the pairs last.

    `sketches` (N, 64) and `digests` (of the pixels) are those of a survey, one a row. Of rows with equal pixels only
    the first is looked at. A picture that can no longer be read is no duplicate.
    """
    listed = check_digests(digests, samples)
    once = np.array(sorted({digest: i for i, digest in reversed(list(enumerate(listed)))}.values()), np.int64)
    pairs, ways = candidates(sketches[once]) if len(once) else (np.empty((0, 2), np.int64), np.empty(0, np.int64))
    view = _viewer(samples)
    found: list[Near] = []
    for start in range(0, len(pairs), _BATCH):
        some = [(once[i], once[j], way) for (i, j), way in zip(pairs[start : start + _BATCH], ways[start:])]
        found += _confirmed(some, view, samples)
        yield Progress(what="likely near-duplicates compared", done=min(start + _BATCH, len(pairs)), total=len(pairs))
    yield tuple(sorted(found, key=lambda near: (near.first, near.second)))


def clusters(near: Sequence[Near], samples: Samples) -> dict[int, int]:
    """Row → the row its cluster is named for, for the rows that are in one.

    A member is a near-duplicate of the row in the middle, not only of another member: the row with most neighbours
    takes those not yet taken, then the next. So a long chain of small changes (frames of a film, say) becomes several
    clusters, and cannot swallow a data set.
    """
    around: dict[int, set[int]] = defaultdict(set)
    for pair in near:
        around[pair.first].add(pair.second)
        around[pair.second].add(pair.first)
    middle: dict[int, int] = {}
    for row in sorted(around, key=lambda row: (-len(around[row]), samples.rows[row].path)):
        if row not in middle and (free := [other for other in around[row] if other not in middle]):
            middle |= dict.fromkeys([row, *free], row)
    return middle


def across(near: Sequence[Near], samples: Samples) -> tuple[Near, ...]:
    """The pairs that stand in two splits, likeliest first."""
    rows = samples.rows
    apart = [pair for pair in near if (rows[pair.first].split or "train") != (rows[pair.second].split or "train")]
    return tuple(sorted(apart, key=lambda pair: -pair.correlation))


def told(pairs: Sequence[Near], samples: Samples, *, shown: int = 5, hint: str = "") -> list[str]:
    """Sentences on the pairs that stand in two splits: how many, what can be done (`hint`), and the likeliest few."""
    if not pairs:
        return []
    splits = Counter(
        tuple(sorted((samples.rows[row].split or "train" for row in (p.first, p.second)), key=SPLITS.index))
        for p in pairs
    )
    where = ", ".join(f"{count} in {a} and {b}" for (a, b), count in splits.items())
    many = "pairs of near-duplicates stand" if len(pairs) > 1 else "pair of near-duplicates stands"
    lines = [f"{len(pairs)} {many} in two splits ({where}); the figures may flatter" + f"; {hint}" * bool(hint)]
    for pair in pairs[:shown]:
        one, other = (samples.rows[row] for row in (pair.first, pair.second))
        lines.append(
            f"{one.path} ({one.split or 'train'}) and {other.path} ({other.split or 'train'}): "
            f"correlation {pair.correlation:.2f}"
        )
    return [*lines, *(f"... and {len(pairs) - shown} more" for _ in range(len(pairs) > shown))]


def _grey(picture: Picture) -> NDArray[np.float32]:
    """The picture as a square of grey values, (128, 128)."""
    dtype, high = ("uint8", 255.0) if picture.pixels.dtype == np.uint8 else ("float32", 1.0)
    ready = Preparation(mode="grey", size_hw=(_SIDE, _SIDE), dtype=dtype, high=high)
    return prepare(picture, ready)[0][..., 0].astype(np.float32)


@lru_cache(maxsize=1024)
def _waves(length: int) -> NDArray[np.float32]:
    """The first eleven waves of the cosine transform over so many pixels, (11, length), divided by their number."""
    waves = np.cos(np.pi * np.outer(np.arange(11), np.arange(length) + 0.5) / length) / length
    return waves.astype(np.float32)


def _lying(sketches: Array, way: tuple[bool, bool, bool]) -> Array:
    """What the sketches would be if the pictures lay that way."""
    turned, flip_y, flip_x = way
    index = {tuple(uv): i for i, uv in enumerate(_UV.tolist())}
    order = [index[v, u] if turned else index[u, v] for u, v in _UV.tolist()]
    signs = (-1.0) ** (_UV[:, 0] * flip_y + _UV[:, 1] * flip_x)
    return np.ascontiguousarray(sketches[:, order] * signs.astype(np.float32))


def _block(
    sketches: Array, variants: list[Array], hashes: list[Array], start: int, stop: int
) -> tuple[Array, Array, Array, Array]:
    """Candidates between rows start to stop and all earlier rows: rows, columns, likeness, way."""
    found: list[tuple[Array, Array, Array, Array]] = []
    for way, (variant, codes) in enumerate(zip(variants, hashes)):
        for left in range(0, stop, 32 * _BLOCK):
            right = min(left + 32 * _BLOCK, stop)
            apart = np.bitwise_count(hashes[0][start:stop, None] ^ codes[None, left:right])
            rows, columns = np.divmod(np.flatnonzero(apart <= RADIUS), right - left)
            rows, columns = rows + start, columns + left
            earlier = columns < rows
            rows, columns = rows[earlier], columns[earlier]
            likeness = np.einsum("nk,nk->n", sketches[rows], variant[columns])
            near = likeness >= LIKENESS
            found.append((rows[near], columns[near], likeness[near], np.full(int(near.sum()), way)))
    rows, columns, likeness, ways = (np.concatenate(column) for column in zip(*found))
    return rows, columns, likeness, ways


def _likeliest(rows: Array, columns: Array, likeness: Array) -> Array:
    """Indices of at most NEIGHBOURS candidates a row, each earlier row once, in its likeliest way."""
    kept, seen, counts = [], set(), Counter[int]()
    for index in np.lexsort((columns, -likeness, rows)):
        pair = int(rows[index]), int(columns[index])
        if pair not in seen and counts[pair[0]] < NEIGHBOURS:
            seen.add(pair)
            counts[pair[0]] += 1
            kept.append(index)
    return np.array(kept, np.int64)


def _viewer(samples: Samples) -> Callable[[int], Array | None]:
    """Reads a row as a grey square, and remembers the last few thousand."""

    @lru_cache(maxsize=2048)
    def view(row: int) -> Array | None:
        try:
            picture = read_picture(samples.open(samples.rows[row]), at_least_hw=(_SIDE // 2, _SIDE // 2))
        except PictureError:
            return None
        return _grey(picture)

    return view


def _confirmed(some: list[tuple[int, int, int]], view: Callable[[int], Array | None], samples: Samples) -> list[Near]:
    """Those of some candidates that are near-duplicates."""
    readable = [(i, j, a, b, way) for i, j, way in some if (a := view(i)) is not None and (b := view(j)) is not None]
    if not readable:
        return []
    firsts = np.stack([a for _, _, a, _, _ in readable])
    seconds = np.stack([_laid(b, WAYS[way]) for _, _, _, b, way in readable])
    values = aligned_correlation(firsts, seconds, least=ALIKE)
    order = {name: place for place, name in enumerate(("", *SPLITS))}
    found = []
    for (i, j, _, _, _), value in zip(readable, values):
        if value >= ALIKE:
            first, second = sorted((int(i), int(j)), key=lambda row: (order[samples.rows[row].split], row))
            found.append(Near(first, second, round(float(value), 4)))
    return found


def _laid(square: Array, way: tuple[bool, bool, bool]) -> Array:
    turned, flip_y, flip_x = way
    square = square.T if turned else square
    return square[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
