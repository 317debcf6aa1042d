"""generate: make pictures that were never taken, by class and seed, each marked as synthetic."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli._opened import GRAPH_HELP
from sightline.cli._opened import opened as open_for
from sightline.cli._pages import page_path, write_image

EXAMPLE = """\b
Examples:
  sightline generate model -n 500 --class crack --seed 7 --out synth/
  sightline generate model -n 1000 --out synth/
  sightline generate model --sheet classes -n 8 --out sheet.png
  sightline generate model --sheet walk -n 10 --class crack --out walk.png

\b
A picture follows from the model, its class, the seed and its number alone: the same call gives the same files. An
interrupted call goes on where it stopped: give it again. A larger -n adds to what is there.

\b
DIR becomes a folder for each class (ImageFolder), which sightline train reads. Every file says in its metadata (XMP,
IPTC's DigitalSourceType) that it is synthetic, and DIR/synthetic.json lists all of them with their digests.

Whether such pictures help a recogniser is a question of its own: sightline augment-with answers it."""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-n", "count", type=click.IntRange(1), help="pictures in all [100]; of a sheet, columns [8]")
@click.option("--class", "classes", multiple=True, help="make this class; may be given several times [all]")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="decides every picture")
@click.option(
    "--spread",
    type=click.FloatRange(0, 3),
    default=1.0,
    show_default=True,
    help="of the noise; below 1, likelier pictures that are more alike",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder; of a sheet, a .png")
@click.option(
    "--sheet",
    "kind",
    type=click.Choice(["classes", "walk"]),
    help="one picture of many: each draw as every class, or the way from one draw to the next",
)
@click.option("--json", "as_json", is_flag=True, help="print counts, or where a sheet is, as JSON")
@click.option("--overwrite", is_flag=True, help="write though --out is there, or holds other files")
@click.option("--graph", default="", help=GRAPH_HELP)
@click.option("--threads", type=click.IntRange(1), default=None, help="of the graph [all cores]")
def command(
    model: Path,
    count: int | None,
    classes: tuple[str, ...],
    seed: int,
    spread: float,
    out: Path,
    kind: str | None,
    as_json: bool,
    overwrite: bool,
    graph: str,
    threads: int | None,
) -> None:
    """Make -n pictures with MODEL and write them to --out."""
    import json

    from sightline.cli._display import watch
    from sightline.verbs.generate import generate, sheet

    opened = open_for(model, graph=graph, threads=threads or 0)
    if kind is not None:
        page = page_path(out, overwrite=overwrite)
        count = count or 8
        write_image(page, sheet(opened, count=count, classes=classes, seed=seed, spread=spread, walk=kind == "walk"))
        click.echo(json.dumps({"out": str(page)}, ensure_ascii=False) if as_json else f"written to {page}")
        return
    asked = generate(opened, out, count=count or 100, classes=classes, seed=seed, spread=spread, overwrite=overwrite)
    try:
        done = watch(asked, quiet=as_json)
    except KeyboardInterrupt:
        click.echo(f"stopped; what is made is in {out}, whole; the same command goes on with the rest", err=True)
        raise
    told = done.to_dict()
    if as_json:
        click.echo(json.dumps({"out": str(out), "skipped": done.skipped, **told}, ensure_ascii=False))
        return
    several = f" of {len(told['classes']):,} classes" if len(told["classes"]) > 1 else ""
    click.echo(f"{told['pictures']:,} synthetic pictures{several} in {out}")
