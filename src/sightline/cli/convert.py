"""convert: write a data set once more in another layout, with broken boxes repaired or listed."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  sightline convert cells/ cells-coco/ --to coco
  sightline convert voc:raccoon/ raccoon-yolo/ --to yolo
  sightline convert mnist.npz digits/ --to imagefolder --json"""


@click.command(epilog=EXAMPLE)
@click.argument("src")
@click.argument("dst", type=click.Path(path_type=Path))
@click.option("--to", required=True, help="the new layout: coco, voc, yolo, csv, imagefolder ...")
@click.option("--layout", default=None, help="how SRC is laid out [detected]")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(src: str, dst: Path, to: str, layout: str | None, as_json: bool) -> None:
    """Write the data set SRC to DST, which must not exist yet; what DST cannot hold is said."""
    import json

    from sightline.cli._display import watch
    from sightline.verbs.convert import convert

    done = watch(convert(src, dst, to=to, layout=layout), quiet=as_json)
    click.echo(json.dumps(done.to_dict(), ensure_ascii=False) if as_json else str(done))
