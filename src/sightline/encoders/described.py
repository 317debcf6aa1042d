"""described: what an encoder says of whole pictures, a row of numbers each, under the name that figures quote it by.

Measures of made pictures are measures of features: "KID on mobilenet-v2-int8 features". An encoder that was trained on
the very pictures that are compared, or on made ones, flatters; the ledger says of each what it was trained on.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core import engines, ledger
from sightline.core.bundle import Bundle, is_bundle, open_bundle
from sightline.core.card import Preparation
from sightline.core.errors import BundleError, DataError, MissingExtraError, UsageError
from sightline.encoders.filters import FAINT, FILTERS, LUMA, filter_bank
from sightline.encoders.foreign import encoder
from sightline.encoders.sheet import Sheet, declared
from sightline.encoders.taps import PLAIN
from sightline.encoders.views import SCALES, USUAL, model_of

Pictures = NDArray[np.float32]
BATCH = 64
STRIDE, PARTS = 8, 2
"""Of the filters: pixels from place to place, and into how many parts each side is cut that are averaged apart."""
LEAST, MOST = 32, 128
"""Sides in pixels that the filters see at least and at most."""


@dataclass(frozen=True)
class Describer:
    """An encoder that is open, to be shown any number of pictures."""

    name: str
    """How figures quote it; two of one name give the same numbers."""
    size_hw: tuple[int, int]
    """What pictures are brought to; (0, 0) where it goes by the pictures."""
    channels: int
    """1 or 3 that it takes; 0 where both will do."""
    model: Any = field(repr=False)
    """An ONNX session from `image` to its first output, or None for the filters."""
    output: str = "features"
    batch: int = BATCH
    high: float = 1.0
    """What it takes for white,"""
    dtype: str = "float32"
    """and as what."""
    threads: int = 0

    def features(self, pictures: NDArray[Any]) -> NDArray[np.float32]:
        """Pictures (N, H, W, 1 or 3), shares of full scale in [0, 1] → features (N, D), float32.

        Pictures are stretched to the encoder's size by an antialiased triangle filter, since what is resized without
        one is told apart by that alone (Parmar et al., 2022). Raises DataError for other arrays and for pictures that
        are not finite or far outside [0, 1], UsageError where the encoder does not run.
        """
        given = checked(pictures)
        ready = self if self.model is not None else _filters_for(given.shape, self.threads)
        if not len(given):
            raise DataError("there are no pictures to describe")
        try:
            starts = range(0, len(given), ready.batch)
            return np.concatenate([ready._some(given[at : at + ready.batch]) for at in starts])
        except engines.runtime_errors() as error:
            raise UsageError(f"the encoder {self.name} does not run: {engines.first_line(error)}") from None

    def _some(self, pictures: Pictures) -> NDArray[np.float32]:
        images = _sized(coloured(pictures, self.channels), self.size_hw) * np.float32(self.high)
        if self.dtype != "float32":
            images = np.rint(images).astype(self.dtype)
        found = self.model.run([self.output], {"image": np.ascontiguousarray(images)})[0]
        if self.name == FILTERS:
            return _parts(found)
        if self.batch == 1:  # `views` puts out signed square roots, which suit a linear head; here they are undone
            return np.asarray(found * np.abs(found), np.float32)
        return np.asarray(found.mean(axis=(2, 3)), np.float32)


def describer(source: str | Path = FILTERS, *, scale: str = "imagenet", threads: int = 0) -> Describer:
    """Open what describes pictures; torch-free.

    source: `filters`, the bank of filters that nobody trained; an ONNX classifier or encoder by its file or its name in
    the weights ledger, of which the tensor before the classifier is taken, averaged over places where it is a map; or a
    classifier's bundle made by Sightline, of which the map that its evidence is read from is averaged over places.
    scale: what an ONNX encoder that takes floats was trained with, one of `views.SCALES`.
    threads: of a run; 0 leaves the choice to ONNX Runtime.

    The name is `filters`, the ledger's name or the file's name with the first digits of its SHA-256, or of a bundle its
    task, net and first digits. Raises UsageError for what is none of these, BundleError for a bundle that is damaged,
    MissingExtraError without the onnx package, which all but bundles need.

    >>> describer().features(np.zeros((2, 28, 28, 1), np.float32)).shape
    (2, 180)
    """
    text = str(source)
    if is_bundle(text):
        return _of_bundle(text, threads)
    if scale not in SCALES:
        raise UsageError(f"scale is {scale!r}; it is one of {', '.join(SCALES)}")
    needs_onnx()
    if text == FILTERS:
        return Describer(FILTERS, (0, 0), 0, None, threads=threads)
    return _of_file(ledger.file_of(text), scale, threads)


def features_of(
    source: str | Path, pictures: NDArray[Any], *, scale: str = "imagenet"
) -> tuple[NDArray[np.float32], str]:
    """Features (N, D), float32, of pictures (N, H, W, C) in [0, 1], and the name that figures quote them by.

    `describer` says what source and scale are and what is raised; open one for several sets.

    >>> features_of("filters", np.zeros((1, 32, 32, 3), np.float32))[1]
    'filters'
    """
    opened = describer(source, scale=scale)
    return opened.features(pictures), opened.name


def _of_file(path: Path, scale: str, threads: int) -> Describer:
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the encoder {path} cannot be read: {error.strerror}") from None
    read = encoder(blob, layers=1)
    size_hw = read.size_hw if all(read.size_hw) else (USUAL, USUAL)
    ready = Preparation(
        mode="rgb" if read.channels == 3 else "grey", size_hw=size_hw, dtype="float32", high=1.0
    )  # the views' own resizing is not antialiased, so pictures come in the encoder's size
    session = session_of(model_of(read, ready, (PLAIN,), scale=scale).SerializeToString(), threads)
    # One picture at a time, as many a foreign graph has its batch of one written into it.
    return Describer(file_name(path, blob, read.dtype, scale), size_hw, read.channels, session, batch=1)


def file_name(path: Path, blob: bytes, dtype: str, scale: str) -> str:
    """How figures quote an encoder's file: the ledger's name or its own with the first digits of its SHA-256."""
    known, digest = ledger.by_sum(blob), hashlib.sha256(blob).hexdigest()
    name = known.name if known else f"{path.name} {digest[:8]}"
    return name if scale == "imagenet" or dtype == "uint8" else f"{name} ({scale})"


def bundle_name(bundle: Bundle) -> str:
    """How figures quote a bundle as encoder: by its task, net and first digits."""
    card = bundle.card
    net = ":".join(str(card.net[key]) for key in ("name", "variant") if card.net.get(key))
    return f"{card.task} {net} {bundle.digest[:8]}"


def _of_bundle(path: str, threads: int) -> Describer:
    bundle = open_bundle(path)
    card, output = bundle.card, bundle.card.evidence.get("features", "")
    if not output or "onnx" not in card.graphs.get("main", {}):
        raise UsageError(f"{path} puts out no map to describe pictures by; use a classifier or an ONNX encoder")
    if card.preparation.multiple or card.preparation.tile:
        raise UsageError(f"{path} looks at pictures in pieces or at any size; use a classifier of whole pictures")
    session = session_of(bundle.graph("main", "onnx"), threads)
    if len(next((each.shape for each in session.get_outputs() if each.name == output), ())) != 4:
        raise BundleError(f"{path}: the card's evidence features {output!r:.80} are no map that its graph puts out")
    ready = card.preparation
    return Describer(
        name=bundle_name(bundle),
        size_hw=ready.size_hw,
        channels=ready.channels,
        model=session,
        output=output,
        high=ready.high,
        dtype=ready.dtype,
    )


def _filters_for(shape: tuple[int, ...], threads: int) -> Describer:
    """The bank at the size of these pictures, sides being whole numbers of strides in each part."""
    by = STRIDE * PARTS
    shrink = min(1.0, MOST / max(shape[1:3]))
    height, width = (max(LEAST, by * round(side * shrink / by)) for side in shape[1:3])
    ready = Preparation(mode="rgb" if shape[3] == 3 else "grey", size_hw=(height, width), dtype="float32", high=1.0)
    from onnx import helper

    sheet = Sheet()
    name, found = filter_bank(sheet, ready, strides=(STRIDE,), pool=1)
    image = declared([("image", "float32", (height, width, shape[3]))])
    graph = helper.make_graph(sheet.nodes, "main", image, declared([(name, "float32", found)]), sheet.constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return Describer(FILTERS, (height, width), shape[3], session_of(made.SerializeToString(), threads), output=name)


def _parts(maps: NDArray[Any]) -> NDArray[np.float32]:
    """Means of maps (B, D, h, w) over PARTS x PARTS parts as (B, PARTS PARTS D), from 0 for nothing to 1 for full."""
    count, depth, height, width = maps.shape
    cut = maps.reshape(count, depth, PARTS, height // PARTS, PARTS, width // PARTS).mean(axis=(3, 5))
    return np.asarray(1 - cut.reshape(count, -1) / math.log(FAINT), np.float32)


def session_of(blob: bytes, threads: int) -> Any:
    """An ONNX session on the processor; raises UsageError for a graph that does not open."""
    runtime = engines.onnxruntime()
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 4
    try:
        return runtime.InferenceSession(blob, settings, providers=["CPUExecutionProvider"])
    except engines.runtime_errors() as error:
        raise UsageError(f"this encoder does not run: {engines.first_line(error)}") from None


def needs_onnx() -> None:
    """Raise MissingExtraError without the onnx package."""
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("describing pictures needs the onnx package: pip install 'sightline[fit]'") from None


def checked(pictures: NDArray[Any]) -> Pictures:
    """Floats (N, H, W, 1 or 3), cut to [0, 1]; raises DataError for other arrays and for values far outside."""
    given = np.asarray(pictures)
    if given.ndim != 4 or given.shape[3] not in (1, 3) or given.dtype.kind != "f":
        raise DataError(f"pictures must be floats (N, H, W, 1 or 3) in [0, 1], not {given.dtype} {given.shape}")
    if given.size and not (float(given.min()) >= -0.05 and float(given.max()) <= 1.05):  # NaN fails both
        raise DataError("pictures must be finite and in [0, 1]; divide integers by their full scale")
    return np.asarray(np.clip(given, 0, 1), np.float32)


def coloured(pictures: Pictures, channels: int) -> Pictures:
    """With 1 or 3 channels: grey ones three times over, colours as luma."""
    if pictures.shape[3] == channels:
        return pictures
    if channels == 3:
        return pictures.repeat(3, axis=3)
    return np.asarray((pictures @ np.array(LUMA, np.float32))[..., None])


def _sized(pictures: Pictures, size_hw: tuple[int, int]) -> Pictures:
    if pictures.shape[1:3] == size_hw:
        return pictures
    size = size_hw[::-1]
    planes = [
        [Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BILINEAR) for plane in one]
        for one in pictures.transpose(0, 3, 1, 2)
    ]
    return np.asarray([[np.asarray(plane) for plane in one] for one in planes], np.float32).transpose(0, 2, 3, 1)
