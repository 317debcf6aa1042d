"""Perceptual distances: what they are by hand, that they grow with damage, and that they see more than PSNR."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage import data

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from made_graphs import net
from made_restorer import restorer
from sightline.core import engines
from sightline.core.bundle import open_bundle, write_bundle
from sightline.core.card import Card, Preparation
from sightline.core.errors import DataError, UsageError
from sightline.encoders import perceptual as room
from sightline.encoders.perceptual import Perceptual, perceptual
from sightline.graphs import onnx as form
from sightline.verbs.gate import entry

Floats = NDArray[np.float32]
CAT = np.ascontiguousarray(data.chelsea()[:160, :224])
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def shares(pixels: Any) -> Floats:
    return np.asarray(pixels, np.float32) / np.float32(255)


def blurred(radius: float) -> Floats:
    return shares(Image.fromarray(CAT).filter(ImageFilter.GaussianBlur(radius)))


def noisy(deviation: float) -> Floats:
    drawn = np.random.default_rng(0).normal(0, deviation / 255, CAT.shape)
    return np.clip(shares(CAT) + drawn, 0, 1).astype(np.float32)


def squeezed(quality: float) -> Floats:
    buffer = io.BytesIO()
    Image.fromarray(CAT).save(buffer, "JPEG", quality=int(quality))
    return shares(Image.open(buffer))


def graph(channels: int = 3, *, dtype: str = "float32", last: bool = False, fixed: str = "", inputs: int = 1) -> bytes:
    """A classifier of 16 pixels with maps at strides 1, 2 and 4; fixed: `Resize` brings all to its size, `Add` only
    goes with its size."""
    rng, node = np.random.default_rng(0), helper.make_node
    weights = {
        "one": rng.normal(0, 0.4, (6, channels, 3, 3)),
        "two": rng.normal(0, 0.3, (8, 6, 3, 3)),
        "three": rng.normal(0, 0.3, (12, 8, 3, 3)),
        "head": rng.normal(0, 0.5, (12, 7)),
        "low": np.array(0.02),
    }
    constants = [numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()]
    nodes, x = [], "picture"
    if last:
        nodes, x = [node("Transpose", [x], ["nchw"], perm=[0, 3, 1, 2])], "nchw"
    if dtype == "uint8":
        nodes += [node("Cast", [x], ["cast"], to=TensorProto.FLOAT), node("Mul", ["cast", "low"], ["scaled"])]
        x = "scaled"
    if fixed == "Resize":
        constants.append(numpy_helper.from_array(np.array([1, channels, 16, 16]), "sizes"))
        nodes, x = [*nodes, node("Resize", [x, "", "", "sizes"], ["fixed"])], "fixed"
    if fixed == "Add":
        constants.append(numpy_helper.from_array(np.ones((1, channels, 16, 16), np.float32), "place"))
        nodes, x = [*nodes, node("Add", [x, "place"], ["fixed"])], "fixed"
    for name, stride in (("one", 1), ("two", 2), ("three", 2)):
        nodes.append(node("Conv", [x, name], [f"{name}.out"], pads=[1] * 4, strides=[stride] * 2))
        nodes.append(node("Relu", [f"{name}.out"], [x := f"{name}.act"]))
    nodes += [node("GlobalAveragePool", [x], ["mean"]), node("Flatten", ["mean"], ["row"])]
    nodes.append(node("MatMul", ["row", "head"], ["logits"]))
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    shape = ["N", 16, 16, channels] if last else ["N", channels, 16, 16]
    given = [helper.make_tensor_value_info("picture" if not at else f"other{at}", kind, shape) for at in range(inputs)]
    made = helper.make_graph(
        nodes, "main", given, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 7])], constants
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def stored(path: Path, **ways: Any) -> Path:
    path.write_bytes(graph(**ways))
    return path


def by_hand(blob: bytes, first: Any, second: Any) -> float:
    """From what the encoder takes, (1, ...) each: place by place, in float64."""
    model = onnx.load_model_from_string(blob)
    layers = [f"{name}.act" for name in ("one", "two", "three")]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in layers)
    for axis, name in zip(model.graph.input[0].type.tensor_type.shape.dim, ("n", "a", "b", "c")):
        axis.dim_param = name
    session = engines.onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    total = 0.0
    for a, b in zip(*(session.run(layers, {"picture": each}) for each in (first, second))):
        found = []
        for row in range(a.shape[2]):
            for column in range(a.shape[3]):
                u, v = (each[0, :, row, column].astype(np.float64) for each in (a, b))
                u, v = (each / max(np.linalg.norm(each), 1e-10) for each in (u, v))
                found.append(float(((u - v) ** 2).sum()))
        total += float(np.mean(found)) / len(layers)
    return total


@pytest.fixture(scope="module")
def filters() -> Perceptual:
    return perceptual("filters", threads=1)


@pytest.mark.parametrize(("dtype", "last"), [("float32", False), ("uint8", True)])
def test_it_is_what_it_is_by_hand(tmp_path: Path, dtype: str, last: bool) -> None:
    path = stored(tmp_path / "own.onnx", dtype=dtype, last=last)
    a, b = CAT[:48, :64], CAT[100:148, 100:164]
    given = [each[None] if dtype == "uint8" else (shares(each)[None] - MEAN) / DEVIATION for each in (a, b)]
    given = [each if last else each.transpose(0, 3, 1, 2) for each in given]
    wanted = by_hand(path.read_bytes(), *(np.ascontiguousarray(each.astype(dtype)) for each in given))
    eye = perceptual(path, threads=1)
    (found,) = eye.distances(shares(a), [shares(b)])
    assert found == pytest.approx(wanted, rel=1e-4) and found > 0.01
    assert eye.strides == (1, 2, 4) and eye.name.startswith("perceptual distance (own.onnx ")
    assert eye.name.endswith(", layers at strides 1, 2, 4)") and "lpips" not in eye.name.lower()


def test_equal_pictures_have_none_and_order_does_not_matter(tmp_path: Path, filters: Perceptual) -> None:
    a, b = shares(CAT), noisy(20)
    for eye in (filters, perceptual(stored(tmp_path / "own.onnx"))):
        same, there = eye.distances(a, [a.copy(), b])
        assert same == 0 and there > 0
        assert eye.distances(b, [a]) == [there]


@pytest.mark.parametrize(
    ("spoil", "steps"),
    [(blurred, (0.5, 1, 1.5, 3)), (noisy, (2, 5, 10, 25)), (squeezed, (90, 60, 30, 10))],
)
def test_it_grows_with_damage(filters: Perceptual, spoil: Callable[[float], Floats], steps: tuple[float, ...]) -> None:
    found = filters.distances(shares(CAT), [spoil(each) for each in steps])
    assert found[0] > 0 and all(2 * a < b for a, b in pairwise(found))


def brighter(pixels: Floats, other: Floats) -> Floats:
    """As far from a picture as another one by PSNR, all pixels by the same amount."""
    found = pixels + np.sqrt(np.square(other - pixels).mean())
    assert found.max() <= 1 and np.square(found - pixels).mean() == pytest.approx(np.square(other - pixels).mean())
    return np.asarray(found, np.float32)


def test_a_blur_is_worse_than_a_shift_of_one_psnr(filters: Perceptual) -> None:
    blur = blurred(1.5)
    found = filters.distances(shares(CAT), [blur, brighter(shares(CAT), blur)])
    assert found[0] > 5 * found[1] > 0


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0_224_int8_per_tensor.onnx", "mobilenet_v1_0.5_128_quant.onnx"])
def test_trained_encoders_agree(data_root: Path, name: str) -> None:
    eye, blur = perceptual(data_root / "weights" / name), blurred(1.5)
    assert eye.strides == (2, 4, 8, 16) and eye.encoder.startswith("mobilenet-v")
    found = eye.distances(shares(CAT), [blur, brighter(shares(CAT), blur), blurred(0.5), blurred(3), shares(CAT)])
    assert found[0] > 5 * found[1] > 0
    assert found[2] < found[0] < found[3] and found[4] == 0


def test_grey_stands_for_equal_colours(tmp_path: Path, filters: Perceptual) -> None:
    grey = shares(CAT[..., :1])
    other = np.asarray(grey[::-1])
    own = perceptual(stored(tmp_path / "colour.onnx"))
    for eye in (filters, own):
        assert eye.distances(grey, [other]) == eye.distances(grey.repeat(3, axis=2), [other.repeat(3, axis=2)])
    plain = perceptual(stored(tmp_path / "grey.onnx", channels=1))
    assert plain.distances(grey, [other])[0] == pytest.approx(
        plain.distances(grey.repeat(3, axis=2), [other.repeat(3, axis=2)])[0], rel=1e-4
    )
    luma = (shares(CAT) @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    assert plain.distances(shares(CAT), [luma])[0] == pytest.approx(0, abs=1e-6)


def test_only_the_border_is_left_out(filters: Perceptual) -> None:
    """Sides are cut to multiples of 16, evenly, and nothing is resized."""
    a, b = shares(CAT), noisy(20)
    odd = filters.distances(a[2:, :-3], [b[2:, :-3]])
    assert odd == filters.distances(a[9:-7, 6:-10][:144, :208], [b[9:-7, 6:-10][:144, :208]])
    changed = a.copy()
    changed[2:9] = 0
    assert filters.distances(a[2:, :-3], [changed[2:, :-3]]) == [0]
    changed[9] = 0
    assert filters.distances(a[2:, :-3], [changed[2:, :-3]])[0] > 0


@pytest.mark.parametrize("size_hw", [(1, 1), (5, 200), (31, 33)])
def test_small_pictures_go_on_as_their_mirror_image(filters: Perceptual, size_hw: tuple[int, int]) -> None:
    a, b = (each[: size_hw[0], : size_hw[1]] for each in (shares(CAT), shares(CAT[::-1])))
    same, there = filters.distances(a, [a, b])
    assert same == 0 and there > 0


def test_windows_weigh_by_their_places(filters: Perceptual, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = shares(CAT), noisy(20)
    whole = filters.distances(a, [b])
    monkeypatch.setattr(room, "MOST", 96)  # 160 is cut into 80 + 80, 224 into 64 + 80 + 80
    parts = [(rows, columns) for rows in ((0, 80), (80, 160)) for columns in ((0, 64), (64, 144), (144, 224))]
    cut = [(slice(*rows), slice(*columns)) for rows, columns in parts]
    apart = [filters.distances(a[each], [b[each]])[0] for each in cut]
    found = filters.distances(a, [b])
    share = [float(np.prod([each.stop - each.start for each in part])) for part in cut]
    assert found == pytest.approx([float(np.average(apart, weights=share))], rel=1e-6)
    assert found != whole and found == pytest.approx(whole, rel=0.05)


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ({"fixed": "Resize"}, "do not grow with the picture; take one that is convolutional"),
        ({"fixed": "Add"}, "does not run on pictures of any size; take one that is convolutional"),
        ({"inputs": 2}, "an encoder takes one picture; this graph takes picture, other1"),
    ],
)
def test_what_cannot_look_at_any_size_is_refused(tmp_path: Path, ways: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        perceptual(stored(tmp_path / "own.onnx", **ways))


def test_what_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a file nor a name"):
        perceptual("nothing-there")
    with pytest.raises(UsageError, match="scale is 'caffe'; it is one of imagenet"):
        perceptual("filters", scale="caffe")
    with pytest.raises(UsageError, match="no maps at a stride of 16 or less"):
        perceptual(restorer(tmp_path / "model"))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (shares(CAT), shares(CAT[1:]), "unlike sizes"),
        (shares(CAT[:33, :33]), shares(CAT[:40, :40]), "unlike sizes"),
        (shares(CAT), CAT, "must be floats"),
        (shares(CAT), shares(CAT) * 2, r"in \[0, 1\]"),
        (shares(CAT[:0]), shares(CAT[:0]), "no pixels"),
    ],
)
def test_what_is_no_pair_of_pictures_is_refused(filters: Perceptual, first: Any, second: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        filters.distances(first, [second])


def test_a_bundle_is_an_encoder(tmp_path: Path) -> None:
    """Its graph takes bytes as they are."""
    ready = Preparation(mode="grey", size_hw=(12, 12))
    card = Card(task="classify", net={"name": "own", "variant": "small"}, classes=tuple("abcde"), preparation=ready)
    blob = form.write(onnx.load_model_from_string(net()), card)
    described = entry(form, "onnx", blob, form.open(blob, threads=1), {})
    card = dataclasses.replace(card, graphs={"main": {"onnx": described}})
    path = write_bundle(tmp_path / "model", card, files={described["file"]: blob})
    eye = perceptual(path)
    assert (eye.channels, eye.strides) == (
        1,
        (1,),
    ) and eye.encoder == f"classify own:small {open_bundle(path).digest[:8]}"
    piece = CAT[:12, :12, :1]
    wanted = form.open(blob, threads=1).run({"image": piece[None]})["features"]
    np.testing.assert_allclose(eye._maps(shares(piece)[None])[0], wanted, rtol=1e-4, atol=1e-5)
    found = eye.distances(shares(CAT), [shares(CAT), blurred(1), blurred(3)])
    assert found[0] == 0 and 0 < found[1] < found[2]
