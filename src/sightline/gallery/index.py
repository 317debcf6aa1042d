"""index: which of very many templates are worth comparing, found by faiss from four bits for every two numbers.

It is made in memory from the open templates and is never written. What it finds is compared exactly; what it misses is
missed, so it names a few thousand where a handful are wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 200_000
"""Of fewer templates an index saves little: measured, it takes 0.7 of the time for 100,000, a quarter for 200,000."""
SHORTLIST = 4000
"""Templates that it names."""
_TAUGHT = 1 << 12
"""Templates that the codes are learnt from; faiss looks at no more."""


def build_index(templates: NDArray[np.float32]) -> Any:
    """An index of rows of length 1 and of even width (product codes, scanned in registers: André et al., 2015); None
    where they are few or faiss is not installed."""
    width = templates.shape[1]
    if len(templates) < LEAST or width % 2:
        return None
    try:
        import faiss
    except ModuleNotFoundError:
        return None
    index = faiss.IndexPQFastScan(width, width // 2, 4, faiss.METRIC_INNER_PRODUCT)
    index.train(templates[:: -(-len(templates) // _TAUGHT)])
    index.add(templates)
    return index


def shortlisted(index: Any, asked: NDArray[np.float32], count: int) -> list[NDArray[np.int64]]:
    """For each of some queries (Q, width) the rows of about so many templates that are most like it, rising."""
    _, found = index.search(asked, min(count, index.ntotal))
    return [np.sort(rows[rows >= 0]) for rows in found]
