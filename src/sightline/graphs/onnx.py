"""onnx: the exchange format that ONNX Runtime and most other engines read, in full precision."""

from __future__ import annotations

import ast
import copy
from typing import Any

import numpy as np

from sightline.core.card import Card, Preparation
from sightline.core.engines import quiet
from sightline.core.errors import BundleError, MissingExtraError
from sightline.graphs._session import OnnxSession, describe, open_session

__all__ = ["DTYPE", "LAYOUT", "SUFFIX", "describe", "open", "write"]

LAYOUT = "NHWC"
SUFFIX = ".onnx"
DTYPE = "float32"
BATCH = "B"
"""Name of the free first axis of every input and output."""
_SCOPES = "pkg.torch.onnx.name_scopes"


def open(blob: bytes, *, threads: int = 0) -> OnnxSession:
    """Open a graph from its bytes with ONNX Runtime on the CPU.

    threads: of one run; 0 leaves the choice to ONNX Runtime. Raises BundleError for a graph that cannot run safely.
    """
    return open_session(blob, threads=threads)


def write(source: Any, card: Card) -> bytes:
    """A model as the bytes of one self-contained ONNX file; the same model gives the same bytes.

    source: a `torch.nn.Module` (normalised float32 B C H W in, a dictionary of arrays out; left as it was), or a
    complete `onnx.ModelProto` that already takes `image`. The graph takes `image`, B H W C in the card's dtype with
    values up to its `high`, normalises inside, and gives the named outputs, each with the free axis B first. A module
    with a method `example(count)` takes no picture but what that returns, by name and as it is.
    Raises BundleError for what is not valid ONNX, MissingExtraError without the onnx or torch package.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingExtraError("writing ONNX needs the onnx package: pip install 'sightline[fit]'") from None
    complete = isinstance(source, onnx.ModelProto)
    model = copy.deepcopy(source) if complete else _exported(source, card.preparation)
    if not complete:
        _name_by_module(model.graph)
        if not hasattr(source, "example"):
            _take_pictures(model.graph, card.preparation)
    _strip(model)
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"the graph is not valid ONNX: {str(error).splitlines()[0]}") from None
    return bytes(model.SerializeToString(deterministic=True))


def _exported(net: Any, preparation: Preparation) -> Any:
    """The bare network as a ModelProto, `x` B C H W float32, or what it takes instead → outputs; batch norms are folded
    into convolutions."""
    try:
        import onnxscript  # noqa: F401  torch needs it, and says so at greater length
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"exporting a network needs {error.name}: pip install 'sightline[train]'") from None
    net = copy.deepcopy(net).cpu().float().eval()
    # Two pictures, because the exporter takes an axis of length one for a constant.
    own = getattr(net, "example", None)
    given = own(2) if own else {"x": torch.zeros(2, preparation.channels, *preparation.size_hw)}
    batch, sides = torch.export.Dim(BATCH), {} if own else _free_sides(preparation)
    with torch.no_grad(), quiet("torch.onnx", "onnxscript", "onnx_ir"):
        program = torch.onnx.export(
            net,
            tuple(given.values()),
            dynamo=True,
            input_names=list(given),
            output_names=list(net(*given.values())),
            dynamic_shapes=tuple(
                {0: torch.export.Dim.DYNAMIC if number else batch, **sides} for number in range(len(given))
            ),
            external_data=False,
            verbose=False,
        )
    return program.model_proto if program else None


def _free_sides(preparation: Preparation) -> dict[int, Any]:
    """The axes of height and width, where they are free."""
    import torch

    by = preparation.multiple
    sides = {axis: torch.export.Dim(name) for axis, name in ((2, "H"), (3, "W"))} if by else {}
    return sides if by == 1 else {axis: by * side for axis, side in sides.items()}


def _take_pictures(graph: Any, preparation: Preparation) -> None:
    """Put in front of a network what turns `image`, as decoded, into its normalised input `x`."""
    from onnx import TensorProto, helper, numpy_helper

    kind = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "float32": TensorProto.FLOAT}[preparation.dtype]
    image = helper.make_tensor_value_info("image", kind, [BATCH, *preparation.shape])
    mean, std = (np.array(values, np.float64).reshape(1, -1, 1, 1) for values in (preparation.mean, preparation.std))
    constants = {"input.scale": 1 / (preparation.high * std), "input.shift": -mean / std}
    # Transposed before it is cast: a byte moves faster than a float.
    nodes = [
        helper.make_node("Transpose", ["image"], ["input.nchw"], "input.transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["input.nchw"], ["input.float"], "input.cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["input.float", "input.scale"], ["input.scaled"], "input.mul"),
        helper.make_node("Add", ["input.scaled", "input.shift"], ["x"], "input.add"),
    ]
    rest = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *rest])
    graph.input.append(image)
    graph.initializer.extend(numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items())


def _name_by_module(graph: Any) -> None:
    """Name each node after the module it came from, as `stages.1.conv2`, so that a message can point to a layer."""
    taken: dict[str, int] = {}
    for node in graph.node:
        scopes = ast.literal_eval(next((p.value for p in node.metadata_props if p.key == _SCOPES), "['']"))
        weight = next((name for name in node.input if name.endswith(".weight")), "")
        # A convolution that took in a batch norm carries the norm's scope; its weight still tells its own name.
        plain = weight.removesuffix(".weight") or ".".join([*scopes[-2:-1], node.op_type.lower()]).removeprefix(".")
        taken[plain] = taken.get(plain, -1) + 1
        node.name = f"{plain}.{taken[plain]}" if taken[plain] else plain


def _strip(model: Any) -> None:
    """Remove what describes the machine and the moment of writing, not the function: bundles leak no paths."""
    for field in ("producer_version", "doc_string", "domain"):
        model.ClearField(field)
    model.producer_name = "sightline"
    graph = model.graph
    graph.name = "main"
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        if part is not model:
            part.ClearField("doc_string")
    del graph.value_info[:]
