"""anonymise: veil the faces, or whatever else a model finds, in pictures and videos, and leave no metadata in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sightline.cli._opened import GRAPH_HELP
from sightline.cli._opened import opened as open_for

if TYPE_CHECKING:
    from sightline.verbs.anonymise import Anonymised

EXAMPLE = """\b
Examples:
  sightline anonymise photos/ public/ --model yunet
  sightline anonymise party.jpg party-anonymous.jpg --model yunet --style replace
  sightline anonymise "clips/*.mp4" public/ --model yunet --drop-audio
  sightline anonymise street/ public/ --model fastestdet --classes person,car --shape box --style black
  sightline anonymise labelled/ veiled/ --model yunet --annotated

No model finds every face: look at what comes out, above all at the files in which nothing was found. Run it with
--annotated on data of your own kind to learn how many it misses. `black` and `replace` keep nothing of a face; `blur`
and `pixelate` keep a few blocks, by which somebody who has a list of candidates may still tell them apart.

An interrupted call goes on where it stopped: give it again. Nothing is sent anywhere."""


@click.command(epilog=EXAMPLE)
@click.argument("source", metavar="SRC")
@click.argument("out", metavar="DST", type=click.Path(path_type=Path))
@click.option("--model", required=True, type=click.Path(path_type=Path), help="a bundle whose answers are boxes")
@click.option(
    "--style",
    type=click.Choice(["blur", "pixelate", "fill", "black", "replace"]),
    default="blur",
    show_default=True,
    help="fill: the mean colour; replace: a drawn face",
)
@click.option("--shape", type=click.Choice(["ellipse", "box"]), default="ellipse", show_default=True)
@click.option(
    "--grow", type=click.FloatRange(0, 4), default=0.45, show_default=True, help="enlarge boxes by this share"
)
@click.option(
    "--score", type=click.FloatRange(0, 1), default=None, help="veil from this score on [half of the model's]"
)
@click.option("--classes", default="", help="names with commas between [all that the model finds]")
@click.option("--closer/--no-closer", default=True, help="look at parts of large pictures as well [yes]")
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="of JPEG, WebP and AVIF")
@click.option("--crf", type=click.IntRange(0, 51), default=20, show_default=True, help="of video; 0 is without loss")
@click.option("--drop-audio", is_flag=True, help="leave out the sound, in which voices can be known")
@click.option("--number", is_flag=True, help="call files 000001.jpg ..., since a name may be somebody's")
@click.option("--annotated", is_flag=True, help="SRC is a data set with boxes: measure how many are missed")
@click.option("--layout", default=None, help="how that data set is laid out [found by looking]")
@click.option("--overwrite", is_flag=True, help="write though DST is there, or holds other files")
@click.option("--graph", default="", help=GRAPH_HELP)
@click.option("--threads", type=click.IntRange(1), default=None, help="cores at work [all]")
@click.pass_context
def command(
    ctx: click.Context,
    source: str,
    out: Path,
    model: Path,
    style: str,
    shape: str,
    grow: float,
    score: float | None,
    classes: str,
    closer: bool,
    quality: int,
    crf: int,
    drop_audio: bool,
    number: bool,
    annotated: bool,
    layout: str | None,
    overwrite: bool,
    graph: str,
    threads: int | None,
) -> None:
    """Write SRC (a file, a folder or a glob in quotes) to DST with what MODEL finds veiled, without any metadata."""
    from sightline.cli._display import watch
    from sightline.core.errors import PARTIAL_EXIT_CODE
    from sightline.draw.veil import Veil
    from sightline.verbs.anonymise import anonymise
    from sightline.verbs.veiling import Wish

    names = tuple(filter(None, map(str.strip, classes.split(","))))
    wish = Wish(
        veil=Veil(style=style, shape=shape, grow=grow),
        score=score,
        classes=names,
        closer=closer,
        quality=quality,
        crf=crf,
        drop_audio=drop_audio,
    )
    asked: dict[str, Any] = {"annotated": annotated, "layout": layout, "number": number, "overwrite": overwrite}
    opened = open_for(model, graph=graph, threads=threads or 0)
    try:
        done = watch(anonymise(opened, source, out, wish=wish, threads=threads, **asked))
    except KeyboardInterrupt:
        click.echo(f"stopped; what is done is in {out}, whole; the same command goes on with the rest", err=True)
        raise
    _tell(done)
    if done.bad:
        ctx.exit(PARTIAL_EXIT_CODE)


def _tell(done: Anonymised) -> None:
    """Counts, what a person should look at, and miss rates, on standard output."""
    told = done.to_dict()
    if told["pictures"]:
        click.echo(f"{told['boxes']:,} boxes veiled in {told['pictures']:,} pictures")
    if told["videos"]:
        click.echo(f"{told['tracks']:,} tracks veiled in {told['videos']:,} videos of {told['frames']:,} frames")
    for key, unit in (("smallest_box", " px"), ("least_sure_box", "")):
        if told[key]:
            value = next(value for name, value in told[key].items() if name != "file")
            click.echo(f"{key.replace('_', ' ')}: {value:g}{unit}, in {told[key]['file']}")
    empty = told["nothing_found"]
    if empty:
        more = f" and {len(empty) - 10:,} more" if len(empty) > 10 else ""
        click.echo(f"nothing found in {len(empty):,}, look at them: {', '.join(empty[:10])}{more}")
    for file, notes in list(told["notes"].items())[:20]:
        click.echo(f"{file}: {'; '.join(notes)}")
    for name, measure in done.missed.items():
        click.echo(f"missed, {name}: {measure} of {measure.n:,} annotated boxes")
    if done.bad:
        click.echo(f"{len(done.bad):,} files left out", err=True)
    click.echo(f"written to {done.out}")
