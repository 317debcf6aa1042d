"""The verbs' small parts by themselves: sources, settings, tables, the gate, bench, info and audit."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.core.card import Card, Preparation
from sightline.core.errors import PictureError, UsageError
from sightline.core.events import drain
from sightline.core.recipe import Recipe, parse
from sightline.data.read import read
from sightline.verbs import bench as benching
from sightline.verbs import evaluate, gate
from sightline.verbs.audit import FEW
from sightline.verbs.evaluate import Evaluation, judge, relabelled
from sightline.verbs.gate import agree, checked_graph, spread
from sightline.verbs.info import info
from sightline.verbs.learner import rebuilt
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.predict import even_batch, predict
from sightline.verbs.settings import Settings, absolute, asked, flat, read_settings, training_of, write_settings
from sightline.verbs.sources import expand

# Sources: from what a person types to files.

TREE = (
    *("a/2.png", "a/10.png", "a/deep/x.JPG", "a/.hidden.png", "a/.cache/y.png", "a/notes.txt", "a/labels.CSV"),
    *("a/no_ending", "a/Thumbs.db", "__MACOSX/a.png", "b/ü 写.webp", "b[1].png", "z.png", "z.txt"),
    *("a/answers.parquet", "b/answers.csv.part"),
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["z.png"], ["z.png"]),
        (["z.txt"], ["z.txt"]),  # named by itself it is meant, whatever it is
        (["a"], ["a/10.png", "a/2.png", "a/no_ending", "a/deep/x.JPG"]),
        (["a/"], ["a/10.png", "a/2.png", "a/no_ending", "a/deep/x.JPG"]),
        (["b", "z.png", "b"], ["b/ü 写.webp", "z.png", "b/ü 写.webp"]),
        (["*.png"], ["b[1].png", "z.png"]),
        (["b[1].png"], ["b[1].png"]),  # a file of that very name goes before the pattern
        (["a/*.png"], ["a/10.png", "a/2.png"]),
        (["**/*.webp"], ["b/ü 写.webp"]),
        (["[ab]"], ["a/10.png", "a/2.png", "a/no_ending", "a/deep/x.JPG", "b/ü 写.webp"]),
        (["a\\deep\\x.JPG"], ["a/deep/x.JPG"]),
        (["."], ["b[1].png", "z.png", "a/10.png", "a/2.png", "a/no_ending", "a/deep/x.JPG", "b/ü 写.webp"]),
        ([], []),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="separators differ")
def test_expand(tree: Path, typed: list[str], meant: list[str]) -> None:
    assert list(expand(typed)) == meant
    absolutely = [str(tree / text) for text in typed if "\\" not in text]
    if len(absolutely) == len(typed):
        assert [str(Path(path).relative_to(tree)) for path in expand(absolutely)] == meant


def test_expand_reads_a_list_from_standard_input(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("z.png\n\n  b  \n*.txt\n"))
    assert list(expand(["a/2.png", "-", "a/10.png"])) == ["a/2.png", "z.png", "b/ü 写.webp", "z.txt", "a/10.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://example.org/a.jpg", "opens no network"),
        ("s3://bucket/a.jpg", "opens no network"),
        ("c.png", "c.png is not there"),
        ("c*.png", r"nothing matches c\*\.png"),
        ("", "empty path"),
    ],
)
def test_expand_refuses(tree: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        next(expand(["z.png", text]))  # before the first answer, so that none is lost


# Settings.

VALUES = {
    "group_by": r"person(\d+)  # not a comment: yes",
    "budget": "5m",
    "epochs": 20,
    "steps": None,
    "lr": 1e-3,
    "weight_decay": 0.1 + 0.2,
    "allow_leak": True,
    "device": "no",
    "optimizer": "1e3",
    "precision": "null",
    "net.blocks": "1,1",
    "net.width": 16,
    "note": "first line\nsecond: line\t'quoted' \"twice\" ünïcode 写",
}


@pytest.mark.parametrize("name", list(VALUES))
def test_a_setting_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    """Text that looks like a number, a truth or a comment stays text."""
    head = {"task": "classify", "data": "/data/no", "layout": None, "net": "resnet:8"}
    path = tmp_path / "recipe.yaml"
    write_settings(path, {**head, name: VALUES[name]}, {name: "the reason: it #1 is"})
    assert read_settings(path) == Settings("classify", "/data/no", None, "resnet:8", {name: VALUES[name]})
    assert "  # the reason: it #1 is\n" in path.read_text(encoding="utf-8")


def test_everything_resolved_is_written_and_read_whole(tmp_path: Path) -> None:
    asked_for = Settings("classify", "flowers", "csv", "", {"epochs": 3, "net.width": 4})
    recipe, options = parse(Recipe, asked_for.recipe_values()), SimpleNamespace
    from sightline.nets.resnet import Options

    options = Options(**asked_for.net_values())
    values = flat(asked_for, "resnet:8", recipe, options)
    write_settings(tmp_path / "recipe.yaml", values, {})
    again = read_settings(tmp_path / "recipe.yaml")
    assert asked(again) == values
    assert parse(Recipe, again.recipe_values()) == recipe
    assert parse(Options, again.net_values()) == options
    assert (again.task, again.data, again.layout, again.net) == ("classify", "flowers", "csv", "resnet:8")
    assert len(values) == 4 + len(asdict(recipe)) + len(asdict(options))


@pytest.mark.parametrize(
    "text", ["", "7", "text", "- task", "task: classify", "{", "task: [", "\x00", "task: a\ndata: b", b"\xff\xfe\x00a"]
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match="is no recipe of a run"):
        read_settings(path)


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no run folder: there is no recipe\.yaml in it"):
        read_settings(tmp_path / "nowhere" / "recipe.yaml")


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("task: !!python/object/apply:os.getcwd []\ndata: a\nnet: b\n")
    with pytest.raises(UsageError, match="is no recipe"):
        read_settings(path)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("flowers", "{here}/flowers"),
        ("csv:parts.csv", "csv:{here}/parts.csv"),
        ("./a/../flowers", "{here}/flowers"),
        ("/data/flowers", "/data/flowers"),
        ("npz:/data/d.npz", "npz:/data/d.npz"),
        ("odd:name", "{here}/odd:name"),  # a folder of that very name
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="separators and colons differ")
def test_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, wanted: str) -> None:
    (tmp_path / "odd:name").mkdir()
    monkeypatch.chdir(tmp_path)
    once = absolute(data)
    assert once == wanted.format(here=tmp_path.resolve())
    monkeypatch.chdir("/")
    assert absolute(once) == once


def test_a_bundle_knows_its_training_only_in_its_run_folder(probe_run: Path, digits: Path, tmp_path: Path) -> None:
    settings = training_of(probe_run / "model")
    assert settings is not None and settings.data == str(digits.resolve())
    assert training_of(tmp_path / "model") is None


# The gate's default comparison, and other small things.


@pytest.mark.parametrize(
    ("reference", "candidate", "ok"),
    [
        ([0.0, 0.0], [0.0, 0.0], True),
        ([1.0, -1.0], [1.0 + 1.9e-4, -1.0], True),
        ([1.0, -1.0], [1.0 + 2.1e-4, -1.0], False),
        ([1000.0, 0.0], [1000.0, 0.09], True),  # against the scale of all outputs
        ([1000.0, 0.0], [1000.0, 0.11], False),
        ([0.0, 0.0], [9e-5, 0.0], True),
        ([0.0, 1.0], [np.nan, 1.0], False),
        ([0.0, 1.0], [np.inf, 1.0], False),
    ],
)
def test_outputs_agree_to_a_share_of_their_scale(reference: list[float], candidate: list[float], ok: bool) -> None:
    task, card = SimpleNamespace(DECODED={"shade": "B", "steady": "B"}), Card(task="x", net={})
    pair = [{"shade": np.array(values), "steady": np.ones(2)} for values in (reference, candidate)]
    found = agree(task, *pair, card)
    assert found.ok is ok
    assert set(found.figures) == {"shade", "steady"}
    assert "allowed 1e-04" in found.detail


def test_a_task_may_compare_by_itself() -> None:
    task = SimpleNamespace(agree=lambda reference, candidate, card: (reference, candidate, card.task))
    assert agree(task, {}, {"a": 1}, Card(task="x", net={})) == ({}, {"a": 1}, "x")


@pytest.mark.parametrize(("count", "most"), [(0, 3), (2, 3), (3, 3), (10, 3), (1001, 1000)])
def test_spread_takes_evenly_and_no_more(count: int, most: int) -> None:
    taken = spread(range(count), most)
    assert len(taken) == len(set(taken)) == min(count, most)
    assert taken == sorted(taken)
    assert not taken or (taken[0], taken[-1]) == (0, count - 1)


def test_a_gate_in_parts_hears_all_and_judges_by_what_was_settled(
    probe_run: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, samples = open_model(probe_run / "model"), read(digits)
    rows, learned = samples.split("test").rows[:40], rebuilt(opened.card, opened.bundle.arrays())
    heard: list[tuple[int, str]] = []

    def settle(card: Card, answers: Any) -> Any:
        return replace(card, task=f"after {len(answers)}"), dict(reversed(answers.items()))

    def judging(task: Any, reference: Any, candidate: Any, card: Card) -> Any:
        assert {name: each.shape for name, each in reference.items()} == {n: e.shape for n, e in candidate.items()}
        heard.append((len(next(iter(candidate.values()))), card.task))
        return agree(task, reference, candidate, replace(card, task="classify"))

    monkeypatch.setattr(gate, "agree", judging)
    whole = checked_graph(opened.task, opened.card, learned, samples, rows)
    monkeypatch.setattr(gate, "HELD_BYTES", 0)
    monkeypatch.setattr(gate, "GATE_PICTURES", 9)
    parts = checked_graph(opened.task, opened.card, learned, samples, rows, settle=settle)
    assert heard == [(40, "classify"), (9, "after 40")]
    assert parts.card.task == "after 40" and parts.entry["gate"]["pictures"] == 9
    assert list(parts.answers) == [row.path for row in reversed(rows)]
    for path, answer in whole.answers.items():
        assert parts.answers[path].to_dict() == answer.to_dict()


def test_what_the_gate_heard_is_what_the_judge_hears(
    probe_run: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, samples = open_model(probe_run / "model"), read(digits)
    rows = samples.split("test").rows[:20]
    learned = rebuilt(opened.card, opened.bundle.arrays())
    answers = checked_graph(opened.task, opened.card, learned, samples, rows[:12]).answers
    assert list(answers) == [row.path for row in rows[:12]]
    anew = drain(judge(opened, samples, rows, split="test", label="test"))
    asked: list[Any] = []

    def told(opened: Opened, sources: Any, **how: Any) -> Any:
        for answer in predict(opened, sources, **how):
            asked.append(answer.source)
            yield answer

    monkeypatch.setattr(evaluate, "predict", told)
    again = drain(judge(opened, samples, rows, split="test", label="test", answers=answers))
    assert [Path(source) for source in asked] == [Path(samples.open(row)) for row in rows[12:]]
    assert [each.result.line() for each in again.judged] == [each.result.line() for each in anew.judged]
    assert again.measures["accuracy"] == anew.measures["accuracy"]


@pytest.mark.parametrize(("side", "batch"), [(8, 16), (64, 16), (65, 15), (128, 4), (224, 1), (2000, 1)])
def test_fewer_large_pictures_go_through_the_graph_at_once(side: int, batch: int) -> None:
    assert even_batch(Card(task="x", net={}, preparation=Preparation(size_hw=(side, side)))) == batch


def test_another_label_changes_nothing_else() -> None:
    first = Evaluation(split="test", label="test", measures={}, judged=(), samples=None)  # type: ignore[arg-type]
    other = relabelled(first, "test (again)")
    assert other.to_dict() == {**first.to_dict(), "split": "test (again)"}
    assert first.label == "test"


# Bench and info.


def test_the_figures_of_bench_fit_each_other(
    probe_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benching, "SECONDS", 0.05)
    bundle = probe_run / "model"
    benching.measure_here(str(bundle), "onnx", "1")
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["latency_ms"] <= found["latency_p90_ms"] < math.inf
    assert found["per_second"] >= 0.999 * 1000 / found["latency_ms"]
    graph = open_model(bundle).card.graphs["main"]["onnx"]["file"]
    assert found["size_mb"] == pytest.approx((bundle / graph).stat().st_size / 1e6)
    assert found["load_ms"] > 0
    assert 20 < found["peak_mb"] < 1e6
    assert benching.Figures(**found).to_dict() == found


def test_bench_names_what_it_cannot_measure(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing at"):
        list(benching.bench(tmp_path / "nowhere"))


def saved(path: Path, array: Any, **options: Any) -> Path:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("name", "array", "options", "wanted"),
    [
        ("a.png", np.array([[7]], np.uint8), {}, {"height": 1, "width": 1, "channels": 1, "lowest": 7, "highest": 7}),
        (
            "deep.png",
            np.array([[0, 65535, 300]], np.uint16),
            {},
            {"dtype": "uint16", "full_scale": 65535, "highest": 65535, "width": 3},
        ),
        ("float.tif", np.array([[0.25, 2.0]], np.float32), {}, {"dtype": "float32", "full_scale": 1, "highest": 2}),
        (
            "turned.jpg",
            np.zeros((4, 6, 3), np.uint8),
            {"exif": turned()},
            {"height": 6, "width": 4, "orientation": 6, "format": "JPEG"},
        ),
        ("alpha.png", np.zeros((2, 2, 4), np.uint8), {}, {"channels": 3, "lowest": 255}),  # clear: white shines through
        ("cmyk.jpg", Image.new("CMYK", (5, 4)), {}, {"channels": 3, "height": 4, "lowest": 255}),
        ("one.bmp", Image.new("1", (9, 3), 1), {}, {"channels": 1, "highest": 255}),
        (
            "palette.gif",
            Image.new("P", (3, 2)),
            {"save_all": True, "append_images": [Image.new("P", (3, 2), 1)]},
            {"format": "GIF", "width": 3},
        ),
    ],
)
def test_info_on_odd_pictures(tmp_path: Path, name: str, array: Any, options: Any, wanted: dict[str, Any]) -> None:
    found = info(saved(tmp_path / name, array, **options))
    assert found["kind"] == "picture"
    assert {key: found[key] for key in wanted} == wanted
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("name", "blob"), [("a.png", b""), ("a.txt", b"words"), ("a.jpg", b"\xff\xd8\xff")])
def test_info_says_what_is_no_picture(tmp_path: Path, name: str, blob: bytes) -> None:
    (tmp_path / name).write_bytes(blob)
    with pytest.raises(PictureError, match=name):
        info(tmp_path / name)


def test_info_of_a_bundle_and_of_its_zip_are_the_same(probe_run: Path, tmp_path: Path) -> None:
    import shutil

    zipped = shutil.make_archive(str(tmp_path / "m"), "zip", probe_run / "model")
    found = info(probe_run / "model")
    assert info(Path(zipped)) == found
    assert found["task"] == "classify"
    assert found["graphs"]["main/onnx"]["gate"]
    assert found["metrics"]["test"]["accuracy"]["value"] > 0.9
    assert not any("/" in name for name in found["metrics"]["test"])  # classes one by one are for the report


# Audit.


def grey(value: int) -> np.ndarray:
    return np.full((4, 4), value, np.uint8)


@pytest.fixture
def muddle(tmp_path: Path) -> Path:
    """Three cats and two dogs; a test picture that is also in training; one picture with two names; one torn file."""
    for place, value in (
        *(("train/cat/1", 10), ("train/cat/2", 20), ("train/cat/3", 30), ("train/dog/1", 40), ("train/dog/2", 30)),
        *(("test/cat/9", 10), ("test/dog/9", 50)),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        saved(tmp_path / f"{place}.png", grey(value))
    (tmp_path / "train" / "dog" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


def test_audit_finds_what_is_wrong(muddle: Path) -> None:
    found = sightline.audit(muddle)
    assert not found.clean
    assert len(found.leaks) == 1 and "train/cat/1.png" in found.leaks[0] and "test/cat/9.png" in found.leaks[0]
    assert len(found.conflicts) == 1 and "train/cat/3.png" in found.conflicts[0]
    assert [path for path, _ in found.left_out] == ["train/dog/torn.png"]
    assert found.counts == {"train": {"cat": 3, "dog": 2}, "test": {"cat": 1, "dog": 1}}
    assert len(found.rare) == 2 and "cat" in found.rare[0] and " 3 " in found.rare[0]
    text = str(found)
    for word in ("layout imagefolder", "leak: ", "contradiction: ", "rare class: ", "torn.png", "--allow-leak"):
        assert word in text
    assert json.loads(json.dumps(found.to_dict()))["leaks"] == list(found.leaks)


def test_audit_of_sound_data_is_clean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(FEW):
            saved(tmp_path / name / f"{index}.png", rng.integers(0, 255, (4, 4)).astype(np.uint8))
    found = sightline.audit(tmp_path)
    assert found.clean
    assert (found.leaks, found.conflicts, found.rare, found.left_out) == ((), (), (), ())
    assert str(found).endswith("no leak found")


def test_audit_tells_a_group_on_both_sides(muddle: Path) -> None:
    found = sightline.audit(muddle, group_by=r"(\d)\.png")
    assert len(found.leaks) == 1  # 9 is in test alone
    spread_out = sightline.audit(muddle, group_by="(cat|dog)")
    assert len(spread_out.leaks) == 3  # the picture, the cats and the dogs


def test_a_long_list_is_cut_in_the_text_only(tmp_path: Path) -> None:
    for index in range(30):
        for split in ("train", "test"):
            (tmp_path / split / "cat").mkdir(parents=True, exist_ok=True)
            saved(tmp_path / split / "cat" / f"{index}.png", grey(index))
    (tmp_path / "train" / "dog").mkdir()
    saved(tmp_path / "train" / "dog" / "a.png", grey(99))
    found = sightline.audit(tmp_path)
    assert len(found.leaks) == len(found.to_dict()["leaks"]) == 30
    assert str(found).count("leak: ") == 20
    assert "... and 10 more" in str(found)
