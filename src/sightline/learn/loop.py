"""The loop: learning by gradients as an iterator of events; killed at any moment, it goes on to the same weights."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sightline.core.card import Card
from sightline.core.errors import DataError, SightlineError, UsageError
from sightline.core.events import Epoch, Event, Note, Saved, Step
from sightline.core.group import Group
from sightline.core.protocols import Arrays, Batch, Objective
from sightline.core.recipe import Recipe, budget_seconds
from sightline.learn.augment import augmentation_of, augmented
from sightline.learn.checkpoint import LAST, load_checkpoint, save_checkpoint
from sightline.learn.draws import Uniform, balanced_order, draws, order
from sightline.learn.grow import check_sizes, mean_seconds, resized, size_at, varied
from sightline.learn.optim import averaged, optimizer, rate, set_rate, sharpest, update_average
from sightline.learn.source import Source
from sightline.learn.together import Losses
from sightline.learn.transfer import begun, freeze, head_name, paces, probed, still
from sightline.learn.watch import Watch, sheet

_RESERVE = 0.12
"""Share of a budget kept for validation, measuring, exporting and the report."""
_MEASURED = 100
"""Epochs that are measured and followed by a checkpoint, at most; where pictures are few, a pass takes no time."""
_DRAWN = 20
"""Sheets of what is made by now, about at most."""
_TIMED_STEPS, _TIMED_SECONDS, _TIMED_SHARE = (8, 200), 6.0, 0.02
"""A budget is turned into steps after so many of them, and so long: seconds, or that share of the budget."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training: what is learned, from what, how, and where it is kept."""

    net: Any
    """A module of the shelf `nets`."""
    options: Any
    task: Any
    card: Card
    recipe: Recipe
    train: Source
    validation: Source | None
    folder: Path
    """Where checkpoints are written."""
    groups: np.ndarray[Any, Any] | None = None
    """Which training pictures belong together, (N,), by number; None: each stands alone."""
    stop: Callable[[], bool] = field(default=lambda: False)
    """Asked at every step boundary; when true, a checkpoint is written and KeyboardInterrupt raised."""
    group: Group = field(default_factory=Group)
    """The processes that learn together; `batch` is of all of them."""

    @property
    def batch(self) -> int:
        """Pictures a step, never more than there are."""
        return min(self.recipe.batch or 64, self.train.count)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass; the odd remainder is another one each epoch."""
        return max(1, self.train.count // self.batch)


def resolve_steps(job: Job, *, spent: float = 0.0) -> tuple[Recipe, str]:
    """The recipe with its number of steps, and how it came about.

    A budget is measured once, on a copy of the network so that the training itself starts untouched; `spent` seconds
    of it are gone already.
    """
    began = time.perf_counter()
    recipe, per_epoch = job.recipe, job.steps_per_epoch
    if recipe.steps is not None:
        return recipe, "as written in the recipe"
    if recipe.transfer == "probe":
        return recipe, "none: the head alone is solved at once"
    if not recipe.budget:
        epochs = recipe.epochs or 1
        return dataclasses.replace(recipe, steps=epochs * per_epoch), f"{epochs} epochs of {per_epoch} steps"
    budget = budget_seconds(recipe.budget)
    with threads(job.group.threads(recipe.threads)):
        timed = partial(_Training(job, steps=_TIMED_STEPS[1]).time_steps, min(_TIMED_SECONDS, _TIMED_SHARE * budget))
        seconds = mean_seconds(timed, recipe, job.card.preparation.size_hw)
    left = job.group.first(lambda: budget * (1 - _RESERVE) - spent - (time.perf_counter() - began))
    steps = max(1, int(left / seconds))
    epochs, odd = divmod(steps, per_epoch)
    reason = f"{recipe.budget} at {1000 * seconds:.0f} ms a step"
    if not epochs:
        return dataclasses.replace(recipe, steps=steps, epochs=1), f"{reason}, less than one pass over the pictures"
    return dataclasses.replace(recipe, steps=steps - odd, epochs=epochs), reason


def fit(job: Job) -> Generator[Event, None, nn.Module]:
    """Learn; yields events and returns the network to keep, in float32 on the CPU, in evaluation mode.

    Raises KeyboardInterrupt after a checkpoint when the job is asked to stop, and SightlineError when the loss
    is no longer a number.
    """
    with threads(job.group.threads(job.recipe.threads)):
        training = _Training(job, steps=0 if job.recipe.transfer == "probe" else job.recipe.steps or 1)
        if training.resume():
            yield Note(text=f"resumed at step {training.step} of {training.steps}")
        elif job.recipe.start:
            yield from training.begin()
        yield from training.run()
        return training.outcome()


def batches_of(job: Job, epoch: int) -> list[tuple[np.ndarray[Any, Any], Uniform]]:
    """The steps of an epoch (0-based): row numbers (B,) and their draws (B, SLOTS), from (seed, epoch) alone.

    With balanced sampling a picture may come several times, so its draws follow its place instead of its row.
    """
    seed, count = job.recipe.seed, job.train.count
    uniform = draws(seed, epoch, count)
    if balance_of(job.recipe) == "sampling":
        rows, places = balanced_order(seed, epoch, job.task.strata(job.train.targets)), np.arange(count)
    else:
        rows = places = order(seed, epoch, count)
    cuts = [slice(i * job.batch, (i + 1) * job.batch) for i in range(job.steps_per_epoch)]
    return [(rows[cut], uniform[places[cut]]) for cut in cuts]


def balance_of(recipe: Recipe) -> str:
    """How a task's recipe treats classes of unequal size; a task without this setting leaves them as they are."""
    return str(getattr(recipe, "balance", "none"))


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """PyTorch's CPU threads while it lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Training:
    """The state of one training: everything in it is in the checkpoint or derived from the recipe."""

    def __init__(self, job: Job, *, steps: int) -> None:
        self.job, self.steps, self.step, self.loss_sum, self.group = job, steps, 0, 0.0, job.group
        self.group.fits(job.batch, job.recipe.accumulate)
        self.best, self.stale, self.stopped = -math.inf, 0, False
        self.how = augmentation_of(job.recipe)
        # before a process's share stand the pictures that the first of it is mixed with
        self.guests = self.how.partners if job.group.world > 1 else 0
        precision = "bf16-mixed" if job.recipe.precision == "bf16" else "32-true"
        self.fabric = _fabric(job.recipe.device, precision, self.group)
        torch.manual_seed(job.recipe.seed % 2**63)
        raw = job.net.build(job.options, task=job.card.task, card=job.card).to(memory_format=torch.channels_last)
        self.begins = begun(raw, job.recipe.start, job.card) if self._fresh else ""
        raw = self.fabric.to_device(raw)
        check_sizes(raw, job.card, job.recipe, device=self.fabric.device)
        self.average = averaged(raw)
        # without validation pictures nothing is ever better, and what is kept would stay untrained
        self.kept = averaged(raw) if job.recipe.patience and job.validation is not None else None
        raw = self.group.prepared(raw)
        make = getattr(job.net, "objectives", None)
        self.objectives: list[Objective] = make(raw) if make else [Objective(raw, self._plain_loss)]
        self.spans = [range(*(round(share * steps) for share in each.span)) for each in self.objectives]
        if steps and not all(self.spans):
            raise UsageError(f"{len(self.spans)} parts of this net learn in turn, and {steps} steps are too few for it")
        recipe = job.recipe
        if recipe.freeze:
            freeze(raw, recipe.freeze)
        self.still = list(still(raw, recipe, pictures=job.train.count, classes=len(job.card.classes)))
        how: dict[str, Any] = {"lr": recipe.lr or 0.1, "weight_decay": recipe.weight_decay or 0.0}
        how["paces"] = paces(raw, recipe.layer_decay or 1.0)
        self.optimizers = [optimizer(o.moves, name=recipe.optimizer, betas=o.betas, **how) for o in self.objectives]
        self.module = raw
        self.wrapped, *players = _as_list(self.fabric.setup(raw, *self.optimizers))
        self.players = players
        self.losses = [self.group.averaging(Losses(self.wrapped, each)) for each in self.objectives]
        self.prior = self.fabric.to_device(_prior(job)) if balance_of(recipe) == "logits" else None

    @property
    def _fresh(self) -> bool:
        """Whether there are weights to begin with, and no checkpoint to go on from."""
        return bool(self.job.recipe.start) and not (self.job.folder / LAST).exists()

    def _plain_loss(self, module: nn.Module, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
        loss: Tensor = self.job.net.loss(module(images), targets, batch)
        return loss

    @property
    def _held(self) -> dict[str, nn.Module]:
        held = {"module": self.module, "average": self.average}
        return held | ({"kept": self.kept} if self.kept is not None else {})

    def resume(self) -> bool:
        """Go back to the last checkpoint, if there is one."""
        state = load_checkpoint(self.job.folder, self._held, self.optimizers)
        if state is not None:
            self.step, self.loss_sum = state["step"], state["loss_sum"]
            self.best, self.stale, self.stopped = state["best"], state["stale"], state["stopped"]
        if len(set(self.group.gathered([self.step]))) > 1:
            raise DataError(f"not all processes see the checkpoint in {self.job.folder}; bring it where all of them do")
        return state is not None

    def begin(self) -> Generator[Event, None, None]:
        """Put the weights to begin with into the fresh network and solve its head, as the recipe says."""
        job, recipe, began, loss = self.job, self.job.recipe, time.perf_counter(), 0.0
        yield Note(text=self.begins)
        if recipe.transfer != "fine-tune":
            mirror = getattr(recipe, "mirror", "no") == "yes"
            found = yield from probed(
                self.module, job.train, job.card, mirror=mirror, seed=recipe.seed, groups=job.groups
            )
            loss, head = found.loss, self.module.get_submodule(head_name(self.module))
            self.group.meet()
            head.load_state_dict(self.group.first(lambda: {name: p.cpu() for name, p in head.state_dict().items()}))
            if self.prior is not None:  # the loss will add what a solved head has in its bias
                with torch.no_grad():
                    head.bias -= getattr(recipe, "tau", 1.0) * self.prior.log()
        for average in (self.average, self.kept):
            if average is not None:
                average.load_state_dict(self.module.state_dict())
        metrics = self.measure()
        self._judge(metrics)
        if self.steps:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            yield Note(text=f"before the first step: {shown}" if shown else "nothing is measured before the first step")
            return
        seconds = time.perf_counter() - began
        yield Epoch(epoch=1, epochs=1, step=0, loss=loss, lr=0.0, seconds=seconds, metrics=metrics)
        yield self.save()

    def save(self) -> Saved:
        """Write the checkpoint."""
        state = {"step": self.step, "loss_sum": self.loss_sum, "best": self.best, "stale": self.stale}
        if self.group.leads:
            save_checkpoint(self.job.folder, self._held, self.optimizers, state | {"stopped": self.stopped})
        self.group.wait()
        return Saved(path=self.job.folder / LAST, what=f"checkpoint at step {self.step}")

    def run(self) -> Generator[Event, None, None]:
        """All remaining epochs, each followed by a measurement and a checkpoint; of very many, only some."""
        per_epoch = self.job.steps_per_epoch
        epochs = math.ceil(self.steps / per_epoch)
        every, began = math.ceil(epochs / _MEASURED), time.perf_counter()
        while self.step < self.steps and not self.stopped:
            epoch = self.step // per_epoch
            yield from self._epoch(epoch)
            if epoch > 0 and self.step < self.steps and (epoch + 1) % every:
                if self._asked():
                    yield self.save()
                    raise KeyboardInterrupt
                continue
            metrics = self.measure()
            self._judge(metrics, epochs=every)
            last = max(1, epoch // every * every) if epoch else 0  # epochs before those that the loss is of
            loss = self.loss_sum / (self.step - last * per_epoch)
            self.loss_sum, lr, seconds = 0.0, self._rate(self.step - 1), time.perf_counter() - began
            yield Epoch(
                epoch=epoch + 1, epochs=epochs, step=self.step, loss=loss, lr=lr, seconds=seconds, metrics=metrics
            )
            began = time.perf_counter()
            yield self.save()
            seldom = math.ceil(epochs / every / _DRAWN)
            if self.group.leads and (epoch // every % seldom == 0 or self.step == self.steps):
                yield from sheet(self.job.task, self.average, self.job.card, self.job.folder.parent, self.step)
            if self._asked():
                raise KeyboardInterrupt
        if self.stopped and self.step < self.steps:
            yield Note(text=f"stopped early: {self.job.recipe.patience} epochs without improvement")

    def _epoch(self, epoch: int) -> Generator[Event, None, None]:
        """The steps that remain of one epoch; where it goes on follows from the step alone."""
        job, per_epoch = self.job, self.job.steps_per_epoch
        begin, end = self.step % per_epoch, min(per_epoch, self.steps - epoch * per_epoch)
        todo = [self._share(*batch) for batch in batches_of(job, epoch)[begin:end]]
        self.module.train()
        for norm in self.still:
            norm.eval()
        for (_, uniform), (images, targets) in zip(todo, job.train.batches([rows for rows, _ in todo])):
            done = self.step / self.steps
            size_hw = varied(size_at(done, job.recipe, job.card.preparation.size_hw), self.step, done, job.recipe)
            for span, objective in zip(self.spans, self.objectives):
                if self.step == span.start and objective.name:
                    yield Note(text=f"now learns {objective.name}; the loss is of that")
            lr, loss = self._rate(self.step), self._advance(*self._seen(images, targets, uniform, size_hw))
            self.step, self.loss_sum = self.step + 1, self.loss_sum + loss
            yield Step(step=self.step, steps=self.steps, epoch=epoch + 1, loss=loss, lr=lr)
            if self._asked() and self.step < epoch * per_epoch + end:
                yield self.save()
                raise KeyboardInterrupt

    def _asked(self) -> bool:
        """Whether this process, or another, is asked to stop."""
        return self.group.any(self.job.stop())

    def _share(self, rows: np.ndarray[Any, Any], uniform: Uniform) -> tuple[np.ndarray[Any, Any], Uniform]:
        """What this process looks at of a batch; before the first row stand the last ones, as mixing has it."""
        share = self.group.share(len(rows))
        mine = np.arange(share.start - self.guests, share.stop) % len(rows)
        return rows[mine], uniform[mine]

    def _due(self, step: int) -> list[int]:
        """Numbers of the objectives that are in turn at a step."""
        return [number for number, span in enumerate(self.spans) if step in span]

    def _rate(self, step: int, number: int | None = None) -> float:
        """The learning rate at a step, of an objective by number, or of the first that is in turn."""
        span = self.spans[self._due(step)[0] if number is None else number]
        return (self.job.recipe.lr or 0.1) * rate(step - span.start, len(span), self.job.recipe.warmup)

    def _seen(
        self, images: np.ndarray[Any, Any], targets: Arrays, uniform: Uniform, size_hw: tuple[int, int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A batch as the net sees it: altered, mixed, on the device, at a size."""
        job, past, device = self.job, self.guests, self.fabric.device
        how = self.how.at(self.step / self.steps)
        batch, aims = augmented(images, targets, uniform, how=how, card=job.card, task=job.task, device=device)
        return resized(batch[past:], size_hw), {name: each[past:] for name, each in aims.items()}

    def _advance(self, images: Tensor, targets: dict[str, Tensor]) -> float:
        """One step of every objective in turn; returns the loss of the first."""
        recipe, due = self.job.recipe, self._due(self.step)
        # dropout, too, follows from the step alone, and from the process, which has other pictures
        seed = (recipe.seed * 1_000_003 + self.step + (self.group.rank << 40)) % 2**63
        torch.manual_seed(seed)
        parts = _parts(images, targets, recipe.accumulate)
        told = []
        for number in due:
            objective, player = self.objectives[number], self.players[number]
            set_rate([self.optimizers[number]], self._rate(self.step, number))
            told.append(self._gradient(number, parts))
            if recipe.sam:
                with sharpest(objective.moves, recipe.sam):
                    torch.manual_seed(seed)  # the same dropout at both points
                    self._gradient(number, parts)
            if recipe.clip:
                norm = recipe.clip
                self.fabric.clip_gradients(self.wrapped, player, max_norm=norm, error_if_nonfinite=False)
            player.step()
        losses = self.group.total(told)
        if not all(math.isfinite(loss) for loss in losses):
            raise SightlineError(
                f"the loss is no longer a number at step {self.step}; try a lower --lr (now {recipe.lr:g}) "
                f"or --precision fp32"
            )
        update_average(self.average, self.module, decay=recipe.ema or 0.0, step=self.step)
        for number in due:
            if self.step + 1 == self.spans[number].stop < self.steps:
                self._settle(self.objectives[number].moves)
        return float(losses[0])

    def _settle(self, part: nn.Module) -> None:
        """Leave a part of the network that has learnt as the average of its weights, for good."""
        name = next(name for name, each in self.module.named_modules() if each is part)
        part.load_state_dict(self.average.get_submodule(name).state_dict())

    def _gradient(self, number: int, parts: list[tuple[Tensor, dict[str, Tensor]]]) -> float:
        """Leave one objective's gradient for the whole batch; returns this process's part of the loss."""
        self.players[number].zero_grad(set_to_none=True)
        where, told = Batch(self.job.recipe, self.step, self.steps, self.prior), 0.0
        for place, (images, targets) in enumerate(parts, start=1):
            weight = len(images) * self.group.world / self.job.batch  # gradients of the processes are averaged
            with self.group.apart(self.losses[number], place < len(parts)):
                loss = self.losses[number](images, targets, where)
                self.fabric.backward(loss if weight == 1 else loss * weight)
            told += loss.item() * weight / self.group.world
        return told

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Loss and quick measures of the averaged network on the validation pictures."""
        if self.job.validation is None:
            return {}
        batches = _in_order(self.job.validation.count)
        mine = batches[self.group.share(len(batches))]
        where = Batch(self.job.recipe, self.step, self.steps)
        look = Watch(self.job.net, self.job.task, self.job.card, self.average, self.objectives[0], self.fabric.device)
        with self.fabric.autocast():
            seen = self.group.gathered([look.at(*each, where) for each in self.job.validation.batches(mine)])
        return self.group.first(lambda: look.measures(seen))

    def _judge(self, metrics: dict[str, float], *, epochs: int = 1) -> None:
        """Early stopping: keep the best average so far and count the epochs since."""
        if self.kept is None or not metrics or self.step < max(span.start for span in self.spans):
            return
        score = metrics.get(self.job.task.HEADLINE, -metrics["validation_loss"])
        if score > self.best:
            self.best, self.stale = score, 0
            self.kept.load_state_dict(self.average.state_dict())
        else:
            self.stale += epochs
            self.stopped = self.stale >= self.job.recipe.patience

    def outcome(self) -> nn.Module:
        """The network to keep: the best with early stopping, else the average at the end of the schedule."""
        chosen = self.kept if self.kept is not None else self.average  # without averaging, it is the weights themselves
        return copy.deepcopy(chosen).to(memory_format=torch.contiguous_format).to("cpu").float().eval()

    def time_steps(self, seconds: float, size_hw: tuple[int, int]) -> float:
        """Seconds of a step at a size on average, reading included, timed for so long."""
        cuts = sorted({cut for span in self.spans for cut in (span.start, span.stop)})
        total = 0.0
        for self.step, end in pairwise(cuts):  # from one cut to the next all steps are alike
            total += (end - self.step) * self._time(seconds / (len(cuts) - 1), size_hw)
        return total / self.steps

    def _time(self, seconds: float, size_hw: tuple[int, int]) -> float:
        """Median seconds of a step like the next one, timed for so long; the first half only warms up."""
        job, (least, most) = self.job, _TIMED_STEPS
        least = -(-least // len(self.spans))
        first = batches_of(job, 0)
        todo = [self._share(*first[i % len(first)]) for i in range(most)]
        marks = [time.perf_counter()]
        for (_, uniform), (images, targets) in zip(todo, job.train.batches([rows for rows, _ in todo])):
            self._advance(*self._seen(images, targets, uniform, size_hw))
            marks.append(time.perf_counter())
            if self.group.first(lambda: len(marks) > least and marks[-1] - marks[0] > seconds):
                break
        return self.group.first(lambda: float(np.median(np.diff(marks)[len(marks) // 2 :])))


def _prior(job: Job) -> Tensor:
    """Each class's share of the training pictures, (K,); a class without any counts as one picture."""
    counts = np.bincount(job.task.strata(job.train.targets), minlength=len(job.card.classes))
    shares = np.maximum(counts, 1) / max(1, counts.sum())
    return torch.from_numpy(shares.astype(np.float32))


def _fabric(device: str, precision: Any, group: Group) -> Fabric:
    """One device, of several processes each its own; Fabric's own announcements are kept off the screen."""
    logger = logging.getLogger("lightning_fabric.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        devices: Any = [group.local_rank] if group.world > 1 and device == "cuda" else 1
        return Fabric(accelerator=device, devices=devices, precision=precision)
    finally:
        logger.setLevel(level)


def _parts(images: Tensor, targets: dict[str, Tensor], count: int) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Pictures and targets cut into so many parts in a row, none empty where there are enough; one is the whole."""
    if count == 1:
        return [(images, targets)]
    names, cut = list(targets), [each.tensor_split(count) for each in targets.values()]
    return [(part, dict(zip(names, each))) for part, *each in zip(images.tensor_split(count), *cut)]


def _in_order(count: int, batch: int = 256) -> list[np.ndarray[Any, Any]]:
    return [np.arange(i, min(i + batch, count)) for i in range(0, count, batch)]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]
