"""patchcore (and padim): planted defects are found, folds keep groups apart, and the graph says the same."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from made_inspections import SIDE, auroc, card, drained, flawed, targets, tower, woven
from sightline.core.bundle import write_bundle
from sightline.core.card import Card
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Epoch, Note, Progress, drain
from sightline.core.recipe import Recipe
from sightline.encoders import taps
from sightline.graphs import onnx as form
from sightline.methods import _known, padim, patchcore
from sightline.methods._subspace import subspace_of

Arrays = dict[str, np.ndarray]
METHODS = pytest.mark.parametrize("method", [patchcore, padim], ids=["patchcore", "padim"])


def learnt(
    method: Any, images: np.ndarray, given: Arrays, *, on: Card | None = None, seed: int = 0, **options: Any
) -> tuple[Card, Any, Arrays]:
    on = on or card(images.shape[1], channels=images.shape[-1])
    chosen = method.Options(**options)
    _, arrays = drained(method.fit(images, given, on, chosen, Recipe(seed=seed)))
    return on, chosen, arrays


def stored(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if not name.startswith("crossed.")}


def fold_of_one(images: np.ndarray, *, group: bool) -> Arrays:
    given = targets(len(images))
    return given | ({"group": np.arange(len(images)) // 2} if group else {})


# What it finds.


@METHODS
@pytest.mark.parametrize("encoder", ["filters", "tower"])
def test_planted_defects_are_found_where_they_are(method: Any, encoder: str, tmp_path: Path) -> None:
    (tmp_path / "tower.onnx").write_bytes(tower())
    options: dict[str, Any] = {} if encoder == "filters" else {"file": str(tmp_path / "tower.onnx"), "strides": "4"}
    options |= {"place": "shared"} if method is padim else {}
    on, chosen, arrays = learnt(method, woven(24), targets(24), **options)
    good = woven(12, seed=1)
    bad, masks = flawed(woven(12, seed=2))
    out = method.forward(np.concatenate([good, bad]), stored(arrays), on, chosen)
    assert set(out) == {"map", "score"}
    np.testing.assert_array_equal(out["score"], out["map"].max(axis=(1, 2)))
    assert auroc(out["score"], np.arange(24) >= 12) > 0.98
    side = out["map"].shape[1]
    rows, columns = np.unravel_index(out["map"][12:].reshape(12, -1).argmax(axis=1), (side, side))
    for row, column, mask in zip(rows, columns, masks):
        step = SIDE // side
        top, left = max(0, row - 1) * step, max(0, column - 1) * step  # with the places that are averaged about it
        assert mask[top : (row + 2) * step, left : (column + 2) * step].any()


@METHODS
def test_the_seed_decides_everything(method: Any) -> None:
    images = woven(12)
    first, again, other = (learnt(method, images, targets(12), seed=seed, folds=3)[2] for seed in (3, 3, 4))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["crossed.map"], other["crossed.map"])
    if method is patchcore:
        assert not np.array_equal(first["bank"], other["bank"])


@METHODS
@pytest.mark.parametrize(("top", "places"), [(0.0, 1), (0.001, 1), (0.1, 6), (1.0, 64)])
def test_the_score_is_the_mean_of_the_farthest_places(method: Any, top: float, places: int) -> None:
    on, chosen, arrays = learnt(method, woven(6), targets(6), top=top)
    out = method.forward(woven(3, seed=1), stored(arrays), on, chosen)
    for maps, scores in ((out["map"], out["score"]), (arrays["crossed.map"], arrays["crossed.score"])):
        wanted = np.sort(maps.reshape(len(maps), -1), axis=1)[:, -places:].mean(axis=1)
        np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_what_is_remembered_and_what_is_told() -> None:
    told, arrays = drained(
        patchcore.fit(woven(10), targets(10), card(), patchcore.Options(share=0.05, folds=2), Recipe())
    )
    assert arrays["bank"].shape == (32, 45)  # a twentieth of 640
    assert {type(event) for event in told} == {Progress, Note, Epoch}
    assert any("32 of 640 patches are remembered" in event.text for event in told if isinstance(event, Note))
    whats = {event.what for event in told if isinstance(event, Progress)}
    assert {"pictures encoded", "patches remembered", "patches remembered without part 2 of 2"} <= whats
    assert all(event.done <= event.total for event in told if isinstance(event, Progress))
    whole = learnt(patchcore, woven(4), targets(4), share=1.0)[2]
    assert len(whole["bank"]) == 4 * 64


@pytest.mark.parametrize("project", [0, 16])
def test_a_memory_is_a_sample_of_its_patches(project: int) -> None:
    on, chosen, arrays = learnt(patchcore, woven(8), targets(8), share=0.2, project=project)
    out = patchcore.forward(woven(8), stored(arrays), on, chosen)["map"]
    assert len(arrays["bank"]) == round(0.2 * out.size)
    assert (out < 0.04 * np.linalg.norm(arrays["bank"], axis=1).max()).sum() >= len(arrays["bank"])


def test_distances_are_those_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    monkeypatch.setattr(patchcore, "BANK_ROWS", 7)
    rng = np.random.default_rng(0)
    patches, bank = rng.normal(size=(3, 4, 5, 9)).astype(np.float32), rng.normal(size=(40, 9)).astype(np.float32)
    wanted = distance.cdist(patches.reshape(-1, 9), bank).min(axis=1).reshape(3, 4, 5)
    wanted = np.sqrt(wanted**2 + patchcore.ROUNDING * (patches**2).sum(axis=-1))
    np.testing.assert_allclose(patchcore.distances(patches, bank), wanted, rtol=1e-4)
    own = patchcore.distances(bank[None, None], bank)
    np.testing.assert_allclose(own[0, 0], patchcore.ROUNDING**0.5 * np.linalg.norm(bank, axis=1), rtol=0.02)


# What is said of parts that were left out.


@METHODS
def test_crossed_rows_are_the_good_parts(method: Any) -> None:
    bad, masks = flawed(woven(3, seed=5))
    images, given = np.concatenate([woven(9), bad]), targets(9, masks, [0, 1, 0])
    order = np.random.default_rng(0).permutation(12)
    images, given = images[order], {name: array[order] for name, array in given.items()}
    _, _, arrays = learnt(method, images, given, on=card(kinds=("cut", "dent")))
    np.testing.assert_array_equal(arrays["crossed.row"], np.flatnonzero(order < 9))
    assert arrays["crossed.map"].shape == (9, 8, 8)
    np.testing.assert_array_equal(arrays["crossed.score"], arrays["crossed.map"].max(axis=(1, 2)))


def test_crossed_scores_are_those_of_a_memory_without_the_part() -> None:
    images = woven(6)
    options: dict[str, Any] = {"folds": 6, "share": 1.0}
    on, chosen, arrays = learnt(patchcore, images, targets(6), **options)
    opened = taps.opened(b"", on.preparation, chosen)
    patches = subspace_of(arrays).project(drain(opened.places_of(images), None))
    for row in range(6):
        others = np.delete(patches, row, axis=0).reshape(-1, patches.shape[-1])
        wanted = patchcore.distances(patches[row : row + 1], others)[0]
        np.testing.assert_allclose(arrays["crossed.map"][row], wanted, rtol=1e-4)


@METHODS
def test_the_same_part_again_does_not_vouch_for_itself(method: Any) -> None:
    """Each part twice: left out together where their group says so, else one is found in the memory of the other."""
    images = woven(10, seed=3).repeat(2, axis=0)
    options: dict[str, Any] = {"folds": 5, **({"place": "shared"} if method is padim else {"share": 1.0})}
    alone, together = (
        learnt(method, images, fold_of_one(images, group=group), **options)[2]["crossed.score"]
        for group in (False, True)
    )
    single = learnt(method, images[::2], targets(10), **options)[2]["crossed.score"]
    if method is patchcore:
        assert alone.mean() < 0.5 * together.mean()
    else:
        assert alone.mean() < together.mean()
    assert together.mean() > 0.9 * single.mean()


@METHODS
@pytest.mark.parametrize(("good", "bad", "seed"), [(2, 0, 0), (2, 9, 1), (3, 30, 2), (5, 40, 3)])
def test_every_fold_has_good_parts_inside_and_out(method: Any, good: int, bad: int, seed: int) -> None:
    """However many known defects there are beside them."""
    flaws, masks = flawed(woven(max(bad, 1), seed=5))
    images = np.concatenate([woven(good), flaws[:bad]])
    given = targets(good, masks[:bad], [0] * bad)
    _, _, arrays = learnt(method, images, given, on=card(kinds=("cut",) if bad else ()), seed=seed)
    assert np.isfinite(arrays["crossed.score"]).all()
    assert (arrays["crossed.score"] > 0).all()


# Known defects.


@METHODS
def test_known_defects_raise_the_map_where_distance_says_little(method: Any) -> None:
    """Each good part has a rough spot unlike all others, and a dull blob is nothing beside that, until it is shown."""

    def parts(count: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        found = woven(count, seed=seed).astype(np.float64)
        y, x = np.mgrid[:SIDE, :SIDE]
        for part in found:
            top, left = rng.uniform(0, SIDE, 2)
            spot = np.exp(-((y - top) ** 2 + (x - left) ** 2) / 60)
            part[..., 0] += rng.normal(0, rng.uniform(40, 120), spot.shape) * spot
        return np.clip(found, 0, 255).astype(np.uint8)

    def faint(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        good = parts(count, seed)
        _, masks = flawed(good, seed=seed)
        return np.where(masks[..., None], (0.3 * good + 55).astype(np.uint8), good), masks

    bad, masks = faint(12, 9)
    images, given = np.concatenate([parts(24, 8), bad]), targets(24, masks, [0] * 12)
    options = {"place": "shared"} if method is padim else {"share": 0.05}
    fresh = np.concatenate([parts(20, 10), faint(20, 11)[0]])
    on, chosen, arrays = learnt(method, images, given, on=card(kinds=("smear",)), **options)
    with_them = method.forward(fresh, stored(arrays), on, chosen)
    without = {name: array for name, array in stored(arrays).items() if not name.startswith("known.")}
    alone = method.forward(fresh, without, on, chosen)
    assert set(with_them) == {"map", "score", "kinds"}
    assert arrays["known.gain"][0] > 0
    assert (with_them["map"] >= alone["map"]).all()
    positive = np.arange(40) >= 20
    assert auroc(alone["score"], positive) < 0.9
    assert auroc(with_them["score"], positive) > auroc(alone["score"], positive) + 0.05


@METHODS
def test_defects_of_no_known_kind_change_nothing(method: Any) -> None:
    bad, masks = flawed(woven(3, seed=5))
    images, given = np.concatenate([woven(9), bad]), targets(9, masks, [-1] * 3)
    _, _, arrays = learnt(method, images, given)
    assert not any(name.startswith("known.") for name in arrays)


# What ships.


def shipped(method: Any, arrays: Arrays, on: Card, options: Any, images: np.ndarray) -> Arrays:
    session = form.open(form.write(method.graph(stored(arrays), on, options), on), threads=1)
    found: Arrays = session.run({"image": images})
    return found


@METHODS
@pytest.mark.parametrize("known", [False, True], ids=["good", "known"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"dims": 8},
        {"strides": "16", "pool": 1, "top": 0.2},
        {"encoder": {}, "strides": "4"},
        {"encoder": {"opset": 18, "size": "S"}, "strides": "2,4", "dims": 6},
        {"encoder": {"opset": 13, "size": 96}, "strides": "4,8", "dims": 50, "pool": 2},
        {"encoder": {"opset": 20, "channels": 3, "channels_last": True, "dtype": "uint8"}, "strides": "4"},
        {"encoder": {"quantised": True}, "strides": "2,8", "top": 0.01},
    ],
    ids=str,
)
def test_the_graph_says_what_the_reference_says(
    method: Any, known: bool, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patchcore, "BANK_ROWS", 100)  # several chunks, the last one short
    monkeypatch.setattr(_known, "GAINS", (0.5, 0.5))  # whether or not it is best here
    options = {name: value for name, value in given.items() if name != "encoder"}
    channels = given.get("encoder", {}).get("channels", 1)
    if "encoder" in given:
        (tmp_path / "tower.onnx").write_bytes(tower(**given["encoder"]))
        options["file"] = str(tmp_path / "tower.onnx")
    good, fresh = woven(9, channels=channels), woven(3, seed=1, channels=channels)
    bad, masks = flawed(woven(4, seed=5, channels=channels))
    images = np.concatenate([good, bad]) if known else good
    to_learn = targets(9, masks, [0, 1, 0, 1]) if known else targets(9)
    on = card(channels=channels, kinds=("cut", "dent") if known else ())
    _, chosen, arrays = learnt(method, images, to_learn, on=on, **options)
    if "encoder" in given:
        (tmp_path / "tower.onnx").unlink()  # the bundle has it
    for batch in (fresh[:1], np.concatenate([fresh[:1], bad[:1], good[:1]])):
        reference = method.forward(batch, stored(arrays), on, chosen)
        found = shipped(method, arrays, on, chosen, batch)
        assert set(found) == set(reference) == {"map", "score"} | ({"kinds"} if known else set())
        for name, wanted in reference.items():
            assert found[name].shape == wanted.shape
            assert found[name].dtype == wanted.dtype == np.float32
            np.testing.assert_allclose(found[name], wanted, atol=1e-4 * float(np.abs(wanted).max()))
    if known:
        assert reference["kinds"].shape == (3, 2, *reference["map"].shape[1:])


@pytest.mark.parametrize("rows", [1, 64, 100, 4096])
def test_the_memory_may_stand_in_one_piece_or_in_many(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    on, chosen, arrays = learnt(patchcore, woven(6), targets(6), share=0.25)
    assert len(arrays["bank"]) == 96
    batch = woven(3, seed=1)
    wanted = patchcore.forward(batch, stored(arrays), on, chosen)["map"]
    monkeypatch.setattr(patchcore, "BANK_ROWS", rows)
    found = patchcore.forward(batch, stored(arrays), on, chosen)["map"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)  # the more pieces, the other the sums are rounded
    np.testing.assert_allclose(shipped(patchcore, arrays, on, chosen, batch)["map"], wanted, rtol=1e-4)


@METHODS
def test_parts_that_are_remembered_to_the_letter_do_not_disturb_the_gate(method: Any) -> None:
    """Flat black about a part is alike in every picture, at a distance of rounding alone."""
    images = woven(8)
    images[:, :, : SIDE // 2] = 0
    on, chosen, arrays = learnt(method, images, targets(8))
    fresh = woven(3, seed=1)
    fresh[:, :, : SIDE // 2] = 0
    for batch in (fresh, images[:3]):
        wanted = method.forward(batch, stored(arrays), on, chosen)
        found = shipped(method, arrays, on, chosen, batch)
        np.testing.assert_allclose(found["map"], wanted["map"], atol=1e-4 * float(wanted["score"].max()))


# What is refused.


@METHODS
@pytest.mark.parametrize("good", [0, 1])
def test_fewer_than_two_good_parts(method: Any, good: int) -> None:
    bad, masks = flawed(woven(3, seed=5))
    images = np.concatenate([woven(good), bad])
    with pytest.raises(DataError, match=f"there are {good} good parts to learn from; it takes two"):
        learnt(method, images, targets(good, masks, [0] * 3))


@METHODS
def test_good_parts_of_one_group_alone(method: Any) -> None:
    given = targets(4) | {"group": np.zeros(4, np.int64)}
    with pytest.raises(DataError, match=r"all good parts are of one group, .* --no-group-near-duplicates"):
        learnt(method, woven(4), given)


@METHODS
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"file": "nowhere.onnx"}, r"nowhere\.onnx cannot be read"),
        ({"file": "words.onnx"}, "no ONNX graph"),
        ({"file": "tower.onnx", "strides": "16"}, "no maps at a stride of 16; it has 2, 4, 8"),
        ({"file": "tower.onnx", "strides": "four"}, "write it as 16, or 8,16"),
        ({"file": "tower.onnx", "tap": "row"}, "no map 'row' of known shape"),
        ({"strides": "6"}, "of the filters it is 4, 8, 16 or 32"),
    ],
)
def test_an_encoder_that_cannot_be_used(
    method: Any, options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.onnx").write_text("words, words")
    Path("tower.onnx").write_bytes(tower())
    with pytest.raises(UsageError, match=said):
        learnt(method, woven(3), targets(3), **options)


def test_a_net_of_ours_is_an_encoder_too(tmp_path: Path) -> None:
    """A bundle's own graph, by its folder; and one without such a graph is refused."""
    entry = {"file": "graphs/main.onnx", "sha256": hashlib.sha256(tower()).hexdigest(), "inputs": {}, "outputs": {}}
    plain = card()
    for name, graphs in (("net", {"main": {"onnx": entry}}), ("none", {})):
        files = {"weights.safetensors": b"", **({"graphs/main.onnx": tower()} if graphs else {})}
        write_bundle(tmp_path / name, replace(plain, graphs=graphs), files=files)
    on, chosen, arrays = learnt(patchcore, woven(6), targets(6), file=str(tmp_path / "net"), strides="4")
    assert patchcore.forward(woven(2), stored(arrays), on, chosen)["map"].shape == (2, 16, 16)
    with pytest.raises(UsageError, match="has no ONNX graph to take maps from"):
        learnt(patchcore, woven(6), targets(6), file=str(tmp_path / "none"), strides="4")
