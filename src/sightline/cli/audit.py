"""audit: bad files, leaks, near-duplicates, contradictions and rare classes of a data set, before any training."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  sightline audit flowers/
  sightline audit xray/ --group-by 'person(\\d+)' --json
  sightline audit photos/ --pairs-out pairs.png"""


@click.command(epilog=EXAMPLE)
@click.argument("data")
@click.option("--layout", default=None, help="how DATA is laid out [detected]")
@click.option("--group-by", default="", help="regular expression; its first group names the patient, part or video")
@click.option("--pairs-out", type=click.Path(path_type=Path), help="draw near-duplicates, as .png or .jpg")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.pass_context
def command(
    ctx: click.Context, data: str, layout: str | None, group_by: str, pairs_out: Path | None, as_json: bool
) -> None:
    """Look DATA over; exits with 3 when training would be refused."""
    import json

    from sightline.cli._display import watch
    from sightline.core.errors import DataError
    from sightline.verbs.audit import audit

    found = watch(audit(data, layout=layout, group_by=group_by, pairs_out=pairs_out), quiet=as_json)
    click.echo(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else str(found))
    if not found.clean:
        ctx.exit(DataError.exit_code)
