"""calibrate: from which likeness on people are named, chosen on a gallery's own people, and what that can promise."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, MissingExtraError
from sightline.core.events import Event, Note, Saved
from sightline.core.measures import Measure
from sightline.core.storage import write_bytes, write_json
from sightline.gallery.cancelable import unit
from sightline.gallery.people import utc_day
from sightline.gallery.store import Gallery
from sightline.metrics.comparisons import Comparisons, all_pairs
from sightline.metrics.gallery_size import fnir_by_size, fpir_by_size, threshold_for_search
from sightline.metrics.identification import Searches, unmated
from sightline.metrics.intervals import unmeasured
from sightline.metrics.look_alikes import look_alikes
from sightline.metrics.match_threshold import Claim, threshold_for
from sightline.metrics.verification import det_band, measure_verification
from sightline.metrics.verification_groups import GroupRates, by_group

MOST_PROBES, MOST_PEOPLE = 2_000, 10_000
"""Of a larger gallery so many samples, and so many people to search among, are drawn."""
BAND = np.geomspace(1e-6, 1, 60)
"""FMRs at which the curve's band is drawn."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How often strangers may be taken for somebody."""

    fmr: float = 0.001
    """Of those who are compared with one person."""
    fpir: float = 0.01
    """Of those who are searched for among everybody."""
    sure: bool = False
    """With 95 % confidence instead of on average."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Thresholds and what they were seen to do."""

    verify: Claim
    identify: Claim
    measures: Mapping[str, Measure]
    """`auroc`, `eer`, `fnmr_at_fmr_0.01` and so on."""
    sizes: Mapping[int, tuple[Measure, Measure]]
    """FPIR and FNIR at the threshold of `identify` among so many people."""
    alike: tuple[tuple[str, str, float], ...]
    """Different people who are most alike, by name, with the cosine; maybe one person under two names."""
    groups: GroupRates | None
    people: int
    samples: int

    def operating(self) -> dict[str, Any]:
        """For the gallery's settings."""
        both = {"verify": self.verify, "identify": self.identify}
        return {
            **{name: claim.threshold for name, claim in both.items() if math.isfinite(claim.threshold)},
            "said": {name: claim.sentence for name, claim in both.items()},
            "supported": {name: claim.supported for name, claim in both.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without names."""
        claims = {"verify": self.verify, "identify": self.identify}
        told: dict[str, Any] = {"people": self.people, "samples": self.samples}
        told |= {
            name: {
                "wanted": claim.wanted,
                "threshold": None if math.isnan(claim.threshold) else round(claim.threshold, 6),
                "rate": claim.rate.to_dict(),
                "missed": claim.missed.to_dict(),
                "supported": claim.supported,
                "sentence": claim.sentence,
            }
            for name, claim in claims.items()
        }
        told["measures"] = {name: measure.to_dict() for name, measure in self.measures.items()}
        told["by_size"] = {
            size: {"fpir": both[0].to_dict(), "fnir": both[1].to_dict()} for size, both in self.sizes.items()
        }
        told["subgroups"] = "unmeasured" if self.groups is None else _groups(self.groups)
        return told


def calibrate(
    gallery: Gallery,
    wanted: Wanted,
    *,
    pairs: Comparisons | None = None,
    more: Mapping[str, NDArray[np.float32]] | None = None,
    subgroups: Mapping[str, str] | None = None,
    collection: str = "",
    out: Path | None = None,
) -> Generator[Event, None, Calibration]:
    """Choose the gallery's thresholds by all pairs of its templates, settle them, and return what they promise.

    pairs: comparisons to choose the threshold of `verify` by, instead of those of the gallery's own templates.
    more: plain embeddings (K, width) of further people by name, who are compared as if they were enrolled, too, so that
    few people enrolled can still be told from strangers. subgroups: the group of each person by name, for error rates
    of each. collection: compare its people only, and settle what holds where it is asked. out: a folder for the curve
    and the figures, without names. Raises DataError without two people.
    """
    vectors, subjects = _samples(gallery, more or {}, collection)
    people, everybody = np.unique(subjects), len(np.unique(subjects))
    if len(people) < 2:
        raise DataError(
            f"{len(people)} people are in {gallery.path}; thresholds are chosen by comparing people with each other: "
            "enrol more, or give others' pictures with --data"
        )
    if everybody > MOST_PEOPLE:
        yield Note(text=f"{MOST_PEOPLE:,} of {everybody:,} people are drawn to compare with each other", kind="choice")
        people = np.sort(_random().choice(people, MOST_PEOPLE, replace=False))
        kept = np.isin(subjects, people)
        vectors, subjects = vectors[kept], subjects[kept]
    own, found = all_pairs(vectors, subjects), searched(vectors, subjects)
    pairs = pairs or own
    strange, mated, width = pairs.scores[~pairs.mated], pairs.scores[pairs.mated], vectors.shape[1]
    verify = guarded(threshold_for(pairs, wanted.fmr, sure=wanted.sure), strange, mated, 1, width=width)
    size = everybody if everybody > len(people) else None
    claim = threshold_for_search(unmated(found), wanted.fpir, size=size, sure=wanted.sure)
    others, mates = (each[np.isfinite(each)] for each in (found.others, found.mate))
    identify = guarded(claim, others, mates, everybody, width=width, least=verify.threshold)
    sizes = sorted({size for size in (10, 100, 1000, len(people) - 1) if size <= len(people) - 1})
    rates = zip(fpir_by_size(unmated(found), identify.threshold, sizes), fnir_by_size(found, identify.threshold, sizes))
    _check_threshold(verify, gallery)
    alike = tuple((str(pair.people[0]), str(pair.people[1]), pair.score) for pair in look_alikes(vectors, subjects))
    calibration = Calibration(
        verify=verify,
        identify=identify,
        measures=measure_verification(pairs),
        sizes=dict(zip(sizes, rates)),
        alike=alike,
        groups=_by_group(own, people, subgroups, verify.threshold) if subgroups else None,
        people=len(people),
        samples=len(vectors),
    )
    gallery.settle(_settings(gallery, collection, calibration.operating()))
    if out is not None:
        yield from _written(calibration, pairs, out)
    return calibration


def _settings(gallery: Gallery, collection: str, operating: Mapping[str, Any]) -> dict[str, Any]:
    if not collection:
        return {"operating": operating}
    return {"collections": {**gallery.settings.get("collections", {}), collection: operating}}


def _samples(
    gallery: Gallery, more: Mapping[str, NDArray[np.float32]], collection: str
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Vectors (N, kept) of everybody whose consent is in force, as the gallery keeps them, and whose each is."""
    table, today = gallery.table(), utc_day().toordinal()
    names = {person.number: person.name for person in gallery.members(collection)}
    table = table[(table["given"] <= today) & (today <= table["until"]) & np.isin(table["person"], [*names])]
    own = np.array([names[int(number)] for number in table["person"]], np.str_)
    strange = {name: vectors for name, vectors in more.items() if gallery.find(name) is None and len(vectors)}
    parts = [table["template"].astype(np.float32), *(gallery.turned(vectors) for vectors in strange.values())]
    whose = [own, *(np.full(len(vectors), name) for name, vectors in strange.items())]
    return np.concatenate(parts), np.concatenate(whose)


def searched(vectors: NDArray[np.float32], subjects: NDArray[Any]) -> Searches:
    """Each sample searched for among everybody by all other samples; of very many, some that are drawn."""
    number = np.unique(subjects, return_inverse=True)[1]
    order = np.argsort(number, kind="stable")
    vectors, number = unit(vectors[order]), number[order]
    starts = np.unique(number, return_index=True)[1]
    count = len(vectors)
    probes = np.arange(count) if count <= MOST_PROBES else np.sort(_random().choice(count, MOST_PROBES, replace=False))
    likeness = (vectors[probes] @ vectors.T).astype(np.float64)
    likeness[np.arange(len(probes)), probes] = -np.inf  # not with itself
    scores = np.maximum.reduceat(likeness, starts, axis=1)
    own = number[probes][:, None] == np.arange(len(starts))
    mate = scores[own]
    mate[np.isinf(mate)] = np.nan  # the only sample of somebody has no mate
    return Searches(mate, np.where(own, -np.inf, scores), number[probes], np.arange(len(starts)))


def _check_threshold(verify: Claim, gallery: Gallery) -> None:
    """Raise DataError where nothing can be chosen, before what was chosen earlier is given up."""
    if math.isnan(verify.threshold):
        raise DataError(f"{verify.sentence} The thresholds of {gallery.path} stay as they were")
    if verify.threshold >= 1:
        raise DataError(
            f"different people in {gallery.path} are as alike as one person is to themselves: is somebody enrolled "
            "under several names? No likeness tells them apart, and the thresholds stay as they were"
        )


def _random() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(0))


def _by_group(pairs: Comparisons, people: NDArray[np.str_], groups: Mapping[str, str], threshold: float) -> GroupRates:
    return by_group(pairs, [groups.get(str(name), "") for name in people], threshold=threshold)


def guarded(
    claim: Claim,
    strange: NDArray[np.float64],
    own: NDArray[np.float64],
    size: int,
    *,
    width: int,
    least: float = -1.0,
) -> Claim:
    """The claim as it is where the data support it; else with a threshold that is no lower than a model's.

    Few comparisons have a low highest score, which strangers then easily reach. The model takes the scores of different
    people (`strange`) for normal, with no less spread than directions drawn at random in `width` dimensions have, and,
    of a search among `size` people, for independent. own: scores with oneself; least: what it may not be below.
    """
    if claim.supported or not len(strange):
        return claim
    each = 1 - (1 - claim.wanted) ** (1 / size)
    spread = max(float(strange.std()), width**-0.5) * math.sqrt(1 + 1 / len(strange))
    modelled = NormalDist(float(strange.mean()), spread).inv_cdf(1 - each)
    threshold = max(min(modelled, (claim.threshold + 1) / 2), claim.threshold, least)  # which can be reached
    sentence = (
        f"{claim.sentence} The threshold is {threshold:.3f}, from where on a normal distribution of impostors' scores "
        "has the rate asked for, or less: a guess, not a measurement."
    )
    share = float((own < threshold).mean()) if len(own) else math.nan
    return replace(claim, threshold=threshold, sentence=sentence, missed=unmeasured(len(own), share))


def _written(calibration: Calibration, pairs: Comparisons, out: Path) -> Generator[Event, None, None]:
    write_json(out / "calibration.json", calibration.to_dict())
    yield Saved(path=out / "calibration.json", what="figures")
    if not pairs.mated.any() or pairs.mated.all():
        yield Note(text="nobody has two pictures, so that there is no curve to draw", kind="warning")
        return
    try:
        from sightline.draw.det_figure import det_figure

        band = (BAND, *det_band(pairs, BAND))
        figure = det_figure(pairs.scores, pairs.mated, threshold=calibration.verify.threshold, band=band)
    except MissingExtraError as error:
        yield Note(text=f"no curve is drawn: {error}", kind="warning")
        return
    write_bytes(out / "det.png", figure)
    yield Saved(path=out / "det.png", what="curve")


def _groups(groups: GroupRates) -> dict[str, Any]:
    rows = zip(groups.names, groups.people, groups.fmr, groups.fnmr)
    told: dict[str, Any] = {
        name: {"people": people, "fmr": fmr.to_dict(), "fnmr": fnmr.to_dict()} for name, people, fmr, fnmr in rows
    }
    return {"groups": told, "fmr_ratio": groups.fmr_ratio.to_dict(), "fnmr_ratio": groups.fnmr_ratio.to_dict()}


def table_of(calibration: Calibration) -> Sequence[tuple[str, str]]:
    """What was measured, a line each, for a terminal."""
    rows = [(name, _told(measure)) for name, measure in calibration.measures.items()]
    for size, (fpir, fnir) in calibration.sizes.items():
        rows.append((f"among {size:,} people", f"FPIR {_told(fpir)}, FNIR {_told(fnir)}"))
    if calibration.groups:
        for name, people, fmr, fnmr in zip(
            calibration.groups.names, calibration.groups.people, calibration.groups.fmr, calibration.groups.fnmr
        ):
            rows.append((f"{name or 'no group'} ({people} people)", f"FMR {_told(fmr)}, FNMR {_told(fnmr)}"))
    else:
        rows.append(("subgroups", "unmeasured"))
    return rows


def _told(measure: Measure) -> str:
    return "unmeasured" if math.isnan(measure.value) else str(measure)
