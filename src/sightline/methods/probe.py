"""probe: multinomial logistic regression on HOG-like features or on pixels; learns in seconds and needs no torch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import DataError, MissingExtraError
from sightline.core.events import Epoch, Event, Note, Progress
from sightline.core.protocols import Array, Arrays
from sightline.core.recipe import Recipe, setting
from sightline.methods._cells import Cells, describe_cells, encoder_nodes, features

TASKS = frozenset({"classify"})
OUTPUTS = {"logits": "B K", "features": "B C H W"}
EVIDENCE = {"features": "features", "weight": "head.weight"}
PENALTIES = tuple(float(c) for c in np.logspace(-4, 0, 7))
FOLDS = 5
CHUNK = 256
"""Pictures encoded at a time."""
