"""Group: the processes that learn one thing together; by default this one alone, to which all this comes easily."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sightline.core.errors import UsageError

T = TypeVar("T")
_TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process in its environment."""


@dataclass(frozen=True)
class Group:
    """This process's place among those that learn together, and what they say to each other.

    `learn.together.Together` is the one that really talks. Every process calls the same methods in the same order.
    """

    rank: int = 0
    """0 leads: it alone writes, shows and measures the finished model."""
    world: int = 1
    local_rank: int = 0
    """Place among the processes of this machine: which CUDA device is its own."""
    local_world: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is this process that writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of so many things in a row are this process's; shares differ by one at most.

        >>> [Group(rank, 3).share(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def threads(self, count: int | None) -> int | None:
        """This process's part of the machine's CPU threads."""
        return max(1, count // self.local_world) if count else count

    def fits(self, batch: int, parts: int) -> None:
        """Raises UsageError where a batch is too small to give every process something in each of its parts."""
        if batch >= self.world * parts:
            return
        parted = f" in {parts} parts each (--accumulate)" if parts > 1 else ""
        raise UsageError(
            f"a batch of {batch} cannot be shared among {self.world} processes{parted}; "
            f"take --batch {self.world * parts} or more, if there are so many training pictures, or fewer --devices"
        )

    def first(self, make: Callable[[], T]) -> T:
        """What the leading process makes, known to all."""
        return make()

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes."""
        return list(values)

    def any(self, asked: bool) -> bool:
        """Whether any process says so."""
        return asked

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all processes, in the order of their ranks."""
        return items

    def wait(self) -> None:
        """Go on when all have come here, which they do soon."""

    def meet(self) -> None:
        """Go on when all have come here, which may take them very different times."""

    def prepared(self, module: Any) -> Any:
        """The net with norms whose statistics are those of all processes' pictures."""
        return module

    def averaging(self, losses: Any) -> Any:
        """The module that finds a loss, made to leave gradients averaged over the processes."""
        return losses

    @contextmanager
    def apart(self, losses: Any, so: bool) -> Iterator[None]:
        """While it lasts, gradients are kept to this process and add up, if it is so."""
        yield


def launched() -> Group:
    """The place that torchrun gave this process; without torchrun, a group of one."""
    if not all(name in os.environ for name in _TOLD):
        return Group()
    rank, world, local_rank, local_world = (int(os.environ[name]) for name in _TOLD[:4])
    return Group(rank, world, local_rank, local_world)
