"""advice: the share is chosen on one half and claimed on the other, in planted cases that help, harm and do nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.core.errors import DataError
from sightline.metrics.gain import gain_by_picture
from sightline.verbs.advice import Advice, Arm, advised

SEEDS, PICTURES = 5, 300
NAMES = np.array([str(number) for number in range(PICTURES)])


def arm(choose: float, claim: float, seed: int = 0) -> Arm:
    """So many right, each seed and picture by itself."""
    random = np.random.default_rng(seed)
    halves = [random.random((SEEDS, PICTURES)) < chance for chance in (choose, claim)]
    return Arm(choose=halves[0], claim=halves[1])


def judged(arms: dict[float, Arm]) -> Advice:
    return advised(arms, groups=(NAMES.tolist(), NAMES.tolist()))


@pytest.mark.parametrize(
    ("with_them", "word", "told"),
    [
        (0.85, "use", "use 1 synthetic picture for each real one: +"),
        (0.55, "harms", "leave them out, they harm: -"),
        (0.70, "no evidence", "no evidence that they help: "),
    ],
)
def test_the_word_follows_the_claiming_half(with_them: float, word: str, told: str) -> None:
    found = judged({0.0: arm(0.7, 0.7), 1.0: arm(0.7, with_them, seed=1)})
    assert found.word == word and found.sentence().startswith(told)
    assert "on 300 held-back validation pictures, 5 seeds" in found.sentence()
    low, high = found.claimed.measure.low, found.claimed.measure.high
    assert {"use": low > 0, "harms": high < 0, "no evidence": low <= 0 <= high}[word]


def test_the_share_follows_the_choosing_half_alone() -> None:
    arms = {0.0: arm(0.6, 0.6), 0.5: arm(0.6, 0.95, 1), 2.0: arm(0.8, 0.7, 2), 4.0: arm(0.5, 0.9, 3)}
    found = judged(arms)
    assert found.share == 2
    own = gain_by_picture(arms[2.0].claim, arms[0.0].claim, groups=NAMES)
    assert found.claimed == own
    assert set(found.chosen) == {0.5, 2, 4}
    assert found.chosen[4].measure.value < 0 < found.chosen[2].measure.value


def test_of_equals_the_smallest_share() -> None:
    same = arm(0.8, 0.8, 1)
    assert judged({0.0: arm(0.6, 0.6), 2.0: same, 0.5: same, 1.0: same}).share == 0.5


def test_no_seed_claims_what_it_chose() -> None:
    """The first seed alone is for share 1; without it the others are for share 2."""

    def right(counts: tuple[int, ...]) -> np.ndarray:
        return np.arange(PICTURES) < np.array(counts)[:, None]

    claims = {share: np.random.default_rng(int(share)).random((3, PICTURES)) < 0.6 for share in (0.0, 1.0, 2.0)}
    counts = {0.0: (50, 50, 50), 1.0: (200, 50, 50), 2.0: (60, 60, 60)}
    found = judged({share: Arm(choose=right(counts[share]), claim=claims[share]) for share in counts})
    assert found.share == 1
    own = np.stack([claims[2.0][0], claims[1.0][1], claims[1.0][2]])
    assert found.claimed == gain_by_picture(own, claims[0.0], groups=NAMES)


def test_pictures_of_a_group_count_together() -> None:
    arms = {0.0: arm(0.6, 0.6), 1.0: arm(0.6, 0.6, 1)}
    better = arms[0.0].claim.copy()
    better[:, :30] = True  # all of one group
    arms[1.0] = Arm(choose=arms[1.0].choose, claim=better)
    assert judged(arms).word == "use"
    together = ["video"] * 30 + NAMES[30:].tolist()
    assert advised(arms, groups=(NAMES.tolist(), together)).word == "no evidence"


def test_what_is_told_of_more_seeds() -> None:
    """Where each seed has its own luck more of them tell; where pictures differ alike in all, they cannot."""
    plain = arm(0.5, 0.5)
    lucky = plain.claim.copy()
    for row, count in enumerate([30, -10, 25, -5, 20]):
        lucky[row, :60] = plain.claim[row, :60]
        lucky[row, : abs(count)] = count > 0
    found = judged({0.0: plain, 1.0: Arm(choose=plain.choose, claim=lucky)})
    assert found.word == "no evidence" and found.claimed.seeds_to_decide
    assert f"about {found.claimed.seeds_to_decide} seeds would tell" in found.sentence()
    stuck = plain.claim.copy()
    stuck[:, :2], stuck[:, 2] = True, False
    found = judged({0.0: plain, 1.0: Arm(choose=plain.choose, claim=stuck)})
    assert (found.word, found.claimed.seeds_to_decide) == ("no evidence", None)
    assert found.sentence().endswith("more seeds alone would not tell, more pictures might")


def test_json_has_all_figures() -> None:
    told = judged({0.0: arm(0.7, 0.7), 1.0: arm(0.75, 0.9, 1), 0.5: arm(0.7, 0.7, 2)}).to_dict()
    assert (told["advice"], told["share"], told["seeds"], set(told["chosen"])) == ("use", 1.0, 5, {"0.5", "1"})
    assert told["claimed"]["pictures"] == 300 and told["claimed"]["low"] > 0 and told["seeds_to_decide"] is None


def test_nothing_to_choose_from() -> None:
    with pytest.raises(DataError, match="give at least one share above 0"):
        judged({0.0: arm(0.7, 0.7)})


def test_shares_without_effect_are_seldom_advised() -> None:
    """Three shares of which none does anything, each training with luck of its own that both halves share."""
    random, used = np.random.default_rng(0), 0
    names = [str(number) for number in range(100)]
    for _ in range(100):
        hard = random.normal(0, 1.5, 100)
        arms = {}
        for share in (0.0, 0.5, 1.0, 2.0):
            luck = random.normal(1, 0.4, (SEEDS, 1))
            halves = [random.random((SEEDS, 100)) < 1 / (1 + np.exp(-hard - luck)) for _ in range(2)]
            arms[share] = Arm(choose=halves[0], claim=halves[1])
        used += advised(arms, groups=(names, names)).word == "use"
    assert used <= 8
