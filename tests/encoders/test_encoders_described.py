"""Features by name: from the filters, a foreign graph and a bundle, and what they see of real digits."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("onnx")

from blocking import NO_TORCH
from made_graphs import foreign
from made_inspections import woven
from sightline.core import engines
from sightline.core.bundle import open_bundle
from sightline.core.errors import DataError, UsageError
from sightline.encoders.described import describer, features_of
from sightline.metrics.set_distance import kid

Pictures = NDArray[np.float32]


def shares(count: int, side: int = 32, channels: int = 1, seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).random((count, side, side, channels), np.float32)


@pytest.mark.parametrize(("side", "channels", "depth"), [(8, 1, 180), (28, 1, 180), (28, 3, 188), (100, 3, 188)])
def test_filters_take_any_size(side: int, channels: int, depth: int) -> None:
    pictures = shares(70, side, channels)
    found, name = features_of("filters", pictures)
    assert (found.shape, found.dtype, name) == ((70, depth), np.float32, "filters")
    assert found.min() > -0.01 and found.max() < 1.01
    np.testing.assert_allclose(describer().features(pictures[66:67]), found[66:67], atol=1e-5)


def test_filters_know_where_and_which_way() -> None:
    striped = woven(1, side=32)[..., :1].astype(np.float32) / 255
    half = striped.copy()
    half[:, :16] = 0
    found = {name: describer().features(each)[0] for name, each in (("top", half), ("bottom", half[:, ::-1]))}
    assert np.abs(found["top"] - found["bottom"]).max() > 0.2
    turned = describer().features(np.swapaxes(striped, 1, 2))[0]
    assert np.abs(turned - describer().features(striped)[0]).max() > 0.02


@pytest.mark.parametrize(
    ("last", "dtype", "size"), [(False, "float32", 16), (True, "uint8", 16), (False, "float32", "S")]
)
def test_a_foreign_graph_gives_the_mean_before_its_classifier(
    tmp_path: Path, last: bool, dtype: str, size: int | str
) -> None:
    blob = foreign(channels_last=last, dtype=dtype, size=size)
    path = tmp_path / "other.onnx"
    path.write_bytes(blob)
    side = size if isinstance(size, int) else 224
    pictures = np.round(shares(3, side, 3) * 255) / np.float32(255)
    found, name = features_of(path, pictures)
    import onnx

    model = onnx.load_model_from_string(blob)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("row"))
    session = engines.onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    given = np.round(pictures * 255).astype(np.uint8) if dtype == "uint8" else (pictures - mean) / deviation
    given = given.astype(dtype) if last else given.astype(dtype).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, session.run(["row"], {"picture": given})[0], rtol=1e-3, atol=1e-4)
    assert name == f"other.onnx {hashlib.sha256(blob).hexdigest()[:8]}"


def test_the_scale_is_part_of_the_name_where_it_matters(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(foreign())
    (tmp_path / "b.onnx").write_bytes(foreign(dtype="uint8"))
    assert describer(tmp_path / "a.onnx", scale="unit").name.endswith(" (unit)")
    assert "unit" not in describer(tmp_path / "b.onnx", scale="unit").name
    apart = [describer(tmp_path / "a.onnx", scale=scale).features(shares(1, 16, 3)) for scale in ("unit", "signed")]
    assert np.abs(apart[0] - apart[1]).max() > 0.01


def test_grey_and_colour_are_brought_to_what_the_encoder_takes(tmp_path: Path) -> None:
    for channels in (1, 3):
        (tmp_path / f"{channels}.onnx").write_bytes(foreign(channels=channels))
    grey = shares(2, 16)
    np.testing.assert_allclose(
        describer(tmp_path / "3.onnx").features(grey), describer(tmp_path / "3.onnx").features(grey.repeat(3, 3))
    )
    np.testing.assert_allclose(
        describer(tmp_path / "1.onnx").features(grey),
        describer(tmp_path / "1.onnx").features(grey.repeat(3, 3)),
        atol=1e-4,
    )


def test_large_pictures_are_made_smaller_without_aliases(tmp_path: Path) -> None:
    """Stripes of one pixel become grey, not stripes of another width."""
    (tmp_path / "other.onnx").write_bytes(foreign())
    opened = describer(tmp_path / "other.onnx")
    striped, plain = np.zeros((1, 160, 160, 3), np.float32), np.full((1, 16, 16, 3), 0.5, np.float32)
    striped[:, :, ::2] = 1
    assert np.abs(opened.features(striped) - opened.features(plain)).max() < 0.05 * opened.features(plain).max()


def test_a_bundle_gives_the_means_of_its_map(probe_run: Path) -> None:
    pytest.importorskip("scipy")
    path = probe_run / "model"
    bundle = open_bundle(path)
    levels = np.random.default_rng(0).integers(1, 256, size=(5, *bundle.card.preparation.size_hw, 1), dtype=np.uint8)
    found, name = features_of(path, (levels - np.float32(0.4)) / np.float32(255))  # to the nearest level
    session = engines.onnxruntime().InferenceSession(bundle.graph("main", "onnx"), providers=["CPUExecutionProvider"])
    maps = session.run(["features"], {"image": levels})[0]
    np.testing.assert_allclose(found, maps.mean(axis=(2, 3)), atol=1e-6)
    assert name == f"classify probe:hog {bundle.digest[:8]}"


def test_digits_that_are_blurred_or_mirrored_are_farther_off(data_root: Path) -> None:
    stored = np.load(data_root / "mnist" / "mnist5k.npz")
    pictures = stored["x_train"][:1200, ..., None].astype(np.float32) / 255
    one, two, opened = pictures[:600], pictures[600:], describer()
    small = [Image.fromarray(each[..., 0]).resize((14, 14), Image.Resampling.BOX) for each in two]
    blurred = np.stack([np.asarray(each.resize((28, 28), Image.Resampling.BILINEAR)) for each in small])[..., None]
    first = opened.features(one)
    same, worse, turned = (kid(first, opened.features(each)) for each in (two, blurred, two[:, :, ::-1]))
    assert same.low <= 0 <= same.high
    assert worse.low > same.high and turned.low > same.high


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        (np.zeros((2, 8, 8, 1), np.uint8), r"not uint8 \(2, 8, 8, 1\)"),
        (np.zeros((2, 8, 8), np.float32), r"not float32 \(2, 8, 8\)"),
        (np.zeros((2, 8, 8, 2), np.float32), r"\(2, 8, 8, 2\)"),
        (np.full((2, 8, 8, 1), 255.0), "divide integers"),
        (np.full((2, 8, 8, 1), np.nan), "must be finite"),
        (np.zeros((0, 8, 8, 1)), "no pictures to describe"),
    ],
)
def test_pictures_that_are_refused(pictures: NDArray[np.float64], said: str) -> None:
    with pytest.raises(DataError, match=said):
        describer().features(pictures)


def test_sources_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a file nor a name of the weights ledger"):
        describer("inception")
    with pytest.raises(UsageError, match=r"scale is 'bgr'; it is one of imagenet, unit, signed"):
        describer("filters", scale="bgr")
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="no ONNX graph"):
        describer(tmp_path / "a.onnx")


def test_no_torch_is_needed() -> None:
    code = "import numpy as np; from sightline.encoders.described import *; "
    code += "describer().features(np.zeros((1, 28, 28, 1), np.float32))"
    subprocess.run([sys.executable, "-c", NO_TORCH + code], check=True)
