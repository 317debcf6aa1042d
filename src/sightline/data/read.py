"""From a path to samples: find the layout, read it, and name the groups."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from sightline.core.errors import DataError, UsageError
from sightline.core.shelf import Shelf
from sightline.data.layouts._shards import is_spread, is_web
from sightline.data.pictures import is_url
from sightline.data.ranges import shown
from sightline.data.samples import Inspected, Sample, Samples

LAYOUTS = Shelf("data.layouts")
_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(.+)", re.DOTALL)  # two letters at least: C:\ is a drive
LABELLED = (
    "A folder of pictures should hold one folder a class, as cat/1.jpg and dog/2.jpg or train/cat/1.jpg; or a table "
    "samples.csv with the columns path, label, split, group"
)
"""How pictures with labels are laid out, for who has them otherwise."""
_WHAT = {True: "URLs", False: "patterns"}


def read(path: str | Path, *, layout: str | None = None, group_by: str = "") -> Samples:
    """Read a data set.

    The layout is found by looking, unless `layout` or a prefix on the path (`csv:faces`) names it. `group_by` is a
    regular expression, searched in each row's path: its first group, or the whole match without one, names the row's
    group (a patient, a video); rows it does not match keep theirs.

    Raises DataError when no layout fits, several do, or the data is not well formed; UsageError for a layout that does
    not exist or a regular expression that is not one.
    """
    text = str(path)
    match = _PREFIX.fullmatch(text)
    if layout is None and match and not is_url(text) and not Path(text).exists():
        layout, text = match[1], match[2]
    place = text if is_spread(text) else Path(text)
    if isinstance(place, Path) and is_url(text):
        raise DataError(f"{shown(text)} is no http or https URL, and others are not read: download it first")
    name = layout or (_detect(place) if isinstance(place, Path) else _detect_spread(place))
    module = LAYOUTS.load(name)
    if isinstance(place, Path) and not place.exists():
        raise DataError(f"{place}: no such file or folder")
    if isinstance(place, str) and not hasattr(module, "SHARDS"):
        raise DataError(f"{name} is not read from {_WHAT[is_url(text)]}, and {shown(text)} is one")
    samples: Samples = module.read(place)
    return _grouped(samples, group_by) if group_by else samples


def data_name(source: str) -> str:
    """What a data set is called by its path, pattern or URL; never a login or a query.

    >>> data_name("webdataset:https://me:secret@host/a/train-{0..9}.tar?key=1"), data_name("csv:/data/parts.csv")
    ('train-{0..9}', 'parts')
    """
    match = _PREFIX.fullmatch(source)
    text = match[2] if match and is_web(match[2]) else source
    return Path(shown(text) if is_web(text) else text.rpartition(":")[2]).stem


def _detect_spread(text: str) -> str:
    spread = {name: module for name in LAYOUTS.names() if hasattr(module := LAYOUTS.load(name), "SHARDS")}
    for name, module in spread.items():
        if module.fits(text):
            return name
    endings = " or ".join(module.SHARDS for module in spread.values())
    if is_url(text):
        raise DataError(
            f"{shown(text)} is a URL; Sightline opens no network but for shards ({endings}): download it first"
        )
    raise DataError(f"{text}: no such file or folder, and no pattern of {endings} files")


def _detect(path: Path) -> str:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    fitting = fitting_layouts(path)
    if fitting == ["imagefolder"] and (sets := [inner for inner in _subfolders(path) if _of_parts(inner)]):
        some = ", ".join(map(str, sorted(sets)[:3]))
        raise DataError(f"{path} holds data sets of inspected parts; give one of them: {some}")
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        options = ", ".join(f"{name}:{path}" for name in fitting)
        raise DataError(f"{path} can be read in several ways; say which: {options}")
    inner = path
    while len(inside := _subfolders(inner)) == 1:
        inner = inside[0]
        if fitting_layouts(inner):
            raise DataError(f"{path} is no data set, but the folder inside it is: {inner}")
    raise DataError(f"{path} is not laid out in a known way ({', '.join(LAYOUTS.names())}). {LABELLED}")


def fitting_layouts(path: Path) -> list[str]:
    """The names of the layouts that a path may have. One with boxes or masks says more than folders that might be
    classes, and any more than that pictures lie there."""
    fitting = [name for name in LAYOUTS.names() if LAYOUTS.load(name).fits(path)]
    fitting = [name for name in fitting if name != "plain"] or fitting
    beyond_labels = [name for name in fitting if hasattr(LAYOUTS.load(name), "TARGET")]
    return [name for name in fitting if name in beyond_labels or name != "imagefolder"] if beyond_labels else fitting


def _of_parts(path: Path) -> bool:
    """Whether a folder is a data set of inspected parts."""
    modules = (LAYOUTS.load(name) for name in LAYOUTS.names())
    return any(getattr(module, "TARGET", None) is Inspected and module.fits(path) for module in modules)


def _subfolders(path: Path) -> list[Path]:
    return [inner for inner in path.iterdir() if inner.is_dir()] if path.is_dir() else []


def _grouped(samples: Samples, group_by: str) -> Samples:
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise UsageError(f"group_by {group_by!r} is not a regular expression: {error}") from None
    rows = tuple(_with_group(row, pattern) for row in samples.rows)
    if all(new is old for new, old in zip(rows, samples.rows)):
        shown = samples.rows[0].path if samples.rows else "(no pictures)"
        raise DataError(f"group_by {group_by!r} matches no path; a path looks like {shown}")
    return replace(samples, rows=rows)


def _with_group(row: Sample, pattern: re.Pattern[str]) -> Sample:
    match = pattern.search(row.path)
    name = match[1 if pattern.groups else 0] if match else None
    return replace(row, group=name) if name else row
