"""A self-contained graph: a detector's ONNX file with decoding, thresholds and suppression inside, for other runtimes.

Slower than decoding outside on a CPU, where every cell of every map is then decoded; but nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import GateError, MissingExtraError, UsageError
from sightline.core.protocols import Arrays, Request, stack
from sightline.core.results import Boxes
from sightline.graphs.onnx import open as open_session
from sightline.metrics.detection_change import claims_changed
from sightline.tasks._answers import MOST, names_in, placed, suppress_of, threshold_of

JUST_BELOW = 1 - 1e-4
"""ONNX suppression takes what is above a score, thresholds here take what is at it."""


class _Nodes:
    """Nodes and constants that are added to a graph, one after the other."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def __call__(
        self, kind: str, *inputs: str | NDArray[Any], outputs: int = 1, to: str = "", **attributes: Any
    ) -> Any:
        """One node; arrays among the inputs become constants. Returns the name of its output, or names."""
        from onnx import helper

        place = f"answer.{len(self.nodes)}"
        names = []
        for number, each in enumerate(inputs):
            if isinstance(each, str):
                names.append(each)
            else:
                names.append(f"{place}.{number}")
                self.constants[names[-1]] = each
        made = [to or f"{place}.out{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, place, **attributes))
        return made[0] if outputs == 1 else made


def standalone(blob: bytes, requests: Sequence[Request], results: Sequence[Boxes], card: Card) -> tuple[bytes, str]:
    """The fp32 graph of a bundle with its answers inside, and how it was held against the bundle's own.

    requests, results: pictures, and what the bundle answers to them. Raises GateError where the graph claims otherwise,
    UsageError for a form that is decoded outside only, MissingExtraError without the onnx package.
    """
    written = whole_graph(blob, card)
    outputs = open_session(written).run(stack(requests))
    changed, claims = claims_changed(results, told(outputs, requests, card))
    if changed:
        raise GateError(f"the self-contained graph makes {changed} of {claims} claims otherwise")
    less = ", without landmarks, which it leaves out" if names_in(card) else ""
    return written, f"it makes the same {claims // 2:,} claims about {len(requests)} pictures{less}"


def whole_graph(blob: bytes, card: Card) -> bytes:
    """The graph with decoding, thresholds and suppression.

    Takes `image` (B, H, W, C) as the bundle's graph does; puts out, of all pictures together and the surest first,
    `boxes` (N, 4) as left, top, right, bottom in pixels of the input, `scores` (N,), `labels` (N,), numbers of the
    card's classes, and `pictures` (N,), the place of each one's picture in the batch; no landmarks.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ModuleNotFoundError:
        raise MissingExtraError("writing ONNX needs the onnx package: pip install 'sightline[fit]'") from None
    name = str(card.form.get("name", ""))
    if name not in _READ:
        raise UsageError(
            f"a graph of the form {name or 'plain'!r} is decoded outside only; those of {', '.join(_READ)} can"
        )
    model, node = onnx.load_from_string(blob), _Nodes()
    boxes, scores = _READ[name](node, card)
    _answers(node, boxes, scores, card)
    graph = model.graph
    graph.node.extend(node.nodes)
    graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in node.constants.items())
    del graph.output[:]
    kinds = {"boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT, "labels": TensorProto.INT64}
    for output, kind in {**kinds, "pictures": TensorProto.INT64}.items():
        graph.output.append(helper.make_tensor_value_info(output, kind, ["N", 4] if output == "boxes" else ["N"]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _whole(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def _distances(node: _Nodes, card: Card) -> tuple[str, str]:
    """Boxes (B, A, 4) in input pixels and scores (B, K, A) of all cells; see `_candidates.distances`."""
    bins, classes, levels = int(card.form["bins"]), len(card.classes), card.form["levels"]
    boxes, scores = [], []
    for name, stride in levels.items():
        height, width = (-(-side // stride) for side in card.preparation.size_hw)
        cells = height * width
        logits = node("Slice", name, _whole(0), _whole(classes), _whole(1))
        scores.append(node("Sigmoid", node("Reshape", logits, _whole(0, classes, cells))))
        sides = node("Slice", name, _whole(classes), _whole(classes + 4 * bins), _whole(1))
        shares = node("Softmax", node("Reshape", sides, _whole(0, 4, bins, cells)), axis=2)
        far = (stride * np.arange(bins, dtype=np.float32)).reshape(1, 1, bins, 1)
        reach = node("ReduceSum", node("Mul", shares, far), _whole(2), keepdims=0)
        before, after = node("Split", reach, _whole(2, 2), outputs=2, axis=1)
        y, x = np.mgrid[:height, :width].reshape(2, 1, cells).astype(np.float32) * stride + np.float32(stride / 2)
        middle = np.stack([x, y], axis=1)
        corners = node("Concat", node("Sub", middle, before), node("Add", middle, after), axis=1)
        boxes.append(node("Transpose", corners, perm=[0, 2, 1]))
    return node("Concat", *boxes, axis=1), node("Concat", *scores, axis=2)


def _queries(node: _Nodes, card: Card) -> tuple[str, str]:
    """The same of a fixed number of proposals; see `_candidates.queries`."""
    height, width = card.preparation.size_hw
    middle, size = node("Split", "places", _whole(2, 2), outputs=2, axis=2)
    half = node("Mul", size, np.array(0.5, np.float32))
    corners = node("Concat", node("Sub", middle, half), node("Add", middle, half), axis=2)
    boxes = node("Mul", corners, np.array([width, height, width, height], np.float32))
    return boxes, node("Transpose", node("Sigmoid", "logits"), perm=[0, 2, 1])


_READ: dict[str, Callable[[_Nodes, Card], tuple[str, str]]] = {"distances": _distances, "queries": _queries}


def _answers(node: _Nodes, boxes: str, scores: str, card: Card) -> None:
    """Suppression by class, each class's own threshold, the surest first."""
    height, width = card.preparation.size_hw
    thresholds = np.array([threshold_of(card, name) for name in card.classes], np.float32)
    edges = np.zeros(4, np.float32), np.array([width, height, width, height], np.float32)
    boxes = node("Min", node("Max", boxes, edges[0]), edges[1])
    least = np.array([thresholds.min() * JUST_BELOW], np.float32)
    overlap = np.array([suppress_of(card)], np.float32)
    chosen = node("NonMaxSuppression", boxes, scores, _whole(MOST), overlap, least)
    picture, label, row = (
        node("Squeeze", each, _whole(1)) for each in node("Split", chosen, _whole(1, 1, 1), outputs=3, axis=1)
    )
    score = node("GatherND", scores, chosen)
    both = node("Concat", *(node("Unsqueeze", each, _whole(1)) for each in (picture, row)), axis=1)
    enough = node("GreaterOrEqual", score, node("Gather", thresholds, label))
    found = [node("Compress", each, enough, axis=0) for each in (node("GatherND", boxes, both), score, label, picture)]
    count = node("Shape", found[1])
    _, order = node("TopK", found[1], count, outputs=2, axis=0)
    for name, each in zip(("boxes", "scores", "labels", "pictures"), found):
        node("Gather", each, order, to=name, axis=0)


def told(outputs: Arrays, requests: Sequence[Request], card: Card) -> list[Boxes]:
    """What a self-contained graph puts out for a batch, as the task answers it; of the pictures themselves."""
    found = []
    for place, request in enumerate(requests):
        own = outputs["pictures"] == place
        some = {name: outputs[name][own] for name in ("boxes", "scores", "labels")}
        boxes, scores, labels = placed(some, request)[:3]
        height, width = request.size_hw
        boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
        claimed = np.ones(len(boxes), np.bool_)
        found.append(Boxes(classes=card.classes, xyxy=boxes, scores=scores, indexes=labels, claimed=claimed))
    return found
