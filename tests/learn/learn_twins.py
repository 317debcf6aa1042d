"""Trainings that one process and two must do alike; run as a script, each of two processes does all of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from learn_toys import job as toy_job
from safetensors.torch import save_file
from torch import nn

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Epoch, Event, Note, Step
from sightline.core.group import Group
from sightline.core.protocols import Objective
from sightline.core.shelf import Shelf
from sightline.learn.loop import Job, fit, resolve_steps
from sightline.learn.source import Cached

CARD = Card(
    task="classify",
    net={},
    classes=("left", "right"),
    preparation=Preparation(mode="grey", size_hw=(16, 16), mean=(0.3,), std=(0.2,)),
)


class Players(nn.Module):
    """Two nets that learn against each other, neither through `forward`, from the pictures alone."""

    def __init__(self) -> None:
        super().__init__()
        self.artist, self.critic = nn.Linear(256, 256), nn.Linear(256, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        judged = self.critic(x.flatten(1))
        return {"logits": torch.cat([judged, -judged], 1)}


def critic_loss(whole: Any, images: torch.Tensor, targets: Any, batch: Any) -> torch.Tensor:
    forged = whole.artist(images.flatten(1)).detach()
    return nn.functional.softplus(whole.critic(forged) - whole.critic(images.flatten(1))).mean()


def artist_loss(whole: Any, images: torch.Tensor, targets: Any, batch: Any) -> torch.Tensor:
    return nn.functional.softplus(-whole.critic(whole.artist(images.flatten(1)))).mean()


PLAYERS = SimpleNamespace(
    build=lambda options, *, task, card: Players(),
    objectives=lambda whole: [Objective(whole.critic, critic_loss), Objective(whole.artist, artist_loss)],
)


def pictures(count: int, seed: int) -> Cached:
    """Noise with one half brighter: the left or the right."""
    rng, label = np.random.default_rng(seed), np.arange(count) % 2
    images = rng.integers(0, 120, (count, 16, 16, 1))
    images[label == 0, :, :8] += 100
    images[label == 1, :, 8:] += 100
    return Cached(images.astype(np.uint8), {"label": label.astype(np.int64)})


def net(name: str, variant: str, **options: Any) -> dict[str, Any]:
    """A net of the shelf, as arguments of a job."""
    module = Shelf("nets").load(name)
    return {"net": module, "options": replace(module.VARIANTS[variant], **options)}


RESNET = net("resnet", "8", width=8)
VIT = net("vit", "tiny", width=32, depth=2, drop_path=0.0)
PATCHES = net("vit", "tiny", tokens="patches", patch=4, width=32, depth=2, drop_path=0.0)
CAPSULE = net("capsule", "attention", width=8, capsules=4)


def unnormed(options: Any, *, task: str, card: Card) -> nn.Module:
    """A capsule network without batch norms."""
    module: nn.Module = CAPSULE["net"].build(options, task=task, card=card)
    for part in list(module.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(part, name, nn.Identity())
    return module


UNNORMED = SimpleNamespace(build=unnormed, objectives=CAPSULE["net"].objectives, loss=CAPSULE["net"].loss)
MIXED = {"mixup": 0.4, "cutmix": 1.0, "mix": 1.0, "shift": 0.1, "rotate": 10.0, "jitter": 0.2, "erase": 0.3}

CASES: dict[str, dict[str, Any]] = {
    "resnet": RESNET,
    "resnet-unequal": {**RESNET, **MIXED, "batch": 9, "optimizer": "adamw", "lr": 2e-3, "balance": "sampling"},
    "resnet-sam": {**RESNET, "sam": 0.05, "batch": 7, "patience": 1},
    "resnet-bf16": {**RESNET, "precision": "bf16"},
    "vit": VIT,
    "capsule": {**CAPSULE, "lr": 0.01},
    "players": {"net": PLAYERS, "options": None, "optimizer": "adamw", "lr": 1e-3},
    "resnet-begun": {**RESNET, "start": "begun", "transfer": "lp-ft", "freeze": 0.4, "layer_decay": 0.7, "lr": 1e-3},
    "vit-parts": {**PATCHES, **MIXED, "accumulate": 2, "batch": 10},
    "capsule-parts": {**CAPSULE, "net": UNNORMED, "lr": 0.01, "accumulate": 2, "sam": 0.01},
    "players-parts": {"net": PLAYERS, "options": None, "accumulate": 3},
}
"""What a job is given. In parts, nets have no batch norm, whose statistics are those of a part."""


def job(folder: Path, values: dict[str, Any], group: Group, stop: Callable[[], bool] = lambda: False) -> Job:
    """Six steps in two epochs or more."""
    own = {"steps": 6, **{name: value for name, value in values.items() if name not in ("net", "options")}}
    if "start" in own:
        own["start"] = str(elsewhere(folder, group))
    made = toy_job(folder, net=values["net"], train=pictures(26, 0), stop=stop, **own)
    return replace(made, options=values["options"], card=CARD, validation=pictures(300, 1), group=group)


def elsewhere(folder: Path, group: Group) -> Path:
    """Weights of a net that nobody trained, to begin with; the leading process writes them for all."""
    path = folder / "elsewhere.safetensors"
    if group.leads:
        torch.manual_seed(11)
        path.parent.mkdir(parents=True, exist_ok=True)
        held = RESNET["net"].build(RESNET["options"], task="classify", card=CARD).state_dict()
        save_file(held, str(path))
    group.wait()
    return path


def run(todo: Job, weights: Path | None = None) -> dict[str, Any]:
    """The curve of a training, and whether it was stopped; the weights go into a file."""
    events: list[Event] = []
    source = fit(todo)
    try:
        while True:
            events.append(next(source))
    except StopIteration as end:
        if weights is not None:
            save_file(end.value.state_dict(), str(weights))
        stopped = False
    except KeyboardInterrupt:
        stopped = True
    return {
        "loss": [event.loss for event in events if isinstance(event, Step)],
        "step": [event.step for event in events if isinstance(event, Step)],
        "epochs": [[event.loss, *event.metrics.values()] for event in events if isinstance(event, Epoch)],
        "said": [event.text for event in events if isinstance(event, Note)],
        "stopped": stopped,
    }


def after(times: int) -> Callable[[], bool]:
    """A stop from the so-manieth look on."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= times


def refused(todo: Job) -> str:
    """What is said of a training that cannot be begun."""
    try:
        next(fit(todo))
    except UsageError as error:
        return str(error)
    return ""


def main(out: Path) -> None:
    """All cases in one of two processes; the leading one writes what came of them."""
    from sightline.core.group import launched
    from sightline.learn.together import joined

    torch.set_num_threads(1)
    with joined(launched(), device="cpu") as group:
        found = {name: run(job(out / name, values, group), weights(out, name, group)) for name, values in CASES.items()}
        if group.leads:
            run(job(out / "from-one", RESNET, Group(), stop=after(5)))
        group.wait()
        found["from-one"] = run(job(out / "from-one", RESNET, group))
        only_second = after(5) if group.rank == 1 else lambda: False
        found["from-two"] = run(job(out / "from-two", RESNET, group, stop=only_second))
        timed = job(out / "timed", {**RESNET, "steps": None, "budget": "1s"}, group)
        found["each"] = {
            "stopped": group.gathered([found["from-two"]["stopped"]]),
            "curves": group.gathered([[each["loss"] for each in found.values()]]),
            "steps": group.gathered([resolve_steps(timed)[0].steps]),
            "refused": group.gathered([refused(job(out / "small", {**RESNET, "batch": 3, "accumulate": 2}, group))]),
        }
        if group.leads:
            (out / "found.json").write_text(json.dumps(found))
        group.meet()
    with joined(launched(), device="cpu") as group:  # another training of the same processes
        assert group.total([1.0, group.rank]) == [2.0, 1.0]


def weights(out: Path, name: str, group: Group) -> Path | None:
    """Where the leading process keeps what was learned."""
    return out / f"{name}.safetensors" if group.leads else None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
