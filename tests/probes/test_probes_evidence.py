import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from sightline.core.errors import UsageError
from sightline.core.protocols import Request
from sightline.probes import evidence
from sightline.probes._view import View

PLACES = [(0, 0), (3, 15), (12, 9), (18, 18)]


def request(top: int, left: int) -> Request:
    image = np.random.default_rng(0).integers(20, 40, (24, 24, 1)).astype(np.uint8)
    image[top : top + 6, left : left + 6] = 230
    return Request(arrays={"image": image}, size_hw=(24, 24))


@pytest.mark.parametrize("place", PLACES)
def test_the_map_lies_on_the_planted_cue(planted: Callable[..., View], place: tuple[int, int]) -> None:
    found = evidence.explain(request(*place), None, planted())
    top, left = place
    assert (found.target, found.probe, found.heat.dtype) == ("bright", "evidence", np.float32)
    assert found.heat.max() == 1.0
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert top - 1 <= y <= top + 6
    assert left - 1 <= x <= left + 6
    inside = found.heat[max(top - 4, 0) : top + 10, max(left - 4, 0) : left + 10].sum()
    assert inside > 0.95 * found.heat.sum()
    assert "can be trusted here" in found.verdict
    assert found.faithfulness["better_than_random"] >= 0.95
    assert all(0 <= value <= 1 for value in found.faithfulness.values())


def test_another_class_has_other_evidence(planted: Callable[..., View], corner: Request) -> None:
    bright, dark = (evidence.explain(corner, target, planted()) for target in (0, 1))
    assert dark.target == "dark"
    assert bright.heat[5, 17] > 0.9
    assert dark.heat[5, 17] == 0


@pytest.mark.parametrize("everywhere", [True, False])
def test_the_shares_add_up_to_the_logit(planted: Callable[..., View], corner: Request, everywhere: bool) -> None:
    """Completeness: the mean (or sum) of the map and the bias give the logit, each less its mean over classes."""
    weight = np.random.default_rng(1).normal(size=(3, 2 if everywhere else 72))
    bias = (0.3, -1.0, 2.0)
    view = planted(weight, bias=bias)
    outputs = view.run({"image": corner.arrays["image"][None]})
    logits = outputs["logits"][0]
    for target in range(3):
        shares = evidence.activation(outputs["features"][0], view.arrays()["head.weight"], target)
        total = (shares.mean() if everywhere else shares.sum()) + bias[target] - np.mean(bias)
        assert total == pytest.approx(logits[target] - logits.mean(), abs=1e-4)


@pytest.mark.parametrize("everywhere", [True, False])
def test_of_labels_that_do_not_compete_nothing_is_taken_off(
    planted: Callable[..., View], corner: Request, everywhere: bool
) -> None:
    weight, bias = np.random.default_rng(1).normal(size=(3, 2 if everywhere else 72)), (0.3, -1.0, 2.0)
    view = dataclasses.replace(planted(weight, bias=bias), competing=False)
    outputs = view.run({"image": corner.arrays["image"][None]})
    for target in range(3):
        stored = view.arrays()["head.weight"]
        shares = evidence.activation(outputs["features"][0], stored, target, competing=False)
        total = (shares.mean() if everywhere else shares.sum()) + bias[target]
        assert total == pytest.approx(outputs["logits"][0, target], abs=1e-4)


def test_a_head_that_looks_at_one_cell_is_explained_by_it(planted: Callable[..., View], corner: Request) -> None:
    """The cue is planted in the head: of two bright cells it looks at one."""
    weight = np.zeros((3, 2, 6, 6))
    weight[0, 0, 1, 4] = 20.0
    corner.arrays["image"][18:, :6] = 230
    found = evidence.explain(corner, None, planted(weight.reshape(3, -1)))
    assert np.unravel_index(found.heat.argmax(), found.heat.shape)[0] in range(4, 8)
    assert found.heat[18:, :6].max() == 0
    assert "can be trusted here" in found.verdict


def test_a_model_that_ignores_the_picture_is_not_believed(planted: Callable[..., View], corner: Request) -> None:
    found = evidence.explain(corner, None, planted(np.zeros((3, 2)), bias=(2.0, 0.0, 0.0)))
    assert found.heat.max() == 0
    assert found.faithfulness["better_than_random"] == 0
    assert "do not read anything into" in found.verdict


def test_a_map_from_other_weights_is_not_believed(planted: Callable[..., View], corner: Request) -> None:
    """The stored weights were swapped: the map is drawn, and the verdict tells."""
    honest = planted()
    swapped = np.array([[0.0, 1], [60, 0], [0, 0]])
    liar = View(
        run=honest.run,
        scores=honest.scores,
        card=honest.card,
        arrays=lambda: {"head.weight": swapped},
        classes=honest.classes,
    )
    found = evidence.explain(corner, 0, liar)
    assert found.faithfulness["better_than_random"] < 0.2
    assert "do not read anything into it" in found.verdict


def test_says_what_was_wrong(planted: Callable[..., View], corner: Request) -> None:
    with pytest.raises(UsageError, match="use the probe occlusion"):
        evidence.explain(corner, None, planted(evidence=False))
    with pytest.raises(UsageError, match="go from 0 to 2"):
        evidence.explain(corner, 3, planted())
    with pytest.raises(UsageError, match="a head of 5 weights a class does not fit features of 2 x 6 x 6"):
        evidence.activation(np.zeros((2, 6, 6)), np.zeros((3, 5)), 0)
