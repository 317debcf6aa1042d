"""Choosing what a recipe leaves open about learning (arithmetic, batch, length, rates), each with its reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from sightline.core.errors import UsageError
from sightline.core.protocols import Facts
from sightline.core.recipe import Recipe, budget_seconds
from sightline.core.runs import usable_cores
from sightline.data.samples import Objects

VIEWS = 160_000
"""Pictures looked at in all, augmented views counted each, where neither epochs nor a budget is given."""

TUNING_VIEWS = 20_000
"""The same where the weights are somebody's."""
SCARCE, BRIEF = 8, 30.0
"""Pictures a class, and seconds of a budget, below which only a head is learnt on weights that somebody learnt."""
TUNED = 1e-3
"""Peak rate of AdamW for weights that are good already, at 64 pictures a step."""

PEAKS = {"adamw": 2e-3, "sgd": 0.1}
"""The usual peak rate of each optimiser at 64 pictures a step."""


def choose(
    recipe: Recipe, facts: Facts, *, prefers: tuple[str, float] = ("adamw", PEAKS["adamw"])
) -> tuple[Recipe, dict[str, str]]:
    """The recipe with every open setting of the loop filled in (but `steps` under a budget), and the reasons.

    prefers: the net's own choice of optimiser, and its peak rate at 64 pictures a step.
    """
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}

    def settle(name: str, value: Any, reason: str) -> None:
        if getattr(recipe, name) in (None, "auto"):
            changes[name], reasons[name] = value, reason

    cuda = torch.cuda.is_available()
    if recipe.device == "cuda" and not cuda:
        raise UsageError("--device cuda, but PyTorch sees no CUDA device here; use --device cpu or auto")
    settle("device", "cuda" if cuda else "cpu", "the fastest device here")
    device = changes.get("device", recipe.device)
    settle("threads", usable_cores(), "all cores")
    fast = torch.cuda.is_bf16_supported() if device == "cuda" else _cpu_bf16()
    settle(
        "precision",
        "bf16" if fast else "fp32",
        "this processor multiplies bfloat16 about twice as fast" if fast else "no fast bfloat16 here",
    )
    if recipe.start:
        boxes = any(isinstance(target, Objects) for target in facts.targets)
        prefers = ("adamw", min(TUNED, prefers[1] / 2) if boxes else TUNED)
        choice, why = ("fine-tune", "boxes are not found by one layer alone") if boxes else _transfer(recipe, facts)
        settle("transfer", choice, why)
        decay, why = 0.75, "what the first blocks know is general, and is changed least"
        settle("layer_decay", *((1.0, "a detector's parts do not stand in one row") if boxes else (decay, why)))
    tuned = changes.get("transfer", recipe.transfer) != "probe"
    settle("batch", 64 if facts.count < 20_000 else 128, f"{facts.count:,} training pictures")
    name, peak = prefers
    learns = "learns reliably from a few thousand steps" if name == "adamw" else "what this net learns most with"
    usual = "a gentle peak, as the weights are good already" if recipe.start else "the usual peak"
    settle("optimizer", name, learns)
    moves = changes.get("optimizer", recipe.optimizer)
    batch: int = changes.get("batch") or recipe.batch or 64
    settle(
        "lr",
        (peak if moves == name else PEAKS[moves]) * (batch / 64) ** 0.5,
        f"{usual} for {moves} at {batch} pictures a step",
    )
    settle("weight_decay", 0.05 if moves == "adamw" else 5e-4, "the usual decay for this optimiser")
    settle("ema", 0.998, "the average over the last steps is steadier than the last step")
    if recipe.epochs is None and recipe.steps is None and not recipe.budget and tuned:
        views, (least, most) = (TUNING_VIEWS, (5, 40)) if recipe.start else (VIEWS, (12, 100))
        epochs = min(most, max(least, round(views / facts.count)))
        changes["epochs"], reasons["epochs"] = epochs, f"about {views:,} looks at {facts.count:,} pictures"
    return dataclasses.replace(recipe, **changes), reasons


def _transfer(recipe: Recipe, facts: Facts) -> tuple[str, str]:
    """How to go on from weights that somebody learnt, and why (Kumar et al., 2022: first the head, then all)."""
    classes = len(facts.classes) or len({name for target in facts.targets for name in target.strata()})
    each = facts.count / max(1, classes)
    typed = recipe.epochs or recipe.steps or recipe.lr
    if each < SCARCE and not typed:
        return "probe", f"{each:.0f} pictures a class are too few to move the weights by"
    if recipe.budget and budget_seconds(recipe.budget) < BRIEF and not typed:
        return "probe", f"{recipe.budget} are too short for more than the head"
    return "lp-ft", f"{each:.0f} pictures a class: a solved head first, so that tuning spoils little of what is known"


def _cpu_bf16() -> bool:
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("amx_tile"))
