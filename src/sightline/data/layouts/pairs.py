"""pairs: sharp pictures in one folder and poor ones of the same names in another, HR/1.png and LR/1.png."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, storing
from sightline.data.layouts._files import (
    file_name,
    files,
    folders,
    free_name,
    is_junk,
    looks_like_picture,
    not_picture,
    store,
)
from sightline.data.samples import Sample, Samples, Sharp, split_word

TARGET = Sharp
_SHARP = re.compile(r"(?i)(hr|sharp|gt|clean|target)([_-]?x\d+)?")
_POOR = re.compile(r"(?i)(lr|lq|poor|noisy|blur|input)([_-]?x\d+)?|lr[_-].+")
_SCALE = re.compile(r"(?i)[_-]?x(\d+)$")

_NO_SHARP, _NO_POOR = "no sharp picture has its name", "no poor picture has its name"
_WANTED = "it should hold HR/1.png and LR/1.png, or train/HR/1.png and train/LR/1.png"

_Left = list[tuple[Path, str]]
"""Path and reason of what is not used."""


@dataclass(frozen=True)
class _Place:
    """A folder that holds folders of sharp and of poor pictures side by side, with its split."""

    folder: Path
    split: str
    sharp: tuple[Path, ...]
    poor: tuple[Path, ...]
    others: tuple[Path, ...]

    def sharp_for(self, poor: Path) -> list[Path]:
        """Where the sharp pictures of these poor ones may lie: first the folder of their own scale, as HR_x4 for LR_x4,
        then the one whose name has no scale; empty where there is none, or two of one kind."""
        scales = dict.fromkeys((_scale(poor), ""))
        found = [[folder for folder in self.sharp if _scale(folder) == scale] for scale in scales]
        return [] if any(len(some) > 1 for some in found) else [folder for some in found for folder in some]


def fits(path: Path) -> bool:
    """Whether this folder, or its split folders, hold folders of sharp and of poor pictures and no others, or this is a
    folder of poor ones beside one of sharp ones; at least half of the pictures on either side need a partner, where the
    folder of poor ones was named those of that side."""
    root, places = _places(path)
    paired = all(_mostly_paired(place, named=root != path) for place in places)
    return bool(places) and not any(place.others for place in places) and paired


def read(path: Path) -> Samples:
    """One row a poor picture, whose target is the sharp one of the same name, whatever the endings of both.

    Folders of sharp pictures are called HR, sharp, gt, clean or target, those of poor ones LR, LR_x4 (or any LR_...),
    lq, poor, noisy, blur or input, in any case. They stand in `path`, or in its train, val and test folders. Where
    there are several of poor ones, `path` has to be that of one of them; the root is then the folder it stands in. A
    poor picture may be called 1x4 or 1_x4 whose sharp one is 1. For LR_x4, pictures in HR_x4 come before those in HR.
    Pictures without a partner are left out and listed. Nothing is decoded. Raises DataError when there is no pair, and
    where the folders leave a choice.
    """
    root, places = _places(path)
    if not places:
        raise DataError(f"{path} holds no folders of sharp and poor pictures side by side; {_WANTED}")
    _check_choice(path, places)
    rows: list[Sample] = []
    left: _Left = []
    for place in places:
        pairs, unpaired = _pairs(place, place.poor[0])
        left += unpaired
        for poor, sharp in pairs.items():
            try:
                target = Sharp(_told(sharp, root), _digest(sharp))
            except OSError as error:
                left.append((poor, f"its sharp picture cannot be read: {error.strerror or error}"))
            else:
                rows.append(Sample(_told(poor, root), target, place.split))
    left += _beside(root, places)
    if not rows:
        raise DataError(f"{path}: no poor picture has a sharp one of its name; {_WANTED}")
    return Samples(root, tuple(rows), "pairs", left_out=tuple((_told(each, root), reason) for each, reason in left))


def write(samples: Samples, path: Path) -> None:
    """Copy poor pictures to `LR/` and sharp ones to `HR/`, under one name, inside split folders when there are splits.

    Groups are not kept. Raises UsageError when `path` exists, DataError for a row without a sharp picture and for a
    picture that is not there; StorageError.
    """
    any_split = any(row.split for row in samples.rows)
    used: set[str] = set()
    with replace_folder(path) as root:
        for row in samples.rows:
            if not isinstance(row.target, Sharp):
                raise DataError(f"{row.path} has no sharp picture, and pairs holds nothing else; write csv or coco")
            base = PurePosixPath(row.split or "train") if any_split else PurePosixPath()
            wanted = file_name(samples, row)
            name = free_name(base / f"{wanted.stem.strip('. ') or 'picture'}.x", used)  # unique without its ending
            sharp = Sample(row.target.path)
            for side, each in (("LR", row), ("HR", sharp)):
                ending = file_name(samples, each).suffix
                target = root / base / side / f"{name.stem}{ending}"
                with storing(target):
                    store(samples, each, target)


def _places(path: Path) -> tuple[Path, list[_Place]]:
    """The root, and in it the folders with folders of pairs; none where this is no such data."""
    if not path.is_dir():
        return path, []
    splits = {folder: split for folder in folders(path) if (split := split_word(folder.name))}
    found = _place(path, "")
    if places := [found] if found else [each for folder, split in splits.items() if (each := _place(folder, split))]:
        return path, places
    poor = path.absolute()  # "." has a name, too
    found = _place(poor.parent, "") if _POOR.fullmatch(poor.name) else None
    return (poor.parent, [replace(found, poor=(poor,), others=())]) if found else (path, [])


def _place(folder: Path, split: str) -> _Place | None:
    inside = folders(folder)
    sharp = tuple(each for each in inside if _SHARP.fullmatch(each.name))
    poor = tuple(each for each in inside if _POOR.fullmatch(each.name))
    others = tuple(each for each in inside if each not in sharp and each not in poor)
    return _Place(folder, split, sharp, poor, others) if sharp and poor else None


def _pairs(place: _Place, poor: Path) -> tuple[dict[Path, Path], _Left]:
    """Poor picture → its sharp one, and what is left over on both sides."""
    left: _Left = []
    sharp: dict[str, Path] = {}
    for folder in place.sharp_for(poor):
        for name, file in _named(folder, left):
            if sharp.setdefault(name, file) != file:
                left.append((file, f"{_told(sharp[name], place.folder)} comes before it"))
    pairs: dict[Path, Path] = {}
    unused = dict(sharp)
    for name, file in sorted(_named(poor, left), key=lambda pair: pair[0] not in sharp):  # names in full come first
        partner = name if name in sharp else _SCALE.sub("", name)
        if partner in unused:
            pairs[file] = unused.pop(partner)
        else:
            left.append((file, "another poor picture has its sharp one" if partner in sharp else _NO_SHARP))
    return pairs, left + [(file, _NO_POOR) for file in unused.values()]


def _named(folder: Path, left: _Left) -> Iterator[tuple[str, Path]]:
    """Each picture below a folder with the name that pairs it: its path in there without the ending."""
    for file in files(folder):
        if reason := not_picture(file):
            left.append((file, reason))
        else:
            yield file.relative_to(folder).with_suffix("").as_posix(), file


def _mostly_paired(place: _Place, *, named: bool) -> bool:
    """Whether, for each folder of poor pictures, no more of either side are without a partner than with one.

    named: the folder of poor ones was, beside which any number of sharp ones may lie.
    """
    for poor in place.poor:
        pairs, left = _pairs(place, poor)
        reasons = [reason for _, reason in left]
        lonely = reasons.count(_NO_SHARP), 0 if named else reasons.count(_NO_POOR)
        if max(lonely) > len(pairs):
            return False
    return True


def _check_choice(path: Path, places: list[_Place]) -> None:
    """Raise DataError unless each place has one folder of poor pictures, and it is plain where their sharp ones lie."""
    if several := [str(poor) for place in places for poor in place.poor if len(place.poor) > 1]:
        raise DataError(f"{path} holds several folders of poor pictures; give one of them: {', '.join(several)}")
    for place in places:
        if not place.sharp_for(place.poor[0]):
            names = ", ".join(folder.name for folder in place.sharp)
            raise DataError(
                f"{place.folder}: which folder has the sharp pictures of {place.poor[0].name}, of {names}? Keep one, "
                f"called HR, and beside it at most one of the same scale, as HR_x4 for LR_x4"
            )


def _beside(root: Path, places: list[_Place]) -> _Left:
    """Folders and pictures that stand next to the folders of pairs."""
    used = {folder for place in places for folder in (place.folder, place.poor[0], *place.sharp_for(place.poor[0]))}
    bases = dict.fromkeys([root, *(place.folder for place in places)])
    inside = [each for base in bases for each in sorted(base.iterdir()) if not is_junk(each.name)]
    return [
        (each, "stands beside the folders of pairs")
        for each in inside
        if each not in used and (each.is_dir() or looks_like_picture(each))
    ]


def _told(path: Path, root: Path) -> str:
    return f"{path.relative_to(root).as_posix()}{'/' if path.is_dir() else ''}"


def _scale(folder: Path) -> str:
    """The 4 of LR_x4; "" for a name without a scale."""
    match = _SCALE.search(folder.name)
    return match[1] if match else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
