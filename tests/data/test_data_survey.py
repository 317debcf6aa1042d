import threading
from pathlib import Path

import numpy as np
import pytest
from made_pictures import encoded, encoded16, exif, scene

from sightline.core.card import Preparation
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Progress
from sightline.data.layouts import imagefolder
from sightline.data.pictures import Limits, pixel_digest, read_picture
from sightline.data.prepare import prepare
from sightline.data.read import read
from sightline.data.samples import Label, Sample, Samples
from sightline.data.survey import Survey, survey


def final(samples, **options):
    *events, last = survey(samples, **options)
    assert isinstance(last, Survey) and all(isinstance(event, Progress) for event in events)
    assert [event.done for event in events] == sorted({event.done for event in events})
    assert events[-1].done == events[-1].total == len(samples)
    return last


@pytest.fixture
def mixed(tmp_path):
    blobs = {
        "a/1.png": encoded(scene(20, 30), "PNG"),
        "a/2.jpg": encoded(scene(300, 200), "JPEG", exif=exif(6)),
        "a/3.png": b"broken",
        "b/1.png": encoded16(scene(10, 12, 1).astype(np.uint16) * 257),
        "b/2.png": b"",
        "b/3.gif": encoded(scene(9, 9), "GIF", save_all=True, append_images=[]),
    }
    for name, blob in blobs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(blob)
    return imagefolder.read(tmp_path)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_survey_finds_what_reading_one_by_one_finds(mixed, threads):
    found = final(mixed, threads=threads, at_least_hw=(10, 10))
    assert [row.path for row in found.samples.rows] == ["a/1.png", "a/2.jpg", "b/1.png", "b/3.gif"]
    assert found.sizes_hw.tolist() == [[20, 30], [200, 300], [10, 12], [9, 9]] and found.sizes_hw.dtype == np.int64
    assert found.grey.tolist() == [False, False, True, False] and found.dtype == "uint16"
    assert found.left_out == (
        ("a/3.png", "this is text, not a picture: it begins with 'broken'"),
        ("b/2.png", "the file is empty"),
    )
    assert found.samples.left_out == found.left_out and found.kept == ()
    one_by_one = [read_picture(mixed.open(row), at_least_hw=(10, 10)) for row in found.samples.rows]
    assert found.digests == tuple(map(pixel_digest, one_by_one))


def test_keep_fills_a_cache_in_the_same_pass(mixed):
    preparation = Preparation(size_hw=(8, 8))
    found = final(mixed, keep=lambda sample, picture: (sample.path, prepare(picture, preparation)[0]), threads=2)
    assert [path for path, _ in found.kept] == [row.path for row in found.samples.rows]
    assert np.stack([array for _, array in found.kept]).shape == (4, 8, 8, 3)


def test_order_is_that_of_the_rows_whichever_is_done_first():
    """The first picture is not done before the last of those that run beside it."""
    arrays = {"x": np.arange(40 * 16, dtype=np.uint16).reshape(40, 4, 4)}
    samples = Samples(Path("d"), tuple(Sample(f"x[{i}]", Label("a")) for i in range(40)), "npz", ("a",), arrays=arrays)
    last = threading.Event()

    def keep(sample, picture):
        if sample.path == "x[0]":
            assert last.wait(30)
        elif sample.path == "x[3]":
            last.set()
        return int(picture.pixels[0, 0, 0])

    assert final(samples, threads=2, keep=keep).kept == tuple(range(0, 40 * 16, 16))


def test_notes_are_counted(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}/1.jpg").write_bytes(encoded(encoded_cmyk(), "JPEG"))
    assert final(imagefolder.read(tmp_path)).notes == {"CMYK converted to RGB": 3}


def encoded_cmyk():
    from PIL import Image

    return Image.fromarray(scene(8, 8)).convert("CMYK")


@pytest.mark.parametrize("max_bad, refused", [(0.0, True), (0.33, True), (0.34, False), (1.0, False)])
def test_too_many_bad_pictures_are_refused(mixed, max_bad, refused):
    if not refused:
        assert len(final(mixed, max_bad=max_bad).left_out) == 2
        return
    with pytest.raises(DataError, match="2 of 6 pictures cannot be read") as caught:
        final(mixed, max_bad=max_bad)
    assert "a/3.png" in str(caught.value) and "b/2.png: the file is empty" in str(caught.value)


def test_nothing_that_can_be_read_is_an_error(mixed):
    with pytest.raises(DataError, match=r"6 of 6 .*nothing is left(?s:.*)and 1 more"):
        final(mixed, limits=Limits(max_bytes=1))
    with pytest.raises(DataError, match="0 of 0"):
        final(Samples(mixed.root, (), "csv"))


def test_wrong_options_are_not_bad_pictures(mixed):
    with pytest.raises(UsageError, match="bits"):
        final(mixed, bits=3)


@pytest.mark.parametrize("how", ["close", "interrupt"])
def test_stopping_cancels_what_has_not_begun(how):
    arrays = {"x": np.zeros((100, 4, 4), np.uint8)}
    samples = Samples(Path("d"), tuple(Sample(f"x[{i}]", Label("a")) for i in range(100)), "npz", ("a",), arrays=arrays)
    begun, gate = [], threading.Event()

    def keep(sample, picture):
        begun.append(sample.path)
        assert sample.path == "x[0]" or gate.wait(30)

    stream = survey(samples, threads=2, keep=keep)
    next(stream)
    if how == "close":
        stream.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
    gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("sightline-survey"):
            thread.join(30)
    assert len(begun) <= 3, "the first, and the two that were running"


def test_only_a_few_pictures_are_in_hand():
    arrays = {"x": np.zeros((300, 4, 4), np.uint8)}
    samples = Samples(Path("d"), tuple(Sample(f"x[{i}]", Label("a")) for i in range(300)), "npz", ("a",), arrays=arrays)
    begun = []
    stream = survey(samples, threads=2, keep=lambda sample, picture: begun.append(sample.path))
    for event in stream:
        if isinstance(event, Progress):
            assert len(begun) <= event.done + 12


def test_real_bad_files_never_stop_a_survey(real):
    folder = real / "photos/odd"
    rows = tuple(Sample(file.name, Label("x")) for file in sorted(folder.iterdir()) if file.suffix != ".csv")
    found = final(Samples(folder, rows, "csv", ("x",)), threads=2)
    assert len(found.samples) == 37 and len(found.left_out) == len(rows) - 37
    assert found.dtype == "float32" and found.sizes_hw.max() == 3000


def test_real_copies_are_found_by_their_digests(real):
    samples = read(real / "medical/mri")
    found = final(samples, threads=2)
    assert len(set(found.digests)) < len(found.digests) == 126
