"""audit: bad files, leaks between splits, contradictions and rare classes of a data set, before any training."""

from __future__ import annotations

import click

EXAMPLE = """\b
Examples:
  sightline audit flowers/
  sightline audit xray/ --group-by 'person(\\d+)' --json"""


@click.command(epilog=EXAMPLE)
@click.argument("data")
@click.option("--layout", default=None, help="how DATA is laid out [detected]")
@click.option("--group-by", default="", help="regular expression; its first group names the patient, part or video")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.pass_context
def command(ctx: click.Context, data: str, layout: str | None, group_by: str, as_json: bool) -> None:
    """Look DATA over; exits with 3 when training would be refused."""
    import json

    from sightline.cli._display import watch
    from sightline.core.errors import DataError
    from sightline.verbs.audit import audit

    found = watch(audit(data, layout=layout, group_by=group_by), quiet=as_json)
    click.echo(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else str(found))
    if not found.clean:
        ctx.exit(DataError.exit_code)
