"""company: the processes that learn together; torchrun's as they come, those of `--devices` begun and ended here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sightline.core.errors import SightlineError, UsageError
from sightline.core.group import Group, launched
from sightline.core.runs import Run
from sightline.verbs.settings import Settings, asked, write_settings
from sightline.verbs.start import START

_POLL, _PARTING = 0.5, 30.0
"""Seconds between two looks at the parent, and what the others get to end by themselves when all is done."""
_LAST_WORDS = 400
"""Characters of what a lost process said that the error repeats."""


@contextmanager
def company(settings: Settings, *, device: str, devices: int, run: Path | None = None) -> Iterator[Group]:
    """This process's place in the training, and the others begun, watched and ended where it is this one's to do.

    settings: as they stand in the recipe; others begin from them as from a run folder. run: the folder that is gone on
    with, which may know what weights it began with. Raises UsageError for a number of devices that is not torchrun's,
    or not there, and SightlineError when another process is lost.
    """
    place = launched()
    if place.world == 1 and devices == 1:
        yield place
        return
    from sightline.learn.together import joined

    if place.world > 1:
        if not place.leads:
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        with joined(place, device=device) as group:
            yield group
            group.meet()  # the others end with the one that measures and writes
        return
    with _begun(settings, devices, run) as others:
        place = Group(world=devices, local_world=devices)
        with joined(place, device=device, store=others.store, check=others.check) as group:
            yield group
            group.meet()
        others.part()


def of_company(devices: int, *, typed: bool) -> int:
    """How many processes learn: torchrun's, where it is at work; raises UsageError where another number was asked."""
    world = launched().world
    if typed and world > 1 and devices != world:
        raise UsageError(
            f"--devices {devices}, but torchrun began {world} processes; leave --devices out, or give torchrun "
            f"--nproc-per-node {devices}"
        )
    return world if world > 1 else devices


@dataclass(frozen=True)
class _Others:
    """Processes begun by this one, which writes for them."""

    store: object
    processes: list[subprocess.Popen[bytes]]
    said: tuple[Path, ...]
    """What each wrote on its standard error."""

    def check(self) -> None:
        """Raises SightlineError when one of them is lost, with its last words."""
        for rank, (process, said) in enumerate(zip(self.processes, self.said), start=1):
            code = process.poll()
            if code is not None:
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                words = said.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS:]
                raise SightlineError(
                    f"process {rank} (of 0 to {len(self.said)}) is lost ({how}){': ' + words if words else ''}; "
                    "the checkpoint is as it was: go on with --resume"
                )

    def part(self) -> None:
        """Let them end by themselves."""
        until = time.monotonic() + _PARTING
        for process in self.processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                return

    def end(self) -> None:
        """End those that are still there; they hold nothing that is not in the checkpoint."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@contextmanager
def _begun(settings: Settings, devices: int, run: Path | None) -> Iterator[_Others]:
    """Begin the other processes with the environment that torchrun would give them; they are ended with this one."""
    import torch.distributed as dist

    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, devices, is_master=True, wait_for_workers=False
    )
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    told |= {"WORLD_SIZE": str(devices), "LOCAL_WORLD_SIZE": str(devices)}
    command = [sys.executable, "-m", "sightline", "train", "--resume"]
    with tempfile.TemporaryDirectory(prefix="sightline-") as place:
        folder = Path(place)
        write_settings(Run(folder).recipe, asked(settings), {})
        if run is not None and (run / START).exists():
            shutil.copy(run / START, folder)
        said = tuple(folder / f"{rank}.txt" for rank in range(1, devices))
        others = _Others(store, [], said)
        try:
            for rank, path in enumerate(said, start=1):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                with path.open("wb") as errors:
                    process = subprocess.Popen(
                        [*command, str(folder)],
                        env={**os.environ, **told, **own},
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=errors,
                        start_new_session=True,  # Ctrl-C is for this process, which tells the others
                    )
                others.processes.append(process)
            yield others
        finally:
            others.end()


def _end_with(parent: int) -> None:
    """End this process when the one that began it is gone, however that ended."""
    while os.getppid() == parent:
        time.sleep(_POLL)
    os._exit(1)
