"""The verbs on real runs: what they write, what they refuse, and that they need no PyTorch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from blocking import NO_TORCH
from sightline.core.errors import DataError, GateError, LeakError, UsageError
from sightline.core.results import Labels


def cli(*words: object, code: int = 0, before: str = "", stdin: str = "") -> subprocess.CompletedProcess[str]:
    run = f"{before}from sightline.cli.main import main; main()"
    command = [sys.executable, "-W", "error", "-c", run, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("run", ["net_run", "probe_run"])
def test_run_folder_holds_what_people_look_for(run: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(run)
    names = {path.name for path in folder.iterdir()}
    wanted = {"recipe.yaml", "env.json", "metrics.json", "predictions.csv", "confusion_matrix.png", "samples.jpg"}
    wanted |= {"report.html", "model", "data.json", "evidence_1.jpg"}
    if run == "net_run":
        wanted |= {"history.csv", "curves.png", "checkpoint"}
    assert wanted <= names
    for name in ("confusion_matrix.png", "samples.jpg"):
        with Image.open(folder / name) as drawn:
            drawn.verify()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "accuracy" in page
    assert "://" not in page


@pytest.mark.parametrize("run", ["net_run", "probe_run"])
def test_learned_something_and_says_how_sure(run: str, request: pytest.FixtureRequest) -> None:
    model = sightline.load(request.getfixturevalue(run) / "model")
    measure = model.card.metrics["test"]["accuracy"]
    assert measure["value"] > 0.85
    assert measure["interval"] == "wilson"
    assert measure["low"] < measure["value"] < measure["high"]
    assert model.card.operating["temperature"] > 0


def test_abstention_is_the_same_everywhere(net_run: Path, digits: Path) -> None:
    model = sightline.load(net_run / "model")
    threshold = model.card.operating["threshold"]
    evaluation = model.evaluate(digits)
    results = [judged.result for judged in evaluation.judged]
    assert all(isinstance(r, Labels) and (r.abstained is not None) == (r.score < threshold) for r in results)
    answered = sum(r.abstained is None for r in results) / len(results)
    assert evaluation.measures["coverage"].value == pytest.approx(answered)


@pytest.mark.parametrize("run", ["net_run", "probe_run"])
def test_all_but_training_a_net_works_without_torch(
    run: str, digits: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle = tmp_path / "model"
    shutil.copytree(request.getfixturevalue(run) / "model", bundle)
    picture = sorted((digits / "test" / "7").iterdir())[0]
    assert "accuracy" in cli("evaluate", bundle, digits, "--out", tmp_path / "judged", before=NO_TORCH).stdout
    assert (tmp_path / "judged" / "report.html").exists()
    assert str(picture) in cli("predict", bundle, picture, before=NO_TORCH).stdout
    for probe in ("evidence", "occlusion"):
        out = tmp_path / f"{probe}.png"
        cli("explain", bundle, picture, "--probe", probe, "--out", out, before=NO_TORCH)
        with Image.open(out) as drawn:
            assert drawn.width > 100
    assert "onnx" in cli("bench", bundle, before=NO_TORCH).stdout
    assert "task: classify" in cli("info", bundle, before=NO_TORCH).stdout
    cli("check", before=NO_TORCH)
    command = ["export", str(bundle), "--data", str(digits), "--accept", "--pack", str(tmp_path / "packed.zip")]
    run_it = [
        sys.executable,
        "-c",
        NO_TORCH + "from sightline.cli.main import main; main()",
        *command,
        "--to",
        "onnx-int8",
    ]
    done = subprocess.run(run_it, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 5), done.stderr  # the gate may find it no faster here, or too costly
    assert "int8" in done.stderr


def test_the_probe_trains_without_torch(digits: Path, tmp_path: Path) -> None:
    done = cli("train", "classify", digits, "--net", "probe", "--out", tmp_path / "run", before=NO_TORCH)
    assert "test accuracy 0.9" in done.stdout


def test_a_net_without_torch_says_what_to_install(digits: Path, tmp_path: Path) -> None:
    done = cli("train", "classify", digits, "--net", "resnet", "--out", tmp_path / "run", before=NO_TORCH, code=6)
    assert "pip install 'sightline[train]'" in done.stderr


def test_predict_lists_bad_files_and_goes_on(probe_run: Path, digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Ünïcode folder with blanks"
    folder.mkdir()
    shutil.copy(sorted((digits / "test" / "1").iterdir())[0], folder / "good 1.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    done = cli("predict", probe_run / "model", folder, "--out", tmp_path / "a.jsonl", code=8)
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 3
    assert sum(row["error"] is None for row in rows) == 1
    assert done.stderr.count("left out") == 3  # two files and the total
    cli("predict", probe_run / "model", folder, "--out", tmp_path / "a.jsonl", code=2)  # not overwritten unasked


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("https://example.org/a.jpg",), 2, "opens no network"),
        (("nowhere.png",), 2, "is not there"),
        (("none*.png",), 2, "nothing matches"),
    ],
)
def test_predict_refuses(probe_run: Path, words: tuple[str, ...], code: int, said: str) -> None:
    assert said in cli("predict", probe_run / "model", *words, code=code).stderr


def test_predict_takes_lists_globs_and_windows_separators(probe_run: Path, digits: Path) -> None:
    some = sorted((digits / "test" / "2").iterdir())[:3]
    listed = cli("predict", probe_run / "model", "-", stdin="\n".join(map(str, some)) + "\n").stdout
    assert [line.split("\t")[0] for line in listed.splitlines()] == [str(path) for path in some]
    globbed = cli("predict", probe_run / "model", str(digits / "test" / "2" / "*.png")).stdout
    assert len(globbed.splitlines()) == len(list((digits / "test" / "2").iterdir()))
    backward = str(some[0]).replace("/", "\\") if os.sep == "/" else str(some[0])
    assert len(cli("predict", probe_run / "model", backward).stdout.splitlines()) == 1


def test_a_list_with_a_missing_file_is_answered_to_its_end(probe_run: Path, digits: Path) -> None:
    good = sorted((digits / "test" / "2").iterdir())[:4]
    listed = [*map(str, good[:2]), "gone.png", "https://example.org/a.jpg", *map(str, good[2:])]
    done = cli("predict", probe_run / "model", "-", "--json", stdin="\n".join(listed) + "\n", code=8)
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == listed


def test_nothing_that_is_there_is_written_over(probe_run: Path, digits: Path, tmp_path: Path) -> None:
    before = (probe_run / "report.html").read_bytes()
    for taken in (probe_run, probe_run / "model"):
        assert "not empty" in cli("evaluate", probe_run / "model", digits, "--out", taken, code=2).stderr
    assert (probe_run / "report.html").read_bytes() == before
    picture = tmp_path / "mine.png"
    shutil.copy(sorted((digits / "test" / "2").iterdir())[0], picture)
    content = picture.read_bytes()
    for out in (picture, tmp_path / "a.txt"):
        cli("explain", probe_run / "model", picture, "--out", out, "--overwrite", code=2)
    assert picture.read_bytes() == content


def test_a_copied_test_split_is_named_as_the_leak_it_is(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "test", tmp_path / "data" / "train")
    shutil.copytree(digits / "test", tmp_path / "data" / "test")
    with pytest.raises(LeakError, match="140 leaks"):
        sightline.train("classify", tmp_path / "data", net="probe:pixels", out=tmp_path / "run")


def test_what_a_solved_head_and_a_second_length_ignore_is_named(digits: Path, net_run: Path, tmp_path: Path) -> None:
    told: list[object] = []
    recipe = {"start": str(net_run / "model"), "budget": "20s", "freeze": 0.5, "balance": "sampling"}
    recipe |= {"allow_leak": True, "threads": 1}
    sightline.train("classify", digits, recipe=recipe, out=tmp_path / "run", listen=told.append)
    assert any("the head alone is learnt: balance, freeze have no effect" in str(event) for event in told)
    told.clear()
    recipe = {"steps": 1, "epochs": 3, "threads": 1, "net.width": 4}
    sightline.train("classify", digits, net="resnet:8", recipe=recipe, out=tmp_path / "short", listen=told.append)
    assert any("steps says how long to learn: epochs have no effect" in str(event) for event in told)


def test_pictures_that_memory_cannot_hold_are_refused_in_words(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.verbs.gather.usable_memory", lambda: 80_000)
    with pytest.raises(DataError, match=r"holds all pictures in memory, 0\.0 GB for 700 of 8 x 8 px"):
        sightline.train("classify", digits, net="probe:pixels", out=tmp_path / "run")


def test_settings_without_effect_are_named(digits: Path, tmp_path: Path) -> None:
    told: list[object] = []
    recipe = {"epochs": 3, "device": "cpu"}
    sightline.train("classify", digits, net="probe:pixels", recipe=recipe, out=tmp_path / "run", listen=told.append)
    assert any("device, epochs have no effect" in str(event) for event in told)
    assert not any("how long to learn" in str(event) for event in told)
    with pytest.raises(UsageError, match="no variant"):
        sightline.train("classify", digits, net="probe:zzz", out=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_learner_in_one_go_announces_no_augmentation(digits: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    sightline.train("classify", digits, net="probe:pixels", out=tmp_path / "run", listen=told.append)
    choices = [event.text.partition(" = ")[0] for event in told if getattr(event, "kind", "") == "choice"]
    assert {"fit", "color"} <= set(choices)
    assert not {"mirror", "rotate", "scale", "balance", "cutmix"} & set(choices)


def test_a_wrong_budget_is_refused_before_anything_is_written(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="90s, 5m or 2h"):
        sightline.train("classify", digits, recipe={"budget": "5x"})
    assert list(tmp_path.iterdir()) == []


def test_what_the_reader_leaves_out_is_announced(digits: Path, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name}" for path in sorted((digits / "train").rglob("*.png"))]
    rows[3] = rows[3].partition(",")[0] + ","
    (tmp_path / "samples.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    told: list[Any] = []
    sightline.train("classify", tmp_path, net="probe:pixels", out=tmp_path / "run", listen=told.append)
    assert any("line 5: no label" in getattr(event, "text", "") for event in told)


def test_a_finished_run_stays_as_it_is(net_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(net_run, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert "is finished" in cli("train", "--resume", run).stderr
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_classes_in_another_order_are_not_gone_on_with(digits: Path, tmp_path: Path) -> None:
    """The same marks under columns that changed places: numbers of classes would mean others."""
    paths = sorted((digits / "train").rglob("*.png"))[::4]
    marks = {path: [int(path.parent.name) % 2, int(int(path.parent.name) > 4), 0] for path in paths}

    def write(order: list[int]) -> None:
        names = np.array(["odd", "big", "never"])[order]
        rows = [",".join([str(path), *(str(marks[path][k]) for k in order)]) for path in paths]
        (tmp_path / "samples.csv").write_text("\n".join([",".join(["path", *names]), *rows]), encoding="utf-8")

    write([0, 1, 2])
    run = tmp_path / "run"
    sightline.train("tag", tmp_path, net="probe:pixels", out=run)
    (run / "report.html").unlink()
    write([1, 0, 2])
    assert "another order" in cli("train", "--resume", run, code=3).stderr


def test_the_report_names_the_model_as_the_user_would(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "my work").mkdir()
    where = f"import os; os.chdir({str(tmp_path / 'my work')!r}); "
    cli("train", "classify", digits, "--net", "probe:pixels", before=where)
    report = (tmp_path / "my work" / "runs" / "classify-1" / "report.html").read_text(encoding="utf-8")
    assert "sightline predict runs/classify-1/model photos/" in report


def test_evaluate_refuses_other_classes(probe_run: Path, digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "test" / "1", tmp_path / "data" / "one")
    shutil.copytree(digits / "test" / "2", tmp_path / "data" / "2")
    with pytest.raises(DataError, match="never saw: one"):
        sightline.load(probe_run / "model").evaluate(tmp_path / "data", split="all")


def test_evaluate_refuses_another_numbering(probe_run: Path, tmp_path: Path) -> None:
    blank = np.zeros((4, 8, 8), np.uint8)
    names = np.array(["1", "0", *map(str, range(2, 10))])
    np.savez(
        tmp_path / "d.npz", x_test=blank, y_test=np.arange(4), x_train=blank, y_train=np.arange(4), class_names=names
    )
    numbered = sightline.load(probe_run / "model")
    try:
        numbered.evaluate(tmp_path / "d.npz")
    except DataError as error:
        assert "another order" in str(error)
    else:
        pytest.fail("numbers in another order were taken")


def test_evaluation_without_a_test_split_is_called_optimistic(digits: Path, tmp_path: Path) -> None:
    model = sightline.train("classify", digits / "train", net="probe:pixels", out=tmp_path / "run")
    assert list(model.card.metrics) == ["validation (optimistic)"]
    assert "flatter" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    held = sightline.train(
        "classify", digits / "train", net="probe:pixels", recipe={"holdout": 0.2}, out=tmp_path / "b"
    )
    assert list(held.card.metrics) == ["test"]


def test_leaks_are_refused_unless_forced_and_then_recorded(digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(digits, data)
    copied = sorted((data / "test" / "5").iterdir())[0]
    with Image.open(copied) as opened:
        opened.save(data / "train" / "5" / "copy.bmp")
    with pytest.raises(LeakError, match=r"copy\.bmp"):
        sightline.train("classify", data, net="probe:pixels", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not sightline.audit(data).clean
    model = sightline.train("classify", data, net="probe:pixels", recipe={"allow_leak": True}, out=tmp_path / "run")
    assert model.card.data["leak"] is True
    assert any("--allow-leak" in note for note in model.card.notes)


def test_bad_pictures_are_listed_until_there_are_too_many(digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(digits, data)
    (data / "train" / "0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    model = sightline.train("classify", data, net="probe:pixels", out=tmp_path / "run")
    assert any("broken.png" in path for path, _ in model.card.data["left_out"])
    for index in range(60):
        (data / "train" / "0" / f"broken{index}.png").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        sightline.train("classify", data, net="probe:pixels", out=tmp_path / "again")


def test_a_run_folder_is_never_overwritten(probe_run: Path, digits: Path) -> None:
    with pytest.raises(UsageError, match="not empty"):
        sightline.train("classify", digits, net="probe", out=probe_run)


def test_export_refuses_other_data_and_undecided_int8(net_run: Path, digits: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "model"
    shutil.copytree(net_run / "model", bundle)
    before = sightline.load(bundle).opened.bundle.digest
    with pytest.raises(DataError, match="not the data this model was trained on"):
        sightline.load(bundle).export(data=str(digits / "train"))
    with pytest.raises(GateError):
        sightline.load(bundle).export(data=str(digits))  # 84 pictures decide nothing
    with pytest.raises(UsageError, match="--data"):
        sightline.load(bundle).export()
    assert sightline.load(bundle).opened.bundle.digest == before


def test_a_packed_bundle_answers_the_same(net_run: Path, digits: Path, tmp_path: Path) -> None:
    packed = tmp_path / "model.zip"
    assert "model.zip" in cli("export", net_run / "model", "--pack", packed).stdout
    folder, zipped = sightline.load(net_run / "model"), sightline.load(packed)
    assert folder.opened.bundle.digest == zipped.opened.bundle.digest
    picture = sorted((digits / "test" / "8").iterdir())[0]
    assert folder.predict(picture).to_dict() == zipped.predict(picture).to_dict()
    cli("export", net_run / "model", "--pack", packed, code=2)  # not over what is there


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train",), 2, "give a task and data"),
        (("train", "classify", "nowhere"), 3, "no such file or folder"),
        (("train", "fly", "nowhere"), 2, "no tasks named 'fly'"),
        (("train", "classify", "DIGITS", "--net", "nonet"), 2, "resnet"),
        (("train", "classify", "DIGITS", "--net", "resnet:999"), 2, "no variant"),
        (("train", "classify", "DIGITS", "--epochs", "many"), 2, "many"),
        (("train", "classify", "DIGITS", "--budget", "soon"), 2, "90s, 5m or 2h"),
        (("predict", "nowhere", "a.jpg"), 2, "nowhere"),
        (("predict", "DIGITS", "a.jpg"), 4, "manifest"),
        (("explain", "MODEL", "PICTURE", "--target", "x"), 2, "no class 'x'"),
        (("info", "nowhere"), 2, "is not there"),
        (("fly",), 2, "No such command"),
    ],
)
def test_wrong_usage_is_a_clear_error(
    probe_run: Path, digits: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    picture = sorted((digits / "test" / "1").iterdir())[0]
    known = {"DIGITS": digits, "MODEL": probe_run / "model", "PICTURE": picture}
    extra = ["--out", tmp_path / "run"] if words[:2] == ("train", "classify") else []
    done = cli(*(known.get(word, word) for word in words), *extra, code=code)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
