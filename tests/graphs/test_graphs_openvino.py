import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from blocking import hidden
from sightline.core.errors import BundleError, GateError, MissingExtraError, UsageError
from sightline.graphs import _openvino, openvino, openvino_bf16, openvino_int8
from sightline.graphs import onnx as reference
from sightline.graphs._session import describe

onnx = pytest.importorskip("onnx")
pytest.importorskip("openvino")
from onnx import TensorProto, helper, numpy_helper

from made_graphs import CHANNELS, net, pictures, transformer

GRAPHS = {"net": net(), "transformer": transformer()}


def has_bf16() -> bool:
    try:
        openvino_bf16.open(net(), threads=1)
    except UsageError:
        return False
    return True


def drift(truth: np.ndarray, found: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)))


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("name", GRAPHS)
def test_full_precision_is_what_onnx_runtime_says(name: str, threads: int, capfd: pytest.CaptureFixture[str]) -> None:
    session, truth = openvino.open(GRAPHS[name], threads=threads), reference.open(GRAPHS[name], threads=1)
    assert describe(session) == describe(truth)
    for count in (1, 4, 0, 1):
        images = pictures(count, count)
        wanted, found = truth.run({"image": images}), session.run({"image": images})
        assert list(found) == list(wanted)
        for output, array in wanted.items():
            assert found[output].dtype == np.float32
            np.testing.assert_allclose(found[output], array, rtol=1e-4, atol=1e-4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", GRAPHS)
def test_bfloat16_puts_out_float32_nearly_alike(name: str) -> None:
    if not has_bf16():
        pytest.skip("this processor has no bfloat16")
    images = pictures(5)
    found = openvino_bf16.open(GRAPHS[name], threads=1).run({"image": images})["logits"]
    truth = reference.open(GRAPHS[name], threads=1).run({"image": images})["logits"]
    assert found.dtype == np.float32
    assert 1e-6 < drift(truth, found) < 0.05


def test_bfloat16_is_refused_where_the_processor_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    core = SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8"])
    monkeypatch.setattr(_openvino.engines, "openvino", lambda: SimpleNamespace(Core=lambda: core))
    with pytest.raises(UsageError, match="no bfloat16 arithmetic"):
        openvino_bf16.open(net())


def test_an_answer_stays_what_it_was_when_the_next_comes() -> None:
    session = openvino.open(net(), threads=1)
    first = session.run({"image": pictures(1, 1)})["features"]
    before = first.copy()
    session.run({"image": pictures(2, 1)})
    np.testing.assert_array_equal(first, before)


def test_two_names_for_one_array_stay_apart() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Identity", ["a"], ["b"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 2]) for name in "ba"],
    )
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    assert describe(openvino.open(blob)) == describe(reference.open(blob))


def test_views_that_are_not_contiguous_are_taken() -> None:
    images = np.ascontiguousarray(pictures(3, 2)).transpose(0, 2, 1, 3)
    session, truth = openvino.open(net(), threads=1), reference.open(net(), threads=1)
    np.testing.assert_allclose(
        session.run({"image": images})["logits"], truth.run({"image": images})["logits"], atol=1e-4
    )


def test_one_session_serves_many_threads() -> None:
    session = openvino.open(net(), threads=1)
    many = [pictures(seed, 1 + seed % 3) for seed in range(60)]
    alone = [session.run({"image": images})["logits"] for images in many]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda images: session.run({"image": images})["logits"], many))
    for first, second in zip(alone, together):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("threads", "streams", "of"), [(0, 1, 0), (1, 6, 6), (2, 3, 6), (9, 1, 9)])
def test_narrow_runs_do_not_wait_for_each_other(
    threads: int, streams: int, of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO runs as many requests at once as it has streams, whichever threads ask."""
    monkeypatch.setattr(_openvino, "usable_cores", lambda: 6)
    settings = openvino.open(net(), threads=threads)._settings
    assert (settings["NUM_STREAMS"], settings["INFERENCE_NUM_THREADS"]) == (str(streams), of)


def test_what_disagrees_with_itself_is_an_error_of_the_graph() -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "y"], ["z"])],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B"]) for name in "xy"],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["B"])],
    )
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    with pytest.raises(BundleError, match="failed while it ran") as caught:
        openvino.open(blob).run({"x": np.zeros(2, np.float32), "y": np.zeros(3, np.float32)})
    assert "src/" not in str(caught.value)


def unknown_operator() -> bytes:
    model = onnx.load_from_string(net())
    model.graph.node[-1].op_type = "Frobnicate"
    return bytes(model.SerializeToString())


def without_weights() -> bytes:
    """On this OpenVINO's own reader leaves its memory, and the process ends."""
    model = onnx.load_from_string(net())
    node = next(node for node in model.graph.node if node.name == "two")
    del node.input[:]
    node.input.append("two.weight")
    return bytes(model.SerializeToString())


def elsewhere() -> bytes:
    model = onnx.load_from_string(net())
    model.graph.initializer[1].data_location = TensorProto.EXTERNAL
    model.graph.initializer[1].external_data.add(key="location", value="../../secret.bin")
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "blob",
    [b"", b"<net name='x' version='11'></net>", net()[:-20], unknown_operator(), without_weights(), elsewhere()],
    ids=["empty", "OpenVINO's own form", "cut off", "unknown operator", "no weights", "external data"],
)
def test_refuses_what_cannot_run_safely(blob: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError) as caught:
        openvino.open(blob)
    assert 10 < len(str(caught.value)) < 300
    assert "src/" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["openvino", "openvino_bf16", "openvino_int8"])
def test_without_the_extra_it_says_what_to_install(name: str) -> None:
    code = hidden("openvino", "nncf") + (
        "import sys; from pathlib import Path; from sightline.core.errors import MissingExtraError;"
        f"from sightline.graphs import {name} as form\n"
        "blob = Path(sys.argv[1]).read_bytes()\n"
        "for deed in (lambda: form.open(blob), lambda: next(form.candidates(blob, []))):\n"
        "    try: deed(); print('did')\n"
        "    except MissingExtraError as error: print(error)"
    )
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(net())
        file.flush()
        done = subprocess.run([sys.executable, "-c", code, file.name], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert "pip install 'sightline[openvino]'" in said[0]
    assert name != "openvino_int8" or "pip install 'sightline[openvino]'" in said[1]


@pytest.mark.parametrize("form", [openvino, openvino_bf16])
def test_another_way_to_run_the_same_file_writes_none(form: Any) -> None:
    (candidate,) = form.candidates(net(), [])
    assert candidate.blob == net()


def test_eight_bits_by_nncf(capfd: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a dozen properties in one test, because NNCF takes seconds to start."""
    monkeypatch.setenv("HOME", str(tmp_path))
    batches = [{"image": pictures(seed, 1)} for seed in range(24)]
    (candidate,) = openvino_int8.candidates(transformer(), batches)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []  # where the telemetry of three packages would have put its identifiers
    assert candidate.how == "NNCF mixed, Softmax, LayerNormalization, Gelu, patch, logits kept in fp32"
    graph = onnx.load_from_string(candidate.blob).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert {"patch.weight", "head.weight"} <= set(arrays)
    assert sum(array.dtype == np.int8 and array.ndim == 2 for array in arrays.values()) == 6
    session, truth = openvino_int8.open(candidate.blob, threads=1), reference.open(transformer(), threads=1)
    assert describe(session) == describe(truth)
    images = pictures(9)
    assert drift(*(each.run({"image": images})["logits"] for each in (truth, session))) < 0.05


def test_nncf_goes_on_from_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str], bool]] = []

    def noted(
        blob: bytes, calibration: Any, *, preset: str, transformer: bool, exclude: list[str], wide: bool
    ) -> bytes:
        asked.append((preset, exclude, wide))
        return blob

    monkeypatch.setattr(openvino_int8, "quantised", noted)
    batches = [{"image": pictures(1, CHANNELS)}]
    (first,) = openvino_int8.candidates(net(outlier="three"), batches)
    told = [candidate.how for candidate in openvino_int8.gentler(net(outlier="three"), batches, first)]
    assert [preset for preset, _, _ in asked] == ["performance", *["mixed"] * 5]
    assert [len(exclude) for _, exclude, _ in asked] == [1, 1, 1, 2, 3, 4]  # the head always
    assert [wide for _, _, wide in asked] == [False, False, True, False, False, False]  # wide moves no less here
    assert set(asked[4][1]) == {"head", "two", "three"}
    assert told[:2] == ["NNCF mixed", "NNCF mixed, nothing cut off"]
    assert told[2].endswith("kept in fp32")


def test_what_nncf_cannot_do_is_said() -> None:
    with pytest.raises(GateError, match="NNCF could not quantise the graph: "):
        list(openvino_int8.candidates(net(), [{"wrong": pictures(1, 1)}]))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.graphs._nncf.find_spec", lambda name: None if name == "nncf" else object())
    with pytest.raises(MissingExtraError, match=r"needs nncf: pip install 'sightline\[openvino\]'"):
        list(openvino_int8.candidates(net(), []))
