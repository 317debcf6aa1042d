from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.core.errors import GateError, UsageError
from sightline.core.shelf import Shelf
from sightline.graphs import onnx_int8 as form

onnx = pytest.importorskip("onnx")
from onnx import numpy_helper

from made_graphs import CHANNELS, foreign, net, pictures, transformer


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
    found = list(form.candidates(net(), iter(batches)))
    assert [candidate.options["activations"] for candidate in found] == list(form.ACTIVATIONS)
    for candidate in found:
        assert candidate.blob == form.write(net(), batches, activations=candidate.options["activations"])
        assert candidate.how == f"{candidate.options['activations']} activations"


def test_gentler_ones_give_the_worst_layers_back_one_by_one(batches: list[dict[str, np.ndarray]]) -> None:
    blob = net(outlier="three")
    first = next(form.candidates(blob, batches))
    found = list(form.gentler(blob, batches, first))
    worst = list(form.sensitive_nodes(blob, batches))
    kept = [f"uint8 activations, {', '.join(worst[:count])} kept in fp32" for count in (1, 2)]
    assert [candidate.how for candidate in found] == kept  # never all three, which would be no int8
    images = pictures(9)
    assert drift(blob, found[1].blob, images) < drift(blob, first.blob, images) / 2


def test_a_transformer_keeps_its_sensitive_parts(batches: list[dict[str, np.ndarray]]) -> None:
    candidate = next(form.candidates(transformer(), batches))
    assert candidate.how == "uint8 activations, Softmax, LayerNormalization, Gelu, patch, logits kept in fp32"
    kept = weights(candidate.blob)
    assert {"patch.weight", "head.weight"} <= set(kept)
    for name in ("query", "key", "value", "proj", "up", "down"):
        assert kept[f"{name}.weight_quantized"].dtype == np.int8
    producers = {output: node for node in onnx.load_from_string(candidate.blob).graph.node for output in node.output}
    for node in producers.values():
        if node.name in ("stream", "out", "products", "attention", "norm2", "gelu"):
            assert all(producers[s].op_type != "DequantizeLinear" for s in node.input if s in producers), node.name
    assert drift(transformer(), candidate.blob, pictures(9)) < 0.03


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


@pytest.mark.parametrize("name", ["onnx-int8", "openvino-int8"])
def test_a_graph_that_is_quantised_already_is_left_alone(name: str) -> None:
    writer = Shelf("graphs").load(name)
    with pytest.raises(UsageError, match="computes in 8 bits already"):
        next(iter(writer.candidates(foreign(quantised=True), [])))
