"""Splits: carved by group and class, held against leaks, and named by a fingerprint."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sightline.core.errors import DataError, LeakError, UsageError
from sightline.data.samples import SPLITS, Sample, Samples, check_digests

_SHOWN = 10
_AHEAD = 32
"""How many units are looked at for the next one, where a unit has several classes."""


@dataclass(frozen=True)
class Leak:
    """Two rows in different splits that hold the same picture, or belong to the same group."""

    kind: str
    """`pixels` or `group`."""
    first: str
    """Path in the earlier split."""
    first_split: str
    second: str
    second_split: str
    group: str = ""
    """The shared group, when it is one."""

    def __str__(self) -> str:
        shared = "the same pixels" if self.kind == "pixels" else f"the same group {self.group!r}"
        return f"{self.first} ({self.first_split}) and {self.second} ({self.second_split}): {shared}"


def carve(
    samples: Samples,
    *,
    validation: float,
    holdout: float,
    seed: int,
    digests: Sequence[str] | None = None,
    near: Mapping[int, int] | None = None,
) -> Samples:
    """Give every row a split: rows without one are training, and what is missing is carved from training.

    First a test split of the share `holdout`, if there is none and the share is not 0, then a validation split of the
    share `validation`. Groups stay whole, and so do pictures with equal `digests` (of their pixels), which otherwise
    would leak, and the clusters of `near` (row → the row a cluster is named for, from `duplicates.clusters`). Classes
    keep their shares as nearly as whole groups permit; the last group of a class never leaves training. What should be
    known of the result is added to `notes`.

    The same rows, seed and shares give the same splits, in whatever order the rows come. Raises UsageError for shares
    outside 0 to 1, DataError when there is nothing to train on or a split comes out empty.
    """
    for name, share in (("validation", validation), ("holdout", holdout)):
        if not 0 <= share < 1:
            raise UsageError(f"{name} is {share}; it must be a share of the training pictures, from 0 to below 1")
    rows = [replace(row, split=row.split or "train") for row in samples.rows]
    units = units_of(rows, None if digests is None else check_digests(digests, samples), near or {})
    if not any(row.split == "train" for row in rows):
        raise DataError(f"{samples.root} holds no training pictures; their split is called train, or has no name")
    notes = list(samples.notes)
    for stream, (name, share) in enumerate((("test", holdout), ("validation", validation))):
        if share == 0 or any(row.split == name for row in rows):
            continue
        key = np.array([seed % 2**64, stream], np.uint64)
        chosen = _choose(rows, units, share, np.random.Philox(key=key))
        if not chosen:
            raise DataError(
                f"no pictures can be spared for a {name} split: every class has a single picture or group; "
                f"add pictures, or set {'holdout' if name == 'test' else name} to 0"
            )
        rows = [replace(row, split=name) if i in chosen else row for i, row in enumerate(rows)]
        notes += _missing(rows, name)
    return replace(samples, rows=tuple(rows), notes=tuple(notes))


def promoted(samples: Samples) -> Samples:
    """The rows of the validation split as test split, for data that keeps its last word there and has no other.

    Raises DataError where there is a test split, or no validation split.
    """
    if "test" in samples.splits() or "validation" not in samples.splits():
        has = ", ".join(samples.splits()) or "nothing"
        raise DataError(f"--val-is-test makes a test split of the validation split, and the data has {has}")
    rows = (replace(row, split="test") if row.split == "validation" else row for row in samples.rows)
    return replace(samples, rows=tuple(rows))


def find_leaks(digests: Sequence[str], samples: Samples) -> list[Leak]:
    """Pictures with equal pixels, and groups, that stand in two splits.

    `digests` are `pictures.pixel_digest`, one a row. Each row of the later split is named once for its pixels, beside
    the first such row of the earlier split; a group is named once for each pair of splits.
    """
    by_digest: dict[str, list[Sample]] = defaultdict(list)
    by_group: dict[str, list[Sample]] = defaultdict(list)
    for digest, row in zip(check_digests(digests, samples), samples.rows):
        by_digest[digest].append(row)
        if row.group:
            by_group[row.group].append(row)
    leaks = [leak for rows in by_digest.values() for leak in _pairs("pixels", rows)]
    for rows in by_group.values():
        first_of_each = {row.split: row for row in reversed(rows)}
        leaks += _pairs("group", list(first_of_each.values()))
    return leaks


def find_conflicts(digests: Sequence[str], samples: Samples) -> list[str]:
    """One sentence for each picture that stands in one split with two different targets: at least one is wrong."""
    by_place: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for digest, row in zip(check_digests(digests, samples), samples.rows):
        by_place[row.split, digest].append(row)
    notes = []
    for rows in by_place.values():
        other = next((row for row in rows if row.target != rows[0].target), None)
        if other:
            notes.append(
                f"{rows[0].path} ({rows[0].target.text()}) and {other.path} ({other.target.text()}) "
                f"are the same picture with different targets"
            )
    return notes


def refuse_leaks(leaks: Sequence[Leak], *, allow: bool = False) -> None:
    """Raise LeakError with the first pairs and the total, unless there are none or they are allowed."""
    if not leaks or allow:
        return
    shown = "\n".join(f"  {leak}" for leak in leaks[:_SHOWN])
    more = f"\n  ... and {len(leaks) - _SHOWN} more" if len(leaks) > _SHOWN else ""
    raise LeakError(
        f"{len(leaks)} leak{'s' if len(leaks) > 1 else ''} between splits, which would make the figures too good:\n"
        f"{shown}{more}\nRemove one of each pair, keep each group in one split, or go on with --allow-leak "
        f"(the card will say so)"
    )


def fingerprint(samples: Samples, digests: Sequence[str]) -> str:
    """SHA-256 of what was learned from: every row's pixels, target, split and group, whatever the order and the place.

    `digests` are `pictures.pixel_digest`, one a row; pictures decoded at another scale have other digests.
    """
    lines = (
        json.dumps([digest, row.target.key(), row.split, row.group], ensure_ascii=True)
        for digest, row in zip(check_digests(digests, samples), samples.rows)
    )
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _pairs(kind: str, rows: Iterable[Sample]) -> list[Leak]:
    by_split: dict[str, list[Sample]] = defaultdict(list)
    for row in rows:
        by_split[row.split or "train"].append(row)
    ordered = [(name, by_split[name]) for name in SPLITS if name in by_split]
    return [
        Leak(kind, firsts[0].path, first, row.path, second, row.group if kind == "group" else "")
        for (first, firsts), (second, seconds) in itertools.combinations(ordered, 2)
        for row in seconds
    ]


def units_of(rows: Sequence[Sample], digests: Sequence[str] | None, near: Mapping[int, int]) -> list[list[int]]:
    """Rows that must stay together, by their paths: linked (union-find) by group, equal pixels or cluster."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        keys = [("group", row.group)] if row.group else []
        keys += [("pixels", digests[i])] if digests is not None else []
        keys += [("near", str(near[i]))] if i in near else []
        for key in keys:
            parent[root(i)] = root(first.setdefault(key, i))
    members: dict[int, list[int]] = defaultdict(list)
    for i in sorted(range(len(rows)), key=lambda i: rows[i].path):
        members[root(i)].append(i)
    return list(members.values())


def _choose(rows: Sequence[Sample], units: list[list[int]], share: float, bits: np.random.Philox) -> set[int]:
    """Row numbers to move out of training, whole units at a time.

    Greedy, after iterative stratification (Sechidis et al., 2011): the class that lacks most takes its next unit,
    unless that overshoots the wanted number by more than leaving it falls short. When all do, the smallest is taken.
    Where pictures have several classes, the rarest of those that lack a picture comes first: the common ones come
    along with it, but not the other way round. Of its next few units it takes the one that brings least too much.
    """
    strata = [row.target.strata() or ("",) for row in rows]
    several = any(len(names) > 1 for names in strata)
    pool = [unit for unit in units if all(rows[i].split == "train" for i in unit)]
    pool = [pool[i] for i in np.random.Generator(bits).permutation(len(pool))]
    held = [Counter(name for i in unit for name in strata[i]) for unit in pool]
    total = Counter(name for names, row in zip(strata, rows) if row.split == "train" for name in names)
    remaining = Counter(name for counts in held for name in counts)  # units of each class still in training
    queues = {name: [u for u in range(len(pool) - 1, -1, -1) if name in held[u]] for name in sorted(remaining)}
    lacking = {name: share * total[name] for name in queues}
    wanted = max(1, round(share * sum(row.split == "train" for row in rows)))
    moved, chosen = 0, set[int]()

    def urgency(name: str) -> tuple[float, float]:
        return (several and lacking[name] >= 0.5) / total[name], lacking[name]

    def surplus(unit: int) -> float:
        return -1.0 if pool[unit][0] in chosen else sum(n for name, n in held[unit].items() if lacking[name] < 0.5)

    while moved < wanted and queues:
        name = max(queues, key=urgency)
        if not queues[name]:
            del queues[name]
            continue
        ahead = queues[name][-_AHEAD:] if several else [0]
        unit = queues[name].pop(min(range(-1, -len(ahead) - 1, -1), key=lambda i: surplus(queues[name][i])))
        size = len(pool[unit])
        overshoots = moved + size - wanted > wanted - moved
        if pool[unit][0] in chosen or overshoots or any(remaining[other] < 2 for other in held[unit]):
            continue
        moved += size
        chosen.update(pool[unit])
        for other, count in held[unit].items():
            remaining[other] -= 1
            lacking[other] -= count
    if not chosen:
        spare = [unit for unit, counts in zip(pool, held) if all(remaining[name] > 1 for name in counts)]
        smallest: list[int] = min(spare, key=len, default=[])
        chosen.update(smallest)
    return chosen


def _missing(rows: Sequence[Sample], split: str) -> list[str]:
    """A note on classes of the training split that a carved one does not hold."""
    there = {name for row in rows if row.split == split for name in row.target.strata()}
    learnt = {name for row in rows if row.split == "train" for name in row.target.strata()}
    absent = sorted(learnt - there)
    if not absent:
        return []
    shown = ", ".join(absent[:_SHOWN]) + (f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else "")
    verb = "has" if len(absent) == 1 else "have"
    return [f"{shown} {verb} too few pictures or groups to stand in the {split} split, so nothing is measured there"]
