"""opening: galleries made, and opened by whoever has the key."""

from __future__ import annotations

import json
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from sightline.core.errors import GalleryError, UsageError
from sightline.core.storage import put_once, storing
from sightline.gallery.cancelable import Transform
from sightline.gallery.database import TABLES, connected, transaction, write_head
from sightline.gallery.keys import Source
from sightline.gallery.lock import KEYS, lock, unlocked
from sightline.gallery.log import Log
from sightline.gallery.sealing import fresh, seal
from sightline.gallery.store import Gallery, write_settings, write_transform


def create(
    path: Path, source: Source, *, model: str, width: int, kept: int | None = None, anchor: Path | None = None
) -> Gallery:
    """A new gallery for templates of a length, by the model with this digest.

    kept: how many numbers of a template are kept, by a random projection that costs accuracy; all where it is not said.
    anchor: see `log`; it should lie elsewhere. Raises UsageError where something is there already, StorageError.
    """
    if kept is not None and not 1 <= kept <= width:
        raise UsageError(f"kept is {kept}; of templates of {width} numbers 1 to {width} can be kept")
    if path.exists():
        raise UsageError(f"{path} exists already")
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    base, store, keys = connected(half), fresh()[:16], {name: fresh() for name in KEYS}
    try:
        with transaction(half, base):
            for statement in TABLES.split(";"):
                base.execute(statement)
            lock(base, store, keys, source)
            about = json.dumps({"model": model, "width": width, "kept": kept or width}).encode()
            write_head(base, "about", seal(keys["log"], about, store + b" about"))
            write_settings(base, store, keys, {})
            write_transform(base, keys, Transform.new(width=width, kept=kept or width, store=store))
            log = Log(store, keys["log"], keys["chain"], anchor)
            log.add(base, "create", {"key": source.KIND})
        base.close()
        if not put_once(half, path):
            raise UsageError(f"{path} exists already")
    finally:
        base.close()
        half.unlink(missing_ok=True)
    with closing(connected(path)) as base:
        log.drop_anchor(base)  # not before, as another process's gallery may have it
    return open_gallery(path, source, anchor=anchor)


def open_gallery(path: Path, source: Source, *, anchor: Path | None = None) -> Gallery:
    """A gallery that is there. Raises GalleryError for another's key, a wrong passphrase and what is no gallery."""
    if not path.is_file():
        raise UsageError(f"{path} is no gallery: there is no such file")
    base = connected(path)
    try:
        store, keys = unlocked(path, base, source)
        gallery = Gallery(path, base, store, keys, Log(store, keys["log"], keys["chain"], anchor))
        if base.execute("SELECT 1 FROM head WHERE name = 'unclean'").fetchone():
            gallery.clean()
        return gallery
    except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
        base.close()
        raise GalleryError(f"{path} is no gallery that can be read: {error}") from None
    except BaseException:
        base.close()
        raise
