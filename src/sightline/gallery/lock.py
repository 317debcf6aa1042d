"""lock: the set of keys of a gallery, sealed by the key that opens it, and the header that says in clear how."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sightline.core.errors import GalleryError
from sightline.gallery.database import connected, read_head, write_head
from sightline.gallery.keys import Source
from sightline.gallery.sealing import KEY, seal, unseal

FORMAT, VERSION = "sightline gallery", 2
KEYS = ("people", "lookup", "erased", "log", "chain", "pieces", "transform")
"""To wrap people's keys, find people, know the erased again, seal log and settings, chain the log, seal snapshot and
transform."""


def lock(base: sqlite3.Connection, store: bytes, keys: Mapping[str, bytes], source: Source) -> None:
    """Seal the set of keys by the source's, in the transaction that is open."""
    told: dict[str, Any] = {"format": FORMAT, "version": VERSION, "store": store.hex(), "kind": source.KIND}
    told["how"] = source.begin(store.hex())
    sealed = seal(source.key(store.hex(), told["how"]), b"".join(keys[name] for name in KEYS), _bound(told))
    for name, value in (("header", json.dumps(told).encode()), ("keys", sealed)):
        write_head(base, name, value)


def unlocked(path: Path, base: sqlite3.Connection, source: Source) -> tuple[bytes, dict[str, bytes]]:
    """The gallery's number and its set of keys. Raises GalleryError for another's key and a wrong passphrase, and
    KeyError, TypeError or ValueError where the header is none.
    """
    told = json.loads(read_head(base, "header"))
    if told["format"] != FORMAT or told["version"] != VERSION:
        raise GalleryError(f"{path} is a gallery of another version: {told['version']}")
    if told["kind"] != source.KIND:
        raise GalleryError(f"{path} is opened by a {told['kind']}, not by a {source.KIND}")
    try:
        opened = unseal(source.key(told["store"], told["how"]), read_head(base, "keys"), _bound(told), "it")
    except GalleryError:
        raise GalleryError(
            f"the {source.KIND} does not open {path}: it is wrong, another's, or the file was changed"
        ) from None
    return bytes.fromhex(told["store"]), {
        name: opened[KEY * place : KEY * (place + 1)] for place, name in enumerate(KEYS)
    }


def kind_of(path: Path) -> str:
    """What opens a gallery that is there, as it says: `key file`, `passphrase` or `keyring`; empty where it is none."""
    try:
        with closing(connected(path)) as base:
            return str(json.loads(read_head(base, "header"))["kind"])
    except (GalleryError, ValueError, KeyError, TypeError):
        return ""


def _bound(told: Mapping[str, Any]) -> bytes:
    """The header as the keys are bound to it, so that none of it can be changed."""
    return json.dumps(told, sort_keys=True).encode()
