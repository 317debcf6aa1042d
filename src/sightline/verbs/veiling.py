"""veiling: one picture or one video made anonymous: what is found in it, veiled, in a file with nothing else in it."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.results import Result
from sightline.core.storage import write_bytes, writing
from sightline.data.encode import encoded, in_srgb, is_lossless_webp
from sightline.data.pictures import Picture, read_picture
from sightline.data.video import Clip, Frame, is_exact, open_clip, open_film
from sightline.draw.veil import Veil, covered, veiled
from sightline.metrics.boxes import iou
from sightline.tasks.faces import FINDER
from sightline.verbs.holding import Held, Holder
from sightline.verbs.opened import Opened
from sightline.verbs.pace import Pace, Queue, answers, fitted
from sightline.verbs.predict import declared_bits

CAREFUL, USUAL = 0.5, 0.3
"""The usual score is so much of the model's own threshold, which is so much where it has none: a face that is missed
costs more than a wall that is veiled."""
CLOSER, LARGE = 1.5, 2.0
"""Windows of the closer look, and from where on a picture gets one, in sides of the model's input."""
SAME = 0.6
"""IoU from which on what the closer look sees was seen before."""
HELD_BYTES = 512_000_000
"""Frames of a video that wait for what the next ones show."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How files are made anonymous. Raises UsageError for what cannot be."""

    veil: Veil = field(default_factory=Veil)
    score: float | None = None
    """From which on a box is veiled [half of the model's own threshold]."""
    classes: tuple[str, ...] = ()
    """What is veiled [everything that the model finds]."""
    closer: bool = True
    """Look at pictures that are much larger than the model's input in overlapping windows, too."""
    quality: int = 95
    """Of JPEG, WebP and AVIF, 1 to 100."""
    crf: int = 20
    """Of video, 0 (without loss) to 51."""
    drop_audio: bool = False
    gap: float = 1.0
    """Seconds of a video without a sighting that are bridged."""
    extend: float = 0.3
    """Seconds for which a box stands before the first and after the last sighting."""

    def __post_init__(self) -> None:
        sound = 0 <= (self.score or 0) <= 1 and 1 <= self.quality <= 100 and 0 <= self.crf <= 51
        if not sound or self.gap < 0 or self.extend < 0:
            raise UsageError("score is 0 to 1, quality 1 to 100, crf 0 to 51, gap and extend are seconds")


@dataclass(frozen=True)
class Found:
    """What a model sees in one picture."""

    xyxy: NDArray[np.float64]
    """(N, 4), in pixels of the upright picture."""
    scores: NDArray[np.float64]
    """(N,)"""


@dataclass(frozen=True)
class Done:
    """What was done to one file; what it says is written down."""

    count: int
    """Boxes of a picture; of a video, things followed from frame to frame."""
    least_side: float | None
    """The shorter side of the smallest box, in pixels."""
    least_score: float | None
    frames: int = 0
    """Of a video."""
    notes: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    """Of each box that `Annotated` has, how much of its area was veiled."""


def boxes_of(result: Result, *, score: float, classes: Sequence[str] = ()) -> Found:
    """The boxes that a result has, from a score on, of some classes or all. Raises UsageError where it has none."""
    xyxy = getattr(result, "xyxy", None)
    if xyxy is None:
        kind = type(result).__name__
        raise UsageError(f"the model answers with {kind}, which have no boxes; give one that finds faces or things")
    boxes = np.asarray(xyxy, np.float64).reshape(-1, 4)
    scores = np.asarray(getattr(result, "scores", np.ones(len(boxes))), np.float64)
    kept = scores >= score
    if classes:
        names = np.array(getattr(result, "classes", ()))
        kept &= np.isin(names[result.indexes], classes)  # type: ignore[attr-defined]
    return Found(boxes[kept], scores[kept])


def finder_of(opened: Opened) -> Opened:
    """The model whose boxes are veiled: of one that describes faces, the detector inside. Raises UsageError for none.

    A face need not be described to be veiled, and one that is not sure enough to be described may well be veiled.
    """
    if opened.card.task != "faces":
        return opened
    if FINDER not in opened.card.inner:
        raise UsageError(f"{opened.bundle.path} finds no faces; join a detector to it: sightline faces model --help")
    return opened.inside(FINDER)


class Eyes:
    """What is looked for, with which model."""

    def __init__(self, card: Card, wish: Wish) -> None:
        unknown = [name for name in wish.classes if name not in card.classes]
        if unknown:
            raise UsageError(f"the model knows no {unknown[0]!r}; it knows {', '.join(card.classes[:20])}")
        self.wish, self.score = wish, usual_score(card) if wish.score is None else wish.score

    def look(self, opened: Opened, picture: Picture) -> Found:
        """What is in a picture, seen whole and, if it is large, in windows as well."""
        found = self._answer(opened, picture)
        longest, side = max(picture.size_hw), max(opened.card.preparation.size_hw)
        if not self.wish.closer or longest <= LARGE * side or not hasattr(opened.task, "merge"):
            return found
        closer = self._answer(_closer(opened), picture)
        fresh = iou(closer.xyxy, found.xyxy).max(axis=1, initial=0) < SAME
        xyxy, scores = closer.xyxy[fresh], closer.scores[fresh]
        return Found(np.concatenate([found.xyxy, xyxy]), np.concatenate([found.scores, scores]))

    def _answer(self, opened: Opened, picture: Picture) -> Found:
        (result,) = opened.answer([opened.encode(picture)])
        return boxes_of(result, score=self.score, classes=self.wish.classes)


def usual_score(card: Card) -> float:
    """The score from which on boxes are veiled where none is given."""
    return CAREFUL * min(map(float, card.operating.get("thresholds", {}).values()), default=USUAL)


def _closer(opened: Opened) -> Opened:
    """The same model, looking at windows; one that does so anyhow as it is."""
    ready = opened.card.preparation
    if ready.tile:
        return opened
    # multiple: free sides would shrink windows that are not of the input's shape
    ready = replace(ready, tile=round(CLOSER * max(ready.size_hw)), overlap=0.25, multiple=0)
    return replace(opened, bundle=replace(opened.bundle, card=replace(opened.card, preparation=ready)), _on={})


def veil_picture(
    eyes: Eyes, opened: Opened, source: Path, out: Path, *, annotated: NDArray[np.float64] | None = None
) -> Done:
    """Read, look, veil and write one picture. Raises PictureError and StorageError."""
    wish, picture = eyes.wish, read_picture(source, bits=declared_bits(opened.card))
    blob = source.read_bytes()
    picture = in_srgb(picture, blob)
    found = eyes.look(opened, picture)
    pixels = veiled(picture.pixels, found.xyxy, wish.veil, secret=secrets.randbits(128), high=picture.high)
    made = encoded(replace(picture, pixels=pixels), quality=wish.quality, lossless=is_lossless_webp(blob))
    write_bytes(out, made)
    shares: tuple[float, ...] = ()
    if annotated is not None:
        shares = veiled_shares(annotated, covered(found.xyxy, wish.veil, picture.size_hw))
    return Done(len(found.xyxy), *_least(found), notes=picture.notes, shares=shares)


def veiled_shares(xyxy: NDArray[np.float64], mask: NDArray[np.bool_]) -> tuple[float, ...]:
    """Of each box (N, 4), the share of its pixels that a mask (H, W) covers."""
    shares = []
    for left, top, right, bottom in xyxy:
        rows = slice(int(max(0, np.floor(top))), int(np.ceil(bottom)))
        part = mask[rows, int(max(0, np.floor(left))) : int(np.ceil(right))]
        shares.append(float(part.mean()) if part.size else 0.0)
    return tuple(shares)


def veil_video(
    eyes: Eyes, opened: Opened, source: Path, out: Path, *, pool: Executor, threads: int
) -> Generator[tuple[int, int], None, Done]:
    """The same of a video, frame after frame; yields how many are written, and of how many, 0 where nobody knows.

    What is written takes the name `out` when it is whole. Raises PictureError, StorageError, and MissingExtraError
    without PyAV.
    """
    wish, secret, pace = eyes.wish, secrets.randbits(128), Pace(threads, 1, apart=True)
    how: dict[str, Any] = {"crf": wish.crf, "sound": not wish.drop_audio}
    with open_clip(source) as clip, writing(out) as file, open_film(file, clip, out.suffix.lower(), **how) as film:
        frames = clip.frames((lambda packet: None) if wish.drop_audio else film.copy)
        room = max(2, HELD_BYTES // clip.look.frame_bytes)
        holder: Holder[Frame] = Holder(gap=wish.gap, extend=wish.extend, room=room)

        def work(model: Opened, some: Sequence[Any]) -> list[tuple[Frame, Found]]:
            return [(frame, eyes.look(model, _picture(rgb, str(source)))) for frame, rgb in some]

        seen, count = Found(np.zeros((0, 4)), np.zeros(0)), 0
        turns = answers(pool, work, fitted(opened, pace), Queue(frames), pace)
        for held, found in _held(holder, turns):
            if held is not None:
                film.write(_veiled_frame(held, clip, wish.veil, secret))
                count += 1
                yield count, clip.count
            seen = _smallest(seen, found)
    return Done(holder.tracks, *_least(seen), frames=count, notes=_notes(clip, out, wish))


def _held(
    holder: Holder[Frame], turns: Iterator[tuple[Frame, Found]]
) -> Iterator[tuple[Held[Frame] | None, Found | None]]:
    """Frames that are due, and what was found in those that came in."""
    for frame, found in turns:
        yield None, found
        for due in holder.feed(frame, float(frame.time), found.xyxy):
            yield due, None
    for due in holder.rest():
        yield due, None


def _veiled_frame(held: Held[Frame], clip: Clip, veil: Veil, secret: int) -> Frame:
    """Each plane is veiled by itself, in its own pixels; chroma has its grey where luma has black and white."""
    frame, planes = held.item, []
    height, width = clip.look.size_hw
    for place, plane in enumerate(frame.planes):
        scale = np.array([plane.shape[1] / width, plane.shape[0] / height] * 2)
        ink = clip.look.ink if place == 0 else (128.0, 128.0)
        pixels = veiled(plane[..., None], held.xyxy * scale, veil, secret=secret + place, numbers=held.numbers, ink=ink)
        planes.append(pixels[..., 0])
    return replace(frame, planes=(planes[0], planes[1], planes[2]))


def _picture(rgb: NDArray[np.uint8], source: str) -> Picture:
    return Picture(rgb, 255.0, source, "array", (rgb.shape[0], rgb.shape[1]))


def _least(found: Found) -> tuple[float | None, float | None]:
    if not len(found.xyxy):
        return None, None
    sides = (found.xyxy[:, 2:] - found.xyxy[:, :2]).min(axis=1)
    return round(float(sides.min()), 1), round(float(found.scores.min()), 4)


def _smallest(seen: Found, found: Found | None) -> Found:
    """Of what was seen so far and now, the smallest and the least sure, which is all that is told."""
    if found is None or not len(found.xyxy):
        return seen
    xyxy, scores = np.concatenate([seen.xyxy, found.xyxy]), np.concatenate([seen.scores, found.scores])
    kept = sorted({int((xyxy[:, 2:] - xyxy[:, :2]).min(axis=1).argmin()), int(scores.argmin())})
    return Found(xyxy[kept], scores[kept])


def _notes(clip: Clip, out: Path, wish: Wish) -> tuple[str, ...]:
    notes = [f"left out: {', '.join(clip.dropped)}"] if clip.dropped else []
    if clip.sounds:
        notes.append("the sound was left out" if wish.drop_audio else "the sound is as it was, voices and all")
    if not is_exact(clip.source):
        notes.append(f"written as {out.suffix}, its times rounded to milliseconds")
    return (*notes, *clip.notes)
