"""generate: noise by seed and number, a sampler that arrives, settings chosen, and cards that are refused."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError, UsageError
from sightline.core.protocols import Facts, Request, Spec
from sightline.core.results import Picture
from sightline.data.chance import normals
from sightline.data.pictures import read_picture
from sightline.data.samples import Label, NoTarget
from sightline.tasks import _generate_measures as measures
from sightline.tasks import generate

READY = Preparation(mode="grey", size_hw=(16, 16))
CARD = Card(
    task="generate",
    net={},
    classes=("minus", "plus"),
    preparation=READY,
    form={"name": "picture", "noise": [1, 16, 16], "steps": 12},
)


def in_steps(steps: int, **changes: Any) -> Card:
    return dataclasses.replace(CARD, form={**CARD.form, "steps": steps}, **changes)


# The sampler


class Knowing:
    """A graph that knows the picture, and keeps what it was asked."""

    def __init__(self, picture: Any) -> None:
        self.picture, self.asked = picture, list[Any]()

    def run(self, arrays: Any) -> Any:
        self.asked.append(arrays)
        return {"picture": np.broadcast_to(self.picture, arrays["state"].shape).astype(np.float32)}


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_a_graph_that_knows_the_picture_arrives_at_it(steps: int) -> None:
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16))
    graph, card = Knowing(picture), in_steps(steps)
    requests = [generate.asked(card, seed=1, index=index, label=index % 2) for index in range(3)]
    results = generate.predict({"main": graph}, requests, card)
    wanted = np.rint((picture[0] / 2 + 0.5) * 255)
    for result in results:
        assert np.abs(result.pixels[..., 0] - wanted).max() <= 1 and result.pixels.dtype == np.uint8
    assert len(graph.asked) == 2 * steps - 1  # each but the last step asks twice
    noise = np.stack([each.arrays["noise"] for each in requests])
    for number, asked in enumerate(graph.asked):
        time = (number + 1) // 2 / steps
        assert set(asked) == {"state", "time", "label"} and asked["label"].tolist() == [0, 1, 0]
        assert asked["time"].dtype == np.float32 and asked["time"] == pytest.approx([time] * 3)
        np.testing.assert_allclose(asked["state"], time * picture + (1 - time) * noise, atol=1e-5)  # a straight path


class Sure:
    """The best guess at values that are -0.6, or 0.6 in seven of ten places; of the class 0 the other way round."""

    def run(self, arrays: Any) -> Any:
        t = arrays["time"][:, None, None, None].astype(np.float64)
        odds = np.where(arrays["label"] > 0, 1, -1)[:, None, None, None] * np.log(0.7 / 0.3)
        guess = np.tanh(t * 0.6 * arrays["state"] / (1 - t) ** 2 + odds / 2)
        return {"picture": (0.6 * guess).astype(np.float32)}


def test_the_law_of_what_is_made() -> None:
    card = in_steps(24, preparation=dataclasses.replace(READY, dtype="float32", high=1.0))
    requests = [generate.asked(card, seed=2, index=index // 2, label=index % 2) for index in range(120)]
    results = generate.predict({"main": Sure()}, requests, card)
    pixels = np.stack([each.pixels for each in results]) * 2 - 1
    at_ends = np.abs(np.abs(pixels) - 0.6) < 0.05
    assert at_ends.mean() > 0.98  # nearly nothing between the two
    assert (pixels[1::2] > 0).mean() == pytest.approx(0.7, abs=0.015)
    assert (pixels[::2] > 0).mean() == pytest.approx(0.3, abs=0.015)
    few = generate.predict({"main": Sure()}, requests[:2], dataclasses.replace(card, form=in_steps(1).form))
    assert few[1].pixels * 2 - 1 == pytest.approx(0.6 * 0.4, abs=1e-5)  # one step says what is to be expected


class Normal:
    """The best guess at values of mean 0.1 and deviation 0.3; each noise then ends at 0.1 + 0.3 times itself."""

    def run(self, arrays: Any) -> Any:
        t = arrays["time"][:, None, None, None].astype(np.float64)
        guess = 0.1 + t * 0.09 / (t**2 * 0.09 + (1 - t) ** 2) * (arrays["state"] - t * 0.1)
        return {"picture": guess.astype(np.float32)}


@pytest.mark.parametrize(("steps", "off"), [(12, 0.025), (24, 0.006)])
def test_steps_are_of_second_order(steps: int, off: float) -> None:
    """Plain steps, without the second look, are off by 0.09 and 0.046."""
    card = in_steps(steps, preparation=dataclasses.replace(READY, dtype="float32", high=1.0))
    requests = [generate.asked(card, seed=4, index=index) for index in range(4)]
    for request, result in zip(requests, generate.predict({"main": Normal()}, requests, card)):
        noise = request.arrays["noise"][0]
        apart = np.abs(result.pixels[..., 0] * 2 - 1 - (0.1 + 0.3 * noise))
        assert apart[np.abs(noise) < 2].max() < off


def test_one_pass_where_there_are_no_steps() -> None:
    class Whole:
        seen: ClassVar[list[Any]] = []

        def run(self, arrays: Any) -> Any:
            self.seen.append({name: array.shape for name, array in arrays.items()})
            return {"picture": arrays["noise"] * np.float32(0.25)}

    card = in_steps(0)
    requests = [generate.asked(card, seed=1, index=index) for index in range(70)]
    results = generate.predict({"main": Whole()}, requests, card)
    assert [seen["noise"][0] for seen in Whole.seen] == [32, 32, 6] and set(Whole.seen[0]) == {"noise", "label"}
    for request, result in zip(requests, results):
        wanted = np.rint(np.clip(request.arrays["noise"][0] / 4, -1, 1) * 127.5 + 127.5)
        assert np.abs(result.pixels[..., 0] - wanted).max() <= 1


# What is asked


def test_noise_follows_from_seed_and_number() -> None:
    one = generate.asked(CARD, seed=7, index=3, label=1)
    noise = one.arrays["noise"]
    assert noise.dtype == np.float32 and noise.shape == (1, 16, 16) and one.arrays["label"].dtype == np.int64
    np.testing.assert_array_equal(noise.ravel(), normals((7, 0), 256, counter=(0, 0, 0, 3)).astype(np.float32))
    np.testing.assert_array_equal(generate.asked(CARD, seed=7, index=3, label=0).arrays["noise"], noise)
    for other in ({"seed": 8, "index": 3}, {"seed": 7, "index": 4}, {"seed": 3, "index": 7}):
        assert not np.array_equal(generate.asked(CARD, **other).arrays["noise"], noise)
    np.testing.assert_allclose(generate.asked(CARD, seed=7, index=3, spread=0.5).arrays["noise"], noise / 2, rtol=1e-6)


def test_what_is_measured_is_made_for_a_real_picture() -> None:
    picture = read_picture(np.full((16, 16, 1), 90, np.uint8))
    request = generate.examined(picture, Label("plus"), CARD)
    assert int(request.arrays["label"]) == 1
    np.testing.assert_array_equal(request.beside["real"], picture.pixels)
    again = generate.examined(picture, Label("plus"), CARD)
    np.testing.assert_array_equal(again.arrays["noise"], request.arrays["noise"])
    other = generate.examined(read_picture(np.full((16, 16, 1), 91, np.uint8)), Label("minus"), CARD)
    assert not np.array_equal(other.arrays["noise"], request.arrays["noise"]) and int(other.arrays["label"]) == 0
    with pytest.raises(DataError, match="pictures of 'times' are not made by this model; it knows minus, plus"):
        generate.examined(picture, Label("times"), CARD)
    plain = dataclasses.replace(CARD, classes=())
    assert int(generate.examined(picture, NoTarget(), plain).arrays["label"]) == 0


def test_a_trial_is_what_the_graph_takes() -> None:
    picture = read_picture(np.full((16, 16, 1), 90, np.uint8))
    trial = generate.trial(picture, CARD).arrays
    assert set(trial) == {"state", "time", "label"} and 0 <= trial["time"] < 1 and trial["time"].dtype == np.float32
    assert set(generate.trial(picture, in_steps(0)).arrays) == {"noise", "label"}
    times, labels = zip(
        *(
            (float(each["time"]), int(each["label"]))
            for each in (generate.trial(read_picture(np.full((4, 4), v, np.uint8)), CARD).arrays for v in range(60))
        )
    )
    assert len(set(times)) > 50 and set(labels) == {0, 1}


@pytest.mark.parametrize(("dtype", "high"), [("uint8", 255.0), ("uint16", 65535.0), ("uint16", 4095.0), ("float32", 1)])
def test_depths(dtype: str, high: float) -> None:
    card = dataclasses.replace(CARD, preparation=dataclasses.replace(READY, dtype=dtype, high=high))
    given = np.array([-1.0, 1.0, 0.0, -5.0, 5.0, np.nan, np.inf], np.float32).reshape(1, 1, 7)
    found = generate.decode({"picture": given}, Request(arrays={}), card)
    assert found.pixels.dtype == dtype and found.high == high and found.pixels.shape == (1, 7, 1)
    shares = found.pixels[0, :, 0].astype(float) / high
    assert shares == pytest.approx([0, 1, 0.5, 0, 1, 0.5, 1], abs=0.003)


# Settings


def facts(sizes: Any, *, names: tuple[str, ...] = (), **changes: Any) -> Facts:
    sizes = np.array(sizes, np.int64)
    targets = [Label(name) for name in names] or [NoTarget()] * len(sizes)
    return Facts(
        **{"count": len(sizes), "sizes_hw": sizes, "grey": True, "dtype": "uint8", "targets": targets, **changes}
    )


@pytest.mark.parametrize(
    ("shorter", "size"), [(8, 16), (16, 16), (17, 32), (28, 32), (33, 64), (64, 64), (65, 64), (500, 64)]
)
def test_the_size_that_is_chosen(shorter: int, size: int) -> None:
    recipe, reasons = generate.plan(generate.Recipe(), facts([[shorter, shorter + 9]] * 3))
    assert recipe.size == size and f"{shorter} px" in reasons["size"]
    assert recipe.fit == "crop" and "not be squeezed" in reasons["fit"]
    assert generate.plan(generate.Recipe(size=128), facts([[8, 8]]))[0].size == 128


def test_what_else_is_chosen() -> None:
    recipe, reasons = generate.plan(generate.Recipe(), facts([[8, 8]] * 4, names=("3", "4", "5", "6")))
    assert (recipe.fit, recipe.color, recipe.mirror) == ("stretch", "grey", "no") and len(reasons) == 4
    recipe, _ = generate.plan(generate.Recipe(), facts([[8, 8]] * 2, names=("cat", "dog"), grey=False))
    assert (recipe.color, recipe.mirror) == ("rgb", "yes")


@pytest.mark.parametrize("size", [17, 24, 48, 100, 255])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"--size is {size}; pictures are made with 16, 32, 64, 128, 256 pixels"):
        generate.draft(generate.Recipe(size=size, fit="crop", color="grey"), facts([[size, size]]))


@pytest.mark.parametrize(
    ("dtype", "bits", "high"),
    [("uint8", None, 255), ("uint16", None, 65535), ("uint16", 12, 4095), ("float32", None, 1)],
)
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_the_card(dtype: str, bits: int | None, high: float, color: str) -> None:
    recipe = generate.Recipe(size=32, fit="crop", color=color, **({"bits": bits} if bits else {}))
    card = generate.draft(recipe, facts([[30, 40]] * 3, names=("b", "a", "b"), dtype=dtype))
    assert (card.preparation.dtype, card.preparation.high, card.preparation.mode) == (dtype, high, color)
    assert card.classes == ("a", "b") and card.preparation.size_hw == (32, 32)
    assert (card.preparation.mean, card.preparation.std) == ((0.5,), (0.5,))  # pixels from -1 to 1
    ordered = generate.draft(recipe, facts([[30, 40]] * 3, names=("b", "a", "b"), classes=("c", "b", "a")))
    assert ordered.classes == ("b", "a")
    assert generate.draft(recipe, facts([[30, 40]] * 3)).classes == ()


def test_some_labels_are_refused() -> None:
    some = facts([[16, 16]] * 3, targets=[Label("a"), NoTarget(), NoTarget()])
    for step in (
        lambda: generate.plan(generate.Recipe(), some),
        lambda: generate.draft(generate.Recipe(size=16, fit="crop", color="grey"), some),
    ):
        with pytest.raises(DataError, match="2 of 3 training pictures have no class; label all of them, or none"):
            step()


# Cards that came from elsewhere


class Graph:
    """What a graph says that it takes and puts out."""

    def __init__(self, steps: int, **changes: Any) -> None:
        noise = Spec("float32", ("B", 1, 16, 16))
        label = Spec("int64", ("B",))
        self.inputs = (
            {"state": noise, "time": Spec("float32", ("B",)), "label": label}
            if steps
            else {"noise": noise, "label": label}
        )
        self.outputs = {"picture": Spec("float32", ("B", 1, 16, 16))}
        for name, value in changes.items():
            setattr(self, name, value)


@pytest.mark.parametrize("steps", [0, 12])
def test_a_card_that_fits(steps: int) -> None:
    generate.check(in_steps(steps), {"main": Graph(steps)})
    with pytest.raises(BundleError, match="the card's graph takes"):
        generate.check(in_steps(steps), {"main": Graph(12 - steps)})
    with pytest.raises(BundleError, match="no graph 'main'"):
        generate.check(in_steps(steps), {})


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"noise": [1, 16, 16]},
        {"steps": 12},
        {"noise": [], "steps": 12},
        {"noise": [1, 16, 16, 1], "steps": 12},
        {"noise": [1, 0, 16], "steps": 12},
        {"noise": [1, -16, -16], "steps": 12},
        {"noise": [True, 16, 16], "steps": 12},
        {"noise": [1.0, 16, 16], "steps": 12},
        {"noise": ["1", 16, 16], "steps": 12},
        {"noise": 256, "steps": 12},
        {"noise": None, "steps": 12},
        {"noise": "abc", "steps": 12},
        {"noise": [2**11, 2**11], "steps": 12},
        {"noise": [2**62, 2**62, 4], "steps": 12},
        {"noise": [1, 16, 16], "steps": -1},
        {"noise": [1, 16, 16], "steps": 1001},
        {"noise": [1, 16, 16], "steps": True},
        {"noise": [1, 16, 16], "steps": 12.0},
        {"noise": [1, 16, 16], "steps": "12"},
        {"noise": [1, 16, 16], "steps": None},
    ],
)
def test_a_form_that_cannot_be(form: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="names no noise or number of steps that can be"):
        generate.check(dataclasses.replace(CARD, form=form), {"main": Graph(12)})


@pytest.mark.parametrize(
    ("card", "graph"),
    [
        ({"form": {**CARD.form, "noise": [1, 16, 17]}}, {}),
        ({"form": {**CARD.form, "noise": [256]}}, {}),
        ({"preparation": dataclasses.replace(READY, mode="rgb")}, {}),
        ({"preparation": dataclasses.replace(READY, size_hw=(32, 32))}, {}),
        ({"preparation": dataclasses.replace(READY, mean=(0.5, 0.5), std=(0.5, 0.5))}, {}),
        ({}, {"outputs": {"picture": Spec("float32", ("B", 3, 16, 16))}}),
        ({}, {"outputs": {"picture": Spec("float32", ("B", 1, "h", "w"))}}),
        ({}, {"outputs": {"picture": Spec("float32", ())}}),
        ({}, {"outputs": {"logits": Spec("float32", ("B", 2))}}),
        ({}, {"inputs": {"image": Spec("uint8", ("B", 16, 16, 1))}}),
        (
            {"preparation": dataclasses.replace(READY, size_hw=(20, 20))},
            {"outputs": {"picture": Spec("float32", ("B", 1, 20, 20))}},
        ),
    ],
)
def test_a_graph_that_makes_no_such_pictures(card: dict[str, Any], graph: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"the card's graph takes|puts out B C h w of the card's size"):
        generate.check(dataclasses.replace(CARD, **card), {"main": Graph(12, **graph)})


def test_a_tampered_bundle_is_not_opened(tmp_path: Path) -> None:
    """By the whole way in, whatever is changed in the card's text."""
    pytest.importorskip("onnx")
    from made_generator import generator
    from sightline.core.bundle import open_bundle, update_bundle
    from sightline.verbs.opened import open_model

    path = generator(tmp_path / "model")
    assert open_model(path).card.form["noise"] == [256]
    card = open_bundle(path).card
    for form in ({**card.form, "noise": [255]}, {**card.form, "steps": 3}, {**card.form, "noise": [1, 16, 16]}):
        update_bundle(path, dataclasses.replace(card, form=form), add={})
        with pytest.raises(BundleError):
            open_model(path)


# Measures and figures


def test_too_few_pictures_are_not_compared() -> None:
    meter = measures.GenerateMeter()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
    for each in pixels:
        meter.update(Picture(pixels=each, real=each), Label("plus"), "a")
    with pytest.raises(DataError, match="2 real and 2 made pictures cannot be compared; 3 of each"):
        meter.compute()
    with pytest.raises(DataError, match="made for no real picture"):
        meter.update(Picture(pixels=pixels[0]), Label("plus"), "a")


def test_measures_carry_the_name_of_the_features_and_see_a_bad_generator() -> None:
    pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    levels = rng.uniform(60, 200, 300)
    pictures = np.clip(levels[:, None, None, None] + rng.normal(0, 20, (300, 16, 16, 1)), 0, 255).astype(np.uint8)
    found = {}
    for name, made in (("good", pictures[150:]), ("same", pictures[150:151].repeat(150, 0))):
        meter = measures.GenerateMeter()
        for number, (real, each) in enumerate(zip(pictures[:150], made)):
            meter.update(Picture(pixels=each, real=real), Label("plus"), f"row {number}")
        found[name] = meter.compute()
    assert generate.HEADLINE in found["good"] and all(name.endswith(" (filters)") for name in found["good"])
    good, same = found["good"], found["same"]
    best = good["coverage at best (filters)"].value
    assert good[generate.HEADLINE].value > 0.9 * best and same[generate.HEADLINE].value < 0.2
    assert good["kid x 1000 (filters)"].value < 0.2 * same["kid x 1000 (filters)"].value


def test_a_sheet_has_a_row_for_each_class() -> None:
    class Levels:
        def run(self, arrays: Any) -> Any:
            level = np.where(arrays["label"] > 0, 0.5, -0.5)[:, None, None, None]
            return {"picture": (0 * arrays["noise"] + level).astype(np.float32)}

    with Image.open(io.BytesIO(generate.sheet({"main": Levels()}, in_steps(0)))) as image:
        shown = np.asarray(image.convert("L"))
    dark, bright = (np.argwhere(shown == value)[:, 0] for value in (64, 191))
    assert len(dark) == len(bright) == 8 * 64 * 64 and dark.max() < bright.min()
    one = generate.sheet({"main": Levels()}, in_steps(0, classes=()))
    with Image.open(io.BytesIO(one)) as image:
        assert image.height < shown.shape[0] - 60 and image.width == shown.shape[1]


def test_the_figure_of_what_is_made() -> None:
    """A row for each class with enough pictures; where none has, as they come."""
    results = [Picture(pixels=np.full((16, 16, 1), 10 if number % 2 else 240, np.uint8)) for number in range(20)]
    targets = [Label("plus" if number % 2 else "minus") for number in range(20)]
    for count, rows in ((20, 2), (4, 1)):
        page = generate.figures(results[:count], targets[:count], CARD)["made.png"]
        with Image.open(io.BytesIO(page.data)) as image:
            shown = np.asarray(image.convert("L"))
        wide = [int((shown == value).sum()) for value in (10, 240)]
        assert wide == ([8 * 64 * 64] * 2 if rows == 2 else [2 * 64 * 64] * 2)
        assert page.section == "result"
