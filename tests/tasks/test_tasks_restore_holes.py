"""restore, holes: known pixels stay bit for bit, at any size and depth, and what is filled is measured alone."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest
from skimage import data

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, PictureError, UsageError
from sightline.core.protocols import Facts, Spec
from sightline.core.results import Picture
from sightline.data.holes import calm
from sightline.data.pictures import read_picture
from sightline.data.samples import NoTarget, Sharp
from sightline.metrics.fidelity import psnr, ssim
from sightline.tasks import _restore_holes as windows
from sightline.tasks import restore

CAT = np.ascontiguousarray(data.chelsea()[:180, :240])
READY = Preparation(
    mode="rgb-mask", size_hw=(64, 64), fit="whole", multiple=32, dtype="float32", high=1.0, mean=(0.0,), std=(1.0,)
)
RECIPE = {"scale": 1, "patch": 64, "depth": 8, "holes": "both"}
CARD = Card(task="restore", net={}, preparation=READY, form={"name": "picture", "scale": 1, "halo": 16}, recipe=RECIPE)


class Calm:
    """A graph that fills as calmly as can be, and knows what it was shown."""

    inputs: ClassVar = {"image": Spec("float32", ("B", "H", "W", 4))}
    outputs: ClassVar = {"picture": Spec("float32", ("B", 3, "32*H", "32*W"))}

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def run(self, arrays: Any) -> dict[str, Any]:
        (image,) = arrays["image"]
        self.seen.append(image)
        assert not image[..., :-1][image[..., -1] > 0].any() and not any(side % 32 for side in image.shape[:2])
        return {"picture": calm(image[..., :-1], image[..., -1] > 0).transpose(2, 0, 1)[None]}


def box(size_hw: tuple[int, int], top: int, left: int, height: int, width: int) -> np.ndarray:
    hole = np.zeros(size_hw, np.bool_)
    hole[top : top + height, left : left + width] = True
    return hole


def filled(pixels: Any, hole: Any, graph: Any = None, card: Card = CARD) -> Picture:
    request = restore.encode(dataclasses.replace(read_picture(pixels, alpha=True), hole=hole), card)
    (found,) = restore.predict({"main": graph or Calm()}, [request], card)
    assert isinstance(found, Picture)
    return found


# Answers


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_known_pixels_stay_bit_for_bit(dtype: Any) -> None:
    pixels, hole = CAT.astype(dtype), box((180, 240), 40, 50, 30, 60)
    if dtype == np.uint16:
        pixels = pixels * np.uint16(257) + np.uint16(3)
    if dtype == np.float32:
        pixels /= np.float32(255)
    found = filled(pixels, hole)
    assert found.pixels.dtype == dtype and found.pixels.shape == CAT.shape
    assert np.array_equal(found.pixels[~hole], pixels[~hole]) and np.array_equal(found.hole, hole)
    assert (found.pixels != pixels)[hole].mean() > 0.9
    assert np.abs(found.pixels / found.high - CAT / 255)[hole].mean() < 0.15  # not black


def test_what_is_in_a_hole_is_not_looked_at() -> None:
    hole = box((180, 240), 40, 50, 30, 60)
    other = np.where(hole[..., None], 255 - CAT, CAT)
    assert np.array_equal(filled(CAT, hole).pixels, filled(other, hole).pixels)


def test_alpha_and_grey_stay() -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (180, 240, 1)).astype(np.uint8)
    hole = box((180, 240), 0, 0, 20, 20)
    found = filled(np.dstack([CAT, alpha]), hole)
    assert np.array_equal(found.alpha, alpha[..., 0]) and np.array_equal(found.pixels, filled(CAT, hole).pixels)
    grey = filled(CAT[..., 0], hole)
    assert grey.pixels.shape == (180, 240, 1) and np.array_equal(grey.pixels[~hole], CAT[..., :1][~hole])


def test_a_model_of_grey_fills_colour_with_grey() -> None:
    grey = dataclasses.replace(CARD, preparation=dataclasses.replace(READY, mode="grey-mask"))
    hole = box((180, 240), 40, 50, 30, 60)
    found = filled(CAT, hole, card=grey)
    assert np.array_equal(found.pixels[~hole], CAT[~hole]) and np.ptp(found.pixels[hole], axis=1).max() == 0
    (measured,) = restore.predict({"main": Calm()}, [restore.examined(read_picture(CAT), None, grey)], grey)
    assert isinstance(measured, Picture) and 10 < measured.fidelity["psnr"] < 50


@pytest.mark.parametrize("size_hw", [(1, 2), (5, 3), (31, 64), (33, 100)])
def test_any_size_will_do(size_hw: tuple[int, int]) -> None:
    pixels = CAT[: size_hw[0], : size_hw[1]]
    found = filled(pixels, box(size_hw, 0, 0, 1, 1))
    assert np.array_equal(found.pixels.reshape(-1, 3)[1:], pixels.reshape(-1, 3)[1:])


def test_without_a_hole_nothing_is_run() -> None:
    graph = Calm()
    for hole in (None, np.zeros((180, 240), np.bool_)):
        assert np.array_equal(filled(CAT, hole, graph).pixels, CAT)
    assert not graph.seen
    assert not filled(CAT, np.ones((180, 240), np.bool_), graph).pixels.any()  # and of nothing comes nothing
    assert not graph.seen


def test_large_pictures_are_filled_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WHOLE", 0)
    monkeypatch.setattr(windows, "CORE", 48)
    hole = box((180, 240), 10, 20, 40, 100) | box((180, 240), 150, 200, 30, 40)
    graph = Calm()
    found = filled(CAT, hole, graph)
    assert len(graph.seen) == 4  # three for the long one, one for the other
    assert max(max(image.shape[:2]) for image in graph.seen) <= 96  # 48 + 2 * 16, and up to a multiple of 32
    assert np.array_equal(found.pixels[~hole], CAT[~hole]) and (found.pixels[hole].std(axis=0) > 5).all()
    assert not (graph.seen[1][:40, :16, -1] > 0).any()  # the second sees what the first has filled
    steps = np.abs(np.diff(found.pixels[10:50].astype(int), axis=1)).mean(axis=(0, 2))
    assert max(steps[20 + 47], steps[20 + 95]) < 3 * np.median(steps[22:118]) + 3  # no seam between windows


def test_what_is_wide_is_filled_at_half_the_size_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WIDE", 40)
    hole = box((180, 240), 30, 40, 90, 100) | box((180, 240), 150, 10, 20, 200)
    graph = Calm()
    found = filled(CAT, hole, graph)
    heights = [image.shape[0] for image in graph.seen]
    assert heights == [64, 96, 192]  # 45, 90 and 180
    assert (graph.seen[-1][:180, :240, -1] > 0).sum() == 20 * 200  # of the whole only what is narrow
    assert np.array_equal(found.pixels[~hole], CAT[~hole])
    assert np.abs(found.pixels[hole].astype(float) - CAT[hole]).mean() < 60


def test_what_squares_cover() -> None:
    hole = box((40, 60), 5, 5, 20, 20) | box((40, 60), 10, 25, 4, 30)
    assert np.array_equal(windows.opened(hole, 10), box((40, 60), 5, 5, 20, 20))
    assert np.array_equal(windows.opened(hole, 4), hole)
    assert not windows.opened(hole, 21).any() and not windows.opened(np.zeros((9, 9), np.bool_), 1).any()


def test_a_graph_that_makes_another_size_is_refused() -> None:
    small = type("Small", (Calm,), {"run": lambda self, arrays: {"picture": np.zeros((1, 3, 9, 9), np.float32)}})
    with pytest.raises(BundleError, match="the graph makes"):
        filled(CAT, box((180, 240), 0, 0, 5, 5), small())


def test_the_card_and_the_graph_go_together() -> None:
    restore.check(CARD, {"main": Calm()})
    bare = dataclasses.replace(CARD, preparation=dataclasses.replace(READY, mode="grey-mask"))
    with pytest.raises(BundleError, match="the card prepares"):
        restore.check(bare, {"main": Calm()})


# Learning

NOTHING = NoTarget()


def facts(target: Any = NOTHING, *, grey: bool = False) -> Facts:
    return Facts(count=1, sizes_hw=np.array([[90, 100]]), grey=grey, dtype="uint8", targets=(target,))


def test_what_is_open_is_chosen() -> None:
    recipe, reasons = restore.plan(restore.Recipe(holes="brush"), facts())
    assert (recipe.scale, recipe.patch, recipe.color) == (1, 160, "rgb") and {"scale", "patch"} <= set(reasons)
    card = restore.draft(recipe, facts())
    ready = card.preparation
    assert (ready.mode, ready.channels, ready.colours, ready.multiple) == ("rgb-mask", 4, 3, 32)
    grey, _ = restore.plan(restore.Recipe(holes="boxes"), facts(grey=True))
    assert restore.draft(grey, facts()).preparation.channels == 2
    plain, _ = restore.plan(restore.Recipe(), facts())
    assert (plain.holes, plain.scale, plain.patch) == ("none", 2, 96)
    assert not restore.draft(plain, facts()).preparation.masked


@pytest.mark.parametrize(
    ("recipe", "target", "said"),
    [
        ({"scale": 2}, NoTarget(), "--scale is 2"),
        ({"noise": 10}, NoTarget(), "have no effect"),
        ({"patch": 100}, NoTarget(), "multiple of 32"),
        ({}, Sharp("HR/1.png", "0"), "pairs have no effect"),
    ],
)
def test_what_does_not_go_with_holes_is_refused(recipe: Any, target: Any, said: str) -> None:
    planned, _ = restore.plan(restore.Recipe(holes="both", **recipe), facts(target))
    with pytest.raises(UsageError, match=said):
        restore.draft(planned, facts(target))


def test_pieces_get_holes_by_their_draws() -> None:
    pieces = restore.pieces(read_picture(CAT), None, CARD).arrays["image"][:6]
    assert pieces.shape == (6, 64, 64, 3)
    draws = np.linspace(0.05, 0.9, 6)
    images, targets = restore.posed(pieces, {"number": np.arange(6)}, draws, CARD)
    again, _ = restore.posed(pieces, {}, draws, CARD)
    assert images.shape == (6, 64, 64, 4) and images.dtype == np.float32 and np.array_equal(images, again)
    assert targets["sharp"].shape == (6, 3, 64, 64) and targets["hole"].shape == (6, 1, 64, 64)
    for image, sharp, hole in zip(images, targets["sharp"], targets["hole"]):
        assert np.array_equal(image[..., -1], hole[0]) and 0 < hole.mean() < 0.5
        assert np.array_equal(image[..., :-1], (sharp * (1 - hole)).transpose(1, 2, 0))
    still, _ = restore.posed(pieces, {}, None, CARD)
    part, _ = restore.posed(pieces[3:], {}, None, CARD)
    assert np.array_equal(still[3:], part)  # whatever stands beside it in a batch
    assert restore.trial(read_picture(CAT), CARD).arrays["image"].shape == (64, 64, 4)
    right, wrong = ({"picture": targets["sharp"] + by * targets["hole"]} for by in (0, 0.1))
    clipped = {"sharp": np.full_like(targets["sharp"], 0.5), "hole": targets["hole"]}
    assert restore.quick(right, targets, CARD)["psnr"] == pytest.approx(100)
    shifted = {"picture": clipped["sharp"] + 0.1 * targets["hole"]}
    assert restore.quick(shifted, clipped, CARD)["psnr"] == pytest.approx(20, abs=1e-3)
    assert wrong["picture"].max() <= 1.1


# Measuring


def test_holes_alone_are_measured() -> None:
    request = restore.examined(read_picture(CAT), None, CARD)
    hole = request.arrays["image"][..., -1] > 0
    assert np.array_equal(hole, restore.examined(read_picture(CAT), None, CARD).arrays["image"][..., -1] > 0)
    (found,) = restore.predict({"main": Calm()}, [request], CARD)
    assert isinstance(found, Picture) and np.array_equal(found.pixels[~hole], CAT[~hole])
    answer, truth = found.pixels / np.float32(255), CAT / np.float32(255)
    assert found.fidelity["psnr"] == pytest.approx(psnr(answer, truth, where=hole))
    assert found.fidelity["psnr"] < psnr(answer, truth) - 5  # the rest is equal, and would flatter
    assert found.fidelity["ssim"] == pytest.approx(ssim(answer, truth, where=hole))
    assert found.fidelity["psnr_before"] == pytest.approx(found.fidelity["psnr"], abs=0.3)  # this is how it fills
    said = box((180, 240), 3, 4, 50, 60)
    told = restore.examined(dataclasses.replace(read_picture(CAT), hole=said), None, CARD)
    assert np.array_equal(told.arrays["image"][..., -1] > 0, said)
    with pytest.raises(PictureError, match="too few to be compared"):
        restore.examined(read_picture(CAT[:9, :9]), None, CARD)


def test_a_report_shows_the_hole_the_filling_and_what_it_was() -> None:
    hole = box((180, 240), 40, 50, 60, 90)
    whole = filled(CAT, hole)
    part = restore.kept(whole)
    assert part.pixels.shape == (150, 200, 3) and part.size_hw == (180, 240) and restore.kept(part) is part
    page = restore.pictured(CAT, (180, 240), part)
    assert page.shape == (150, 608, 3) and np.array_equal(page, restore.pictured(CAT, (180, 240), whole))
    assert (page[40:75, 48:110] == 255).all() and not (page[40:75, 456:518] == 255).all()
    small = restore.kept(filled(CAT[:20, :30, 0], box((20, 30), 2, 2, 5, 5)))
    assert small.pixels.shape == (20, 30, 3)  # nothing is enlarged


def test_what_is_filled_keeps_within_the_colours_around_it() -> None:
    """A net that leaves a trace where all is white does not show; a hole whose surroundings vary may be of any of their
    colours, and one among other holes of any at all."""

    class Darker:
        """Fills with a grey that is never around."""

        def run(self, arrays: Any) -> dict[str, Any]:
            image = arrays["image"]
            return {"picture": (image[..., :-1] + 0.25 * image[..., -1:]).transpose(0, 3, 1, 2)}

    image = np.ones((64, 64, 4), np.float32)
    image[..., 3] = 0
    image[:, 32:, :3] = 0.1
    for rows, columns in ((slice(4, 9), slice(4, 9)), (slice(40, 50), slice(28, 36))):
        image[rows, columns] = (0, 0, 0, 1)
    found = windows.filled(Darker(), image, 8)  # type: ignore[arg-type]
    assert (found[4:9, 4:9] == 1).all()
    assert (found[40:50, 28:36] == np.float32(0.25)).all()
