"""group: the faces of a photo library by person; new photos join, and what was corrected stays corrected."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import PictureError, UsageError
from sightline.core.events import Event, Note, Progress, Saved
from sightline.core.results import Faces
from sightline.core.storage import write_bytes, write_text
from sightline.data.chips import chip
from sightline.data.pictures import read_picture
from sightline.draw.sheet import Tile, contact_sheet, to_u8
from sightline.gallery.grouping import grouped
from sightline.gallery.keys import Source
from sightline.gallery.library import APART, IGNORED, Library, held, read_library, write_library
from sightline.metrics.comparisons import compared
from sightline.metrics.match_threshold import Claim, threshold_for
from sightline.tasks._face_quality import ENOUGH
from sightline.verbs.calibrate import guarded
from sightline.verbs.enrol import model_of
from sightline.verbs.handing import check_finds
from sightline.verbs.listed import listed
from sightline.verbs.opened import Opened
from sightline.verbs.predict import predict
from sightline.verbs.sources import expand

SAVED_EVERY = 500
"""Pictures after which what was found is written, so that little is lost."""
FEW = 50
"""Pairs of faces in one picture that it takes, at least, to choose a threshold by."""
SHOWN, COLUMNS = 8, 8
"""Faces of a person on the sheet."""
FIELDS = ("face", "person", "found", "path", "left", "top", "right", "bottom", "quality")
"""Of groups.csv; `found` is the person as it was written, so that what somebody changed shows."""


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """What came of it."""

    library: Library
    names: tuple[str, ...]
    """Who each face is: as somebody said, else `person 7`; empty for one that is alone, `IGNORED` as somebody said."""
    claim: Claim | None
    """The threshold, where it was chosen by people who are in one picture and so differ."""
    new: int
    """Pictures that were looked at now."""

    @property
    def people(self) -> Counter[str]:
        """How many faces each has."""
        return Counter(name for name in self.names if name and name != IGNORED)


def group(
    opened: Opened,
    folder: Path,
    path: Path,
    source: Source,
    *,
    out: Path,
    threshold: float | None = None,
    corrections: Path | None = None,
    named: Mapping[str, str] | None = None,
) -> Generator[Event, None, Grouping]:
    """Group the faces of all pictures under a folder; yields events.

    path: the sealed library, made where there is none and kept whatever happens, for one run at a time; pictures that
    it knows are not looked at again. corrections: a `groups.csv` of an earlier run in which somebody changed persons,
    `-` for a face to be passed over, empty for one that is nobody of that group. named: `person 7` → a name. out: a
    folder for groups.csv and people.jpg. threshold: the likeness from which on two faces may be one person's; by
    default chosen by faces that are in one picture together. Raises UsageError for a model that finds no faces, one
    that is not the library's, a table or a group that is none, and where another run has the library.
    """
    check_finds(opened)
    changed = _read_corrections(corrections) if corrections else {}
    with held(path):
        library = read_library(path, source) if path.exists() else Library(model=model_of(opened))
        if library.model != model_of(opened):
            raise UsageError(
                f"the faces in {path} were described by another model than {opened.bundle.path}; give that one"
            )
        if strange := len(changed.keys() - set(library.ids)):
            yield Note(text=f"{strange:,} faces that {corrections} changes are not in {path}", kind="warning")
        library, new = yield from _looked_at(opened, folder, corrected(library, changed, named or {}), path, source)
        claim = None
        if threshold is None:
            claim = by_photos(library)
            threshold = claim.threshold
            yield Note(text=claim.sentence, kind="choice")
        library = numbered(library, threshold)
        write_library(library, path, source)
        found = Grouping(library=library, names=names_of(library), claim=claim, new=new)
        write_text(out / "groups.csv", _table(found))
        yield Saved(path=out / "groups.csv", what="table of faces")
        yield from _sheet(found, out / "people.jpg")
    return found


def _looked_at(
    opened: Opened, folder: Path, library: Library, path: Path, source: Source
) -> Generator[Event, None, tuple[Library, int]]:
    """The library, written, with the faces of new and changed pictures, and without those of pictures that are gone.

    An unreadable picture counts as one without faces, until its file changes.
    """
    there = {each: _stamp(each) for each in expand([str(folder.resolve())])}
    old = {each for each, stamp in library.photos.items() if there.get(each, stamp) == stamp and Path(each).exists()}
    library = library.kept([each in old for each in library.paths])
    library = replace(library, photos={each: library.photos[each] for each in library.photos if each in old})
    fresh, seen = [each for each in there if each not in old], list[Library]()
    try:
        for done, answer in enumerate(predict(opened, fresh), start=1):
            if isinstance(answer.result, Faces):
                seen.append(_faces_of(answer.source, there[answer.source], answer.result, library.model))
            else:
                seen.append(Library(model=library.model, photos={answer.source: there[answer.source]}))
                yield Note(text=f"left out {answer.source}: {answer.error}", kind="warning")
            if len(seen) == SAVED_EVERY:
                library, seen = library.joined(seen), []
                write_library(library, path, source)
            yield Progress(what="pictures looked at", done=done, total=len(fresh))
    finally:  # an interruption, too, loses neither what was seen nor what was said
        library = library.joined(seen)
        write_library(library, path, source)
    return library, len(fresh)


def _stamp(path: str) -> str:
    try:
        stat = Path(path).stat()
    except OSError:  # a link to nothing, or gone since
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _faces_of(path: str, stamp: str, faces: Faces, model: str) -> Library:
    places = [f"{path} {each.round(1).tolist()}" for each in faces.xyxy]
    points = np.zeros((len(places), 5, 2), np.float32) if faces.points is None else faces.points
    return Library(
        model=model,
        photos={path: stamp},
        ids=tuple("f" + hashlib.sha256(place.encode()).hexdigest()[:12] for place in places),  # no spreadsheet's number
        paths=(path,) * len(places),
        vectors=faces.vectors,
        xyxy=faces.xyxy,
        points=points,
        quality=faces.quality,
        numbers=np.zeros(len(places), np.int64),
    )


def by_photos(library: Library) -> Claim:
    """A threshold by pairs of faces that are in one picture, which are different people's.

    Raises UsageError where there are too few.
    """
    by_path: dict[str, list[int]] = {}
    for row, path in enumerate(library.paths):
        if library.quality[row] >= ENOUGH:
            by_path.setdefault(path, []).append(row)
    pairs = np.array([pair for rows in by_path.values() for pair in combinations(rows, 2)], np.int64).reshape(-1, 2)
    if len(pairs) < FEW:
        raise UsageError(
            f"only {len(pairs)} pairs of faces are in one picture together, too few to choose by them from which "
            "likeness on two faces are one person's; say it: --likeness 0.4"
        )
    scores = np.einsum("nd,nd->n", library.vectors[pairs[:, 0]], library.vectors[pairs[:, 1]])
    claim = threshold_for(compared(scores, pairs[:, 0], pairs[:, 1]), 0.001)
    return guarded(claim, scores.astype(np.float64), np.zeros(0), 1, width=library.vectors.shape[1])


def numbered(library: Library, threshold: float) -> Library:
    """Grouped anew, each group with the number that most of its faces had before, or a new one."""
    shown = np.array([library.said.get(face) != IGNORED for face in library.ids], np.bool_)
    said = [library.said.get(face, "") or ("apart " + face if face in library.said else "") for face in library.ids]
    groups = np.full(len(library.ids), -1, np.int64)
    rows = np.flatnonzero(shown)
    groups[rows] = grouped(
        library.vectors[rows],
        [library.paths[row] for row in rows],
        library.quality[rows] >= ENOUGH,
        [said[row] for row in rows],
        threshold=threshold,
    )
    numbers, fresh = np.zeros(len(groups), np.int64), count(int(library.numbers.max(initial=0)) + 1)
    taken: set[int] = set()
    for each in range(int(groups.max(initial=-1)) + 1):  # the largest first
        own = groups == each
        if own.sum() == 1 and library.said.get(library.ids[int(own.argmax())]) == APART:
            continue
        before = Counter(number for number in library.numbers[own].tolist() if number and number not in taken)
        number = before.most_common(1)[0][0] if before else next(fresh)
        taken.add(number)
        numbers[own] = number
    return replace(library, numbers=numbers)


def names_of(library: Library) -> tuple[str, ...]:
    """Who each face is; see `Grouping.names`."""
    told = {
        number: library.said[face]
        for face, number in zip(library.ids, library.numbers.tolist())
        if number and library.said.get(face)
    }
    return tuple(
        IGNORED if library.said.get(face) == IGNORED else told.get(number, f"person {number}") if number else ""
        for face, number in zip(library.ids, library.numbers.tolist())
    )


def corrected(library: Library, changed: Mapping[str, str], named: Mapping[str, str]) -> Library:
    """With what somebody said: of single faces by id, and of whole groups by name.

    The name of a group is said of the face in its middle, so that the others stay free to turn out somebody else's, and
    `IGNORED` of all; of a group from which faces are taken, the others stay together. A face of `IGNORED` that is made
    `APART` is free again. Raises UsageError for a group that is not there.
    """
    names, said = names_of(library), dict(library.said)
    for old, new in named.items():
        rows = [row for row, name in enumerate(names) if name == old]
        if not rows:
            known = ", ".join(sorted({name for name in names if name})[:10])
            raise UsageError(f"there is no {old!r} in this library; there are {known or 'no groups yet'}")
        vectors = library.vectors[rows]
        middle = rows[int((vectors @ vectors.sum(axis=0)).argmax())]
        faces = [library.ids[row] for row in rows if new == IGNORED or row == middle]
        faces += [library.ids[row] for row in rows if library.said.get(library.ids[row]) in (old, APART)]
        said |= dict.fromkeys(faces, new)
    now = dict(zip(library.ids, names))
    moved = {face: name for face, name in changed.items() if face in now and name != now[face]}
    left = {now[face] for face in moved} - {"", IGNORED}
    said |= {face: named.get(name, name) for face, name in now.items() if name in left}  # else the most alike go along
    said |= moved
    free = {face for face, name in moved.items() if name == APART and now[face] == IGNORED}
    out = np.array([moved.get(face) == APART for face in library.ids], np.bool_)
    return replace(
        library,
        said={face: name for face, name in said.items() if face not in free},
        numbers=np.where(out, 0, library.numbers),  # so that the group it leaves keeps its number
    )


def _read_corrections(path: Path) -> dict[str, str]:
    """The persons that somebody changed, by face."""
    rows = listed(path, ("face", "person"))
    return {row["face"]: row["person"] for row in rows if row["person"] != row.get("found", "")}


def _table(found: Grouping) -> str:
    """groups.csv, people by size, then the faces that are alone."""
    library, people = found.library, found.people
    order = sorted(range(len(found.names)), key=lambda row: (-people[found.names[row]], found.names[row], row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in order:
        corners = [round(float(value), 1) for value in library.xyxy[row]]
        quality = round(float(library.quality[row]), 3)
        name = found.names[row]
        writer.writerow([library.ids[row], name, name, library.paths[row], *corners, quality])
    return text.getvalue()


def _sheet(found: Grouping, path: Path) -> Generator[Event, None, None]:
    """Some faces of each person on one picture, a person a row."""
    tiles: list[Tile] = []
    for name, faces in found.people.most_common(40):
        rows = [row for row, own in enumerate(found.names) if own == name]
        rows = sorted(rows, key=lambda row: -float(found.library.quality[row]))[:SHOWN]
        own = [
            Tile(cut, (f"{name}: {faces:,} faces" if place == 0 else "",))
            for place, cut in enumerate(_cuts(found, rows))
        ]
        blank = Tile(np.full((8, 8, 3), 255, np.uint8))
        tiles += [*own, *[blank] * (-len(own) % COLUMNS)]
    if tiles:
        blob = io.BytesIO()
        contact_sheet(tiles, columns=COLUMNS, tile_px=112).save(blob, "JPEG", quality=90)
        write_bytes(path, blob.getvalue())
        yield Saved(path=path, what="people")


def _cuts(found: Grouping, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
    cuts = []
    for row in rows:
        try:
            picture = read_picture(found.library.paths[row])
        except PictureError:
            continue
        cuts.append(chip(to_u8(picture.pixels, picture.high), found.library.points[row]))
    return cuts
