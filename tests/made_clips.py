"""Short videos made with PyAV, and what is to be known of any: times of the frames, packets of the sound, tags."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

SECRETS = {"title": "Ann's birthday", "location": "+52.5200+013.4050/", "comment": "SECRET-COMMENT"}
RATES = {"aac": 48_000, "libopus": 48_000, "libmp3lame": 44_100}


def clip(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    stamps: Sequence[int] | None = None,
    tick: Fraction = Fraction(1, 30_000),
    codec: str = "libx264",
    sound: str = "",
    form: str = "yuv420p",
    full: bool = False,
) -> Path:
    """A video of RGB frames at 25 a second, or at their stamps in ticks; with a second of sound, tags and a chapter."""
    import av

    stamps = stamps or [round(i / (25 * tick)) for i in range(len(frames))]
    with av.open(str(path), "w") as container:
        container.metadata.update(SECRETS)
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.time_base, stream.codec_context.time_base = form, tick, tick
        if codec == "libx264":
            stream.codec_context.options = {"crf": "10", "bf": "2"}
        if full:
            stream.codec_context.color_range = 2
        voice = container.add_stream(sound, rate=RATES[sound], layout="mono") if sound else None
        container.set_chapters([{"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {}}])
        for pixels, stamp in zip(frames, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if full:
                frame = frame.reformat(format=form, dst_color_range=2)
            frame.time_base, frame.pts = tick, stamp
            container.mux(stream.encode(frame))
        if voice is not None:
            _speak(container, voice, RATES[sound])
        container.mux(stream.encode(None))
    return path


def _speak(container: Any, voice: Any, rate: int) -> None:
    import av

    form = voice.codec_context.format.name
    wave = 0.3 * np.sin(np.arange(rate) / 17).astype(np.float32)
    size = voice.codec_context.frame_size or 960
    for at in range(0, len(wave) - size, size):
        part = wave[None, at : at + size]
        whole = part if form.startswith("flt") else (part * 2**14).astype(np.int16 if "16" in form else np.int32)
        frame = av.AudioFrame.from_ndarray(whole, format=form, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        container.mux(voice.encode(frame))
    container.mux(voice.encode(None))


@dataclass(frozen=True)
class Facts:
    """What stands in a video file."""

    times: list[Fraction]
    """Of the frames, in seconds."""
    sound: list[tuple[Fraction, str]]
    """Time and SHA-256 of each packet."""
    frames: list[np.ndarray]
    """RGB (H, W, 3), as stored."""
    tags: dict[str, str]
    """Of the file and all its streams, keys in small letters."""
    kinds: list[str]
    chapters: int


def facts(path: Path) -> Facts:
    """Read by PyAV alone."""
    import av

    sound, times, frames = [], [], []
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.dts is not None and packet.stream.type == "audio":
                sound.append((packet.pts * packet.time_base, hashlib.sha256(bytes(packet)).hexdigest()))
        tags = {k.lower(): v for each in (container, *container.streams) for k, v in each.metadata.items()}
        kinds, chapters = [each.type for each in container.streams], len(container.chapters())
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            times.append(frame.pts * frame.time_base)
            frames.append(frame.to_ndarray(format="rgb24"))
    return Facts(times, sound, frames, tags, kinds, chapters)


def turn_on_its_side(path: Path) -> None:
    """Make a player turn an .mp4 by a quarter clockwise: the matrix in its track header."""
    blob = bytearray(path.read_bytes())
    at = blob.find(b"tkhd") + 4 + 40  # version 0: 4 + 20 bytes of times, 8 of nothing, 8 of layer, group and volume
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    blob[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(blob)
