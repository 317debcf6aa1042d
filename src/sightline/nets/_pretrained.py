"""Published weights for a fresh network: read without running code from them, fitted where size or classes differ."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from sightline.core.errors import UsageError

_UNREADABLE = (
    *(OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, EOFError),
    *(SafetensorError, pickle.UnpicklingError),
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Arrays by name of a safetensors file or a PyTorch checkpoint, which may hold nothing but arrays."""
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols; what cannot be read ends below
            held = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model"):
            held = held[key] if isinstance(held, Mapping) and isinstance(held.get(key), Mapping) else held
        return {str(name).removeprefix("module."): tensor for name, tensor in held.items() if torch.is_tensor(tensor)}
    except _UNREADABLE as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} holds no weights that can be read without running code: {said:.200}") from None


def load_weights(
    net: nn.Module, weights: Mapping[str, Tensor], *, head: str | tuple[str, ...], keep_head: bool
) -> list[str]:
    """Put weights into a fresh net of the same architecture; returns which of its parameters stay fresh.

    head: the names of the layers that score classes, which stay fresh unless they are for the same ones (`keep_head`).
    A net may bring published names to its own by `renamed(weights)`. A first layer for other
    channels is averaged, and the embedding of a transformer's places resampled to the net's `grid`. Names may lack the
    `net.` of a wrapped net, and old files what norms count. Raises UsageError where they are another architecture's.
    """
    own = net.state_dict()
    rename = getattr(net, "renamed", None)
    weights = rename(weights) if rename else weights
    fitted = {name if name in own else f"net.{name}": tensor for name, tensor in weights.items()}
    for name in own.keys() & fitted.keys():
        fitted[name] = _fitted(name, fitted[name], own[name], getattr(net, "grid", (0, 0)))
    each = (head,) if isinstance(head, str) else head
    begins = tuple(f"{prefix}{name}." for name in each for prefix in ("", "net."))
    heads = {name for name in own.keys() | fitted.keys() if name.startswith(begins)}
    fits = {name for name in own.keys() & fitted.keys() if fitted[name].shape == own[name].shape}
    counts = {name for name in own if name.endswith("num_batches_tracked")}
    missing, left = own.keys() - fits - heads - counts, fitted.keys() - own.keys() - heads
    if missing or left:
        what = f"they do not fit {', '.join(sorted(missing)[:3])}" if missing else f"{sorted(left)[0]} has no place"
        raise UsageError(
            f"these weights are another architecture's: {what}; take the net and variant that they were learnt with"
        )
    taken = fits if keep_head else fits - heads
    net.load_state_dict({name: fitted[name] if name in taken else own[name] for name in own})
    return [name for name in own if name not in taken | counts]


def _fitted(name: str, given: Tensor, own: Tensor, grid: tuple[int, int]) -> Tensor:
    """An array in the shape of the net's own, where that is a matter of size or channels."""
    if given.shape == own.shape:
        return given
    if given.numel() == own.numel() == 1:  # a count, of which numpy makes a list of one
        return given.reshape(own.shape)
    if name.endswith("pos_embed") and given.ndim == 3 and given.shape[2] == own.shape[2]:
        prefix = own.shape[1] - math.prod(grid)
        places = given.shape[1] - prefix
        square = places > 0 and math.isqrt(places) ** 2 == places
        return resample_abs_pos_embed(given, list(grid), num_prefix_tokens=prefix) if square else given
    if given.ndim == 4 and {given.shape[1], own.shape[1]} == {1, 3} and given.shape[::2] == own.shape[::2]:
        return given.sum(1, keepdim=True).expand(-1, own.shape[1], -1, -1) / own.shape[1]
    return given
