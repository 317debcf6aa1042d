"""Pages written as PNG: where they may go, and what is said about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from PIL.Image import Image

    from sightline.verbs.show import Shown


def page_path(out: Path, *, overwrite: bool, spare: str = "") -> Path:
    """The file to write; raises UsageError for one that is there already (unless it may go), or is `spare` itself."""
    from sightline.core.errors import UsageError

    if out.suffix.lower() != ".png":
        raise UsageError(f"--out is {out}; it must end in .png")
    if out.exists() and (not overwrite or (spare and Path(spare).exists() and out.samefile(spare))):
        raise UsageError(f"{out} is there already; name another file with --out, or give --overwrite")
    return out


def write_image(out: Path, image: Image) -> None:
    """Write it as PNG."""
    from io import BytesIO

    from sightline.core.storage import write_bytes

    buffer = BytesIO()
    image.save(buffer, "PNG")
    write_bytes(out, buffer.getvalue())


def write_page(out: Path, shown: Shown) -> None:
    """Write the page, print its figures and say where it is."""
    write_image(out, shown.image)
    for name, text in shown.figures.items():
        click.echo(f"{name:<11} {text}")
    click.echo(f"written to {out}")
