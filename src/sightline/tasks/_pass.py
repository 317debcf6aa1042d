"""One pass: what a graph says of requests, in batches of equal shapes, decoded by the task."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from sightline.core.card import Card
from sightline.core.protocols import Arrays, Request, Session, decoded, stack, unstack
from sightline.core.results import Result
from sightline.data.tiles import untiled

TILES = 4
"""Tiles of a picture in one run of a graph."""


def one_pass(task: Any, session: Session, requests: Sequence[Request], card: Card) -> list[Result]:
    """One graph, one pass: requests of equal shapes share a batch; the tiles of a picture are a batch of their own."""
    if card.preparation.tile:
        return [_merged(task, session, request, card) for request in requests]
    by_shape: dict[Any, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        by_shape[tuple((name, array.shape) for name, array in request.arrays.items())].append(index)
    results: dict[int, Result] = {}
    for indexes in by_shape.values():
        batch = stack(requests[i] for i in indexes)
        own = _sized(card, batch)
        outputs = decoded(task, session.run(batch), own)
        for row, index in enumerate(indexes):
            results[index] = task.decode(unstack(outputs, row), requests[index], own)
    return [results[index] for index in range(len(requests))]


def _sized(card: Card, batch: Arrays) -> Card:
    """The card with the size that these pictures have, where it is free."""
    if not card.preparation.multiple:
        return card
    height, width = batch["image"].shape[1:3]
    return dataclasses.replace(card, preparation=dataclasses.replace(card.preparation, size_hw=(height, width)))


def _merged(task: Any, session: Session, request: Request, card: Card) -> Result:
    """The answer about a picture from those about its tiles."""
    tiles = untiled(request)
    runs = [stack(tiles[i : i + TILES]) for i in range(0, len(tiles), TILES)]
    parts = [decoded(task, session.run(each), card) for each in runs]
    result: Result = task.merge({name: np.concatenate([p[name] for p in parts]) for name in parts[0]}, request, card)
    return result
