"""Pictures made for tests: a scene without symmetries, and files of it in many formats."""

import io

import numpy as np
import png
from PIL import Image


def scene(height=60, width=80, channels=3):
    """A picture without symmetries, uint8, smooth enough to survive a JPEG."""
    y, x = np.mgrid[:height, :width]
    planes = [255 * x / width, 255 * y / height, 127 + 100 * np.sin(x / 9 + y / 17)]
    return np.stack(planes[:channels], axis=2).astype(np.uint8)


def encoded(image, kind, **options):
    """A file's bytes; `image` is an array or a Pillow image."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def encoded16(pixels, **options):
    """A 16-bit PNG of (H, W, C), C = 1 to 4, written by pypng."""
    height, width, channels = pixels.shape
    writer = png.Writer(width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16, **options)
    buffer = io.BytesIO()
    writer.write(buffer, pixels.reshape(height, -1).tolist())
    return buffer.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags
