"""Bundles that were tampered with or made to do harm: each opens soundly or is refused in words."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.core.bundle import open_bundle, write_bundle
from sightline.core.card import Card
from sightline.core.containers import BundleLimits, check_names
from sightline.core.errors import BundleError, UsageError

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file kinds")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, card: Card, files: dict[str, bytes]) -> dict[str, bytes]:
    """A sound bundle as names and contents, to be spoilt and packed again by `pack`."""
    path = write_bundle(tmp_path_factory.mktemp("sound") / "m", card, files=files)
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def pack(path: Path, parts: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, blob in parts.items():
                archive.writestr(name, blob)
    else:
        for name, blob in parts.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(blob)
    return path


def resealed(parts: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    """The parts with a manifest that fits them, as an attacker would make it; `changes` go on top of the manifest."""
    sums = {
        name: {"sha256": hashlib.sha256(blob).hexdigest(), "size": len(blob)}
        for name, blob in parts.items()
        if name != "manifest.json"
    }
    body = {"format": "sightline-bundle", "version": 1, "files": sums, **changes}
    return {**parts, "manifest.json": json.dumps(body).encode()}


def open_all(path: Path, limits: BundleLimits | None = None) -> None:
    """Do with a bundle whatever can be done with one."""
    bundle = open_bundle(path, limits=limits or BundleLimits())
    for name in bundle.files:
        bundle.read(name)
    for role in bundle.card.graphs:
        for variant in bundle.variants(role):
            bundle.graph(role, variant)
    bundle.arrays()


def without(name: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda parts: {key: blob for key, blob in parts.items() if key != name}


def card_with(**changes: object) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(parts: dict[str, bytes]) -> dict[str, bytes]:
        body = {**json.loads(parts["card.json"]), **changes}
        return resealed({**parts, "card.json": json.dumps(body).encode()})

    return change


def put(name: str, blob: bytes, *, seal: bool = True) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda parts: resealed({**parts, name: blob}) if seal else {**parts, name: blob}


def flip(name: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda parts: {**parts, name: parts[name][:-1] + bytes([parts[name][-1] ^ 1])}


def manifest(text: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return put("manifest.json", text.encode(), seal=False)


def entry(value: object) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(parts: dict[str, bytes]) -> dict[str, bytes]:
        body = json.loads(parts["manifest.json"])
        body["files"]["weights.safetensors"] = value
        return {**parts, "manifest.json": json.dumps(body).encode()}

    return change


ZEROS = "0" * 64
TAMPERED = {
    "no manifest": (without("manifest.json"), r"has no manifest\.json"),
    "empty manifest": (manifest(""), "is not JSON"),
    "manifest is a list": (manifest("[]"), "not the manifest"),
    "manifest of something else": (manifest('{"format": "x"}'), "not the manifest"),
    "manifest from the future": (lambda parts: resealed(parts, version=2), "version 2.*upgrade"),
    "manifest of version true": (lambda parts: resealed(parts, version="1"), "version '1'"),
    "manifest without files": (lambda parts: resealed(parts, files=[]), "lists no files"),
    "manifest without card": (lambda parts: resealed(parts, files={}), r"lists no card\.json"),
    "manifest in Latin-1": (put("manifest.json", b'{"format": "\xe9"}', seal=False), "UTF-8"),
    "manifest nested deep": (manifest("[" * 200_000), "is not JSON"),
    "manifest with a huge number": (manifest('{"version": ' + "9" * 5000 + "}"), "is not JSON"),
    "manifest with a name twice": (manifest('{"format": 1, "format": "sightline-bundle"}'), "twice"),
    "entry is no object": (entry("x"), "no proper size and SHA-256"),
    "size is negative": (entry({"sha256": ZEROS, "size": -1}), "no proper size"),
    "size is true": (entry({"sha256": ZEROS, "size": True}), "no proper size"),
    "size is NaN": (entry({"sha256": ZEROS, "size": float("nan")}), "no proper size"),
    "size is another": (entry({"sha256": ZEROS, "size": 5}), "the manifest says 5"),
    "sum is short": (entry({"sha256": "00", "size": 5}), "no proper size"),
    "file missing": (without("weights.safetensors"), r"'weights\.safetensors' is in the manifest, but absent"),
    "card missing": (without("card.json"), r"'card\.json' is in the manifest, but absent"),
    "file unlisted": (put("more.txt", b"", seal=False), r"'more\.txt' is not in the manifest"),
    "card changed": (flip("card.json"), r"'card\.json' was changed"),
    "graph changed": (flip("graphs/main.onnx"), r"'graphs/main\.onnx' was changed"),
    "weights changed": (flip("weights.safetensors"), "was changed"),
    "graph swapped and resealed": (put("graphs/main.onnx", b"\x3a\x00"), "another SHA-256"),
    "pickle": (put("weights.pkl", b""), "kind a bundle may not hold"),
    "torch": (put("weights.pt", b""), "kind a bundle may not hold"),
    "library": (put("ops.so", b""), "kind a bundle may not hold"),
    "capital suffix": (put("x.PY", b""), "kind a bundle may not hold"),
    "no suffix": (put("Makefile", b""), "kind a bundle may not hold"),
    "double suffix": (put("x.json.exe", b""), "kind a bundle may not hold"),
    "hidden file": (put(".hidden.json", b""), "plain relative path"),
    "card is a list": (put("card.json", b"[]"), "no schema"),
    "card is cut off": (put("card.json", b'{"schema": 1'), "is not JSON"),
    "card is not UTF-8": (put("card.json", b'{"schema": 1, "\xff": 1}'), "UTF-8"),
    "card is nested deep": (put("card.json", b'{"a":' * 100_000), "is not JSON"),
    "card with a huge number": (put("card.json", b'{"schema": ' + b"9" * 5000 + b"}"), "is not JSON"),
    "card with NaN": (card_with(data={"x": float("nan")}), "is not JSON"),
    "card with half a pair": (card_with(task="\ud800"), "is not JSON"),
    "card from the future": (card_with(schema=99), "upgrade"),
    "graphs are a list": (card_with(graphs=[1]), "graphs must be"),
    "graphs hold a text": (card_with(graphs={"main": {"onnx": "x"}}), "graphs must be"),
    "graph leads outside": (card_with(graphs={"main": {"onnx": {"file": "../../x.onnx"}}}), "not in the bundle"),
    "graph is the card": (
        lambda parts: card_with(graphs={"main": {"onnx": {"file": "manifest.json"}}})(parts),
        "not in the bundle",
    ),
}


@pytest.mark.parametrize("name", ["m", "m.zip"])
@pytest.mark.parametrize("case", TAMPERED)
def test_tampering_is_refused_in_words(tmp_path: Path, parts: dict[str, bytes], case: str, name: str) -> None:
    change, says = TAMPERED[case]
    with pytest.raises(BundleError, match=says):
        open_all(pack(tmp_path / name, change(parts)))


def test_packing_alone_breaks_nothing(tmp_path: Path, parts: dict[str, bytes]) -> None:
    for name in ("m", "m.zip"):
        open_all(pack(tmp_path / name, resealed(parts)))


@pytest.mark.parametrize("name", ["m", "m.zip"])
def test_an_onnx_graph_cannot_hide_from_the_scan(tmp_path: Path, parts: dict[str, bytes], name: str) -> None:
    blob = parts["graphs/main.onnx"]
    for file in ("graphs/main.txt", "graphs/main.md"):
        graphs = {"main": {"onnx": {"file": file, "sha256": hashlib.sha256(blob).hexdigest()}}}
        with pytest.raises(BundleError, match=r"must end in \.onnx"):
            open_all(pack(tmp_path / file[-3:] / name, card_with(graphs=graphs)({**parts, file: blob})))


@pytest.mark.parametrize("name", ["m", "m.zip"])
def test_a_resealed_graph_with_external_data_is_refused_when_read(tmp_path: Path, parts, name: str) -> None:
    blob = bytes.fromhex("3a04 2a02 7001")  # graph { initializer { data_location: EXTERNAL } }
    graphs = {"main": {"onnx": {"file": "graphs/main.onnx", "sha256": hashlib.sha256(blob).hexdigest()}}}
    path = pack(tmp_path / name, card_with(graphs=graphs)({**parts, "graphs/main.onnx": blob}))
    bundle = open_bundle(path)
    with pytest.raises(BundleError, match="external data"):
        bundle.graph("main", "onnx")


@pytest.mark.parametrize("name", ["m", "m.zip"])
def test_a_file_changed_after_opening_is_noticed(tmp_path: Path, parts: dict[str, bytes], name: str) -> None:
    path = pack(tmp_path / name, parts)
    bundle = open_bundle(path)
    pack(path, flip("graphs/main.onnx")(parts))
    with pytest.raises(BundleError, match="was changed"):
        bundle.graph("main", "onnx")
    pack(path, {**parts, "graphs/main.onnx": b"longer" * 100})
    with pytest.raises(BundleError, match="should have"):
        bundle.graph("main", "onnx")
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UsageError, match="nothing at"):
        bundle.read("card.json")


# names


@pytest.mark.parametrize(
    "name",
    [
        *("../x.json", "a/../x.json", "a/..", "/x.json", "//x.json", "./x.json", "a//x.json", "x.json/", "C:/x.json"),
        *("C:x.json", "a\\x.json", "..\\x.json", "x\0.json", "x.json\0.txt", "", ".", "x\n.json", "con.json"),
        *("a/NUL.txt", "lpt1.json", "aux/x.json", "é.json", "a\u202etxt.json", "x .json", " x.json", "a/.b/x.json"),
        *("a./x.json", "-x.json", "x" * 300 + ".json", "file://x.json", "a:b.json", "~/x.json", "$HOME/x.json"),
    ],
)
def test_names_that_lead_astray_are_refused(tmp_path: Path, parts: dict[str, bytes], name: str) -> None:
    with pytest.raises(BundleError, match="plain relative path"):
        check_names({name: 1}, BundleLimits())
    archive = pack(tmp_path / "m.zip", resealed(parts))
    info = zipfile.ZipInfo("x")
    info.filename = name
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(info, b"-")
    with pytest.raises(BundleError, match=r"plain relative path|cut short|there twice|not in the manifest"):
        open_all(archive)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.zip"], "nothing was unpacked"


@pytest.mark.parametrize("name", ["../out/", "/", "a/../b/", "C:/"])
def test_folder_entries_that_lead_astray_are_refused(tmp_path: Path, parts: dict[str, bytes], name: str) -> None:
    archive = pack(tmp_path / "m.zip", parts)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(zipfile.ZipInfo(name), b"")
    with pytest.raises(BundleError, match="plain relative path"):
        open_all(archive)


@pytest.mark.parametrize("name", ["a.json", "a/b-c/d_e.onnx", "console.json", "main.onnx-int8.onnx", "0.txt"])
def test_plain_names_pass(name: str) -> None:
    check_names({name: 1}, BundleLimits())


@pytest.mark.parametrize("names", [["a.json", "A.json"], ["x/a.json", "X/b.json"], ["a/b/c.json", "a/B/d.json"]])
def test_names_that_differ_only_in_capitals_are_refused(tmp_path: Path, parts, names: list[str]) -> None:
    with pytest.raises(BundleError, match="only in capitals"):
        open_all(pack(tmp_path / "m.zip", resealed({**parts, **dict.fromkeys(names, b"{}")})))


# limits


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (BundleLimits(files=3), "holds 4 files, allowed are 3"),
        (BundleLimits(files=1), "far more than 1 files"),
        (BundleLimits(file_bytes=100), "allowed are 100"),
        (BundleLimits(total_bytes=1000), "allowed are 1,000"),
        (BundleLimits(json_bytes=10), r"manifest\.json has .* allowed are 10"),
    ],
)
@pytest.mark.parametrize("name", ["m", "m.zip"])
def test_limits_hold(tmp_path: Path, parts: dict[str, bytes], name: str, limits: BundleLimits, says: str) -> None:
    path = pack(tmp_path / name, parts)
    open_all(path)
    with pytest.raises(BundleError, match=says):
        open_all(path, limits)


def test_a_huge_sparse_file_is_refused_unread(tmp_path: Path, parts: dict[str, bytes]) -> None:
    path = pack(tmp_path / "m", parts)
    with (path / "weights.safetensors").open("ab") as file:
        file.truncate(5 << 30)
    with pytest.raises(BundleError, match="allowed are"):
        open_all(path)


def test_a_zip_bomb_is_refused(tmp_path: Path, parts: dict[str, bytes]) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, blob in resealed({**parts, "note.txt": bytes(8 << 20)}).items():
            archive.writestr(name, blob)
    assert path.stat().st_size < 50_000
    with pytest.raises(BundleError, match="zip bomb"):
        open_all(path)
    open_all(path, BundleLimits(ratio=2000))


# zip structure


def patched(path: Path, name: str, offset: int, form: str, *values: int) -> Path:
    """Overwrite fields of an entry's central record (offsets as in APPNOTE.TXT 4.3.12)."""
    blob = bytearray(path.read_bytes())
    at = blob.rindex(name.encode()) - 46
    assert blob[at : at + 4] == b"PK\1\2"
    struct.pack_into(form, blob, at + offset, *values)
    path.write_bytes(blob)
    return path


@pytest.mark.parametrize(
    ("offset", "form", "value", "says"),
    [
        (8, "<H", 0x1, "encrypted"),
        (8, "<H", 0x41, "encrypted"),
        (10, "<H", 12, "packed in an unknown way"),
        (10, "<H", 14, "packed in an unknown way"),
        (10, "<H", 8, "cannot be read"),
        (6, "<H", 99, "cannot be read"),
        (16, "<L", 0, "cannot be read"),
        (24, "<L", 3 << 30, "zip bomb"),
        (24, "<L", 1 << 30, "zip bomb"),
        (24, "<L", 100, "the manifest says"),
        (38, "<L", (stat.S_IFLNK | 0o777) << 16, "symbolic link"),
        (38, "<L", (stat.S_IFIFO | 0o777) << 16, "not a regular file"),
        (38, "<L", (stat.S_IFCHR | 0o777) << 16, "not a regular file"),
        (42, "<L", 5, "cannot be read"),
    ],
)
def test_hostile_zip_entries_are_refused(tmp_path: Path, parts, offset: int, form: str, value: int, says: str) -> None:
    path = patched(pack(tmp_path / "m.zip", parts), "weights.safetensors", offset, form, value)
    with pytest.raises(BundleError, match=says):
        open_all(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_an_entry_twice_is_refused(tmp_path: Path, parts: dict[str, bytes]) -> None:
    path = pack(tmp_path / "m.zip", parts)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("card.json", b"{}")
    with pytest.raises(BundleError, match=r"'card\.json' is there twice"):
        open_all(path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda blob: b"#!/bin/sh\n" + blob, "beside its zip entries"),
        (lambda blob: blob + b"\0", "not a zip"),
        (lambda blob: blob[:-1], "not a zip"),
        (lambda blob: blob[:100], "not a zip"),
        (lambda blob: b"", "not a zip"),
        (lambda blob: blob[:-2] + b"\4\0ABCD", "not a zip"),
        (lambda blob: blob[:-22] + b"PK\6\7" + bytes(16) + blob[-22:], "ZIP64"),
        (lambda blob: blob[:-14] + b"\xff\xff\xff\xff" + blob[-10:], "far more than"),
    ],
)
def test_a_zip_that_is_not_just_a_zip_is_refused(tmp_path: Path, parts, spoil, says: str) -> None:
    path = pack(tmp_path / "m.zip", parts)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BundleError, match=says):
        open_all(path)


# file kinds


def as_link(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(path.parent / "elsewhere")


def as_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_folder_link(path: Path) -> None:
    (path.parent / "out").symlink_to(path.parent.parent.parent)


@posix
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (as_link, "symbolic link"),
        (as_loop, "symbolic link"),
        (as_fifo, "not a regular file"),
        (as_folder_link, "symbolic link"),
    ],
)
def test_files_of_other_kinds_are_refused_unopened(tmp_path: Path, parts, spoil: Callable[[Path], None], says) -> None:
    path = pack(tmp_path / "m", parts)
    before = open_bundle(path)
    spoil(path / "graphs" / "main.onnx")
    with pytest.raises(BundleError, match=says):
        open_bundle(path)
    if spoil is as_fifo:
        with pytest.raises(BundleError, match="not a regular file"):
            before.read("graphs/main.onnx")


@posix
def test_a_pipe_or_device_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.zip")
    for path in (tmp_path / "m.zip", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(BundleError, match="not a regular file"):
            open_bundle(path)


@posix
def test_a_link_to_a_bundle_is_followed(tmp_path: Path, parts: dict[str, bytes]) -> None:
    (tmp_path / "latest").symlink_to(pack(tmp_path / "m", parts))
    open_all(tmp_path / "latest")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_a_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        open_bundle(path)


# fifty mutated bundles of each form


def mutated(parts: dict[str, bytes], rng: random.Random) -> dict[str, bytes]:
    """One part flipped in up to eight bits, cut or doubled; half of the time resealed so that it is looked into."""
    name = rng.choice(sorted(parts))
    blob = bytearray(parts[name])
    how = rng.choice(("flip", "cut", "insert"))
    if how == "flip":
        for _ in range(rng.randint(1, 8)):
            blob[rng.randrange(len(blob))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del blob[rng.randrange(len(blob)) :]
    else:
        at = rng.randrange(len(blob))
        blob[at:at] = rng.randbytes(rng.randint(1, 9))
    changed = {**parts, name: bytes(blob)}
    return resealed(changed) if rng.random() < 0.5 and name != "manifest.json" else changed


@pytest.mark.parametrize("name", ["m", "m.zip"])
@pytest.mark.parametrize("seed", range(50))
def test_mutated_contents_open_or_are_refused(tmp_path: Path, parts: dict[str, bytes], name: str, seed: int) -> None:
    changed = mutated(parts, random.Random(seed))
    path = pack(tmp_path / name, changed)
    try:
        open_all(path)
    except BundleError as error:
        assert len(str(error)) > 10
    else:
        assert changed["manifest.json"] != parts["manifest.json"], "a change that no manifest covers went unseen"


@pytest.mark.parametrize("seed", range(50))
def test_mutated_zips_open_unchanged_or_are_refused(tmp_path: Path, parts: dict[str, bytes], seed: int) -> None:
    rng = random.Random(seed)
    path = pack(tmp_path / "m.zip", parts)
    sound = open_bundle(path)
    blob = bytearray(path.read_bytes())
    start = blob.index(b"PK\1\2") if seed % 2 else 0  # every other one in the zip's own directory
    for _ in range(rng.randint(1, 4)):
        blob[rng.randrange(start, len(blob))] ^= 1 << rng.randrange(8)
    path.write_bytes(blob if seed % 5 else blob[: rng.randrange(len(blob))])
    try:
        open_all(path)
        again = open_bundle(path)
    except BundleError:
        return
    assert (again.card, again.files, again.digest) == (sound.card, sound.files, sound.digest)
