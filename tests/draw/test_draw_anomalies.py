"""What does not belong, drawn: heat where it is, outlines and labels within the picture, the verdict, and figures."""

import dataclasses
import io
import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.core.anomalies import AnomalyMap, Region
from sightline.core.errors import DataError, MissingExtraError
from sightline.draw import anomalies as shelf
from sightline.draw import anomaly_figures as figures
from sightline.draw import style
from sightline.draw.anomalies import LEAST_WIDTH, OUTLINE, drawn, side_by_side
from sightline.draw.anomaly_figures import found_by_kind, score_histogram
from sightline.draw.boxes import SMALL
from sightline.metrics.intervals import wilson

DATA = Path(os.environ.get("SIGHTLINE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
NAN = float("nan")


def grey(height, width, level=128):
    return np.full((height, width, 3), level, np.uint8)


def region(xyxy, peak=3.0, kind="", chance=NAN):
    left, top, right, bottom = xyxy
    polygon = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    middle = ((left + right) / 2, (top + bottom) / 2)
    area = (right - left) * (bottom - top)
    return Region(polygon=polygon, xyxy=xyxy, area=area, peak=peak, peak_xy=middle, kind=kind, chance=chance)


def found(size_hw, boxes, *, threshold=2.0, peak=3.0, cells=40, **more):
    """An answer with a map that is hot in the boxes, and a region for each."""
    height, width = size_hw
    to_grid = np.diag([cells / width, cells / height, 1.0])
    grid = np.full((cells, cells), 0.5, np.float32)
    for box in boxes:
        left, top, right, bottom = np.rint(np.array(box) * np.tile([cells / width, cells / height], 2)).astype(int)
        grid[top:bottom, left:right] = peak
    regions = tuple(region(box, peak, **more) for box in boxes)
    score = float(grid.max())
    return AnomalyMap(
        score=score, threshold=threshold, p_value=0.1, grid=grid, to_grid=to_grid, size_hw=size_hw, regions=regions
    )


def of_colour(picture, colour):
    return (picture == [int(colour[at : at + 2], 16) for at in (1, 3, 5)]).all(axis=2)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_alarm_is_seen_where_it_is_and_the_rest_stays_as_it_is(level):
    picture = grey(400, 500, level)
    before = picture.copy()
    shown = drawn(picture, found((400, 500), [(100, 100, 300, 250)]))
    assert (picture == before).all()
    assert shown.dtype == np.uint8 and shown.shape[1] == 500 and shown.shape[0] > 400
    changed = np.argwhere((shown[:400] != picture).any(axis=2))
    assert 50 < changed[:, 0].min() < 100 and 250 < changed[:, 0].max() < 260  # the label stands above
    assert 90 < changed[:, 1].min() < 100 and 300 < changed[:, 1].max() < 310
    assert (shown[150:200, 150:250] != level).any(axis=2).all()  # heat
    outline = of_colour(shown[:400], OUTLINE)
    assert outline[90:110, 120:280].any(axis=0).all() and outline[120:230, 290:310].any(axis=1).all()
    assert of_colour(shown[400:], style.WRONG).mean() > 0.5


def test_heat_grows_from_nothing_at_the_outline_to_the_peak_and_leaves_the_part_to_be_seen():
    answer = found((400, 400), [(100, 100, 300, 300)])
    x = np.clip(1 - np.abs(np.arange(40) - 19.5) / 10, 0, 1)
    answer = dataclasses.replace(answer, grid=(1.9 + 2 * np.minimum.outer(x, x)).astype(np.float32), threshold=1.95)
    stripes = grey(400, 400)
    stripes[:, ::2] = 90
    shown = drawn(stripes, answer).astype(int)
    changed = np.abs(shown[:400] - stripes).max(axis=2)[200]
    assert changed[10:90].max() == 0 and changed[310:].max() == 0
    steps = [changed[at : at + 10].mean() for at in (115, 135, 155, 175)]
    assert steps == sorted(steps) and steps[0] < 0.5 * steps[-1]
    assert np.abs(np.diff(shown[200, 190:210].sum(axis=1))).min() > 20  # the stripes are there at the peak, too


@pytest.mark.parametrize(
    ("change", "bar"),
    [
        ({"threshold": 4.0}, style.GROUND),
        ({"threshold": NAN}, style.GROUND),
        ({"threshold": 4.0, "abstained": "lost"}, style.UNSURE),
        ({"abstained": "the part was not found"}, style.UNSURE),
    ],
)
def test_good_and_unjudged_parts_stay_as_they_are(change, bar):
    picture = grey(400, 500)
    shown = drawn(picture, dataclasses.replace(found((400, 500), [(100, 100, 300, 250)]), **change))
    assert (shown[:400] == picture).all()
    assert of_colour(shown[400:], bar).mean() > 0.5 and not of_colour(shown[400:], style.WRONG).any()


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (300, 100), (335, 20), (20, 1500), (2000, 3000)])
@pytest.mark.parametrize("count", [1, 16, 50])
def test_any_size_of_picture_and_any_number_of_regions(size, count):
    random = np.random.default_rng(0)
    corner = random.random((count, 2)) * 0.8
    boxes = np.concatenate([corner, corner + 0.02 + 0.18 * random.random((count, 2))], axis=1)
    answer = found((500, 700), [tuple(map(float, box)) for box in boxes * [700, 500, 700, 500]])
    names = ["crack", "a name that is longer than the picture is wide" * 3, "日本", "$x$", "\udcff", ""]
    named = [dataclasses.replace(each, kind=names[k % 6], chance=0.5) for k, each in enumerate(answer.regions)]
    truth = random.random((50, 70)) < 0.05
    shown = drawn(grey(*size), dataclasses.replace(answer, regions=tuple(named)), truth=truth)
    factor = -(-SMALL // max(size))
    assert shown.shape[1] == max(size[1] * factor, LEAST_WIDTH) and shown.shape[0] > size[0] * factor
    assert of_colour(shown, OUTLINE).any() or min(size) * factor < 30


def test_regions_are_where_they_are_at_any_scale_of_picture_and_map():
    answer = found((400, 600), [(150, 100, 450, 300)])
    for by in (1, 2, 5):
        outline = np.argwhere(of_colour(drawn(grey(400 * by, 600 * by), answer)[: 400 * by], OUTLINE)) / by
        assert outline.min(axis=0) == pytest.approx([100, 150], abs=3)
        assert outline.max(axis=0) == pytest.approx([300, 450], abs=3)


def test_lines_and_letters_grow_with_the_picture():
    answer, wide, bars = found((400, 400), [(50, 150, 350, 350)]), [], []
    for by in (1, 4):
        shown = drawn(grey(400 * by, 400 * by), answer)
        wide.append(int(of_colour(shown[: 400 * by], OUTLINE)[:, 200 * by].sum()))
        bars.append(len(drawn(grey(400 * by, 400 * by), dataclasses.replace(answer, threshold=NAN))) - 400 * by)
    assert wide[1] >= 3 * wide[0] > 0 and bars[1] >= 2.5 * bars[0]


@pytest.mark.parametrize(
    ("more", "unit", "said"),
    [
        ({"kind": "crack", "chance": 0.876}, 2.0, "crack 88 %"),
        ({"kind": "crack"}, 2.0, "crack"),
        ({}, 2.0, "1.5 ×"),
    ],
)
def test_a_label_says_the_kind_and_its_chance_or_else_how_far_beyond_the_threshold(more, unit, said):
    assert shelf._caption(region((0, 0, 9, 9), **more), unit) == said


def corners(box):
    left, top, right, bottom = map(float, box)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def test_labels_stay_within_the_picture_and_off_regions_and_each_other():
    boxes = [(x, y, x + 60, y + 50) for y in (0, 180, 360, 550) for x in (0, 250, 500, 740)]
    places = list(shelf._places([corners(box) for box in boxes], [(130, 30)] * 16, (800, 600), gap=8))
    for number, place in enumerate(places):
        assert place is not None
        left, top, right, bottom = *place, place[0] + 130, place[1] + 30
        assert left >= 0 and top >= 0 and right <= 800 and bottom <= 600
        others = [*boxes, *((x, y, x + 130, y + 30) for x, y in places[:number])]
        assert not any(left < box[2] and box[0] < right and top < box[3] and box[1] < bottom for box in others)
        distance = max(
            boxes[number][0] - right, left - boxes[number][2], boxes[number][1] - bottom, top - boxes[number][3]
        )
        assert distance <= 30


def test_the_label_of_a_diagonal_lies_in_its_box_but_beside_it():
    line = np.array([[0, 0], [20, 0], [400, 380], [400, 400], [380, 400], [0, 20]], float)
    ((left, top),) = shelf._places([line], [(100, 24)], (400, 400), gap=8)
    assert abs(left + 50 - top - 12) > 20 + 62


def test_a_crowded_place_leaves_labels_out_and_a_picture_that_is_too_small_has_none():
    box = corners((150, 150, 250, 250))
    places = list(shelf._places([box] * 30, [(90, 24)] * 30, (400, 400), gap=8))
    assert places[0] is not None and places[-1] is None and 3 <= sum(each is not None for each in places) < 12
    assert list(shelf._places([box], [(500, 24)], (400, 400), gap=8)) == [None]


def test_a_region_that_fills_the_picture_has_its_label_all_the_same_and_one_without_room_has_none():
    whole = found((400, 400), [(0, 0, 400, 400)])
    assert of_colour(drawn(grey(400, 400), whole)[5:395], style.INK)[:, 5:395].mean() > 0.001
    twice = dataclasses.replace(whole, regions=whole.regions * 2)
    one, two = (of_colour(drawn(grey(400, 400), each)[5:395], style.INK)[:, 5:395].sum() for each in (whole, twice))
    assert one == two


def test_truth_is_dashed_in_black_and_white_and_small_things_are_not_lost():
    picture, good = grey(400, 400), found((400, 400), [], threshold=9.0)
    truth = np.zeros((3000, 3000), bool)
    truth[750:1500, 600:2100] = True
    truth[2700, 300] = True
    shown = drawn(picture, good, truth=truth)[:400]
    where = np.argwhere((shown != picture).any(axis=2))
    assert where.min(axis=0) == pytest.approx([100, 40], abs=3) and where.max(axis=0) == pytest.approx(
        [360, 280], abs=3
    )
    white, black = of_colour(shown, style.PAPER), of_colour(shown, style.INK)
    assert 0.3 < white.sum() / black.sum() < 3
    assert (shown[355:365, 35:45] != 128).any() and (shown[110:190, 90:270] == 128).all()
    assert not of_colour(shown, OUTLINE).any()


@pytest.mark.parametrize(
    "rows", [["#"], ["##", "##"], ["###", "#.#", "###"], ["#.", ".#"], ["#.#", ".#.", "#.#"], ["....", ".##.", "...."]]
)
def test_borders_of_a_mask_enclose_it(rows):
    mask = np.array([[letter == "#" for letter in row] for row in rows])
    loops = shelf._loops(mask)
    # Each side between inside and outside is walked once; its middle is a point of a path.
    framed = np.pad(mask, 1).astype(int)
    sides = np.abs(np.diff(framed, axis=0)).sum() + np.abs(np.diff(framed, axis=1)).sum()
    points = np.concatenate(loops)
    assert len(points) == len({*map(tuple, points)}) == sides
    assert ((points % 1 == 0.5).sum(axis=1) == 1).all()
    assert all(np.abs(np.roll(loop, -1, axis=0) - loop).max() <= 1 for loop in loops)


def test_outlines_lose_the_stairs_of_a_map_but_not_their_place():
    at = np.repeat(np.arange(0, 200, 4), 2)
    stairs = np.concatenate([np.stack([at[:-1], at[1:]], axis=1), [[0, 200]]]).astype(float)
    off = []
    for path in (shelf._evenly(stairs, 400), shelf._smooth(stairs, 3)):
        slope = path[(path[:, 0] > 20) & (path[:, 0] < 170) & (np.abs(path[:, 0] - path[:, 1]) < 10)]
        off.append(slope[:, 1] - slope[:, 0])
    assert off[1].std() < 0.5 * off[0].std()
    assert off[1].mean() == pytest.approx(off[0].mean(), abs=0.3)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("size", [(300, 100), (40, 600), (600, 800)])
@pytest.mark.parametrize("threshold", [2.0, 100.0, NAN, float("inf"), -1.0])
def test_side_by_side_is_drawn_for_any_picture_and_threshold(size, threshold, level):
    answer = found((400, 500), [(100, 100, 300, 250)], threshold=threshold)
    answer = dataclasses.replace(answer, grid=answer.grid * level, regions=answer.regions if answer.alarm else ())
    truth = np.zeros((40, 50), bool)
    truth[10:20] = True
    page = side_by_side(grey(*size), answer, truth=truth)
    assert page.mode == "RGB" and page.width > 700 and page.height > 120


def test_side_by_side_shows_the_map_in_the_colours_of_its_bar():
    answer = found((384, 384), [(96, 96, 288, 288)], threshold=2.0, peak=2.0)
    page = np.asarray(side_by_side(grey(384, 384), answer))
    table = shelf.colours().astype(int)
    hot = page[page.shape[0] // 2 + 20, shelf.MARGIN + 384 + shelf.GAP + 192].astype(int)
    assert np.abs(table - hot).sum(axis=1).argmin() == pytest.approx(255 / 1.5, abs=2)


@pytest.mark.parametrize(
    ("picture", "truth", "message"),
    [
        (np.zeros((5, 5), np.uint8), None, "H x W x 3"),
        (np.zeros((5, 5, 3)), None, "uint8, not float64"),
        (np.zeros((0, 5, 3), np.uint8), None, "H x W x 3"),
        (grey(5, 5), np.zeros((5, 5)), "bool, not float64"),
        (grey(5, 5), np.zeros((5, 5, 1), bool), "mask H x W"),
    ],
)
@pytest.mark.parametrize("draw", [drawn, side_by_side])
def test_what_cannot_be_drawn_is_said(draw, picture, truth, message):
    with pytest.raises(DataError, match=message):
        draw(picture, found((5, 5), [(1, 1, 4, 4)]), truth=truth)


def test_real_defects_are_drawn_around_what_was_marked():
    folder = DATA / "magnetic_tile"
    masks = sorted(folder.glob("ground_truth/blowhole/*_mask.png"))[:5]
    if not masks:
        pytest.skip("no real pictures here; set SIGHTLINE_DATA")
    for path in masks:
        with Image.open(folder / "test" / "blowhole" / path.name.replace("_mask.png", ".jpg")) as image:
            picture = np.asarray(image.convert("RGB"))
        with Image.open(path) as image:
            truth = np.asarray(image.convert("L")) > 127
        y, x = np.nonzero(truth)
        box = (x.min() - 8.0, y.min() - 8.0, x.max() + 9.0, y.max() + 9.0)
        shown = drawn(picture, found(truth.shape, [box], cells=56), truth=truth)
        by = -(-SMALL // max(truth.shape))
        left = (shown.shape[1] - by * truth.shape[1]) // 2
        outline = np.argwhere(of_colour(shown, OUTLINE))[:, ::-1] - [left, 0]
        seen = [*(outline.min(axis=0) / by), *(outline.max(axis=0) / by)]
        sides = [0, 0, truth.shape[1], truth.shape[0]]
        assert seen == pytest.approx([*np.maximum(box[:2], sides[:2]), *np.minimum(box[2:], sides[2:])], abs=6)


def parts(good, kinds, each, seed=0, spread=0.3):
    random = np.random.default_rng(seed)
    scores = [random.lognormal(0, 0.15, good)]
    names = ["good"] * good
    for k in range(kinds):
        scores.append(random.lognormal(0.2 + 2 * random.random(), spread, each))
        names += [f"$x_{k}$ {'long name ' * k}<b>"] * each
    return np.concatenate(scores), np.array(names, np.str_)


def opened(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("threshold", [1.4, 1e-9, 1e9, 0.0, -2.0, NAN, float("inf")])
@pytest.mark.parametrize("change", [lambda x: x, lambda x: x - 1.5, np.ones_like, lambda x: x**9])
def test_figures_of_any_scores_and_threshold(change, threshold):
    pytest.importorskip("matplotlib")
    check_figures(change(parts(20, 2, 10)[0]), parts(20, 2, 10)[1], threshold)


@pytest.mark.parametrize(("good", "kinds", "each"), [(1, 0, 0), (60, 0, 0), (0, 1, 1), (4, 1, 1), (3000, 15, 130)])
def test_figures_of_any_number_of_parts_and_kinds(good, kinds, each):
    pytest.importorskip("matplotlib")
    check_figures(*parts(good, kinds, each), 1.4)


def check_figures(scores, names, threshold):
    held = np.random.default_rng(1).permutation(scores)[: len(scores) // 2]
    made = [score_histogram(scores, names, threshold=threshold, calibration=held)]
    if set(names) != {"good"}:
        made.append(found_by_kind(scores, scores > threshold, names, threshold=threshold))
    for data in made:
        picture = opened(data)
        assert picture.shape[1] == 1110 and (np.ptp(picture, axis=2) > 60).any()


def test_the_same_numbers_make_the_same_figure_and_one_without_numbers_is_refused():
    pytest.importorskip("matplotlib")
    scores, names = parts(20, 2, 10)
    first, again = (score_histogram(scores, names, threshold=1.4, calibration=scores[:9]) for _ in range(2))
    assert first == again
    none = np.zeros(0)
    for values, told, kinds, held in (
        (none, none, [], none),
        (scores, scores > 1, names[1:], none),
        (scores[None], scores > 1, names, none),
        (np.where(scores > 2, NAN, scores), scores > 1, names, none),
    ):
        with pytest.raises(DataError, match="scores"):
            score_histogram(values, kinds, threshold=1.4, calibration=held)
        with pytest.raises(DataError, match="scores"):
            found_by_kind(values, told, kinds, threshold=1.4)
    with pytest.raises(DataError, match="finite"):
        score_histogram(scores, names, threshold=1.4, calibration=np.array([1.0, NAN]))
    with pytest.raises(DataError, match="as many alarms"):
        found_by_kind(scores, scores[1:] > 1, names, threshold=1.4)
    with pytest.raises(DataError, match="none of the parts"):
        found_by_kind(scores[:20], scores[:20] > 1, names[:20], threshold=1.4)


def test_figures_without_matplotlib_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    scores, names = parts(20, 2, 10)
    with pytest.raises(MissingExtraError, match=r"sightline\[fit\]"):
        score_histogram(scores, names, threshold=1.4, calibration=scores)
    with pytest.raises(MissingExtraError, match=r"sightline\[fit\]"):
        found_by_kind(scores, scores > 1.4, names, threshold=1.4)


@pytest.mark.parametrize("shift", [0.0, 5.0])
@pytest.mark.parametrize("power", [1, 9])
def test_a_column_is_on_one_side_of_the_threshold_and_holds_all_its_parts(power, shift):
    scores = (parts(200, 2, 100)[0] - shift) ** power
    threshold = float(np.sort(scores)[-120])  # a score at the threshold is no alarm
    edges = figures._edges(scores, threshold, count=30)
    counts = figures._counted(scores, edges)
    at = int(np.flatnonzero(edges == threshold)[0])
    assert (np.diff(edges) > 0).all() and edges[0] <= scores.min() and scores.max() <= edges[-1] * (1 + 1e-9)
    assert counts.sum() == len(scores) and counts[at:].sum() == (scores > threshold).sum() == 119
    inner = [((scores > low) & (scores <= high)).sum() for low, high in pairwise(edges[1:])]
    assert counts[1:].tolist() == inner


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 30), (30, 30), (9, 10), (46, 4000)])
def test_intervals_are_those_of_the_measures(hits, count):
    assert figures._wilson(hits, count) == pytest.approx([float(bound) for bound in wilson(hits, count)], abs=1e-6)


def test_kinds_come_the_least_found_first_and_good_parts_last():
    names = np.array(["good", "a", "a", "b", "b", "c", "c", "good"])
    scores = np.array([9, 3, 3, 1, 3, 4, 4, 1.0])
    rows = figures._rows(scores, scores > 2, names)
    assert [name for name, _ in rows] == ["b", "a", "c", "good"]
    assert [scores[part].tolist() for _, part in rows] == [[1, 3], [3, 3], [4, 4], [9, 1]]
    many = np.array([f"kind {k}" for k in range(figures.ROWS + 5)] + ["good"])
    rows = figures._rows(np.arange(len(many)) * 1.0, np.arange(len(many)) > 3, many)
    assert len(rows) == figures.ROWS + 1 and [name for name, _ in rows[:4]] == [f"kind {k}" for k in range(4)]


@pytest.mark.parametrize(
    ("kinds", "threshold", "said"),
    [
        (["good"] * 4, 2.5, "1 of 4 good parts alarm"),
        (["good", "good", "a", "b"], 1.0, "1 of 2 good parts alarm, 2 of 2 defects found"),
        (["a"] * 4, 3.0, "0 of 4 defects found"),
        (["a"] * 4, NAN, "Scores, with no threshold chosen"),
    ],
)
def test_the_title_counts_alarms(kinds, threshold, said):
    scores, good = np.array([1.0, 1.5, 2.0, 3.0]), np.array(kinds) == "good"
    assert figures._summary(scores > threshold, good, threshold) == said
