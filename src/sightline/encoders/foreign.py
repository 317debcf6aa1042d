"""A foreign ONNX classifier as an encoder: what it takes, and the graph up to the tensors before its classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sightline.core import engines
from sightline.core.errors import BundleError, MissingExtraError, UsageError
from sightline.core.onnxscan import scan

LEAST_OPSET = 13
_POOLED = frozenset({"GlobalAveragePool", "ReduceMean"})
_PASSING = frozenset(
    ("QuantizeLinear", "DequantizeLinear", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast")
)
"""What changes the shape or the type of a tensor, not what it says."""
_CLASSIFIERS = frozenset({"Gemm", "MatMul", "Conv"})
FINE = (1, 2, 4, 8, 16)
"""Strides of the maps that are taken where none are named."""
_ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Gelu", "Elu", "Selu", "Mish", "Min", "Max"}
)


@dataclass(frozen=True)
class Encoder:
    """A graph cut off before its classifier."""

    model: Any
    """An `onnx.ModelProto` whose outputs are the taps."""
    input: str
    dtype: str
    """uint8 or float32."""
    size_hw: tuple[int, int]
    """The pictures it takes, in pixels; (0, 0) where any will do."""
    channels: int
    channels_last: bool
    taps: dict[str, int]
    """What features are taken from, the deepest first, and how many numbers (or channels) each has."""
    maps: frozenset[str]
    """Those of them that are maps (B, C, H, W), to be averaged over their places."""
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Height and width of the maps, where they were asked for by stride or name."""


@lru_cache(maxsize=2)
def encoder(blob: bytes, *, tap: str = "", layers: int = 2) -> Encoder:
    """Read a graph and cut it.

    tap: the tensor to take, by name; by default the one that enters the classifier, and with more `layers` the maps of
    the activations before it, from the last on. Raises UsageError for what is no such graph.
    """
    model = loaded(blob)
    from onnx import shape_inference

    try:
        return _cut(shape_inference.infer_shapes(model), tap, layers)
    except shape_inference.InferenceError as error:
        raise UsageError(f"this is no ONNX graph that can be read: {engines.first_line(error)}") from None


@lru_cache(maxsize=4)
def encoder_at(
    blob: bytes, strides: tuple[int, ...], *, taps: tuple[str, ...] = (), size_hw: tuple[int, int] = (0, 0)
) -> Encoder:
    """Read a graph and cut it at inner maps, the finest first, its size fixed.

    strides: pixels of the input from one place of a map to the next, () for all of FINE that there are; of each the
    last map that is no mere widening is taken: what a residual sum puts out, else the last activation or convolution.
    taps: maps by name instead. size_hw: of pictures, for an encoder that takes any. Raises UsageError for what is no
    such graph.
    """
    model = loaded(blob)
    from onnx import shape_inference

    entrance = _entrance(model.graph)
    dtype, own_hw, channels, channels_last = _picture(entrance)
    fixed_hw = own_hw if all(own_hw) else size_hw
    if not all(fixed_hw):
        fixed_hw = (224, 224)
    _fix_size(entrance, fixed_hw, channels_last)
    try:
        graph = shape_inference.infer_shapes(model).graph
    except shape_inference.InferenceError as error:
        raise UsageError(f"this is no ONNX graph that can be read: {engines.first_line(error)}") from None
    shapes = {name: shape for name, shape in _shapes(graph).items() if len(shape) == 4 and all(shape[1:])}
    strides = strides or _fine(graph, shapes, fixed_hw)
    chosen = [_tap_at(graph, shapes, fixed_hw, stride) for stride in strides] if not taps else list(taps)
    if unknown := [name for name in chosen if name not in shapes]:
        near = ", ".join(list(shapes)[-5:])
        raise UsageError(f"this graph has no map {unknown[0]!r} of known shape; its last ones are {near}")
    chosen.sort(key=lambda name: -shapes[name][2])
    _prune(graph, chosen, entrance.name)
    made = type(model)()
    made.CopyFrom(model)
    made.graph.CopyFrom(graph)
    widths = {name: shapes[name][1] for name in chosen}
    sizes = {name: shapes[name][2:] for name in chosen}
    kept = own_hw if all(own_hw) else (0, 0)
    return Encoder(made, entrance.name, dtype, kept, channels, channels_last, widths, frozenset(chosen), sizes)


def _fix_size(value: Any, size_hw: tuple[int, int], channels_last: bool) -> None:
    """Height and width of a graph's input as numbers, its batch free."""
    axes = value.type.tensor_type.shape.dim
    for axis, side in zip(axes[1:3] if channels_last else axes[2:4], size_hw):
        axis.dim_value = side
    axes[0].dim_param = "B"


def _fine(graph: Any, shapes: Mapping[str, tuple[int, ...]], size_hw: tuple[int, int]) -> tuple[int, ...]:
    """Of FINE the strides at which there are activations or convolutions; raises UsageError for none."""
    made = [each.output[0] for each in graph.node if each.op_type in _ACTIVATIONS | {"Conv"}]
    there = {round(size_hw[0] / shapes[name][2]) for name in made if name in shapes}
    if not (found := tuple(stride for stride in FINE if stride in there)):
        raise UsageError("this encoder has no maps at a stride of 16 or less; take one that is convolutional")
    return found


def _tap_at(graph: Any, shapes: Mapping[str, tuple[int, ...]], size_hw: tuple[int, int], stride: int) -> str:
    """The map of a stride that says most: what the graph itself puts out, else the last residual sum, with its
    activation, else the last activation, else the last convolution; each at the end of its chain of quantising and
    back."""
    wanted = tuple(-(-side // stride) for side in size_hw)
    if own := [str(each.name) for each in graph.output if shapes.get(each.name, ())[2:] == wanted]:
        return own[-1]
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found, have = dict[str, str](), set[int]()
    for node in graph.node:
        kind, shape = "act" if node.op_type in _ACTIVATIONS else node.op_type, shapes.get(node.output[0])
        if kind not in ("Add", "act", "Conv") or shape is None:
            continue
        if kind == "Add" and any(shapes.get(name, ())[1:] != shape[1:] for name in node.input):
            continue  # a bias, or a share of a hard swish
        there = round(size_hw[0] / shape[2])
        have.add(there)
        if there == stride or shape[2:] == wanted:
            found[kind] = _settled(node.output[0], readers, shapes)
    for kind in ("Add", "act", "Conv"):
        if kind in found:
            return found[kind]
    raise UsageError(
        f"this encoder has no maps at a stride of {stride}; it has {', '.join(map(str, sorted(have))) or 'none at all'}"
    )


def _settled(name: str, readers: Mapping[str, list[Any]], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The tensor at the end of the chain that activates, quantises and restores this one."""
    best = name
    while len(after := readers.get(name, [])) == 1 and after[0].op_type in _ACTIVATIONS | _PASSING:
        name = after[0].output[0]
        best = name if name in shapes and shapes[name] == shapes[best] else best
    return best


def loaded(blob: bytes, *, least: int = LEAST_OPSET) -> Any:
    """A foreign graph as an `onnx.ModelProto`, checked, its operator set brought up to `least`.

    Raises UsageError for what is none, or reaches outside itself; MissingExtraError without the onnx package.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise MissingExtraError(
            "reading a foreign graph needs the onnx package: pip install 'sightline[fit]'"
        ) from None
    try:
        scan(blob)  # what a bundle could not ship is refused before anything is computed
        model = onnx.load_model_from_string(blob)
        for each in (*model.opset_import, *model.graph.node):
            each.domain = "" if each.domain == "ai.onnx" else each.domain  # two names of the same
        onnx.checker.check_model(model)
        if any(not entry.domain and entry.version < least for entry in model.opset_import):
            model = onnx.version_converter.convert_version(model, least)
    except (
        *(BundleError, DecodeError, RuntimeError, ValueError),
        *(onnx.checker.ValidationError, onnx.version_converter.ConvertError),
    ) as error:
        raise UsageError(f"this is no ONNX graph that can be read: {engines.first_line(error)}") from None
    return model


def _cut(model: Any, tap: str, layers: int) -> Encoder:
    graph = model.graph
    entrance = _entrance(graph)
    dtype, size_hw, channels, channels_last = _picture(entrance)
    shapes = _shapes(graph)
    if tap and tap not in shapes:
        near = ", ".join(list(shapes)[-5:])
        raise UsageError(f"this graph has no tensor {tap!r} of known shape; its last ones are {near}")
    taps = [tap] if tap else _found(graph, layers, shapes)
    if any(len(shapes.get(name, ())) not in (2, 4) or not shapes[name][1] for name in taps):
        raise UsageError(f"{taps[0]} is neither a map nor a row of numbers; name another tensor with --net.tap")
    _prune(graph, taps, entrance.name)
    maps = frozenset(name for name in taps if len(shapes[name]) == 4)
    widths = {name: shapes[name][1] for name in taps}
    return Encoder(model, entrance.name, dtype, size_hw, channels, channels_last, widths, maps)


def _entrance(graph: Any) -> Any:
    """The one input of a graph; raises UsageError where there are several."""
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        raise UsageError(f"an encoder takes one picture; this graph takes {', '.join(each.name for each in inputs)}")
    return inputs[0]


def _picture(value: Any) -> tuple[str, tuple[int, int], int, bool]:
    """Dtype, height and width (0: free), channels, and whether these come last, of an input B C H W or B H W C."""
    from onnx import TensorProto

    kinds = {TensorProto.FLOAT: "float32", TensorProto.UINT8: "uint8"}
    kind, shape = value.type.tensor_type.elem_type, [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    if kind not in kinds or len(shape) != 4 or not {shape[1], shape[3]} & {1, 3}:
        raise UsageError(f"an encoder takes pictures as uint8 or float32 with 1 or 3 channels; this input is {shape}")
    last = shape[3] in (1, 3)
    height, width = shape[1:3] if last else shape[2:]
    return kinds[kind], (height, width), shape[3] if last else shape[1], last


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the float tensors that are known, in the order of the graph; 0 for a free axis."""
    values = [each.type.tensor_type for each in (*graph.value_info, *graph.output)]
    names = [each.name for each in (*graph.value_info, *graph.output)]
    known = {
        name: tuple(axis.dim_value for axis in value.shape.dim)
        for name, value in zip(names, values)
        if value.elem_type == 1
    }
    return {name: known[name] for node in graph.node for name in node.output if name in known}


def _found(graph: Any, layers: int, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """The tensor that enters the classifier, and activations before it."""
    makers = {name: node for node in graph.node for name in node.output}
    constants = {each.name for each in graph.initializer}
    node = makers.get(graph.output[0].name)
    while node is not None and not (node.op_type in _CLASSIFIERS and _learnt(node, constants, makers)):
        node = makers.get(node.input[0]) if node.input else None
    if node is None:
        raise UsageError("no classifier was found at the end of this graph; name the tensor before it with --net.tap")
    first = node.input[0]
    pooled = set(_behind(first, makers))
    upstream = set(_upstream([first], makers)) - pooled
    earlier = [name for name in _activations(graph) if name in upstream and len(shapes.get(name, ())) == 4]
    return [first, *earlier[::-1][: layers - 1]]


def _learnt(node: Any, constants: set[str], makers: dict[str, Any]) -> bool:
    """Whether a node's second input is a constant, quantised or not: its weights."""
    name = node.input[1]
    while name in makers and makers[name].op_type in _PASSING:
        name = makers[name].input[0]
    return name in constants or (name in makers and makers[name].op_type == "Constant")


def _behind(name: str, makers: dict[str, Any]) -> Iterator[str]:
    """A tensor, and those that say the same before pooling, quantising and reshaping."""
    yield name
    while name in makers and makers[name].op_type in _PASSING | _POOLED:
        name = makers[name].input[0]
        yield name


def _upstream(names: list[str], makers: dict[str, Any]) -> Iterator[str]:
    """Every tensor that these depend on, and they themselves."""
    waiting, seen = list(names), set[str]()
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            yield each
            waiting += list(makers[each].input) if each in makers else []


def _activations(graph: Any) -> list[str]:
    """What activations put out, in order, each at the end of its chain (Relu, Min; quantised and back)."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in graph.node:
        if node.op_type not in _ACTIVATIONS:
            continue
        name = node.output[0]
        while len(after := readers.get(name, [])) == 1 and after[0].op_type in _ACTIVATIONS | _PASSING:
            name = after[0].output[0]
        if name not in found:
            found.append(name)
    return found


def _prune(graph: Any, taps: list[str], entrance: str) -> None:
    """Leave in the graph what the taps need, and make them its outputs."""
    makers = {name: node for node in graph.node for name in node.output}
    needed = set(_upstream(taps, makers))
    nodes = [node for node in graph.node if needed & set(node.output)]
    constants = [each for each in graph.initializer if each.name in needed]
    inputs = [each for each in graph.input if each.name == entrance]
    for part, kept in (("node", nodes), ("initializer", constants), ("input", inputs)):
        graph.ClearField(part)
        getattr(graph, part).extend(kept)
    graph.ClearField("value_info")
    graph.ClearField("output")
    from onnx import helper

    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in taps)
