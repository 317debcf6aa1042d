"""Fuzz one target, guided by coverage; everything after its name goes to libFuzzer.

Usage: python tests/fuzz/fuzz_run.py TARGET [FOLDER ...] [-max_total_time=600] [-rss_limit_mb=2048] [-timeout=10]

Inputs that reach something new are kept in the first FOLDER; one that fails is written as crash-*, timeout-* or oom-*.
Needs Linux and atheris. What was found goes, as small as it can be made, into corpus/TARGET and stays.
"""

from __future__ import annotations

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["sightline", "PIL", "zipfile", "png"]):
    from fuzz_targets import TARGETS


def main() -> None:
    """Run until libFuzzer stops or something fails."""
    warnings.simplefilter("error")
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        raise SystemExit(f"{name!r} is no target; there are: {', '.join(TARGETS)}")
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
