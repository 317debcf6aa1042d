from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.errors import DataError, LeakError, UsageError
from sightline.data.read import read
from sightline.data.samples import Label, Sample, Samples, Tags
from sightline.data.splits import Leak, carve, find_conflicts, find_leaks, fingerprint, refuse_leaks


def table(*rows):
    """Samples from (label, group, split); paths are numbers."""
    made = [Sample(f"{i:04d}.png", Label(label), split, group) for i, (label, group, split) in enumerate(rows)]
    return Samples(Path("d"), tuple(made), "csv", tuple(sorted({row[0] for row in rows})))


def plain(count, classes=2):
    return table(*((f"c{i % classes}", "", "") for i in range(count)))


def splits_of(samples):
    return {row.path: row.split for row in samples.rows}


rows_drawn = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "", "g1", "g2", "g3", "g4", "g5"]), st.just("")),
    min_size=4,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(
    rows=rows_drawn, validation=st.floats(0.05, 0.6), holdout=st.sampled_from([0.0, 0.2]), seed=st.integers(-3, 2**70)
)
def test_carving_keeps_groups_classes_and_rows(rows, validation, holdout, seed):
    samples = table(*rows)
    digests = [f"d{i // 2}" if i < 6 else f"s{i}" for i in range(len(rows))]  # three pairs of equal pictures
    try:
        carved = carve(samples, validation=validation, holdout=holdout, seed=seed, digests=digests)
    except DataError as error:
        assert "single picture or group" in str(error)
        return
    assert [replace(row, split="") for row in carved.rows] == list(samples.rows), "no row is lost or moved"
    assert set(carved.splits()) == {"train", "validation"} | ({"test"} if holdout else set())
    assert find_leaks(digests, carved) == [], "groups and equal pictures never straddle"
    assert {row.target for row in carved.split("train").rows} == {row.target for row in carved.rows}
    again = replace(samples, rows=samples.rows[::-1])
    shuffled = carve(again, validation=validation, holdout=holdout, seed=seed, digests=digests[::-1])
    assert splits_of(shuffled) == splits_of(carved), "the order of rows plays no part"


@pytest.mark.parametrize("count, classes, share", [(1000, 10, 0.15), (100, 3, 0.2), (90, 20, 0.3), (150, 50, 0.15)])
def test_shares_and_classes_are_kept_when_pictures_stand_alone(count, classes, share):
    carved = carve(plain(count, classes), validation=share, holdout=share, seed=1)
    assert len(carved.split("test")) == round(share * count)
    rest = count - round(share * count)
    assert len(carved.split("validation")) == round(share * rest)
    for split, of in (("test", count), ("validation", rest)):
        for number in carved.counts()[split].values():
            assert abs(number - share * of / classes) <= 1


def test_seeds_differ_and_repeat():
    carved = [splits_of(carve(plain(60), validation=0.3, holdout=0, seed=seed)) for seed in (0, 0, 1)]
    assert carved[0] == carved[1] != carved[2]


def test_what_the_data_says_is_kept():
    samples = table(*[("a", "", "train")] * 6, *[("b", "", "")] * 6, ("a", "", "validation"), ("b", "", "test"))
    assert carve(samples, validation=0.3, holdout=0.3, seed=0).rows == tuple(
        replace(row, split=row.split or "train") for row in samples.rows
    )
    only_test = replace(samples, rows=tuple(row for row in samples.rows if row.split != "validation"))
    carved = carve(only_test, validation=0.25, holdout=0.3, seed=0)
    assert Counter(row.split for row in carved.rows) == {"train": 9, "validation": 3, "test": 1}
    assert carve(only_test, validation=0, holdout=0, seed=0).splits() == ("train", "test")


def test_a_class_with_one_picture_stays_in_training_and_is_noted():
    samples = table(*[("a", "", "")] * 10, ("rare", "", ""), *[("big", "p1", "")] * 5)
    for seed in range(5):
        carved = carve(samples, validation=0.5, holdout=0, seed=seed)
        assert carved.counts()["train"]["rare"] == 1 and carved.counts()["train"]["big"] == 5
        assert len(carved.notes) == 1 and carved.notes[0].startswith("big, rare have too few")


def test_a_group_with_all_classes_can_be_spared_only_twice():
    samples = table(*((label, group, "") for group in "xyz" for label in "ab"))
    carved = carve(samples, validation=0.3, holdout=0.3, seed=0)
    assert Counter(row.split for row in carved.rows) == {"train": 2, "validation": 2, "test": 2}


def test_a_large_group_is_taken_only_when_nothing_smaller_is_there():
    rows = [*[("a", "large", "")] * 50, *[("a", "", "")] * 10]
    for seed in range(8):
        carved = carve(table(*rows), validation=0.1, holdout=0, seed=seed)
        assert len(carved.split("validation")) == 6 and not any(row.group for row in carved.split("validation").rows)
    only_large = table(*[("a", "x", "")] * 30, *[("a", "y", "")] * 20, *[("a", "z", "")] * 40)
    assert {row.group for row in carve(only_large, validation=0.01, holdout=0, seed=0).split("validation").rows} == {
        "y"
    }


@pytest.mark.parametrize("validation, holdout", [(1.0, 0.0), (-0.1, 0.0), (0.1, 1.5), (float("nan"), 0.0)])
def test_impossible_shares(validation, holdout):
    with pytest.raises(UsageError, match="from 0 to below 1"):
        carve(plain(10), validation=validation, holdout=holdout, seed=0)


@pytest.mark.parametrize(
    "samples, words",
    [
        (table(("a", "", ""), ("b", "", "")), "single picture or group"),
        (table(("a", "g", ""), ("a", "g", ""), ("b", "g", "")), "single picture or group"),
        (table(("a", "", "test")), "no training pictures"),
        (table(), "no training pictures"),
    ],
)
def test_what_cannot_be_carved(samples, words):
    with pytest.raises(DataError, match=words):
        carve(samples, validation=0.2, holdout=0, seed=0)
    with pytest.raises(DataError, match="2 digests for"):
        carve(plain(5), validation=0.2, holdout=0, seed=0, digests=["a", "b"])


# Leaks.

LEAKY = table(
    ("a", "p1", "train"),
    ("a", "", "train"),
    ("a", "p1", "test"),
    ("b", "", "validation"),
    ("a", "", "test"),
    ("a", "", ""),
)


def test_leaks_of_pixels_and_groups_are_named():
    digests = ["1", "2", "3", "2", "2", "4"]
    assert find_leaks(digests, LEAKY) == [
        Leak("pixels", "0001.png", "train", "0003.png", "validation"),
        Leak("pixels", "0001.png", "train", "0004.png", "test"),
        Leak("pixels", "0003.png", "validation", "0004.png", "test"),
        Leak("group", "0000.png", "train", "0002.png", "test", "p1"),
    ]
    assert find_leaks(list("123456"), replace(LEAKY, rows=(*LEAKY.rows[1:], LEAKY.rows[1]))) == []
    assert find_leaks(["1", "2", "3", "4", "5", "3"], LEAKY)[0].first_split == "train", "a row without a split trains"


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.just("a"), st.sampled_from(["", "g", "h"]), st.sampled_from(["train", "test"])), max_size=12
    ),
    data=st.data(),
)
def test_leaks_against_all_pairs(rows, data):
    samples = table(*rows)
    digests = data.draw(st.lists(st.sampled_from("xyz"), min_size=len(rows), max_size=len(rows)))
    pairs = [
        (i, j) for i in range(len(rows)) for j in range(len(rows)) if (rows[i][2], rows[j][2]) == ("train", "test")
    ]
    leaks = find_leaks(digests, samples)
    in_pixels = {samples.rows[j].path for i, j in pairs if digests[i] == digests[j]}
    assert {leak.second for leak in leaks if leak.kind == "pixels"} == in_pixels
    assert len([leak for leak in leaks if leak.kind == "pixels"]) == len(in_pixels)
    in_groups = {rows[i][1] for i, j in pairs if rows[i][1] and rows[i][1] == rows[j][1]}
    assert sorted(leak.group for leak in leaks if leak.kind == "group") == sorted(in_groups)


def test_leaks_are_refused_with_ten_pairs_and_the_total():
    leaks = find_leaks(["x"] * 30, table(*[("a", "", "train")] * 5, *[("a", "", "test")] * 25))
    with pytest.raises(LeakError, match="--allow-leak") as caught:
        refuse_leaks(leaks)
    text = str(caught.value)
    assert text.startswith("25 leaks") and text.count("0000.png (train)") == 10 and "and 15 more" in text
    refuse_leaks(leaks, allow=True)
    refuse_leaks([])


def test_conflicts_are_within_a_split():
    samples = table(("a", "", "train"), ("b", "", "train"), ("a", "", "train"), ("b", "", "test"))
    notes = find_conflicts(["x", "x", "x", "x"], samples)
    assert len(notes) == 1 and "0000.png (a) and 0001.png (b)" in notes[0]
    assert find_conflicts(["x", "y", "x", "x"], samples) == []


# The fingerprint.


def test_fingerprint_is_of_the_content_not_of_order_or_place():
    digests = ["1", "2", "3", "2", "2", "4"]
    first = fingerprint(LEAKY, digests)
    elsewhere = tuple(replace(row, path=f"/x/{row.path}") for row in LEAKY.rows[::-1])
    assert fingerprint(replace(LEAKY, root=Path("/y"), rows=elsewhere, classes=()), digests[::-1]) == first
    assert len(first) == 64


@pytest.mark.parametrize("change", [{"target": Label("z")}, {"split": "validation"}, {"group": "p9"}])
def test_fingerprint_changes_with_every_part(change):
    rows = (replace(LEAKY.rows[0], **change), *LEAKY.rows[1:])
    assert fingerprint(replace(LEAKY, rows=rows), list("123456")) != fingerprint(LEAKY, list("123456"))
    assert fingerprint(LEAKY, list("123457")) != fingerprint(LEAKY, list("123456"))
    twice = replace(LEAKY, rows=(*LEAKY.rows, LEAKY.rows[0]))
    assert fingerprint(twice, list("1234561")) != fingerprint(LEAKY, list("123456"))


def test_fingerprint_fields_cannot_run_into_each_other():
    one, other = table(("a", 'b", "c', "")), table(('a", "b', "c", ""))
    assert fingerprint(one, ["x"]) != fingerprint(other, ["x"])


def test_real_patients_stay_on_one_side(real):
    samples = read(real / "medical/xray", group_by=r"person(\d+)")
    carved = carve(samples, validation=0.15, holdout=0.2, seed=0)
    assert find_leaks([row.path for row in carved.rows], carved) == []
    for split, share in (("test", 0.2), ("validation", 0.15 * 0.8)):
        for name, number in carved.counts()[split].items():
            assert number == pytest.approx(share * sum(c[name] for c in carved.counts().values()), abs=4)


# Several labels a picture.


def tagged(count, shares, seed=0):
    """Rows whose labels are drawn independently with these shares; many of the common, few of the rare."""
    random = np.random.default_rng(seed)
    there = random.random((count, len(shares))) < np.array(shares)
    rows = [Sample(f"{i}.png", Tags(tuple(f"c{k}" for k in np.flatnonzero(row)))) for i, row in enumerate(there)]
    return Samples(Path(), tuple(rows), "made", tuple(f"c{k}" for k in range(len(shares))))


@pytest.mark.parametrize("seed", range(5))
def test_every_label_keeps_its_share_the_rare_ones_too(seed):
    given_rows = tagged(600, [0.5, 0.3, 0.1, 0.03, 0.02], seed)
    carved = carve(given_rows, validation=0.2, holdout=0.0, seed=seed)
    counts, total = carved.counts(), given_rows.counts()[""]
    assert len(carved.split("validation")) == 120
    for name, n in total.items():
        assert abs(counts["validation"][name] - 0.2 * n) <= max(1.0, 0.03 * n), name
    plain = np.random.default_rng(seed).permutation(600)[:120]
    by_chance = [sum(f"c{k}" in given_rows.rows[i].target.names for i in plain) - 0.2 * total[f"c{k}"] for k in (3, 4)]
    ours = [counts["validation"][f"c{k}"] - 0.2 * total[f"c{k}"] for k in (3, 4)]
    assert sum(map(abs, ours)) <= sum(map(abs, by_chance))


def test_a_label_of_one_picture_stays_in_training_and_is_named():
    rows = tagged(60, [0.5, 0.5]).rows
    lone = Sample("lone.png", Tags(("only", "c0")))
    carved = carve(Samples(Path(), (*rows, lone), "made"), validation=0.2, holdout=0.0, seed=1)
    assert next(row for row in carved.rows if row.path == "lone.png").split == "train"
    assert any(note.startswith("only has too few") for note in carved.notes)


def test_pictures_without_any_label_are_carved_too():
    rows = tuple(Sample(f"{i}.png", Tags(("a", "b") if i % 2 else ())) for i in range(100))
    carved = carve(Samples(Path(), rows, "made"), validation=0.2, holdout=0.0, seed=3)
    held = [row.target.names for row in carved.split("validation").rows]
    assert (held.count(()), held.count(("a", "b"))) == (10, 10)
    assert carved.notes == ()


def test_different_labels_on_one_picture_are_a_conflict():
    rows = (Sample("a.png", Tags(("x", "y"))), Sample("b.png", Tags(("y", "x"))), Sample("c.png", Tags(("x",))))
    found = find_conflicts(["same"] * 3, Samples(Path(), rows, "made"))
    assert found == ["a.png (x|y) and c.png (x) are the same picture with different targets"]
