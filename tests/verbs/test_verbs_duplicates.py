"""Near-duplicates through the verbs: told by audit and train, drawn on request, kept together when asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import sightline
from sightline.cli.main import main
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Note
from sightline.core.runs import Run
from sightline.data.read import read
from sightline.tasks import classify
from sightline.verbs.audit import audit
from sightline.verbs.gather import split, surveyed


def photo(seed: int) -> Image.Image:
    """Patches of all sizes, brighter for odd seeds."""
    rng = np.random.default_rng(seed)
    total = np.zeros((100, 120))
    for weight, side in ((0.4, 3), (0.3, 8), (0.2, 20), (0.1, 60)):
        small = Image.fromarray(rng.integers(0, 180, (side, side), np.uint8))
        total += weight * np.asarray(small.resize((120, 100), Image.Resampling.BICUBIC), float)
    return Image.fromarray((total + 70 * (seed % 2)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty shots of each class, of which ten stand there mirrored and smaller as well."""
    root = tmp_path_factory.mktemp("shots")
    for seed in range(40):
        folder = root / ("dark", "bright")[seed % 2]
        folder.mkdir(exist_ok=True)
        image = photo(seed)
        image.save(folder / f"{seed:02d}.png")
        if seed < 20:
            ImageOps.mirror(image).resize((108, 90)).save(folder / f"z{seed:02d}.png")
    return root


def train(shots: Path, out: Path, **recipe: object) -> tuple[list[str], Card]:
    notes: list[str] = []
    model = sightline.train(
        "classify",
        shots,
        net="probe",
        recipe={"holdout": 0.25, "size": 16, **recipe},
        out=out,
        listen=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    return notes, model.card


def test_training_tells_of_pairs_in_two_splits_and_keeps_them_together_when_asked(shots: Path, tmp_path: Path) -> None:
    notes, card = train(shots, tmp_path / "apart")
    told = [note for note in notes if "near-duplicates" in note]
    assert len(told) == 1 and "--group-near-duplicates" in told[0]
    assert sum("correlation" in note for note in notes) == min(5, card.data["near_across"])
    assert card.data["near_duplicates"] == 20 and card.data["near_across"] > 0

    notes, card = train(shots, tmp_path / "together", group_near_duplicates=True)
    assert not any("near-duplicates" in note for note in notes)
    assert card.data["near_duplicates"] == 20 and card.data["near_across"] == 0
    assert Card.from_json((Run(tmp_path / "together").model / "card.json").read_text()).data == card.data


def test_the_split_is_the_same_when_it_is_made_again(shots: Path) -> None:
    """As export does, which has to find the validation pictures of the training."""
    recipe = classify.Recipe(holdout=0.25, group_near_duplicates=True)
    card = Card(task="classify", net={}, preparation=Preparation(size_hw=(16, 16)))
    made = []
    for _ in range(2):
        steps = surveyed(read(shots), card, recipe)
        try:
            while True:
                next(steps)
        except StopIteration as done:
            carved, _ = split(done.value, recipe)
            made.append({row.path: row.split for row in carved.rows})
    assert made[0] == made[1] and set(made[0].values()) == {"train", "validation", "test"}
    for path, name in made[0].items():
        assert made[0][path.replace("/z", "/")] == name


def test_splits_that_were_given_are_told_of_and_left_as_they_are(shots: Path, tmp_path: Path) -> None:
    for path in shots.rglob("*.png"):
        place = tmp_path / "data" / ("test" if path.name.startswith("z") else "train") / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / path.name).write_bytes(path.read_bytes())
    found = sightline.audit(tmp_path / "data")
    assert found.clean, "a likeness is no leak"
    assert "20 pairs of near-duplicates stand in two splits (20 in train and test)" in found.near_across[0]
    assert len(found.near) == len(found.near_clusters) == 20
    _, card = train(tmp_path / "data", tmp_path / "run", group_near_duplicates=True)
    assert card.data["near_across"] == 20 and card.data["counts"]["test"] == 20


def test_audit_draws_the_pairs(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pairs.png"
    with pytest.raises(SystemExit) as left:
        main(["audit", str(shots), "--json", "--pairs-out", str(out)])
    assert left.value.code == 0
    told = json.loads(capsys.readouterr().out)["near_duplicates"]
    assert len(told["pairs"]) == len(told["clusters"]) == 20 and told["across"] == []
    assert all(re.sub("/z", "/", second) == re.sub("/z", "/", first) for first, second, _ in told["pairs"])
    with Image.open(out) as sheet:
        assert sheet.format == "PNG" and sheet.width > 1000
    with pytest.raises(UsageError, match="exists already"):
        next(audit(str(shots), pairs_out=out))
    with pytest.raises(UsageError, match="neither in"):
        next(audit(str(shots), pairs_out=tmp_path / "pairs.gif"))


def test_no_pairs_no_sheet(digits: Path, tmp_path: Path) -> None:
    events = audit(str(digits), pairs_out=tmp_path / "pairs.png")
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == [f"no near-duplicates, so {tmp_path / 'pairs.png'} is not written"]
    assert list(tmp_path.iterdir()) == []
