"""The weights ledger: fetching past interruptions and corruption, licences, packs, and what may not be judged."""

from __future__ import annotations

import errno
import functools
import hashlib
import http.client
import http.server
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

import sightline
from made_graphs import foreign
from sightline.cli.main import sightline as shell
from sightline.core import ledger
from sightline.core.errors import LeakError, StorageError, UsageError
from sightline.core.events import Progress, drain
from sightline.core.ledger import Entry, entries, entry_of, is_here, place
from sightline.verbs.weights import add, get, pack, trained_on, unpack

BLOB = bytes(range(256)) * 4000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one file, with ranges, and misbehaves as it is told."""

    log: ClassVar[list[str]] = []
    cut: ClassVar[list[int]] = []
    """After how many bytes the next replies end."""
    body: bytes = BLOB
    ranges = True

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.log.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        part = self.body[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: self.cut.pop(0)] if self.cut else part)

    def log_message(self, *words: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture
def server() -> Iterator[type[Server]]:
    Own = type("Own", (Server,), {"log": [], "cut": [], "body": BLOB, "ranges": True})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        Own.url = f"http://127.0.0.1:{running.server_port}/some.onnx"
        yield Own
        running.shutdown()


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def known(**changes: Any) -> Entry:
    given = {"name": "some", "file": "some.onnx", "sha256": hashlib.sha256(BLOB).hexdigest(), "size": len(BLOB)}
    entry = Entry(**(given | {"weight_licence": "MIT"} | changes))
    ledger.record([entry])
    return entry


# The ledger.


def test_what_comes_with_sightline_is_well_formed() -> None:
    found = entries()
    assert {"mobilenet-v2-int8", "resnet20-cifar10"} <= set(found)
    for entry in found.values():
        assert entry_of(asdict(entry)) == entry
        assert re.match(r"https://(raw|media)\.githubusercontent\.com/", entry.url)
        assert entry.weight_licence != ledger.UNKNOWN and entry.trained_on


@pytest.mark.parametrize(
    ("licence", "restricted"),
    [
        ("Apache-2.0", False),
        ("MIT", False),
        ("CC BY 4.0", False),
        ("CC BY-NC 4.0", True),
        ("CC-BY-NC-SA-4.0", True),
        ("non-commercial use", True),
        ("Noncommercial", True),
        ("research only", True),
        ("research-only", True),
        ("for research purposes", True),
        ("CC_BY_NC", True),
        ("CC BY-ND 4.0", True),
        ("proprietary", True),
        ("MIT, 非商用", True),
        ("AGPL-3.0", True),
        ("", True),
        ("Apache License, Version 2.0", False),
        ("BSD-3-Clause", False),
        ("CC0-1.0", False),
        ("cc-by-sa-4.0", False),
        ("public domain", False),
        ("unknown", True),
    ],
)
def test_licences_that_restrict_are_known(licence: str, restricted: bool) -> None:
    assert known(weight_licence=licence).restricted is restricted


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "abc"},
        {"size": "7"},
        {"size": True},
        {"file": "../up.onnx"},
        {"file": ".hidden"},
        {"name": 7},
        {"file": "a/b"},
    ],
)
def test_an_entry_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="ledger"):
        entry_of(asdict(known()) | changes)


def test_an_empty_licence_is_an_unknown_one() -> None:
    assert entry_of(asdict(known(weight_licence=" "))).weight_licence == ledger.UNKNOWN


def test_a_name_stands_for_one_file(tmp_path: Path) -> None:
    (tmp_path / "resnet20-cifar10.onnx").write_bytes(b"mine")
    words = ["weights", "add", str(tmp_path / "resnet20-cifar10.onnx"), "--licence", "MIT"]
    with pytest.raises(UsageError, match=r"has another file named resnet20-cifar10; .* --name NAME"):
        CliRunner().invoke(shell, words, catch_exceptions=False)
    assert entries()["resnet20-cifar10"].trained_on == ("cifar10",)
    with pytest.raises(UsageError, match="another file named twice"):
        ledger.record([known(name="twice"), replace(known(name="twice"), sha256="0" * 64)])


def test_what_comes_with_sightline_is_shadowed_by_no_entry_of_a_machine(own: Path) -> None:
    before = entries()["resnet20-cifar10"]
    claims = [asdict(replace(before, trained_on=())), asdict(replace(before, sha256="0" * 64))]
    for claim in claims:
        (own / "weights").mkdir(parents=True, exist_ok=True)
        (own / "weights" / "ledger.json").write_text(json.dumps([claim]))
        assert entries()["resnet20-cifar10"] == before


def test_sums_are_looked_up_in_both_ledgers(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of one name, from before that was refused, are both known by their sums."""
    theirs = known(trained_on=("cifar10",))
    mine = replace(theirs, sha256=hashlib.sha256(b"mine").hexdigest(), size=4, trained_on=())
    (tmp_path / "built-in.json").write_text(json.dumps([asdict(theirs)]))
    (own / "weights" / "ledger.json").write_text(json.dumps([asdict(mine)]))
    monkeypatch.setattr(ledger, "_BUILT_IN", tmp_path / "built-in.json")
    assert (ledger.by_sum(BLOB), ledger.by_sum(b"mine")) == (theirs, mine)


def test_a_ledger_that_is_spoilt_says_so(own: Path) -> None:
    known()
    (own / "weights" / "ledger.json").write_text("{")
    with pytest.raises(StorageError, match="mend it or delete it"):
        entries()


# Fetching.


def test_weights_are_fetched_and_checked(server: type[Server]) -> None:
    entry = known(source=server.url)
    told: list[Any] = []
    path = drain(get("some"), told.append)
    assert path == place(entry) and path.read_bytes() == BLOB and is_here(entry)
    assert [event.done for event in told if isinstance(event, Progress)][-1] == len(BLOB)
    assert drain(get("some")) == path
    assert server.log == [""]  # once


def test_an_interrupted_download_goes_on(server: type[Server]) -> None:
    known(source=server.url)
    server.cut[:] = [300_000, 300_000]
    for _ in range(2):
        with pytest.raises(UsageError, match="goes on"):
            drain(get("some"))
    assert drain(get("some")).read_bytes() == BLOB
    assert server.log[0] == "" and all(asked.startswith("bytes=") for asked in server.log[1:])


def test_a_server_without_ranges_begins_anew(server: type[Server]) -> None:
    known(source=server.url)
    server.ranges, server.cut[:] = False, [300_000]
    with pytest.raises(UsageError, match="goes on"):
        drain(get("some"))
    assert drain(get("some")).read_bytes() == BLOB


@pytest.mark.parametrize("body", [BLOB[:-1] + b"x", BLOB + b"more"])
def test_another_file_is_refused_and_not_gone_on_with(server: type[Server], body: bytes) -> None:
    entry = known(source=server.url)
    server.body = body
    with pytest.raises(UsageError, match="this is not some: SHA-256"):
        drain(get("some"))
    assert not place(entry).exists()
    server.body = BLOB
    assert drain(get("some")).read_bytes() == BLOB


def test_a_corrupted_part_is_thrown_away(server: type[Server]) -> None:
    entry = known(source=server.url)
    part = place(entry).with_name("some.onnx.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"y" * 1000)
    with pytest.raises(UsageError, match="this is not some"):
        drain(get("some"))
    assert drain(get("some")).read_bytes() == BLOB


def test_a_whole_part_is_kept_without_asking_again(server: type[Server]) -> None:
    entry = known(source=server.url)
    part = place(entry).with_name("some.onnx.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BLOB)
    assert drain(get("some")).read_bytes() == BLOB
    assert server.log == [] and not part.exists()


def test_a_download_that_cannot_be_kept_is_not_lost(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = known(source=server.url)

    def killed(path: Path, blob: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ledger, "write_bytes", killed)
        drain(get("some"))
    assert place(entry).with_name("some.onnx.part").read_bytes() == BLOB
    assert drain(get("some")).read_bytes() == BLOB
    assert server.log == [""]  # once


def test_a_network_that_fails_while_reading_is_no_disk_that_fails(
    server: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    known(source=server.url)
    read = http.client.HTTPResponse.read

    def broken(reply: Any, amount: int | None = None) -> bytes:
        if reply.length < len(BLOB):
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        return read(reply, amount)

    with monkeypatch.context() as patched, pytest.raises(UsageError, match=r"cannot be fetched .*No route.*goes on"):
        patched.setattr(http.client.HTTPResponse, "read", broken)
        drain(get("some"))
    assert drain(get("some")).read_bytes() == BLOB
    assert server.log[1].startswith("bytes=")


def test_a_disk_that_fails_while_fetching_is_told_as_such(server: type[Server]) -> None:
    entry = known(source=server.url)
    place(entry).with_name("some.onnx.part").mkdir(parents=True)
    with pytest.raises(StorageError, match="a folder stands there"):
        drain(get("some"))


@pytest.mark.parametrize("source", ["http://127.0.0.1:9/none.onnx", "nonsense://x", "no-such-file.onnx"])
def test_what_cannot_be_fetched_says_what_to_do(source: str) -> None:
    known(source="")
    with pytest.raises(UsageError, match="weights get some --from FILE"):
        drain(get("some", source=source))
    with pytest.raises(UsageError, match="nobody wrote down"):
        drain(get("some"))


def test_a_file_brought_along_will_do(tmp_path: Path) -> None:
    known(source="https://nowhere.invalid/x")
    (tmp_path / "brought").write_bytes(BLOB)
    assert drain(get("some", source=str(tmp_path / "brought"))).read_bytes() == BLOB
    (tmp_path / "brought").write_bytes(BLOB[1:])
    place(known()).unlink()
    with pytest.raises(UsageError, match="this is not some"):
        drain(get("some", source=str(tmp_path / "brought")))


def test_a_licence_that_restricts_is_accepted_by_name(tmp_path: Path) -> None:
    known(weight_licence="CC BY-NC 4.0")
    (tmp_path / "brought").write_bytes(BLOB)
    with pytest.raises(UsageError, match=r"'CC BY-NC 4\.0'; give --accept"):
        drain(get("some", source=str(tmp_path / "brought")))
    assert drain(get("some", source=str(tmp_path / "brought"), accept=True)).exists()


@pytest.mark.parametrize("licence", [[], ["--licence", "CC BY-NC 4.0"], ["--licence", ""]])
def test_a_file_is_added_under_such_a_licence_only_if_accepted(tmp_path: Path, licence: list[str]) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"mine")
    words = ["weights", "add", str(tmp_path / "mine.onnx"), *licence]
    with pytest.raises(UsageError, match="give --accept"):
        CliRunner().invoke(shell, words, catch_exceptions=False)
    assert "mine" not in entries()
    assert CliRunner().invoke(shell, [*words, "--accept"]).exit_code == 0
    assert is_here(entries()["mine"])


def test_a_pack_with_such_a_licence_is_taken_only_if_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = known(weight_licence="CC BY-NC 4.0")
    ledger.keep(entry, BLOB)
    path = str(pack(["some"], tmp_path / "p.zip"))
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match="give --accept"):
        CliRunner().invoke(shell, ["weights", "unpack", path], catch_exceptions=False)
    assert "some" not in entries() and not place(entry).exists()
    assert CliRunner().invoke(shell, ["weights", "unpack", path, "--accept"]).exit_code == 0
    assert is_here(entries()["some"])


# Bringing in and taking along.


def test_a_file_is_added_with_what_is_known_of_it(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"mine")
    words = ["weights", "add", str(tmp_path / "mine.onnx"), "--licence", "MIT", "--trained-on", "imagenet, coco"]
    done = CliRunner().invoke(shell, words, catch_exceptions=False)
    assert "mine: MIT; trained on imagenet, coco" in done.output
    assert "mine" in CliRunner().invoke(shell, ["weights", "list"]).output
    licences = CliRunner().invoke(shell, ["weights", "licences", "mine", "mobilenet-v2-int8"]).output
    assert "weights: MIT" in licences and "ImageNet: research use" in licences


def test_a_file_is_stored_under_a_plain_name(tmp_path: Path) -> None:
    (tmp_path / "my net (1).onnx").write_bytes(b"mine")
    words = ["weights", "add", str(tmp_path / "my net (1).onnx"), "--licence", "MIT"]
    assert CliRunner().invoke(shell, words, catch_exceptions=False).exit_code == 0
    entry = entries()["my net (1)"]
    assert entry.file == "my-net-1-.onnx" and place(entry).read_bytes() == b"mine"


def test_a_file_that_the_ledger_knows_keeps_its_entry(tmp_path: Path) -> None:
    entry = known(weight_licence="MIT")
    (tmp_path / "renamed.bin").write_bytes(BLOB)
    given = replace(entry, name="other", file="renamed.bin", weight_licence="public domain", sha256="", size=0)
    assert add(tmp_path / "renamed.bin", given) == entry
    assert is_here(entry) and "other" not in entries()


def test_a_pack_goes_to_a_machine_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = known()
    with pytest.raises(UsageError, match="not here: some"):
        pack(["some"], tmp_path / "p.zip")
    ledger.keep(entry, BLOB)
    assert pack(["some"], tmp_path / "p.zip").exists()
    with pytest.raises(UsageError, match="is there already"):
        pack(["some"], tmp_path / "p.zip")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "elsewhere"))
    assert "some" not in entries()
    assert unpack(tmp_path / "p.zip") == [entry]
    assert entries()["some"] == entry and place(entry).read_bytes() == BLOB


def test_a_pack_that_takes_a_name_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = known()
    ledger.keep(entry, BLOB)
    path = pack(["some"], tmp_path / "p.zip")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "elsewhere"))
    (tmp_path / "some.onnx").write_bytes(b"mine")
    mine = add(tmp_path / "some.onnx", replace(entry, sha256="", size=0))
    with pytest.raises(UsageError, match="another file named some"):
        unpack(path)
    assert entries()["some"] == mine and not place(entry).exists()


def spoilt(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path.with_name("spoilt.zip"), "w") as archive:
        for name, blob in (held | members).items():
            archive.writestr(name, blob)
    return path.with_name("spoilt.zip")


def test_a_pack_that_lies_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = known()
    ledger.keep(entry, BLOB)
    path, name = pack(["some"], tmp_path / "p.zip"), f"{entry.sha256[:16]}/some.onnx"
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "elsewhere"))
    for members, said in (
        ({name: BLOB[:-1] + b"x"}, "this is not some"),
        ({name: BLOB * 2}, "larger than the ledger says"),
        ({"ledger.json": b"{"}, "no pack of weights"),
        ({"ledger.json": b"[7]"}, "no entry of a weights ledger"),
        ({"ledger.json": json.dumps([asdict(entry) | {"file": "../../up"}]).encode()}, "file name that is none"),
    ):
        with pytest.raises(UsageError, match=said):
            unpack(spoilt(path, **members))
        assert "some" not in entries() and not place(entry).exists()
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UsageError, match="no pack of weights"):
        unpack(tmp_path / "text.zip")


# In training.


@pytest.mark.parametrize(
    ("path", "met"),
    [
        ("/data/cifar10", "cifar10"),
        ("/data/CIFAR-10/train", "cifar10"),
        ("csv:/data/cifar_10.csv", "cifar10"),
        ("/data/cifar100", ""),
        ("/data/mine", ""),
    ],
)
def test_the_data_that_went_in_is_known_by_its_name(path: str, met: str) -> None:
    assert trained_on(("imagenet", "cifar10"), path) == met


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Twenty striped pictures in a folder called `Shop-5`."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(20):
        image = rng.integers(0, 120, (16, 16, 3), np.uint8)
        image[(slice(None, None, 2), slice(None))[:: 1 if index % 2 else -1]] += 120
        path = tmp_path / "Shop-5" / ("along" if index % 2 else "across") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "Shop-5"


def test_an_encoder_is_taken_by_name_and_its_licence_goes_into_the_card(shop: Path, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    (tmp_path / "encoder.onnx").write_bytes(foreign())
    given = Entry(name="stripes", file="encoder.onnx", sha256="", size=0, weight_licence="MIT", trained_on=("toys",))
    with pytest.raises(UsageError, match="there is no such file"):
        sightline.train("classify", shop, net="onnx:stripes", out=tmp_path / "no")
    entry = add(tmp_path / "encoder.onnx", given)
    sightline.train("classify", shop, net="onnx:stripes", out=tmp_path / "run")
    card = json.loads((tmp_path / "run" / "model" / "card.json").read_text())
    assert card["licences"]["weights"] == "learned here from stripes: MIT; trained on toys"
    place(entry).unlink()
    with pytest.raises(UsageError, match="sightline weights get stripes"):
        sightline.train("classify", shop, net="onnx:stripes", out=tmp_path / "no")


def test_an_encoder_is_not_judged_on_what_it_was_trained_on(shop: Path, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    (tmp_path / "encoder.onnx").write_bytes(foreign())
    given = Entry(name="stripes", file="encoder.onnx", sha256="", size=0, weight_licence="MIT", trained_on=("shop5",))
    add(tmp_path / "encoder.onnx", given)
    train = functools.partial(sightline.train, "classify", shop, net=f"onnx:{tmp_path / 'encoder.onnx'}")
    with pytest.raises(LeakError, match="was trained on shop5"):  # known by its bytes, whatever it is called
        train(out=tmp_path / "no")
    train(out=tmp_path / "run", recipe={"allow_leak": True})
    card = json.loads((tmp_path / "run" / "model" / "card.json").read_text())
    assert any("trained on shop5, allowed by --allow-leak" in note for note in card["notes"])
