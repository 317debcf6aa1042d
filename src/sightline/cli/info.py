"""info: what is in a bundle, or what a picture file is."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  sightline info runs/classify-1/model
  sightline info scan.png --json"""


@click.command(epilog=EXAMPLE)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def command(path: Path, as_json: bool) -> None:
    """Describe a bundle or a picture."""
    import json

    import yaml

    from sightline.cli._display import with_interval
    from sightline.verbs.info import info

    found = info(path)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for split, measures in found.get("metrics", {}).items():
        told = {name: with_interval(m) for name, m in measures.items() if m["value"] is not None}
        found["metrics"][split] = told
    click.echo(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=110).rstrip())
