"""From what a person types (paths, globs, folders, `-` for a list on standard input) to picture files, in order."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sightline.core.errors import UsageError

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
NOT_PICTURES = frozenset(
    [
        ".txt",
        ".csv",
        ".tsv",
        ".json",
        ".jsonl",
        ".xml",
        ".md",
        ".yaml",
        ".yml",
        ".html",
        ".py",
        ".zip",
        ".npz",
        ".npy",
        ".onnx",
        ".safetensors",
        ".log",
        ".pdf",
        ".db",
        ".parquet",
        ".part",
        ".ini",
    ]
)


def expand(texts: Iterable[str]) -> Iterator[str]:
    """Every picture meant, folders walked in sorted order; hidden files and other kinds of files are passed over.

    Raises UsageError for a URL (nothing is fetched unasked), a path that is not there, or a glob that matches nothing.
    """
    for text in [_checked(text) for text in texts]:  # all are looked at before the first is answered
        if text != "-":
            yield from _expand_one(text)
            continue
        for line in filter(None, map(str.strip, sys.stdin)):
            path = _local(line)
            found = Path(path).exists() or _matches(path)
            yield from _expand_one(path) if found else (line,)  # a missing one is listed, no more


def _checked(text: str) -> str:
    """The local spelling of a path or glob that means something."""
    if not text:
        raise UsageError("an empty path was given; a full stop means the folder you are in")
    if _URL.match(text):
        raise UsageError(f"{text} is a URL; Sightline opens no network. Download the picture and give its path")
    path = _local(text)
    if text == "-" or Path(path).exists() or (glob.has_magic(path) and _matches(path)):
        return path
    if glob.has_magic(path):
        raise UsageError(f"nothing matches {text}")
    raise UsageError(f"{text} is not there; give a picture, a folder, a glob in quotes, or - for a list on stdin")


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns


def _local(text: str) -> str:
    """A path typed with Windows separators means the same file elsewhere, if no file has that very name."""
    if os.sep == "/" and "\\" in text and not os.path.lexists(text):
        return text.replace("\\", "/")
    return text


def _expand_one(text: str) -> Iterator[str]:
    path = Path(text)
    for each in [text] if path.exists() else _matches(text):
        yield from _walk(Path(each)) if Path(each).is_dir() else (each,)


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        start = os.path.join(Path(root), "") if root != "." else ""  # noqa: PTH118
        for name in sorted(files):  # strings, not Paths: there may be millions
            if not name.startswith(".") and _ending(name) not in NOT_PICTURES and name != "Thumbs.db":
                yield start + name


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def without(sources: Iterable[str], done: Mapping[str, int]) -> Iterable[str]:
    """The sources that are not done, in order, each as often as it is missing; a list stays a list."""
    left = _without(sources, Counter(done))
    return list(left) if isinstance(sources, list) else left


def check_same(journal: Path, done: Mapping[str, int], sources: Sequence[str]) -> None:
    """Raise UsageError where a journal answers pictures that are not among the sources."""
    other = next(iter(Counter(done) - Counter(sources)), None)
    if other is not None:
        raise UsageError(f"{journal} holds answers to other pictures ({other}); delete it, or give another --out")


def _without(sources: Iterable[str], done: Counter[str]) -> Iterator[str]:
    for source in sources:
        if done[source] > 0:
            done[source] -= 1
        else:
            yield source


def fingerprint(texts: Iterable[str]) -> str:
    """SHA-256 of what was typed, as absolute paths: the same for the same pictures, whichever folder one is in."""
    whole = "\0".join(text if text == "-" else os.path.abspath(text) for text in texts)  # noqa: PTH100
    return hashlib.sha256(os.fsencode(whole)).hexdigest()
