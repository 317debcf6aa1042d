"""Data sets with boxes made for tests: pictures of known sizes, and the annotation files of other tools."""

import json

from made_pictures import encoded, exif, scene
from PIL import Image


def put(root, name, size_hw=(40, 60), orientation=1):
    """A picture file; `size_hw` is as stored."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if path.suffix == ".png" else "JPEG"
    image = Image.fromarray(scene(*size_hw))
    path.write_bytes(encoded(image, kind, exif=exif(orientation)) if orientation != 1 else encoded(image, kind))
    return path


def write(root, name, text):
    """A text file, or JSON of what is no text."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def voc_xml(filename="a.jpg", size_hw=(40, 60), objects=()):
    """An XML of Pascal VOC; objects are (name, xmin, ymin, xmax, ymax) and perhaps more XML."""
    told = "".join(
        f"<object><name>{name}</name>{''.join(more)}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2, *more in objects
    )
    size = f"<size><width>{size_hw[1]}</width><height>{size_hw[0]}</height><depth>3</depth></size>" if size_hw else ""
    return f"<annotation><filename>{filename}</filename>{size}{told}</annotation>"


def coco_json(images, annotations, categories=((1, "cat"), (3, "dog"))):
    """COCO's JSON; images are (id, name, width, height), annotations dicts with id and image_id already or not."""
    return {
        "images": [dict(zip(("id", "file_name", "width", "height"), each)) for each in images],
        "annotations": [{"id": 10 + 5 * n, "image_id": 1, "iscrowd": 0, **each} for n, each in enumerate(annotations)],
        "categories": [{"id": number, "name": name} for number, name in categories],
    }


def things(samples):
    """Path → the things in it as (name, box rounded to a hundredth of a pixel)."""
    return {
        row.path: [(item.name, *(round(value, 2) for value in item.xyxy)) for item in row.target.items]
        for row in samples.rows
    }
