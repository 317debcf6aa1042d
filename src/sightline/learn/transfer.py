"""Transfer: a net begins with weights learnt elsewhere; its head is solved on frozen features, then all is tuned."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sightline.core.bundle import is_bundle, open_bundle
from sightline.core.cache import Remembered, features_folder
from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Progress
from sightline.core.ledger import file_of
from sightline.core.protocols import Arrays
from sightline.core.recipe import Recipe
from sightline.learn.augment import normalised
from sightline.learn.source import Source
from sightline.methods._logistic import Head, check_targets, fitted
from sightline.nets._pretrained import load_weights, read_weights

FEW = 50
"""Pictures a class below which the statistics of batch norms stay those that came with the weights."""
MOST = 20_000
"""Pictures that a head is solved on; more teach it little, and all their features would have to be in memory."""
_BATCH = 128
_NUMBERED = re.compile(r"(.*?\.\d+)\.")


def weights_of(start: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The arrays that `start` names, of a bundle, a file or a name of the weights ledger; a bundle's classes, too."""
    if not is_bundle(start):
        return read_weights(file_of(start)), ()
    bundle = open_bundle(start)
    return {name: torch.from_numpy(np.array(array)) for name, array in bundle.arrays().items()}, bundle.card.classes


def begun(module: nn.Module, start: str, card: Card) -> str:
    """Put the weights into a fresh net, all but a head for other classes or of unknown ones; says what was done."""
    held, classes = weights_of(start)
    fresh = load_weights(module, held, head=heads_of(module), keep_head=classes == card.classes)
    return f"begins with {Path(start).name}" + (f"; {', '.join(fresh)} are learnt anew" if fresh else "")


def heads_of(module: nn.Module) -> tuple[str, ...]:
    """The names of all layers that score classes or know them: its own `heads`, else its last layer."""
    return tuple(getattr(module, "heads", ())) or (head_name(module),)


def head_name(module: nn.Module) -> str:
    """The name of the linear layer that scores the classes. Raises UsageError for a net that ends otherwise."""
    net: Any = getattr(module, "net", module)
    head = net.get_classifier() if hasattr(net, "get_classifier") else getattr(net, "head", None)
    name = next((name for name, part in module.named_modules() if part is head), "")
    if not isinstance(head, nn.Linear) or not name:
        raise UsageError(
            "this net does not end in one linear layer, so it cannot begin with weights from elsewhere; leave out "
            "--start, or take a net that does, as resnet, convnext, vit or timm for classes"
        )
    return name


def probed(
    module: nn.Module, source: Source, card: Card, *, mirror: bool, seed: int, groups: NDArray[np.int64] | None = None
) -> Generator[Event, None, Head]:
    """Solve the head on what the frozen net makes of the training pictures, and put it in (a linear probe).

    What goes into the head is taken from whole pictures as they are, and averaged with their mirror images' where
    `mirror` says so; it is kept in the cache folder by weights, preparation and pixels. The penalty is chosen by
    cross-validation (`methods._logistic.fitted`), whole `groups` (N,) on one side. Of more than MOST pictures, so many
    are drawn by the seed, rare classes first.
    """
    head = module.get_submodule(head_name(module))
    assert isinstance(head, nn.Linear)
    check_targets(source.targets, card)
    rows = drawn(source.targets, source.count, seed)
    targets = {name: array[rows] for name, array in source.targets.items()}
    targets |= {} if groups is None else {"group": groups[rows]}
    made = _Encoder(module, head, card, mirror, len(rows))
    parts = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    pictures = (images for images, _ in source.batches(parts))
    features = yield from Remembered(features_folder(made.identity())).rows_of(pictures, made)
    mean = features.mean(axis=0)
    found = yield from fitted(features - mean, targets, card, c=0.0, seed=seed)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(found.weight))
        head.bias.copy_(torch.from_numpy((found.bias - found.weight.astype(np.float64) @ mean).astype(np.float32)))
    yield Note(text=f"the head is solved on {len(features):,} pictures as the frozen net sees them")
    return found


def drawn(targets: Arrays, count: int, seed: int) -> NDArray[np.int64]:
    """The rows to solve a head on, in order: all up to MOST, else so many; FEW of each class first, where there are."""
    if count <= MOST:
        return np.arange(count)
    mixed = np.random.default_rng(seed % 2**63).permutation(count)
    several = "present" in targets
    marks = targets["present"] if several else targets["label"]
    classes = range(marks.shape[1]) if several else np.unique(marks)
    each = max(1, min(FEW, MOST // len(classes)))
    rare = [mixed[marks[mixed, name] if several else marks[mixed] == name][:each] for name in classes]
    first = np.unique(np.concatenate(rare))[:MOST]
    rest = mixed[~np.isin(mixed, first)]
    return np.sort(np.concatenate([first, rest[: MOST - len(first)]]))


class _Encoder:
    """A frozen net as a function from prepared pictures to what goes into its head."""

    def __init__(self, module: nn.Module, head: nn.Linear, card: Card, mirror: bool, total: int) -> None:
        self.module, self.head, self.card, self.mirror = module, head, card, mirror
        self.done, self.total = 0, total

    def identity(self) -> bytes:
        """Bytes that differ where features do."""
        own = {id(p) for p in self.head.parameters()}
        net = sorted((name, str(value)) for name, value in self.card.net.items())
        digest = hashlib.sha256(repr((self.card.preparation, self.mirror, net)).encode())
        for name, tensor in self.module.state_dict(keep_vars=True).items():
            if id(tensor) not in own:
                digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.digest()

    @torch.no_grad()
    def _features(self, images: NDArray[Any]) -> Tensor:
        seen: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].float()))
        device, training = self.head.weight.device, self.module.training
        self.module.eval()
        try:
            batch = normalised(images, self.card).to(device)
            for view in (batch, batch.flip(3))[: 1 + self.mirror]:
                self.module(view)
        finally:
            hook.remove()
            self.module.train(training)
        return torch.stack(seen).mean(0).cpu()

    def __call__(self, images: NDArray[Any]) -> Generator[Event, None, NDArray[np.float32]]:
        rows: NDArray[np.float32] = self._features(images).numpy()
        self.done += len(images)
        yield Progress(what="pictures encoded", done=self.done, total=self.total)
        return rows


def blocks_of(module: nn.Module) -> dict[str, int]:
    """Each parameter's block, counted from the picture's side: `blocks.3.mlp.fc1.weight` is of the block `blocks.3`."""
    numbers: dict[str, int] = {}
    found = {}
    for name, _ in module.named_parameters():
        numbered = _NUMBERED.match(name)
        block = numbered[1] if numbered else name.rpartition(".")[0] or name
        found[name] = numbers.setdefault(block, len(numbers))
    return found


def freeze(module: nn.Module, share: float) -> int:
    """Keep the first blocks as they are, that share of all but the last; returns how many."""
    blocks = blocks_of(module)
    last = max(blocks.values(), default=0)
    frozen = int(share * last)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(blocks[name] >= frozen)
    return frozen


def paces(module: nn.Module, decay: float) -> dict[Tensor, float]:
    """The learning rate of each parameter as a share of the peak: `decay` for each block between it and the head."""
    blocks = blocks_of(module)
    last = max(blocks.values(), default=0)
    return {parameter: decay ** (last - blocks[name]) for name, parameter in module.named_parameters()}


def still(module: nn.Module, recipe: Recipe, *, pictures: int, classes: int) -> Iterator[nn.Module]:
    """The batch norms whose statistics stay as they came: those of frozen blocks, and all where pictures are few."""
    few = bool(recipe.start) and pictures < FEW * classes
    for part in module.modules():
        if isinstance(part, _BatchNorm) and (few or not all(p.requires_grad for p in part.parameters())):
            yield part
