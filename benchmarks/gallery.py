"""A gallery of many templates: enrolling, opening, reading, finding one exactly and by the index, revoking, erasing.

    python benchmarks/gallery.py 1000000 [--width 128] [--each 5] [--search]

Templates are random. Of one sample a person they are spread evenly, which is the hardest for an index; of several
(--each) they lie 0.6 around the person. Who is looked for is a template with noise of 0.7 times its length, or a
stranger, of whom the best score counts, since false alarms hang on it. --search: without the file.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from sightline.gallery.cancelable import Transform, unit
from sightline.gallery.keys import KeyFile
from sightline.gallery.opening import create, open_gallery
from sightline.gallery.people import Consent, Newcomer
from sightline.gallery.search import QUERIES, Matcher
from sightline.gallery.snapshot import Snapshot, Table

BATCH, PROBES, STRANGERS, TIMED = 10_000, 2000, 5000, 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("templates", type=int)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--search", action="store_true")
    asked = parser.parse_args()
    if asked.search:
        rows = np.zeros(asked.templates, Snapshot(b"", b"", asked.width, 1).kind)
        rows["person"], rows["until"] = 1 + np.arange(asked.templates) // asked.each, date.max.toordinal()
        transform, at = Transform.new(width=asked.width, kept=asked.width, store=b""), 0
        for faces in people(asked.templates, asked.width, asked.each):
            turned = transform.turned(faces.reshape(-1, asked.width))
            rows["template"][at : at + len(turned)] = turned
            at += len(turned)
        search(rows, transform)
        return
    with tempfile.TemporaryDirectory() as folder:
        stored(Path(folder), asked.templates, asked.width, asked.each)


def people(templates: int, width: int, each: int) -> Iterator[np.ndarray]:
    """(P, each, width), many people at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, templates // each, BATCH):
        count = min(BATCH, templates // each - start)
        centres = unit(rng.standard_normal((count, width), np.float32))[:, None]
        if each > 1:
            centres = centres + 0.6 * unit(rng.standard_normal((count * each, width), np.float32)).reshape(
                count, each, -1
            )
        yield centres


def stored(folder: Path, templates: int, width: int, each: int) -> None:
    path, key, anchor = folder / "people.gallery", KeyFile(folder / "key"), folder / "anchor"
    today, count = date.today(), 0
    agreed = Consent(by="nobody", purpose="a benchmark", given=today - timedelta(1), until=today + timedelta(2))
    with create(path, key, model="none", width=width, anchor=anchor) as gallery:
        began = time.perf_counter()
        for faces in people(templates, width, each):
            gallery.enrol_all(Newcomer(f"p{count + at}", rows, agreed) for at, rows in enumerate(faces))
            count += len(faces)
        told("enrolled", began, f"{templates / (time.perf_counter() - began):,.0f} templates a second")
        told("file", began, f"{path.stat().st_size / 1e6:,.0f} MB")
        timed("snapshot written", gallery.table)
        told("file", began, f"{path.stat().st_size / 1e6:,.0f} MB")
    gallery = timed("opened", lambda: open_gallery(path, key, anchor=anchor))
    search(timed("all templates read", gallery.table), gallery._transform())
    timed("one erased", lambda: gallery.erase("p77"))
    timed("all revoked", gallery.revoke)
    gallery.close()


def search(table: Table, transform: Transform) -> None:
    exact = timed("exact matcher made", lambda: Matcher(table, transform, exact=True))
    print(f"peak memory with it {peak():,.0f} MB, now {resident():,.0f} MB")
    before = resident()
    quick = timed("matcher with index made", lambda: Matcher(table, transform))
    held = table["template"].size * 4e-6
    print(
        f"index {resident() - before - held:,.0f} MB beside {held:,.0f} MB of templates" if quick._index else "no index"
    )
    rng = np.random.default_rng(1)
    width = transform.width
    chosen = transform.turned_back(table["template"][rng.integers(0, len(table), PROBES)])
    noisy = chosen + 0.7 * unit(rng.standard_normal((PROBES, width), np.float32))
    for name, queries in (("mates", noisy), ("strangers", rng.standard_normal((STRANGERS, width), np.float32))):
        both = [matcher.identify(queries, most=1) for matcher in (exact, quick)]
        pairs = [(one[0], other[0]) for one, other in zip(*both)]
        same = np.mean([one.person == other.person for one, other in pairs])
        lost = [one.score - other.score for one, other in pairs]
        print(f"{name}: best by the index is the best of all for {same:.2%}, score at most {max(lost):.4f} lower")
    for name, matcher in (("exact", exact), ("index", quick)):
        pace(name, matcher, noisy)


def pace(name: str, matcher: Matcher, queries: np.ndarray) -> None:
    """How long one query takes, and each of many that come at once."""
    times = [clocked(lambda query=query: matcher.identify(query[None])) for query in queries[:TIMED]]
    p50, p99 = 1000 * np.percentile(times, (50, 99))
    many = queries[: 4 * QUERIES]
    each = 1000 * min(clocked(lambda: matcher.identify(many)) for _ in range(3)) / len(many)
    print(f"{name}: identify p50 {p50:.1f} ms, p99 {p99:.1f} ms; of {len(many)} at once {each:.1f} ms each", flush=True)


def clocked(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def timed(what: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    found = work()
    told(what, began)
    return found


def told(what: str, began: float, more: str = "") -> None:
    print(f"{what}: {more or f'{time.perf_counter() - began:.3f} s'}", flush=True)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def resident() -> float:
    """MB in memory now, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
