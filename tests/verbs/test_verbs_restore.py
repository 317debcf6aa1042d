"""restore: files keep name, kind, depth and grey, what is done is not done again, and sources are never touched."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

import sightline
from made_finder import finder
from made_restorer import restorer
from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Progress, drain
from sightline.data.encode import encoded
from sightline.data.pictures import Picture, read_picture
from sightline.verbs import before_after as sheets
from sightline.verbs import restore as verb
from sightline.verbs.before_after import SIDE, _tiles, before_after, check_sheet
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.restore import FORMATS, Restored, restore

JOURNAL, REPORT = "restored.jsonl", "restored.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Twice as large, every pixel four times."""
    return open_model(restorer(tmp_path_factory.mktemp("restorer") / "model"))


def noise(height: int = 20, width: int = 30, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top + 1, (height, width, channels)).astype(dtype)


def save(path: Path, pixels: np.ndarray, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    high = 1.0 if pixels.dtype == np.float32 else float(np.iinfo(pixels.dtype).max)
    path.write_bytes(encoded(Picture(pixels, high, "", kind, pixels.shape[:2]), lossless=True))
    return path


def doubled(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


def run(model: Opened, source: Path | str, out: Path, **ways: Any) -> tuple[Restored, list[Event]]:
    events: list[Event] = []
    return drain(restore(model, str(source), out, **{"threads": 2, **ways}), events.append), events


def names(folder: Path) -> list[str]:
    """Of the new files in a folder."""
    told = {JOURNAL, REPORT, ".restore.lock"}
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in found if name not in told)


def test_a_folder_keeps_its_structure_and_its_sources(model: Opened, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "a.png", noise())
    save(source / "deep" / "b.PNG", noise(7, 5, seed=1))
    save(source / "deep" / "c.jpg", np.full((24, 16, 3), 90, np.uint8), "JPEG")
    (source / "notes.txt").write_text("not a picture")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    done, events = run(model, source, out)
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert names(out) == ["a.png", "deep/b.PNG", "deep/c.jpg"]
    np.testing.assert_array_equal(read_picture(out / "a.png").pixels, doubled(noise()))
    np.testing.assert_array_equal(read_picture(out / "deep" / "b.PNG").pixels, doubled(noise(7, 5, seed=1)))
    assert read_picture(out / "deep" / "c.jpg").format == "JPEG"
    rows = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]
    assert {row["file"]: row["after"] for row in rows}["deep/b.PNG"] == {"width": 10, "height": 14}
    assert {row["file"]: row["before"] for row in rows}["deep/b.PNG"] == {"width": 5, "height": 7}
    report = json.loads((out / REPORT).read_text())
    assert report["format"] == "sightline-restored" and report["model"] == model.bundle.digest
    total = 20 * 30 + 7 * 5 + 24 * 16
    assert (report["pictures"], report["pixels_before"], report["pixels_after"]) == (3, total, 4 * total)
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert done.pairs[0] == (source / "a.png", out / "a.png")
    assert str(tmp_path) not in (out / JOURNAL).read_text() + json.dumps(report)


def test_an_interrupted_call_goes_on(model: Opened, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for seed, name in enumerate("abcdef"):
        save(source / f"{name}.png", noise(seed=seed))
    going = restore(model, str(source), out, threads=1)
    for event in going:
        if isinstance(event, Progress) and event.done == 2:
            break
    going.close()
    assert not (out / REPORT).exists()
    (out / ".d.png.tmp-1-0123abcd").write_bytes(b"half")
    stamps = {name: (out / f"{name}.png").stat().st_mtime_ns for name in "ab"}
    done, events = run(model, source, out)
    assert done.skipped == 2
    assert any("2 of 6 files are done already" in event.text for event in events if isinstance(event, Note))
    assert {name: (out / f"{name}.png").stat().st_mtime_ns for name in "ab"} == stamps
    assert names(out) == [f"{name}.png" for name in "abcdef"]
    for seed, name in enumerate("abcdef"):
        np.testing.assert_array_equal(read_picture(out / f"{name}.png").pixels, doubled(noise(seed=seed)))


def test_what_is_done_again(model: Opened, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for seed, name in enumerate("abc"):
        save(source / f"{name}.png", noise(seed=seed))
    assert run(model, source, out)[0].skipped == 0
    assert run(model, source, out)[0].skipped == 3
    save(source / "b.png", noise(seed=9))
    (out / "c.png").unlink()
    assert run(model, source, out)[0].skipped == 1
    np.testing.assert_array_equal(read_picture(out / "b.png").pixels, doubled(noise(seed=9)))
    assert run(model, source, out, quality=90)[0].skipped == 0
    larger = open_model(restorer(tmp_path / "larger", scale=3))
    assert run(larger, source, out)[0].skipped == 0
    assert read_picture(out / "a.png").size_hw == (60, 90)


def test_a_stopped_call_runs_no_more_windows(model: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large picture is many runs of the graph, which somebody who stops it does not wait for."""
    from sightline.tasks import restore as task

    monkeypatch.setattr(task, "WHOLE", 16)
    monkeypatch.setattr(task, "CORE", 4)
    source = save(tmp_path / "in" / "a.png", noise(400, 400))
    going = verb._worked(model, [verb.Job(source, "a.png", "")], tmp_path, verb.Way("", 95), 1)
    halting: list[Any] = []
    plain = verb._Halting

    class Watched(plain):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            halting.append(self)
            self.runs = 0

        def run(self, arrays: Any, /) -> Any:
            self.runs += 1
            if self.runs == 5:
                self._stop.set()
            return super().run(arrays)

    monkeypatch.setattr(verb, "_Halting", Watched)
    with pytest.raises(verb.CancelledError):
        next(going)
    assert halting[0].runs == 5
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("kind", "ending", "pixels"),
    [
        ("PNG", ".png", noise(dtype=np.uint16)),
        ("PNG", ".png", noise(channels=1, dtype=np.uint16)),
        ("PNG", ".png", noise(channels=1)),
        ("TIFF", ".tif", noise(dtype=np.uint16)),
        ("TIFF", ".tiff", noise(channels=1).astype(np.float32) / np.float32(255)),
        ("TIFF", ".tif", noise(channels=1)),
        ("WEBP", ".webp", noise()),
        ("BMP", ".bmp", noise()),
        ("PPM", ".ppm", noise()),
        ("PPM", ".pgm", noise(channels=1)),
        ("JPEG2000", ".jp2", noise()),
    ],
    ids=lambda value: f"{value.dtype}x{value.shape[2]}" if isinstance(value, np.ndarray) else None,
)
def test_kind_depth_and_grey_stay(model: Opened, tmp_path: Path, kind: str, ending: str, pixels: np.ndarray) -> None:
    source = save(tmp_path / "in" / f"a{ending}", pixels, kind)
    run(model, source.parent, tmp_path / "out")
    found = read_picture(tmp_path / "out" / f"a{ending}")
    assert (found.format, found.pixels.dtype) == (kind, pixels.dtype)
    np.testing.assert_allclose(found.pixels, doubled(pixels), atol=1e-6)


def test_a_gif_becomes_a_png(model: Opened, tmp_path: Path) -> None:
    """Beside a PNG of the same name, which keeps a file of its own."""
    (tmp_path / "in").mkdir()
    Image.fromarray(noise()).convert("P").save(tmp_path / "in" / "a.gif")
    save(tmp_path / "in" / "a.png", noise(seed=1))
    done, _ = run(model, tmp_path / "in", tmp_path / "out")
    assert [row["file"] for row in done.rows] == ["a.png", "a-2.png"]
    shown = read_picture(tmp_path / "in" / "a.gif").pixels
    np.testing.assert_array_equal(read_picture(tmp_path / "out" / "a.png").pixels, doubled(shown))
    assert read_picture(tmp_path / "out" / "a.png").format == "PNG"


@pytest.mark.parametrize("asked", ["png", "PNG", "jpeg", "jpeg2000", "webp", "tiff", "bmp", "ppm"])
def test_a_format_is_forced(model: Opened, tmp_path: Path, asked: str) -> None:
    flat = np.full((20, 30, 3), 100 * 257, np.uint16)
    save(tmp_path / "in" / "deep.png", flat)
    save(tmp_path / "in" / "float.tif", flat[..., :1].astype(np.float32) / np.float32(65535), "TIFF")
    save(tmp_path / "in" / "plain.jpg", (flat // 257).astype(np.uint8), "JPEG")
    done, _ = run(model, tmp_path / "in", tmp_path / "out", format=asked)
    assert not done.bad
    bits = {"png": 16, "ppm": 16, "tiff": 0}.get(asked.lower(), 8)
    told = [f"{bits} bits a channel, which is what {FORMATS[asked.lower()]} holds"] if bits else []
    assert [[*row["notes"]] for row in done.rows] == [told if bits == 8 else [], told, []]
    for row in done.rows:
        found = read_picture(tmp_path / "out" / row["file"])
        assert found.format == FORMATS[asked.lower()]
        assert found.size_hw == (40, 60)
        assert np.abs(found.pixels.astype(float) / found.high - 100 / 255).max() < 0.01


def test_the_name_of_a_single_file_says_its_format(model: Opened, tmp_path: Path) -> None:
    source = save(tmp_path / "a.jpg", np.full((20, 30, 3), 90, np.uint8), "JPEG")
    done, _ = run(model, source, tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").format == "PNG"
    assert (done.rows[0]["file"], done.pairs) == ("b.png", ((source, tmp_path / "b.png"),))
    run(model, source, tmp_path / "c.jpeg")
    assert read_picture(tmp_path / "c.jpeg").format == "JPEG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.png", "c.jpeg"]
    run(model, source, tmp_path / "folder")
    assert names(tmp_path / "folder") == ["a.jpg"]


def test_quality_reaches_the_file(model: Opened, tmp_path: Path) -> None:
    source = save(tmp_path / "a.jpg", noise(60, 60), "JPEG")
    for quality in (30, 95):
        run(model, source, tmp_path / f"{quality}.jpg", quality=quality)
    assert (tmp_path / "30.jpg").stat().st_size < 0.6 * (tmp_path / "95.jpg").stat().st_size


def test_bad_files_are_listed_and_tried_again(model: Opened, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "a.png", noise())
    (source / "b.png").write_bytes(b"not a picture at all")
    done, events = run(model, source, out)
    assert [row["file"] for row in done.bad] == ["b.png"]
    assert done.bad[0]["before"] is None and len(done.pairs) == 1
    assert names(out) == ["a.png"]
    assert sum("left out" in event.text for event in events if isinstance(event, Note)) == 1
    assert list(json.loads((out / REPORT).read_text())["bad"]) == ["b.png"]
    save(source / "b.png", noise())
    again = run(model, source, out)[0]
    assert (again.bad, again.skipped) == ([], 1)


def test_what_a_format_cannot_hold_is_a_row(model: Opened, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.webp", np.zeros((8, 9000, 3), np.uint8), "WEBP")
    done, _ = run(model, tmp_path / "in", tmp_path / "out")
    assert "18000 x 16 pixels cannot be written as WEBP" in done.rows[0]["error"]
    assert run(model, tmp_path / "in", tmp_path / "out", format="png")[0].bad == []


def test_what_memory_is_too_small_for_is_a_row(model: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "in" / "a.png", noise(20, 30))
    save(tmp_path / "in" / "b.png", noise(20, 31))
    save(tmp_path / "in" / "c.png", noise(20, 30, seed=1))
    monkeypatch.setattr(verb, "usable_memory", lambda: 2 * verb.PIXEL_BYTES * 40 * 60)
    done, _ = run(model, tmp_path / "in", tmp_path / "out")
    assert [row["file"] for row in done.bad] == ["b.png"]
    assert "would become 62 x 40 pixels" in done.bad[0]["error"]


def test_a_glob(model: Opened, tmp_path: Path) -> None:
    save(tmp_path / "in" / "x" / "a.png", noise())
    save(tmp_path / "in" / "y" / "a.png", noise(seed=1))
    save(tmp_path / "in" / "y" / "b.png", noise())
    done, _ = run(model, f"{tmp_path}/in/*/a.*", tmp_path / "out")
    assert [row["file"] for row in done.rows] == ["x/a.png", "y/a.png"]
    assert names(tmp_path / "out") == ["x/a.png", "y/a.png"]


def test_a_grey_model_says_what_it_takes_away(tmp_path: Path) -> None:
    grey = open_model(restorer(tmp_path / "model", channels=1))
    save(tmp_path / "in" / "a.png", noise())
    save(tmp_path / "in" / "b.png", noise(channels=1))
    done, _ = run(grey, tmp_path / "in", tmp_path / "out")
    assert [["colours are gone" in note for note in row["notes"]] for row in done.rows] == [[True], []]
    np.testing.assert_array_equal(read_picture(tmp_path / "out" / "b.png").pixels, doubled(noise(channels=1)))


def test_metadata_goes_and_the_picture_is_upright(model: Opened, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "SECRET"
    blob = io.BytesIO()
    Image.fromarray(np.rot90(noise())).save(blob, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(blob.getvalue())
    run(model, tmp_path / "a.png", tmp_path / "b.png")
    assert b"SECRET" in blob.getvalue() and b"SECRET" not in (tmp_path / "b.png").read_bytes()
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").pixels, doubled(noise()))


@pytest.mark.parametrize(
    ("source", "out", "ways", "said"),
    [
        ("in", "in", {}, "lies in"),
        ("in", "in/new", {"overwrite": True}, "lies in"),
        ("in/a.png", "in/a.png", {"overwrite": True}, "source itself"),
        ("in/a.png", "there.png", {}, "is there already"),
        ("in", "there.png", {}, "is a file"),
        ("in", "full", {}, "mixed with restored ones"),
        ("in", "linked", {"overwrite": True}, "source itself"),
        ("in/none.png", "out", {}, "is not there"),
        ("in/a.png", "b.xyz", {}, "does not end as what is made of .*a.png: .png"),
        ("in/a.png", "b.png", {"format": "jpeg"}, "does not end as .*: .jpg or .jpeg;"),
        ("empty", "out", {}, "no picture"),
        ("in", "out", {"format": "gif"}, "'gif' is not written; give one of jpeg, png"),
        ("in", "out", {"quality": 0}, "must be 1 to 100"),
    ],
)
def test_what_is_refused(model: Opened, tmp_path: Path, source: str, out: str, ways: dict[str, Any], said: str) -> None:
    save(tmp_path / "in" / "a.png", noise())
    save(tmp_path / "there.png", noise())
    save(tmp_path / "full" / "other.png", noise())
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.png").symlink_to(tmp_path / "in" / "a.png")
    with pytest.raises(UsageError, match=said):
        run(model, tmp_path / source, tmp_path / out, **ways)
    np.testing.assert_array_equal(read_picture(tmp_path / "in" / "a.png").pixels, noise())


def test_overwriting(model: Opened, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", noise())
    save(tmp_path / "there.png", noise(3, 3))
    save(tmp_path / "full" / "other.png", noise())
    run(model, tmp_path / "in" / "a.png", tmp_path / "there.png", overwrite=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "there.png").pixels, doubled(noise()))
    run(model, tmp_path / "in", tmp_path / "full", overwrite=True)
    assert names(tmp_path / "full") == ["a.png", "other.png"]


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", noise())
    with pytest.raises(UsageError, match="is a model of the task detect; sightline restore takes one of restore"):
        run(open_model(finder(tmp_path / "finder")), tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_in_python(model: Opened, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", noise())
    events: list[Event] = []
    mine = sightline.load(model.bundle.path)
    done = mine.restore(tmp_path / "in", tmp_path / "out", format="webp", listen=events.append)
    assert [row["file"] for row in done.rows] == ["a.webp"] and events


# Before and after


def test_both_sides_show_the_same_crop(model: Opened, tmp_path: Path) -> None:
    """A ramp is what interpolation keeps, so that a crop that is off by a pixel would be seen."""
    y, x = np.mgrid[:600, :400]
    ramp = np.stack([y / 600 * 255, x / 400 * 255, 0 * y], axis=2).astype(np.uint8)
    save(tmp_path / "in" / "a.png", ramp)
    done, _ = run(model, tmp_path / "in", tmp_path / "out")
    before, after = _tiles(model, *done.pairs[0])
    assert before.pixels.shape == after.pixels.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(after.pixels, doubled(ramp)[472:728, 272:528])
    whole = Image.fromarray(ramp).resize((800, 1200), Image.Resampling.BICUBIC)
    assert np.abs(before.pixels.astype(int) - np.asarray(whole)[472:728, 272:528]).max() <= 1
    assert before.caption == ("a.png", "before, 2 times larger by bicubic interpolation")


def test_a_sheet_has_up_to_eight_pictures(model: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(11):
        save(tmp_path / "in" / f"{seed:02}.png", noise(channels=1 if seed % 2 else 3, seed=seed))
    done, _ = run(model, tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "00.png").write_bytes(b"gone")
    sheet = before_after(model, done)
    tall = before_after(model, Restored(done.out, done.rows, 0, done.pairs[:2])).height
    assert sheet.height > 3 * tall - 200 and sheet.width > 4 * SIDE
    few = before_after(model, Restored(done.out, done.rows, 0, done.pairs[1:2]))
    assert 2 * SIDE < few.width < 3 * SIDE
    shown: list[str] = []
    monkeypatch.setattr(sheets, "_tiles", lambda model, source, made, hole: shown.append(source.stem) or ())
    before_after(model, done)
    assert shown == ["00", "01", "02", "04", "05", "06", "08", "09"]


@pytest.mark.parametrize(
    ("sheet", "said"),
    [
        ("a.jpg", "does not end in .png"),
        ("in/a.png", "is a picture itself"),
        ("in/sheet.png", "among pictures"),
        ("out/sheet.png", "among pictures"),
        ("there.png", "is there already"),
    ],
)
def test_where_a_sheet_may_not_be(tmp_path: Path, sheet: str, said: str) -> None:
    save(tmp_path / "in" / "a.png", noise())
    save(tmp_path / "there.png", noise())
    with pytest.raises(UsageError, match=said):
        check_sheet(tmp_path / sheet, str(tmp_path / "in"), tmp_path / "out", overwrite=False)
    check_sheet(tmp_path / "there.png", str(tmp_path / "in"), tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_kept_where_the_format_holds_it(model: Opened, tmp_path: Path, dtype: Any) -> None:
    pixels, top = noise(dtype=dtype), np.iinfo(dtype).max
    alpha = np.full((20, 30), top, dtype)
    alpha[5:12, 8:20] = top // 4
    clear = Picture(pixels, float(top), "", "PNG", (20, 30), alpha=alpha)
    (tmp_path / "in.png").write_bytes(encoded(clear))
    run(model, tmp_path / "in.png", tmp_path / "out.png")
    found = read_picture(tmp_path / "out.png", alpha=True)
    np.testing.assert_array_equal(found.pixels, doubled(pixels))
    assert found.alpha is not None and found.alpha.dtype == dtype and found.alpha.shape == (40, 60)
    assert abs(int(found.alpha[16, 28]) - top // 4) < top // 50 and found.alpha[0, 0] == top
    run(model, tmp_path / "in.png", tmp_path / "out.webp")
    small = read_picture(tmp_path / "out.webp", alpha=True)
    assert small.alpha is not None and abs(int(small.alpha[16, 28]) - 64) < 6
    done, _ = run(model, tmp_path / "in.png", tmp_path / "out.jpg")
    assert "alpha composited on white" in done.rows[0]["notes"]
    flat = read_picture(tmp_path / "out.jpg").pixels[14:20, 22:30]
    assert flat.mean() > 200  # three quarters of white
