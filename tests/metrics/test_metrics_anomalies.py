from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from sightline.core.errors import DataError
from sightline.data import samples
from sightline.metrics.anomalies import AnomalyMeter
from sightline.metrics.anomaly_measures import GOOD, measure_anomalies
from sightline.metrics.intervals import wilson

OVERALL = ("auroc", "ap", "f1_max", "found", "false_alarms", "precision", "f1", "pixel_auroc", "pixel_ap", "pro")


def fed(rows, seed=0, masks=True, parts=0):
    """A meter over pictures of these kinds; scores of one decimal, so that many are tied; parts: pictures a group."""
    random, meter, scores = np.random.default_rng(5), AnomalyMeter(seed=seed), []
    for number, kind in enumerate(rows):
        mask = np.zeros((24, 24), np.bool_)
        if kind != GOOD:
            mask[random.integers(0, 20) :, random.integers(0, 20) :] = True
        heat = (ndimage.gaussian_filter(random.normal(size=(24, 24)), 1) + 0.3 * mask).astype(np.float32)
        score = round(float(random.normal(kind != GOOD)), 1)
        pair = (heat, mask) if masks else None
        group = f"part {number // parts}" if parts else str(number)
        meter.update(score, score > 0.5, kind=kind, heat_and_mask=pair, group=group)
        scores.append(score)
    return meter, np.array(scores), np.array(rows)


ROWS = [GOOD, "dent", GOOD, "scratch", "dent"] * 16


def test_scores_are_measured_as_by_scikit_learn(reference):
    meter, scores, kinds = fed(ROWS)
    measures, defective = meter.compute(), kinds != GOOD
    assert measures["auroc"].value == pytest.approx(reference.roc_auc_score(defective, scores), abs=1e-12)
    assert measures["ap"].value == pytest.approx(reference.average_precision_score(defective, scores), abs=1e-12)
    best = max(reference.f1_score(defective, scores >= threshold) for threshold in scores)
    assert measures["f1_max"].value == pytest.approx(best, abs=1e-12)
    for kind in ("dent", "scratch"):
        held = ~defective | (kinds == kind)
        expected = reference.roc_auc_score(defective[held], scores[held])
        assert measures[f"auroc/{kind}"].value == pytest.approx(expected, abs=1e-12)


def test_alarms_are_measured_as_by_scikit_learn_with_wilsons_intervals(reference):
    meter, scores, kinds = fed(ROWS)
    measures, defective, alarms = meter.compute(), kinds != GOOD, scores > 0.5
    assert measures["precision"].value == pytest.approx(reference.precision_score(defective, alarms))
    assert measures["f1"].value == pytest.approx(reference.f1_score(defective, alarms))
    for name, held in {
        "found": defective,
        "false_alarms": ~defective,
        "found/dent": kinds == "dent",
        "found/scratch": kinds == "scratch",
    }.items():
        measure = measures[name]
        assert measure.value == pytest.approx(alarms[held].mean())
        assert (measure.interval, measure.n) == ("wilson", held.sum())
        assert (measure.low, measure.high) == tuple(map(float, wilson(alarms[held].sum(), held.sum())))
    assert (measures["precision"].interval, measures["precision"].n) == ("wilson", alarms.sum())


def test_pixels_are_measured_as_by_scikit_learn(reference):
    random, meter, heats, masks = np.random.default_rng(0), AnomalyMeter(), [], []
    for number in range(12):
        mask = np.zeros((50, 40), np.bool_)
        mask[: 4 * (number % 4), :20] = True
        heats.append((random.normal(size=mask.shape) + mask).astype(np.float32))
        masks.append(mask)
        kind = "dent" if mask.any() else GOOD
        meter.update(1.0, False, kind=kind, heat_and_mask=(heats[-1], mask), group=str(number))
    measures, heat, mask = meter.compute(), np.ravel(heats), np.ravel(masks)
    assert measures["pixel_auroc"].value == pytest.approx(reference.roc_auc_score(mask, heat), abs=1e-3)
    assert measures["pixel_ap"].value == pytest.approx(reference.average_precision_score(mask, heat), abs=1e-3)
    assert measures["pro"].value == measures["pro/dent"].value


def test_names_kinds_and_intervals():
    meter, _, _ = fed(ROWS, seed=7)
    measures = meter.compute()
    by_kind = {f"{stem}/{kind}" for stem in ("found", "auroc", "pro") for kind in ("dent", "scratch")}
    assert set(measures) == {*OVERALL, *by_kind}
    assert all("/" in name for name in list(measures)[len(OVERALL) :])
    for name, measure in measures.items():
        assert measure.low <= measure.value <= measure.high
        share = name.split("/")[0] in ("found", "false_alarms", "precision")
        assert measure.interval == ("wilson" if share else "bootstrap(groups, B=1000, seed=7)"), name
    assert measures["pro"].to_dict() != fed(ROWS, seed=8)[0].compute()["pro"].to_dict()


def test_many_maps_have_fewer_replicates():
    meter, _, _ = fed(ROWS * 3)
    measures = meter.compute()
    assert measures["pro"].interval == "bootstrap(groups, B=200, seed=0)"
    assert measures["auroc"].interval == "bootstrap(groups, B=1000, seed=0)"


def test_pictures_of_one_part_come_and_go_together():
    measures = fed(ROWS, parts=5)[0].compute()
    for name in ("auroc", "pro", "found", "false_alarms"):
        assert measures[name].interval.startswith("bootstrap") and measures[name].n == 16
    alone = fed(ROWS, parts=len(ROWS))[0].compute()
    assert all(alone[name].interval == "none" for name in ("auroc", "f1", "pro", "pixel_auroc"))
    assert (alone["found"].interval, alone["found"].n) == ("wilson", 1)


@pytest.mark.parametrize(
    ("rows", "masks", "undefined"),
    [
        ([], True, set(OVERALL)),
        ([GOOD] * 5, True, set(OVERALL) - {"false_alarms"}),
        (["dent"] * 5, False, {"auroc", "auroc/dent", "false_alarms", "pixel_auroc", "pixel_ap", "pro", "pro/dent"}),
        (["dent"] * 5, True, {"auroc", "auroc/dent", "false_alarms"}),
        ([GOOD, "dent"] * 5, False, {"pixel_auroc", "pixel_ap", "pro", "pro/dent"}),
        ([GOOD, "dent"] * 5, True, set()),
    ],
)
def test_what_is_undefined_is_nan_without_a_warning(rows, masks, undefined):
    measures = fed(rows, masks=masks)[0].compute()
    assert {name for name, measure in measures.items() if np.isnan(measure.value)} == undefined
    assert all(measures[name].interval == "none" for name in undefined)


def test_pictures_without_a_mask_are_left_out_of_the_measures_of_pixels():
    meter, _, _ = fed(ROWS[:40])
    before = meter.compute()
    for number in range(3):
        meter.update(9.0, True, kind="burr", heat_and_mask=None, group=f"more {number}")
    after = meter.compute()
    assert after["pro"].to_dict() == pytest.approx(before["pro"].to_dict()) and after["pro"].n == 40
    assert np.isnan(after["pro/burr"].value) and after["found/burr"].value == 1
    assert after["found"].n == before["found"].n + 3


def test_nothing_said_finds_nothing():
    meter = AnomalyMeter()
    for number, kind in enumerate([GOOD, "dent"] * 4):
        meter.update(0.0, False, kind=kind, heat_and_mask=None, group=str(number))
    measures = meter.compute()
    assert [measures[name].value for name in ("found", "false_alarms", "precision", "f1")] == [0, 0, 0, 0]
    assert measures["auroc"].value == 0.5 and measures["auroc"].interval == "none"


def test_the_meter_is_a_shell_around_the_pure_function():
    meter, scores, kinds = fed(ROWS[:10])
    inspections = meter.arrays()
    assert inspections.scores.tolist() == scores.tolist() and inspections.kinds.tolist() == kinds.tolist()
    assert {name: str(each) for name, each in measure_anomalies(inspections).items()} == {
        name: str(each) for name, each in meter.compute().items()
    }


def test_good_is_called_as_samples_call_it():
    assert GOOD == samples.GOOD


@pytest.mark.parametrize(
    ("score", "pair", "said"),
    [
        (float("nan"), None, "score nan for a picture of 'x' is not finite"),
        (float("inf"), None, "not finite"),
        (1.0, (np.zeros((2, 2), np.float32), np.zeros((3, 3), np.bool_)), "heat and mask"),
        (1.0, (np.full((2, 2), np.nan, np.float32), np.zeros((2, 2), np.bool_)), "not finite"),
    ],
)
def test_answers_that_cannot_be_counted_are_refused_and_leave_no_trace(score, pair, said):
    meter = AnomalyMeter()
    with pytest.raises(DataError, match=said):
        meter.update(score, True, kind=GOOD, heat_and_mask=pair, group="x")
    inspections = meter.arrays()
    assert not len(inspections.scores) and not inspections.tallies and not len(inspections.groups)


def test_columns_that_do_not_fit_are_refused():
    inspections = fed(ROWS[:10])[0].arrays()
    with pytest.raises(DataError, match="10 scores do not go with"):
        measure_anomalies(replace(inspections, alarms=inspections.alarms[:9]))
    with pytest.raises(DataError, match="not finite"):
        measure_anomalies(replace(inspections, scores=np.full(10, np.nan)))
