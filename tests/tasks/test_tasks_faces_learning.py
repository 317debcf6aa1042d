"""Learning faces: who is kept aside, targets, the threshold, and measures beside scikit-learn and brute force."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError
from sightline.core.protocols import Facts
from sightline.core.results import Faces
from sightline.data.samples import Label, NoTarget, Sample, Samples
from sightline.tasks import faces

CARD = Card(task="faces", net={}, classes=("ann", "bob"), preparation=Preparation())


def table(*rows: tuple[str, str, int]) -> Samples:
    """Samples by person, split and number of pictures."""
    listed = [
        Sample(f"{split or 'all'}/{person}/{number}.jpg", Label(person), split)
        for person, split, count in rows
        for number in range(count)
    ]
    return Samples(Path("data"), tuple(listed), "imagefolder")


def people_of(samples: Samples, split: str) -> set[str]:
    return {row.target.text() for row in samples.rows if row.split == split}


TEN = [(f"p{number}", "", 3) for number in range(10)]


@pytest.mark.parametrize(
    ("rows", "settings", "sizes"),
    [
        (TEN, {}, {"train": 8, "validation": 2}),  # 15 % would be one and a half
        (TEN, {"validation": 0.4}, {"train": 6, "validation": 4}),
        (TEN, {"validation": 0.99}, {"train": 2, "validation": 8}),
        (TEN, {"validation": 0.0}, {"train": 10}),
        (TEN, {"holdout": 0.3}, {"train": 5, "validation": 2, "test": 3}),
        (TEN[:4], {}, {"train": 2, "validation": 2}),
        (TEN[:5], {"holdout": 0.2}, {"train": 3, "test": 2}),  # three are too few to take two more
        (TEN[:3], {}, {"train": 3}),
        ([*TEN[:2], *((f"q{n}", "", 1) for n in range(8))], {"validation": 0.5}, {"train": 8, "validation": 2}),
        (
            [*TEN[:1], *((f"q{n}", "", 1) for n in range(8))],
            {},
            {"train": 9},
        ),  # nobody else can be compared with himself
        ([*TEN, ("v", "validation", 1)], {}, {"train": 10, "validation": 1}),  # what the data says stands
    ],
)
def test_whole_people_are_kept_aside(rows: Any, settings: dict[str, Any], sizes: dict[str, int]) -> None:
    found = faces.arrange(table(*rows), faces.Recipe(**settings))
    assert {split: len(people_of(found, split)) for split in found.splits()} == sizes
    for one, other in itertools.combinations(found.splits(), 2):
        assert not people_of(found, one) & people_of(found, other)
    flatter = "flatter" in " ".join(found.notes)
    assert flatter == (bool(settings.get("validation", 0.15)) and "validation" not in sizes)


def test_who_is_kept_aside_follows_from_the_seed_and_the_names_alone() -> None:
    samples = table(*TEN)
    turned = dataclasses.replace(samples, rows=samples.rows[::-1])
    sets = []
    for seed in range(6):
        found, again = (faces.arrange(each, faces.Recipe(seed=seed)) for each in (samples, turned))
        assert people_of(found, "validation") == people_of(again, "validation")
        sets.append(frozenset(people_of(found, "validation")))
    assert len(set(sets)) > 3


def test_people_who_are_tested_and_learnt_from_are_told() -> None:
    found = faces.arrange(table(*TEN, ("p0", "test", 2), ("p1", "test", 2)), faces.Recipe(validation=0.0))
    assert any("2 people of the test split are also learnt from" in note for note in found.notes)


def test_a_target_is_a_place_or_a_stable_number() -> None:
    def number(name: str, card: Card = CARD) -> int:
        encoded = faces.encode_target(Label(name), None, card)["person"]
        assert encoded.dtype == np.int64 and encoded.shape == ()
        return int(encoded)

    assert (number("ann"), number("bob")) == (0, 1)
    strangers = [number(f"p{place}") for place in range(1000)]
    assert max(strangers) < -1 and len(set(strangers)) == 1000
    assert number("eve") == number("eve", dataclasses.replace(CARD, classes=())) == -37478137481941389
    with pytest.raises(DataError, match="a folder of their own"):
        faces.encode_target(NoTarget(), None, CARD)


@pytest.mark.parametrize(
    ("sizes", "size"),
    [([(112, 112)] * 4, None), ([(28, 28)] * 4, None), ([(250, 250)] * 4, 112), ([(100, 130), (140, 120)] * 2, 112),
     ([(40, 44), (52, 60)] * 2, 32)],
)  # fmt: skip
def test_the_size_is_that_of_aligned_faces(sizes: Any, size: int | None) -> None:
    targets = [Label(name) for name in "abab"]
    facts = Facts(count=4, sizes_hw=np.array(sizes), grey=False, dtype="uint8", targets=targets)
    recipe, reasons = faces.plan(faces.Recipe(), facts)
    assert recipe.size == size and ("size" in reasons) == (size is not None) and recipe.mirror == "yes"
    assert faces.draft(recipe, facts).preparation.size_hw == ((size, size) if size else sizes[0])


def test_one_person_cannot_be_told_apart() -> None:
    facts = Facts(count=2, sizes_hw=np.full((2, 2), 9), grey=True, dtype="uint8", targets=[Label("ann")] * 2)
    with pytest.raises(DataError, match="takes two people"):
        faces.draft(faces.Recipe(), facts)
    with pytest.raises(DataError, match="whose they are"):
        faces.plan(faces.Recipe(), dataclasses.replace(facts, targets=[NoTarget()] * 2))


def clustered(people: int, each: int, *, spread: float = 0.5, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Vectors about a direction for each person, not of length 1."""
    chance = np.random.default_rng(seed)
    centres = np.repeat(chance.normal(size=(people, 16)), each, axis=0)
    vectors = (centres + spread * chance.normal(size=centres.shape)) * chance.uniform(1, 5, (len(centres), 1))
    return vectors.astype(np.float32), [f"p{number:02d}" for number in np.repeat(np.arange(people), each)]


def result(vector: np.ndarray | None, quality: float = 1.0) -> Faces:
    """A picture with one face, or with none."""
    count = int(vector is not None)
    length = 1 if vector is None else np.linalg.norm(vector)
    return Faces(
        classes=("face",),
        xyxy=np.full((count, 4), [0, 0, 9, 9], np.float32),
        scores=np.ones(count, np.float32),
        indexes=np.zeros(count, np.int64),
        claimed=np.ones(count, np.bool_),
        vectors=np.zeros((0, 16), np.float32)
        if vector is None
        else (vector / max(length, 1e-9))[None].astype(np.float32),
        quality=np.full(count, quality, np.float32),
        flaws=("",) * count,
        chips=np.zeros((count, 112, 112, 3), np.uint8),
    )


def test_the_measures_are_those_of_scikit_learn_and_of_brute_force() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    vectors, names = clustered(12, 5, spread=1.0)
    card = dataclasses.replace(CARD, classes=(), operating={"threshold": 0.4})
    (meter,) = faces.meters(card)
    for vector, name in zip(vectors, names):
        meter.update(result(vector, 0.5), Label(name), name)
    for _ in range(4):
        meter.update(result(None), Label("p00"), "lost")
    meter.update(result(np.zeros(16)), Label("p00"), "failed")
    found = meter.compute()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, same = unit @ unit.T, np.equal.outer(names, names)
    upper = np.triu_indices(len(names), 1)
    assert found["auroc"].value == pytest.approx(metrics.roc_auc_score(same[upper], cosines[upper]), abs=1e-5)
    np.fill_diagonal(cosines, -2)
    first = np.mean([names[row.argmax()] == name for row, name in zip(cosines, names)])
    assert found["rank_1"].value == pytest.approx(first)
    matched = cosines[upper] >= 0.4
    assert found["fmr"].value == pytest.approx(matched[~same[upper]].mean())
    assert found["fnmr"].value == pytest.approx(1 - matched[same[upper]].mean())
    assert found["failure_to_acquire"].value == pytest.approx(5 / 65)
    assert found["quality"].value == pytest.approx(0.5)
    assert not np.isnan(found["fnmr_at_fmr_0.01"].value) and 0 <= found["eer"].low <= found["eer"].high <= 1
    assert all(m.low <= m.value <= m.high for m in found.values())


@pytest.mark.parametrize("names", ["", "a", "aa", "ab"])
def test_what_cannot_be_measured_is_nan(names: str) -> None:
    (meter,) = faces.meters(CARD)
    for number, name in enumerate(names):
        meter.update(result(np.eye(16)[number]), Label(name), name)
    found = meter.compute()
    assert np.isnan(found["auroc"].value) and np.isnan(found["rank_1"].value) and "fmr" not in found
    with pytest.raises(DataError, match="whose face"):
        meter.update(result(None), NoTarget(), "x.jpg")


def test_the_threshold_holds_on_people_not_seen() -> None:
    recipe = faces.Recipe(fmr=0.01)
    rates, claims = [], []
    for seed in range(12):
        vectors, names = clustered(60, 4, spread=1.0, seed=seed)
        people = np.array([int(faces.encode_target(Label(name), None, CARD)["person"]) for name in names])
        half = slice(0, 120), slice(120, 240)
        card = faces.calibrate({"vector": vectors[half[0]]}, {"person": people[half[0]]}, CARD, recipe)
        claims.append(card.operating["why"])
        (meter,) = faces.meters(card)
        for vector, name in zip(vectors[half[1]], names[half[1]]):
            meter.update(result(vector), Label(name), name)
        rates.append(meter.compute()["fmr"].value)
    assert 0.002 < np.mean(rates) < 0.015
    assert all("1 %" in claim for claim in claims)


def test_too_few_pairs_for_the_rate_are_told() -> None:
    vectors, names = clustered(3, 3)
    people = np.unique(names, return_inverse=True)[1]
    card = faces.calibrate({"vector": vectors}, {"person": -2 - people}, CARD, faces.Recipe())
    assert card.operating["fmr"] == 0.001 and card.operating["threshold"] < 1
    assert any("no FMR under" in note for note in card.notes) and not any("flatter" in note for note in card.notes)
    known = faces.calibrate({"vector": vectors}, {"person": people}, CARD, faces.Recipe())
    assert any("flatter" in note for note in known.notes)
    alone = faces.calibrate({"vector": vectors[:3]}, {"person": people[:3]}, CARD, faces.Recipe())
    assert "threshold" not in alone.operating and "no impostor pairs" in alone.notes[0]


def test_what_is_watched_is_what_is_measured_and_nothing_without_pairs() -> None:
    vectors, names = clustered(8, 4, spread=1.0)
    vectors[3], vectors[9] = np.nan, 0
    people = np.unique(names, return_inverse=True)[1]
    (meter,) = faces.meters(CARD)
    for row, name in enumerate(names):
        meter.update(result(None if row in (3, 9) else vectors[row]), Label(name), name)
    found = meter.compute()
    watched = faces.quick({"vector": vectors}, {"person": people}, CARD)
    assert watched == pytest.approx({name: found[name].value for name in ("auroc", "eer")}, abs=1e-6)
    assert faces.quick({"vector": vectors[:3]}, {"person": people[:3]}, CARD) == {}


def test_another_graph_is_judged_by_pairs_and_by_its_vectors() -> None:
    vectors, names = clustered(30, 4, spread=1.0)
    targets = [Label(name) for name in names]
    before = [result(vector) for vector in vectors]
    same = faces.change(before, before, targets, CARD)
    assert same.points == 0 and same.decidable and not same.another and same.figures["moved"] < 1e-6
    chance = np.random.default_rng(1)
    near = [result(v / np.linalg.norm(v) + chance.normal(scale=0.01, size=16)) for v in vectors]
    assert abs(faces.change(before, near, targets, CARD).points) < 0.3
    far = [result(v / np.linalg.norm(v) + chance.normal(scale=0.5, size=16)) for v in vectors]
    found = faces.change(before, far, targets, CARD)
    assert found.points > 2 and "of the way to another person" in found.another and not found.decidable
    gone = faces.change(before, [result(None), *before[1:]], targets, CARD)
    assert gone.figures["lost"] == 1 and "1 of 120 faces" in gone.detail
    turned = [result(v[::-1]) for v in vectors]  # tells people apart as well, but no template would match
    assert abs(faces.change(before, turned, targets, CARD).points) < 1e-6
    assert faces.change(before, turned, targets, CARD).another
    for few in (4, 8, 36):  # one, two and nine people
        assert not faces.change(before[:few], before[:few], targets[:few], CARD).decidable
    crowded = [result(v / np.linalg.norm(v) + 9 * np.eye(16)[0]) for v in vectors]  # all look one way, and as far apart
    shaken = [result(each.vectors[0] + chance.normal(scale=0.03, size=16)) for each in crowded]
    assert faces.change(crowded, shaken, targets, CARD).another


def test_a_published_card_names_nobody() -> None:
    left_out = [["ann/3.jpg", "cut off"], ["ann/4.jpg", "no such file: /data/ann/4.jpg"]]
    card = faces.published(dataclasses.replace(CARD, data={"name": "office", "left_out": left_out}))
    assert "ann" not in repr(card) and card.data == {"name": "office", "left_out": [["", "cut off"], ["", ""]]}


@pytest.mark.parametrize("value", ["0.5", True, 7, float("nan"), None])
def test_an_operating_point_that_no_calibration_gives_is_refused(value: Any) -> None:
    from sightline.tasks._faces_learning import check_operating

    check_operating(dataclasses.replace(CARD, operating={"threshold": 0.3, "fmr": 0.001}))
    check_operating(CARD)
    with pytest.raises(BundleError, match=r"operating\.threshold"):
        check_operating(dataclasses.replace(CARD, operating={"threshold": value}))


def test_the_figure_shows_both_kinds_of_pairs_or_is_left_out() -> None:
    pytest.importorskip("matplotlib")
    vectors, names = clustered(6, 3)
    results, targets = [result(vector) for vector in vectors], [Label(name) for name in names]
    drawn = faces.figures(results, targets, CARD)
    assert set(drawn) == {"det.png"} and drawn["det.png"].data.startswith(b"\x89PNG")
    assert faces.figures(results[:3], targets[:3], CARD) == faces.figures([result(None)], targets[:1], CARD) == {}
