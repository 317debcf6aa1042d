"""chance: normal numbers that a seed decides, the same in years and on every machine.

Only Philox's bits are promised never to change; numpy's normal numbers are not. So they are made here of the bits, by
Box and Muller (1958).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def normals(
    key: tuple[int, int], count: int, *, counter: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> NDArray[np.float64]:
    """So many numbers of mean 0 and deviation 1, (count,), of Philox with this key and counter, words of 64 bits.

    >>> normals((7, 0), 3).round(4).tolist()
    [-1.6801, 0.7259, -0.3435]
    """
    bits = np.random.Philox(key=np.array(key, np.uint64), counter=np.array(counter, np.uint64))
    even = (bits.random_raw(2 * count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    first, second = even.reshape(2, count)
    return np.asarray(np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second))
