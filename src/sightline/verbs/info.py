"""info: what is in a bundle, or what a picture file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sightline.core.bundle import open_bundle
from sightline.core.errors import UsageError
from sightline.data.pictures import read_picture

_SHOWN, _WORD = 30, 200
"""Numbers of a list, and letters of a text without blanks, that are shown whole."""


def info(path: Path) -> dict[str, Any]:
    """A bundle's card in short, or a picture's size, depth and what was done to read it; JSON-ready."""
    if not path.exists():
        raise UsageError(f"{path} is not there; give a bundle or a picture")
    if path.is_dir() or path.suffix.lower() in (".zip", ".sightline"):
        return _bundle(path)
    return _picture(path)


def _bundle(path: Path) -> dict[str, Any]:
    bundle = open_bundle(path)
    card = bundle.card
    graphs = {
        f"{role}/{variant}": {
            "file": entry["file"],
            "MB": round(bundle.files[entry["file"]].size / 1e6, 2),
            "gate": entry.get("gate", {}).get("detail", ""),
        }
        for role, entries in card.graphs.items()
        for variant, entry in entries.items()
    }
    metrics = {
        split: {name: measure for name, measure in measures.items() if "/" not in name}
        for split, measures in card.metrics.items()
    }
    return {
        "kind": "bundle",
        "task": card.task,
        "net": dict(card.net),
        "classes": list(card.classes),
        "input": {
            "size_hw": list(card.preparation.size_hw),
            "mode": card.preparation.mode,
            "fit": card.preparation.fit,
            "dtype": card.preparation.dtype,
        },
        "operating": {name: _short(value) for name, value in card.operating.items()},
        "graphs": graphs,
        "preferred": dict(card.preferred),
        "metrics": metrics,
        "data": {name: card.data.get(name) for name in ("name", "layout", "fingerprint", "counts", "leak")},
        "notes": list(card.notes),
        "created": card.created,
        "digest": bundle.digest,
    }


def _short(value: Any) -> Any:
    """A long list of numbers, or a long text that is no sentence, in a few words.

    >>> _short([0.5] * 40 + [2.0]), _short([1, 2]), _short("A word.")
    ('41 numbers from 0.5 to 2', [1, 2], 'A word.')
    """
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    if isinstance(value, list) and len(value) > _SHOWN and all(isinstance(each, int | float) for each in value):
        return f"{len(value)} numbers from {min(value):g} to {max(value):g}"
    if isinstance(value, str) and len(value) > _WORD and " " not in value:
        return f"{len(value):,} characters"
    return value


def _picture(path: Path) -> dict[str, Any]:
    picture = read_picture(path)
    low, high = float(picture.pixels.min()), float(picture.pixels.max())
    return {
        "kind": "picture",
        "format": picture.format,
        "height": picture.size_hw[0],
        "width": picture.size_hw[1],
        "channels": picture.pixels.shape[2],
        "dtype": str(picture.pixels.dtype),
        "full_scale": picture.high,
        "lowest": low,
        "highest": high,
        "orientation": picture.orientation,
        "notes": list(picture.notes),
    }
