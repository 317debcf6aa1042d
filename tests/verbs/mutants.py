"""Bundles spoilt at random, with a manifest that fits again: what an attacker, or a bad disk, would hand over."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from pathlib import Path
from typing import Any

Parts = dict[str, bytes]
NASTY: tuple[Any, ...] = (
    *(None, True, "", "x" * 500, "../../etc/passwd", "\x00", "NaN", -1, 0, 2, 1e308, -1e-308, 10**30),
    *([], {}, [[]], [1] * 2000, {"a": {"b": []}}, "onnx", ["x"], 0.5),
)


def parts_of(bundle: Path) -> Parts:
    """A bundle's files by name."""
    return {p.relative_to(bundle).as_posix(): p.read_bytes() for p in sorted(bundle.rglob("*")) if p.is_file()}


def unpacked(parts: Parts, folder: Path) -> Path:
    """Write the files as a folder."""
    for name, blob in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(blob)
    return folder


def resealed(parts: Parts) -> Parts:
    """The parts with all sums done again: those of the graphs in the card, and the manifest."""
    done = dict(parts)
    try:
        card = json.loads(done["card.json"])
        for entry in card["graphs"]["main"].values():
            entry["sha256"] = hashlib.sha256(done[entry["file"]]).hexdigest()
        done["card.json"] = json.dumps(card).encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # the card is spoilt itself
    files = {
        name: {"sha256": hashlib.sha256(blob).hexdigest(), "size": len(blob)}
        for name, blob in done.items()
        if name != "manifest.json"
    }
    manifest = {"format": "sightline-bundle", "version": 1, "files": files}
    return {**done, "manifest.json": json.dumps(manifest).encode()}


def card_with(parts: Parts, path: tuple[str | int, ...], value: Any) -> Parts:
    """The parts with one value of the card replaced, resealed."""
    card = json.loads(parts["card.json"])
    place = card
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return resealed({**parts, "card.json": json.dumps(card).encode()})


def mutant(parts: Parts, seed: int) -> tuple[str, Parts]:
    """One of five kinds of damage, and what was done."""
    rng = random.Random(seed)
    name = rng.choice(sorted(set(parts) - {"card.json"}) if seed % 5 < 4 else ["card.json"])
    blob = bytearray(parts[name])
    kind = ("flipped", "flipped and resealed", "cut", "cut and resealed", "edited and resealed")[seed % 5]
    if kind.startswith("flipped"):
        for _ in range(rng.choice((1, 3, 20))):
            blob[rng.randrange(len(blob))] ^= 1 << rng.randrange(8)
    elif kind.startswith("cut"):
        del blob[rng.randrange(len(blob)) :]
    else:
        card = json.loads(blob)
        for _ in range(rng.choice((1, 1, 2, 5))):
            _edit(card, rng)
        blob = bytearray(json.dumps(card).encode())
    done = {**parts, name: bytes(blob)}
    return f"{name} {kind}", resealed(done) if kind.endswith("resealed") else done


def _edit(card: Any, rng: random.Random) -> None:
    """Replace, remove or rename something anywhere in a JSON value."""
    places = [place for place in _containers(card) if place]
    place = rng.choice(places)
    key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    deed = rng.choice(("replace", "replace", "replace", "remove", "rename"))
    if deed == "remove":
        del place[key]
    elif deed == "rename" and isinstance(place, dict):
        place[str(key) + "_"] = place.pop(key)
    else:
        place[key] = copy.deepcopy(rng.choice(NASTY))  # its own, or the next edit would end up inside it


def _containers(value: Any) -> list[Any]:
    """Every object and list inside a JSON value, itself included."""
    if not isinstance(value, (dict, list)):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(found for each in inner for found in _containers(each))]
