"""export: add other graphs to a model, each kept only when it is as good as stated and faster here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sightline.verbs.best import Limits
    from sightline.verbs.opened import Opened

EXAMPLE = """\b
--best measures all graphs side by side on this machine: those in MODEL, and those of every other format, which it
makes where they pass their gates (float32 must agree, the rest may cost --max-drop; all must be faster than onnx). The
fastest within the limits is recorded in MODEL; predict, evaluate, explain and restore then run it, where it can run.

\b
Examples:
  sightline export runs/classify-1/model --to openvino-int8
  sightline export model --to onnx-int8 --data flowers/ --max-drop 1.0 --accept
  sightline export model --best --max-drop 0.5 --max-latency 20ms --max-size 8MB
  sightline export runs/classify-1/model --pack flowers.zip
  sightline export runs/detect-1/model --standalone detector.onnx   (decoding and suppression inside)"""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--to",
    default="",
    help="onnx, onnx-int8, openvino, openvino-bf16, openvino-int8 [onnx-int8, where no other option is given]",
)
@click.option("--best", is_flag=True, help="measure every graph on this machine and record the best")
@click.option(
    "--pack", type=click.Path(path_type=Path), help="write the bundle once more: a folder, or one file named .zip"
)
@click.option(
    "--standalone", type=click.Path(path_type=Path), help="write one .onnx that answers by itself, for other runtimes"
)
@click.option("--data", default=None, help="the training data [that of the run folder MODEL lies in]")
@click.option(
    "--max-drop",
    type=float,
    default=None,
    help="what bfloat16 or int8 may cost: points of accuracy [0.5], of restored pictures dB [0.1]",
)
@click.option("--max-latency", default="", help="for --best: most time for one picture, as 20ms [no limit]")
@click.option("--max-size", default="", help="for --best: largest file of the graph, as 8MB [no limit]")
@click.option("--accept", is_flag=True, help="keep it on the figures shown where too few pictures can decide")
def command(
    model: Path,
    to: str,
    best: bool,
    pack: Path | None,
    standalone: Path | None,
    data: str | None,
    max_drop: float | None,
    max_latency: str,
    max_size: str,
    accept: bool,
) -> None:
    """Write other graphs into MODEL, or MODEL into another place."""
    from sightline.core.errors import UsageError
    from sightline.verbs.opened import DEFAULT_VARIANT, open_model

    if (to and best) or ((max_latency or max_size) and not best):
        raise UsageError("--to names one graph, --best chooses among all; --max-latency and --max-size go with --best")
    if best:
        from sightline.verbs.best import Limits, megabytes, milliseconds
        from sightline.verbs.trial import allowed

        opened = open_model(model, variant=DEFAULT_VARIANT)
        most = {"max_latency_ms": milliseconds(max_latency), "max_size_mb": megabytes(max_size)}
        _best(opened, Limits(max_drop=allowed(opened.task, max_drop), **most), data, accept)
    elif to or not (pack or standalone):
        from sightline.cli._display import watch
        from sightline.verbs.export import export

        to = to or "onnx-int8"
        opened = open_model(model, variant=DEFAULT_VARIANT)
        path = watch(export(opened, to=to, data=data, max_drop=max_drop, accept=accept))
        click.echo(f"{to} added to {path}; use it with --graph {to}")
    if standalone:
        from sightline.cli._display import watch
        from sightline.verbs.export import alone

        path = watch(alone(open_model(model, variant=DEFAULT_VARIANT), standalone, data=data))
        click.echo(f"{path} answers by itself")
    if pack:
        from sightline.verbs.export import pack as packed

        click.echo(f"bundle written to {packed(open_model(model, variant=DEFAULT_VARIANT), pack)}")


def _best(opened: Opened, limits: Limits, data: str | None, accept: bool) -> None:
    """Measure, print the table, record."""
    from sightline.cli._display import Display
    from sightline.core.events import Event, drain
    from sightline.verbs.best import Measured, best

    rows: list[Any] = []
    with Display() as display:

        def listen(event: Event) -> None:
            display.show(event)
            if isinstance(event, Measured):
                rows.extend(event.rows)

        try:
            chosen = drain(best(opened, data=data, limits=limits, accept=accept), listen)
        finally:
            _table(rows)
    click.echo(
        f"{chosen.graph} is what {opened.bundle.path} runs from now on, where it can; --graph names another. "
        f"On this machine: {chosen.latency_ms:.3g} ms, {0.0 - chosen.drop:+.2f} {chosen.unit}, {chosen.size_mb:.2f} MB"
    )


def _table(rows: list[Any]) -> None:
    """Every graph with its figures, and why it is not kept or not chosen."""
    from sightline.cli._display import table

    if not rows:
        return
    numbers = ["latency_ms", "latency_p90_ms", "drop", "size_mb"]
    shown = [[r.graph, *(_figure(getattr(r, name), name) for name in numbers), r.remark or "kept"] for r in rows]
    table(shown, ["graph", "ms a picture", "p90", rows[0].unit, "MB", "verdict"])


def _figure(value: float, name: str) -> str:
    if value != value:
        return "-"
    return f"{0.0 - value:+.2f}" if name == "drop" else f"{value:.2f}"
