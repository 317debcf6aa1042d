"""purge: erase everybody whose consent has ended."""

from __future__ import annotations

import click

from sightline.cli.faces._gallery import place, with_gallery

EXAMPLE = """\b
Example, each night:
  sightline faces purge staff.gallery --key-file staff.key"""


@click.command(epilog=EXAMPLE)
@with_gallery
def command() -> None:
    """Erase from GALLERY whose consent has ended; they are not compared any more in any case."""
    with place().open() as gallery:
        gone = gallery.purge()
    click.echo(f"{len(gone):,} people erased" + (f": {', '.join(gone)}" if gone else ""))
