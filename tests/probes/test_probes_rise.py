"""rise: on planted cues, of whole pictures and of single boxes, and its masks by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import planted_boxes
from sightline.core.card import Preparation
from sightline.core.protocols import Array, Request
from sightline.core.results import Evidence
from sightline.probes import occlusion, rise
from sightline.probes._faithfulness import covers
from sightline.probes._view import CHUNK, View, together
from sightline.tasks import detect
from sightline.tasks._aims import aim


def test_the_map_lies_on_the_planted_cue(planted: Callable[..., View], corner: Request) -> None:
    found = rise.explain(corner, None, planted(evidence=False))
    assert (found.target, found.probe, found.heat.dtype) == ("bright", "rise", np.float32)
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert 3 <= y < 9
    assert 15 <= x < 21
    assert found.heat[12:].max() < 0.3
    assert "can be trusted here" in found.verdict


def test_a_model_that_ignores_the_picture_is_not_believed(planted: Callable[..., View], corner: Request) -> None:
    found = rise.explain(corner, 1, planted(np.zeros((3, 2))))
    assert found.heat.max() < 1e-6 or "do not read anything into" in found.verdict
    assert found.faithfulness["better_than_random"] == 0


@pytest.fixture(scope="module")
def run() -> Callable[..., Any]:
    pytest.importorskip("onnx")
    from sightline.graphs._session import open_session

    return open_session(planted_boxes.graph(), threads=1).run


def evidence(run: Callable[..., Any], target: str, probe: Any, image: Array) -> Evidence:
    """A probe's evidence for a box of the planted detector."""
    card, request = planted_boxes.card(), planted_boxes.request(image)
    outputs = detect.decoded(run({"image": image[None]}), card)
    result = detect.decode({name: array[0] for name, array in outputs.items()}, request, card)
    chosen = aim(result, request, target, card)
    view = View(
        run=run,
        scores=chosen.scores,
        card=card,
        arrays=dict,
        classes=(chosen.name,),
        competing=False,
        box=chosen.input_xyxy,
    )
    found: Evidence = probe.explain(chosen.request, 0, view)
    return found


@pytest.mark.parametrize("probe", [rise, occlusion])
@pytest.mark.parametrize(("target", "patch"), [("inner", 0), ("2", 1)])
def test_of_a_box_the_map_lies_on_what_makes_its_score(
    run: Callable[..., Any], target: str, patch: int, probe: Any
) -> None:
    """Also where that is not the box: the second one's score hangs on a patch that lies far from it."""
    found = evidence(run, target, probe, planted_boxes.picture())
    top, bottom, left, right = planted_boxes.PATCHES[patch]
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert top - 1 <= y <= bottom
    assert left - 1 <= x <= right
    other = planted_boxes.PATCHES[1 - patch]
    assert found.heat[other[0] : other[1], other[2] : other[3]].mean() < 0.25
    assert found.target == ("inner, box 1 (94 %)", "outer, box 2 (78 %)")[patch]
    assert "can be trusted here" in found.verdict


def test_a_spot_on_the_box_is_what_it_is_compared_with(run: Callable[..., Any]) -> None:
    """It does well where the cue lies in the box, and badly where it lies elsewhere."""
    inner, outer = (evidence(run, name, rise, planted_boxes.picture()).faithfulness for name in ("inner", "outer"))
    gaps = [found["box_insertion"] - found["box_deletion"] for found in (inner, outer)]
    assert gaps[0] > 0.3 > gaps[1] + 0.2
    own = [found["insertion"] - found["deletion"] for found in (inner, outer)]
    assert own[1] > gaps[1] + 0.3
    assert "centre_insertion" not in inner


def share_shown(images: Array) -> np.ndarray:
    return images.mean(axis=(1, 2, 3)).astype(float)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_it_is_the_slope_of_the_score(dtype: str) -> None:
    """With a score that is the brightness of one pixel, showing that pixel is worth all of it, and the rest little."""
    image, high = np.zeros((20, 30, 1), dtype), 1.0 if dtype == "float32" else 255.0
    image[12, 7] = high
    hidden = [np.zeros_like(image)] * 2
    slope, error = rise.slopes(image, hidden, lambda images: images[:, 12, 7, 0] / high, side=5.0)
    assert slope[12, 7] == pytest.approx(1, abs=0.02)
    assert error[12, 7] < 0.01
    assert np.abs(slope[:, 20:]).max() < 0.25
    assert 0.03 < error[:, 20:].mean() < 0.06


def test_a_score_that_does_not_move_has_no_slope() -> None:
    image = np.ones((12, 12, 1), np.float32)
    slope, error = rise.slopes(image, [0 * image], lambda images: np.full(len(images), 0.4), side=3.0)
    assert not slope.any()
    assert error.max() < 1e-6


def test_the_standard_error_is_how_far_slopes_of_other_masks_are_apart() -> None:
    """Over many draws, of a score that hangs on a part of the picture and on nothing else."""
    image = np.ones((12, 18, 1), np.float32)
    found = [
        rise.slopes(image, [0 * image], lambda images: images[:, :4, :4].mean(axis=(1, 2, 3)), side=4.0, seed=seed)
        for seed in range(60)
    ]
    apart = np.std([slope for slope, _ in found], axis=0)
    told = np.sqrt(np.mean([error**2 for _, error in found], axis=0))
    assert 0.85 < (told / apart).mean() < 1.15


def test_how_many_go_together_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    image = rng.random((15, 22, 3)).astype(np.float32)
    hidden = covers(image, Preparation(mode="rgb", size_hw=(15, 22), dtype="float32", high=1.0, mean=(0.4, 0.5, 0.6)))
    maps = [rise.slopes(image, hidden, share_shown, side=4.0, count=100, step=step)[0] for step in (1, 7, 64)]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(maps[0], maps[2], rtol=1e-5, atol=1e-8)


def test_the_seed_decides_the_masks() -> None:
    first, again, other = (
        np.concatenate(list(rise.masks(np.random.default_rng(seed), 9, (8, 11), 3.0, 4))) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("side", [1.0, 3.7, 40.0])
def test_masks_are_smooth_and_show_half(side: float) -> None:
    drawn = np.concatenate(list(rise.masks(np.random.default_rng(0), 400, (18, 25), side, 64)))
    assert drawn.shape == (400, 18, 25)
    assert drawn.min() >= 0
    assert drawn.max() <= 1 + 1e-6
    assert np.abs(drawn.mean(axis=0) - 0.5).max() < 0.12
    assert np.abs(np.diff(drawn, axis=1)).max() <= 1 / side + 1e-5
    assert drawn.var(axis=0).min() > 0.05  # no place is always half shown


@pytest.mark.parametrize(
    ("box", "side"),
    [
        (None, 10.0),
        ((0, 0, 20, 20), 20 / rise.ACROSS),
        ((5, 5, 7, 6), 4.0),
        ((0, 0, 90, 70), 17.5),
        ((3, 3, 3, 3), 4.0),
    ],
    ids=["the picture", "a box", "a speck", "a box about all", "no box"],
)
def test_cells_are_as_fine_as_the_box_is_small(box: Any, side: float) -> None:
    assert rise.cell((70, 90), box) == pytest.approx(side)


@pytest.mark.parametrize(
    ("size_hw", "count"), [((28, 28), CHUNK), ((224, 224), CHUNK), ((640, 640), 7), ((4000, 4000), 1)]
)
def test_large_pictures_go_through_the_graph_few_at_a_time(size_hw: tuple[int, int], count: int) -> None:
    assert together(Request(arrays={"image": np.broadcast_to(np.uint8(0), (*size_hw, 3))})) == count
