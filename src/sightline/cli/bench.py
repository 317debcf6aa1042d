"""bench: latency, throughput, load time and memory of each graph of a model, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Example:
  sightline bench runs/classify-1/model --threads 1"""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(0), default=0, help="threads of the graph [all cores]")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
def command(model: Path, threads: int, as_json: bool) -> None:
    """Measure every graph of MODEL, each in a process of its own."""
    import json

    from sightline.cli._display import table
    from sightline.core.bundle import open_bundle
    from sightline.verbs.bench import bench

    found = list(bench(model, threads=threads))
    if as_json:
        for figures in found:
            click.echo(json.dumps(figures.to_dict()))
        return
    ready = open_bundle(model).card.preparation
    what = "tile" if ready.tile else "picture"
    headers = ["graph", f"ms a {what}", "p90", f"{what}s/s", "load ms", "peak MB", "file MB", "speed"]
    base = found[0].latency_ms
    rows = [
        [f.variant]
        + [float(f"{v:.3g}") for v in (f.latency_ms, f.latency_p90_ms)]
        + [round(f.per_second), round(f.load_ms), round(f.peak_mb), round(f.size_mb, 2), round(base / f.latency_ms, 2)]
        for f in found
        if not f.remark
    ]
    table(rows, headers)
    if ready.multiple:
        height, width = found[0].size_hw
        click.echo(f"pictures of {width} x {height} pixels; this graph takes other sizes, too", err=True)
    for figures in found:
        if figures.remark:
            click.echo(f"{figures.variant} was not measured: {figures.remark}", err=True)
