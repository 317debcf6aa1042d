"""On a CUDA device the loop learns what it learns on the CPU; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import learn_twins as twins

from sightline.core.group import Group

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

TOLERANCE = 1e-3
"""Relative, of every loss and measure in float32 without TF32: six steps of sums in another order."""


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("name", [name for name in twins.CASES if name != "resnet-bf16"])
def test_a_cuda_device_learns_what_the_cpu_does(tmp_path: Path, name: str) -> None:
    case = twins.CASES[name]
    slow, fast = (
        twins.run(twins.job(tmp_path / device, {**case, "device": device}, Group())) for device in ("cpu", "cuda")
    )
    assert fast["loss"] == pytest.approx(slow["loss"], rel=TOLERANCE)
    assert [each[:2] for each in fast["epochs"]] == [pytest.approx(each[:2], rel=TOLERANCE) for each in slow["epochs"]]


def test_bfloat16_learns_nearly_the_same(tmp_path: Path) -> None:
    case = {**twins.RESNET, "device": "cuda"}
    fine, coarse = (
        twins.run(twins.job(tmp_path / precision, {**case, "precision": precision}, Group()))["loss"]
        for precision in ("fp32", "bf16")
    )
    assert coarse == pytest.approx(fine, rel=0.03)
    assert coarse != fine


@pytest.mark.parametrize("how", [{"optimizer": "sgd"}, {"optimizer": "adamw", "lr": 2e-3}])
@pytest.mark.parametrize("devices", [("cuda", "cuda"), ("cpu", "cuda"), ("cuda", "cpu")])
def test_it_goes_on_on_the_other_device(tmp_path: Path, devices: tuple[str, str], how: dict[str, Any]) -> None:
    first, second = ({**twins.RESNET, **how, "device": device} for device in devices)
    whole = twins.run(twins.job(tmp_path / "whole", {**twins.RESNET, **how, "device": "cpu"}, Group()))
    begun = twins.run(twins.job(tmp_path / "cut", first, Group(), stop=twins.after(4)))
    gone_on = twins.run(twins.job(tmp_path / "cut", second, Group()))
    assert begun["stopped"]
    assert begun["loss"] + gone_on["loss"] == pytest.approx(whole["loss"], rel=TOLERANCE)
