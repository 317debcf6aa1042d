"""crop: cut the faces out of pictures, brought into line, to learn an embedder from."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Example:
  sightline faces crop who people/ aligned/
  sightline train faces aligned/

Folders stay as they are; of each picture the largest face is taken."""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", metavar="DST", type=click.Path(path_type=Path))
@click.pass_context
def command(ctx: click.Context, model: Path, source: Path, out: Path) -> None:
    """Write the aligned face of each picture in SRC to DST."""
    from sightline.cli._display import watch
    from sightline.cli._opened import opened
    from sightline.core.errors import PARTIAL_EXIT_CODE
    from sightline.verbs.handing import crop

    count, bad = watch(crop(opened(model), source, out))
    click.echo(f"{count:,} faces in {out}" + (f", {bad:,} pictures left out" if bad else ""))
    if bad:
        ctx.exit(PARTIAL_EXIT_CODE)
