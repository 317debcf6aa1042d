"""Bundles and pictures from people who mean harm, end to end: each is answered or refused in words."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutants import Parts, card_with, mutant, parts_of, resealed, unpacked
from PIL import Image

import sightline
from sightline.cli.main import main
from sightline.core.card import Card
from sightline.core.errors import BundleError, SightlineError
from sightline.verbs.info import info
from sightline.verbs.learner import from_card
from sightline.verbs.opened import open_model
from sightline.verbs.predict import predict


@pytest.fixture(scope="module")
def parts(probe_run: Path) -> Parts:
    return parts_of(probe_run / "model")


@pytest.fixture(scope="module")
def seven(digits: Path) -> Path:
    return sorted((digits / "test" / "7").iterdir())[0]


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code of a command, and what it wrote to stderr."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(str(left.value.code)), capsys.readouterr().err


# Single deeds.


def test_the_sound_bundle_answers(parts: Parts, seven: Path, tmp_path: Path, capsys: Any) -> None:
    assert said(capsys, "predict", unpacked(resealed(parts), tmp_path / "m"), seven) == (0, "")


def test_a_tampered_graph_ends_with_code_4(parts: Parts, seven: Path, tmp_path: Path, capsys: Any) -> None:
    blob = parts["graphs/main.onnx"]
    spoilt = {**parts, "graphs/main.onnx": blob[:-1] + bytes([blob[-1] ^ 1])}
    code, words = said(capsys, "predict", unpacked(spoilt, tmp_path / "m"), seven)
    assert code == 4
    assert "'graphs/main.onnx' was changed" in words


@pytest.mark.parametrize("name", ["../evil.json", "/tmp/evil.json", "graphs/../../evil.json", "a\\..\\..\\evil.json"])
def test_a_zip_does_not_climb_out(parts: Parts, seven: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    with zipfile.ZipFile(folder / "m.zip", "w") as archive:
        for each, blob in resealed({**parts, name: b"{}"}).items():
            archive.writestr(each, blob)
    code, words = said(capsys, "predict", folder / "m.zip", seven)
    assert code == 4
    assert "evil.json" in words
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", "m.zip"]


def test_more_classes_than_the_graph_has(parts: Parts, seven: Path, tmp_path: Path) -> None:
    path = unpacked(card_with(parts, ("classes",), [str(n) for n in range(11)]), tmp_path / "m")
    with pytest.raises(BundleError, match=r"11 classes.*\['B', 10\]"):
        sightline.load(path)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("operating", "temperature"), "hot", "operating.temperature is 'hot'"),
        (("operating", "temperature"), 0, "operating.temperature is 0"),
        (("operating", "temperature"), -2, "operating.temperature is -2"),
        (("operating", "temperature"), [1.0] * 100_000, "operating.temperature"),
        (("operating", "threshold"), None, "operating.threshold is None"),
        (("operating", "threshold"), {"a": 1}, "operating.threshold"),
        (("operating",), [], "operating must be an object"),
        (("task",), "fly", "task 'fly' is unknown"),
        (("task",), "../classify", "is unknown"),
        (("classes",), [], "0 classes"),
        (("classes",), "abc", "classes must be"),
        (("preparation", "size_hw"), [8, 9], "takes image"),
        (("preparation", "size_hw"), [10**9, 1], "preparation"),
        (("preparation", "mode"), "rgb", "takes image"),
        (("preparation", "dtype"), "uint16", "takes image"),
        (("evidence", "features"), "nothing", "evidence"),
        (("evidence", "features"), "logits", "evidence"),
        (("evidence",), {"features": "features"}, "evidence"),
        (("graphs",), {}, "no graph 'main'"),
        (("graphs", "main"), {}, "no graph 'onnx'"),
        (("graphs", "main", "onnx", "inputs", "image", "shape"), ["B", 8, 9, 1], "do not describe"),
        (("graphs", "main", "onnx", "inputs", "image", "shape"), None, "do not describe"),
        (("graphs", "main", "onnx", "inputs", "image", "dtype"), "int64", "do not describe"),
        (("graphs", "main", "onnx", "inputs", "image"), "image", "do not describe"),
        (("graphs", "main", "onnx", "inputs"), [], "do not describe"),
        (("graphs", "main", "onnx", "outputs"), None, "do not describe"),
        (("graphs", "main", "onnx", "outputs", "logits", "shape"), ["B", 11], "do not describe"),
        (("graphs", "main", "onnx", "outputs", "more"), {"dtype": "float32", "shape": ["B"]}, "do not describe"),
        (("graphs", "main", "onnx", "file"), "manifest.json", "not in the bundle"),
        (("graphs", "main", "onnx", "file"), "../../model.onnx", "not in the bundle"),
    ],
)
def test_a_card_that_lies_is_refused_in_words(
    parts: Parts, seven: Path, tmp_path: Path, capsys: Any, path: tuple[str, ...], value: Any, words: str
) -> None:
    code, told = said(capsys, "predict", unpacked(card_with(parts, path, value), tmp_path / "m"), seven)
    assert words in told
    assert code in (2, 4)
    assert len(told) < 1000
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("evidence", "weight"), "nothing", "'nothing' is no stored array"),
        (("evidence", "weight"), "head.bias", "'head.bias' is no stored array"),
        (("evidence", "weight"), "features.mean", "'features.mean' is no stored array"),
    ],
)
def test_evidence_that_is_not_there(
    parts: Parts, seven: Path, tmp_path: Path, path: tuple[str, ...], value: Any, words: str
) -> None:
    model = sightline.load(unpacked(card_with(parts, path, value), tmp_path / "m"))
    with pytest.raises(BundleError, match=words):
        model.explain(seven)
    assert model.explain(seven, probe="occlusion").evidence.heat.shape == (8, 8)


@pytest.mark.parametrize("bits", ["12", 12.0, [12], True])
def test_bits_that_are_none(parts: Parts, seven: Path, tmp_path: Path, bits: Any) -> None:
    model = sightline.load(unpacked(card_with(parts, ("recipe", "bits"), bits), tmp_path / "m"))
    with pytest.raises(BundleError, match=r"recipe\.bits"):
        model.predict(seven)


@pytest.mark.parametrize(
    "net",
    [
        {},
        {"shelf": "verbs", "name": "train", "variant": "", "options": {}},
        {"shelf": "methods", "name": ["probe"], "variant": "", "options": {}},
        {"shelf": "methods", "name": "probe", "variant": "", "options": None},
        {"shelf": "methods", "name": "_cells", "variant": "", "options": {}},
        {"shelf": "methods", "name": "../probe", "variant": "", "options": {}},
        {"shelf": "methods", "name": "probe", "variant": "", "options": {"cells": "many"}},
        {"shelf": "methods", "name": "probe", "variant": "", "options": {"power": 1}},
    ],
)
def test_a_learner_that_is_none(net: dict[str, Any]) -> None:
    with pytest.raises(SightlineError):
        from_card(Card(task="classify", net=net))


# Many deeds at random.


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(50))
def test_a_mutant_answers_or_is_refused(parts: Parts, seven: Path, tmp_path: Path, seed: int) -> None:
    """Bytes flipped, files cut, cards edited, with the old sums and with new ones."""
    what, spoilt = mutant(parts, seed)
    path = unpacked(spoilt, tmp_path / "m")
    deeds: list[Callable[[], Any]] = [
        lambda: json.dumps(sightline.load(path).predict(seven).to_dict(), allow_nan=False),
        lambda: sightline.load(path).explain(seven)._repr_png_(),
        lambda: json.dumps(info(path), allow_nan=False),
    ]
    refused = 0
    for deed in deeds:
        try:
            assert deed(), what
        except SightlineError as error:
            refused += 1
            assert str(error), what
    if not what.endswith("resealed"):
        assert refused, f"{what}, and nobody noticed"


# Pictures.


def encodings() -> list[bytes]:
    """One small picture in every format, with what such files carry."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    made = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(
            buffer, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {})
        )
        made.append(buffer.getvalue())
    return made


def spoiled(blob: bytes, other: bytes, rng: random.Random) -> bytes:
    """Flipped, cut, joined, emptied, or stretched with rubbish."""
    deed = rng.choice(("flip", "flip", "flip", "cut", "join", "empty", "rubbish", "head"))
    if deed == "flip":
        changed = bytearray(blob)
        for _ in range(rng.choice((1, 5, 50))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if deed == "head":  # the header alone is spoilt: sizes, lengths, colour types
        return blob[:4] + rng.randbytes(30) + blob[34:]
    if deed == "join":
        return blob[: rng.randrange(len(blob))] + other[rng.randrange(len(other)) :]
    cut = blob[: rng.randrange(len(blob))]
    return {"cut": cut, "empty": b"", "rubbish": blob + rng.randbytes(500)}[deed]


@pytest.mark.timeout(120)
def test_no_answer_is_lost_among_spoilt_pictures(probe_run: Path, tmp_path: Path) -> None:
    """A hundred spoilt files among thirty sound ones: an answer for each, in order, with a result or a reason."""
    rng, sound, files = random.Random(0), encodings(), []
    for index in range(130):
        blob = sound[index % len(sound)]
        good = index % 13 < 3
        files.append((tmp_path / f"{index:03d}.bin", good))
        files[-1][0].write_bytes(blob if good else spoiled(blob, rng.choice(sound), rng))
    opened = open_model(probe_run / "model")
    answers = list(predict(opened, [path for path, _ in files], threads=3))
    assert [answer.source for answer in answers] == [str(path) for path, _ in files]
    assert all((answer.result is None) == bool(answer.error) for answer in answers)
    assert all(answer.error is None for answer, (_, good) in zip(answers, files) if good)
    refused = [answer for answer in answers if answer.error]
    assert 40 < len(refused) <= 100  # some spoilt files still hold a picture
    for (path, good), answer in zip(files, answers):
        if good:
            alone = next(predict(opened, [path])).result
            np.testing.assert_allclose(answer.result.scores, alone.scores, atol=1e-6)  # its own, and nobody else's
