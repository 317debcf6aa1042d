"""A group of commands that are files of a folder, imported only when they are called."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import click


class Commands(click.Group):
    """One file, or one folder with further commands, one command; listing reads only each one's first sentence."""

    folder: Path
    """Where they are; set by `commands_in`."""
    package: str

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in order."""
        stems = [p.stem for p in self.folder.glob("*.py")] + [p.parent.name for p in self.folder.glob("*/__init__.py")]
        return sorted(stem.replace("_", "-") for stem in stems if not stem.startswith("_") and stem != "main")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name; None where there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{self.package}.{_stem(cmd_name)}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list for --help."""
        rows = [(name, self._sentence(_stem(name))) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _sentence(self, stem: str) -> str:
        path = self.folder / f"{stem}.py"
        return _first_sentence(path if path.exists() else self.folder / stem / "__init__.py")


def commands_in(file: str, package: str) -> type[Commands]:
    """The kind of group whose commands lie beside a file of a package."""
    return type("Commands", (Commands,), {"folder": Path(file).parent, "package": package})


def _stem(command: str) -> str:
    """The file of a command: `show-input` is show_input.py."""
    return command.replace("-", "_")


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0].partition(": ")[2] or docstring
