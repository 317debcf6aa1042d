"""Made galleries: a key file, consents and templates; run as a program, somebody comes and goes until it is killed."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from sightline.gallery import snapshot, store
from sightline.gallery.keys import KeyFile
from sightline.gallery.opening import create, open_gallery
from sightline.gallery.people import Consent
from sightline.gallery.store import Gallery

WIDTH = 128
TODAY = date.today()


def consent(**changes: Any) -> Consent:
    plain: dict[str, Any] = {"by": "herself", "purpose": "opening the laboratory's door"}
    plain |= {"given": TODAY - timedelta(days=2), "until": TODAY + timedelta(days=300)}
    return Consent(**(plain | changes))


def faces(count: int, seed: int = 0) -> np.ndarray:
    """Templates of one person, of length 1."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, WIDTH) + 0.3 * rng.normal(0, 1, (count, WIDTH))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def fresh(root: Path, *names: str, **changes: Any) -> Gallery:
    """A gallery in which each has two samples with crops."""
    how: dict[str, Any] = {"model": "ab" * 32, "width": WIDTH, "anchor": root / "anchor", **changes}
    gallery = create(root / "people.gallery", KeyFile(root / "key"), **how)
    for seed, name in enumerate(names):
        gallery.enrol(name, faces(2, seed), consent=consent(), crops=[f"{name} {side}".encode() * 9 for side in "lr"])
    return gallery


def again(root: Path) -> Gallery:
    return open_gallery(root / "people.gallery", KeyFile(root / "key"), anchor=root / "anchor")


def as_kept(gallery: Gallery, templates: np.ndarray) -> np.ndarray:
    """Plain templates as this gallery keeps them now."""
    return gallery._transform().turned(templates)


def comes_and_goes(root: Path) -> None:
    snapshot.PIECE = store.PIECE = 4
    with again(root) as gallery:
        for turn in range(10**6):
            name = f"guest {turn % 3}"
            print("erase", flush=True)
            if gallery.find(name):
                gallery.erase(name)
            print("enrol", flush=True)
            gallery.enrol(name, faces(3, turn), consent=consent(), crops=[b"crop" * 2000] * 3, again=True)
            gallery.table()
            print("revoke", flush=True)
            gallery.revoke()


if __name__ == "__main__":
    comes_and_goes(Path(sys.argv[1]))
