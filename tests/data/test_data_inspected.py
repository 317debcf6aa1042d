"""Layouts of inspected parts: MVTec AD, MVTec LOCO AD, VisA and plain folders, and how one becomes another."""

import numpy as np
import pytest
from made_objects import put, write
from PIL import Image

from sightline.core.errors import DataError, UsageError
from sightline.core.events import drain
from sightline.core.protocols import Facts
from sightline.core.shelf import Shelf
from sightline.data.layouts import mvtec, plain, visa
from sightline.data.masks import mask_of
from sightline.data.pictures import pixel_digest, read_picture
from sightline.data.read import fitting_layouts, read
from sightline.data.samples import Inspected, Label, NoTarget, Objects, Sample, Samples, Tags
from sightline.verbs.convert import convert

AD = ("train/good/0.png", "train/good/1.png", "test/good/0.png", "test/cut/0.png", "test/cut/1.png", "test/dent/0.png")
MASKS = ("ground_truth/cut/0_mask.png", "ground_truth/dent/0_mask.png")


def tree(root, *names):
    """Pictures with different pixels; masks have a spot as large as their number among the files."""
    for number, name in enumerate(names, start=1):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.zeros((20, 30), np.uint8)
        array[: number % 20, :4] = 255
        picture = np.random.default_rng(number).integers(0, 255, (20, 30, 3)).astype(np.uint8)
        mask = "ground_truth" in name or "Masks" in name
        Image.fromarray(array if mask else picture).save(path, "PNG" if mask else None)
    return root


def told(samples):
    """Path → split, kind, masks."""
    return {
        row.path: (row.split, row.target.kind, [mask.relative_to(samples.root).as_posix() for mask in row.target.masks])
        for row in samples.rows
    }


def contents(samples):
    """What is said of which pixels."""
    digests = [pixel_digest(read_picture(samples.open(row))) for row in samples.rows]
    return sorted((digest, row.split, row.target.key()) for digest, row in zip(digests, samples.rows))


# MVTec AD and MVTec LOCO AD.


def test_mvtec_ad(tmp_path):
    samples = read(tree(tmp_path, *AD, *MASKS))
    assert samples.layout == "mvtec" and samples.classes == ("cut", "dent", "good")
    assert told(samples) == {
        "test/cut/0.png": ("test", "cut", ["ground_truth/cut/0_mask.png"]),
        "test/cut/1.png": ("test", "cut", []),
        "test/dent/0.png": ("test", "dent", ["ground_truth/dent/0_mask.png"]),
        "test/good/0.png": ("test", "good", []),
        "train/good/0.png": ("train", "good", []),
        "train/good/1.png": ("train", "good", []),
    }
    assert samples.left_out == () and samples.notes == ()


def test_mvtec_loco_ad(tmp_path):
    names = ("train/good/000.png", "validation/good/000.png", "test/logical_anomalies/000.png")
    masks = [f"ground_truth/logical_anomalies/000/00{number}.png" for number in range(3)]
    write(tree(tmp_path, *names, *masks), "defects_config.json", "[]")
    samples = read(tmp_path)
    assert samples.layout == "mvtec" and samples.splits() == ("train", "validation", "test")
    assert told(samples)["test/logical_anomalies/000.png"] == ("test", "logical_anomalies", masks)
    assert samples.left_out == ()
    mvtec.write(samples, tmp_path / "new")
    assert told(read(tmp_path / "new")) == told(samples)


def test_mvtec_lists_what_it_does_not_use(tmp_path):
    masks = ("ground_truth/cut/7_mask.png", "ground_truth/hole/0_mask.png", "ground_truth/good/0_mask.png")
    tree(tmp_path, *AD, *MASKS, *masks, "loose.png", "test/loose.png", "test_private/1.png")
    write(tmp_path, "readme.txt", "words")
    write(tmp_path, "test/cut/notes.txt", "words")
    (tmp_path / "test" / "bent").mkdir()
    assert set(read(tmp_path).left_out) == {
        ("test_private/", "stands beside train, validation and test"),
        ("test/cut/notes.txt", "not a picture: .txt"),
        ("test/bent/", "no pictures in this folder"),
        ("loose.png", "stands in no folder of a kind"),
        ("test/loose.png", "stands in no folder of a kind"),
        ("ground_truth/cut/7_mask.png", "a mask of no picture"),
        ("ground_truth/hole/0_mask.png", "a mask of no picture"),
    }


def test_the_names_of_others_for_good(tmp_path):
    """BeanTech's data set has ok and ko, and masks under the names of their pictures."""
    samples = read(tree(tmp_path, "train/ok/0.png", "test/ok/1.png", "test/ko/2.bmp", "ground_truth/ko/2.png"))
    assert [row.target.kind for row in samples.rows] == ["ko", "good", "good"]
    assert samples.rows[0].target.masks == (tmp_path / "ground_truth/ko/2.png",)


def test_mvtec_without_good_parts_to_test_by_says_so(tmp_path):
    assert "false alarms cannot be measured" in read(tree(tmp_path, "train/good/0.png", "test/cut/0.png")).notes[0]


@pytest.mark.parametrize(
    ("names", "layouts"),
    [
        (("train/good/0.png", "test/good/0.png"), ["mvtec"]),
        (("train/good/0.png", "validation/good/0.png"), ["mvtec"]),
        (("train/good/0.png",), ["imagefolder"]),
        (("train/good/0.png", "train/bad/0.png", "test/good/0.png", "test/bad/0.png"), ["imagefolder"]),
        (("train/good/0.png", "val/good/0.png", "val/bad/0.png"), ["imagefolder"]),
        (("train/cat/0.png", "test/cat/0.png"), ["imagefolder"]),
        (("good/0.png", "bad/0.png", "ground_truth/bad/0_mask.png"), ["imagefolder"]),
        (("good/0.png", "test/bad/0.png"), ["imagefolder"]),
    ],
)
def test_what_is_taken_for_mvtec(tmp_path, names, layouts):
    assert fitting_layouts(tree(tmp_path, *names)) == layouts


def test_a_folder_of_several_objects_is_named_as_such(tmp_path):
    tree(tmp_path, *(f"{name}/{file}" for name in ("bottle", "cable") for file in AD))
    with pytest.raises(DataError, match=r"holds data sets of inspected parts; give one of them: .*bottle, .*cable"):
        read(tmp_path)
    assert read(f"imagefolder:{tmp_path}").classes == ("bottle", "cable")


def test_mvtec_refuses_what_it_cannot_write(tmp_path):
    tree(tmp_path / "in", "0.png")
    for target, said in [
        (Objects(), "0.png: a part is good or has one kind of defect"),
        (Tags(("a", "b")), "0.png: a part is good or has one kind of defect"),
        (Label("cut"), "none of cut says that a part is good"),
        (Inspected("a/b"), "'a/b' cannot be the name of a folder"),
        (Inspected(".cut"), "'.cut' cannot be the name of a folder"),
    ]:
        with pytest.raises(DataError, match=said):
            mvtec.write(Samples(tmp_path / "in", (Sample("0.png", target),), "made"), tmp_path / "new")
    gone = tmp_path / "gone.png"
    rows = (Sample("0.png", Inspected()), Sample("0.png", Inspected("cut", (gone,))))
    with pytest.raises(DataError, match=r"gone.png is not there"):
        mvtec.write(Samples(tmp_path / "in", rows, "made"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="exists already"):
        mvtec.write(Samples(tmp_path / "in", (Sample("0.png"),), "made"), tmp_path / "in")


@pytest.mark.parametrize("layout", [mvtec, visa, plain])
def test_copies_never_fall_on_one_name(tmp_path, layout):
    """Nor do masks, which have another ending than their pictures."""
    names = ["a/1.png", "b/1.png", "b/1.bmp", "B/1.PNG"]
    tree(tmp_path / "in", *names, "in/masks/ground_truth/x.png")
    mask = tmp_path / "in/in/masks/ground_truth/x.png"
    targets = [NoTarget()] * 4 if layout is plain else [Inspected(), *[Inspected("cut", (mask,))] * 3]
    rows = tuple(Sample(name, target, "test" * (layout is not plain)) for name, target in zip(names, targets))
    first = Samples(tmp_path / "in", rows, "made")
    layout.write(first, tmp_path / "new")
    second = layout.read(tmp_path / "new")
    assert second.left_out == () and contents(second) == contents(first)


# VisA.


def candle(root, *, shared=True):
    """Two objects as published; of `candle` two good parts and three defective ones."""
    anomalies, normals = [f"Anomaly/00{n}.JPG" for n in range(3)], [f"Normal/000{n}.JPG" for n in range(2)]
    pictures = [f"candle/Data/Images/{name}" for name in (*normals, *anomalies)]
    tree(root, *pictures, "candle/Data/Masks/Anomaly/000.png", "candle/Data/Masks/Anomaly/001.png")
    lines = ["image,label,mask", *(f"{name},normal," for name in pictures[:2])]
    lines += [f"{pictures[2]},bent,candle/Data/Masks/Anomaly/000.png"]
    lines += [f'{pictures[3]},"bent, melded",candle/Data/Masks/Anomaly/001.png']
    write(root, "candle/image_anno.csv", "\n".join(lines))
    if shared:
        listed = ["object,split,label,image,mask", "pcb1,test,normal,pcb1/Data/Images/Normal/0000.JPG,"]
        listed += [f"candle,train,normal,{pictures[0]},", f"candle,test,normal,{pictures[1]},"]
        listed += [f"candle,test,anomaly,{name},x" for name in pictures[2:]]
        write(root, "split_csv/1cls.csv", "\n".join(listed))
    return root / "candle"


@pytest.mark.parametrize("shared", [True, False])
def test_visa(tmp_path, shared):
    samples = read(candle(tmp_path, shared=shared))
    assert samples.layout == "visa" and samples.classes == ("bent", "bent,melded", "defect", "good")
    assert told(samples) == {
        "Data/Images/Anomaly/000.JPG": ("test", "bent", ["Data/Masks/Anomaly/000.png"]),
        "Data/Images/Anomaly/001.JPG": ("test", "bent,melded", ["Data/Masks/Anomaly/001.png"]),
        "Data/Images/Anomaly/002.JPG": ("test", "defect", []),
        "Data/Images/Normal/0000.JPG": ("train" if shared else "", "good", []),
        "Data/Images/Normal/0001.JPG": ("test" if shared else "", "good", []),
    }
    assert samples.left_out == () and samples.notes == ()


def test_visa_without_its_table(tmp_path):
    root = candle(tmp_path, shared=False)
    (root / "image_anno.csv").unlink()
    assert [row.target.kind for row in read(root).rows] == ["defect"] * 3 + ["good"] * 2
    assert [len(row.target.masks) for row in read(root).rows] == [1, 1, 0, 0, 0]


def test_visa_believes_its_table(tmp_path):
    """In which paths may be written on Windows, and masks be called otherwise than their pictures."""
    root = candle(tmp_path, shared=False)
    (root / "Data/Masks/Anomaly/001.png").rename(root / "Data/Masks/Anomaly/m1.png")
    tree(root, "Data/Masks/Anomaly/x.png")
    lines = ["\ufeffImage, Label ,Mask", r"Data\Images\Anomaly\001.jpg,melded,Data\Masks\Anomaly\m1.png"]
    lines += ["Anomaly/002.JPG,normal,", "Normal/0007.JPG,normal,"]
    write(root, "image_anno.csv", "\r\n".join(lines))
    samples = read(root)
    assert [row.target.kind for row in samples.rows] == ["defect", "melded", "good", "good", "good"]
    assert samples.rows[1].target.masks == (root / "Data/Masks/Anomaly/m1.png",)
    assert samples.left_out == (
        ("Normal/0007.JPG", "no such picture; image_anno.csv names it"),
        ("Data/Masks/Anomaly/x.png", "a mask of no picture"),
    )


def test_visa_that_cannot_be_read(tmp_path):
    root = candle(tmp_path)
    with pytest.raises(DataError, match="holds no folder Data/Images; give that of one object"):
        read(f"visa:{tmp_path}")
    write(tmp_path, "split_csv/1cls.csv", "object,split,label,image,mask\ncandle,fold1,normal,Normal/0000.JPG,\n")
    with pytest.raises(DataError, match="'fold1' is no split; allowed are train, validation, test"):
        read(root)
    (root / "image_anno.csv").write_bytes(b"image,label,mask\n\xff\xfe,a,b\n")
    with pytest.raises(DataError, match=r"image_anno.csv is no table"):
        read(root)


def test_an_object_under_another_name_has_no_splits(tmp_path):
    other = candle(tmp_path).rename(tmp_path / "candles")
    samples = read(other)
    assert samples.splits() == ("test", "")
    assert samples.notes == (
        f"{tmp_path / 'split_csv/1cls.csv'} lists nothing of candles, so that no good part has a split",
    )


def test_the_folder_of_all_objects_is_named_as_such(tmp_path):
    tree(candle(tmp_path).parent, "pcb1/Data/Images/Normal/0000.JPG")
    with pytest.raises(DataError, match=r"holds data sets of inspected parts; give one of them: .*candle"):
        read(tmp_path)


def test_visa_holds_one_mask_a_picture(tmp_path):
    names = ("train/good/0.png", "test/cut/0.png", "ground_truth/cut/0/0.png", "ground_truth/cut/0/1.png")
    with pytest.raises(DataError, match="has 2 masks, and visa holds one; write mvtec"):
        visa.write(mvtec.read(tree(tmp_path, *names)), tmp_path / "new")


# Plain folders.


def test_a_plain_folder_is_read_when_nothing_else_fits(tmp_path):
    tree(tmp_path, "1.png", "10.png", "2.png", "bad/1.png")
    write(tmp_path, "notes.txt", "words")
    samples = read(tmp_path)
    assert samples.layout == "plain" and samples.classes == () and samples.splits() == ("",)
    assert [(row.path, row.target) for row in samples.rows] == [(f"{n}.png", NoTarget()) for n in (1, 10, 2)]
    assert samples.left_out == (
        ("notes.txt", "not a picture: .txt"),
        ("bad/", "a folder beside the pictures; give it by itself"),
    )
    tree(tmp_path, "good/1.png")
    assert read(tmp_path).layout == "imagefolder"
    write(tmp_path, "samples.csv", "path,label\n1.png,cat\n")
    assert fitting_layouts(tmp_path) == ["csv", "imagefolder"]


def test_the_only_folder_inside_is_still_named(tmp_path):
    tree(tmp_path, "parts/good/1.png", "parts/good/2.png")
    with pytest.raises(DataError, match=r"is no data set, but the folder inside it is: .*parts.good$"):
        read(tmp_path / "parts")
    assert len(read(tmp_path / "parts" / "good")) == 2


def test_plain_holds_no_labels(tmp_path):
    tree(tmp_path / "in", "0.png")
    with pytest.raises(DataError, match=r"0.png is cut, which plain cannot say"):
        plain.write(Samples(tmp_path / "in", (Sample("0.png", Label("cut")),), "made"), tmp_path / "new")
    with pytest.raises(DataError, match="no pictures lie directly"):
        plain.read(tmp_path)


# From one to another.


def converted(data, out, to):
    return drain(convert(str(data), out, to=to))


@pytest.mark.parametrize("to", ["imagefolder", "csv", "parquet", "npz", "webdataset"])
def test_kinds_become_labels_and_labels_kinds(tmp_path, to):
    if to == "parquet":
        pytest.importorskip("pyarrow")
    root = tree(tmp_path / "in", *AD, *MASKS)
    assert converted(root, tmp_path / "labels", to).lost == ("2 of 2 masks",)
    labels = read(f"{to}:{tmp_path / 'labels'}")
    assert [row.target for row in labels.split("train").rows] == [Label("good")] * 2
    assert labels.counts() == read(root).counts()
    done = converted(f"{to}:{tmp_path / 'labels'}", tmp_path / "parts", "mvtec")
    assert done.lost == () and read(tmp_path / "parts").counts() == read(root).counts()


@pytest.mark.parametrize("to", ["mvtec", "visa"])
def test_among_layouts_of_parts_nothing_is_lost(tmp_path, to):
    for root in (tree(tmp_path / "ad", *AD, *MASKS), candle(tmp_path / "visa")):
        done = converted(root, tmp_path / "to" / root.name, to)
        assert done.lost == () and done.left_out == ()
        assert contents(read(tmp_path / "to" / root.name)) == contents(read(root))


def test_folders_without_splits_become_train_and_test(tmp_path):
    tree(tmp_path / "in", *(f"ok/{n}.png" for n in range(3)), *(f"cut/{n}.png" for n in range(2)))
    done = converted(tmp_path / "in", tmp_path / "new", "mvtec")
    assert done.pictures == {"train": 3, "test": 2} and done.lost == ("1 names of classes (ok)",)
    assert sorted(p.relative_to(tmp_path / "new").as_posix() for p in (tmp_path / "new").rglob("*.png")) == [
        *(f"test/cut/{n}.png" for n in range(2)),
        *(f"train/good/{n}.png" for n in range(3)),
    ]


def test_defects_of_the_training_part_are_said_to_move(tmp_path):
    tree(tmp_path / "in", "train/good/0.png", "train/cut/1.png", "test/good/2.png", "test/cut/3.png")
    done = converted(tmp_path / "in", tmp_path / "new", "mvtec")
    assert done.lost == ("1 of 2 pictures of train",) and done.pictures == {"train": 1, "test": 3}


def test_a_plain_folder_is_all_good(tmp_path):
    tree(tmp_path / "in", "0.png", "1.png")
    done = converted(tmp_path / "in", tmp_path / "new", "mvtec")
    assert done.pictures == {"train": 2} and done.lost == ()
    assert read(tmp_path / "new").layout == "mvtec"
    assert converted(tmp_path / "in", tmp_path / "again", "plain").lost == ()
    with pytest.raises(DataError, match="has no label, and a class folder needs one"):
        converted(tmp_path / "in", tmp_path / "folders", "imagefolder")


def test_what_does_not_hold_kinds_says_what_does(tmp_path):
    root = tree(tmp_path / "in", *AD)
    with pytest.raises(DataError, match=r"coco does not hold kinds of defects, .*: csv, imagefolder, mvtec, npz"):
        converted(root, tmp_path / "new", "coco")
    put(tmp_path, "boxes/a.jpg")
    write(tmp_path, "boxes/a.xml", "<annotation><filename>a.jpg</filename></annotation>")
    with pytest.raises(DataError, match="mvtec does not hold boxes"):
        converted(tmp_path / "boxes", tmp_path / "new", "mvtec")


@pytest.mark.parametrize("task", ["classify", "tag", "detect"])
@pytest.mark.parametrize("target", [NoTarget(), Inspected()], ids=["plain", "mvtec"])
def test_other_tasks_say_how_to_lay_out_data(task, target):
    module = Shelf("tasks").load(task)
    facts = Facts(count=1, sizes_hw=np.array([[20, 30]]), grey=False, dtype="uint8", targets=[target])
    said = {"detect": "no boxes .*COCO", "tag": r"one folder a class, as cat/1\.jpg.*samples\.csv"}
    said["classify"] = said["tag"] = said["tag"] if target == NoTarget() else "sightline train anomaly"
    with pytest.raises(DataError, match=said[task]):
        module.plan(module.Recipe(), facts)


# The real ones.


def test_magnetic_tile(real):
    samples = read(real / "magnetic_tile")
    assert samples.layout == "mvtec" and samples.left_out == () and samples.notes == ()
    assert samples.counts() == {
        "train": {"blowhole": 0, "break": 0, "crack": 0, "fray": 0, "good": 200, "uneven": 0},
        "test": {"blowhole": 53, "break": 37, "crack": 27, "fray": 15, "good": 60, "uneven": 37},
    }
    shares = []
    for row in samples.rows:
        mask = mask_of(row.target, read_picture(samples.open(row)).size_hw)
        assert mask is not None and mask.any() == (row.target.kind != "good"), row.path
        shares.append(mask.mean())
    assert max(shares) < 0.9


def test_real_folders_of_loose_pictures_are_plain(real):
    assert len(read(real / "photos/imagenet")) == 200
    assert len(read(real / "faces/yale")) == 54


def test_every_layout_of_parts_is_tried_here():
    modules = Shelf("data.layouts").all().values()
    assert {m for m in modules if getattr(m, "TARGET", None) in (Inspected, NoTarget)} == {mvtec, visa, plain}
