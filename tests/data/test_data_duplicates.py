"""Near-duplicates: every kind of copy is found, look-alikes are not, and clusters stay small and whole."""

import csv
import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_pictures import encoded
from PIL import Image, ImageEnhance, ImageOps

from sightline.core.errors import DataError
from sightline.data.duplicates import (
    ALIKE,
    LIKENESS,
    NEIGHBOURS,
    RADIUS,
    Near,
    across,
    candidates,
    clusters,
    find_near,
    sketch,
    told,
)
from sightline.data.pictures import read_picture
from sightline.data.samples import Label, Sample, Samples
from sightline.data.splits import carve
from sightline.data.survey import survey


def photo(seed, height=180, width=240):
    """Patches of all sizes, the larger the stronger, as photographs have them."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for weight, side in ((0.4, 3), (0.25, 7), (0.15, 17), (0.1, 41), (0.1, 90)):
        shades = rng.integers(0, 200, (side, side, 1)) + rng.integers(0, 56, (side, side, 3))
        small = Image.fromarray(shades.astype(np.uint8))
        total += weight * np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), float)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def cropped(image):
    width, height = image.size
    return image.crop((width // 20, height // 20, width - width // 20, height - height // 20))


ALTERED = {
    "half size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "recompressed": lambda image: Image.open(io.BytesIO(encoded(image, "JPEG", quality=30))),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "grey": lambda image: image.convert("L"),
    "cropped": cropped,
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "turned left": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned a little": lambda image: image.rotate(4, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)),
    "squeezed": lambda image: image.resize((image.width, image.height * 2 // 3)),
}


def on_disk(folder, images, splits=()):
    rows = []
    for index, image in enumerate(images):
        image.save(folder / f"{index:02d}.png")
        rows.append(Sample(f"{index:02d}.png", Label("x"), splits[index] if splits else ""))
    return Samples(folder, tuple(rows), "csv", ("x",))


def searched(samples):
    *_, found = survey(samples, threads=1)
    *events, near = find_near(found.samples, found.sketches, found.digests)
    assert all(event.done <= event.total for event in events)
    return near, found


@pytest.mark.parametrize("kind", ALTERED)
def test_an_altered_copy_is_found_among_others(tmp_path, kind):
    images = [photo(seed) for seed in range(8)]
    near, _ = searched(on_disk(tmp_path, [*images, ALTERED[kind](images[3])]))
    assert [(pair.first, pair.second) for pair in near] == [(3, 8)]
    assert ALIKE <= near[0].correlation <= 1


def test_what_only_looks_alike_is_none(tmp_path):
    """One coarse layout with different detail: as cartons of one brand, or X-rays."""
    base = np.asarray(photo(0).resize((8, 6)).resize((240, 180), Image.Resampling.BICUBIC), float)
    images = [
        Image.fromarray((0.85 * base + 0.15 * np.asarray(photo(100 + seed), float)).astype(np.uint8))
        for seed in range(6)
    ]
    near, found = searched(on_disk(tmp_path, images))
    assert len(candidates(found.sketches)[0]) > 5, "they are candidates"
    assert near == ()


def test_arrays_in_memory_and_depths(tmp_path):
    eight = np.asarray(photo(1, 100, 100).convert("L"))
    arrays = {"a": np.stack([eight, eight[:, ::-1]]), "b": (eight[None].astype(np.uint16) * 257 // 16)}
    rows = tuple(Sample(name, Label("x")) for name in ("a[0]", "a[1]", "b[0]"))
    near, _ = searched(Samples(tmp_path, rows, "npz", ("x",), arrays=arrays))
    assert [(pair.first, pair.second) for pair in near] == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    "pixels",
    [
        np.asarray(photo(0, 64, 200)),
        np.full((100, 100, 3), 200, np.uint8),
        np.full((100, 100), 0.25, np.float32),
    ],
    ids=["small", "flat", "flat floats"],
)
def test_what_is_small_or_shows_nothing_has_no_sketch(pixels):
    assert not sketch(read_picture(pixels)).any()
    assert candidates(np.stack([sketch(read_picture(pixels))] * 3))[0].shape == (0, 2)


def test_a_sketch_is_a_cosine_transform_and_turns_with_its_picture():
    scipy_fft = pytest.importorskip("scipy.fft")
    grey = np.asarray(photo(2, 96, 96).convert("L"))
    mine = sketch(read_picture(grey))
    whole = scipy_fft.dctn(grey.astype(float), type=2)
    wanted = [whole[u, v] for u in range(11) for v in range(11) if 0 < u + v <= 10 and (u, v) != (5, 5)]
    np.testing.assert_allclose(mine, wanted / np.linalg.norm(wanted), atol=1e-5)
    turned = sketch(read_picture(np.ascontiguousarray(np.rot90(grey))))
    np.testing.assert_allclose(np.sort(np.abs(mine)), np.sort(np.abs(turned)), atol=1e-5)


def test_candidates_are_those_of_comparing_every_pair():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(40, 64))
    sketches = np.concatenate([base, base + 0.35 * rng.normal(size=base.shape), rng.normal(size=(200, 64))])
    sketches = (sketches / np.linalg.norm(sketches, axis=1, keepdims=True)).astype(np.float32)
    pairs, ways = candidates(sketches)
    plain = {(int(i), int(j)) for (i, j), way in zip(pairs, ways) if way == 0}
    wanted = {
        (i, j)
        for i, j in itertools.product(range(len(sketches)), repeat=2)
        if j < i and ((sketches[i] > 0) != (sketches[j] > 0)).sum() <= RADIUS and sketches[i] @ sketches[j] >= LIKENESS
    }
    assert plain == wanted and len(wanted) > 20


def test_a_crowd_keeps_its_likeliest_neighbours_only():
    rng = np.random.default_rng(0)
    crowd = rng.normal(size=64) + 0.05 * rng.normal(size=(60, 64))
    crowd = (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).astype(np.float32)
    pairs, _ = candidates(crowd)
    rows, counts = np.unique(pairs[:, 0], return_counts=True)
    assert counts.max() == NEIGHBOURS and len(rows) == 59
    last = [int(j) for i, j in pairs if i == 59]
    assert set(last) == set(np.argsort(-(crowd[:59] @ crowd[59]))[:NEIGHBOURS].tolist())


def test_pictures_that_went_away_are_no_duplicates(tmp_path):
    image = photo(0)
    samples = on_disk(tmp_path, [image, cropped(image)])
    *_, found = survey(samples)
    (tmp_path / "01.png").unlink()
    *_, near = find_near(found.samples, found.sketches, found.digests)
    assert near == ()
    with pytest.raises(DataError, match="1 digests for 2"):
        list(find_near(found.samples, found.sketches, ["a"]))


def rows_of(count, splits=None):
    rows = tuple(Sample(f"{i:02d}.png", Label("x"), (splits or {}).get(i, "")) for i in range(count))
    return Samples(Path("d"), rows, "csv", ("x",))


def test_a_chain_does_not_become_one_cluster():
    chain = [Near(i, i + 1, 0.9) for i in range(29)]
    found = clusters(chain, rows_of(30))
    sizes = np.unique(list(found.values()), return_counts=True)[1]
    assert sizes.max() <= 3
    linked = {frozenset((pair.first, pair.second)) for pair in chain}
    assert all(row == middle or frozenset((row, middle)) in linked for row, middle in found.items())


def test_a_family_is_one_cluster_whatever_the_order():
    pairs = [Near(i, j, 0.9) for i, j in itertools.combinations((4, 1, 7), 2)] + [Near(2, 3, 0.9)]
    first = clusters(pairs, rows_of(9))
    assert {frozenset(k for k, v in first.items() if v == m) for m in first.values()} == {
        frozenset((1, 4, 7)),
        frozenset((2, 3)),
    }
    assert clusters(pairs[::-1], rows_of(9)) == first and clusters([], rows_of(9)) == {}


def test_what_is_told_of_pairs_in_two_splits():
    samples = rows_of(8, {1: "test", 3: "validation", 5: "test"})
    pairs = [Near(1, 0, 0.9), Near(2, 3, 0.99), Near(6, 7, 0.95), Near(4, 5, 0.91)]
    apart = across(pairs, samples)
    assert [pair.first for pair in apart] == [2, 4, 1]
    lines = told(apart, samples, shown=2, hint="do this")
    assert "3 pairs of near-duplicates stand in two splits (1 in train and validation, 2 in train and test)" in lines[0]
    assert lines[0].endswith("do this")
    assert lines[1] == "02.png (train) and 03.png (validation): correlation 0.99" and lines[-1] == "... and 1 more"
    assert told([], samples) == [] and "1 pair of" in told(apart[:1], samples)[0]


def test_clusters_stay_together_when_a_split_is_carved():
    samples = rows_of(40)
    near = {row: row // 4 * 4 for row in range(40)}
    for seed in range(4):
        carved = carve(samples, validation=0.2, holdout=0.2, seed=seed, near=near)
        for start in range(0, 40, 4):
            assert len({carved.rows[row].split for row in range(start, start + 4)}) == 1
    apart = carve(samples, validation=0.2, holdout=0.2, seed=0)
    assert any(len({apart.rows[row].split for row in range(s, s + 4)}) > 1 for s in range(0, 40, 4))
    given = replace(samples, rows=tuple(replace(r, split="test" if i == 1 else "") for i, r in enumerate(samples.rows)))
    kept = carve(given, validation=0.2, holdout=0, seed=0, near=near)
    assert kept.rows[1].split == "test" and {kept.rows[i].split for i in (0, 2, 3)} == {"train"}


def test_real_copies_by_kind(real):
    folder = real / "photos/near_duplicates"
    with (folder / "groups.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    rows = tuple(Sample(row["file"], Label("x")) for row in table)
    near, _ = searched(Samples(folder / "images", rows, "csv", ("x",)))
    right = [table[pair.first]["group"] == table[pair.second]["group"] for pair in near]
    assert all(right), "precision 1"
    found = {frozenset((pair.first, pair.second)) for pair in near}
    for (i, a), (j, b) in itertools.combinations(enumerate(table), 2):
        if a["group"] == b["group"] and "turned" not in a["kind"] + b["kind"]:
            assert frozenset((i, j)) in found, (a, b)
    assert len(near) >= 200, "of 216"


def test_real_look_alikes(real):
    shots = sorted((real / "medical/xray").rglob("*.jpeg"))[:60]
    rows = tuple(Sample(str(path), Label("x")) for path in shots)
    assert searched(Samples(Path("/"), rows, "csv", ("x",)))[0] == ()
    raccoons = real / "raccoon/images"
    rows = tuple(Sample(f"raccoon-{n}.jpg", Label("x")) for n in (21, 45, 65, 98, 83, 120, 1, 2, 3, 4))
    near, found = searched(Samples(raccoons, rows, "csv", ("x",)))
    assert {(rows[pair.first].path, rows[pair.second].path) for pair in near} == {("raccoon-21.jpg", "raccoon-45.jpg")}
    assert len(set(found.digests)) == 8
