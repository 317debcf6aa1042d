"""Engines send nothing: no identifier in the home folder, no sender in memory, and nothing left changed behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocking import hidden
from sightline.core import engines

RUN = """
import os, sys
before = dict(os.environ)
from sightline.core import engines
engine = engines.{name}()
assert dict(os.environ) == before
assert 'openvino_telemetry' not in sys.modules
{use}
"""
USES = {
    "onnxruntime": "import time; engine.get_available_providers(); engine.SessionOptions(); time.sleep(0.5)",
    "openvino": "engine.Core(); from openvino.tools.ovc import telemetry_utils as t; print(t.tm.__name__)",
}


def ran(code: str, home: Path) -> str:
    environment = {**os.environ, "HOME": str(home), "LOCALAPPDATA": str(home)}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", USES)
def test_nothing_is_written_to_the_home_folder(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    said = ran(RUN.format(name=name, use=USES[name]), tmp_path)
    assert list(tmp_path.rglob("*")) == []
    assert name != "openvino" or "stub" in said


def test_a_plain_import_of_openvino_would_be_seen(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    environment = "import os; [os.environ.pop(n, None) for n in ('CI', 'TF_BUILD', 'JENKINS_URL')]; "
    # the sender's network thread must not start: only what it writes is looked at
    quiet = "import openvino_telemetry.utils.sender as s; s.TelemetrySender.send = lambda *a, **k: None; "
    ran(environment + quiet + "import openvino", tmp_path)
    assert list(tmp_path.rglob("*")) != []


def test_what_was_there_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", os)
    with engines.silent():
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
        with pytest.raises(ModuleNotFoundError):
            import openvino_telemetry  # noqa: F401
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    assert sys.modules["openvino_telemetry"] is os


def test_without_openvino_it_says_what_to_install(tmp_path: Path) -> None:
    code = hidden("openvino") + (
        "from sightline.core import engines, errors\n"
        "try: engines.openvino()\n"
        "except errors.MissingExtraError as error: print(error)"
    )
    assert "pip install 'sightline[openvino]'" in ran(code, tmp_path)
