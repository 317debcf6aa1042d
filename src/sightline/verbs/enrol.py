"""enrol: people's pictures become templates in a gallery, each looked at first: one face, fit to be recognised."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Note, Progress
from sightline.core.results import Faces
from sightline.gallery.people import Consent, Newcomer, check_enrolment, utc_day
from sightline.gallery.sealing import plain_name
from sightline.gallery.store import Gallery
from sightline.verbs.opened import Opened
from sightline.verbs.predict import Answer, predict
from sightline.verbs.sources import expand

SECOND = 0.4
"""A face of this share of the largest one's area may be the one that is meant."""
APART = 0.5
"""A box of which as much lies within another's is the same face, seen twice."""
SAME = 0.9999
"""Likeness from which on two templates are of one picture, given twice."""
AT_ONCE = 64
"""People that are enrolled in one transaction."""
CROP_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what terms people are enrolled."""

    consent: Consent
    collection: str = ""
    crops: bool = False
    """Keep the aligned faces, sealed, so that templates can be made anew by another model."""
    poor: bool = False
    """Also take faces that are hardly fit to be recognised."""
    more: bool = False
    """Add pictures of people who are there already, who else are passed over."""
    again: bool = False
    """Also those who were erased."""


@dataclass
class Enrolled:
    """What came of it."""

    samples: Counter[str] = field(default_factory=Counter)
    """Pictures taken, by person."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Pictures that were not, and people who were erased once, and why."""
    there: list[str] = field(default_factory=list)
    """People who were in the gallery before and were passed over."""


def model_of(opened: Opened) -> str:
    """What templates can be compared by: the digest of the graph that describes faces."""
    if opened.card.task != "faces":
        raise UsageError(f"{opened.bundle.path} is a model of the task {opened.card.task}, not faces")
    return str(opened.card.graphs["main"][opened.variant]["sha256"])


def check_model(opened: Opened, gallery: Gallery) -> None:
    """Raise UsageError for a gallery of another model's templates."""
    if model_of(opened) != gallery.about["model"]:
        raise UsageError(
            f"the templates in {gallery.path} are of another model than {opened.bundle.path} ({opened.variant}), and "
            "cannot be compared; give that model, or enrol into a new gallery"
        )


def people_in(folder: Path) -> dict[str, list[str]]:
    """Pictures by person, of a folder with a folder a person. Raises UsageError, and DataError where there is none."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give one with a folder for each person, as {folder}/Ada/1.jpg")
    found = {each.name: list(expand([str(each)])) for each in sorted(folder.iterdir()) if each.is_dir()}
    people = {name: paths for name, paths in found.items() if paths and not name.startswith(".")}
    if not people:
        raise DataError(f"{folder} has no folders of people with pictures in them, as {folder}/Ada/1.jpg")
    return people


def enrol(
    opened: Opened, gallery: Gallery, people: Mapping[str, Sequence[Any]], terms: Terms
) -> Generator[Event, None, Enrolled]:
    """Enrol people by their pictures; yields progress and returns what came of it.

    People are enrolled as they are ready, so that the same call after an interruption goes on with the others. A
    picture is refused without a face, with another one that may be meant, and where the face is hardly fit to be
    recognised; whoever has no picture left is not enrolled.
    """
    check_model(opened, gallery)
    check_names(people, terms.consent)
    if gallery.settings.get("model") != (place := str(opened.bundle.path.resolve())):
        gallery.settle({"model": place})
    out, left = Enrolled(), dict[str, Sequence[Any]]()
    for name, pictures in people.items():
        if not terms.more and (person := gallery.find(name)):
            out.there.append(name)
            if not person.consent.holds(utc_day()):
                yield Note(text=f"the consent of {name} has ended; --more with pictures renews it", kind="warning")
        elif not terms.again and gallery.was_erased(name):
            out.refused.append((name, "was erased from this gallery; enrol them again only if they ask for it"))
        else:
            left[name] = pictures
    ready = list[Newcomer]()
    for name, taken, progress in _by_person(opened, left, out.refused, poor=terms.poor):
        yield progress
        taken = _unlike(taken, gallery, name, out.refused)
        if taken:
            for note in _doubts(name, taken):
                yield Note(text=note, kind="warning")
            ready.append(_newcomer(name, taken, terms))
            out.samples[name] = len(taken)
        if len(ready) >= AT_ONCE:
            gallery.enrol_all(ready, again=terms.again)
            ready = []
    gallery.enrol_all(ready, again=terms.again)
    for path, reason in out.refused:
        yield Note(text=f"left out {path}: {reason}", kind="warning")
    return out


def described(
    opened: Opened, gallery: Gallery, people: Mapping[str, Sequence[Any]]
) -> Generator[Event, None, dict[str, NDArray[np.float32]]]:
    """Embeddings (K, width) of people by their pictures, without enrolling anybody; yields progress."""
    check_model(opened, gallery)
    refused, found = list[tuple[str, str]](), dict[str, NDArray[np.float32]]()
    for name, taken, progress in _by_person(opened, people, refused, poor=False):
        yield progress
        if taken:
            found[name] = np.stack([faces.vectors[place] for _, faces, place in taken])
    for path, reason in refused:
        yield Note(text=f"left out {path}: {reason}", kind="warning")
    return found


def _by_person(
    opened: Opened, people: Mapping[str, Sequence[Any]], refused: list[tuple[str, str]], *, poor: bool
) -> Iterator[tuple[str, list[tuple[str, Faces, int]], Progress]]:
    """Each person's pictures that will do, as `_taken` gives them, and how far it is."""
    total, done = sum(map(len, people.values())), 0
    answers = predict(opened, list(chain.from_iterable(people.values())))
    for name, pictures in people.items():
        taken = list(_taken(answers, len(pictures), refused, poor=poor))
        done += len(pictures)
        yield name, taken, Progress(what="pictures looked at", done=done, total=total)


def _taken(
    answers: Iterator[Answer], count: int, refused: list[tuple[str, str]], *, poor: bool
) -> Iterator[tuple[str, Faces, int]]:
    """The next pictures whose largest face will do, with its place."""
    for _ in range(count):
        answer = next(answers)
        reason, place = meant(answer, poor=poor)
        if reason:
            refused.append((answer.source, reason))
        else:
            assert isinstance(answer.result, Faces)
            yield answer.source, answer.result, place


def meant(answer: Answer, *, poor: bool = False) -> tuple[str, int]:
    """Why a picture is not of one face that will do, or nothing; and that face's place.

    poor: whether one will do that is hardly fit to be recognised.
    """
    faces = answer.result
    if not isinstance(faces, Faces):
        return answer.error or "unreadable", -1
    place = faces.largest
    if place is None:
        return "no face was found", -1
    areas = np.prod(faces.xyxy[:, 2:] - faces.xyxy[:, :2], axis=1)
    shared = np.minimum(faces.xyxy[:, 2:], faces.xyxy[place, 2:]) - np.maximum(faces.xyxy[:, :2], faces.xyxy[place, :2])
    apart = np.prod(np.maximum(shared, 0), axis=1) < APART * areas
    if (apart & (areas >= SECOND * areas[place])).any():
        return f"{len(areas)} faces; cut the picture to the one that is meant", place
    if not faces.vectors[place].any():
        return "the network put out no numbers for the face", place
    return ("" if poor else faces.flaws[place]), place


def _unlike(
    taken: list[tuple[str, Faces, int]], gallery: Gallery, name: str, refused: list[tuple[str, str]]
) -> list[tuple[str, Faces, int]]:
    """Without pictures that are there already, which would be measured as another picture of the same person."""
    person = gallery.find(name)
    known = list(gallery.plain_templates(person.number)) if person else []
    kept = []
    for path, faces, place in taken:
        own = faces.vectors[place]
        if any(float(own @ other) > SAME for other in known):
            refused.append((path, f"the same picture of {name} as another one"))
        else:
            known.append(own)
            kept.append((path, faces, place))
    return kept


def check_names(people: Iterable[str], consent: Consent) -> None:
    """Raise DataError for names that are none, that a gallery takes for one, and for a consent that is not in force."""
    seen: dict[bytes, str] = {}
    for name in people:
        check_enrolment(name, consent)
        other = seen.setdefault(plain_name(name), name)
        if other != name:
            raise DataError(f"{other!r} and {name!r} are one name in a gallery; call one of them otherwise")


def _newcomer(name: str, taken: Sequence[tuple[str, Faces, int]], terms: Terms) -> Newcomer:
    vectors = np.stack([faces.vectors[place] for _, faces, place in taken])
    crops = [encoded(faces.chips[place]) for _, faces, place in taken] if terms.crops else []
    return Newcomer(name, vectors, terms.consent, terms.collection, crops)


def encoded(chip: NDArray[np.uint8]) -> bytes:
    """An aligned face as JPEG."""
    blob = io.BytesIO()
    Image.fromarray(chip).save(blob, "JPEG", quality=CROP_QUALITY, subsampling=0)
    return blob.getvalue()


def _doubts(name: str, taken: Sequence[tuple[str, Faces, int]]) -> Iterator[str]:
    """A picture that looks like none of the person's others, where there are some to say so: somebody else's, maybe."""
    if len(taken) < 3:
        return
    vectors = np.stack([faces.vectors[place] for _, faces, place in taken])
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, np.nan)
    middle = np.nanmedian(likeness, axis=1)
    for (path, _, _), own in zip(taken, middle):
        if own < 0.5 * np.median(middle):
            yield f"{path} looks unlike the other pictures of {name}: is it somebody else?"
