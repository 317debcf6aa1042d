"""enroll: remember people by pictures of theirs, with what they agreed to."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sightline.cli.faces._gallery import Place, model_for, place, with_gallery

if TYPE_CHECKING:
    from sightline.gallery.store import Gallery
    from sightline.verbs.opened import Opened

EXAMPLE = """\b
Examples:
  sightline faces enroll staff.gallery people/ --model who --key-file staff.key \\
      --consent-by "signed form" --purpose "door" --until 2027-12-31
  sightline faces enroll staff.gallery ada1.jpg ada2.jpg --name "Ada L." --key-file staff.key \\
      --consent-by "Ada L." --purpose "door" --until 2027-12-31

people/ has a folder for each person, named as they are. The gallery and its key are made where there is none. After an
interruption the same command goes on: who is there already is passed over, unless --more."""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.argument("pictures", nargs=-1, required=True, metavar="PEOPLE/ | PICTURES...")
@click.option("--model", type=click.Path(path_type=Path), help="model of the task faces [as last time]")
@click.option("--name", default="", help="whose the pictures are; else each folder in PEOPLE/ is a person")
@click.option("--consent-by", required=True, help="who agreed: the person, or who may speak for them")
@click.option("--purpose", required=True, help="to what they agreed")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), required=True, help="last day of the consent")
@click.option("--collection", default="", help="a group that they belong to")
@click.option("--crops", is_flag=True, help="also keep the faces themselves, sealed, for another model some day")
@click.option("--poor", is_flag=True, help="also take faces that are hardly fit to be recognised")
@click.option("--more", is_flag=True, help="add pictures of people who are there already")
@click.option("--again", is_flag=True, help="also those who were erased, since they ask for it")
@click.pass_context
def command(
    ctx: click.Context,
    pictures: tuple[str, ...],
    model: Path | None,
    name: str,
    consent_by: str,
    purpose: str,
    until: datetime,
    collection: str,
    crops: bool,
    poor: bool,
    more: bool,
    again: bool,
) -> None:
    """Enrol people into GALLERY."""
    from sightline.cli._display import watch
    from sightline.core.errors import PARTIAL_EXIT_CODE
    from sightline.gallery.people import Consent, utc_day
    from sightline.verbs.enrol import Terms, check_names, enrol
    from sightline.verbs.sources import expand

    where = place()
    people = {name: list(expand(pictures))} if name else _by_folder(pictures)
    consent = Consent(by=consent_by, purpose=purpose, given=utc_day(), until=until.date())
    terms = Terms(consent=consent, collection=collection, crops=crops, poor=poor, more=more, again=again)
    check_names(people, consent)
    gallery, opened = _gallery(where, model)
    with gallery:
        found = watch(enrol(opened, gallery, people, terms))
    count = sum(found.samples.values())
    click.echo(f"{len(found.samples):,} people enrolled by {count:,} pictures in {where.path}")
    if found.there:
        click.echo(f"{len(found.there):,} were there already (--more adds pictures)", err=True)
    if found.refused:
        click.echo(f"{len(found.refused):,} pictures were left out", err=True)
        ctx.exit(PARTIAL_EXIT_CODE)


def _by_folder(pictures: tuple[str, ...]) -> dict[str, list[str]]:
    """Pictures by person."""
    from sightline.verbs.enrol import people_in

    if len(pictures) != 1 or not Path(pictures[0]).is_dir():
        raise click.UsageError("give one folder with a folder for each person, or --name and pictures of one")
    return people_in(Path(pictures[0]))


def _gallery(where: Place, model: Path | None) -> tuple[Gallery, Opened]:
    """The gallery, made where there is none, and the model that describes faces."""
    from sightline.cli._opened import opened as open_for
    from sightline.core.errors import UsageError

    if where.path.exists():
        gallery = where.open()
        return gallery, model_for(gallery, model)
    if model is None:
        raise click.UsageError(f"{where.path} is new; say which model describes the faces: --model MODEL")
    opened = open_for(model)
    try:
        return where.create(opened), opened
    except UsageError:
        if not where.path.exists():
            raise
        return where.open(), opened  # another process was first
