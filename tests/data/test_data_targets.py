"""Several labels a picture, in every layout that can hold them, and what is refused with its line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pictures import encoded, scene

from sightline.core.errors import DataError
from sightline.data.layouts import csv, imagefolder, npz
from sightline.data.layouts._targets import targets_to_texts, text_to_tags, texts_to_targets
from sightline.data.read import read
from sightline.data.samples import Label, NoTarget, Sample, Samples, Tags, class_order

PNG = encoded(scene(6, 5), "PNG")


def table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return tmp_path / "t.csv"


def targets(samples):
    return [row.target for row in samples.rows]


def test_a_set_of_names_has_no_order_and_keeps_its_key():
    assert Tags(("b", "a", "b")) == Tags(("a", "b"))
    assert Tags(("a", "b")).strata() == ("a", "b") and Tags().strata() == ()
    assert (Tags(("a", "b")).text(), Tags().text()) == ("a|b", "(none)")
    others = [Tags(), Tags(("a",)), Label("a"), Tags(("a", "b")), Tags(("a|b",)), Tags(('a", "b',)), Label("a|b")]
    assert len({target.key() for target in others}) == len(others)
    assert class_order([Tags(("b", "a")), Tags(), Label("c"), NoTarget()]) == ("a", "b", "c")


def test_counts_are_of_pictures_that_have_the_label():
    rows = tuple(Sample(f"{i}.png", target) for i, target in enumerate([Tags(("a", "b")), Tags(("a",)), Tags()]))
    assert Samples(None, rows, "made", ("a", "b")).counts() == {"": {"a": 2, "b": 1}}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("path,label\n1.png,cat\n2.png,dog\n", [Label("cat"), Label("dog")]),
        ("path,label\n1.png,cat|dog\n2.png,dog\n3.png,|\n", [Tags(("cat", "dog")), Tags(("dog",)), Tags()]),
        ("path,labels\n1.png, dog | cat |\n", [Tags(("cat", "dog"))]),
        ('path,label\n1.png,"cat, tabby"\n2.png,"a;b"\n', [Label("cat, tabby"), Label("a;b")]),  # names, not lists
        ("Image Index,Finding Labels\n1.png,Mass|Edema\n", [Tags(("Edema", "Mass"))]),  # as the NIH publishes it
        ("path,label_1,label_2\n1.png,cat,dog\n2.png,dog,\n", [Tags(("cat", "dog")), Tags(("dog",))]),
        ("path,label_1,label_2\n1.png,cat,\n2.png,|,\n3.png,,|\n", [Tags(("cat",)), Tags(), Tags()]),
        ("path,Label 1,label2,tag_3\n1.png,b,a,b\n", [Tags(("a", "b"))]),
        ("path,label,label_1,label_2\n1.png,cat,x,y\n", [Label("cat")]),
        ("path,cat,dog,age\n1.png,1,1,7\n2.png,0,1,9\n3.png,0,0,1\n", [Tags(("cat", "dog")), Tags(("dog",)), Tags()]),
        ("path,cat,dog\n1.png,-1,1\n2.png,1,1\n", [Tags(("dog",)), Tags(("cat", "dog"))]),  # as CelebA has it
        ("path,cat,dog\n1.png,1.0,0.0\n2.png,1.0,1.0\n", [Tags(("cat",)), Tags(("cat", "dog"))]),
        ("path,cat,dog\n1.png,1,0\n2.png,0,1\n", [Label("cat"), Label("dog")]),  # one each: a single label
        ("path,seen,age\n1.png,1,7\n2.png,0,3\n", [NoTarget(), NoTarget()]),  # one such column is no set of classes
        ("path,label,seen,old\n1.png,cat,1,0\n", [Label("cat")]),
    ],
)
def test_tables_of_several_labels(tmp_path, text, wanted):
    assert targets(csv.read(table(tmp_path, text))) == wanted


def test_columns_of_marks_are_classes_in_their_order_and_not_meta(tmp_path):
    samples = csv.read(table(tmp_path, "path,zebra,ape,age,never\n1.png,1,1,7,0\n2.png,0,1,9,0\n"))
    assert samples.classes == ("zebra", "ape")
    assert samples.rows[0].meta == {"age": "7"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,cat,dog\n1.png,1,0\n2.png,-1,1\n", "line 3: cat is -1"),
        ("path,cat,dog\n1.png,1,0\n2.png,1,\n", "line 3: dog is empty"),
        ("path,label_1,label_2\n1.png,,\n", "lists no pictures"),
    ],
)
def test_marks_that_cannot_be_read_say_where(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        csv.read(table(tmp_path, text))


def test_a_row_without_labels_is_left_out_with_a_hint(tmp_path):
    samples = csv.read(table(tmp_path, "path,label\n1.png,a|b\n2.png,\n"))
    assert samples.left_out == (("2.png", "line 3: no label; a lone | says that none is there"),)


def test_pictures_are_found_in_a_folder_beside_the_table(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("images/1.png", "images/2.png", "2.png"):
        (tmp_path / name).write_bytes(PNG)
    samples = csv.read(table(tmp_path, "path,label\n1.png,a\n2.png,b\n3.png,a\n"))
    assert [row.path for row in samples.rows] == ["images/1.png", "2.png", "3.png"]


@pytest.mark.parametrize("folders", [("cat", "dog"), ("cat|dog", "dog"), ("cat|", "|")])
def test_folders_with_a_pipe(tmp_path, folders):
    for name in folders:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(PNG)
    several = any("|" in name for name in folders)
    assert targets(imagefolder.read(tmp_path)) == [text_to_tags(n) if several else Label(n) for n in sorted(folders)]


names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="|"), min_size=1)
sets = st.lists(names, max_size=3).map(lambda found: Tags(tuple(found)))


@settings(max_examples=100, deadline=None)
@given(given_targets=st.lists(sets, min_size=1, max_size=5) | st.lists(names.map(Label), min_size=1, max_size=5))
def test_texts_are_read_as_what_was_written(given_targets):
    assert texts_to_targets(targets_to_texts(given_targets)) == given_targets


def test_a_pipe_in_a_name_is_refused_where_it_separates():
    for target in (Label("a|b"), Tags(("a|b", "c"))):
        with pytest.raises(DataError, match="pipe in its name"):
            targets_to_texts([target])


STACK = np.random.default_rng(0).integers(0, 255, (4, 5, 4)).astype(np.uint8)


@pytest.mark.parametrize(
    "marks", [[[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]], [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]]
)
def test_npz_of_marks(tmp_path, marks):
    np.savez(tmp_path / "d.npz", x_train=STACK, y_train=np.array(marks, np.uint8), class_names=["c", "a", "b"])
    samples = npz.read(tmp_path / "d.npz")
    assert samples.classes == ("c", "a", "b")
    single = all(sum(row) == 1 for row in marks)
    wanted = [tuple(name for name, mark in zip("cab", row) if mark) for row in marks]
    assert targets(samples) == [Label(*each) if single else Tags(each) for each in wanted]


@pytest.mark.parametrize(
    "given_targets",
    [
        [Tags(("a", "b")), Tags(), Tags(("c",)), Tags(("a",))],
        [Tags(("a",)), Tags(("b",)), Tags(), Tags(("b",))],
        [Tags(("a",)), Tags(("b",)), Tags(("c",)), Tags(("b",))],
    ],
)
def test_layouts_convert_into_each_other(tmp_path, given_targets):
    rows = tuple(Sample(f"x[{i}]", t, ("train", "test")[i % 2]) for i, t in enumerate(given_targets))
    first = Samples(tmp_path, rows, "made", class_order(given_targets), arrays={"x": STACK})
    csv.write(first, tmp_path / "table")
    imagefolder.write(read(tmp_path / "table"), tmp_path / "folder")
    for name in ("table", "folder"):
        again = read(tmp_path / name)
        assert sorted(r.target.key() + r.split for r in again.rows) == sorted(r.target.key() + r.split for r in rows)
        assert again.classes == first.classes
    if {len(t.names) for t in given_targets} != {1}:  # else marks are read as single labels
        npz.write(read(tmp_path / "folder"), tmp_path / "d.npz")
        again = read(tmp_path / "d.npz")
        assert sorted(r.target.key() + r.split for r in again.rows) == sorted(r.target.key() + r.split for r in rows)
