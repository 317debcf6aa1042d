from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.core.errors import GateError, UsageError
from sightline.graphs import onnx_int8 as form

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 16


def net(*, outlier: str = "") -> bytes:
    """Three convolutions and a head. An outlier channel in a layer's input stretches its scale over everything else.

    The stretched channel is then ignored by the layer itself, so full precision does not notice it.
    """
    rng = np.random.default_rng(3)
    constants = {
        "low": np.array(1 / 255),
        "one.weight": rng.normal(0, 0.5, (CHANNELS, 1, 3, 3)),
        "two.weight": rng.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)),
        "three.weight": rng.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)),
        "head.weight": rng.normal(0, 0.5, (5, CHANNELS)),
        "head.bias": np.zeros(5),
    }
    if outlier:
        before = {"two": "one", "three": "two"}[outlier]
        constants[f"{before}.weight"][0] = np.abs(constants[f"{before}.weight"][0]) * 500
        constants[f"{outlier}.weight"][:, 0] = 0
        for later in {"two": ["three"], "three": []}[outlier]:
            constants[f"{later}.weight"][:, 0] = 0
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], "input.transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["float"], "input.cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "low"], ["x"], "input.mul"),
    ]
    source = "x"
    for name in ("one", "two", "three"):
        nodes.append(helper.make_node("Conv", [source, f"{name}.weight"], [f"{name}.out"], name, pads=[1] * 4))
        source = "features" if name == "three" else f"{name}.act"
        nodes.append(helper.make_node("Relu", [f"{name}.out"], [source], f"{name}.relu"))
    nodes += [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "head.weight", "head.bias"], ["logits"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", 12, 12, 1])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 5]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", CHANNELS, 12, 12]),
        ],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def pictures(seed: int, count: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 1), np.uint8)


@pytest.fixture(scope="module")
def batches() -> list[dict[str, np.ndarray]]:
    return [{"image": pictures(1)}, {"image": pictures(2, 7)}]


def weights(blob: bytes) -> dict[str, np.ndarray]:
    return {i.name: numpy_helper.to_array(i) for i in onnx.load_from_string(blob).graph.initializer}


def drift(fp32: bytes, int8: bytes, images: np.ndarray) -> float:
    truth, found = (form.open(blob, threads=1).run({"image": images})["logits"] for blob in (fp32, int8))
    return float(np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)))


@pytest.mark.parametrize("activations", form.ACTIVATIONS)
def test_eight_bits_answer_nearly_alike(
    activations: str, batches: list[dict[str, np.ndarray]], capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    blob = form.write(net(), batches, activations=activations)
    assert 0 < drift(net(), blob, pictures(9)) < 0.03
    session = form.open(blob)
    assert {name: spec.dtype for name, spec in session.outputs.items()} == {"logits": "float32", "features": "float32"}
    assert session.inputs == form.open(net()).inputs
    quantised = {name for name, array in weights(blob).items() if array.dtype == np.int8 and array.ndim == 4}
    assert quantised == {f"{layer}.weight_quantized" for layer in ("one", "two", "three")}
    assert weights(blob)["two.weight_scale"].shape == (CHANNELS,)
    assert form.write(net(), batches, activations=activations) == blob
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_candidates_are_what_write_gives(batches: list[dict[str, np.ndarray]]) -> None:
    found = dict(form.candidates(net(), iter(batches), exclude=["two"]))
    assert list(found) == list(form.ACTIVATIONS)
    for activations, blob in found.items():
        assert blob == form.write(net(), batches, exclude=["two"], activations=activations)


def test_a_head_and_what_is_excluded_stay_in_full_precision(batches: list[dict[str, np.ndarray]]) -> None:
    plain, kept = weights(net()), weights(form.write(net(), batches, exclude=["two"]))
    np.testing.assert_array_equal(kept["two.weight"], plain["two.weight"])
    np.testing.assert_array_equal(kept["head.weight"], plain["head.weight"])
    assert "one.weight" not in kept


@pytest.mark.parametrize("culprits", [("one", "two"), ("two", "three")])
def test_the_culprits_are_found_and_leaving_them_out_helps(
    culprits: tuple[str, str], batches: list[dict[str, np.ndarray]]
) -> None:
    """The activation between the two has an outlier channel, which both of them round."""
    blob = net(outlier=culprits[1])
    ranked = form.sensitive_nodes(blob, batches)
    assert set(list(ranked)[:2]) == set(culprits)
    assert len(ranked) == 3
    assert list(ranked.values()) == sorted(ranked.values(), reverse=True)
    images = pictures(9)
    without = drift(blob, form.write(blob, batches, exclude=culprits), images)
    assert without < drift(blob, form.write(blob, batches), images) / 2


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "saturates"),
    [
        ("flags : avx2 avx512f avx512_vnni", "x86_64", False),
        ("flags : avx2 avx_vnni", "AMD64", False),
        ("flags : avx2 avx512f", "x86_64", True),
        (None, "x86_64", True),
        (None, "arm64", False),
    ],
)
def test_weights_get_seven_bits_where_products_saturate(
    cpuinfo: str | None,
    machine: str,
    saturates: bool,
    batches: list[dict[str, np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(form, "CPUINFO", path)
    monkeypatch.setattr("platform.machine", lambda: machine)
    largest = np.abs(weights(form.write(net(), batches))["two.weight_quantized"].astype(int)).max()
    assert (largest <= 64) == saturates


def nothing() -> Iterator[dict[str, np.ndarray]]:
    yield from ()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"calibration": nothing()}, UsageError, "at least one batch"),
        ({"calibration": [{"image": pictures(0).astype(np.float32)}]}, UsageError, "image must be uint8"),
        ({"exclude": ["four"]}, UsageError, "no node named four to exclude; there are: one, two, three"),
        ({"exclude": ["one", "two", "three"]}, GateError, "int8 would make no layer"),
        ({"activations": "int4"}, UsageError, "must be one of uint8, int8"),
    ],
    ids=["no pictures", "wrong pictures", "unknown node", "nothing left", "unknown type"],
)
def test_says_what_was_wrong(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        form.write(net(), **{"calibration": [{"image": pictures(0)}], **arguments})
