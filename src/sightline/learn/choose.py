"""Choosing what a recipe leaves open about learning (arithmetic, batch, length, rates), each with its reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from sightline.core.errors import UsageError
from sightline.core.protocols import Facts
from sightline.core.recipe import Recipe
from sightline.core.runs import usable_cores

VIEWS = 160_000
"""Pictures looked at in all, augmented views counted each, where neither epochs nor a budget is given."""


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
    settle("batch", 64 if facts.count < 20_000 else 128, f"{facts.count:,} training pictures")
    name, peak = prefers
    learns = "learns reliably from a few thousand steps" if name == "adamw" else "what this net learns most with"
    settle("optimizer", name, learns)
    moves = changes.get("optimizer", recipe.optimizer)
    batch: int = changes.get("batch") or recipe.batch or 64
    settle(
        "lr",
        (peak if moves == name else PEAKS[moves]) * (batch / 64) ** 0.5,
        f"the usual peak for {moves} at {batch} pictures a step",
    )
    settle("weight_decay", 0.05 if moves == "adamw" else 5e-4, "the usual decay for this optimiser")
    settle("ema", 0.998, "the average over the last steps is steadier than the last step")
    if recipe.epochs is None and recipe.steps is None and not recipe.budget:
        epochs = min(100, max(12, round(VIEWS / facts.count)))
        changes["epochs"], reasons["epochs"] = epochs, f"about {VIEWS:,} looks at {facts.count:,} pictures"
    return dataclasses.replace(recipe, **changes), reasons


def _cpu_bf16() -> bool:
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("amx_tile"))
