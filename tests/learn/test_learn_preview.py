"""Preview: what is shown is what the loop hands to the net, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from learn_toys import CARD, job, pictures

from sightline.learn import loop
from sightline.learn.loop import fit
from sightline.learn.preview import previews

SETTINGS = {"mixup": 0.4, "cutmix": 1.0, "mix": 0.7, "shift": 0.2, "policy": "trivialaugment", "erase": 0.3}


def test_a_preview_shows_what_the_loop_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[Any] = []

    def augmented(images: Any, targets: Any, uniform: Any, **settings: Any) -> Any:
        made = plain(images, targets, uniform, **settings)
        handed.append((images, *made))
        return made

    plain = loop.augmented
    monkeypatch.setattr(loop, "augmented", augmented)
    source = pictures(26, 0)
    todo = job(tmp_path, train=source, validation=False, **SETTINGS)
    list(fit(todo))
    shown = previews(todo, [0, 7, 25], epochs=2)
    for row, versions in zip((0, 7, 25), shown):
        for epoch, version in enumerate(versions):
            steps = handed[3 * epoch : 3 * epoch + 3]
            places = [
                (step, i) for step in steps for i, image in enumerate(step[0]) if (image == source.images[row]).all()
            ]
            assert len(places) == (version is not None)
            for (_, batch, targets), index in places:
                unit = batch[index].permute(1, 2, 0).numpy() * np.float32(CARD.preparation.std[0]) + np.float32(0.3)
                np.testing.assert_allclose(version.pixels, unit, atol=1e-6)
                np.testing.assert_array_equal(version.targets["label"], targets["label"][index].numpy())
    assert sum(version is None for versions in shown for version in versions) < 3
