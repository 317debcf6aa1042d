"""Grow: pictures that begin at half their size and grow to the whole, so that the first steps are cheaper, or vary.

Progressive resizing (Howard, 2018; Tan & Le, 2021); the size follows from seed and step alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.recipe import Recipe

EIGHTHS = (4, 5, 6, 7)
"""Eighths of the side that pictures have in turn, each for as long, before they are whole."""
_CELL, _STREAM = 32, 5
"""Pixels that a varied size is a multiple of, and the stream it is drawn from; those of `draws` are lower."""
_MIDDLE = 6
"""The size whose time stands for all small ones: a little above their mean number of pixels."""
_REFUSED = (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError)
"""What networks raise, each in its own way, for a size that they cannot take."""


def size_at(done: float, recipe: Recipe, size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the pictures when a share `done` of the steps is done.

    >>> from sightline.tasks.classify import Recipe
    >>> [size_at(done, Recipe(grow=0.8), (32, 48)) for done in (0.0, 0.3, 0.7, 0.8)]
    [(16, 24), (20, 30), (28, 42), (32, 48)]
    """
    share = grow_of(recipe)
    return size_hw if done >= share else _eighths(EIGHTHS[int(len(EIGHTHS) * done / share)], size_hw)


def varied(size_hw: tuple[int, int], step: int, done: float, recipe: Recipe) -> tuple[int, int]:
    """Another size for this step, in whole cells of 32 pixels, where a task's recipe asks for several (`vary`).

    None of the steps of the calm end, so that the last sizes are those that will be met.

    >>> from sightline.tasks.detect import Recipe
    >>> [varied((320, 416), step, 0.0, Recipe(vary=0.3)) for step in range(3)]
    [(416, 512), (352, 448), (256, 320)]
    """
    most = float(getattr(recipe, "vary", 0.0))
    if not most or done >= 1 - float(getattr(recipe, "calm", 0.0)):
        return size_hw
    key = np.array([recipe.seed % 2**64, step | _STREAM << 32], np.uint64)
    by = 1 + most * (2 * np.random.Generator(np.random.Philox(key=key)).random() - 1)
    height, width = (max(_CELL, _CELL * round(side * by / _CELL)) for side in size_hw)
    return height, width


def grow_of(recipe: Recipe) -> float:
    """The share of the steps over which a task's recipe lets pictures grow; a task without this setting does not."""
    return float(getattr(recipe, "grow", 0.0))


def _eighths(count: int, size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = (max(1, -(-side * count // 8)) for side in size_hw)
    return height, width


def resized(images: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """A batch (B, C, H, W) at a smaller size, antialiased; at its own size it is not touched."""
    if tuple(images.shape[2:]) == size_hw:
        return images
    small = functional.interpolate(images, size_hw, mode="bilinear", antialias=True, align_corners=False)
    return small.contiguous(memory_format=torch.channels_last)


def mean_seconds(timed: Callable[[tuple[int, int]], float], recipe: Recipe, size_hw: tuple[int, int]) -> float:
    """Seconds a step over the whole training; `timed` measures them for a size."""
    share, whole = grow_of(recipe), timed(size_hw)
    return share * timed(_eighths(_MIDDLE, size_hw)) + (1 - share) * whole if share else whole


@torch.no_grad()
def check_sizes(module: nn.Module, card: Card, recipe: Recipe, *, device: torch.device) -> None:
    """Raise UsageError where pictures are to grow and the network cannot take one of the smaller sizes; tries all."""
    ready, learning = card.preparation, module.training
    module.eval()  # a trial must not count in running statistics
    for count in EIGHTHS if grow_of(recipe) else ():
        height, width = _eighths(count, ready.size_hw)
        try:
            module(torch.zeros(1, ready.channels, height, width, device=device))
        except _REFUSED as error:
            said = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
            raise UsageError(
                f"--grow begins with smaller pictures, and {card.net.get('name', 'this net')} cannot take "
                f"{height} x {width} once it is made for {ready.size_hw[0]} x {ready.size_hw[1]} ({said[:120]}); "
                "leave out --grow, or take a net that takes any size, such as resnet"
            ) from error
    module.train(learning)
