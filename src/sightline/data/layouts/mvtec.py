"""mvtec: inspected parts as MVTec AD and MVTec LOCO AD have them, train/good, test/KIND and masks in ground_truth."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from sightline.core.anomalies import GOOD
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
from sightline.data.layouts._masks import MASK, Masks, copy_mask, parts_of
from sightline.data.masks import is_good
from sightline.data.samples import Inspected, Sample, Samples, class_order, split_word

TARGET = Inspected
_TRUTH = "ground_truth"


def fits(path: Path) -> bool:
    """Whether train holds good parts and nothing else, with a test folder or good validation parts beside it."""
    if not path.is_dir():
        return False
    kinds = {split: [each.name for each in folders(folder)] for folder, split in _splits(path).items()}
    train, validation = kinds.get("train", []), kinds.get("validation", [])
    only_good = bool(train) and all(map(is_good, [*train, *validation]))
    return only_good and ("test" in kinds or bool(validation))


def read(path: Path) -> Samples:
    """One row a picture in `train/good`, `validation/good` and `test/KIND`; a folder called ok or normal is good, too.

    The mask of `test/KIND/NAME.png` is `ground_truth/KIND/NAME_mask.png`, or all pictures in `ground_truth/KIND/NAME/`
    together; a defective part may have none. Masks of no picture are left out and listed. The `defects_config.json` of
    MVTec LOCO AD is not looked at: its sPRO, which is saturated at an area for each kind of defect, is not computed.
    Raises DataError when there are no pictures.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder")
    bases, masks = _splits(path), Masks(path / _TRUTH)
    beside = [folder.name for folder in folders(path) if folder not in bases and folder.name != _TRUTH]
    rows: list[Sample] = []
    left_out = [(f"{name}/", "stands beside train, validation and test") for name in beside]
    for base, split in bases.items():
        for folder in folders(base):
            _read_kind(path, folder, split, masks, rows, left_out)
    for base in (path, *bases):
        loose = [file for file in sorted(base.iterdir()) if not is_junk(file.name) and file.is_file()]
        named = [file.relative_to(path).as_posix() for file in loose if looks_like_picture(file)]
        left_out += [(name, "stands in no folder of a kind") for name in named]
    left_out += masks.left_out(path)
    if not rows:
        raise DataError(f"{path}: no pictures; it should hold train/good/1.png and test/crack/2.png")
    classes = class_order(row.target for row in rows)
    return Samples(path, tuple(rows), "mvtec", classes, tuple(left_out), _notes(rows))


def write(samples: Samples, path: Path) -> None:
    """Copy pictures and masks: a good part to its split, or `train`; a defective one to `test` whatever its split, as
    the layout has them nowhere else. One mask is written as MVTec AD has it, several as MVTec LOCO AD.

    A label that is called as good parts are (good, ok, normal ...) is good, any other a kind of defect; a picture of
    which nothing is known is good. Groups are not kept. Raises UsageError when `path` exists, DataError for a target of
    another kind, where no part is good, and for a mask that is not there; StorageError.
    """
    used: set[str] = set()
    with replace_folder(path) as root:
        with storing(root / "test"):
            (root / "test").mkdir()
        for row, part in parts_of(samples.rows):
            split = (row.split or "train") if part.kind == GOOD else "test"
            inner = file_name(samples, row)
            wanted = PurePosixPath(split, part.kind, f"{inner.stem.strip('. ') or 'picture'}.x")
            name = free_name(wanted, used)  # unique without its ending, as a mask has another
            with storing(root / name):
                store(samples, row, root / name.with_name(f"{name.stem}{inner.suffix}"))
            for number, mask in enumerate(part.masks):
                own = f"{name.stem}{MASK}" if len(part.masks) == 1 else f"{name.stem}/{number:03d}"
                copy_mask(mask, root / _TRUTH / part.kind / f"{own}{mask.suffix.lower()}")


def _splits(root: Path) -> dict[Path, str]:
    """The folders of splits, with their split."""
    return {folder: split for folder in folders(root) if (split := split_word(folder.name))}


def _read_kind(
    root: Path, folder: Path, split: str, masks: Masks, rows: list[Sample], left_out: list[tuple[str, str]]
) -> None:
    before = len(rows)
    for file in files(folder):
        relative = file.relative_to(root).as_posix()
        if reason := not_picture(file):
            left_out.append((relative, reason))
            continue
        own = masks.take(file.relative_to(folder.parent).with_suffix("").as_posix())
        target = Inspected() if is_good(folder.name) else Inspected(folder.name, own)
        rows.append(Sample(relative, target, split))
    if len(rows) == before:
        left_out.append((f"{folder.relative_to(root).as_posix()}/", "no pictures in this folder"))


def _notes(rows: list[Sample]) -> tuple[str, ...]:
    """Where the test part can show no false alarms."""
    if {row.target == Inspected() for row in rows if row.split == "test"} != {False}:
        return ()
    return (
        "test holds no good parts, so that false alarms cannot be measured; move some from train/good to test/good",
    )
