"""A gallery of many: enrolling, opening, reading all templates, finding one among them, erasing, and the memory taken.

    python benchmarks/gallery.py 1000000 [--width 128]

Templates are random, of one sample a person; who is looked for is one of them with noise added. The key lies in a file.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np

BATCH, QUERIES = 10_000, 200


def main() -> None:
    from sightline.gallery.keys import KeyFile
    from sightline.gallery.people import Consent, Newcomer
    from sightline.gallery.search import Matcher
    from sightline.gallery.store import create, open_gallery

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", type=int)
    parser.add_argument("--width", type=int, default=128)
    asked = parser.parse_args()
    today, rng = date.today(), np.random.default_rng(0)
    agreed = Consent(by="nobody", purpose="a benchmark", given=today, until=today + timedelta(days=1))
    with tempfile.TemporaryDirectory() as folder:
        path, key, anchor = Path(folder) / "people.gallery", KeyFile(Path(folder) / "key"), Path(folder) / "anchor"
        with create(path, key, model="none", width=asked.width, anchor=anchor) as gallery:
            began = time.perf_counter()
            for start in range(0, asked.people, BATCH):
                rows = rng.standard_normal((min(BATCH, asked.people - start), 1, asked.width), np.float32)
                gallery.enrol_all(Newcomer(f"p{start + at}", row, agreed) for at, row in enumerate(rows))
            told("enrolled", began, f"{asked.people / (time.perf_counter() - began):,.0f} people a second")
            told("file", began, f"{path.stat().st_size / 1e6:,.0f} MB")
            began = time.perf_counter()
            gallery.table()
            told("snapshot written", began)
        began = time.perf_counter()
        gallery = open_gallery(path, key, anchor=anchor)
        told("opened", began)
        began = time.perf_counter()
        table = gallery.table()
        told("all templates read", began)
        matcher, times, right = Matcher(table), [], 0
        for row in rng.integers(0, len(table), QUERIES):
            query = table["template"][row].astype(np.float32) + 0.3 * rng.standard_normal(asked.width, np.float32)
            began = time.perf_counter()
            found = matcher.identify(query[None])[0]
            times.append(time.perf_counter() - began)
            right += found[0].person == table["person"][row]
        p50, p99 = 1000 * np.percentile(times, (50, 99))
        print(f"identify: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {right} of {QUERIES} the right one")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB")
        began = time.perf_counter()
        gallery.erase("p77")
        told("one erased", began)
        gallery.close()


def told(what: str, began: float, more: str = "") -> None:
    print(f"{what}: {more or f'{time.perf_counter() - began:.3f} s'}", flush=True)


if __name__ == "__main__":
    main()
