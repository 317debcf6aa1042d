"""The colour map is uniform and ordered by lightness; overlays keep the picture and say what they are."""

from dataclasses import replace

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from sightline.core.errors import DataError
from sightline.core.results import Evidence, Labels
from sightline.draw import style
from sightline.draw.overlay import _scores, annotate, colours, overlay, several_maps, side_by_side
from sightline.draw.sheet import to_u8

LABELS = Labels(classes=("cat", "dog"), scores=np.array([0.2, 0.8], np.float32))
UNSURE = Labels(classes=("cat", "dog"), scores=np.array([0.45, 0.55], np.float32), abstained="below 0.7")


def evidence(heat: np.ndarray, verdict: str = "Better than random maps.") -> Evidence:
    return Evidence(heat=heat.astype(np.float32), target="dog", probe="cam", verdict=verdict)


def luminance(rgb: np.ndarray) -> np.ndarray:
    s = rgb / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ [0.2126, 0.7152, 0.0722])


def test_the_colour_map_is_ordered_by_lightness_alone() -> None:
    assert colours().shape == (256, 3) and colours().dtype == np.uint8
    lightness = rgb2lab(colours()[::8] / 255)[:, 0]
    assert (np.diff(lightness) > 0).all() and np.ptp(lightness) > 70


def test_equal_steps_of_the_colour_map_look_alike() -> None:
    lab = rgb2lab(colours()[::16] / 255)
    steps = deltaE_ciede2000(lab[:-1], lab[1:])
    assert steps.min() > 2 and steps.std() / steps.mean() < 0.32  # plasma 0.34, jet 0.45


def test_red_green_blind_readers_see_an_ordered_map() -> None:
    # Viénot, Brettel and Mollon (1999): protanopes and deuteranopes, in linear RGB.
    s = colours() / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    for red, green in ((0.11238, 0.88762), (0.29275, 0.70725)):
        seen = red * linear[:, 0] + green * linear[:, 1]
        assert (np.diff(seen[::8]) > 0).all()


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_more_evidence_is_brighter(grey: int) -> None:
    heat = np.linspace(0, 1, 33)[None]
    mapped = overlay(np.full((1, 33, 3), grey, np.uint8), heat)
    assert mapped.dtype == np.uint8 and (np.diff(luminance(mapped[0])) > 0).all()


def test_alpha_runs_from_the_grey_picture_to_the_map() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    heat = np.random.default_rng(1).random((6, 5))
    luma = np.rint(picture @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(overlay(picture, heat, alpha=0.0) - luma[..., None]).max() <= 1
    assert np.array_equal(overlay(picture, heat, alpha=1.0), colours()[np.rint(255 * heat).astype(int)])


def test_undefined_and_wild_evidence_is_clipped() -> None:
    picture = np.zeros((1, 5, 3), np.uint8)
    wild = overlay(picture, np.array([[np.nan, -3.0, -np.inf, 7.0, np.inf]]))
    tame = overlay(picture, np.array([[0.0, 0.0, 0.0, 1.0, 1.0]]))
    assert np.array_equal(wild, tame)


@pytest.mark.parametrize("shape", [(8, 8), (40, 300), (300, 40), (500, 700), (1, 1)])
def test_side_by_side_holds_the_whole_picture(shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    picture[..., 1] = 200
    page = np.asarray(side_by_side(picture, evidence(np.zeros(shape)), LABELS))
    green = (page == (0, 200, 0)).all(axis=2)
    rows, columns = np.flatnonzero(green.any(axis=1)), np.flatnonzero(green.any(axis=0))
    assert green[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert np.ptp(columns) / max(1, np.ptp(rows)) == pytest.approx(shape[1] / shape[0], rel=0.05)
    assert max(np.ptp(columns), np.ptp(rows)) + 1 >= 300


def test_the_hottest_spot_is_where_the_evidence_is() -> None:
    heat = np.zeros((8, 8))
    heat[1, 6] = 1.0
    page = np.asarray(side_by_side(np.zeros((8, 8, 3), np.uint8), evidence(heat), LABELS)).astype(int)
    panel = page[80 : 80 + 330, 24 + 336 + 16 : 24 + 2 * 336 + 16]
    brightest = np.unravel_index(np.argmax(panel.sum(axis=2)), panel.shape[:2])
    assert 0.7 < brightest[1] / 336 < 0.9 and brightest[0] / 336 < 0.3


def test_a_long_verdict_makes_the_page_longer_not_wider() -> None:
    picture, heat = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), np.nan)
    short = side_by_side(picture, evidence(heat), UNSURE)
    long = side_by_side(picture, evidence(heat, "It cannot be told apart from chance. " * 8 + "日本 " * 9), UNSURE)
    assert long.width == short.width and long.height > short.height + 30


SCORES = {"deletion": 0.2, "random_deletion": 0.5, "insertion": 0.8, "random_insertion": 0.5}


def test_several_maps_stand_in_a_row_each_with_its_own_scores() -> None:
    heats = np.zeros((3, 8, 8), np.float32)
    heats[0, 1, 1], heats[1, 6, 6], heats[2, 1, 6] = 1, 1, 1
    maps = [replace(evidence(heat), faithfulness=SCORES) for heat in heats]
    picture = np.zeros((8, 8, 3), np.uint8)
    page = np.asarray(several_maps(picture, maps, LABELS)).astype(int)
    for number, (down, across) in enumerate([(0.19, 0.19), (0.81, 0.81), (0.19, 0.81)], start=1):
        left = 24 + number * (336 + 16)
        panel = page[80 : 80 + 330, left : left + 336].sum(axis=2)
        y, x = np.unravel_index(panel.argmax(), panel.shape)
        assert y / 336 == pytest.approx(down, abs=0.1) and x / 336 == pytest.approx(across, abs=0.1)
    plain = [replace(each, faithfulness={}) for each in maps]
    assert several_maps(picture, plain, LABELS).height < page.shape[0]  # no scores, no lines for them
    one, two = several_maps(picture, maps[:1], LABELS), several_maps(picture, maps[:2], LABELS)
    assert one.width < two.width < page.shape[1] and one.height == two.height


def test_scores_stand_beside_those_of_random_maps() -> None:
    found = replace(evidence(np.zeros((2, 2))), faithfulness={**SCORES, "completeness": 0.998})
    assert _scores(found) == ["deletion 0.20 (random 0.50)", "insertion 0.80 (random 0.50)", "completeness 0.998"]


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (1, 1)])
def test_several_maps_hold_the_whole_picture(shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    picture[..., 1] = 200
    page = np.asarray(several_maps(picture, [evidence(np.zeros(shape))] * 2, LABELS))
    green = (page == (0, 200, 0)).all(axis=2)
    rows, columns = np.flatnonzero(green.any(axis=1)), np.flatnonzero(green.any(axis=0))
    assert np.ptp(columns) / max(1, np.ptp(rows)) == pytest.approx(shape[1] / shape[0], rel=0.05)
    with pytest.raises(DataError):
        several_maps(picture, [evidence(np.zeros((5, 5)))], LABELS)


def test_annotate_keeps_the_picture_and_adds_a_bar() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    sure, unsure = (np.asarray(annotate(picture, result)) for result in (LABELS, UNSURE))
    assert np.array_equal(sure[:300, :400], picture) and sure.shape[0] > 320
    assert tuple(sure[305, 1]) == tuple(bytes.fromhex(style.ACCENT[1:]))
    assert tuple(unsure[305, 1]) == tuple(bytes.fromhex(style.UNSURE[1:]))
    assert (sure[300:, 8:] != unsure[300:, 8:]).any()


def test_annotate_enlarges_a_tiny_picture_by_a_whole_factor() -> None:
    picture = to_u8(np.arange(64.0).reshape(8, 8), 63)
    assert np.array_equal(np.asarray(annotate(picture, LABELS))[:336, :336], picture.repeat(42, 0).repeat(42, 1))


@pytest.mark.parametrize(
    ("shape", "heat", "alpha"), [((4, 4, 3), (4, 5), 0.5), ((4, 4), (4, 4), 0.5), ((4, 4, 3), (4, 4), 1.5)]
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], heat: tuple[int, int], alpha: float) -> None:
    with pytest.raises(DataError):
        overlay(np.zeros(shape, np.uint8), np.zeros(heat), alpha=alpha)
    if alpha <= 1:
        with pytest.raises(DataError):
            side_by_side(np.zeros(shape, np.uint8), evidence(np.zeros(heat)), LABELS)


def dashes(page: np.ndarray, without: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Corners (left, top, right, bottom) of what was drawn, a frame a panel."""
    changed = (page != without).any(axis=2)
    columns = np.flatnonzero(changed.any(axis=0))
    found = []
    for part in np.split(columns, np.flatnonzero(np.diff(columns) > 50) + 1):
        rows = np.flatnonzero(changed[:, part[0] : part[-1] + 1].any(axis=1))
        found.append((int(part[0]), int(rows[0]), int(part[-1]) + 1, int(rows[-1]) + 1))
    return found


@pytest.mark.parametrize("maps", [1, 2])
def test_the_box_that_is_explained_is_framed_on_every_panel(maps: int) -> None:
    picture, shown = np.full((112, 84, 3), 128, np.uint8), [evidence(np.full((112, 84), 0.5))] * maps
    box = np.array([10.0, 20, 40, 80])
    if maps == 1:
        pages = [side_by_side(picture, shown[0], LABELS, box=each) for each in (box, None)]
    else:
        pages = [several_maps(picture, shown, LABELS, box=each) for each in (box, None)]
    frames = dashes(*(np.asarray(page) for page in pages))
    assert len(frames) == 1 + maps
    assert {(right - left, bottom - top) for left, top, right, bottom in frames} == {(30 * 3, 60 * 3)}
    assert len({top for _, top, _, _ in frames}) == 1
