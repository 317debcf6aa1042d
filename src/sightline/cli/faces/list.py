"""list: who is in a gallery, and until when they agreed to it."""

from __future__ import annotations

import click

from sightline.cli.faces._gallery import place, with_gallery

EXAMPLE = """\b
Examples:
  sightline faces list staff.gallery --key-file staff.key
  sightline faces list staff.gallery --key-file staff.key --collection guests"""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.option("--collection", default="", help="only those of this group")
def command(collection: str) -> None:
    """List who is in GALLERY."""
    from sightline.cli._display import table
    from sightline.gallery.people import utc_day

    today = utc_day()
    with place().open() as gallery:
        people = gallery.members(collection)
        gallery.used("list", people)
    rows = []
    for person in people:
        consent = person.consent
        state = "" if consent.given <= today <= consent.until else "no longer compared: consent ended"
        rows.append((person.name, person.collection, person.samples, consent.by, consent.purpose, consent.until, state))
    table(rows, ("name", "collection", "pictures", "consent by", "for", "until", ""))
    if any(row[-1] for row in rows):
        click.echo("sightline faces purge erases those whose consent ended", err=True)
