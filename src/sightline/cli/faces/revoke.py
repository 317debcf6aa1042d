"""revoke: turn all templates anew, so that those that were stolen match nobody."""

from __future__ import annotations

import click

from sightline.cli.faces._gallery import place, with_gallery

EXAMPLE = """\b
Example:
  sightline faces revoke staff.gallery --key-file staff.key --why "laptop lost"

People are recognised as before. Where the key was stolen as well, rotate it, too; and templates that were computed
elsewhere from the same pictures are not touched by this."""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.option("--why", default="asked for", help="for the log [asked for]")
def command(why: str) -> None:
    """Give the templates in GALLERY another form; a copy of the old ones is worth nothing then."""
    where = place()
    with where.open() as gallery:
        generation = gallery.revoke(why=why)
    click.echo(f"the templates in {where.path} are of generation {generation} now; older ones match nobody")
