"""A self-contained graph answers as the bundle does: decoding, thresholds and suppression inside."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper

from sightline.core.card import Card, Preparation
from sightline.core.errors import GateError, UsageError
from sightline.core.protocols import Request, stack
from sightline.graphs.onnx import open as open_session
from sightline.metrics.detection_change import claims_changed
from sightline.tasks import detect
from sightline.tasks._pass import one_pass
from sightline.tasks._standalone import standalone, told, whole_graph

READY = Preparation(size_hw=(32, 48))
WHERE = {"scale_y": 0.5, "scale_x": 0.5, "top": 0.0, "left": 0.0}
BASE = Card(
    task="detect",
    net={},
    classes=("a", "b"),
    preparation=READY,
    operating={"thresholds": {"a": 0.6, "b": 0.3}, "suppress": 0.5},
)
FORMS: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "distances": (
        {"name": "distances", "levels": {"p3": 8, "p4": 16}, "bins": 4},
        {"p3": (18, 4, 6), "p4": (18, 2, 3)},
    ),
    "queries": ({"name": "queries"}, {"logits": (9, 2), "places": (9, 4)}),
}


def graph(outputs: dict[str, tuple[int, ...]], *, ready: bool = False) -> bytes:
    """Numbers that hang on the picture's mean, different for each of the outputs."""
    rng, nodes, ends = np.random.default_rng(3), [], []
    constants = []
    nodes.append(helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=0))
    for name, shape in outputs.items():
        low, high = (0.2, 0.8) if name == "places" else (-3.0, 2.0)
        base = rng.uniform(low, high, (1, *shape)).astype(np.float32)
        lean = rng.uniform(-0.002, 0.002, (1, *shape)).astype(np.float32)
        for kind, array in (("base", base), ("lean", lean), ("shape", np.array([-1] + [1] * len(shape), np.int64))):
            constants.append(onnx.numpy_helper.from_array(array, f"{name}.{kind}"))
        nodes.append(helper.make_node("Reshape", ["mean", f"{name}.shape"], [f"{name}.mean"]))
        nodes.append(helper.make_node("Mul", [f"{name}.mean", f"{name}.lean"], [f"{name}.move"]))
        nodes.append(helper.make_node("Add", [f"{name}.move", f"{name}.base"], [name]))
        ends.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", *shape]))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", 32, 48, 3])
    model = helper.make_model(
        helper.make_graph(nodes, "main", [image], ends, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return bytes(model.SerializeToString())


def pictures(count: int) -> list[Request]:
    rng = np.random.default_rng(1)
    return [
        Request(
            arrays={"image": rng.integers(0, 256 * (place + 1) // count, (32, 48, 3), np.uint8)},
            size_hw=(64, 96),
            geometry=WHERE,
        )
        for place in range(count)
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 5])
def test_it_claims_what_the_bundle_claims(form: str, count: int) -> None:
    card = dataclasses.replace(BASE, form=FORMS[form][0])
    blob, requests = graph(FORMS[form][1]), pictures(count)
    results = one_pass(detect, open_session(blob), requests, card)
    written, said = standalone(blob, requests, results, card)  # type: ignore[arg-type]
    claims = sum(each.count for each in results)  # type: ignore[attr-defined]
    assert claims >= count and f"the same {claims} claims" in said
    outputs = open_session(written).run(stack(requests))
    assert {name: array.dtype.name for name, array in outputs.items()} == {
        "boxes": "float32",
        "scores": "float32",
        "labels": "int64",
        "pictures": "int64",
    }
    assert (np.diff(outputs["scores"]) <= 0).all()
    for ours, theirs in zip(results, told(outputs, requests, card)):
        kept = ours.claimed  # type: ignore[attr-defined]
        assert np.allclose(ours.xyxy[kept], theirs.xyxy, atol=1e-3)  # type: ignore[attr-defined]
        assert np.allclose(ours.scores[kept], theirs.scores, atol=1e-5)  # type: ignore[attr-defined]
        assert claims_changed([ours], [theirs])[0] == 0  # type: ignore[list-item]


def test_nothing_found_is_nothing() -> None:
    form, shapes = FORMS["distances"]
    card = dataclasses.replace(BASE, form=form, operating={"thresholds": {"a": 2.0, "b": 2.0}})
    outputs = open_session(whole_graph(graph(shapes), card)).run(stack(pictures(2)))
    assert all(len(array) == 0 for array in outputs.values())


def test_a_graph_that_claims_otherwise_is_not_written() -> None:
    form, shapes = FORMS["distances"]
    card = dataclasses.replace(BASE, form=form)
    requests = pictures(3)
    results: Any = one_pass(detect, open_session(graph(shapes)), requests, card)
    with pytest.raises(GateError, match="claims otherwise"):
        standalone(graph(shapes), requests, list(reversed(results)), card)


def test_a_form_that_is_decoded_outside_only() -> None:
    with pytest.raises(UsageError, match="decoded outside only"):
        whole_graph(b"", dataclasses.replace(BASE, form={"name": "rows"}))
