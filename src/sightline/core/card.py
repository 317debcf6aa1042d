"""The card: a bundle's JSON, what the model is, what it was made from, how it was measured and how to use it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sightline.core.errors import BundleError

SCHEMA = 1
FITS = ("stretch", "pad", "shrink", "crop", "whole")
"""How a picture may be brought to size."""
MODES = ("rgb", "grey", "rgb-mask", "grey-mask")
"""What the channels of a prepared picture may be."""
LEAST_TILE = 32
"""Pixels of the side of a tile, at least; smaller ones would be too many."""
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From schema n to n + 1, by n; a card is walked up to SCHEMA when it is read."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How any picture becomes the array a graph takes; the same in training, evaluation, prediction and serving."""

    mode: str = "rgb"
    """`rgb` (3 channels) or `grey` (1 channel, ITU-R 601 luma); `rgb-mask`, `grey-mask`: one channel more, full scale
    where a pixel is unknown, whose colours are 0."""
    size_hw: tuple[int, int] = (224, 224)
    """Height and width in pixels at the graph's input."""
    fit: str = "stretch"
    """`stretch` (aspect ignored), `pad` (whole picture, black borders), `shrink` (as `pad`, not enlarged), `crop`
    (shorter side fits, centre kept) or `whole` (every pixel as it is; `size_hw` is that of pieces learnt from)."""
    multiple: int = 0
    """The graph takes sides of any multiple of so many pixels, with `shrink` up to `size_hw`: the picture then stands
    in the least that leaves it a margin of half a multiple on each side, as far as there is room; only where its longer
    side is below `data.prepare.LEAST` multiples is it enlarged to so many. 0: always in `size_hw`."""
    tile: int = 0
    """Side in pixels of the picture of the tiles that it is cut into, each brought to `size_hw`; 0: seen whole."""
    overlap: float = 0.2
    """Least share of its side that a tile has in common with the next."""
    dtype: str = "uint8"
    """`uint8`, `uint16` or `float32`: what the graph takes."""
    high: float = 255.0
    """Full scale: the value of white in `dtype` (255, 65535, 4095 for 12 bits, 1.0 for floats)."""
    mean: tuple[float, ...] = (0.5,)
    """Per-channel mean on the 0-to-1 scale; subtracted inside the graph."""
    std: tuple[float, ...] = (0.5,)
    """Per-channel deviation on the 0-to-1 scale; divided by inside the graph."""

    @property
    def at_least_hw(self) -> tuple[int, int] | None:
        """The size that a picture has to be decoded at, at least; None where all its pixels are looked at."""
        return None if self.tile or self.fit == "whole" else self.size_hw

    @property
    def shape(self) -> tuple[int | str, ...]:
        """H W C of what the graph takes; names for sides that are free."""
        return ("H", "W", self.channels) if self.multiple else (*self.size_hw, self.channels)

    @property
    def channels(self) -> int:
        """3 for rgb, 1 for grey, and one more for a mask."""
        return self.colours + self.masked

    @property
    def colours(self) -> int:
        """3 for rgb, 1 for grey, whether or not a mask is beside them."""
        return 3 if self.mode.startswith("rgb") else 1

    @property
    def masked(self) -> bool:
        """Whether the last channel says which pixels are unknown."""
        return self.mode.endswith("-mask")


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything known about a model. Unknown fields of newer versions are kept and written back."""

    task: str
    net: Mapping[str, Any]
    """`shelf` (`nets` or `methods`), `name`, `variant` and `options`."""
    classes: tuple[str, ...] = ()
    preparation: Preparation = field(default_factory=Preparation)
    operating: Mapping[str, Any] = field(default_factory=dict)
    """Calibration and thresholds, as the task reads them."""
    form: Mapping[str, Any] = field(default_factory=dict)
    """`name` of the form in which the graphs put out their answers, and its numbers, where the task knows several;
    empty where it is the task's decoded form itself."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """`features` (a graph output, B C H W) and `weight` (a stored array, K x C or K x CHW) for evidence maps."""
    graphs: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """role → variant → file, sha256, inputs, outputs, dtype, layout (and `gate`: what it was checked against)."""
    preferred: Mapping[str, Any] = field(default_factory=dict)
    """`graph`: the variant to run by default, and what it was chosen by: `latency_ms`, `drop`, `cpu`, `versions` and so
    on; empty where none was chosen."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Other bundles this one needs, or was joined from: role → SHA-256 digest."""
    inner: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of models that work inside this one: role → card, without its graphs, which stand in `graphs` under that role."""
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """split → metric → a `Measure` as a dictionary."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """`name`, `layout`, `fingerprint`, `counts` by split, `leak` when one was allowed, `left_out`."""
    licences: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    """UTC, ISO 8601."""
    notes: tuple[str, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def at_least_hw(self) -> tuple[int, int] | None:
        """The size that a picture has to be decoded at, at least; None where all its pixels are looked at."""
        return None if self.inner else self.preparation.at_least_hw

    @cached_property
    def inside(self) -> Mapping[str, Card]:
        """The cards of models that work inside this one, by role. Raises BundleError for one that is none."""
        return {role: Card.from_json(json.dumps(card)) for role, card in self.inner.items()}

    def to_json(self) -> str:
        """The card as indented JSON with its schema number first."""
        known = dataclasses.asdict(self)
        unknown = known.pop("unknown")
        body = {"schema": SCHEMA, **known, **{k: v for k, v in unknown.items() if k not in known}}
        return json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card of this or an older schema.

        Raises BundleError for text that is no card, a newer schema, or a field of the wrong kind.
        """
        try:
            body = json.loads(text)
            json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")  # NaN and half a surrogate pair
        except (ValueError, RecursionError) as error:
            raise BundleError(f"card.json is not JSON ({error}); the bundle is damaged") from None
        if not isinstance(body, dict) or type(body.get("schema")) is not int:
            raise BundleError("card.json has no schema number; this is not a Sightline bundle")
        return _from_dict(_migrated(body))


def _migrated(body: dict[str, Any]) -> dict[str, Any]:
    schema = body.pop("schema")
    if schema > SCHEMA:
        raise BundleError(f"the card has schema {schema}, this Sightline reads up to {SCHEMA}; upgrade sightline")
    while schema < SCHEMA:
        if schema not in MIGRATIONS:
            raise BundleError(f"no way to read a card of schema {schema}; this Sightline writes {SCHEMA}")
        try:
            body = MIGRATIONS[schema](body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"the card of schema {schema} is damaged and cannot be brought up to date ({error!r})"
            ) from None
        schema += 1
    return body


_OBJECTS = (
    *("net", "operating", "form", "evidence", "graphs", "preferred", "parts", "inner"),
    *("metrics", "data", "licences", "recipe", "versions"),
)


def _from_dict(body: dict[str, Any]) -> Card:
    names = {f.name for f in dataclasses.fields(Card)} - {"unknown"}
    known = {k: v for k, v in body.items() if k in names}
    for name in _OBJECTS:
        if name in known and not isinstance(known[name], dict):
            raise BundleError(f"card.json: {name} must be an object, not {type(known[name]).__name__}")
    if not all(isinstance(each, dict) for each in known.get("inner", {}).values()):
        raise BundleError("card.json: inner must hold cards")
    for name in ("graphs", "metrics"):
        inner = known.get(name, {}).values()
        if not all(isinstance(v, dict) and all(isinstance(entry, dict) for entry in v.values()) for v in inner):
            raise BundleError(f"card.json: {name} must be objects in objects in an object")
    entries = [entry for variants in known.get("graphs", {}).values() for entry in variants.values()]
    if not all(isinstance(entry.get("gate", {}), dict) for entry in entries):
        raise BundleError("card.json: a graph's gate must be an object")
    measures = [measure for split in known.get("metrics", {}).values() for measure in split.values()]
    if not all(_is_number(m.get(part, "")) for m in measures for part in ("value", "low", "high")):
        raise BundleError("card.json: each measure in metrics must hold value, low and high, numbers or null")
    for name in ("evidence", "parts", "licences", "versions"):
        if not all(isinstance(value, str) for value in known.get(name, {}).values()):
            raise BundleError(f"card.json: {name} must hold strings")
    if not isinstance(known.get("preferred", {}).get("graph", ""), str):
        raise BundleError("card.json: preferred.graph must be a string")
    if not isinstance(known.get("created", ""), str):
        raise BundleError("card.json: created must be a string")
    for name in ("classes", "notes"):
        if not _is_list_of(known.get(name, []), str):
            raise BundleError(f"card.json: {name} must be a list of strings")
        known[name] = tuple(known.get(name, ()))
    if not isinstance(known.get("task"), str) or "net" not in known:
        raise BundleError("card.json names no task or no net")
    known["preparation"] = _preparation(known.get("preparation", {}))
    return Card(**known, unknown={k: v for k, v in body.items() if k not in names})


def _preparation(body: Any) -> Preparation:
    try:
        raw = {f.name: body[f.name] for f in dataclasses.fields(Preparation) if f.name in body}
        for name in ("mean", "std"):
            if name in raw:
                raw[name] = tuple(_number(value) for value in raw[name])
        if "size_hw" in raw:
            raw["size_hw"] = tuple(_whole(value) for value in raw["size_hw"])
        raw["high"] = _number(raw.get("high", 255.0))
        ready = Preparation(**raw)
        if ready.mode not in MODES:
            raise ValueError(f"mode is {ready.mode!r:.40}; known are {', '.join(MODES)}")
        height, width, tile, overlap = *ready.size_hw, _whole(ready.tile), _number(ready.overlap)
        multiple = _whole(ready.multiple)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise BundleError(f"card.json: preparation is not usable ({error})") from None
    sane = 0 < height <= 16384 and 0 < width <= 16384 and all(0 < v < 1e9 for v in (ready.high, *ready.std))
    sane = sane and all(abs(v) < 1e9 for v in ready.mean) and {len(ready.mean), len(ready.std)} <= {1, ready.channels}
    sane = sane and (tile == 0 or LEAST_TILE <= tile <= 1 << 20) and 0 <= overlap <= 0.9
    sane = sane and multiple >= 0
    if multiple:
        sane = sane and ready.fit in ("shrink", "whole") and not tile and height % multiple == width % multiple == 0
    if not sane or ready.fit not in FITS:
        raise BundleError(f"card.json: preparation has values outside their range: {ready}")
    if ready.dtype not in ("uint8", "uint16", "float32"):
        raise BundleError(f"card.json: preparation has dtype {ready.dtype!r}; known are uint8, uint16, float32")
    return ready


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} is not a number")
    return float(value)


def _whole(value: Any) -> int:
    if _number(value) != int(value):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
