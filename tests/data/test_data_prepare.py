import numpy as np
import pytest
from made_pictures import encoded, encoded16, scene
from PIL import Image

from sightline.core.card import Preparation
from sightline.core.errors import PictureError
from sightline.data.pictures import read_picture
from sightline.data.prepare import prepare

SCENE = scene()
SIZES = [(60, 80), (32, 32), (17, 90), (200, 100), (1, 1)]


@pytest.mark.parametrize("mode", ["rgb", "grey"])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size_hw", SIZES)
def test_a_16_bit_copy_gives_exactly_the_same_array(mode, fit, size_hw):
    preparation = Preparation(mode=mode, fit=fit, size_hw=size_hw)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    for pixels in (noise, noise[..., :1]):
        eight = read_picture(encoded(pixels, "PNG"))
        sixteen = read_picture(encoded16(pixels.astype(np.uint16) * 257))
        floats = read_picture(pixels / np.float32(255))
        arrays = [prepare(picture, preparation)[0] for picture in (eight, sixteen, floats)]
        assert arrays[0].dtype == np.uint8 and sixteen.pixels.dtype == np.uint16
        assert np.array_equal(arrays[0], arrays[1]) and np.array_equal(arrays[0], arrays[2])


@pytest.mark.parametrize("dtype, high", [("uint8", 255.0), ("uint16", 65535.0), ("uint16", 4095.0), ("float32", 1.0)])
@pytest.mark.parametrize("mode, channels", [("rgb", 3), ("grey", 1)])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(60, 80), (3, 3000), (3000, 3), (1, 1), (1, 7)])
def test_shape_dtype_and_range(dtype, high, mode, channels, fit, size):
    preparation = Preparation(mode=mode, fit=fit, size_hw=(24, 40), dtype=dtype, high=high)
    array, geometry = prepare(read_picture(np.full((*size, 3), 255, np.uint8)), preparation)
    assert array.shape == (24, 40, channels) and array.dtype == dtype
    assert array.flags.c_contiguous and array.flags.writeable
    assert array.max() == pytest.approx(high) and array.min() in ([0] if fit == "pad" else [array.max()])
    assert set(geometry) == {"scale_y", "scale_x", "top", "left"}


def test_the_right_size_is_not_touched():
    for dtype, high in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
        pixels = (np.random.default_rng(1).random((9, 7, 3)) * high).astype(dtype)
        for fit in ("stretch", "pad", "crop"):
            preparation = Preparation(size_hw=(9, 7), dtype=dtype, high=float(high), fit=fit)
            array, geometry = prepare(read_picture(pixels), preparation)
            assert np.array_equal(array, pixels)
            assert geometry == {"scale_y": 1, "scale_x": 1, "top": 0, "left": 0}


@pytest.mark.parametrize("size_hw", [(30, 40), (13, 200), (119, 161)])
def test_stretching_is_pillows_bilinear(size_hw):
    reference = Image.fromarray(SCENE).resize(size_hw[::-1], Image.Resampling.BILINEAR)
    array, _ = prepare(read_picture(SCENE), Preparation(size_hw=size_hw))
    assert np.array_equal(array, np.asarray(reference))
    deep, _ = prepare(read_picture(SCENE), Preparation(size_hw=size_hw, dtype="uint16", high=65535.0))
    assert np.abs(deep / 257 - array).max() < 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_grey_is_601_luma(dtype):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30]]], np.uint8)
    high = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[dtype]
    array, _ = prepare(read_picture(colours), Preparation(mode="grey", size_hw=(1, 5), dtype=dtype, high=high))
    expected = colours[0] @ [0.299, 0.587, 0.114] / 255
    assert array[0, :, 0] / high == pytest.approx(expected, abs=0.5 / 255 + 1e-4)


def test_grey_becomes_three_equal_channels():
    array, _ = prepare(read_picture(SCENE[..., 0]), Preparation(size_hw=(10, 10)))
    assert (array == array[..., :1]).all()


def test_depth_is_a_share_of_full_scale():
    twelve = read_picture(np.array([[0, 1, 2048, 4095]], np.uint16), bits=12)
    assert prepare(twelve, Preparation(mode="grey", size_hw=(1, 4)))[0].ravel().tolist() == [0, 0, 128, 255]
    deep = Preparation(mode="grey", size_hw=(1, 4), dtype="uint16", high=65535.0)
    assert prepare(twelve, deep)[0].ravel().tolist() == [0, 16, 32776, 65535]
    dark = read_picture(np.array([[0, 100]], np.uint16))
    assert prepare(dark, Preparation(mode="grey", size_hw=(1, 2)))[0].max() == 0, "no stretching to its own maximum"


def test_floats_that_are_not_shares_are_not_made_integers():
    with pytest.raises(PictureError, match=r"0 to 251.*rescale"):
        prepare(read_picture(SCENE.astype(np.float32)), Preparation())
    slightly, _ = prepare(read_picture(np.full((2, 2), 1.01, np.float32)), Preparation(size_hw=(2, 2)))
    assert (slightly == 255).all()
    same, _ = prepare(
        read_picture(np.full((2, 2), 7, np.float32)), Preparation(size_hw=(2, 2), dtype="float32", high=1)
    )
    assert (same == 7).all()


@pytest.mark.parametrize("at_least_hw", [None, (20, 20)])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size_hw", [(64, 64), (100, 50), (50, 100)])
def test_geometry_leads_from_the_whole_picture_to_the_input(at_least_hw, fit, size_hw):
    """A bright square is found where the geometry says it is, whatever scale the picture was decoded at."""
    pixels = np.zeros((400, 640), np.uint8)
    pixels[160:240, 280:360] = 255
    blob = encoded(pixels, "JPEG", quality=95)
    picture = read_picture(blob, at_least_hw=at_least_hw)
    array, to = prepare(picture, Preparation(mode="grey", fit=fit, size_hw=size_hw))
    rows, columns = np.nonzero(array[..., 0] > 127)
    expected = (160 * to["scale_y"] + to["top"], 240 * to["scale_y"] + to["top"])
    assert (rows.min(), rows.max() + 1) == pytest.approx(expected, abs=1)
    expected = (280 * to["scale_x"] + to["left"], 360 * to["scale_x"] + to["left"])
    assert (columns.min(), columns.max() + 1) == pytest.approx(expected, abs=1)


def test_pad_and_crop_keep_the_aspect():
    picture = read_picture(np.full((40, 80), 200, np.uint8))
    padded, to = prepare(picture, Preparation(mode="grey", fit="pad", size_hw=(32, 32)))
    assert (padded[:8] == 0).all() and (padded[8:24] == 200).all() and (padded[24:] == 0).all()
    assert to == {"scale_y": 0.4, "scale_x": 0.4, "top": 8, "left": 0}
    cropped, to = prepare(picture, Preparation(mode="grey", fit="crop", size_hw=(20, 20)))
    assert (cropped == 200).all() and to == {"scale_y": 0.5, "scale_x": 0.5, "top": 0, "left": -10}
