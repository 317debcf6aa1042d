"""import-onnx: what is in front of the foreign graph, its batch, its outputs by every known layout, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

onnx = pytest.importorskip("onnx")

from click.testing import CliRunner
from mutants import Parts, card_with, mutant, parts_of, unpacked
from onnx import TensorProto, helper, numpy_helper

import made_faces
import sightline
from blocking import NO_TORCH
from sightline.cli.main import sightline as cli
from sightline.core.bundle import open_bundle
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, SightlineError, UsageError
from sightline.core.events import Event, Note, drain
from sightline.core.ledger import Entry
from sightline.core.protocols import Spec
from sightline.data.pictures import read_picture
from sightline.tasks import _foreign_layout, detect
from sightline.verbs import foreign
from sightline.verbs import import_onnx as verb
from sightline.verbs.detector_layouts import LAYOUTS, form_of, layout_of, outputs_of
from sightline.verbs.import_onnx import Wish, classes_of, import_onnx
from sightline.verbs.journal import Journal
from sightline.verbs.opened import open_model
from sightline.verbs.predict import predict

H, W, K = 64, 96, 3
CELLS = 4 * 6
NAMES = "ant,bee,cat"
WISH = Wish(layout="yolov5", classes=NAMES)

# Small detectors made by hand: (1, 3, 64, 96) in, rows of middle, size, objectness and classes out.


def detector(
    trick: str = "", *, dtype: int = TensorProto.FLOAT, shape: Any = (1, 3, H, W), out: str = "rows", domain: str = ""
) -> bytes:
    """A convolution with cells of 16 pixels, and a sigmoid. trick: what its batch is tied by."""
    rng, node = np.random.default_rng(5), helper.make_node
    constants = {
        "weight": rng.normal(0, 0.02, (5 + K, 3, 16, 16)).astype(np.float32),
        "shape": np.array([1, 5 + K, CELLS], np.int64),
        "size": np.full((1, 1, 5 + K), 1, np.float32),
    }
    constants["size"][..., :4] = 60
    nodes, x = [], "pixels"
    if len(shape) == 3:
        nodes, x = [node("Unsqueeze", [x, "first"], ["batched"])], "batched"
        constants["first"] = np.array([0], np.int64)
    if list(shape)[-1] == 3:
        nodes.append(node("Transpose", [x], ["nchw"], perm=[0, 3, 1, 2]))
        x = "nchw"
    if dtype != TensorProto.FLOAT:
        nodes.append(node("Cast", [x], ["cast"], to=TensorProto.FLOAT))
        x = "cast"
    if dtype == TensorProto.UINT8:
        nodes.append(node("Mul", [x, "low"], ["lowered"]))
        constants["low"], x = np.array(1 / 255, np.float32), "lowered"
    nodes += [
        node("Conv", [x, "weight"], ["map"], strides=[16, 16]),
        node("Reshape", ["map", "shape"], ["flat"]),
        node("Transpose", ["flat"], ["table"], perm=[0, 2, 1]),
    ]
    x = "table"
    if trick == "mean":  # over the batch, too, so that two pictures disturb each other
        nodes += [node("ReduceMean", [x], ["mean"], axes=[0, 1, 2]), node("Sub", [x, "mean"], ["centred"])]
        x = "centred"
    nodes += [node("Sigmoid", [x], ["shares"]), node("Mul", ["shares", "size"], ["all"], domain=domain)]
    x, rows = "all", CELLS
    if trick == "rows":  # another number of rows for every picture
        nodes += [
            node("Slice", [x, "four", "five", "two"], ["sure"]),
            node("Squeeze", ["sure", "axes"], ["flags"]),
            node("Greater", ["flags", "half"], ["kept"]),
            node("Compress", [x, "kept"], ["some"], axis=1),
        ]
        constants |= {"four": np.array([4]), "five": np.array([5]), "two": np.array([2]), "axes": np.array([0, 2])}
        constants["half"] = np.array(0.5, np.float32)
        x, rows = "some", None
    final = [None if trick == "free" else 1, rows, 5 + K]
    if len(shape) == 3:
        nodes.append(node("Squeeze", [x, "first"], ["alone"]))
        x, final = "alone", final[1:]
    nodes.append(node("Identity", [x], [out]))
    if trick == "free":
        constants["shape"][0] = -1
        shape = ("N", *shape[1:])
    graph = helper.make_graph(
        nodes,
        "elsewhere",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, final)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        doc_string="/home/someone/secret",
    )
    opsets = [helper.make_opsetid("", 13), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="there").SerializeToString()


def brought(tmp_path: Path, blob: bytes, wish: Wish = WISH, name: str = "model") -> tuple[Path, list[Event]]:
    """The bundle made of a graph, and what was said."""
    (tmp_path / "there.onnx").write_bytes(blob)
    events: list[Event] = []
    return drain(import_onnx(tmp_path / "there.onnx", wish, tmp_path / name), events.append), events


def answer(blob: bytes, x: np.ndarray) -> np.ndarray:
    """What the foreign graph says, run as its own people would."""
    import onnxruntime

    session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": x})[0]


def pictures(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, H, W, 3), np.uint8)


@pytest.mark.parametrize(
    ("trick", "loop"), [("", False), ("free", False), ("mean", True), ("rows", True)], ids=["1", "N", "mixed", "rows"]
)
def test_the_wrapped_graph_says_what_the_foreign_one_says(tmp_path: Path, trick: str, loop: bool) -> None:
    blob = detector(trick)
    path, events = brought(tmp_path, blob)
    opened = open_model(path)
    session, images = opened.graphs["main"], pictures(9)
    assert session.outputs["rows"].shape[0] == "B"
    made = onnx.load_model_from_string(opened.bundle.graph("main", "onnx"))
    assert (made.graph.node[0].op_type == "Scan") is loop
    assert any("one by one" in event.text for event in events if isinstance(event, Note)) is loop
    together = session.run({"image": images})["rows"]
    for row, image in enumerate(images):
        wanted = answer(blob, image.transpose(2, 0, 1)[None].astype(np.float32) / 255)[0]
        assert len(wanted) > 3
        for have in (together[row], session.run({"image": image[None]})["rows"][0]):
            np.testing.assert_allclose(have[: len(wanted)], wanted, rtol=1e-4, atol=1e-3)
            assert not have[len(wanted) :].any()


def test_no_row_is_cut_off_that_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = detector("rows")
    monkeypatch.setattr(foreign, "PADDED", 2)
    session = open_model(brought(tmp_path, blob)[0]).graphs["main"]
    assert 2 < session.outputs["rows"].shape[1] < 300
    images = pictures(9)
    for image, have in zip(images, session.run({"image": images})["rows"]):
        wanted = answer(blob, image.transpose(2, 0, 1)[None].astype(np.float32) / 255)[0][: len(have)]
        np.testing.assert_allclose(have[: len(wanted)], wanted, rtol=1e-4, atol=1e-3)


def test_answers_do_not_hang_on_the_batch(tmp_path: Path) -> None:
    for place, array in enumerate(pictures(3, 7)):
        Image.fromarray(array).save(tmp_path / f"{place}.png")
    files = sorted(tmp_path.glob("*.png"))
    for trick in ("", "mean", "rows"):
        path, _ = brought(tmp_path, detector(trick), name=f"m{trick}")
        opened = open_model(path)
        alone = [next(predict(opened, [file])).result.to_dict() for file in files]
        assert any(each["count"] for each in alone)
        for batch in (2, 5):
            some = [each.result.to_dict() for each in predict(opened, files, batch=batch, threads=2)]
            for one, other in zip(alone, some):
                assert [each["label"] for each in one["boxes"]] == [each["label"] for each in other["boxes"]]
                for a, b in zip(one["boxes"], other["boxes"]):
                    np.testing.assert_allclose(a["xyxy"], b["xyxy"], atol=0.05)


@pytest.mark.parametrize(
    ("kinds", "wish", "feed"),
    [
        ({}, {"bgr": True}, lambda x: x[..., ::-1] / 255),
        ({}, {"scale": 1.0, "mean": (120.0,), "std": (60.0,)}, lambda x: (x - 120.0) / 60),
        (
            {},
            {"bgr": True, "scale": 1.0, "mean": (103.5, 116.3, 123.7), "std": (57.4, 57.1, 58.4)},
            lambda x: (x[..., ::-1] - [103.5, 116.3, 123.7]) / [57.4, 57.1, 58.4],
        ),
        ({"dtype": TensorProto.FLOAT16}, {}, lambda x: (x / 255).astype(np.float16)),
        ({"dtype": TensorProto.UINT8}, {"bgr": True}, lambda x: x[..., ::-1]),
        ({"shape": (1, H, W, 3)}, {"bgr": True}, lambda x: x[..., ::-1] / 255),
        ({"shape": (1, H, W, 3), "dtype": TensorProto.UINT8}, {}, lambda x: x),
        ({"shape": (3, H, W)}, {}, lambda x: x / 255),
        ({"shape": (1, 3, "h", "w"), "trick": "free"}, {"size_hw": (H, W)}, lambda x: x / 255),
    ],
    ids=["bgr", "mean", "channels", "half", "bytes", "last", "tensorflow", "no batch", "any size"],
)
def test_pictures_are_made_into_what_it_wants(tmp_path: Path, kinds: Any, wish: Any, feed: Any) -> None:
    blob = detector(**kinds)
    session = open_model(brought(tmp_path, blob, replace(WISH, **wish))[0]).graphs["main"]
    images = pictures(4, 2)
    shape, dtype = kinds.get("shape", (1, 3, H, W)), kinds.get("dtype", TensorProto.FLOAT)
    kind = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}[dtype]
    for row, image in enumerate(images):
        x = np.ascontiguousarray(feed(image.astype(kind if kind == np.uint8 else np.float64))).astype(kind)
        x = x if shape[-1] == 3 else x.transpose(2, 0, 1)
        wanted = answer(blob, x if len(shape) == 3 else x[None])
        wanted = wanted if len(shape) == 3 else wanted[0]
        tolerance = 0.2 if kind == np.float16 else 5e-3
        np.testing.assert_allclose(session.run({"image": images})["rows"][row], wanted, atol=tolerance)


def test_the_card_says_what_was_stated_and_no_more(tmp_path: Path) -> None:
    wish = replace(WISH, bgr=True, scale=1.0, mean=(103.5, 116.3, 123.7), std=(57.4, 57.1, 58.4), fit="stretch")
    path, _ = brought(tmp_path, detector(), replace(wish, licence="MIT", source="there", trained_on=("coco",)))
    card = open_bundle(path).card
    assert card.task == "detect"
    assert card.net == {"shelf": "imported", "name": "there", "variant": "", "options": {"layout": "yolov5"}}
    assert card.classes == ("ant", "bee", "cat")
    assert card.licences == {"weights": "MIT", "source": "there"}
    assert card.data == {"begun_from": ["coco"]}
    assert card.operating == {"thresholds": dict.fromkeys(card.classes, 0.3), "suppress": 0.6}
    assert card.preparation.fit == "stretch"
    np.testing.assert_allclose(card.preparation.mean, np.array([123.7, 116.3, 103.5]) / 255)
    np.testing.assert_allclose(card.preparation.std, np.array([58.4, 57.1, 57.4]) / 255)
    assert any("not measured here" in note for note in card.notes)
    assert card.metrics == {}
    assert b"secret" not in open_bundle(path).graph("main", "onnx")
    plain = open_bundle(brought(tmp_path, detector(), name="plain")[0]).card
    assert plain.licences == {"weights": "not stated", "source": "not stated"}
    assert plain.preparation.fit == "pad"  # as the layout's family has it


def test_a_file_that_the_ledger_knows_brings_its_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Entry(
        name="x", file="x.onnx", sha256="0" * 64, size=1, weight_licence="BSD", trained_on=("coco",), source="s"
    )
    monkeypatch.setattr(verb, "by_sum", lambda blob: known)
    card = open_bundle(brought(tmp_path, detector())[0]).card
    assert card.licences == {"weights": "BSD", "source": "s"}
    assert card.data == {"begun_from": ["coco"]}


def test_the_bundle_is_one_like_any_other(tmp_path: Path) -> None:
    path, _ = brought(tmp_path, detector(), name="model.zip")
    Image.fromarray(pictures(1)[0]).save(tmp_path / "p.png")
    model = sightline.load(path)
    assert model.predict(tmp_path / "p.png").to_dict()["count"] > 0
    run = CliRunner().invoke
    assert run(cli, ["info", str(path)], standalone_mode=False).exit_code == 0
    assert run(cli, ["export", str(path), "--pack", str(tmp_path / "again")], standalone_mode=False).exit_code == 0
    for words in (["export", str(path), "--to", "onnx"], ["train", "detect", str(tmp_path), "--start", str(path)]):
        refused = run(cli, words, standalone_mode=False).exception
        assert isinstance(refused, SightlineError), words


def test_predicting_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    path, _ = brought(tmp_path, detector("mean"))
    Image.fromarray(pictures(1)[0]).save(tmp_path / "p.png")
    code = f"import sys; sys.modules['onnx'] = None; import sightline; m = sightline.load({str(path)!r})"
    code += f"; print(m.predict({str(tmp_path / 'p.png')!r}).count)"
    done = subprocess.run([sys.executable, "-c", NO_TORCH + code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0


# Layouts.


def spec(*shape: int | str) -> Spec:
    return Spec("float32", ("B", *shape))


FOUR = {
    f"{name}_{stride}": spec(H * W // stride**2, n)
    for name, n in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    for stride in (8, 16, 32)
}
KNOWN: dict[str, dict[str, Spec]] = {
    "fastestdet": {"758": spec(8, 4, 6)},
    "yolov5": {"output0": spec(100, 8)},
    "yolov7": {"output": spec(100, 8)},
    "yolov8": {"output0": spec(7, 100)},
    "yolo11": {"output0": spec(7, 100)},
    "yolox": {"output": spec(96 + 24 + 6, 8)},
    "nanodet": {"output": spec(96 + 24 + 6 + 2, 3 + 32)},
    "yunet": FOUR,
    "ssd": {"scores": spec(50, 4), "boxes": spec(50, 4)},
    "ultraface": {"scores": spec(50, 2), "boxes": spec(50, 4)},
    "detr": {"logits": spec(10, 4), "pred_boxes": spec(10, 4)},
    "rt-detr": {"logits": spec(10, 3), "pred_boxes": spec(10, 4)},
    "end-to-end": {"output0": spec(300, 6)},
    "boxes-scores-labels": {"boxes": spec(9, 4), "labels": spec(9), "scores": spec(9)},
    "rtmdet": {"dets": spec(9, 5), "labels": spec(9)},
    "tensorflow": {
        "detection_boxes": spec(9, 4),
        "detection_classes": spec(9),
        "detection_scores": spec(9),
        "num_detections": spec(1),
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_known_layout_fits_the_graphs_of_its_family(name: str) -> None:
    classes = ("face",) if name in ("yunet", "ultraface") else ("ant", "bee", "cat")
    form = form_of(LAYOUTS[name], KNOWN[name])
    assert set(outputs_of(LAYOUTS[name], KNOWN[name])) <= set(KNOWN[name])
    ready = Preparation(size_hw=(H, W))
    card = Card(task="detect", net={}, classes=classes, preparation=ready, form=json.loads(json.dumps(form)))
    graph: Any = SimpleNamespace(inputs={"image": Spec("uint8", ("B", H, W, 3))}, outputs=KNOWN[name])
    detect.check(card, {"main": graph})
    more = replace(card, classes=(*classes, "dog"))
    if form.get("labels"):
        detect.check(more, {"main": graph})  # where classes are numbers, any count of them will do
        return
    with pytest.raises(BundleError, match="columns of scores"):
        detect.check(more, {"main": graph})


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_says_what_it_is_and_nothing_unknown(name: str) -> None:
    layout = LAYOUTS[name]
    assert layout["about"]
    asked = verb._input(layout, Wish(layout=name, classes="a"))
    assert asked["scale"] > 0
    _foreign_layout.parsed(form_of(layout, KNOWN[name]))


def plain_maps(side: int) -> bytes:
    """A convolution with cells of 16 pixels whose map becomes rows, however many there are."""
    weight = np.random.default_rng(5).normal(0, 0.02, (5 + K, 3, 16, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["map"], strides=[16, 16]),
        helper.make_node("Sigmoid", ["map"], ["share"]),
        helper.make_node("Transpose", ["share"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "shape"], ["rows"]),
    ]
    constants = {"weight": weight, "shape": np.array([1, -1, 5 + K], np.int64)}
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, side, side))],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, (1, (side // 16) ** 2, 5 + K))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(made.SerializeToString())


def test_a_graph_of_convolutions_takes_another_size_and_tiles(tmp_path: Path) -> None:
    (tmp_path / "maps.onnx").write_bytes(plain_maps(64))
    wish = replace(WISH, size_hw=(32, 96), tile=96)
    model = sightline.load(drain(import_onnx(tmp_path / "maps.onnx", wish, tmp_path / "m")))
    assert model.card.preparation.size_hw == (32, 96) and model.card.preparation.tile == 96
    (tmp_path / "wide.onnx").write_bytes(foreign.resized(plain_maps(64), (32, 96)))
    same = drain(import_onnx(tmp_path / "wide.onnx", replace(WISH, tile=96), tmp_path / "w"))
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    assert model.predict(picture).to_dict() == sightline.load(same).predict(picture).to_dict()
    assert foreign.resized(plain_maps(64), (64, 64)) == plain_maps(64)


def test_a_layout_from_a_file(tmp_path: Path) -> None:
    text = """
    boxes: {outputs: [rows], columns: [0, 4]}
    objectness: {outputs: rows, columns: [4, 5]}
    scores: {columns: [-3, null]}
    coding: cxcywh
    threshold: 0.1
    input: {bgr: false, scale: 255, fit: stretch}
    """
    (tmp_path / "mine.yaml").write_text(text)
    path, _ = brought(tmp_path, detector(), replace(WISH, layout=str(tmp_path / "mine.yaml")))
    card = open_bundle(path).card
    assert card.form["scores"] == {"outputs": ["rows"], "columns": [5, 8]}
    assert card.operating["thresholds"]["ant"] == 0.1
    assert card.net["options"] == {"layout": "mine.yaml"}
    image = Image.fromarray(pictures(1)[0])
    image.save(tmp_path / "p.png")
    stock = replace(WISH, fit="stretch", threshold=0.1)
    other = sightline.load(brought(tmp_path, detector(), stock, name="stock")[0]).predict(tmp_path / "p.png")
    mine = sightline.load(path).predict(tmp_path / "p.png")
    assert mine.count > 0
    best = {each["label"] for each in mine.to_dict()["boxes"]}
    assert best <= {each["label"] for each in other.to_dict()["boxes"]}  # yolov5 gives a cell several classes


# Refusals.


@pytest.mark.parametrize(
    ("kinds", "wish", "words"),
    [
        ({}, {"layout": "nope"}, "no layout 'nope'; there are fastestdet"),
        ({}, {"layout": "yolov8"}, "do not fit"),
        ({}, {"layout": "ssd"}, "no output is called '*box*|*loc*', where the boxes should be; the graph has rows"),
        ({}, {"classes": "ant,bee"}, "3 columns of scores; of 2 classes there must be 2"),
        ({}, {"classes": "ant,bee,ant"}, "'ant' comes twice"),
        ({}, {"classes": "ant,,cat"}, "a name is empty"),
        ({}, {"classes": ","}, "holds no name"),
        ({}, {"classes": ""}, "name the classes"),
        ({}, {"classes": "nowhere.names"}, "is not there"),
        ({}, {"tile": 31}, "--tile is 31; for a graph of 96 pixels give at least 32, or leave it out"),
        ({}, {"tile": -64}, "--tile is -64"),
        ({"shape": (1, 3, "h", "w"), "trick": "free"}, {"size_hw": (64, 640), "tile": 159}, "at least 160"),
        ({}, {"size_hw": (32, 32)}, "takes pictures of 96x64 only, not 32x32"),
        ({"shape": (1, 3, "h", "w"), "trick": "free"}, {}, "say which it shall have: --size"),
        ({}, {"mean": (1.0, 2.0)}, "3 channels"),
        ({}, {"scale": 0.0}, "above 0"),
        ({}, {"std": (0.0,)}, "above 0"),
        ({"dtype": TensorProto.UINT8}, {"scale": 1.0}, "takes pixels as they are"),
        ({"domain": "elsewhere"}, {}, "'elsewhere', which is not a known one"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path, kinds: Any, wish: Any, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        brought(tmp_path, detector(**kinds), replace(WISH, **wish))
    assert words in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.onnx"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2", "cannot be read"),
        ("- boxes", "must be a mapping"),
        ("boxes: 5\nscores: {columns: [5, 8]}", "boxes: 5"),
        ("scores: {columns: [5, 8]}", "where the boxes are"),
        ("boxes: {columns: [0, 4]}\nscores: {columns: [5, 8]}\nboxen: 1", "'boxen' is unknown"),
        ("boxes: {columns: [0, 4], outputs: {a: b}}\nscores: {columns: [5, 8]}", "must be names or patterns"),
        ("boxes: {columns: [0, 4]}\nscores: {columns: [5, 8]}\ninput: {colour: 1}", "the layout says input"),
        ("boxes: {columns: [0, 4]}\nscores: {columns: [5, 8]}\ninput: {scale: x}", "must be numbers"),
        ("boxes: {columns: [0, 4]}\nscores: {columns: [5, 8]}\nthreshold: high", "threshold is 'high'"),
        ("boxes: {columns: [0, 4], axes: CHW}\nscores: {columns: [5, 8]}", "reads boxes of B C H W"),
        ("boxes: {columns: [0, 4]}\nscores: {columns: [0, 3]}", "no probabilities"),
        ("boxes: {columns: [0, 4]}\nobjectness: {columns: [0, 1]}\nscores: {columns: [5, 8]}", "no probabilities"),
    ],
)
def test_a_layout_that_does_not_hold_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        brought(tmp_path, detector(), replace(WISH, layout=str(tmp_path / "mine.yaml")))
    assert not (tmp_path / "model").exists()


def test_an_embedder_has_no_tiles(tmp_path: Path) -> None:
    (tmp_path / "faces.onnx").write_bytes(made_faces.embedder())
    (tmp_path / "faces.yaml").write_text("vector: {}\n")
    wish = Wish(layout=str(tmp_path / "faces.yaml"), tile=64)
    with pytest.raises(UsageError, match="one face, which is not cut into tiles; leave out --tile"):
        drain(import_onnx(tmp_path / "faces.onnx", wish, tmp_path / "model"))
    path = drain(import_onnx(tmp_path / "faces.onnx", replace(wish, tile=0), tmp_path / "model"))
    opened = open_model(path)
    tiled = replace(opened.card, preparation=replace(opened.card.preparation, tile=64))
    with pytest.raises(BundleError, match="tiles of 64 pixels; they are seen whole"):
        opened.task.check(tiled, opened.graphs)


@pytest.mark.parametrize("blob", [b"", b"not onnx", b"\x3a\x00"])
def test_what_is_no_graph_is_refused(tmp_path: Path, blob: bytes) -> None:
    with pytest.raises(UsageError, match="cannot be imported"):
        brought(tmp_path, blob)


def test_a_graph_with_data_elsewhere_is_refused(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(detector())
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")
    with pytest.raises(UsageError, match="external data"):
        brought(tmp_path, model.SerializeToString())


def test_what_stands_there_is_not_replaced(tmp_path: Path) -> None:
    brought(tmp_path, detector())
    before = open_bundle(tmp_path / "model").digest
    with pytest.raises(UsageError, match="exists already"):
        brought(tmp_path, detector("free"))
    assert open_bundle(tmp_path / "model").digest == before


def test_classes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.names").write_text("\ufeffant\nbee wolf \ncat\n\n", encoding="utf-8")
    assert classes_of(str(tmp_path / "c.names")) == ("ant", "bee wolf", "cat")
    assert classes_of("ant, bee") == ("ant", "bee")
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        classes_of(str(tmp_path / "bad"))


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "d.onnx").write_bytes(detector())
    run = CliRunner().invoke
    words = ["import-onnx", str(tmp_path / "d.onnx"), "--layout", "yolov5", "--classes", NAMES]
    out = ["--out", str(tmp_path / "m"), "--size", "96x64", "--mean", "0,0,0", "--std", "1", "--bgr", "--scale", "255"]
    done = run(cli, [*words, *out, "--threshold", "0.2", "--suppress", "0.5", "--licence", "MIT", "--fit", "crop"])
    assert done.exit_code == 0, done.output
    card = open_bundle(tmp_path / "m").card
    assert card.operating == {"thresholds": dict.fromkeys(card.classes, 0.2), "suppress": 0.5}
    assert (card.preparation.fit, card.licences["weights"]) == ("crop", "MIT")
    listed = run(cli, ["import-onnx", str(tmp_path / "d.onnx")])
    assert listed.exit_code == 2
    assert all(name in listed.output for name in LAYOUTS)
    for more, said in ((["--size", "0x5"], "WIDTHxHEIGHT"), (["--mean", "a"], "--mean is a number")):
        wrong = run(cli, [*words, "--out", str(tmp_path / "n"), *more])
        assert (wrong.exit_code, said in wrong.output) == (2, True)
    assert run(cli, words).exit_code == 2


def test_layout_of_names_every_family() -> None:
    assert layout_of("yolov8")["coding"] == "cxcywh"


# Bundles whose forms mean harm.


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return parts_of(brought(tmp_path_factory.mktemp("sound"), detector())[0])


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "p.png"
    Image.fromarray(pictures(1)[0]).save(path)
    return path


@pytest.mark.parametrize(
    ("way", "value", "words"),
    [
        (("form",), {}, "the card has no form"),
        (("form",), [], "form must be an object"),
        (("form", "name"), "rowz", "form 'rowz' is unknown"),
        (("form", "name"), ["rows"], "is unknown"),
        (("form", "name"), "distances", "names no levels"),
        (("form", "boxes", "outputs"), ["elsewhere"], "the graph has rows"),
        (("form", "boxes", "columns"), [4, 8_000_000_000], "from and to"),
        (("form", "boxes", "axes"), "CHW", "want a batch"),
        (("form", "scores", "columns"), [5, 7], "2 columns of scores"),
        (("form", "strides"), [1], "make 6144 cells"),
        (("form", "bins"), 10**9, "bins is"),
        (("form", "powers"), [-1, 0], "powers is"),
        (("form", "code"), "import os", "'code' is unknown"),
        (("classes",), ["ant"], "3 columns of scores"),
        (("classes",), [], "names no classes"),
        (("preparation", "size_hw"), [64, 97], "takes"),
    ],
)
def test_a_card_whose_form_lies_is_refused_in_words(
    sound: Parts, photo: Path, tmp_path: Path, way: tuple[str, ...], value: Any, words: str
) -> None:
    path = unpacked(card_with(sound, way, value), tmp_path / "m")
    with pytest.raises(BundleError) as refused:
        sightline.load(path).predict(photo)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("seed", range(40))
def test_a_mutant_answers_or_is_refused(sound: Parts, photo: Path, tmp_path: Path, seed: int) -> None:
    what, spoilt = mutant(sound, seed)
    try:
        assert json.dumps(sightline.load(unpacked(spoilt, tmp_path / "m")).predict(photo).to_dict(), allow_nan=False), (
            what
        )
    except SightlineError as error:
        assert str(error), what


# The real one.


def loops(shares: np.ndarray, width: int, height: int) -> list[tuple[float, int, list[float]]]:
    """FastestDet's cells by plain loops, as its authors describe them: score, class and corners in pixels."""
    found = []
    _, rows, columns = shares.shape
    for y in range(rows):
        for x in range(columns):
            cell = shares[:, y, x].astype(np.float64)
            score = cell[0] ** 0.6 * cell[5:].max() ** 0.4
            across, down = (x + np.tanh(cell[1])) / columns, (y + np.tanh(cell[2])) / rows
            wide, tall = 1 / (1 + np.exp(-cell[3])), 1 / (1 + np.exp(-cell[4]))
            box = [(across - wide / 2) * width, (down - tall / 2) * height]
            found.append((score, int(cell[5:].argmax()), [*box, box[0] + wide * width, box[1] + tall * height]))
    return sorted(found, key=lambda each: -each[0])


def test_fastestdet_finds_what_is_there(data_root: Path, tmp_path: Path) -> None:
    weights, photos = data_root / "weights" / "FastestDet.onnx", data_root / "coco" / "train2017"
    if not weights.is_file() or not photos.is_dir():
        pytest.skip("FastestDet.onnx and the COCO photos are not here")
    wish = Wish(layout="fastestdet", classes=str(weights.with_name("coco.names")), licence="BSD-3-Clause")
    path = drain(import_onnx(weights, wish, tmp_path / "m"), lambda event: None)
    opened = open_model(path)
    assert onnx.load_model_from_string(opened.bundle.graph("main", "onnx")).graph.node[0].op_type != "Scan"
    for name, wanted in (("000000057345", "giraffe"), ("000000499716", "zebra"), ("000000360452", "person")):
        picture = read_picture(photos / f"{name}.jpg")
        request = opened.encode(picture)
        x = request.arrays["image"][..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        foreign = onnxruntime.InferenceSession(weights.read_bytes(), providers=["CPUExecutionProvider"])
        height, width = picture.size_hw
        truth = loops(foreign.run(None, {"input.1": np.ascontiguousarray(x)})[0][0], width, height)
        result = opened.answer([request])[0]
        assert result.labels[0] == wanted
        score, label, box = truth[0]
        assert (result.scores[0], result.indexes[0]) == (pytest.approx(score, abs=1e-4), label)
        clipped = np.clip(box, 0, [width, height, width, height])
        np.testing.assert_allclose(result.xyxy[0], clipped, atol=0.1)


# Drawing.


def test_answers_are_drawn_beside_being_said(tmp_path: Path) -> None:
    path, _ = brought(tmp_path, detector())
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.kron(pictures(1)[0], np.ones((5, 5, 1), np.uint8))).save(tmp_path / folder / "same.png")
    (tmp_path / "a" / "broken.png").write_bytes(b"no picture")
    run, drawn = CliRunner().invoke, tmp_path / "drawn"
    words = ["predict", str(path), str(tmp_path / "a"), str(tmp_path / "b"), "--draw", str(drawn)]
    done = run(cli, words, standalone_mode=False)
    assert "2 pictures drawn" in done.output + done.stderr
    assert sorted(each.name for each in drawn.iterdir()) == ["same-2.jpg", "same.jpg"]
    plain, shown = (read_picture(path).pixels for path in (tmp_path / "a" / "same.png", drawn / "same.jpg"))
    assert plain.shape == shown.shape
    assert (np.abs(plain.astype(int) - shown).max(axis=2) > 100).mean() > 0.005
    again = run(cli, words, standalone_mode=False)
    assert isinstance(again.exception, UsageError)
    assert "not empty" in str(again.exception)
    table = ["--out", str(tmp_path / "t.jsonl"), "--overwrite"]
    assert run(cli, [*words, *table], standalone_mode=False).exception is None
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 3


def test_drawings_go_on_beside_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = brought(tmp_path, detector())
    for number, folder in enumerate("abc"):
        (tmp_path / folder).mkdir()
        Image.fromarray(pictures(3)[number]).save(tmp_path / folder / "same.png")
    words = ["predict", str(path), *(str(tmp_path / folder) for folder in "abc")]
    words += ["--draw", str(tmp_path / "drawn"), "--out", str(tmp_path / "t.jsonl")]
    written: list[str] = []

    def stopping(self: Any, row: Any) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(row["path"])
        original(self, row)

    original = Journal.write
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", stopping)
        CliRunner().invoke(cli, words, standalone_mode=False)
    first = (tmp_path / "drawn" / "same.jpg").read_bytes()
    assert CliRunner().invoke(cli, words, standalone_mode=False).exception is None
    assert sorted(each.name for each in (tmp_path / "drawn").iterdir()) == ["same-2.jpg", "same-3.jpg", "same.jpg"]
    assert (tmp_path / "drawn" / "same.jpg").read_bytes() == first


def test_labels_are_drawn_below_the_picture(probe_run: Path, digits: Path, tmp_path: Path) -> None:
    words = ["predict", str(probe_run / "model"), str(digits / "test" / "7"), "--draw", str(tmp_path / "drawn")]
    assert CliRunner().invoke(cli, words, standalone_mode=False).exception is None
    files = sorted((tmp_path / "drawn").iterdir())
    assert len(files) == len(list((digits / "test" / "7").iterdir()))
    with Image.open(files[0]) as shown:
        assert shown.height > shown.width  # the bar with the words is below
