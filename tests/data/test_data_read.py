import numpy as np
import pytest
from made_pictures import encoded, scene

from sightline.core.errors import DataError, UsageError
from sightline.data.read import read
from sightline.data.samples import class_order, split_word

PNG = encoded(scene(6, 5), "PNG")


@pytest.fixture
def both(tmp_path):
    """A folder that is an ImageFolder and has a table."""
    for name in ("cat/person1_a.png", "cat/person1_b.png", "dog/person2_a.png", "dog/other.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    (tmp_path / "labels.csv").write_text("path,label,group\ncat/person1_a.png,tabby,g\n")
    return tmp_path


def test_two_fitting_layouts_are_an_error_that_names_prefixes(both):
    with pytest.raises(DataError, match=f"csv:{both}, imagefolder:{both}"):
        read(both)
    assert read(f"csv:{both}").layout == read(both, layout="csv").layout == "csv"
    assert read(f"imagefolder:{both}").layout == read(str(both), layout="imagefolder").layout == "imagefolder"
    assert read(both / "labels.csv").layout == "csv"


@pytest.mark.parametrize(
    "path, error, words",
    [
        ("nowhere", DataError, "no such file"),
        ("C:\\nowhere", DataError, "no such file"),
        ("csv:nowhere", DataError, "no such file"),
        ("coco-ish:nowhere", UsageError, "coco, csv, .*imagefolder, .*npz"),
        ("https://x.org/data.zip", DataError, "opens no network"),
    ],
)
def test_paths_that_cannot_be_read(path, error, words):
    with pytest.raises(error, match=words):
        read(path)


def test_no_fitting_layout_says_what_is_wanted(tmp_path):
    (tmp_path / "parts").mkdir()
    with pytest.raises(DataError, match=r"cat/1\.jpg.*samples\.csv"):
        read(tmp_path)
    (tmp_path / "1.png").write_bytes(PNG)
    with pytest.raises(DataError, match="not laid out in a known way"):
        read(tmp_path / "1.png")


def test_data_deeper_inside_is_named(tmp_path):
    for name in ("signs/Final_Training/Images/stop/1.png", "signs/Final_Training/Images/yield/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(PNG)
    with pytest.raises(DataError, match=r"the folder inside it is: .*signs.Final_Training.Images$"):
        read(tmp_path / "signs")


def test_a_path_with_a_colon_is_a_path_when_it_exists(tmp_path):
    for name in ("csv:odd/a/1.png", "csv:odd/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(PNG)
    assert read(tmp_path / "csv:odd").layout == "imagefolder"


@pytest.mark.parametrize(
    "pattern, groups",
    [
        (r"person(\d+)", ["1", "1", "", "2"]),
        (r"person\d+", ["person1", "person1", "", "person2"]),
        (r"(?:person(\d+)|other)", ["1", "1", "", "2"]),
        (r"^(\w+)/", ["cat", "cat", "dog", "dog"]),
    ],
)
def test_group_by(both, pattern, groups):
    assert [row.group for row in read(f"imagefolder:{both}", group_by=pattern).rows] == groups


def test_group_by_leaves_other_rows_their_group(both):
    (both / "labels.csv").write_text("path,label,group\ncat/person1_a.png,a,g\ndog/other.png,b,h\n")
    assert [row.group for row in read(f"csv:{both}", group_by=r"person(\d+)").rows] == ["1", "h"]


def test_group_by_that_does_nothing_is_an_error(both):
    with pytest.raises(DataError, match=r"matches no path; a path looks like cat/person1_a\.png"):
        read(f"imagefolder:{both}", group_by="patient")
    with pytest.raises(UsageError, match="not a regular expression"):
        read(f"imagefolder:{both}", group_by="(")


def test_words_for_splits_and_the_order_of_classes():
    assert [split_word(word) for word in ("TRAIN", " val ", "valid", "testing", "", "dev")] == [
        *("train", "validation", "validation", "test", ""),
        None,
    ]
    assert class_order([]) == ()


def test_mnist(real):
    samples = read(real / "mnist/mnist5k.npz")
    assert samples.layout == "npz" and samples.classes == tuple("0123456789")
    assert (len(samples.split("train")), len(samples.split("test"))) == (4000, 1000)
    picture = samples.open(samples.split("test").rows[0])
    assert picture.shape == (28, 28) and picture.dtype == np.uint8


def test_patients_of_the_real_xrays(real):
    samples = read(real / "medical/xray", group_by=r"person(\d+)")
    assert samples.layout == "imagefolder" and len(samples) == 421 and len(samples.classes) == 2
    grouped = [row for row in samples.rows if row.group]
    assert len(grouped) == 220 and len({row.group for row in grouped}) < 220
    assert all(f"person{row.group}_" in row.path for row in grouped)


@pytest.mark.parametrize(
    "place, layout, counts",
    [
        ("grocery", "imagefolder", {"train": 624, "validation": 104}),
        ("insects", "imagefolder", {"train": 113, "validation": 28}),
        ("textures", "imagefolder", {"": 120}),
        ("medical/mri", "imagefolder", {"": 126}),
        ("traffic/GTSRB/Final_Training/Images", "imagefolder", {"": 1326}),
    ],
)
def test_real_folders(real, place, layout, counts):
    samples = read(real / place)
    assert samples.layout == layout
    assert {split: len(samples.split(split)) for split in samples.splits()} == counts
