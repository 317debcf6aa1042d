"""generate: pictures that a model makes, each marked as synthetic, in a folder for each class."""

from __future__ import annotations

import hashlib
import json
import operator
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sightline.core.card import Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Progress
from sightline.core.protocols import Request
from sightline.core.results import Picture
from sightline.core.runs import environment
from sightline.core.storage import append_line, write_bytes, write_json
from sightline.data import pictures
from sightline.data.encode import encoded
from sightline.data.prepare import to_depth
from sightline.data.synthetic import SOURCE_TYPE, marked
from sightline.draw.sheet import Tile, contact_sheet, to_u8
from sightline.verbs.made_files import Craft, Row, held
from sightline.verbs.opened import Opened

CRAFT = Craft(verb="generate", done="synthetic", kind="synthetic", ending=lambda source: ".png")
_LISTED = ("class", "seed", "index", "sha256")
BLOCK = 16
"""Pictures that are made at once, filled up where there are fewer, so that each is the same beside any others."""
MOST_COLUMNS, MOST_SHEET = 40, 1600
"""Pictures side by side on a sheet, and in all."""
MOST_SPREAD = 3
MOST_SEED = 2**64 - 1
"""Noise has no more of them: one beyond would make again what another has made."""
_LONGEST, _RESERVED = 100, re.compile(r"(?i)con|prn|aux|nul|com[0-9]|lpt[0-9]")
"""Bytes of a folder's name, and names that Windows keeps for itself."""


@dataclass(frozen=True)
class Generated:
    """What was made."""

    out: Path
    rows: tuple[Row, ...]
    """One a file, in order, as the journal has them."""
    skipped: int
    """Files that were there before."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: how many of each class."""
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row["class"]] = counts.get(row["class"], 0) + 1
        return {"pictures": len(self.rows), "classes": counts}


@dataclass(frozen=True)
class Draw:
    """One picture to be made."""

    label: int
    index: int
    """Its number among those of the seed; of one number all classes have one noise."""
    name: str
    """Of the file, below the folder."""


def generate(
    opened: Opened,
    out: Path,
    *,
    count: int,
    classes: Sequence[str] = (),
    seed: int = 0,
    spread: float = 1.0,
    overwrite: bool = False,
) -> Generator[Event, None, Generated]:
    """Make `count` pictures in all, shared evenly by the classes (all of them by default), as PNG files below `out`.

    A picture follows from the model, its class, the seed and its number; the same call gives the same files, goes on
    after an interruption, and with a larger count adds to them. spread: of the noise, 1 as it was learnt; below it
    pictures are likelier and more alike. Each file is marked (see `data.synthetic`), and `synthetic.json` lists all of
    them with their digests, the model's, and what it was learnt from, in the words of C2PA but unsigned.

    Raises UsageError for an unknown class, a spread beyond 0 to 3, a seed beyond 0 to MOST_SEED, a folder with other
    files in it unless `overwrite`, and StorageError.
    """
    seed = _plain_seed(seed)
    draws = _draws(opened, count, classes, seed=seed, spread=spread)
    made_by = _digest(opened, spread)
    _check_folder(out, overwrite)
    with held(out, CRAFT, journal=True) as rows:
        if not overwrite:
            _refuse_others(out, rows, made_by)
        left = [draw for draw in draws if not _is_done(rows.get(draw.name), out, made_by)]
        if len(left) < len(draws):
            yield Note(text=f"{len(draws) - len(left):,} of {len(draws):,} pictures are made already")
        done = len(draws) - len(left)
        try:
            for some in _blocks(left):
                for draw, picture in zip(some, made(opened, some, seed=seed, spread=spread)):
                    blob = marked(as_png(picture), _told(opened, draw, seed, spread))
                    write_bytes(out / draw.name, blob)
                    rows[draw.name] = _row(opened, draw, seed, made_by, blob)
                    append_line(out / CRAFT.journal, json.dumps(rows[draw.name]), durable=False)
                done += len(some)
                yield Progress(what="pictures made", done=done, total=len(draws))
        finally:  # an interrupted call lists what it has made, too
            others = _listed(opened, out, rows, made_by, spread)
        if others:
            told = f"{others:,} pictures of another model or spread are in {out} still"
            yield Note(text=f"{told}, and {CRAFT.report} does not list them", kind="warning")
    return Generated(out, tuple(rows[draw.name] for draw in draws), len(draws) - len(left))


def _refuse_others(out: Path, rows: Mapping[str, Row], made_by: str) -> None:
    """Raise UsageError where pictures would be mixed with those of another model or spread."""
    other = next((row for row in rows.values() if row["made_by"] != made_by), None)
    if other is not None:
        raise UsageError(
            f"{out} holds pictures of another model or spread, such as {other['file']}; give another folder, "
            "or overwrite it"
        )


def _listed(opened: Opened, out: Path, rows: Mapping[str, Row], made_by: str, spread: float) -> int:
    """List what this model made of what is in the folder; returns how many others are there."""
    here = {name: row for name, row in rows.items() if (out / name).is_file()}
    ours = {name: row for name, row in here.items() if row["made_by"] == made_by}
    write_json(out / CRAFT.report, _manifest(opened, ours, spread))
    return len(here) - len(ours)


def made(opened: Opened, draws: Sequence[Draw], *, seed: int, spread: float = 1.0) -> list[Picture]:
    """The pictures of at most BLOCK draws, each the same whatever others it is made with."""
    requests = [_request(opened, draw, seed, spread) for draw in draws]
    filled = requests + requests[-1:] * (BLOCK - len(requests))
    results: list[Any] = opened.answer(filled)
    return results[: len(requests)]


def pictures_of(
    opened: Opened, count: int, *, classes: Sequence[str] = (), seed: int = 0, spread: float = 1.0
) -> list[Picture]:
    """The same pictures in memory, class by class."""
    seed = _plain_seed(seed)
    draws = _draws(opened, count, classes, seed=seed, spread=spread)
    return [picture for some in _blocks(draws) for picture in made(opened, some, seed=seed, spread=spread)]


def _blocks(draws: Sequence[Draw]) -> Iterator[Sequence[Draw]]:
    """What is made at once."""
    return (draws[at : at + BLOCK] for at in range(0, len(draws), BLOCK))


def _request(opened: Opened, draw: Draw, seed: int, spread: float) -> Request:
    request: Request = opened.task.asked(opened.card, seed=seed, index=draw.index, label=draw.label, spread=spread)
    return request


def labels_of(opened: Opened, classes: Sequence[str]) -> list[int]:
    """Numbers of classes, of all where none is named. Raises UsageError for a model of another task or unknown ones."""
    card = opened.card
    opened.offers("generate")
    unknown = [name for name in classes if name not in card.classes]
    if unknown:
        knows = f"it knows {', '.join(card.classes[:20])}" if card.classes else "it knows no classes"
        raise UsageError(f"this model makes no {', '.join(unknown)}; {knows}")
    return [card.classes.index(name) for name in dict.fromkeys(classes)] or list(range(max(1, len(card.classes))))


def _plain_seed(seed: int) -> int:
    """A seed as a plain number, which numpy's are not: JSON does not take them. Raises UsageError."""
    found = operator.index(seed)
    if not 0 <= found <= MOST_SEED:
        raise UsageError(f"the seed is {found}; it must be from 0 to {MOST_SEED}")
    return found


def _draws(opened: Opened, count: int, classes: Sequence[str], *, seed: int, spread: float) -> list[Draw]:
    """What is to be made, class by class."""
    labels, folders = labels_of(opened, classes), folders_of(opened.card.classes) or [""]
    if count < 1:
        raise UsageError(f"the count is {count}; it must be at least 1")
    if not 0 <= spread <= MOST_SPREAD:
        raise UsageError(f"the spread is {spread:g}; it must be from 0 to {MOST_SPREAD}")
    draws = []
    for place, label in enumerate(labels):
        folder = folders[label]
        for index in range(count // len(labels) + (place < count % len(labels))):
            stem = f"{folder or 'made'}_{seed}_{index:06d}.png"
            draws.append(Draw(label, index, f"{folder}/{stem}" if folder else stem))
    return draws


def folders_of(classes: Sequence[str]) -> list[str]:
    """Classes as names of folders that every system takes, no two of them alike.

    >>> folders_of(["crack", "a/b", "A:B", "con"])
    ['crack', 'a_b', 'A_B-2', 'con_']
    """
    found, taken = list[str](), {CRAFT.journal, CRAFT.report}
    for number, name in enumerate(classes):
        plain = folder = _plain(name)
        while folder.casefold() in taken:
            folder = f"{plain}-{number}"
            number += len(classes)
        taken.add(folder.casefold())
        found.append(folder)
    return found


def _plain(name: str) -> str:
    kept = "".join("_" if mark in '/\\:*?"<>|' or ord(mark) < 32 else mark for mark in name)
    kept = kept.encode()[:_LONGEST].decode(errors="ignore").strip(" .")
    return f"{kept}_" if not kept or _RESERVED.fullmatch(kept.partition(".")[0]) else kept


def _check_folder(out: Path, overwrite: bool) -> None:
    """Raise UsageError where made pictures would be mixed with others."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; pictures need a folder")
    ours = not out.exists() or (out / CRAFT.journal).exists() or {path.name for path in out.iterdir()} <= {CRAFT.lock}
    if not ours and not overwrite:
        raise UsageError(f"{out} holds other files, which would be mixed with synthetic ones; give an empty folder")


def _is_done(row: Row | None, out: Path, made_by: str) -> bool:
    """Whether a picture is there as it was made; one that was damaged or changed is made again."""
    if row is None or row["made_by"] != made_by or not (out / row["file"]).is_file():
        return False
    return bool(row["sha256"] == hashlib.sha256((out / row["file"]).read_bytes()).hexdigest())


def _digest(opened: Opened, spread: float) -> str:
    """What decides how pictures turn out, beside class, seed and number."""
    asked = [opened.bundle.digest, opened.variant, spread]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _row(opened: Opened, draw: Draw, seed: int, made_by: str, blob: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(blob).hexdigest()
    drawn = {"class": _class(opened, draw), "seed": seed, "index": draw.index}
    return {"file": draw.name, **drawn, "sha256": digest, "made_by": made_by}


def _told(opened: Opened, draw: Draw, seed: int, spread: float) -> dict[str, Any]:
    """What a file says of itself."""
    drawn = {"seed": seed, "index": draw.index, "spread": spread}
    return {"synthetic": True, "model": opened.bundle.digest, "class": _class(opened, draw), **drawn}


def _class(opened: Opened, draw: Draw) -> str:
    """The name of a picture's class; "" where there are none."""
    return opened.card.classes[draw.label] if opened.card.classes else ""


def _manifest(opened: Opened, ours: Mapping[str, Row], spread: float) -> dict[str, Any]:
    """What the folder says of all that this model made."""
    card = opened.card
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    return {
        "format": "sightline-synthetic",
        "version": 1,
        "signed": False,
        "claim_generator": f"sightline/{environment()['packages'].get('sightline', '')}",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
        "model": {"digest": opened.bundle.digest, "net": dict(card.net), "licences": dict(card.licences)},
        "learnt_from": {name: card.data.get(name) for name in ("name", "fingerprint", "counts")},
        "spread": spread,
        "files": {name: {key: row[key] for key in _LISTED} for name, row in sorted(ours.items())},
    }


def as_png(picture: Picture) -> bytes:
    """Without metadata, in 8 bits, or in 16 where there are more."""
    held = pictures.Picture(picture.pixels, picture.high, "", "PNG", picture.size_hw)
    if picture.pixels.dtype == np.float32:
        pixels = to_depth(held, Preparation(dtype="uint16", high=65535.0))
        held = pictures.Picture(pixels, 65535.0, "", "PNG", picture.size_hw)
    return encoded(held)


def sheet(
    opened: Opened, *, count: int, classes: Sequence[str] = (), seed: int = 0, spread: float = 1.0, walk: bool = False
) -> Image.Image:
    """A row for each class. Of `count` draws side by side, one noise in a column, so that each is seen as every class;
    or, in a walk, `count` steps from one draw to the next, along the arc on which noise stays as likely as it is.

    Raises UsageError for more than MOST_COLUMNS columns or MOST_SHEET pictures, and fewer than two steps.
    """
    labels, card, seed = labels_of(opened, classes), opened.card, _plain_seed(seed)
    if not walk + 1 <= count <= MOST_COLUMNS or count * len(labels) > MOST_SHEET:
        raise UsageError(
            f"a sheet has {walk + 1} to {MOST_COLUMNS} columns and at most {MOST_SHEET:,} pictures, not {count} columns"
            f" of {len(labels)}; name fewer classes, or give another count"
        )
    requests = []
    for label in labels:
        drawn = [_request(opened, Draw(label, index, ""), seed, spread) for index in range(2 if walk else count)]
        requests += [_between(drawn[0], drawn[1], step / (count - 1)) for step in range(count)] if walk else drawn
    results: list[Any] = opened.answer(requests)
    tiles = [Tile(to_u8(each.pixels, each.high)) for each in results]
    for row, label in enumerate(labels if card.classes else []):
        tiles[row * count] = Tile(tiles[row * count].pixels, (card.classes[label],))
    title = "Synthetic: " + ("from one draw to the next" if walk else "one draw in each column")
    return contact_sheet(tiles, columns=count, tile_px=max(64, card.preparation.size_hw[0]), title=title)


def _between(first: Request, second: Request, share: float) -> Request:
    """A draw on the way from one to another."""
    a, b = (each.arrays["noise"] for each in (first, second))
    angle = share * np.pi / 2
    noise = (np.cos(angle) * a + np.sin(angle) * b).astype(np.float32)
    return Request(arrays={**first.arrays, "noise": noise}, size_hw=first.size_hw)
