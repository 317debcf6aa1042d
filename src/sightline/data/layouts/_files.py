"""What the layouts that live in folders share: finding picture files, and writing them."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.errors import DataError
from sightline.data._headers import sniff
from sightline.data.ranges import Stored
from sightline.data.samples import Sample, Samples

_JUNK = {"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "@eadir"}
_PICTURE_ENDINGS = (
    ".jpg .jpeg .jpe .jfif .png .apng .gif .webp .tif .tiff .bmp .dib .ppm .pgm .pbm .pnm .jp2 .j2k .avif"
)
_OTHER_ENDINGS = (
    ".txt .csv .tsv .md .rst .json .jsonl .xml .yaml .yml .toml .ini .cfg .log .html .htm .pdf .doc .docx .xls .xlsx "
    ".py .ipynb .sh .bat .zip .tar .gz .tgz .7z .rar .npy .npz .mat .h5 .hdf5 .parquet .db .sqlite .pt .pth .onnx "
    ".pkl .safetensors .mp4 .avi .mov .mkv .webm .mp3 .wav .svg .eps .ps .ai"
)
PICTURES, _OTHERS = frozenset(_PICTURE_ENDINGS.split()), frozenset(_OTHER_ENDINGS.split())

_BY_CONTENT = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}


def is_junk(name: str) -> bool:
    """Hidden files and what operating systems leave behind: passed over in silence."""
    return name.startswith(".") or name.lower() in _JUNK


def not_picture(path: Path) -> str:
    """Why a file is left out by its ending, or ""; files with an unknown ending or none are tried."""
    suffix = path.suffix.lower()
    return f"not a picture: {suffix}" if suffix in _OTHERS else ""


def looks_like_picture(path: Path) -> bool:
    """By its ending; when that says nothing, by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in PICTURES or suffix in _OTHERS:
        return suffix in PICTURES
    try:
        with path.open("rb") as file:
            return bool(sniff(file.read(64)))
    except OSError:
        return False


def folders(root: Path) -> list[Path]:
    """The visible folders directly inside, sorted by name."""
    return sorted(path for path in root.iterdir() if not is_junk(path.name) and path.is_dir())


def files(root: Path) -> Iterator[Path]:
    """Every visible file below, sorted folder by folder. Links are followed, each folder once."""
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not is_junk(name))
        yield from (Path(folder, name) for name in sorted(names) if not is_junk(name))


def free_name(wanted: PurePosixPath, used: set[str]) -> PurePosixPath:
    """A name that is not used yet, whatever the case, which it then is: cat.png, cat-2.png, cat-3.png."""
    name, number = wanted, 1
    while str(name).casefold() in used:
        number += 1
        name = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    used.add(str(name).casefold())
    return name


def file_name(samples: Samples, sample: Sample) -> PurePosixPath:
    """Where a sample's picture goes below a new root: its own relative path, or a name made for it."""
    source = samples.open(sample)
    if not isinstance(source, (Path, Stored)):
        name, _, row = sample.path.rstrip("]").partition("[")
        return PurePosixPath(name, f"{int(row):06d}.png")
    path = PurePosixPath(source.inner if isinstance(source, Stored) else sample.path)
    inside = not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]
    return path if inside else PurePosixPath(path.name)


def store(samples: Samples, sample: Sample, target: Path) -> None:
    """Copy a sample's file as it is, or write its array as a PNG. Raises DataError when there is none to copy."""
    source = samples.open(sample)
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, Path) and source.is_file():
        shutil.copyfile(source, target)
    else:
        target.write_bytes(picture_bytes(samples, sample))


def picture_bytes(samples: Samples, sample: Sample) -> bytes:
    """A sample's file as it is, or its array as a PNG. Raises DataError when there is none to copy."""
    source = samples.open(sample)
    if isinstance(source, Stored):
        try:
            return source.read()
        except OSError as error:
            raise DataError(f"{sample.path} cannot be copied: {error.strerror or error}") from None
    if not isinstance(source, Path):
        return png(source, sample.path)
    if not source.is_file():
        raise DataError(f"{source} is not there, so it cannot be copied")
    return source.read_bytes()


def ending_of_picture(name: PurePosixPath, blob: bytes) -> str:
    """The ending of a picture's name, in lower case; by its content where that is none of a picture."""
    suffix = name.suffix.lower()
    return suffix if suffix in PICTURES else _BY_CONTENT.get(kind := sniff(blob), f".{kind.lower() or 'bin'}")


def png(array: NDArray[Any], name: str) -> bytes:
    """A PNG of an array (H, W) or (H, W, C), uint8, uint16 or bool, at its own depth."""
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    array = array.astype(np.uint8) * np.uint8(255) if array.dtype == np.bool_ else array
    buffer = io.BytesIO()
    if array.dtype == np.uint16 and array.ndim == 3:  # Pillow writes no 16-bit colour
        import png as pypng

        height, width, channels = array.shape
        writer = pypng.Writer(width, height, greyscale=False, alpha=channels == 4, bitdepth=16)
        writer.write(buffer, array.reshape(height, -1).tolist())
    elif array.dtype in (np.uint8, np.uint16):
        Image.fromarray(array).save(buffer, "PNG")
    else:
        raise DataError(f"{name} is {array.dtype}; PNG holds whole numbers: keep floats in npz")
    return buffer.getvalue()
