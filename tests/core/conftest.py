"""A small card, a hand-made ONNX graph and a bundle, all without optional packages."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from sightline.core.bundle import write_bundle
from sightline.core.card import Card, Preparation

# ModelProto{ir_version: 8, graph: {node: {input: "x", output: "y", op_type: "Relu"}, name: "g"}, opset_import: {17}}
GRAPH = bytes.fromhex("0808 3a11 0a0c 0a0178 120179 220452656c75 120167 4202 1011".replace(" ", ""))


@pytest.fixture(scope="session")
def graph() -> bytes:
    return GRAPH


@pytest.fixture(scope="session")
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"head.weight": rng.normal(size=(3, 8)).astype(np.float32), "count": np.array(7, np.int64)}


@pytest.fixture(scope="session")
def card() -> Card:
    entry = {"file": "graphs/main.onnx", "sha256": hashlib.sha256(GRAPH).hexdigest()}
    return Card(
        task="classify",
        net={"shelf": "nets", "name": "resnet", "variant": "18", "options": {}},
        classes=("Kätzchen", "dog", "犬"),
        preparation=Preparation(size_hw=(32, 48), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)),
        graphs={"main": {"onnx": entry}},
        metrics={"test": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "interval": "wilson", "n": 40}}},
        created="2025-01-01T00:00:00Z",
        notes=("made by a test",),
    )


@pytest.fixture(scope="session")
def files(graph: bytes, weights: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {"weights.safetensors": save(weights), "graphs/main.onnx": graph}


@pytest.fixture(params=["model", "model.zip"])
def bundle_path(request: pytest.FixtureRequest, tmp_path: Path, card: Card, files: dict[str, bytes]) -> Path:
    """The same bundle as a folder and as a zip."""
    return write_bundle(tmp_path / request.param, card, files=files)
