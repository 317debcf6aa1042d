"""restore: pictures made larger, of any size and depth, without seams, and measured against what they should be."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from skimage import data

import sightline
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError, PictureError, UsageError
from sightline.core.events import drain
from sightline.core.protocols import Facts, Request, Spec
from sightline.core.results import Picture
from sightline.data.pictures import Picture as Read
from sightline.data.pictures import read_picture
from sightline.data.samples import NoTarget, Sharp
from sightline.data.spoil import Spoil, resized, spoilt
from sightline.metrics.fidelity import psnr
from sightline.tasks import restore
from sightline.tasks._restore_measures import RestoreMeter
from sightline.verbs.evaluate import evaluate
from sightline.verbs.predict import Beside, read_request

CAT = np.ascontiguousarray(data.chelsea()[:180, :240])
READY = Preparation(fit="whole", multiple=1, size_hw=(16, 16), dtype="float32", high=1.0, mean=(0.0,), std=(1.0,))
CARD = Card(
    task="restore",
    net={},
    preparation=READY,
    form={"name": "picture", "scale": 2, "halo": 3},
    recipe={"scale": 2, "patch": 32, "depth": 8},
)


class Enlarger:
    """A graph that looks three pixels around each: a mean of 7 x 7, zeros beyond the border, and each pixel twice."""

    inputs: ClassVar = {"image": Spec("float32", ("B", "H", "W", 3))}
    outputs: ClassVar = {"picture": Spec("float32", ("B", 3, "2*H", "2*W"))}

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def run(self, arrays: Any) -> dict[str, Any]:
        self.seen.append(arrays["image"].shape)
        padded = np.pad(arrays["image"].astype(np.float64), [(0, 0), (3, 3), (3, 3), (0, 0)])
        mean = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(1, 2)).mean(axis=(-2, -1))
        large = mean.repeat(2, axis=1).repeat(2, axis=2)
        return {"picture": large.transpose(0, 3, 1, 2).astype(np.float32)}


def answer(picture: Any, graph: Any = None, card: Card = CARD, *, alpha: bool = True) -> Picture:
    request = restore.encode(read_picture(picture, alpha=alpha), card)
    (result,) = restore.predict({"main": graph or Enlarger()}, [request], card)
    assert isinstance(result, Picture)
    return result


# Answers


def test_windows_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answer(CAT)
    assert whole.pixels.shape == (360, 480, 3) and whole.pixels.dtype == np.uint8
    monkeypatch.setattr(restore, "WHOLE", 0)
    for core in (16, 50, 100):
        monkeypatch.setattr(restore, "CORE", core)
        graph = Enlarger()
        parts = answer(CAT, graph)
        assert len(graph.seen) == -(-180 // core) * -(-240 // core)
        assert max(max(shape[1:3]) for shape in graph.seen) <= core + 6
        assert np.array_equal(parts.pixels, whole.pixels)
    narrow = dataclasses.replace(CARD, form={**CARD.form, "halo": 1})
    assert not np.array_equal(answer(CAT, card=narrow).pixels, whole.pixels)  # too narrow a margin is seen


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (5, 3), (33, 64)])
def test_any_size_will_do(size_hw: tuple[int, int]) -> None:
    assert answer(CAT[: size_hw[0], : size_hw[1]]).pixels.shape == (2 * size_hw[0], 2 * size_hw[1], 3)


def test_nothing_is_made_of_no_pixels() -> None:
    request = dataclasses.replace(
        restore.encode(read_picture(CAT), CARD), arrays={"image": np.zeros((0, 5, 3), np.float32)}
    )
    (found,) = restore.predict({"main": Enlarger()}, [request], CARD)
    assert isinstance(found, Picture) and found.pixels.shape == (0, 10, 3)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_graph_that_makes_another_size_is_refused(scale: int) -> None:
    card = dataclasses.replace(CARD, form={**CARD.form, "scale": scale})
    with pytest.raises(BundleError, match="the graph makes"):
        answer(CAT, card=card)


def test_depth_stays() -> None:
    deep = CAT.astype(np.uint16) * 257 + 1
    found = answer(deep)
    assert found.pixels.dtype == np.uint16 and found.high == 65535
    assert len(np.unique(found.pixels % 257)) > 50  # not 8 bits spread out
    shares = answer((CAT / 255).astype(np.float32))
    assert shares.pixels.dtype == np.float32 and abs(shares.pixels - answer(CAT).pixels / 255).max() < 0.003


def test_grey_stays_grey() -> None:
    found = answer(CAT[..., 0])
    assert found.pixels.shape == (360, 480, 1)
    assert np.abs(found.pixels[..., 0].astype(int) - answer(CAT[..., [0, 0, 0]]).pixels[..., 0]).max() <= 1


def test_alpha_is_enlarged_beside_it() -> None:
    alpha = np.zeros((180, 240), np.uint8)
    alpha[40:90, 60:120] = 255
    found = answer(np.dstack([CAT, alpha]))
    assert found.alpha is not None and found.alpha.shape == (360, 480) and found.alpha.dtype == np.uint8
    assert found.alpha[90:170, 130:230].min() > 250 and found.alpha[:70].max() < 5
    assert np.array_equal(found.pixels, answer(CAT).pixels)  # colour under it is not laid on white


def test_what_is_no_number_is_black() -> None:
    broken = type("Broken", (Enlarger,), {"run": lambda self, a: {"picture": np.full((1, 3, 4, 4), np.nan)}})
    assert answer(CAT[:2, :2], broken()).pixels.max() == 0


# Learning


def facts(*targets: Any, dtype: str = "uint8", grey: bool = False) -> Facts:
    known = targets or (NoTarget(),)
    return Facts(count=1, sizes_hw=np.array([[90, 100]]), grey=grey, dtype=dtype, targets=known)


def test_what_is_open_is_chosen() -> None:
    recipe, reasons = restore.plan(restore.Recipe(scale=3), facts(dtype="uint16", grey=True))
    assert (recipe.patch, recipe.color, recipe.depth) == (144, "grey", 16)
    assert set(reasons) == {"holes", "patch", "color", "depth"}
    card = restore.draft(recipe, facts())
    assert card.preparation.size_hw == (48, 48) and card.preparation.channels == 1
    assert card.preparation.at_least_hw is None  # every pixel is looked at


@pytest.mark.parametrize(
    ("recipe", "target", "error", "said"),
    [
        ({"scale": 1}, NoTarget(), UsageError, "say what is to be undone"),
        ({"scale": 3, "patch": 50}, NoTarget(), UsageError, "multiple of --scale 3, 8 times or more"),
        ({"scale": 4, "patch": 16}, NoTarget(), UsageError, "multiple of --scale 4, 8 times or more"),
        ({"scale": 2, "depth": 12}, NoTarget(), UsageError, "must be 8 or 16"),
    ],
)
def test_what_cannot_be_learnt_is_refused(recipe: Any, target: Any, error: type[Exception], said: str) -> None:
    planned, _ = restore.plan(restore.Recipe(**recipe), facts(target))
    with pytest.raises(error, match=said):
        restore.draft(planned, facts(target))


def test_pieces_are_cut_from_all_of_a_picture() -> None:
    request = restore.pieces(read_picture(CAT), None, CARD)
    cuts = request.arrays["image"]
    assert cuts.shape == (6 * 8, 32, 32, 3) and cuts.dtype == np.uint8
    assert np.array_equal(cuts[0], CAT[:32, :32]) and np.array_equal(cuts[-1], CAT[-32:, -32:])
    assert restore.encode_target(None, request, CARD)["number"].tolist() == list(range(48))
    small = restore.pieces(read_picture(CAT[:10, :20]), None, CARD).arrays["image"]
    assert small.shape == (1, 32, 32, 3) and np.array_equal(small[0, :10, :20], CAT[:10, :20])
    deep = dataclasses.replace(CARD, recipe={**CARD.recipe, "depth": 16})
    assert np.array_equal(
        restore.pieces(read_picture(CAT), None, deep).arrays["image"][0], CAT[:32, :32] * np.uint16(257)
    )


def test_pairs_are_learnt_from_as_they_are() -> None:
    poor = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    request = restore.pieces(read_picture(poor), read_picture(CAT), CARD)
    cuts, sharp = request.arrays["image"], restore.encode_target(None, request, CARD)["sharp"]
    assert cuts.shape == (48, 16, 16, 3) and sharp.shape == (48, 32, 32, 3)
    assert np.array_equal(cuts[-1], poor[-16:, -16:]) and np.array_equal(sharp[-1], CAT[-32:, -32:])
    still, plain = restore.posed(cuts[:3], {"sharp": sharp[:3]}, None, CARD)
    assert np.array_equal(still, cuts[:3] / np.float32(255))
    assert np.array_equal(plain["sharp"], sharp[:3].transpose(0, 3, 1, 2) / np.float32(255))
    images, targets = restore.posed(cuts[:6], {"sharp": sharp[:6]}, np.linspace(0.05, 0.9, 6), CARD)
    for turned, whole, given, wanted in zip(images, targets["sharp"], cuts, sharp):
        ways = [(k, step) for k in range(4) for step in (1, -1)]
        (way,) = [w for w in ways if np.array_equal(np.rot90(given, w[0])[:, :: w[1]], np.rint(turned * 255))]
        assert np.array_equal(np.rot90(wanted, way[0])[:, :: way[1]], np.rint(whole.transpose(1, 2, 0) * 255))
    with pytest.raises(PictureError, match="not 2 times as large"):
        restore.pieces(read_picture(poor[1:]), read_picture(CAT), CARD)
    small = restore.pieces(read_picture(poor[:5, :9]), read_picture(CAT[:10, :18]), CARD)
    assert small.arrays["image"].shape == (1, 16, 16, 3) and small.beside["sharp"].shape == (1, 32, 32, 3)
    recipe, _ = restore.plan(restore.Recipe(scale=1), facts(Sharp("HR/1.png", "0")))
    assert restore.draft(recipe, facts(Sharp("HR/1.png", "0"))).task == "restore"  # what is undone is in the pairs


def test_pieces_are_turned_and_made_poor_by_their_draws() -> None:
    pieces = restore.pieces(read_picture(CAT), None, CARD).arrays["image"][:6]
    still, plain = restore.posed(pieces, {}, None, CARD)
    assert np.array_equal(plain["sharp"], pieces.transpose(0, 3, 1, 2) / np.float32(255))
    assert np.array_equal(still[0], spoilt(pieces[0] / np.float32(255), Spoil(scale=2), np.random.default_rng()))
    draws = np.linspace(0.05, 0.9, 6)
    images, targets = restore.posed(pieces, {"number": np.arange(6)}, draws, CARD)
    again, _ = restore.posed(pieces, {}, draws, CARD)
    assert (
        images.shape == (6, 16, 16, 3) and np.array_equal(images, again) and targets["number"].tolist() == [*range(6)]
    )
    assert any(not np.array_equal(a, b) for a, b in zip(images, still))
    for poor, sharp, piece in zip(images, targets["sharp"].transpose(0, 2, 3, 1), pieces):
        assert np.abs(poor - spoilt(sharp, Spoil(scale=2), np.random.default_rng())).max() < 1e-6
        assert sorted(np.rint(sharp * 255).ravel()) == sorted(piece.ravel())


# Measuring


def test_a_sharp_picture_is_made_poor_and_compared() -> None:
    request = restore.examined(read_picture(CAT[:179, :239]), None, CARD)
    assert request.arrays["image"].shape == (89, 119, 3) and request.beside["sharp"].shape == (178, 238, 3)
    (found,) = restore.predict({"main": Enlarger()}, [request], CARD)
    assert isinstance(found, Picture)
    truth = CAT[:178, :238] / np.float32(255)
    assert found.fidelity["psnr"] == pytest.approx(psnr(found.pixels / np.float32(255), truth, border=2))
    large = np.rint(255 * np.clip(resized(request.arrays["image"], (178, 238)), 0, 1)) / 255
    assert found.fidelity["psnr_before"] == pytest.approx(psnr(large, truth, border=2))
    assert found.fidelity["psnr_before"] > found.fidelity["psnr"] and restore.badness(found, None) > 0
    meter = RestoreMeter()
    meter.update(found, None, "a")
    meter.update(dataclasses.replace(found, fidelity={**found.fidelity, "psnr": 50.0}), None, "b")
    measures = meter.compute()
    assert measures["psnr"].value == pytest.approx((50 + found.fidelity["psnr"]) / 2)
    assert measures["gain"].value == pytest.approx(measures["psnr"].value - measures["psnr_before"].value)
    assert measures["gain"].low < measures["gain"].value < measures["gain"].high
    with pytest.raises(DataError, match="not compared"):
        meter.update(answer(CAT), None, "c")


@pytest.mark.parametrize("channels", [1, 3])
def test_truth_answer_and_interpolation_stand_side_by_side(channels: int) -> None:
    bright = (CAT[..., :channels] / 255 * 1.5).astype(np.float32)  # floats may be brighter than white
    request = restore.examined(read_picture(bright[::2, ::2].copy()), read_picture(bright), CARD)
    (found,) = restore.predict({"main": Enlarger()}, [request], CARD)
    assert isinstance(found, Picture)
    truth, answer, plain = restore.sides(found, request)
    assert truth.shape == answer.shape == plain.shape == (180, 240, channels)
    np.testing.assert_allclose(truth, np.minimum(bright, 1), atol=1e-6)
    np.testing.assert_array_equal(answer, found.pixels)
    wanted = np.clip(resized(bright[::2, ::2], (180, 240)), 0, 1)
    np.testing.assert_allclose(plain, wanted, atol=1e-4)


def test_each_picture_has_a_chance_of_its_own_and_always_the_same() -> None:
    card = dataclasses.replace(CARD, recipe={**CARD.recipe, "noise": 40, "jpeg": 30, "blur": 2})
    apart = []
    for pixels in (CAT, CAT[::-1].copy(), CAT[:, ::-1].copy(), np.rot90(CAT, 2).copy()):
        once, again = (restore.examined(read_picture(pixels), None, card).arrays["image"] for _ in range(2))
        assert np.array_equal(once, again)
        apart.append(
            float(np.abs(once - spoilt(pixels / np.float32(255), Spoil(scale=2), np.random.default_rng())).mean())
        )
    assert max(apart) > 1.3 * min(apart)  # not one severity for all pictures of a size
    pieces = restore.pieces(read_picture(CAT), None, card).arrays["image"]
    whole, _ = restore.posed(pieces[:8], {}, None, card)
    part, _ = restore.posed(pieces[4:8], {}, None, card)
    assert np.array_equal(whole[4:], part)  # whatever stands beside it in a batch


def test_deep_pictures_are_made_poor_in_their_own_depth() -> None:
    deep = CAT.astype(np.uint16) * 257
    shares = restore.examined(read_picture(deep), None, CARD).arrays["image"] * 255
    assert np.abs(shares - np.rint(shares)).mean() > 0.1
    card = dataclasses.replace(CARD, recipe={**CARD.recipe, "depth": 16})
    images, _ = restore.posed(restore.pieces(read_picture(deep), None, card).arrays["image"][:2], {}, None, card)
    assert np.abs(images * 255 - np.rint(images * 255)).mean() > 0.1


@pytest.mark.parametrize("size_hw", [(1, 1), (4, 100), (15, 15)])
def test_what_is_too_small_to_be_compared_is_left_out(size_hw: tuple[int, int]) -> None:
    small = read_picture(CAT[: size_hw[0], : size_hw[1]].copy())
    with pytest.raises(PictureError, match="too few to be compared"):
        restore.examined(small, None, CARD)


def test_a_report_keeps_the_middle_alone() -> None:
    whole = answer(CAT)
    part = restore.kept(whole)
    assert part.pixels.shape == (75, 150, 3) and part.size_hw == (360, 480) and part.line() == whole.line()
    assert np.array_equal(part.pixels, whole.pixels[142:217, 165:315]) and restore.kept(part) is part
    page = restore.pictured(CAT, (180, 240), part)
    assert page.shape == (304, 300, 3) and np.array_equal(page, restore.pictured(CAT, (180, 240), whole))
    above, below = page[:150].astype(int), page[154:].astype(int)
    assert np.abs(above - below).mean() < 20  # the same place of both
    assert restore.pictured(CAT[:5, :5], (5, 5), answer(CAT[:5, :5])).shape == (304, 300, 3)


def test_pairs_are_read_alike(tmp_path: Path) -> None:
    """With alpha, and with bits that were declared, both sides of a pair are what they are."""
    alpha = np.full((180, 240, 1), 128, np.uint8)
    for name, pixels in (("HR", CAT), ("LR", CAT[::2, ::2])):
        Image.fromarray(np.dstack([pixels, alpha[: len(pixels), : pixels.shape[1]]])).save(tmp_path / f"{name}.png")
    asked = Beside(tmp_path / "LR.png", tmp_path / "HR.png")
    request = read_request(restore, CARD, asked)
    assert np.array_equal(request.beside["sharp"], CAT / np.float32(255))
    deep = dataclasses.replace(CARD, recipe={**CARD.recipe, "bits": 12})
    twelve = Beside(CAT[::2, ::2].astype(np.uint16) * 16, CAT.astype(np.uint16) * 16)
    request = read_request(restore, deep, twelve)
    assert request.arrays["image"].max() > 0.7 and request.beside["sharp"].max() > 0.7


def test_pairs_are_taken_as_they_are() -> None:
    poor = read_picture(CAT[::2, ::2].copy())
    request = restore.examined(poor, read_picture(CAT), CARD)
    assert np.array_equal(request.beside["sharp"], CAT / np.float32(255))
    with pytest.raises(PictureError, match="not 2 times as large"):
        restore.examined(poor, read_picture(CAT[1:]), CARD)
    grey = restore.examined(read_picture(CAT[::2, ::2, 0].copy()), read_picture(CAT[..., 0].copy()), CARD)
    (found,) = restore.predict({"main": Enlarger()}, [grey], CARD)
    wanted = psnr(found.pixels / np.float32(255), CAT[..., :1] / np.float32(255), border=2)  # type: ignore[attr-defined]
    assert found.fidelity["psnr"] == pytest.approx(wanted, abs=1e-3)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "graph", "said"),
    [
        ({"form": {}}, Enlarger(), "names no scale"),
        ({"form": {"scale": 99, "halo": 1}}, Enlarger(), "names no scale"),
        ({"form": {"scale": 2, "halo": True}}, Enlarger(), "names no scale"),
        ({"recipe": {"noise": None}}, Enlarger(), "made poor: noise is None"),
        ({"recipe": {"scale": 999}}, Enlarger(), "made poor: scale is 999"),
        ({"recipe": {"scale": 1}}, Enlarger(), "made poor: scale is 1"),
        ({"recipe": {"rounds": 900}}, Enlarger(), "made poor: rounds is 900"),
        ({"recipe": {"jpeg": True}}, Enlarger(), "made poor: jpeg is True"),
        ({"recipe": {"blur": float("nan")}}, Enlarger(), "made poor: blur is nan"),
        ({}, type("Labels", (Enlarger,), {"outputs": {"logits": Spec("float32", ("B", 3))}})(), "puts out pictures"),
        ({"preparation": dataclasses.replace(READY, mode="grey")}, Enlarger(), "the graph takes"),
    ],
)
def test_a_bundle_that_contradicts_itself_is_refused(changes: dict[str, Any], graph: Any, said: str) -> None:
    restore.check(CARD, {"main": Enlarger()})
    with pytest.raises(BundleError, match=said):
        restore.check(dataclasses.replace(CARD, **changes), {"main": graph})


# All the way


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few sharp pictures of unequal sizes, one of them damaged."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry"):
        pixels = getattr(data, name)()
        for part in range(4):
            top = part * 40
            Image.fromarray(pixels[top : top + 150 + part, 20:200]).save(folder / f"{name}{part}.png")
    Image.fromarray(data.coffee()[:9, :80]).save(folder / "tiny.png")
    (folder / "zz.png").write_bytes((folder / "coffee0.png").read_bytes()[:3000])
    return folder


SETTINGS = {"net.width": 8, "net.blocks": 2, "net.expand": 16, "steps": 60, "batch": 8, "threads": 1, "patch": 48}


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("trained") / "run"
    settings = {**SETTINGS, "net.width": 16, "steps": 250, "lr": 3e-3, "ema": 0.98, "holdout": 0.2}
    del settings["net.expand"]
    return sightline.train("restore", str(photos), net="sr:base", recipe=settings, out=out)


def test_it_learns_what_interpolation_does_not_know(trained: Any, photos: Path, data_root: Path) -> None:
    figures = trained.card.metrics["test"]
    assert figures["gain"]["value"] > 0.3 and figures["psnr"]["value"] > figures["psnr_before"]["value"]
    assert trained.card.preparation.mean == (0.0,) and trained.card.form["halo"] == 7
    assert trained.card.data["left_out"][0][0] == "zz.png"
    report = trained.path.parent / "report.html"
    assert report.exists() and (trained.path.parent / "samples.jpg").exists() and "psnr" in report.read_text()
    found = trained.predict(photos / "coffee1.png")
    assert isinstance(found, Picture) and found.size_hw == (302, 360)
    again = drain(evaluate(trained.opened, photos, split="all", max_bad=0.2))
    assert again.measures["gain"].value > 0.3
    assert dict(again.left_out)["tiny.png"] == "80 x 9 pixels are too few to be compared"
    pairs = trained.evaluate(str(data_root / "sr" / "Set14" / "LR_x2"))
    assert len(pairs.judged) == 14 and pairs.measures["psnr_before"].value == pytest.approx(30.24, abs=0.01)
    assert pairs.measures["gain"].value > 0.2


def test_noise_is_learnt_from_pairs(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for path in sorted(photos.glob("*[0-3].png")):
        pixels = read_picture(path).pixels
        for side in ("HR", "LR"):
            (tmp_path / side).mkdir(exist_ok=True)
            noisy = np.clip(pixels + rng.normal(0, 20, pixels.shape) * (side == "LR"), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / side / path.name)
    settings = {**SETTINGS, "net.width": 16, "scale": 1, "steps": 120, "lr": 3e-3, "ema": 0.98, "holdout": 0.2}
    del settings["net.expand"]
    model = sightline.train("restore", str(tmp_path), net="sr:base", recipe=settings, out=tmp_path / "run")
    figures = model.card.metrics["test"]
    assert figures["psnr_before"]["value"] < 28 and figures["gain"]["value"] > 2


CHILD = """
import os, signal, sys
from pathlib import Path
from sightline.core.events import Step
from sightline.verbs.settings import Settings
from sightline.verbs.train import train
data, out, death = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
values = {"net.width": 8, "net.blocks": 2, "net.expand": 16, "steps": 40, "batch": 8, "threads": 1, "patch": 48,
          "noise": 20.0, "jpeg": 50, "blur": 1.0, "rounds": 2}
resume = out if (out / "recipe.yaml").exists() else None
for event in train(Settings("restore", data, None, "sr:light", values), out=None if resume else out, resume=resume):
    if isinstance(event, Step) and event.step == death:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_training_ends_with_the_same_weights(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")

    def run(out: Path, death: int) -> int:
        command = [sys.executable, "-c", CHILD, str(photos), str(out), str(death)]
        return subprocess.run(command, check=False, capture_output=True, env=dict(os.environ)).returncode

    assert run(tmp_path / "whole", -1) == 0
    assert [run(tmp_path / "killed", death) for death in (11, 30, -1)] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    one, other = (tmp_path / name / "model" / "weights.safetensors" for name in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()


def test_a_request_says_what_it_needs_beside() -> None:
    request = restore.encode(Read(CAT, 255.0, "", "array", (180, 240)), CARD)
    assert isinstance(request, Request) and request.beside["dtype"] == "uint8"
    assert restore.trial(read_picture(CAT[:9]), CARD).arrays["image"].shape == (16, 16, 3)
