"""import-onnx: make a model of a detector or an embedder from elsewhere, by what its outputs mean."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  sightline import-onnx FastestDet.onnx --layout fastestdet --classes coco.names --out fastestdet --licence BSD-3-Clause
  sightline import-onnx yolov8n.onnx --layout yolov8 --classes coco.names --out yolov8n --size 640x640
  sightline import-onnx my.onnx --layout my.yaml --classes "bolt, nut" --out parts --rgb --scale 1

A layout says in which output boxes, scores and classes stand, and how they are written. Without --layout the names of
those that are known are printed. A file of your own holds, in YAML or JSON, for instance:

\b
  boxes: {outputs: [dets], columns: [0, 4]}
  scores: {outputs: [dets], columns: [4, null], activation: sigmoid}
  coding: cxcywh          # or xyxy, yxyx, xywh, ltrb
  unit: shares            # or pixels, cells (with strides: [8, 16, 32])

Files that the weights ledger knows, as yunet_s_640_640.onnx, need neither a layout nor classes.

The accuracy of an imported model is not known until you measure it: sightline evaluate MODEL DATA."""


@click.command(epilog=EXAMPLE)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--layout", default="", help="a known layout of outputs, or a YAML or JSON file that describes one [by the file]"
)
@click.option("--classes", default="", help="a file with a class a line, or the names with commas between")
@click.option("--out", type=click.Path(path_type=Path), help="model to write: a folder, or one file named .zip")
@click.option("--size", default="", metavar="WxH", help="pixels of its pictures [the graph's own]")
@click.option(
    "--tile", type=click.IntRange(32, 8192), default=None, help="side of tiles, for crowds; from a quarter of --size on"
)
@click.option("--bgr/--rgb", default=None, help="order of its channels [as the layout's family has it, else --rgb]")
@click.option("--scale", type=float, help="(pixel / scale - mean) / std is what it gets [the layout's, else 255]")
@click.option("--mean", default="", metavar="NUMBERS", help="one, or one a channel, in the graph's order [0]")
@click.option("--std", default="", metavar="NUMBERS", help="one, or one a channel, in the graph's order [1]")
@click.option("--fit", type=click.Choice(["stretch", "pad", "shrink", "crop"]), help="how pictures are brought to size")
@click.option("--threshold", type=click.FloatRange(0, 1), help="score from which on a box is reported [0.3]")
@click.option("--suppress", type=click.FloatRange(0, 1), help="IoU above which the less sure of two boxes goes [0.6]")
@click.option("--licence", default="", help="licence of the weights, for the card")
@click.option("--source", default="", help="where they come from, for the card")
@click.option("--trained-on", default="", help="data sets that went in, as coco,objects365")
def command(
    file: Path,
    layout: str,
    classes: str,
    out: Path | None,
    size: str,
    tile: int | None,
    bgr: bool | None,
    scale: float | None,
    mean: str,
    std: str,
    fit: str | None,
    threshold: float | None,
    suppress: float | None,
    licence: str,
    source: str,
    trained_on: str,
) -> None:
    """Wrap the detector, or the embedder of faces, in an ONNX FILE as a model."""
    from sightline.cli._display import watch
    from sightline.verbs.import_onnx import Wish, import_onnx, is_known

    if not layout and not is_known(file):
        raise click.UsageError(f"say what the outputs mean with --layout, a file or one of\n{_layouts()}")
    if out is None:
        raise click.UsageError("name the model to write with --out")
    wish = Wish(
        layout=layout,
        classes=classes,
        size_hw=_size(size),
        tile=tile or 0,
        bgr=bgr,
        scale=scale,
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        fit=fit,
        threshold=threshold,
        suppress=suppress,
        licence=licence,
        source=source,
        trained_on=tuple(part.strip() for part in trained_on.split(",") if part.strip()),
    )
    path = watch(import_onnx(file, wish, out))
    click.echo(f"model written to {path}; use it with: sightline predict {path} PICTURES")


def _layouts() -> str:
    """Every known layout and what it is, a line each."""
    from sightline.verbs.detector_layouts import EMBEDDERS, LAYOUTS

    return "\n".join(f"  {name:<20} {layout['about']}" for name, layout in (LAYOUTS | EMBEDDERS).items())


def _size(text: str) -> tuple[int, int] | None:
    """`640x480` as height and width; one number is both."""
    if not text:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) <= 16384 for part in parts):
        raise click.UsageError(f"--size is WIDTHxHEIGHT in pixels, as 640x480, not {text!r}")
    return int(parts[-1]), int(parts[0])


def _numbers(option: str, text: str) -> tuple[float, ...] | None:
    if not text:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"{option} is a number, or several with commas between, not {text!r}") from None
