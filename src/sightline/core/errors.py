"""Everything Sightline raises on purpose: one small tree, each kind with the exit code the CLI ends with."""

from functools import partial
from typing import Any


class SightlineError(Exception):
    """The root of the tree. The message says what was given, what is allowed and what to do next."""

    exit_code = 1


class UsageError(SightlineError):
    """An option, a name or a combination of them that Sightline does not take."""

    exit_code = 2


class DataError(SightlineError):
    """Pictures, labels or splits that cannot be used as they are."""

    exit_code = 3


class PictureError(DataError):
    """One picture that cannot, or must not, be decoded.

    `refused` is true when the file may be a picture but breaks a limit (bytes, pixels, frames, format).
    """

    def __init__(self, source: str, reason: str, *, refused: bool = False) -> None:
        super().__init__(f"{source}: {reason}")
        self.source, self.reason, self.refused = source, reason, refused

    def __reduce__(self) -> tuple[Any, ...]:  # the plain one would call __init__ with the message alone
        return partial(PictureError, refused=self.refused), (self.source, self.reason)


class LeakError(DataError):
    """The same picture, patient or track stands on both sides of a split."""


class BundleError(SightlineError):
    """A bundle that is broken, was tampered with, is unsafe, or does not fit this version."""

    exit_code = 4


class GateError(SightlineError):
    """A graph that does not do what the trained model does, so it is not shipped."""

    exit_code = 5


class MissingExtraError(SightlineError):
    """A feature whose optional packages are not installed; the message names the extra."""

    exit_code = 6


class StorageError(SightlineError):
    """A file that could not be written whole (full disk, no permission); what stood there before still stands."""

    exit_code = 7


class GalleryError(SightlineError):
    """A gallery that does not open with this key, is broken, or was tampered with."""

    exit_code = 9


PARTIAL_EXIT_CODE = 8
"""The verb finished, but some inputs failed and were listed."""

INTERRUPTED_EXIT_CODE = 130
"""Ctrl-C: what was done is on disk, and the message says how to go on."""
