"""Sources: streaming gives what the cache gives, in order, and reads no further ahead than it says."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("torch")

from sightline.learn.source import Cached, Streamed

IMAGES = np.random.default_rng(0).integers(0, 255, (20, 4, 3, 1)).astype(np.uint8)
TARGETS = {"label": np.arange(20), "weight": np.linspace(0, 1, 20, dtype=np.float32)}


def streamed(load: object = None, threads: int = 3) -> Streamed:
    return Streamed(load or IMAGES.__getitem__, TARGETS, 20, threads)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(
    "picks", [[], [[3]], [[3, 1, 3]], [[0, 1], [2, 3]], [[19, 0], [5], [7, 7, 7], [1, 2], [3, 4], [6]]]
)
def test_streamed_equals_cached(picks: list[list[int]], threads: int) -> None:
    rows = [np.array(some) for some in picks]
    cached, stream = Cached(IMAGES, TARGETS), streamed(threads=threads)
    assert cached.count == stream.count == 20
    pairs = list(zip(cached.batches(rows), stream.batches(rows), strict=True))
    assert len(pairs) == len(picks)
    for some, ((images, targets), (others, other_targets)) in zip(picks, pairs):
        np.testing.assert_array_equal(images, IMAGES[some])
        np.testing.assert_array_equal(others, images)
        assert others.dtype == images.dtype
        assert targets.keys() == other_targets.keys() == TARGETS.keys()
        for name, array in targets.items():
            np.testing.assert_array_equal(array, TARGETS[name][some])
            np.testing.assert_array_equal(other_targets[name], array)


def test_no_more_than_three_batches_are_in_memory() -> None:
    begun, lock = [], threading.Lock()

    def load(row: int) -> np.ndarray:
        with lock:
            begun.append(row)
        return IMAGES[row]

    picks = [np.arange(start, start + 2) for start in range(0, 20, 2)]
    for index, _ in enumerate(streamed(load).batches(picks)):
        with lock:
            assert len(begun) <= 2 * (index + 3)
    assert sorted(begun) == list(range(20))


def test_what_went_wrong_in_a_thread_is_raised() -> None:
    def load(row: int) -> np.ndarray:
        if row == 5:
            raise ValueError("row 5")
        return IMAGES[row]

    stream = streamed(load).batches([np.arange(4), np.arange(4, 8), np.arange(8, 12)])
    np.testing.assert_array_equal(next(stream)[0], IMAGES[:4])
    with pytest.raises(ValueError, match="row 5"):
        next(stream)
