"""evaluate: measure a model on labelled pictures, with intervals, its worst mistakes and a report."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli._opened import GRAPH_HELP, RESTORE_HELP
from sightline.cli._opened import opened as open_for

EXAMPLE = """\b
Examples:
  sightline evaluate runs/classify-1/model flowers/
  sightline evaluate model.zip other/ --split validation --out judged/
  sightline evaluate runs/generate-1/model digits/ --by runs/classify-1/model
  sightline evaluate runs/restore-1/model pairs/LR --by mobilenet-v2-int8
  sightline evaluate model thumbnails/ --restore runs/restore-1/model"""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--split", default="", help="which part: test, validation, train, all [test where there is one]")
@click.option("--layout", default=None, help="how DATA is laid out [detected]")
@click.option("--graph", default="", help=GRAPH_HELP)
@click.option("--restore", type=click.Path(path_type=Path), help=RESTORE_HELP)
@click.option(
    "--by",
    default="",
    help="of made or restored pictures: what judges them too, an encoder by its file, bundle or name in the weights "
    "ledger, or filters",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="folder for metrics.json, predictions.csv, pictures, report"
)
@click.option(
    "--max-bad",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="largest share of unreadable pictures allowed",
)
@click.option("--json", "as_json", is_flag=True, help="print the measures as JSON")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    data: str,
    split: str,
    layout: str | None,
    graph: str,
    restore: Path | None,
    by: str,
    out: Path | None,
    max_bad: float,
    as_json: bool,
) -> None:
    """Judge MODEL on DATA."""
    import json

    from sightline.cli._display import watch
    from sightline.core.errors import PARTIAL_EXIT_CODE, UsageError
    from sightline.core.storage import occupied
    from sightline.verbs.evaluate import evaluate
    from sightline.verbs.finish import write_evaluation

    if out is not None and occupied(out):
        raise UsageError(f"{out} exists and is not empty; give another --out")
    opened = open_for(model, graph=graph, restore=restore)
    found = watch(evaluate(opened, data, layout=layout, split=split, max_bad=max_bad, by=by), quiet=as_json)
    click.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))
    for path, reason in found.left_out:
        click.echo(f"left out {path}: {reason}", err=True)
    if out is not None:
        watch(write_evaluation(out, opened, found), quiet=as_json)
        click.echo(f"report {out / 'report.html'}", err=True)
    if found.left_out:
        ctx.exit(PARTIAL_EXIT_CODE)
