"""check: what this machine and installation can do, and what is missing."""

from __future__ import annotations

import click


@click.command(epilog="\b\nExample:\n  sightline check")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Look the installation over."""
    from sightline.cli._display import table
    from sightline.verbs.doctor import check

    found = check()
    rows = [["ok" if row.ok else "missing" if row.needed else "-", row.name, row.detail] for row in found]
    table(rows, ["", "what", "detail"])
    if any(row.needed and not row.ok for row in found):
        ctx.exit(1)
