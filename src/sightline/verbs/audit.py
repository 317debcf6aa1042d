"""audit: is a data set fit to learn from? Bad files, leaks, near-duplicates, contradictions and rare classes."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.core.errors import PictureError, UsageError
from sightline.core.events import Event, Note, Saved
from sightline.core.storage import write_bytes
from sightline.data.duplicates import Near, across, clusters, told
from sightline.data.pictures import read_picture
from sightline.data.read import read
from sightline.data.samples import Objects, Samples
from sightline.data.splits import find_conflicts, find_leaks
from sightline.data.survey import Survey, survey
from sightline.draw.sheet import Tile, contact_sheet, to_u8
from sightline.verbs.gather import GROUPING, near_duplicates

FEW = 20
"""A class with fewer training pictures than this is called rare."""
SHEET = 60
"""Pairs on a sheet at most, those in two splits first."""


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
    near: tuple[tuple[str, str, float], ...]
    """Path, path and correlation of near-duplicates: those in two splits first, then the likeliest."""
    near_clusters: tuple[tuple[str, ...], ...]
    """The paths of each cluster of near-duplicates, the largest first."""
    near_across: tuple[str, ...]
    """Sentences on near-duplicates in two splits; none when there are none."""
    notes: tuple[str, ...] = ()
    """What was put right in reading, in whole sentences."""
    boxes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Class → `small`, `medium` and `large` → boxes (under 32 x 32 pixels, under 96 x 96, above, as COCO cuts); empty
    where pictures have labels."""

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
            "notes": list(self.notes),
            "boxes": self.boxes,
            "near_duplicates": {
                "pairs": [list(pair) for pair in self.near],
                "clusters": [list(cluster) for cluster in self.near_clusters],
                "across": list(self.near_across),
            },
        }

    def __str__(self) -> str:
        lines = [f"layout {self.layout}"]
        for split, n in self.pictures.items():
            lines.append(f"{split or 'unsplit'}: {n} pictures, {len(self.counts[split])} classes")
        for name, sizes in list(self.boxes.items())[:20]:
            parts = ", ".join(f"{count} {size}" for size, count in sizes.items())
            lines.append(f"{name}: {sum(sizes.values())} boxes ({parts})")
        lines += [f"... and {len(self.boxes) - 20} more classes" for _ in range(len(self.boxes) > 20)]
        lines += self.notes
        for title, found in (("leak", self.leaks), ("contradiction", self.conflicts), ("rare class", self.rare)):
            lines += [f"{title}: {text}" for text in found[:20]]
            lines += [f"... and {len(found) - 20} more" for _ in range(len(found) > 20)]
        if self.near:
            most = len(self.near_clusters[0])
            lines.append(
                f"near-duplicates: {len(self.near)} pairs, {len(self.near_clusters)} clusters of up to {most} pictures"
            )
        lines += self.near_across
        lines += [f"left out {path}: {reason}" for path, reason in self.left_out[:20]]
        lines += [f"... and {len(self.left_out) - 20} more left out" for _ in range(len(self.left_out) > 20)]
        return "\n".join([*lines, "no leak found" if self.clean else "training is refused unless --allow-leak"])


def audit(
    data: str, *, layout: str | None = None, group_by: str = "", pairs_out: Path | None = None
) -> Generator[Event, None, Audit]:
    """Read and decode everything once; yields progress and returns what was found.

    pairs_out: a .png or .jpg to write the near-duplicates to, side by side, for a person to judge.
    Raises UsageError when that is there already or ends otherwise.
    """
    if pairs_out is not None and pairs_out.suffix.lower() not in (".png", ".jpg"):
        raise UsageError(f"{pairs_out} ends neither in .png nor in .jpg, which pairs can be drawn as")
    if pairs_out is not None and pairs_out.exists():
        raise UsageError(f"{pairs_out} exists already; delete it, or give another path")
    samples = read(data, layout=layout, group_by=group_by)
    for item in survey(samples):
        if isinstance(item, Survey):
            near = yield from near_duplicates(item)
            if pairs_out is not None:
                yield from _write_sheet(pairs_out, near, item.samples)
            return _judged(item, near)
        yield item
    raise AssertionError("a survey ends with its Survey")


def _judged(found: Survey, near: Sequence[Near]) -> Audit:
    usable = found.samples
    train = Counter(name for row in usable.rows if row.split in ("", "train") for name in row.target.strata())
    rare = [f"{name} has {count} training pictures" for name, count in sorted(train.items()) if count < FEW]
    groups: dict[int, list[str]] = {}
    for row, middle in sorted(clusters(near, usable).items()):
        groups.setdefault(middle, []).append(usable.rows[row].path)
    return Audit(
        layout=usable.layout,
        counts=usable.counts(),
        pictures={split: len(usable.split(split)) for split in usable.splits()},
        left_out=usable.left_out,
        leaks=tuple(str(leak) for leak in find_leaks(found.digests, usable)),
        conflicts=tuple(find_conflicts(found.digests, usable)),
        rare=tuple(rare),
        near=tuple(
            (usable.rows[p.first].path, usable.rows[p.second].path, p.correlation) for p in _first(near, usable)
        ),
        near_clusters=tuple(tuple(paths) for paths in sorted(groups.values(), key=lambda paths: (-len(paths), paths))),
        near_across=tuple(told(across(near, usable), usable, hint=GROUPING)),
        notes=usable.notes,
        boxes=_boxes(usable),
    )


def _boxes(samples: Samples) -> dict[str, dict[str, int]]:
    """Boxes by class and size, for every class in order; none where no picture has boxes."""
    targets = [row.target for row in samples.rows if isinstance(row.target, Objects)]
    table = {name: dict.fromkeys(("small", "medium", "large"), 0) for name in samples.classes} if targets else {}
    for item in (item for target in targets for item in target.items):
        left, top, right, bottom = item.xyxy
        area = (right - left) * (bottom - top)
        table[item.name]["small" if area < 32**2 else "medium" if area < 96**2 else "large"] += 1
    return table


def _named(pair: Near, samples: Samples) -> tuple[str, str, float]:
    return samples.rows[pair.first].path, samples.rows[pair.second].path, pair.correlation


def _first(near: Sequence[Near], samples: Samples) -> list[Near]:
    """Those in two splits first, then by correlation."""
    apart = across(near, samples)
    return [*apart, *sorted(set(near) - set(apart), key=lambda pair: (-pair.correlation, pair.first, pair.second))]


def _write_sheet(path: Path, near: Sequence[Near], samples: Samples) -> Generator[Event, None, None]:
    """The likeliest pairs side by side, four pairs a line."""
    if not near:
        yield Note(text=f"no near-duplicates, so {path} is not written")
        return
    tiles: list[Tile] = []
    shown = _first(near, samples)[:SHEET]
    for pair in shown:
        rows = [samples.rows[row] for row in (pair.first, pair.second)]
        try:
            pictures = [read_picture(samples.open(row), at_least_hw=(160, 160)) for row in rows]
        except PictureError:
            continue  # gone since the survey
        captions = [(Path(row.path).name, f"{row.split or 'unsplit'} · {pair.correlation:.2f}") for row in rows]
        tiles += [Tile(to_u8(each.pixels, each.high), caption) for each, caption in zip(pictures, captions)]
    sheet = contact_sheet(tiles, columns=8, tile_px=160, title=f"{len(shown)} of {len(near)} near-duplicate pairs")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG" if path.suffix.lower() == ".png" else "JPEG")
    write_bytes(path, buffer.getvalue())
    yield Saved(path=path, what="near-duplicates")
