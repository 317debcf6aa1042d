"""Results: frozen dataclasses that answer a request, each able to print, serialise and show itself."""

from __future__ import annotations

import html
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
