"""cancelable: templates turned by a secret that can be drawn anew, so that those that were stolen match nobody.

A random orthogonal matrix keeps every cosine between templates that it turned, and makes those that another turned
strangers (Ratha et al., 2001; Teoh et al., 2006, with projections). It is no encryption: who has the secret, or as many
templates in clear and turned as they are wide, can turn them back. The secret is sealed in the gallery's head.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.chance import normals
from sightline.gallery.sealing import derived, fresh

_ROWS = 1 << 16
"""Templates that are turned at a time."""


@dataclass(frozen=True)
class Transform:
    """What one generation of a gallery's templates is turned by.

    >>> old = Transform.new(width=8, kept=8, store=b"a gallery")
    >>> new, template = old.renewed(), np.eye(8)[:1]
    >>> bool(np.allclose(new.moved(old.turned(template), old), new.turned(template), atol=1e-6))
    True
    """

    width: int
    """Numbers of a template as it comes."""
    kept: int
    """Numbers of it as it is kept: `width`, or fewer by a random projection, which costs accuracy."""
    store: bytes
    """The gallery's number."""
    generation: int
    """From 1 on."""
    secret: bytes = field(repr=False)
    """Of this generation."""
    subspace: bytes = field(repr=False)
    """Of the projection, the same in all generations: of what it dropped no other can be made."""

    @classmethod
    def new(cls, *, width: int, kept: int, store: bytes) -> Transform:
        """The first generation of a gallery."""
        return cls(width, kept, store, 1, fresh(), fresh())

    def renewed(self) -> Transform:
        """The next generation, of a new secret."""
        return Transform(self.width, self.kept, self.store, self.generation + 1, fresh(), self.subspace)

    def turned(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Templates (K, width) as they are kept and compared: (K, kept), float32, of length 1."""
        return unit(np.asarray(rows, np.float32) @ self._matrix)

    def turned_back(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Templates (K, kept) as they came, (K, width), but of length 1; what a projection dropped is 0."""
        return unit(np.asarray(rows, np.float32) @ self._matrix.T)

    def moved(self, rows: NDArray[Any], old: Transform) -> NDArray[np.float32]:
        """Templates (K, kept) that another generation turned, as this one would have turned them."""
        way = (old._rotation.T @ self._rotation).astype(np.float32)
        found = np.empty((len(rows), self.kept), np.float32)
        for at in range(0, len(rows), _ROWS):
            found[at : at + _ROWS] = unit(rows[at : at + _ROWS].astype(np.float32) @ way)
        return found

    def written(self) -> bytes:
        """What has to be sealed to have it again."""
        secrets = {"secret": self.secret.hex(), "subspace": self.subspace.hex()}
        return json.dumps({"generation": self.generation, **secrets}).encode()

    @classmethod
    def read(cls, written: bytes, *, width: int, kept: int, store: bytes) -> Transform:
        """What was written."""
        told = json.loads(written)
        secrets = bytes.fromhex(told["secret"]), bytes.fromhex(told["subspace"])
        return cls(width, kept, store, told["generation"], *secrets)

    @cached_property
    def _rotation(self) -> NDArray[np.float64]:
        purpose = f"rotation {self.store.hex()} {self.generation}"
        return orthogonal(derived(self.secret, purpose), self.kept)

    @cached_property
    def _matrix(self) -> NDArray[np.float32]:
        if self.kept == self.width:
            return self._rotation.astype(np.float32)
        whole = orthogonal(derived(self.subspace, f"projection {self.store.hex()}"), self.width)
        return np.asarray(whole[:, : self.kept] @ self._rotation, np.float32)


def orthogonal(key: bytes, size: int) -> NDArray[np.float64]:
    """An orthogonal matrix (size, size), each as likely as any (Haar), that 32 bytes decide.

    It must be the same in years, as the numbers are that it is made of; which signs a QR decomposition has is up to the
    library that makes it (Mezzadri, 2007).
    """
    first, second, third, fourth = (int(word) for word in np.frombuffer(key, "<u8"))
    normal = normals((first, second), size * size, counter=(0, 0, third, fourth)).reshape(size, size)
    found, upper = np.linalg.qr(normal)
    return np.asarray(found * np.where(np.diagonal(upper) < 0, -1.0, 1.0))


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; those of length 0 stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)
