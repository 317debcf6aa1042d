"""chance: numbers that are the same for ever, normal, and other ones for each key and counter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sightline.data.chance import normals


def slow(key: tuple[int, int], count: int, counter: tuple[int, int, int, int]) -> list[float]:
    """The same by the book, a number at a time: the first half of the bits are lengths, the second are angles."""
    bits = np.random.Philox(key=np.array(key, np.uint64), counter=np.array(counter, np.uint64)).random_raw(2 * count)
    share = [(int(each) >> 11) / 2**53 for each in bits]
    return [math.sqrt(-2 * math.log(1 - share[i])) * math.cos(2 * math.pi * share[count + i]) for i in range(count)]


def test_the_same_numbers_for_ever() -> None:
    found = normals((7, 0), 3)
    np.testing.assert_allclose(found, [-1.6800856907250121, 0.7259337096915338, -0.3435231731535863], rtol=1e-13)
    found = normals((2**64 - 1, 2), 3, counter=(0, 0, 0, 12))
    np.testing.assert_allclose(found, [-0.010782792838950957, -0.7907444877644448, 0.7131054550882692], rtol=1e-13)


def test_each_number_by_the_book() -> None:
    key, counter = (2**64 - 1, 3), (0, 9, 0, 2**40)
    np.testing.assert_allclose(normals(key, 50, counter=counter), slow(key, 50, counter), rtol=1e-12)


def test_they_are_normal() -> None:
    from scipy import stats

    found = normals((5, 0), 200_000)
    assert abs(found.mean()) < 4 / math.sqrt(200_000)
    assert abs(found.std() - 1) < 4 / math.sqrt(400_000)
    assert stats.kstest(found, "norm").pvalue > 0.001
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.01
    assert np.isfinite(found).all() and np.abs(found).max() > 4  # the tails are there


@pytest.mark.parametrize("other", [((8, 0), (0, 0, 0, 0)), ((7, 1), (0, 0, 0, 0)), ((7, 0), (0, 0, 0, 1))])
def test_keys_and_counters_differ(other: tuple[tuple[int, int], tuple[int, int, int, int]]) -> None:
    key, counter = other
    one, two = normals((7, 0), 4000), normals(key, 4000, counter=counter)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.06
    assert not np.intersect1d(one, two).size


def test_no_number_is_none() -> None:
    assert normals((7, 0), 0).shape == (0,)
