"""marks: masks, boxes and what a detector finds say what is filled, and what does not fit is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

import sightline
from made_filler import SHADE, filler
from made_finder import CELL, finder, scene
from made_restorer import restorer
from sightline.core.errors import UsageError
from sightline.core.events import drain
from sightline.data.pictures import read_picture
from sightline.verbs.before_after import before_after
from sightline.verbs.finish import _commands
from sightline.verbs.marks import Marks, box_of
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.predict import predict
from sightline.verbs.restore import Restored, restore

SHADE_U8 = round(SHADE * 255)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Fills everything with one shade."""
    return open_model(filler(tmp_path_factory.mktemp("filler") / "model"))


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_model(finder(tmp_path_factory.mktemp("finder")))


def noise(height: int = 40, width: int = 60, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Of all shades but that of fillings, so that none of these is out of bounds."""
    found = np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)
    return found + (found == SHADE_U8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def mask(*box: int, size_hw: tuple[int, int] = (40, 60)) -> np.ndarray:
    left, top, width, height = box
    found = np.zeros(size_hw, np.uint8)
    found[top : top + height, left : left + width] = 255
    return found


def run(model: Opened, source: Path | str, out: Path, marks: Marks, **ways: Any) -> Restored:
    return drain(restore(model, str(source), out, marks=marks, **{"threads": 2, **ways}))


def found(path: Path, before: np.ndarray) -> np.ndarray:
    """Which pixels were filled; all others are as they were."""
    after = read_picture(path, alpha=True).pixels
    filled = (after == SHADE_U8).all(axis=2)
    np.testing.assert_array_equal(after[~filled], before[~filled])
    return np.asarray(filled)


def test_each_picture_has_a_mask_of_its_name(model: Opened, tmp_path: Path) -> None:
    holes = {"a": mask(3, 4, 10, 20), "deep/b": mask(0, 0, 7, 7)}
    for seed, (name, hole) in enumerate(holes.items()):
        save(tmp_path / "in" / f"{name}.png", noise(seed=seed))
        save(tmp_path / "masks" / f"{name}.{'bmp' if seed else 'png'}", hole)
    save(tmp_path / "in" / "a.b.png", noise(seed=9))  # another name, without a mask
    (tmp_path / "masks" / "a.txt").write_text("no picture, so no mask")
    done = run(model, tmp_path / "in", tmp_path / "out", Marks(mask=tmp_path / "masks"))
    for seed, (name, hole) in enumerate(holes.items()):
        np.testing.assert_array_equal(found(tmp_path / "out" / f"{name}.png", noise(seed=seed)), hole > 0)
    assert [(row["file"], row["error"].split(";")[0].split("masks ")[1]) for row in done.bad] == [
        ("a.b.png", "holds no mask called a.b")
    ]
    rows = {row["file"]: row["hole"] for row in done.rows if not row["error"]}
    assert rows["a.png"] == {"pixels": 200, "box": [3, 4, 10, 20]}
    assert rows["deep/b.png"] == {"pixels": 49, "box": [0, 0, 7, 7]}


def test_one_mask_for_all_and_boxes_beside_it(model: Opened, tmp_path: Path) -> None:
    for seed in range(2):
        save(tmp_path / "in" / f"{seed}.png", noise(seed=seed))
    marks = Marks(mask=save(tmp_path / "mask.png", mask(3, 4, 10, 20)), boxes=((50, 30, 10, 10), (0, 0, 1, 1)))
    run(model, tmp_path / "in", tmp_path / "out", marks)
    wanted = (mask(3, 4, 10, 20) | mask(50, 30, 10, 10) | mask(0, 0, 1, 1)) > 0
    for seed in range(2):
        np.testing.assert_array_equal(found(tmp_path / "out" / f"{seed}.png", noise(seed=seed)), wanted)


def test_a_single_file_keeps_depth_and_alpha(model: Opened, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", np.dstack([noise(), noise(channels=1)]))
    run(model, source, tmp_path / "b.png", Marks(boxes=((5, 5, 10, 10),)))
    after = read_picture(tmp_path / "b.png", alpha=True)
    assert after.alpha is not None and np.array_equal(after.alpha, noise(channels=1)[..., 0])
    np.testing.assert_array_equal(found(tmp_path / "b.png", noise()), mask(5, 5, 10, 10) > 0)
    deep = np.random.default_rng(0).integers(0, 65_536, (40, 60)).astype(np.uint16)
    save(tmp_path / "deep.png", deep)
    run(model, tmp_path / "deep.png", tmp_path / "filled.png", Marks(boxes=((5, 5, 10, 10),)))
    filled = read_picture(tmp_path / "filled.png").pixels[..., 0]
    hole = mask(5, 5, 10, 10) > 0
    assert filled.dtype == np.uint16 and np.array_equal(filled[~hole], deep[~hole])
    assert np.abs(filled[hole] / 65535 - SHADE).max() < 1e-4


def test_what_a_detector_finds_is_erased(model: Opened, red: Opened, tmp_path: Path) -> None:
    pixels = scene((1, 2), ground=200)
    save(tmp_path / "in" / "cell.png", pixels)
    save(tmp_path / "in" / "empty.png", scene())
    save(tmp_path / "in" / "faint.png", scene((0, 0), red=130))  # a score of one half, and the threshold is 0.6
    done = run(model, tmp_path / "in", tmp_path / "out", Marks(erase=red, margin=0.25))
    rows = {row["file"]: row for row in done.rows}
    assert rows["cell.png"]["hole"]["box"] == [2 * CELL - 4, CELL - 4, CELL + 8, CELL + 8]
    after, hole = read_picture(tmp_path / "out" / "cell.png").pixels, np.zeros(pixels.shape[:2], np.bool_)
    hole[CELL - 4 : 2 * CELL + 4, 2 * CELL - 4 : 3 * CELL + 4] = True
    np.testing.assert_array_equal(after[~hole], pixels[~hole])
    assert np.ptp(after[hole].astype(int), axis=1).max() < 20 < np.ptp(pixels[hole].astype(int), axis=1).max()
    for name, ground in (("empty.png", scene()), ("faint.png", scene((0, 0), red=130))):
        assert rows[name]["notes"] == ("nothing in it is to be filled",) and rows[name]["hole"]["box"] is None
        np.testing.assert_array_equal(read_picture(tmp_path / "out" / name).pixels, ground)
    sheet = before_after(model, done)
    assert sheet is not None and sheet.width > 500


def test_another_mask_is_another_order(model: Opened, red: Opened, tmp_path: Path) -> None:
    source, masks, out = tmp_path / "in", tmp_path / "masks", tmp_path / "out"
    for seed, name in enumerate("abc"):
        save(source / f"{name}.png", noise(seed=seed))
        save(masks / f"{name}.png", mask(3, 4, 10, 20))
    marks = Marks(mask=masks)
    assert run(model, source, out, marks).skipped == 0
    assert run(model, source, out, marks).skipped == 3
    save(masks / "b.png", mask(20, 4, 10, 20))
    assert run(model, source, out, marks).skipped == 2
    np.testing.assert_array_equal(found(out / "b.png", noise(seed=1)), mask(20, 4, 10, 20) > 0)
    assert run(model, source, out, dataclasses.replace(marks, boxes=((0, 0, 2, 2),))).skipped == 0
    assert run(model, source, out, Marks(erase=red)).skipped == 0
    assert run(model, source, out, Marks(erase=red, margin=0.5)).skipped == 0
    (masks / "c.png").unlink()
    assert [row["file"] for row in run(model, source, out, marks).bad] == ["c.png"]
    assert "/" not in json.dumps([row["hole"] for row in run(model, source, out, Marks(boxes=((1, 1, 2, 2),))).rows])


def test_masks_are_not_written_over(model: Opened, tmp_path: Path) -> None:
    """Not even where new files may take the place of others, nor by a link."""
    source, masks = save(tmp_path / "in" / "a.png", noise()).parent, tmp_path / "masks"
    hole = save(masks / "a.png", mask(3, 4, 10, 20))
    before = hole.read_bytes()
    (tmp_path / "link.png").symlink_to(hole)
    for asked, out in ((source, masks), (source / "a.png", hole), (source / "a.png", tmp_path / "link.png")):
        with pytest.raises(UsageError, match="is a source itself, which stays as it is"):
            run(model, asked, out, Marks(mask=masks), overwrite=True)
    assert hole.read_bytes() == before
    run(model, source, tmp_path / "out", Marks(mask=masks))
    with pytest.raises(UsageError, match="is a source itself"):  # a folder that an earlier call wrote
        run(model, source, tmp_path / "out", Marks(mask=tmp_path / "out" / "a.png"))


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"mask": "small"}, "mask .*small.png is 59 x 40 pixels, and the picture 60 x 40; they must be of one size"),
        ({"mask": "clear"}, "transparent pixels; save the mask black and white"),
        ({"mask": "white"}, "nothing known is left to fill it from"),
        ({"mask": "broken"}, "the mask .*broken.png cannot be read: this is text, not a picture"),
        ({"mask": "twice"}, r"2 masks \(a.bmp, a.png\) called a; give it exactly one"),
        ({"boxes": ((50, 30, 11, 10),)}, "the box 50,30,11,10 reaches beyond the picture, 60 x 40 pixels"),
    ],
)
def test_what_does_not_fit_a_picture_is_a_row(model: Opened, tmp_path: Path, marks: Any, said: str) -> None:
    save(tmp_path / "in" / "a.png", noise())
    save(tmp_path / "small.png", mask(0, 0, 5, 5, size_hw=(40, 59)))
    save(tmp_path / "clear.png", np.dstack([noise(), mask(0, 0, 5, 5)]))
    save(tmp_path / "white.png", mask(0, 0, 60, 40))
    (tmp_path / "broken.png").write_text("no picture at all")
    for ending in ("png", "bmp"):
        save(tmp_path / "twice" / f"a.{ending}", mask(0, 0, 5, 5))
    if "mask" in marks:
        named = tmp_path / marks["mask"]
        marks = {"mask": named if named.is_dir() else named.with_suffix(".png")}
    (row,) = run(model, tmp_path / "in", tmp_path / "out", Marks(**marks)).bad
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(row["error"])
    assert not list((tmp_path / "out").glob("*.png"))


def test_what_cannot_be_asked_for_is_refused(model: Opened, red: Opened, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", noise())
    plain = open_model(restorer(tmp_path / "restorer"))
    with pytest.raises(UsageError, match="fills holes: say where they are"):
        run(model, source, tmp_path / "out", Marks())
    with pytest.raises(UsageError, match="fills no holes: leave out masks"):
        run(plain, source, tmp_path / "out", Marks(boxes=((0, 0, 5, 5),)))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"mask": tmp_path / "none"}, "there is no"),
        ({"boxes": ((-1, 0, 5, 5),)}, "the box -1,0,5,5 is none"),
        ({"boxes": ((0, 0, 0, 5),)}, "the box 0,0,0,5 is none"),
        ({"erase": red, "margin": 5.0}, "the margin is 5"),
        ({"what": ("red",)}, "no detector that finds them"),
        ({"erase": red, "what": ("blue",)}, "knows no 'blue'; it knows red"),
        ({"erase": plain}, "a model of restore, which finds no boxes"),
    ]
    for given, said in cases:
        with pytest.raises(UsageError, match=said):
            Marks(**given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,2,3,4"])
def test_a_box_is_four_whole_numbers(text: str) -> None:
    assert box_of(" 1, 2,3,4") == (1, 2, 3, 4)
    with pytest.raises(UsageError, match="write it as 10,20,30,40"):
        box_of(text)


def test_pictures_alone_do_not_say_where_holes_are(model: Opened) -> None:
    with pytest.raises(UsageError, match=r"fills holes, .*sightline restore MODEL PICTURES OUT --mask"):
        list(predict(model, [noise()]))


def test_a_report_names_commands_that_run(model: Opened) -> None:
    told = " ".join(each.code for each in _commands("runs/it/model", model))
    assert "sightline restore runs/it/model photos/ restored/ --mask masks/" in told and "predict" not in told


def test_from_python(model: Opened, red: Opened, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", scene((1, 2)))
    ours, theirs = (sightline.load(each.bundle.path) for each in (model, red))
    done = ours.restore(source, tmp_path / "b.png", boxes=[(0, 0, 5, 6)], erase=theirs, what=["red"], margin=0)
    assert done.rows[0]["hole"]["pixels"] == 5 * 6 + CELL**2
