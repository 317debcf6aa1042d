"""Two gloo processes learn what one does: the same curve, the same weights, from each other's checkpoints."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import learn_twins as twins
from safetensors.torch import load_file

from sightline.core.errors import UsageError
from sightline.core.group import Group, launched
from sightline.learn.norms import shared_norms

TOLERANCE = 1e-5
"""Relative, of every loss and measure in float32: what another order of summing makes of six steps."""
COARSE = 0.005
"""The same in bfloat16, which keeps three digits."""


def pair(script: Path, *args: str, timeout: float = 280) -> None:
    """Run a script in two processes that know of each other as torchrun would tell them."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    told |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}  # the store is this process's
    both = [
        subprocess.Popen(
            [sys.executable, str(script), *args],
            env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=timeout)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    assert "Warning" not in "".join(said), "".join(said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have done all cases."""
    out = tmp_path_factory.mktemp("pair")
    pair(Path(twins.__file__), str(out))
    return out


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return read


def same_curve(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float = TOLERANCE) -> None:
    assert ours["step"] == theirs["step"]
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=tolerance)
    assert len(ours["epochs"]) == len(theirs["epochs"])
    for one, other in zip(ours["epochs"], theirs["epochs"]):
        np.testing.assert_allclose(one, other, rtol=tolerance)


# The same curve.


@pytest.mark.parametrize("name", [name for name in twins.CASES if not name.endswith("-parts")])
def test_two_processes_learn_as_one(name: str, found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    alone = twins.run(twins.job(tmp_path, twins.CASES[name], Group()), tmp_path / "weights")
    if name.endswith("-bf16"):
        same_curve(found[name], alone, COARSE)
        return
    same_curve(found[name], alone)
    ours, theirs = load_file(str(folder / f"{name}.safetensors")), load_file(str(tmp_path / "weights"))
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in twins.CASES if name.endswith("-parts")])
def test_parts_leave_the_gradient_of_the_whole(name: str, found: dict[str, Any], tmp_path: Path) -> None:
    """In two processes and in one; mixed pictures are mixed before the batch is cut."""
    values = twins.CASES[name]
    whole = twins.run(twins.job(tmp_path / "whole", {**values, "accumulate": 1}, Group()))
    same_curve(twins.run(twins.job(tmp_path / "four", {**values, "accumulate": 4}, Group())), whole)
    same_curve(found[name], whole)


# Stopping and going on.


def test_two_go_on_where_one_stopped(found: dict[str, Any], tmp_path: Path) -> None:
    whole, rest = twins.run(twins.job(tmp_path, twins.RESNET, Group())), found["from-one"]
    assert rest["said"] == ["resumed at step 4 of 6"]
    np.testing.assert_allclose(rest["loss"], whole["loss"][4:], rtol=TOLERANCE)
    np.testing.assert_allclose(rest["epochs"], whole["epochs"][1:], rtol=TOLERANCE)


def test_one_goes_on_where_two_stopped(found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """The second alone was asked to stop; both did, at the same step, and the checkpoint is there."""
    assert found["each"]["stopped"] == [True, True]
    assert found["from-two"]["step"] == [1, 2, 3, 4]
    whole = twins.run(twins.job(tmp_path / "whole", twins.RESNET, Group()))
    shutil.copytree(folder / "from-two", tmp_path / "again")
    rest = twins.run(twins.job(tmp_path / "again", twins.RESNET, Group()))
    assert rest["step"] == [5, 6]
    np.testing.assert_allclose(rest["loss"], whole["loss"][4:], rtol=TOLERANCE)
    np.testing.assert_allclose(rest["epochs"], whole["epochs"][1:], rtol=TOLERANCE)


def test_all_processes_know_the_same(found: dict[str, Any]) -> None:
    """Losses, the length of a budget, and why a training cannot be begun."""
    for name in ("curves", "steps", "refused"):
        one, other = found["each"][name]
        assert one == other
    assert found["each"]["steps"][0] % 3 == 0
    assert "a batch of 3 cannot be shared among 2 processes in 2 parts each" in found["each"]["refused"][0]
    assert "--batch 4" in found["each"]["refused"][0]


# A group by itself.


def test_shares_are_whole_and_even() -> None:
    for count, world in ((8, 2), (9, 2), (7, 3), (2, 3)):
        shares = [list(range(count))[Group(rank, world).share(count)] for rank in range(world)]
        assert [row for share in shares for row in share] == list(range(count))
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("batch", "parts", "fits"), [(4, 1, True), (4, 2, False), (3, 1, False), (8, 2, True)])
def test_a_batch_too_small_to_be_shared_is_refused(batch: int, parts: int, fits: bool) -> None:
    group = Group(1, 4)
    if fits:
        group.fits(batch, parts)
        return
    with pytest.raises(UsageError, match=f"take --batch {4 * parts} or more"):
        group.fits(batch, parts)


def test_threads_are_divided_among_the_processes_of_a_machine() -> None:
    assert [Group(0, 4, 0, 2).threads(count) for count in (8, 3, 1, None)] == [4, 1, 1, None]


def test_torchrun_tells_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    assert launched() == Group()  # another launcher's variable alone says nothing
    told = {"WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert launched() == Group(3, 4, 1, 2)
    assert not launched().leads


# Norms.


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of one, in which the norms of several processes can be held against PyTorch's."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5, 4)])
def test_shared_norms_are_batch_norms(one_process: None, shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(3, **settings)
    if plain.affine:
        torch.nn.init.normal_(plain.weight)
    ours = shared_norms(copy.deepcopy(plain), torch.device("cpu"))
    assert isinstance(ours, type(plain)) and type(ours) is not type(plain)
    for _ in range(2):
        x = 30 + 2 * torch.randn(shape)
        seen, expected = (x.clone().requires_grad_() for _ in range(2))
        weights = torch.randn(shape)
        for module, given in ((ours, seen), (plain, expected)):
            (module(given) * weights).sum().backward()
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen.grad, expected.grad, rtol=1e-4, atol=1e-5)
    for (name, one), (other, two) in zip(ours.state_dict().items(), plain.state_dict().items()):
        assert name == other
        torch.testing.assert_close(one, two)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x))


def test_norms_that_hold_their_activation_keep_it(one_process: None) -> None:
    from timm.layers.norm_act import BatchNormAct2d

    plain = BatchNormAct2d(3)
    ours = shared_norms(copy.deepcopy(plain), torch.device("cpu"))
    x = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(ours(x), plain(x))
    assert ours(x).min().item() == 0
