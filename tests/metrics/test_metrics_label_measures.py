import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.errors import DataError
from sightline.metrics import intervals
from sightline.metrics.label_measures import Answers, measure_labels

BOOTSTRAP = "bootstrap(groups, B=1000, seed=0)"


def make(scores, target, *, answered=None, groups=None):
    table = np.array(scores, np.float32)
    n = len(table)
    return Answers(
        scores=table,
        target=np.array(target, np.int64),
        answered=np.ones(n, np.bool_) if answered is None else np.array(answered, np.bool_),
        groups=np.array([f"{i}.png" for i in range(n)] if groups is None else groups, np.str_),
    )


def sample(n, classes, seed=0, **given_arrays):
    random = np.random.default_rng(seed)
    target = random.integers(classes, size=n)
    scores = random.dirichlet(np.ones(classes), size=n)
    scores[np.arange(n), target] += 0.3
    return make(scores / scores.sum(axis=1, keepdims=True), target, **given_arrays)


def names(k):
    return tuple(f"c{i}" for i in range(k))


def test_every_value_agrees_with_scikit_learn(reference):
    answers = sample(200, 6, answered=np.arange(200) % 3 > 0)
    found = {name: measure.value for name, measure in measure_labels(answers, names(6)).items()}
    scores, target = answers.scores.astype(np.float64), answers.target
    scores /= scores.sum(axis=1, keepdims=True)
    predicted = scores.argmax(axis=1)
    right = predicted == target
    onehot = np.eye(6)[target]
    expected = {
        "accuracy": right.mean(),
        "coverage": answers.answered.mean(),
        "accuracy_answered": right[answers.answered].mean(),
        "top5": reference.top_k_accuracy_score(target, scores, k=5),
        "balanced_accuracy": reference.balanced_accuracy_score(target, predicted),
        "f1_micro": reference.f1_score(target, predicted, average="micro"),
        "mcc": reference.matthews_corrcoef(target, predicted),
        "auroc": reference.roc_auc_score(target, scores, multi_class="ovr"),
        "average_precision": reference.average_precision_score(onehot, scores, average="macro"),
        "log_loss": reference.log_loss(target, scores),
        "brier": np.square(scores - onehot).sum(axis=1).mean(),
    }
    for name, score in (
        ("precision", reference.precision_score),
        ("recall", reference.recall_score),
        ("f1", reference.f1_score),
    ):
        expected |= {f"{name}_{how}": score(target, predicted, average=how) for how in ("macro", "weighted")}
        expected |= {f"{name}/c{i}": value for i, value in enumerate(score(target, predicted, average=None))}
    assert found.keys() - expected.keys() == {"ece"}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_pictures_on_their_own_have_wilson_intervals_for_proportions_only():
    measures = measure_labels(sample(120, 6), names(6))
    by_kind = {name: measure.interval for name, measure in measures.items() if "/" not in name}
    wilson = {"accuracy", "f1_micro", "recall_weighted", "top5", "coverage", "accuracy_answered"}
    assert {name for name, kind in by_kind.items() if kind == "wilson"} == wilson
    assert {kind for name, kind in by_kind.items() if name not in wilson} == {BOOTSTRAP}
    kinds = {name.split("/")[0]: measure.interval for name, measure in measures.items() if "/" in name}
    assert kinds == {"precision": "wilson", "recall": "wilson", "f1": BOOTSTRAP}
    assert measures["accuracy"].n == 120
    low, high = intervals.wilson(round(120 * measures["accuracy"].value), 120)
    assert (measures["accuracy"].low, measures["accuracy"].high) == pytest.approx((float(low), float(high)))
    assert sum(measures[f"recall/c{k}"].n for k in range(6)) == 120
    assert sum(measures[f"precision/c{k}"].n for k in range(6)) == 120


def test_pictures_in_groups_are_bootstrapped_by_group_and_less_sure():
    alone = sample(30, 3)
    again = make(np.repeat(alone.scores, 4, axis=0), np.repeat(alone.target, 4), groups=np.repeat(np.arange(30), 4))
    measures = measure_labels(again, names(3))
    accuracy, single = measures["accuracy"], measure_labels(alone, names(3))["accuracy"]
    assert (accuracy.interval, accuracy.n) == (BOOTSTRAP, 30)
    assert accuracy.value == single.value
    # Four copies of a picture say no more than one: the width stays that of 30 pictures.
    assert accuracy.high - accuracy.low == pytest.approx(single.high - single.low, rel=0.15)
    assert measures["recall/c1"].interval == BOOTSTRAP


@pytest.mark.parametrize(("groups", "n"), [(None, 8), (["a"] * 4 + ["b"] * 4, 2), (["a"] * 8, 1)])
def test_all_right_claims_no_more_than_its_groups_allow(groups, n):
    answers = make([[0.9, 0.1], [0.2, 0.8]] * 4, [0, 1] * 4, groups=groups)
    measures = measure_labels(answers, ("a", "b"))
    accuracy = measures["accuracy"]
    assert (accuracy.value, accuracy.high, accuracy.interval, accuracy.n) == (1.0, 1.0, "wilson", n)
    assert accuracy.low == pytest.approx(n / (n + 1.959964**2))
    assert measures["recall/a"].n == measures["precision/b"].n == min(n, 4)
    for name in ("mcc", "f1_macro", "auroc"):
        assert measures[name].value == pytest.approx(1.0)
        assert measures[name].interval == "none" and math.isnan(measures[name].low)


def test_the_noise_of_a_sum_is_no_interval():
    measures = measure_labels(make([[0.1, 0.2, 0.7]] * 7, [0] * 7), names(3))
    assert measures["log_loss"].value == pytest.approx(-np.log(0.1), rel=1e-6)
    assert {measures[name].interval for name in ("log_loss", "brier", "ece", "mcc")} == {"none"}


def test_two_classes_have_no_top5_and_one_area():
    measures = measure_labels(sample(40, 2), ("no", "yes"))
    assert not any(name.startswith("top") for name in measures)
    assert "top1" in measure_labels(sample(10, 2), ("no", "yes"), top=(1, 2))
    assert 0.5 < measures["auroc"].value < 1


def test_a_class_without_pictures_is_undefined_and_left_out_of_the_means():
    random = np.random.default_rng(0)
    answers = make(random.dirichlet(np.ones(4), size=60), random.integers(3, size=60))
    measures = measure_labels(answers, names(4))
    for name in ("precision/c3", "recall/c3", "f1/c3"):
        assert math.isnan(measures[name].value) and measures[name].interval == "none"
        assert measures[name].to_dict()["value"] is None
    recalls = [measures[f"recall/c{k}"].value for k in range(3)]
    assert measures["balanced_accuracy"].value == pytest.approx(np.mean(recalls))
    assert all(math.isfinite(measures[name].low) for name in ("auroc", "average_precision", "f1_macro"))


def test_a_class_that_is_never_named_has_precision_0_of_which_nothing_is_known():
    measures = measure_labels(make([[0.9, 0.1]] * 3, [0, 0, 1]), ("a", "b"))
    assert measures["precision/b"].to_dict() == {"value": 0.0, "low": 0.0, "high": 1.0, "interval": "wilson", "n": 0}


def test_one_picture():
    measures = measure_labels(make([[0.2, 0.8]], [1]), ("a", "b"))
    assert str(measures["accuracy"]) == "1.000 [0.207, 1.000]"
    assert math.isnan(measures["auroc"].value)
    assert measures["average_precision"].value == 1.0
    assert (measures["log_loss"].interval, measures["mcc"].value) == ("none", 0.0)


def test_no_pictures():
    measures = measure_labels(make(np.empty((0, 3)), []), names(3))
    assert all(math.isnan(measure.value) and measure.interval == "none" for measure in measures.values())


def test_a_model_that_always_abstains_is_still_measured():
    answers = sample(30, 3, answered=[False] * 30)
    measures = measure_labels(answers, names(3))
    assert measures["coverage"].value == 0.0 and measures["coverage"].high > 0.05
    assert math.isnan(measures["accuracy_answered"].value) and measures["accuracy_answered"].interval == "none"
    assert measures["accuracy"] == measure_labels(sample(30, 3), names(3))["accuracy"]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 25), st.integers(1, 6))
def test_intervals_hold_their_values_and_the_order_of_pictures_does_not_matter(seed, k, n, groups):
    random = np.random.default_rng(seed)
    scores = np.round(random.dirichlet(np.ones(k), size=n), 1)
    target, answered = random.integers(k, size=n), random.random(n) < 0.7
    names_of_groups = random.integers(groups, size=n)
    order = random.permutation(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "REPLICATES", 40)
        first = measure_labels(make(scores, target, answered=answered, groups=names_of_groups), names(k))
        other = make(scores[order], target[order], answered=answered[order], groups=names_of_groups[order])
        second = measure_labels(other, names(k))
    for name, measure in first.items():
        again = second[name]
        assert (measure.interval, measure.n) == (again.interval, again.n)
        for ours, theirs in ((measure.value, again.value), (measure.low, again.low), (measure.high, again.high)):
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12, nan_ok=True)
        if measure.interval != "none":
            assert measure.low <= measure.value <= measure.high


def test_many_scores_are_bootstrapped_less_often_and_say_so(monkeypatch):
    monkeypatch.setattr(intervals, "MANY_SCORES", 50)
    assert measure_labels(sample(30, 3), names(3))["mcc"].interval == "bootstrap(groups, B=200, seed=0)"
    assert measure_labels(sample(30, 3), names(3), seed=5)["mcc"].interval == "bootstrap(groups, B=200, seed=5)"


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        ({"groups": ["a"]}, ("a", "b")),
        ({"answered": [True]}, ("a", "b")),
        ({}, ("a", "b", "c")),
        ({}, ("a", "a")),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, classes):
    with pytest.raises(DataError, match="do not go with"):
        measure_labels(make([[0.2, 0.8]] * 2, [1, 0], **change), classes)
