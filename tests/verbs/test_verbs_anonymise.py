"""anonymise: red is found and veiled, sources stay, what is done is not done again, and what is missed is counted."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("av")

import made_faces
import sightline
from blocking import NO_TORCH
from made_clips import SECRETS, clip, facts
from made_finder import CELL, H, W, finder, scene
from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Progress, drain
from sightline.core.results import Labels
from sightline.data.pictures import read_picture
from sightline.data.samples import Object, Objects, Sample, Samples
from sightline.draw.veil import Veil
from sightline.verbs import veiling
from sightline.verbs.anonymise import CRAFT, Anonymised, anonymise
from sightline.verbs.missed import bucket, rates, tallied
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.veiling import Eyes, Wish, boxes_of, finder_of, usual_score, veiled_shares

JOURNAL, REPORT = CRAFT.journal, CRAFT.report
BLACK = Wish(veil=Veil(style="black", shape="box", grow=0))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_model(finder(tmp_path_factory.mktemp("finder")))


def save(path: Path, pixels: np.ndarray, **ways: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **ways)
    return path


def run(model: Opened, source: Path | str, out: Path, **ways: Any) -> tuple[Anonymised, list[Event]]:
    events: list[Event] = []
    ways = {"wish": BLACK, "threads": 2, **ways}
    return drain(anonymise(model, str(source), out, **ways), events.append), events


def is_red(pixels: np.ndarray) -> np.ndarray:
    return np.asarray((pixels[..., 0] > 120) & (pixels[..., 1] < 80))


def test_a_folder_keeps_its_structure_and_loses_its_red(model: Opened, tmp_path: Path) -> None:
    source = tmp_path / "in"
    save(source / "a.png", scene((1, 2)))
    save(source / "deep" / "b.jpg", scene((0, 0), (3, 5)), quality=95, subsampling=0)
    save(source / "deep" / "c.png", scene())
    save(source / "deep" / "a.png", scene((2, 2)))
    (source / "notes.txt").write_text("Ann was here")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    done, events = run(model, source, tmp_path / "out")
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    new = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.[jp]*g"))
    assert new == ["a.png", "deep/a.png", "deep/b.jpg", "deep/c.png"]
    assert [row["file"] for row in done.rows] == ["a.png", "deep/a.png", "deep/b.jpg", "deep/c.png"]
    assert [row["count"] for row in done.rows] == [1, 1, 2, 0]
    out = read_picture(tmp_path / "out" / "a.png").pixels
    wanted = scene((1, 2))
    wanted[CELL : 2 * CELL, 2 * CELL : 3 * CELL] = 0
    np.testing.assert_array_equal(out, wanted)
    assert not is_red(read_picture(tmp_path / "out" / "deep" / "b.jpg").pixels).any()
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert (report["boxes"], report["pictures"], report["nothing_found"]) == (4, 4, ["deep/c.png"])
    assert report["smallest_box"]["side"] == CELL
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3, 4]
    assert str(tmp_path) not in (tmp_path / "out" / JOURNAL).read_text() + json.dumps(report)


def test_what_is_done_is_not_done_again(model: Opened, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in "abc":
        save(source / f"{name}.png", scene((1, 1), red=150 + ord(name)))
    run(model, source, out)
    stamps = {name: (out / f"{name}.png").stat().st_mtime_ns for name in "abc"}
    save(source / "b.png", scene((3, 3)))
    (out / "c.png").unlink()
    (out / ".c.png.tmp-1-0123abcd").write_bytes(b"half")
    done, events = run(model, source, out)
    assert done.skipped == 1
    assert any("1 of 3 files are done already" in event.text for event in events if isinstance(event, Note))
    after = {name: (out / f"{name}.png").stat().st_mtime_ns for name in "abc"}
    assert [name for name in "abc" if stamps[name] == after[name]] == ["a"]
    assert not is_red(read_picture(out / "b.png").pixels).any()
    assert not list(out.glob(".*tmp*"))
    assert run(model, source, out)[0].skipped == 3
    assert run(model, source, out, wish=replace(BLACK, score=0.2))[0].skipped == 0
    assert run(model, source, out)[0].skipped == 0


def test_bad_files_are_listed_and_tried_again(model: Opened, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "a.png", scene((1, 1)))
    (source / "b.png").write_bytes(b"not a picture at all")
    (source / "c.mp4").write_bytes(b"nor a video, which would be much longer")
    done, events = run(model, source, out)
    assert [row["file"] for row in done.bad] == ["b.png", "c.mp4"]
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".lock") == ["a.png", REPORT, JOURNAL]
    assert sum("left out" in event.text for event in events if isinstance(event, Note)) == 2
    save(source / "b.png", scene())
    assert [row["file"] for row in run(model, source, out)[0].bad] == ["c.mp4"]


def test_metadata_and_thumbnail_go_and_the_picture_is_upright(model: Opened, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "SECRET"
    lying = np.rot90(scene((1, 2)))
    blob = io.BytesIO()
    Image.fromarray(scene((1, 2))).resize((24, 16)).save(blob, "JPEG")
    source = save(tmp_path / "a.jpg", lying, quality=95, exif=exif)
    whole = source.read_bytes()
    thumb = b"\xff\xe2" + (len(blob.getvalue()) + 2).to_bytes(2, "big") + blob.getvalue()
    source.write_bytes(whole[:2] + thumb + whole[2:] + b"appended, as phones do with their films")
    run(model, source, tmp_path / "b.jpg")
    new = (tmp_path / "b.jpg").read_bytes()
    assert b"SECRET" not in new
    assert b"appended" not in new
    assert new.count(b"\xff\xd8\xff") == 1
    found = read_picture(new).pixels
    assert found.shape == (H, W, 3)
    assert found[CELL + 2 : 2 * CELL - 2, 2 * CELL + 2 : 3 * CELL - 2].max() < 16
    assert not (tmp_path / JOURNAL).exists()


def test_deep_pictures_stay_deep(model: Opened, tmp_path: Path) -> None:
    import png

    deep = scene((1, 2)).astype(np.uint16) * 256 + np.arange(W, dtype=np.uint16)[None, :, None] % 7
    with (tmp_path / "a.png").open("wb") as file:
        png.Writer(W, H, greyscale=False, bitdepth=16).write(file, deep.reshape(H, -1).tolist())
    run(model, tmp_path / "a.png", tmp_path / "b.png")
    found = read_picture(tmp_path / "b.png").pixels
    deep[CELL : 2 * CELL, 2 * CELL : 3 * CELL] = 0
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, deep)


def test_names_may_be_left_out(model: Opened, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for place, name in enumerate(["Ann Smith", "Bob Jones"]):
        save(source / f"{name}.PNG", scene((1, 1), red=160 + place))
    run(model, source, out, number=True)
    save(source / "Aaron.png", scene((2, 2)))
    done, _ = run(model, source, out, number=True)
    assert [row["file"] for row in done.rows] == ["000003.png", "000001.png", "000002.png"]
    assert done.skipped == 2
    told = (out / JOURNAL).read_text() + (out / REPORT).read_text()
    assert not any(name in told for name in ("Ann", "Bob", "Aaron"))


def test_a_glob_and_names_that_meet(model: Opened, tmp_path: Path) -> None:
    (tmp_path / "in" / "x").mkdir(parents=True)
    clip(tmp_path / "in" / "x" / "a.mkv", [scene((1, 1))] * 3)
    (tmp_path / "in" / "x" / "a.avi").write_bytes(b"no video")
    save(tmp_path / "in" / "y" / "a.png", scene())
    done, _ = run(model, f"{tmp_path}/in/*/a.*", tmp_path / "out")
    assert sorted(row["file"] for row in done.rows) == ["x/a-2.mkv", "x/a.mkv", "y/a.png"]


@pytest.mark.parametrize(
    ("source", "out", "ways", "said"),
    [
        ("in", "in", {}, "lies in"),
        ("in", "in/new", {}, "lies in"),
        ("in/a.png", "in/a.png", {}, "source itself"),
        ("in/a.png", "in/a.png", {"overwrite": True}, "source itself"),
        ("in/a.png", "in/b.jpg", {}, "does not end as"),
        ("in/a.png", "there.png", {}, "is there already"),
        ("in", "there.png", {}, "is a file"),
        ("in", "full", {}, "other files"),
        ("in", "linked", {"overwrite": True}, "source itself"),
        ("in/none.png", "out", {}, "is not there"),
        ("empty", "out", {}, "no picture"),
        ("in", "out", {"wish": Wish(classes=("blue",))}, "knows no 'blue'; it knows red"),
        ("in", "out", {"annotated": True}, "no boxes"),
    ],
)
def test_what_is_refused(model: Opened, tmp_path: Path, source: str, out: str, ways: dict[str, Any], said: str) -> None:
    save(tmp_path / "in" / "a.png", scene((1, 1)))
    save(tmp_path / "there.png", scene())
    save(tmp_path / "full" / "other.png", scene())
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.png").symlink_to(tmp_path / "in" / "a.png")
    with pytest.raises(UsageError, match=said):
        run(model, tmp_path / source, tmp_path / out, **ways)
    np.testing.assert_array_equal(read_picture(tmp_path / "in" / "a.png").pixels, scene((1, 1)))


def test_links_do_not_lead_out_of_the_folder(model: Opened, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere.png", scene((1, 1)))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "elsewhere.png")
    done, _ = run(model, tmp_path / "in", tmp_path / "out")
    assert [row["file"] for row in done.rows] == ["a.png"]
    assert is_red(read_picture(tmp_path / "elsewhere.png").pixels).any()


def test_scores_and_classes(model: Opened) -> None:
    assert usual_score(model.card) == 0.3
    result = model.answer([model.encode(read_picture(scene((1, 1), red=255)))])[0]
    assert len(boxes_of(result, score=0.3).xyxy) == 1
    assert len(boxes_of(result, score=0.3, classes=["blue"]).xyxy) == 0
    later = SimpleNamespace(xyxy=np.array([[0, 0, 4, 4]]))  # a result with nothing but boxes
    assert boxes_of(later, score=0.9).scores.tolist() == [1.0]  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Labels, which have no boxes"):
        boxes_of(Labels(classes=("a",), scores=np.ones(1, np.float32)), score=0.5)


def test_large_pictures_are_looked_at_closer(model: Opened, tmp_path: Path) -> None:
    large = np.full((H * 8, W * 8, 3), 90, np.uint8)
    large[200:224, 300:324] = (255, 0, 0)  # 3 pixels of the input where the whole is seen
    whole, closer = (Eyes(model.card, replace(BLACK, closer=closer)) for closer in (False, True))
    picture = read_picture(large)
    assert len(whole.look(model, picture).xyxy) == 0
    found = closer.look(model, picture).xyxy
    assert len(found) >= 1
    middle = (found[:, :2] + found[:, 2:]) / 2
    assert (np.abs(middle - [312, 212]) < 24).all()


# Faces that could also be described


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Opened]:
    """A detector, an embedder, and both joined."""
    folder = tmp_path_factory.mktemp("faces")
    made_faces.model(folder)
    return {name: open_model(folder / name) for name in ("finder", "describer", "who")}


def dim(*greys: int) -> np.ndarray:
    """A picture with plain grey faces; of 90 the detector is sure by a half, of 80 by 0.27, of 70 by 0.12."""
    return made_faces.photo(*(np.full((made_faces.CELL, made_faces.CELL, 3), grey, np.uint8) for grey in greys))


@pytest.mark.parametrize(("score", "count"), [(None, 3), (0.1, 4), (0.2, 3), (0.4, 2), (0.9, 1)])
def test_a_joined_model_veils_what_its_detector_does(
    faces: dict[str, Opened], tmp_path: Path, score: float | None, count: int
) -> None:
    save(tmp_path / "in" / "a.png", dim(200, 91, 80, 70))
    reports = {}
    for name in ("finder", "who"):
        done, _ = run(faces[name], tmp_path / "in", tmp_path / name, wish=replace(BLACK, score=score))
        assert [row["count"] for row in done.rows] == [count]
        reports[name] = json.loads((tmp_path / name / REPORT).read_text())
    assert (tmp_path / "who" / "a.png").read_bytes() == (tmp_path / "finder" / "a.png").read_bytes()
    assert reports["who"].pop("model") == faces["who"].bundle.digest
    assert reports["finder"].pop("model") == faces["finder"].bundle.digest
    assert reports["who"] == reports["finder"] and reports["who"]["score"] == (score or 0.25)


def test_a_joined_model_looks_closer(faces: dict[str, Opened], tmp_path: Path) -> None:
    large = np.full((800, 800, 3), 20, np.uint8)
    large[96:192, 96:192] = 255  # a cell of a window of 384 pixels; seen whole it is half a cell
    save(tmp_path / "in" / "a.png", large)
    counts = {}
    for name in ("finder", "who"):
        for closer in (False, True):
            wish = replace(BLACK, score=0.9, closer=closer, classes=("face",))
            done, _ = run(faces[name], tmp_path / "in", tmp_path / f"{name}{closer}", wish=wish)
            counts[name, closer] = done.rows[0]["count"]
    assert counts["who", True] == counts["finder", True] > counts["finder", False] == counts["who", False]


def test_what_works_inside_runs_as_plain_onnx_where_it_has_no_other_graph(faces: dict[str, Opened]) -> None:
    who = replace(faces["who"], variant="onnx-int8")
    inside = finder_of(who)
    assert (inside.variant, inside.on_threads(1).variant) == ("onnx", "onnx")
    assert finder_of(faces["finder"]) is faces["finder"]


def test_an_embedder_alone_is_refused(faces: dict[str, Opened], tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", dim(200))
    with pytest.raises(UsageError, match="finds no faces; join a detector to it: sightline faces model"):
        run(faces["describer"], tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Videos


def moving(count: int, *, unseen: tuple[int, ...] = (), first: int = 0) -> list[np.ndarray]:
    """A red cell that stands still, and that the detector misses in some frames, where it is too dark for it."""
    return [scene() if i < first else scene((1, 2), red=70 if i in unseen else 250) for i in range(count)]


def test_a_video_is_veiled_in_frames_that_the_model_misses(model: Opened, tmp_path: Path) -> None:
    unseen = (20, 21, 22, 23)
    source = clip(tmp_path / "a.mp4", moving(60, unseen=unseen, first=15), sound="aac")
    done, _ = run(model, source, tmp_path / "b.mp4")
    before, after = facts(source), facts(tmp_path / "b.mp4")
    assert after.times == before.times
    assert after.sound == before.sound
    assert not set(SECRETS.values()) & set(after.tags.values())
    inner = np.s_[CELL + 2 : 2 * CELL - 2, 2 * CELL + 2 : 3 * CELL - 2]
    dark = [i for i, pixels in enumerate(after.frames) if pixels[inner].max() < 40]
    assert dark == list(range(8, 60))  # 0.3 s before the first sighting at 25 frames a second
    assert (done.rows[0]["count"], done.rows[0]["frames"]) == (1, 60)
    for a, b in zip(before.frames, after.frames, strict=True):
        assert np.abs(a[3 * CELL :].astype(int) - b[3 * CELL :]).mean() < 6


def test_sound_may_be_left_out(model: Opened, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mkv", moving(5), sound="aac")
    done, _ = run(model, source, tmp_path / "b.mkv", wish=replace(BLACK, drop_audio=True))
    assert facts(tmp_path / "b.mkv").kinds == ["video"]
    assert "the sound was left out" in done.rows[0]["notes"]


def test_no_half_video_is_left(model: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = clip(tmp_path / "in.mp4", moving(30))
    monkeypatch.setattr(veiling, "_veiled_frame", _failing_after(10))
    with pytest.raises(KeyboardInterrupt):
        run(model, source, tmp_path / "out" / "b.mp4")
    assert list((tmp_path / "out").iterdir()) == []


def _failing_after(count: int) -> Any:
    calls, real = [0], veiling._veiled_frame

    def fail(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] > count:
            raise KeyboardInterrupt
        return real(*given)

    return fail


def test_a_killed_process_leaves_whole_files_only(model: Opened, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in "ab":
        save(source / f"{name}.png", scene((1, 1)))
    clip(source / "film.mp4", [scene((1, 2)).repeat(4, axis=0).repeat(4, axis=1)] * 100)
    code = NO_TORCH + "from sightline.cli.main import main; main()"
    args = [sys.executable, "-c", code, "anonymise", str(source), str(out), "--model", str(model.bundle.path)]
    args += ["--no-closer"]
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob(".film.mp4.tmp*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "film.mp4").exists()
    assert is_red(read_picture(source / "a.png").pixels).any()
    done, _ = run(model, source, out, wish=Wish(closer=False))
    assert done.skipped == 2
    assert done.rows[-1]["frames"] == 100
    assert not list(out.glob(".*tmp*"))


# What is missed


def annotated(folder: Path, rows: dict[str, list[tuple[float, float, float, float]]]) -> Path:
    """A COCO data set of scenes with boxes; red is where the model will find it: in the first box only."""
    from sightline.data.layouts import coco

    samples = []
    for name, boxes in rows.items():
        left, top = boxes[0][:2]
        save(folder / "made" / name, scene((int(top) // CELL, int(left) // CELL)))
        items = tuple(Object("red", box) for box in boxes)
        crowd = Object("red", (0, 0, 90, 60), crowd=True)
        samples.append(Sample(name, Objects((*items, crowd))))
    coco.write(Samples(folder / "made", tuple(samples), "plain", ("red",)), folder / "set")
    return folder / "set"


def test_misses_are_counted(model: Opened, tmp_path: Path) -> None:
    box = (32.0, 16.0, 48.0, 32.0)
    data = annotated(
        tmp_path,
        {
            "hit.png": [box],
            "half.png": [box, (64.0, 0.0, 70.0, 9.0)],
            "wide.png": [(32.0, 16.0, 48.0, 37.0)],  # 16 of 21 rows are veiled: too few
            "near.png": [(32.0, 16.0, 48.0, 36.0)],  # 16 of 20: enough
        },
    )
    done, _ = run(model, data, tmp_path / "out", annotated=True)
    assert {row["file"] for row in done.rows} == {"hit.png", "half.png", "wide.png", "near.png"}
    measure = done.missed["all"]
    assert (measure.value, measure.n, measure.interval) == (2 / 5, 5, "wilson")
    assert {name: each.n for name, each in done.missed.items()} == {"all": 5, "under 16 px": 1, "16 to 32 px": 4}
    assert done.missed["under 16 px"].value == 1
    assert done.passed_over == 4
    again, _ = run(model, data, tmp_path / "out", annotated=True)
    assert (again.skipped, again.missed) == (4, done.missed)
    assert json.loads((tmp_path / "out" / REPORT).read_text())["missed"]["all"]["n"] == 5


def test_shares_are_counted_a_pixel_at_a_time() -> None:
    random = np.random.default_rng(0)
    mask = random.random((30, 40)) < 0.5
    corner = random.integers(0, 25, (20, 2))
    boxes = np.concatenate([corner, corner + random.integers(1, 30, (20, 2))], axis=1)
    for (left, top, right, bottom), share in zip(boxes, veiled_shares(boxes.astype(float), mask), strict=True):
        inside = [mask[y, x] for y in range(30) for x in range(40) if left <= x < right and top <= y < bottom]
        assert share == pytest.approx(np.mean(inside))


def test_tallies_add_up() -> None:
    boxes = np.array([[0, 0, 5, 90], [0, 0, 20, 20], [0, 0, 500, 300], [0, 0, 15, 15]], float)
    tally = tallied(boxes, [0.1, 0.8, 0.79, 1.0])
    assert tally == {"under 16 px": [2, 1], "16 to 32 px": [1, 0], "128 px and more": [1, 1]}
    assert [(name, each.n, each.value) for name, each in rates([tally, tally]).items()] == [
        ("all", 8, 0.5),
        ("under 16 px", 4, 0.5),
        ("16 to 32 px", 2, 0.0),
        ("128 px and more", 2, 1.0),
    ]
    assert bucket(63.9) == "32 to 64 px"
    assert rates([]) == {}


@pytest.mark.parametrize("wrong", [{"score": 1.5}, {"quality": 0}, {"crf": 60}, {"gap": -1.0}])
def test_a_wish_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="score is 0 to 1"):
        Wish(**wrong)


FACES = {
    "bbt1.jpg": [(521, 205), (262, 194), (774, 198), (1047, 144)],
    "bbt2.jpg": [(27, 126), (418, 173), (134, 173)],
    "bbt3.jpg": [(392, 142), (517, 134), (63, 63), (179, 122), (280, 130)],
}
"""Middles of the faces that look towards the camera, in pixels, by eye."""


def test_real_faces_are_veiled(data_root: Path, tmp_path: Path) -> None:
    from sightline.verbs.import_onnx import Wish as Brought
    from sightline.verbs.import_onnx import import_onnx

    path = data_root / "weights" / "yunet_n_640_640.onnx"
    faces = open_model(drain(import_onnx(path, Brought(layout="yunet", classes="face"), tmp_path / "yunet")))
    group = data_root / "faces" / "probes" / "group"
    run(faces, group, tmp_path / "out", wish=Wish(veil=Veil(style="black")))
    for name, middles in FACES.items():
        pixels = read_picture(tmp_path / "out" / name).pixels
        for x, y in middles:
            assert pixels[y - 15 : y + 15, x - 15 : x + 15].max() < 16, (name, x, y)


def test_veiled_faces_are_not_recognised(data_root: Path, tmp_path: Path) -> None:
    from sightline.data.chips import chip
    from sightline.tasks.faces import _embedded
    from sightline.verbs.join import join

    weights, photos = data_root / "weights", data_root / "faces" / "probes"
    who = sightline.load(
        drain(join(str(weights / "yunet_n_640_640.onnx"), str(weights / "MobileFaceNet.onnx"), tmp_path / "who"))
    )
    who.anonymise(photos, tmp_path / "out")
    alike = []
    for path in sorted(each for each in photos.rglob("*") if each.is_file()):
        faces: Any = who.predict(path)
        veiled = read_picture(tmp_path / "out" / path.relative_to(photos)).pixels
        chips = np.stack([chip(np.repeat(veiled, 4 - veiled.shape[2], axis=2)[..., :3], p) for p in faces.points])
        alike += (_embedded(who.opened.graphs["main"], chips, who.card) * faces.vectors).sum(axis=1).tolist()
    assert len(alike) >= 20 and max(alike) < 0.45 and np.mean(alike) < 0.15
