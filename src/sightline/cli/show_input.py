"""show-input: draw exactly what a model's net sees of a picture, pixel by pixel, with its figures."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  sightline show-input model photo.jpg
  sightline show-input runs/classify-1/model scan.png --out input.png"""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("picture")
@click.option("--out", type=click.Path(path_type=Path), help="picture to write [PICTURE_input.png here]")
@click.option("--overwrite", is_flag=True, help="replace --out if it is there")
def command(model: Path, picture: str, out: Path | None, overwrite: bool) -> None:
    """Show what MODEL's net sees of PICTURE."""
    from sightline.cli._pages import page_path, write_page
    from sightline.verbs.opened import open_model
    from sightline.verbs.show import show_input

    out = page_path(out or Path(f"{Path(picture).stem}_input.png"), overwrite=overwrite, spare=picture)
    write_page(out, show_input(open_model(model), picture))
