from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sightline.core import shelf
from sightline.core.errors import MissingExtraError, UsageError
from sightline.core.shelf import Shelf


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A shelf of its own: the package `toyhouse` with a room `nets`."""
    room = tmp_path / "toyhouse" / "nets"
    room.mkdir(parents=True)
    for folder in (room.parent, room):
        (folder / "__init__.py").touch()
    (room / "plain.py").write_text("label = 'plain'")
    (room / "two_words.py").write_text("label = 'two words'")
    (room / "_shared.py").write_text("raise RuntimeError('never imported')")
    (room / "needs_torch.py").write_text("import torch_that_is_absent")
    (room / "broken.py").write_text("import some_typo_of_ours")
    (tmp_path / "elsewhere_toy.py").write_text("label = 'third party'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(shelf, "PACKAGE", "toyhouse")
    entry = EntryPoint(name="far-away", value="elsewhere_toy", group="toyhouse.nets")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [entry] if group == entry.group else [])
    before = set(sys.modules)
    yield Shelf("nets")
    for name in set(sys.modules) - before:
        if name.startswith(("toyhouse", "elsewhere_toy")):
            del sys.modules[name]


def test_names_are_the_files(toys: Shelf) -> None:
    assert toys.names() == ["broken", "needs-torch", "plain", "two-words"]


@pytest.mark.parametrize(
    ("name", "there"),
    [
        *(("plain", True), ("two-words", True), ("two_words", True), ("far-away", True), ("far_away", True)),
        *(("Plain", False), ("_shared", False), ("__init__", False), ("", False), ("plain.py", False)),
        *(("../plain", False), ("os", False), ("plain:18", False), (".plain", False), ("plain ", False)),
    ],
)
def test_has(toys: Shelf, name: str, there: bool) -> None:
    assert toys.has(name) is there


@pytest.mark.parametrize(
    ("name", "expected"), [("plain", "plain"), ("two-words", "two words"), ("far-away", "third party")]
)
def test_load(toys: Shelf, name: str, expected: str) -> None:
    module = toys.load(name)
    assert module.label == expected


@pytest.mark.parametrize("name", ["nothing", "_shared", "os.path", ""])
def test_an_unknown_name_is_told_with_the_known_ones(toys: Shelf, name: str) -> None:
    with pytest.raises(UsageError, match=r"no nets named .*; there are: broken, needs-torch, plain, two-words"):
        toys.load(name)


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        *(("torch", "train"), ("lightning.fabric", "train"), ("lightning_fabric", "train"), ("onnxscript", "train")),
        *(("onnx", "fit"), ("threadpoolctl", "fit"), ("scipy.stats", "fit"), ("matplotlib", "fit")),
    ],
)
def test_a_missing_package_names_its_extra(toys: Shelf, monkeypatch, package: str, extra: str) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(shelf.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=rf"needs {package.split('.')[0]}.*sightline\[{extra}\]") as caught:
        toys.load("plain")
    assert caught.value.exit_code == 6


def test_a_bug_of_ours_is_not_called_a_missing_extra(toys: Shelf) -> None:
    with pytest.raises(ModuleNotFoundError, match="some_typo_of_ours"):
        toys.load("broken")


def test_names_and_has_import_nothing(toys: Shelf) -> None:
    assert toys.names()
    assert toys.has("plain")
    assert not [name for name in sys.modules if name.startswith("toyhouse.nets.")]


def test_every_shelf_of_the_house_can_be_listed() -> None:
    for room in shelf.SHELVES:
        assert Shelf(room).names() == sorted(Shelf(room).names())
