"""taps and encoder_at: where an encoder is cut, what its maps say of a picture, and what is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper

from made_inspections import SIDE, card, tower, woven
from sightline.core.card import Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Progress, drain
from sightline.encoders import taps
from sightline.encoders.foreign import encoder_at
from sightline.encoders.views import SCALES
from sightline.methods import patchcore


def run(blob: bytes, pictures: np.ndarray, *names: str) -> list[np.ndarray]:
    """What a graph holds inside under these names."""
    import onnxruntime

    model = onnx.load_model_from_string(blob)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(list(names), {"picture": pictures})
    return found


def places(images: np.ndarray, blob: bytes, *, ready: Preparation | None = None, **options: Any) -> np.ndarray:
    """Maps of pictures as a method sees them, (N, h, w, D)."""
    given = ready or card(images.shape[1], channels=images.shape[-1]).preparation
    return drain(taps.opened(blob, given, taps.Taps(**options)).places_of(images), None)


def pooled(maps: np.ndarray, side: int) -> np.ndarray:
    """Means over squares about each place of (N, D, h, w), zeros outside: PatchCore's neighbourhoods."""
    before, after = (side - 1) // 2, side // 2
    padded = np.pad(maps.astype(np.float64), [(0, 0), (0, 0), (before, after), (before, after)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))
    return np.asarray(windows.mean(axis=(4, 5)))


# Where it is cut.


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize(
    ("stride", "name", "width", "side"), [(2, "out1", 8, 32), (4, "out2", 12, 16), (8, "conv3", 6, 8)]
)
def test_the_last_map_of_a_stride_is_found(
    opset: int, quantised: bool, stride: int, name: str, width: int, side: int
) -> None:
    found = encoder_at(tower(opset=opset, quantised=quantised), (stride,))
    wanted = f"{name}.dq" if quantised and name != "conv3" else name
    assert found.taps == {wanted: width}
    assert found.sizes == {wanted: (side, side)}
    assert found.maps == {wanted}
    made = {node.output[0] for node in found.model.graph.node}
    assert "scores" not in made
    assert (name == "conv3") == ("conv3" in made)
    assert {entry.version for entry in found.model.opset_import} == {opset}


@pytest.mark.parametrize("strides", [(4, 2), (2, 4)])
def test_the_finest_comes_first(strides: tuple[int, int]) -> None:
    found = encoder_at(tower(), strides)
    assert list(found.taps) == ["out1", "out2"]
    assert list(found.sizes.values()) == [(32, 32), (16, 16)]


def test_maps_may_be_named() -> None:
    assert encoder_at(tower(), (), taps=("wide2", "act1")).taps == {"act1": 8, "wide2": 20}
    with pytest.raises(UsageError, match=r"no map 'nowhere' of known shape; its last ones are .*conv3"):
        encoder_at(tower(), (), taps=("act1", "nowhere"))
    with pytest.raises(UsageError, match=r"no map 'scores'"):  # there, and no map
        encoder_at(tower(), (), taps=("scores",))


@pytest.mark.parametrize("stride", [1, 16, 64])
def test_an_unknown_stride_names_those_there_are_and_they_work(stride: int) -> None:
    with pytest.raises(UsageError, match=rf"no maps at a stride of {stride}; it has 2, 4, 8$"):
        encoder_at(tower(), (stride,))


@pytest.mark.parametrize("size", [64, 45, 30])
def test_sizes_that_no_stride_divides(size: int) -> None:
    found = encoder_at(tower(size="S"), (2, 4), size_hw=(size, size))
    assert [height for height, _ in found.sizes.values()] == [(size + 1) // 2, (size + 3) // 4]


def test_without_padding_maps_are_a_little_smaller_and_still_found() -> None:
    node = helper.make_node("Conv", ["picture", "w"], ["out"], strides=[2, 2])
    weight = onnx.numpy_helper.from_array(np.ones((4, 1, 5, 5), np.float32), "w")
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 1, 64, 64])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 4, 30, 30])
    graph = helper.make_graph([node], "valid", [picture], [out], [weight])
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    assert encoder_at(blob, (2,)).sizes == {"out": (30, 30)}


@pytest.mark.parametrize("blob", [b"", b"garbage" * 9, b"\x08\x07"])
def test_what_is_no_graph_is_refused(blob: bytes) -> None:
    with pytest.raises(UsageError, match="no ONNX graph"):
        encoder_at(blob, (2,))


def test_a_graph_of_two_pictures_is_refused() -> None:
    pictures = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, 8, 8]) for name in ("left", "right")]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Add", ["left", "right"], ["out"])], "two", pictures, [out])
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    with pytest.raises(UsageError, match="takes one picture; this graph takes left, right"):
        encoder_at(blob, (1,))


def test_a_graph_without_maps_says_so() -> None:
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 3, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 192])
    graph = helper.make_graph([helper.make_node("Flatten", ["picture"], ["out"])], "flat", [picture], [out])
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    with pytest.raises(UsageError, match="it has none at all"):
        encoder_at(blob, (1,))


def test_the_mobilenet_of_the_data_folder_is_cut_at_its_stages(data_root: Path) -> None:
    blob = (data_root / "weights" / "mobilenet_v2_1.0_224_int8_per_tensor.onnx").read_bytes()
    found = encoder_at(blob, (8, 16))
    assert list(found.taps.values()) == [32, 96]  # its bottlenecks, not their widenings of 192 and 576
    assert list(found.sizes.values()) == [(28, 28), (14, 14)]
    assert (found.dtype, found.size_hw, found.channels_last) == ("uint8", (224, 224), True)


# What the maps say.


@pytest.mark.parametrize("pool", [1, 2, 3, 5])
@pytest.mark.parametrize("opset", [13, 18])
def test_places_are_the_maps_averaged_about_them(pool: int, opset: int) -> None:
    images, blob = woven(3), tower(opset=opset)
    mean, deviation = SCALES["imagenet"][0][0], SCALES["imagenet"][1][0]
    given = ((images.transpose(0, 3, 1, 2) / 255 - mean) / deviation).astype(np.float32)
    (maps,) = run(blob, given, "out2")
    wanted = pooled(maps, pool).transpose(0, 2, 3, 1)
    found = places(images, blob, strides="4", pool=pool)
    assert (found.shape, found.dtype) == ((3, 16, 16, 12), np.float32)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_strides_are_joined_at_the_finest() -> None:
    images, blob = woven(2), tower()
    fine, coarse = (places(images, blob, strides=stride) for stride in ("2", "4"))
    both = places(images, blob, strides="4, 2,2")
    assert both.shape == (2, 32, 32, 20)
    np.testing.assert_array_equal(both[..., :8], fine)
    # A finer place lies at a quarter of the way between two coarse ones, bilinearly.
    row = coarse[:, 5].astype(np.float64) * 0.75 + coarse[:, 4] * 0.25
    wanted = row[:, 7] * 0.75 + row[:, 8] * 0.25
    np.testing.assert_allclose(both[:, 10, 15, 8:], wanted, atol=1e-5)


def test_taps_are_named_with_commas_and_blanks() -> None:
    found = places(woven(2), tower(), tap="act1, wide2", strides="2")
    assert found.shape == (2, 32, 32, 28)


@pytest.mark.parametrize("size", ["S", 48])
def test_an_encoder_of_any_size_takes_the_pictures_as_they_are(size: int | str) -> None:
    assert places(woven(2, side=48), tower(size=size), strides="4").shape == (2, 12, 12, 12)


def test_an_encoder_of_one_size_is_given_that() -> None:
    assert places(woven(2, side=48), tower(size=96), strides="4").shape == (2, 24, 24, 12)


def test_bytes_and_channels_last_make_no_difference() -> None:
    """The bytes times the encoder's own scale, against the same numbers as floats."""
    images = woven(2, channels=3)
    blob = tower(channels=3, channels_last=True, dtype="uint8", size="S")
    found = places(images, blob, strides="4", pool=1)
    plain = images.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(0.03)
    (wanted,) = run(tower(channels=3), plain, "out2")
    np.testing.assert_allclose(found, wanted.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("scale", ["unit", "signed", "imagenet", "auto"])
def test_floats_are_scaled_as_asked(scale: str) -> None:
    images, blob = woven(2, channels=3), tower(channels=3)
    mean, deviation = (np.array(each)[:, None, None] for each in SCALES["imagenet" if scale == "auto" else scale])
    given = ((images.transpose(0, 3, 1, 2) / 255 - mean) / deviation).astype(np.float32)
    (wanted,) = run(blob, given, "out1")
    found = places(images, blob, strides="2", pool=1, scale=scale)
    np.testing.assert_allclose(found, wanted.transpose(0, 2, 3, 1), atol=1e-4)


def test_deep_pictures_are_read_by_their_white() -> None:
    images = woven(2)
    deep = Preparation(mode="grey", size_hw=(SIDE, SIDE), dtype="uint16", high=65535.0)
    for blob, strides in ((tower(), "4"), (b"", "8")):
        found = places(images.astype(np.uint16) * 257, blob, ready=deep, strides=strides)
        np.testing.assert_allclose(found, places(images, blob, strides=strides), atol=1e-4)


def test_progress_is_told_to_the_last_picture() -> None:
    told: list[Any] = []
    opened = taps.opened(tower(), card().preparation, taps.Taps(strides="4"))
    drain(opened.places_of(woven(19)), told.append)
    assert [(each.done, each.total) for each in told if isinstance(each, Progress)] == [(16, 19), (19, 19)]
    assert drain(opened.places_of(woven(0)), None).shape == (0, 16, 16, 12)


# What is asked for, and what is refused.


@pytest.mark.parametrize(
    ("blob", "strides"), [(b"", "8,x"), (b"", "0"), (tower(), "2,,4"), (tower(), "-4"), (b"", ",")]
)
def test_strides_that_are_no_numbers(blob: bytes, strides: str) -> None:
    with pytest.raises(UsageError, match=r"net\.strides is .*; write it as 16, or 8,16"):
        places(woven(1), blob, strides=strides)


def test_an_encoder_of_grey_pictures_does_not_take_colours() -> None:
    with pytest.raises(UsageError, match="--color grey"):
        places(woven(1, channels=3), tower(), strides="4")


def test_an_encoder_that_does_not_run_is_refused_in_words() -> None:
    """A channel that is not there, which only running finds out."""
    model = onnx.load_model_from_string(tower())
    model.graph.node.append(helper.make_node("Gather", ["out2", "beyond"], ["picked"], axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([99]), "beyond"))
    with pytest.raises(UsageError, match="this encoder does not run: "):
        places(woven(1), model.SerializeToString(), tap="picked")


def test_variants_are_files_bundles_and_filters(tmp_path: Path) -> None:
    path = tmp_path / "tower.onnx"
    path.write_bytes(tower())
    assert list(patchcore.VARIANTS) == ["filters"]
    assert patchcore.VARIANTS["filters"] == patchcore.Options()
    assert patchcore.VARIANTS[str(path)] == patchcore.Options(file=str(path))
    assert str(path) in patchcore.VARIANTS
    assert "nowhere.onnx" not in patchcore.VARIANTS
    assert patchcore.brings(patchcore.Options()) is None
    assert patchcore.brings(patchcore.Options(file=str(path))) == path


@pytest.mark.parametrize(
    ("given", "size", "color"),
    [({"size": 96}, 96, "grey"), ({"size": "S"}, 224, "grey"), ({"size": 96, "channels": 3}, 96, "rgb")],
)
def test_the_encoder_says_what_pictures_it_wants(tmp_path: Path, given: Any, size: int, color: str) -> None:
    (tmp_path / "tower.onnx").write_bytes(tower(**given))
    asked = patchcore.asks(patchcore.Options(file=str(tmp_path / "tower.onnx"), strides="4"))
    assert {name: value for name, (value, _) in asked.items()} == {"size": size, "color": color}


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"the encoder nowhere\.onnx cannot be read: No such file"):
        taps.blob_of(taps.Taps(file="nowhere.onnx"))
