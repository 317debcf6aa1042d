"""The same pictures in a folder, in shards, in a table and at a URL: the same model, in little memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("scipy")
pytest.importorskip("pyarrow")

import sightline
from shard_server import Served, serving
from sightline.cli import main as front
from sightline.data.layouts import imagefolder, parquet, webdataset
from sightline.data.pictures import read_picture
from sightline.data.prepare import prepare
from sightline.data.read import read
from sightline.data.samples import Label, Sample, Samples
from sightline.data.survey import Survey, survey
from sightline.learn.source import Streamed
from sightline.verbs import gather


@pytest.fixture(scope="module")
def places(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Digits of three classes as a folder, as shards of 50 and as a table."""
    root = tmp_path_factory.mktemp("places")
    every = read(digits)
    rows = tuple(row for row in every.rows if row.target.text() in "012")
    imagefolder.write(replace(every, rows=rows), root / "folder")
    samples = read(root / "folder")
    webdataset.write(samples, root / "shards", most=50)
    parquet.write(samples, root / "table")
    return {name: root / name for name in ("folder", "shards", "table")}


def learned(data: object, out: Path, net: str, **recipe: Any) -> tuple[bytes, dict[str, Any]]:
    """The weights, and what the card says of the data."""
    sightline.train("classify", str(data), net=net, recipe=recipe, out=out)
    card = json.loads((out / "model" / "card.json").read_text())
    return (out / "model" / "weights.safetensors").read_bytes(), {"classes": card["classes"], **card["data"]}


def test_a_probe_learns_the_same_from_each(places: dict[str, Path], tmp_path: Path) -> None:
    found = {name: learned(path, tmp_path / name, "probe") for name, path in places.items()}
    weights, data = found["folder"]
    for name, layout in (("shards", "webdataset"), ("table", "parquet")):
        assert found[name][0] == weights
        assert found[name][1] == {**data, "name": name, "layout": layout}


def test_a_net_learns_the_same_from_a_stream_of_each(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    settings: dict[str, Any] = {"epochs": 1, "threads": 1, "net.blocks": "1", "net.width": 4}
    cached, data = learned(places["folder"], tmp_path / "cached", "resnet", **settings)
    monkeypatch.setattr(gather, "_kept_in_memory", lambda card, count, processes, *, must: False)
    for name, path in places.items():
        weights, said = learned(path, tmp_path / name, "resnet", **settings)
        assert weights == cached and said["fingerprint"] == data["fingerprint"]


@pytest.fixture
def served(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The shards on a server that wants a login."""
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        server.files = {f"/d/{file.name}": file.read_bytes() for file in places["shards"].iterdir()}
        server.tags = {path: f'"{path}"' for path in server.files}
        server.login = "Basic bWU6c2VjcmV0"
        yield server


def test_every_verb_takes_shards_at_a_url_and_no_secret_is_kept(
    served: Served, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = served.url.replace("://", "://me:secret@")
    count = len(list(places["shards"].glob("train-*.tar")))
    data = f"{base}/d/{{test-000000,{','.join(f'train-{i:06d}' for i in range(count))}}}.tar?signed=sesame"
    weights, _ = learned(data, tmp_path / "run", "probe")
    assert weights == learned(places["folder"], tmp_path / "local", "probe")[0]
    for words in (
        ["evaluate", tmp_path / "run" / "model", data],
        ["audit", data],
        ["train", "--resume", tmp_path / "run"],
        ["evaluate", tmp_path / "run" / "model", data, "--split", "validation"],
    ):
        with pytest.raises(SystemExit) as left:
            front.main([str(word) for word in words])
        told = capsys.readouterr()
        assert (left.value.code == 0) == ("validation" not in words), told
        assert "secret" not in told.out + told.err and "sesame" not in told.out + told.err
    kept = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != "recipe.yaml"]
    assert len(kept) > 5
    assert not [path for path in kept if b"secret" in path.read_bytes() or b"sesame" in path.read_bytes()]


def test_a_model_answers_and_explains_a_picture_in_a_shard(places: dict[str, Path], tmp_path: Path) -> None:
    sightline.train("classify", str(places["shards"]), net="probe", out=tmp_path / "run")
    model, samples = sightline.load(tmp_path / "run" / "model"), read(places["shards"])
    rows = samples.split("test").rows
    answers = list(model.predict_many(samples.open(row) for row in rows))
    assert [answer.source for answer in answers] == [row.path for row in rows]
    first = answers[0].to_dict()
    for result in (model.predict(samples.open(rows[0])), model.explain(samples.open(rows[0])).result):
        assert result.to_dict()["label"] == first["label"]


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_memory_does_not_grow_with_the_data(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 MB of pictures are surveyed, and drawn at random for an epoch, in a few."""
    rng = np.random.default_rng(0)
    rows = tuple(Sample(f"x[{i}]", Label("ab"[i % 2])) for i in range(160))
    pixels = rng.integers(0, 256, (160, 224, 224, 3), np.uint8)
    module = {"webdataset": webdataset, "parquet": parquet}[layout]
    monkeypatch.setattr(parquet, "_GROUPED", 8)
    module.write(Samples(tmp_path, rows, "npz", ("a", "b"), arrays={"x": pixels}), tmp_path / "d")
    del pixels
    tracemalloc.start()
    try:
        samples = read(tmp_path / "d")
        card = of_16_pixels()
        (found,) = (item for item in survey(samples, threads=2) if isinstance(item, Survey))

        def load(row: int) -> Any:
            return prepare(read_picture(found.samples.open(found.samples.rows[row])), card)[0]

        source = Streamed(load, {}, len(rows), 2)
        picks = np.array_split(rng.permutation(len(rows)), 10)
        assert sum(len(images) for images, _ in source.batches(picks)) == len(rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000, peak


def of_16_pixels() -> Any:
    """What a net of 16 pixels is given."""
    from sightline.core.card import Preparation

    return Preparation(size_hw=(16, 16))
