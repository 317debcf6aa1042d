"""Shards: the files that one data set is spread over, from a folder, a file, a pattern in braces, a list or URLs."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import urlsplit

from sightline.core.errors import DataError
from sightline.data.layouts._files import files, folders, is_junk
from sightline.data.ranges import shown
from sightline.data.samples import split_word

T = TypeVar("T")
MOST = 1_000_000
_AT_ONCE = 8
_BRACES = re.compile(r"\{([^{}]*)\}")
_STEPS = re.compile(r"(\d+)\.\.(\d+)")
_WEB = ("http://", "https://")


@dataclass(frozen=True)
class Shard:
    """One file of many."""

    name: str
    """Below the folder that holds them all, with forward slashes."""
    place: str
    """Path or URL."""
    split: str
    """As its name or a folder says: `train`, `validation`, `test` or ""."""


def is_spread(text: str) -> bool:
    """Whether a text names files by a pattern or a URL, and is no path itself.

    >>> is_spread("https://host/train-{000..146}.tar"), is_spread("photos"), is_spread("train-{0..9}.tar")
    (True, False, True)
    """
    return is_web(text) or ("{" in text and not Path(text).exists() and len(_pieces(text)) > 1)


def ending_of(text: str) -> str:
    """The ending of a path, pattern or URL in lower case, whatever query follows it."""
    return PurePosixPath(urlsplit(text).path if is_web(text) else text).suffix.lower()


def holds(path: Path, ending: str) -> bool:
    """Whether a folder holds files with this ending, or folders that do and nothing but such."""
    if not path.is_dir():
        return False
    inner = folders(path)
    if not _direct(path, ending) and not inner:
        return False
    return all(_direct(folder, ending) for folder in inner)


def is_list(path: Path, ending: str) -> bool:
    """Whether this is a text file that lists files with this ending, one a line."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(8192).decode("utf-8", "replace")
    first = next(_lines(head), "")
    return ending_of(first) == ending


def shards_of(place: Path | str, ending: str) -> tuple[str, list[Shard]]:
    """The place that holds all files (a folder or the beginning of a URL), and the files in order of their names.

    Raises DataError where there are none, one is missing, or a pattern is not well formed.
    """
    if isinstance(place, Path) and place.is_dir():
        found = [str(file) for file in files(place) if file.suffix.lower() == ending and file.is_file()]
        if not found:
            raise DataError(f"{place} holds no {ending} files")
        return str(place), _named(found, str(place))
    if isinstance(place, Path) and is_list(place, ending):
        listed = [
            each for line in _lines(place.read_text(encoding="utf-8", errors="replace")) for each in _expanded(line)
        ]
        found = [each if is_web(each) else str(place.parent / each) for each in listed]
    else:
        found = _expanded(str(place))
    missing = [each for each in found if not is_web(each) and not Path(each).is_file()]
    if missing:
        raise DataError(f"{len(missing)} of {len(found)} files are not there; the first: {missing[0]}")
    root = _common([shown(each) for each in found])
    shards = _named(found, root)
    if len({shard.name for shard in shards}) < len(shards):
        raise DataError(f"{shown(str(place))} names a file twice")
    return root, shards


def each_of(shards: Sequence[Shard], look: Callable[[Shard], T]) -> Iterator[tuple[Shard, T]]:
    """Each shard with what was found in it, in order; several are looked into at once."""
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sightline-shards")
    try:
        yield from zip(shards, pool.map(look, shards))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # no waiting: Ctrl-C must not hang on many shards


def beside(shards: Sequence[Shard], root: str, name: str) -> str:
    """A further file in the place that holds all the shards, with the login and query that reach the first of them."""
    if not is_web(shards[0].place):
        return str(Path(root) / name)
    return urlsplit(shards[0].place)._replace(path=f"{urlsplit(root).path}/{name}").geturl()


def _lines(text: str) -> Iterator[str]:
    """Lines that say something; those that begin with # do not."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return (line for line in lines if line and not line.startswith("#"))


def is_web(text: str) -> bool:
    """Whether this is a URL that is read over HTTP."""
    return text.lower().startswith(_WEB)


def _direct(folder: Path, ending: str) -> bool:
    return any(
        each.name.lower().endswith(ending) and not is_junk(each.name) and each.is_file() for each in folder.iterdir()
    )


def _pieces(text: str) -> list[list[str]]:
    """The text cut at its braces into what may stand in each place; a single piece where there are none."""
    pieces, at = [], 0
    for match in _BRACES.finditer(text):
        steps = _STEPS.fullmatch(match[1])
        if not steps and "," not in match[1]:
            continue
        pieces += [[text[at : match.start()]], _steps(steps[1], steps[2]) if steps else match[1].split(",")]
        at = match.end()
    return [*pieces, [text[at:]]] if pieces else [[text]]


def _steps(first: str, last: str) -> list[str]:
    low, high = int(first), int(last)
    if not 0 <= high - low < MOST:
        raise DataError(f"{{{first}..{last}}} is no range of at most {MOST:,} numbers, the smaller first")
    return [
        str(number).zfill(len(first) if first.startswith("0") or len(first) == len(last) else 0)
        for number in range(low, high + 1)
    ]


def _expanded(text: str) -> list[str]:
    """Every text that a pattern stands for.

    >>> _expanded("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    pieces = _pieces(text)
    count = math.prod(map(len, pieces))
    if count > MOST:
        raise DataError(f"{shown(text)} stands for {count:,} files; {MOST:,} are the most")
    return ["".join(parts) for parts in itertools.product(*pieces)]


def _common(places: Sequence[str]) -> str:
    """The longest beginning of all places that ends at a slash."""
    heads = [os.path.dirname(each) for each in places]  # noqa: PTH120 - URLs, too
    shared = heads[0]
    while not all(head == shared or head.startswith(f"{shared}/") for head in heads) and "/" in shared:
        shared = shared.rpartition("/")[0]
    return shared


def _named(places: Sequence[str], root: str) -> list[Shard]:
    names = [Path(shown(each)).as_posix() if not is_web(each) else shown(each) for each in places]
    base = root if is_web(places[0]) else Path(root).as_posix() if root else ""
    inner = [name.removeprefix(base).lstrip("/") if base not in ("", ".") else name for name in names]
    return sorted(
        (Shard(name, place, _split(name)) for name, place in zip(inner, places)), key=lambda shard: shard.name
    )


def _split(name: str) -> str:
    """The split that a file's name or else its folders name; "" where none or two do."""
    path = PurePosixPath(name)
    for text in (path.stem, *path.parts[-2::-1]):
        said = {split for word in _words(text) if (split := split_word(word))}
        if said:
            return said.pop() if len(said) == 1 else ""
    return ""


def _words(text: str) -> Iterator[str]:
    return (word for word in re.split(r"[^a-zA-Z]+", text) if word)
