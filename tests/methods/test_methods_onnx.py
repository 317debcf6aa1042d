"""onnx: where a foreign graph is cut, what is taken from it, one graph that ships, and what is remembered."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

onnx = pytest.importorskip("onnx")
pytest.importorskip("scipy")

from onnx import TensorProto, helper, numpy_helper

from blocking import NO_TORCH
from made_graphs import foreign
from sightline.core import cache
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Progress, drain
from sightline.encoders.foreign import encoder
from sightline.encoders.views import SCALES, factor
from sightline.graphs import onnx as form
from sightline.methods import onnx as method
from sightline.tasks import classify

RNG = np.random.default_rng(0)
SIDE = 16


def run(blob: bytes, pictures: np.ndarray, *names: str) -> list[np.ndarray]:
    """What a graph puts out, or holds inside, under these names."""
    import onnxruntime

    model = onnx.load_model_from_string(blob)
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name != "chances")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(names), {"picture": pictures})


def drained(events: Generator[Event, None, dict[str, np.ndarray]]) -> tuple[list[Event], dict[str, np.ndarray]]:
    told: list[Event] = []
    arrays = drain(events, told.append)
    return told, arrays


def card(side: int = SIDE, **changes: Any) -> Card:
    return Card(
        task="classify",
        net={},
        classes=("a", "b"),
        preparation=Preparation(mode="rgb", size_hw=(side, side), **changes),
    )


def striped(count: int, side: int = SIDE) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Pictures with stripes across or along."""
    images = RNG.integers(0, 120, (count, side, side, 3), np.uint8)
    labels = np.arange(count) % 2
    images[labels == 0, ::2] += 120
    images[labels == 1, :, ::2] += 120
    return images, {"label": labels.astype(np.int64)}


PLAIN = classify.Recipe(mirror="no")


# Where it is cut.


@pytest.mark.parametrize("quantised", [False, True])
def test_the_tensors_before_the_classifier_are_found(quantised: bool) -> None:
    found = encoder(foreign(quantised=quantised), layers=3)
    assert found.taps == {"row": 12, "act1": 8}  # act2 is what the row is the mean of
    assert found.maps == {"act1"}
    assert (found.dtype, found.size_hw, found.channels, found.channels_last) == ("float32", (SIDE, SIDE), 3, False)
    made = {name for node in found.model.graph.node for name in node.output}
    assert not made & {"product", "sum", "chances"}
    assert {each.name for each in found.model.graph.initializer} <= {"one", "two", "scale"}


def test_a_tensor_may_be_named() -> None:
    assert encoder(foreign(), tap="act2").taps == {"act2": 12}
    with pytest.raises(UsageError, match=r"no tensor 'nowhere' of known shape; its last ones are .*row"):
        encoder(foreign(), tap="nowhere")


def test_what_a_graph_takes_is_read_from_it() -> None:
    found = encoder(foreign(channels_last=True, dtype="uint8", size="S"))
    assert (found.dtype, found.size_hw, found.channels_last) == ("uint8", (0, 0), True)


@pytest.mark.parametrize(
    ("blob", "said"), [(b"", "no ONNX graph"), (b"garbage" * 9, "no ONNX graph"), (b"\x08\x07", "no ONNX graph")]
)
def test_what_is_no_graph_is_refused(blob: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        encoder(blob)


def test_operators_that_could_not_ship_are_refused_at_once() -> None:
    model = onnx.load_model_from_string(foreign())
    model.graph.node[0].domain = "some.library"
    model.opset_import.append(helper.make_opsetid("some.library", 1))
    with pytest.raises(UsageError, match=r"domain 'some\.library', which is not a known one"):
        encoder(model.SerializeToString())


@pytest.mark.parametrize("nodes", [False, True])
def test_the_default_operators_may_be_called_by_their_full_name(nodes: bool) -> None:
    model = onnx.load_model_from_string(foreign())
    for each in (*model.opset_import, *(model.graph.node if nodes else ())):
        each.domain = "ai.onnx"
    blob = model.SerializeToString()
    images, _ = striped(4)
    assert encoder(blob).taps == encoder(foreign()).taps
    np.testing.assert_array_equal(features(blob, images), features(foreign(), images))


def test_a_graph_without_default_operators_is_refused_in_words() -> None:
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 3, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 3, 8, 8])
    graph = helper.make_graph(
        [helper.make_node("QuickGelu", ["picture"], ["out"], domain="com.microsoft")], "none", [picture], [out]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("com.microsoft", 1)], ir_version=8)
    with pytest.raises(UsageError, match="no classifier was found"):
        encoder(made.SerializeToString())


def test_a_graph_for_one_picture_alone_is_refused_in_words(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(foreign())
    flatten = next(node for node in model.graph.node if node.op_type == "Flatten")
    flatten.op_type = "Reshape"
    del flatten.attribute[:]
    flatten.input.append("single")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 12], np.int64), "single"))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    images, targets = striped(6)
    with pytest.raises(UsageError, match="does not run on several pictures at once"):
        drained(method.fit(images, targets, card(), method.Options(file=str(tmp_path / "net.onnx")), PLAIN))


def test_a_graph_without_a_classifier_is_refused() -> None:
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 3, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["picture"], ["out"])], "none", [picture], [out])
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    with pytest.raises(UsageError, match=r"name the tensor before it with --net\.tap"):
        encoder(blob)


# What is taken.


def rooted(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.sqrt(np.abs(x))


def features(blob: bytes, images: np.ndarray) -> np.ndarray:
    """What is taken from pictures by both views."""
    model = method._model(blob, card().preparation, method.Options(), ((False, False), (True, False)))
    found: np.ndarray = method._opened(model.SerializeToString()).run(None, {"image": images})[0]
    return found


def test_names_in_the_encoder_may_be_those_of_the_wrapper() -> None:
    names = {"picture": "image", "act1": "features", "act2": "view.all", "row": "taps", "one": "view.scale"}
    model = onnx.load_model_from_string(foreign())
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for each in (*model.graph.input, *model.graph.initializer):
        each.name = names.get(each.name, each.name)
    images, _ = striped(4)
    np.testing.assert_array_equal(features(model.SerializeToString(), images), features(foreign(), images))


def test_a_graph_of_ours_is_an_encoder_too(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(foreign())
    images, targets = striped(24)
    options = method.Options(file=str(tmp_path / "net.onnx"))
    _, arrays = drained(method.fit(images, targets, card(), options, PLAIN))
    (tmp_path / "ours.onnx").write_bytes(form.write(method.graph(arrays, card(), options), card()))
    options = method.Options(file=str(tmp_path / "ours.onnx"), layers=1)
    _, arrays = drained(method.fit(images, targets, card(), options, PLAIN))
    found = method.forward(images, arrays, card(), options)["logits"]
    assert (found.argmax(1) == targets["label"]).all()


@pytest.mark.parametrize("mirror", ["yes", "no"])
def test_features_are_means_of_roots_over_views_and_layers(tmp_path: Path, mirror: str) -> None:
    """At the encoder's own size, without the closer view, nothing is resampled: equal to the graph run by hand."""
    blob = foreign()
    (tmp_path / "net.onnx").write_bytes(blob)
    options = method.Options(file=str(tmp_path / "net.onnx"), closer=False)
    images, targets = striped(24)
    _, arrays = drained(method.fit(images, targets, card(), options, replace(PLAIN, mirror=mirror)))
    mean, deviation = (np.array(each)[:, None, None] for each in SCALES["imagenet"])
    x = ((images.transpose(0, 3, 1, 2) / 255 - mean) / deviation).astype(np.float32)
    views = [x, x[..., ::-1]] if mirror == "yes" else [x]
    taken = [run(blob, np.ascontiguousarray(view), "row", "act1") for view in views]
    features = np.mean([np.hstack([rooted(row), rooted(act.mean((2, 3)))]) for row, act in taken], axis=0)
    logits = features @ arrays["head.weight"].T + arrays["head.bias"]
    found = method.forward(images, arrays, card(), options)["logits"]
    np.testing.assert_allclose(found, logits, atol=1e-3)
    assert (found.argmax(1) == targets["label"]).all()


def test_the_closer_view_is_the_middle(tmp_path: Path) -> None:
    """What lies outside the middle changes one view of two; the middle both."""
    (tmp_path / "net.onnx").write_bytes(foreign(channels_last=True, dtype="uint8"))
    options = method.Options(file=str(tmp_path / "net.onnx"))
    size, why = method.asks(options)["size"]
    assert (size, "16 px" in why) == (round(SIDE / 0.7), True)
    images, _ = striped(2, size)
    model = method._model((tmp_path / "net.onnx").read_bytes(), card(size).preparation, options, ((True, False),))
    session = method._opened(model.SerializeToString())
    other = images.copy()
    edge = (size - round(size * 0.7)) // 2
    other[:, :edge] = 0
    other[:, :, -edge:] = 0
    before, after = (session.run(None, {"image": each})[0] for each in (images, other))
    np.testing.assert_array_equal(before, after)
    other[:, size // 2] = 0
    assert not np.array_equal(before, session.run(None, {"image": other})[0])


@pytest.mark.parametrize(("before", "after"), [(320, 224), (23, 16), (229, 160), (16, 224), (1000, 333), (7, 7)])
def test_a_picture_is_brought_to_the_very_size(before: int, after: int) -> None:
    found = factor(before, after)
    assert int(np.float32(before) * found) == int(before * float(found)) == after


def test_an_encoder_of_colours_sees_grey_pictures_and_not_the_other_way_about(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(foreign())
    options = method.Options(file=str(tmp_path / "net.onnx"), closer=False)
    images, _ = striped(4)
    grey = np.ascontiguousarray(images[..., :1])
    one, three = Preparation(mode="grey", size_hw=(SIDE, SIDE)), Preparation(mode="rgb", size_hw=(SIDE, SIDE))
    blob = foreign()
    got, wanted = (
        method._opened(method._model(blob, ready, options, ((False, False),)).SerializeToString()).run(
            None, {"image": given}
        )[0]
        for ready, given in ((one, grey), (three, grey.repeat(3, axis=3)))
    )
    np.testing.assert_array_equal(got, wanted)
    with pytest.raises(UsageError, match="--color grey"):
        method._model(foreign(channels=1), three, options, ((False, False),))


# What ships.


@pytest.mark.parametrize(("channels_last", "dtype"), [(False, "float32"), (True, "uint8"), (True, "float32")])
@pytest.mark.parametrize("side", [SIDE, 23])
def test_the_graph_says_what_the_reference_says(tmp_path: Path, channels_last: bool, dtype: str, side: int) -> None:
    (tmp_path / "net.onnx").write_bytes(foreign(channels_last=channels_last, dtype=dtype))
    options = method.Options(file=str(tmp_path / "net.onnx"))
    images, targets = striped(30, side)
    _, arrays = drained(method.fit(images, targets, card(side), options, replace(PLAIN, mirror="yes")))
    (tmp_path / "net.onnx").unlink()  # the bundle has it
    reference = method.forward(images, arrays, card(side), options)
    session = form.open(form.write(method.graph(arrays, card(side), options), card(side)), threads=1)
    np.testing.assert_allclose(session.run({"image": images})["logits"], reference["logits"], atol=1e-4)
    for count in (1, 3):
        got = session.run({"image": images[:count]})["logits"]
        np.testing.assert_allclose(got, reference["logits"][:count], atol=1e-4)


# What is remembered.


def test_pictures_are_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.onnx").write_bytes(foreign())
    options = method.Options(file=str(tmp_path / "net.onnx"))
    images, targets = striped(40)

    def encoded(count: int, **changes: Any) -> tuple[list[int], dict[str, np.ndarray]]:
        given = replace(options, **changes)
        part = {"label": targets["label"][:count]}
        told, arrays = drained(method.fit(images[:count], part, card(), given, PLAIN))
        return [event.total for event in told if isinstance(event, Progress) and "encoded" in event.what], arrays

    assert encoded(20)[0] == [20] * 20
    again, arrays = encoded(40)
    assert again == [40] * 20  # the new ones only
    seen, same = encoded(40)
    assert seen == []
    assert all(np.array_equal(arrays[name], same[name]) for name in arrays)
    assert encoded(20, closer=False)[0] == [20] * 20  # other features
    for part in (tmp_path / "cache").rglob("*.safetensors"):
        part.write_bytes(part.read_bytes()[:-7])
    assert sum(encoded(40)[0]) > 0  # damaged is absent
    assert encoded(40)[0] == []  # and is made good
    monkeypatch.setenv("SIGHTLINE_CACHE", "")
    assert encoded(20)[0] == [20] * 20


@pytest.mark.parametrize("other", ["runtime", "processor"])
def test_what_another_runtime_or_processor_saw_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """8-bit kernels differ there, and the gate would hold a sound graph against numbers of yesterday."""
    import onnxruntime

    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.onnx").write_bytes(foreign())
    images, targets = striped(12)

    def encoded() -> int:
        events = method.fit(images, targets, card(), method.Options(file=str(tmp_path / "net.onnx")), PLAIN)
        return sum(isinstance(event, Progress) and "encoded" in event.what for event in drained(events)[0])

    assert [encoded(), encoded()] == [12, 0]
    if other == "runtime":
        monkeypatch.setattr(onnxruntime, "__version__", "0.0.1")
    else:
        monkeypatch.setattr(cache, "_processor", lambda: "another")
    assert [encoded(), encoded()] == [12, 0]


def test_what_was_encoded_before_a_stop_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(method, "KEPT", 8)
    (tmp_path / "net.onnx").write_bytes(foreign())
    images, targets = striped(20)
    options = method.Options(file=str(tmp_path / "net.onnx"))
    events = method.fit(images, targets, card(), options, PLAIN)
    for event in events:
        if isinstance(event, Progress) and event.done == 18:
            events.close()
            break
    told, _ = drained(method.fit(images, targets, card(), options, PLAIN))
    assert [event.total for event in told if isinstance(event, Progress) and "encoded" in event.what] == [20] * 4


def test_a_cache_that_cannot_be_written_is_only_a_pity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "file"))
    (tmp_path / "net.onnx").write_bytes(foreign())
    images, targets = striped(20)
    told, _ = drained(method.fit(images, targets, card(), method.Options(file=str(tmp_path / "net.onnx")), PLAIN))
    assert any(isinstance(event, Note) and "not kept for next time" in event.text for event in told)


# From the shell.


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 striped pictures and an encoder beside it."""
    root = tmp_path_factory.mktemp("stripes")
    images, targets = striped(60, 24)
    for index, (image, label) in enumerate(zip(images, targets["label"])):
        split = "test" if index >= 40 else "train"
        path = root / "data" / split / ("along" if label else "across") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (root / "encoder.onnx").write_bytes(foreign(dtype="uint8", channels_last=True))
    return root


def test_the_whole_way_without_torch(stripes: Path, tmp_path: Path) -> None:
    where = f"import os; os.chdir({str(tmp_path)!r}); {NO_TORCH}from sightline.cli.main import main; main()"
    command = [sys.executable, "-W", "error", "-c", where, "train", "classify", str(stripes / "data")]
    net = f"onnx:{stripes / 'encoder.onnx'}"
    done = subprocess.run([*command, "--net", net, "--out", "run"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "size = 23: the encoder looks at 16 px" in done.stderr
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())["measures"]
    assert figures["accuracy"]["value"] == 1.0
    text = (tmp_path / "run" / "model" / "card.json").read_text()
    assert json.loads(text)["net"]["options"]["file"] == "encoder.onnx"
    assert str(stripes) not in text


@pytest.mark.parametrize(
    ("net", "said"), [("onnx", "say which encoder"), ("onnx:nowhere.onnx", "there is no such file")]
)
def test_an_encoder_that_is_not_there(stripes: Path, tmp_path: Path, net: str, said: str) -> None:
    import sightline

    with pytest.raises(UsageError, match=said):
        sightline.train("classify", stripes / "data", net=net, out=tmp_path / "run")


def test_the_mobilenet_of_the_data_folder_is_cut_before_its_classifier(data_root: Path) -> None:
    blob = (data_root / "weights" / "mobilenet_v2_1.0_224_int8_per_tensor.onnx").read_bytes()
    found = encoder(blob)
    assert list(found.taps.values()) == [1280, 960]
    assert (found.dtype, found.size_hw, found.channels_last) == ("uint8", (224, 224), True)
