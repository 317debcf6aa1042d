"""nets: what can learn, with parameters, operations and speed on this machine."""

from __future__ import annotations

import click

EXAMPLE = """\b
Examples:
  sightline nets
  sightline nets resnet vit:small timm:convnext_nano --size 96"""


@click.command(epilog=EXAMPLE)
@click.argument("names", nargs=-1, metavar="[NET]...")
@click.option("--task", default="classify", show_default=True, help="what is to be learnt")
@click.option(
    "--size", type=click.IntRange(4, 4096), default=32, show_default=True, help="side of the pictures in pixels"
)
@click.option("--classes", type=click.IntRange(2), default=10, show_default=True, help="classes told apart")
@click.option("--grey", is_flag=True, help="grey pictures; else in colour")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
def command(names: tuple[str, ...], task: str, size: int, classes: int, grey: bool, as_json: bool) -> None:
    """List the nets and methods that `--net` takes, or those named, each built once and run for a second."""
    import json

    from sightline.cli._display import table
    from sightline.verbs.nets import nets

    rows, remarks, about = [], [], dict[str, str]()
    for found in nets(names, task=task, size=size, classes=classes, grey=grey):
        if as_json:
            click.echo(json.dumps(found.to_dict()))
            continue
        about[found.net.partition(":")[0]] = found.about
        if found.remark:
            remarks.append(f"{found.net}: {found.remark}")
            continue
        millions, work = (round(number / 1e6, 3) for number in (found.parameters or 0, found.flops or 0))
        rows.append([found.net, millions, work, float(f"{found.ms:.3g}"), found.weights])
    if as_json:
        return
    table(rows, ["net", "M parameters", "M operations", "ms a picture", "licence of its weights"])
    click.echo("\n".join(["", *(f"{name}: {text}" for name, text in about.items()), *remarks]))
