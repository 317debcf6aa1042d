"""onnx: logistic regression on what a frozen ONNX encoder sees, from several views of a picture; needs no PyTorch."""

from __future__ import annotations

import functools
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import engines, ledger
from sightline.core.cache import Remembered, features_folder
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Epoch, Event, Progress, drain
from sightline.core.protocols import Array, Arrays
from sightline.core.recipe import Recipe, setting
from sightline.core.runs import usable_cores
from sightline.encoders.foreign import encoder
from sightline.encoders.views import CENTRE, SCALES, USUAL, Views, model_of
from sightline.methods._logistic import check_targets, fitted

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K"}
REMEMBERS = True
"""Features are kept, so pictures that were seen before need not be read."""
USES = frozenset({"mirror"})
"""Settings of the recipe that otherwise only learning by gradients looks at."""

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
        return Options(file=str(ledger.file_of(name)))

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (Path(name).is_file() or name in ledger.entries())


VARIANTS = _Files()


def asks(options: Options) -> dict[str, tuple[Any, str]]:
    """Settings of the recipe that follow from the encoder, each with its reason; for those that are left open."""
    read = encoder(_blob(options), tap=options.tap, layers=options.layers)
    side = max(read.size_hw) or USUAL
    wanted: dict[str, tuple[Any, str]] = {
        "size": (round(side / CENTRE) if options.closer else side, f"the encoder looks at {side} px"),
        "color": ("grey" if read.channels == 1 else "rgb", "as the encoder wants it"),
    }
    return wanted


def brings(options: Options) -> Path:
    """The encoder's file."""
    return Path(options.file)


def fit(
    images: Array, targets: Arrays, card: Card, options: Options, recipe: Recipe
) -> Generator[Event, None, dict[str, Array]]:
    """Learn from prepared pictures (N, H, W, C) and {"label": (N,) int64}, or {"present": (N, K)} for several labels.

    Each picture is seen whole and, with `closer`, once more in its middle; mirrored, too, where the recipe says so.
    Features are the means over places of the last layers, as signed square roots, averaged over the views; they are
    kept in the cache folder by the encoder, the settings, the pixels, ONNX Runtime's version and the processor. The
    head is solved as `fitted` says. Returns `head.weight` (K, F), `head.bias` (K,), float32, and `encoder`, the bytes
    of its file as uint8.
    Raises UsageError for an encoder that cannot be used, MissingExtraError without onnx or scipy.
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
    features = drain(_encoded(images, card.preparation, blob, options, views))
    logits = features.astype(np.float64) @ arrays["head.weight"].T + arrays["head.bias"]
    return {"logits": logits.astype(np.float32)}


def graph(arrays: Arrays, card: Card, options: Options) -> Any:
    """Views, encoder and head as one `onnx.ModelProto`, from `image` B H W C in the card's dtype."""
    return _model(arrays["encoder"].tobytes(), card.preparation, options, _views_of(arrays), head=arrays)


def _blob(options: Options) -> bytes:
    if not options.file:
        raise UsageError("say which encoder: --net onnx:FILE, an ONNX classifier whose licence lets you use it")
    try:
        return Path(options.file).read_bytes()
    except OSError as error:
        raise UsageError(f"the encoder {options.file} cannot be read: {error.strerror}") from None


def _views(options: Options, recipe: Recipe) -> Views:
    sides = (False, True) if getattr(recipe, "mirror", "no") == "yes" else (False,)
    return tuple((closer, mirrored) for closer in (False, True)[: 1 + options.closer] for mirrored in sides)


def _views_of(arrays: Arrays) -> Views:
    return tuple((bool(closer), bool(mirrored)) for closer, mirrored in arrays["views"])


def _model(blob: bytes, ready: Preparation, options: Options, views: Views, *, head: Arrays | None = None) -> Any:
    read = encoder(blob, tap=options.tap, layers=options.layers)
    return model_of(read, ready, views, scale=options.scale, head=head)


def _encoded(
    images: Array, ready: Preparation, blob: bytes, options: Options, views: Views
) -> Generator[Event, None, NDArray[np.float32]]:
    """Features of all pictures (N, F), those that are remembered without running the encoder."""
    model = _model(blob, ready, options, views).SerializeToString(deterministic=True)
    opened = functools.cache(lambda: _opened(model))  # not before a picture asks for it
    begun = 0

    def parts() -> Iterator[Array]:
        nonlocal begun
        for begun in range(0, len(images), KEPT):
            yield images[begun : begun + KEPT]

    def make(some: Array) -> Generator[Event, None, NDArray[np.float32]]:
        return (yield from _run(opened(), some, begun=begun, total=len(images)))

    return (yield from Remembered(features_folder(model, runtime=engines.runtime())).rows_of(parts(), make))


def _run(session: Any, images: Array, *, begun: int, total: int) -> Generator[Event, None, NDArray[np.float32]]:
    """Features of pictures (n, F): each core runs one picture at a time, as quantised graphs use but one."""

    def one(row: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(["features"], {"image": images[row : row + 1]})[0]
        return found

    parts, pool = [], ThreadPoolExecutor(usable_cores())
    try:
        for part in pool.map(one, range(len(images))):
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
