"""Checkpoints: one safetensors file with weights, average, optimiser states and where the training stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sightline.core.errors import DataError
from sightline.core.storage import write_bytes

LAST = "last.safetensors"


def save_checkpoint(
    folder: Path, modules: Mapping[str, nn.Module], optimizers: list[torch.optim.Optimizer], state: Mapping[str, Any]
) -> Path:
    """Write everything a bit-exact continuation needs, atomically; `state` is JSON-ready and lands in the header."""
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for number, each in enumerate(optimizers):
        for index, slots in each.state_dict()["state"].items():
            held = {slot: value for slot, value in slots.items() if isinstance(value, Tensor)}
            tensors |= {f"optimizer{number}/{index}/{slot}": value for slot, value in held.items()}
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / LAST, save(plain, metadata={"state": json.dumps(state)}))
    return folder / LAST


def load_checkpoint(
    folder: Path, modules: Mapping[str, nn.Module], optimizers: list[torch.optim.Optimizer]
) -> dict[str, Any] | None:
    """Bring modules and optimisers back to where they stood; returns the state, or None when there is none.

    Raises DataError when the file is damaged or belongs to another network.
    """
    path = folder / LAST
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            state = json.loads(file.metadata()["state"])
        for name, module in modules.items():
            module.load_state_dict(_below(tensors, f"{name}/"))
        for number, each in enumerate(optimizers):
            _restore(each, _below(tensors, f"optimizer{number}/"))
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise DataError(f"{path} cannot be resumed from ({error}); remove it to begin anew") from None
    return dict(state)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put each saved slot back beside its parameter.

    A slot takes the parameter's own memory format: fused kernels walk raw memory, and a channels-last
    weight beside a contiguous momentum would be updated with somebody else's numbers; and all lie on its device.
    """
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for name, value in tensors.items():
        index, slot = name.split("/")
        param = params[int(index)]
        like = torch.empty_like(param) if value.shape == param.shape else torch.empty_like(value, device=param.device)
        optimizer.state[param][slot] = like.copy_(value)
