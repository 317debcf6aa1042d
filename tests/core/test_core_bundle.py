from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from sightline.core.bundle import Bundle, open_bundle, update_bundle, write_bundle
from sightline.core.card import Card
from sightline.core.errors import BundleError, StorageError, UsageError

CARD, MANIFEST = "card.json", "manifest.json"


def test_a_bundle_comes_back_as_it_was_written(bundle_path: Path, card: Card, files, weights, graph) -> None:
    bundle = open_bundle(bundle_path)
    assert bundle.card == card
    assert sorted(bundle.files) == [CARD, "graphs/main.onnx", "weights.safetensors"]
    assert {name: bundle.read(name) for name in files} == files
    assert bundle.variants("main") == ("onnx",)
    assert bundle.variants("none") == ()
    assert bundle.graph("main", "onnx") == graph
    arrays = bundle.arrays()
    assert arrays.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_folder_and_zip_are_the_same_bundle(tmp_path: Path, card: Card, files: dict[str, bytes]) -> None:
    folder = write_bundle(tmp_path / "model", card, files=files)
    backwards = dict(reversed(files.items()))
    zips = [write_bundle(tmp_path / name, card, files=backwards) for name in ("a.zip", "b.sightline")]
    digests = {open_bundle(path).digest for path in (folder, *zips)}
    assert digests == {hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}
    assert zips[0].read_bytes() == zips[1].read_bytes()
    with zipfile.ZipFile(zips[0]) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


def test_a_folder_zipped_by_another_tool_opens(tmp_path: Path, card: Card, files: dict[str, bytes]) -> None:
    folder = write_bundle(tmp_path / "model", card, files=files)
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))  # writes entries for folders, too
    assert open_bundle(str(tmp_path / "m.zip")).digest == open_bundle(folder).digest


def test_a_bundle_can_be_pickled_and_still_reads(bundle_path: Path, graph: bytes) -> None:
    again: Bundle = pickle.loads(pickle.dumps(open_bundle(bundle_path)))
    assert again.graph("main", "onnx") == graph


def test_a_bundle_without_weights_has_no_arrays(tmp_path: Path, card: Card, graph: bytes) -> None:
    assert open_bundle(write_bundle(tmp_path / "m", card, files={"graphs/main.onnx": graph})).arrays() == {}


@pytest.mark.parametrize("cut", [0, 4, 8, 40, -1])
@pytest.mark.parametrize("tail", [b"", b"\xff" * 9])
def test_damaged_weights_are_refused(tmp_path: Path, card: Card, graph: bytes, cut: int, tail: bytes) -> None:
    blob = save({"w": np.zeros(4, np.float32)})[:cut] + tail
    path = write_bundle(tmp_path / "m", card, files={"weights.safetensors": blob, "graphs/main.onnx": graph})
    with pytest.raises(BundleError, match="damaged"):
        open_bundle(path).arrays()


def test_dtypes_that_numpy_lacks_are_named(tmp_path: Path, card: Card, graph: bytes) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    blob = len(header).to_bytes(8, "little") + header + bytes(4)
    path = write_bundle(tmp_path / "m", card, files={"weights.safetensors": blob, "graphs/main.onnx": graph})
    with pytest.raises(BundleError, match="BF16"):
        open_bundle(path).arrays()


@pytest.mark.parametrize(("role", "variant"), [("main", "onnx-int8"), ("embedder", "onnx"), ("", "")])
def test_an_absent_graph_is_named_with_what_there_is(bundle_path: Path, role: str, variant: str) -> None:
    with pytest.raises(UsageError, match="it has: main onnx"):
        open_bundle(bundle_path).graph(role, variant)


def test_an_absent_file_is_named_with_what_there_is(bundle_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no 'x\.json'; it holds: card\.json"):
        open_bundle(bundle_path).read("x.json")


def test_nothing_there_and_no_bundle_there(tmp_path: Path, card: Card, files: dict[str, bytes]) -> None:
    with pytest.raises(UsageError, match="nothing at"):
        open_bundle(tmp_path / "missing")
    with pytest.raises(BundleError, match=r"no manifest\.json$"):
        open_bundle(tmp_path)
    write_bundle(tmp_path / "model", card, files=files)
    with pytest.raises(BundleError, match=r"did you mean .*model"):
        open_bundle(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BundleError, match="not a zip"):
        open_bundle(tmp_path / "photo.jpg")


# writing


def with_graph(card: Card, **entry: object) -> Card:
    return dataclasses.replace(card, graphs={"main": {"onnx": {**card.graphs["main"]["onnx"], **entry}}})


@pytest.mark.parametrize(
    ("change", "extra", "says"),
    [
        ({"file": "graphs/other.onnx"}, {}, "names a file that is not in the bundle"),
        ({"file": None}, {}, "names a file that is not in the bundle"),
        ({"sha256": "0" * 64}, {}, "another SHA-256"),
        ({}, {"run.py": b""}, "kind a bundle may not hold"),
        ({}, {"weights.pt": b""}, "kind a bundle may not hold"),
        ({}, {"../x.json": b""}, "plain relative path"),
        ({}, {"A.json": b"", "a.json": b""}, "only in capitals"),
        ({}, {"card.json": b""}, "written by the bundle itself"),
        ({}, {"manifest.json": b""}, "written by the bundle itself"),
        ({}, {"graphs/bad.onnx": b"\x0a\xff"}, "cut off"),
        ({"gate": float("nan")}, {}, "JSON"),
        ({"gate": object()}, {}, "JSON"),
    ],
)
@pytest.mark.parametrize("name", ["m", "m.zip"])
def test_what_could_not_be_opened_is_not_written(tmp_path, card, files, name, change, extra, says) -> None:
    with pytest.raises(BundleError, match=says):
        write_bundle(tmp_path / name, with_graph(card, **change), files={**files, **extra})
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_not_overwritten_unasked(bundle_path: Path, card: Card, files: dict[str, bytes]) -> None:
    other = dataclasses.replace(card, notes=("other",))
    with pytest.raises(UsageError, match="exists already"):
        write_bundle(bundle_path, other, files=files)
    assert open_bundle(bundle_path).card == card
    write_bundle(bundle_path, other, files=files, overwrite=True)
    assert open_bundle(bundle_path).card == other


def test_only_a_bundle_is_ever_replaced(tmp_path: Path, card: Card, files: dict[str, bytes]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    (tmp_path / "notes.zip").write_text("my notes")
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "folder.zip" / "x").touch()
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for name in ("photos", "notes.zip", "folder.zip", "file"):
        with pytest.raises(UsageError, match="not replaced"):
            write_bundle(tmp_path / name, card, files=files, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "notes.zip").read_text() == "my notes"


def test_an_empty_folder_may_become_a_bundle(tmp_path: Path, card: Card, files: dict[str, bytes]) -> None:
    (tmp_path / "m").mkdir()
    write_bundle(tmp_path / "m", card, files=files)
    assert open_bundle(tmp_path / "m").card == card


def test_update_adds_replaces_and_removes_in_one_go(bundle_path: Path, card: Card, graph: bytes, files) -> None:
    first = open_bundle(bundle_path).digest
    entry = {"file": "graphs/main.onnx-int8.onnx", "sha256": hashlib.sha256(graph).hexdigest()}
    more = dataclasses.replace(card, graphs={"main": {**card.graphs["main"], "onnx-int8": entry}})
    update_bundle(bundle_path, more, add={entry["file"]: graph, "note.md": b"# hi"}, remove=["weights.safetensors"])
    bundle = open_bundle(bundle_path)
    assert bundle.card == more
    assert sorted(bundle.files) == [CARD, "graphs/main.onnx", "graphs/main.onnx-int8.onnx", "note.md"]
    assert bundle.graph("main", "onnx-int8") == graph
    assert bundle.digest != first
    update_bundle(bundle_path, card, add=files, remove=[entry["file"], "note.md"])
    assert open_bundle(bundle_path).digest == first


def test_update_that_would_break_the_bundle_changes_nothing(bundle_path: Path, card: Card) -> None:
    before = open_bundle(bundle_path)
    with pytest.raises(BundleError, match="not in the bundle"):
        update_bundle(bundle_path, card, add={}, remove=["graphs/main.onnx"])
    assert open_bundle(bundle_path) == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_bundle(bundle_path, card, graph, monkeypatch, call) -> None:
    before = open_bundle(bundle_path)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="disk is full"):
        patch.setattr(os, call, full)
        update_bundle(bundle_path, card, add={"note.md": b"more"})
    assert open_bundle(bundle_path) == before
    assert open_bundle(bundle_path).graph("main", "onnx") == graph
    assert [path.name for path in bundle_path.parent.iterdir()] == [bundle_path.name]
