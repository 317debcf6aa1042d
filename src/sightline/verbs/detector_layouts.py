"""Layouts of detectors from elsewhere: where families of them put boxes, scores and classes, or a file says they are.

A layout is a form (see `tasks._foreign_layout.Rows`) with what hangs on the single graph left open: outputs may be
named by patterns or left out where there is but one, and columns may count from the end or go up to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from sightline.core.errors import UsageError
from sightline.core.protocols import Spec
from sightline.tasks._foreign_layout import PARTS

_LETTERBOX = {"fit": "pad", "scale": 255.0}
_IMAGENET = {"scale": 255.0, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_YOLOV5 = {
    "about": "rows of middle, size, objectness and classes (YOLOv5, YOLOv7)",
    "boxes": {"columns": [0, 4]},
    "objectness": {"columns": [4, 5]},
    "scores": {"columns": [5, None]},
    "coding": "cxcywh",
    "several": True,
    "input": _LETTERBOX,
}
_YOLOV8 = {
    "about": "columns of middle, size and classes (YOLOv8, YOLOv9, YOLO11)",
    "boxes": {"axes": "CN", "columns": [0, 4]},
    "scores": {"axes": "CN", "columns": [4, None]},
    "coding": "cxcywh",
    "several": True,
    "input": _LETTERBOX,
}
LAYOUTS: dict[str, Mapping[str, Any]] = {
    "fastestdet": {
        "about": "one map of objectness, box and classes in cells of 16 pixels (FastestDet)",
        "boxes": {"axes": "CHW", "columns": [1, 5]},
        "objectness": {"axes": "CHW", "columns": [0, 1]},
        "scores": {"axes": "CHW", "columns": [5, None]},
        "coding": "cxcywh",
        "unit": ["cells", "shares"],
        "activations": ["tanh", "sigmoid"],
        "strides": [16],
        "powers": [0.6, 0.4],
        "threshold": 0.5,
        "suppress": 0.45,
        "input": {"bgr": True, "scale": 255.0, "fit": "stretch"},
    },
    "yolov5": _YOLOV5,
    "yolov7": _YOLOV5,
    "yolov8": _YOLOV8,
    "yolo11": _YOLOV8,
    "yolox": {
        "about": "rows in cells of 8, 16 and 32 pixels, sizes as logarithms (YOLOX)",
        "boxes": {"columns": [0, 4]},
        "objectness": {"columns": [4, 5]},
        "scores": {"columns": [5, None]},
        "coding": "cxcywh",
        "unit": "cells",
        "activations": ["none", "exp"],
        "strides": [8, 16, 32],
        "input": {"bgr": True, "scale": 1.0, "fit": "pad"},
    },
    "nanodet": {
        "about": "rows of classes and distributions over distances (NanoDet-Plus)",
        "scores": {"columns": [0, -32]},
        "boxes": {"columns": [-32, None]},
        "coding": "ltrb",
        "unit": "cells",
        "bins": 8,
        "strides": [8, 16, 32, 64],
        "input": {"bgr": True, "scale": 1.0, "mean": [103.53, 116.28, 123.675], "std": [57.375, 57.12, 58.395]},
    },
    "yunet": {
        "about": "faces: objectness, class, box and five points of each of three grids in outputs of their own (YuNet)",
        "boxes": {"outputs": "bbox_*", "columns": [0, 4]},
        "points": {"outputs": "kps_*", "columns": [0, 10]},
        "objectness": {"outputs": "obj_*"},
        "scores": {"outputs": "cls_*"},
        "coding": "cxcywh",
        "unit": "cells",
        "activations": ["none", "exp"],
        "strides": [8, 16, 32],
        "powers": [0.5, 0.5],
        "suppress": 0.3,
        "input": {"bgr": True, "scale": 1.0, "fit": "shrink"},
    },
    "ssd": {
        "about": "corners as shares in one output, probabilities with the background first in the other (SSD and kin)",
        "boxes": {"outputs": "*box*|*loc*", "columns": [0, 4]},
        "scores": {"outputs": "*score*|*conf*|*prob*|*cls*", "columns": [0, None]},
        "unit": "shares",
        "background": "first",
        "suppress": 0.45,
    },
    "ultraface": {
        "about": "faces: corners as shares, and probabilities of nothing and a face (Ultra-Light-Fast, RFB)",
        "boxes": {"outputs": "*box*", "columns": [0, 4]},
        "scores": {"outputs": "*score*", "columns": [0, None]},
        "unit": "shares",
        "background": "first",
        "threshold": 0.7,
        "suppress": 0.3,
        "input": {"scale": 128.0, "mean": [0.9921875]},
    },
    "detr": {
        "about": "logits with nothing as the last class, and boxes as shares (DETR)",
        "boxes": {"outputs": "*box*", "columns": [0, 4]},
        "scores": {"outputs": "*logit*|*score*|*cls*", "columns": [0, None], "activation": "softmax"},
        "coding": "cxcywh",
        "unit": "shares",
        "background": "last",
        "suppress": 1.0,
        "input": _IMAGENET,
    },
    "rt-detr": {
        "about": "logits of independent classes, and boxes as shares (RT-DETR, Deformable DETR, D-FINE)",
        "boxes": {"outputs": "*box*", "columns": [0, 4]},
        "scores": {"outputs": "*logit*|*score*|*cls*", "columns": [0, None], "activation": "sigmoid"},
        "coding": "cxcywh",
        "unit": "shares",
        "several": True,
        "suppress": 1.0,
        "input": {"scale": 255.0},
    },
    "end-to-end": {
        "about": "rows of corners, score and class, suppressed already (YOLOv10, YOLO26)",
        "boxes": {"columns": [0, 4]},
        "scores": {"columns": [4, 5]},
        "labels": {"columns": [5, 6]},
        "suppress": 1.0,
        "input": _LETTERBOX,
    },
    "boxes-scores-labels": {
        "about": "three outputs, suppressed already: corners, scores, classes counted from 0",
        "boxes": {"outputs": "*box*|*det*", "columns": [0, 4]},
        "scores": {"outputs": "*score*|*conf*", "axes": "N"},
        "labels": {"outputs": "*label*|*class*", "axes": "N"},
        "suppress": 1.0,
    },
    "rtmdet": {
        "about": "corners with a score in one output, classes in the other, suppressed already (MMDetection's exports)",
        "boxes": {"outputs": "*det*", "columns": [0, 4]},
        "scores": {"outputs": "*det*", "columns": [4, 5]},
        "labels": {"outputs": "*label*", "axes": "N"},
        "suppress": 1.0,
        "input": {"bgr": True, "scale": 1.0, "mean": [103.53, 116.28, 123.675], "std": [57.375, 57.12, 58.395]},
    },
    "tensorflow": {
        "about": "the four outputs of TensorFlow's detection models, classes counted from 1",
        "boxes": {"outputs": "*detection_boxes*", "columns": [0, 4]},
        "scores": {"outputs": "*detection_scores*", "axes": "N"},
        "labels": {"outputs": "*detection_classes*", "axes": "N"},
        "coding": "yxyx",
        "unit": "shares",
        "first": 1,
        "suppress": 1.0,
    },
}
"""Families by name: `about`, a form with patterns, what their pictures are made of, and the suppression they want."""
EMBEDDERS: dict[str, Mapping[str, Any]] = {
    "arcface": {
        "about": "vector of an aligned face, from values between -1 and 1 (ArcFace and kin by InsightFace)",
        "vector": {},
        "input": {"scale": 127.5, "mean": [1.0]},
    },
    "sface": {
        "about": "vector of an aligned face, from pixels as they are (SFace, of OpenCV's zoo)",
        "vector": {},
        "input": {"scale": 1.0},
    },
    "mobilefacenet": {
        "about": "vector of an aligned face, from values normalised as ImageNet's (MobileFaceNet by foamliu)",
        "vector": {},
        "input": _IMAGENET,
    },
}
"""The same of embedders of faces, which put out a vector instead of boxes."""
EXTRA = ("about", "input", "suppress", "threshold")
"""What a layout may say beside its form."""
INPUT = ("bgr", "scale", "mean", "std", "fit")


def layout_of(text: str) -> dict[str, Any]:
    """A layout by its name, or from a YAML or JSON file; raises UsageError where there is none."""
    if text in LAYOUTS or text in EMBEDDERS:
        return dict((LAYOUTS | EMBEDDERS)[text])
    if not Path(text).is_file():
        names = ", ".join((*LAYOUTS, *EMBEDDERS))
        raise UsageError(f"no layout {text!r}; there are {names}; or give a YAML or JSON file that describes one")
    try:
        found = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"the layout {text} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"the layout {text} must be a mapping with boxes, scores and so on; see the documentation")
    return found


def outputs_of(layout: Mapping[str, Any], outputs: Mapping[str, Spec]) -> tuple[str, ...]:
    """The outputs of a foreign graph that the layout reads; raises UsageError where a part is in none of them."""
    if "vector" in layout:
        return tuple(_named("vector", dict(layout["vector"] or {}).get("outputs"), outputs)[:1])
    parts = [(name, layout[name]) for name in PARTS if layout.get(name) is not None]
    return tuple(dict.fromkeys(each for name, part in parts for each in _part(name, part, outputs)["outputs"]))


def form_of(layout: Mapping[str, Any], outputs: Mapping[str, Spec]) -> dict[str, Any]:
    """The layout as a form for `card.form`: outputs by their names, columns by their numbers.

    outputs: of the wrapped graph, whose shapes are known. What is wrong with the form is found when it is held against
    the graph.
    """
    if "vector" in layout:
        return {"name": "vector", "output": next(iter(outputs))}
    form = {name: value for name, value in layout.items() if name not in (*EXTRA, *PARTS)}
    parts = {name: _part(name, layout[name], outputs) for name in PARTS if layout.get(name) is not None}
    for name, part in parts.items():
        axes = part.get("axes", "NC")
        for output in part["outputs"]:
            if isinstance(axes, str) and len(outputs[output].shape) != 1 + len(axes):
                raise UsageError(f"the layout reads {name} of B {' '.join(axes)}; {output} is {_told(outputs[output])}")
    return {"name": "rows", **parts, **form}


def _part(name: str, part: Any, outputs: Mapping[str, Spec]) -> dict[str, Any]:
    if not isinstance(part, Mapping):
        raise UsageError(
            f"the layout says {name}: {part!r:.60}; it must say axes, columns and, of several, the outputs"
        )
    names = _named(name, part.get("outputs"), outputs)
    axes, columns = part.get("axes", "NC"), part.get("columns", [0, 1])
    shape = outputs[names[0]].shape[-len(axes) :] if isinstance(axes, str) and axes else ()
    wide = dict(zip(str(axes), shape)).get("C", 1)
    if isinstance(columns, list) and len(columns) == 2 and isinstance(wide, int):
        columns = [_place(columns[0], 0, wide), _place(columns[1], wide, wide)]
    return {**part, "outputs": names, "columns": columns}


def _place(column: Any, default: int, wide: int) -> Any:
    """A column, counted from the end where it is negative."""
    if column is None:
        return default
    return column + wide if type(column) is int and column < 0 else column


def _named(part: str, wanted: Any, outputs: Mapping[str, Spec]) -> list[str]:
    """The outputs that are meant, in the graph's order: those named or fit by a pattern; a single one by itself."""
    if wanted is None and len(outputs) == 1:
        return list(outputs)
    there = "; ".join(f"{name} {_told(spec)}" for name, spec in outputs.items())
    if wanted is None:
        raise UsageError(f"the layout does not say in which output the {part} are; the graph has {there}")
    asked = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(asked, list) or not all(isinstance(each, str) for each in asked):
        raise UsageError(f"the layout says {part}.outputs: {wanted!r:.60}; it must be names or patterns")
    found: list[str] = []
    for each in asked:
        patterns = [each, *each.lower().split("|")]
        fit = [name for name in outputs if name == each or any(fnmatchcase(name.lower(), p) for p in patterns)]
        if not fit:
            raise UsageError(f"no output is called {each!r}, where the {part} should be; the graph has {there}")
        found += [name for name in fit if name not in found]
    return found


def _told(spec: Spec) -> str:
    return " x ".join(map(str, spec.shape)) or "one number"
