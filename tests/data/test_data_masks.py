"""What an inspector found: which classes are good, and masks as arrays, beside Pillow's own resizing."""

import numpy as np
import pytest
from PIL import Image

from sightline.core.errors import DataError, PictureError
from sightline.data.masks import inspected, is_good, mask_of
from sightline.data.samples import Inspected, Label, NoTarget, Objects, Tags


def saved(path, array):
    Image.fromarray(array).save(path)
    return path


def spots(height, width, value=255):
    array = np.zeros((height, width), np.uint8)
    array[1:3, 2:5] = value
    return array


@pytest.mark.parametrize(
    ("name", "good"),
    [
        *[(name, True) for name in ("good", "Good", "OK", "ok", "normal", "no defect", "No_Defect", "defect-free")],
        *[(name, False) for name in ("crack", "abnormal", "not good", "no good", "goods", "NG", "bad", "", "ok_front")],
    ],
)
def test_what_good_parts_are_called(name, good):
    assert is_good(name) == good
    assert inspected(Label(name)) == (Inspected() if good else Inspected(name))


def test_targets_of_other_kinds():
    part = Inspected("cut")
    assert inspected(part) is part and inspected(NoTarget()) == Inspected()
    for target, said in ((Tags(("a", "b")), r"has a\|b"), (Objects(), "has .nothing.")):
        with pytest.raises(DataError, match=said):
            inspected(target)


@pytest.mark.parametrize("value", [1, 7, 127, 255])
def test_all_that_is_not_black_is_defective(tmp_path, value):
    one = saved(tmp_path / "one.png", spots(6, 9, value))
    np.testing.assert_array_equal(mask_of(Inspected("cut", (one,)), (6, 9)), spots(6, 9) > 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_masks_of_every_depth(tmp_path, mode):
    array = spots(6, 9)
    image = Image.fromarray(array.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(array).convert(mode)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(mask_of(Inspected("cut", (tmp_path / "mask.png",)), (6, 9)), array > 0)


def test_one_channel_is_enough(tmp_path):
    red = saved(tmp_path / "red.png", np.stack([spots(6, 9, 3), *[np.zeros((6, 9), np.uint8)] * 2], axis=2))
    assert mask_of(Inspected("cut", (red,)), (6, 9)).sum() == 6


def test_several_masks_count_together(tmp_path):
    first, second = spots(6, 9), spots(6, 9)[::-1].copy()
    files = (saved(tmp_path / "0.png", first), saved(tmp_path / "1.png", second))
    np.testing.assert_array_equal(mask_of(Inspected("cut", files), (6, 9)), (first | second) > 0)


def test_without_a_mask(tmp_path):
    assert mask_of(Inspected("cut"), (6, 9)) is None
    unread = tmp_path / "there is none.png"
    found = mask_of(Inspected(masks=(unread,)), (6, 9))
    assert found.shape == (6, 9) and found.dtype == np.bool_ and not found.any()


@pytest.mark.parametrize(("height", "width"), [(60, 90), (30, 45), (61, 91), (240, 360), (17, 25), (121, 182)])
def test_another_size_of_the_same_aspect_is_taken_by_nearest_pixels(tmp_path, height, width):
    mask = np.random.default_rng(0).random((120, 180)) > 0.7
    path = saved(tmp_path / "mask.png", mask.astype(np.uint8) * np.uint8(255))
    wanted = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    if abs(180 * height / (120 * width) - 1) > 0.01:
        with pytest.raises(DataError, match=rf"180 x 120 pixels, and its picture {width} x {height}; "):
            mask_of(Inspected("cut", (path,)), (height, width))
    else:
        differ = mask_of(Inspected("cut", (path,)), (height, width)) != wanted
        assert differ.mean() <= (0.01 if height in (61, 121) else 0), "where a middle falls on an edge, either will do"


def test_a_mask_that_lies_on_its_side_is_refused_and_one_that_says_so_is_turned(tmp_path):
    path, array = tmp_path / "mask.png", spots(6, 9)
    lying = np.rot90(array).copy()  # 9 x 6
    Image.fromarray(lying).save(path)
    with pytest.raises(DataError, match="has to show the whole picture"):
        mask_of(Inspected("cut", (path,)), (6, 9))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(lying).save(path, exif=exif)
    np.testing.assert_array_equal(mask_of(Inspected("cut", (path,)), (6, 9)), array > 0)


def test_a_jpeg_blurs_black(tmp_path):
    array = np.zeros((32, 48), np.uint8)
    array[8:16, 8:24] = 255
    Image.fromarray(array).save(tmp_path / "mask.jpg", quality=40)
    with Image.open(tmp_path / "mask.jpg") as stored:
        assert (np.asarray(stored) > 0).sum() > (array > 0).sum()
    np.testing.assert_array_equal(mask_of(Inspected("cut", (tmp_path / "mask.jpg",)), (32, 48)), array > 0)


def test_what_cannot_be_trusted_is_refused(tmp_path):
    clear = np.zeros((6, 9, 4), np.uint8)
    clear[1:3, 2:5] = 255
    with pytest.raises(DataError, match="transparent pixels"):
        mask_of(Inspected("cut", (saved(tmp_path / "clear.png", clear),)), (6, 9))
    clear[..., 3] = 255
    assert mask_of(Inspected("cut", (saved(tmp_path / "opaque.png", clear),)), (6, 9)).sum() == 6
    (tmp_path / "words.png").write_text("words")
    for name in ("words.png", "nowhere.png"):
        with pytest.raises(PictureError, match=name):
            mask_of(Inspected("cut", (tmp_path / name,)), (6, 9))
