"""start: the weights that a training begins with, whose they are, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.core.bundle import WEIGHTS, is_bundle, open_bundle
from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.ledger import Entry, by_sum, file_of, is_here
from sightline.verbs.settings import Settings, absolute


@dataclass(frozen=True)
class Start:
    """Weights that somebody learnt."""

    name: str
    entry: Entry | None
    """What the ledger knows of them."""
    card: Card | None = None
    """Of the bundle that they lie in."""

    def licence(self) -> str:
        """For the card of what is learnt from them."""
        if self.card is not None:
            return f"learned here from {self.name}, whose card says: {self.card.licences.get('weights', 'nothing')}"
        if self.entry is None:
            return "learned here from weights whose licence the ledger does not know"
        return f"learned here from {self.entry.name}: {self.entry.licence()}"


def start_of(text: str) -> Start | None:
    """What stands behind the setting `start`; None for nothing.

    Raises UsageError where there are no such weights, or their licence restricts their use and nobody accepted it.
    """
    if not text:
        return None
    if is_bundle(text):
        bundle = open_bundle(text)
        if bundle.card.net.get("shelf") != "nets" or WEIGHTS not in bundle.files:
            raise UsageError(f"{text} holds no network to begin with; it was learnt by {bundle.card.net.get('name')}")
        return Start(Path(text).name, by_sum(bundle.read(WEIGHTS)), bundle.card)
    return known(file_of(text))


def known(path: Path) -> Start:
    """A file of weights and what the ledger says of it."""
    entry = by_sum(path.read_bytes())
    if entry is not None and entry.restricted and not is_here(entry):
        raise UsageError(
            f"{path.name} is {entry.name}, under {entry.weight_licence}; if that allows your use, take it in by "
            f"sightline weights get {entry.name} --from {path} --accept"
        )
    return Start(path.name, entry)


def placed(settings: Settings) -> Settings:
    """The settings with absolute paths, so that a run can be resumed from any folder."""
    start = str(settings.values.get("start") or "")
    values = {"start": str(Path(start).resolve())} if start and Path(start).exists() else {}
    return replace(settings, data=absolute(settings.data), values={**settings.values, **values})


def adopted(settings: Settings, start: Start | None) -> Settings:
    """The settings with the bundle's own net and its options, where none is named."""
    if start is None or start.card is None or settings.net:
        return settings
    net = start.card.net
    spelled = f"{net['name']}:{net['variant']}" if net.get("variant") else str(net["name"])
    options = {f"net.{name}": value for name, value in net.get("options", {}).items()}
    return replace(settings, net=spelled, values=options | dict(settings.values))


def wanted(start: Start | None) -> dict[str, tuple[Any, str]]:
    """Settings of the recipe that follow from a bundle to begin with, each with its reason."""
    if start is None or start.card is None:
        return {}
    ready = start.card.preparation
    found: dict[str, tuple[Any, str]] = {"color": (ready.mode, f"as {start.name} saw them")}
    if ready.size_hw[0] == ready.size_hw[1]:
        found["size"] = (ready.size_hw[0], f"as {start.name} saw them")
    return found


def open_settings(recipe: Any, named: Mapping[str, tuple[Any, str]]) -> tuple[Any, dict[str, str]]:
    """The recipe with what is named (a value and its reason) put in where it is left open; those reasons."""
    left = {name: each for name, each in named.items() if getattr(recipe, name) in (None, "auto")}
    changes, why = ({name: each[place] for name, each in left.items()} for place in (0, 1))
    return replace(recipe, **changes), why


def as_it_saw(card: Card, start: Start | None) -> Card:
    """The card with the mean and deviation that a bundle's net is used to."""
    if start is None or start.card is None or start.card.preparation.mode != card.preparation.mode:
        return card
    theirs = start.card.preparation
    return replace(card, preparation=replace(card.preparation, mean=theirs.mean, std=theirs.std))


def without_folders(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe for the card: of `start` only the name, since bundles travel."""
    return {**recipe, "start": Path(str(recipe["start"])).name} if recipe.get("start") else dict(recipe)
