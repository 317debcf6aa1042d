"""Weights of timm as an encoder: the graph does what timm's own net does, and files that may hold code are not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from safetensors.torch import save_file

from made_inspections import targets, woven
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.events import drain
from sightline.core.recipe import Recipe
from sightline.encoders import taps
from sightline.encoders.timm_graph import timm_encoder
from sightline.methods import padim

pytestmark = pytest.mark.torch
ARCH = "test_resnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "weights.safetensors"
    save_file(timm.create_model(ARCH, pretrained=False).state_dict(), path)
    return path


def test_maps_are_those_of_timm(weights: Path) -> None:
    options = taps.Taps(file=str(weights), arch=ARCH, pool=1, strides="16")
    ready = Preparation(size_hw=(224, 224), high=255.0)
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    found = drain(taps.opened(taps.blob_of(options), ready, options).places_of(images))
    told = timm.models.get_pretrained_cfg(ARCH)
    overlay = {"file": str(weights)}
    net = timm.create_model(ARCH, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(told.mean)[:, None, None]) / torch.tensor(told.std)[:, None, None]
    with torch.no_grad():
        wanted = next(maps for maps in net(x) if maps.shape[-1] == 14)
    np.testing.assert_allclose(found, wanted.permute(0, 2, 3, 1).numpy(), atol=1e-3 * float(wanted.abs().max()))


def test_a_method_learns_from_it(weights: Path) -> None:
    card = Card(task="anomaly", net={}, preparation=Preparation(size_hw=(224, 224), mode="grey"))
    images = np.zeros((6, 224, 224, 1), np.uint8)
    images[:, :64, :64] = woven(6)[:, :64, :64, :1]
    arrays = drain(padim.fit(images, targets(6), card, padim.Options(file=str(weights), arch=ARCH), Recipe()))
    assert arrays["crossed.map"].shape == (6, 14, 14) and len(arrays["encoder"]) > 1000


@pytest.mark.parametrize(
    ("name", "arch", "said"),
    [
        ("net.pth", ARCH, "safetensors"),
        ("net.safetensors", "nothing_such", "cannot be read as weights of timm"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, arch: str, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not weights")
    with pytest.raises(UsageError, match=said):
        timm_encoder(path, arch)
