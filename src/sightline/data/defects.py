"""Known defects: a folder with a handful of pictures of flawed parts, by kind, with masks where there are some."""

from __future__ import annotations

import glob
from dataclasses import replace
from pathlib import Path

from sightline.core.errors import DataError
from sightline.data.layouts._files import files, looks_like_picture
from sightline.data.layouts._masks import MASK, Masks
from sightline.data.masks import is_good
from sightline.data.samples import Inspected, Sample, Samples

TRUTH = "ground_truth"
"""The folder of masks, KIND/NAME_mask.png or NAME_mask.png as in MVTec AD."""
ANY = "defect"
"""The kind of a picture that lies in no folder of its own."""


def with_defects(samples: Samples, folder: str) -> Samples:
    """The samples with the known defects of a folder among the training pictures; as they are where it is "".

    `crack/1.png` is a crack, `1.png` alone a defect of no particular kind. Masks are `ground_truth/crack/1_mask.png`,
    all in `ground_truth/crack/1`, or `1_mask.png` beside the picture. Raises DataError for a folder without pictures,
    or with good ones.
    """
    if not folder:
        return samples
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"--defects {folder} is not a folder; give one with crack/1.png, dent/2.png and so on in it")
    if samples.opener is not None:
        raise DataError("--defects goes with good parts that are files in a folder, not with shards")
    masks, rows = Masks(root / TRUTH), []
    for file in sorted(files(root)):
        inner = file.relative_to(root)
        if inner.parts[0] == TRUTH or not looks_like_picture(file) or file.stem.endswith(MASK):
            continue
        kind = inner.parts[0] if len(inner.parts) > 1 else ANY
        if is_good(kind):
            raise DataError(f"--defects {folder} holds {inner.as_posix()}, which its folder calls good")
        found = masks.take(inner.with_suffix("").as_posix())
        if len(inner.parts) == 1:  # crack.png is not all that ground_truth/crack has masks of
            found = tuple(mask for mask in found if mask.parent == root / TRUTH)
        beside = file.parent.glob(f"{glob.escape(file.stem)}{MASK}.*")
        found = found or tuple(sorted(filter(looks_like_picture, beside)))
        rows.append(Sample(str(file.resolve()), Inspected(kind, found), "train"))
    if not rows:
        raise DataError(f"--defects {folder} holds no pictures; give a folder with crack/1.png and the like in it")
    kinds = tuple(sorted({*samples.classes, *(row.target.strata()[0] for row in rows)}))
    whole = (*(row if row.split else replace(row, split="train") for row in samples.rows), *rows)
    return replace(samples, rows=whole, classes=kinds)
