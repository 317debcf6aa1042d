"""Adapting to a line that drifts: what is said of it, what is refused, what is written, and that its promise holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

import sightline
from made_parts import texture, textures
from sightline.cli import main as front
from sightline.core.bundle import open_bundle, update_bundle
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Note, drain
from sightline.metrics.conformal import conformal_threshold
from sightline.model import Model
from sightline.verbs.adapt import adapt

NET = {"false_alarms": 0.1, "size": 64, "net.dims": 16, "net.folds": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Learnt from 48 good parts."""
    root = tmp_path_factory.mktemp("adapt")
    return sightline.train(
        "anomaly", textures(root / "good", 48, seed=1), net="patchcore:filters", recipe=NET, out=root / "run"
    )


def noisy(folder: Path, count: int, *, noise: float, seed: int = 9) -> Path:
    """Good parts before a worse camera."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = texture(rng) + rng.normal(0, noise, (64, 64))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def said(model: Model, data: Path, out: Path, **given: Any) -> tuple[Model, str]:
    """The adapted model, and all it told on the way."""
    told: list[Event] = []
    found = model.adapt(data, out, listen=told.append, **given)
    return found, "\n".join(event.text for event in told if isinstance(event, Note))


def test_the_same_line_has_not_drifted(model: Model, tmp_path: Path) -> None:
    found, text = said(model, textures(tmp_path / "today", 40, seed=7), tmp_path / "new")
    assert "of 40 good parts, " in text and "no drift towards more alarms is seen" in text
    assert "has drifted" not in text
    (entry,) = found.card.operating["adapted"]
    assert entry["drift"]["alarms_p"] > 0.025 and (entry["parts"], entry["pictures"]) == (40, 40)


def test_a_line_that_drifted(model: Model, tmp_path: Path) -> None:
    """The old threshold alarms too often on it, and the new one as often as it promises, on parts it has not seen."""
    today = noisy(tmp_path / "today", 40, noise=9)
    found, text = said(model, today, tmp_path / "models" / "new", force=True)
    before, now = model.card, found.card
    (entry,) = now.operating["adapted"]
    assert "the line has drifted" in text and entry["drift"]["p"] < 0.01 and entry["drift"]["distance"] > 0.5
    scores = np.array([answer.result.score for answer in model.predict_many(today)])  # type: ignore[union-attr]
    wanted = conformal_threshold(scores, 0.1)
    assert now.operating["threshold"] == pytest.approx(wanted.value) == entry["threshold"]
    assert now.operating["good_scores"] == pytest.approx(sorted(scores)) and now.operating["good_parts"] == []
    assert now.operating["false_alarms"] == {
        "asked": 0.1, "expected": wanted.rate, "low": wanted.low, "high": wanted.high}  # fmt: skip
    assert entry["threshold_before"] == before.operating["threshold"] < entry["threshold"]
    assert entry["alarms_before"]["value"] == np.mean(scores > before.operating["threshold"]) > 0.5
    later = [answer.result.alarm for answer in found.predict_many(noisy(tmp_path / "later", 60, noise=9, seed=3))]  # type: ignore[union-attr]
    assert np.mean(later) <= 0.3
    # What is kept, and what is said of it.
    assert now.metrics == before.metrics and now.graphs == before.graphs and now.recipe == before.recipe
    note = f"measured at the threshold {entry['threshold_before']:.6g}, before it was adapted to other good parts"
    assert note in now.notes and now.operating["why"] in now.notes and before.operating["why"] not in now.notes
    (line,) = (tmp_path / "models" / "adapted.jsonl").read_text().splitlines()
    bundle = open_bundle(tmp_path / "models" / "new")
    assert json.loads(line) == {"bundle": "new", "digest": bundle.digest, **entry}
    old = open_bundle(model.path)
    same = {name for name in bundle.files if bundle.files[name] == old.files[name]}
    assert same == set(old.files) - {"card.json"}


def test_again_in_place_and_to_another_rate(model: Model, tmp_path: Path) -> None:
    today = textures(tmp_path / "today", 40, seed=7)
    first, _ = said(model, today, tmp_path / "new")
    with pytest.raises(UsageError, match="exists already"):
        said(first, today, tmp_path / "new")
    second, text = said(first, today, tmp_path / "new", overwrite=True, false_alarms=0.05)
    log = second.card.operating["adapted"]
    assert log[0] == first.card.operating["adapted"][0] and len(log) == 2
    assert log[1]["false_alarms"] == second.card.operating["false_alarms"]["asked"] == 0.05
    assert log[1]["threshold_before"] == log[0]["threshold"] < log[1]["threshold"]
    assert log[1]["drift"] == {"distance": 0, "p": 1, "alarms_p": log[1]["drift"]["alarms_p"]} and "no drift" in text
    assert len((tmp_path / "adapted.jsonl").read_text().splitlines()) == 2
    assert sum(note.startswith("measured at the threshold") for note in second.card.notes) == 1


def test_copies_and_named_parts_count_once(model: Model, tmp_path: Path) -> None:
    today = textures(tmp_path / "today", 12, seed=7)
    for path in sorted(today.iterdir()):
        shutil.copy(path, today / f"copy-{path.name}")
    found, text = said(model, today, tmp_path / "new")
    assert "of 12 good parts in 24 pictures" in text
    told = found.card.operating
    assert sorted(np.bincount(told["good_parts"])) == [2] * 12 and len(told["good_scores"]) == 24
    with pytest.raises(DataError, match=r"takes at least 9 good parts .* 2 good parts held out"):
        said(model, today, tmp_path / "other", part_by=r"0(\d)\d")


def test_a_defect_among_the_good_is_named_and_refused(model: Model, tmp_path: Path) -> None:
    today = textures(tmp_path / "today", 30, seed=7)
    rng = np.random.default_rng(2)
    Image.fromarray(texture(rng, blot=(30, 30, 12))).save(today / "blot.png")
    told: list[Event] = []
    with pytest.raises(DataError, match=r"1 of 31 pictures score more than 2 times the threshold .* blot.png highest"):
        drain(adapt(model.opened, today, out=tmp_path / "new"), told.append)
    assert any("look at this, it may not be good: blot.png" in event.text for event in told if isinstance(event, Note))
    assert not (tmp_path / "new").exists() and not (tmp_path / "adapted.jsonl").exists()
    forced, _ = said(model, today, tmp_path / "new", force=True)
    assert forced.card.operating["adapted"][0]["parts"] == 31


def test_pictures_it_has_learnt_from_are_suspected(model: Model, tmp_path: Path) -> None:
    _, text = said(model, model.path.parents[1] / "good", tmp_path / "new")
    assert "has the model learnt from some?" in text and "has drifted" not in text


def test_of_labelled_data_only_good_parts_count(model: Model, tmp_path: Path) -> None:
    textures(tmp_path / "data" / "ok", 12, seed=7)
    textures(tmp_path / "data" / "dent", 5, seed=8)
    found, _ = said(model, tmp_path / "data", tmp_path / "new")
    assert found.card.operating["adapted"][0]["pictures"] == 12
    (tmp_path / "data" / "ok").rename(tmp_path / "data" / "crack")
    with pytest.raises(DataError, match="shows no good parts but crack, dent"):
        said(model, tmp_path / "data", tmp_path / "other")


def _untold(card: Any) -> Any:
    return replace(card, operating={})


def _without(name: str) -> Callable[[Any], Any]:
    return lambda card: replace(card, operating={key: card.operating[key] for key in card.operating if key != name})


@pytest.mark.parametrize(
    ("change", "count", "given", "error", "match"),
    [
        (None, 8, {}, DataError, "10 % takes at least 9 good parts .* 8 good parts held out support 11 %"),
        (None, 20, {"false_alarms": 0.01}, DataError, "1 % takes at least 99 good parts"),
        (None, 20, {"false_alarms": 0.7}, UsageError, "at most 0.5"),
        (_untold, 20, {}, UsageError, "has no threshold that was chosen by good parts"),
        (_without("false_alarms"), 20, {}, UsageError, "has no threshold that was chosen by good parts"),
        (_without("threshold"), 20, {}, UsageError, "has no threshold that was chosen by good parts"),
    ],
)
def test_what_is_refused(
    model: Model,
    tmp_path: Path,
    change: Callable[[Any], Any] | None,
    count: int,
    given: dict[str, Any],
    error: type[Exception],
    match: str,
) -> None:
    other = model
    if change:
        shutil.copytree(model.path, tmp_path / "model")
        update_bundle(tmp_path / "model", change(model.card), add={})
        other = sightline.load(tmp_path / "model")
    with pytest.raises(error, match=match):
        said(other, textures(tmp_path / "today", count, seed=7), tmp_path / "new", **given)
    assert not (tmp_path / "new").exists()


def test_typed(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    today = textures(tmp_path / "today", 40, seed=7)
    words = [str(model.path), str(today), "--adapt", "--out", str(tmp_path / "new.zip")]
    cases = [
        (words, 0, "threshold "),
        (words, 2, "exists already"),
        ([*words, "--overwrite", "--false-alarms", "0.05"], 0, "bundle written to"),
        ([*words, "--draw"], 2, "--adapt inspects nothing; leave --draw out"),
        ([*words[:3]], 2, "--out is missing: the new bundle"),
        ([*words[:2], "--out", "x", "--force"], 2, "--force needs --adapt"),
    ]
    for typed, code, text in cases:
        with pytest.raises(SystemExit) as left:
            front.main(["inspect", *typed])
        assert (left.value.code, text in " ".join(capsys.readouterr().err.split())) == (code, True), typed
    with pytest.raises(SystemExit):
        front.main(["info", str(tmp_path / "new.zip")])
    assert "threshold_before:" in capsys.readouterr().out
