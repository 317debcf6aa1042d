"""erase: forget people for good: their keys, templates and pictures."""

from __future__ import annotations

import click

from sightline.cli.faces._gallery import place, with_gallery

EXAMPLE = """\b
Example:
  sightline faces erase staff.gallery "Ada L." --key-file staff.key

What is left is a keyed hash of the name, which keeps them from being enrolled under it by accident. It knows no face:
under another name they could be enrolled again. Copies of the file made before still hold them; see to those."""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--why", default="asked for", help="for the log [asked for]")
@click.option("--yes", is_flag=True, help="do not ask")
def command(names: tuple[str, ...], why: str, yes: bool) -> None:
    """Erase people from GALLERY."""
    from sightline.gallery.sealing import plain_name

    where = place()
    with where.open() as gallery:
        missing = [name for name in names if gallery.find(name) is None]
        if missing:
            raise click.UsageError(f"nobody called {missing[0]!r} is in {where.path}; nobody was erased")
        if not yes:
            click.confirm(f"erase {', '.join(names)} for good?", abort=True, err=True)
        for name in {plain_name(name): name for name in names}.values():
            gone = gallery.erase(name, why=why)
            click.echo(f"{name} is erased: {gone.samples} templates, {gone.crops} pictures, and the key to them")
