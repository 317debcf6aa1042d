"""Mixing: as torchvision's MixUp and CutMix with the same shares and boxes; labels follow what is seen."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import stats
from torchvision.transforms import v2

from sightline.learn.draws import SLOTS, Slot, draws
from sightline.learn.mixing import Mixing, erased, mixed


def images(count: int = 6, height: int = 10, width: int = 14) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, 3, height, width)).astype(np.float32))


def labels(count: int = 6) -> dict[str, torch.Tensor]:
    return {"label": torch.eye(4)[torch.arange(count) % 4], "extra": torch.arange(float(count))}


def uniform(count: int = 6, **slots: float) -> np.ndarray:
    table = np.full((count, SLOTS), 0.5)
    for name, value in slots.items():
        table[:, Slot[name.upper()]] = value
    return table


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_is_torchvisions_with_the_same_share(alpha: float) -> None:
    share = stats.beta.ppf(0.8, alpha, alpha)
    found, targets = mixed(images(), labels(), uniform(mix=0.0, mix_share=0.8), Mixing(mixup=alpha, share=1.0))
    own, reference = torch.arange(6) % 4, v2.MixUp(num_classes=4)
    params = {"labels": own, "batch_size": 6, "lam": float(share)}
    torch.testing.assert_close(found, reference.transform(images(), params))
    torch.testing.assert_close(targets["label"], reference.transform(own, params))
    torch.testing.assert_close(targets["extra"], share * torch.arange(6.0) + (1 - share) * torch.arange(6.0).roll(1))


@pytest.mark.parametrize(("y", "x", "box"), [(0.5, 0.5, (4, 3, 10, 7)), (0.0, 1.0, (11, 0, 14, 2))])
def test_cutmix_is_torchvisions_with_the_same_box(y: float, x: float, box: tuple[int, int, int, int]) -> None:
    """A piece of 0.1872 of 10 x 14 pixels is 4.3 high and 6.1 wide; what lies outside is cut off."""
    table = uniform(mix=0.0, mix_share=1 - 0.1872, mix_y=y, mix_x=x)
    found, targets = mixed(images(), labels(), table, Mixing(cutmix=1.0, share=1.0))
    own, reference = torch.arange(6) % 4, v2.CutMix(num_classes=4)
    area = (box[2] - box[0]) * (box[3] - box[1]) / 140
    params = {"labels": own, "batch_size": 6, "box": box, "lam_adjusted": 1 - area}
    torch.testing.assert_close(found, reference.transform(images(), params))
    torch.testing.assert_close(targets["label"], reference.transform(own, params))


def test_as_many_are_mixed_as_asked_and_both_ways_share_them() -> None:
    table, count = draws(0, 0, 2000), 2000
    flat = torch.arange(float(count))[:, None, None, None].expand(count, 1, 4, 4).contiguous()
    targets = {"label": torch.eye(2)[torch.arange(count) % 2]}
    found, soft = mixed(flat, targets, table, Mixing(mixup=1.0, cutmix=1.0, share=0.5))
    torch.testing.assert_close(soft["label"].sum(1), torch.ones(count))
    pure = soft["label"].max(1).values == 1
    assert 0.45 < float(pure.float().mean()) < 0.65  # some boxes are less than a pixel
    untouched = table[:, Slot.MIX] >= 0.5
    torch.testing.assert_close(found[untouched], flat[untouched])
    levels = torch.tensor([len(each.unique()) for each in found[~untouched]])
    assert 0.3 < float((levels == 1).float().mean()) < 0.75  # laid over: one value; pasted: two
    own = soft["label"][torch.arange(count), torch.arange(count) % 2]
    partner = flat.roll(1, 0)[:, 0, 0, 0]
    expected = own * flat[:, 0, 0, 0] + (1 - own) * partner
    torch.testing.assert_close(found.mean((1, 2, 3)), expected, rtol=1e-4, atol=1e-2)  # the label says what is seen


def test_idle_mixing() -> None:
    assert Mixing().idle and Mixing(mixup=1.0, share=0.0).idle and not Mixing(cutmix=0.3).idle


def test_a_picture_alone_is_its_own_partner() -> None:
    found, targets = mixed(images(1), labels(1), uniform(1, mix=0.0), Mixing(mixup=1.0, cutmix=1.0, share=1.0))
    torch.testing.assert_close(found, images(1))
    torch.testing.assert_close(targets["label"], labels(1)["label"])


def test_erasing_takes_one_rectangle_of_the_right_size() -> None:
    table, ones = draws(3, 0, 500), torch.ones(500, 2, 40, 30)
    found = erased(ones, table, 0.4)
    gone = found[:, 0] == 0
    assert gone.flatten(1).any(1).tolist() == (table[:, Slot.ERASE] < 0.4).tolist()
    for each in gone[gone.flatten(1).any(1)]:
        height, width = int(each.any(1).sum()), int(each.any(0).sum())
        assert int(each.sum()) == height * width
        assert 0.01 < height * width / 1200 < 0.36
    assert torch.equal(found[:, 0], found[:, 1])
    assert erased(ones, table, 0.0) is ones
