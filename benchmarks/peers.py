"""The peers of benchmarks/predict.py, run by an interpreter that has them; nothing of Sightline is imported here.

Usage: python peers.py ultralytics|transformers FOLDER SIDE CORES BATCH   (then a run for each line of standard input)
       python peers.py save FOLDER · python peers.py once MODEL PICTURE
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("YOLO_OFFLINE", "true")


def ultralytics(folder: str, side: int, cores: int, batch: int) -> Callable[[], list[Any]]:
    """Its classify predict over the folder, with a yolo11n-cls of random weights; it decodes in one thread."""
    from ultralytics import YOLO

    model = YOLO("yolo11n-cls.yaml")

    def run() -> list[Any]:
        found = model.predict(folder, imgsz=side, batch=batch, device="cpu", stream=True, verbose=False, save=False)
        return [int(each.probs.top1) for each in found]

    return run


def transformers(folder: str, side: int, cores: int, batch: int) -> Callable[[], list[Any]]:
    """The pipeline image-classification with a ResNet-18 of random weights and a loader worker a core."""
    from transformers import pipeline

    model, processor = resnet(side)
    ask = pipeline("image-classification", model=model, image_processor=processor, device="cpu")
    paths = [str(path) for path in sorted(Path(folder).iterdir())]
    return lambda: [found[0]["label"] for found in ask(iter_of(paths), batch_size=batch, num_workers=cores, top_k=1)]


def iter_of(paths: list[str]) -> Any:
    """A data set of paths, which the pipeline reads with its workers."""
    from torch.utils.data import Dataset

    class Paths(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> str:
            return paths[index]

    return Paths()


def resnet(side: int) -> tuple[Any, Any]:
    """A ResNet-18 with random weights and its image processor, without any download."""
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    shape = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic", "num_labels": 24}
    processor = ConvNextImageProcessor(size={"shortest_edge": side}, crop_pct=1.0)
    return ResNetForImageClassification(ResNetConfig(**shape)).eval(), processor


def save(folder: str) -> None:
    """Both models as files, for the cold start."""
    from ultralytics import YOLO

    YOLO("yolo11n-cls.yaml").save(f"{folder}/yolo.pt")
    model, processor = resnet(224)
    model.save_pretrained(f"{folder}/resnet")
    processor.save_pretrained(f"{folder}/resnet")


def once(model: str, picture: str) -> None:
    """One answer from files, as a script would have it; there is no command for it."""
    from transformers import pipeline

    print(pipeline("image-classification", model=model, device="cpu")(picture)[0]["label"])


def cpu_seconds() -> float:
    """Processor time of this process and of its living workers (Linux), which neighbours disturb less."""
    ticks, me = 0, str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            ticks += sum(map(int, fields[11:13])) if fields[1] == me else 0
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def serve(run: Callable[[], list[Any]]) -> None:
    """A warm-up, then a run a line, each told with its seconds; what the peers print goes elsewhere."""
    told, sys.stdout = sys.stdout, sys.stderr
    run()
    print(json.dumps({"seconds": 0}), file=told, flush=True)
    for _ in sys.stdin:
        began, spent = time.perf_counter(), cpu_seconds()
        answers = run()
        figures = {"seconds": time.perf_counter() - began, "cpu": cpu_seconds() - spent}
        print(json.dumps({**figures, "answers": answers}), file=told, flush=True)


if __name__ == "__main__":
    name, *given = sys.argv[1:]
    with contextlib.suppress(BrokenPipeError):
        if name in ("save", "once"):
            globals()[name](*given)
        else:
            serve(globals()[name](given[0], *map(int, given[1:])))
