"""augment-with: does a recogniser gain by made pictures? Measured on real ones, with the share that helps, if any."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli._opened import opened as open_for

EXAMPLE = """\b
Examples:
  sightline augment-with runs/generate-1/model flowers/ --out gain/
  sightline augment-with model flowers/ --out gain/ --shares 1,4 --seeds 10 --steps 1000
  sightline augment-with model parts.csv --out gain/ --net resnet:18 --threads 2

\b
MODEL is of the task generate, learnt from DATA in these very splits, so that DATA's validation pictures are new to it.
Recognisers learn from DATA's training pictures alone, and with --shares of made ones for each, all for as many steps.
One half of the validation pictures chooses the share; what is claimed is measured on the other. Test is not touched.

\b
An interrupted call goes on where it stopped: give it again. More --seeds or --shares add to what is there.
DIR then holds augment.json, gain.png and, if the advice is to use them, DIR/augmented for sightline train."""


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(each) for each in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of shares; write it as 0.5,1,2", ctx, param) from None


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="folder for all of it")
@click.option(
    "--shares",
    callback=_numbers,
    default="0.5,1,2",
    show_default=True,
    metavar="X,X",
    help="made pictures for each real one",
)
@click.option(
    "--seeds", type=click.IntRange(2, 100), default=5, show_default=True, help="recognisers of each share; better 5"
)
@click.option("--net", default="", metavar="NAME[:VARIANT]", help="of the recognisers [as classify chooses]")
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True, help="of each recogniser")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="the first one")
@click.option(
    "--spread", type=click.FloatRange(0, 3), default=1.0, show_default=True, help="of the noise of made pictures"
)
@click.option("--layout", default=None, help="how DATA is laid out [detected]")
@click.option("--threads", type=click.IntRange(1), default=None, help="of learning and judging [all cores]")
@click.option("--force", is_flag=True, help="go on though MODEL may have seen the validation pictures; it is recorded")
@click.option("--json", "as_json", is_flag=True, help="print the advice and its figures as JSON")
def command(
    model: Path,
    data: str,
    out: Path,
    shares: tuple[float, ...],
    seeds: int,
    net: str,
    steps: int,
    seed: int,
    spread: float,
    layout: str | None,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure whether pictures made by MODEL help to classify DATA, and advise."""
    import json

    from sightline.cli._display import table, watch
    from sightline.verbs.augment_with import augment_with

    opened = open_for(model, threads=threads or 0)
    asked = augment_with(
        opened,
        data,
        out=out,
        layout=layout,
        shares=shares,
        seeds=seeds,
        net=net,
        steps=steps,
        seed=seed,
        spread=spread,
        threads=threads,
        force=force,
    )
    try:
        done = watch(asked, quiet=as_json)
    except KeyboardInterrupt:
        click.echo(f"stopped; what is done is in {out}; the same command goes on with the rest", err=True)
        raise
    if as_json:
        click.echo(json.dumps({"out": str(out), **done.to_dict()}, ensure_ascii=False))
        return
    table(done.rows(), ["made for each real", "learnt from", "right", "gain where it was chosen"])
    click.echo(done.advice.sentence())
    for caution in done.cautions:
        click.echo(f"caution: {caution}")
    if done.augmented:
        click.echo(f"go on with: {done.command()}")
    click.echo(f"all of it in {out}")
