"""predict: answers for pictures, streamed to the terminal, JSON Lines or CSV."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from sightline.cli._opened import GRAPH_HELP
from sightline.cli._opened import opened as open_for

EXAMPLE = """\b
Examples:
  sightline predict model photo.jpg
  sightline predict model photos/ "more/*.png" --out preds.csv
  find . -name '*.jpg' | sightline predict model - --json"""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, metavar="PATHS|GLOBS|FOLDERS|-")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
@click.option("--out", type=click.Path(path_type=Path), help="write to a .jsonl or .csv file instead")
@click.option("--graph", default="", help=GRAPH_HELP)
@click.option("--threads", type=click.IntRange(1), default=None, help="decoding threads and graph threads [all cores]")
@click.option("--overwrite", is_flag=True, help="replace --out if it is there")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    paths: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    graph: str,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Answer for each picture with MODEL."""
    from sightline.core.errors import PARTIAL_EXIT_CODE
    from sightline.verbs.predict import predict
    from sightline.verbs.sources import expand

    opened = open_for(model, graph=graph, threads=threads or 0)
    bad = total = 0
    with _writer(out, as_json, overwrite) as write, _counter(out) as count:
        for answer in predict(opened, expand(paths), threads=threads):
            write(answer)
            total, bad = total + 1, bad + (answer.error is not None)
            count(total)
            if answer.error is not None:
                click.echo(f"left out {answer.source}: {answer.error}", err=True)
    if total == 0:
        raise click.UsageError("no picture in what was given")
    if out is not None:
        click.echo(f"{total - bad} answers in {out}" + (f", {bad} files left out" if bad else ""), err=True)
    if bad:
        ctx.exit(PARTIAL_EXIT_CODE)


@contextmanager
def _counter(out: Path | None) -> Iterator[Callable[[int], None]]:
    """Shows how many are done while answers go to a file; on the terminal the answers themselves show it."""
    if out is None:
        yield lambda done: None
        return
    from sightline.cli._display import Display
    from sightline.core.events import Progress

    with Display() as display:
        yield lambda done: display.show(Progress(what="pictures answered", done=done, total=0))


@contextmanager
def _writer(out: Path | None, as_json: bool, overwrite: bool) -> Iterator[Callable[[Any], None]]:
    """Where answers go, one at a time."""
    from sightline.verbs.tables import table_writer

    if out is not None:
        with table_writer(out, overwrite=overwrite) as write:
            yield lambda answer: write(answer.to_dict())
        return
    import json

    def say(answer: Any) -> None:
        if as_json:
            sys.stdout.write(json.dumps(answer.to_dict(), ensure_ascii=False) + "\n")
        elif answer.result is not None:
            sys.stdout.write(f"{answer.source}\t{answer.result.line()}\n")
        sys.stdout.flush()

    yield say
