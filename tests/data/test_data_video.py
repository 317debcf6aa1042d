"""Videos: the same times, the same bytes of sound, upright, and nothing that tells where it was taken."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from blocking import hidden
from made_clips import SECRETS, clip, facts, turn_on_its_side
from sightline.core.errors import PictureError, UsageError
from sightline.core.storage import writing
from sightline.data.video import open_clip, open_film, written_ending

UNEVEN = [1000, 1700, 4000, 4100, 9000, 9500, 9700, 12000, 20000, 21000]


def frames(count: int = 10, size: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    """A bright square that moves on a slope of grey."""
    made = []
    for i in range(count):
        pixels = np.add.outer(np.arange(size[0]), np.arange(size[1])).astype(np.uint8)[..., None].repeat(3, axis=2)
        pixels[10:30, 4 * i : 4 * i + 20] = (230, 40, 60)
        made.append(pixels)
    return made


def copy(source: Path, out: Path, **ways: Any) -> tuple[Path, list[str], tuple[str, ...]]:
    """The same clip, written anew, with notes and what was dropped."""
    with open_clip(source) as film, writing(out) as file, open_film(file, film, out.suffix, **ways) as made:
        for frame, rgb in film.frames(made.copy if ways.get("sound", True) else lambda packet: None):
            assert rgb.shape == (*frame.planes[0].shape, 3)
            made.write(frame)
    return out, film.notes, film.dropped


@pytest.mark.parametrize(
    ("ending", "ways"),
    [
        (".mp4", {"sound": "aac"}),
        (".mp4", {"sound": "aac", "stamps": UNEVEN}),
        (".mov", {"sound": "aac", "stamps": UNEVEN, "tick": Fraction(1, 90_000)}),
        (".m4v", {"stamps": UNEVEN}),
        (".mkv", {"sound": "libopus", "stamps": UNEVEN, "tick": Fraction(1, 1000)}),
        (".mkv", {"sound": "aac", "form": "yuv444p"}),
        (".webm", {"sound": "libopus", "codec": "libvpx-vp9", "tick": Fraction(1, 1000)}),
    ],
)
def test_times_and_sound_stay_as_they_were(tmp_path: Path, ending: str, ways: dict[str, Any]) -> None:
    source = clip(tmp_path / f"a{ending}", frames(), **ways)
    out, notes, _ = copy(source, tmp_path / f"b{written_ending(source)}")
    before, after = facts(source), facts(out)
    assert after.times == before.times
    assert len(after.times) == 10
    assert after.sound == before.sound
    assert (len(after.sound) > 20) == ("sound" in ways)
    assert notes == []


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_nothing_else_is_left(tmp_path: Path, ending: str) -> None:
    source = clip(tmp_path / f"a{ending}", frames(), sound="aac")
    assert facts(source).tags["title"] == SECRETS["title"]
    assert facts(source).chapters == 1
    out, _, dropped = copy(source, tmp_path / f"b{ending}")
    assert "1 chapters" in dropped
    blob, after = out.read_bytes(), facts(out)
    assert after.chapters == 0
    assert after.kinds == ["video", "audio"]
    for value in (*(value.encode() for value in SECRETS.values()), b"loci", b"earth"):
        assert value not in blob
    assert SECRETS["comment"].encode() in source.read_bytes()
    known = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "language", "handler_name"}
    assert set(after.tags) <= known | {"vendor_id"}
    assert after.tags.get("encoder", "Lavf") == "Lavf"


@pytest.mark.parametrize("full", [False, True])
def test_planes_go_through_no_conversion(tmp_path: Path, full: bool) -> None:
    source = clip(tmp_path / "a.mkv", frames(), full=full, tick=Fraction(1, 1000))
    out, _, _ = copy(source, tmp_path / "b.mkv", crf=0)
    with open_clip(source) as one, open_clip(out) as other:
        assert one.look == other.look
        assert one.look.ink == ((0, 255) if full else (16, 235))
        for (a, _), (b, _) in zip(one.frames(), other.frames(), strict=True):
            for x, y in zip(a.planes, b.planes, strict=True):
                np.testing.assert_array_equal(x, y)


def test_without_x264_it_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    source = clip(tmp_path / "a.mp4", frames(), stamps=[3 * stamp for stamp in UNEVEN], tick=Fraction(1, 90_000))
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    before, after = facts(source), facts(copy(source, tmp_path / "b.mp4", crf=4)[0])
    assert after.times == before.times  # all of them are whole numbers of 1/60000 s
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert np.abs(after.frames[5].astype(int) - before.frames[5]).mean() < 4


@pytest.mark.parametrize(
    ("ending", "ways", "form"),
    [
        (".mkv", {"codec": "ffv1", "form": "bgr0"}, "yuv420p"),
        (".mkv", {"codec": "ffv1", "form": "gray"}, "yuv420p"),
        (".mp4", {"form": "yuv422p"}, "yuv420p"),
        (".mkv", {"codec": "ffv1", "form": "yuv420p16le"}, "yuv420p"),
        (".mkv", {"form": "yuv444p10le"}, "yuv444p"),
    ],
)
def test_other_pixels_become_eight_bits(tmp_path: Path, ending: str, ways: dict[str, Any], form: str) -> None:
    source = clip(tmp_path / f"a{ending}", frames(4), **ways)
    with open_clip(source) as film:
        assert film.look.form == form
    before, after = facts(source), facts(copy(source, tmp_path / f"b{ending}", crf=4)[0])
    assert after.times == before.times
    assert np.abs(after.frames[2].astype(int) - before.frames[2]).mean() < 3


def test_sound_is_left_out_where_that_is_wished(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", frames(), sound="aac")
    assert facts(copy(source, tmp_path / "b.mp4", sound=False)[0]).kinds == ["video"]


def test_a_clip_on_its_side_is_set_upright(tmp_path: Path) -> None:
    plain = facts(clip(tmp_path / "a.mp4", frames()))
    source = tmp_path / "a.mp4"
    turn_on_its_side(source)
    after = facts(copy(source, tmp_path / "b.mp4", crf=5)[0])
    assert after.frames[0].shape == (96, 64, 3)
    clockwise = np.rot90(plain.frames[5], -1).astype(int)
    assert np.abs(after.frames[5].astype(int) - clockwise).mean() < 3
    assert after.times == plain.times


def test_odd_sizes_are_kept(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mkv", frames(4, (63, 95)), form="yuv444p")
    after = facts(copy(source, tmp_path / "b.mkv", crf=5)[0])
    assert after.frames[0].shape == (63, 95, 3)
    assert np.abs(after.frames[2].astype(int) - facts(source).frames[2]).mean() < 2


def test_other_kinds_become_mkv(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.avi", frames(), codec="mpeg4", sound="libmp3lame", tick=Fraction(1, 25))
    assert written_ending(source) == ".mkv"
    before, after = facts(source), facts(copy(source, tmp_path / "b.mkv")[0])
    assert [sum_ for _, sum_ in after.sound] == [sum_ for _, sum_ in before.sound]
    assert np.abs(np.array(after.times, float) - np.array(before.times, float)).max() <= 0.0005


@pytest.mark.parametrize(
    ("blob", "said"),
    [(b"", "cannot be read"), (b"hello, I am a text" * 40, "cannot be read"), ("cut", "cannot be read|not one frame")],
)
def test_what_is_no_video(tmp_path: Path, blob: Any, said: str) -> None:
    path = tmp_path / "a.mp4"
    if blob == "cut":
        blob = clip(path, frames()).read_bytes()[:900]
    path.write_bytes(blob)
    with pytest.raises(PictureError, match=said), open_clip(path):
        pass


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        voice = container.add_stream("aac", rate=48_000, layout="mono")
        from made_clips import _speak

        _speak(container, voice, 48_000)
    with pytest.raises(PictureError, match="no video"), open_clip(tmp_path / "a.mkv"):
        pass


def test_damaged_packets_are_told(tmp_path: Path) -> None:
    import av

    source = clip(tmp_path / "a.webm", frames(12), codec="libvpx-vp9", tick=Fraction(1, 1000))
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.dts is not None][-2]
        body = bytes(packet)
    blob = source.read_bytes()
    assert blob.count(body) == 1
    source.write_bytes(blob.replace(body, b"\x00" * len(body)))  # no VP9 frame begins so
    out, notes, _ = copy(source, tmp_path / "b.webm")
    assert notes == ["1 packets of the video are damaged, and their frames left out"]
    assert 8 < len(facts(out).times) < 12


def test_sound_that_does_not_fit_is_named(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mkv", frames(), sound="aac")
    with pytest.raises(PictureError, match=r"sound \(aac\)|cannot be read or written"):
        copy(source, tmp_path / "b.webm")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv"]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mkv", frames())
    with pytest.raises(UsageError, match=r"not '\.gif'"):
        copy(source, tmp_path / "b.gif")


def test_without_pyav_the_extra_is_named(tmp_path: Path) -> None:
    code = hidden("av") + "from sightline.data.video import open_clip\nwith open_clip('a.mp4'): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in done.stderr
    assert "sightline[video]" in done.stderr


def test_real_clips_keep_their_times(data_root: Path, tmp_path: Path) -> None:
    source = data_root / "video" / "asl_book.mkv"
    assert facts(copy(source, tmp_path / "b.mkv", crf=40)[0]).times == facts(source).times
