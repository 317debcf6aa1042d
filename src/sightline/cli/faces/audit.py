"""audit: is a gallery whole, what was done with it, and what is left of somebody who was erased?"""

from __future__ import annotations

import click

from sightline.cli.faces._gallery import place, with_gallery

EXAMPLE = """\b
Examples:
  sightline faces audit staff.gallery --key-file staff.key
  sightline faces audit staff.gallery --key-file staff.key --erased "Ada L."
  sightline faces audit staff.gallery --key-file staff.key --log

People stand in the log under pseudonyms, which their keys make; nobody can say whose it was once they are erased."""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.option(
    "--erased", default="", metavar="NAME", help="show what was removed of somebody, and that nothing is left"
)
@click.option("--log", "show_log", is_flag=True, help="print every entry")
def command(erased: str, show_log: bool) -> None:
    """Open every record of GALLERY and follow its log from end to end."""
    where = place()
    with where.open() as gallery:
        count = gallery.check()
        gallery.used("audit", details={"log": show_log, "erased": bool(erased)})
        if show_log:
            for entry in gallery.entries():
                told = ", ".join(f"{name} {value}" for name, value in entry.details.items())
                click.echo(f"{entry.number}\t{entry.when}\t{entry.event}\t{told}")
        people = sum(1 for _ in gallery.people())
        click.echo(f"{where.path} is whole: {people:,} people, {count:,} entries in the log, chained to its anchor")
        if erased:
            _tell_erased(gallery, erased)


def _tell_erased(gallery: object, name: str) -> None:
    """What the log says of an erasure."""
    from sightline.gallery.store import Gallery

    assert isinstance(gallery, Gallery)
    entry, there = gallery.erased(name), gallery.find(name)
    if entry is None:
        raise click.UsageError(
            f"nobody called {name!r} was erased from this gallery" + (", and they are in it" if there else "")
        )
    removed = entry.details
    click.echo(
        f"{name} was erased on {entry.when} ({removed['why']}): {removed['samples']} templates, {removed['crops']} "
        "pictures, and the key that opened them. Every record that is left opens by the key of somebody who is listed."
    )
    if there:
        click.echo(f"! {name} was enrolled again since", err=True)
