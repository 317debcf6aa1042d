"""faces: recognise people who agreed to it: enrol, verify, identify, calibrate, audit, erase."""

from __future__ import annotations

import click

from sightline.cli._commands import commands_in

EXAMPLE = """\b
Example, from pictures to names:
  sightline faces model --detector yunet --embedder sface --out who
  sightline faces enroll staff.gallery people/ --model who --key-file staff.key \\
      --consent-by "signed form" --purpose "door" --until 2027-12-31
  sightline faces calibrate staff.gallery --key-file staff.key
  sightline faces identify staff.gallery door.jpg --key-file staff.key

A gallery is one encrypted file. Its key is a file of its own, a passphrase, or in the system's keyring."""


@click.group(cls=commands_in(__file__, __name__), epilog=EXAMPLE)
def command() -> None:
    """Recognise people who agreed to it, by a gallery that forgets them when they ask."""
