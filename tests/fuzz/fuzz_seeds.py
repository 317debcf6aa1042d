"""Small sound files of every kind, from which the fuzzers start.

Usage: python tests/fuzz/fuzz_seeds.py FOLDER     writes FOLDER/<target>/seed-<name>
"""

from __future__ import annotations

import io
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import png
from fuzz_targets import GRAPH, WEIGHTS
from PIL import Image

from sightline.core.card import Card
from sightline.data.layouts import parquet, webdataset
from sightline.data.samples import Label, NoTarget, Sample, Samples, Tags


def scene(height: int = 12, width: int = 17) -> Image.Image:
    """A small picture without symmetries."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([14 * x, 20 * y, 127 + 100 * np.sin(x / 3 + y / 5)], axis=2).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def pictures() -> dict[str, bytes]:
    """One or more of each format."""
    image, second = scene(), scene().rotate(90)
    exif = Image.Exif()
    exif[274] = 6
    deep = io.BytesIO()
    png.Writer(5, 4, greyscale=False, bitdepth=16).write(deep, (np.arange(60).reshape(4, 15) * 1000).tolist())
    grey = io.BytesIO()
    png.Writer(5, 4, greyscale=True, alpha=True, bitdepth=16).write(grey, (np.arange(40).reshape(4, 10) * 900).tolist())
    return {
        "png": encoded(image, "PNG"),
        "png-palette": encoded(image.quantize(8), "PNG", transparency=3),
        "png-16": deep.getvalue(),
        "png-la16": grey.getvalue(),
        "apng": encoded(image, "PNG", save_all=True, append_images=[second]),
        "jpeg": encoded(image, "JPEG", exif=exif),
        "jpeg-progressive": encoded(image, "JPEG", progressive=True),
        "jpeg-cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "gif": encoded(image, "GIF", save_all=True, append_images=[second]),
        "webp": encoded(image, "WEBP", exif=exif),
        "webp-lossless": encoded(image.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": encoded(image, "WEBP", save_all=True, append_images=[second]),
        "tiff": encoded(image, "TIFF"),
        "tiff-lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": encoded(image, "TIFF", compression="jpeg"),
        "tiff-float": encoded(Image.fromarray(np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)), "TIFF"),
        "tiff-pages": encoded(image, "TIFF", save_all=True, append_images=[second]),
        "tiff-g4": encoded(image.convert("1"), "TIFF", compression="group4"),
        "bmp": encoded(image, "BMP"),
        "bmp-1": encoded(image.convert("1"), "BMP"),
        "ppm": encoded(image, "PPM"),
        "pbm": b"P1 3 2\n1 0 1 0 1 0\n",
        "pgm-16": b"P5 2 2 65535\n" + bytes(range(8)),
        "jp2": encoded(image, "JPEG2000"),
        "avif": encoded(image, "AVIF"),
    }


def cards() -> dict[str, bytes]:
    """A full card and a short one."""
    entry = {"file": "graphs/main.onnx", "sha256": "0" * 64, "inputs": {}, "outputs": {}}
    full = Card(
        task="classify",
        net={"shelf": "nets", "name": "resnet", "variant": "18", "options": {"width": 16}},
        classes=("a", "b"),
        graphs={"main": {"onnx": entry}},
        metrics={"test": {"accuracy": {"value": 0.9, "low": 0.8, "high": None}}},
        notes=("x",),
    )
    return {"full": full.to_json().encode(), "short": Card(task="t", net={}).to_json().encode()}


def tables() -> dict[str, bytes]:
    """The delimiters and the columns."""
    return {
        "comma": b"path,label,split,group\na.png,x,train,1\nb.png,y,val,\n",
        "semicolon": b'\xef\xbb\xbfImage;Class\n"a;b.png";x\n',
        "tab": b"file\tcategory\tnote\nc:\\a.png\tx\t1\nhttp://x/y.png\tx\t\n",
    }


def arrays() -> dict[str, bytes]:
    """The keys of Keras and of MedMNIST."""
    keras, med = io.BytesIO(), io.BytesIO()
    np.savez(keras, x_train=np.zeros((2, 3, 4), np.uint8), y_train=np.arange(2), class_names=np.array(["a", "b"]))
    images = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 2, 2, 3)
    np.savez_compressed(med, train_images=images, train_labels=np.array([[0.0], [1.0]]))
    return {"keras": keras.getvalue(), "medmnist": med.getvalue()}


def in_place(layout: Any, ending: str) -> dict[str, bytes]:
    """One file of a layout that holds pictures, with one label each and with several."""
    arrays = {"x": np.arange(3 * 20, dtype=np.uint8).reshape(3, 5, 4)}
    targets = {"one": [Label("a"), Label("b"), NoTarget()], "several": [Tags(("a", "b")), Tags(), Tags(("b",))]}
    found = {}
    for kind, given in targets.items():
        rows = tuple(Sample(f"x[{i}]", target, "", f"g{i}") for i, target in enumerate(given))
        with tempfile.TemporaryDirectory() as folder:
            layout.write(Samples(Path(folder), rows, "made", ("a", "b"), arrays=arrays), Path(folder) / "d")
            (file,) = (Path(folder) / "d").glob(f"*{ending}")
            found[kind] = file.read_bytes()
    return found


def sealed() -> dict[str, bytes]:
    """Each file of a bundle behind the number that says which it is."""
    return {
        "card": b"\0" + cards()["short"],
        "graph": b"\1" + GRAPH,
        "weights": b"\2" + WEIGHTS,
        "manifest": b'\3{"format":"sightline-bundle","version":1,"files":{"card.json":{"sha256":"00","size":1}}}',
    }


def bundles() -> dict[str, bytes]:
    """A whole bundle in one zip."""
    import hashlib

    from sightline.core.bundle import write_bundle

    entry = {"file": "graphs/main.onnx", "sha256": hashlib.sha256(GRAPH).hexdigest()}
    card = Card(task="classify", net={}, graphs={"main": {"onnx": entry}})
    with tempfile.TemporaryDirectory() as folder:
        path = write_bundle(Path(folder) / "m.zip", card, files={"graphs/main.onnx": GRAPH})
        return {"zip": path.read_bytes()}


@cache
def seeds() -> dict[str, dict[str, bytes]]:
    """Target → name → bytes."""
    return {
        "pictures": pictures(),
        "cards": cards(),
        "graphs": {"relu": GRAPH},
        "bundles": bundles(),
        "sealed": sealed(),
        "tables": tables(),
        "arrays": arrays(),
        "tars": in_place(webdataset, ".tar"),
        "hubs": in_place(parquet, ".parquet"),
    }


def write_seeds(folder: Path) -> None:
    """One file a seed."""
    for target, files in seeds().items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, blob in files.items():
            (folder / target / f"seed-{name}").write_bytes(blob)


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
