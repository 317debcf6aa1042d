"""onnx: logistic regression on what a frozen ONNX encoder sees, from several views of a picture; needs no PyTorch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import engines, ledger
from sightline.core.cache import Remembered, cache_folder
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Epoch, Event, Note, Progress, drain
from sightline.core.protocols import Array, Arrays
from sightline.core.recipe import Recipe, setting
from sightline.core.runs import usable_cores
from sightline.methods._foreign import Encoder, encoder
from sightline.methods._logistic import check_targets, fitted
from sightline.methods._sheet import Sheet, declared

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K"}
USES = frozenset({"mirror"})
"""Settings of the recipe that otherwise only learning by gradients looks at."""

SCALES = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0,) * 3, (1.0,) * 3),
    "signed": ((0.5,) * 3, (0.5,) * 3),
}
"""Mean and deviation, in shares of full scale, that encoders which take floats were trained with."""
USUAL = 224
"""Side of the pictures for an encoder that takes any."""
CENTRE = 0.7
"""Share of each side that the closer view shows."""
KEPT = 1024
"""Pictures after which features are written down, so that a stop loses no more."""


@dataclass(frozen=True)
class Options:
    """The encoder, and what is taken from it."""

    file: str = setting(
        "", "the ONNX file of a classifier or an encoder; onnx:FILE, or onnx:NAME of the ledger, sets it", path=True
    )
    tap: str = setting("", "the tensor that features are taken from [the one before the classifier]")
    layers: int = setting(2, "how many layers features are taken from, the last first", low=1, high=8)
    closer: bool = setting(True, f"also look at the middle {CENTRE:.0%} of each side")
    scale: str = setting("auto", "what an encoder that takes floats is given", choices=("auto", *SCALES))
    c: float = setting(0.0, "inverse strength of the L2 penalty (0: chosen by cross-validation)", low=0)


class _Files(Mapping[str, Options]):
    """Any ONNX file that is there is a variant, and whatever the weights ledger knows by name."""

    def __getitem__(self, name: str) -> Options:
        if Path(name).is_file():
            return Options(file=name)
        entry = ledger.named(name)
        if not ledger.is_here(entry):
            raise UsageError(f"{name} is not here yet; fetch it: sightline weights get {name}")
        return Options(file=str(ledger.place(entry)))

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (Path(name).is_file() or name in ledger.entries())


VARIANTS = _Files()


def asks(options: Options) -> dict[str, tuple[Any, str]]:
    """Settings of the recipe that follow from the encoder, each with its reason; for those that are left open."""
    read = _encoder(_blob(options), options)
    side = max(read.size_hw) or USUAL
    wanted: dict[str, tuple[Any, str]] = {
        "size": (round(side / CENTRE) if options.closer else side, f"the encoder looks at {side} px"),
        "color": ("grey" if read.channels == 1 else "rgb", "as the encoder wants it"),
    }
    return wanted


def brings(options: Options) -> bytes | None:
    """The encoder's file."""
    return _blob(options)


def fit(
    images: Array, targets: Arrays, card: Card, options: Options, recipe: Recipe
) -> Generator[Event, None, dict[str, Array]]:
    """Learn from prepared pictures (N, H, W, C) and {"label": (N,) int64}, or {"present": (N, K)} for several labels.

    Each picture is seen whole and, with `closer`, once more in its middle; mirrored, too, where the recipe says so.
    Features are the means over places of the last layers, as signed square roots, averaged over the views; they are
    kept in the cache folder by the encoder, the settings and the pixels. The head is solved as `fitted` says. Returns
    `head.weight` (K, F), `head.bias` (K,), float32, and `encoder`, the bytes of its file as uint8.
    Raises UsageError for an encoder that cannot be used, MissingExtraError without onnx or scikit-learn.
    """
    began = time.perf_counter()
    check_targets(targets, card)
    blob, views = _blob(options), _views(options, recipe)
    features = yield from _encoded(images, card.preparation, blob, options, views)
    mean = features.mean(axis=0)
    head = yield from fitted(features - mean, targets, card, c=options.c, seed=recipe.seed)
    seconds = time.perf_counter() - began
    yield Epoch(epoch=1, epochs=1, step=head.steps, loss=head.loss, lr=0.0, seconds=seconds, metrics=head.figures)
    bias = head.bias - head.weight.astype(np.float64) @ mean
    return {
        "head.weight": head.weight,
        "head.bias": bias.astype(np.float32),
        "encoder": np.frombuffer(blob, np.uint8),
        "views": np.array(views, np.uint8),
    }


def forward(images: Array, arrays: Arrays, card: Card, options: Options) -> dict[str, Array]:
    """Prepared pictures (N, H, W, C) → `logits` (N, K), float32: features as in `fit`, the head in plain numpy."""
    blob, views = arrays["encoder"].tobytes(), _views_of(arrays)
    features = drain(_encoded(images, card.preparation, blob, options, views), lambda event: None)
    logits = features.astype(np.float64) @ arrays["head.weight"].T + arrays["head.bias"]
    return {"logits": logits.astype(np.float32)}


def graph(arrays: Arrays, card: Card, options: Options) -> Any:
    """Views, encoder and head as one `onnx.ModelProto`, from `image` B H W C in the card's dtype."""
    return _model(card.preparation, arrays["encoder"].tobytes(), options, _views_of(arrays), head=arrays)


def _blob(options: Options) -> bytes:
    if not options.file:
        raise UsageError("say which encoder: --net onnx:FILE, an ONNX classifier whose licence lets you use it")
    try:
        return Path(options.file).read_bytes()
    except OSError as error:
        raise UsageError(f"the encoder {options.file} cannot be read: {error.strerror}") from None


def _encoder(blob: bytes, options: Options) -> Encoder:
    return encoder(blob, tap=options.tap, layers=options.layers)


Views = tuple[tuple[bool, bool], ...]
"""Of each view, whether it is the closer one, and whether it is mirrored."""


def _views(options: Options, recipe: Recipe) -> Views:
    sides = (False, True) if getattr(recipe, "mirror", "no") == "yes" else (False,)
    return tuple((closer, mirrored) for closer in (False, True)[: 1 + options.closer] for mirrored in sides)


def _views_of(arrays: Arrays) -> Views:
    return tuple((bool(closer), bool(mirrored)) for closer, mirrored in arrays["views"])


def _encoded(
    images: Array, ready: Preparation, blob: bytes, options: Options, views: Views
) -> Generator[Event, None, NDArray[np.float32]]:
    """Features of all pictures (N, F), those that are remembered without running the encoder."""
    model = _model(ready, blob, options, views).SerializeToString(deterministic=True)
    folder = cache_folder()
    kept = Remembered(folder / "features" / hashlib.sha256(model).hexdigest()[:32] if folder else None)
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    known = kept.recall(digests)
    missing = [index for index, digest in enumerate(digests) if digest not in known]
    if len(missing) < len(images):
        yield Note(
            text=f"{len(images) - len(missing):,} of {len(images):,} pictures were encoded before: {kept.folder}"
        )
    session, reason = (_opened(model), "") if missing else (None, "")
    for start in range(0, len(missing), KEPT):
        some = missing[start : start + KEPT]
        found = yield from _run(session, images, some, begun=start, total=len(missing))
        known |= {digests[index]: row for index, row in zip(some, found)}
        reason = kept.remember([digests[index] for index in some], found)
    if reason:
        yield Note(text=f"features are not kept for next time: {reason}", kind="warning")
    return np.stack([known[digest] for digest in digests])


def _run(
    session: Any, images: Array, rows: Sequence[int], *, begun: int, total: int
) -> Generator[Event, None, NDArray[np.float32]]:
    """Features of some pictures (n, F): each core runs one picture at a time, as quantised graphs use but one."""

    def one(row: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(["features"], {"image": images[row : row + 1]})[0]
        return found

    parts, pool = [], ThreadPoolExecutor(usable_cores())
    try:
        for part in pool.map(one, rows):
            parts.append(part)
            yield Progress(what="pictures encoded", done=begun + len(parts), total=total)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C waits for nothing
    return np.concatenate(parts)


def _opened(model: bytes) -> Any:
    """The graph, to be run from several threads on one core each."""
    runtime = engines.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        dtype = {"tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16}.get(given.type, np.float32)
        session.run(None, {given.name: np.zeros((2, *given.shape[1:]), dtype)})
    except engines.runtime_errors() as error:
        raise UsageError(
            f"this encoder does not run on several pictures at once ({engines.first_line(error)}); its shape may be "
            "fixed for one: name another tensor with --net.tap, or take another encoder"
        ) from None
    return session


def _model(ready: Preparation, blob: bytes, options: Options, views: Views, *, head: Arrays | None = None) -> Any:
    """From `image` to `features` (B, F), or with a head to `logits` (B, K)."""
    from onnx import helper

    read = _encoder(blob, options)
    before, after = Sheet(), Sheet()
    entrance = _seen(before, read, ready, options, views)
    features, count = _taken(after, read, len(views))
    outputs = [("features", "float32", (count,))]
    if head is not None:
        after.constant("head.weight", head["head.weight"])
        after.constant("head.bias", head["head.bias"])
        after.add("Gemm", [features, "head.weight", "head.bias"], "logits", {"transB": 1})
        after.nodes[-1].name = "head"
        outputs = [("logits", "float32", (len(head["head.bias"]),))]
    nodes = [_renamed(node, read.input, entrance) for node in read.model.graph.node]
    made = helper.make_graph(
        [*before.nodes, *nodes, *after.nodes],
        "main",
        declared([("image", ready.dtype, (*ready.size_hw, ready.channels))]),
        declared(outputs),
        [*before.constants, *read.model.graph.initializer, *after.constants],
    )
    used = {node.domain for node in nodes} | {""}
    opsets = [entry for entry in read.model.opset_import if entry.domain in used]
    return helper.make_model(made, opset_imports=opsets, ir_version=min(read.model.ir_version, 10))


def _seen(sheet: Sheet, read: Encoder, ready: Preparation, options: Options, views: Views) -> str:
    """The views of `image`, one after the other along the batch, as the encoder takes pictures."""
    from onnx import TensorProto

    size_hw = read.size_hw if all(read.size_hw) else (USUAL, USUAL)
    sheet.add("Transpose", "image", "view.nchw", {"perm": [0, 3, 1, 2]})
    sheet.add("Cast", "view.nchw", "view.float", {"to": TensorProto.FLOAT})
    if ready.channels > read.channels:
        raise UsageError("this encoder takes grey pictures; say --color grey")
    x = "view.float"
    if ready.channels < read.channels:
        x = sheet.add("Concat", [x] * read.channels, "view.colour", {"axis": 1})
    seen = [_view(sheet, x, f"view.{number}", ready.size_hw, size_hw, *view) for number, view in enumerate(views)]
    x = sheet.add("Concat", seen, "view.all", {"axis": 0})
    if read.dtype == "uint8":
        sheet.constant("view.scale", np.float32(255.0 / ready.high))
        sheet.constant("view.black", np.float32(0))
        sheet.constant("view.white", np.float32(255))
        sheet.add("Mul", [x, "view.scale"], "view.scaled")
        sheet.add("Round", "view.scaled", "view.whole")
        sheet.add("Clip", "view.whole view.black view.white", "view.clipped")
        x = sheet.add("Cast", "view.clipped", "view.bytes", {"to": TensorProto.UINT8})
    else:
        scale = SCALES.get(options.scale, SCALES["imagenet"])
        mean, deviation = (np.array(each)[None, : read.channels, None, None] for each in scale)
        sheet.constant("view.scale", 1 / (ready.high * deviation))
        sheet.constant("view.shift", -mean / deviation)
        sheet.add("Mul", [x, "view.scale"], "view.scaled")
        x = sheet.add("Add", "view.scaled view.shift", "view.shifted")
    return sheet.add("Transpose", x, "view.nhwc", {"perm": [0, 2, 3, 1]}) if read.channels_last else x


def _view(
    sheet: Sheet, x: str, name: str, from_hw: tuple[int, int], to_hw: tuple[int, int], closer: bool, mirrored: bool
) -> str:
    """One view of the pictures (B, C, H, W), at the encoder's size."""
    if closer:
        kept = [max(1, round(side * CENTRE)) for side in from_hw]
        begin = [(side - part) // 2 for side, part in zip(from_hw, kept)]
        ends = [start + part for start, part in zip(begin, kept)]
        for word, values in (("begin", begin), ("end", ends), ("axes", [2, 3])):
            sheet.constant(f"{name}.{word}", np.array(values, np.int64))
        x = sheet.add("Slice", [x, f"{name}.begin", f"{name}.end", f"{name}.axes"], f"{name}.middle")
        from_hw = (kept[0], kept[1])
    if from_hw != to_hw:
        sheet.constant(f"{name}.factors", np.array([1, 1, *map(_factor, from_hw, to_hw)], np.float32))
        x = sheet.add("Resize", [x, "", f"{name}.factors"], f"{name}.resized", {"mode": "linear"})
    if mirrored:
        least = np.iinfo(np.int64).min
        for word, value in (("first", -1), ("last", least), ("axis", 3), ("step", -1)):
            sheet.constant(f"{name}.{word}", np.array([value], np.int64))
        x = sheet.add(
            "Slice", [x, *(f"{name}.{word}" for word in ("first", "last", "axis", "step"))], f"{name}.mirrored"
        )
    return x


def _factor(before: int, after: int) -> np.float32:
    """A float32 whose product with the side, rounded down as Resize does, is the side wanted in any precision."""
    factor = np.float32(after / before)
    while min(int(np.float32(before) * factor), int(before * float(factor))) < after:
        factor = np.nextafter(factor, np.float32(np.inf))
    return factor


def _taken(sheet: Sheet, read: Encoder, views: int) -> tuple[str, int]:
    """From the encoder's taps (V B, ...) to features (B, F), and their number."""
    parts = []
    for number, tap in enumerate(read.taps):
        x = sheet.add("GlobalAveragePool", [tap], f"tap.{number}.mean") if tap in read.maps else tap
        parts.append(sheet.add("Flatten", [x], f"tap.{number}", {"axis": 1}))
    count = sum(read.taps.values())
    x = sheet.add("Concat", parts, "taps", {"axis": 1})
    for kind in ("Sign", "Abs"):
        sheet.add(kind, x, f"taps.{kind.lower()}")
    sheet.add("Sqrt", "taps.abs", "taps.root")
    x = sheet.add("Mul", "taps.sign taps.root", "taps.rooted")
    sheet.constant("taps.shape", np.array([views, -1, count], np.int64))
    sheet.constant("taps.axis", np.array([0], np.int64))
    sheet.constant("taps.share", np.float32(1 / views))
    sheet.add("Reshape", [x, "taps.shape"], "taps.by_view")
    sheet.add("ReduceSum", "taps.by_view taps.axis", "taps.sum", {"keepdims": 0})
    return sheet.add("Mul", "taps.sum taps.share", "features"), count


def _renamed(node: Any, entrance: str, now: str) -> Any:
    """The node, reading from the views where it read the encoder's input."""
    import copy

    node = copy.deepcopy(node)
    names = [now if name == entrance else name for name in node.input]
    node.ClearField("input")
    node.input.extend(names)
    return node
