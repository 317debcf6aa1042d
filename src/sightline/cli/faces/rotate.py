"""rotate: open a gallery by another key from now on."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.cli.faces._gallery import NEW_PASSPHRASE, Place, place, with_gallery

EXAMPLE = """\b
Examples:
  sightline faces rotate staff.gallery --key-file staff.key --to-key-file new.key
  sightline faces rotate staff.gallery --key-file staff.key --to-passphrase"""


@click.command(epilog=EXAMPLE)
@with_gallery
@click.option("--to-key-file", type=click.Path(path_type=Path), help="a file that is made where it is not there")
@click.option("--to-passphrase", is_flag=True, help=f"ask for a new one, or take {NEW_PASSPHRASE}")
@click.option("--to-keyring", is_flag=True, help="the system's keyring")
def command(to_key_file: Path | None, to_passphrase: bool, to_keyring: bool) -> None:
    """Lock GALLERY by another key. Whoever has an old copy still opens that by the old key."""
    from sightline.gallery.lock import kind_of

    where = place()
    new = Place(Path(), to_key_file, to_passphrase, to_keyring).source(new=True, words=NEW_PASSPHRASE)
    if new == (old := where.source(kind=kind_of(where.path))) and not to_keyring:
        raise click.UsageError("that is the key it has already; give another one")
    with where.open(old) as gallery:
        gallery.rotate(new)
    click.echo(f"{where.path} opens by the new key only")
