"""explain: where in the picture the evidence for an answer lies, and whether that map can be believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from sightline.core.errors import BundleError, UsageError
from sightline.core.results import Evidence, Result
from sightline.core.shelf import Shelf
from sightline.data.pictures import Picture, read_picture
from sightline.probes._view import View
from sightline.verbs.opened import Opened
from sightline.verbs.predict import declared_bits


@dataclass(frozen=True, repr=False)
class Explanation:
    """A picture, the model's answer and the evidence for it."""

    picture: Picture
    result: Result
    evidence: Evidence

    def __repr__(self) -> str:
        return f"{self.result.line()}; evidence for {self.evidence.line()}"

    def image(self) -> Any:
        """Picture, map, colour bar and verdict side by side, as a PIL image."""
        from sightline.draw.overlay import side_by_side
        from sightline.draw.sheet import to_u8

        shown = to_u8(self.picture.pixels, self.picture.high)  # smaller than the picture after a scaled decoding
        heat = Image.fromarray(self.evidence.heat).resize((shown.shape[1], shown.shape[0]), Image.Resampling.BOX)
        return side_by_side(shown, replace(self.evidence, heat=np.asarray(heat)), self.result)

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        buffer = BytesIO()
        self.image().save(buffer, "PNG")
        return buffer.getvalue()


def explain(opened: Opened, source: Any, *, probe: str = "", target: str = "") -> Explanation:
    """Hold an instrument against the model on one picture.

    probe: a name of the shelf `probes`; by default `evidence` where the graph has a feature map, else `occlusion`.
    target: the class to explain; by default the answer given.
    Raises UsageError for an unknown class, or a probe or task that cannot do this.
    """
    if "explain" not in opened.task.SUPPORTS:
        raise UsageError(
            f"the task {opened.card.task} has no explanations; it offers {', '.join(sorted(opened.task.SUPPORTS))}"
        )
    name = probe or ("evidence" if opened.card.evidence else "occlusion")
    instrument = Shelf("probes").load(name)
    if "evidence" in instrument.NEEDS and not opened.card.evidence:
        raise UsageError(f"probe {name} needs a feature map, which this model's graph does not put out; use occlusion")
    if "evidence" in instrument.NEEDS:
        _check_weight(opened)
    picture = read_picture(source, at_least_hw=opened.card.preparation.size_hw, bits=declared_bits(opened.card))
    request = opened.encode(picture)
    return Explanation(
        picture, opened.answer([request])[0], instrument.explain(request, _index(opened, target), view(opened))
    )


def view(opened: Opened) -> View:
    """The model as probes see it."""
    return View(
        run=opened.graphs["main"].run,
        scores=lambda outputs: opened.task.scores(outputs, opened.card),
        card=opened.card,
        arrays=opened.bundle.arrays,
        classes=opened.card.classes or (opened.card.task,),
        competing=getattr(opened.task, "COMPETING", True),
    )


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
