"""identify: who is in pictures, among those who are enrolled?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from sightline.cli._opened import RESTORE_HELP
from sightline.cli.faces._gallery import model_for, place, with_gallery

EXAMPLE = """\b
Examples:
  sightline faces identify staff.gallery door.jpg --key-file staff.key
  sightline faces identify staff.gallery photos/ --key-file staff.key --json
  sightline faces identify staff.gallery photos/ --key-file staff.key --draw named/
  sightline faces identify staff.gallery door.jpg --key-file staff.key --collection guests"""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURES|GLOBS|FOLDERS|-")
@click.option("--model", type=click.Path(path_type=Path), help="model of the task faces [as last time]")
@click.option(
    "--threshold", type=click.FloatRange(-1, 1), help="likeness from which on faces are named [as calibrated]"
)
@click.option("--restore", type=click.Path(path_type=Path), help=RESTORE_HELP)
@click.option("--collection", default="", help="only those of this group; all others are unknown")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
@click.option("--draw", type=click.Path(path_type=Path), help="folder for the pictures with names drawn on them")
@click.pass_context
def command(
    ctx: click.Context,
    pictures: tuple[str, ...],
    model: Path | None,
    threshold: float | None,
    restore: Path | None,
    collection: str,
    as_json: bool,
    draw: Path | None,
) -> None:
    """Name the faces in PICTURES."""
    from sightline.core.errors import PARTIAL_EXIT_CODE
    from sightline.verbs.drawings import Drawings, check_folder
    from sightline.verbs.recognise import identify
    from sightline.verbs.sources import expand

    sources = list(expand(pictures))
    if draw:
        check_folder(draw, going_on=False)
    bad = 0
    with place().open() as gallery:
        opened = model_for(gallery, model, restore=restore)
        drawings = Drawings(draw, opened.task) if draw else None
        for answer in identify(opened, gallery, sources, threshold=threshold, collection=collection):
            bad += answer.error is not None
            if as_json:
                click.echo(json.dumps(answer.to_dict(), ensure_ascii=False))
            elif answer.result is not None:
                click.echo(f"{answer.source}\t{answer.result.line()}")
            if answer.error is not None:
                click.echo(f"left out {answer.source}: {answer.error}", err=True)
            if drawings:
                drawings.write(answer)
    if bad:
        ctx.exit(PARTIAL_EXIT_CODE)
