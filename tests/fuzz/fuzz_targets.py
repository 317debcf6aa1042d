"""What the fuzzers call: each target takes bytes, does all that can be done with them, and raises only for a fault."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core import onnxscan
from sightline.core.bundle import open_bundle
from sightline.core.card import Card
from sightline.core.containers import BundleLimits, write_zip
from sightline.core.errors import BundleError, DataError, PictureError
from sightline.data.layouts import csv, npz, parquet, webdataset
from sightline.data.pictures import Limits, read_header, read_picture

SMALL = Limits(max_bytes=1 << 20, max_pixels=1_000_000, max_frames=100)
"""Enough for every branch, and little enough that a decode takes milliseconds."""
LITTLE = BundleLimits(files=50, file_bytes=1 << 20, total_bytes=4 << 20, json_bytes=1 << 16)
GRAPH = bytes.fromhex("08083a110a0c0a0178120179220452656c7512016742021011")
"""ModelProto { ir_version: 8, graph: { node: { "x" -> Relu -> "y" }, name: "g" }, opset_import: { 17 } }"""
WEIGHTS = (56).to_bytes(8, "little") + b'{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'.ljust(56) + b"\1\2"


def pictures(blob: bytes) -> None:
    """A picture decodes whole and reduced, to the size its header says, or is a PictureError."""
    try:
        header = read_header(blob, limits=SMALL)
    except PictureError as error:
        assert error.reason
        header = None
    for wanted in (None, (8, 8)):
        try:
            picture = read_picture(blob, at_least_hw=wanted, limits=SMALL)
        except PictureError as error:
            assert error.reason
            continue
        assert header is not None, "what has no header cannot be decoded"
        pixels = picture.pixels
        assert pixels.ndim == 3 and pixels.shape[2] in (1, 3) and pixels.flags.c_contiguous
        assert pixels.dtype in (np.uint8, np.uint16, np.float32) and np.isfinite(pixels).all()
        assert pixels.max() <= picture.high or pixels.dtype == np.float32
        assert picture.size_hw == header.size_hw
        assert pixels.shape[:2] == picture.size_hw or (wanted and picture.format == "JPEG")


def cards(blob: bytes) -> None:
    """A card that is read is written and read again the same, or is a BundleError."""
    try:
        card = Card.from_json(blob.decode("utf-8", "surrogateescape"))
    except BundleError as error:
        assert str(error)
        return
    assert Card.from_json(card.to_json()) == card


def graphs(blob: bytes) -> None:
    """A graph passes the scan or is a BundleError."""
    try:
        onnxscan.scan(blob)
    except BundleError as error:
        assert str(error)


def bundles(blob: bytes) -> None:
    """A file taken for a zipped bundle."""
    with tempfile.TemporaryDirectory(dir=_room()) as folder:
        path = Path(folder) / "m.zip"
        path.write_bytes(blob)
        _open_all(path)
        assert [each.name for each in Path(folder).iterdir()] == ["m.zip"], "nothing is written beside it"


def sealed(blob: bytes) -> None:
    """One file of a bundle made of the bytes after the first, with all sums right: what a hostile writer would do."""
    names = ("card.json", "graphs/main.onnx", "weights.safetensors", "manifest.json")
    parts = {"card.json": b"", "graphs/main.onnx": GRAPH, "weights.safetensors": WEIGHTS}
    name = names[blob[0] % 4] if blob else names[0]
    parts[name] = blob[1:]
    if name != "card.json":
        entry = {"file": "graphs/main.onnx", "sha256": hashlib.sha256(parts["graphs/main.onnx"]).hexdigest()}
        parts["card.json"] = Card(task="classify", net={}, graphs={"main": {"onnx": entry}}).to_json().encode()
    sums = {n: {"sha256": hashlib.sha256(b).hexdigest(), "size": len(b)} for n, b in parts.items()}
    body = {"format": "sightline-bundle", "version": 1, "files": sums}
    parts.setdefault("manifest.json", json.dumps(body).encode())
    buffer = io.BytesIO()
    write_zip(buffer, parts)
    bundles(buffer.getvalue())


def tables(blob: bytes) -> None:
    """A CSV layout is read, or is a DataError."""
    with tempfile.TemporaryDirectory(dir=_room()) as folder:
        path = Path(folder) / "samples.csv"
        path.write_bytes(blob)
        csv.fits(path)
        try:
            samples = csv.read(path)
        except DataError as error:
            assert str(error)
            return
        assert samples.rows and samples.counts()


def arrays(blob: bytes) -> None:
    """An NPZ layout is read and its pictures decode, or it is a DataError."""
    with tempfile.TemporaryDirectory(dir=_room()) as folder:
        path = Path(folder) / "samples.npz"
        path.write_bytes(blob)
        npz.fits(path)
        try:
            samples = npz.read(path)
            for row in samples.rows[:3]:
                read_picture(samples.open(row))
        except DataError as error:
            assert str(error)


def tars(blob: bytes) -> None:
    """A shard is read and its pictures decode, or each has a reason."""
    _in_place(webdataset, "samples.tar", blob)


def hubs(blob: bytes) -> None:
    """The same of a Parquet table with pictures in it."""
    _in_place(parquet, "samples.parquet", blob)


def _in_place(layout: Any, name: str, blob: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_room()) as folder:
        path = Path(folder) / name
        path.write_bytes(blob)
        layout.fits(path)
        try:
            samples = layout.read(path)
        except DataError as error:
            assert str(error)
            return
        assert samples.rows and not [row for row in samples.rows if ".." in Path(row.path).parts]
        for row in samples.rows[:3]:
            try:
                read_picture(samples.open(row), limits=SMALL)
            except PictureError as error:
                assert error.reason
        assert [each.name for each in Path(folder).iterdir()] == [name]


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (pictures, cards, graphs, bundles, sealed, tables, arrays, tars, hubs)
}


def _open_all(path: Path) -> None:
    """Whatever can be done with a bundle without running it."""
    try:
        bundle = open_bundle(path, limits=LITTLE)
        for name in bundle.files:
            bundle.read(name)
        for role in bundle.card.graphs:
            for variant in bundle.variants(role):
                bundle.graph(role, variant)
        bundle.arrays()
    except BundleError as error:
        assert str(error)


@cache
def _room() -> str | None:
    """A folder in memory where there is one: the fuzzers write a file a call."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
