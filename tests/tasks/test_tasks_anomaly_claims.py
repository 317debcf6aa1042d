"""anomaly: what it promises by good parts held out, how answers and graphs are compared, and what is measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anomaly_cards import (
    BARE,
    CARD,
    TILED,
    asked,
    graph,
    grid_of,
    saved,
)

from made_parts import disc
from sightline.core.anomalies import AnomalyMap
from sightline.core.errors import DataError
from sightline.core.protocols import Held
from sightline.data.samples import Inspected, Label, NoTarget
from sightline.metrics.conformal import conformal_threshold
from sightline.tasks import anomaly

# the claim


def answers(scores: np.ndarray) -> list[AnomalyMap]:
    """Answers to pictures 64 x 64 whose maps are 0 but for a cell with the score."""
    found = []
    for score in scores:
        grid = np.zeros((8, 8))
        grid[3, 3] = score
        found.append(grid_of(grid, dataclasses.replace(CARD, operating={})))
    return found


def held(scores: np.ndarray, targets: list[Any] | None = None, groups: Any = None, crossed: Any = None) -> Held:
    return Held(
        results=answers(scores),
        targets=targets or [NoTarget()] * len(scores),
        groups=np.arange(len(scores)) if groups is None else np.asarray(groups, np.int64),
        crossed=crossed or {},
    )


def maps_with(scores: np.ndarray) -> np.ndarray:
    maps = np.zeros((len(scores), 8, 8), np.float32)
    maps[:, 3, 3] = scores
    return maps


def test_the_threshold_is_the_conformal_one_of_good_parts_held_out() -> None:
    scores = np.random.default_rng(0).lognormal(size=60).astype(np.float32).astype(float)
    targets: list[Any] = [Label("ok")] * 50 + [Label("dent")] * 10
    card, judged = anomaly.claim(held(scores, targets), BARE, anomaly.Recipe(false_alarms=0.1))
    wanted = conformal_threshold(scores[:50], 0.1)
    told = card.operating
    assert told["threshold"] == wanted.value and told["good_scores"] == sorted(scores[:50])
    assert told["false_alarms"]["asked"] == 0.1 and told["false_alarms"]["expected"] == wanted.rate <= 0.1
    assert told["normal"] == "" and card.notes[-1] == told["why"] and "Of 100 good parts 9.8 alarm" in told["why"]
    assert [each.alarm for each in judged] == (scores > wanted.value).tolist()
    assert all(bool(each.regions) == each.alarm for each in judged)
    assert judged[0].p_value == (1 + (scores[:50] >= scores[0]).sum()) / 51
    assert 0 <= told["outline"] <= told["threshold"]
    anomaly.check(card, {"main": graph(map=("B", 8, 8), score=("B",))})


def test_training_pictures_count_by_models_that_did_not_see_them() -> None:
    own, others = np.arange(10.0), np.arange(100.0, 190)
    crossed = {"map": maps_with(others), "score": others, "picture": np.arange(90), "group": 10 + np.arange(90)}
    card, judged = anomaly.claim(held(own, crossed=crossed), BARE, anomaly.Recipe(false_alarms=0.05))
    assert card.operating["threshold"] == conformal_threshold(np.r_[own, others], 0.05).value > 180
    assert len(card.operating["good_scores"]) == 100 and len(judged) == 10
    only, none = anomaly.claim(held(np.empty(0), crossed=crossed), BARE, anomaly.Recipe(false_alarms=0.05))
    assert none == [] and only.operating["threshold"] == conformal_threshold(others, 0.05).value


def test_the_pieces_of_a_picture_count_as_one() -> None:
    own, pieces = np.arange(10.0), np.arange(60.0)
    crossed = {
        "map": maps_with(pieces), "score": pieces, "picture": np.repeat(np.arange(20), 3),
        "group": np.repeat(10 + np.arange(20), 3),
    }  # fmt: skip
    tiled = dataclasses.replace(BARE, preparation=TILED.preparation)
    card, _ = anomaly.claim(held(own, crossed=crossed), tiled, anomaly.Recipe(false_alarms=0.1))
    whole = pieces.reshape(20, 3).max(axis=1)
    assert card.operating["threshold"] == conformal_threshold(np.r_[own, whole], 0.1).value
    assert card.operating["good_scores"] == sorted(np.r_[own, whole].tolist())


def test_pictures_of_one_part_count_once_across_splits() -> None:
    own, others = np.arange(12.0), np.arange(48.0)
    groups = np.arange(12)
    crossed = {"map": maps_with(others), "score": others, "picture": np.arange(48), "group": np.arange(48) % 24}
    card, _ = anomaly.claim(held(own, groups=groups, crossed=crossed), BARE, anomaly.Recipe(false_alarms=0.1))
    wanted = conformal_threshold(np.r_[own, others], 0.1, groups=np.r_[groups, np.arange(48) % 24])
    assert wanted.n == 24 and card.operating["threshold"] == wanted.value
    with pytest.raises(DataError, match=r"at least 99 good parts .* 24 good parts held out"):
        anomaly.claim(held(own, groups=groups, crossed=crossed), BARE, anomaly.Recipe(false_alarms=0.01))


def test_a_rate_that_nobody_chose_is_what_the_parts_support() -> None:
    for count, rate in ((100, 0.05), (19, 0.05), (9, 0.1), (1, 0.5)):
        card, _ = anomaly.claim(held(np.arange(float(count))), BARE, anomaly.Recipe())
        assert card.operating["false_alarms"]["asked"] == pytest.approx(rate)
        assert card.operating["false_alarms"]["expected"] <= rate + 1e-12
    few = held(np.arange(14.0), groups=np.arange(14) % 7)
    assert anomaly.claim(few, BARE, anomaly.Recipe())[0].operating["false_alarms"]["asked"] == 1 / 8
    with pytest.raises(DataError, match="0 good parts held out"):
        anomaly.claim(held(np.empty(0)), BARE, anomaly.Recipe())


def test_parts_that_were_not_judged_say_nothing_of_the_threshold() -> None:
    whole = held(np.arange(25.0))
    lost = [dataclasses.replace(each, abstained="lost") if each.score == 24 else each for each in whole.results]
    card, judged = anomaly.claim(dataclasses.replace(whole, results=lost), BARE, anomaly.Recipe(false_alarms=0.05))
    assert card.operating["threshold"] == 23 and len(card.operating["good_scores"]) == 24
    assert judged[-1].regions == () and judged[-1].abstained == "lost"


def test_of_very_many_good_scores_an_even_selection_is_kept() -> None:
    crossed = {
        "map": np.zeros((12_000, 1, 1), np.float32), "score": np.arange(12_000.0), "picture": np.arange(12_000),
        "group": np.arange(12_000),
    }  # fmt: skip
    card, _ = anomaly.claim(held(np.empty(0), crossed=crossed), BARE, anomaly.Recipe(false_alarms=0.001))
    kept = card.operating["good_scores"]
    assert len(kept) == 5000 and kept[0] == 0 and kept[-1] == 11_999 and kept == sorted(kept)


@pytest.mark.parametrize(
    ("rate", "targets", "said"),
    [
        (0.05, [NoTarget()] * 19, ""),
        (0.05, [NoTarget()] * 18 + [Label("dent")] * 5, "at least 19 good parts"),
        (0.001, [NoTarget()] * 60, "at least 999 good parts"),
        (None, [NoTarget()], ""),
        (None, [Label("dent")], "0 good parts"),
        (None, [], "0 good parts"),
    ],
)
def test_enough_parts_are_held_out_or_nothing_is_learnt(rate: float | None, targets: list[Any], said: str) -> None:
    recipe = anomaly.Recipe(false_alarms=rate)
    if not said:
        anomaly.enough(recipe, targets, np.arange(len(targets)))
        return
    with pytest.raises(DataError, match=said):
        anomaly.enough(recipe, targets, np.arange(len(targets)))


# measures, comparisons


def test_the_meter_takes_answers_with_their_targets(tmp_path: Path) -> None:
    (meter,) = anomaly.meters(CARD)
    for number in range(6):
        pixels = np.full((80, 96), 100, np.uint8)
        mask = disc((80, 96), (30 + 5 * number, 40, 12))
        target: Any = Label("ok")
        if number % 2:
            pixels[mask] = 250
            target = Inspected("blot", (Path(saved(tmp_path / f"{number}.png", mask)),))
        meter.update(asked(pixels), target, str(number))
    found = meter.compute()
    assert found["auroc"].value == 1 and found["false_alarms"].value == 0 and found["found"].value == 1
    assert found["pixel_auroc"].value > 0.95


def test_a_graph_agrees_when_scores_and_maps_do() -> None:
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 5, (6, 8, 8)).astype(np.float32)
    reference = {"map": maps, "score": maps.max(axis=(1, 2))}
    assert anomaly.agree(reference, reference, CARD).ok
    near = {name: array * np.float32(1 + 5e-5) for name, array in reference.items()}
    assert anomaly.agree(reference, near, CARD).ok
    for name in reference:
        off = {**reference, name: reference[name] + np.float32(1e-2)}
        found = anomaly.agree(reference, off, CARD)
        assert not found.ok and found.figures[name] > anomaly.GATE[name]
        for value in (np.nan, np.inf):
            broken = reference[name].copy()
            broken.flat[0] = value
            assert not anomaly.agree(reference, {**reference, name: broken}, CARD).ok
            assert not anomaly.agree({**reference, name: broken}, reference, CARD).ok
    nothing = {name: array * 0 for name, array in reference.items()}
    assert anomaly.agree(nothing, nothing, CARD).ok and not anomaly.agree(nothing, reference, CARD).ok


@pytest.mark.parametrize(
    ("grey", "target", "right"),
    [(250, Label("dent"), True), (250, Label("ok"), False), (100, NoTarget(), True), (100, Inspected("dent"), False)],
)
def test_right_and_wrong(grey: int, target: Any, right: bool) -> None:
    answer = asked(np.full((64, 64), grey, np.uint8))
    assert anomaly.correct(answer, target) is right
    assert (anomaly.badness(answer, target) > 0) is not right
    other = asked(np.full((64, 64), 251, np.uint8))
    assert anomaly.same(answer, other) is (grey == 250)


@pytest.mark.parametrize("threshold", [2.0, 0.0, -3.0])
def test_badness_grows_with_the_distance_from_the_threshold(threshold: float) -> None:
    def wrong(score: float, target: Any) -> float:
        base = asked(np.full((64, 64), 100, np.uint8))
        return anomaly.badness(dataclasses.replace(base, score=score, threshold=threshold), target)

    alarms = [wrong(threshold + step, Label("ok")) for step in (0, 0.5, 1)]
    misses = [wrong(threshold - step, Label("dent")) for step in (0, 0.5, 1)]
    assert alarms == sorted(alarms) and alarms[0] == 0 < alarms[1]
    assert misses == sorted(misses) and 0 < misses[0] < misses[1]
    assert wrong(threshold + 1, Label("dent")) < 0 > wrong(threshold - 1, Label("ok"))
    undecided = dataclasses.replace(asked(np.full((64, 64), 100, np.uint8)), threshold=np.nan)
    assert anomaly.badness(undecided, Label("dent")) == 0


def test_any_data_may_be_judged() -> None:
    anomaly.check_samples(("what", "ever"), True, CARD)


def test_the_map_of_an_alarm_is_drawn_with_what_is_there(tmp_path: Path) -> None:
    pixels = np.full((80, 96), 100, np.uint8)
    mask = disc((80, 96), (30, 40, 12))
    pixels[mask] = 250
    target = Inspected("blot", (Path(saved(tmp_path / "m.png", mask)),))
    plain = np.repeat(np.full((160, 192, 1), 100, np.uint8), 3, axis=2)
    shown = anomaly.pictured(plain, (80, 96), asked(pixels), target)
    assert shown.dtype == np.uint8 and shown.shape[2] == 3 and (shown != 100).any()
    drawn = anomaly.figures([asked(pixels), asked(pixels * 0)], [target, Label("ok")], CARD)
    assert set(drawn) == {"scores.png", "kinds.png"}
    assert all(picture.data.startswith(b"\x89PNG") for picture in drawn.values())
    assert set(anomaly.figures([asked(pixels * 0)], [Label("ok")], CARD)) == {"scores.png"}
