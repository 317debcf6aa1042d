import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError
from sightline.graphs import onnx as form

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper


def card(preparation: Preparation) -> Card:
    return Card(task="classify", net={}, classes=("a", "b", "c"), preparation=preparation)


GREY = card(Preparation(mode="grey", size_hw=(8, 8)))


def small_net(channels: int) -> Any:
    """Two convolutions with lively batch norms; two outputs of the same shape, and their order is not alphabetic."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(channels, 6, 3, padding=1, bias=False)
            self.norm = torch.nn.BatchNorm2d(6)
            self.second = torch.nn.Conv2d(6, 4, 3, stride=2)
            self.head = torch.nn.Linear(4, 3)

        def forward(self, x: Any) -> dict[str, Any]:
            features = torch.relu(self.second(torch.relu(self.norm(self.first(x)))))
            pooled = features.mean((2, 3))
            return {"logits": self.head(pooled), "features": features, "doubled": 2 * self.head(pooled)}

    net = Net()
    with torch.no_grad():
        for name in ("running_mean", "weight", "bias"):
            getattr(net.norm, name).normal_()
        net.norm.running_var.uniform_(0.5, 2)
    return net


@pytest.mark.torch
@pytest.mark.parametrize(
    "preparation",
    [
        Preparation(mode="rgb", size_hw=(9, 14), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)),
        Preparation(mode="rgb", size_hw=(9, 14), mean=(0.4,), std=(0.2,), dtype="uint16", high=4095.0),
        Preparation(mode="grey", size_hw=(7, 5), mean=(0.1,), std=(2.0,), dtype="float32", high=1.0),
    ],
    ids=lambda p: f"{p.mode}-{p.dtype}",
)
def test_the_graph_is_the_network_on_raw_pictures(preparation: Preparation) -> None:
    torch = pytest.importorskip("torch")
    net = small_net(preparation.channels).eval()
    session = form.open(form.write(net, card(preparation)), threads=1)
    shape = ("B", *preparation.size_hw, preparation.channels)
    assert (session.inputs["image"].shape, session.inputs["image"].dtype) == (shape, preparation.dtype)
    assert {name: spec.shape[0] for name, spec in session.outputs.items()} == dict.fromkeys(session.outputs, "B")
    assert session.outputs["logits"].shape == ("B", 3)
    for count in (1, 2, 5):
        random = np.random.default_rng(count).random((count, *shape[1:])) * preparation.high
        images = random.astype(preparation.dtype)
        unit = (images.astype(np.float64) / preparation.high - preparation.mean) / preparation.std
        with torch.no_grad():
            truth = net(torch.from_numpy(unit.transpose(0, 3, 1, 2)).float())
        out = session.run({"image": images})
        assert list(out) == ["logits", "features", "doubled"]
        for name, array in out.items():
            np.testing.assert_allclose(array, truth[name].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.torch
def test_writing_leaves_no_trace() -> None:
    """The bytes tell nothing of this machine, and neither the network nor the loggers are changed."""
    torch = pytest.importorskip("torch")
    net = small_net(1).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    levels = [logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    blob = form.write(net, GREY)
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert levels == [logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    assert form.write(net, GREY) == blob
    for secret in (str(Path(__file__).parent), "site-packages", "torch", "forward", "Net"):
        assert secret.encode() not in blob


@pytest.mark.torch
def test_batch_norms_are_folded_and_layers_keep_their_names() -> None:
    model = onnx.load_from_string(form.write(small_net(1), GREY))
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= {"Transpose", "Cast", "Mul", "Add", "Conv", "Relu", "ReduceMean", "Gemm"}
    layers = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert layers[:3] == ["first", "second", "head"]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)


def identity(kind: int = TensorProto.UINT8) -> Any:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["same"], doc_string="from /home/someone")],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", 2, 2, 1])],
        [helper.make_tensor_value_info("same", kind, ["B", 2, 2, 1])],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_version="9", doc_string="/home/me")


def test_a_complete_graph_is_written_as_it_is_but_for_its_traces() -> None:
    source = identity()
    before = source.SerializeToString()
    blob = form.write(source, GREY)
    assert source.SerializeToString() == before
    assert b"/home/" not in blob
    image = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    np.testing.assert_array_equal(form.open(blob).run({"image": image})["same"], image)


def test_an_invalid_graph_is_not_written() -> None:
    with pytest.raises(BundleError, match="not valid ONNX"):
        form.write(identity(TensorProto.FLOAT), GREY)
