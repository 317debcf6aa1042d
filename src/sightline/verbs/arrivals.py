"""arrivals: pictures that appear in a folder, each told once it is complete, in the order of their coming."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.core.errors import DataError, UsageError

IGNORED = (".part", ".tmp")
"""Endings of files that somebody is still writing."""
RETRY = 1.0
"""Seconds until a picture that could not be decoded is tried again."""
BURST = 0.1
"""Seconds of a pace that may be taken at once: a fast pace then needs fewer waits for the disk."""
_PACE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|sec|second|m|min|minute|h|hour)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Seen:
    """A file as it was last looked at."""

    path: Path
    size: int
    mtime_ns: int


@dataclass
class _Watched:
    """What is known of a file that waits."""

    seen: Seen
    since: float
    """When it was first seen like this, on the monotonic clock."""
    looks: int = 1
    """How often it has been seen like this."""
    retry: float = 0.0
    """Not to be tried before."""


class Arrivals:
    """The files in some folders, as one look after the other finds them; folders inside, links, hidden files are not.

    patience: seconds after its last change until a file that cannot be decoded is given up.
    """

    def __init__(self, folders: Sequence[Path], *, patience: float) -> None:
        self.folders, self.patience = tuple(folders), patience
        self._files: dict[Path, _Watched] = {}

    def look(self, now: float) -> None:
        """Look once. Raises DataError where a folder cannot be read."""
        found: dict[Path, _Watched] = {}
        for seen in (seen for folder in self.folders for seen in _files(folder)):
            known = self._files.get(seen.path)
            if known is not None and known.seen == seen:
                known.looks += 1
                found[seen.path] = known
            else:
                found[seen.path] = _Watched(seen, now)
        self._files = found

    def ready(self, now: float, *, resting: bool = False) -> list[Seen]:
        """Files that two looks found the same, first come first, by time of modification and then name.

        resting: also those that could not be decoded and are not to be tried again yet.
        """
        found = [each.seen for each in self._files.values() if each.looks >= 2 and (resting or each.retry <= now)]
        return sorted(found, key=lambda seen: (seen.mtime_ns, seen.path.name))

    def rests(self, seen: Seen, now: float) -> bool:
        """Whether a file could not be decoded and is not to be tried again yet."""
        return self._files[seen.path].retry > now

    def since(self, seen: Seen) -> float:
        """When a file was first seen like this, on the monotonic clock."""
        return self._files[seen.path].since

    def undecodable(self, seen: Seen, now: float) -> bool:
        """Note that a file could not be decoded; true where it has had its time and is not to be waited for."""
        known = self._files[seen.path]
        known.retry = now + min(RETRY, self.patience)
        return now - known.since >= self.patience

    def forget(self, seen: Seen) -> None:
        """A file is no longer there, or has changed: only what further looks find counts."""
        self._files.pop(seen.path, None)

    @property
    def waiting(self) -> int:
        """How many files there were at the last look, without those that were taken since."""
        return len(self._files)


class Rhythm:
    """A steady pace: one part at each beat; beats that were missed are not made up for."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        """Parts a second; 0 is as fast as can be."""
        self._burst = max(1, int(rate * BURST))
        self._next = now

    def due(self, now: float, most: int) -> int:
        """How many parts may be taken now, up to `most`."""
        if not self.rate:
            return most
        return min(most, self._burst, 1 + int((now - self._next) * self.rate)) if now >= self._next else 0

    def took(self, count: int, now: float) -> None:
        """So many were taken."""
        if self.rate and count:
            self._next += count / self.rate
            missed = max(0, math.floor((now - self._next) * self.rate) + 1)
            self._next += missed / self.rate  # beats stay where they were

    def wait(self, now: float) -> float:
        """Seconds to the next beat."""
        return max(0.0, self._next - now) if self.rate else 0.0


def rate_of(text: str) -> float:
    """A pace as parts a second; "" is 0, which is as fast as can be. Raises UsageError.

    >>> rate_of("2/s"), rate_of("30/m"), rate_of("")
    (2.0, 0.5, 0.0)
    """
    match = _PACE.fullmatch(text.strip())
    if text.strip() and (match is None or not float(match[1])):
        raise UsageError(f"the pace is {text!r}; give parts by time, as 2/s, 30/m or 1800/h")
    return float(match[1]) / _SECONDS[match[2][0]] if match else 0.0


def _files(folder: Path) -> list[Seen]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.endswith(IGNORED):
                    continue
                try:
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        found.append(Seen(folder / entry.name, status.st_size, status.st_mtime_ns))
                except FileNotFoundError:  # it went between the two calls
                    continue
    except OSError as error:
        raise DataError(f"{folder} cannot be watched: {error.strerror}; is it still there?") from None
    return found
