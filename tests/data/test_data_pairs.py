"""Pairs of sharp and poor pictures: how they are found and matched, what is left out, and that they come back."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sightline.core.errors import DataError, UsageError
from sightline.core.events import drain
from sightline.data.layouts import pairs
from sightline.data.pictures import read_picture
from sightline.data.read import fitting_layouts, read
from sightline.data.samples import Label, NoTarget, Sample, Samples, Sharp
from sightline.verbs.convert import convert


def tree(root, *names):
    """Pictures with different pixels: those in folders whose names begin with H twice as large."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (8, 12) if path.parent.name[0] == "H" else (4, 6)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (*size, 3)).astype(np.uint8)).save(path, "PNG")
    return root


def matched(samples):
    return {row.path: (row.target.path, row.split) for row in samples.rows}


def contents(samples):
    """What is said of which pixels, under whatever names."""
    pixels = [read_picture(samples.open(row)).pixels.tobytes() for row in samples.rows]
    return sorted((each, row.split, row.target.key()) for each, row in zip(pixels, samples.rows))


def test_a_target_is_what_its_file_holds(tmp_path):
    root = tree(tmp_path, "HR/1.png", "HR/2.png", "LR/1.png", "LR/2.png")
    samples = read(root)
    first, second = samples.rows
    digest = hashlib.sha256((root / "HR/1.png").read_bytes()).hexdigest()
    assert first.target == Sharp("HR/1.png", digest)
    assert first.target.strata() == () and first.target.text() == "HR/1.png" and samples.classes == ()
    assert digest in first.target.key() and first.target.key() != second.target.key()
    assert read_picture(samples.open_sharp(first)).size_hw == (8, 12)
    assert samples.open_sharp(second) == root / "HR/2.png"
    (root / "HR/1.png").write_bytes((root / "HR/2.png").read_bytes())
    assert pairs.read(root).rows[0].target.key() == second.target.key()


def test_the_sharp_picture_may_be_in_memory():
    arrays = {"poor": np.zeros((1, 2, 3), np.uint8), "sharp": np.ones((2, 4, 6), np.uint8)}
    samples = Samples(".", (Sample("poor[0]", Sharp("sharp[1]", "")), Sample("poor[0]")), "made", arrays=arrays)
    assert read_picture(samples.open_sharp(samples.rows[0])).size_hw == (4, 6)
    with pytest.raises(DataError, match=r"poor\[0\] has no sharp picture; lay pairs out as HR/1.png and LR/1.png"):
        samples.open_sharp(samples.rows[1])


@pytest.mark.parametrize(
    ("sharp", "poor"),
    [
        *[("HR", name) for name in ("LR", "lr_x2", "LRx4", "LR_bicubic_x3", "LR-mild")],
        *[("sharp", "blur"), ("GT", "lq"), ("clean", "Noisy"), ("target", "input"), ("hr", "poor"), ("gt", "LQ_x4")],
        *[("HR_x4", "LR_x4"), ("HRx2", "LRx2")],
    ],
)
def test_names_of_the_two_folders(tmp_path, sharp, poor):
    root = tree(tmp_path, f"{sharp}/a.png", f"{poor}/a.png")
    for path in (root, root / poor):
        assert fitting_layouts(path) == ["pairs"]
        samples = read(path)
        assert matched(samples) == {f"{poor}/a.png": (f"{sharp}/a.png", "")}
        assert samples.root == root and samples.left_out == ()


def test_splits(tmp_path):
    names = [
        f"{split}/{side}/{name}.png" for split in ("train", "Val", "test") for side in ("HR", "LR") for name in "ab"
    ]
    samples = read(tree(tmp_path, *names, "more/1.png", "train/loose.png"))
    assert samples.splits() == ("train", "validation", "test") and len(samples) == 6
    assert matched(samples)["Val/LR/b.png"] == ("Val/HR/b.png", "validation")
    beside = "stands beside the folders of pairs"
    assert samples.left_out == (("more/", beside), ("train/loose.png", beside))


def test_pictures_pair_by_name_and_the_others_are_listed(tmp_path):
    sharp = ("1.png", "2.png", "3.png", "4x2.png", "deep/1.png", "5.png", "5.bmp", "lonely.png")
    poor = ("1.jpg", "2x2.png", "3_x4.png", "3_x2.png", "4x2.png", "deep/1x3.png", "5.png", "nobody.png")
    root = tree(tmp_path, *(f"HR/{name}" for name in sharp), *(f"LR/{name}" for name in poor))
    (root / "LR/notes.txt").write_text("words")
    samples = read(root)
    assert {a.removeprefix("LR/"): b.removeprefix("HR/") for a, (b, _) in matched(samples).items()} == {
        "1.jpg": "1.png",
        "2x2.png": "2.png",
        "3_x2.png": "3.png",
        "4x2.png": "4x2.png",
        "5.png": "5.bmp",
        "deep/1x3.png": "deep/1.png",
    }
    assert dict(samples.left_out) == {
        "HR/5.png": "HR/5.bmp comes before it",
        "HR/lonely.png": "no poor picture has its name",
        "LR/3_x4.png": "another poor picture has its sharp one",
        "LR/nobody.png": "no sharp picture has its name",
        "LR/notes.txt": "not a picture: .txt",
    }


def test_a_name_in_full_comes_before_one_with_a_scale(tmp_path):
    samples = read(tree(tmp_path, "HR/1.png", "HR/2.png", "LR/1-x2.png", "LR/1.png", "LR/2.png"))
    assert matched(samples)["LR/1.png"] == ("HR/1.png", "")
    assert samples.left_out == (("LR/1-x2.png", "another poor picture has its sharp one"),)


def test_a_sharp_picture_that_cannot_be_read_is_listed(tmp_path):
    root = tree(tmp_path, "HR/1.png", "HR/2.png", "LR/1.png", "LR/2.png")
    (root / "HR/2.png").unlink()
    (root / "HR/2.png").symlink_to(root / "gone.png")
    samples = pairs.read(root)
    assert list(matched(samples)) == ["LR/1.png"]
    assert samples.left_out == (("LR/2.png", "its sharp picture cannot be read: No such file or directory"),)


# Several folders of poor pictures.

SET = [f"{side}/{name}.png" for side in ("HR", "LR_x2", "LR_x4") for name in "abc"]


def test_of_several_poor_folders_one_has_to_be_given(tmp_path):
    root = tree(tmp_path, *SET, "HR_x4/b.png")
    with pytest.raises(DataError, match=rf"give one of them: {root}.LR_x2, {root}.LR_x4$"):
        read(root)
    double, fourfold = read(root / "LR_x2"), read(root / "LR_x4")
    assert [row.target.path for row in double.rows] == ["HR/a.png", "HR/b.png", "HR/c.png"]
    assert [row.target.path for row in fourfold.rows] == ["HR/a.png", "HR_x4/b.png", "HR/c.png"]
    beside = "stands beside the folders of pairs"
    assert double.left_out == (("HR_x4/", beside), ("LR_x4/", beside))
    assert fourfold.left_out == (("HR/b.png", "HR_x4/b.png comes before it"), ("LR_x2/", beside))


def test_the_poor_folder_may_be_where_we_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tree(tmp_path, *SET) / "LR_x4")
    assert [row.path for row in read(".").rows] == ["LR_x4/a.png", "LR_x4/b.png", "LR_x4/c.png"]


def test_splits_with_several_poor_folders_name_them_all(tmp_path):
    root = tree(tmp_path, *(f"{split}/{name}" for split in ("train", "test") for name in SET))
    with pytest.raises(DataError, match=r"test.LR_x2, .*test.LR_x4, .*train.LR_x2, .*train.LR_x4$"):
        read(root)
    assert len(read(root / "train/LR_x2")) == 3


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["HR/a.png", "sharp/a.png", "LR/a.png"], "which folder has the sharp pictures of LR, of HR, sharp"),
        (["HR_x2/a.png", "LR_x4/a.png"], "which folder has the sharp pictures of LR_x4, of HR_x2"),
        (["HR/a.png", "LR/b.png"], "no poor picture has a sharp one of its name"),
        (["HR/a.png", "other/a.png"], "no folders of sharp and poor pictures side by side; it should hold HR/1.png"),
    ],
)
def test_what_leaves_a_choice_or_no_pair_is_an_error(tmp_path, names, words):
    root = tree(tmp_path, *names)
    assert "pairs" not in fitting_layouts(root)
    with pytest.raises(DataError, match=words):
        read(root, layout="pairs")


@pytest.mark.parametrize(
    ("names", "layouts"),
    [
        (["blur/1.png", "sharp/7.png"], ["imagefolder"]),
        (["blur/1.png", "sharp/1.png", "cat/1.png"], ["imagefolder"]),
        ([*(f"blur/{n}.png" for n in range(5)), *(f"clean/{n}.png" for n in range(3, 8))], ["imagefolder"]),
        (["input/1.png", *(f"target/{n}.png" for n in range(5))], ["imagefolder"]),
        (["train/HR/1.png", "train/LR/2.png"], ["imagefolder"]),
        (["HR/1.png", "LR2/1.png"], ["imagefolder"]),
        (["HR/1.png", "lrow/1.png"], ["imagefolder"]),
        (["LR/1.png"], []),
        (["blur/1.png", "blur/2.png", "sharp/1.png", "sharp/3.png"], ["pairs"]),
    ],
)
def test_what_is_taken_for_pairs(tmp_path, names, layouts):
    assert fitting_layouts(tree(tmp_path / "in", *names)) == layouts


def test_beside_a_poor_folder_that_is_named_any_number_of_sharp_ones_may_lie(tmp_path):
    root = tree(tmp_path, "LR/1.png", "LR/2.png", *(f"HR/{n}.png" for n in range(2, 9)))
    assert fitting_layouts(root / "LR") == ["pairs"]
    assert matched(read(root / "LR")) == {"LR/2.png": ("HR/2.png", "")}
    tree(tmp_path, "LR/11.png")
    assert "pairs" not in fitting_layouts(root / "LR")  # more without a sharp one than with


def test_a_folder_of_sharp_pictures_alone_is_plain(tmp_path):
    root = tree(tmp_path, "HR/1.png", "LR/1.png", "input/9.png")
    assert fitting_layouts(root / "HR") == fitting_layouts(root / "input") == ["plain"]


# What is written.


@pytest.mark.parametrize("split", ["", "train"])
def test_pairs_come_back(tmp_path, split):
    sides = ("HR/1.png", "HR/deep/1.png", "HR/deep/2.png", "HR/3.png", "LR/1.png", "LR/deep/1.png", "LR/deep/2x2.png")
    root = tree(tmp_path / "in", *(f"{split}/{name}".strip("/") for name in (*sides, "LR/3.bmp")))
    first = pairs.read(root)
    pairs.write(first, tmp_path / "out")
    again = read(tmp_path / "out")
    assert contents(again) == contents(first) and len(again) == 4 and again.left_out == ()
    base = tmp_path / "out" / split
    written = sorted(file.relative_to(base).as_posix() for file in base.rglob("*.*"))
    stems = ("1-2", "1", "2x2", "3")
    endings = ("png", "png", "png", "bmp")
    assert written == [*(f"HR/{s}.png" for s in stems), *(f"LR/{s}.{e}" for s, e in zip(stems, endings))]
    with pytest.raises(UsageError, match="exists already"):
        pairs.write(first, tmp_path / "out")


def test_nothing_else_is_written(tmp_path):
    root = tree(tmp_path, "HR/1.png", "LR/1.png")
    samples = read(root)
    for target in (NoTarget(), Label("cat")):
        rows = (*samples.rows, Sample("LR/1.png", target))
        with pytest.raises(DataError, match=r"LR/1.png has no sharp picture, and pairs holds nothing else"):
            pairs.write(replace(samples, rows=rows), tmp_path / "out")
    (root / "HR/1.png").unlink()
    with pytest.raises(DataError, match="not there"):
        pairs.write(samples, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_conversion(tmp_path):
    root = tree(tmp_path / "in", *SET)
    done = drain(convert(str(root / "LR_x2"), tmp_path / "out", to="pairs"), None)
    assert done.lost == () and done.pictures == {"": 3}
    with pytest.raises(DataError, match=r"csv does not hold sharp pictures, which .*; layouts that do: pairs$"):
        drain(convert(str(root / "LR_x2"), tmp_path / "table", to="csv"), None)
    cats = tree(tmp_path / "classes", "cat/1.png", "dog/1.png")
    with pytest.raises(DataError, match="pairs does not hold labels"):
        drain(convert(str(cats), tmp_path / "new", to="pairs"), None)


# The real ones.


def test_set14(data_root):
    with pytest.raises(DataError, match=r"give one of them: .*LR_x2, .*LR_x4$"):
        read(data_root / "sr/Set14")
    for scale, name in ((2, "LR_x2"), (4, "LR_x4")):
        samples = read(data_root / "sr/Set14" / name)
        assert samples.layout == "pairs" and len(samples) == 14 and samples.splits() == ("",)
        for row in samples.rows:
            sharp, poor = (read_picture(each).size_hw for each in (samples.open_sharp(row), samples.open(row)))
            assert scale == 2 or sharp == (scale * poor[0], scale * poor[1]), row.path
            assert 0 <= sharp[0] - scale * poor[0] < scale and 0 <= sharp[1] - scale * poor[1] < scale, row.path
    cropped = [row.path[-7:-4] for row in samples.rows if row.target.path.startswith("HR_x4/")]
    assert cropped == ["005", "007", "014"]
