"""timm: any architecture of the timm library, fitted to the pictures' size and channels.

No weights are fetched: `pretrained` is off; published ones come by the setting `start`. The last feature map goes out
beside the logits, whatever form a family keeps it in.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch
from sightline.core.recipe import setting
from sightline.nets._blocks import classification_loss

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K", "features": "B C H W"}
DEFAULT = "resnet10t"
"""The lightest of timm's residual nets that is meant for photos."""


@dataclass(frozen=True)
class Options:
    """What is asked of timm; 0 leaves a thing as the architecture has it."""

    arch: str = setting(DEFAULT, "architecture by timm's name; timm:NAME sets it")
    patch: int = setting(0, "side in pixels of a transformer's patches, as 4 for small pictures (0: its own)", low=0)
    stride: int = setting(0, "how much smaller than the picture a CNN's last map is: 8, 16, 32 (0: its own)", low=0)
    drop: float = setting(0.0, "share of features dropped before the head while learning", low=0, high=0.99)
    drop_path: float = setting(0.0, "share of residual branches skipped while learning", low=0, high=0.99)


class _Variants(Mapping[str, Options]):
    """Every name that timm makes, the default first; options are made when asked for."""

    def __getitem__(self, name: str) -> Options:
        if name not in _names():
            raise KeyError(name)
        return Options(arch=name)

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())


@cache
def _names() -> dict[str, None]:
    """In order, the default before timm's own sorting."""
    return dict.fromkeys([DEFAULT, *timm.list_models()])


VARIANTS = _Variants()

_REFUSED = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What timm's architectures raise, each in its own way, for a size or an option that they cannot take."""
_UNKNOWN_KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")


class TimmNet(nn.Module):
    """An architecture of timm with its last map brought to B C H W."""

    def __init__(self, net: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.net = net
        self.example_shape = tuple(example.shape)
        with torch.no_grad():
            last = net.forward_features(example)  # type: ignore[operator]
        self.channels = int(net.num_features)  # type: ignore[arg-type]
        self.prefix = int(getattr(net, "num_prefix_tokens", 0))
        self.tokens, self.channels_last = last.ndim == 3, last.shape[1] != self.channels
        self.grid = _grid(last.shape, self.channels, self.prefix, example.shape[2:])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → logits (B, K) and the last feature map; for transformers, its patch tokens."""
        last = self.net.forward_features(x)  # type: ignore[operator]
        return {"logits": self.net.forward_head(last), "features": self._as_map(last)}  # type: ignore[operator]

    def _as_map(self, last: Tensor) -> Tensor:
        if self.tokens:
            return last[:, self.prefix :].transpose(1, 2).reshape(last.shape[0], self.channels, *self.grid)
        return last.permute(0, 3, 1, 2) if self.channels_last else last  # the map's size may be another than `grid`


def _grid(shape: torch.Size, channels: int, prefix: int, size_hw: torch.Size) -> tuple[int, int]:
    """Height and width of the last map, from the shape in which a family hands it on."""
    if len(shape) == 4 and shape[1] == channels:
        return shape[2], shape[3]
    if len(shape) == 4 and shape[3] == channels:
        return shape[1], shape[2]
    if len(shape) != 3:
        raise ValueError(f"its last features have the shape {tuple(shape[1:])}, which is no map")
    count, aspect = shape[1] - prefix, math.log(size_hw[0] / size_hw[1])
    pairs = [(height, count // height) for height in range(1, count + 1) if count % height == 0]
    return min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1]) - aspect))


def build(options: Options, *, task: str, card: Card) -> TimmNet:
    """A fresh network for the card's classes, channels and picture size.

    Raises UsageError for a name timm does not know, and for a size or an option the architecture cannot take.
    """
    if options.arch not in VARIANTS:
        near = difflib.get_close_matches(options.arch, VARIANTS, n=5, cutoff=0.4)
        raise UsageError(f"timm has no {options.arch!r}; the nearest are {', '.join(near) or 'none'}")
    ready = card.preparation
    example = torch.zeros(2, ready.channels, *ready.size_hw)
    try:
        net = _made(options, num_classes=len(card.classes), in_chans=ready.channels, img_size=ready.size_hw)
        _check_patches(net, ready.size_hw, options.arch)
        built = TimmNet(net.eval(), example)
        with torch.no_grad():
            logits = built(example)["logits"]
    except _REFUSED as error:
        raise UsageError(_refusal(options.arch, ready.size_hw, error)) from error
    if logits.shape != (2, len(card.classes)):
        raise UsageError(f"timm's {options.arch} puts out {tuple(logits.shape[1:])}, not a score a class; take another")
    return built.train()


def _check_patches(net: nn.Module, size_hw: tuple[int, int], arch: str) -> None:
    """Raise UsageError where whole patches do not fill the picture, whose edge some nets would silently not see."""
    sides = getattr(getattr(net, "patch_embed", None), "patch_size", 1)
    sides = tuple(sides) if isinstance(sides, tuple | list) else (sides, sides)
    if any(length % side for length, side in zip(size_hw, sides)):
        fitting = max(sides) * math.ceil(max(size_hw) / max(sides))
        raise UsageError(
            f"timm's {arch} cuts pictures into patches of {sides[0]} x {sides[1]}, which do not fill "
            f"{size_hw[0]} x {size_hw[1]}; try --size {fitting}, or --net.patch with a divisor of the size"
        )


def _made(options: Options, *, num_classes: int, in_chans: int, img_size: tuple[int, int]) -> nn.Module:
    """The architecture; what it has no setting for is left out where it would change nothing."""
    asked: dict[str, Any] = {"drop_rate": options.drop, "drop_path_rate": options.drop_path, "img_size": img_size}
    neutral = {"img_size"} | {name for name, value in asked.items() if value == 0}
    if options.patch:
        asked["patch_size"] = options.patch
    if options.stride:
        asked["output_stride"] = options.stride
    while True:
        try:
            net: nn.Module = timm.create_model(
                options.arch, pretrained=False, num_classes=num_classes, in_chans=in_chans, **asked
            )
            return net
        except TypeError as error:
            unknown = _UNKNOWN_KEYWORD.search(str(error))
            if unknown is None or unknown[1] not in neutral & asked.keys():
                raise
            del asked[unknown[1]]


def _refusal(arch: str, size_hw: tuple[int, int], error: Exception) -> str:
    """What went wrong and what to try, in one sentence."""
    keyword = _UNKNOWN_KEYWORD.search(str(error))
    if keyword:
        names = {"drop_path_rate": "drop_path", "drop_rate": "drop", "patch_size": "patch", "output_stride": "stride"}
        return f"timm's {arch} has no setting net.{names.get(keyword[1], keyword[1])}; leave it out"
    own = timm.models.get_pretrained_cfg(arch)
    side = max(own.input_size[1:]) if own else 224
    said = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
    return (
        f"timm's {arch} cannot take pictures of {size_hw[0]} x {size_hw[1]}: {said}; "
        f"try --size {side}, which it is made for, or --net timm:resnet18, which takes any"
    )


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Any:
    """Cross-entropy with the recipe's label smoothing."""
    return classification_loss(outputs, targets, batch)


def evidence(module: TimmNet) -> dict[str, str]:
    """What explains a built net's answers: its last map and head weight where the head is linear in the map's mean.

    Tried rather than told by family, on noise: the logits less the head's share of the mean must be the bias alone.
    Empty where they are not (a norm or layers after pooling); such nets are explained otherwise. Empty for tokens,
    too: by then attention has carried what a place shows to all others, and maps that add up exactly missed a planted
    cue more often than random ones did.
    """
    if module.tokens:
        return {}
    head = module.net.get_classifier()  # type: ignore[operator]
    name = next((name for name, part in module.named_modules() if part is head), "")
    if not name or not isinstance(head, nn.Linear) or head.in_features != module.channels:
        return {}
    shape = (4, *module.example_shape[1:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = module(noise)
    shares = outputs["features"].mean((2, 3)) @ head.weight.detach().T
    left = outputs["logits"] - shares - (0 if head.bias is None else head.bias.detach())
    scale = 1 + float(outputs["logits"].abs().max())
    linear = float(left.abs().max()) <= 1e-4 * scale and bool(head.weight.detach().any())
    return {"features": "features", "weight": f"{name}.weight"} if linear else {}
