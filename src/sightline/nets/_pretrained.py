"""Published weights for a fresh network: read without running code from them, fitted where size or classes differ."""

from __future__ import annotations

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


def load_weights(net: nn.Module, weights: Mapping[str, Tensor], *, grid: tuple[int, int], prefix: int) -> list[str]:
    """Put weights into a transformer with timm's names; returns which of its parts stay fresh.

    grid: its places; the embedding of places is resampled to them. prefix: tokens before the places that have an
    embedding. A head for other classes, and a first layer for other channels, stay fresh or are averaged. Raises
    UsageError where the weights are another architecture's.
    """
    own, fitted = net.state_dict(), dict(weights)
    if "pos_embed" in fitted and "pos_embed" in own and fitted["pos_embed"].shape != own["pos_embed"].shape:
        fitted["pos_embed"] = resample_abs_pos_embed(fitted["pos_embed"], list(grid), num_prefix_tokens=prefix)
    first = "patch_embed.proj.weight"
    if first in fitted and first in own and fitted[first].shape[1] != own[first].shape[1]:
        fitted[first] = fitted[first].sum(1, keepdim=True).expand(-1, own[first].shape[1], -1, -1) / own[first].shape[1]
    fresh = [name for name in own if name not in fitted or fitted[name].shape != own[name].shape]
    if any(not name.startswith("head.") for name in fresh):
        raise UsageError(
            f"these weights are another architecture's: they do not fit {', '.join(fresh[:3])}; take the variant whose "
            "width, depth and patch they have"
        )
    net.load_state_dict({name: own[name] if name in fresh else fitted[name] for name in own})
    return fresh
