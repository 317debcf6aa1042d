"""What the recipe leaves open is chosen, each with a reason; what a person typed is never touched."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.core.errors import UsageError
from sightline.core.protocols import Facts
from sightline.core.recipe import Recipe, budget_seconds
from sightline.learn.choose import VIEWS, choose

OPEN = {"device", "threads", "precision", "batch", "optimizer", "lr", "weight_decay", "ema"}


def facts(count: int = 2000) -> Facts:
    return Facts(count=count, sizes_hw=np.array([[8, 8]]), grey=True, dtype="uint8", targets=[])


@pytest.mark.parametrize(
    "typed",
    [
        {},
        {"optimizer": "sgd"},
        {"optimizer": "adamw", "batch": 16, "lr": 0.5},
        {"device": "cpu", "threads": 3, "precision": "fp32", "ema": 0.0, "weight_decay": 0.0},
        {"epochs": 3},
        {"steps": 10},
        {"budget": "5m"},
    ],
)
def test_every_change_has_a_reason_and_no_typed_setting_changes(typed: dict[str, Any]) -> None:
    before = Recipe(**typed)
    after, reasons = choose(before, facts())
    changed = {f.name for f in dataclasses.fields(Recipe) if getattr(before, f.name) != getattr(after, f.name)}
    length = set() if typed.keys() & {"epochs", "steps", "budget"} else {"epochs"}
    assert changed == set(reasons) == (OPEN - set(typed)) | length
    assert all(reasons.values())
    assert {name: getattr(after, name) for name in typed} == typed
    assert all(getattr(after, name) not in (None, "auto") for name in OPEN)


@pytest.mark.parametrize(
    ("count", "batch", "epochs"),
    [(20, 64, 100), (VIEWS // 50, 64, 50), (19_999, 64, 12), (20_000, 128, 12), (10**6, 128, 12)],
)
def test_length_and_batch_follow_the_pictures(count: int, batch: int, epochs: int) -> None:
    chosen, _ = choose(Recipe(), facts(count))
    assert (chosen.batch, chosen.epochs) == (batch, epochs)


def test_the_rate_grows_with_the_batch() -> None:
    rates = [choose(Recipe(optimizer="sgd", batch=batch), facts())[0].lr for batch in (16, 64, 256)]
    assert rates == pytest.approx([0.05, 0.1, 0.2])


@pytest.mark.parametrize(
    ("typed", "optimizer", "lr", "decay"),
    [({}, "sgd", 0.2, 5e-4), ({"optimizer": "adamw"}, "adamw", 2e-3, 0.05), ({"optimizer": "sgd"}, "sgd", 0.2, 5e-4)],
)
def test_a_net_may_prefer_an_optimiser(typed: dict[str, Any], optimizer: str, lr: float, decay: float) -> None:
    chosen, _ = choose(Recipe(**typed), facts(), prefers=("sgd", 0.2))
    assert (chosen.optimizer, chosen.weight_decay) == (optimizer, decay)
    assert chosen.lr == pytest.approx(lr)


@pytest.mark.parametrize(("cuda", "device"), [(False, "cpu"), (True, "cuda")])
def test_the_device_is_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    chosen, _ = choose(Recipe(), facts())
    assert chosen.device == device
    assert choose(Recipe(device="cpu"), facts())[0].device == "cpu"


def test_a_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"sees no CUDA device.*--device cpu or auto"):
        choose(Recipe(device="cuda"), facts())


@pytest.mark.parametrize(
    ("flags", "precision"), [({}, "fp32"), ({"avx512_bf16": False}, "fp32"), ({"amx_bf16": True}, "bf16")]
)
def test_bfloat16_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert choose(Recipe(), facts())[0].precision == precision


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("1.5h", 5400), (" 5 M ", 300), ("0.5s", 0.5)]
)
def test_a_budget_is_read(text: str, seconds: float) -> None:
    assert budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 d", "-5m", "1e3s", "5mm", "5m30s", ".5h", "1,5h", "soon"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="90s, 5m or 2h"):
        budget_seconds(text)
