"""MobileNetV2 from a quantised ONNX classifier as float weights of timm's mobilenetv2_100, a backbone to start from.

Usage: python benchmarks/dequantised.py DATA OUT.safetensors

DATA holds weights/mobilenet_v2_1.0_224_int8_per_tensor.onnx and photos/imagenet. Its norms are folded into its
convolutions and its channels were made alike before it was quantised: a cap of its own on each channel stands for the
ReLU6. Both are undone here: channels get the cap 6 back, and norms with the statistics of 64 photos do the same as
none, so that they can go on learning. Convolutions that halve a picture stand half a pixel aside of the original's,
which pads on the right and below. Printed is how often both answer alike.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import timm
import torch
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

PHOTOS, SIDE, CAP, DEAD = 64, 224, 6.0, 1e-6
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
"""As timm prepares pictures for this architecture; the classifier itself takes 2 x - 1."""


class Graph:
    """A quantised graph: float values of its constants, and what follows what."""

    def __init__(self, path: Path) -> None:
        self.graph = onnx.load(path).graph
        self.constants = {each.name: numpy_helper.to_array(each) for each in self.graph.initializer}
        self.made = {output: node for node in self.graph.node for output in node.output}
        self.taken = {name: node for node in self.graph.node for name in node.input}

    def value(self, name: str) -> Tensor:
        """A constant as floats."""
        if name in self.constants:
            return torch.tensor(self.constants[name])
        quantised, scale, zero = (self.constants[each] for each in self.made[name].input)
        return torch.tensor((quantised.astype(np.float32) - zero.astype(np.float32)) * scale)

    def cap(self, node: Any) -> Tensor | None:
        """The caps (C,) that the channels of a convolution have each of its own, if any."""
        while (name := node.output[0]) in self.taken:
            node = self.taken[name]
            if node.op_type == "Min":
                return self.value(next(each for each in node.input if each != name)).flatten()
            if node.op_type not in ("Relu", "QuantizeLinear", "DequantizeLinear"):
                break
        return None


def unfolded(graph: Graph) -> nn.Module:
    """timm's network with the graph's weights, its norms doing nothing but adding the biases."""
    net: nn.Module = timm.create_model("mobilenetv2_100", num_classes=0).eval()
    layers: list[Any] = [layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    nodes = [node for node in graph.graph.node if node.op_type == "Conv"]
    grown: Tensor | None = None
    for place, (node, conv, norm) in enumerate(zip(nodes, layers[::2], layers[1::2], strict=True)):
        weight, bias = graph.value(node.input[1]), graph.value(node.input[2])
        if place == 0:
            bias = bias + (weight * (2 * MEAN - 1)[:, None, None]).sum((1, 2, 3))
            weight = weight * (2 * STD)[:, None, None]
        if grown is not None:
            weight = weight * grown[:, None, None]
        caps = graph.cap(node)
        grown = None if caps is None else caps / CAP
        if grown is not None:
            less = torch.where(grown > DEAD, 1 / grown, 0.0)
            weight, bias = weight * less[:, None, None, None], bias * less
        conv.weight.data = weight
        norm.bias.data, norm.running_var = bias, torch.full_like(bias, 1 - norm.eps)
    return net


def settle(net: nn.Module, pictures: Tensor) -> None:
    """Give each norm the mean and deviation of what it is fed, and let it put out the same as before."""

    def learn(norm: Any, given: Any, _: Any) -> None:
        mean, var = given[0].mean((0, 2, 3)), given[0].var((0, 2, 3), unbiased=False)
        norm.running_mean, norm.running_var = mean, var
        norm.weight.data, norm.bias.data = (var + norm.eps).sqrt(), norm.bias.data + mean

    hooks = [each.register_forward_hook(learn) for each in net.modules() if isinstance(each, nn.BatchNorm2d)]
    net(pictures)
    for hook in hooks:
        hook.remove()


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    file = data / "weights" / "mobilenet_v2_1.0_224_int8_per_tensor.onnx"
    paths = sorted((data / "photos" / "imagenet").iterdir())[:PHOTOS]
    photos = np.stack([np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in paths])
    session = onnxruntime.InferenceSession(file)
    theirs = [int(session.run(None, {session.get_inputs()[0].name: photo[None]})[0].argmax()) for photo in photos]
    graph = Graph(file)
    with torch.no_grad():
        net = unfolded(graph)
        pictures = ((torch.from_numpy(photos) / 255 - MEAN) / STD).permute(0, 3, 1, 2)
        settle(net, pictures)
        last = next(node for node in graph.graph.node if node.op_type == "MatMul")
        bias = next(name for name in graph.taken[last.output[0]].input if name != last.output[0])
        ours = (net(pictures) @ graph.value(last.input[1]) + graph.value(bias)).argmax(1).tolist()
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, out)
    print(f"both answer alike on {np.mean(np.equal(ours, theirs)):.1%} of {len(paths)} photos; written to {out}")


if __name__ == "__main__":
    main()
