"""video: the frames of a clip with their exact times, upright, and a clip made of frames, its sound copied as it is.

Frames stay in the planes that the codec stores (luma and two of chroma), so what nobody changes goes through no colour
conversion. PyAV (FFmpeg) reads and writes; it is imported when a clip is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import MissingExtraError, PictureError, UsageError

Plane = NDArray[np.uint8]

ENDINGS = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".mpg",
        ".mpeg",
        ".mts",
        ".m2ts",
        ".ts",
        ".3gp",
        ".wmv",
        ".flv",
        ".ogv",
        ".vob",
        ".mxf",
    ]
)
"""File names that are taken for videos."""
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Endings that are written; any other kind of video becomes .mkv, which holds every sound and uneven times."""
OTHERWISE = ".mkv"
_COLOURS = ("color_range", "colorspace", "color_primaries", "color_trc")
_LIMITED_DEN = 65_535
"""Ticks a second that MPEG-4 part 2 can count."""


@dataclass(frozen=True)
class Frame:
    """One upright frame of a clip."""

    planes: tuple[Plane, Plane, Plane]
    """Luma (H, W) and two of chroma, as large or half as wide and high; uint8."""
    time: Fraction
    """When it is shown, in seconds."""
    seconds: Fraction
    """For how long; 0 where the file does not say."""


@dataclass(frozen=True)
class Look:
    """What all frames of a clip have in common."""

    size_hw: tuple[int, int]
    """Of the upright luma."""
    form: str
    """`yuv420p` or `yuv444p`."""
    colours: tuple[Any, ...]
    """Range, matrix, primaries and transfer, by FFmpeg's numbers."""
    aspect: Fraction
    """Width of a pixel by its height."""
    tick: Fraction
    """Seconds of which all times are multiples."""
    rate: Fraction
    """Frames a second, on average."""

    @property
    def ink(self) -> tuple[float, float]:
        """The values of black and white in luma."""
        return (0.0, 255.0) if self.colours[0] == 2 else (16.0, 235.0)

    @property
    def frame_bytes(self) -> int:
        """What a frame takes in memory."""
        return (3 if self.form == "yuv444p" else 2) * self.size_hw[0] * self.size_hw[1]


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is a video.

    >>> is_video("a/B.MP4"), is_video("b.jpg")
    (True, False)
    """
    return Path(path).suffix.lower() in ENDINGS


def written_ending(path: str | os.PathLike[str]) -> str:
    """The ending of the clip that is made from this one.

    >>> written_ending("a.MOV"), written_ending("a.avi")
    ('.mov', '.mkv')
    """
    ending = Path(path).suffix.lower()
    return ending if ending in CONTAINERS else OTHERWISE


def is_exact(path: str | os.PathLike[str]) -> bool:
    """Whether what is written of a video has its very times; else they are rounded to milliseconds."""
    return Path(path).suffix.lower() in CONTAINERS


def require() -> Any:
    """The package PyAV. Raises MissingExtraError where it is not installed."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtraError("videos need PyAV, which is not installed: pip install 'sightline[video]'") from error
    return av


class Clip:
    """A video that is open for reading; made by `open_clip`."""

    def __init__(self, source: str, container: Any, look: Look, turns: int, dropped: tuple[str, ...]) -> None:
        self.source, self.look, self.dropped = source, look, dropped
        """`dropped`: what the file holds beside the pictures and the sound, which is not read."""
        self.notes: list[str] = []
        """What went otherwise than it should while frames were read."""
        self.sounds = list(container.streams.audio)
        self.count = int(_picture_streams(container)[0].frames)
        """How many frames there should be; 0 where the file does not say."""
        self._container, self._turns, self._video = container, turns, _picture_streams(container)[0]

    def frames(self, sound: Callable[[Any], None] = lambda packet: None) -> Iterator[tuple[Frame, Plane]]:
        """Each frame and its RGB (H, W, 3), in order; packets of sound are handed to `sound` as they come by.

        A packet that cannot be decoded is passed over, with a note. Raises PictureError where frames change their size.
        """
        av = require()
        broken, count, last = 0, 0, Fraction(-(10**9))
        for packet in self._container.demux(self._video, *self.sounds):
            if packet.stream.type == "audio":
                if packet.dts is not None:
                    sound(packet)
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                broken += 1
                continue
            for frame in frames:
                found, rgb = self._frame(frame, last)
                last, count = found.time, count + 1
                yield found, rgb
        if broken:
            self.notes.append(f"{broken} packets of the video are damaged, and their frames left out")
        if count < self.count - broken:
            self.notes.append(f"{count} frames could be read of {self.count} that there should be")

    def _frame(self, frame: Any, last: Fraction) -> tuple[Frame, Plane]:
        look, turned = self.look, _converted(frame, self.look.form)
        size_hw = (frame.width, frame.height) if self._turns % 2 else (frame.height, frame.width)
        if size_hw != look.size_hw:
            raise PictureError(self.source, f"its frames change their size from {look.size_hw} to {size_hw}")
        stamp = frame.pts if frame.pts is not None else frame.dts
        time = Fraction(stamp) * frame.time_base if stamp is not None else last + 1 / look.rate
        if time <= last:
            self.notes.append(f"a frame stood at {float(time):.3f} s, not after the one before it; it was moved")
            time = last + look.tick
        planes = [np.ascontiguousarray(np.rot90(_plane(each), self._turns)) for each in turned.planes[:3]]
        rgb = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), self._turns))
        seconds = Fraction(frame.duration or 0) * frame.time_base
        return Frame((planes[0], planes[1], planes[2]), time, seconds), rgb


@contextmanager
def open_clip(path: str | os.PathLike[str]) -> Iterator[Clip]:
    """Open a video to read it. Raises PictureError for a file without pictures that move, or one that is damaged, and
    MissingExtraError without PyAV."""
    av, name = require(), os.fspath(path)
    with _as_picture_error(name), ExitStack() as stack:
        first = _first_frame(av, name)
        container = stack.enter_context(av.open(name, metadata_errors="replace"))
        video = _picture_streams(container)[0]
        video.thread_type = "AUTO"
        turns = round((first.rotation or 0) / 90) % 4
        kept = {video.index, *(each.index for each in container.streams.audio)}
        others = [each for each in container.streams if each.index not in kept]
        dropped = [f"{each.type or 'unknown'} stream {each.index}" for each in others]
        dropped += [f"{len(container.chapters())} chapters"] if container.chapters() else []
        yield Clip(name, container, _look(first, video, turns), turns, tuple(dropped))


def _first_frame(av: Any, name: str) -> Any:
    with av.open(name, metadata_errors="replace") as container:
        streams = _picture_streams(container)
        if not streams:
            raise PictureError(name, "there is no video in it")
        for packet in container.demux(streams[0]):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            if frames:
                return frames[0]
    raise PictureError(name, "not one frame of it can be decoded")


def _picture_streams(container: Any) -> list[Any]:
    """Streams of moving pictures; the cover of an album is none."""
    from av.stream import Disposition

    return [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]


@contextmanager
def _as_picture_error(name: str) -> Iterator[None]:
    av = require()
    try:
        yield
    except av.error.FFmpegError as error:
        raise PictureError(name, f"cannot be read or written as a video: {error.strerror or error}") from error


def _look(first: Any, video: Any, turns: int) -> Look:
    even = first.width % 2 == 0 and first.height % 2 == 0
    form = "yuv420p" if even and "444" not in first.format.name else "yuv444p"  # the former plays everywhere
    context, told = video.codec_context, _converted(first, form)
    colours = [getattr(told, name) for name in _COLOURS]
    if first.format.name.startswith("yuvj"):
        colours[0] = 2
    aspect = Fraction(context.sample_aspect_ratio or 1) or Fraction(1)
    height, width = (first.width, first.height) if turns % 2 else (first.height, first.width)
    tick, rate = Fraction(video.time_base), Fraction(video.average_rate or 25)
    return Look((height, width), form, tuple(map(int, colours)), 1 / aspect if turns % 2 else aspect, tick, rate)


def _converted(frame: Any, form: str) -> Any:
    """The frame in planes of 8 bits; one that is so already, in whatever range, as it is."""
    return frame if frame.format.name.replace("yuvj", "yuv") == form else frame.reformat(format=form)


def _plane(plane: Any) -> Plane:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


class Film:
    """A video that is being written; made by `open_film`."""

    def __init__(self, container: Any, stream: Any, sounds: dict[int, Any], tick: Fraction, look: Look) -> None:
        self._container, self._stream, self._sounds = container, stream, sounds
        self._tick, self._look = tick, look

    def write(self, frame: Frame) -> None:
        """Add a frame, later than the one before."""
        av, look = require(), self._look
        if look.form == "yuv420p":
            flat = np.concatenate([each.ravel() for each in frame.planes])
            made = av.VideoFrame.from_ndarray(flat.reshape(-1, look.size_hw[1]), format=look.form)
        else:
            made = av.VideoFrame.from_ndarray(np.stack(frame.planes), format=look.form)
        made.time_base, made.pts = self._tick, round(frame.time / self._tick)
        made.duration = round(frame.seconds / self._tick)
        for name, value in zip(_COLOURS, look.colours):
            setattr(made, name, value)
        self._container.mux(self._stream.encode(made))

    def copy(self, packet: Any) -> None:
        """Add a packet of sound, its bytes as they are."""
        packet.stream = self._sounds[packet.stream.index]
        self._container.mux(packet)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))


@contextmanager
def open_film(file: BinaryIO, clip: Clip, ending: str, *, crf: int = 20, sound: bool = True) -> Iterator[Film]:
    """A video that looks as `clip` does, written to an open file: H.264 (VP9 in .webm, MPEG-4 where a PyAV without x264
    was built), no metadata, no chapters, the tracks of sound copied.

    ending: one of `CONTAINERS`. crf: 0 (without loss) to 51 (poor). Raises UsageError for another ending, PictureError
    for sound that this container does not take.
    """
    av, look = require(), clip.look
    if ending not in CONTAINERS:
        raise UsageError(f"videos are written as {', '.join(CONTAINERS)}, not {ending!r}")
    codec = "libvpx-vp9" if ending == ".webm" else "libx264" if "libx264" in av.codecs_available else "mpeg4"
    tick = look.tick if codec != "mpeg4" or look.tick.denominator <= _LIMITED_DEN else Fraction(1, 60_000)
    options = {"fflags": "+bitexact"}  # FFmpeg then leaves out its own name and the date
    if CONTAINERS[ending] in ("mp4", "mov"):
        options["video_track_timescale"] = str(tick.denominator)
    with av.open(file, "w", format=CONTAINERS[ending], options=options) as container:
        stream = container.add_stream(codec, rate=look.rate)
        stream.height, stream.width = look.size_hw
        stream.pix_fmt, stream.time_base = look.form, tick
        context = stream.codec_context
        context.time_base, context.sample_aspect_ratio = tick, look.aspect
        context.options = {"crf": str(crf)} if codec != "mpeg4" else {"qscale": str(max(1, crf // 4))}
        for name, value in zip(_COLOURS, look.colours):
            setattr(context, name, value)
        sounds = {each.index: _copied(container, each, ending, clip.source) for each in clip.sounds} if sound else {}
        film = Film(container, stream, sounds, tick, look)
        yield film
        film.finish()


def _copied(container: Any, sound: Any, ending: str, source: str) -> Any:
    av = require()
    try:
        made = container.add_stream_from_template(sound)
    except (ValueError, av.error.FFmpegError) as error:
        reason = f"its sound ({sound.codec_context.name}) cannot be copied into {ending} ({error}); leave the sound out"
        raise PictureError(source, reason) from error
    made.metadata.clear()
    return made
