"""restore: write pictures that a model makes larger or cleaner, or whose holes it fills, each as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sightline.cli._opened import GRAPH_HELP
from sightline.cli._opened import opened as open_for
from sightline.cli._pages import write_image

if TYPE_CHECKING:
    from sightline.verbs.restore import Restored

EXAMPLE = """\b
Examples:
  sightline restore model photos/ large/
  sightline restore model photo.jpg large.png
  sightline restore model "scans/*.tif" clean/ --sheet before-after.png
  sightline restore model photos/ large/ --format webp --quality 90 --threads 2
  sightline restore filler photos/ whole/ --mask masks/
  sightline restore filler photo.jpg whole.png --box 120,40,64,64 --box 10,200,30,30
  sightline restore filler street/ empty/ --erase detector --what person --what car --margin 0.2

\b
A restored file has
  the name and the folder of its source below DST (a GIF becomes a PNG);
  the source's format, unless --format or the ending of a single DST asks for another;
  its depth (16 bits stay 16 where the format holds them), its grey or colour, upright and in sRGB;
  no EXIF, place, thumbnail or comment.

A model that fills holes needs to know where they are: --mask, --box, --erase, or several of them. All other pixels stay
as they were. --mask: one picture, or a folder in which each picture of SRC has one of its name, in its size; white is
filled. --box: in pixels of the upright picture. --erase: from the detector's own threshold on.

What a model adds is likely, not known: nothing in it is evidence of what the camera missed.

SRC stays as it is. DST is a new or empty folder, or one that an earlier call wrote.

An interrupted call goes on where it stopped: give it again. Files that are done are not done again, unless they, the
model, --format or --quality have changed."""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", metavar="SRC")
@click.argument("out", metavar="DST", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jpeg", "png", "webp", "tiff", "bmp", "ppm", "jpeg2000", "avif"], case_sensitive=False),
    default=None,
    help="of the new files [that of the source]",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="of JPEG, WebP and AVIF")
@click.option("--mask", type=click.Path(path_type=Path), help="fill what is white in it, or in its pictures [folder]")
@click.option("--box", "boxes", multiple=True, metavar="X,Y,W,H", help="fill this box of every picture; repeatable")
@click.option("--erase", type=click.Path(path_type=Path), help="fill what this detector finds")
@click.option("--what", multiple=True, metavar="CLASS", help="of --erase; repeatable [all that it finds]")
@click.option(
    "--margin", type=click.FloatRange(0, 4), default=0.1, show_default=True, help="enlarge its boxes by this share"
)
@click.option("--sheet", type=click.Path(path_type=Path), help="a .png with up to 8 pictures before and after")
@click.option("--json", "as_json", is_flag=True, help="print counts, notes and bad files as JSON")
@click.option("--overwrite", is_flag=True, help="write though DST or --sheet is there, or DST holds other files")
@click.option("--graph", default="", help=GRAPH_HELP)
@click.option("--threads", type=click.IntRange(1), default=None, help="pictures worked on at once [all cores]")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    source: str,
    out: Path,
    kind: str | None,
    quality: int,
    mask: Path | None,
    boxes: tuple[str, ...],
    erase: Path | None,
    what: tuple[str, ...],
    margin: float,
    sheet: Path | None,
    as_json: bool,
    overwrite: bool,
    graph: str,
    threads: int | None,
) -> None:
    """Write SRC (a picture, a folder or a glob in quotes) to DST as MODEL makes it larger or cleaner, or whole."""
    from sightline.cli._display import watch
    from sightline.core.errors import PARTIAL_EXIT_CODE
    from sightline.verbs.before_after import before_after, check_sheet
    from sightline.verbs.marks import Marks, box_of
    from sightline.verbs.restore import restore

    opened = open_for(model, graph=graph, threads=threads or 0)
    finder = open_for(erase, threads=threads or 0) if erase else None
    places = tuple(map(box_of, boxes))
    ways: dict[str, Any] = {"format": kind or "", "quality": quality, "overwrite": overwrite, "threads": threads}
    ways["marks"] = Marks(mask=mask, boxes=places, erase=finder, what=what, margin=margin)
    if sheet:
        check_sheet(sheet, source, out, overwrite=overwrite)
    try:
        done = watch(restore(opened, source, out, **ways))
    except KeyboardInterrupt:
        click.echo(f"stopped; what is done is in {out}, whole; the same command goes on with the rest", err=True)
        raise
    _tell(done, as_json)
    if sheet and done.pairs:
        drawn = before_after(opened, done)
        if drawn is None:
            click.echo(f"! no sheet: none of the new pictures can be read again, so {sheet} is not written", err=True)
        else:
            write_image(sheet, drawn)
            click.echo(f"before and after in {sheet}", err=True)
    if done.bad:
        ctx.exit(PARTIAL_EXIT_CODE)


def _tell(done: Restored, as_json: bool) -> None:
    """Counts, and what a person should know, on standard output."""
    import json

    told = done.to_dict()
    if as_json:
        click.echo(json.dumps({"out": str(done.out), "skipped": done.skipped, **told}, ensure_ascii=False))
        return
    megas = [told[f"pixels_{when}"] / 1e6 for when in ("before", "after")]
    click.echo(f"{told['pictures']:,} pictures restored, {megas[0]:,.1f} megapixels to {megas[1]:,.1f}")
    notes = list(told["notes"].items())
    for file, texts in notes[:20]:
        click.echo(f"{file}: {'; '.join(texts)}")
    if len(notes) > 20:
        click.echo(f"notes on {len(notes) - 20:,} more are in the report")
    if done.bad:
        click.echo(f"{len(done.bad):,} files left out", err=True)
    if told["pictures"]:
        click.echo(f"written to {done.out}")
