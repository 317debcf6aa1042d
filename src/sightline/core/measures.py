"""A measured number: its value, its interval, how the interval was made and on how many pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """One metric with its 95 % interval.

    >>> print(Measure(0.973, 0.951, 0.985, "wilson", 360))
    0.973 [0.951, 0.985]
    """

    value: float
    low: float
    high: float
    interval: str
    """`wilson`, `bootstrap(groups, B=1000, seed=0)` or `none`."""
    n: int
    """How many pictures (or groups) the interval rests on."""

    def __str__(self) -> str:
        return f"{self.value:.3f}" if self.interval == "none" else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; NaN (undefined on this data) becomes None."""
        return {k: (None if isinstance(v, float) and v != v else v) for k, v in asdict(self).items()}
