"""group: sort the faces of a photo library by person, and remember what was corrected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sightline.cli.faces._gallery import place_of, with_key

EXAMPLE = """\b
Examples:
  sightline faces group photos/ --model who --library family.faces --key-file family.key --out people/
  sightline faces group photos/ ... --name "person 3=Ada" --name "person 5=Ben"
  sightline faces group photos/ ... --corrections people/groups.csv

people/people.jpg shows some faces of each person, people/groups.csv has a line for each face. What you change in its
column person is remembered, as names are: another person's name; - for a face to be passed over; nothing for one that
is not this person, whoever it is. "person 3=-" passes over all faces of somebody. Give the same command again when
there are new photos, or after an interruption: only what is new is looked at."""


@click.command(epilog=EXAMPLE)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", type=click.Path(path_type=Path), required=True, help="model of the task faces")
@click.option("--library", type=click.Path(path_type=Path), required=True, help="file that remembers, sealed")
@with_key
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder for groups.csv and people.jpg")
@click.option("--likeness", type=click.FloatRange(-1, 1), help="of faces that may be one person's [by group photos]")
@click.option("--name", "names", multiple=True, metavar="PERSON=NAME", help="who a person is, as 'person 3=Ada'")
@click.option("--corrections", type=click.Path(path_type=Path), help="a groups.csv in which you changed persons")
def command(
    folder: Path,
    model: Path,
    library: Path,
    out: Path,
    likeness: float | None,
    names: tuple[str, ...],
    corrections: Path | None,
) -> None:
    """Group the faces in the pictures under FOLDER by person."""
    from sightline.cli._display import watch
    from sightline.cli._opened import opened
    from sightline.gallery.library import kind_of_library
    from sightline.verbs.group import group

    pairs = [_pair(each) for each in names]
    named = dict(pairs)
    if len(named) < len(pairs):
        raise click.UsageError("--name gives one person two names")
    source = place_of(library).source(new=not library.exists(), kind=kind_of_library(library))
    ways: dict[str, Any] = {"out": out, "threshold": likeness, "corrections": corrections, "named": named}
    found = watch(group(opened(model), folder, library, source, **ways))
    people = found.people
    alone = sum(not name for name in found.names)
    click.echo(f"{len(found.names):,} faces: {len(people):,} people, {alone:,} faces alone; {found.new:,} pictures new")
    for name, count in people.most_common(10):
        click.echo(f"  {name}: {count:,}")


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old.strip() or not new.strip():
        raise click.UsageError(f"--name is as 'person 3=Ada', not {text!r}")
    return old.strip(), new.strip()
