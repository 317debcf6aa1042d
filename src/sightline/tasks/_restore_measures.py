"""How near restored pictures come to what they should be, and what a report shows of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.card import Card
from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.core.protocols import Arrays, Change, Request
from sightline.core.results import Picture
from sightline.data.holes import calm
from sightline.data.spoil import resized
from sightline.draw.sheet import to_u8
from sightline.metrics.fidelity import psnr, ssim
from sightline.metrics.intervals import bootstrap
from sightline.metrics.summary import measured
from sightline.tasks._restore_learning import Floats, grey

EQUAL = 100.0
"""PSNR in dB of equal pictures, whose own would have no mean with others."""
DROP = (0.1, "dB")
"""What another graph may cost where nothing else is said; a difference that nobody sees."""
LEAST = 10
"""Pictures from which on drawing them anew says how sure a loss is."""
CLEAR = 50.0
"""PSNR in dB above which two graphs count as equally good: half a step of 8 bits away."""
_SHOWN = (300, 150)
"""Width and height of what is shown of a picture in a report."""


def fidelity(found: Floats, request: Request, scale: int) -> dict[str, float]:
    """How near it is to the sharp picture, and how near the poor one is, enlarged by bicubic interpolation; of holes,
    over their pixels alone, and beside them those of the calmest filling there is."""
    sharp, found, plain = _sides(found, request)
    hole, border = _hole(request), border_of(scale)
    after, before = (
        (psnr(a, sharp, border=border, where=hole), ssim(a, sharp, border=border, where=hole)) for a in (found, plain)
    )
    return {
        "psnr": min(after[0], EQUAL),
        "ssim": after[1],
        "psnr_before": min(before[0], EQUAL),
        "ssim_before": before[1],
    }


def sides(result: Picture, request: Request) -> tuple[Floats, Floats, Floats]:
    """Whole pictures (H, W, 1 or 3), shares of full scale cut to [0, 1]: what it should be, what the model made of the
    poor one, and what bicubic interpolation makes of it, or of holes the calmest filling there is."""
    sharp, found, plain = _sides(result.pixels.astype(np.float32) / np.float32(result.high), request)
    return np.clip(sharp, 0, 1), np.clip(found, 0, 1), plain


def _sides(found: Floats, request: Request) -> tuple[Floats, Floats, Floats]:
    sharp, poor, hole = request.beside["sharp"], request.arrays["image"], _hole(request)
    plain = resized(poor, (sharp.shape[0], sharp.shape[1])) if hole is None else calm(poor[..., :-1], hole)
    if request.beside["grey"] or sharp.shape[2] < found.shape[2]:
        sharp, plain, found = (grey(each) for each in (sharp, plain, found))
    levels = levels_of(request.beside["dtype"])
    return sharp, found, (np.rint(levels * np.clip(plain, 0, 1)) / levels).astype(np.float32)


def _hole(request: Request) -> NDArray[np.bool_] | None:
    return request.arrays["image"][..., -1] > 0 if "pixels" in request.beside else None


def levels_of(dtype: Any) -> int:
    """Steps from black to white that a picture of this kind may have."""
    return 255 if np.dtype(dtype) == np.uint8 else 65535


def border_of(scale: int) -> int:
    """Pixels that are left out of comparisons on each side, as the literature has it."""
    return scale if scale > 1 else 0


class RestoreMeter:
    """Collects how near each picture came to the one it should be."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._groups: list[str] = []

    def update(self, result: Picture, target: Any, group: str) -> None:
        """Take one answer in; raises DataError where it was not compared with anything."""
        if not result.fidelity:
            raise DataError(f"{group} was not compared with a sharp picture")
        self._rows.append(dict(result.fidelity))
        self._groups.append(group)

    def compute(self) -> dict[str, Measure]:
        """Means over the pictures of PSNR and SSIM on luma, before and after, and what was gained in dB."""
        names = ("psnr", "ssim", "psnr_before", "ssim_before")
        table = np.array([[row[name] for name in names] for row in self._rows])

        def summary(weights: NDArray[np.float64]) -> dict[str, Any]:
            mean = weights @ table / weights.sum()
            return {**dict(zip(names, map(float, mean))), "gain": float(mean[0] - mean[2])}

        return measured(summary, np.array(self._groups), (), sizes=lambda member: {})


def meters(card: Card) -> list[RestoreMeter]:
    """One meter for all measures."""
    return [RestoreMeter()]


def change(before: Sequence[Picture], after: Sequence[Picture], targets: Sequence[Any], card: Card) -> Change:
    """What another graph costs in PSNR, picture by picture: at most, by the 95 % interval over them."""
    both = np.array([[min(each.fidelity["psnr"], CLEAR) for each in pair] for pair in zip(before, after)])
    lost = both[:, 0] - both[:, 1]
    low, high = map(float, bootstrap(lambda weights: weights @ lost / weights.sum(), np.arange(len(lost))))
    mean, worst = float(lost.mean()), float(lost.max())
    interval = f"[{0.0 - high:+.3f}, {0.0 - low:+.3f}]"
    return Change(
        points=high,
        detail=f"PSNR {0.0 - mean:+.3f} dB {interval}, {0.0 - worst:+.2f} of the picture that loses most",
        decidable=len(lost) >= LEAST,
        unit=DROP[1],
        figures={"lost": mean, "low": low, "high": high, "worst": worst},
    )


def badness(result: Picture, target: Any) -> float:
    """Noise left, so that what came least near is shown first; positive where it is no better than before."""
    return result.fidelity["psnr_before"] - result.fidelity["psnr"] if result.fidelity else 0.0


def kept(result: Picture) -> Picture:
    """What a report needs of an answer: the middle, in its own pixels."""
    if result.whole_hw is not None:
        return result
    if result.hole is not None:
        return _smaller(result)
    (height, width), (wide, high) = result.size_hw, _SHOWN
    top, left = (max(0, (length - side // 2) // 2) for length, side in ((height, high), (width, wide)))
    middle = result.pixels[top : top + high // 2, left : left + wide // 2].copy()
    return dataclasses.replace(result, pixels=middle, alpha=None, whole_hw=(height, width))


def pictured(
    image: NDArray[np.uint8], size_hw: tuple[int, int], result: Picture, target: Any = None
) -> NDArray[np.uint8]:
    """The middle of the picture that was given, at any scale (h, w, 3), and below it that of the answer; twice as large
    as the answer, (304, 300, 3). Of filled holes the whole picture with its hole, the answer, and what it was."""
    if result.hole is not None:
        return _filled(image, kept(result))
    part, (wide, _), (height, width) = kept(result), _SHOWN, image.shape[:2]
    tall, broad = (own / whole for own, whole in zip(part.pixels.shape, part.size_hw))
    box = (width * (1 - broad) / 2, height * (1 - tall) / 2, width * (1 + broad) / 2, height * (1 + tall) / 2)
    given = Image.fromarray(image).resize(_SHOWN, Image.Resampling.BICUBIC, box)
    answer = Image.fromarray(to_u8(part.pixels, part.high)).resize(_SHOWN, Image.Resampling.BICUBIC)
    return np.concatenate([np.asarray(given), np.full((4, wide, 3), 255, np.uint8), np.asarray(answer)])


def _smaller(result: Picture) -> Picture:
    """All of a picture with holes, as large as it is shown, in 8 bits."""
    assert result.hole is not None
    by = max(length / side for length, side in zip(result.size_hw, reversed(_SHOWN)))
    size = (max(1, round(result.size_hw[1] / max(by, 1))), max(1, round(result.size_hw[0] / max(by, 1))))
    pixels = to_u8(result.pixels, result.high)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    hole = Image.fromarray(result.hole).convert("L").resize(size, Image.Resampling.BOX)
    shown, place = np.asarray(image.resize(size, Image.Resampling.BOX)), np.asarray(hole) > 127
    return dataclasses.replace(result, pixels=shown, hole=place, high=255.0, alpha=None, whole_hw=result.size_hw)


def _filled(image: NDArray[np.uint8], part: Picture) -> NDArray[np.uint8]:
    """With white where the hole was, filled, and as the picture was given; side by side, with white between."""
    assert part.hole is not None
    height, width = part.hole.shape
    truth = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
    gap = np.full((height, 4, 3), 255, np.uint8)
    holed = np.where(part.hole[..., None], np.uint8(255), truth)
    return np.concatenate([holed, gap, part.pixels, gap, truth], axis=1)


def quick(outputs: Arrays, targets: Arrays, card: Card) -> dict[str, float]:
    """PSNR over all colours of validation pieces, or of their holes, in dB, while training."""
    error = np.square(np.clip(outputs["picture"], 0, 1) - targets["sharp"]).mean(axis=(1, 2, 3))
    if "hole" in targets:
        error = error / targets["hole"].mean(axis=(1, 2, 3))
    return {"psnr": float(np.mean(-10 * np.log10(np.maximum(error, 1e-10))))}
