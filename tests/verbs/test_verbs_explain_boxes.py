"""explain, of one box of an answer: which one, by what, drawn and told; on detectors whose evidence is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

import planted_boxes
import sightline
from sightline.cli.main import main
from sightline.core.bundle import write_bundle
from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.shelf import Shelf
from sightline.data.pictures import read_picture
from sightline.data.samples import Object, Objects, Sample, Samples
from sightline.graphs import onnx as form
from sightline.verbs import finish
from sightline.verbs.evaluate import Judged
from sightline.verbs.explain import Explanation, view
from sightline.verbs.gate import entry
from sightline.verbs.opened import open_model


def bundled(folder: Path, card: Card, blob: bytes, files: dict[str, bytes] | None = None) -> Path:
    """A model on disk from its card and graph."""
    described = entry(form, "onnx", blob, form.open(blob, threads=1), {})
    card = dataclasses.replace(card, graphs={"main": {"onnx": described}})
    return write_bundle(folder / "model", card, files={described["file"]: blob, **(files or {})})


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detector of two boxes, as bought elsewhere: without a network."""
    return bundled(tmp_path_factory.mktemp("planted"), planted_boxes.card(), planted_boxes.graph())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture twice as large as the input, with both patches bright; reducing it blurs their edges a little."""
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    pixels = planted_boxes.picture()[..., 0].repeat(2, axis=0).repeat(2, axis=1)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the shelf that has learnt nothing, and reports whatever it finds."""
    torch = pytest.importorskip("torch")
    from safetensors.numpy import save

    from sightline.nets import dense as net
    from sightline.verbs.learner import pick

    torch.manual_seed(1)
    method = pick("dense", Shelf("tasks").load("detect"), "detect", {"width": 4, "neck": 8}, first)
    card = planted_boxes.card(net=method.to_card(), operating={"thresholds": dict.fromkeys(planted_boxes.CLASSES, 0.0)})
    ready = dataclasses.replace(card.preparation, size_hw=(64, 64))
    card = dataclasses.replace(card, form=net.form(method.options, card), preparation=ready)
    module = net.build(method.options, task="detect", card=card)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    module.eval()
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in module.state_dict().items()}
    folder = tmp_path_factory.mktemp("dense")
    return bundled(folder, card, form.write(module, card), {"weights.safetensors": save(arrays)})


def first(module: Any) -> str:
    return next(iter(module.VARIANTS))


@pytest.mark.parametrize(
    ("target", "name", "patch", "xyxy"),
    [
        ("", "inner, box 1 (89 %)", 0, (8, 12, 52, 60)),
        ("2", "outer, box 2 (74 %)", 1, (76, 44, 120, 88)),
        ("outer", "outer, box 2 (74 %)", 1, (76, 44, 120, 88)),
    ],
)
def test_a_box_is_explained_by_what_makes_its_score(
    planted: Path, photo: Path, target: str, name: str, patch: int, xyxy: tuple[int, ...]
) -> None:
    found = sightline.load(planted).explain(photo, target=target)
    assert (found.evidence.target, found.evidence.probe, len(found.maps)) == (name, "rise", 1)
    assert found.aim is not None
    assert found.aim.xyxy == pytest.approx(xyxy)
    assert found.evidence.heat.shape == (96, 128)
    top, bottom, left, right = (2 * at for at in planted_boxes.PATCHES[patch])
    y, x = np.unravel_index(found.evidence.heat.argmax(), found.evidence.heat.shape)
    assert top - 2 <= y < bottom + 2
    assert left - 2 <= x < right + 2
    assert "can be trusted here" in found.evidence.verdict
    assert repr(found).startswith("1 inner, 1 outer; evidence for " + name)


def test_the_explained_box_is_drawn_on_picture_and_map(planted: Path, photo: Path) -> None:
    found = sightline.load(planted).explain(photo, target="2")
    drawn = np.asarray(found.image(), np.int16)
    plain = np.asarray(dataclasses.replace(found, aim=None).image(), np.int16)
    changed = np.abs(drawn - plain).max(axis=2) > 0
    columns = np.flatnonzero(changed.any(axis=0))
    gaps = np.flatnonzero(np.diff(columns) > 100)
    assert len(gaps) == 1  # two frames, one a panel
    assert columns[gaps[0]] - columns[0] == pytest.approx(44 * 2, abs=2)  # shown at twice its size


@pytest.mark.parametrize(
    ("bright", "target", "said"),
    [
        ((240, 200), "3", "there is no box '3'; the boxes are 1 inner 94 %, 2 outer 78 %"),
        ((240, 200), "cat", "the classes inner, outer"),
        ((100, 60), "", "no box in this picture is sure enough to be reported"),
        ((0, 0), "", "nothing was found in this picture"),
        ((0, 0), "inner", "nothing was found in this picture"),
        ((240, 0), "outer", "no box of class 'outer' was found"),
    ],
)
def test_what_cannot_be_explained_is_told(planted: Path, bright: tuple[int, int], target: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sightline.load(planted).explain(planted_boxes.picture(bright=bright), target=target)


def test_a_doubtful_box_is_explained_when_its_class_is_named(planted: Path) -> None:
    found = sightline.load(planted).explain(planted_boxes.picture(bright=(100, 60)), target="inner")
    assert found.evidence.target == "inner (39 %, not reported)"


def test_every_probe_that_needs_no_network(planted: Path, photo: Path) -> None:
    model = sightline.load(planted)
    assert [each.probe for each in model.explain(photo, probe="all").maps] == ["rise", "occlusion"]
    with pytest.raises(UsageError, match="learnt by 'planted', which is none; use rise or occlusion"):
        model.explain(photo, probe="gradcam")
    with pytest.raises(UsageError, match="feature map, which this model's graph does not put out; use rise"):
        model.explain(photo, probe="evidence")


def test_every_probe_of_a_network(dense: Path, photo: Path) -> None:
    found = sightline.load(dense).explain(photo, probe="all")
    assert [each.probe for each in found.maps] == ["rise", "gradcam", "integrated-gradients", "occlusion"]
    assert len({each.target for each in found.maps}) == 1
    assert not any("gradients are" in each.verdict for each in found.maps)
    assert all("box_insertion" in each.faithfulness for each in found.maps[:3])
    assert found.image().width > 280 * 5


def test_the_networks_logit_is_the_one_behind_the_graphs_score(dense: Path, photo: Path) -> None:
    opened = open_model(dense)
    explained: Explanation = sightline.load(dense).explain(photo, probe="rise", target="2")
    aim = explained.aim
    assert aim is not None
    seen = view(opened, aim)
    net = seen.network()  # type: ignore[misc]
    image = aim.request.arrays["image"][None]
    logit = net.logits(net.module(net.prepared(image))).detach().numpy()  # type: ignore[misc]
    assert logit.shape == (1, 1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), seen.scores(seen.run({"image": image})), rtol=1e-3)


def test_the_command_line_tells_the_box(
    planted: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "why.png"
    words = ["explain", planted, photo, "--target", "2", "--probe", "rise", "--out", out, "--json"]
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    told, err = capsys.readouterr()
    assert left.value.code == 0, err
    read = json.loads(told)
    assert read["target_xyxy"] == pytest.approx([76, 44, 120, 88])
    assert read["evidence"]["target"] == "outer, box 2 (74 %)"
    assert read["evidence"] == read["maps"][0]
    assert {"box_deletion", "box_insertion"} <= set(read["evidence"]["faithfulness"])
    with Image.open(out) as drawn:
        assert drawn.width > 480


def test_a_report_explains_what_it_can_and_passes_over_the_rest(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a picture in which nothing is found there is no map, and no complaint."""
    monkeypatch.setattr(finish, "EXPLAINING_SECONDS", 1e6)
    opened = open_model(planted)
    truth = Objects((Object("inner", planted_boxes.BOXES[0]), Object("outer", planted_boxes.BOXES[1])))
    targets = [Objects(()), truth, truth]
    for number, bright in enumerate(((0, 0), (240, 200), (240, 0))):
        Image.fromarray(planted_boxes.picture(bright=bright)[..., 0]).save(tmp_path / f"{number}.png")
    rows = tuple(Sample(f"{number}.png", target, "test") for number, target in enumerate(targets))
    samples = Samples(tmp_path, rows, "made", planted_boxes.CLASSES)
    judged = []
    for row in rows:
        result = opened.answer([opened.encode(read_picture(samples.open(row)))])[0]
        judged.append(Judged(row, result, opened.task.badness(result, row.target)))
    evaluation = SimpleNamespace(judged=judged, samples=samples, worst=lambda most: [judged[2]])
    shown = finish._evidence(opened, evaluation)  # type: ignore[arg-type]
    assert list(shown) == ["evidence_1.jpg", "evidence_2.jpg"]
    assert [each.title for each in shown.values()] == [
        "2.png: inner, box 1 (94 %), in an answer with mistakes",
        "1.png: inner, box 1 (94 %), in an answer without mistakes",
    ]
    monkeypatch.setattr(finish, "EXPLAINING_SECONDS", 0.0)
    assert finish._evidence(opened, evaluation) == {}  # type: ignore[arg-type]
