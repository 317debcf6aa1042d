"""Together: several processes that learn as one, each on its share of every batch, through torch.distributed."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from sightline.core.errors import SightlineError, UsageError
from sightline.core.group import Group
from sightline.core.protocols import Batch, Objective
from sightline.learn.norms import shared_norms

T = TypeVar("T")
_SILENT = timedelta(minutes=2)
"""How long a process may let the others wait in training before they give it up; gloo notices a dead one at once."""
_POLL, _LATE = 0.1, 30
"""Seconds between two looks at who has come, and how many looks it may take to see that a process has ended."""

_TRAININGS = itertools.count()
"""Numbers of the trainings that this process takes part in, the same in all of them."""


@dataclass(frozen=True)
class Together(Group):
    """A process of several; make it with `joined`."""

    store: Any = None
    """The `torch.distributed.Store` that all of them reach."""
    check: Callable[[], None] = lambda: None
    """Raises when another process is known to be gone."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def first(self, make: Callable[[], T]) -> T:
        """What the leading process makes, broadcast."""
        held: list[Any] = [make() if self.leads else None]
        dist.broadcast_object_list(held, 0)
        return cast(T, held[0])

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes, in float64."""
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed)
        return [float(value) for value in summed]

    def any(self, asked: bool) -> bool:
        """Whether any process says so."""
        return self.total([float(asked)])[0] > 0

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all processes, in the order of their ranks."""
        held: list[Any] = [None] * self.world
        dist.all_gather_object(held, items)
        return [item for each in held for item in each]

    def wait(self) -> None:
        """Go on when all have come here, which they do soon."""
        self.total([0.0])

    def meet(self) -> None:
        """Go on when all have come here, however long it takes."""
        come = self.store.add("met", 1)
        wanted = -(-come // self.world) * self.world
        while self.store.add("met", 0) < wanted:
            self.check()
            time.sleep(_POLL)

    def prepared(self, module: nn.Module) -> nn.Module:
        """The net with norms whose statistics are those of all processes' pictures."""
        return shared_norms(module, self.device)

    def averaging(self, losses: nn.Module) -> nn.Module:
        """Losses whose gradients are averaged over the processes while they are found."""
        ids = [self.device.index] if self.device.type == "cuda" else None
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        still: Any = {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}
        return DistributedDataParallel(losses, device_ids=ids, **still)

    @contextmanager
    def apart(self, losses: Any, so: bool) -> Iterator[None]:
        """While it lasts, gradients are kept to this process and add up, if it is so."""
        if not so:
            yield
            return
        with losses.no_sync():
            yield


class Losses(nn.Module):
    """One objective's loss as a module, of which the parameters are those that the objective moves.

    DDP follows what happens inside `forward`. A loss that redraws the picture, or asks one player alone, uses parts of
    the net beside the net's own `forward`, so it is the loss that has to be called through DDP.
    """

    def __init__(self, whole: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.moves = objective.moves
        self._asked = (whole, objective.loss)  # in a tuple, so that nothing else of the net is registered here

    def forward(self, images: Tensor, targets: dict[str, Tensor], where: Batch) -> Tensor:
        """A scalar."""
        whole, asked = self._asked
        loss: Tensor = asked(whole, images, targets, where)
        return loss


@contextmanager
def joined(
    place: Group, *, device: str, store: Any = None, check: Callable[[], None] = lambda: None
) -> Iterator[Together]:
    """Be one of several processes while it lasts.

    device: the recipe's. store: of the process that began the others; by default the one torchrun's environment names.
    Raises UsageError where there is not a CUDA device for each, SightlineError when another process is gone.
    """
    own = _own_device(place, device)
    number = next(_TRAININGS) if store is None else 0  # torchrun's store lasts longer than one training
    reached = next(rendezvous("env://"))[0] if store is None else store
    store = dist.PrefixStore(  # type: ignore[attr-defined]
        f"training{number}", reached
    )
    group = Together(place.rank, place.world, place.local_rank, place.local_world, store=store, check=check, device=own)
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    try:
        group.meet()
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world, timeout=_SILENT)
        yield group
    except RuntimeError as error:
        if not _lost(error):
            raise
        for _ in range(_LATE):
            check()  # knows better which one, and what it said
            time.sleep(_POLL)
        raise SightlineError(
            f"another process of this training is gone (this is process {place.rank} of {place.world}): {error}; see "
            "what it said, then go on with --resume"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _own_device(place: Group, device: str) -> torch.device:
    """The device of this process; raises UsageError where there are not enough."""
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    there = torch.cuda.device_count()
    if place.local_world > there:
        raise UsageError(
            f"{place.local_world} processes want a CUDA device each, and there are {there} here; "
            f"take --devices {there}, or --device cpu"
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)


def _lost(error: RuntimeError) -> bool:
    """Whether it is what gloo, NCCL or the store say when another process does not answer."""
    said = str(error)
    return isinstance(error, dist.DistError) or any(word in said for word in ("gloo", "NCCL", "Connection", "peer"))
