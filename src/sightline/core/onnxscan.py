"""Onnxscan: an ONNX file is refused before it is opened if it reaches outside itself; needs no onnx package.

The file is walked as plain protobuf (https://protobuf.dev/programming-guides/encoding) along the messages of onnx.proto
that can hold tensors, nodes or functions; payloads are stepped over, not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sightline.core.errors import BundleError

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator domains that ONNX Runtime implements itself; any other needs a library loaded beside the model."""
REFUSED_OPS = frozenset({"EPContext", "PythonOp", "PythonOpGrad", "ATen", "ATenOp", "Snpe"})
"""Operators of those domains that open another file or run code that is not in the graph."""
MAX_DEPTH = 100
"""Messages within messages, as in protobuf's own parsers."""
MAX_FIELDS = 2_000_000
"""Fields in all; ResNet-50 has about 5,000. Keeps a hostile file of tiny fields from holding us up for minutes."""
MAX_CALLS = 100_000
"""Calls of model-local functions once everything is inlined; stops functions that double at every level."""

_HOLDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}
"""message → field number → message in that field, for all that may hide something."""
_NAMES: Mapping[str, tuple[int, int]] = {"node": (7, 4), "function": (10, 1)}
"""message → field numbers of its domain and its operator name."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_FIXED = {1: 8, 5: 4}
"""wire type → bytes."""

_Operator = tuple[str, str]


@dataclass
class _Found:
    """What the walk collects: operators called, by the function that calls them (None: the graphs)."""

    fields: int = 0
    graphs: int = 0
    functions: set[_Operator] = field(default_factory=set)
    calls: dict[_Operator | None, Counter[_Operator]] = field(default_factory=dict)


def scan(blob: bytes) -> None:
    """Refuse a serialised ModelProto that is not self-contained or not sound.

    Refused: external data in any tensor, operators of unknown domains (unless the model defines them itself), operators
    that load or run something else, recursive functions, ONNX Runtime's own flatbuffer format (it would slip past this
    walk), and protobuf that is cut off, malformed or nested absurdly deep. Raises BundleError.
    """
    if blob[4:8] == b"ORTM":
        raise BundleError("the graph is in ONNX Runtime's internal format, which cannot be checked; export it as ONNX")
    found = _Found()
    _walk(memoryview(blob), "model", 1, None, found)
    if not found.graphs:
        raise BundleError("the graph file holds no ONNX graph")
    for domain, name in set().union(*found.calls.values()):
        if name in REFUSED_OPS:
            raise BundleError(f"the graph uses operator {name}, which loads or runs something outside the graph")
        if domain not in DOMAINS and (domain, name) not in found.functions:
            raise BundleError(f"the graph uses operator {name!r} of domain {domain!r}, which is not a known one")
    _check_functions(found)


def _walk(view: memoryview, message: str, depth: int, caller: _Operator | None, found: _Found) -> None:
    if depth > MAX_DEPTH:
        raise BundleError(f"the graph is nested deeper than {MAX_DEPTH} messages")
    found.graphs += message == "graph"
    if message == "function":
        caller = _operator(view, message, found)
        found.functions.add(caller)
    elif message == "node":
        found.calls.setdefault(caller, Counter())[_operator(view, message, found)] += 1
    holds = _HOLDS[message]
    for number, value in _fields(view, found):
        if message == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            raise BundleError("the graph keeps a tensor in another file (external data); export it as one file")
        inner = holds.get(number)
        if inner is None:
            continue
        if isinstance(value, int):
            raise BundleError(f"the graph is malformed: a number where a {inner} belongs")
        _walk(value, inner, depth + 1, caller, found)


def _operator(view: memoryview, message: str, found: _Found) -> _Operator:
    """Domain and name of a node or function; of a field that comes twice the last counts, as for protobuf."""
    texts = dict.fromkeys(_NAMES[message], "")
    for number, value in _fields(view, found):
        if number in texts and not isinstance(value, int):
            texts[number] = bytes(value[:200]).decode("utf-8", "replace")
    domain, name = texts.values()
    return domain, name


def _fields(view: memoryview, found: _Found) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of one message: bytes for what has a length, numbers for all else."""
    at, end = 0, len(view)
    while at < end:
        found.fields += 1
        if found.fields > MAX_FIELDS:
            raise BundleError(f"the graph has more than {MAX_FIELDS:,} fields; that is no graph of ours")
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise BundleError(f"the graph is malformed: field number {number}")
        if wire == 0:
            value, at = _varint(view, at)
            yield number, value
            continue
        size, at = _varint(view, at) if wire == 2 else (_FIXED.get(wire, -1), at)
        if size < 0:  # wire types 3 and 4 are groups, which ONNX never had
            raise BundleError(f"the graph is malformed: wire type {wire}")
        if size > end - at:
            raise BundleError("the graph is cut off or malformed: a field is longer than what is left")
        payload = view[at : at + size]
        yield number, payload if wire == 2 else int.from_bytes(payload, "little")
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(view):
            raise BundleError("the graph is cut off in the middle of a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise BundleError("the graph is malformed: a number of more than ten bytes")


def _check_functions(found: _Found) -> None:
    """Runtimes inline model-local functions: refuse those that never end and those that grow beyond all bounds."""
    sizes: dict[_Operator | None, int] = {}

    def size(caller: _Operator | None, above: tuple[_Operator | None, ...]) -> int:
        if caller in above or len(above) > MAX_DEPTH:
            raise BundleError(
                f"the graph's function {caller[1] if caller else ''!r} calls itself or is nested too deep"
            )
        if caller not in sizes:
            called = [item for item in found.calls.get(caller, Counter()).items() if item[0] in found.functions]
            sizes[caller] = sum(times * (1 + size(name, (*above, caller))) for name, times in called)
        return sizes[caller]

    if max(size(caller, ()) for caller in (None, *found.functions)) > MAX_CALLS:
        raise BundleError(f"the graph's functions unfold to more than {MAX_CALLS:,} calls")
