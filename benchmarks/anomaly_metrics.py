"""Measures of visual inspection beside anomalib's on the same made heat maps and masks: how far apart, how long each.

Usage: PYTHONPATH=src python benchmarks/anomaly_metrics.py [PICTURES] [SIDE]   (by an interpreter that has anomalib)

Ours come with their intervals, which anomalib has not; the seconds of ours are with them.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from anomalib.data import ImageBatch
from anomalib.metrics import AUPR, AUPRO, AUROC, F1Max
from PIL import Image

from sightline.metrics.anomalies import AnomalyMeter

PICTURE, PIXEL = ["pred_score", "gt_label"], ["anomaly_map", "gt_mask"]
MEASURES = {
    "auroc": (AUROC, PICTURE),
    "ap": (AUPR, PICTURE),
    "f1_max": (F1Max, PICTURE),
    "pixel_auroc": (AUROC, PIXEL),
    "pixel_ap": (AUPR, PIXEL),
    "pro": (AUPRO, PIXEL),
}
MAPS = {
    "weak": lambda heat, mask: heat + 0.5 * mask,
    "strong": lambda heat, mask: heat + 3 * mask,
    "few values": lambda heat, mask: np.round(4 * (heat + mask)),
    "nearly alike": lambda heat, mask: 1000 + 0.1 * (heat + mask),
    "probabilities": lambda heat, mask: 1 / (1 + np.exp(8 - 4 * (heat + mask))),
    "heavy tail": lambda heat, mask: np.exp(3 * (heat + mask)),
}


def made(pictures: int, side: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Heat maps (N, H, W), enlarged from a coarse grid as methods do, and masks with ellipses on every other."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    heats, masks = [], []
    for number in range(pictures):
        grid = Image.fromarray(rng.normal(size=(side // 8, side // 8)).astype(np.float32))
        heat = np.asarray(grid.resize((side, side), Image.Resampling.BILINEAR))
        mask = np.zeros((side, side), np.bool_)
        for _ in range(rng.integers(1, 6) if number % 2 else 0):
            cy, cx = rng.uniform(0, side, 2)
            ry, rx = rng.uniform(0.6, side / 8, 2)
            mask |= np.hypot((y - cy) / ry, (x - cx) / rx) < 1
        heats.append(MAPS[kind](heat, mask).astype(np.float32))
        masks.append(mask)
    return np.stack(heats), np.stack(masks)


def ours(heats: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """By the meter, a picture at a time."""
    meter = AnomalyMeter()
    for number, (heat, mask) in enumerate(zip(heats, masks)):
        kind = "defect" if mask.any() else "good"
        meter.update(float(heat.max()), False, kind=kind, heat_and_mask=(heat, mask), group=str(number))
    measures = meter.compute()
    return {name: measures[name].value for name in MEASURES}


def theirs(heats: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """By anomalib's metrics, all pictures as one batch.

    Brought to 0 to 1 first, as its post-processor does: what lies outside torchmetrics takes for logits, and squeezes
    it by a sigmoid in which large values become ties.
    """
    heat, mask = torch.from_numpy((heats - heats.min()) / np.ptp(heats)), torch.from_numpy(masks)
    batch = ImageBatch(
        image=torch.zeros(len(heat), 3, *heat.shape[1:]),
        pred_score=heat.amax((1, 2)),
        gt_label=mask.any(2).any(1),
        anomaly_map=heat,
        gt_mask=mask,
    )
    found = {}
    for name, (metric, fields) in MEASURES.items():
        each = metric(fields=fields)
        each.update(batch)
        found[name] = float(each.compute())
    return found


def main() -> None:
    pictures = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 128
    print(f"{pictures} pictures of {side} x {side}: ours, and ours minus anomalib's")
    print(f"{'':14}" + "".join(f"{name:>20}" for name in MEASURES) + f"{'seconds':>18}")
    for kind in MAPS:
        heats, masks = made(pictures, side, kind)
        times = [time.perf_counter()]
        answers = []
        for of in (ours, theirs):
            answers.append(of(heats, masks))
            times.append(time.perf_counter())
        cells = [f"{answers[0][name]:.5f} {answers[0][name] - answers[1][name]:+.0e}" for name in MEASURES]
        took = "{:.1f} and {:.1f}".format(*np.diff(times))
        print(f"{kind:14}" + "".join(f"{cell:>20}" for cell in cells) + f"{took:>18}", flush=True)


if __name__ == "__main__":
    main()
