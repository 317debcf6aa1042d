"""Opening a model for a command, which says so where another graph runs than the preferred one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sightline.verbs.opened import Opened

GRAPH_HELP = "which graph of the bundle [the one that export --best recorded, else onnx]"


RESTORE_HELP = "model of the task restore that each picture goes through first"


def opened(model: Path, *, graph: str = "", threads: int = 0, restore: Path | None = None) -> Opened:
    """The model ready to answer, as `open_model` opens it; a graph that cannot run here is named on stderr.

    restore: what each picture goes through first.
    """
    from sightline.verbs.opened import open_model

    found = open_model(model, variant=graph, threads=threads)
    if found.fallback:
        click.echo(f"! {found.fallback}", err=True)
    return found.after(opened(restore, threads=threads)) if restore else found
