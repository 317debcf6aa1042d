"""Colours: each draw changes a picture as torchvision's kernel does, for grey and RGB, and only its own."""

from __future__ import annotations

import io
from functools import reduce

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from torchvision.transforms.v2 import functional as kernels

from sightline.learn.colours import Colours, changes
from sightline.learn.draws import SLOTS, Slot, draws


def picture(channels: int = 3, height: int = 9, width: int = 12) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(channels).random((channels, height, width), np.float32))


def drawn(**slots: float) -> np.ndarray:
    row = np.full(SLOTS, 0.5)
    for name, value in slots.items():
        row[Slot[name.upper()]] = value
    return row


def changed(image: torch.Tensor, row: np.ndarray, colours: Colours) -> torch.Tensor:
    return reduce(lambda x, change: change(x), changes(row, colours), image)


def test_without_settings_nothing_is_changed() -> None:
    assert Colours().idle
    assert list(changes(drawn(), Colours())) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_values_change_as_torchvision_changes_them(channels: int) -> None:
    image = picture(channels)
    row = drawn(brightness=0.75, contrast=0.0, saturation=1.0, hue=0.9)
    found = changed(image, row, Colours(jitter=0.4, hue=0.1))
    expected = kernels.adjust_brightness(image, 1.2)
    expected = kernels.adjust_saturation(kernels.adjust_contrast(expected, 0.6), 1.4)
    expected = kernels.adjust_hue(expected, 0.08)
    torch.testing.assert_close(found, expected)
    assert (found - image).abs().max() > 0.05


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_number_is_for_one_change(name: str) -> None:
    kernel = {"brightness": kernels.adjust_brightness, "contrast": kernels.adjust_contrast}
    wanted = kernel.get(name, kernels.adjust_saturation)(picture(), 1.3)
    torch.testing.assert_close(changed(picture(), drawn(**{name: 1.0}), Colours(jitter=0.3)), wanted)


def test_half_of_the_pictures_are_blurred_noisy_or_compressed() -> None:
    table = draws(0, 0, 400)
    for colours, slot in (
        (Colours(blur=1.0), Slot.BLUR),
        (Colours(noise=0.1), Slot.NOISE),
        (Colours(jpeg=10), Slot.JPEG),
        (Colours(shrink=4), Slot.SHRINK),
    ):
        touched = [bool(list(changes(row, colours))) for row in table]
        assert touched == (table[:, slot] > 0.5).tolist()


@pytest.mark.parametrize(("hw", "sides"), [((31, 31), [13, 13]), ((4, 31), [13, 3]), ((1, 31), [13, 1])])
def test_a_blur_is_torchvisions_and_fits_small_pictures(hw: tuple[int, int], sides: list[int]) -> None:
    image = picture(3, *hw)
    found = changed(image, drawn(blur=1.0), Colours(blur=2.0))
    torch.testing.assert_close(found, kernels.gaussian_blur(image, sides, [2.0, 2.0]))
    assert changed(picture(1, 1, 1), drawn(blur=1.0), Colours(blur=9.0)).shape == (1, 1, 1)


def test_noise_is_drawn_from_the_pictures_own_seed() -> None:
    flat, colours = torch.full((3, 64, 64), 0.5), Colours(noise=0.2)
    torch.manual_seed(1)
    first = changed(flat, drawn(noise=0.75, noise_seed=0.3), colours)
    after = torch.rand(1)
    again = changed(flat, drawn(noise=0.75, noise_seed=0.3), colours)
    assert torch.equal(first, again)
    assert not torch.equal(first, changed(flat, drawn(noise=0.75, noise_seed=0.4), colours))
    assert float((first - 0.5).std()) == pytest.approx(0.1, rel=0.03)
    assert float((first - 0.5).mean()) == pytest.approx(0.0, abs=0.005)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)  # the global generator was not touched


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("draw", "quality"), [(1.0, 20), (0.75, 60), (0.5, None)])
def test_jpeg_is_pillows_at_the_drawn_quality(channels: int, draw: float, quality: int | None) -> None:
    """What lies outside 0 to 1 is cut off, as a camera does."""
    image = kernels.gaussian_blur(picture(channels, 40, 24), [5, 5]) * 1.4 - 0.1
    found = changed(image, drawn(jpeg=draw), Colours(jpeg=20))
    if quality is None:
        assert found is image
        return
    levels = (255 * image.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    written = io.BytesIO()
    Image.fromarray(levels[..., 0] if channels == 1 else levels).save(written, "JPEG", quality=quality)
    wanted = torch.from_numpy(np.array(Image.open(written)).reshape(40, 24, channels)).permute(2, 0, 1) / 255
    torch.testing.assert_close(found, wanted)
    assert float((found - image.clamp(0, 1)).abs().mean()) > 0.004
    assert torch.equal(found, changed(image, drawn(jpeg=draw), Colours(jpeg=20)))


def test_every_quality_is_drawn_and_none_below_the_lowest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("sightline.learn.colours._compressed", lambda image, quality: asked.append(quality) or image)
    for row in draws(0, 0, 3000):
        changed(picture(1), row, Colours(jpeg=70))
    assert set(asked) == set(range(70, 101))


@pytest.mark.parametrize(("draw", "side"), [(1.0, 12), (0.75, 24), (0.5, None)])
def test_a_shrunk_picture_has_lost_what_a_smaller_one_cannot_hold(draw: float, side: int | None) -> None:
    image = picture(3, 48, 40)
    found = changed(image, drawn(shrink=draw), Colours(shrink=12))
    if side is None:
        assert found is image
        return
    assert found.shape == image.shape and float(found.min()) >= 0 and float(found.max()) <= 1
    spectrum = torch.fft.fft2(found - found.mean()).abs() ** 2
    fine = (torch.fft.fftfreq(48)[:, None].abs() > side / 48 / 2 * 1.3) | (
        torch.fft.fftfreq(40).abs() > side / 48 / 2 * 1.3
    )
    assert float(spectrum[:, fine].sum() / spectrum.sum()) < 0.08  # noise has most of it there
    torch.testing.assert_close(found.mean((1, 2)), image.mean((1, 2)), atol=0.02, rtol=0)
    assert changed(image, drawn(shrink=draw), Colours(shrink=48)) is image


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mask_hides_mouth_and_nose_and_leaves_the_eyes(channels: int) -> None:
    from sightline.data.chips import CANON, SIDE

    image, table = torch.full((channels, SIDE, SIDE), 0.5), draws(0, 0, 200)
    masked = [bool(list(changes(row, Colours(mask=0.3)))) for row in table]
    assert masked == (table[:, Slot.MASK] < 0.3).tolist()
    colours = set()
    for seed in np.linspace(0, 0.99, 20):
        found = changed(image, drawn(mask=0.0, mask_seed=float(seed)), Colours(mask=1.0))
        hidden = (found != image).any(0)
        right_eye, left_eye, nose, right, left = (hidden[round(float(y)), round(float(x))] for x, y in CANON)
        assert not right_eye and not left_eye and nose and right and left
        assert 0.15 < float(hidden.float().mean()) < 0.4
        assert float(found.min()) >= 0 and float(found.max()) <= 1
        colours.add(round(float(found[0, 100, 56]), 3))
    assert len(colours) > 15
