"""Toys for the one-file contract: a task, a net, a torch-free method and a layout, each one file of source text."""

TASK = '''"""shade: how bright is the picture, from 0 (black) to 1 (white)?"""

from dataclasses import dataclass

import numpy as np

from sightline.core import recipe as base
from sightline.core.card import Card, Preparation
from sightline.core.measures import Measure
from sightline.core.protocols import Request
from sightline.core.recipe import setting
from sightline.core.results import Result
from sightline.data.prepare import prepare

SUPPORTS = frozenset({"train", "evaluate", "predict", "explain", "export", "bench"})
DECODED = {"shade": "B"}
DEFAULT_NET = "mean"
HEADLINE = "closeness"


@dataclass(frozen=True, kw_only=True)
class Recipe(base.Recipe):
    """Settings of this task."""

    side: int = setting(4, "side in pixels")


@dataclass(frozen=True, kw_only=True)
class Shade(Result):
    """A brightness."""

    value: float

    def line(self) -> str:
        return f"shade {self.value:.2f}"

    def to_dict(self):
        return {"shade": self.value, "abstained": self.abstained}


class Closeness:
    """1 minus the mean absolute error."""

    def __init__(self):
        self.errors = []

    def update(self, result, target, group):
        self.errors.append(abs(result.value - float(target.name)))

    def compute(self):
        value = 1.0 - float(np.mean(self.errors))
        return {"closeness": Measure(value, float("nan"), float("nan"), "none", len(self.errors))}


def plan(recipe, facts):
    return recipe, {}


def draft(recipe, facts):
    ready = Preparation(mode="grey", size_hw=(recipe.side, recipe.side), mean=(0.0,), std=(1.0,))
    return Card(task="shade", net={}, preparation=ready)


def encode(picture, card):
    image, geometry = prepare(picture, card.preparation)
    return Request(arrays={"image": image}, size_hw=picture.size_hw, geometry=geometry)


def encode_target(target, request, card):
    return {"shade": np.float32(target.name).reshape(())}


def decode(outputs, request, card):
    return Shade(value=float(outputs["shade"]))


def scores(outputs, card):
    return np.asarray(outputs["shade"]).reshape(-1, 1)


def meters(card):
    return [Closeness()]


def correct(result, target):
    return abs(result.value - float(target.name)) < 0.1


def same(result, other):
    return abs(result.value - other.value) < 0.1
'''

METHOD = '''"""mean: the mean pixel, scaled and shifted by least squares; learns without PyTorch."""

from dataclasses import dataclass

import numpy as np

from sightline.core.events import Note
from sightline.core.recipe import setting

TASKS = frozenset({"shade"})
OUTPUTS = {"shade": "B"}


@dataclass(frozen=True)
class Options:
    """How it learns."""

    ridge: float = setting(1e-6, "regularisation")


VARIANTS = {}


def _means(images, card):
    return images.reshape(len(images), -1).astype(np.float64).mean(axis=1) / card.preparation.high


def fit(images, targets, card, options, recipe):
    yield Note(text="solving")
    x = np.stack([_means(images, card), np.ones(len(images))], axis=1)
    solved = np.linalg.solve(x.T @ x + options.ridge * np.eye(2), x.T @ targets["shade"])
    return {"slope": solved[:1].astype(np.float32), "shift": solved[1:].astype(np.float32)}


def forward(images, arrays, card, options):
    return {"shade": (_means(images, card) * arrays["slope"] + arrays["shift"]).astype(np.float32)}


def graph(arrays, card, options):
    from onnx import TensorProto, helper, numpy_helper

    height, width = card.preparation.size_hw
    scaled = (arrays["slope"] / np.float32(card.preparation.high)).astype(np.float32)
    constants = [numpy_helper.from_array(scaled, "slope"), numpy_helper.from_array(arrays["shift"], "shift")]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["shade"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", height, width, 1])
    shade = helper.make_tensor_value_info("shade", TensorProto.FLOAT, ["B"])
    body = helper.make_graph(nodes, "mean", [image], [shade], constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
'''

NET = '''"""tiny: one linear layer over all pixels."""

from dataclasses import dataclass

import torch
from torch import nn

from sightline.core.recipe import setting

TASKS = frozenset({"shade"})
OUTPUTS = {"shade": "B"}


@dataclass(frozen=True)
class Options:
    """Its shape."""

    hidden: int = setting(8, "units")


VARIANTS = {"small": Options()}


class Tiny(nn.Module):
    def __init__(self, pixels, hidden):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, x):
        return {"shade": self.layers(x).squeeze(1)}


def build(options, *, task, card):
    height, width = card.preparation.size_hw
    return Tiny(height * width * card.preparation.channels, options.hidden)


def loss(outputs, targets, batch):
    return torch.mean((outputs["shade"].float() - targets["shade"]) ** 2)
'''

LAYOUT = '''"""tally: a text file shades.tally with one picture and its brightness a line."""

from pathlib import Path

from sightline.data.samples import Label, Sample, Samples


def fits(path):
    return Path(path).suffix == ".tally"


def read(path):
    lines = [line.split() for line in Path(path).read_text().splitlines()]
    rows = tuple(Sample(name, Label(value), split) for name, value, split in lines)
    return Samples(Path(path).parent, rows, "tally")


def write(samples, path):
    Path(path).write_text("".join(f"{r.path} {r.target.name} {r.split or 'train'}\\n" for r in samples.rows))
'''
