"""Trials and the best graph: limits, refusals, the choice, the card, and what happens where an engine is absent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import sightline
from blocking import hidden
from sightline.core.bundle import open_bundle, update_bundle
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, GateError, UsageError
from sightline.core.events import Event, drain
from sightline.core.protocols import Agreement, Candidate, Request
from sightline.data.samples import Label, Sample
from sightline.tasks import classify
from sightline.verbs import best as choosing
from sightline.verbs import trial
from sightline.verbs.bench import bench
from sightline.verbs.best import Limits, Measured, Row, best, megabytes, milliseconds
from sightline.verbs.export import export
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.trial import Bench, Verdict, counted, judged

pytest.importorskip("openvino")


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (milliseconds, "20ms", 20.0),
        (milliseconds, " 0.5 s", 500.0),
        (milliseconds, "750us", 0.75),
        (milliseconds, "", None),
        (megabytes, "8MB", 8.0),
        (megabytes, "500kB", 0.5),
        (megabytes, "1.5GB", 1500.0),
        (milliseconds, "20", "20ms or 0.5s; units are us, ms, s"),
        (milliseconds, "8MB", "is not a duration"),
        (milliseconds, "0ms", "must be above 0"),
        (milliseconds, "-5ms", "is not a duration"),
        (megabytes, "8Mb", "units are B, kB, KB, MB, GB"),
        (megabytes, "nanMB", "is not a size"),
    ],
)
def test_quantities(parse: Any, text: str, value: float | str | None) -> None:
    if isinstance(value, str):
        with pytest.raises(UsageError, match=value):
            parse(text)
    else:
        assert parse(text) == (value if value is None else pytest.approx(value))


def verdict(**changes: Any) -> Verdict:
    """Of 1,500 pictures, or `count`, so many that are `lost`, `won` and `changed`; or with an `agreement`."""
    given = {"to": "openvino-bf16", "candidate": Candidate(blob=b""), "session": None, "speedup": 2.0, "count": 1500}
    given |= {name: value for name, value in changes.items() if name not in ("lost", "won", "changed")}
    counts = [changes.get(name, 0) for name in ("lost", "won", "changed")]
    return Verdict(**given, change=None if "agreement" in changes else counted(*counts, given["count"]))


EQUAL, OTHER = Agreement(ok=True, detail="no difference"), Agreement(ok=False, detail="a difference of 1")


@pytest.mark.parametrize(
    ("found", "accept", "said"),
    [
        (verdict(), False, ""),
        (verdict(lost=7), False, ""),
        (verdict(lost=8), False, "costs more than --max-drop 0.5 points"),
        (verdict(lost=8), True, "costs more than --max-drop 0.5 points"),
        (verdict(lost=30, won=29), False, ""),
        (verdict(lost=30, won=29, changed=75), False, ""),
        (verdict(lost=30, won=29, changed=76), True, "another model: it answers 76 of 1500 pictures"),
        (verdict(speedup=1.0), True, "not faster here"),
        (verdict(count=999), False, "not decidable: 999"),
        (verdict(count=999), True, ""),
        (verdict(to="openvino", agreement=EQUAL, count=5), False, ""),  # equal outputs need no thousand pictures
        (verdict(to="openvino", agreement=OTHER), True, "does not do what the fp32 graph does"),
    ],
)
def test_refusals(found: Verdict, accept: bool, said: str) -> None:
    reason = found.refusal(max_drop=0.5, accept=accept)
    assert said in reason
    assert bool(said) == bool(reason)
    assert ("accuracy" in found.sentence()) == (found.agreement is None)


CARD = Card(task="classify", net={}, classes=("cat", "dog", "eel"), preparation=Preparation(size_hw=(1, 1)))


@pytest.mark.parametrize("points", [np.nan, np.inf, -1.0, 101.0])
def test_a_drop_that_is_none_is_refused_before_anything_is_measured(net_run: Path, points: float) -> None:
    opened = open_model(net_run / "model")
    for way in (export(opened, max_drop=points), best(opened, limits=Limits(max_drop=points))):
        with pytest.raises(UsageError, match="from 0 to 100 points"):
            next(way)


class Knows:
    """A session that names one class for each picture, which it knows by its number."""

    def __init__(self, *names: str) -> None:
        self.logits = 9 * np.array([[name == each for each in CARD.classes] for name in names], np.float32)

    def run(self, arrays: Any, /) -> dict[str, Any]:
        return {"logits": self.logits[arrays["image"].ravel()]}


def test_answers_that_change_from_wrong_to_wrong_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, before, after = ("cat", "cat", "cat", "cat"), ("cat", "dog", "dog", "dog"), ("dog", "cat", "eel", "dog")
    form = SimpleNamespace(DTYPE="int8", open=lambda blob, threads: Knows(*after))
    monkeypatch.setattr(trial, "Shelf", lambda room: SimpleNamespace(load=lambda to: form))
    opened = Opened(SimpleNamespace(card=CARD), classify, {}, "onnx")  # type: ignore[arg-type]
    pairs = tuple(
        (Sample(str(at), Label(name)), Request(arrays={"image": np.full((1, 1, 1), at, np.uint8)}))
        for at, name in enumerate(truth)
    )
    results = opened.running(Knows(*before)).answer([request for _, request in pairs])
    ways = {"one": pairs[0][1].arrays, "judged_by": lambda: iter(pairs)}
    rows = tuple(zip([row for row, _ in pairs], results))
    given = Bench(fp32=b"", session=Knows(*before), calibration=(), pairs=pairs, results=rows, **ways)
    found = judged(opened, given, "onnx-int8", Candidate(blob=b""))
    assert found.change is not None
    assert (dict(found.change.figures), found.drop) == ({"changed": 3, "lost": 1, "won": 1}, 0.0)
    assert "(3 answers changed: 1 lost, 1 won)" in found.sentence()
    assert found.gate()["changed"] == 3


def row(graph: str, ms: float, drop: float = 0.0, mb: float = 10.0, **changes: Any) -> Row:
    return Row(graph=graph, latency_ms=ms, latency_p90_ms=ms, drop=drop, size_mb=mb, **({"kept": True} | changes))


ROWS = (
    row("onnx", 10),
    row("onnx-int8", 4, 0.4, 3),
    row("openvino-bf16", 4.1, 0.1),
    row("openvino-int8", 3, 0.2, 3, kept=False, remark="not decidable"),
)


@pytest.mark.parametrize(
    ("limits", "graph"),
    [
        (Limits(), "openvino-bf16"),  # within 3 % of the fastest, and it loses less
        (Limits(max_drop=0), "onnx"),
        (Limits(max_size_mb=5), "onnx-int8"),
        (Limits(max_latency_ms=4.05), "onnx-int8"),
        (Limits(max_latency_ms=2), "nearest is onnx-int8 with 4 ms, -0.40 points and 3.00 MB, over --max-latency 2 ms"),
        (Limits(max_size_mb=1, max_latency_ms=50), "nearest is onnx-int8 with .* over --max-size 1 MB"),
        (Limits(max_drop=0, max_latency_ms=5), "nearest is onnx with 10 ms, .* over --max-latency 5 ms"),
    ],
)
def test_the_choice(limits: Limits, graph: str) -> None:
    rows = [choosing.replace(each, remark=each.remark or limits.broken(each)) for each in ROWS]
    if "nearest" in graph:
        with pytest.raises(GateError, match=graph):
            choosing._chosen(rows, limits)
    else:
        assert choosing._chosen(rows, limits).graph == graph


# On a real bundle. Times are made up, so that the choice does not hang on this machine.


@pytest.fixture
def bundle(probe_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(probe_run / "model", tmp_path / "model"))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Milliseconds by kind of session: what OpenVINO runs is twice as fast as ONNX Runtime."""
    speed = {"OnnxSession": 2.0, "OpenvinoSession": 1.0}

    def timed(sessions: Any, arrays: Any, *, rounds: int = 5) -> np.ndarray:
        return np.tile([speed[type(session).__name__] / 1e3 for session in sessions], (rounds, 1))

    monkeypatch.setattr("sightline.verbs.trial.side_by_side", timed)
    monkeypatch.setattr("sightline.verbs.best.side_by_side", timed)
    yield speed


def cli(*words: object, code: int = 0, before: str = "") -> subprocess.CompletedProcess[str]:
    run = f"{before}from sightline.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-W", "error", "-c", run, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_best_is_recorded_used_and_replaced_where_it_cannot_run(
    bundle: Path, digits: Path, fast: dict[str, float]
) -> None:
    events: list[Event] = []
    chosen = drain(best(open_model(bundle), data=str(digits)), events.append)
    rows = {row.graph: row for event in events if isinstance(event, Measured) for row in event.rows}
    assert set(rows) == {"onnx", "onnx-int8", "openvino", "openvino-bf16", "openvino-int8"}
    assert chosen.graph == "openvino"  # the rest is not decidable on 84 pictures
    assert rows["onnx"].kept
    assert rows["openvino"].kept
    assert not rows["onnx-int8"].kept
    assert not rows["openvino-int8"].kept
    card = open_bundle(bundle).card
    assert set(card.graphs["main"]) == {"onnx", "openvino"}
    assert card.graphs["main"]["openvino"]["file"] == card.graphs["main"]["onnx"]["file"]
    assert card.preferred["graph"] == "openvino"
    assert card.preferred["versions"]["openvino"]
    model = sightline.load(bundle)
    assert model.opened.variant == "openvino"
    found = model.evaluate(digits)
    assert found.to_dict()["graph"] == "openvino"
    assert "graph openvino" in repr(found)
    assert sightline.load(bundle, graph="onnx").evaluate(digits).to_dict()["graph"] == "onnx"
    picture = sorted((digits / "test" / "3").iterdir())[0]
    usual = cli("predict", bundle, picture)
    assert usual.stderr == ""
    without = cli("predict", bundle, picture, before=hidden("openvino"))
    assert without.stdout == usual.stdout
    assert without.stderr.count("the preferred graph openvino does not run here, so onnx does") == 1
    assert "sightline[openvino]" in without.stderr
    cli("predict", bundle, picture, "--graph", "openvino", before=hidden("openvino"), code=6)
    assert "preferred:\n  graph: openvino" in cli("info", bundle).stdout
    figures = [json.loads(line) for line in cli("bench", bundle, "--json", before=FEW_SECONDS).stdout.splitlines()]
    assert [each["variant"] for each in figures] == ["onnx", "openvino"]


FEW_SECONDS = "import sightline.verbs.bench as b; b.SECONDS = 0.05; "


def test_a_graph_that_is_not_there_is_measured_no_further(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = open_bundle(bundle).card
    entries = {**card.graphs["main"], "openvino-bf16": card.graphs["main"]["onnx"]}
    update_bundle(bundle, choosing.replace(card, graphs={"main": entries}), add={})
    monkeypatch.setattr("sightline.verbs.bench._CHILD", hidden("openvino") + FEW_SECONDS + benching_child())
    first, second = bench(bundle)
    assert first.latency_ms > 0
    assert "sightline[openvino]" in second.remark
    assert second.to_dict()["latency_ms"] is None


def benching_child() -> str:
    from sightline.verbs.bench import _CHILD

    return _CHILD


def test_what_breaks_the_limits_leaves_the_bundle_alone(bundle: Path, digits: Path, fast: dict[str, float]) -> None:
    before = open_bundle(bundle).digest
    with pytest.raises(GateError, match="no graph keeps the limits; the nearest is openvino"):
        drain(best(open_model(bundle), data=str(digits), limits=Limits(max_latency_ms=0.5)), None)
    assert open_bundle(bundle).digest == before


def test_slower_graphs_are_refused(bundle: Path, digits: Path, fast: dict[str, float]) -> None:
    fast["OpenvinoSession"] = 3.0
    with pytest.raises(GateError, match=r"openvino is not faster here, so it is not kept: openvino: 0\.67x"):
        drain(export(open_model(bundle), to="openvino", data=str(digits)), None)
    fast["OpenvinoSession"] = 1.0
    drain(export(open_model(bundle), to="openvino", data=str(digits)), None)
    assert "largest difference" in open_bundle(bundle).card.graphs["main"]["openvino"]["gate"]["detail"]
    drain(export(open_model(bundle), to="onnx", data=str(digits)), None)  # the same bytes: nothing is stale
    assert set(open_bundle(bundle).card.graphs["main"]) == {"onnx", "openvino"}


@pytest.mark.parametrize("graph", ["openvino-int8", "../x", "nothing"])
def test_a_card_that_prefers_what_is_not_there_is_refused(bundle: Path, graph: str) -> None:
    card = open_bundle(bundle).card
    update_bundle(bundle, choosing.replace(card, preferred={"graph": graph}), add={})
    with pytest.raises(BundleError, match="which the bundle does not have"):
        open_model(bundle)
    assert open_model(bundle, variant="onnx").variant == "onnx"


@pytest.mark.parametrize("preferred", [[], "onnx", {"graph": 3}])
def test_a_card_with_another_kind_of_preference_is_refused(preferred: Any) -> None:
    body = {"schema": 1, "task": "classify", "net": {}, "preferred": preferred}
    with pytest.raises(BundleError, match="preferred"):
        Card.from_json(json.dumps(body))


def test_an_older_card_prefers_nothing(bundle: Path) -> None:
    body = json.loads(open_bundle(bundle).card.to_json())
    del body["preferred"]
    assert Card.from_json(json.dumps(body)).preferred == {}
    assert open_model(bundle).variant == "onnx"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--best", "--to", "onnx"), "--to names one graph"),
        (("--max-latency", "5ms"), "go with --best"),
        (("--best", "--max-size", "8"), "is not a size"),
        (("--to", "nothing"), "there are: onnx, onnx-int8, openvino, openvino-bf16, openvino-int8"),
    ],
)
def test_the_command_says_what_is_wrong(bundle: Path, words: tuple[str, ...], said: str) -> None:
    assert said in cli("export", bundle, *words, code=2).stderr
