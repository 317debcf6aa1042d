"""The files of a data set with boxes, and which of its pictures an annotation means by a name from elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sightline.core.errors import DataError
from sightline.data.layouts._files import PICTURES, files, is_junk, not_picture
from sightline.data.samples import split_word

_PICTURE_FOLDER = re.compile(r"(?i)(.*[ _.-])?(images?|imgs?|pictures?|photos?|jpegimages|pngimages|image_[0-3]|pos)")
_BESIDE_SPLIT = re.compile(r"(?i)images?|imgs?|pictures?|photos?|labels?|annotations?|data|sets?|obj|xmls?|jsons?")
"""What may stand beside a split in a folder's name."""
_TELLING = re.compile(r"(?i).*(label|annot|image|xml|json|txt).*")
"""Folders that are looked into to tell what a data set is, those of splits besides."""
_MASK_FOLDER = re.compile(r"(?i).*(mask|segmentation|depth|annot|label).*")
_LOOKED_AT, _FOLDERS = 400, 60
"""Files of a folder, and folders in it, that are looked at to tell what a data set is."""


@dataclass(frozen=True)
class Tree:
    """What lies below a folder (or, where no picture does, also in the folders of pictures beside it)."""

    base: Path
    """The folder that was given, or that of the file that was."""
    root: Path
    """The folder that paths of pictures are relative to: `base`, or the one above it."""
    pictures: tuple[Path, ...]
    others: tuple[Path, ...]
    known: frozenset[Path]
    """What may be a picture, by its ending or for want of one."""
    texts: frozenset[Path]
    """The files that end in .txt."""
    by_name: dict[str, list[Path]] = field(repr=False)
    by_stem: dict[str, list[Path]] = field(repr=False)

    def relative(self, path: Path) -> str:
        """A path as a row has it, and as messages do."""
        inside = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        return inside.as_posix()

    def ending(self, *suffixes: str) -> list[Path]:
        """The files with these endings, in order."""
        return [path for path in self.others if path.suffix.lower() in suffixes]

    def split_of(self, path: Path) -> str:
        """The split that a file's folders name, the innermost first, or else ""."""
        return split_of_folders(PurePosixPath(self.relative(path)).parent.parts)

    def find(self, names: Sequence[str], near: Path, split: str = "") -> Path:
        """The picture that the first of these names means which means any: a path from the annotation's folder or the
        root, or a name alone, wherever it lies, at last without regard for its ending. Nothing outside is ever meant.

        Of several of one name, the one is meant whose path ends most like the name, is of the split, and lies closest
        to `near`, the annotation. Raises LookupError with a reason.
        """
        for name in names:
            parts = safe_parts(name)
            for base in (near.parent, self.base, self.root) if parts else ():
                if (path := base.joinpath(*parts)) in self.known:
                    return path
            found = self._named(parts)
            if found:
                return self._best(found, parts, near, split)
        raise LookupError("no such picture in the data set")

    def _named(self, parts: Sequence[str]) -> list[Path]:
        name = PurePosixPath(parts[-1]) if parts else PurePosixPath()
        stem = name.stem if name.suffix.lower() in PICTURES else name.name
        return self.by_name.get(name.name.casefold()) or self.by_stem.get(stem.casefold()) or []

    def _best(self, found: list[Path], parts: Sequence[str], near: Path, split: str) -> Path:
        if len(found) == 1:
            return found[0]

        def rank(path: Path) -> tuple[int, bool, bool, int, bool]:
            tail = sum(1 for _ in _alike(path.parts[-2::-1], parts[-2::-1]))
            common = sum(1 for _ in _alike(path.parts, near.parts))
            masks = bool(_MASK_FOLDER.fullmatch(path.parent.name))
            of_split = bool(split) and self.split_of(path) == split
            return tail, of_split, not masks, common, bool(_PICTURE_FOLDER.fullmatch(path.parent.name))

        ranked = sorted(found, key=rank, reverse=True)
        if rank(ranked[0]) == rank(ranked[1]):
            some = " and ".join(self.relative(path) for path in ranked[:2])
            raise LookupError(f"several pictures have this name: {some}")
        return ranked[0]


def tree_of(path: Path) -> Tree:
    """Walk through a data set once. Raises DataError for a path that is not there."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    base = path if path.is_dir() else path.parent
    base = root = base if base.name not in ("", "..") else base.resolve()
    found = list(files(base))
    if not any(file.suffix.lower() in PICTURES for file in found):
        above = [file for folder in _beside(base) for file in files(folder) if file.suffix.lower() in PICTURES]
        found += above
        root = base.parent if above else base
    pictures = tuple(file for file in found if file.suffix.lower() in PICTURES)
    others = tuple(file for file in found if file.suffix.lower() not in PICTURES)
    by_name: dict[str, list[Path]] = {}
    by_stem: dict[str, list[Path]] = {}
    for file in found:
        if not not_picture(file):
            by_name.setdefault(file.name.casefold(), []).append(file)
        if file.suffix.lower() in PICTURES:
            by_stem.setdefault(file.stem.casefold(), []).append(file)
    known = frozenset(file for file in found if not not_picture(file))
    texts = frozenset(file for file in others if file.suffix == ".txt")
    return Tree(base, root, pictures, others, known, texts, by_name, by_stem)


def split_of_folders(parts: Sequence[str]) -> str:
    """The split that the innermost of these folders names: `train2017`, `val_images` and the like count.

    >>> [split_of_folders(folders) for folders in (("data", "val2017", "images"), ("images",), ("test rig 5",))]
    ['validation', '', '']
    """
    for part in reversed(parts):
        if (split := split_in(part)) and all(
            _BESIDE_SPLIT.fullmatch(word) or split_word(word) for word in _words(part)
        ):
            return split
    return ""


def split_in(text: str) -> str:
    """The split that is named by a word of a text; "" where none is, or two are.

    >>> split_in("instances_val2017"), split_in("train-annotations-bbox"), split_in("contrain"), split_in("train_test")
    ('validation', 'train', '', '')
    """
    said = {split for word in _words(text) if (split := split_word(word))}
    return said.pop() if len(said) == 1 else ""


def first_files(path: Path, *suffixes: str, most: int = 3) -> list[Path]:
    """A few files with these endings, from a folder or the folders in it (and in those of its splits); or the file
    itself. Nothing is walked through: it is for telling what a data set is."""
    if path.is_file():
        return [path] if path.suffix.lower() in suffixes else []
    found: list[Path] = []
    for folder in near_folders(path):
        found += _some(folder, suffixes, most)
    return found


def near_folders(path: Path) -> list[Path]:
    """A folder, those in it, and two levels more of those whose names say that they hold annotations or a split; not
    all where there are very many."""
    if not path.is_dir():
        return []
    found, level = [path], _folders(path)
    for _ in range(3):
        found += level
        telling = [folder for folder in level if _TELLING.fullmatch(folder.name) or split_of_folders((folder.name,))]
        level = [each for folder in telling for each in _folders(folder)]
    return found[: 3 * _FOLDERS]


def safe_parts(name: str) -> list[str]:
    r"""The parts of a path that lead nowhere but down, whichever slashes it is written with.

    >>> safe_parts(r"C:\data\a.jpg"), safe_parts("../../etc/a.jpg"), safe_parts("/a b/c.jpg")
    (['data', 'a.jpg'], ['etc', 'a.jpg'], ['a b', 'c.jpg'])
    """
    parts = name.strip().replace("\\", "/").replace("\0", "").split("/")
    return [part for part in parts if part not in ("", ".", "..") and not re.fullmatch(r"[A-Za-z]+:", part)]


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^A-Za-z]+", text) if word]


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            inner = [Path(entry.path) for entry in entries if not is_junk(entry.name) and entry.is_dir()]
    except OSError:
        return []
    return sorted(inner)[:_FOLDERS]


def _some(folder: Path, suffixes: tuple[str, ...], most: int) -> list[Path]:
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= _LOOKED_AT or len(found) >= most:
                    break
                if entry.name.lower().endswith(suffixes) and not is_junk(entry.name) and entry.is_file():
                    found.append(Path(entry.path))
    except OSError:
        pass
    return sorted(found)


def _beside(base: Path) -> list[Path]:
    """Folders beside this one that are called as folders of pictures are."""
    inner = _folders(base.absolute().parent)
    named = [folder for folder in inner if _PICTURE_FOLDER.fullmatch(folder.name) or split_of_folders((folder.name,))]
    return [base.parent / folder.name for folder in named if folder.name != base.name]


def _alike(first: Sequence[str], second: Sequence[str]) -> Iterator[str]:
    """What two paths begin with."""
    for one, other in zip(first, second):
        if one != other:
            return
        yield one
