"""show-augment: draw training pictures as the net would see them, with the settings of train."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli._settings import SettingsCommand, typed_settings

EXAMPLE = """\b
Examples:
  sightline show-augment flowers/
  sightline show-augment flowers/ --policy trivialaugment --cutmix 1 --out sheet.png
  sightline show-augment flowers/ --policy augmix --perspective 0.1 --jpeg 30
  sightline show-augment xray/ --mirror no --rotate 5 --pictures 8 --versions 10"""


class _Augment(SettingsCommand):
    """The settings of `classify`, unless another task is named."""

    default_task = "classify"


@click.command(cls=_Augment, epilog=EXAMPLE)
@click.argument("data")
@click.option("--task", default="classify", show_default=True, help="what would be learned")
@click.option("--net", default="", metavar="NAME[:VARIANT]", help="what would learn [by task]")
@click.option("--layout", default=None, help="how DATA is laid out [detected]")
@click.option("--pictures", type=click.IntRange(1, 100), default=6, show_default=True, help="rows of the sheet")
@click.option("--versions", type=click.IntRange(1, 50), default=8, show_default=True, help="epochs shown of each")
@click.option("--out", type=click.Path(path_type=Path), default="augment.png", show_default=True, help="PNG to write")
@click.option("--overwrite", is_flag=True, help="replace --out if it is there")
@click.option("--quiet", is_flag=True, help="print only the settings and where the sheet is")
@click.pass_context
def command(
    ctx: click.Context,
    data: str,
    task: str,
    net: str,
    layout: str | None,
    pictures: int,
    versions: int,
    out: Path,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Show pictures of DATA as `sightline train` would show them to the net; takes every setting of train."""
    from sightline.cli._display import watch
    from sightline.cli._pages import page_path, write_page
    from sightline.verbs.settings import Settings
    from sightline.verbs.show import show_augment

    out = page_path(Path(out), overwrite=overwrite)
    settings = Settings(task, data, layout, net, typed_settings(ctx))
    write_page(out, watch(show_augment(settings, pictures=pictures, epochs=versions), quiet=quiet))
