from __future__ import annotations

import random

import numpy as np
import pytest

from sightline.core import onnxscan
from sightline.core.errors import BundleError


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, payload: bytes | int, wire: int = 2) -> bytes:
    """One protobuf field, made by hand."""
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    head = varint(number << 3 | wire)
    return head + (varint(len(payload)) if wire == 2 else b"") + payload


def model_of(graph: bytes) -> bytes:
    return field(1, 8) + field(7, graph)


def node_of(op_type: str, domain: str = "", *extra: bytes) -> bytes:
    return field(1, field(4, op_type.encode()) + field(7, domain.encode()) + b"".join(extra))


# without the onnx package


def test_a_plain_graph_passes(graph: bytes) -> None:
    onnxscan.scan(graph)


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        (b"", "no ONNX graph"),
        (field(1, 8), "no ONNX graph"),
        (b"PK\3\4", "malformed|cut off"),
        (b"\x3a", "cut off"),
        (b"\x3a\x05ab", "longer than"),
        (b"\x3a" + b"\xff" * 9 + b"\x01", "longer than"),
        (b"\x3a" + b"\xff" * 11, "more than ten bytes"),
        (b"\x08\x80", "cut off"),
        (b"\x02\x00", "field number 0"),
        (varint((1 << 29) << 3) + b"\0", "field number"),
        (b"\x0d\0\0", "longer than"),
        (b"\x3b\x3c", "wire type 3"),
        (b"\x3f\0", "wire type 7"),
        (field(7, 1), "a number where a graph belongs"),
        (field(7, bytes(4), wire=5), "a number where a graph belongs"),
        (b"\0\0\0\0ORTM" + bytes(40), "internal format"),
        (model_of(field(1, b"\x2a\x7f")), "longer than"),
        (model_of(node_of("PyOp", "ai.onnx.contrib")), "domain 'ai.onnx.contrib'"),
        (model_of(node_of("x" * 5000, "y" * 5000)), "which is not a known one"),
        (model_of(node_of("EPContext", "com.microsoft")), "operator EPContext"),
        (model_of(node_of("PythonOp", "com.microsoft")), "operator PythonOp"),
        (model_of(field(1, field(7, b"evil") + field(7, b"") + field(7, b"evil"))), "'evil'"),
        (model_of(node_of("F", "ab\xff")), "not a known one"),
    ],
)
def test_what_is_no_sound_graph_is_refused(blob: bytes, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        onnxscan.scan(blob)


def test_a_fixed_width_field_cannot_pose_as_a_domain() -> None:
    function = field(25, field(1, b"F") + field(10, b"abcd"))
    node = field(1, field(4, b"F") + field(7, b"evil") + field(7, b"abcd", wire=5))
    with pytest.raises(BundleError, match="'evil'"):
        onnxscan.scan(model_of(node) + function)


@pytest.mark.parametrize("value", [1, 2, 1 << 32 | 1, (1 << 64) - 1])
def test_any_data_location_but_the_default_is_refused(value: int) -> None:
    onnxscan.scan(model_of(field(5, field(14, 0))))
    with pytest.raises(BundleError, match="external data"):
        onnxscan.scan(model_of(field(5, field(14, value))))


def nested(levels: int) -> bytes:
    """If in If in If: a graph that holds a node that holds an attribute that holds a graph …"""
    graph = node_of("Relu")
    for _ in range(levels):
        graph = node_of("If", "", field(5, field(6, graph)))
    return model_of(graph)


def test_depth_is_limited() -> None:
    onnxscan.scan(nested(30))
    with pytest.raises(BundleError, match="nested deeper"):
        onnxscan.scan(nested(60))


@pytest.mark.parametrize("place", ["model", "graph", "node"])
def test_a_flood_of_tiny_fields_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(onnxscan, "MAX_FIELDS", 1000)
    flood = field(16, 0) * 1001
    blob = {"model": model_of(b"") + flood, "graph": model_of(flood), "node": model_of(field(1, flood))}[place]
    with pytest.raises(BundleError, match="more than 1,000 fields"):
        onnxscan.scan(blob)


def functions(calls: dict[str, list[str]]) -> bytes:
    made = b""
    for name, called in calls.items():
        nodes = b"".join(field(7, field(4, other.encode()) + field(7, b"local")) for other in called)
        made += field(25, field(1, name.encode()) + field(10, b"local") + nodes)
    return model_of(node_of("F0", "local")) + made


def test_a_model_may_define_functions_of_its_own() -> None:
    onnxscan.scan(functions({"F0": ["F1", "F1"], "F1": []}))


@pytest.mark.parametrize(
    ("calls", "says"),
    [
        ({"F0": ["F1"]}, "domain 'local'"),
        ({"F0": ["F0"]}, "calls itself"),
        ({"F0": ["F1"], "F1": ["F2"], "F2": ["F1"]}, "calls itself"),
        ({"F0": [], "never called": ["never called"]}, "calls itself"),
        ({f"F{i}": [f"F{i + 1}"] * 2 for i in range(30)} | {"F30": []}, "unfold to more than"),
        ({f"F{i}": [f"F{i + 1}"] for i in range(2000)} | {"F2000": []}, "nested too deep"),
    ],
)
def test_functions_that_never_end_or_explode_are_refused(calls: dict[str, list[str]], says: str) -> None:
    with pytest.raises(BundleError, match=says):
        onnxscan.scan(functions(calls))


def test_big_payloads_are_stepped_over() -> None:
    payload = memoryview(bytes(100 << 20))
    tensor = field(2, 1) + varint(9 << 3 | 2) + varint(len(payload))
    head = field(5, tensor + payload)  # hostile-looking zeros inside raw_data are never parsed
    onnxscan.scan(model_of(head))


# against real models


@pytest.fixture
def helper():
    return pytest.importorskip("onnx").helper


def tensor(external: str = ""):
    """An onnx tensor of two floats; external by `location` (the usual way) or by `entry` (entries alone)."""
    import onnx

    made = onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    if external:
        made.external_data.add(key="location", value="../../etc/passwd")
    if external == "location":
        made.ClearField("raw_data")
        made.data_location = onnx.TensorProto.EXTERNAL
    return made


def hidden(place: str, external: str):
    """A valid model with one tensor at `place`."""
    import onnx
    from onnx import TensorProto, helper

    t, sparse = tensor(external), onnx.SparseTensorProto()
    if place.startswith("sparse"):
        indices = onnx.numpy_helper.from_array(np.array([0, 1], np.int64))
        sparse.dims.append(5)
        sparse.values.CopyFrom(t if place.endswith("values") else tensor())
        sparse.indices.CopyFrom(indices if place.endswith("values") else t)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    constant = helper.make_node("Constant", [], ["c"], value=t)
    inner = helper.make_graph([constant], "inner", [], [y], initializer=[t] if place == "inner initializer" else [])
    attributes = {
        "attribute": {"value": t},
        "attribute list": {"values": [t]},
        "subgraph": {"body": inner},
        "subgraph list": {"bodies": [inner]},
        "inner initializer": {"body": inner},
        "sparse attribute values": {"value": sparse},
        "sparse attribute list indices": {"values": [sparse]},
    }
    node = helper.make_node("Relu", ["x"], ["y"], **attributes.get(place, {}))
    graph = helper.make_graph([node], "g", [x], [y], initializer=[t] if place == "initializer" else [])
    if place.startswith("sparse initializer"):
        graph.sparse_initializer.append(sparse)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    if place.startswith("function"):
        made = helper.make_function("pkg.own", "F", ["x"], ["y"], [constant], [helper.make_opsetid("", 17)])
        if place == "function default":
            made.node.clear()
            made.attribute_proto.append(helper.make_attribute("a", t))
        model.functions.append(made)
    if place.startswith("training"):
        step = model.training_info.add()
        getattr(step, place.split()[1]).CopyFrom(helper.make_graph([], "t", [], [], initializer=[t]))
    return model


PLACES = (
    *("initializer", "attribute", "attribute list", "subgraph", "subgraph list", "inner initializer"),
    *("sparse initializer values", "sparse initializer indices"),
    *("sparse attribute values", "sparse attribute list indices"),
    *("function", "function default", "training initialization", "training algorithm"),
)


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_it_hides(helper, place: str) -> None:
    onnxscan.scan(hidden(place, "").SerializeToString())
    for external in ("location", "entry"):
        with pytest.raises(BundleError, match="external data"):
            onnxscan.scan(hidden(place, external).SerializeToString())


@pytest.mark.parametrize("domain", ["evil", "ai.onnx.contrib", "com.microsoft.nchwc", "AI.ONNX"])
@pytest.mark.parametrize("place", ["graph", "subgraph", "function", "training"])
def test_unknown_domains_are_found_wherever_they_hide(helper, place: str, domain: str) -> None:
    model = hidden("subgraph", "")
    bad = helper.make_node("F", ["x"], ["y"], domain=domain)
    if place == "graph":
        model.graph.node.append(bad)
    elif place == "subgraph":
        model.graph.node[0].attribute[0].g.node.append(bad)
    elif place == "training":
        model.training_info.add().algorithm.node.append(bad)
    else:
        model.functions.append(helper.make_function("own", "G", ["x"], ["y"], [bad], []))
    with pytest.raises(BundleError, match=f"F' of domain '{domain}'"):
        onnxscan.scan(model.SerializeToString())


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "pkg.own"])
def test_known_domains_and_own_functions_pass(helper, domain: str) -> None:
    model = hidden("function", "")
    model.graph.node.append(helper.make_node("F", ["x"], ["y"], domain=domain))
    model.opset_import.append(helper.make_opsetid("imported.but.not.used", 1))
    onnxscan.scan(model.SerializeToString())


def test_a_graph_that_is_cut_off_passes_only_where_protobuf_reads_one(helper) -> None:
    import onnx
    from google.protobuf.message import DecodeError

    def readable(blob: bytes) -> bool:
        try:
            return bool(onnx.ModelProto.FromString(blob).HasField("graph"))
        except DecodeError:
            return False

    def passes(blob: bytes) -> bool:
        try:
            onnxscan.scan(blob)
        except BundleError:
            return False
        return True

    blob = hidden("subgraph", "").SerializeToString()
    cuts = [blob[:length] for length in range(len(blob) + 1)]
    assert [passes(cut) for cut in cuts] == [readable(cut) for cut in cuts]
    assert passes(blob)


def test_whatever_protobuf_reads_as_external_is_refused(helper) -> None:
    """Bit flips of a model with an external tensor: what protobuf still sees as external never passes the scan."""
    import onnx
    from google.protobuf.message import DecodeError

    blob = hidden("subgraph", "location").SerializeToString()
    rng, seen = random.Random(1), 0
    for _ in range(1500):
        bad = bytearray(blob)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        try:
            model = onnx.ModelProto.FromString(bytes(bad))
        except DecodeError:
            continue
        tensors = [a.t for n in model.graph.node for b in n.attribute for m in b.g.node for a in m.attribute]
        if any(t.external_data or t.data_location for t in tensors):
            seen += 1
            with pytest.raises(BundleError):
                onnxscan.scan(bytes(bad))
    assert seen > 500
