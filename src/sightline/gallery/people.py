"""people: who is in a gallery, what they agreed to, and who is not enrolled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.gallery.sealing import plain_name

RESERVED = (b"unknown", b"-")
LONGEST = 200
"""Characters of a name."""


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What somebody agreed to."""

    by: str
    """Who said so: the person, or who may speak for them."""
    purpose: str
    given: date
    until: date
    """The last day in UTC; from the next on they are not identified any more, and `purge` erases them."""

    @property
    def days(self) -> tuple[int, int]:
        """First and last, counted from the year 1 (`date.toordinal`)."""
        return self.given.toordinal(), self.until.toordinal()

    def holds(self, day: date) -> bool:
        """Whether it is in force on a day."""
        return self.given <= day <= self.until


@dataclass(frozen=True)
class Newcomer:
    """Somebody to be enrolled."""

    name: str
    templates: NDArray[Any]
    """Shape (K, width), float; they are kept turned (see `cancelable`), of length 1, in half precision."""
    consent: Consent
    collection: str = ""
    crops: Sequence[bytes] = ()
    """K encoded pictures of the face, or none."""


@dataclass(frozen=True)
class Person:
    """Somebody in a gallery."""

    number: int
    name: str
    """By which they are enrolled and erased, unique without regard to case."""
    collection: str
    consent: Consent
    samples: int
    crops: int
    pseudonym: str
    """As the log calls them; it cannot be computed any more once they are erased."""


@dataclass(frozen=True)
class Erasure:
    """What was removed of somebody."""

    samples: int
    crops: int


def check_enrolment(name: str, consent: Consent) -> None:
    """Raise DataError for a name that is none, and a consent that is not in force today."""
    if not plain_name(name) or len(name) > LONGEST or not name.isprintable():
        raise DataError(f"a name takes 1 to {LONGEST} printable characters, not {name!r:.80}")
    if plain_name(name) in RESERVED:
        raise DataError(f"nobody can be called {name!r}, which is said of faces that nobody knows")
    if not consent.by.strip() or not consent.purpose.strip():
        raise DataError("nobody is enrolled without consent: say who gave it, and for what purpose")
    today = utc_day()
    if not consent.holds(today):
        raise DataError(f"the consent holds from {consent.given} to {consent.until}, and today is {today}")


def utc_day() -> date:
    """Today, in UTC."""
    return datetime.now(UTC).date()
