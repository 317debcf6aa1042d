"""airbench94 (Jordan, 2024, its own package) on a folder of 32 px pictures: accuracy and seconds on one CUDA device.

Usage: python benchmarks/speedrun.py DATA [--epochs 25,50,100] [--runs 4]

DATA has train/ and test/ with a folder a class, at least 5,000 training pictures. The environment needs PyTorch,
torchvision, Pillow and airbench. Its recipe is meant for 9.9 epochs of 50,000 pictures: with fewer pictures, more
epochs make as many steps.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import airbench
import numpy as np
import torch
from airbench.utils import CifarLoader, evaluate
from PIL import Image

FOLDER = "cifar10"
"""Where the package looks for the test pictures, below the working folder."""
PLAIN, MOVED = 0, 2
"""A picture as it is; or the mean of six views of it, mirrored and moved, as its published accuracy has it."""


def write_tensors(data: Path, split: str) -> None:
    """What the package would download, from folders."""
    classes = sorted(path.name for path in (data / split).iterdir())
    paths = [(path, label) for label, name in enumerate(classes) for path in sorted((data / split / name).iterdir())]
    images = torch.tensor(np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in paths]))
    labels = torch.tensor([label for _, label in paths])
    torch.save({"images": images, "labels": labels, "classes": classes}, Path(FOLDER) / f"{split}.pt")


def trained(epochs: float) -> tuple[float, float, float]:
    """Accuracy of one training on the test pictures, plain and over views, and its seconds on the device."""
    loader = CifarLoader(FOLDER, batch_size=1024, aug={"flip": True, "translate": 2}, altflip=True)
    torch.cuda.synchronize()
    began = time.perf_counter()
    net = airbench.train94(loader, epochs=epochs, verbose=False)
    torch.cuda.synchronize()
    seconds, test = time.perf_counter() - began, CifarLoader(FOLDER, train=False, batch_size=2000)
    return evaluate(net, test, PLAIN), evaluate(net, test, MOVED), seconds


def main() -> None:
    """Train in a temporary folder and print a line for each number of epochs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", default="25,50,100")
    parser.add_argument("--runs", type=int, default=4)
    args = parser.parse_args()
    data = args.data.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path(FOLDER).mkdir()
        for split in ("train", "test"):
            write_tensors(data, split)
        trained(3)  # kernels are chosen
        print(f"{torch.cuda.get_device_name()}, mean of {args.runs} trainings")
        for epochs in map(float, args.epochs.split(",")):
            plain, moved, seconds = np.mean([trained(epochs) for _ in range(args.runs)], axis=0)
            print(f"{epochs:g} epochs: {plain:.4f} plain, {moved:.4f} over views, {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main()
