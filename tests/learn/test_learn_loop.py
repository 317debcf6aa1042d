"""The loop: its events, early stopping, budgets, and that a stopped training goes on to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from learn_toys import CARD, PLAYERS, TINY, job, pictures
from safetensors.torch import load_file

from sightline.core.card import Preparation
from sightline.core.errors import SightlineError, UsageError
from sightline.core.events import Epoch, Event, Note, Saved, Step
from sightline.core.protocols import Objective
from sightline.learn import loop
from sightline.learn.augment import normalised
from sightline.learn.checkpoint import LAST
from sightline.learn.draws import balanced_order, draws
from sightline.learn.loop import Job, batches_of, fit, resolve_steps
from sightline.learn.source import Cached, Streamed
from sightline.learn.watch import forward
from sightline.tasks import classify

Weights = dict[str, Any]


def run(todo: Job) -> tuple[list[Event], Weights]:
    """All events of a training, and the weights it keeps."""
    events, source = [], fit(todo)
    while True:
        try:
            events.append(next(source))
        except StopIteration as end:
            return events, end.value.state_dict()


def same(ours: Weights, theirs: Weights) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def after(times: int) -> Any:
    """A stop that is there from the time on that the loop looks for it so often: after every step and every epoch."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= times


# Events.


def test_events_come_in_their_order(tmp_path: Path) -> None:
    events, _ = run(job(tmp_path, steps=8))
    kinds = [type(event) for event in events]
    assert kinds == [Step, Step, Step, Epoch, Saved, Step, Step, Step, Epoch, Saved, Step, Step, Epoch, Saved]
    steps = [event for event in events if isinstance(event, Step)]
    assert [(s.step, s.steps, s.epoch) for s in steps] == [(i + 1, 8, i // 3 + 1) for i in range(8)]
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [(e.epoch, e.epochs, e.step) for e in epochs] == [(1, 3, 3), (2, 3, 6), (3, 3, 8)]
    for epoch in epochs:
        own = [s for s in steps if s.epoch == epoch.epoch]
        assert epoch.loss == pytest.approx(np.mean([s.loss for s in own]))
        assert epoch.lr == own[-1].lr
        assert set(epoch.metrics) == {"validation_loss", "accuracy", "log_loss"}
    assert max(s.lr for s in steps) == pytest.approx(0.05)
    assert steps[-1].lr == pytest.approx(0, abs=1e-9)


def test_of_very_many_epochs_only_some_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_MEASURED", 4)
    whole, kept = run(job(tmp_path / "whole", steps=20))  # seven epochs of three steps, the last cut off
    epochs = [event for event in whole if isinstance(event, Epoch)]
    assert [(event.epoch, event.step) for event in epochs] == [(1, 3), (2, 6), (4, 12), (6, 18), (7, 20)]
    steps = [event.loss for event in whole if isinstance(event, Step)]
    for event, losses in zip(epochs, (steps[:3], steps[3:6], steps[6:12], steps[12:18], steps[18:])):
        assert event.loss == pytest.approx(sum(losses) / len(losses))
    for at in (3, 4, 10, 12):  # in epochs that are measured and not, and at the end of one that is not
        todo = job(tmp_path / f"cut {at}", steps=20)
        with pytest.raises(KeyboardInterrupt):
            run(replace(todo, stop=after(at)))
        assert same(run(todo)[1], kept)


def test_it_learns_and_hands_over_a_plain_network(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    source = fit(job(tmp_path, steps=60, precision="bf16"))
    events = []
    try:
        while True:
            events.append(next(source))
    except StopIteration as end:
        module = end.value
    last = [event for event in events if isinstance(event, Epoch)][-1]
    assert last.metrics["accuracy"] == 1.0
    assert not module.training
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32, torch.int64}
    assert all(tensor.is_contiguous() for tensor in module.state_dict().values())
    assert torch.get_num_threads() == before


def test_the_seed_decides_and_streaming_does_not(tmp_path: Path) -> None:
    cached = pictures(26, 0)
    stream = Streamed(cached.images.__getitem__, cached.targets, 26, 2)
    _, first = run(job(tmp_path / "a"))
    assert same(run(job(tmp_path / "b"))[1], first)
    assert same(run(job(tmp_path / "c", train=stream))[1], first)
    assert not same(run(job(tmp_path / "d", seed=4))[1], first)


@pytest.mark.parametrize(("ema", "kept", "other"), [(0.9, "average", "module"), (0.0, "module", "")])
def test_what_is_kept(tmp_path: Path, ema: float, kept: str, other: str) -> None:
    _, weights = run(job(tmp_path, ema=ema))
    held = load_file(str(tmp_path / LAST))
    sides = {
        side: {k.partition("/")[2]: v for k, v in held.items() if k.startswith(side)} for side in ("average", "module")
    }
    assert same(weights, sides[kept])
    assert not other or not same(weights, sides[other])


def test_a_picture_keeps_its_draws_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, seen = pictures(26, 0), []

    def augmented(images: Any, targets: Any, uniform: Any, **settings: Any) -> Any:
        seen.append((normalised(images, CARD), uniform))
        return plain(images, targets, uniform, **settings)

    plain = loop.augmented
    monkeypatch.setattr(loop, "augmented", augmented)
    run(job(tmp_path, train=source))
    known = normalised(source.images, CARD)
    for step, (images, uniform) in enumerate(seen):
        rows = [int((known - image).abs().sum((1, 2, 3)).argmin()) for image in images]
        assert len(set(rows)) == 8
        np.testing.assert_array_equal(uniform, draws(3, step // 3, 26)[rows])
    assert len(seen) == 6


def test_without_validation_pictures_only_the_loss_is_told(tmp_path: Path) -> None:
    events, _ = run(job(tmp_path, validation=False))
    assert [event.metrics for event in events if isinstance(event, Epoch)] == [{}, {}]


@pytest.mark.parametrize("seed", [-1, 2**45])
def test_any_whole_number_is_a_seed(tmp_path: Path, seed: int) -> None:
    losses = [event.loss for event in run(job(tmp_path, seed=seed, steps=2))[0] if isinstance(event, Step)]
    assert len(losses) == 2


def test_a_batch_is_never_larger_than_the_data(tmp_path: Path) -> None:
    few = job(tmp_path, train=pictures(5, 0), batch=64)
    assert (few.batch, few.steps_per_epoch) == (5, 1)
    assert (job(tmp_path).batch, job(tmp_path).steps_per_epoch) == (8, 3)  # two of 26 wait for the next epoch


# Stopping and going on.

AUGMENTED = {
    "shift": 0.2,
    "rotate": 10.0,
    "policy": "trivialaugment",
    "jitter": 0.3,
    "noise": 0.1,
    "erase": 0.5,
    "mixup": 0.4,
    "cutmix": 1.0,
    "balance": "sampling",
    "sam": 0.05,
}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("at", [1, 2, 3, 5, 7])
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path, at: int, kind: str) -> None:
    settings = {"steps": 8, "optimizer": kind, "patience": 9, **AUGMENTED}
    whole, expected = run(job(tmp_path / "whole", **settings))
    source, seen = fit(job(tmp_path / "stopped", stop=after(at), **settings)), []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(iter(lambda: next(source), None))
    resumed, weights = run(job(tmp_path / "stopped", **settings))
    assert isinstance(resumed[0], Note) and "resumed at step" in resumed[0].text
    assert same(weights, expected)
    told = {event.epoch: event.loss for event in whole if isinstance(event, Epoch)}
    again = {event.epoch: event.loss for event in resumed if isinstance(event, Epoch)}
    assert again.items() <= told.items()


def test_a_sharper_look_changes_the_weights_and_still_learns(tmp_path: Path) -> None:
    plain, with_sam = (run(job(tmp_path / str(radius), sam=radius, steps=30)) for radius in (0.0, 0.1))
    assert not same(plain[1], with_sam[1])
    losses = [event.loss for event in with_sam[0] if isinstance(event, Epoch)]
    assert losses[-1] < losses[0]


def test_the_checkpoint_is_written_before_the_interruption_is_raised(tmp_path: Path) -> None:
    source = fit(job(tmp_path, stop=after(2)))
    seen: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        while True:
            seen.append(next(source))
    assert [type(event) for event in seen] == [Step, Step, Saved]
    assert (tmp_path / LAST).is_file()


def test_a_stop_at_the_very_end_is_heard_and_changes_nothing(tmp_path: Path) -> None:
    source, seen = fit(job(tmp_path / "a", stop=after(7))), list[Event]()
    with pytest.raises(KeyboardInterrupt):
        seen.extend(iter(lambda: next(source), None))
    events, weights = run(job(tmp_path / "a"))
    assert [type(event) for event in events] == [Note]
    assert same(weights, run(job(tmp_path / "b"))[1])


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    _, weights = run(job(tmp_path))
    events, again = run(job(tmp_path))
    assert [type(event) for event in events] == [Note]
    assert same(again, weights)


# Classes of unequal size.


def tail() -> Cached:
    """Twenty pictures of the left, four of the right."""
    source = pictures(48, 0)
    rows = np.sort(np.concatenate([np.arange(0, 40, 2), np.arange(1, 9, 2)]))
    return Cached(source.images[rows], {"label": source.targets["label"][rows]})


def test_balanced_sampling_shows_both_classes_alike(tmp_path: Path) -> None:
    todo = job(tmp_path, train=tail(), balance="sampling")
    rows = np.concatenate([rows for rows, _ in batches_of(todo, 1)])
    np.testing.assert_array_equal(rows, balanced_order(3, 1, tail().targets["label"]))
    assert np.bincount(tail().targets["label"][rows]).tolist() == [12, 12]
    uniform = np.concatenate([uniform for _, uniform in batches_of(todo, 1)])
    assert len(np.unique(uniform[:, 0])) == 24  # a picture that comes three times is altered in three ways


def test_adjusted_logits_get_the_prior_and_only_while_learning(tmp_path: Path) -> None:
    priors = []

    def loss(outputs: Any, targets: Any, batch: Any) -> Any:
        priors.append((torch.is_grad_enabled(), batch.prior))
        return TINY.loss(outputs, targets, batch)

    run(job(tmp_path, net=SimpleNamespace(build=TINY.build, loss=loss), train=tail(), balance="logits"))
    learning = [prior for grad, prior in priors if grad]
    assert len(learning) == 6
    assert all(torch.allclose(prior, torch.tensor([20 / 24, 4 / 24])) for prior in learning)
    assert all(prior is None for grad, prior in priors if not grad)
    assert any(not grad for grad, _ in priors)


# Two players.


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_two_players_learn_and_resume_with_an_optimiser_each(tmp_path: Path, kind: str) -> None:
    settings = {"net": PLAYERS, "steps": 7, "optimizer": kind, "lr": 0.01}
    torch.manual_seed(3)
    fresh = PLAYERS.build(None, task="classify", card=CARD).state_dict()
    _, expected = run(job(tmp_path / "whole", **settings))
    assert not any(torch.equal(fresh[f"{name}.weight"], expected[f"{name}.weight"]) for name in ("artist", "critic"))
    with pytest.raises(KeyboardInterrupt):
        run(job(tmp_path / "stopped", stop=after(4), **settings))
    held = {name.split("/")[0] for name in load_file(str(tmp_path / "stopped" / LAST))}
    assert held == {"module", "average", "optimizer0", "optimizer1"}
    assert same(run(job(tmp_path / "stopped", **settings))[1], expected)


@pytest.mark.parametrize("still", ["critic", "artist"])
def test_a_player_moves_its_own_parameters_only(tmp_path: Path, still: str) -> None:
    """With one objective left out, the other's parameters stay where they began."""
    one = SimpleNamespace(
        build=PLAYERS.build,
        objectives=lambda whole: [o for o in PLAYERS.objectives(whole) if o.moves is not getattr(whole, still)],
    )
    torch.manual_seed(3)
    fresh = PLAYERS.build(None, task="classify", card=CARD).state_dict()
    _, weights = run(job(tmp_path, net=one, ema=0.0, validation=False))
    moved = {name.split(".")[0] for name in fresh if not torch.equal(fresh[name], weights[name])}
    assert moved == {"critic", "artist"} - {still}


# Objectives in turn.


class Stages(torch.nn.Module):
    """A scale that learns first and a shift that learns afterwards, each with a norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.then = (torch.nn.Sequential(torch.nn.Linear(48, 4), torch.nn.BatchNorm1d(4)) for _ in range(2))

    def forward(self, x: Any) -> dict[str, Any]:
        return {"logits": (self.first(x.flatten(1)) + self.then(x.flatten(1)))[:, :2]}


def staged(*, cut: float = 0.5, seen: list[tuple[str, int]] | None = None) -> Any:
    """Two objectives of which the second begins where the first ends; `seen` notes which was asked at which step."""

    def loss(part: str) -> Any:
        def asked(whole: Any, images: Any, targets: Any, batch: Any) -> Any:
            if seen is not None:
                seen.append((part, batch.step))
            logits = getattr(whole, part)(images.flatten(1))[:, :2]
            return torch.nn.functional.cross_entropy(logits, targets["label"])

        return asked

    return SimpleNamespace(
        build=lambda options, *, task, card: Stages(),
        objectives=lambda whole: [
            Objective(whole.then, loss("then"), (cut, 1.0)),
            Objective(whole.first, loss("first"), (0.0, cut)),
        ],
    )


def test_objectives_take_their_turns_and_their_rates_rise_and_fall_within(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    events, _ = run(job(tmp_path, net=staged(seen=seen), steps=12, warmup=0.5, validation=False))
    assert seen == [("first", step) for step in range(6)] + [("then", step) for step in range(6, 12)]
    rates = [event.lr for event in events if isinstance(event, Step)]
    assert rates[:6] == pytest.approx(rates[6:]) and rates[2] == pytest.approx(0.05) and rates[5] < 1e-9


def test_what_has_learnt_is_left_as_its_average_and_stands_still(tmp_path: Path) -> None:
    source, held = fit(job(tmp_path, net=staged(), steps=12, weight_decay=0.5, validation=False)), []
    try:
        while True:
            if isinstance(next(source), Saved):
                held.append(load_file(str(tmp_path / LAST)))
    except StopIteration as end:
        kept = end.value.state_dict()

    def part(weights: Weights, name: str) -> Weights:
        return {key: weights[key] for key in weights if key.startswith(name)}

    before, cut, end = held[0], held[1], held[-1]
    assert not same(part(before, "module/first"), part(cut, "module/first"))
    for later in (cut, end):
        assert same(part(cut, "module/first"), part(later, "module/first"))
        average = {key.replace("average/", "module/"): each for key, each in part(later, "average/first").items()}
        for key, each in part(later, "module/first").items():
            torch.testing.assert_close(each, average[key])
    assert torch.equal(before["module/then.0.weight"], cut["module/then.0.weight"])
    torch.testing.assert_close(kept["first.0.weight"], cut["module/first.0.weight"])


@pytest.mark.parametrize("at", [2, 6, 7, 8, 9, 14])
def test_stopped_in_any_turn_it_goes_on_to_the_same_weights(tmp_path: Path, at: int) -> None:
    _, whole = run(job(tmp_path / "whole", net=staged(), steps=12))
    with pytest.raises(KeyboardInterrupt):
        run(job(tmp_path / "cut", net=staged(), steps=12, stop=after(at)))
    assert same(run(job(tmp_path / "cut", net=staged(), steps=12))[1], whole)


def test_too_few_steps_for_all_turns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 parts of this net learn in turn, and 1 steps are too few"):
        run(job(tmp_path, net=staged(cut=0.3), steps=1))


def test_turns_with_a_name_are_told(tmp_path: Path) -> None:
    def named(whole: Any) -> list[Objective]:
        return [replace(each, name=f"part {at}") for at, each in enumerate(staged().objectives(whole))]

    net = SimpleNamespace(build=staged().build, objectives=named)
    events, _ = run(job(tmp_path, net=net, steps=6))
    told, steps = list[str](), list[int]()
    for at, event in enumerate(events):
        if isinstance(event, Note):
            told.append(event.text)
            steps.append(sum(isinstance(each, Step) for each in events[:at]))
    assert told == [f"now learns part {at}; the loss is of that" for at in (1, 0)]
    assert steps == [0, 3]


def test_patience_begins_with_the_last_turn(tmp_path: Path) -> None:
    task = scripted([0.9, 0.8, 0.1, 0.2, 0.15, 0.1])
    events, _ = run(job(tmp_path, net=staged(), steps=18, patience=2, task=task))
    measured = [event.metrics["accuracy"] for event in events if isinstance(event, Epoch)]
    assert measured == [0.9, 0.8, 0.1, 0.2, 0.15, 0.1]  # two epochs after the best since the turn


def test_a_step_is_as_long_as_those_of_all_turns_on_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop._Training, "_time", lambda self, seconds, size_hw: 4.0 if self.step == 0 else 1.0)
    recipe, reason = resolve_steps(job(tmp_path, net=staged(cut=0.25), steps=None, budget="100s"))
    assert "1750 ms a step" in reason and 45 <= (recipe.steps or 0) <= 50


@pytest.mark.parametrize(("clip", "alike"), [(1.0, True), (0.0, False)])
def test_clipping_makes_the_size_of_the_loss_not_matter(tmp_path: Path, clip: float, alike: bool) -> None:
    def scaled(by: float) -> Any:
        return SimpleNamespace(build=TINY.build, loss=lambda o, t, b: by * TINY.loss(o, t, b))

    found = [
        run(job(tmp_path / str(by), net=scaled(by), steps=2, lr=1e-3, clip=clip, weight_decay=0.0))[1]
        for by in (1e3, 2e3)
    ]
    gap = max(float((found[0][name] - found[1][name]).abs().max()) for name in found[0])
    assert (gap < 1e-6) is alike


# Early stopping.


def scripted(accuracies: list[float]) -> Any:
    """A task whose measure goes as written, whatever the network does."""
    script: Iterator[float] = iter(accuracies)
    quick = lambda outputs, targets, card: {"accuracy": next(script)}  # noqa: E731
    return SimpleNamespace(DECODED=classify.DECODED, HEADLINE="accuracy", quick=quick)


@pytest.mark.parametrize(
    ("accuracies", "patience", "lasts", "best"),
    [
        ([0.5, 0.7, 0.6, 0.65, 0.9], 2, 4, 2),
        ([0.5, 0.7, 0.6, 0.8, 0.75], 2, 5, 4),
        ([0.9, 0.9, 0.9, 0.9, 0.9], 1, 2, 1),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, 5, 5),
    ],
)
def test_patience_keeps_the_best(tmp_path: Path, accuracies: list[float], patience: int, lasts: int, best: int) -> None:
    source, averages, events = fit(job(tmp_path, steps=15, patience=patience, task=scripted(accuracies))), [], []
    try:
        while True:
            events.append(next(source))
            if isinstance(events[-1], Saved):
                held = load_file(str(tmp_path / LAST))
                averages.append({k[8:]: v for k, v in held.items() if k.startswith("average/")})
    except StopIteration as end:
        weights = end.value.state_dict()
    assert len(averages) == lasts
    assert [same(weights, average) for average in averages].index(True) + 1 == best
    said = [event.text for event in events if isinstance(event, Note)]
    assert said == ([f"stopped early: {patience} epochs without improvement"] if lasts < 5 else [])
    events, again = run(job(tmp_path, steps=15, patience=patience, task=scripted([])))  # measures nothing more
    assert not any(isinstance(event, Step) for event in events)
    assert same(again, weights)


def test_patience_with_nothing_to_measure_keeps_the_end(tmp_path: Path) -> None:
    """And not the network as it was before it had learned anything."""
    _, expected = run(job(tmp_path / "a", validation=False))
    _, weights = run(job(tmp_path / "b", validation=False, patience=2))
    assert same(weights, expected)


# Losses that are no numbers, and budgets.


def test_a_loss_that_is_no_number_ends_in_words(tmp_path: Path) -> None:
    def loss(outputs: Any, targets: Any, batch: Any) -> Any:
        return TINY.loss(outputs, targets, batch) * (math.nan if batch.step == 4 else 1.0)

    with pytest.raises(SightlineError, match=r"no longer a number at step 4.*lower --lr \(now 0\.05\)"):
        run(job(tmp_path, net=SimpleNamespace(build=TINY.build, loss=loss)))
    assert all(t.isfinite().all() for t in load_file(str(tmp_path / LAST)).values())  # of the first epoch


@pytest.mark.parametrize(
    ("values", "steps"), [({"steps": 7, "epochs": 2, "budget": "1s"}, 7), ({"epochs": 4}, 12), ({}, 3)]
)
def test_steps_without_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], steps: int
) -> None:
    monkeypatch.setattr("sightline.learn.loop._Training", None)
    recipe, reason = resolve_steps(job(tmp_path, **({"steps": None} | values)))
    assert recipe.steps == steps
    assert reason


def clocked(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Make every timed step take so long; returns what is noted: the threads at work."""
    noted: list[int] = []

    def time_steps(self: Any, _: float, size_hw: tuple[int, int]) -> float:
        noted.append(torch.get_num_threads())
        self._advance(*self._seen(pictures(8, 0).images, pictures(8, 0).targets, draws(0, 0, 8), size_hw))
        return seconds

    monkeypatch.setattr("sightline.learn.loop._Training.time_steps", time_steps)
    return noted


@pytest.mark.parametrize(
    ("budget", "spent", "seconds", "epochs"),
    [("100s", 0, 1.0, 29), ("100s", 39, 1.0, 16), ("4s", 0, 1.0, 1), ("1m", 0, 0.25, 70)],
)
def test_a_budget_becomes_whole_epochs_that_fit_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, spent: float, seconds: float, epochs: int
) -> None:
    clocked(monkeypatch, seconds)
    recipe, reason = resolve_steps(job(tmp_path, steps=None, budget=budget), spent=spent)
    assert (recipe.epochs, recipe.steps) == (epochs, 3 * epochs)
    assert budget in reason and "ms a step" in reason
    assert "less than" not in reason


@pytest.mark.parametrize(("budget", "spent", "steps"), [("3s", 0, 2), ("1s", 0, 1), ("1s", 50, 1)])
def test_a_budget_below_one_epoch_is_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, spent: float, steps: int
) -> None:
    clocked(monkeypatch, 1.0)
    recipe, reason = resolve_steps(job(tmp_path, steps=None, budget=budget), spent=spent)
    assert (recipe.epochs, recipe.steps) == (1, steps)
    assert "less than one pass over the pictures" in reason


def test_measuring_a_budget_leaves_no_trace(tmp_path: Path) -> None:
    """A real measurement: the training that follows is the one that a written number of steps gives."""
    asked = job(tmp_path / "a", steps=None, budget="1s")
    recipe, _ = resolve_steps(asked)
    assert recipe.steps is not None and recipe.steps % 3 == 0
    assert not (tmp_path / "a").exists()
    _, weights = run(replace(asked, recipe=replace(recipe, steps=6)))
    assert same(weights, run(job(tmp_path / "b"))[1])


def test_a_budget_counts_the_reading_of_pictures(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Slow(Cached):
        def batches(self, picks: Any) -> Any:
            for item in super().batches(picks):
                time.sleep(0.1)
                yield item

    quick = pictures(24, 0)
    asked = job(tmp_path, steps=None, budget="3s")
    recipe, _ = resolve_steps(replace(asked, train=Slow(quick.images, quick.targets)))
    assert recipe.steps is not None and recipe.steps < 27


def test_a_budget_is_measured_with_the_threads_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        noted = clocked(monkeypatch, 1.0)
        resolve_steps(job(tmp_path, steps=None, budget="9s", threads=1))
        assert noted == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Pictures in, arrays out.


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("mode", "mean", "std"), [("grey", (0.2,), (0.5,)), ("rgb", (0.1, 0.2, 0.3), (0.5, 0.4, 2.0))])
def test_normalised_is_plain_arithmetic(dtype: str, mode: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    high = {"uint8": 255.0, "uint16": 4095.0, "float32": 1.0}[dtype]
    card = replace(CARD, preparation=Preparation(mode=mode, dtype=dtype, high=high, mean=mean, std=std))
    images = (np.random.default_rng(0).random((3, 5, 4, len(mean))) * high).astype(dtype)
    got = normalised(images, card)
    expected = (images.astype(np.float64) / high - mean) / std
    assert got.shape == (3, len(mean), 5, 4)
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(got.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_forward_is_the_same_in_batches_of_any_size() -> None:
    torch.manual_seed(0)
    module = TINY.build(None, task="classify", card=CARD).eval()
    images = pictures(11, 0).images
    whole = forward(module, {"image": images}, CARD)
    assert whole["logits"].shape == (11, 2)
    np.testing.assert_allclose(forward(module, {"image": images}, CARD, batch=4)["logits"], whole["logits"], atol=1e-6)
