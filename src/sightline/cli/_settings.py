"""Options that grow from settings dataclasses: `lr: float` becomes `--lr`, a net's `width` becomes `--net.width`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import click

from sightline.core.recipe import Recipe, plain_type, split_net

_META = "sightline.settings"
_GROWN = "set_"
"""How the names of grown options begin."""


def options_of(kind: type[Any], *, prefix: str = "") -> list[click.Option]:
    """One option a field; None when not given, so that only what was typed is a setting."""
    hints = typing.get_type_hints(kind)
    return [_option(field, plain_type(hints[field.name]), prefix) for field in dataclasses.fields(kind)]


def _option(field: Any, kind: type, prefix: str) -> click.Option:
    name = prefix + field.name.replace("_", "-")
    choices = field.metadata.get("choices", ())
    default = "chosen from the data" if field.default in (None, "auto") else field.default
    text = f"{field.metadata.get('help', '')} [{default}]" if default != "" else field.metadata.get("help", "")
    target = f"{_GROWN}{prefix.replace('.', '_dot_')}{field.name}"
    keep = _kept_as(prefix + field.name)
    if kind is bool:
        return click.Option(
            [f"--{name}/--no-{name}", target], default=None, help=text, callback=keep, expose_value=False
        )
    of = click.Choice(choices) if choices else kind
    metavar = None if choices else {int: "N", float: "X", str: "TEXT"}.get(kind)
    return click.Option(
        [f"--{name}", target], type=of, default=None, help=text, metavar=metavar, callback=keep, expose_value=False
    )


def _kept_as(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that remembers what was typed for a setting."""

    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.meta.setdefault(_META, {})[name] = value

    return keep


def typed_settings(ctx: click.Context) -> dict[str, Any]:
    """The settings a person typed, by their recipe names."""
    return dict(ctx.meta.get(_META, {}))


def peek(args: list[str], option: str) -> str:
    """The value of an option before the arguments are parsed, or nothing."""
    for index, arg in enumerate(args):
        if arg == option and index + 1 < len(args):
            return args[index + 1]
        if arg.startswith(option + "="):
            return arg.partition("=")[2]
    return ""


class SettingsCommand(click.Command):
    """A command whose options depend on the task (`--task`, or its first word) and on `--net`."""

    default_task = ""
    """Whose options grow where `--task` may be left out; empty where the task is a word."""
    of_every_task: tuple[str, ...] = ()
    """Settings that may be given without a task."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Grow the options, then parse as usual."""
        from sightline.core.shelf import Shelf

        # called again in the same process, it must not keep what grew for another task
        self.params = [param for param in self.params if not str(param.name).startswith(_GROWN)]
        task_name = peek(args, "--task") or self.default_task or self._word(args, Shelf("tasks").has)
        if task_name:
            named = peek(args, "--net") or any(arg.startswith("--net.") for arg in args)
            self.params = [*self.params, *_grown(task_name, peek(args, "--net"), bool(named))]
        else:
            grown = [f"{_GROWN}{name}" for name in self.of_every_task]
            self.params = [*self.params, *(option for option in options_of(Recipe) if option.name in grown)]
        return super().parse_args(ctx, args)

    def _word(self, args: list[str], wanted: Callable[[str], bool]) -> str:
        """The first word wanted that is no option's value, as far as can be told before all options are known."""
        own = [param for param in self.params if isinstance(param, click.Option)]
        valued, flags = (
            {name for param in own if param.is_flag is flag for name in param.opts} for flag in (False, True)
        )
        found = [(before, word) for before, word in zip(["", *args], args) if wanted(word) and before not in valued]
        plain = [word for before, word in found if before in flags or not before.startswith("--")]
        return next(iter([*plain, *(word for _, word in found)]), "")


def _grown(task_name: str, net: str, named: bool) -> list[click.Option]:
    """The task's settings, and those of the net when one is named (which imports it)."""
    from sightline.core.shelf import Shelf
    from sightline.verbs.learner import shelf_of

    task = Shelf("tasks").load(task_name)
    grown = options_of(task.Recipe)
    if named:
        name, _ = split_net(net or task.DEFAULT_NET)
        grown += options_of(Shelf(shelf_of(name)).load(name).Options, prefix="net.")
    return grown
