"""Checkpoints: going on from a file equals never having stopped, bit for bit; nothing executable is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file
from torch import nn

from sightline.core.errors import DataError
from sightline.learn.checkpoint import LAST, _restore, load_checkpoint, save_checkpoint
from sightline.learn.optim import averaged, optimizer, update_average


class Standing:
    """A channels-last net, its average and its optimiser, and how to take a step."""

    def __init__(self, kind: str, seed: int) -> None:
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())
        self.net = layers.to(memory_format=torch.channels_last)
        self.average = averaged(self.net)
        self.optimizers = [optimizer(self.net, name=kind, lr=0.05, weight_decay=0.01)]

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"module": self.net, "average": self.average}

    def steps(self, first: int, last: int) -> Standing:
        for step in range(first, last):
            torch.manual_seed(step)
            loss = self.net(torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)).square().mean()
            self.optimizers[0].zero_grad()
            loss.backward()
            self.optimizers[0].step()
            update_average(self.average, self.net, decay=0.9, step=step)
        return self

    def same_as(self, other: Standing) -> bool:
        pairs = [
            (tensor, theirs.state_dict()[name])
            for ours, theirs in zip(self.modules.values(), other.modules.values())
            for name, tensor in ours.state_dict().items()
        ]
        return all(torch.equal(a, b) for a, b in pairs)


def test_every_slot_lies_where_its_parameter_does() -> None:
    parameter = nn.Parameter(torch.empty(2, 3, device="meta"))
    restored = torch.optim.AdamW([parameter])
    _restore(restored, {"0/step": torch.tensor(3.0), "0/exp_avg": torch.zeros(2, 3)})
    assert {tensor.device.type for tensor in restored.state[parameter].values()} == {"meta"}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_going_on_from_a_file_is_going_on(tmp_path: Path, kind: str) -> None:
    first = Standing(kind, 0).steps(0, 5)
    save_checkpoint(tmp_path, first.modules, first.optimizers, {"step": 5, "note": "ü"})
    fresh = Standing(kind, 1)
    assert not fresh.same_as(first)
    assert load_checkpoint(tmp_path, fresh.modules, fresh.optimizers) == {"step": 5, "note": "ü"}
    assert fresh.same_as(first)
    assert fresh.steps(5, 12).same_as(first.steps(5, 12))
    without = Standing(kind, 0).steps(0, 5)
    without.optimizers = [optimizer(without.net, name=kind, lr=0.05, weight_decay=0.01)]
    assert not without.steps(5, 12).same_as(first)  # the optimiser's memory matters


def test_there_may_be_none(tmp_path: Path) -> None:
    fresh = Standing("sgd", 0)
    assert load_checkpoint(tmp_path / "nowhere", fresh.modules, fresh.optimizers) is None


def test_nothing_but_tensors_and_json_is_in_the_file(tmp_path: Path) -> None:
    """The format has a length, a JSON header and raw numbers: nowhere a pickle could be."""
    standing = Standing("adamw", 0).steps(0, 2)
    path = save_checkpoint(tmp_path, standing.modules, standing.optimizers, {"step": 2})
    assert [each.name for each in tmp_path.iterdir()] == [LAST] == [path.name]
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    assert json.loads(header.pop("__metadata__")["state"]) == {"step": 2}
    ends = [entry["data_offsets"][1] for entry in header.values()]
    assert max(ends) == len(blob) - 8 - length
    assert {entry["dtype"] for entry in header.values()} == {"F32", "I64"}
    assert any(name.startswith("optimizer0/") for name in header)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def garbled(path: Path) -> None:
    path.write_bytes(b"\xff" * 64)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    save_file({"x": torch.zeros(2)}, str(path))


def stateless(path: Path) -> None:
    save_file({"x": torch.zeros(2)}, str(path), metadata={"other": "1"})


def reshaped(path: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(str(path)) | {"module/0.weight": torch.zeros(9, 3, 3, 3)}
    save_file(tensors, str(path), metadata={"state": "{}"})


def too_many_slots(path: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(str(path)) | {"optimizer0/99/momentum_buffer": torch.zeros(1)}
    save_file(tensors, str(path), metadata={"state": "{}"})


@pytest.mark.parametrize(
    "spoil", [cut, garbled, emptied, foreign, stateless, reshaped, too_many_slots], ids=lambda spoil: spoil.__name__
)
def test_what_cannot_be_resumed_from_is_a_data_error(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    standing = Standing("sgd", 0).steps(0, 2)
    spoil(save_checkpoint(tmp_path, standing.modules, standing.optimizers, {"step": 2}))
    with pytest.raises(DataError, match=r"(?s)cannot be resumed from .*; remove it to begin anew"):
        load_checkpoint(tmp_path, standing.modules, standing.optimizers)
