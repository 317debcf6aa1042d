import json

import numpy as np
import pytest

from sightline.core.errors import BundleError, UsageError
from sightline.core.protocols import Spec
from sightline.graphs._session import describe, open_session

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper


def model(*, external: bool = False, operator: str = "Add") -> bytes:
    """x (B, 2, 3) float32 and y uint16 → x + 1, named z."""
    one = numpy_helper.from_array(np.ones(3, np.float32), "one")
    if external:
        one.ClearField("raw_data")
        one.data_location = TensorProto.EXTERNAL
        one.external_data.add(key="location", value="../../secret.bin")
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "one"], ["z"]), helper.make_node("Identity", ["y"], ["same"])],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2, 3]),
            helper.make_tensor_value_info("y", TensorProto.UINT16, ["B"]),
        ],
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["B", 2, 3]),
            helper.make_tensor_value_info("same", TensorProto.UINT16, ["B"]),
        ],
        [one],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def arrays(count: int = 2) -> dict[str, np.ndarray]:
    return {"x": np.zeros((count, 2, 3), np.float32), "y": np.arange(count, dtype=np.uint16)}


@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_runs_any_batch_by_name(threads: int, count: int) -> None:
    out = open_session(model(), threads=threads).run(arrays(count))
    assert list(out) == ["z", "same"]
    np.testing.assert_array_equal(out["z"], np.ones((count, 2, 3), np.float32))
    np.testing.assert_array_equal(out["same"], np.arange(count))


def test_takes_views_that_are_not_contiguous() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 2, 2).T  # (2, 2, 3), strides reversed
    out = open_session(model()).run({**arrays(), "x": x})
    np.testing.assert_array_equal(out["z"], x + 1)


def test_describes_its_ends_in_json() -> None:
    session = open_session(model())
    assert session.inputs == {"x": Spec("float32", ("B", 2, 3)), "y": Spec("uint16", ("B",))}
    assert json.loads(json.dumps(describe(session))) == {
        "inputs": {"x": {"dtype": "float32", "shape": ["B", 2, 3]}, "y": {"dtype": "uint16", "shape": ["B"]}},
        "outputs": {"z": {"dtype": "float32", "shape": ["B", 2, 3]}, "same": {"dtype": "uint16", "shape": ["B"]}},
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": np.zeros((2, 2, 3), np.float64)}, "x must be float32 of shape B x 2 x 3; given was float64"),
        ({"x": np.zeros((2, 3, 2), np.float32)}, "given was float32 of shape 2 x 3 x 2"),
        ({"x": np.zeros((2, 3), np.float32)}, "of shape B x 2 x 3"),
        ({"more": np.zeros(1)}, "the graph takes x, y; given were x, y, more"),
    ],
)
def test_says_what_was_expected(wrong: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_session(model()).run({**arrays(), **wrong})


def test_a_batch_that_disagrees_with_itself_is_an_error_of_the_graph() -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "y"], ["z"])],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B"]) for name in "xy"],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["B"])],
    )
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    with pytest.raises(BundleError, match="failed while it ran"):
        open_session(blob).run({"x": np.zeros(2, np.float32), "y": np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"no model at all",
        model()[:-20],
        b"\x08\x00\x00\x00ORTM" + b"\0" * 64,
        model(external=True),
        model(operator="Frobnicate"),
        model().replace(b"\n\x04same\x12", b"\n\x04\xffame\x12").replace(b"\x12\x04same", b"\x12\x04\xffame"),
    ],
    ids=["empty", "text", "cut off", "runtime format", "external data", "unknown operator", "no UTF-8"],
)
def test_refuses_what_cannot_run_safely(blob: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError) as caught:
        open_session(blob)
    assert 10 < len(str(caught.value)) < 300
    assert capfd.readouterr() == ("", "")
