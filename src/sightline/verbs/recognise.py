"""recognise: who is in a picture, by a gallery and an operating point that was chosen; every use is accounted for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.core.errors import DataError, UsageError
from sightline.core.results import Faces
from sightline.gallery.cancelable import unit
from sightline.gallery.people import Person, utc_day
from sightline.gallery.search import Match, Matcher
from sightline.gallery.store import Gallery
from sightline.tasks.faces import UNKNOWN
from sightline.verbs.enrol import check_model, meant
from sightline.verbs.opened import Opened
from sightline.verbs.predict import Answer, answer_some, predict

ACCOUNTED, LATEST = 16, 0.2
"""Pictures, at most, of which one entry of the log tells, and seconds after which it tells of what there is."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether a face is that of one person."""

    name: str
    score: float
    """The best cosine with their templates, in [-1, 1]."""
    threshold: float
    quality: float
    flaw: str
    """What is wrong with the picture; the answer is the less sure."""

    @property
    def same(self) -> bool:
        """Whether it is claimed to be them."""
        return self.score >= self.threshold

    def line(self) -> str:
        """The answer as one line."""
        said = "is" if self.same else "is not shown to be"
        text = f"{said} {self.name} (likeness {self.score:.3f}, threshold {self.threshold:.3f})"
        return f"{text}; the picture is poor: {self.flaw}" if self.flaw else text


def threshold_of(gallery: Gallery, kind: str, given: float | None = None, collection: str = "") -> float:
    """The likeness from which on somebody is named: as given, else as calibrated for `verify` or `identify`, by the
    collection where that was done, else by everybody. Raises UsageError where there is none.
    """
    if given is not None:
        return given
    settings = gallery.settings
    own = settings.get("collections", {}).get(collection, {})
    found = own.get(kind, settings.get("operating", {}).get(kind))
    if found is None:
        raise UsageError(
            f"nobody has chosen from which likeness on people are named in {gallery.path}: sightline faces calibrate "
            f"{gallery.path} chooses it by pictures, or give --threshold"
        )
    return float(found)


def verify(opened: Opened, gallery: Gallery, name: str, source: Any, *, threshold: float | None = None) -> Verification:
    """Whether the largest face in a picture is that of somebody in the gallery.

    Raises DataError where nobody is called so, their consent is not in force, or the picture has no face, or several.
    """
    check_model(opened, gallery)
    person = gallery.find(name)
    limit = threshold_of(gallery, "verify", threshold, person.collection if person else "")
    if person is None:
        raise DataError(f"nobody called {name!r} is in {gallery.path}; sightline faces list {gallery.path} says who is")
    (answer,) = answer_some(opened, [source])
    reason, place = meant(answer, poor=True)
    if reason:
        raise DataError(f"{answer.source}: {reason}")
    faces = answer.result
    assert isinstance(faces, Faces)
    if not person.consent.holds(utc_day()):
        raise DataError(f"the consent of {person.name} is not in force; enrol them anew with --more, or purge")
    score = float((unit(gallery.templates(person.number)) @ gallery.turned(faces.vectors[place][None])[0]).max())
    found = Verification(
        name=person.name,
        score=score,
        threshold=limit,
        quality=float(faces.quality[place]),
        flaw=faces.flaws[place],
    )
    gallery.used("verify", [person], {"same": found.same})
    return found


def identify(
    opened: Opened,
    gallery: Gallery,
    sources: Iterable[Any],
    *,
    threshold: float | None = None,
    collection: str = "",
) -> Iterator[Answer]:
    """Faces of pictures with the names of those the gallery holds them to be, or `unknown`, in order.

    collection: who else is enrolled stays unknown. An answer is handed on when the log tells of it. Raises DataError
    where nobody is in the collection, or nobody any more.
    """
    check_model(opened, gallery)
    limit, last = threshold_of(gallery, "identify", threshold, collection), gallery.last()
    matcher, known = gallery.matcher(collection), dict[int, Person]()
    waiting: list[Answer] = []
    named: list[Person] = []
    told = time.monotonic()
    for answer in predict(opened, sources):
        if (now := gallery.last()) != last:
            if gallery.people_changed(last):
                matcher, known = gallery.matcher(collection), {}
            last = now
        if isinstance(answer.result, Faces):
            faces, people = _named(answer.result, matcher, gallery, known, limit)
            answer = dataclasses.replace(answer, result=faces)
            named += people
        waiting.append(answer)
        if len(waiting) == ACCOUNTED or time.monotonic() - told > LATEST:
            yield from _accounted(gallery, waiting, named)
            waiting, named, told = [], [], time.monotonic()
    if waiting:
        yield from _accounted(gallery, waiting, named)


def _named(
    faces: Faces, matcher: Matcher, gallery: Gallery, known: dict[int, Person], limit: float
) -> tuple[Faces, list[Person]]:
    """Faces with names, and who was named."""
    best = [found[0] if found else None for found in matcher.identify(faces.vectors, most=1)] if len(faces.xyxy) else []
    people = [_person(match, gallery, known, limit) for match in best]
    names = tuple(person.name if person else UNKNOWN for person in people)
    likeness = np.array([match.score if match else -1.0 for match in best], np.float32)
    return dataclasses.replace(faces, names=names, likeness=likeness), [person for person in people if person]


def _person(match: Match | None, gallery: Gallery, known: dict[int, Person], limit: float) -> Person | None:
    if match is None or match.score < limit:
        return None
    try:
        return known.setdefault(match.person, known.get(match.person) or gallery.person(match.person))
    except DataError:  # erased in this very moment
        return None


def _accounted(gallery: Gallery, answers: Sequence[Answer], named: Sequence[Person]) -> Iterator[Answer]:
    faces = sum(len(answer.result.xyxy) for answer in answers if isinstance(answer.result, Faces))
    unique = list({person.number: person for person in named}.values())
    gallery.used("identify", unique, {"pictures": len(answers), "faces": faces})
    yield from answers
