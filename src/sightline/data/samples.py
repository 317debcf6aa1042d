"""Samples: the table of what a data set holds, one row a picture: path, target, split, group."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sightline.core.anomalies import GOOD
from sightline.core.errors import DataError
from sightline.data.landmarks import Point
from sightline.data.ranges import Stored

SPLITS = ("train", "validation", "test")
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Target:
    """What is known about a picture. Every kind of target is a frozen dataclass below this one; a task's
    `encode_target` says which it takes."""

    def key(self) -> str:
        """Its identity as text, for the fingerprint: equal for equal targets and for no others."""
        return repr(self)

    def strata(self) -> tuple[str, ...]:
        """The classes it names, which counts are kept of and a split keeps in proportion; none where it names none."""
        return ()

    def text(self) -> str:
        """How a table or a caption names it; "" where there is nothing to say."""
        return ""


@dataclass(frozen=True)
class Label(Target):
    """One class for the whole picture."""

    name: str

    def key(self) -> str:
        """The class, marked as one."""
        return f"label:{self.name}"

    def strata(self) -> tuple[str, ...]:
        """The class."""
        return (self.name,)

    def text(self) -> str:
        """The class."""
        return self.name


@dataclass(frozen=True)
class Tags(Target):
    """Any number of classes for the whole picture; none says that none of them is there.

    >>> Tags(("dog", "cat", "dog")).names
    ('cat', 'dog')
    """

    names: tuple[str, ...] = ()
    """Sorted, each once, whatever the order they were given in."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(sorted(set(self.names))))

    def key(self) -> str:
        """The classes as a list that no other set of names is written as."""
        return f"tags:{json.dumps(self.names)}"

    def strata(self) -> tuple[str, ...]:
        """The classes."""
        return self.names

    def text(self) -> str:
        """The classes with a pipe between them."""
        return "|".join(self.names) or "(none)"


@dataclass(frozen=True)
class Object:
    """One thing in a picture, with the upright box about it."""

    name: str
    xyxy: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the whole upright picture; a pixel's edges are whole numbers, so that a box
    about the first pixel is (0, 0, 1, 1). right > left, bottom > top, within the picture."""
    crowd: bool = False
    """Many things of the class under one box (COCO's iscrowd, Open Images' IsGroupOf): found or not, as may be."""
    difficult: bool = False
    """Hard to see (Pascal VOC): neither asked for nor held against who finds it."""
    id: str = ""
    """The annotation's own number or name, where the format has one."""
    area: float = 0.0
    """Square pixels that the thing itself covers, by which COCO tells small from large; 0 where nothing but its box is
    known."""
    points: tuple[Point, ...] = ()
    """Its landmarks, those not known included, where the data has some."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyxy", tuple(float(value) for value in self.xyxy))


@dataclass(frozen=True)
class Objects(Target):
    """All things in a picture; none says that none is there.

    >>> Objects((Object("cat", (0, 0, 4, 3)), Object("dog", (1, 1, 3, 3)), Object("cat", (2, 0, 4, 1)))).text()
    '2 cat, 1 dog'
    """

    items: tuple[Object, ...] = ()

    def key(self) -> str:
        """The things in a fixed order, whatever the order they were given in and what they are numbered."""
        each = sorted(
            [item.name, *(round(v, 3) for v in item.xyxy), item.crowd, item.difficult]
            + [[name, round(x, 3), round(y, 3), seen] for name, x, y, seen in item.points if seen]
            for item in self.items
        )
        return f"objects:{json.dumps(each)}"

    def strata(self) -> tuple[str, ...]:
        """The classes that are there, each once, sorted."""
        return tuple(sorted({item.name for item in self.items}))

    def text(self) -> str:
        """How many of each class, the most frequent first."""
        counts = Counter(item.name for item in self.items)
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return ", ".join(f"{count} {name}" for name, count in ordered) or "(nothing)"


@dataclass(frozen=True)
class Inspected(Target):
    """What an inspector found on a part: that it is good, or a kind of defect, and where."""

    kind: str = GOOD
    """The kind of defect as the data calls it; `GOOD` for a flawless part."""
    masks: tuple[Path, ...] = ()
    """Pictures of the part's own size, not black where the defect is; several count together."""

    def key(self) -> str:
        """Kind and the content of the masks."""
        sums = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in self.masks)
        return f"inspected:{json.dumps([self.kind, *sums])}"

    def strata(self) -> tuple[str, ...]:
        """The kind, or good."""
        return (self.kind,)

    def text(self) -> str:
        """The kind, or good."""
        return self.kind


@dataclass(frozen=True)
class Sharp(Target):
    """The picture as it should be, of which the row's is a poor version: smaller, noisy or blurred."""

    path: str
    """As a row's path is: relative to the root with forward slashes; `Samples.open_sharp` reaches it."""
    digest: str
    """SHA-256 of the file's bytes, in hexadecimal."""

    def key(self) -> str:
        """What the file holds, whatever it is called."""
        return f"sharp:{self.digest}"

    def text(self) -> str:
        """The path."""
        return self.path


@dataclass(frozen=True)
class NoTarget(Target):
    """Nothing is known about the picture."""


@dataclass(frozen=True)
class Sample:
    """One picture."""

    path: str
    """Relative to the root with forward slashes (absolute where a table says so); `array[row]` for one in memory."""
    target: Target = NoTarget()
    split: str = ""
    """`train`, `validation`, `test`, or "" where the data does not say (it then counts as training)."""
    group: str = ""
    """Patient, video, part: what must not stand on both sides of a split; "" is a group of its own."""
    meta: Mapping[str, str] = field(default_factory=dict)
    """Whatever else the data says about it."""


@dataclass(frozen=True)
class Samples:
    """A data set's rows, in a fixed order."""

    root: Path
    rows: tuple[Sample, ...]
    layout: str
    classes: tuple[str, ...] = ()
    """Class names in the order of their indices: sorted by code point, as other tools do (so "10" stands before "2");
    by number where arrays hold numbers."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Path and reason of what stands in the data but is not a row."""
    notes: tuple[str, ...] = ()
    """What a person should know, in whole sentences."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Pictures that are in memory, by name: (N, H, W) or (N, H, W, C)."""
    opener: Callable[[str], Stored] | None = None
    """How a picture is reached, by its row's path, where all stand inside larger files."""

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, name: str) -> Samples:
        """Only the rows of one split, in their order; everything else stays."""
        return replace(self, rows=tuple(row for row in self.rows if row.split == name))

    def splits(self) -> tuple[str, ...]:
        """The splits that have rows: train, validation, test, then "" for rows without one."""
        present = {row.split for row in self.rows}
        return tuple(name for name in (*SPLITS, "") if name in present)

    def counts(self) -> dict[str, dict[str, int]]:
        """split → class → pictures that have it, for every class in order."""
        table = {split: dict.fromkeys(self.classes, 0) for split in self.splits()}
        for row in self.rows:
            for name in row.target.strata():
                table[row.split][name] = table[row.split].get(name, 0) + 1
        return table

    def open(self, sample: Sample) -> Path | Stored | NDArray[Any]:
        """What `pictures.read_picture` takes for this sample: a path, a part of a larger file, or the array itself.

        Nothing is read yet.
        """
        if self.opener is not None:
            return self.opener(sample.path)
        match = _IN_MEMORY.fullmatch(sample.path) if self.arrays else None
        if match is None:
            return self.root / sample.path
        picture: NDArray[Any] = self.arrays[match["name"]][int(match["row"])]
        return picture

    def open_sharp(self, sample: Sample) -> Path | Stored | NDArray[Any]:
        """What `pictures.read_picture` takes for the picture as this sample should be, its target `Sharp`; see `open`.

        Raises DataError for a target of another kind.
        """
        if not isinstance(sample.target, Sharp):
            raise DataError(f"{sample.path} has no sharp picture; lay pairs out as HR/1.png and LR/1.png")
        return self.open(replace(sample, path=sample.target.path))


_IN_MEMORY = re.compile(r"(?P<name>\w+)\[(?P<row>\d+)\]")


def split_word(text: str) -> str | None:
    """The split a word means, in any case: "Training" is train; "" stays ""; None for any other word.

    >>> split_word("VAL"), split_word("Testing"), split_word("fold3")
    ('validation', 'test', None)
    """
    text = text.strip().lower()
    return _SPLIT_WORDS.get(text, None if text else "")


def class_order(targets: Iterable[Target]) -> tuple[str, ...]:
    """Class names sorted by code point: the order torchvision, Keras and scikit-learn give a folder's classes."""
    return tuple(sorted({name for target in targets for name in target.strata()}))


def check_digests(digests: Iterable[str], samples: Samples) -> tuple[str, ...]:
    """The digests as a tuple. Raises DataError unless there is one a row."""
    listed = tuple(digests)
    if len(listed) != len(samples):
        raise DataError(f"{len(listed)} digests for {len(samples)} pictures; give one a row, in the same order")
    return listed
