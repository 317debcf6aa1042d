"""AugMix: torchvision's operations, the paper's shares and depths, versions that lie where the picture lies."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from sightline.learn import augmix, moves
from sightline.learn.augmix import CHAINS, MILD, REACH, Plan, augmixed, drawn_plan
from sightline.learn.draws import draws
from sightline.learn.moves import Jitter, moved
from sightline.learn.policies import UNSIGNED, op_changes, op_moves

THEIRS = {
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "posterize": "Posterize",
    "rotate": "Rotate",
    "solarize": "Solarize",
    "shear-x": "ShearX",
    "shear-y": "ShearY",
    "translate-x": "TranslateX",
    "translate-y": "TranslateY",
}
STILL = Jitter()


def pictures(count: int = 5, channels: int = 3, height: int = 24, width: int = 30) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(channels).random((count, channels, height, width), np.float32))


def theirs(image: torch.Tensor, op: str, level: int, sign: float) -> torch.Tensor:
    """Of torchvision's ten levels."""
    reference: Any = v2.AugMix(interpolation=InterpolationMode.BILINEAR)
    magnitudes, signed = reference._PARTIAL_AUGMENTATION_SPACE[THEIRS[op]]
    found = magnitudes(10, *image.shape[1:])
    magnitude = 0.0 if found is None else float(found[level]) * (sign if signed else 1.0)
    bilinear = {"interpolation": InterpolationMode.BILINEAR, "fill": {torch.Tensor: None}}
    return reference._apply_image_or_video_transform(image, THEIRS[op], magnitude, **bilinear)


@pytest.mark.parametrize("op", MILD)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_operation_is_torchvisions(op: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "RESAMPLING", "bilinear")
    assert set(THEIRS.values()) == set(v2.AugMix._PARTIAL_AUGMENTATION_SPACE)
    image = pictures(1, channels)[0]
    for level, sign in ((0, 1.0), (2, -1.0), (9, 1.0)):
        chain = [(op, level / 9, 1.0 if op in UNSIGNED else sign)]
        changed = reduce(lambda x, change: change(x), op_changes(chain, REACH), image)
        after = op_moves(chain, REACH, *image.shape[1:])[None]
        found = moved(changed[None], draws(0, 0, 1), STILL, after=after)[0]
        torch.testing.assert_close(found, theirs(image, op, level, sign), atol=2e-4, rtol=1e-4)


def test_versions_are_mixed_in_their_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains of values only, each operation in its turn, so that the sum can be told exactly."""
    plan = Plan(
        np.array([0.4, 0.3, 0.2, 0.1]),
        (
            (("solarize", 0.4, 1.0),),
            (("posterize", 0.5, 1.0), ("autocontrast", 0.0, 1.0)),
            (("equalize", 0.0, 1.0), ("solarize", 0.8, 1.0), ("posterize", 1 / 3, 1.0)),
        ),
    )
    monkeypatch.setattr(augmix, "drawn_plan", lambda row, magnitude: plan)
    images = pictures()
    found = augmixed(images, draws(0, 0, 5), 9, jitter=STILL, ready=lambda unit: 2 * unit - 1)
    for image, each in zip(images, found):
        versions = [image]
        for chain in plan.chains:
            version = image
            for op, share, _ in chain:
                level = round(9 * share)
                wanted = theirs(version, op, level, 1.0)
                version = wanted if op != "solarize" else v2.functional.solarize(version, 1 - share)
            versions.append(version)
        wanted = sum(share * version for share, version in zip(plan.shares, versions))
        torch.testing.assert_close(each, 2 * wanted - 1, atol=1e-4, rtol=1e-4)


def test_shares_depths_operations_and_strengths_are_the_papers() -> None:
    plans = [drawn_plan(row, 9) for row in draws(0, 0, 3000)]
    shares = np.stack([plan.shares for plan in plans])
    np.testing.assert_allclose(shares.sum(1), 1)
    assert stats.kstest(shares[:, 0], "uniform").pvalue > 0.01  # Beta(1, 1)
    within = shares[:, 1:] / shares[:, 1:].sum(1, keepdims=True)
    assert all(stats.kstest(each, stats.beta(1, 2).cdf).pvalue > 0.01 for each in within.T)  # of Dirichlet(1, 1, 1)
    chains = [chain for plan in plans for chain in plan.chains]
    assert len(chains) == 3000 * CHAINS
    depths = np.bincount([len(chain) for chain in chains])
    assert depths[0] == 0 and len(depths) == 4 and stats.chisquare(depths[1:]).pvalue > 0.01
    ops = [op for chain in chains for op in chain]
    counts = [sum(name == op for name, _, _ in ops) for op in MILD]
    assert stats.chisquare(counts).pvalue > 0.01
    strengths = np.array([share for _, share, _ in ops])
    assert strengths.max() < 0.3 and stats.kstest(strengths / 0.3, "uniform").pvalue > 0.01
    assert {sign for name, _, sign in ops if name == "rotate"} == {-1.0, 1.0}
    assert {sign for name, _, sign in ops if name in UNSIGNED} == {1.0}


def test_a_picture_is_mixed_the_same_in_any_batch_and_by_its_own_draws() -> None:
    images, table = pictures(6), draws(3, 1, 6)
    parts: dict[str, Any] = {"jitter": Jitter(flip=True, shift=0.1, rotate=10), "ready": lambda unit: unit - 0.5}
    together = augmixed(images, table, 9, **parts)
    assert together.is_contiguous(memory_format=torch.channels_last)
    for index in range(6):
        alone = augmixed(images[index : index + 1], table[index : index + 1], 9, **parts)
        torch.testing.assert_close(together[index : index + 1], alone)
    assert not torch.allclose(together, augmixed(images, draws(3, 2, 6), 9, **parts))


def test_versions_lie_where_the_picture_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """With chains that do nothing, what is mixed is the moved picture; bicubic steps of whole pixels are exact."""
    nothing = Plan(np.array([0.1, 0.3, 0.3, 0.3]), ((("identity", 0.0, 1.0),),) * 3)
    monkeypatch.setattr(augmix, "drawn_plan", lambda row, magnitude: nothing)
    images, table = pictures(6), draws(5, 0, 6)
    for jitter in (STILL, Jitter(flip=True, shift=0.2), Jitter(flip=True, rotate=20, crop=0.5, perspective=0.1)):
        found = augmixed(images, table, 9, jitter=jitter, ready=lambda unit: unit)
        torch.testing.assert_close(found, moved(images, table, jitter), atol=1e-4, rtol=1e-4)
