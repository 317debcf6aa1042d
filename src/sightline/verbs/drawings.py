"""drawings: answers drawn on their pictures, each a JPEG file of its own in one folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sightline.core.errors import UsageError
from sightline.core.storage import storing, write_bytes
from sightline.data.pictures import read_picture
from sightline.draw.overlay import annotate
from sightline.draw.sheet import to_u8
from sightline.verbs.predict import Answer

QUALITY = 92
"""Of the JPEG files."""


@dataclass
class Drawings:
    """A folder of answers drawn on their pictures, named as these are; of two with one name the later gets a number."""

    folder: Path
    task: Any
    """The module that answers: where it has `pictured`, it draws on the picture itself."""
    count: int = 0
    _taken: set[str] = field(default_factory=set)

    def write(self, answer: Answer) -> Path | None:
        """Draw an answer, read again from its file at full size; nothing where there is no result.

        Raises PictureError where the file cannot be read any more, StorageError where the folder cannot be written.
        """
        if answer.result is None:
            return None
        path = self.folder / self._name(Path(answer.source).stem)
        picture = read_picture(answer.source)
        blob = BytesIO()
        shown = to_u8(picture.pixels, picture.high)
        draws = hasattr(self.task, "pictured")
        page = self.task.pictured(shown, picture.size_hw, answer.result) if draws else annotate(shown, answer.result)
        image = Image.fromarray(np.asarray(page))
        image.save(blob, "JPEG", quality=QUALITY, subsampling=0)
        if path.parent.resolve() == Path(answer.source).parent.resolve():
            raise UsageError(f"--draw {self.folder} is where the pictures are; drawings would take their place")
        with storing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, blob.getvalue())
        self.count += 1
        return path

    def keep(self, sources: Iterable[str]) -> None:
        """Leave their names to the drawings of answers that were given before, in their order."""
        for source in sources:
            self._name(Path(source).stem)

    def _name(self, stem: str) -> str:
        name, number = f"{stem}.jpg", 1
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}.jpg"
        self._taken.add(name)
        return name


def check_folder(folder: Path, *, going_on: bool) -> None:
    """Raise UsageError where drawings would mix with what lies in the folder; when `going_on` they belong to it."""
    there: Any = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if there and not (going_on and folder.is_dir()):
        raise UsageError(
            f"{folder} is there already and not empty; name another folder for --draw, or give --overwrite"
        )
