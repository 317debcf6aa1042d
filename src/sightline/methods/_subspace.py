"""A subspace that patches are compared in: their main components, and how much of each patch lies outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.methods._sheet import Sheet

Floats = NDArray[np.float32]

SAMPLED = 20_000
"""Patches that the components are computed from, evenly over all."""


@dataclass(frozen=True)
class Subspace:
    """Where patches (..., D) are brought to: (..., d).

    With fewer components than numbers the last one is the length of what they leave out, so that what no good part has
    still counts. Distances there are at most those between the patches themselves.
    """

    mean: Floats
    """Shape (D,)."""
    basis: Floats
    """Shape (D, k), orthonormal columns; k = D keeps the patches as they are, turned."""

    @property
    def width(self) -> int:
        """d."""
        return self.basis.shape[1] + (self.basis.shape[1] < self.basis.shape[0])

    def project(self, places: Floats) -> Floats:
        """Patches (N, h, w, D) as (N, h, w, d), a picture at a time."""
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
        return {"space.mean": self.mean, "space.basis": self.basis}

    def add(self, sheet: Sheet, x: str) -> str:
        """The same in a graph: (B, n, D) → (B, n, d)."""
        sheet.constant("space.mean", self.mean)
        sheet.constant("space.basis", self.basis)
        sheet.add("Sub", [x, "space.mean"], "space.centred")
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


def subspace(places: Floats, dims: int) -> Subspace:
    """Of patches (N, h, w, D), with at most `dims` numbers each."""
    flat = places.reshape(-1, places.shape[-1])
    mean = flat.mean(axis=0, dtype=np.float64)
    some = flat[:: max(1, len(flat) // SAMPLED)] - mean
    _, vectors = np.linalg.eigh(some.T @ some)
    kept = flat.shape[1] if flat.shape[1] <= dims else dims - 1
    basis = np.ascontiguousarray(vectors[:, ::-1][:, :kept].astype(np.float32))
    return Subspace(mean.astype(np.float32), basis)


def subspace_of(arrays: Mapping[str, Any]) -> Subspace:
    """The inverse of `to_arrays`."""
    return Subspace(np.asarray(arrays["space.mean"]), np.asarray(arrays["space.basis"]))
