"""Draws: stateless, independent of each other, and balanced where they are asked to be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch")

from sightline.learn.draws import SLOTS, Slot, balanced_order, draws, order


def test_slots_are_the_columns_of_the_table() -> None:
    assert sorted(Slot) == list(range(SLOTS))


def test_a_draw_depends_on_seed_epoch_and_index_alone() -> None:
    table = draws(3, 2, 50)
    assert table.shape == (50, SLOTS)
    np.testing.assert_array_equal(draws(3, 2, 7), table[:7])  # however many pictures there are
    assert (table >= 0).all() and (table < 1).all()
    others = [draws(4, 2, 50), draws(3, 3, 50), draws(-3, 2, 50), draws(2**64 + 4, 2, 50)]
    assert not any(np.isclose(table, other, rtol=0, atol=1e-12).any() for other in others)
    np.testing.assert_array_equal(others[3], others[0])  # seeds count modulo 2**64


def test_slots_that_came_later_leave_the_older_ones_their_numbers() -> None:
    """Else every training from before would be another one: the first 33 are those of one stream, as ever."""
    oldest = np.random.Generator(np.random.Philox(key=np.array([3, 2], np.uint64))).random((50, 33))
    table = draws(3, 2, 50)
    np.testing.assert_array_equal(table[:, : Slot.TOP_LEFT_X], oldest)
    assert len(np.unique(table)) == table.size


def test_orders_are_permutations_of_their_own() -> None:
    orders = [tuple(order(seed, epoch, 40)) for seed, epoch in itertools.product((0, 1), (0, 1, 2))]
    assert all(sorted(each) == list(range(40)) for each in orders)
    assert len(set(orders)) == 6
    assert tuple(order(0, 1, 40)) == orders[1]
    same_stream = np.random.Generator(np.random.Philox(key=np.array([0, 1], np.uint64))).permutation(40)
    assert tuple(same_stream) != orders[1]  # the draws' own stream would tie a picture's place to its jitter


@pytest.mark.parametrize("counts", [(50, 5, 1), (3, 3), (1, 1, 1, 97), (8,)])
def test_a_balanced_order_has_every_class_equally_often(counts: tuple[int, ...]) -> None:
    strata = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    epochs = [balanced_order(1, epoch, strata) for epoch in range(60)]
    for rows in epochs:
        assert len(rows) == len(strata)
        times = np.bincount(strata[rows], minlength=len(counts))
        assert times.max() - times.min() <= 1
        for name in range(len(counts)):  # and within a class every picture
            within = np.bincount(rows[strata[rows] == name], minlength=len(strata))[strata == name]
            assert within.max() - within.min() <= 1
    assert set(np.concatenate(epochs)) == set(range(len(strata)))  # none is left out for ever
    np.testing.assert_array_equal(balanced_order(1, 7, strata), epochs[7])
    assert len({tuple(rows) for rows in epochs}) > 55
