"""Reads names on stdin and does with each file what can be done; one JSON line a file, and no mercy for the rest."""

from __future__ import annotations

import json
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sightline.core.errors import SightlineError

MEMORY, SECONDS = 3 << 30, 20
"""Address space beyond what there is at the start, and the longest that one file may take."""


def pictures(path: Path) -> str:
    """A picture, whole and reduced."""
    from sightline.data.pictures import read_header, read_picture

    read_header(path)
    read_picture(path, at_least_hw=(16, 16))
    return str(read_picture(path).pixels.shape)


def bundles(path: Path) -> str:
    """A bundle opened, asked and explained."""
    from sightline.verbs.explain import explain
    from sightline.verbs.info import info
    from sightline.verbs.opened import open_model
    from sightline.verbs.predict import predict

    json.dumps(info(path), allow_nan=False)
    opened = open_model(path, threads=1)
    picture = np.zeros((16, 16), np.uint8)
    answers = list(predict(opened, [picture] * 3, threads=1))
    explain(opened, picture)
    return json.dumps([answer.to_dict() for answer in answers], allow_nan=False)[:80]


def within(deed: Callable[[Path], str], path: Path) -> tuple[str, str]:
    """Outcome and words; anything that is not ours is a fault."""
    began = time.monotonic()
    signal.alarm(SECONDS)  # a hang in native code ends the process
    try:
        words = deed(path)
        outcome = "answered"
    except SightlineError as error:
        outcome, words = ("refused", str(error)) if str(error) else ("refused without words", "")
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        outcome, words = "raised something else", repr(error)
    signal.alarm(0)
    return (outcome if time.monotonic() - began < SECONDS / 2 else "slow"), words[:300]


def main() -> None:
    """Until stdin ends."""
    import resource

    warnings.simplefilter("error")
    deed = {"pictures": pictures, "bundles": bundles}[sys.argv[1]]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    for name in sys.stdin.read().split():
        print(json.dumps([name, *within(deed, Path(sys.argv[2]) / name)]), flush=True)


if __name__ == "__main__":
    main()
