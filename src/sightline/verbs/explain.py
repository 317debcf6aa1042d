"""explain: where in the picture the evidence for an answer lies, and whether that map can be believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from sightline.core.errors import BundleError, UsageError
from sightline.core.protocols import Aim
from sightline.core.results import Evidence, Result
from sightline.core.shelf import Shelf
from sightline.data.pictures import Picture, read_picture
from sightline.probes._view import Network, View
from sightline.verbs.learner import from_card, rebuilt
from sightline.verbs.opened import Opened
from sightline.verbs.predict import declared_bits

ALL = "all"
"""Stands for every probe that this model can be held against."""


@dataclass(frozen=True, repr=False)
class Explanation:
    """A picture, the model's answer and one map or several of the evidence for it."""

    picture: Picture
    result: Result
    maps: tuple[Evidence, ...]
    """In the order they are shown: what follows gradients stands after the map that needs none."""
    aim: Aim | None = None
    """The one thing in the answer that is explained, where it may have many."""

    @property
    def evidence(self) -> Evidence:
        """The map that was asked for, the last."""
        return self.maps[-1]

    def __repr__(self) -> str:
        return f"{self.result.line()}; evidence for {'; '.join(each.line() for each in self.maps)}"

    def to_dict(self) -> dict[str, Any]:
        """The answer, `evidence`, all `maps`, and `target_xyxy`, where the box that is explained is, if it is one."""
        maps = [each.to_dict() for each in self.maps]
        box = {"target_xyxy": [round(value, 2) for value in self.aim.xyxy]} if self.aim else {}
        return {**self.result.to_dict(), **box, "evidence": maps[-1], "maps": maps}

    def image(self) -> Any:
        """Picture, map, colour bar and verdict as a PIL image; several maps in a row, each with its scores."""
        from sightline.draw.overlay import several_maps, side_by_side
        from sightline.draw.sheet import to_u8

        shown = to_u8(self.picture.pixels, self.picture.high)  # smaller than the picture after a scaled decoding
        size = (shown.shape[1], shown.shape[0])
        maps = [
            replace(each, heat=np.asarray(Image.fromarray(each.heat).resize(size, Image.Resampling.BOX)))
            for each in self.maps
        ]
        height, width = self.picture.size_hw
        scale = np.array([size[0] / width, size[1] / height] * 2)
        box = np.array(self.aim.xyxy) * scale if self.aim else None
        if len(maps) == 1:
            return side_by_side(shown, maps[0], self.result, box=box)
        return several_maps(shown, maps, self.result, box=box)

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        buffer = BytesIO()
        self.image().save(buffer, "PNG")
        return buffer.getvalue()


def explain(opened: Opened, source: Any, *, probe: str = "", target: str = "") -> Explanation:
    """Hold an instrument against the model on one picture.

    probe: a name of the shelf `probes`; by default `evidence` where the graph has a feature map, `rise` where answers
    are boxes, else `occlusion`. One that needs PyTorch is shown beside that default; `all` takes every one that this
    model can be held against.
    target: the class to explain; by default the answer given. Of boxes, which one: its number, as `2` for the second
    that `predict` lists, or a class for its surest; by default the surest of all.
    Raises UsageError for an unknown target, a probe or task that cannot do this, or a picture without anything found.
    """
    opened.offers("explain")
    instruments = [(name, _loaded(opened, name)) for name in _named(opened, probe)]
    picture = read_picture(source, at_least_hw=opened.card.at_least_hw, bits=declared_bits(opened.card))
    request = opened.encode(picture)
    result = opened.answer([request])[0]
    aim = opened.task.aim(result, request, target, opened.card) if _aims(opened) else None
    index, seen = 0 if aim else _index(opened, target), view(opened, aim)
    maps = tuple(instrument.explain(aim.request if aim else request, index, seen) for _, instrument in instruments)
    return Explanation(picture, result, maps, aim)


def _aims(opened: Opened) -> bool:
    """Whether an answer has many things, of which one is explained."""
    return hasattr(opened.task, "aim")


def plain_probe(opened: Opened) -> str:
    """The probe that a model is held against where none is named; it needs no PyTorch."""
    return "evidence" if opened.card.evidence else "rise" if _aims(opened) else "occlusion"


def _named(opened: Opened, probe: str) -> list[str]:
    """The probes to use, in the order they are shown."""
    plain, shelf = plain_probe(opened), Shelf("probes")
    if probe == ALL:
        rest = [name for name in shelf.names() if not _lacking(opened, shelf.load(name).NEEDS)]
        return [plain, *(name for name in rest if name != plain)]
    name = probe or plain
    return [plain, name] if "torch" in shelf.load(name).NEEDS else [name]


def _loaded(opened: Opened, name: str) -> Any:
    """A probe that this model can be held against."""
    instrument = Shelf("probes").load(name)
    missing = _lacking(opened, instrument.NEEDS)
    if missing:
        plain = plain_probe(opened)
        raise UsageError(f"probe {name} {missing}; use {plain if plain == 'occlusion' else plain + ' or occlusion'}")
    if "evidence" in instrument.NEEDS:
        _check_weight(opened)
    return instrument


def _lacking(opened: Opened, needs: frozenset[str]) -> str:
    """What a probe needs that this model does not have; nothing when it has all."""
    if "evidence" in needs and not opened.card.evidence:
        return "needs a feature map, which this model's graph does not put out"
    if "torch" in needs and opened.card.net.get("shelf") != "nets":
        return f"needs a network, and this model was learnt by {opened.card.net.get('name')!r:.40}, which is none"
    if "poses" in needs and not any("poses" in graph.outputs for graph in opened.graphs.values()):
        return "needs capsules, which this model does not have"
    return ""


def view(opened: Opened, aim: Aim | None = None) -> View:
    """The model as probes see it, or one thing in its answer for a picture as they do."""
    card = opened.card
    return View(
        run=opened.graphs["main"].run,
        scores=aim.scores if aim else lambda outputs: opened.task.scores(outputs, card),
        card=card,
        arrays=opened.bundle.arrays,
        classes=(aim.name,) if aim else card.classes or (card.task,),
        competing=aim is None and getattr(opened.task, "COMPETING", True),
        network=cache(lambda: network(opened) if aim is None else _aimed(opened, aim)),
        box=aim.input_xyxy if aim else None,
    )


def network(opened: Opened) -> Network:
    """The trained network from the bundle's arrays, in PyTorch.

    Raises MissingExtraError where PyTorch is absent, UsageError where the model was learnt without it.
    """
    method = from_card(opened.card)
    if not method.gradients:
        raise UsageError(f"{method.spelled} learns without gradients; use the probe evidence or occlusion")
    from sightline.learn.augment import normalised

    module = rebuilt(opened.card, opened.bundle.arrays()).exported()
    return Network(module, lambda images: normalised(images, opened.card))


def _aimed(opened: Opened, aim: Aim) -> Network:
    """The network with the logit behind the thing that is explained, and the maps that it is read from."""
    import torch

    net, maps = network(opened), str(getattr(from_card(opened.card).module, "EXPLAINED", ""))
    if aim.logits is None:
        raise UsageError("gradients are taken of a logit, and the boxes of this network have none; use rise")
    with torch.no_grad():
        outputs = net.module(net.prepared(aim.request.arrays["image"][None]))
    pick = aim.logits({name: tensor.numpy() for name, tensor in outputs.items()})
    return replace(net, logits=pick, maps=maps)


def _check_weight(opened: Opened) -> None:
    """Raise BundleError unless the array that the card names has a row of finite numbers for each class."""
    arrays, name = opened.bundle.arrays(), opened.card.evidence["weight"]
    if name not in arrays or arrays[name].ndim != 2 or len(arrays[name]) != len(opened.card.classes or (0,)):
        raise BundleError(f"the card's evidence weight {name!r:.80} is no stored array with a row for each class")
    if not np.isfinite(arrays[name]).all():
        raise BundleError(f"the evidence weight {name!r:.80} holds numbers that are not finite")


def _index(opened: Opened, target: str) -> int | None:
    if not target:
        return None
    if target not in opened.card.classes:
        raise UsageError(f"no class {target!r}; the model knows {', '.join(opened.card.classes[:20])}")
    return opened.card.classes.index(target)
