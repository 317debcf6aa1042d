"""Known defects beside good parts: their kinds and masks by folder and name, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.core.errors import DataError
from sightline.data.defects import with_defects
from sightline.data.samples import Inspected, Label, NoTarget, Sample, Samples

GOOD = Samples(Path("good"), (Sample("0.png"), Sample("1.png", split="test")), "plain")


def tree(root: Path, names: Sequence[str]) -> Path:
    """Files that nothing opens here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root: Path) -> dict[str, tuple[str, list[str]]]:
    """Path → kind and masks, below the folder."""
    rows = with_defects(GOOD, str(root)).rows[len(GOOD.rows) :]
    assert all(row.split == "train" for row in rows)
    told = {}
    for row in rows:
        assert isinstance(row.target, Inspected)
        masks = [mask.relative_to(root).as_posix() for mask in row.target.masks]
        told[Path(row.path).relative_to(root.resolve()).as_posix()] = (row.target.kind, masks)
    return told


CASES = {
    "kinds by folder": (
        ["crack/1.png", "crack/deep/2.jpg", "dent/1.png", "crack/notes.txt", ".hidden/1.png"],
        {"crack/1.png": ("crack", []), "crack/deep/2.jpg": ("crack", []), "dent/1.png": ("dent", [])},
    ),
    "loose": (["1.png", "2.bmp"], {"1.png": ("defect", []), "2.bmp": ("defect", [])}),
    "masks beside": (
        ["1.png", "1_mask.png", "crack/1.png", "crack/1_mask.bmp", "crack/1_mask.txt", "crack/11.png"],
        {
            "1.png": ("defect", ["1_mask.png"]),
            "crack/1.png": ("crack", ["crack/1_mask.bmp"]),
            "crack/11.png": ("crack", []),
        },
    ),
    "masks in ground_truth": (
        [
            *("1.png", "ground_truth/1_mask.png", "crack/1.png", "ground_truth/crack/1_mask.png", "crack/2.jpg"),
            *("ground_truth/crack/2.png", "crack/3.png", "ground_truth/crack/3/0.png", "ground_truth/crack/3/1.png"),
        ],
        {
            "1.png": ("defect", ["ground_truth/1_mask.png"]),
            "crack/1.png": ("crack", ["ground_truth/crack/1_mask.png"]),
            "crack/2.jpg": ("crack", ["ground_truth/crack/2.png"]),
            "crack/3.png": ("crack", ["ground_truth/crack/3/0.png", "ground_truth/crack/3/1.png"]),
        },
    ),
    "ground_truth before beside": (
        ["crack/1.png", "crack/1_mask.png", "ground_truth/crack/1_mask.png"],
        {"crack/1.png": ("crack", ["ground_truth/crack/1_mask.png"])},
    ),
    "names that are patterns": (
        ["part[2].png", "part[2]_mask.png", "part2_mask.png", "crack/x-[!a].png", "crack/x-[!a]_mask.png"],
        {
            "part[2].png": ("defect", ["part[2]_mask.png"]),
            "crack/x-[!a].png": ("crack", ["crack/x-[!a]_mask.png"]),
        },
    ),
    "loose with the name of a kind": (
        ["crack.png", "crack/1.png", "ground_truth/crack/1_mask.png"],
        {"crack.png": ("defect", []), "crack/1.png": ("crack", ["ground_truth/crack/1_mask.png"])},
    ),
    "loose with the name of a kind and a mask": (
        ["crack.png", "ground_truth/crack/1_mask.png", "ground_truth/crack_mask.png"],
        {"crack.png": ("defect", ["ground_truth/crack_mask.png"])},
    ),
    "loose with the name of a kind and a mask beside": (
        ["crack.png", "ground_truth/crack/1_mask.png", "crack_mask.png"],
        {"crack.png": ("defect", ["crack_mask.png"])},
    ),
}


@pytest.mark.parametrize(("names", "wanted"), CASES.values(), ids=CASES)
def test_kinds_and_masks(tmp_path: Path, names: list[str], wanted: dict[str, tuple[str, list[str]]]) -> None:
    assert found(tree(tmp_path, names)) == wanted


def test_they_are_added_to_the_training_pictures(tmp_path: Path) -> None:
    whole = with_defects(replace(GOOD, classes=("ok",)), str(tree(tmp_path, ["crack/1.png", "1.png"])))
    assert [(row.path, row.target, row.split) for row in whole.rows] == [
        ("0.png", NoTarget(), "train"),
        ("1.png", NoTarget(), "test"),
        (str(tmp_path.resolve() / "1.png"), Inspected("defect"), "train"),
        (str(tmp_path.resolve() / "crack" / "1.png"), Inspected("crack"), "train"),
    ]
    assert whole.classes == ("crack", "defect", "ok") and whole.root == GOOD.root
    assert all(Path(whole.open(row)).is_file() for row in whole.rows[2:])


def test_without_a_folder_nothing_changes() -> None:
    assert with_defects(GOOD, "") is GOOD


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["good/1.png", "crack/1.png"], "holds good/1.png, which its folder calls good"),
        (["crack/1.png", "OK/1.png"], "holds OK/1.png, which its folder calls good"),
        ([], "holds no pictures; give a folder with crack/1.png"),
        (["crack/notes.txt"], "holds no pictures"),
        (["ground_truth/crack/1.png", "crack/1_mask.png"], "holds no pictures"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        with_defects(GOOD, str(tree(tmp_path, names)))


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    for name in ("1.png", "none"):
        with pytest.raises(DataError, match=f"{name} is not a folder; give one with crack/1.png"):
            with_defects(GOOD, str(tmp_path / name))


def test_shards_are_refused(tmp_path: Path) -> None:
    shards = Samples(tmp_path, (Sample("0.png", Label("good")),), "webdataset", opener=lambda row: b"")
    with pytest.raises(DataError, match="not with shards"):
        with_defects(shards, str(tree(tmp_path, ["crack/1.png"])))
