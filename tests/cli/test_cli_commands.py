"""The command line: its help, its examples, its settings and the codes it leaves with."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from sightline.cli import main as front
from sightline.cli._settings import options_of
from sightline.core import errors
from sightline.core.events import Began, Event
from sightline.core.recipe import Recipe
from sightline.core.shelf import Shelf
from sightline.tasks import classify
from sightline.verbs.settings import Settings
from typed import ran

COMMANDS = front.sightline.list_commands(click.Context(front.sightline))


# Help and examples.


def test_every_verb_has_its_command() -> None:
    assert {"train", "evaluate", "predict", "explain", "export", "audit", "bench", "info", "check"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = ran(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert "Example" in out
    assert f"sightline {name}" in out.partition("Example")[2]
    assert ran(capsys, name, "-h")[:2] == (0, out)


def examples() -> Iterator[tuple[str, list[str]]]:
    """Every example that a help text shows, and those of the front page."""
    for name in COMMANDS:
        command = front.sightline.get_command(click.Context(front.sightline), name)
        assert command is not None
        for line in (command.epilog or "").replace("\\\n", "").splitlines():
            shown = re.search(r"(?:^\s*|\| )(sightline .*?)(?:\s+\([^)]*\))?$", line)
            if shown:
                yield name, shlex.split(shown[1])[1:]
    for line in (front.sightline.help or "").splitlines():
        if line.strip().startswith("sightline "):
            words = shlex.split(line.strip())[1:]
            yield words[0], words


EXAMPLES = list(examples())


def test_there_are_examples_of_everything() -> None:
    assert {name for name, _ in EXAMPLES} == set(COMMANDS)


@pytest.mark.parametrize(("name", "words"), EXAMPLES, ids=[" ".join(words) for _, words in EXAMPLES])
def test_an_example_is_understood(name: str, words: list[str]) -> None:
    """No example names an option that has gone."""
    assert words[0] == name
    command: click.Command | None = front.sightline
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(click.Context(command), name)
    assert command is not None
    with command.make_context(name, words, parent=click.Context(front.sightline)) as context:
        assert context.args == []


def test_the_front_page_lists_every_command_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ran(capsys, "--help")
    assert code == 0
    listed = dict(re.findall(r"^  ([\w-]+)  +(\S.*)$", out.partition("Commands:")[2], re.MULTILINE))
    assert list(listed) == COMMANDS
    assert all(len(text) > 15 for text in listed.values())
    assert ran(capsys, "--version")[1].startswith("sightline, version ")


def test_a_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("fly", "_display", "main", "../train"):
        code, _, err = ran(capsys, name)
        assert code == 2
        assert "No such command" in err


# Exit codes.


def kinds(kind: type[errors.SightlineError]) -> Iterator[type[errors.SightlineError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


def test_the_documented_codes_are_those_of_the_errors() -> None:
    documented = {int(code) for code in re.findall(r"\b(\d+) ", front.EPILOG.partition("Exit codes:")[2])}
    own = {kind.exit_code for kind in kinds(errors.SightlineError) if kind.__module__.startswith("sightline.")}
    assert documented == {0, *own, errors.PARTIAL_EXIT_CODE, errors.INTERRUPTED_EXIT_CODE}


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        *((kind("why"), kind.exit_code, "sightline: why\n") for kind in kinds(errors.SightlineError)
          if kind is not errors.PictureError and kind.__module__.startswith("sightline.")),
        (errors.PictureError("a.png", "torn"), 3, "sightline: a.png: torn\n"),
        (KeyboardInterrupt(), 130, "sightline: interrupted\n"),
        (click.UsageError("how"), 2, "how\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)  # fmt: skip
def test_what_is_raised_decides_the_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException, code: int, said: str
) -> None:
    def check() -> None:
        raise raised

    monkeypatch.setattr("sightline.verbs.doctor.check", check)
    left, out, err = ran(capsys, "check")
    assert (left, out) == (code, "")
    assert err.endswith(said)


def test_a_reader_that_has_gone_is_no_traceback(probe_run: Path, digits: Path) -> None:
    command = [sys.executable, "-m", "sightline", "predict", str(probe_run / "model"), *[str(digits)] * 30]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert "\t" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii", "cp1252"])
def test_a_file_name_that_is_no_text_ends_nothing(probe_run: Path, digits: Path, tmp_path: Path, encoding: str) -> None:
    import os

    picture = sorted((digits / "test" / "7").iterdir())[0].read_bytes()
    for name in (b"a\xff.png", "ü写.png".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(picture)
    for extra in ([], ["--json"], ["--out", str(tmp_path / "a.csv")], ["--out", str(tmp_path / "a.jsonl")]):
        command = [sys.executable, "-m", "sightline", "predict", str(probe_run / "model"), str(tmp_path), *extra]
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert b"\\udcff" in (tmp_path / "a.csv").read_bytes()
    assert "ü写.png" in (tmp_path / "a.jsonl").read_text(encoding="utf-8")


# Settings that grow.


def test_every_setting_of_the_task_and_the_net_has_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    for net in ("probe", "resnet"):
        out = ran(capsys, "train", "classify", "--net", net, "--help")[1]
        options = Shelf("nets" if net == "resnet" else "methods").load(net).Options
        names = [field.name for field in dataclasses.fields(classify.Recipe)]
        names += [f"net.{field.name}" for field in dataclasses.fields(options)]
        missing = [name for name in names if f"--{name.replace('_', '-')} " not in out.replace(" / ", " ")]
        assert missing == []
    plain = ran(capsys, "train", "classify", "--help")[1]
    assert "--epochs" in plain and "--net.width" not in plain


def test_options_say_what_happens_when_they_are_left_out() -> None:
    """Every help text ends with the default, or with who chooses."""
    made = {option.name: option for option in options_of(classify.Recipe)}
    assert len(made) == len(dataclasses.fields(classify.Recipe))
    for field in dataclasses.fields(classify.Recipe):
        option = made[f"set_{field.name}"]
        if field.default in (None, "auto"):
            assert str(option.help).endswith("[chosen from the data]")
        elif field.default != "":
            assert str(option.help).endswith(f"[{field.default}]")
        assert option.default is None  # so that only what was typed is a setting
        if field.metadata["choices"]:
            assert isinstance(option.type, click.Choice)
            assert tuple(option.type.choices) == field.metadata["choices"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What trainings were asked for; none is begun."""
    heard: list[dict[str, Any]] = []

    def train(settings: Settings, *, out: Path | None = None, resume: Path | None = None) -> Iterator[Event]:
        heard.append({"settings": settings, "out": out, "resume": resume})
        yield Began(run=tmp_path)
        raise errors.UsageError("enough")

    monkeypatch.setattr("sightline.verbs.train.train", train)
    return heard


@pytest.mark.parametrize(
    ("words", "net", "values"),
    [
        (["classify", "d"], "", {}),
        (["classify", "d", "--epochs", "20", "--lr", "1e-3", "--seed=7"], "", {"epochs": 20, "lr": 1e-3, "seed": 7}),
        (["--net", "probe", "classify", "d", "--seed", "2"], "probe", {"seed": 2}),
        (["--epochs", "2", "classify", "d"], "", {"epochs": 2}),
        (["--quiet", "classify", "d", "--tau", "2"], "", {"tau": 2.0}),
        (["--group-by", "tag", "classify", "d", "--tau", "2"], "", {"group_by": "tag", "tau": 2.0}),
        (["classify", "d", "--net", "resnet:18", "--net.width", "8"], "resnet:18", {"net.width": 8}),
        (["classify", "d", "--net=probe", "--no-net.colour"], "probe", {"net.colour": False}),
        (["classify", "d", "--net.blocks", "1,1"], "", {"net.blocks": "1,1"}),  # of the task's own net
        (["classify", "d", "--allow-leak", "--group-by", r"p(\d+)"], "", {"allow_leak": True, "group_by": r"p(\d+)"}),
        (["classify", "d", "--no-allow-leak", "--mirror", "no"], "", {"allow_leak": False, "mirror": "no"}),
        (["classify", "d", "--holdout", "0", "--patience", "0"], "", {"holdout": 0.0, "patience": 0}),
    ],
)
def test_only_what_was_typed_becomes_a_setting(
    capsys: pytest.CaptureFixture[str],
    asked: list[dict[str, Any]],
    words: list[str],
    net: str,
    values: dict[str, Any],
) -> None:
    code, _, err = ran(capsys, "train", *words)
    assert (code, "enough" in err) == (2, True), err
    assert asked == [{"settings": Settings("classify", "d", None, net, values), "out": None, "resume": None}]


def test_a_value_that_is_called_like_a_task_is_none(
    capsys: pytest.CaptureFixture[str], asked: list[dict[str, Any]]
) -> None:
    ran(capsys, "train", "--out", "tag", "classify", "d", "--balance", "none")
    wanted = Settings("classify", "d", None, "", {"balance": "none"})
    assert asked == [{"settings": wanted, "out": Path("tag"), "resume": None}]


@pytest.mark.parametrize("words", [["--task", "tag"], ["--task=tag"]])
def test_show_augment_has_the_settings_of_the_task_it_names(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, _, err = ran(capsys, "show-augment", "nowhere", *words, "--loss", "asymmetric")
    assert (code, "no such file or folder" in err) == (3, True), err
    assert "No such option" in ran(capsys, "show-augment", "tag", "--loss", "asymmetric")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["classify", "d", "--epoch", "3"], "No such option"),
        (["classify", "d", "--lr", "fast"], "'fast' is not a valid float"),
        (["classify", "d", "--epochs", "2.5"], "not a valid integer"),
        (["classify", "d", "--device", "tpu"], "'auto', 'cpu', 'cuda'"),
        (["classify", "d", "--net", "probe", "--net.width", "3"], "No such option"),
        (["classify", "d", "--net", "nonet"], "no net or method named 'nonet'"),
        (["classify"], "give a task and data"),
        (["classify", "d", "e"], "unexpected extra argument"),
        (["d", "e", "--epochs", "3"], "No such option"),
    ],
)
def test_a_setting_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str], asked: list[dict[str, Any]], words: list[str], said: str
) -> None:
    code, _, err = ran(capsys, "train", *words)
    assert code == 2
    assert said in err
    assert asked == []


# Going on.


@pytest.mark.parametrize(
    "words",
    [
        ["classify"],
        ["classify", "d"],
        ["--out", "o"],
        ["--net", "resnet"],
        ["--layout", "csv"],
        ["classify", "d", "--epochs", "3"],
    ],
)
def test_resume_is_given_alone(
    capsys: pytest.CaptureFixture[str], asked: list[dict[str, Any]], words: list[str]
) -> None:
    code, _, err = ran(capsys, "train", "--resume", "runs/x", *words)
    assert code == 2
    assert "give it alone" in err
    assert asked == []


@pytest.mark.parametrize("words", [[], ["--quiet"]])
def test_resume_goes_on_with_the_folder(
    capsys: pytest.CaptureFixture[str], asked: list[dict[str, Any]], words: list[str]
) -> None:
    ran(capsys, "train", "--resume", "runs/x", *words)
    assert [(each["resume"], each["out"]) for each in asked] == [(Path("runs/x"), None)]


def test_an_interrupted_training_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def train(settings: Settings, *, out: Path | None = None, resume: Path | None = None) -> Iterator[Event]:
        yield Began(run=tmp_path / "run")
        raise KeyboardInterrupt

    monkeypatch.setattr("sightline.verbs.train.train", train)
    code, _, err = ran(capsys, "train", "classify", "d")
    assert code == 130
    assert f"sightline train --resume {tmp_path / 'run'}" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "m", "a.png", "--threads", "0"), "--threads"),
        (("predict", "m", "a.png", "--threads", "-1"), "--threads"),
        (("bench", "m", "--threads", "-1"), "--threads"),
        (("predict", "m"), "Missing argument"),
    ],
)
def test_numbers_out_of_range_are_usage(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    code, _, err = ran(capsys, *words)
    assert code == 2
    assert said in err


def test_a_recipe_of_another_task_is_told_apart() -> None:
    """The options grow from the dataclass: a new field is a new option, with its type, choices and help."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Own(Recipe):
        depth: int | None = dataclasses.field(default=None, metadata={"help": "how deep", "choices": ()})
        fine: bool = dataclasses.field(default=False, metadata={"help": "how fine", "choices": ()})

    made = {option.name: option for option in options_of(Own, prefix="net.")}
    assert made["set_net_dot_depth"].opts == ["--net.depth"]
    assert made["set_net_dot_depth"].type is click.INT
    assert made["set_net_dot_fine"].secondary_opts == ["--no-net.fine"]
