"""voc: Pascal VOC, one XML file a picture, in Annotations beside JPEGImages and ImageSets, or in any other folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from sightline.core.storage import replace_folder, write_bytes, write_text
from sightline.data.layouts._objects import Page, numbered, samples_of, unlisted
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_text import ends_of, lines_of, side_of, truth, xml_of, xml_to_bytes
from sightline.data.layouts._objects_tree import Tree, first_files, tree_of
from sightline.data.layouts._objects_write import Copied, copied, plain, sets_of
from sightline.data.samples import Objects, Samples, split_word

TARGET = Objects
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LABELMAP = "labelmap.txt"


def fits(path: Path) -> bool:
    """Whether an XML file with the tag `annotation` lies here or in a folder inside."""
    return any(re.search(r"<annotation[\s>]", ends_of(file)) for file in first_files(path, ".xml"))


def read(path: Path) -> Samples:
    """One row an XML file; the picture is the one with the file's own name, or else the one it names, wherever it lies.

    Splits are those of `ImageSets/Main` (train, val, test; trainval is train where it is alone), or of folders. Numbers
    are taken as the edges of the box in pixels, as most tools write and read them; the devkit of 2007 means the first
    and last pixel, counted from 1, so that there left and top lie a pixel further out. A `labelmap.txt` gives the
    classes and their order. Raises DataError when nothing can be used.
    """
    tree = tree_of(path)
    names = _labelmap(tree)
    lists = dict(_lists(tree))
    pages, left_out = [], []
    for file in tree.ending(".xml"):
        try:
            split = lists.get((file.parent.parent, file.stem), "" if lists else None)
            pages.append(_page(file, split, names))
        except ValueError as error:
            left_out.append((tree.relative(file), str(error)))
    left_out += unlisted(tree, pages, "no XML file says what is in it")
    loose = sum(page.split == "" for page in pages) if lists else 0
    notes = [f"{loose:,} pictures stand in no list of ImageSets/Main; they count as training pictures"] if loose else []
    used = {mark.name for page in pages for mark in page.marks or ()}
    classes = [name for name in names if name != "background" or name in used]
    return samples_of(tree, pages, "voc", classes=classes, left_out=left_out, notes=notes)


def write(samples: Samples, path: Path) -> None:
    """A folder as the devkit has it, with `labelmap.txt` for the order of the classes.

    Crowds are marked difficult, which is how VOC says that a thing need not be found; numbers of annotations have no
    place. Raises UsageError when `path` exists, DataError for a row without boxes, StorageError.
    """
    with replace_folder(path) as root:
        kept: dict[str, list[str]] = {}
        for each in copied(samples, root, lambda row: "JPEGImages"):
            write_bytes(root / "Annotations" / f"{each.name.stem}.xml", xml_to_bytes(_xml(each)))
            kept.setdefault(each.sample.split, []).append(each.name.stem)
        for name, stems in sets_of(kept).items():
            write_text(root / "ImageSets" / "Main" / f"{name}.txt", "".join(f"{stem}\n" for stem in stems))
        lines = ["# label:color_rgb:parts:actions", *(f"{name}:::" for name in numbered(samples))]
        write_text(root / _LABELMAP, "".join(f"{line}\n" for line in lines))


def _page(file: Path, split: str | None, names: list[str]) -> Page:
    root = xml_of(file, "annotation")
    size = (side_of(root.findtext("size/height")), side_of(root.findtext("size/width")))
    marks = tuple(_mark(each, names) for each in root.findall("object"))
    called = (root.findtext("filename") or "").strip()
    return Page((file.stem, called) if called else (file.stem,), file, marks, size, split)


def _mark(element: ET.Element, names: list[str]) -> Mark:
    name = (element.findtext("name") or "").strip()
    box = element.find("bndbox")
    fault = "no bndbox" if box is None else ""
    if names and name not in names:
        fault = f"unknown class: {name or 'none'} is not in {_LABELMAP}"
    corners = [box.findtext(corner) if box is not None else None for corner in _CORNERS]
    return marked(name, corners, difficult=truth(element.findtext("difficult")), fault=fault)


def _labelmap(tree: Tree) -> list[str]:
    """Class names in order from `labelmap.txt`; none where there is none."""
    files = [file for file in tree.ending(".txt") if file.name.lower() == _LABELMAP]
    if not files:
        return []
    lines = lines_of(files[0])
    named = [line.rsplit(":", 3)[0].strip() for line in lines if line.strip() and not line.startswith("#")]
    return list(dict.fromkeys(name for name in named if name))


def _lists(tree: Tree) -> Iterator[tuple[tuple[Path, str], str]]:
    """Data set's folder and picture's stem → split, from `ImageSets/Main`; lists of single classes are passed over."""
    found: dict[str, list[Path]] = {}
    for file in tree.ending(".txt"):
        if [part.lower() for part in file.parent.parts[-2:]] == ["imagesets", "main"]:
            found.setdefault(file.stem.lower(), []).append(file)
    for stem in sorted(found, key=lambda stem: stem != "trainval"):  # whatever else names a picture knows better
        split = "train" if stem == "trainval" else split_word(stem)
        for file in found[stem] if split else ():
            for line in lines_of(file):
                if words := line.split():
                    yield (file.parents[2], words[0]), split or ""


def _xml(each: Copied) -> ET.Element:
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "JPEGImages"
    ET.SubElement(root, "filename").text = each.name.name
    size = ET.SubElement(root, "size")
    for name, side in (("width", each.size_hw[1]), ("height", each.size_hw[0]), ("depth", each.channels)):
        ET.SubElement(size, name).text = str(side)
    for item in each.items:
        thing = ET.SubElement(root, "object")
        ET.SubElement(thing, "name").text = item.name
        ET.SubElement(thing, "difficult").text = str(int(item.difficult or item.crowd))
        box = ET.SubElement(thing, "bndbox")
        for corner, value in zip(_CORNERS, item.xyxy):
            ET.SubElement(box, corner).text = plain(value)
    return root
