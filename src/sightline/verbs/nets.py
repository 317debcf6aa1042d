"""nets: every net and method that can learn a task, with its size, its work and its speed on this machine."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.core.card import Card, Preparation
from sightline.core.errors import MissingExtraError, UsageError
from sightline.core.recipe import split_net
from sightline.core.shelf import Shelf
from sightline.verbs.learner import MOST_LISTED, pick, shelf_of

ROUNDS, SECONDS = 30, 1.0
"""A net is timed for so many runs, or so long."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """One way to learn, at one size of picture."""

    net: str
    """As `--net` takes it."""
    about: str
    parameters: int | None = None
    """Numbers learnt that the exported graph uses; None where they follow from the data, or it cannot be built."""
    flops: int | None = None
    """Operations for one picture, a multiplication and its addition counted as two."""
    ms: float | None = None
    """Milliseconds for one picture in PyTorch on one core, the median; what ships is timed by `sightline bench`."""
    weights: str = "none: learnt from scratch"
    """The licence of weights that come with it, and whether it can begin with others."""
    remark: str = ""
    """Why there are no figures."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


def nets(
    names: Sequence[str] = (), *, task: str = "classify", size: int = 32, classes: int = 10, grey: bool = False
) -> Iterator[Described]:
    """Describe the nets and methods that are named (`resnet`, `resnet:18`, `timm:convnext_nano`), or all.

    A net without a variant stands for all it has, or for its default where they are very many.
    Raises UsageError for a task or a name that is not there, or a name that does not learn the task.
    """
    recipe = dataclasses.asdict(Shelf("tasks").load(task).Recipe())
    card = Card(
        task=task,
        net={},
        classes=tuple(f"class {index}" for index in range(classes)),
        preparation=Preparation(mode="grey" if grey else "rgb", size_hw=(size, size)),
        recipe=recipe,
    )
    for name in names or [*Shelf("nets").names(), *Shelf("methods").names()]:
        yield from _described(name, task, card, asked_for=bool(names))


def _described(text: str, task: str, card: Card, *, asked_for: bool) -> Iterator[Described]:
    name, variant = split_net(text)
    room = shelf_of(name)
    try:
        module = Shelf(room).load(name)
    except MissingExtraError as error:
        yield Described(net=text, about="", remark=str(error))
        return
    about = (module.__doc__ or "").splitlines()[0].partition(": ")[2].rstrip(".")
    if task not in module.TASKS and not asked_for:
        return
    several = [variant] if variant else list(module.VARIANTS) if len(module.VARIANTS) <= MOST_LISTED else []
    if not module.VARIANTS:
        yield Described(
            net=f"{name}:FILE", about=about, remark="its size follows from the file and the data; no PyTorch"
        )
        return
    for each in several or [next(iter(module.VARIANTS))]:
        method = pick(f"{name}:{each}", Shelf("tasks").load(task), task, {}, lambda _: "")
        if not method.gradients:
            yield Described(net=method.spelled, about=about, remark="its size follows from the data; no PyTorch")
            continue
        try:
            net = module.build(method.options, task=task, card=card)
        except UsageError as error:
            yield Described(net=method.spelled, about=about, remark=str(error))
            continue
        yield dataclasses.replace(_measured(net.eval(), card), net=method.spelled, about=about)


def _measured(net: Any, card: Card) -> Described:
    """Parameters that reach an output, operations, and the median time of one picture."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from sightline.learn.loop import threads

    picture = torch.zeros(1, card.preparation.channels, *card.preparation.size_hw)
    given = tuple(net.example(1).values()) if hasattr(net, "example") else (picture,)
    sum(output.sum() for output in net(*given).values()).backward()
    parameters = sum(each.numel() for each in net.parameters() if each.grad is not None)
    with torch.inference_mode(), threads(1):
        with FlopCounterMode(display=False) as counted:
            net(*given)
        times: list[float] = []
        while len(times) < ROUNDS and sum(times) < SECONDS:
            began = time.perf_counter()
            net(*given)
            times.append(time.perf_counter() - began)
    ms = 1e3 * statistics.median(times)
    work = counted.get_total_flops()
    return Described(net="", about="", parameters=parameters, flops=work, ms=ms, weights=_weights(net))


def _weights(net: Any) -> str:
    """Whose weights it learns from; none come with any."""
    from sightline.learn.transfer import head_name

    try:
        head_name(net)
    except UsageError:
        return Described.weights
    return "none, or those that --start names"
