"""perceptual: how far apart two pictures are in what the inner layers of a named encoder say of each place.

The distance of LPIPS (Zhang et al., CVPR 2018) without the weights that it learnt from people's judgements, so that its
figures are none of LPIPS'. Two encoders give two distances, which cannot be compared with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import engines, ledger
from sightline.core.bundle import is_bundle, open_bundle
from sightline.core.card import Preparation
from sightline.core.errors import DataError, UsageError
from sightline.encoders.described import bundle_name, checked, coloured, file_name, needs_onnx, session_of
from sightline.encoders.filters import FAINT, FILTERS, filter_bank
from sightline.encoders.foreign import encoder_at
from sightline.encoders.sheet import Sheet, declared
from sightline.encoders.taps import PLAIN, Taps, blob_of
from sightline.encoders.views import OWN, SCALES, USUAL, seen

Floats = NDArray[np.float32]
BANKS = (4, 8, 16)
"""Strides of the filters."""
MULTIPLE, LEAST, MOST = 16, 32, 512
"""In pixels: what sides are cut to a multiple of, up to what small pictures are mirrored, and the largest window."""
TINY = 1e-10
"""Added to lengths, so that a place of which nothing is said stays nothing."""


@dataclass(frozen=True)
class Perceptual:
    """An encoder that is open, to compare any number of pictures by."""

    encoder: str
    """How figures quote it; two of one name give the same numbers."""
    strides: tuple[int, ...]
    """Pixels from place to place of each layer."""
    channels: int
    """1 or 3 that it takes."""
    parts: tuple[tuple[Any, tuple[str, ...]], ...] = field(repr=False)
    """ONNX sessions from `image` B H W C, of any height and width, each with its outputs B D h w."""

    @property
    def name(self) -> str:
        """What the number is, as it has to be quoted."""
        return f"perceptual distance ({self.encoder}, layers at strides {', '.join(map(str, self.strides))})"

    def distances(self, truth: NDArray[Any], others: Sequence[NDArray[Any]]) -> list[float]:
        """How far each of the others is from a picture: 0 for equal ones, at most 4.

        truth, others: (H, W, 1 or 3), shares of full scale in [0, 1], all of one height and width. Of each layer the
        numbers of a place are brought to length 1 and their squared differences summed; the mean over the places, and
        then over the layers, is the distance. Nothing is resized: the middle is looked at whose sides are multiples of
        MULTIPLE, in even windows of up to MOST pixels each way. Grey stands for three equal colours. Raises DataError
        for other arrays, UsageError where the encoder does not run.
        """
        sizes = [np.shape(each)[:2] for each in (truth, *others)]
        if len(set(sizes)) > 1:
            raise DataError(f"pictures of unlike sizes cannot be compared: {sizes}")
        if not others:
            return []
        pictures = [self._given(each) for each in (truth, *others)]
        sums, places = np.zeros((len(others), len(self.strides))), np.zeros(len(self.strides))
        for rows, columns in _windows(pictures[0].shape):
            first, *rest = ([_unit(each) for each in self._maps(each[:, rows, columns])] for each in pictures)
            places += [each[0, 0].size for each in first]
            sums += [[float(np.square(a - b).sum()) for a, b in zip(first, each)] for each in rest]
        return [float(each) for each in (sums / places).mean(axis=1)]

    def _given(self, picture: NDArray[Any]) -> Floats:
        """Of one picture the middle (1, H, W, channels) that is looked at."""
        given = coloured(checked(np.asarray(picture)[None]), self.channels)
        if not given.size:
            raise DataError("there are no pixels to compare")
        lacking = [(0, max(0, LEAST - side)) for side in given.shape[1:3]]
        given = np.pad(given, [(0, 0), *lacking, (0, 0)], mode="symmetric")
        rows, columns = (slice(side % MULTIPLE // 2, side - (side % MULTIPLE + 1) // 2) for side in given.shape[1:3])
        return np.asarray(given[:, rows, columns])

    def _maps(self, image: Floats) -> list[Floats]:
        found: list[Floats] = []
        try:
            for session, outputs in self.parts:
                found += session.run(list(outputs), {"image": np.ascontiguousarray(image)})
        except engines.runtime_errors() as error:
            raise UsageError(
                f"the encoder {self.encoder} does not run on pictures of any size; take one that is convolutional: "
                f"{engines.first_line(error)}"
            ) from None
        return found


def perceptual(source: str | Path = FILTERS, *, scale: str = "imagenet", threads: int = 0) -> Perceptual:
    """Open what pictures are compared by; torch-free.

    source: `filters`, the bank of filters that nobody trained; a convolutional ONNX classifier or encoder by its file
    or its name in the weights ledger; or a bundle made by Sightline. Maps are taken at each stride of `foreign.FINE`
    that there is. scale: what an ONNX encoder that takes floats was trained with, one of `views.SCALES`; colours are
    RGB. threads: of a run; 0 leaves the choice to ONNX Runtime.

    Raises UsageError for what is none of these, takes more than one picture or takes one size only, BundleError for a
    bundle that is damaged, MissingExtraError without the onnx package.

    >>> perceptual().name
    'perceptual distance (filters, layers at strides 4, 8, 16)'
    """
    if scale not in SCALES:
        raise UsageError(f"scale is {scale!r}; it is one of {', '.join(SCALES)}")
    needs_onnx()
    if str(source) == FILTERS:
        return Perceptual(FILTERS, BANKS, 3, tuple(_bank(stride, threads) for stride in BANKS))
    path = Path(source) if (bundled := is_bundle(str(source))) else ledger.file_of(str(source))
    blob = blob_of(Taps(file=str(path)))
    read = encoder_at(blob, ())
    size_hw = read.size_hw if all(read.size_hw) else (USUAL, USUAL)
    side = size_hw[0]
    scale = "unit" if bundled else scale  # the graph of a bundle normalises by itself
    sheet, ready = Sheet(), _ready(read.channels, size_hw)
    sheet.add("Identity", seen(sheet, read, ready, (PLAIN,), scale), OWN + read.input)
    made = _free(sheet, read.channels, [(OWN + tap, width) for tap, width in read.taps.items()], read.model)
    eye = Perceptual(
        encoder=bundle_name(open_bundle(path)) if bundled else file_name(path, blob, read.dtype, scale),
        strides=tuple(round(side / height) for height, _ in read.sizes.values()),
        channels=read.channels,
        parts=((session_of(made, threads), tuple(OWN + tap for tap in read.taps)),),
    )
    small, large = (eye._maps(np.zeros((1, each * LEAST, LEAST, eye.channels), np.float32)) for each in (1, 2))
    if any(a.shape[2] >= b.shape[2] for a, b in zip(small, large)):
        raise UsageError(f"the maps of {eye.encoder} do not grow with the picture; take one that is convolutional")
    return eye


def _ready(channels: int, size_hw: tuple[int, int]) -> Preparation:
    """Shares of full scale, which come in the size that the encoder expects, so that its view resizes nothing."""
    return Preparation(mode="rgb" if channels == 3 else "grey", size_hw=size_hw, dtype="float32", high=1.0)


def _bank(stride: int, threads: int) -> tuple[Any, tuple[str, ...]]:
    """The filters at one stride, from 0 for nothing to 1 for full."""
    sheet = Sheet()
    name, (depth, _, _) = filter_bank(sheet, _ready(3, (USUAL, USUAL)), strides=(stride,), pool=1)
    sheet.constant("lift.share", -1 / np.log(FAINT))
    sheet.constant("lift.one", np.float32(1))
    sheet.add("Mul", [name, "lift.share"], "lift.part")
    lifted = sheet.add("Add", "lift.part lift.one", "lifted")
    return session_of(_free(sheet, 3, [(lifted, depth)]), threads), (lifted,)


def _free(sheet: Sheet, channels: int, maps: Sequence[tuple[str, int]], inner: Any = None) -> bytes:
    """The finished graph, of any height and width, from `image` to maps, each by name and depth."""
    from onnx import compose, helper

    opsets, constants = [helper.make_opsetid("", 17)], list(sheet.constants)
    nodes = list(sheet.nodes)
    if inner is not None:
        own = compose.add_prefix(inner, OWN).graph
        nodes, constants = [*nodes, *own.node], [*constants, *own.initializer]
        used = {node.domain for node in own.node} | {""}
        opsets = [entry for entry in inner.opset_import if entry.domain in used]
    image = declared([("image", "float32", ("H", "W", channels))])
    outputs = declared([(name, "float32", (depth, f"h{at}", f"w{at}")) for at, (name, depth) in enumerate(maps)])
    graph = helper.make_graph(nodes, "main", image, outputs, constants)
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return made


def _windows(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Even parts of a picture (1, H, W, C), side by side, each of up to MOST pixels each way and on the MULTIPLE."""
    edges = []
    for side in shape[1:3]:
        count = -(-side // MOST)
        edges.append([MULTIPLE * (side // MULTIPLE * part // count) for part in range(count + 1)])
    for (top, bottom), (left, right) in product(*(list(pairwise(each)) for each in edges)):
        yield slice(top, bottom), slice(left, right)


def _unit(maps: Floats) -> Floats:
    """Maps (1, D, h, w), each place of length 1."""
    return np.asarray(maps / (np.sqrt(np.square(maps).sum(axis=1, keepdims=True)) + TINY), np.float32)
