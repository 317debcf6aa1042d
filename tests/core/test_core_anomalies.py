"""AnomalyMap: the map in the picture's own pixels, and how an answer is told."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from sightline.core.anomalies import AnomalyMap, Region
from sightline.core.card import Preparation
from sightline.data.pictures import read_picture
from sightline.data.prepare import prepare
from sightline.data.tiles import prepare_tiles, windows_of

PLAIN: dict[str, Any] = {
    "score": 3.0,
    "threshold": 2.0,
    "p_value": 0.01,
    "grid": np.zeros((4, 4), np.float32),
    "to_grid": np.diag([0.1, 0.1, 1.0]),
    "size_hw": (40, 40),
}


def slow_heat(grid: np.ndarray, to_grid: np.ndarray, size_hw: tuple[int, int], out_hw: tuple[int, int]) -> np.ndarray:
    """Pixel by pixel, bilinear between the centres of cells, the outermost cells going on to the edge; 0 beyond."""
    found = np.zeros(out_hw)
    for row in range(out_hw[0]):
        for column in range(out_hw[1]):
            x, y = (column + 0.5) * size_hw[1] / out_hw[1], (row + 0.5) * size_hw[0] / out_hw[0]
            u, v, w = to_grid @ [x, y, 1]
            if w <= 0 or not (0 <= u / w <= grid.shape[1] and 0 <= v / w <= grid.shape[0]):
                continue
            u, v = np.clip(u / w - 0.5, 0, grid.shape[1] - 1), np.clip(v / w - 0.5, 0, grid.shape[0] - 1)
            left, top = int(u), int(v)
            right, bottom = min(left + 1, grid.shape[1] - 1), min(top + 1, grid.shape[0] - 1)
            by_x, by_y = u - left, v - top
            upper = grid[top, left] * (1 - by_x) + grid[top, right] * by_x
            lower = grid[bottom, left] * (1 - by_x) + grid[bottom, right] * by_x
            found[row, column] = upper * (1 - by_y) + lower * by_y
    return found


def to_grid_of(size_hw: tuple[int, int], ready: Preparation, cells: tuple[int, int]) -> np.ndarray:
    """The homography of a map of the input, by the geometry that preparing gives."""
    picture = read_picture(np.zeros((*size_hw, 3), np.uint8))
    _, where = prepare(picture, ready)
    to_input = np.array([[where["scale_x"], 0, where["left"]], [0, where["scale_y"], where["top"]], [0, 0, 1]])
    return np.diag([cells[1] / ready.size_hw[1], cells[0] / ready.size_hw[0], 1]) @ to_input


TURNED = np.array([[0.09, -0.05, 3.0], [0.04, 0.11, -1.0], [2e-3, -1e-3, 1.0]])
CASES = {
    "stretch": to_grid_of((30, 50), Preparation(size_hw=(32, 32)), (4, 4)),
    "pad": to_grid_of((30, 50), Preparation(size_hw=(32, 32), fit="pad"), (4, 4)),
    "crop": to_grid_of((30, 50), Preparation(size_hw=(32, 32), fit="crop"), (4, 4)),
    "tall": to_grid_of((30, 50), Preparation(size_hw=(64, 24)), (8, 3)),
    "homography": TURNED,
    "homography of another scale": TURNED * 7,
}


@pytest.mark.parametrize("at_most", [0, 25])
@pytest.mark.parametrize("name", CASES)
def test_the_map_lies_where_the_picture_was_looked_at(name: str, at_most: int) -> None:
    shape = (8, 3) if name == "tall" else (4, 4)
    grid = np.random.default_rng(0).uniform(1, 9, shape).astype(np.float32)
    answer = AnomalyMap(**PLAIN | {"grid": grid, "to_grid": CASES[name], "size_hw": (30, 50)})
    heat = answer.heat(at_most=at_most)
    assert heat.dtype == np.float32 and heat.shape == ((15, 25) if at_most else (30, 50))
    assert np.allclose(heat, slow_heat(grid, CASES[name], (30, 50), heat.shape), atol=2e-3)
    assert (heat == 0).any() == (name in ("crop", "homography", "homography of another scale"))
    unseen = answer.heat(at_most=at_most, outside=-np.inf)
    assert np.array_equal(np.isneginf(unseen), heat == 0)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_a_mark_is_found_where_it_is(fit: str) -> None:
    """The mean of each 8 x 8 pixels of the prepared picture for a map: its peak is over the mark."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[20:28, 52:60] = 255
    ready = Preparation(size_hw=(64, 64), fit=fit)
    image, _ = prepare(read_picture(pixels), ready)
    grid = image[..., 0].reshape(8, 8, 8, 8).mean(axis=(1, 3)).astype(np.float32)
    answer = AnomalyMap(**PLAIN | {"grid": grid, "to_grid": to_grid_of((60, 100), ready, (8, 8)), "size_hw": (60, 100)})
    y, x = np.indices((60, 100)) + 0.5
    heat = answer.heat()
    assert (heat * x).sum() / heat.sum() == pytest.approx(56, abs=1) and (heat * y).sum() / heat.sum() == pytest.approx(
        24, abs=1
    )


def test_a_picture_in_tiles_is_one_map() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (96, 160, 3), np.uint8)
    request = prepare_tiles(read_picture(pixels), Preparation(size_hw=(32, 32), tile=32, overlap=0))
    frames = windows_of(request, Preparation(size_hw=(32, 32), tile=32, overlap=0))
    grid = np.zeros((12, 20), np.float32)
    for tile, (top, left, _, _) in zip(request.arrays["image"], frames):
        cells = tile[..., 0].reshape(4, 8, 4, 8).mean(axis=(1, 3))
        grid[top // 8 : top // 8 + 4, left // 8 : left // 8 + 4] = cells
    answer = AnomalyMap(**PLAIN | {"grid": grid, "to_grid": np.diag([1 / 8, 1 / 8, 1]), "size_hw": (96, 160)})
    assert np.allclose(answer.heat(), slow_heat(grid, answer.to_grid, (96, 160), (96, 160)), atol=2e-3)


@pytest.mark.parametrize(("size_hw", "at_most", "shape"), [
    ((40, 60), 0, (40, 60)), ((40, 60), 60, (40, 60)), ((40, 60), 90, (40, 60)), ((40, 60), 30, (20, 30)),
    ((1, 500), 50, (1, 50)), ((333, 100), 10, (10, 3)),
])  # fmt: skip
def test_a_map_is_brought_down_but_never_up(size_hw: tuple[int, int], at_most: int, shape: tuple[int, int]) -> None:
    assert AnomalyMap(**PLAIN | {"size_hw": size_hw}).heat(at_most=at_most).shape == shape


def region(kind: str, peak: float = 3.0) -> Region:
    corners = np.array([[1, 1], [5, 1], [5, 4.5]], np.float32)
    chance = 0.7 if kind else float("nan")
    return Region(
        polygon=corners, xyxy=(1, 1, 5, 4.5), area=7.25, peak=peak, peak_xy=(2.5, 1.5), kind=kind, chance=chance
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"score": 1.0}, "good (0.50 of the threshold, p 0.01)"),
        ({"score": 2.0}, "good (1.00 of the threshold, p 0.01)"),
        ({}, "something that does not belong in 0 regions (1.50 of the threshold, p 0.01)"),
        ({"regions": (region(""),)}, "something that does not belong in 1 region (1.50 of the threshold, p 0.01)"),
        (
            {"regions": (region("dent"), region("scratch"), region("scratch"))},
            "scratch, dent in 3 regions (1.50 of the threshold, p 0.01)",
        ),
        ({"threshold": float("nan")}, "good (3, p 0.01)"),
        ({"threshold": 0.0}, "something that does not belong in 0 regions (3, p 0.01)"),
        ({"threshold": -1.0}, "something that does not belong in 0 regions (3, p 0.01)"),
        ({"abstained": "too dark"}, "(not sure: too dark)"),
    ],
)
def test_an_answer_in_one_line(changes: dict[str, Any], line: str) -> None:
    assert AnomalyMap(**PLAIN | changes).line() == line


def test_an_answer_as_json() -> None:
    told = AnomalyMap(**PLAIN | {"regions": (region("dent"), region("", 2.5))}).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["alarm"] is True and told["kinds"] == ["dent"] and told["threshold"] == 2.0
    named, plain = told["regions"]
    assert named["kind"] == "dent" and named["chance"] == 0.7 and "kind" not in plain
    assert plain["peak"] == 2.5 and plain["xyxy"] == [1, 1, 5, 4.5] and plain["polygon"][2] == [5, 4.5]
    nothing = AnomalyMap(**PLAIN | {"threshold": float("nan")}).to_dict()
    assert nothing["threshold"] is None and nothing["alarm"] is False
    json.dumps(nothing, allow_nan=False)


def test_an_answer_in_a_notebook_escapes_what_data_calls_its_kinds() -> None:
    shown = AnomalyMap(**PLAIN | {"regions": (region("<script>"),)})._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<td>7</td>" in shown
    assert "<table>" not in dataclasses.replace(AnomalyMap(**PLAIN), score=0.0)._repr_html_()
