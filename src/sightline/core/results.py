"""Results: frozen dataclasses that answer a request, each able to print, serialise and show itself."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Result:
    """What every answer has: a line for people, a dictionary for programs, and the right to abstain.

    A task's own result subclasses this; nothing else needs to know it.
    """

    abstained: str | None = None
    """Why the model declined to answer; None when it answered."""

    def line(self) -> str:
        """The answer as one line of text."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON-ready values, the same keys in every output format."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(self.line())}</code>"


@dataclass(frozen=True, kw_only=True)
class Labels(Result):
    """One label for a whole picture, with the calibrated probability of every class.

    >>> labels = Labels(classes=("cat", "dog"), scores=np.array([0.2, 0.8], np.float32))
    >>> labels.label, round(labels.score, 2)
    ('dog', 0.8)
    >>> labels.line()
    'dog 80.0 %'
    """

    classes: tuple[str, ...]
    scores: NDArray[np.float32]
    """Shape (K,), float32, in [0, 1], summing to 1, in the order of `classes`."""

    @property
    def index(self) -> int:
        """Index of the likeliest class."""
        return int(np.argmax(self.scores))

    @property
    def label(self) -> str:
        """The likeliest class, whether or not the model abstained."""
        return self.classes[self.index]

    @property
    def score(self) -> float:
        """The likeliest class's probability, in [0, 1]."""
        return float(self.scores[self.index])

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k likeliest classes with their probabilities, best first."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(self.classes[i], float(self.scores[i])) for i in order]

    def line(self) -> str:
        """Label and probability, marked when the model abstained."""
        text = f"{self.label} {100 * self.score:.1f} %"
        return f"(not sure: {text})" if self.abstained else text

    def to_dict(self) -> dict[str, Any]:
        """`label`, `score`, `abstained` and the five best classes."""
        top = {name: round(score, 6) for name, score in self.top()}
        return {"label": self.label, "score": round(self.score, 6), "abstained": self.abstained, "top": top}

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td><progress max=1 value={score:.4f}></progress></td>"
            f"<td>{100 * score:.1f} %</td></tr>"
            for name, score in self.top()
        )
        note = f"<p><i>abstained: {html.escape(self.abstained)}</i></p>" if self.abstained else ""
        return f"<table>{rows}</table>{note}"


@dataclass(frozen=True, kw_only=True)
class Picture(Result):
    """A picture as answer.

    >>> Picture(pixels=np.zeros((4, 6, 3), np.uint8), scale=2).line()
    '6 x 4 pixels, 2 times larger'
    """

    pixels: NDArray[Any]
    """Shape (H, W, 1 or 3), of the depth that the picture had which was asked about."""
    high: float = 255.0
    """Full scale: the value of white."""
    alpha: NDArray[Any] | None = None
    """Shape (H, W), where that one had some."""
    scale: int = 1
    """How many times more pixels there are each way."""
    whole_hw: tuple[int, int] | None = None
    """Height and width of all of it, where `pixels` are but a part."""
    fidelity: Mapping[str, float] = field(default_factory=dict)
    """How near it is to what it should be, where that is known: `psnr` in dB, `ssim`, and where it was asked for the
    distance `perceptual`; each also `_before`."""
    real: NDArray[Any] | None = None
    """Of a picture that was made, a real one that it was made for, of one shape with it, where both are compared."""
    hole: NDArray[np.bool_] | None = None
    """Shape (H, W), True where it was filled; None where nothing was to be filled."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.whole_hw or (self.pixels.shape[0], self.pixels.shape[1])

    def line(self) -> str:
        """Its size, and how near it is where that is known."""
        height, width = self.size_hw
        larger = f", {self.scale} times larger" if self.scale > 1 else ""
        near = f", {self.fidelity['psnr']:.2f} dB" if self.fidelity else ""
        return f"{width} x {height} pixels{larger}{near}"

    def to_dict(self) -> dict[str, Any]:
        """Size, scale and how near it is; the pixels have a file of their own."""
        near = {name: round(value, 4) for name, value in self.fidelity.items()}
        size = {"width": self.size_hw[1], "height": self.size_hw[0], "scale": self.scale}
        return {**size, "abstained": self.abstained, **near}


@dataclass(frozen=True, kw_only=True)
class TagScores(Result):
    """Any number of labels for a whole picture, each with a calibrated probability of its own.

    A label is claimed present, claimed absent or left unsure, by thresholds of its own.

    >>> tags = TagScores(
    ...     classes=("cat", "dog", "eel"),
    ...     scores=np.array([0.2, 0.9, 0.5], np.float32),
    ...     present=np.array([False, True, False]),
    ...     unsure=np.array([False, False, True]),
    ... )
    >>> tags.line()
    'dog 90.0 %; unsure: eel 50.0 %'
    """

    classes: tuple[str, ...]
    scores: NDArray[np.float32]
    """Shape (K,), float32, each in [0, 1] and of no consequence for the others, in the order of `classes`."""
    present: NDArray[np.bool_]
    """Shape (K,), bool: claimed to be in the picture."""
    unsure: NDArray[np.bool_]
    """Shape (K,), bool: claimed neither present nor absent; never where `present` is."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels claimed present, likeliest first."""
        return self._named(self.present)

    @property
    def doubts(self) -> tuple[str, ...]:
        """The labels of which nothing is claimed, likeliest first."""
        return self._named(self.unsure)

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k likeliest labels with their probabilities, best first."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(self.classes[i], float(self.scores[i])) for i in order]

    def _named(self, mask: NDArray[np.bool_]) -> tuple[str, ...]:
        order = np.argsort(-self.scores, kind="stable")
        return tuple(self.classes[i] for i in order if mask[i])

    def line(self) -> str:
        """Labels with their probabilities, then those it is not sure of; marked when it abstains altogether."""
        chance = dict(zip(self.classes, self.scores))

        def told(names: tuple[str, ...]) -> str:
            return ", ".join(f"{name} {100 * chance[name]:.1f} %" for name in names)

        best, score = self.top(1)[0]
        if self.abstained:
            return f"(not sure: {best} {100 * score:.1f} %)"
        text = told(self.labels) or f"none of them (nearest: {best} {100 * score:.1f} %)"
        if not self.labels and self.doubts:
            text = "none for sure"
        return f"{text}; unsure: {told(self.doubts)}" if self.doubts else text

    def to_dict(self) -> dict[str, Any]:
        """`labels` and `unsure` as lists, `abstained` and the five likeliest labels."""
        top = {name: round(score, 6) for name, score in self.top()}
        return {"labels": list(self.labels), "unsure": list(self.doubts), "abstained": self.abstained, "top": top}

    def _repr_html_(self) -> str:
        said = {**dict.fromkeys(self.labels, "present"), **dict.fromkeys(self.doubts, "unsure")}
        shown = max(5, len(said))
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td><progress max=1 value={score:.4f}></progress></td>"
            f"<td>{100 * score:.1f} %</td><td>{said.get(name, '')}</td></tr>"
            for name, score in self.top(shown)
        )
        note = f"<p><i>abstained: {html.escape(self.abstained)}</i></p>" if self.abstained else ""
        return f"<table>{rows}</table>{note}"


@dataclass(frozen=True, kw_only=True)
class Boxes(Result):
    """Things found in a picture, each with a box, a class and a score; the surest first.

    All that were found are there, down to the least likely, as curves of precision and recall need them; `claimed`
    says which are sure enough for their class's operating point, and only these are printed, drawn and written.

    >>> boxes = Boxes(
    ...     classes=("cat", "dog"),
    ...     xyxy=np.array([[2, 3, 40, 50], [0, 0, 9, 9]], np.float32),
    ...     scores=np.array([0.9, 0.1], np.float32),
    ...     indexes=np.array([1, 0]),
    ...     claimed=np.array([True, False]),
    ... )
    >>> boxes.line(), boxes.labels, boxes.count
    ('1 dog', ('dog',), 1)
    """

    classes: tuple[str, ...]
    xyxy: NDArray[np.float32]
    """Shape (N, 4), float32: left, top, right, bottom in pixels of the upright picture, a pixel's edges being whole
    numbers; within the picture."""
    scores: NDArray[np.float32]
    """Shape (N,), float32, in [0, 1], falling."""
    indexes: NDArray[np.int64]
    """Shape (N,), int64: each one's class, by its place in `classes`."""
    claimed: NDArray[np.bool_]
    """Shape (N,), bool: sure enough to be reported."""
    points: NDArray[np.float32] | None = None
    """Shape (N, K, 2), float32: x and y of landmarks of each thing, in pixels of the upright picture, where the model
    finds such; of a face, as a rule, right and left eye, nose, right and left corner of the mouth."""

    @property
    def count(self) -> int:
        """How many things are claimed."""
        return int(self.claimed.sum())

    @property
    def labels(self) -> tuple[str, ...]:
        """The class of each thing claimed, the surest first."""
        return tuple(self.classes[index] for index in self.indexes[self.claimed])

    def line(self) -> str:
        """How many of each class, the most frequent first."""
        counts = Counter(self.labels)
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        text = ", ".join(f"{count} {name}" for name, count in ordered) or "nothing"
        return f"(not sure: {text})" if self.abstained else text

    def to_dict(self) -> dict[str, Any]:
        """`count`, `counts` by class, and `boxes`, the surest first: label, score, corners and, where there are
        landmarks, points of each thing claimed.
        """
        kept = zip(self.labels, self.scores[self.claimed].tolist(), self.xyxy[self.claimed].tolist())
        boxes: list[dict[str, Any]] = [
            {"label": name, "score": round(score, 6), "xyxy": [round(value, 2) for value in corners]}
            for name, score, corners in kept
        ]
        if self.points is not None:
            for box, points in zip(boxes, self.points[self.claimed].tolist()):
                box["points"] = [[round(value, 2) for value in point] for point in points]
        return {"count": self.count, "counts": dict(Counter(self.labels)), "boxes": boxes, "abstained": self.abstained}

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(each['label'])}</td><td>{100 * each['score']:.1f} %</td>"
            f"<td>{', '.join(f'{value:g}' for value in each['xyxy'])}</td></tr>"
            for each in self.to_dict()["boxes"]
        )
        return f"<table><tr><th>class</th><th>score</th><th>left, top, right, bottom</th></tr>{rows}</table>"


@dataclass(frozen=True, kw_only=True)
class Faces(Boxes):
    """Faces found in a picture, the surest first: where each is, how fit to be recognised, and what it looks like.

    What it looks like, `vectors` and `chips`, is told to galleries only: neither printed, nor drawn, nor written.
    """

    vectors: NDArray[np.float32]
    """Shape (N, D), float32, each of length 1, or 0 where the network failed: how alike two faces are is the cosine."""
    quality: NDArray[np.float32]
    """Shape (N,), float32, in [0, 1]: how fit a face is to be recognised."""
    flaws: tuple[str, ...]
    """What is wrong with each face, and what to do about it; empty where nothing is."""
    chips: NDArray[np.uint8]
    """Shape (N, 112, 112, 3), uint8: each face brought into line."""
    names: tuple[str, ...] = ()
    """Who each is, as a gallery says, or `unknown`; nothing where none was asked."""
    likeness: NDArray[np.float32] | None = None
    """Shape (N,), float32, in [-1, 1]: how alike each is to whom the gallery holds it most alike, named or not."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Who each face is, where a gallery was asked; else that it is a face."""
        return tuple(each for each, kept in zip(self.names, self.claimed) if kept) if self.names else super().labels

    @property
    def largest(self) -> int | None:
        """The place of the largest face that is claimed; None where there is none."""
        areas = (self.xyxy[:, 2] - self.xyxy[:, 0]) * (self.xyxy[:, 3] - self.xyxy[:, 1]) * self.claimed
        return int(np.argmax(areas)) if areas.any() else None

    def to_dict(self) -> dict[str, Any]:
        """As of boxes, with the `quality` of each face and its `flaw`."""
        told = super().to_dict()
        for box, row in zip(told["boxes"], np.flatnonzero(self.claimed)):
            box |= {"quality": round(float(self.quality[row]), 4), "flaw": self.flaws[row]}
            box |= {} if self.likeness is None else {"likeness": round(float(self.likeness[row]), 4)}
        return told


@dataclass(frozen=True, kw_only=True)
class Evidence(Result):
    """Where in the picture the evidence for one answer lies, and whether that map can be believed."""

    heat: NDArray[np.float32]
    """Shape (H, W) of the picture itself, float32, evidence in [0, 1] (1 is the strongest in this picture)."""
    target: str
    """What the evidence is for: a class, a box, a word."""
    probe: str
    """Name of the instrument on the shelf `probes`."""
    verdict: str
    """One sentence: does the map do better than random ones on this picture?"""
    faithfulness: Mapping[str, float] = field(default_factory=dict)
    """Scores behind the verdict; `deletion`, `insertion` and their random baselines, each in [0, 1]."""

    def line(self) -> str:
        """Target, instrument and verdict."""
        return f"{self.target} ({self.probe}): {self.verdict}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the map, which is written as a picture."""
        return {
            "target": self.target,
            "probe": self.probe,
            "verdict": self.verdict,
            "faithfulness": {name: round(value, 6) for name, value in self.faithfulness.items()},
            "abstained": self.abstained,
        }
