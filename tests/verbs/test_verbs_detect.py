"""Detection through every verb, as typed: squares and discs on noise, annotated as COCO does it."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("onnx")
pytest.importorskip("torch")

import sightline
from blocking import NO_TORCH
from sightline.core.bundle import open_bundle
from sightline.core.protocols import Held
from sightline.data.layouts import coco
from sightline.data.samples import Object, Objects, Sample, Samples
from sightline.tasks import detect
from sightline.verbs import gather
from sightline.verbs.show import show_input
from typed import ran

SMALL = {"net.width": 8, "net.neck": 24, "net.head": 1, "threads": 1, "seed": 1, "batch": 8, "size": 96}


def shapes(folder: Path, counts: dict[str, int], *, size: tuple[int, int] = (72, 96), many: int = 3) -> Path:
    """A COCO data set of pictures with up to `many` squares and discs each."""
    rng, rows, pictures = np.random.default_rng(0), [], folder.with_name(folder.name + "-pictures")
    pictures.mkdir()
    for split, count in counts.items():
        for _ in range(count):
            canvas = Image.fromarray(rng.integers(40, 90, (*size, 3), np.uint8))
            draw, items, taken = ImageDraw.Draw(canvas), [], []
            for _ in range(rng.integers(0, many + 1)):
                side = int(rng.integers(14, 28))
                x, y = int(rng.integers(0, size[1] - side)), int(rng.integers(0, size[0] - side))
                if any(abs(x - a) < 28 and abs(y - b) < 28 for a, b in taken):
                    continue
                taken.append((x, y))
                square = rng.random() < 0.5
                corners = (x, y, x + side - 1, y + side - 1)
                if square:
                    draw.rectangle(corners, fill=(220, 160, 60))
                else:
                    draw.ellipse(corners, fill=(80, 180, 240))
                items.append(Object("square" if square else "disc", (x, y, x + side, y + side)))
            name = f"{len(rows):03d}.png"
            canvas.save(pictures / name)
            rows.append(Sample(name, Objects(tuple(items)), split))
    coco.write(Samples(pictures, tuple(rows), "made", ("disc", "square")), folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("shapes") / "set", {"train": 64, "validation": 24, "test": 24})


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "detect"
    sightline.train("detect", data, recipe=SMALL | {"epochs": 30}, out=out)
    return out


def test_it_learns_and_says_how_well(run: Path) -> None:
    measured = json.loads((run / "metrics.json").read_text())
    assert measured["split"] == "test" and measured["pictures"] == 24
    ap50 = measured["measures"]["AP50"]
    assert ap50["value"] > 0.75
    assert ap50["value"] == 1 or ap50["low"] < ap50["value"] < ap50["high"] <= 1  # of no mistake there is no interval
    card = open_bundle(run / "model").card
    assert set(card.operating["thresholds"]) == {"disc", "square"} and card.form["name"] == "distances"
    assert (run / "samples.jpg").exists() and "AP50" in (run / "report.html").read_text()
    for name in ("precision_recall.png", "f1.png", "errors.png", "confusion_matrix.png", "curves.png"):
        assert (run / name).exists(), name
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 24 and all(len(json.loads(row["boxes"] or "[]")) == int(row["count"]) for row in rows)


def test_predict_without_torch_finds_what_is_there(run: Path, data: Path) -> None:
    code = NO_TORCH + (
        "import json, sys; from pathlib import Path; import sightline;"
        "model = sightline.load(sys.argv[1]);"
        "print(json.dumps([model.predict(p).to_dict() for p in sorted(Path(sys.argv[2]).rglob('*.png'))]))"
    )
    place = next(path.parent for path in data.rglob("*.png") if "test" in path.as_posix())
    command = [sys.executable, "-c", code, str(run / "model"), str(place)]
    found = json.loads(subprocess.check_output(command, text=True))
    truth = [row.target for row in sorted(coco.read(data).split("test").rows, key=lambda row: row.path)]
    right = sum(answer["count"] == len(target.items) for answer, target in zip(found, truth))  # type: ignore[attr-defined]
    assert right >= 14
    for box in found[0]["boxes"]:
        assert 0 <= box["xyxy"][0] < box["xyxy"][2] <= 96 and box["label"] in ("disc", "square")


def test_commands_say_what_was_found(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = next(path for path in sorted(data.rglob("*.png")))
    code, out, _ = ran(capsys, "predict", run / "model", picture)
    assert code == 0 and any(word in out for word in ("disc", "square", "nothing"))
    code, out, _ = ran(capsys, "evaluate", run / "model", data, "--json")
    assert code == 0 and json.loads(out)["measures"]["AP50"]["value"] > 0.75
    code, _, err = ran(capsys, "predict", run / "model", data, "--out", tmp_path / "found.jsonl")
    assert code in (0, 8), err
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert {"path", "count", "counts", "boxes", "abstained", "error"} <= set(rows[0])


@pytest.mark.parametrize("to", ["openvino", "onnx-int8"])
def test_another_graph_is_kept_or_refused_with_its_reason(
    run: Path, data: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    code, out, err = ran(capsys, "export", run / "model", "--to", to)
    said = out + err
    assert code in (0, 5), said
    assert ("boxes: smallest overlap" if to == "openvino" else "AP ") in said and "validation pictures" in said


def test_a_training_that_is_killed_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    child = (
        "import os, signal, sys; from pathlib import Path; from sightline.core.events import Step\n"
        "from sightline.verbs.settings import Settings; from sightline.verbs.train import train\n"
        f"values = {SMALL | {'epochs': 2, 'mosaic': 0.7, 'blend': 0.3, 'paste': 0.3, 'vary': 0.3}!r}\n"
        "out, deaths = Path(sys.argv[2]), int(sys.argv[3])\n"
        "resume = out if (out / 'recipe.yaml').exists() else None\n"
        "settings = Settings('detect', sys.argv[1], None, '', values)\n"
        "for event in train(settings, out=None if resume else out, resume=resume):\n"
        "    deaths -= isinstance(event, Step)\n"
        "    if deaths == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    digests = []
    for name, deaths in (("whole", [-1]), ("killed", [3, 10, -1])):
        for moment in deaths:
            command = [sys.executable, "-c", child, str(data), str(tmp_path / name), str(moment)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == (0 if moment < 0 else -signal.SIGKILL), done.stderr
        digests.append(hashlib.sha256((tmp_path / name / "model" / "weights.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_bad_pictures_and_bad_boxes_are_listed_and_not_fatal(data: Path, tmp_path: Path) -> None:
    broken = shapes(tmp_path / "broken", {"train": 30})
    (notes,) = broken.glob("annotations/*.json")
    body: dict[str, Any] = json.loads(notes.read_text())
    body["annotations"][0]["bbox"][2] = 0
    body["annotations"][1]["category_id"] = 99
    body["annotations"][2]["bbox"] = [-5, -5, 30, 30]
    body["images"].append({**body["images"][0], "id": 9999, "file_name": "gone.png"})
    notes.write_text(json.dumps(body))
    victim = next(path for path in broken.rglob("*.png") if path.name == "005.png")
    victim.write_bytes(victim.read_bytes()[:60])
    sightline.train("detect", broken, recipe=SMALL | {"epochs": 1, "max_bad": 0.2}, out=tmp_path / "run")
    listed = open_bundle(tmp_path / "run" / "model").card.data["left_out"]
    assert len(listed) >= 3 and any("gone.png" in path for path, _ in listed)


def test_tiles_are_learnt_and_the_bundle_cuts_pictures_itself(tmp_path: Path) -> None:
    large = shapes(tmp_path / "large", {"train": 20, "validation": 6, "test": 6}, size=(150, 200), many=8)
    recipe = SMALL | {"epochs": 12, "tile": 96, "overlap": 0.3}
    sightline.train("detect", large, recipe=recipe, out=tmp_path / "run")
    card = open_bundle(tmp_path / "run" / "model").card
    assert (card.preparation.tile, card.preparation.overlap, card.preparation.size_hw) == (96, 0.3, (96, 96))
    measured = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert measured["pictures"] == 6 and measured["measures"]["AP50"]["value"] > 0.4
    model = sightline.load(tmp_path / "run" / "model")
    shown = show_input(model.opened, next(iter(sorted(large.rglob("*.png")))))
    assert shown.figures["net sees"].startswith("96 x 96") and "+ (-" in shown.figures["geometry"]
    rows = coco.read(large).split("validation").rows
    answers = [model.predict(large / row.path) for row in rows]
    held = Held(results=answers, targets=[row.target for row in rows], groups=np.arange(len(rows)))
    chosen, _ = detect.claim(held, card, detect.Recipe())
    assert chosen.operating == card.operating  # fitted on what is answered about whole pictures
    found = model.predict(next(iter(sorted(large.rglob("*.png")))))
    assert found.xyxy[:, 2].max(initial=0) > 96 or found.xyxy[:, 3].max(initial=0) > 96


def test_tiles_that_are_read_as_they_are_learnt_teach_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = shapes(tmp_path / "large", {"train": 6, "validation": 3}, size=(150, 200))
    recipe = SMALL | {"epochs": 2, "tile": 96, "overlap": 0.3}
    sightline.train("detect", large, recipe=recipe, out=tmp_path / "held")
    monkeypatch.setattr(gather, "_kept_in_memory", lambda card, count, processes, *, must: False)
    sightline.train("detect", large, recipe=recipe, out=tmp_path / "read")
    held, read = ((tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("held", "read"))
    assert held == read


def test_a_detector_goes_on_from_another(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = shapes(tmp_path / "more", {"train": 12, "validation": 12, "test": 12})
    words = ["train", "detect", more, "--start", run / "model", "--steps", 2, "--threads", 1, "--out", tmp_path / "on"]
    code, out, err = ran(capsys, *words)
    assert code == 0, err
    assert "size = 96: as detect saw them" in out + err
    measured = json.loads((tmp_path / "on" / "metrics.json").read_text())
    assert measured["measures"]["AP50"]["value"] > 0.6
    before, after = (open_bundle(path / "model").card for path in (run, tmp_path / "on"))
    assert after.preparation == before.preparation and after.net == before.net


def test_labels_are_no_boxes(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ran(capsys, "train", "detect", digits, "--out", tmp_path / "run")
    assert code == 3 and "sightline train classify" in err
