"""The peers of `beside.py`, run by an interpreter that has them; nothing of Sightline is imported here.

Usage: python learners.py fastai|ultralytics|timm FOLDER OUT.json --side S --seconds T --mirror yes|no

FOLDER holds train, val and test, each with a folder a class. All start from random weights and learn for about T
seconds, not counting imports and what finds out how long an epoch takes; the answers for `test` go into OUT.json.
fastai and Ultralytics learn in fp32, as they do on CPUs, the loop over timm in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("YOLO_OFFLINE", "true")
warnings.simplefilter("ignore")

SMALLEST = 64
"""Side to which pictures are enlarged for nets that divide it by 32; smaller ones would leave such nets nothing."""
TIMED = 12
"""Batches by which an epoch's length is found out."""


def fastai(folder: Path, side: int, seconds: float, mirror: bool) -> tuple[dict[str, str], float]:
    """`vision_learner` with a ResNet-18 and its usual augmentation.

    From random weights by one cycle, as its documentation has it where nothing is pretrained: `fine_tune` would teach
    the first layers at a two-hundredth of the rate.
    """
    from fastai.callback.core import CancelFitException
    from fastai.callback.schedule import fit_one_cycle  # noqa: F401  (gives Learner the method)
    from fastai.vision.all import (
        Callback,
        ImageDataLoaders,
        Resize,
        aug_transforms,
        get_image_files,
        resnet18,
        vision_learner,
    )

    marks: list[float] = []

    class Clock(Callback):  # type: ignore[misc]
        """Stops a fit after so many batches, which tell how long one takes."""

        def after_batch(self) -> None:
            marks.append(time.perf_counter())
            if len(marks) > TIMED:
                raise CancelFitException

    loaders = ImageDataLoaders.from_folder(
        folder,
        train="train",
        valid="val",
        item_tfms=Resize(max(side, SMALLEST)),
        batch_tfms=aug_transforms(do_flip=mirror),
        bs=64,
        num_workers=2,
    )
    timed = vision_learner(loaders, resnet18, pretrained=False, cbs=Clock())
    with timed.no_bar(), timed.no_logging():
        timed.fit_one_cycle(TIMED, 3e-3)
    batch_seconds = (marks[-1] - marks[TIMED // 2]) / (len(marks) - 1 - TIMED // 2)
    epochs = max(1, round(seconds / (batch_seconds * (len(loaders.train) + len(loaders.valid) / 3))))
    learner = vision_learner(loaders, resnet18, pretrained=False)
    with learner.no_bar(), learner.no_logging():
        began = time.perf_counter()
        learner.fit_one_cycle(epochs, 3e-3)
        spent = time.perf_counter() - began
        files = sorted(get_image_files(folder / "test"))
        scores, _ = learner.get_preds(dl=loaders.test_dl(files))
    names = [loaders.vocab[index] for index in scores.argmax(1).tolist()]
    return answers(folder, files, names), spent


def ultralytics(folder: Path, side: int, seconds: float, mirror: bool) -> tuple[dict[str, str], float]:
    """Its classifier yolo11n-cls with its usual settings and its own wall-clock limit."""
    from ultralytics import YOLO

    side = max(side, SMALLEST)
    model = YOLO("yolo11n-cls.yaml")
    began = time.perf_counter()
    model.train(
        data=str(folder),
        imgsz=side,
        time=seconds / 3600,
        batch=64,
        device="cpu",
        workers=2,
        fliplr=0.5 * mirror,
        pretrained=False,
        plots=False,
        verbose=False,
        project=str(folder.parent / f"{folder.name}-ultralytics.run"),
        exist_ok=True,
    )
    spent = time.perf_counter() - began
    files = sorted(path for path in (folder / "test").rglob("*.*") if path.is_file())
    found = model.predict(files, imgsz=side, device="cpu", stream=True, verbose=False, batch=64)
    return answers(folder, files, [each.names[each.probs.top1] for each in found]), spent


def timm(folder: Path, side: int, seconds: float, mirror: bool) -> tuple[dict[str, str], float]:
    """A minimal loop over a ResNet-18, as people write it: bfloat16, SGD with warm-up and cosine, label smoothing.

    Small pictures are enlarged, and have padded crops as in the common CIFAR recipe: its first convolution at full size
    would cost four times as much, and learns less in minutes on two cores. Others have random resized crops. The rate
    follows the share of the time that has gone.
    """
    import math

    import timm as library
    import torch
    from torch.nn import functional
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    small, side = side <= SMALLEST, max(side, SMALLEST)
    flip = [v2.RandomHorizontalFlip()] if mirror else []
    crop = v2.RandomCrop(side, padding=side // 8) if small else v2.RandomResizedCrop(side, scale=(0.35, 1))
    end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    train = ImageFolder(
        folder / "train", v2.Compose([v2.Resize((side, side))] * small + [crop, *flip, *end]), allow_empty=True
    )
    test = ImageFolder(folder / "test", v2.Compose([v2.Resize((side, side)), *end]), allow_empty=True)
    torch.manual_seed(0)
    net = library.create_model("resnet18", pretrained=False, num_classes=len(train.classes))
    net = net.to(memory_format=torch.channels_last).train()
    batch = min(64, len(train))
    loader = torch.utils.data.DataLoader(
        train, batch, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
    )
    moves = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    began = time.perf_counter()
    for images, labels in endless(loader):
        gone = (time.perf_counter() - began) / seconds
        if gone >= 1:
            break
        for group in moves.param_groups:
            group["lr"] = 0.05 * min(gone / 0.1, 0.5 * (1 + math.cos(math.pi * gone)))
        with torch.autocast("cpu", torch.bfloat16):
            scores = net(images.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(scores.float(), labels, label_smoothing=0.1)
        moves.zero_grad()
        loss.backward()
        moves.step()
    spent = time.perf_counter() - began
    net.eval()
    names = []
    with torch.no_grad():
        for images, _ in torch.utils.data.DataLoader(test, 128, num_workers=2):
            names += [train.classes[index] for index in net(images).argmax(1).tolist()]
    return answers(folder, [Path(path) for path, _ in test.samples], names), spent


def endless(loader: Any) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def answers(folder: Path, files: list[Path], names: list[str]) -> dict[str, str]:
    """Path below `test` → the class that was answered."""
    return {path.relative_to(folder / "test").as_posix(): name for path, name in zip(files, names, strict=True)}


def main() -> None:
    """Read the command line, learn, answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=("fastai", "ultralytics", "timm"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--mirror", choices=("yes", "no"), default="yes")
    args = parser.parse_args()
    learn = {"fastai": fastai, "ultralytics": ultralytics, "timm": timm}[args.tool]
    found, spent = learn(args.folder.resolve(), args.side, args.seconds, args.mirror == "yes")
    args.out.write_text(json.dumps({"answers": found, "seconds": spent}))


if __name__ == "__main__":
    main()
