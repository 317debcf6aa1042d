"""Bundles: a trained model on disk, a card, weights and graphs under one manifest of sums; safe to open from anyone."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.core import onnxscan
from sightline.core.card import Card
from sightline.core.containers import ZIP_SUFFIXES, BundleLimits, check_names, container, open_regular, write_zip
from sightline.core.errors import BundleError, UsageError
from sightline.core.storage import occupied, replace_folder, storing, writing

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT, VERSION = "sightline-bundle", 1
CARD, MANIFEST, WEIGHTS = "card.json", "manifest.json", "weights.safetensors"
GRAPH_SUFFIX = ".onnx"
_LIMITS = BundleLimits()
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Sum:
    """What a file must be: its SHA-256 in lower-case hexadecimal and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An opened bundle: its card is read and all names and sizes are checked; contents are checked whenever read."""

    path: Path
    card: Card
    files: Mapping[str, Sum]
    """Every file but the manifest."""
    digest: str
    """SHA-256 of the manifest: the identity of the bundle, the same for a folder and its zip."""
    limits: BundleLimits = _LIMITS

    def read(self, name: str) -> bytes:
        """A file's contents, with size and SHA-256 verified. Raises BundleError."""
        if name not in self.files:
            raise BundleError(f"{self.path} holds no {name!r}; it holds: {', '.join(sorted(self.files))}")
        wanted = self.files[name]
        blob = container(self.path, self.limits).read(name, wanted.size)
        if _sum(blob) != wanted:
            raise BundleError(f"{self.path}: {name!r} was changed: its SHA-256 is not the one in the manifest")
        return blob

    def variants(self, role: str) -> tuple[str, ...]:
        """The variants of a role's graph (`onnx`, `onnx-int8`), in the card's order; none for an unknown role."""
        return tuple(self.card.graphs.get(role, {}))

    def graph(self, role: str, variant: str) -> bytes:
        """A graph's file, verified against manifest and card; ONNX is scanned for whatever reaches outside the file.

        Raises UsageError for a role or variant the card does not have, and BundleError.
        """
        known = [f"{role} {variant}" for role in self.card.graphs for variant in self.variants(role)]
        if variant not in self.variants(role):
            raise UsageError(f"{self.path} has no graph {role} {variant}; it has: {', '.join(known) or 'none'}")
        name = str(self.card.graphs[role][variant]["file"])
        blob = self.read(name)
        if name.endswith(".onnx"):
            onnxscan.scan(blob)
        return blob

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The stored weights by name; an empty dictionary for a bundle that stores none. Raises BundleError."""
        if WEIGHTS not in self.files:
            return {}
        from safetensors import SafetensorError, numpy

        try:
            return dict(numpy.load(self.read(WEIGHTS)))
        except KeyError as error:  # bfloat16 and the float8s
            raise BundleError(f"{self.path}: {WEIGHTS} holds {error.args[0]}, which numpy has not; use F32") from None
        except (SafetensorError, ValueError, TypeError) as error:
            raise BundleError(f"{self.path}: {WEIGHTS} is damaged ({error})") from None


def is_bundle(path: str | Path) -> bool:
    """Whether something stands there that says it is a bundle: a folder, or a file with a bundle's ending.

    >>> is_bundle("photo.jpg")
    False
    """
    return Path(path).is_dir() or (Path(path).suffix in ZIP_SUFFIXES and Path(path).is_file())


def open_bundle(path: str | Path, *, limits: BundleLimits = _LIMITS) -> Bundle:
    """Open a folder or a zip as a bundle, trusting nothing in it.

    Raises BundleError, saying what is wrong, for anything but exactly the files of a sound manifest within `limits`,
    for a card that does not fit them, and UsageError when there is nothing at `path`.
    """
    path = Path(path)
    if _hint(path) and not (path / MANIFEST).exists():  # said before anything else that a run folder breaks
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}{_hint(path)}")
    box = container(path, limits)
    sizes = box.sizes()
    if MANIFEST not in sizes:
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}")
    manifest = box.read(MANIFEST, _parsed_size(MANIFEST, sizes[MANIFEST], limits))
    files = _from_manifest(manifest)
    _compare(path, files, {name: size for name, size in sizes.items() if name != MANIFEST})
    text = box.read(CARD, _parsed_size(CARD, files[CARD].size, limits))
    if _sum(text) != files[CARD]:
        raise BundleError(f"{path}: {CARD!r} was changed: its SHA-256 is not the one in the manifest")
    card = Card.from_json(_utf8(CARD, text))
    _check_graphs(card, files)
    return Bundle(path=path, card=card, files=files, digest=hashlib.sha256(manifest).hexdigest(), limits=limits)


def write_bundle(path: Path, card: Card, *, files: Mapping[str, bytes], overwrite: bool = False) -> Path:
    """Write card and files as a bundle, atomically; `.zip` and `.sightline` become one zip, else a folder. → `path`.

    What could not be opened again is not written: names, limits, the card, its graphs and ONNX files are checked first.
    Raises BundleError for those, UsageError when something stands there that may not be replaced, and StorageError.
    """
    for name in (CARD, MANIFEST):
        if name in files:
            raise BundleError(f"{name} is written by the bundle itself; leave it out of its files")
    full = {CARD: _card_bytes(card), **{name: files[name] for name in sorted(files)}}
    sums = {name: _sum(blob) for name, blob in full.items()}
    full[MANIFEST] = _manifest(sums)
    check_names({name: len(blob) for name, blob in full.items()}, _LIMITS)
    _check_graphs(card, sums)
    for name, blob in files.items():
        if name.endswith(".onnx"):
            onnxscan.scan(blob)
    as_zip = path.name.lower().endswith(ZIP_SUFFIXES)
    with storing(path):
        _check_replaceable(path, as_zip, overwrite)
    if as_zip:
        with writing(path) as file:
            write_zip(file, full)
    else:
        with replace_folder(path, overwrite=overwrite) as folder:
            for name, blob in full.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(blob)
    return path


def update_bundle(path: Path, card: Card, *, add: Mapping[str, bytes], remove: Collection[str] = ()) -> Path:
    """Rewrite a bundle where it stands with another card, more or other files, or fewer; atomically. → `path`.

    Files that stay are verified on the way. Raises as `open_bundle` and `write_bundle` do.
    """
    old = open_bundle(path)
    kept = {name: old.read(name) for name in old.files if name not in {CARD, *add, *remove}}
    return write_bundle(path, card, files={**kept, **add}, overwrite=True)


def _card_bytes(card: Card) -> bytes:
    """The card as it will be read; a card that cannot be read again is not written."""
    try:
        text = card.to_json()
        blob = text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise BundleError(f"the card holds something JSON cannot ({error})") from None
    Card.from_json(text)
    return blob


def _sum(blob: bytes) -> Sum:
    return Sum(hashlib.sha256(blob).hexdigest(), len(blob))


def _manifest(sums: Mapping[str, Sum]) -> bytes:
    files = {name: {"sha256": sums[name].sha256, "size": sums[name].size} for name in sorted(sums)}
    return (json.dumps({"format": FORMAT, "version": VERSION, "files": files}, indent=2) + "\n").encode("ascii")


def _from_manifest(blob: bytes) -> dict[str, Sum]:
    try:
        body = json.loads(_utf8(MANIFEST, blob), object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is not JSON ({error})") from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise BundleError(f"{MANIFEST} is not the manifest of a Sightline bundle")
    if body.get("version") != VERSION:
        raise BundleError(
            f"{MANIFEST} has version {body.get('version')!r:.40}, this Sightline reads {VERSION}; upgrade it"
        )
    if not isinstance(body.get("files"), dict):
        raise BundleError(f"{MANIFEST} lists no files")
    for name, entry in body["files"].items():
        sound = isinstance(entry, dict) and type(entry.get("size")) is int and isinstance(entry.get("sha256"), str)
        if not sound or entry["size"] < 0 or not _SHA256.fullmatch(entry["sha256"]):
            raise BundleError(f"{MANIFEST}: {name!r:.200} has no proper size and SHA-256")
    if CARD not in body["files"]:
        raise BundleError(f"{MANIFEST} lists no {CARD}")
    return {name: Sum(entry["sha256"], entry["size"]) for name, entry in body["files"].items()}


def _no_twins(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    body = dict(pairs)
    if len(body) < len(pairs):
        raise BundleError(f"{MANIFEST} names something twice")
    return body


def _compare(path: Path, files: Mapping[str, Sum], sizes: Mapping[str, int]) -> None:
    for name in sizes:
        if name not in files:
            raise BundleError(f"{path}: {name!r} is not in the manifest; remove it if you put it there")
    for name, wanted in files.items():
        if name not in sizes:
            raise BundleError(f"{path}: {name!r:.200} is in the manifest, but absent")
        if sizes[name] != wanted.size:
            raise BundleError(f"{path}: {name!r} has {sizes[name]:,} bytes, the manifest says {wanted.size:,}")


def _check_graphs(card: Card, files: Mapping[str, Sum]) -> None:
    """Every graph of the card must be a file of the manifest, the same file, and of a kind whose scan fits its name."""
    for role, variants in card.graphs.items():
        for variant, entry in variants.items():
            name, where = entry.get("file"), f"{CARD}: graph {role!r} {variant!r}"
            if not isinstance(name, str) or name not in files:
                raise BundleError(f"{where} names a file that is not in the bundle: {name!r:.200}")
            if entry.get("sha256") != files[name].sha256:
                raise BundleError(f"{where} has another SHA-256 than its file {name!r}")
            if not name.endswith(GRAPH_SUFFIX):  # under another suffix it would be opened without having been scanned
                raise BundleError(f"{where} is in {name!r}; a graph must end in {GRAPH_SUFFIX}")


def _check_replaceable(path: Path, as_zip: bool, overwrite: bool) -> None:
    """Only a bundle of the same form is ever replaced, so that a slip of the pen cannot delete a folder of photos."""
    if not occupied(path):
        return
    if not overwrite:
        raise UsageError(f"{path} exists already; choose another path, or ask for it to be overwritten")
    if as_zip and path.is_file():
        with open_regular(path) as file:
            ours = file.read(2) == b"PK"
    else:
        ours = not as_zip and (path / MANIFEST).is_file()
    if not ours:
        raise UsageError(f"{path} is not a bundle of this form, so it is not replaced; choose another path")


def _parsed_size(name: str, size: int, limits: BundleLimits) -> int:
    if size > limits.json_bytes:
        raise BundleError(f"{name} has {size:,} bytes, allowed are {limits.json_bytes:,}")
    return size


def _utf8(name: str, blob: bytes) -> str:
    try:
        return blob.decode("utf-8")
    except UnicodeDecodeError:
        raise BundleError(f"{name} is not UTF-8 text; the bundle is damaged") from None


def _hint(path: Path) -> str:
    inside = path / "model" / MANIFEST
    # os.path answers False where pathlib raises, for names that cannot be
    return f"; did you mean {inside.parent}?" if os.path.isfile(inside) else ""  # noqa: PTH113
