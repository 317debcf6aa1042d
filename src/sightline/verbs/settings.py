"""A run's settings on disk: one flat recipe.yaml, readable by people and enough to repeat or resume the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sightline.core.errors import UsageError
from sightline.core.runs import Run
from sightline.core.storage import write_text


@dataclass(frozen=True)
class Settings:
    """What was asked: the task, the data, the net and every named setting; open ones are left out or None."""

    task: str
    data: str
    layout: str | None
    net: str
    values: Mapping[str, Any]
    """The task's recipe fields by name, and the method's own as `net.<name>`."""

    def recipe_values(self) -> dict[str, Any]:
        """Settings of the task's recipe."""
        return {name: value for name, value in self.values.items() if not name.startswith("net.")}

    def net_values(self) -> dict[str, Any]:
        """Settings of the method, without their prefix."""
        return {name[4:]: value for name, value in self.values.items() if name.startswith("net.")}


def absolute(data: str) -> str:
    """The same data from whatever folder it is named later; a layout prefix stays, and a URL.

    >>> absolute("csv:/data/parts.csv")
    'csv:/data/parts.csv'
    """
    prefix, colon, rest = data.partition(":")
    if "://" in data and not Path(data).exists():
        return data
    if not Path(data).exists() and colon and len(prefix) > 1:
        return f"{prefix}:{Path(rest).resolve()}"
    return str(Path(data).resolve())


def asked(settings: Settings) -> dict[str, Any]:
    """What was typed, before anything is chosen."""
    head = {"task": settings.task, "data": settings.data, "layout": settings.layout, "net": settings.net}
    return head | dict(settings.values)


def training_of(bundle: Path) -> Settings | None:
    """The settings of the run that a bundle still lies in; None for one that was moved out of its run folder."""
    try:
        return read_settings(Run(bundle.parent).recipe)
    except UsageError:  # none there, or somebody else's
        return None


def flat(settings: Settings, net: str, recipe: Any, options: Any) -> dict[str, Any]:
    """Everything resolved, printed whole."""
    head = {"task": settings.task, "data": settings.data, "layout": settings.layout, "net": net}
    own = {f"net.{name}": value for name, value in dataclasses.asdict(options).items()}
    return head | own | dataclasses.asdict(recipe)


def write_settings(path: Path, values: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Write recipe.yaml; a setting that was chosen carries its reason as a comment."""
    lines = []
    for name, value in values.items():
        line = yaml.safe_dump({name: value}, allow_unicode=True, width=1000).rstrip("\n")
        lines.append(f"{line}  # {reasons[name]}" if name in reasons else line)
    write_text(path, "\n".join(lines) + "\n")


def read_settings(path: Path) -> Settings:
    """Read recipe.yaml back; raises UsageError when it is none."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        task, data, net = (str(values.pop(name)) for name in ("task", "data", "net"))
        layout = values.pop("layout", None)
    except FileNotFoundError:
        raise UsageError(
            f"{path.parent} is no run folder: there is no {path.name} in it; give the folder of a run"
        ) from None
    except (OSError, yaml.YAMLError, KeyError, AttributeError, TypeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no recipe of a run ({error}); give --resume the folder of a run") from None
    return Settings(task, data, layout, net, values)


def resumed_settings(run: Path, typed: Settings) -> Settings:
    """The settings of a run to go on with; only the number of devices may be another, as no result hangs on it."""
    kept, devices = read_settings(Run(run).recipe), typed.values.get("devices")
    return kept if devices is None else dataclasses.replace(kept, values={**kept.values, "devices": devices})


def change_setting(path: Path, name: str, value: Any) -> None:
    """Change one line of recipe.yaml; the comments of the others stay."""
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = [f"{name}: {value}" if line.startswith(f"{name}:") else line for line in lines]
    write_text(path, "\n".join(changed) + "\n")
