"""Measures of several labels a picture against scikit-learn, their intervals, and the meter around them."""

import numpy as np
import pytest

from sightline.core.errors import DataError, UsageError
from sightline.core.results import Labels, TagScores
from sightline.metrics.tag_measures import (
    TagAnswers,
    measure_tags,
    presence_bins,
    presence_error,
    quick_tags,
    taken_for,
)
from sightline.metrics.tags import TagMeter

NAMES = ("a", "b", "c", "d")


def answers(n=150, *, seed=0, unsure=False, groups=None):
    """Four labels of different frequency, the last with no picture, scores of one decimal so that many are tied."""
    random = np.random.default_rng(seed)
    target = random.random((n, 4)) < np.array([0.5, 0.2, 0.1, 0.0])
    scores = np.round(np.clip(random.random((n, 4)) * 0.6 + 0.35 * target, 0, 1), 1).astype(np.float32)
    present = scores >= 0.6
    doubt = ~present & (scores >= 0.5) if unsure else np.zeros_like(present)
    own = np.array([f"{i}.png" for i in range(n)]) if groups is None else np.asarray(groups).astype(np.str_)
    return TagAnswers(scores=scores, target=target, present=present, unsure=doubt, groups=own)


def test_every_value_agrees_with_scikit_learn(reference):
    given = answers()
    found = {name: measure.value for name, measure in measure_tags(given, NAMES).items()}
    held = [0, 1, 2]
    scores, target, present = (part[:, held] for part in (given.scores.astype(np.float64), given.target, given.present))
    right = given.present == given.target
    expected = {
        "map": reference.average_precision_score(target, scores, average="macro"),
        "auroc": reference.roc_auc_score(target, scores, average="macro"),
        "exact_match": right.all(axis=1).mean(),
        "hamming_accuracy": 1 - reference.hamming_loss(given.target, given.present),
        "accuracy_decided": right.mean(),
        "coverage": 1.0,
        "log_loss": np.mean(
            [
                reference.log_loss(there, chance.astype(np.float64), labels=[0, 1])
                for there, chance in zip(given.target.T, given.scores.T)
            ]
        ),
        "brier": np.square(given.scores.astype(np.float64) - given.target).mean(),
    }
    scorers = {"precision": reference.precision_score, "recall": reference.recall_score, "f1": reference.f1_score}
    for name, of in scorers.items():
        expected[f"{name}_macro"] = of(target, present, average="macro", zero_division=0)
        expected[f"{name}_micro"] = of(given.target, given.present, average="micro")
        expected |= {f"{name}/{NAMES[k]}": v for k, v in zip(held, of(target, present, average=None, zero_division=0))}
    for k in held:
        expected[f"average_precision/{NAMES[k]}"] = reference.average_precision_score(target[:, k], scores[:, k])
        expected[f"auroc/{NAMES[k]}"] = reference.roc_auc_score(target[:, k], scores[:, k])
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert {name for name, value in found.items() if np.isnan(value)} == {
        f"{stem}/d" for stem in ("average_precision", "auroc", "precision", "recall", "f1")
    }


def test_what_is_unsure_was_neither_found_nor_right():
    plain, shy = (measure_tags(answers(unsure=unsure), NAMES) for unsure in (False, True))
    doubt = answers(unsure=True).unsure
    assert shy["coverage"].value == pytest.approx(1 - doubt.mean())
    assert shy["coverage/b"].value == pytest.approx(1 - doubt[:, 1].mean())
    assert shy["hamming_accuracy"].value < plain["hamming_accuracy"].value
    assert shy["accuracy_decided"].value > plain["accuracy_decided"].value
    assert shy["exact_match"].value < plain["exact_match"].value
    assert shy["recall/a"].value == plain["recall/a"].value  # presence is claimed as before


def test_intervals_follow_the_kind_of_measure_and_the_groups():
    alone = measure_tags(answers(), NAMES)
    wilson = {name for name, measure in alone.items() if measure.interval == "wilson"}
    stems = ("precision", "recall", "coverage")
    expected = {"exact_match", *(f"{stem}/{n}" for stem in stems for n in NAMES)} - {"precision/d", "recall/d"}
    assert wilson == expected
    assert alone["map"].interval == "bootstrap(groups, B=1000, seed=0)"
    assert alone["recall/c"].n == answers().target[:, 2].sum()
    grouped = measure_tags(answers(groups=np.arange(150) // 10), NAMES)
    assert grouped["exact_match"].interval.startswith("bootstrap") and grouped["exact_match"].n == 15
    for name, measure in alone.items():
        if measure.interval != "none":
            assert measure.low <= measure.value <= measure.high, name


@pytest.mark.parametrize("broken", ["target", "groups", "classes", "scores"])
def test_tables_that_do_not_fit_are_refused(broken):
    given = answers(20)
    parts = {name: getattr(given, name) for name in ("scores", "target", "present", "unsure", "groups")}
    names = NAMES if broken != "classes" else ("a", "a", "b", "c")
    if broken in ("target", "groups"):
        parts[broken] = parts[broken][:-1]
    if broken == "scores":
        parts["scores"] = np.full((20, 4), np.nan, np.float32)
    with pytest.raises(DataError):
        measure_tags(TagAnswers(**parts), names)


def test_bins_and_their_error():
    scores = np.array([[0.05, 0.05], [0.95, 0.95]], np.float32)
    target = np.array([[False, True], [True, True]])
    bins = presence_bins(scores, target)
    assert bins.pictures[[0, -1]].tolist() == [2, 2] and bins.accuracy[[0, -1]].tolist() == [0.5, 1.0]
    assert presence_error(scores, target) == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)


@pytest.mark.parametrize(
    ("present", "target", "wanted"),
    [
        ([1, 0], [1, 0], {(0, 0): 1}),
        ([0, 1], [1, 0], {(0, 1): 1}),  # missed, with another in its place
        ([0, 0], [1, 1], {(0, 2): 1, (1, 2): 1}),  # missed, with nothing
        ([1, 1], [1, 0], {(0, 0): 1, (2, 1): 1}),  # claimed beside what is there
        ([0, 0], [0, 0], {(2, 2): 1}),
    ],
)
def test_what_is_taken_for_what(present, target, wanted):
    table = taken_for(*(np.array([row], np.bool_) for row in (present, target)), np.array([[0.6, 0.7]]))
    assert {(int(i), int(j)): int(table[i, j]) for i, j in np.argwhere(table)} == wanted


def test_rows_of_what_is_taken_for_what_count_each_picture_once():
    given = answers(unsure=True)
    table = taken_for(given.present, given.target, given.scores)
    assert table[:4].sum(axis=1).tolist() == given.target.sum(axis=0).tolist()


def test_quick_measures_are_those_of_the_whole():
    given = answers()
    measures = measure_tags(given, NAMES)
    quick = quick_tags(given.scores, given.target)
    assert quick == pytest.approx({name: measures[name].value for name in ("map", "log_loss")})


def test_the_meter_collects_and_refuses_strangers():
    meter, given = TagMeter(NAMES), answers(40, unsure=True)
    for row in range(40):
        parts = {"scores": given.scores[row], "present": given.present[row], "unsure": given.unsure[row]}
        meter.update(TagScores(classes=NAMES, **parts), given.target[row], given.groups[row])
    assert str(meter.compute()) == str(measure_tags(given, NAMES))
    with pytest.raises(UsageError, match="takes TagScores"):
        meter.update(Labels(classes=NAMES, scores=given.scores[0]), given.target[0], "x")
    none = np.zeros(4, np.bool_)
    nan = TagScores(classes=NAMES, scores=np.full(4, np.nan, np.float32), present=none, unsure=none)
    with pytest.raises(DataError, match="not finite"):
        meter.update(nan, given.target[0], "x")
