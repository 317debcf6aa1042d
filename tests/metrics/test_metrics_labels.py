import numpy as np
import pytest

from sightline.core.errors import DataError, UsageError
from sightline.core.protocols import Meter
from sightline.core.results import Evidence, Labels
from sightline.metrics.label_measures import measure_labels
from sightline.metrics.labels import LabelMeter, quick_measures

CLASSES = ("cat", "dog", "owl")


def labels(*scores, classes=CLASSES, abstained=None):
    return Labels(classes=classes, scores=np.array(scores, np.float32), abstained=abstained)


def test_the_meter_is_a_shell_around_the_pure_function():
    meter: Meter = LabelMeter(CLASSES)
    meter.update(labels(0.7, 0.2, 0.1), 0, "anna")
    meter.update(labels(0.1, 0.2, 0.7), np.int64(1), "anna")
    meter.update(labels(0.3, 0.4, 0.3, abstained="not sure"), 1, "berta")
    answers = meter.arrays()
    assert answers.scores.dtype == np.float32 and answers.scores.shape == (3, 3)
    assert answers.target.tolist() == [0, 1, 1]
    assert answers.answered.tolist() == [True, True, False]
    assert answers.groups.tolist() == ["anna", "anna", "berta"]
    computed = meter.compute()
    for name, measure in measure_labels(answers, CLASSES).items():
        assert computed[name].to_dict() == measure.to_dict()
    assert computed["accuracy"].value == pytest.approx(2 / 3)
    assert computed["accuracy_answered"].value == 0.5
    assert computed["coverage"].value == pytest.approx(2 / 3)


def test_top_and_seed_are_handed_on():
    meter = LabelMeter(CLASSES, top=(2,), seed=9)
    for index in range(6):
        meter.update(labels(0.5, 0.3, 0.2), index % 3, str(index))
    computed = meter.compute()
    assert computed["top2"].value == pytest.approx(2 / 3)
    assert computed["log_loss"].interval == "bootstrap(groups, B=1000, seed=9)"


def test_an_empty_meter_computes_undefined_measures():
    assert all(measure.interval == "none" for measure in LabelMeter(CLASSES).compute().values())


@pytest.mark.parametrize(
    ("result", "target", "error", "message"),
    [
        (labels(0.5, 0.5, classes=("cat", "dog")), 0, UsageError, r"not classes \('cat', 'dog'\)"),
        (labels(0.5, 0.5, 0.0, classes=("dog", "cat", "owl")), 0, UsageError, "not classes"),
        (
            Evidence(heat=np.zeros((1, 1), np.float32), target="cat", probe="none", verdict=""),
            0,
            UsageError,
            "Evidence",
        ),
        (labels(0.5, 0.5, 0.0), 3, DataError, "target 3 of 'x' is no class; they go from 0 to 2"),
        (labels(0.5, 0.5, 0.0), -1, DataError, "target -1"),
        (labels(np.nan, 0.5, 0.0), 0, DataError, "not finite"),
    ],
)
def test_answers_that_cannot_be_counted_are_refused_and_leave_no_trace(result, target, error, message):
    meter = LabelMeter(CLASSES)
    with pytest.raises(error, match=message):
        meter.update(result, target, "x")
    answers = meter.arrays()
    assert len(answers.scores) == len(answers.target) == len(answers.answered) == len(answers.groups) == 0


def test_quick_measures_are_the_measures_without_intervals(case):
    quick = quick_measures(case.scores.astype(np.float32), case.target)
    meter = LabelMeter(tuple(map(str, range(case.classes))))
    for index, (scores, target) in enumerate(zip(case.scores, case.target, strict=True)):
        meter.update(Labels(classes=meter.classes, scores=scores.astype(np.float32)), target, str(index))
    computed = meter.compute()
    assert quick == pytest.approx({name: computed[name].value for name in ("accuracy", "log_loss")})
