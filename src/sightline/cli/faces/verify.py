"""verify: is the face in a picture that of one person?"""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli._opened import RESTORE_HELP
from sightline.cli.faces._gallery import model_for, place, with_gallery

EXAMPLE = """\b
Example:
  sightline faces verify staff.gallery "Ada L." door.jpg --key-file staff.key

Exit code 0: it is; 1: it is not shown to be."""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.argument("name")
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="model of the task faces [as last time]")
@click.option("--threshold", type=click.FloatRange(-1, 1), help="likeness from which on it is them [as calibrated]")
@click.option("--restore", type=click.Path(path_type=Path), help=RESTORE_HELP)
@click.pass_context
def command(
    ctx: click.Context, name: str, picture: Path, model: Path | None, threshold: float | None, restore: Path | None
) -> None:
    """Say whether the face in PICTURE is NAME's."""
    from sightline.verbs.recognise import verify

    with place().open() as gallery:
        found = verify(model_for(gallery, model, restore=restore), gallery, name, picture, threshold=threshold)
    click.echo(f"{picture}: {found.line()}")
    ctx.exit(0 if found.same else 1)
