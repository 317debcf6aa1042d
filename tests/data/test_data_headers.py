"""A header says what decoding will give, without decoding."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.core.errors import PictureError
from sightline.data.pictures import read_header, read_picture


def agrees(source: object) -> None:
    header, picture = read_header(source), read_picture(source)  # type: ignore[arg-type]
    assert header.size_hw == picture.size_hw
    assert header.dtype == picture.pixels.dtype.name
    assert header.grey <= (picture.pixels.shape[2] == 1)  # a palette may turn out to hold greys only


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_header_agrees_with_the_picture(mode: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    image = Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7))
    try:
        image.convert(mode).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    except (OSError, ValueError):
        pytest.skip(f"{suffix} does not hold {mode}")
    agrees(path)


def test_header_of_arrays() -> None:
    agrees(np.zeros((3, 4), np.uint16))
    agrees(np.zeros((3, 4, 3), np.float32))


def test_real_odd_files(data_root: Path) -> None:
    folder = data_root / "photos" / "odd"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["expect"] == "ok":
                agrees(folder / row["file"])
            elif row["expect"] == "refuse":
                with pytest.raises(PictureError) as caught:
                    read_header(folder / row["file"])
                assert caught.value.refused
