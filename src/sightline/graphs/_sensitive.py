"""Which parts of a graph stay out of eight bits: told from its operators, the same for every int8 format."""

from __future__ import annotations

from typing import Any

from sightline.core.errors import MissingExtraError, UsageError

HEAVY = ("Conv", "Gemm", "MatMul")
"""Operators that int8 makes faster."""
_SMOOTH = ("Softmax", "LayerNormalization", "Gelu", "Erf")
"""What tells a transformer; outliers pass through these and the sums around them (Dettmers et al., 2022)."""


def smooth_parts(graph: Any) -> tuple[str, ...]:
    """The kinds of operators of a transformer that an `onnx.GraphProto` has, in a fixed order; none for other nets."""
    present = {node.op_type for node in graph.node}
    return tuple(kind for kind in _SMOOTH if kind in present)


def spared(graph: Any) -> tuple[str, ...]:
    """Names of nodes that every int8 format leaves in full precision.

    The preparation of the input and the layers whose output is the answer: they cost next to nothing, and thresholds
    hang on the last digits of the answer. In a transformer the patch embedding, its first convolution, too.
    """
    outputs = {output.name for output in graph.output}
    names = [node.name for node in graph.node if node.name.startswith("input.")]
    if smooth_parts(graph):
        names += [node.name for node in graph.node if node.op_type == "Conv"][:1]
    return (*names, *(node.name for node in graph.node if node.op_type in HEAVY and outputs & set(node.output)))


def told(graph: Any, excluded: tuple[str, ...]) -> str:
    """What stays in fp32, as a verdict says it; nothing for a net that is no transformer and had no layer excluded."""
    smooth = smooth_parts(graph)
    layers = [name for name in spared(graph) if not name.startswith("input.")] if smooth else []
    names = (*smooth, *layers, *excluded)
    return f"{', '.join(names)} kept in fp32" if names else ""


def refuse_quantised(blob: bytes) -> None:
    """Raise UsageError for a graph that is quantised already, as that of a frozen int8 encoder: nothing can be won."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingExtraError("writing 8-bit graphs needs the onnx package: pip install 'sightline[fit]'") from None
    kinds = {node.op_type for node in onnx.load_model_from_string(blob).graph.node}
    if kinds & {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"}:
        raise UsageError("the graph computes in 8 bits already")
