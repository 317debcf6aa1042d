"""Pictures with boxes, generated, and the same judged by the COCO tools, the independent references."""

import contextlib
import io
from typing import Any

import faster_coco_eval
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sightline.core.results import Boxes
from sightline.metrics.detections import Truth

STATS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)


def boxes(xyxy: Any, scores: Any, indexes: Any, *, claimed: Any = None, classes: Any = ("a", "b", "c")) -> Boxes:
    """An answer, the surest first, of which all is claimed unless said otherwise."""
    scores = np.asarray(scores, np.float32)
    order = np.argsort(-scores, kind="stable")
    mask = np.ones(len(scores), np.bool_) if claimed is None else np.asarray(claimed, np.bool_)
    return Boxes(
        classes=tuple(classes),
        xyxy=np.asarray(xyxy, np.float32).reshape(-1, 4)[order],
        scores=scores[order],
        indexes=np.asarray(indexes, np.int64)[order],
        claimed=mask[order],
    )


def truth(xyxy: Any, indexes: Any, *, crowd: Any = None, difficult: Any = None, areas: Any = None) -> Truth:
    """What is there, neither crowd nor difficult unless said otherwise."""
    n = len(indexes)
    marks = [np.zeros(n, np.bool_) if mark is None else np.asarray(mark, np.bool_) for mark in (crowd, difficult)]
    return Truth(np.asarray(xyxy, np.float64).reshape(-1, 4), np.asarray(indexes, np.int64), *marks, areas)


def scene(
    seed: int,
    *,
    pictures: int = 12,
    classes: int = 3,
    side: int = 300,
    there: int = 8,
    noise: int = 6,
    crowds: float = 0.1,
    difficult: float = 0.0,
) -> tuple[list[Boxes], list[Truth]]:
    """Boxes on whole pixels with perturbed copies and noise as answers, scores of one decimal, so that many tie.

    Every fifth picture has nothing in it, every seventh no answer, and the last class is never there.
    """
    random = np.random.default_rng(seed)
    names = tuple(f"class {k}" for k in range(classes))
    found, target = [], []
    for number in range(pictures):
        n = 0 if number % 5 == 4 else int(random.integers(1, there + 1))
        corner = random.integers(0, side - 20, (n, 2))
        size = np.exp(random.uniform(np.log(6), np.log(side * 0.6), (n, 2))).astype(int) + 2
        real = np.concatenate([corner, corner + size], axis=1)
        kind = random.integers(0, max(1, classes - 1), n)
        copies = np.repeat(np.arange(n), random.integers(0, 4, n))
        moved = real[copies] + np.rint(random.normal(0, 0.08, (len(copies), 4)) * np.tile(size[copies], 2))
        spot = random.integers(0, side - 20, (noise, 2))
        wrong = np.concatenate([spot, spot + random.integers(4, 120, (noise, 2))], axis=1)
        own = np.concatenate([moved, wrong])
        own[:, 2:] = np.maximum(own[:, 2:], own[:, :2] + 1)
        label = np.concatenate([kind[copies], random.integers(0, classes, noise)])
        label = np.where(random.random(len(label)) < 0.15, random.integers(0, classes, len(label)), label)
        keep = slice(0, 0 if number % 7 == 6 else len(own))
        score = np.round(random.random(len(own)), 1)[keep]
        found.append(boxes(own[keep], score, label[keep], claimed=score > 0.3, classes=names))
        crowd = random.random(n) < crowds
        target.append(truth(real, kind, crowd=crowd, difficult=~crowd & (random.random(n) < difficult)))
    return found, target


def to_coco(found: list[Boxes], target: list[Truth], classes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A data set and results as the COCO tools read them."""
    items, answers = [], []
    for picture, (answer, there) in enumerate(zip(found, target), 1):
        rows = zip(there.xyxy, there.indexes, there.crowd, there.difficult, there.covered.tolist())
        for xyxy, index, crowd, difficult, area in rows:
            x, y, right, bottom = xyxy.tolist()
            items.append(
                {
                    "id": len(items) + 1,
                    "image_id": picture,
                    "category_id": int(index) + 1,
                    "bbox": [x, y, right - x, bottom - y],
                    "area": area,
                    "iscrowd": int(crowd),
                    "difficult": int(difficult),
                }
            )
        for xyxy, score, index in zip(answer.xyxy.astype(np.float64), answer.scores, answer.indexes):
            x, y, right, bottom = xyxy.tolist()
            box = [x, y, right - x, bottom - y]
            answers.append({"image_id": picture, "category_id": int(index) + 1, "bbox": box, "score": float(score)})
    images = [{"id": picture, "width": 1000, "height": 1000} for picture in range(1, len(found) + 1)]
    categories = [{"id": k + 1, "name": str(k)} for k in range(classes)]
    return {"info": {}, "images": images, "categories": categories, "annotations": items}, answers


class WithDifficult(COCOeval):  # type: ignore[misc]
    """The COCO tool taught that what is difficult is ignored too; it otherwise overwrites that mark."""

    def _prepare(self) -> None:
        super()._prepare()
        for each in self._gts.values():
            for item in each:
                item["ignore"] = item["iscrowd"] or item["difficult"]


def coco_tool(found: list[Boxes], target: list[Truth], classes: int, *, fast: bool = False) -> tuple[Any, Any]:
    """The twelve figures by name, and precision (T, R, K) over all sizes, of one of the two COCO tools.

    Where there is no answer at all, which the tools cannot read, they are given one far from everything.
    """
    data, answers = to_coco(found, target, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        api = faster_coco_eval.COCO(data) if fast else COCO()
        if not fast:
            api.dataset = data
            api.createIndex()
        far = [{"image_id": 1, "category_id": 1, "bbox": [5000.0, 5000.0, 1.0, 1.0], "score": 0.0}]
        tool = (faster_coco_eval.COCOeval_faster if fast else WithDifficult)(api, api.loadRes(answers or far), "bbox")
        tool.evaluate()
        tool.accumulate()
        tool.summarize()
    return dict(zip(STATS, np.asarray(tool.stats[:12], np.float64).tolist())), tool.eval["precision"][..., 0, -1]
