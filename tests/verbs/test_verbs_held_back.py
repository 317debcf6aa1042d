"""held_back: what a generator did not learn from, by its fingerprint; halves that keep groups; what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from made_restorer import restorer
from made_shapes import generator, shapes
from sightline.core.errors import DataError, UsageError
from sightline.core.events import drain
from sightline.data.synthetic import marked
from sightline.verbs.held_back import CHOOSE, CLAIM, HeldBack, half_of, held_back
from sightline.verbs.opened import Opened, open_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("shapes") / "data")


@pytest.fixture(scope="module")
def maker(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_model(generator(data, tmp_path_factory.mktemp("maker") / "run"), threads=1)


def held(maker: Opened, data: Path | str, *, force: bool = False, seed: int = 0) -> HeldBack:
    return drain(held_back(maker, data, force=force, seed=seed))


def test_validation_pictures_are_cut_in_halves(maker: Opened, data: Path) -> None:
    found = held(maker, data)
    assert found.fingerprint == maker.card.data["fingerprint"] and found.cautions == ()
    choose, claim = ({row.path for row in half_of(found.samples, half)} for half in (CHOOSE, CLAIM))
    every = {path.relative_to(data).as_posix() for path in (data / "validation").rglob("*.png")}
    assert choose | claim == every and not choose & claim and len(choose) == len(claim) == 8
    for name in ("flat", "tall"):
        assert sum(f"/{name}/" in path for path in choose) == 4
    assert {row.split for row in found.samples.rows} == {"train", "validation"}  # nothing of the test split
    assert [row.path for row in half_of(held(maker, data).samples, CHOOSE)] == [
        row.path for row in half_of(found.samples, CHOOSE)
    ]
    assert {row.path for row in half_of(held(maker, data, seed=1).samples, CHOOSE)} != choose
    assert found.sizes_hw.tolist() == [[16, 16]] * 9


def test_other_data_is_refused_unless_forced(maker: Opened, tmp_path: Path) -> None:
    other = shapes(tmp_path / "other", {"train": (6, 6), "validation": (8, 8)})
    with pytest.raises(DataError, match=r"is not what .* learnt from.*train one on this, or say --force"):
        held(maker, other)
    found = held(maker, other, force=True)
    assert len(found.cautions) == 1 and "may have seen the validation pictures (--force)" in found.cautions[0]


def test_another_split_of_the_same_pictures_is_refused(maker: Opened, data: Path, tmp_path: Path) -> None:
    """A picture that was learnt from stands among those for validation."""
    moved = tmp_path / "moved"
    for path in data.rglob("*.png"):
        place = moved / path.relative_to(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    (moved / "train" / "flat" / "0.png").rename(moved / "validation" / "flat" / "new.png")
    with pytest.raises(DataError, match="nothing shows that its validation pictures are new"):
        held(maker, moved)


def test_groups_stay_in_one_half(maker: Opened, data: Path, tmp_path: Path) -> None:
    rows = []
    for path in sorted(data.rglob("*.png")):
        split, name, number = path.relative_to(data).parts
        group = f"{split}-{name}-{int(Path(number).stem) // 2}"
        rows.append([str(path), name, split, group])
    with (tmp_path / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split", "group"], *rows])
    found = held(maker, tmp_path / "samples.csv", force=True)
    groups = [{row.group for row in half_of(found.samples, half)} for half in (CHOOSE, CLAIM)]
    assert len(groups[0]) == len(groups[1]) == 4 and not groups[0] & groups[1]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_synthetic_pictures_are_refused(maker: Opened, tmp_path: Path, split: str) -> None:
    made = shapes(tmp_path / "made")
    place = made / split / "flat" / "0.png"
    place.write_bytes(marked(place.read_bytes(), {"synthetic": True}))
    with pytest.raises(DataError, match=rf"1 of 31 pictures are marked as synthetic, such as {split}/flat/0.png"):
        held(maker, made, force=True)


def test_too_few_and_none(maker: Opened, tmp_path: Path) -> None:
    few = shapes(tmp_path / "few", {"train": (6, 6), "validation": (2, 1)})
    with pytest.raises(DataError, match=r"the 3 validation pictures of .* are too few to choose by some"):
        held(maker, few, force=True)
    bare = shapes(tmp_path / "bare", {"train": (20, 20)})
    found = held(maker, bare, force=True)  # carved as the model's training would have
    assert len(half_of(found.samples, CHOOSE)) == len(half_of(found.samples, CLAIM)) == 3
    card = replace(maker.card, recipe={**maker.card.recipe, "validation": 0.0})
    with pytest.raises(DataError, match="has no validation pictures, so all were learnt from"):
        held(replace(maker, bundle=replace(maker.bundle, card=card)), bare, force=True)


def test_models_and_data_that_do_not_fit(maker: Opened, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a model of restore, which offers .*, not generate"):
        held(open_model(restorer(tmp_path / "restorer")), data)
    more = shapes(tmp_path / "more")
    (more / "train" / "round").mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(more / "train" / "round" / "0.png")
    with pytest.raises(DataError, match="the model makes no round, only flat, tall; train it on this data"):
        held(maker, more, force=True)
    plain = tmp_path / "plain"
    plain.mkdir()
    for number in range(3):
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(plain / f"{number}.png")
    with pytest.raises(DataError, match="has no label of its own, and gain is measured with classify"):
        held(maker, plain, force=True)
