"""The peers of benchmarks/detection.py and detection_speed.py, in their own process; nothing of Sightline is imported.

Usage: python detectors.py TOOL FOLDER OUT SECONDS SIDE   ·   python detectors.py serve WEIGHTS SIDE
TOOL is ultralytics (a yolo11n of random weights), ssdlite or fasterrcnn (torchvision, random weights).
FOLDER holds data.yaml (as Ultralytics reads it), and train.json, val.json, test.json: {"classes": [...], "pictures":
[{"path": ..., "boxes": [[x1, y1, x2, y2], ...], "labels": [...]}]}. OUT is written: picture → boxes, scores, labels.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")
RESERVE = 0.12
"""Share of the budget left for what comes after the last step, as Sightline keeps."""
FLOOR = 0.001


def ultralytics(folder: Path, out: Path, seconds: float, side: int) -> dict[str, Any]:
    """Its own recipe and schedule, for so long by its own `time`, and its own prediction down to its lowest scores."""
    from ultralytics import YOLO

    model = YOLO("yolo11n.yaml")
    where = {"project": str(out.parent), "name": out.stem + ".yolo", "exist_ok": True}
    quiet = {"plots": False, "verbose": False, "workers": 0, "device": "cpu"}
    hours = seconds * (1 - RESERVE) / 3600
    model.train(data=str(folder / "data.yaml"), imgsz=side, time=hours, batch=16, pretrained=False, **quiet, **where)
    best = YOLO(str(out.parent / (out.stem + ".yolo") / "weights" / "best.pt"))
    found = {}
    for each in pictures(folder, "test")["pictures"]:
        (answer,) = best.predict(each["path"], imgsz=side, conf=FLOOR, max_det=300, verbose=False, device="cpu")
        boxes = answer.boxes
        found[each["path"]] = [boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.long().tolist()]
    return found


def torchvision(tool: str, folder: Path, seconds: float, side: int) -> dict[str, Any]:
    """A plain loop: AdamW, a warm-up and a cosine over the budget, mirroring and random crops, batch 16."""
    import torch
    from PIL import Image
    from torchvision.models import detection
    from torchvision.transforms import functional

    torch.manual_seed(0)
    random.seed(0)
    known = pictures(folder, "train")
    count = len(known["classes"]) + 1
    plain = {"weights": None, "weights_backbone": None, "num_classes": count}
    if tool == "ssdlite":
        model: Any = detection.ssdlite320_mobilenet_v3_large(**plain)
    else:
        model = detection.fasterrcnn_mobilenet_v3_large_fpn(
            **plain, min_size=side * 3 // 4, max_size=side, trainable_backbone_layers=6
        )

    def load(each: dict[str, Any]) -> tuple[Any, Any]:
        image = Image.open(each["path"]).convert("RGB")
        scale = side / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        boxes = torch.tensor(each["boxes"], dtype=torch.float32).reshape(-1, 4) * scale
        return functional.to_tensor(image), {"boxes": boxes, "labels": torch.tensor(each["labels"]).long() + 1}

    cache = [load(each) for each in known["pictures"]]

    def seen(image: Any, target: Any) -> tuple[Any, Any]:
        height, width = image.shape[1:]
        boxes, labels = target["boxes"].clone(), target["labels"]
        if random.random() < 0.5:
            image = image.flip(2)
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        share = random.uniform(0.6, 1.0)
        tall, wide = int(height * share), int(width * share)
        top, left = random.randint(0, height - tall), random.randint(0, width - wide)
        image = functional.resized_crop(image, top, left, tall, wide, [height, width], antialias=True)
        moved = (boxes - torch.tensor([left, top, left, top])) / share
        middle = (moved[:, :2] + moved[:, 2:]) / 2
        kept = (middle > 0).all(1) & (middle < torch.tensor([width, height])).all(1)
        moved[:, [0, 2]], moved[:, [1, 3]] = moved[:, [0, 2]].clamp(0, width), moved[:, [1, 3]].clamp(0, height)
        kept &= ((moved[:, 2:] - moved[:, :2]) > 2).all(1)
        return image, {"boxes": moved[kept], "labels": labels[kept]}

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    began, budget = time.perf_counter(), seconds * (1 - RESERVE)
    model.train()
    while (done := (time.perf_counter() - began) / budget) < 1:
        order = random.sample(range(len(cache)), len(cache))
        for start in range(0, max(1, len(order) - 15), 16):
            done = (time.perf_counter() - began) / budget
            if done >= 1:
                break
            rise = min(1.0, done / 0.1 + 0.01)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * rise * 0.5 * (1 + math.cos(math.pi * done))
            images, targets = zip(*(seen(*cache[row]) for row in order[start : start + 16]))
            loss = sum(model(list(images), list(targets)).values())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    model.eval()
    for part in (model, getattr(model, "roi_heads", model)):
        part.score_thresh = FLOOR
    found = {}
    with torch.no_grad():
        for each in pictures(folder, "test")["pictures"]:
            image, _ = load(each)
            scale = side / max(Image.open(each["path"]).size)
            (answer,) = model([image])
            labels = (answer["labels"] - 1).tolist()
            found[each["path"]] = [(answer["boxes"] / scale).tolist(), answer["scores"].tolist(), labels]
    return found


def serve(weights: str, side: int) -> None:
    """Ultralytics' own ONNX path: for each line of standard input, one or more paths, the seconds that they took."""
    from ultralytics import YOLO

    written = Path(weights).with_suffix(".onnx")
    if not written.exists():
        YOLO(weights).export(format="onnx", imgsz=side, dynamic=False, simplify=False, verbose=False)
    model = YOLO(str(written), task="detect")
    quiet = {"imgsz": side, "verbose": False, "device": "cpu", "stream": True}
    for line in sys.stdin:
        paths: list[str] = json.loads(line)
        began = time.perf_counter()
        count = sum(len(each.boxes) for each in model.predict(paths if len(paths) > 1 else paths[0], **quiet))
        print(json.dumps({"seconds": time.perf_counter() - began, "boxes": count}), flush=True)


def pictures(folder: Path, split: str) -> dict[str, Any]:
    """One split's pictures with their boxes."""
    known: dict[str, Any] = json.loads((folder / f"{split}.json").read_text())
    return known


def main() -> None:
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
        return
    tool, folder, out, seconds, side = sys.argv[1:]
    place, size = Path(out), int(side)
    if tool == "ultralytics":
        found = ultralytics(Path(folder), place, float(seconds), size)
    else:
        found = torchvision(tool, Path(folder), float(seconds), size)
    place.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
