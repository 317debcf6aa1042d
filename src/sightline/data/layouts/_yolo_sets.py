"""Which pictures a YOLO data set has, in which split: data.yaml, obj.data with its lists, or nothing but folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.core.errors import DataError
from sightline.data.layouts._objects_text import ends_of, lines_of, text_of
from sightline.data.layouts._objects_tree import Tree, safe_parts
from sightline.data.samples import split_word

_SPLITS = ("train", "val", "valid", "validation", "test")
_NAMES = ("classes.txt", "obj.names", "predefined_classes.txt", "names.txt")
_MOST = 10 << 20


@dataclass(frozen=True)
class Listed:
    """A picture that a data set names."""

    name: str
    said: Path
    """Where it should lie."""
    picture: Path
    """Where it lies, or should."""
    split: str | None


@dataclass(frozen=True)
class Sets:
    """All of a data set's pictures, and its class names by number."""

    listed: list[Listed]
    names: dict[int, str]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sets_of(tree: Tree, path: Path) -> Sets:
    """What `data.yaml` or `obj.data` names, and else what the folders hold. Raises DataError for a broken one."""
    config = tree.base / path.name if path.is_file() else next(_configs(tree), None)
    if config is None:
        return Sets(list(_in_folders(tree)), _loose_names(tree))
    told = _yaml(config) if config.suffix != ".data" else _data(config)
    names = _names(told, tree, config) or _loose_names(tree)
    sets = Sets([], names)
    for key in _SPLITS:
        for place in _places(told.get(key)):
            _add(sets, tree, config, told, key, place)
    if not sets.listed:
        sets.listed.extend(_in_folders(tree))
    return sets


def is_config(file: Path) -> bool:
    """Whether a file is a `data.yaml` (it has names and a split) or an `obj.data`."""
    if file.suffix.lower() == ".data":
        return re.search(r"(?m)^\s*names\s*=", ends_of(file)) is not None
    if file.suffix.lower() not in (".yaml", ".yml"):
        return False
    head = ends_of(file)
    return bool(re.search(r"(?m)^names\s*:", head) and re.search(r"(?m)^(train|val|valid|test)\s*:", head))


def labels_place(picture: Path) -> Path:
    """The path with the last folder called images called labels: images/train/a.jpg has labels/train/a.txt."""
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() == "images":
            parts[place] = {"images": "labels", "IMAGES": "LABELS"}.get(parts[place], "Labels")
            return Path(*parts)
    return picture


def _configs(tree: Tree) -> Iterator[Path]:
    """The outermost first."""
    files = sorted(tree.ending(".yaml", ".yml", ".data"), key=lambda file: len(file.parts))
    return (file for file in files if is_config(file))


def _in_folders(tree: Tree) -> Iterator[Listed]:
    """Pictures in folders called images, or beside a label file."""
    for picture in tree.pictures:
        inner = picture.relative_to(tree.root)
        below = "images" in (part.lower() for part in inner.parts[:-1])
        if below or picture.with_suffix(".txt") in tree.texts:
            yield Listed(str(inner), picture, picture, None)


def _add(sets: Sets, tree: Tree, config: Path, told: Mapping[str, Any], key: str, place: str) -> None:
    split = split_word(key) or ""
    found = _place(tree, config, told, place)
    if found is None:
        sets.notes.append(f"{config.name} names {place} for {key}, which is not there")
    elif found.is_dir():
        inside = [picture for picture in tree.pictures if picture.is_relative_to(found)]
        sets.listed.extend(Listed(str(each.relative_to(tree.root)), each, each, split) for each in inside)
    else:
        for line in lines_of(found, _MOST * 10):
            if line.strip():
                sets.listed.append(_from_list(tree, found, line, split))


def _from_list(tree: Tree, source: Path, line: str, split: str) -> Listed:
    said = _under(tree, source, line)
    try:
        picture = tree.find((line,), source, split)
    except LookupError:
        picture = said
    return Listed(line.strip(), said, picture, split)


def _under(tree: Tree, source: Path, line: str) -> Path:
    """Where a listed picture should lie: leading folders that are not here are those of another machine."""
    parts = safe_parts(line)
    for start in range(len(parts)):
        for base in dict.fromkeys((source.parent, tree.base)):
            place = base.joinpath(*parts[start:])
            labels = place.with_suffix(".txt"), labels_place(place).with_suffix(".txt")
            if place in tree.known or not tree.texts.isdisjoint(labels):
                return place
    return tree.base.joinpath(*parts[-1:])


def _place(tree: Tree, config: Path, told: Mapping[str, Any], text: str) -> Path | None:
    """The folder or list that a split names, within the data set; an absolute path is looked for by its end."""
    parts, before = safe_parts(text), safe_parts(str(told.get("path") or ""))
    absolute = text.startswith("/") or ":" in text[:3] or str(told.get("path") or "").startswith(("/", "~"))
    options = [[*before, *parts], parts]
    if absolute or config.suffix == ".data":
        options += [parts[start:] for start in range(1, len(parts))]
    for option in options:
        place = config.parent.joinpath(*option)
        if option and place.exists() and place.is_relative_to(tree.base):
            return place
    return None


def _places(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value.strip() else []
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _yaml(config: Path) -> dict[str, Any]:
    import yaml

    try:
        told = yaml.safe_load(text_of(config, _MOST))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{config} is broken: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(told, dict):
        raise DataError(f"{config} holds no names and splits")
    return told


def _data(config: Path) -> dict[str, Any]:
    """`obj.data` of darknet: lines of key = value."""
    lines = lines_of(config, _MOST)
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def _names(told: Mapping[str, Any], tree: Tree, config: Path) -> dict[int, str]:
    """Number → name, from a list, a dict, or the file that is named."""
    names = told.get("names")
    if isinstance(names, str):
        place = _place(tree, config, told, names)
        return _named_in(place) if place is not None and place.is_file() else {}
    if isinstance(names, list):
        return {number: str(name).strip() for number, name in enumerate(names)}
    if isinstance(names, dict):
        pairs = {int(key): str(name).strip() for key, name in names.items() if re.fullmatch(r"\d{1,6}", str(key))}
        return dict(sorted(pairs.items()))
    return {}


def _loose_names(tree: Tree) -> dict[int, str]:
    files = [file for file in tree.others if file.name.lower() in _NAMES or file.suffix.lower() == ".names"]
    return _named_in(files[0]) if files else {}


def _named_in(file: Path) -> dict[int, str]:
    lines = [line.strip() for line in lines_of(file, _MOST)]
    while lines and not lines[-1]:
        lines.pop()
    return dict(enumerate(lines))
