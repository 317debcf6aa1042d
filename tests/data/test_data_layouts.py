import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pictures import encoded, scene

from sightline.core.errors import DataError, UsageError
from sightline.core.shelf import Shelf
from sightline.data.layouts import csv, imagefolder, npz
from sightline.data.pictures import pixel_digest, read_picture
from sightline.data.read import read
from sightline.data.samples import Label, NoTarget, Sample, Samples

PNG = encoded(scene(6, 5), "PNG")


def tree(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(PNG)
    return root


def listed(samples):
    return [(row.path, row.target.name, row.split) for row in samples.rows]


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


# ImageFolder.


def test_imagefolder_without_splits(tmp_path):
    root = tree(
        tmp_path, "dog/2.png", "dog/10.png", "cat/a b/ü 写.JPG", "cat/no_ending", "cat/odd.centerlight", "loose.png"
    )
    samples = imagefolder.read(root)
    assert listed(samples) == [
        ("cat/no_ending", "cat", ""),
        ("cat/odd.centerlight", "cat", ""),
        ("cat/a b/ü 写.JPG", "cat", ""),
        ("dog/10.png", "dog", ""),
        ("dog/2.png", "dog", ""),
    ]
    assert samples.classes == ("cat", "dog") and samples.layout == "imagefolder"
    assert samples.left_out == (("loose.png", "stands in no class folder"),)
    assert read_picture(samples.open(samples.rows[2])).size_hw == (6, 5)


@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Training", "VALIDATION", "Testing"), ("TRAIN", "valid", "test")]
)
def test_imagefolder_with_splits(tmp_path, words):
    names = [f"{word}/{name}/{i}.png" for word in words for name in ("b", "a") for i in range(2)]
    samples = imagefolder.read(tree(tmp_path, *names, "docs/x/1.png", "train.txt"))
    assert samples.splits() == ("train", "validation", "test") and len(samples) == 12
    assert samples.counts() == {split: {"a": 2, "b": 2} for split in ("train", "validation", "test")}
    assert samples.left_out == (("docs/", "stands beside the split folders"),)
    assert [row.split for row in samples.split("test").rows] == ["test"] * 4


def test_imagefolder_passes_over_junk_and_lists_the_rest(tmp_path):
    junk = [
        "cat/Thumbs.db",
        "cat/.DS_Store",
        "__MACOSX/cat/1.png",
        "cat/__MACOSX/1.png",
        ".hidden/1.png",
        "cat/._1.png",
    ]
    others = ["cat/notes.txt", "cat/labels.CSV", "dog/readme.md"]
    samples = imagefolder.read(tree(tmp_path, "cat/1.png", "dog/1.png", "bird/x.txt", "fish/", *junk, *others))
    assert listed(samples) == [("cat/1.png", "cat", ""), ("dog/1.png", "dog", "")]
    assert set(samples.left_out) == {
        ("cat/notes.txt", "not a picture: .txt"),
        ("cat/labels.CSV", "not a picture: .csv"),
        ("dog/readme.md", "not a picture: .md"),
        ("bird/x.txt", "not a picture: .txt"),
        ("bird/", "no pictures in this class folder"),
        ("fish/", "no pictures in this class folder"),
    }


def test_a_class_called_train_is_a_class(tmp_path):
    assert imagefolder.read(tree(tmp_path, "train/1.png", "bus/1.png")).classes == ("bus", "train")


def test_imagefolder_follows_links_once(tmp_path):
    tree(tmp_path, "data/cat/1.png", "data/dog/1.png", "elsewhere/2.png")
    (tmp_path / "data/cat/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data/cat/loop").symlink_to(tmp_path / "data/cat", target_is_directory=True)
    assert [row.path for row in imagefolder.read(tmp_path / "data").rows] == [
        "cat/1.png",
        "cat/more/2.png",
        "dog/1.png",
    ]


@pytest.mark.parametrize(
    "names, fits",
    [
        (["cat/1.png", "dog/1.png"], True),
        (["train/cat/1.png", "train/dog/1.png"], True),
        (["train/cat/1.png"], True),
        (["cat/1", "dog/1"], True),
        (["images/1.png"], False),
        (["1.png", "2.png"], False),
        (["cat/1.txt", "dog/1.txt"], False),
        (["cat/", "dog/"], False),
        ([], False),
    ],
)
def test_imagefolder_fits(tmp_path, names, fits):
    assert imagefolder.fits(tree(tmp_path, *names)) == fits


def test_imagefolder_without_classes_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"cat/1\.jpg"):
        imagefolder.read(tree(tmp_path, "1.png"))
    with pytest.raises(DataError, match="not a folder"):
        imagefolder.read(tmp_path / "1.png")


def test_imagefolder_round_trip(tmp_path):
    first = imagefolder.read(tree(tmp_path / "a", "train/cat/x/1.png", "train/cat/1.png", "test/dog/1.png"))
    imagefolder.write(first, tmp_path / "b")
    second = imagefolder.read(tmp_path / "b")
    assert listed(second) == listed(first) and second.classes == first.classes
    with pytest.raises(UsageError, match="exists already"):
        imagefolder.write(first, tmp_path / "b")


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "a\\b", "", "con:x", "Thumbs.db", " x", "x."])
def test_imagefolder_refuses_class_names_that_are_no_folder(tmp_path, name):
    tree(tmp_path, "1.png")
    samples = Samples(tmp_path, (Sample("1.png", Label(name)),), "csv", (name,))
    with pytest.raises(DataError, match="cannot be the name of a folder"):
        imagefolder.write(samples, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_copies_never_fall_on_one_name_or_outside(tmp_path):
    tree(tmp_path / "in", "x/1.png", "y/1.png", "y/A.png", "a.png")
    outside = tree(tmp_path, "o.png") / "o.png"
    names = ["x/1.png", "y/1.png", "y/A.png", "a.png", "../o.png", outside.as_posix()]
    rows = tuple(Sample(name, Label("k")) for name in names)
    for layout in (imagefolder, csv):
        new = tmp_path / layout.__name__
        layout.write(Samples(tmp_path / "in", rows, "csv", ("k",)), new)
        assert len(layout.read(new)) == len(names)
        assert len([file for file in new.rglob("*.png") if file.is_file()]) == len(names)
    with pytest.raises(DataError, match="not there"):
        csv.write(Samples(tmp_path, (Sample("gone.png", Label("k")),), "csv", ("k",)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# CSV.


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "header", ["path,label,split,group", "Image,class,Set,Patient ID", "File_Name,Target,subset,subject"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_dialects(tmp_path, mark, encoding, header, end):
    lines = [header, "a/1.png,cat,train,p1", "", '"b 2.png", dog ,VAL,p2', "sub\\3.png,dog,testing,"]
    samples = csv.read(table(tmp_path, end.join(lines).replace(",", mark) + end, encoding=encoding))
    assert samples.rows == (
        Sample("a/1.png", Label("cat"), "train", "p1"),
        Sample("b 2.png", Label("dog"), "validation", "p2"),
        Sample("sub/3.png", Label("dog"), "test", ""),
    )
    assert samples.root == tmp_path and samples.classes == ("cat", "dog")


def test_csv_extra_columns_are_meta_and_aliases_have_an_order(tmp_path):
    samples = csv.read(table(tmp_path, "image,path,label,class,age,\n1.png,2.png,cat,tabby,7,x\n"))
    assert samples.rows == (Sample("2.png", Label("cat"), meta={"image": "1.png", "class": "tabby", "age": "7"}),)


def test_csv_without_labels(tmp_path):
    samples = csv.read(table(tmp_path, "file\n1.png\n2.png\n"))
    assert [row.target for row in samples.rows] == [NoTarget()] * 2 and samples.classes == ()


def test_csv_leaves_out_urls_and_rows_without_a_label(tmp_path):
    samples = csv.read(
        table(tmp_path, "path,label\nhttps://x.org/1.png,cat\n2.png,\n/abs/3.png,dog\nC:\\p\\4.png,dog\n")
    )
    assert [row.path for row in samples.rows] == ["/abs/3.png", "C:/p/4.png"]
    assert [path for path, _ in samples.left_out] == ["https://x.org/1.png", "2.png"]
    assert "line 2" in samples.left_out[0][1] and "opens no network" in samples.left_out[0][1]
    assert samples.left_out[1][1] == "line 3: no label"


@pytest.mark.parametrize(
    "text, words",
    [
        ("name,label\n1.png,cat\n", "no column with paths among name, label"),
        ("path,label,split\n1.png,cat,train\n2.png,cat,fold7\n", "line 3: 'fold7' is no split"),
        ("path,label\n1.png,cat,extra\n", "line 2: 3 cells; the header has 2"),
        ("path,label\n1.png\n", "line 2: 1 cells"),
        ("path,label\n,cat\n", "line 2: the path is empty"),
        ('path,label\n"1.png,cat\n', "line 2"),
        ("path,label\n", "lists no pictures"),
        ("", "lists no pictures"),
    ],
)
def test_csv_errors_say_where(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        csv.read(table(tmp_path, text))


def test_csv_not_in_utf_8_is_an_error(tmp_path):
    with pytest.raises(DataError, match="not UTF-8"):
        csv.read(table(tmp_path, "path,label\nä.png,cat\n", encoding="latin-1"))


@pytest.mark.parametrize(
    "name, text, fits",
    [
        ("t.csv", "path,label\n", True),
        ("t.tsv", "file\tlabel\n", True),
        ("samples.csv", "image;label\n", True),
        ("t.txt", "path,label\n", False),
        ("t.csv", "a,b\n", False),
        ("t.csv", "", False),
        ("t.csv", "\0\0", False),
    ],
)
def test_csv_fits(tmp_path, name, text, fits):
    path = table(tmp_path, text, name)
    assert csv.fits(path) == fits
    assert csv.fits(tmp_path) == (fits and name == "samples.csv")


words = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="|"), min_size=1, max_size=8
)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_csv_round_trip(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("csv")
    (root / "in/pictures").mkdir(parents=True)
    rows = []
    for i in range(data.draw(st.integers(1, 4))):
        name = f"pictures/{i} 'ü,;\".png"
        (root / "in" / name).write_bytes(PNG)
        split = data.draw(st.sampled_from(["", "train", "validation", "test"]))
        meta = {"age": data.draw(words), "über-col": data.draw(words)}
        rows.append(Sample(name, Label(data.draw(words)), split, data.draw(st.just("") | words), meta))
    first = Samples(root / "in", tuple(rows), "csv", tuple(sorted({row.target.name for row in rows})))
    csv.write(first, root / "out")
    second = csv.read(root / "out")
    assert second.rows == first.rows and second.classes == first.classes and second.left_out == ()


# NPZ.

STACK = np.random.default_rng(0).integers(0, 255, (6, 5, 4, 3)).astype(np.uint8)
KERAS = {"x_train": STACK, "y_train": np.array([10, 9, 10, 2, 9, 2]), "x_test": STACK[:2], "y_test": np.array([2, 10])}
MEDMNIST = {
    "train_images": STACK[..., 0],
    "train_labels": np.array([[0], [1]] * 3, np.uint8),
    "val_images": STACK[:2, ..., 0],
    "val_labels": np.array([[1], [0]]),
    "test_images": STACK[:1, ..., 0],
    "test_labels": np.array([[1]]),
}


def stored(tmp_path, **arrays):
    np.savez(tmp_path / "d.npz", **arrays)
    return tmp_path / "d.npz"


def test_npz_of_keras(tmp_path):
    samples = npz.read(stored(tmp_path, **KERAS))
    assert samples.classes == ("2", "9", "10"), "by number"
    assert samples.rows[1] == Sample("x_train[1]", Label("9"), "train")
    assert np.array_equal(samples.open(samples.rows[1]), STACK[1])
    assert samples.counts()["test"] == {"2": 1, "9": 0, "10": 1}


def test_npz_of_medmnist(tmp_path):
    samples = npz.read(stored(tmp_path, **MEDMNIST))
    assert samples.splits() == ("train", "validation", "test") and samples.classes == ("0", "1")
    assert read_picture(samples.open(samples.rows[-1])).pixels.shape == (5, 4, 1)


def test_npz_with_names_and_with_strings(tmp_path):
    named = npz.read(
        stored(tmp_path, **{**KERAS, "y_train": np.arange(6) % 3, "y_test": [2, 0]}, class_names=["c", "a", "b"])
    )
    assert named.classes == ("c", "a", "b") and named.rows[1].target == Label("a")
    strings = npz.read(stored(tmp_path, x_train=STACK[:2], y_train=np.array(["zebra", "ape"])))
    assert strings.classes == ("ape", "zebra")
    floats = npz.read(stored(tmp_path, x_train=STACK[:2], y_train=np.array([1.0, 0.0])))
    assert floats.classes == ("0", "1")


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"a": STACK}, "holds a; x_train"),
        ({"x_train": STACK}, "y_train is missing"),
        ({"x_train": STACK, "y_train": np.arange(5)}, r"\(5,\) beside 6 pictures"),
        ({"x_train": STACK, "y_train": np.eye(6, dtype=int) * 2}, "one label a picture"),
        ({"x_train": STACK, "y_train": np.ones((5, 3), int)}, r"\(5, 3\) beside 6 pictures"),
        ({"x_train": STACK, "y_train": np.ones((6, 3), int), "class_names": ["a", "b"]}, "3 columns.*2 class names"),
        (
            {"x_train": STACK, "y_train": np.ones((6, 3), int), "x_test": STACK, "y_test": np.arange(6)},
            "labels of one kind",
        ),
        ({"x_train": STACK, "y_train": np.full(6, 0.5)}, "whole numbers or strings"),
        ({"x_train": STACK / 255, "y_train": np.arange(6)}, "float64.*convert"),
        ({"x_train": STACK.astype(int), "y_train": np.arange(6)}, "int64"),
        ({"x_train": np.zeros((6, 3, 8, 8), np.uint8), "y_train": np.arange(6)}, "move the channels to the end"),
        ({"x_train": STACK.reshape(6, -1), "y_train": np.arange(6)}, r"\(6, 60\)"),
        (
            {"x_train": STACK, "y_train": np.arange(6), "class_names": ["a", "b"]},
            "holds 2, and there are 2 class names",
        ),
        ({"x_train": np.array([[1, 2], None], object), "y_train": np.arange(2)}, "never loaded"),
    ],
)
def test_npz_errors(tmp_path, arrays, words):
    with pytest.raises(DataError, match=words):
        npz.read(stored(tmp_path, **arrays))


def test_npz_that_lies_about_its_size_is_an_error(tmp_path):
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**3, 10**3)}
    np.lib.format.write_array_header_1_0(buffer, header)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x_train.npy", buffer.getvalue() + b"abc")
        archive.writestr("y_train.npy", b"nothing")
    with pytest.raises(DataError, match="claims to be"):
        npz.read(tmp_path / "d.npz")


def test_broken_npz_is_a_data_error(tmp_path):
    blob = stored(tmp_path, **KERAS).read_bytes()
    rng = np.random.default_rng(0)
    for end in rng.integers(0, len(blob), 30):
        (tmp_path / "d.npz").write_bytes(blob[:end])
        with pytest.raises(DataError):
            npz.read(tmp_path / "d.npz")
    for _ in range(60):
        damaged = bytearray(blob)
        for at in rng.integers(0, len(blob), 8):
            damaged[at] = rng.integers(256)
        (tmp_path / "d.npz").write_bytes(damaged)
        try:
            assert len(npz.read(tmp_path / "d.npz")) > 0
        except DataError as error:
            assert str(error)


def test_npz_round_trip_keeps_groups(tmp_path):
    first = npz.read(stored(tmp_path, **KERAS))
    rows = tuple(
        Sample(r.path, r.target, r.split, f"p{i % 3}" if r.split == "train" else "") for i, r in enumerate(first.rows)
    )
    npz.write(Samples(first.root, rows, "npz", first.classes, arrays=first.arrays), tmp_path / "e.npz")
    second = npz.read(tmp_path / "e.npz")
    assert second.rows == rows and second.classes == first.classes
    assert np.array_equal(second.arrays["x_train"], STACK)
    with pytest.raises(UsageError, match="exists"):
        npz.write(first, tmp_path / "e.npz")


def test_npz_wants_one_size(tmp_path):
    tree(tmp_path / "f", "a/1.png", "b/1.png")
    (tmp_path / "f/b/1.png").write_bytes(encoded(scene(7, 5), "PNG"))
    with pytest.raises(DataError, match=r"b/1\.png is \(7, 5, 3\) uint8.*one size"):
        npz.write(imagefolder.read(tmp_path / "f"), tmp_path / "x.npz")


# From any layout to any other.


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "bool"])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_layouts_convert_into_each_other(tmp_path, dtype, channels):
    pixels = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else np.iinfo(dtype).max, (6, 5, 4, *channels))
    first = read(stored(tmp_path, x_train=pixels.astype(dtype), y_train=np.arange(6) % 2))
    wanted = sorted((pixel_digest(read_picture(first.open(row))), row.target.name, row.split) for row in first.rows)
    imagefolder.write(first, tmp_path / "folder")
    csv.write(read(tmp_path / "folder"), tmp_path / "table")
    npz.write(read(tmp_path / "table"), tmp_path / "again.npz")
    for name, layout in (("folder", "imagefolder"), ("table", "csv"), ("again.npz", "npz")):
        samples = read(tmp_path / name)
        assert samples.layout == layout
        found = sorted(
            (pixel_digest(read_picture(samples.open(row))), row.target.name, row.split) for row in samples.rows
        )
        assert found == wanted, name


def test_floats_stay_in_npz(tmp_path):
    samples = read(stored(tmp_path, x_train=STACK.astype(np.float32), y_train=np.arange(6)))
    with pytest.raises(DataError, match="keep floats in npz"):
        imagefolder.write(samples, tmp_path / "folder")


def test_the_shelf_holds_what_is_tested_here():
    assert {"csv", "imagefolder", "npz"} <= set(Shelf("data.layouts").names())
