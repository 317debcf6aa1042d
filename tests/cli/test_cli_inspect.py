"""inspect on the command line: what goes together, how it ends, and what it prints."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightline.cli import main as front

CLI = [sys.executable, "-m", "sightline", "inspect"]
RULES = """
rules: [{decide: reject, label: [3]}, {decide: ask, abstained: true}, {decide: accept}]
costs: {accept: {good: 0, defective: 50}, reject: {good: 10, defective: 0}, ask: {good: 1, defective: 1}}
"""


def ran(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as left:
        front.main(["inspect", *(str(word) for word in words)])
    out, err = capsys.readouterr()
    return int(str(left.value.code)), out, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("m", "give a FOLDER to inspect once, or --watch-folder"),
        ("m in --watch-folder in --move-to done --out out", "one of them"),
        ("m --watch-folder in --out out", "--watch-folder needs --move-to"),
        ("m in", "--out is missing"),
        ("m in --out out --move-to done", "--move-to needs --watch-folder"),
        ("m in --out out --stop-after 3", "--stop-after needs --watch-folder"),
        ("m in --cost-table", "--cost-table needs a FOLDER with labelled pictures, and --rules"),
        ("m --watch-folder in --move-to done --cost-table --rules r", "--cost-table needs a FOLDER"),
        ("m in --out out --defective 0.1", "--defective needs --cost-table"),
        ("m --watch-folder in --move-to done --out out --pace fast", "the pace is 'fast'; give parts by time"),
        ("m in --out out --rules none.yaml", "none.yaml cannot be read"),
        ("m in --out out --format csv", "'csv' is not one of 'jsonl', 'parquet'"),
    ],
)
def test_what_does_not_go_together(capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    code, _, err = ran(capsys, *words.split())
    assert code == 2 and said in " ".join(err.split())


def test_help_is_there_in_an_instant() -> None:
    code = "from sightline.cli.main import sightline as s; s.main(['inspect', '--help'], standalone_mode=False)"
    code += "; import sys; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Rules are tried in order" in done.stdout
    assert not any(
        f"'{name}'" in done.stdout.splitlines()[-1] for name in ("numpy", "PIL", "yaml", "rich", "onnxruntime")
    )


def test_a_folder_once_and_again(
    capsys: pytest.CaptureFixture[str], probe_run: Path, digits: Path, tmp_path: Path
) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out"
    shutil.copytree(digits / "test" / "3", parts)
    count = len(list(parts.iterdir()))
    code, _, err = ran(capsys, probe_run / "model", parts, "--out", out)
    assert code == 0 and f"{count} parts now, {count} in {out}: 3 " in err
    (parts / "bad.png").write_bytes(b"no picture")
    code, _, err = ran(capsys, probe_run / "model", parts, "--out", out)
    assert code == 8 and f"1 parts now, {count + 1} in {out}: " in err and ", unreadable 1" in err
    assert "! unreadable: bad.png: " in err
    (tmp_path / "rules.yaml").write_text(RULES)
    code, _, err = ran(capsys, probe_run / "model", parts, "--out", out, "--rules", tmp_path / "rules.yaml")
    assert code == 2 and "another rules; go on with the command it was begun with" in err


def test_costs_are_printed(capsys: pytest.CaptureFixture[str], probe_run: Path, digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "test" / "7", tmp_path / "data" / "good")
    shutil.copytree(digits / "test" / "3", tmp_path / "data" / "three")
    (tmp_path / "rules.yaml").write_text(RULES)
    words = [probe_run / "model", tmp_path / "data", "--rules", tmp_path / "rules.yaml", "--cost-table"]
    code, out, _ = ran(capsys, *words, "--defective", "0.01")
    lines = [line.split() for line in out.partition("\n\n")[0].splitlines()]
    assert code == 0 and lines[0] == ["decision", "good", "defective"]
    counts = {name: (int(good), int(bad)) for name, good, bad in lines[1:]}
    goods, threes = (len(list((tmp_path / "data" / name).iterdir())) for name in ("good", "three"))
    assert [sum(column) for column in zip(*counts.values())] == [goods, threes]
    assert "cost of 100 parts, 1 % of the parts defective: " in out
    assert "  accept all: 50\n  reject all: 990\n" in out
    text = RULES.replace("{good: 0, defective: 50}", "{good: 99, defective: 99}")
    (tmp_path / "rules.yaml").write_text(text.replace("{good: 10, defective: 0}", "{good: 0, defective: 0}"))
    code, out, err = ran(capsys, *words)
    assert code == 0 and "! to reject all costs no more than these rules" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_how_to_go_on_and_a_second_process_is_refused(
    capsys: pytest.CaptureFixture[str], probe_run: Path, digits: Path, tmp_path: Path, number: signal.Signals
) -> None:
    places = ["--watch-folder", tmp_path / "my in", "--move-to", tmp_path / "done", "--out", tmp_path / "out"]
    words = [str(word) for word in (probe_run / "model", *places, "--poll", "0.05", "--draw")]
    shutil.copytree(digits / "test" / "3", tmp_path / "my in")
    count = len(list((tmp_path / "my in").iterdir()))
    with subprocess.Popen([*CLI, *words], stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while not (tmp_path / "out" / "counter.json").exists() and time.monotonic() < end:
            time.sleep(0.02)
        code, _, err = ran(capsys, *words)
        assert code == 2 and f"another process inspects {tmp_path / 'my in'}; stop it" in err
        other = [*words[:5], "--out", str(tmp_path / "other")]
        assert ran(capsys, *other)[0] == 2 and not (tmp_path / "other" / "inspection.json").exists()
        time.sleep(0.3)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 130, said
    assert f"{count} parts now, {count} in {tmp_path / 'out'}: 3 " in said and "Traceback" not in said
    asked = f"--watch-folder '{tmp_path / 'my in'}' --move-to {tmp_path / 'done'} --out {tmp_path / 'out'} --draw"
    assert f"stopped; go on with: sightline inspect {probe_run / 'model'} {asked} --poll 0.05" in said
    assert json.loads((tmp_path / "out" / "counter.json").read_text())["parts"] == count
    assert (tmp_path / "out" / "pareto.png").exists()
