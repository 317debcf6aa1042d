"""The command line: a group whose commands are files of this folder, imported only when they are called."""

from __future__ import annotations

import ast
import importlib
import io
import sys
from pathlib import Path

import click

from sightline.core.errors import INTERRUPTED_EXIT_CODE, SightlineError

_HERE = Path(__file__).parent

EPILOG = """\b
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 data; 4 bundle; 5 a gate refused;
6 an extra is missing; 7 could not write; 8 done, but some inputs failed; 9 a gallery;
130 interrupted."""


class _Commands(click.Group):
    """One file, one command; listing them reads only each file's first sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        stems = (p.stem for p in _HERE.glob("*.py") if not p.stem.startswith("_") and p.stem != "main")
        return sorted(stem.replace("_", "-") for stem in stems)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"sightline.cli.{_stem(cmd_name)}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _first_sentence(_HERE / f"{_stem(name)}.py")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _stem(command: str) -> str:
    """The file of a command: `show-input` is show_input.py."""
    return command.replace("-", "_")


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0].partition(": ")[2] or docstring


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
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
