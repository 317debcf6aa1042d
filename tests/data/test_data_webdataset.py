import contextlib
import io
import json
import os
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pictures import encoded, scene

from shard_server import serving
from sightline.core.errors import DataError, PictureError, UsageError
from sightline.data import web
from sightline.data.layouts import _tarindex, csv, imagefolder, npz, webdataset
from sightline.data.layouts._tar import DamagedError, members
from sightline.data.pictures import pixel_digest, read_picture
from sightline.data.ranges import Ahead, ranges_of
from sightline.data.read import data_name, read
from sightline.data.samples import Label, NoTarget, Sample, Samples, Tags

PNG, JPEG = encoded(scene(6, 5), "PNG"), encoded(scene(8, 9), "JPEG")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(folder))
    return folder


def tar(path, files, *, form=tarfile.PAX_FORMAT):
    """A tar of names with bytes, text, or TarInfo made by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            blob = content.encode() if isinstance(content, str) else content
            header.size = len(blob)
            archive.addfile(header, io.BytesIO(blob))
    return path


def listed(samples):
    return [(row.path, row.target.text(), row.split) for row in samples.rows]


def special(name, kind, target=""):
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


# What a sample is.


def test_samples_share_a_key(tmp_path):
    files = {
        "b/2.cls": "1",
        "b/2.jpg": JPEG,
        "a.b/1.png": PNG,
        "a.b/1.cls": "0\n",
        "3.PNG": PNG,
        "3.json": json.dumps({"label": "cat", "group": 7}),
        "./4.webp": PNG,
        "4.txt": " dog \n",
        "5.jpeg": JPEG,
        "5.json": json.dumps({"cls": 1}),
        "__key__": "x",
        "._5.png": PNG,
    }
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    samples = read(tar(tmp_path / "s.tar", files))
    assert samples.layout == "webdataset" and samples.classes == ("cat", "dog") and samples.left_out == ()
    assert listed(samples) == [
        ("s.tar/b/2.jpg", "dog", ""),
        ("s.tar/a.b/1.png", "cat", ""),
        ("s.tar/3.PNG", "cat", ""),
        ("s.tar/4.webp", "dog", ""),
        ("s.tar/5.jpeg", "dog", ""),
    ]
    assert [row.group for row in samples.rows] == ["", "", "7", "", ""]
    assert [read_picture(samples.open(row)).format for row in samples.rows] == ["JPEG", "PNG", "PNG", "PNG", "JPEG"]
    assert read_picture(samples.open(samples.rows[0])).source == "s.tar/b/2.jpg"


def test_what_cannot_be_used_is_listed(tmp_path):
    files = {
        "1.png": PNG,
        "1.cls": "0",
        "2.cls": "1",
        "3.png": PNG,
        "4.png": PNG,
        "4.json": "{",
        "5.png": PNG,
        "5.json": '{"label": {"x": 1}}',
        "6.png": PNG,
        "6.cls": b"\xff",
        "7.png": PNG,
        "7.cls": "9" * 70_000,
        "8.png": PNG,
        "8.jpg": JPEG,
        "8.mask.png": PNG,
        "8.cls": "cat",
        "9.png": PNG,
        "9.txt": "a caption of two\nlines",
        "10.a.png": PNG,
        "10.cls": "0",
    }
    path = tar(tmp_path / "s.tar", files)
    with tarfile.open(path, "a") as archive:
        header = tarfile.TarInfo("1.png")
        header.size = len(PNG)
        archive.addfile(header, io.BytesIO(PNG))
    samples = webdataset.read(path)
    assert [row.path for row in samples.rows] == ["s.tar/1.png", "s.tar/8.png", "s.tar/10.a.png"]
    assert samples.classes == ("0", "cat")
    reasons = dict(samples.left_out)
    assert set(reasons) == {
        *("s.tar/1.png", "s.tar/2", "s.tar/3.png", "s.tar/4.png", "s.tar/5.png"),
        *("s.tar/6.png", "s.tar/7.png", "s.tar/8.jpg", "s.tar/8.mask.png", "s.tar/9.png"),
    }
    assert reasons["s.tar/1.png"] == "its key 1 has such a file already: 1.png"
    assert reasons["s.tar/2"] == "no picture; there is .cls"
    assert reasons["s.tar/3.png"] == reasons["s.tar/9.png"] == "no label"
    assert "damaged" in reasons["s.tar/4.png"] and "a number, a name or a list" in reasons["s.tar/5.png"]
    assert "UTF-8" in reasons["s.tar/6.png"] and "65,536 bytes" in reasons["s.tar/7.png"]
    assert reasons["s.tar/8.jpg"] == "a further picture of the sample 8; 8.png is used"


def test_pictures_without_any_label_are_samples(tmp_path):
    samples = webdataset.read(tar(tmp_path / "s.tar", {"1.png": PNG, "2.png": PNG}))
    assert [row.target for row in samples.rows] == [NoTarget(), NoTarget()] and samples.classes == ()


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (["10", "2", "0"], None, ("0", "2", "10")),
        (["b", "a", "10"], None, ("10", "a", "b")),
        (["1", "0"], "zebra\nant\nunused\n", ("zebra", "ant")),
        (["ant", "1"], "zebra\nant", ("ant",)),
        (["other", "0"], "zebra\nant", ("other", "zebra")),
    ],
)
def test_classes(tmp_path, labels, names, classes):
    files = {}
    for number, label in enumerate(labels):
        files |= {f"{number}.png": PNG, f"{number}.cls": label}
    if names:
        (tmp_path / "labels.txt").write_text(names)
    assert webdataset.read(tar(tmp_path / "s.tar", files)).classes == classes


@pytest.mark.parametrize(
    ("names", "said"), [("cat\n", "class 1, and there are 1 class names"), ("a\na\n", "both called 'a'")]
)
def test_names_that_do_not_fit(tmp_path, names, said):
    (tmp_path / "classes.txt").write_text(names)
    with pytest.raises(DataError, match=said):
        read(tar(tmp_path / "s.tar", {"1.png": PNG, "1.cls": "1"}))


def test_several_labels(tmp_path):
    files = {
        "1.png": PNG,
        "1.json": '{"label": [1, 0]}',
        "2.png": PNG,
        "2.json": '{"label": []}',
        "3.png": PNG,
        "3.cls": "1",
    }
    (tmp_path / "classes.txt").write_text("sea\nsand\n")
    samples = webdataset.read(tar(tmp_path / "s.tar", files))
    assert [row.target for row in samples.rows] == [Tags(("sea", "sand")), Tags(), Tags(("sand",))]
    assert samples.classes == ("sea", "sand")


# Which files.


ONE = {"1.png": PNG, "1.cls": "0"}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-0.tar", "val-0.tar", "test-0.tar"], ["test", "train", "validation"]),
        (["train/00.tar", "validation/00.tar"], ["train", "validation"]),
        (["imagenet-train-000.tar", "imagenet_test_000.tar"], ["train", "test"]),
        (["a-0.tar", "a-1.tar"], ["", ""]),
        (["train/val-0.tar"], ["validation"]),
        (["train-test.tar"], [""]),
    ],
)
def test_splits_are_told_by_names(tmp_path, names, splits):
    for name in names:
        tar(tmp_path / name, ONE)
    samples = read(tmp_path)
    assert [row.split for row in samples.rows] == splits
    assert [row.path for row in samples.rows] == [f"{name}/1.png" for name in sorted(names)]


def test_patterns_and_lists(tmp_path):
    for number in range(8, 12):
        tar(tmp_path / f"d/train-{number:03d}.tar", ONE)
    tar(tmp_path / "d/val-000.tar", ONE)
    pattern = f"{tmp_path}/d/train-{{009..011}}.tar"
    assert [row.path for row in read(pattern).rows] == [f"train-{n:03d}.tar/1.png" for n in (9, 10, 11)]
    assert (
        read(f"webdataset:{pattern}").rows == read(pattern).rows
        and len(read(f"{tmp_path}/d/{{train-008,val-000}}.tar")) == 2
    )
    with pytest.raises(DataError, match=r"2 of 6 files are not there; the first: .*train-012\.tar"):
        read(f"{tmp_path}/d/train-{{008..013}}.tar")
    (tmp_path / "list.txt").write_text("# mine\nd/train-{008..009}.tar\n\nd/val-000.tar\n")
    samples = read(tmp_path / "list.txt")
    assert [(row.path, row.split) for row in samples.rows] == [
        ("train-008.tar/1.png", "train"),
        ("train-009.tar/1.png", "train"),
        ("val-000.tar/1.png", "validation"),
    ]
    assert read_picture(samples.open(samples.rows[2])).size_hw == (6, 5)
    (tmp_path / "list.txt").write_text("d/val-000.tar\nd/val-000.tar")
    with pytest.raises(DataError, match="names a file twice"):
        read(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a-{0..9}.tar", "10 of 10 files are not there"),
        ("a-{9..0}.tar", "no range"),
        ("{0..999}-{0..9999}.tar", "10,000,000 files"),
        ("a-{0..9}.png", "no pattern of .parquet or .tar files"),
        ("a-{x}.tar", "no such file"),
        ("csv:a-{0..9}.tar", "csv is not read from patterns"),
        ("csv:https://u:secret@h/a.tar", "csv is not read from URLs, and https://h/a.tar is one"),
        ("https://u:secret@h/a.zip", r"https://h/a\.zip is a URL; Sightline opens no network but for shards"),
        ("s3://bucket/a.tar", "no http or https URL"),
    ],
)
def test_patterns_that_cannot_be_read(text, said):
    with pytest.raises(DataError, match=said) as caught:
        read(text)
    assert "secret" not in str(caught.value)


def test_a_folder_that_also_holds_pictures_is_not_taken_for_shards(tmp_path):
    for name in ("cat/1.png", "dog/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(PNG)
    tar(tmp_path / "download.tar", ONE)
    assert read(tmp_path).layout == "imagefolder" and read(tmp_path, layout="webdataset").layout == "webdataset"


def test_what_a_data_set_is_called():
    assert data_name("/d/train-{000..146}.tar") == "train-{000..146}"
    assert data_name("https://me:se:cret@h:80/d/x.tar?k=https://z") == "x" and data_name("csv:/d/parts.csv") == "parts"


# Damage and malice.


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(tmp_path, form):
    name = "/".join(["folder" * 4] * 5) + "/" + "p" * 90 if form == tarfile.USTAR_FORMAT else "d/" * 60 + "ü" * 120
    samples = webdataset.read(tar(tmp_path / "s.tar", {f"{name}.png": PNG, f"{name}.cls": "0"}, form=form))
    assert [row.path for row in samples.rows] == [f"s.tar/{name}.png"]
    assert read_picture(samples.open(samples.rows[0])).size_hw == (6, 5)


def test_names_that_lead_out_and_what_is_no_file(tmp_path):
    files = {
        "1.png": PNG,
        "../2.png": PNG,
        "/etc/3.png": PNG,
        "a/../../4.png": PNG,
        "C:/5.png": PNG,
        "a\\6.png": PNG,
        "7.png": special("7.png", tarfile.SYMTYPE, "/etc/passwd"),
        "8.png": special("8.png", tarfile.LNKTYPE, "1.png"),
        "9.png": special("9.png", tarfile.CHRTYPE),
        "10.png": special("10.png", tarfile.FIFOTYPE),
        "11.png": special("11.png", b"Z"),
        "folder": special("folder", tarfile.DIRTYPE),
        "12.png": PNG,
    }
    samples = webdataset.read(tar(tmp_path / "s.tar", files))
    assert [row.path for row in samples.rows] == ["s.tar/1.png", "s.tar/12.png"]
    reasons = dict(samples.left_out)
    assert len(samples.left_out) == 10 and "symbolic link" in reasons["s.tar/7.png"]
    assert sum("leads out" in why for why in reasons.values()) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.tar"]


@pytest.mark.parametrize("cut", [1, 511, 512, 700, 1024, 1025])
def test_a_tar_that_is_cut_off(tmp_path, cut):
    whole = tar(tmp_path / "w.tar", {"1.png": PNG, "2.png": PNG, "3.png": PNG}).read_bytes()
    each = 512 + -(-len(PNG) // 512) * 512
    (tmp_path / "s.tar").write_bytes(whole[: 2 * each + cut])
    samples = webdataset.read(tmp_path / "s.tar")
    assert [row.path for row in samples.rows][:2] == ["s.tar/1.png", "s.tar/2.png"]
    assert len(samples.left_out) == 1 and "cut off" in samples.left_out[0][1] and samples.left_out[0][0] == "s.tar"
    assert all(read_picture(samples.open(row)).size_hw == (6, 5) for row in samples.rows)


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (b"", "it is empty"),
        (b"words, words " * 100, "no tar"),
        (b"\x1f\x8b" + bytes(1000), r"compressed \(gzip\).*make it a plain tar"),
        (b"BZh9" + bytes(1000), "compressed"),
        (b"\x28\xb5\x2f\xfd" + bytes(1000), r"compressed \(zstd\)"),
        (bytes(10240), "no samples"),
        (b"a" * 100, "cut off in the middle of a header"),
        (b"a" * 1000, "no number"),
    ],
)
@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz"])
def test_what_is_no_tar(tmp_path, blob, said, name):
    (tmp_path / name).write_bytes(blob)
    with pytest.raises(DataError, match=said):
        read(tmp_path / name)


def test_one_broken_shard_does_not_take_the_others_down(tmp_path):
    tar(tmp_path / "a.tar", ONE)
    (tmp_path / "b.tar").write_bytes(b"\x1f\x8b" + bytes(1000))
    samples = read(tmp_path)
    assert len(samples) == 1 and [path for path, _ in samples.left_out] == ["b.tar"]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.zst"])
def test_a_folder_of_compressed_tars_says_why_not(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(DataError, match=f"{name} is compressed, so no picture"):
        read(tmp_path)
    tar(tmp_path / "b.tar", ONE)
    samples = read(tmp_path)
    assert len(samples) == 1 and [path for path, _ in samples.left_out] == [name]


def test_a_shard_that_is_no_file_is_never_opened(tmp_path):
    tar(tmp_path / "a.tar", ONE)
    os.mkfifo(tmp_path / "b.tar")
    assert len(read(tmp_path)) == 1
    with pytest.raises(DataError, match="1 of 1 files are not there"):
        webdataset.read(tmp_path / "b.tar")


def test_absurd_sizes(tmp_path):
    blob = bytearray(tar(tmp_path / "w.tar", ONE).read_bytes())

    def sized(field):
        head = bytearray(blob[:512])
        head[124:136] = field
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        (tmp_path / "s.tar").write_bytes(bytes(head) + bytes(blob[512:]))
        return list(members(Ahead(ranges_of(str(tmp_path / "s.tar")), 512)))

    for field, said in [
        (b"77777777777\0", "middle of 1.png"),
        (b"\x80" + b"\xff" * 11, "middle of 1.png"),
        (b"\xff" * 12, "negative"),
        (b"-0000000001\0", "no number"),
    ]:
        with pytest.raises(DamagedError, match=said):
            sized(field)


def test_a_picture_over_the_limit_is_never_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_tarindex.LIMITS.__class__, "max_bytes", 50, raising=False)
    monkeypatch.setattr(_tarindex, "LIMITS", _tarindex.LIMITS.__class__(max_bytes=50))
    with pytest.raises(DataError, match="the limit is 50"):
        webdataset.read(tar(tmp_path / "s.tar", ONE))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_flipped_bytes_end_as_documented(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("t") / "s.tar"
    blob = bytearray(
        tar(path, {"é" * 80 + ".png": PNG, "é" * 80 + ".cls": "0", "2.png": PNG, "2.json": '{"label": 0}'}).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(blob[: data.draw(st.integers(0, len(blob)))])
    try:
        samples = webdataset.read(path)
    except DataError:
        return
    for row in samples.rows:
        with contextlib.suppress(PictureError):
            read_picture(samples.open(row))


def test_a_shard_that_changes_meanwhile_ends_the_reading(tmp_path):
    samples = webdataset.read(tar(tmp_path / "s.tar", ONE))
    tar(tmp_path / "s.tar", {"0.png": PNG, **ONE})
    with pytest.raises(DataError, match="has changed") as told:
        read_picture(samples.open(samples.rows[0]))
    assert not isinstance(told.value, PictureError)  # which a survey would leave out, and go on with fewer


# Writing.


def test_write_makes_shards_of_so_many(tmp_path):
    rows = tuple(Sample(f"x[{i}]", Label("ab"[i % 2]), "", f"g{i // 2}") for i in range(5))
    samples = Samples(
        tmp_path, rows, "npz", ("a", "b"), arrays={"x": np.arange(5 * 12, dtype=np.uint8).reshape(5, 4, 3)}
    )
    webdataset.write(samples, tmp_path / "n", most=2)
    assert sorted(path.name for path in (tmp_path / "n").iterdir()) == [
        "classes.txt",
        *(f"data-{i:06d}.tar" for i in range(3)),
    ]
    again = read(tmp_path / "n")
    assert [(row.target, row.split, row.group) for row in again.rows] == [(row.target, "", row.group) for row in rows]
    assert [row.path for row in again.rows][:3] == [
        "data-000000.tar/x/000000.png",
        "data-000000.tar/x/000001.png",
        "data-000001.tar/x/000002.png",
    ]
    webdataset.write(samples, tmp_path / "b", most_bytes=1)
    assert len(list((tmp_path / "b").glob("*.tar"))) == 5
    with tarfile.open(tmp_path / "n" / "data-000000.tar") as archive:
        assert archive.getnames() == [
            "x/000000.png",
            "x/000000.cls",
            "x/000000.json",
            "x/000001.png",
            "x/000001.cls",
            "x/000001.json",
        ]
    with pytest.raises(UsageError, match="exists"):
        webdataset.write(samples, tmp_path / "n")
    with pytest.raises(UsageError, match="1 at least"):
        webdataset.write(samples, tmp_path / "z", most=0)


def test_names_with_dots_are_written_as_keys(tmp_path):
    for name in ("cat/a.b.png", "cat/a_b.jpg", "dog/no_ending"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(JPEG if name.endswith("jpg") else PNG)
    webdataset.write(read(tmp_path / "f"), tmp_path / "w")
    assert listed(read(tmp_path / "w")) == [
        ("data-000000.tar/cat/a_b.png", "cat", ""),
        ("data-000000.tar/cat/a_b-2.jpg", "cat", ""),
        ("data-000000.tar/dog/no_ending.png", "dog", ""),
    ]


@pytest.mark.parametrize("classes", [("a\nb",), (" a",)])
def test_classes_that_have_no_line_of_their_own(tmp_path, classes):
    samples = Samples(
        tmp_path, (Sample("x[0]", Label(classes[0])),), "npz", classes, arrays={"x": np.zeros((1, 2, 2), np.uint8)}
    )
    with pytest.raises(DataError, match="a line each"):
        webdataset.write(samples, tmp_path / "w")


def test_from_shards_to_any_other_layout(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=np.arange(6) % 2, x_test=pixels[:2] // 2, y_test=np.arange(2))
    first = read(tmp_path / "a.npz")
    webdataset.write(first, tmp_path / "w")
    shards = read(tmp_path / "w")
    imagefolder.write(shards, tmp_path / "folder")
    csv.write(shards, tmp_path / "table")
    npz.write(shards, tmp_path / "b.npz")
    webdataset.write(shards, tmp_path / "v")

    def contents(samples):
        return sorted(
            (pixel_digest(read_picture(samples.open(row))), row.target.text(), row.split) for row in samples.rows
        )

    for name in ("w", "folder", "table", "b.npz", "v"):
        assert contents(read(tmp_path / name)) == contents(first), name
    assert (tmp_path / "folder" / "train" / "0" / "x_train" / "000000.png").is_file()


# URLs.


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.001)
    monkeypatch.setattr(web, "BLOCK", 0)
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        for split, count in (("train", 2), ("test", 1)):
            for number in range(count):
                files = {}
                for i in range(20):
                    files |= {
                        f"{split}{number}_{i}.png": encoded(scene(6 + i, 5 + number), "PNG"),
                        f"{split}{number}_{i}.cls": str(i % 2),
                    }
                path = tar(tmp_path / "shards" / f"{split}-{number:02d}.tar", files)
                server.files[f"/d/{path.name}"] = path.read_bytes()
                server.tags[f"/d/{path.name}"] = f'"{path.name}"'
        (tmp_path / "shards/classes.txt").write_text("no\nyes\n")
        server.files["/d/classes.txt"] = b"no\nyes\n"
        yield server


def digests(samples):
    return [pixel_digest(read_picture(samples.open(row))) for row in samples.rows]


def test_shards_at_urls_are_what_they_are_on_disk(served, tmp_path):
    local, remote = read(tmp_path / "shards"), read(f"{served.url}/d/{{test-00,train-00,train-01}}.tar")
    assert remote.rows == local.rows and remote.classes == local.classes == ("no", "yes") and len(remote) == 60
    assert [path for path, _ in served.requests("train-00")] == ["/d/train-00.tar"] * 2  # its size, and one block
    served.asked.clear()
    assert digests(remote) == digests(local) and len(served.asked) == 60
    assert all(span for _, span, _ in served.asked)


def test_a_pass_over_all_pictures_takes_few_requests(served, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "BLOCK", 1 << 22)
    samples = read(f"{served.url}/d/{{test-00,train-00,train-01}}.tar")
    assert digests(samples) == digests(read(tmp_path / "shards")) and len(served.requests(".tar")) <= 6


def test_the_second_time_headers_come_from_the_cache(served, cache):
    pattern = f"{served.url}/d/train-{{00..01}}.tar"
    first = read(pattern)
    served.asked.clear()
    again = read(f"{served.url}/d/train-{{00..01}}.tar?signature=secret")
    assert again.rows == first.rows and [span for _, span in served.requests("train")] == ["bytes=0-0"] * 2
    digests(again)
    assert all("?signature=secret" in path for path, _ in served.requests("train"))
    kept = list((cache / "shards").iterdir())
    assert len(kept) == 2 and not any("secret" in path.read_text() or "127.0.0.1" in path.read_text() for path in kept)
    kept[0].write_text("{")
    kept[1].write_text('{"entries": [[1]], "left_out": []}')
    assert read(pattern).rows == first.rows
    served.tags["/d/train-00.tar"] = '"new"'
    served.asked.clear()
    assert (
        read(pattern).rows == first.rows
        and len(served.requests("train-00")) == 2
        and len(served.requests("train-01")) == 1
    )


def test_a_shard_that_changes_on_the_server(served):
    samples = read(f"{served.url}/d/test-00.tar")
    served.tags["/d/test-00.tar"] = '"other"'
    with pytest.raises(DataError, match="has changed since"):
        read_picture(samples.open(samples.rows[0]))


def test_trouble_on_the_way(served):
    served.faults = [503, "drop", None, "drop", 500]
    samples = read(f"{served.url}/d/test-00.tar")
    served.faults = ["drop", 502]
    assert len(digests(samples)) == 20
    with pytest.raises(DataError, match=r"test-07\.tar: .*there is none"):
        read(f"{served.url}/d/test-07.tar")
    with pytest.raises(DataError, match="there is none"):
        read(f"{served.url}/d/{{test-00,test-07}}.tar")
    served.files["/d/a b.tar"] = served.files["/d/test-00.tar"]
    served.files["/d/a%20b.tar"] = served.files["/d/test-00.tar"]
    assert len(read(f"{served.url}/d/a b.tar?k=a b")) == 20
    served.ranges = False
    with pytest.raises(DataError, match="gives no parts of files"):
        read(f"{served.url}/d/test-00.tar")


def test_a_list_of_urls_with_logins(served, tmp_path):
    served.login = "Basic bWU6c2VjcmV0"
    base = served.url.replace("://", "://me:secret@")
    (tmp_path / "list.txt").write_text(f"{base}/d/train-{{00..01}}.tar?k=1\n{base}/d/test-00.tar?k=2\n")
    samples = read(tmp_path / "list.txt")
    assert samples.splits() == ("train", "test") and samples.classes == ("no", "yes")
    everything = repr((samples.root, samples.rows, samples.left_out, samples.notes))
    assert "secret" not in everything and "k=1" not in everything
    served.login = "Basic other"
    with pytest.raises(DataError, match="wants a login") as caught:
        read(tmp_path / "list.txt")
    assert "secret" not in str(caught.value)
