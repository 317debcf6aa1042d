"""AugMix (Hendrycks et al., 2020): a picture mixed with versions of itself, each from a chain of mild operations.

The labels stay as they are. The paper's second part is left out: a loss that holds the answers to three versions
together (Jensen-Shannon) would triple every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.learn.draws import Slot, Uniform
from sightline.learn.moves import Jitter, moved
from sightline.learn.policies import UNSIGNED, Op, Reach, op_changes, op_moves

CHAINS, DEEPEST = 3, 3
STRONGEST = 30
"""The magnitude that stands for strength 1; the paper's severity of 3 in 10 is a magnitude of 9."""
MILD = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
)
"""The paper's operations: none of those that tests of robustness are made of, such as brightness or contrast."""
REACH = Reach(factor=0.0, bits=(4, 4), shear=0.3, turn=30.0, shift=1 / 3)


@dataclass(frozen=True)
class Plan:
    """What becomes of one picture."""

    shares: NDArray[np.float64]
    """Of the picture itself and of each chain's version, (1 + CHAINS,), together 1."""
    chains: tuple[tuple[Op, ...], ...]


def drawn_plan(row: Uniform, magnitude: int) -> Plan:
    """Shares (Beta and Dirichlet, all parameters 1) and chains of 1 to 3 operations from one picture's draws."""
    chance = np.random.Generator(np.random.Philox(key=int(row[Slot.CHAINS_SEED] * 2**53)))
    own, shares = chance.random(), chance.dirichlet(np.ones(CHAINS))
    chains = tuple(_chain(chance, magnitude / STRONGEST) for _ in range(CHAINS))
    return Plan(np.concatenate([[own], (1 - own) * shares]), chains)


def _chain(chance: np.random.Generator, most: float) -> tuple[Op, ...]:
    names = [MILD[chance.integers(len(MILD))] for _ in range(chance.integers(1, DEEPEST + 1))]
    strengths, signs = chance.random(len(names)) * most, chance.random(len(names))
    return tuple(
        (name, float(strength), -1.0 if sign < 0.5 and name not in UNSIGNED else 1.0)
        for name, strength, sign in zip(names, strengths, signs)
    )


def augmixed(
    unit: Tensor, uniform: Uniform, magnitude: int, *, jitter: Jitter, ready: Callable[[Tensor], Tensor]
) -> Tensor:
    """Pictures (B, C, H, W) on the scale 0 to 1 → mixed and moved ones, normalised by `ready`.

    Each chain changes values first; its moves are folded with the picture's own into one resampling, so that the
    versions lie where the picture lies.
    """
    plans = [drawn_plan(row, magnitude) for row in uniform]
    shares = torch.from_numpy(np.stack([plan.shares for plan in plans], axis=1)).float()[..., None, None, None]
    plain = ready(unit)
    shares, mixed = shares.to(plain.device), shares[0].to(plain.device) * moved(plain, uniform, jitter)
    height, width = unit.shape[2:]
    for number in range(CHAINS):
        chains = [plan.chains[number] for plan in plans]
        version = torch.stack(
            [
                reduce(lambda x, change: change(x), op_changes(chain, REACH), picture)
                for chain, picture in zip(chains, unit.contiguous())
            ]
        )
        after = np.stack([op_moves(chain, REACH, height, width) for chain in chains])
        mixed = mixed + shares[1 + number] * moved(ready(version), uniform, jitter, after=after)
    return mixed.contiguous(memory_format=torch.channels_last)
