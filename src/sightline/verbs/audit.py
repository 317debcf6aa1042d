"""audit: is a data set fit to learn from? Bad files, leaks between splits, contradictions and rare classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from sightline.core.events import Event
from sightline.data.read import read
from sightline.data.splits import find_conflicts, find_leaks
from sightline.data.survey import Survey, survey

FEW = 20
"""A class with fewer training pictures than this is called rare."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found; `problems` first."""

    layout: str
    counts: dict[str, dict[str, int]]
    """split → class → pictures that have it."""
    pictures: dict[str, int]
    """split → pictures."""
    left_out: tuple[tuple[str, str], ...]
    leaks: tuple[str, ...]
    conflicts: tuple[str, ...]
    rare: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether training would start without being forced."""
        return not self.leaks

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "layout": self.layout,
            "counts": self.counts,
            "pictures": self.pictures,
            "left_out": [list(pair) for pair in self.left_out],
            "leaks": list(self.leaks),
            "conflicts": list(self.conflicts),
            "rare": list(self.rare),
        }

    def __str__(self) -> str:
        lines = [f"layout {self.layout}"]
        for split, n in self.pictures.items():
            lines.append(f"{split or 'unsplit'}: {n} pictures, {len(self.counts[split])} classes")
        for title, found in (("leak", self.leaks), ("contradiction", self.conflicts), ("rare class", self.rare)):
            lines += [f"{title}: {text}" for text in found[:20]]
            lines += [f"... and {len(found) - 20} more" for _ in range(len(found) > 20)]
        lines += [f"left out {path}: {reason}" for path, reason in self.left_out[:20]]
        lines += [f"... and {len(self.left_out) - 20} more left out" for _ in range(len(self.left_out) > 20)]
        return "\n".join([*lines, "no leak found" if self.clean else "training is refused unless --allow-leak"])


def audit(data: str, *, layout: str | None = None, group_by: str = "") -> Generator[Event, None, Audit]:
    """Read and decode everything once; yields progress and returns what was found."""
    samples = read(data, layout=layout, group_by=group_by)
    for item in survey(samples):
        if isinstance(item, Survey):
            return _judged(item)
        yield item
    raise AssertionError("a survey ends with its Survey")


def _judged(found: Survey) -> Audit:
    usable = found.samples
    train = Counter(name for row in usable.rows if row.split in ("", "train") for name in row.target.strata())
    rare = [f"{name} has {count} training pictures" for name, count in sorted(train.items()) if count < FEW]
    return Audit(
        layout=usable.layout,
        counts=usable.counts(),
        pictures={split: len(usable.split(split)) for split in usable.splits()},
        left_out=usable.left_out,
        leaks=tuple(str(leak) for leak in find_leaks(found.digests, usable)),
        conflicts=tuple(find_conflicts(found.digests, usable)),
        rare=tuple(rare),
    )
