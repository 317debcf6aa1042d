"""Grow: pictures that begin at half their size and grow to the whole, so that the first steps are cheaper.

Progressive resizing (Howard, 2018; Tan & Le, 2021); the size follows from the step alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.recipe import Recipe

EIGHTHS = (4, 5, 6, 7)
"""Eighths of the side that pictures have in turn, each for as long, before they are whole."""
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
