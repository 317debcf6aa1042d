"""Memory while decoding: what is promised before is not exceeded, and what would exceed the limit is refused."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_pictures import encoded, encoded16, scene
from PIL import Image

from sightline.core.errors import PictureError
from sightline.data import pictures
from sightline.data._memory import decoding_bytes
from sightline.data.pictures import LIMITS, Limits, _opened, read_picture

SIDE = 1200
CHILD = """
import resource, sys
from pathlib import Path
from sightline.core.errors import PictureError
from sightline.data.pictures import read_picture

def line(name):
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(name))

for path in sorted(Path(sys.argv[1]).iterdir()):
    read_picture(path, at_least_hw=(8, 8))  # loads what the format needs
for path in sorted(Path(sys.argv[1]).iterdir()):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = line("VmRSS")
    shape = read_picture(path).pixels.shape
    print(path.name, (line("VmHWM") - before) * 1024, flush=True)
if len(sys.argv) > 2:
    for extra in (2, 6, 12, 20):
        room = line("VmSize") * 1024 + extra * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
        for path in sorted(Path(sys.argv[1]).iterdir()):
            try:
                read_picture(path)
            except PictureError:
                print("refused", path.name)
"""
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and RLIMIT_AS")


def files():
    """Large enough that a decode outweighs what the allocator does beside it."""
    rough = np.asarray(Image.fromarray(scene(SIDE // 4, SIDE // 4)).resize((SIDE, SIDE)))
    image, clear = Image.fromarray(rough), Image.fromarray(np.dstack([rough, rough[..., 0]]))
    grey, palette = image.convert("L"), image.quantize(64)
    floats = Image.fromarray(rough[..., 0].astype(np.float32) / 255)
    return {
        "jpeg": encoded(image, "JPEG"),
        "jpeg-progressive": encoded(image, "JPEG", progressive=True, subsampling=0),
        "jpeg-cmyk": encoded(image.convert("CMYK"), "JPEG", progressive=True),
        "jpeg-grey": encoded(grey, "JPEG"),
        "png": encoded(image, "PNG", compress_level=1),
        "png-alpha": encoded(clear, "PNG", compress_level=1),
        "png-palette": encoded(palette, "PNG", transparency=3),
        "png-16": encoded16(np.broadcast_to(rough[:600, :600].astype(np.uint16) * 257, (600, 600, 3))),
        "gif": encoded(palette, "GIF"),
        "webp": encoded(image, "WEBP", method=0),
        "webp-alpha": encoded(clear, "WEBP", method=0, lossless=True),
        "tiff": encoded(image, "TIFF"),
        "tiff-lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff-cmyk": encoded(image.convert("CMYK"), "TIFF"),
        "tiff-float": encoded(floats, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-alpha": encoded(clear, "TIFF"),
        "bmp": encoded(image, "BMP"),
        "ppm": encoded(image, "PPM"),
        "pgm-16": b"P5 %d %d 65535\n" % (SIDE, SIDE) + rough[..., 0].astype(">u2").tobytes(),
        "jp2": encoded(image, "JPEG2000"),
        "jp2-grey": encoded(grey, "JPEG2000"),
        "avif": encoded(image, "AVIF", speed=10),
        "avif-alpha": encoded(clear, "AVIF", speed=10),
    }


def promised(blob):
    with _opened(blob, LIMITS) as file:
        return decoding_bytes(file.im, file.kind, file.blob)


def in_child(folder: Path, *words: str) -> list[str]:
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, str(folder), *words],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    return done.stdout.splitlines()


@linux
def test_no_decode_takes_more_than_was_promised(tmp_path):
    made = files()
    for name, blob in made.items():
        (tmp_path / name).write_bytes(blob)
    lines = in_child(tmp_path, "then with little memory")
    peaks = {name: int(peak) for name, peak in (line.split() for line in lines if not line.startswith("refused"))}
    assert peaks.keys() == made.keys()
    slack = 3 << 20  # threads' stacks, tables and the like, whatever the size of the picture
    over = {name: (peak, promised(made[name])) for name, peak in peaks.items() if peak > promised(made[name]) + slack}
    assert over == {}
    assert all(peak > SIDE * SIDE for name, peak in peaks.items() if name != "png-16"), "the measurement sees decodes"
    refused = [line for line in lines if line.startswith("refused")]
    assert len(refused) > len(made) / 2, "where memory ends, it is a PictureError, and the process lives"


def test_the_limit_is_kept_before_anything_is_decoded(monkeypatch):
    blob = encoded(scene(100, 100), "PNG")
    needed = promised(blob)
    assert read_picture(blob, limits=Limits(max_memory=needed)).pixels.shape == (100, 100, 3)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(PictureError, match=rf"may take {needed:,} bytes of memory") as caught:
        read_picture(blob, limits=Limits(max_memory=needed - 1))
    assert caught.value.refused


def tiled(width, height, tile, data):
    """A deflated RGB TIFF of one tile."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 2, 277: 3, 322: tile, 323: tile, 324: 8, 325: len(data)}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
    data += b"\0" * (len(data) % 2)
    return b"II*\0" + struct.pack("<L", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_tile_larger_than_its_picture_counts():
    assert read_picture(tiled(10, 10, 16, zlib.compress(bytes(16 * 16 * 3)))).size_hw == (10, 10)
    with pytest.raises(PictureError, match="bytes of memory") as caught:
        read_picture(tiled(10, 10, 32768, zlib.compress(bytes(1000))))
    assert caught.value.refused


def test_libtiff_and_pillow_write_nothing(capfd):
    blob = bytearray(encoded(scene(40, 50), "TIFF", compression="tiff_adobe_deflate"))
    blob[200:210] = b"\xff" * 10
    many = bytearray(encoded(scene(8, 8), "TIFF"))
    at = many.find(struct.pack("<HHLH", 277, 3, 1, 3))
    many[at + 8 : at + 10] = struct.pack("<H", 3000)
    for each in (blob, many):
        with pytest.raises(PictureError):
            read_picture(bytes(each))
    assert capfd.readouterr() == ("", "")


def test_a_file_is_read_without_reserving_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(scene(8, 8), "PNG"))
    asked = []
    real = io.open

    class Spy:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *rest):
            self.file.close()

        def read(self, size):
            asked.append(size)
            return self.file.read(size)

    monkeypatch.setattr(pictures, "open", lambda name, mode: Spy(real(name, mode)), raising=False)
    read_picture(path)
    assert asked == [path.stat().st_size + 1]
