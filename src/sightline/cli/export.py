"""export: add another graph to a model, kept only when it is as good as stated and faster here."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  sightline export runs/classify-1/model --to onnx-int8
  sightline export model --to onnx-int8 --data flowers/ --max-drop 1.0 --accept
  sightline export runs/classify-1/model --pack flowers.zip"""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", default="", help="onnx or onnx-int8 [onnx-int8, unless --pack is given]")
@click.option(
    "--pack", type=click.Path(path_type=Path), help="write the bundle once more: a folder, or one file named .zip"
)
@click.option("--data", default=None, help="the training data [that of the run folder MODEL lies in]")
@click.option("--max-drop", default=0.5, show_default=True, help="points of accuracy that int8 may cost")
@click.option("--accept", is_flag=True, help="keep it on the figures shown where too few pictures can decide")
def command(model: Path, to: str, pack: Path | None, data: str | None, max_drop: float, accept: bool) -> None:
    """Write another graph into MODEL, or MODEL into another place."""
    from sightline.cli._display import watch
    from sightline.verbs import export as verb
    from sightline.verbs.opened import open_model

    to = to or ("" if pack else "onnx-int8")
    if to:
        path = watch(verb.export(open_model(model), to=to, data=data, max_drop=max_drop, accept=accept))
        click.echo(f"{to} added to {path}; use it with --graph {to}")
    if pack:
        click.echo(f"bundle written to {verb.pack(open_model(model), pack)}")
