"""explain: draw where the evidence for an answer lies, with a verdict on the map."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli._opened import GRAPH_HELP
from sightline.cli._opened import opened as open_for

EXAMPLE = """\b
Examples:
  sightline explain model photo.jpg
  sightline explain model photo.jpg --target cat --probe occlusion --out why.png
  sightline explain model photo.jpg --probe gradcam
  sightline explain model photo.jpg --target 2 --probe rise     (the second box that predict lists)
  sightline explain model photo.jpg --probe all --json"""

PROBES = """evidence, occlusion or rise; with PyTorch also gradcam, integrated-gradients and, for capsules, redrawing,
each beside the default; or all [evidence where the graph has features, rise for boxes, else occlusion]"""
TARGET = """class to explain [the answer given]; of boxes, the number of one in the order that predict lists them, or a
class for its surest one [the surest of all]"""


@click.command(epilog=EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("picture")
@click.option("--target", default="", help=TARGET)
@click.option("--probe", default="", help=PROBES)
@click.option("--graph", default="", help=GRAPH_HELP)
@click.option("--out", type=click.Path(path_type=Path), help="picture to write [PICTURE_evidence.png here]")
@click.option("--overwrite", is_flag=True, help="replace --out if it is there")
@click.option("--json", "as_json", is_flag=True, help="print the figures as JSON")
def command(
    model: Path, picture: str, target: str, probe: str, graph: str, out: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Explain MODEL's answer for PICTURE."""
    import json

    from sightline.core.errors import UsageError
    from sightline.core.storage import write_bytes
    from sightline.verbs.explain import explain

    out = out or Path(f"{Path(picture).stem}_evidence.png")
    if out.suffix.lower() != ".png" or (out.exists() and (not overwrite or out.samefile(picture))):
        raise UsageError(f"--out is {out}; it must end in .png and not be there yet (or give --overwrite)")
    found = explain(open_for(model, graph=graph), picture, probe=probe, target=target)
    write_bytes(out, found._repr_png_())
    if as_json:
        click.echo(json.dumps({"path": picture, **found.to_dict()}))
    else:
        lines = "\n".join(each.line() for each in found.maps)
        click.echo(f"{picture}\t{found.result.line()}\n{lines}\nmap {out}")
