"""The command line: a group whose commands are files of this folder, imported only when they are called."""

from __future__ import annotations

import io
import sys

import click

from sightline.cli._commands import commands_in
from sightline.core.errors import INTERRUPTED_EXIT_CODE, SightlineError

EPILOG = """\b
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 data; 4 bundle; 5 a gate refused;
6 an extra is missing; 7 could not write; 8 done, but some inputs failed; 9 a gallery;
130 interrupted."""


_HELP = {"help_option_names": ["-h", "--help"]}


@click.group(cls=commands_in(__file__, "sightline.cli"), epilog=EPILOG, context_settings=_HELP)
@click.version_option(package_name="sightline")
def sightline() -> None:
    """Images into answers that can be trusted and shipped.

    \b
    sightline train classify flowers/
    sightline predict runs/classify-1/model photos/ --out preds.csv
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line and leave with a documented exit code; click leaves with 1 where the reader has gone."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what this terminal cannot write
    try:
        code = sightline.main(args=args, prog_name="sightline", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SightlineError as error:
        click.echo(f"sightline: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("sightline: interrupted", err=True)
        sys.exit(INTERRUPTED_EXIT_CODE)


if __name__ == "__main__":
    main()
