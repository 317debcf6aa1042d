"""Register: known moves are found again through light, noise and blots; unlike pictures are refused."""

import io
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw
from skimage.registration import phase_cross_correlation
from skimage.transform import ProjectiveTransform, warp

from sightline.core.card import Preparation
from sightline.core.errors import PictureError, UsageError
from sightline.data import _ecc
from sightline.data.pictures import read_picture
from sightline.data.prepare import prepare
from sightline.data.register import reference_of, register, warped


@cache
def pixels_of(name):
    """A shipped picture, or a bracket without symmetry on a plain ground, uint8."""
    if name != "bracket":
        return getattr(skimage.data, name)()
    image = Image.new("L", (1280, 1024), 60)
    draw = ImageDraw.Draw(image)
    draw.polygon([(260, 230), (980, 180), (1000, 400), (600, 430), (590, 860), (290, 840)], fill=180)
    for x, y, radius in ((370, 330, 50), (430, 600, 40), (510, 770, 25), (850, 300, 60)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=90)
    return np.asarray(image.resize((320, 256), Image.Resampling.BOX))


def units(size_hw):
    """From half longer sides about the centre to pixels."""
    height, width = size_hw
    half = max(size_hw) / 2
    return np.array([[half, 0, width / 2], [0, half, height / 2], [0, 0, 1.0]])


def move_of(motion, size_hw, seed, *, degrees=15.0):
    """A random map (3, 3) from the good picture's pixels to the moved one's: shifts to 10 %, shear and scale to 6 %."""
    rng = np.random.default_rng([seed, 11])
    angle = 0.0 if motion == "shift" else np.deg2rad(rng.uniform(-degrees, degrees))
    move = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    if motion in ("affine", "homography"):
        move[:2, :2] = move[:2, :2] @ (np.eye(2) + rng.uniform(-0.06, 0.06, (2, 2)))
    if motion == "homography":
        move[2, :2] = rng.uniform(-0.05, 0.05, 2)
    move[:2, 2] = rng.uniform(-0.2, 0.2, 2) * np.array(size_hw[::-1]) / max(size_hw)
    return units(size_hw) @ move @ np.linalg.inv(units(size_hw))


def moved(pixels, move, seed=0, *, blot=0.05):
    """The picture after a move, in other light, with noise and a black disc over a share of it, uint8."""
    rng = np.random.default_rng([seed, 13])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = ProjectiveTransform(np.linalg.inv(half) @ np.linalg.inv(move) @ half)
    seen = warp(pixels.astype(float), back, order=3, mode="edge", preserve_range=True)
    seen = seen * rng.uniform(0.6, 1.3) + rng.uniform(-20, 30) + rng.normal(0, 3, seen.shape)
    height, width = pixels.shape[:2]
    middle = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    y, x = np.mgrid[:height, :width]
    seen[(x - middle[0]) ** 2 + (y - middle[1]) ** 2 < blot * height * width / np.pi] = 0
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def corner_error(found, move, size_hw):
    """Largest distance by which a corner misses, in pixels of a picture 256 on the longer side."""
    height, width = size_hw
    corners = np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1.0]])
    x, y, w = found @ move @ corners
    return np.hypot(x / w - corners[0], y / w - corners[1]).max() * 256 / max(size_hw)


def picture_of(pixels):
    return read_picture(np.ascontiguousarray(pixels))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["camera", "coins", "page", "astronaut", "brick", "bracket"])
@pytest.mark.parametrize("motion", ["shift", "rigid"])
def test_a_shift_or_turn_is_found_again(motion, name, seed):
    pixels = pixels_of(name)
    move = move_of(motion, pixels.shape[:2], seed)
    blot = 0.015 if name == "bracket" else 0.05  # the bracket covers a quarter of its picture
    picture = picture_of(moved(pixels, move, seed, blot=blot))
    found = register(picture, reference_of(picture_of(pixels)), motion=motion)
    assert found.ok and found.correlation > 0.6 and found.size_hw == pixels.shape[:2]
    assert corner_error(found.homography, move, pixels.shape[:2]) < (0.6 if name == "bracket" else 0.3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["camera", "coins", "page", "astronaut"])
@pytest.mark.parametrize("motion", ["affine", "homography"])
def test_shear_and_perspective_are_found_again(motion, name, seed):
    pixels = pixels_of(name)
    move = move_of(motion, pixels.shape[:2], seed)
    found = register(picture_of(moved(pixels, move, seed)), reference_of(picture_of(pixels)), motion=motion)
    assert found.ok and corner_error(found.homography, move, pixels.shape[:2]) < 1


@pytest.mark.parametrize("motion", ["rigid", "affine", "homography"])
@pytest.mark.parametrize("seed", range(4))
def test_any_turn_is_found_where_any_is_looked_for(motion, seed):
    pixels = pixels_of("bracket")
    move = move_of("rigid", pixels.shape, seed, degrees=180)
    found = register(
        picture_of(moved(pixels, move, seed, blot=0.01)), reference_of(picture_of(pixels)), motion=motion, turn=180
    )
    assert found.ok and corner_error(found.homography, move, pixels.shape) < (1 if motion == "rigid" else 5)


def test_a_turn_beyond_those_looked_for_is_not_found():
    pixels = pixels_of("camera")
    quarter = picture_of(np.rot90(pixels))
    assert not register(quarter, reference_of(picture_of(pixels)), turn=15).ok
    assert register(quarter, reference_of(picture_of(pixels)), turn=90).ok


def test_a_slope_of_light_does_not_matter():
    pixels = pixels_of("coins")
    move = move_of("rigid", pixels.shape, 5)
    lit = moved(pixels, move, 5) * np.linspace(0.3, 1, pixels.shape[1])
    found = register(picture_of(lit.astype(np.uint8)), reference_of(picture_of(pixels)))
    assert found.ok and corner_error(found.homography, move, pixels.shape) < 0.3


def test_shifts_are_those_of_phase_correlation():
    pixels = pixels_of("camera")
    one, other = pixels[40:440, 40:440], pixels[59:459, 12:412]
    shift, *_ = phase_cross_correlation(one, other)
    found = register(picture_of(other), reference_of(picture_of(one)), motion="shift").homography
    assert shift.tolist() == [19, -28]
    np.testing.assert_allclose(found, [[1, 0, -28], [0, 1, 19], [0, 0, 1]], atol=0.3)


@pytest.mark.parametrize("motion", ["shift", "rigid", "affine", "homography"])
@pytest.mark.parametrize("turn", [15.0, 180.0])
def test_unlike_pictures_are_refused(motion, turn):
    names = ["camera", "page", "astronaut", "brick", "bracket"]
    noise = np.random.default_rng(0).normal(90, 20, (200, 300)).astype(np.uint8)
    for name, other in zip(names, [*names[1:], names[0]]):
        reference = reference_of(picture_of(pixels_of(name)))
        for pixels in (pixels_of(other), noise, np.full((40, 50), 7, np.uint8)):
            found = register(picture_of(pixels), reference, motion=motion, turn=turn)
            assert not found.ok and found.correlation < 0.45 and found.size_hw == pixels.shape[:2]
            assert np.array_equal(found.homography, np.eye(3))


def test_least_decides():
    pixels = pixels_of("coins")
    picture, reference = picture_of(moved(pixels, np.eye(3))), reference_of(picture_of(pixels))
    found = register(picture, reference)
    assert 0.6 < found.correlation < 0.99
    assert register(picture, reference, least=found.correlation - 0.01).ok
    assert not register(picture, reference, least=found.correlation + 0.01).ok


@pytest.mark.parametrize("dtype, high", [(np.uint16, 65535), (np.uint16, 900), (np.float32, 1), (np.float32, 0.02)])
@pytest.mark.parametrize("name", ["coins", "astronaut"])
def test_depth_and_channels(name, dtype, high):
    """Deep pictures, dark ones too, are registered and warped as their 8-bit copies are, in their own dtype."""
    pixels = pixels_of(name)
    move = move_of("rigid", pixels.shape[:2], 1)
    eight = picture_of(moved(pixels, move, 1))
    deep = picture_of((eight.pixels.astype(np.float64) * high / 255).astype(dtype))
    reference = reference_of(picture_of((pixels.astype(np.float64) * high / 255).astype(dtype)))
    found, plain = register(deep, reference), register(eight, reference_of(picture_of(pixels)))
    assert found.ok and found.correlation == pytest.approx(plain.correlation, abs=0.02)
    assert corner_error(found.homography, move, pixels.shape[:2]) < 0.3
    seen, as_bytes = (warped(each, plain.homography, plain.size_hw) for each in (deep, eight))
    assert seen.pixels.dtype == dtype and seen.high == deep.high and seen.pixels.shape == eight.pixels.shape
    assert np.abs(seen.pixels * (255 / high) - as_bytes.pixels).max() < 1.5


@pytest.mark.parametrize("by", [0.3, 0.7, 1.6])
def test_a_picture_of_another_size_has_a_frame_of_its_own_size(by):
    pixels = pixels_of("bracket")
    size = round(pixels.shape[1] * by), round(pixels.shape[0] * by)
    move = move_of("rigid", size[::-1], 2)
    good = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    found = register(picture_of(moved(good, move, 2, blot=0)), reference_of(picture_of(pixels)))
    assert found.ok and found.size_hw == size[::-1]
    assert corner_error(found.homography, move, size[::-1]) < 0.5


def test_a_picture_of_another_shape_has_a_frame_of_the_reference_s_shape():
    """Cut to a square, the bracket of 256 x 320 lies in a frame of 4 : 5, its longer side that of the square."""
    pixels = pixels_of("bracket")
    reference = reference_of(picture_of(pixels))
    square = np.asarray(Image.fromarray(np.pad(pixels, ((32, 32), (0, 0)), mode="edge")).resize((600, 600)))
    found = register(picture_of(square), reference)
    assert found.ok and found.size_hw == (478, 600)
    back = warped(picture_of(square), found.homography, found.size_hw)
    assert back.pixels.shape == (478, 600, 1) and back.size_hw == (478, 600)
    wanted = np.asarray(Image.fromarray(pixels).resize((600, 478)))
    assert np.abs(back.pixels[..., 0].astype(int) - wanted).mean() < 3


def test_a_picture_decoded_at_a_smaller_scale():
    """Half the pixels, the same homography in pixels of the whole picture."""
    pixels = np.asarray(Image.fromarray(pixels_of("astronaut")).resize((1000, 1000), Image.Resampling.BICUBIC))
    move = move_of("rigid", (1000, 1000), 3)
    file = io.BytesIO()
    Image.fromarray(moved(pixels, move, 3)).save(file, "JPEG", quality=92)
    whole, half = read_picture(file.getvalue()), read_picture(file.getvalue(), at_least_hw=(200, 200))
    assert half.pixels.shape == (500, 500, 3) and half.size_hw == (1000, 1000)
    reference = reference_of(picture_of(pixels))
    one, other = register(whole, reference), register(half, reference)
    assert corner_error(other.homography, move, (1000, 1000)) < 0.3
    seen = warped(half, one.homography, one.size_hw)
    assert seen.pixels.shape == (500, 500, 3) and seen.size_hw == (1000, 1000)
    large = warped(whole, one.homography, one.size_hw)
    preparation = Preparation(size_hw=(200, 200))
    difference = prepare(seen, preparation)[0].astype(int) - prepare(large, preparation)[0]
    assert np.abs(difference).mean() < 1.5


def test_a_part_put_right_looks_like_the_good_one_after_preparation():
    pixels = pixels_of("bracket")
    preparation = Preparation(mode="grey", size_hw=(96, 120))
    good, _ = prepare(picture_of(pixels), preparation)
    picture = picture_of(moved(pixels, move_of("rigid", pixels.shape, 8), 0, blot=0) // 2)
    found = register(picture, reference_of(picture_of(pixels)))
    askew, right = (
        prepare(each, preparation)[0] for each in (picture, warped(picture, found.homography, found.size_hw))
    )
    likeness = [np.corrcoef(good.ravel(), each.ravel())[0, 1] for each in (askew, right)]
    assert likeness[0] < 0.6 and likeness[1] > 0.98


@pytest.mark.parametrize("motion", ["shift", "rigid", "affine", "homography"])
def test_warping_is_scikit_image_s(motion):
    pixels = pixels_of("astronaut")
    move = move_of(motion, pixels.shape[:2], 4)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = ProjectiveTransform(np.linalg.inv(half) @ np.linalg.inv(move) @ half)
    wanted = warp(pixels.astype(float), back, order=1, mode="edge", preserve_range=True)
    assert np.abs(warped(picture_of(pixels), move, pixels.shape[:2]).pixels - wanted).max() < 2


def test_warping_keeps_what_it_may():
    picture = picture_of(np.arange(48, dtype=np.uint8).reshape(6, 8))
    assert warped(picture, np.eye(3), (6, 8)) is picture
    by_two = warped(picture, np.array([[1, 0, 2], [0, 1, -1], [0, 0, 1.0]]), (6, 8)).pixels[..., 0]
    rows, columns = np.clip(np.arange(6) + 1, 0, 5), np.clip(np.arange(8) - 2, 0, 7)
    assert np.array_equal(by_two, picture.pixels[..., 0][rows][:, columns])
    far = warped(picture, np.array([[1, 0, 7], [0, 1, 0], [0, 0, 1.0]]), (6, 8)).pixels[..., 0]
    assert (far[:, 3:7] == picture.pixels[:, :1, 0]).all() and (far[1:, :2] == 0).all()  # repeated, then black


def test_a_reference_is_a_small_grey_png():
    for shape, wanted in (
        ((300, 600, 3), (64, 128)),
        ((900, 450), (128, 64)),
        ((40, 30), (40, 30)),
        ((2000, 3), (128, 1)),
    ):
        pixels = np.random.default_rng(1).integers(100, 140, shape).astype(np.uint8)
        kept = read_picture(reference_of(picture_of(pixels)))
        assert kept.format == "PNG" and kept.pixels.shape == (*wanted, 1) and kept.pixels.dtype == np.uint8
        assert (kept.pixels.min(), kept.pixels.max()) == (0, 255)
    with pytest.raises(PictureError, match="all pixels are alike"):
        reference_of(picture_of(np.full((30, 40), 9, np.uint8)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 700), (700, 3), (5, 5)])
@pytest.mark.parametrize("motion", ["shift", "rigid", "affine", "homography"])
def test_odd_shapes_are_answered(shape, motion):
    picture = picture_of(np.random.default_rng(2).integers(0, 255, shape).astype(np.uint8))
    found = register(picture, reference_of(picture_of(pixels_of("bracket"))), motion=motion, turn=180)
    assert not found.ok and found.size_hw == shape
    if picture.pixels.size > 1:
        again = register(picture, reference_of(picture), motion=motion)
        assert -1 <= again.correlation <= 1 and np.isfinite(again.homography).all()


def test_threads_find_the_same():
    pixels = pixels_of("coins")
    reference = reference_of(picture_of(pixels))
    pictures = [picture_of(moved(pixels, move_of("rigid", pixels.shape, seed), seed)) for seed in range(6)]
    alone = [register(picture, reference, turn=60) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda picture: register(picture, bytes(bytearray(reference)), turn=60), pictures * 2))
    for one, other in zip(alone * 2, together):
        assert one.correlation == other.correlation and np.array_equal(one.homography, other.homography)


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        ({"motion": "similarity"}, UsageError, "shift, rigid, affine, homography"),
        *[({"turn": turn}, UsageError, "0 to 180") for turn in (-1.0, 181.0, float("nan"))],
        *[({"least": least}, UsageError, "0 to 1") for least in (-0.1, 1.5, float("nan"))],
        ({"reference": b"no picture"}, PictureError, "bytes"),
    ],
)
def test_what_is_refused(wrong, error, words):
    given = {"reference": reference_of(picture_of(pixels_of("bracket"))), **wrong}
    with pytest.raises(error, match=words):
        register(picture_of(pixels_of("bracket")), given.pop("reference"), **given)


@pytest.mark.parametrize("motion, count", [("shift", 2), ("rigid", 3), ("affine", 6), ("homography", 8)])
def test_slopes_are_those_of_the_values(motion, count):
    """Each parameter's slope is how the values seen change when it is moved a little."""
    x, y = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-0.75, 0.75, 60))
    plane = _ecc.Plane((2 * x - 3 * y).astype(np.float32), (80 / 79, 0.75 * 60 / 59))
    places = tuple(np.random.default_rng(4).uniform(-0.4, 0.4, (2, 50)).astype(np.float32))
    maps = np.array([[[0.9, -0.2, 0.05], [0.15, 1.05, -0.1], [0.08, -0.05, 1]]])
    maps[0, 2, :2] *= motion == "homography"
    u, v, w = _ecc.mapped(maps, *places)
    seen, across, down, inside = plane.at(u, v)
    assert inside.all()
    slopes = _ecc._slopes(motion, maps, places, (u, v, w), (across, down))
    assert slopes.shape == (1, count, 50)
    for k in range(count):
        change = np.zeros((1, count))
        change[0, k] = 1e-2
        after, before = (
            plane.at(*_ecc.mapped(_ecc._changed(motion, maps, sign * change), *places)[:2])[0] for sign in (1, -1)
        )
        np.testing.assert_allclose(slopes[0, k], (after - before)[0] / 2e-2, atol=2e-3)
    assert seen.shape == (1, 50)


def test_real_parts_of_unequal_shapes_are_answered(real):
    files = sorted((real / "magnetic_tile" / "train" / "good").glob("*.jpg"))[:12]
    pictures = [read_picture(file) for file in files]
    for picture, other in pairwise(pictures):
        found = register(picture, reference_of(other), motion="homography")
        seen = warped(picture, found.homography, found.size_hw)
        assert seen.size_hw == found.size_hw and -1 <= found.correlation <= 1
        again = register(picture, reference_of(picture), motion="rigid")
        assert again.ok and corner_error(again.homography, np.eye(3), picture.size_hw) < 0.1
