"""A picture into maps of an encoder's inner layers, and a row of numbers for each of their places, as an ONNX graph."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import engines, ledger
from sightline.core.bundle import is_bundle, open_bundle
from sightline.core.card import Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Event, Progress
from sightline.core.protocols import Array
from sightline.core.recipe import setting
from sightline.core.runs import usable_cores
from sightline.encoders.filters import FILTERS, filter_bank
from sightline.encoders.foreign import Encoder, encoder_at
from sightline.encoders.sheet import Sheet, declared
from sightline.encoders.timm_graph import timm_encoder
from sightline.encoders.views import OWN, SCALES, USUAL, factor, seen

PLAIN = (False, False)
"""A view of the whole picture, not mirrored."""


@dataclass(frozen=True)
class Taps:
    """What a method of comparing patches takes from an encoder."""

    file: str = setting(
        "",
        "the encoder: an ONNX file, a bundle made by Sightline, or a name of the ledger; METHOD:FILE sets it "
        "[a bank of filters, which needs no file]",
        path=True,
    )
    arch: str = setting(
        "", "architecture of timm that the file, .safetensors, holds weights of; learning needs PyTorch"
    )
    strides: str = setting("", "pixels of the encoder's input from one place to the next, as 8,16 [16; filters: 8]")
    tap: str = setting("", "the tensors that maps are taken from, with commas [the last of each stride]")
    pool: int = setting(3, "places each way that are averaged about a place", low=1, high=9)
    top: float = setting(
        0.0, "share of the places, the farthest, whose mean is the score (0: the farthest alone)", low=0, high=1
    )
    scale: str = setting("auto", "what an encoder that takes floats is given", choices=("auto", *SCALES))


class Files(Mapping[str, Any]):
    """Any ONNX file or bundle that is there is a variant, and whatever the weights ledger knows by name."""

    def __init__(self, options: type[Any]) -> None:
        self.options = options

    def __getitem__(self, name: str) -> Any:
        if name == FILTERS:
            return self.options()
        return self.options(file=name if is_bundle(name) else str(ledger.file_of(name)))

    def __iter__(self) -> Iterator[str]:
        return iter((FILTERS,))

    def __len__(self) -> int:
        return 1

    def __contains__(self, name: object) -> bool:
        known = isinstance(name, str) and (name == FILTERS or Path(name).is_file() or is_bundle(name))
        return known or name in ledger.entries()


def brings(options: Any) -> Path | None:
    """The encoder's file; None for the filters, which are nobody's weights."""
    return Path(options.file) if options.file else None


def asks(options: Any) -> dict[str, tuple[Any, str]]:
    """Settings of the recipe that follow from the encoder, each with its reason."""
    if not options.file:
        return {"size": (USUAL, "the filters are made for it")}
    read = _read(blob_of(options), options, (0, 0))
    wanted: dict[str, tuple[Any, str]] = {"color": ("grey" if read.channels == 1 else "rgb", "as the encoder wants it")}
    if all(read.size_hw):
        wanted["size"] = (max(read.size_hw), f"the encoder looks at {max(read.size_hw)} px")
    else:
        wanted["size"] = (USUAL, "usual for encoders")
    return wanted


HINT = "filters often find less than an encoder does: --net METHOD:FILE.onnx, or a name of `sightline weights list`"


def blob_of(options: Any) -> bytes:
    """The encoder's graph; b"" for the filters. Raises UsageError for a file that cannot be read."""
    if not options.file:
        return b""
    if options.arch:
        return timm_encoder(Path(options.file), options.arch)
    if is_bundle(options.file):
        bundle = open_bundle(options.file)
        if "onnx" not in bundle.card.graphs.get("main", {}):
            raise UsageError(f"{options.file} has no ONNX graph to take maps from")
        return bundle.graph("main", "onnx")
    try:
        return Path(options.file).read_bytes()
    except OSError as error:
        raise UsageError(f"the encoder {options.file} cannot be read: {error.strerror}") from None


def _read(blob: bytes, options: Any, size_hw: tuple[int, int]) -> Encoder:
    taps = tuple(part.strip() for part in options.tap.split(",") if part.strip())
    return encoder_at(blob, _strides(options, 16), taps=taps, size_hw=size_hw)


def _strides(options: Any, usual: int) -> tuple[int, ...]:
    """The strides as numbers, each once."""
    try:
        strides = tuple(dict.fromkeys(int(part) for part in (options.strides or str(usual)).split(",")))
    except ValueError:
        strides = ()
    if not strides or min(strides) < 1:
        raise UsageError(f"net.strides is {options.strides!r}; write it as 16, or 8,16")
    return strides


@dataclass(frozen=True)
class Maps:
    """Maps of an encoder, as they stand on a sheet."""

    name: str
    """Of the tensor, B D h w."""
    shape: tuple[int, int, int]
    """D, h, w."""
    opsets: tuple[Any, ...]
    """What the graph's operators are of."""

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return next(int(entry.version) for entry in self.opsets if entry.domain == "")


def add_maps(sheet: Sheet, blob: bytes, ready: Preparation, options: Any) -> Maps:
    """From `image` B H W C to maps B D h w, all layers brought to the finest; b"" is the bank of filters."""
    from onnx import compose, helper

    if not blob:
        name, shape = filter_bank(sheet, ready, strides=_strides(options, 8), pool=options.pool)
        return Maps(name, shape, (helper.make_opsetid("", 17),))
    read = _read(blob, options, ready.size_hw)
    sheet.add("Identity", seen(sheet, read, ready, (PLAIN,), options.scale), OWN + read.input)
    inner = compose.add_prefix(read.model, OWN).graph
    sheet.nodes.extend(inner.node)
    sheet.constants.extend(inner.initializer)
    finest = max(read.sizes.values())
    parts = []
    for number, tap in enumerate(read.taps):
        x = pooled(sheet, OWN + tap, f"tap.{number}", options.pool)
        if read.sizes[tap] != finest:
            sheet.constant(f"tap.{number}.factors", np.array([1, 1, *map(factor, read.sizes[tap], finest)], np.float32))
            x = sheet.add("Resize", [x, "", f"tap.{number}.factors"], f"tap.{number}.resized", {"mode": "linear"})
        parts.append(x)
    used = {node.domain for node in inner.node} | {""}
    opsets = tuple(entry for entry in read.model.opset_import if entry.domain in used)
    return Maps(sheet.add("Concat", parts, "maps", {"axis": 1}), (sum(read.taps.values()), *finest), opsets)


def pooled(sheet: Sheet, x: str, name: str, side: int) -> str:
    """Means over squares about each place. Outside the map are zeros, as in PatchCore, so that borders say less."""
    if side == 1:
        return x
    before, after = (side - 1) // 2, side // 2
    attributes = {"kernel_shape": [side] * 2, "pads": [before] * 2 + [after] * 2, "count_include_pad": 1}
    return sheet.add("AveragePool", x, f"{name}.mean", attributes)


def rows_of(sheet: Sheet, maps: Maps) -> str:
    """Maps B D h w as rows of numbers, B (h w) D."""
    depth, height, width = maps.shape
    sheet.constant("rows.shape", np.array([-1, depth, height * width], np.int64))
    sheet.add("Reshape", [maps.name, "rows.shape"], "rows.first")
    return sheet.add("Transpose", "rows.first", "rows", {"perm": [0, 2, 1]})


def reduced(sheet: Sheet, kind: str, x: str, output: str, axes: list[int], *, opset: int) -> str:
    """A ReduceMin, ReduceMax or the like without the axes it goes over, which later opsets take as an input."""
    if opset < (13 if kind == "ReduceSum" else 18):
        return sheet.add(kind, x, output, {"axes": axes, "keepdims": 0})
    sheet.constant(f"{output}.axes", np.array(axes, np.int64))
    return sheet.add(kind, [x, f"{output}.axes"], output, {"keepdims": 0})


def model_of(sheet: Sheet, maps: Maps, ready: Preparation, outputs: list[tuple[str, str, tuple[int, ...]]]) -> Any:
    """The finished `onnx.ModelProto` from `image` B H W C."""
    from onnx import helper

    image = declared([("image", ready.dtype, (*ready.size_hw, ready.channels))])
    made = helper.make_graph(sheet.nodes, "main", image, declared(outputs), sheet.constants)
    return helper.make_model(made, opset_imports=list(maps.opsets), ir_version=10)


@dataclass(frozen=True)
class Opened:
    """An encoder's graph, to be run from several threads on one core each."""

    session: Any
    shape: tuple[int, int, int]
    """D, h, w of the maps of one picture."""

    def places_of(self, images: Array, *, threads: int | None = None) -> Generator[Event, None, NDArray[np.float32]]:
        """Maps of prepared pictures (N, H, W, C) as (N, h, w, D), float32; each thread runs one picture at a time.

        threads: as many as there are cores where it is None.
        """
        depth, height, width = self.shape
        found = np.empty((len(images), height, width, depth), np.float32)

        def one(row: int) -> None:
            found[row] = self.session.run(["places"], {"image": np.ascontiguousarray(images[row : row + 1])})[0][0]

        pool = ThreadPoolExecutor(threads or usable_cores())
        try:
            for done, _ in enumerate(pool.map(one, range(len(images))), start=1):
                if done % 16 == 0 or done == len(images):
                    yield Progress(what="pictures encoded", done=done, total=len(images))
        except engines.runtime_errors() as error:
            raise UsageError(f"this encoder does not run: {engines.first_line(error)}") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C waits for nothing
        return found


def opened(blob: bytes, ready: Preparation, options: Any) -> Opened:
    """The graph from `image` to `places` B h w D; raises UsageError for an encoder that does not run."""
    sheet = Sheet()
    maps = add_maps(sheet, blob, ready, options)
    sheet.add("Transpose", maps.name, "places", {"perm": [0, 2, 3, 1]})
    depth, height, width = maps.shape
    model = model_of(sheet, maps, ready, [("places", "float32", (height, width, depth))])
    runtime = engines.onnxruntime()
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 4
    made = model.SerializeToString(deterministic=True)
    try:
        session = runtime.InferenceSession(made, settings, providers=["CPUExecutionProvider"])
    except engines.runtime_errors() as error:
        raise UsageError(f"this encoder does not run: {engines.first_line(error)}") from None
    return Opened(session, maps.shape)
