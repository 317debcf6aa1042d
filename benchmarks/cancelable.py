"""What cancelable templates cost: accuracy where fewer numbers are kept, and rounding over many generations.

    python benchmarks/cancelable.py [--width 128] [--vectors FILE.npz]

People are random directions with two samples each, whose cosine is 0.5 in the mean. --vectors: embeddings `vectors` of
`people` instead, compared in pairs; mean of 20 draws.
"""

from __future__ import annotations

import argparse

import numpy as np

from sightline.gallery.cancelable import Transform, unit

PEOPLE, FALSE = 10_000, 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--vectors")
    asked = parser.parse_args()
    if asked.vectors:
        with np.load(asked.vectors) as arrays:
            pairs(arrays["vectors"], arrays["people"])
        return
    rng = np.random.default_rng(0)
    centres = random(rng, asked.width)
    first, second = (unit(centres + random(rng, asked.width)) for _ in range(2))
    for kept in (asked.width // part for part in (1, 2, 4, 8)):
        transform = Transform.new(width=asked.width, kept=kept, store=b"")
        scores = transform.turned(first) @ transform.turned(second).T
        found = np.mean(scores.argmax(axis=1) == np.arange(PEOPLE))
        mates = np.diagonal(scores).copy()
        np.fill_diagonal(scores, -1)
        allowed = int(FALSE * PEOPLE * (PEOPLE - 1))
        missed = np.mean(mates < np.partition(scores, -allowed, axis=None)[-allowed])
        print(
            f"{kept} of {asked.width} kept: the best is the right one {found:.2%}, FNMR at FMR {FALSE:g} {missed:.2%}"
        )
    rounding(first, second)


def rounding(templates: np.ndarray, probes: np.ndarray) -> None:
    width = templates.shape[1]
    now = Transform.new(width=width, kept=width, store=b"")
    kept = now.turned(templates).astype(np.float16)
    wanted = (templates * probes).sum(axis=1)
    for generation in range(1, 101):
        if generation in (1, 10, 100):
            off = (now.turned(probes) * unit(kept.astype(np.float32))).sum(axis=1) - wanted
            print(
                f"generation {generation}: cosines off by {off.std():.6f} (deviation), {np.abs(off).max():.6f} (most)"
            )
        new = now.renewed()
        kept, now = new.moved(kept, now).astype(np.float16), new


def pairs(vectors: np.ndarray, people: np.ndarray) -> None:
    upper = np.triu_indices(len(vectors), 1)
    mates = (people[:, None] == people)[upper]
    print(
        f"{len(vectors)} faces of {len(set(people))} people, {mates.sum()} pairs of mates, {(~mates).sum()} of others"
    )
    for kept in (vectors.shape[1] // part for part in (1, 2, 4, 8)):
        errors = []
        for _ in range(20):
            turned = Transform.new(width=vectors.shape[1], kept=kept, store=b"").turned(vectors)
            scores = (turned @ turned.T)[upper]
            limits = np.sort(scores)
            missed = np.searchsorted(np.sort(scores[mates]), limits) / mates.sum()
            false = 1 - np.searchsorted(np.sort(scores[~mates]), limits) / (~mates).sum()
            errors.append((missed + false)[np.abs(missed - false).argmin()] / 2)
        print(f"{kept} kept: equal error rate {np.mean(errors):.4f}, deviation {np.std(errors):.4f}")


def random(rng: np.random.Generator, width: int) -> np.ndarray:
    return unit(rng.standard_normal((PEOPLE, width), np.float32))


if __name__ == "__main__":
    main()
