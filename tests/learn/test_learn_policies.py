"""Policies: every operation at every strength as torchvision's own classes apply it; each picture its own draw."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torchvision.transforms import InterpolationMode, v2

from sightline.learn import moves
from sightline.learn.draws import SLOTS, Slot, draws
from sightline.learn.moves import Jitter, moved
from sightline.learn.policies import LEVELS, OPS, Policy, policy_changes, policy_moves

WIDE, RAND = Policy("trivialaugment"), Policy("randaugment", 9)
THEIRS = {
    "identity": "Identity",
    "shear-x": "ShearX",
    "shear-y": "ShearY",
    "translate-x": "TranslateX",
    "translate-y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "saturation": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}


def row(op: str, level: int, sign: float, *, second: str = "identity") -> np.ndarray:
    """Draws that choose one operation, at a strength of 0 to 30, with a sign."""
    made = np.full(SLOTS, 0.5)
    made[Slot.FIRST_OP], made[Slot.SECOND_OP] = ((OPS.index(name) + 0.5) / len(OPS) for name in (op, second))
    made[Slot.FIRST_LEVEL] = (level + 0.5) / LEVELS
    made[Slot.FIRST_SIGN] = made[Slot.SECOND_SIGN] = 0.25 if sign < 0 else 0.75
    return made


def ours(image: torch.Tensor, drawn: np.ndarray, policy: Policy) -> torch.Tensor:
    changed = reduce(lambda x, change: change(x), policy_changes(drawn, policy), image)
    after = policy_moves(drawn[None], policy, *image.shape[1:])
    return moved(changed[None], drawn[None], Jitter(), after=after)[0]


def theirs(image: torch.Tensor, op: str, level: int, sign: float, reference: Any) -> torch.Tensor:
    magnitudes, signed = reference._AUGMENTATION_SPACE[THEIRS[op]]
    found = magnitudes(LEVELS, *image.shape[1:])
    magnitude = 0.0 if found is None else float(found[level]) * (sign if signed else 1.0)
    bilinear = {"interpolation": InterpolationMode.BILINEAR, "fill": {torch.Tensor: None}}
    return reference._apply_image_or_video_transform(image, THEIRS[op], magnitude, **bilinear)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("hw", [(96, 96), (100, 120)])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_operation_is_torchvisions(
    op: str, hw: tuple[int, int], channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 96 pixels on, where a third of the side is no less than TrivialAugment's 32 pixels."""
    monkeypatch.setattr(moves, "RESAMPLING", "bilinear")
    image = torch.from_numpy(np.random.default_rng(1).random((channels, *hw), np.float32))
    for level, sign in ((0, 1.0), (9, -1.0), (17, 1.0), (30, -1.0)):
        wanted = theirs(image, op, level, sign, v2.TrivialAugmentWide())
        torch.testing.assert_close(ours(image, row(op, level, sign), WIDE), wanted, atol=2e-4, rtol=1e-4)
    wanted = theirs(image, op, 9, -1.0, v2.RandAugment())
    torch.testing.assert_close(ours(image, row(op, 0, -1.0), RAND), wanted, atol=2e-4, rtol=1e-4)


def test_a_small_picture_is_never_pushed_out_of_sight() -> None:
    image = torch.ones(1, 12, 12)
    assert float(ours(image, row("translate-x", 30, 1.0), WIDE).mean()) == pytest.approx(8 / 12)


def test_randaugment_does_two_in_turn() -> None:
    image = torch.from_numpy(np.random.default_rng(2).random((3, 40, 40), np.float32))
    once = theirs(image, "rotate", 20, 1.0, v2.RandAugment())
    both = theirs(once, "shear-x", 20, 1.0, v2.RandAugment())
    found = ours(image, row("rotate", 0, 1.0, second="shear-x"), Policy("randaugment", 20))
    # one resampling instead of two is sharper and keeps the corners, so means over squares of the middle agree
    pooled = [torch.nn.functional.avg_pool2d(x[:, 8:32, 8:32], 8) for x in (found, both)]
    torch.testing.assert_close(*pooled, atol=0.03, rtol=0)


def test_all_operations_and_strengths_are_drawn() -> None:
    table = draws(0, 0, 4000)
    seen = [next(WIDE.drawn(each)) for each in table]
    counts = np.array([sum(op == name for op, _, _ in seen) for name in OPS])
    assert counts.min() > 200 and counts.max() < 400
    assert {round(share * 30) for _, share, _ in seen} == set(range(31))
    assert {sign for op, _, sign in seen if op == "rotate"} == {-1.0, 1.0}
    pairs = [tuple(RAND.drawn(each)) for each in table]
    assert {(len(pair), pair[0][1]) for pair in pairs} == {(2, 0.3)}
    assert len({(a[0], b[0]) for a, b in pairs}) == len(OPS) ** 2
    assert not list(Policy().drawn(table[0]))
