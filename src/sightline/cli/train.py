"""train: learn from labelled pictures; ends with a run folder that holds a measured, calibrated model."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli._settings import SettingsCommand, typed_settings

EXAMPLE = """\b
Examples:
  sightline train classify flowers/
  sightline train classify flowers/ --net resnet:18 --epochs 20 --seed 7 --device cpu --threads 2
  sightline train classify xray/ --group-by 'person(\\d+)' --budget 10m
  sightline train classify parts.csv --net probe            (needs no PyTorch)
  sightline train tag beach.csv --tag-precision 0.95        (several labels a picture, as sand|sea)
  sightline train --resume runs/classify-3
  sightline train classify flowers/ --devices 2             (two processes, on CUDA a device each)
  torchrun --nproc-per-node 2 -m sightline train classify flowers/

\b
DATA is an image folder, a CSV file, an .npz, or shards (.tar, .parquet: one, a folder, a pattern as
train-{000..146}.tar, or URLs of them); `csv:parts/` says which when two fit.
`sightline train classify --net resnet --help` lists every setting of the task and the net."""


class _Train(SettingsCommand):
    """What is resumed brings its task along."""

    of_every_task = ("devices",)


@click.command(cls=_Train, epilog=EXAMPLE)
@click.argument("task", required=False)
@click.argument("data", required=False)
@click.option("--net", default="", metavar="NAME[:VARIANT]", help="what learns: resnet, resnet:18, probe [by task]")
@click.option("--layout", default=None, help="how DATA is laid out [detected]")
@click.option("--out", type=click.Path(path_type=Path), help="run folder [the next runs/TASK-n]")
@click.option("--resume", type=click.Path(path_type=Path), help="go on with this run folder, to the same result")
@click.option("--quiet", is_flag=True, help="print only the result")
@click.pass_context
def command(
    ctx: click.Context,
    task: str | None,
    data: str | None,
    net: str,
    layout: str | None,
    out: Path | None,
    resume: Path | None,
    quiet: bool,
) -> None:
    """Learn TASK from DATA."""
    from sightline.cli._display import show_training
    from sightline.core.events import drain
    from sightline.core.group import launched
    from sightline.verbs.settings import Settings
    from sightline.verbs.train import train

    values = typed_settings(ctx)
    if resume is None and not (task and data):
        raise click.UsageError("give a task and data, as in: sightline train classify flowers/")
    if resume is not None and (task or data or layout or out or net or values.keys() - {"devices"}):
        raise click.UsageError(
            "--resume takes the task, the data and every setting from the run folder; give it alone, or with --devices"
        )
    settings = Settings(task or "", data or "", layout, net, values)
    events = train(settings, out=out, resume=resume)
    if launched().leads:
        show_training(events, quiet=quiet, resume=resume or out)
    else:
        drain(events)
