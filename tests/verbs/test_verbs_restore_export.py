"""restorers in other forms: as good by a gate in dB, at any size, and refused where they are spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

pytest.importorskip("onnx")
pytest.importorskip("torch")

import sightline
from sightline.cli.main import sightline as cli
from sightline.core.card import Card, Preparation
from sightline.core.errors import GateError, UsageError
from sightline.core.events import drain
from sightline.core.protocols import Candidate
from sightline.core.results import Picture
from sightline.core.shelf import Shelf
from sightline.data.pictures import read_picture
from sightline.graphs import onnx as fp32
from sightline.graphs import onnx_int8, openvino, openvino_int8
from sightline.tasks import restore
from sightline.verbs import trial
from sightline.verbs.bench import frame_of
from sightline.verbs.evaluate import evaluate
from sightline.verbs.export import export
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.predict import predict

RECIPE = {"net.blocks": 2, "net.width": 8, "net.expand": 16, "steps": 40, "batch": 8, "threads": 1, "patch": 48}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sharp pictures of unequal sizes, half of which will be held back."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        pixels = getattr(data, name)()
        for part in range(6):
            top = part * 20
            Image.fromarray(pixels[top : top + 150 + part, 20:170]).save(folder / f"{name}{part}.png")
    return folder


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    sightline.train("restore", str(photos), net="sr:light", recipe={**RECIPE, "validation": 0.5}, out=out)
    return out


@pytest.fixture
def model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """A copy that may be written into, on a machine where every other graph is twice as fast."""
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.setattr(trial, "side_by_side", lambda sessions, arrays: np.array([[2.0, 1.0]]))
    return open_model(tmp_path / "run" / "model", variant="onnx")


def noisy(blob: bytes, share: float) -> bytes:
    """The same graph, its last convolution's weights off by so much noise."""
    import onnx
    from onnx import numpy_helper

    found = onnx.load_model_from_string(blob)
    (last,) = (each for each in found.graph.initializer if each.name == "last.weight")
    values = numpy_helper.to_array(last)
    noise = np.random.default_rng(0).normal(0, share, values.shape).astype(np.float32)
    last.CopyFrom(numpy_helper.from_array(values + noise, last.name))
    return bytes(found.SerializeToString())


@pytest.mark.parametrize(("share", "said"), [(0.0, ""), (0.05, "costs more than --max-drop 0.1 dB allows")])
def test_a_spoilt_graph_is_refused(model: Opened, share: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model.bundle.digest

    def candidates(blob: bytes, calibration: Any) -> Any:
        yield Candidate(blob=noisy(blob, share) if share else blob)

    monkeypatch.setattr(onnx_int8, "candidates", candidates)
    monkeypatch.setattr(onnx_int8, "gentler", lambda *given: iter(()))
    if said:
        with pytest.raises(GateError, match=said):
            drain(export(model))
        assert open_model(model.bundle.path).bundle.digest == before
        drain(export(model, max_drop=100))  # what is given for it is what the flag says
    else:
        drain(export(model))
    gate = open_model(model.bundle.path, variant="onnx-int8").card.graphs["main"]["onnx-int8"]["gate"]
    assert "dB" in gate["detail"] and gate["pictures"] == 12 and (gate["high"] > 0.1) == bool(said)


def test_a_spoilt_graph_in_float32_is_refused(model: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    drain(export(model, to="openvino"))
    assert "openvino" in open_model(model.bundle.path).card.graphs["main"]
    monkeypatch.setattr(openvino, "candidates", lambda blob, some: iter([Candidate(blob=noisy(blob, 0.01))]))
    with pytest.raises(GateError, match="does not do what the fp32 graph does"):
        drain(export(model, to="openvino"))


def test_what_calibrates_and_judges_is_poor(model: Opened) -> None:
    """As it is learnt from, and as it is measured; not the sharp pictures that lie in the folder."""
    samples = drain(trial.training_samples(model, None))
    bench = drain(trial.prepared(model, samples))
    assert {each["image"].shape for each in bench.calibration} == {(1, 24, 24, 3)}
    assert bench.one["image"].shape == (1, 180, 320, 3)
    sharp = restore.encode(read_picture(samples.open(samples.split("train").rows[0])), model.card).arrays["image"]
    poor = bench.calibration[0]["image"][0]
    windows = np.lib.stride_tricks.sliding_window_view(sharp, (24, 24, 3))[:, :, 0]
    assert np.abs(windows - poor).mean(axis=(2, 3, 4)).min() > 1e-3
    measured = drain(evaluate(model, samples.root, split="all")).judged
    psnr = {each.sample.path: each.result.fidelity["psnr"] for each in measured}
    assert {row.path: result.fidelity["psnr"] for row, result in bench.results} == {
        row.path: psnr[row.path] for row in samples.split("validation").rows
    }


def answers(psnr: list[float]) -> list[Picture]:
    blank = np.zeros((1, 1, 3), np.uint8)
    return [Picture(pixels=blank, high=255.0, fidelity={"psnr": value}) for value in psnr]


@pytest.mark.parametrize(
    ("before", "after", "lost", "at_most", "decidable"),
    [
        ([30.0] * 12, [29.9] * 12, 0.1, (0.099, 0.101), True),
        ([30.0] * 9, [29.9] * 9, 0.1, (0.099, 0.101), False),
        ([30.0] * 10, [30.0] * 9 + [20.0], 1.0, (2.0, 4.0), True),  # one picture that is lost is not averaged away
        ([100.0, 60.0] * 6, [52.0, 51.0] * 6, 0.0, (0.0, 0.0), True),  # nobody sees what is left
        ([30.0] * 12, [30.2] * 12, -0.2, (-0.201, -0.199), True),
    ],
)
def test_what_is_lost_is_told_with_its_interval(
    before: list[float], after: list[float], lost: float, at_most: tuple[float, float], decidable: bool
) -> None:
    card = Card(task="restore", net={})
    found = restore.change(answers(before), answers(after), [None] * len(before), card)
    assert found.figures["lost"] == pytest.approx(lost) and found.unit == "dB"
    assert at_most[0] <= found.points <= at_most[1] and found.decidable is decidable


SIZES = [(1, 1), (5, 3), (33, 64), (97, 131), (530, 520)]


def restored(opened: Opened, size_hw: tuple[int, int]) -> Any:
    pixels = np.tile(data.chelsea(), (2, 2, 1))[: size_hw[0], : size_hw[1]]
    (answer,) = predict(opened, [pixels])
    assert isinstance(answer.result, Picture), answer.error
    return answer.result.pixels.astype(int)


@pytest.mark.parametrize("to", ["openvino", "onnx-int8", "openvino-int8"])
def test_every_form_takes_any_size(model: Opened, to: str) -> None:
    if to.startswith("openvino"):
        pytest.importorskip("openvino")
    if to == "openvino-int8":
        pytest.importorskip("nncf")
    drain(export(model, to=to, max_drop=100))
    other = open_model(model.bundle.path, variant=to)
    for size_hw in SIZES:  # the last one in windows
        plain, found = restored(model, size_hw), restored(other, size_hw)
        assert found.shape == (2 * size_hw[0], 2 * size_hw[1], 3)
        gap = np.abs(found - plain)
        assert gap.mean() < 4 and (to != "openvino" or gap.max() <= 1)


def test_forms_of_a_filler_take_any_size() -> None:
    import torch

    from sightline.nets import inpaint

    torch.manual_seed(0)
    ready = Preparation(
        mode="rgb-mask", size_hw=(64, 64), fit="whole", multiple=32, dtype="float32", high=1.0, mean=(0.0,), std=(1.0,)
    )
    card = Card(task="restore", net={}, preparation=ready, recipe={"scale": 1, "holes": "both"})
    blob = fp32.write(inpaint.build(inpaint.Options(width=4, blocks=1), task="restore", card=card), card)
    images = [shown(size_hw) for size_hw in ((64, 64), (32, 96), (96, 160))]
    plain = fp32.open(blob, threads=1)
    blobs = {"onnx-int8": onnx_int8.write(blob, [{"image": image} for image in images[:2]])}
    blobs |= {"openvino": blob} if Shelf("graphs").has("openvino") and _installed() else {}
    for to, each in blobs.items():
        session = Shelf("graphs").load(to).open(each, threads=1)
        assert session.inputs == plain.inputs
        for image in images:
            wanted, found = (one.run({"image": image})["picture"] for one in (plain, session))
            assert found.shape == (1, 3, *image.shape[1:3])
            gap = np.abs(found - wanted)
            assert gap.mean() < 0.02 and (to != "openvino" or gap.max() < 1e-4)
    assert frame_of(ready) == (192, 320)


def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("openvino") is not None


def shown(size_hw: tuple[int, int]) -> np.ndarray:
    """A picture with a hole in its middle, (1, H, W, 4)."""
    pixels = np.tile(data.chelsea(), (2, 2, 1))[: size_hw[0], : size_hw[1]].astype(np.float32) / 255
    hole = np.zeros((*size_hw, 1), np.float32)
    hole[8:24, 8:24] = 1
    return np.concatenate([pixels * (1 - hole), hole], axis=2)[None]


def test_ranges_that_cut_nothing_off_are_tried_and_kept_where_they_are_nearer(
    model: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = model.bundle.graph("main", "onnx")
    asked = []

    def written(blob: bytes, calibration: Any, *, preset: str, exclude: Any, wide: bool = False) -> Candidate:
        asked.append((preset, wide, len(exclude)))
        return Candidate(blob=noisy(blob, 0.01 if wide == nearer else 0.05), options={"preset": preset})

    monkeypatch.setattr(openvino_int8, "_written", written)
    calibration = [{"image": np.random.default_rng(0).random((1, 24, 24, 3)).astype(np.float32)}] * 2
    for nearer in (True, False):
        asked.clear()
        list(openvino_int8.gentler(blob, calibration, Candidate(blob=blob, options={"preset": "performance"})))
        assert asked[:2] == [("mixed", False, 0), ("mixed", True, 0)]
        assert [wide for _, wide, count in asked if count] == [nearer] * 3


def call(*words: Any) -> Any:
    return CliRunner().invoke(cli, [*map(str, words)])


def test_on_the_command_line(model: Opened, photos: Path, tmp_path: Path) -> None:
    path = model.bundle.path
    few = call("export", path, "--max-drop", "nan")
    assert isinstance(few.exception, UsageError) and "from 0 to 100 dB" in str(few.exception)
    done = call("export", path, "--to", "onnx-int8", "--max-drop", 50)
    assert done.exit_code == 0 and "PSNR" in done.output and "onnx-int8 added" in done.output, done.output
    info = call("info", path)
    assert info.exit_code == 0 and "onnx-int8" in info.output
    for words in (["predict", path, photos / "coffee0.png"], ["evaluate", path, photos]):
        assert call(*words, "--graph", "onnx-int8").exit_code == 0
    done = call("restore", path, photos / "coffee0.png", tmp_path / "large.png", "--graph", "onnx-int8")
    assert done.exit_code == 0, done.output
    assert read_picture(tmp_path / "large.png").size_hw == (300, 300)


def test_the_best_is_told_in_db(model: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.verbs import best as choosing

    paces = np.array([[4.0, 2.0, 1.0, 3.0, 3.0]])

    def times(sessions: Any, arrays: Any) -> Any:
        return paces[:, : len(sessions)]

    monkeypatch.setattr(trial, "side_by_side", times)
    monkeypatch.setattr(choosing, "side_by_side", times)
    plain = Shelf.names
    monkeypatch.setattr(Shelf, "names", lambda self: ["onnx", "onnx-int8"] if self.room == "graphs" else plain(self))
    done = call("export", model.bundle.path, "--best", "--max-drop", 60, "--accept")
    assert done.exit_code == 0, done.output
    assert " dB, " in done.output and "points" not in done.output.splitlines()[0]
