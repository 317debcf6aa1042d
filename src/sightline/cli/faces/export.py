"""export: what a gallery holds of somebody, handed to them."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli.faces._gallery import place, with_gallery

EXAMPLE = """\b
Example:
  sightline faces export staff.gallery "Ada L." --key-file staff.key --out ada/

Writes person.json (name, consent, entries of the log, templates as numbers) and the pictures that were kept. What lies
in ada/ then is in clear: hand it over and delete it."""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write")
def command(name: str, out: Path) -> None:
    """Write all that GALLERY knows of NAME."""
    from sightline.verbs.handing import hand_over

    where = place()
    with where.open() as gallery:
        count = hand_over(gallery, name, out)
    click.echo(f"{count} files in {out}, in clear")
