"""anomaly: what it plans, encodes and answers."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anomaly_cards import (
    CARD,
    PADDED,
    TILED,
    aligned,
    asked,
    bright,
    facts,
    graph,
    grid_of,
    moved,
    plate,
    ring,
    saved,
    seen,
)
from PIL import Image

from made_parts import disc, texture
from sightline.core.card import Card, Preparation
from sightline.core.errors import DataError, PictureError, UsageError
from sightline.core.protocols import Request
from sightline.data.samples import GOOD, Inspected, Label, NoTarget, Objects
from sightline.tasks import anomaly

# plan and draft


def test_it_chooses_size_fit_and_colours_and_says_why() -> None:
    recipe, reasons = anomaly.plan(anomaly.Recipe(), facts([NoTarget()] * 40))
    assert (recipe.size, recipe.fit, recipe.color, recipe.mirror) == (128, "stretch", "grey", "no")
    assert (
        "100 px" in reasons["size"]
        and {"size", "fit", "color", "mirror", "batch"} == set(reasons)
        and recipe.batch == 16
    )
    tiled, why = anomaly.plan(anomaly.Recipe(tile=96), facts([NoTarget()] * 40, grey=False))
    assert (tiled.size, tiled.color) == (96, "rgb") and why["size"].startswith("tiles have 96 px")
    large, _ = anomaly.plan(anomaly.Recipe(), facts([NoTarget()] * 40, (3000, 4000)))
    assert large.size == 256
    given = anomaly.Recipe(size=80, fit="pad", color="rgb", mirror="yes", false_alarms=0.1, outlined=0.02, batch=8)
    assert anomaly.plan(given, facts([NoTarget()] * 40)) == (given, {})


@pytest.mark.parametrize(
    ("recipe", "targets", "error", "said"),
    [
        (anomaly.Recipe(), [NoTarget()], DataError, "there are 1 good parts"),
        (anomaly.Recipe(), [Label("dent")] * 9, DataError, "there are 0 good parts"),
        (anomaly.Recipe(), [Objects()] * 9, DataError, "a part is good or has one kind of defect"),
        (anomaly.Recipe(false_alarms=0.001), [Label("ok")] * 60, DataError, "at least 999 good parts"),
        (anomaly.Recipe(false_alarms=0.05), [Label("ok")] * 18 + [Label("dent")] * 9, DataError, "at least 19 good"),
        (anomaly.Recipe(tile=16), [NoTarget()] * 40, UsageError, "--tile is 16"),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_learning(
    recipe: anomaly.Recipe, targets: list[Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        anomaly.plan(recipe, facts(targets))


def test_a_rate_that_the_good_parts_just_support_is_taken() -> None:
    assert anomaly.plan(anomaly.Recipe(false_alarms=0.05), facts([Label("ok")] * 19))[0].false_alarms == 0.05


@pytest.mark.parametrize(
    ("normal", "kinds", "target", "kind"),
    [
        ("", ("dent", "plain"), Label("OK"), GOOD),
        ("", ("dent", "plain"), Label("plain"), "plain"),
        ("plain", ("dent", "ok"), Label("plain"), GOOD),
        ("plain, ok", ("dent",), Label("ok"), GOOD),
        ("plain", ("dent", "ok"), Label("ok"), "ok"),
        ("plain", ("dent", "ok"), Inspected(), GOOD),
        ("plain", ("dent", "ok"), NoTarget(), GOOD),
        ("plain", ("dent", "ok"), Inspected("plain"), GOOD),
    ],
)
def test_what_counts_as_good(normal: str, kinds: tuple[str, ...], target: Any, kind: str) -> None:
    targets = [Label("plain"), Label("dent"), Label("ok"), Inspected()]
    card = anomaly.draft(anomaly.Recipe(normal=normal, size=64), facts(targets))
    assert card.classes == kinds and anomaly.truth_of(target, card).kind == kind


def test_the_card_says_how_pictures_are_prepared() -> None:
    recipe, _ = anomaly.plan(anomaly.Recipe(tile=100, fit="pad"), facts([NoTarget()] * 9, dtype="uint16"))
    ready = anomaly.draft(dataclasses.replace(recipe, bits=12), facts([NoTarget()] * 9, dtype="uint16")).preparation
    assert (ready.mode, ready.size_hw, ready.tile, ready.fit) == ("grey", (128, 128), 100, "pad")
    assert (ready.dtype, ready.high) == ("uint16", 4095.0)


# where to look, and how parts lie


@pytest.mark.parametrize("name", ["roi.png", "roi.jpg"])
def test_what_is_outside_the_region_of_interest_is_black(tmp_path: Path, name: str) -> None:
    recipe = anomaly.Recipe(size=64, color="grey", roi=saved(tmp_path / name, ring()))
    card = anomaly.draft(recipe, facts([NoTarget()] * 9))
    image = seen(np.full((200, 400), 200, np.uint8), card).arrays["image"]
    assert (image[:, :31] == 200).all() and (image[:, 33:] == 0).all()
    small = seen(np.full((20, 40, 3), 0.5, np.float32), card).arrays["image"]
    assert (small[:, :31] > 0).all() and (small[:, 33:] == 0).all()
    anomaly.check(card, {"main": graph(map=("B", 8, 8), score=("B",))})


def test_a_region_of_interest_is_kept_small_and_not_black(tmp_path: Path) -> None:
    large = np.zeros((900, 1800), np.uint8)
    large[:, :900] = 1
    card = anomaly.draft(
        anomaly.Recipe(size=64, color="grey", roi=saved(tmp_path / "1.png", large)), facts([NoTarget()] * 9)
    )
    assert Image.open(io.BytesIO(base64.b64decode(card.operating["roi"]))).size == (512, 256)
    for broken, error in ((saved(tmp_path / "2.png", large * 0), DataError), (str(tmp_path / "3.png"), PictureError)):
        with pytest.raises(error, match=r"\.png"):
            anomaly.draft(anomaly.Recipe(size=64, color="grey", roi=broken), facts([NoTarget()] * 9))


def test_a_part_that_moved_is_brought_into_line_and_answered_where_it_lies(tmp_path: Path) -> None:
    card = aligned(tmp_path, plate())
    pixels = moved(plate(), 12, -8)
    pixels[disc((120, 160), (70, 50, 18))] = 250
    request = seen(pixels, card)
    assert request.size_hw == (120, 160) and request.geometry["lost"] == 0
    straight = seen(plate(), card).arrays["image"].astype(float)
    gaps = np.abs(request.arrays["image"] - straight)[12:-12, 8:-8]
    assert np.median(gaps) < 4  # so many are not under the blot
    card = dataclasses.replace(card, operating={**CARD.operating, **card.operating})
    answer = anomaly.decode(bright(request, card), request, card)
    assert answer.alarm and answer.abstained is None
    (found,) = answer.regions
    assert np.hypot(found.peak_xy[0] - 70, found.peak_xy[1] - 50) < 18  # in the picture as it came, not as it was moved
    assert found.xyxy[0] < 70 < found.xyxy[2] and found.xyxy[1] < 50 < found.xyxy[3]


def test_masks_move_with_the_part(tmp_path: Path) -> None:
    card = aligned(tmp_path, plate())
    mask = disc((120, 160), (70, 50, 16))
    target = Inspected("blot", (Path(saved(tmp_path / "mask.png", mask)),))
    still = anomaly.encode_target(target, seen(plate(), card), card)["mask"]
    shifted = disc((120, 160), (82, 42, 16))
    other = Inspected("blot", (Path(saved(tmp_path / "other.png", shifted)),))
    turned = anomaly.encode_target(other, seen(moved(plate(), 12, -8), card), card)["mask"]
    assert still.max() > 0.9 and np.abs(still - turned).max() < 0.2


def test_a_part_that_is_not_there_is_not_judged(tmp_path: Path) -> None:
    card = aligned(tmp_path, plate())
    card = dataclasses.replace(card, operating={**CARD.operating, **card.operating})
    answer = asked(np.random.default_rng(0).integers(0, 255, (120, 160)).astype(np.uint8), card)
    assert answer.abstained and "not found" in answer.abstained and answer.regions == ()


def test_tiles_of_a_part_in_another_format_are_those_of_its_frame(tmp_path: Path) -> None:
    """The reference is a section of other proportions, so that the frame has another size than the picture."""
    whole = plate((150, 150))
    recipe = {"tile": 64, "overlap": 0.2}
    card = aligned(tmp_path, whole[25:125], **recipe)
    card = dataclasses.replace(card, operating={**CARD.operating, **card.operating})
    request = seen(whole, card)
    if request.geometry["lost"]:
        pytest.fail("the section was not found")
    frame = int(request.geometry["frame_h"]), int(request.geometry["frame_w"])
    assert frame == (100, 150) and request.size_hw == (150, 150)
    answer = anomaly.merge(bright(request, card), request, card)
    corners = answer.to_grid @ np.array([[0, 150], [25, 125], [1, 1]])
    assert np.allclose(corners[:2] / corners[2], [[0, answer.grid.shape[1]], [0, answer.grid.shape[0]]], atol=0.7)
    target = Inspected("blot", (Path(saved(tmp_path / "mask.png", disc((150, 150), (70, 80, 30)))),))
    masks = anomaly.encode_target(target, request, card)["mask"]
    assert masks.shape == (len(request.arrays["image"]), 8, 8) and masks.max() > 0.9


# targets


def test_encoded_targets(tmp_path: Path) -> None:
    request = seen(texture(np.random.default_rng(0)))
    good = anomaly.encode_target(Label("ok"), request, CARD)
    assert (good["anomalous"], good["kind"]) == (0, -1) and (good["mask"] == 0).all()
    assert good["anomalous"].shape == () and good["mask"].shape == (8, 8) and good["mask"].dtype == np.float32
    unmarked = anomaly.encode_target(Label("scratch"), request, CARD)
    assert (unmarked["anomalous"], unmarked["kind"]) == (1, 1) and (unmarked["mask"] == -1).all()
    assert anomaly.encode_target(Inspected("crack"), request, CARD)["kind"] == -1
    pixels = np.zeros((64, 64), np.bool_)
    pixels[8:24, 16:28] = True
    marked = anomaly.encode_target(Inspected("blot", (Path(saved(tmp_path / "m.png", pixels)),)), request, CARD)
    wanted = np.zeros((8, 8), np.float32)
    wanted[1:3, 2:4] = [[1, 0.5]] * 2
    assert np.array_equal(marked["mask"], wanted) and marked["kind"] == 0
    with pytest.raises(DataError, match="one kind of defect"):
        anomaly.encode_target(Objects(), request, CARD)


def test_a_mask_goes_where_its_picture_goes(tmp_path: Path) -> None:
    pixels = np.zeros((32, 64), np.bool_)
    pixels[:16, 32:] = True
    target = Inspected("blot", (Path(saved(tmp_path / "m.png", pixels)),))
    padded = anomaly.encode_target(target, seen(np.zeros((32, 64), np.uint8), PADDED), PADDED)["mask"]
    wanted = np.zeros((8, 8))
    wanted[2:4, 4:] = 1
    assert np.array_equal(padded, wanted)
    large = np.zeros((64, 112), np.bool_)
    large[:, 48:64] = True
    target = Inspected("blot", (Path(saved(tmp_path / "l.png", large)),))
    tiled = anomaly.encode_target(target, seen(np.zeros((64, 112), np.uint8), TILED), TILED)
    assert tiled["anomalous"].tolist() == [1, 1] and tiled["kind"].tolist() == [0, 0]
    columns = tiled["mask"].mean(axis=1)
    assert columns.tolist() == [[0] * 6 + [1] * 2, [1] * 2 + [0] * 6]


# answers


@pytest.mark.parametrize(
    ("card", "size_hw", "blot"),
    [
        (CARD, (64, 64), (20, 40, 9)),
        (CARD, (200, 128), (40, 150, 25)),
        (PADDED, (64, 128), (90, 20, 18)),
        (TILED, (150, 230), (120, 60, 10)),
        (TILED, (150, 230), (220, 140, 9)),
        (TILED, (40, 50), (30, 20, 9)),
    ],
)
def test_a_blot_is_found_where_it_is(card: Card, size_hw: tuple[int, int], blot: tuple[float, float, float]) -> None:
    pixels = np.full(size_hw, 100, np.uint8)
    mask = disc(size_hw, blot)
    pixels[mask] = 250
    answer = asked(pixels, card)
    assert answer.alarm and answer.p_value == 1 / 5
    (found,) = answer.regions
    assert np.hypot(found.peak_xy[0] - blot[0], found.peak_xy[1] - blot[1]) < blot[2]
    left, top, right, bottom = found.xyxy
    assert abs((left + right) / 2 - blot[0]) < blot[2] / 2 and abs((top + bottom) / 2 - blot[1]) < blot[2] / 2
    assert mask.sum() / 2 < found.area < mask.sum() * 2.5
    x, y = found.polygon.T
    assert x.min() >= 0 and y.min() >= 0 and x.max() <= size_hw[1] and y.max() <= size_hw[0]
    shoelace = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
    assert shoelace == pytest.approx(found.area, rel=0.15)
    assert 1 < found.peak <= answer.score + 1e-6
    heat = answer.heat()
    assert heat[mask].mean() > 4 * heat[~mask].mean()


def test_a_good_part_has_no_regions_and_the_threshold_itself_is_no_alarm() -> None:
    answer = asked(np.full((64, 64), 100, np.uint8))
    assert not answer.alarm and answer.regions == () and answer.p_value == 1
    assert not asked(np.full((64, 64), 210, np.uint8)).alarm  # a score of 2
    assert asked(np.full((64, 64), 211, np.uint8)).alarm
    undecided = asked(np.full((64, 64), 255, np.uint8), dataclasses.replace(CARD, operating={}))
    assert not undecided.alarm and math.isnan(undecided.threshold) and undecided.p_value == 1


def test_of_many_regions_those_with_the_highest_peaks_are_told() -> None:
    grid = np.zeros((64, 64))
    grid[1::4, 1::4] = 2 + np.arange(256).reshape(16, 16)
    answer = grid_of(grid)
    peaks = [found.peak for found in answer.regions]
    assert len(peaks) == 50 and peaks == sorted(peaks, reverse=True) and peaks[0] > 240


def test_a_peak_between_pixels_still_has_a_region() -> None:
    grid = np.zeros((64, 64))
    grid[30, 40] = 2.05
    tiny = dataclasses.replace(CARD, operating={**CARD.operating, "outline": 2.0})
    (found,) = grid_of(grid, tiny).regions
    assert found.peak > 0.5 and np.hypot(found.peak_xy[0] - 40.5, found.peak_xy[1] - 30.5) < 2


def test_small_flaws_in_large_maps_are_not_missed() -> None:
    """A map with more cells than the picture that regions used to be looked for in."""
    grid = np.zeros((1200, 1200), np.float32)
    grid[700:702, 301:303] = 5.0
    request = Request(
        arrays={}, size_hw=(9600, 9600), geometry={"scale_x": 1 / 150, "scale_y": 1 / 150, "left": 0, "top": 0}
    )
    (found,) = anomaly.decode({"map": grid, "score": np.float32(5)}, request, CARD).regions
    assert found.peak == pytest.approx(5.0) and found.xyxy[0] < 302 * 8 < found.xyxy[2]


def test_scores_below_zero_have_regions_within_what_was_looked_at() -> None:
    cropped = dataclasses.replace(
        CARD,
        preparation=Preparation(size_hw=(64, 64), mode="grey", fit="crop"),
        operating={"threshold": -3.0, "outline": -4.0, "good_scores": [-5.0, -3.0]},
    )
    grid = np.full((8, 8), -9.0)
    grid[2, 3] = -1.0
    request = seen(np.zeros((64, 128), np.uint8), cropped)
    answer = anomaly.decode({"map": grid.astype(np.float32), "score": np.float32(-1)}, request, cropped)
    (found,) = answer.regions
    assert found.peak < 0 and 32 <= found.xyxy[0] < 60 < found.xyxy[2] <= 96
    assert answer.line() == "something that does not belong in 1 region (-1, p 0.33)"


def test_kinds_are_named_where_a_graph_tells_them() -> None:
    grid = np.zeros((8, 8))
    grid[1:3, 1:3], grid[5:7, 5:7] = 4.0, 3.0
    kinds = np.full((2, 8, 8), -3.0, np.float32)
    kinds[1, :4], kinds[0, 4:] = 2.0, -1.0
    answer = grid_of(grid, kinds=kinds)
    assert [found.kind for found in answer.regions] == ["scratch", ""] and answer.kinds == ("scratch",)
    assert answer.regions[0].chance == pytest.approx(1 / (1 + math.exp(-5))) and math.isnan(answer.regions[1].chance)
    assert answer.line().startswith("scratch in 2 regions")
    nameless = grid_of(grid, dataclasses.replace(CARD, classes=()), kinds=np.empty((0, 8, 8), np.float32))
    assert nameless.kinds == () and len(nameless.regions) == 2


def test_a_kind_is_told_by_the_flaw_and_not_by_its_halo() -> None:
    grid = np.full((8, 8), 1.3)
    grid[2:4, 3:5] = 9.0
    kinds = np.full((2, 8, 8), -4.0, np.float32)
    kinds[0, 2:4, 3:5] = 4.0
    (found,) = grid_of(grid, kinds=kinds).regions
    assert found.kind == "blot" and found.area == 64 * 64


def test_kinds_of_tiles_are_put_together_with_the_map() -> None:
    pixels = np.full((64, 112), 100, np.uint8)
    pixels[disc((64, 112), (90, 30, 10))] = 250
    request = seen(pixels, TILED)
    kinds = np.stack([np.full((2, 8, 8), -9.0), np.stack([np.full((8, 8), 3.0), np.full((8, 8), -3.0)])])
    answer = anomaly.merge({**bright(request, TILED), "kinds": kinds.astype(np.float32)}, request, TILED)
    assert answer.kinds == ("blot",) and answer.kind_grid is not None
    assert answer.kind_grid.shape == (2, *answer.grid.shape)


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_no_answer(value: float, tiled: bool) -> None:
    card = TILED if tiled else CARD
    request = seen(np.full((64, 64), 255, np.uint8), card)
    for name in ("map", "score"):
        outputs = {key: np.array(each) for key, each in bright(request, card).items()}
        outputs[name].flat[0] = value
        answer = (anomaly.merge if tiled else anomaly.decode)(outputs, request, card)
        assert answer.abstained and "not finite" in answer.abstained and answer.regions == ()
        assert np.isfinite(answer.grid).all() and np.isfinite(answer.score)
