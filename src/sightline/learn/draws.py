"""Draws: every random number of a training follows from (seed, epoch, index, slot) alone, so a kill loses none."""

from __future__ import annotations

from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray


class Slot(IntEnum):
    """What each of a picture's uniform numbers is for: its column in the table of `draws`."""

    FLIP = 0
    SHIFT_Y = auto()
    SHIFT_X = auto()
    ANGLE = auto()
    SCALE = auto()
    ASPECT = auto()
    CROP_AREA = auto()
    CROP_ASPECT = auto()
    CROP_Y = auto()
    CROP_X = auto()
    FIRST_OP = auto()
    FIRST_LEVEL = auto()
    FIRST_SIGN = auto()
    SECOND_OP = auto()
    SECOND_LEVEL = auto()
    SECOND_SIGN = auto()
    BRIGHTNESS = auto()
    CONTRAST = auto()
    SATURATION = auto()
    HUE = auto()
    BLUR = auto()
    NOISE = auto()
    NOISE_SEED = auto()
    ERASE = auto()
    ERASE_AREA = auto()
    ERASE_ASPECT = auto()
    ERASE_Y = auto()
    ERASE_X = auto()
    MIX = auto()
    MIX_KIND = auto()
    MIX_SHARE = auto()
    MIX_Y = auto()
    MIX_X = auto()
    TOP_LEFT_X = auto()
    TOP_LEFT_Y = auto()
    TOP_RIGHT_X = auto()
    TOP_RIGHT_Y = auto()
    BOTTOM_RIGHT_X = auto()
    BOTTOM_RIGHT_Y = auto()
    BOTTOM_LEFT_X = auto()
    BOTTOM_LEFT_Y = auto()
    JPEG = auto()
    CHAINS_SEED = auto()
    TURN = auto()
    MOSAIC = auto()
    MOSAIC_Y = auto()
    MOSAIC_X = auto()
    TILE_SCALE = auto()
    TILE_ASPECT = auto()
    TILE_Y = auto()
    TILE_X = auto()
    BLEND = auto()
    BLEND_SHARE = auto()
    PASTE = auto()
    PASTE_SEED = auto()
    SHRINK = auto()
    MASK = auto()
    MASK_SEED = auto()
    POSE_SEED = auto()


SLOTS = len(Slot)
CORNERS = slice(Slot.TOP_LEFT_X, Slot.BOTTOM_LEFT_Y + 1)
_STREAMS = ((0, int(Slot.TOP_LEFT_X)), (3, int(Slot.TURN)), (4, int(Slot.SHRINK)), (5, int(Slot.POSE_SEED)), (6, SLOTS))
"""Streams and where each ends: slots that came later have one of their own, or all older numbers would have changed."""
Uniform = NDArray[np.float64]


def draws(seed: int, epoch: int, count: int) -> Uniform:
    """Uniform numbers in [0, 1), shape (count, SLOTS): row i belongs to picture i in this epoch, whatever the order."""
    widths = np.diff([0, *(end for _, end in _STREAMS)])
    parts = [_stream(seed, epoch, number).random((count, wide)) for (number, _), wide in zip(_STREAMS, widths)]
    return np.concatenate(parts, axis=1)


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of one epoch, from (seed, epoch) alone."""
    return _stream(seed, epoch, 1).permutation(count)


def balanced_order(seed: int, epoch: int, strata: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of one epoch in which every class comes equally often, to one; as many as there are pictures.

    strata: (N,) class of each row. Pictures of a rare class come several times, each as often as the others of its
    class, to one; of a frequent class other pictures are left out each epoch.
    """
    chance, classes = _stream(seed, epoch, 2), np.unique(strata)
    quota = np.full(len(classes), len(strata) // len(classes))
    quota[chance.permutation(len(classes))[: len(strata) % len(classes)]] += 1
    picks = []
    for name, wanted in zip(classes, quota):
        members = np.flatnonzero(strata == name)
        rounds = [chance.permutation(members) for _ in range(-(-wanted // len(members)))]
        picks.append(np.concatenate([*rounds, members[:0]])[:wanted])
    return chance.permutation(np.concatenate(picks))


def _stream(seed: int, epoch: int, number: int) -> np.random.Generator:
    """One of the independent streams of an epoch; a picture's place must not be tied to its jitter."""
    key = np.array([seed & (2**64 - 1), epoch | number << 32], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
