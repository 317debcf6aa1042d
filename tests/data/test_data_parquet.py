import json
import threading

import numpy as np
import pytest
from made_pictures import encoded, scene

from shard_server import serving
from sightline.core.errors import DataError, MissingExtraError, PictureError, UsageError
from sightline.data import web
from sightline.data.layouts import _rowgroups, imagefolder, parquet, webdataset
from sightline.data.pictures import pixel_digest, read_picture
from sightline.data.read import read
from sightline.data.samples import Label, NoTarget, Sample, Samples, Tags

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PNGS = [encoded(scene(6 + i, 5), "PNG") for i in range(6)]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def hub(names=None, **more):
    """What the Hugging Face hub writes into the schema."""
    features = {"image": {"_type": "Image"}} | more
    if names is not None:
        features["label"] = {"names": names, "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def stored(path, columns, metadata=None, group=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, row_group_size=group)
    return path


def structs(blobs, paths=None):
    return pa.array([{"bytes": blob, "path": path} for blob, path in zip(blobs, paths or [None] * len(blobs))], STRUCT)


def listed(samples):
    return [(row.path, row.target.text(), row.split) for row in samples.rows]


def test_as_on_the_hub(tmp_path):
    names = ["cat/a.png", "cat/b.png", "dog/c.png", "../d.png", "/e.png", None]
    for split in ("train", "test"):
        columns = {"image": structs(PNGS, names), "label": [1, 0, 1, 2, -1, 0]}
        stored(tmp_path / f"data/{split}-00000-of-00001.parquet", columns, hub(["dog", "cat", "ant"]))
    (tmp_path / "README.md").write_text("a card")
    samples = read(tmp_path)
    assert samples.layout == "parquet" and samples.classes == ("dog", "cat", "ant")
    assert listed(samples.split("train")) == [
        ("data/train-00000-of-00001.parquet/0/cat/a.png", "cat", "train"),
        ("data/train-00000-of-00001.parquet/1/cat/b.png", "dog", "train"),
        ("data/train-00000-of-00001.parquet/2/dog/c.png", "cat", "train"),
        ("data/train-00000-of-00001.parquet/3/d.png", "ant", "train"),
        ("data/train-00000-of-00001.parquet/5", "dog", "train"),
    ]
    assert [path for path, why in samples.left_out if why == "no label"] == [
        f"data/{split}-00000-of-00001.parquet/4/e.png" for split in ("test", "train")
    ]
    assert [read_picture(samples.open(row)).size_hw[0] for row in samples.split("test").rows] == [6, 7, 8, 9, 11]
    assert samples.splits() == ("train", "test")


@pytest.mark.parametrize(
    ("columns", "metadata", "texts", "classes"),
    [
        ({"image": PNGS[:2], "label": [10, 9]}, None, ["10", "9"], ("9", "10")),
        ({"img": PNGS[:2], "labels": ["b", "a"]}, None, ["b", "a"], ("a", "b")),
        ({"x": PNGS[:2], "cls": [1.0, 0.0]}, None, ["1", "0"], ("0", "1")),
        (
            {"image": PNGS[:2], "kind": [1, 0]},
            hub(kind={"names": ["u", "v"], "_type": "ClassLabel"}),
            ["v", "u"],
            ("u", "v"),
        ),
        ({"image": PNGS[:2]}, None, ["", ""], ()),
        ({"image": PNGS[:2], "label": [True, False]}, None, ["1", "0"], ("0", "1")),
        ({"image": PNGS[:2], "label": [1, 0]}, {"huggingface": "{"}, ["1", "0"], ("0", "1")),
        (
            {"image": PNGS[:2], "label": [[1, 0], []]},
            hub(label={"feature": {"names": ["u", "v"], "_type": "ClassLabel"}, "_type": "List"}),
            ["u|v", "(none)"],
            ("u", "v"),
        ),
        ({"image": PNGS[:2], "label": [["s"], ["s", "t"]]}, None, ["s", "s|t"], ("s", "t")),
    ],
)
def test_columns(tmp_path, columns, metadata, texts, classes):
    samples = read(stored(tmp_path / "t.parquet", columns, metadata))
    assert [row.target.text() for row in samples.rows] == texts and samples.classes == classes
    assert [read_picture(samples.open(row)).size_hw for row in samples.rows] == [(6, 5), (7, 5)]


def test_split_and_group_columns(tmp_path):
    columns = {"image": PNGS[:3], "label": [0, 1, 0], "split": ["train", "val", None], "group": ["p", None, "q"]}
    rows = read(stored(tmp_path / "t.parquet", columns)).rows
    assert [(row.split, row.group) for row in rows] == [("train", "p"), ("validation", ""), ("", "q")]
    with pytest.raises(DataError, match=r"row 0: 'fold1' is no split"):
        read(stored(tmp_path / "u.parquet", {**columns, "split": ["fold1", None, None]}))


@pytest.mark.parametrize(
    ("columns", "metadata", "said"),
    [
        ({"path": ["a.png"], "label": [0]}, None, r"no column holds pictures among path, label"),
        ({"a": [b"x"], "b": [b"y"]}, None, "no column holds pictures"),
        (
            {"image": PNGS[:1], "a": [0], "b": [0]},
            hub(a={"names": ["x"], "_type": "ClassLabel"}, b={"names": ["x"], "_type": "ClassLabel"}),
            "columns a, b all hold classes",
        ),
        ({"image": PNGS[:1], "label": [3]}, hub(["x"]), "class 3, and there are 1 class names"),
        ({"image": pa.array([], pa.binary())}, None, "no rows that can be used"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, columns, metadata, said):
    path = stored(tmp_path / "t.parquet", columns, metadata)
    with pytest.raises(DataError, match=said):
        parquet.read(path)


def test_a_table_of_paths_or_of_answers_is_none(tmp_path):
    assert not parquet.fits(stored(tmp_path / "t.parquet", {"path": ["a.png"], "label": ["cat"]}))
    (tmp_path / "u.parquet").write_bytes(b"PAR1 and nothing else")
    (tmp_path / "v.parquet").write_bytes(b"")
    for name in ("u.parquet", "v.parquet"):
        assert not parquet.fits(tmp_path / name)
        with pytest.raises(DataError, match=name):
            parquet.read(tmp_path / name)


def test_files_that_name_classes_otherwise(tmp_path):
    stored(tmp_path / "train-0.parquet", {"image": PNGS[:1], "label": [0]}, hub(["a"]))
    stored(tmp_path / "test-0.parquet", {"image": PNGS[:1], "label": [0]}, hub(["b"]))
    with pytest.raises(DataError, match=r"train-0\.parquet names its classes otherwise than test-0\.parquet"):
        read(tmp_path)


def test_rows_without_a_picture_have_a_reason(tmp_path):
    path = stored(tmp_path / "t.parquet", {"image": structs([PNGS[0], None], [None, "here/b.png"]), "label": [0, 1]})
    samples = read(path)
    assert read_picture(samples.open(samples.rows[0])).size_hw == (6, 5)
    with pytest.raises(PictureError, match=r"t\.parquet/1/here/b\.png: the row has no picture in it"):
        read_picture(samples.open(samples.rows[1]))


def test_a_damaged_file_gives_reasons(tmp_path):
    path = stored(tmp_path / "t.parquet", {"image": PNGS, "label": [0] * 6}, group=3)
    blob = bytearray(path.read_bytes())
    blob[4:400] = bytes(396)
    path.write_bytes(bytes(blob))
    samples = read(path)
    reasons = []
    for row in samples.rows:
        try:
            read_picture(samples.open(row))
        except PictureError as error:
            reasons.append(error.reason)
    assert 0 < len(reasons) <= 3
    stored(path, {"image": PNGS[:1], "label": [0]})
    with pytest.raises(DataError, match="has changed"):
        read_picture(samples.open(samples.rows[0]))


# Row groups.


@pytest.fixture
def reads(monkeypatch):
    """Row groups as they are read."""
    done = []
    whole = _rowgroups.Table.pictures

    def counted(self, group, column):
        done.append(group)
        return whole(self, group, column)

    monkeypatch.setattr(_rowgroups.Table, "pictures", counted)
    return done


def test_each_row_group_is_read_once_while_it_is_kept(tmp_path, reads, monkeypatch):
    samples = read(stored(tmp_path / "t.parquet", {"image": PNGS, "label": [0] * 6}, group=2))
    for row in (0, 1, 2, 3, 0, 5, 4, 2):
        assert read_picture(samples.open(samples.rows[row])).size_hw == (6 + row, 5)
    assert reads == [0, 1, 2]
    monkeypatch.setattr(_rowgroups.RowGroups, "limit", 1)
    reads.clear()
    samples = read(tmp_path / "t.parquet")
    for row in (0, 1, 2, 3, 0, 1):
        read_picture(samples.open(samples.rows[row]))
    assert reads == [0, 1, 0]


def test_threads_that_want_one_row_group_read_it_once(tmp_path, reads):
    samples = read(stored(tmp_path / "t.parquet", {"image": PNGS, "label": [0] * 6}, group=3))
    barrier, heights = threading.Barrier(12), []

    def work(row):
        barrier.wait()
        heights.append(read_picture(samples.open(samples.rows[row])).size_hw[0])

    threads = [threading.Thread(target=work, args=(number % 6,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(heights) == sorted([6, 7, 8, 9, 10, 11] * 2) and sorted(reads) == [0, 1]


def test_huge_row_groups_are_noted_and_refused(tmp_path, monkeypatch):
    path = stored(tmp_path / "t.parquet", {"image": PNGS, "label": [0] * 6}, group=6)
    assert read(path).notes == ()
    monkeypatch.setattr(parquet, "_HUGE", 100)
    assert read(path).notes == ()  # all fit what is kept
    monkeypatch.setattr(_rowgroups.RowGroups, "limit", 100)
    (note,) = read(path).notes
    assert "about 100 pictures a row group" in note
    monkeypatch.setattr(_rowgroups, "_MOST", 100)
    samples = read(path)
    with pytest.raises(PictureError, match="its row group has more than 100 bytes"):
        read_picture(samples.open(samples.rows[0]))


def test_without_pyarrow(tmp_path, monkeypatch):
    path = stored(tmp_path / "t.parquet", {"image": PNGS[:1], "label": [0]})
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"sightline\[tables\]"):
        read(path)


# Writing, and the same pictures elsewhere.


def test_what_is_written_is_what_the_hub_holds(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (250, 4, 4), np.uint8)
    rows = tuple(Sample(f"x[{i}]", Label("ab"[i % 2]), "train", f"g{i // 2}") for i in range(250))
    samples = Samples(tmp_path, rows, "npz", ("b", "a"), arrays={"x": pixels})
    parquet.write(samples, tmp_path / "p")
    file = pq.ParquetFile(tmp_path / "p/train-00000-of-00001.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [100, 100, 50]
    features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert features["label"] == {"names": ["b", "a"], "_type": "ClassLabel"} and features["image"]["_type"] == "Image"
    assert file.read_row_group(0, columns=["label"]).column(0).to_pylist()[:3] == [1, 0, 1]
    file.close()
    again = read(tmp_path / "p")
    assert again.classes == ("b", "a") and [row.target for row in again.rows] == [row.target for row in rows]
    assert [row.group for row in again.rows] == [row.group for row in rows]
    assert again.rows[7].path == "train-00000-of-00001.parquet/007/x/000007.png"
    with pytest.raises(UsageError, match="exists"):
        parquet.write(samples, tmp_path / "p")


def digests(samples):
    return [pixel_digest(read_picture(samples.open(row))) for row in samples.rows]


@pytest.mark.parametrize("kind", ["label", "tags", "none"])
def test_the_same_pictures_in_a_folder_in_shards_and_in_a_table(tmp_path, kind):
    targets = {"label": [Label("cat"), Label("dog")], "tags": [Tags(("cat", "dog")), Tags()], "none": [NoTarget()] * 2}
    pixels = np.random.default_rng(0).integers(0, 256, (8, 5, 4, 3), np.uint8)
    rows = tuple(Sample(f"x[{i}]", targets[kind][i % 2], ("train", "test")[i // 4]) for i in range(8))
    classes = () if kind == "none" else ("cat", "dog")
    first = Samples(tmp_path, rows, "npz", classes, arrays={"x": pixels})
    for module, name in ((webdataset, "w"), (parquet, "p")):
        module.write(first, tmp_path / name)
        again = read(tmp_path / name)
        order = [*first.split("test").rows, *first.split("train").rows]  # files are in order of their names
        assert [(row.target, row.split) for row in again.rows] == [(row.target, row.split) for row in order]
        assert digests(again) == [pixel_digest(read_picture(first.open(row))) for row in order]
        assert again.classes == first.classes
    parquet.write(read(tmp_path / "w"), tmp_path / "q")
    webdataset.write(read(tmp_path / "p"), tmp_path / "v")
    assert digests(read(tmp_path / "q")) == digests(read(tmp_path / "v")) == digests(again)
    if kind == "label":
        imagefolder.write(read(tmp_path / "p"), tmp_path / "f")
        assert sorted(digests(read(tmp_path / "f"))) == sorted(digests(again))


def test_tables_at_urls(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.001)
    monkeypatch.setattr(web, "BLOCK", 0)
    monkeypatch.setenv("no_proxy", "*")
    path = stored(tmp_path / "t/train-00.parquet", {"image": PNGS, "label": [0, 1] * 3}, hub(["u", "v"]), group=3)
    local = read(path)
    with serving() as served:
        served.files["/d/train-00.parquet"] = path.read_bytes()
        served.tags["/d/train-00.parquet"] = '"1"'
        remote = read(f"{served.url}/d/train-{{00..00}}.parquet")
        assert remote.rows == read(tmp_path / "t").rows and remote.classes == local.classes == ("u", "v")
        served.asked.clear()
        assert digests(remote) == digests(local) and 2 <= len(served.asked) <= 6
        served.tags["/d/train-00.parquet"] = '"2"'
        changed = read(tmp_path / "t").rows[0]
        fresh = read(f"{served.url}/d/train-00.parquet")
        served.tags["/d/train-00.parquet"] = '"3"'
        with pytest.raises(DataError, match="has changed"):
            read_picture(fresh.open(changed))
        with pytest.raises(DataError, match="there is none"):
            read(f"{served.url}/d/train-{{00..01}}.parquet")
        served.ranges = False
        with pytest.raises(DataError, match="gives no parts of files"):
            read(f"{served.url}/d/train-00.parquet")
