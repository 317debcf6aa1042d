"""blind: a face held against a gallery's without being shown to it, under encryption that can be computed with.

Who asks encrypts a template (CKKS; Cheon et al., 2017). The gallery, without the key, multiplies it number by number
and hides each product under a random one; these add up to nothing. Who asked decrypts and adds up: the cosine. The
gallery learns nothing of it. Who asks as is meant learns the cosine alone; but who may ask as often as a template has
numbers, or asks with numbers far larger than a template's, can learn the template: the log says who was asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, MissingExtraError
from sightline.gallery.cancelable import unit
from sightline.gallery.people import utc_day
from sightline.gallery.store import Gallery

SLOTS = 4096
"""Numbers that are encrypted together, and so the widest template."""
_MODULI, _SCALE = [60, 40, 60], 2.0**40
"""160 bits with polynomials of 8,192 coefficients; up to 218 give 128 bits of security (the HE standard, 2018)."""
_HIDING = 2.0**16
"""What hides a product, which is at most 1, is at most this."""


class Asker:
    """Keeps the key of somebody who asks; see `answered` for the other side."""

    def __init__(self) -> None:
        self._context = _context()

    def question(self, template: Any) -> bytes:
        """A template (width,) encrypted, about 235 kB. Raises DataError where it is none."""
        row = np.asarray(template, np.float64)
        if row.ndim != 1 or not 1 <= len(row) <= SLOTS or not np.isfinite(row).all() or not row.any():
            raise DataError(f"a template is (width,), finite and not zero, up to {SLOTS} wide; this one is {row.shape}")
        row = row / np.linalg.norm(row)
        return bytes(_tenseal().ckks_vector(self._context, _padded(row)).serialize())

    def score(self, answer: bytes) -> float:
        """The cosine, to about 1e-6. Raises DataError for what is no answer to a question of this asker."""
        with _understood("answer"):
            return float(np.sum(_parsed(self._context, answer).decrypt()))


def answered(gallery: Gallery, name: str, question: bytes, *, today: date | None = None) -> bytes:
    """The encrypted cosine of what is asked with the middle of somebody's templates, about 131 kB; it is logged.

    Raises DataError where nobody is called so, their consent is not in force on the day, what is asked is no question,
    and for a gallery that keeps less than whole templates.
    """
    person = gallery.find(name)
    if person is None or not person.consent.holds(today or utc_day()):
        raise DataError(f"nobody called {name!r} whose consent is in force is in this gallery")
    if gallery.about["kept"] != gallery.about["width"] or gallery.about["width"] > SLOTS:
        raise DataError(f"only whole templates of up to {SLOTS} numbers can be asked for blindly")
    middle = unit(gallery.plain_templates(person.number).mean(axis=0, keepdims=True))[0]
    noise = np.frombuffer(secrets.token_bytes(8 * SLOTS), "<i8") * (2.0**-63 * _HIDING)
    noise -= noise.mean()
    with _understood("question"):
        answer = bytes((_parsed(_context(), question) * _padded(middle) + noise.tolist()).serialize())
    gallery.used("verify", [person], {"blind": True})
    return answer


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """What tenseal says of bytes from elsewhere, as DataError."""
    try:
        yield
    except (ValueError, RuntimeError, TypeError) as error:
        raise DataError(f"this is no {what} of a blind comparison: {error}") from None


def _parsed(context: Any, blob: bytes) -> Any:
    """An encrypted vector of all slots."""
    found = _tenseal().ckks_vector_from(context, blob)
    if found.size() != SLOTS:
        raise ValueError(f"it holds {found.size():,} numbers, not {SLOTS:,}")
    return found


def _padded(row: NDArray[Any]) -> list[float]:
    return [*row.tolist(), *[0.0] * (SLOTS - len(row))]


def _context() -> Any:
    """The parameters, the same for all, with a new key."""
    tenseal = _tenseal()
    kinds = tenseal.SCHEME_TYPE.CKKS, tenseal.ENCRYPTION_TYPE.SYMMETRIC
    context = tenseal.context(kinds[0], 2 * SLOTS, coeff_mod_bit_sizes=_MODULI, encryption_type=kinds[1])
    context.global_scale = _SCALE
    return context


def _tenseal() -> Any:
    try:
        import tenseal
    except ModuleNotFoundError:
        raise MissingExtraError("blind comparison needs tenseal: pip install 'sightline[blind]'") from None
    return tenseal
