"""A subspace that patches are compared in: their main components, and how much of each patch lies outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.encoders.sheet import Sheet

Floats = NDArray[np.float32]

LEAST = 1e-6
"""Added to deviations, so that a number that never varies is not blown up."""
SAMPLED = 20_000
"""Patches that the components are computed from, drawn from all."""


@dataclass(frozen=True)
class Subspace:
    """Where patches (..., D) are brought to: (..., d).

    With fewer components than numbers the last one is the length of what they leave out, so that what no good part has
    still counts; distances are then at most those between the patches themselves.
    """

    mean: Floats
    """Shape (D,)."""
    basis: Floats
    """Shape (D, k); of no columns where nothing but the mean is taken off."""
    even: bool = False
    """Whether each number is divided by its deviation first, for numbers of unlike units."""

    @property
    def width(self) -> int:
        """d."""
        depth, kept = self.basis.shape
        return int(depth if not kept else kept + (kept < depth and not self.even))

    def project(self, places: Floats) -> Floats:
        """Patches (N, h, w, D) as (N, h, w, d), a picture at a time; the same array, changed, where D is d."""
        if not self.basis.size:
            places -= self.mean
            return places
        found = np.empty((*places.shape[:-1], self.width), np.float32)
        for row, picture in enumerate(places):
            centred = picture - self.mean
            inside = centred @ self.basis
            found[row, ..., : inside.shape[-1]] = inside
            if self.width > inside.shape[-1]:
                left = (centred - inside @ self.basis.T) ** 2
                found[row, ..., -1] = np.sqrt(left.sum(axis=-1))
        return found

    def to_arrays(self) -> dict[str, Floats]:
        """By name, to be stored."""
        return {"space.mean": self.mean, "space.basis": self.basis, "space.even": np.array([self.even], np.uint8)}

    def add(self, sheet: Sheet, x: str) -> str:
        """The same in a graph: (B, n, D) → (B, n, d)."""
        sheet.constant("space.mean", self.mean)
        centred = sheet.add("Sub", [x, "space.mean"], "space.centred")
        if not self.basis.size:
            return centred
        sheet.constant("space.basis", self.basis)
        inside = sheet.add("MatMul", "space.centred space.basis", "space.inside")
        if self.width == self.basis.shape[1]:
            return inside
        sheet.constant("space.back", self.basis.T)
        sheet.constant("space.ones", np.ones((self.basis.shape[0], 1)))
        sheet.add("MatMul", "space.inside space.back", "space.shown")
        sheet.add("Sub", "space.centred space.shown", "space.left")
        sheet.add("Mul", "space.left space.left", "space.squares")
        sheet.add("MatMul", "space.squares space.ones", "space.sum")
        sheet.add("Sqrt", "space.sum", "space.length")
        return sheet.add("Concat", "space.inside space.length", "space.both", {"axis": 2})


def subspace(places: Floats, dims: int, *, even: bool = False) -> Subspace:
    """Of patches (N, h, w, D), with at most `dims` numbers each."""
    depth = places.shape[-1]
    flat = places.reshape(-1, depth)
    flat = flat[sampled(len(flat), SAMPLED)]
    mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
    if depth <= dims and not even:
        return Subspace(mean, np.zeros((depth, 0), np.float32))
    centred = flat - mean
    scale = 1 / (centred.std(axis=0) + np.float32(LEAST)) if even else np.ones(depth, np.float32)
    centred *= scale
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    kept = min(depth, dims if even else dims - 1)
    basis = scale[:, None] * vectors[:, ::-1][:, :kept]
    return Subspace(mean, np.ascontiguousarray(basis, np.float32), even)


def sampled(count: int, most: int) -> NDArray[np.intp]:
    """At most so many rows of `count`, drawn alike from all: every nth would be from the same columns of maps."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.Generator(np.random.Philox(0)).choice(count, most, replace=False))


def subspace_of(arrays: Mapping[str, Any]) -> Subspace:
    """The inverse of `to_arrays`."""
    even = bool(np.asarray(arrays["space.even"])[0])
    return Subspace(np.asarray(arrays["space.mean"]), np.asarray(arrays["space.basis"]), even)
