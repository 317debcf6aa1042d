"""predict: answers for pictures, streamed to the terminal, or to JSON Lines, CSV or Parquet that a kill cannot lose."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from sightline.cli._opened import GRAPH_HELP, RESTORE_HELP
from sightline.cli._opened import opened as open_for

EXAMPLE = """\b
Examples:
  sightline predict model photo.jpg
  sightline predict model photos/ "more/*.png" --out preds.csv
  sightline predict model photos/ --draw drawn/
  sightline predict model thumbnails/ --restore runs/restore-1/model
  find . -name '*.jpg' | sightline predict model - --json

An interrupted --out goes on where it stopped: give the same command again."""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, metavar="PATHS|GLOBS|FOLDERS|-")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
@click.option("--out", type=click.Path(path_type=Path), help="write to a .jsonl, .csv or .parquet file instead")
@click.option("--graph", default="", help=GRAPH_HELP)
@click.option("--restore", type=click.Path(path_type=Path), help=RESTORE_HELP)
@click.option("--threads", type=click.IntRange(1), default=None, help="pictures worked on at once [all cores]")
@click.option("--batch", type=click.IntRange(1), default=None, help="most pictures in one run of the graph [measured]")
@click.option("--draw", type=click.Path(path_type=Path), help="folder for the pictures with the answers drawn on them")
@click.option("--overwrite", is_flag=True, help="replace --out, and what --draw would write, if it is there")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    paths: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    graph: str,
    restore: Path | None,
    threads: int | None,
    batch: int | None,
    draw: Path | None,
    overwrite: bool,
) -> None:
    """Answer for each picture with MODEL."""
    from sightline.core.errors import PARTIAL_EXIT_CODE
    from sightline.verbs.sources import expand

    if draw:
        _check_drawings(draw, out, overwrite)
    opened = open_for(model, graph=graph, threads=threads or 0, restore=restore)
    opened.offers("predict")
    drawings = _drawings(draw, opened.task) if draw else None
    sources = expand(paths) if "-" in paths else list(expand(paths))
    if sources == []:
        raise click.UsageError("no picture in what was given")
    pace = {"batch": batch, "threads": threads}
    if out is None:
        total, bad = _say(opened, sources, as_json, pace, drawings)
    else:
        try:
            total, bad = _fill(opened, sources, out, paths, overwrite, pace, drawings)
        except KeyboardInterrupt:
            _tell_how_to_go_on(ctx, out)
            raise
        click.echo(f"{total - bad:,} answers in {out}" + (f", {bad:,} files left out" if bad else ""), err=True)
    if drawings:
        click.echo(f"{drawings.count:,} pictures drawn in {draw}", err=True)
    if bad:
        ctx.exit(PARTIAL_EXIT_CODE)


def _check_drawings(folder: Path, out: Path | None, overwrite: bool) -> None:
    """Raise UsageError for a folder with something else in it."""
    from sightline.verbs.drawings import check_folder
    from sightline.verbs.tables import part_of

    check_folder(folder, going_on=overwrite or (out is not None and part_of(out).exists()))


def _drawings(folder: Path, task: Any) -> Any:
    """Where answers are drawn."""
    from sightline.verbs.drawings import Drawings

    return Drawings(folder, task)


def _drawn(answers: Iterable[Any], drawings: Any) -> Iterator[Any]:
    """The same answers, each drawn where that is wished before it is handed on."""
    from sightline.core.errors import PictureError

    for answer in answers:
        try:
            if drawings is not None:
                drawings.write(answer)
        except PictureError as error:  # the file is not any more what it was a moment ago
            click.echo(f"not drawn: {error}", err=True)
        yield answer


def _say(opened: Any, sources: Iterable[str], as_json: bool, pace: dict[str, Any], drawings: Any) -> tuple[int, int]:
    """Answers to standard output, each as it comes; how many, and how many of them are errors."""
    import json

    from sightline.verbs.predict import predict

    total = bad = 0
    for answer in _drawn(predict(opened, sources, **pace), drawings):
        total, bad = total + 1, bad + (answer.error is not None)
        if as_json:
            sys.stdout.write(json.dumps(answer.to_dict(), ensure_ascii=False) + "\n")
        elif answer.result is not None:
            sys.stdout.write(f"{answer.source}\t{answer.result.line()}\n")
        sys.stdout.flush()
        if answer.error is not None:
            click.echo(f"left out {answer.source}: {answer.error}", err=True)
    if total == 0:
        raise click.UsageError("no picture in what was given")
    return total, bad


def _fill(
    opened: Any,
    sources: Iterable[str],
    out: Path,
    paths: tuple[str, ...],
    overwrite: bool,
    pace: dict[str, Any],
    drawings: Any,
) -> tuple[int, int]:
    """Answers to a table, going on with an unfinished one; how many it holds, and how many of them are errors."""
    from sightline.cli._display import Display
    from sightline.core.events import Note, Progress
    from sightline.verbs.predict import predict
    from sightline.verbs.sources import check_same, fingerprint, without
    from sightline.verbs.tables import table_writer

    asked = {"model": opened.bundle.digest, "graph": opened.variant, "pictures": fingerprint(paths)}
    asked |= {"restore": opened.before.bundle.digest} if opened.before else {}
    with Display() as display, table_writer(out, asked, overwrite=overwrite) as journal:
        before = journal.count
        if before:
            told = f"going on with {journal.path}, which holds {before:,} answers (delete it to begin anew)"
            display.show(Note(text=told))
            if drawings is not None:
                if not drawings.folder.exists():
                    display.show(Note(text=f"those are not drawn in {drawings.folder}"))
                drawings.keep(row["path"] for row in journal.rows() if row.get("error") is None)
        if before and "-" in paths:  # it may be another list than before, which must not be mixed in
            sources = list(sources)
            check_same(journal.path, journal.done, sources)
        left = without(sources, journal.done)
        total = before + len(left) if isinstance(left, list) else 0
        for answer in _drawn(predict(opened, left, **pace, listen=display.show), drawings):
            journal.write(answer.to_dict())
            if answer.error is not None:
                display.show(Note(text=f"left out {answer.source}: {answer.error}"))
            display.show(Progress(what="pictures answered", done=journal.count, total=total))
        if journal.count == 0:
            raise click.UsageError("no picture in what was given")
        return journal.count, journal.bad


def _tell_how_to_go_on(ctx: click.Context, out: Path) -> None:
    """Where the answers are, and the command that goes on with them."""
    import shlex

    from sightline.verbs.tables import part_of

    if part_of(out).exists():
        given = [*map(str, ctx.params["paths"]), "--out", str(out)]
        given += ["--graph", ctx.params["graph"]] if ctx.params["graph"] else []
        given += ["--restore", str(ctx.params["restore"])] if ctx.params["restore"] else []
        given += ["--draw", str(ctx.params["draw"])] if ctx.params["draw"] else []
        given += ["--overwrite"] if ctx.params["overwrite"] else []
        command = shlex.join(["sightline", "predict", str(ctx.params["model"]), *given])
        command = command if len(command) < 1000 else "the same command"
        click.echo(f"stopped; the answers so far are in {part_of(out)}; go on with: {command}", err=True)
