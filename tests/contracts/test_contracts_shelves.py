"""Every file of every shelf is held to the protocols, whoever put it there; each check is seen to fail."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("scipy")
torch = pytest.importorskip("torch")

import shelf_checks as checks
from shelf_checks import CLASSES, made, picture

import made_graphs
from sightline.core.errors import BundleError, MissingExtraError, UsageError
from sightline.core.events import drain
from sightline.core.protocols import Request
from sightline.core.results import Evidence
from sightline.core.shelf import SHELVES, Shelf
from sightline.data.pictures import read_picture
from sightline.data.samples import Label
from sightline.graphs._session import GraphSession
from sightline.learn.augment import normalised
from sightline.probes._view import Network, View

ALL = {room: Shelf(room).all() for room in SHELVES}
TASKS = ALL["tasks"]
FILES = [(room, name) for room, modules in ALL.items() for name in modules]


def learned(room: str) -> list[Any]:
    """Every learner of a shelf with every task it learns."""
    return [
        pytest.param(module, TASKS[task], id=f"{name}-{task}")
        for name, module in ALL[room].items()
        for task in sorted(module.TASKS)
    ]


SHOWN = {"timm": ("test_resnet", "test_efficientnet")}
"""Of a net with too many variants to try them all: these beside its first."""


FOREIGN = Path(tempfile.mkdtemp()) / "foreign.onnx"
"""What a learner without variants of its own is given."""
FOREIGN.write_bytes(made_graphs.foreign())


def tried(name: str, module: Any) -> dict[str, Any]:
    """The variants of a learner that are examined."""
    if name in SHOWN:
        return {variant: module.VARIANTS[variant] for variant in (next(iter(module.VARIANTS)), *SHOWN[name])}
    return dict(module.VARIANTS or {"": first(module)})


def variants(room: str) -> list[Any]:
    return [
        pytest.param(module, TASKS[task], options, id=f"{name}:{variant}-{task}")
        for name, module in ALL[room].items()
        for task in sorted(module.TASKS)
        for variant, options in tried(name, module).items()
    ]


def first(module: Any) -> Any:
    """A learner's first variant."""
    return next(iter(module.VARIANTS.values()), None) or module.Options(file=str(FOREIGN))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Every file.


def test_no_shelf_is_empty() -> None:
    assert all(ALL.values())
    assert set(ALL) == set(checks.PROTOCOLS)


@pytest.mark.parametrize(("room", "name"), FILES)
def test_file(room: str, name: str) -> None:
    module = ALL[room][name]
    assert [*checks.file_faults(name, module), *checks.protocol_faults(module, checks.PROTOCOLS[room])] == []
    assert room == "nets" or not checks.torch_at_the_top(module)


@pytest.mark.parametrize(("room", "name"), [(r, n) for r, n in FILES if r in ("nets", "methods")])
def test_learner(room: str, name: str) -> None:
    assert list(checks.learner_faults(ALL[room][name], TASKS)) == []


@pytest.mark.parametrize("name", TASKS)
def test_task(name: str) -> None:
    assert [*checks.task_faults(name, TASKS[name]), *checks.answer_faults(TASKS[name])] == []


@pytest.mark.parametrize("grey", [True, False], ids=["grey", "rgb"])
@pytest.mark.parametrize("side", [8, 28, 32, 64])
@pytest.mark.parametrize(("module", "task"), learned("nets"))
def test_net_at_every_size(module: Any, task: Any, side: int, grey: bool) -> None:
    assert list(checks.net_faults(module, task, first(module), side=side, grey=grey)) == []


@pytest.mark.parametrize(("module", "task", "options"), variants("nets"))
def test_every_variant_of_a_net(module: Any, task: Any, options: Any) -> None:
    assert list(checks.net_faults(module, task, options, side=10, width=17, grey=True)) == []


@pytest.mark.parametrize(("module", "task"), learned("nets"))
def test_net_learns(module: Any, task: Any) -> None:
    assert list(checks.overfit_faults(module, task, first(module))) == []


@pytest.mark.parametrize(("side", "width", "grey"), [(8, 8, True), (28, 20, False)])
@pytest.mark.parametrize(("module", "task"), learned("nets"))
def test_net_is_exported_faithfully(module: Any, task: Any, side: int, width: int, grey: bool) -> None:
    assert list(checks.net_parity_faults(module, task, first(module), side=side, width=width, grey=grey)) == []


@pytest.mark.parametrize(("side", "width", "grey"), [(8, 8, True), (28, 20, False)])
@pytest.mark.parametrize(("module", "task", "options"), variants("methods"))
def test_method(module: Any, task: Any, options: Any, side: int, width: int, grey: bool) -> None:
    assert list(checks.method_faults(module, task, options, side=side, width=width, grey=grey)) == []


@pytest.mark.parametrize("name", ALL["data.layouts"])
def test_layout(name: str, tmp_path: Path) -> None:
    assert list(checks.layout_faults(name, ALL["data.layouts"][name], tmp_path)) == []


@pytest.mark.parametrize("name", ALL["graphs"])
def test_format(name: str) -> None:
    module = ALL["graphs"][name]
    assert list(checks.format_faults(module)) == []
    try:
        assert list(checks.session_faults(module, made_graphs.net())) == []
    except MissingExtraError as error:
        pytest.skip(str(error))
    except UsageError as error:
        assert module.DTYPE == "bfloat16"  # the one thing a processor may lack
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def view() -> View:
    """A small probe of three classes, as instruments see it."""
    task, method = TASKS["classify"], ALL["methods"]["probe"]
    toy = made(task, side=16, grey=True, count=30)
    arrays = drain(method.fit(toy.images, toy.targets, toy.card, first(method), toy.recipe), None)
    card = dataclasses.replace(toy.card, evidence=dict(method.EVIDENCE))
    form = ALL["graphs"]["onnx"]
    session = form.open(form.write(method.graph(arrays, card, first(method)), card), threads=1)
    return View(
        run=session.run,
        scores=lambda outputs: task.scores(outputs, card),
        card=card,
        arrays=lambda: arrays,
        classes=CLASSES,
    )


@pytest.fixture(scope="module")
def view_of_net() -> View:
    """A small network of the same classes and pictures, untrained, with its graph."""
    return seen_as(RESNET, RESNET.Options(blocks="1,1", width=8))


@pytest.fixture(scope="module")
def view_of_capsules() -> View:
    """The same of a capsule network."""
    capsule = ALL["nets"]["capsule"]
    return seen_as(capsule, capsule.Options(width=8, capsules=4))


def seen_as(net: Any, options: Any) -> View:
    """An untrained network as instruments see it."""
    task, form = TASKS["classify"], ALL["graphs"]["onnx"]
    card = dataclasses.replace(made(task, side=16, grey=True).card, evidence=dict(getattr(net, "EVIDENCE", {})))
    torch.manual_seed(0)
    module = net.build(options, task="classify", card=card).eval()
    return View(
        run=form.open(form.write(module, card), threads=1).run,
        scores=lambda outputs: task.scores(outputs, card),
        card=card,
        arrays=lambda: {name: tensor.numpy() for name, tensor in module.state_dict().items()},
        classes=CLASSES,
        network=lambda: Network(module, lambda images: normalised(images, card)),
    )


@pytest.fixture(scope="module")
def request_of_another_size(view: View) -> Request:
    """A picture larger than the graph's input, and of another shape."""
    request: Request = TASKS["classify"].encode(read_picture(picture(1, (30, 45), grey=True)), view.card)
    return request


@pytest.mark.parametrize("name", ALL["probes"])
def test_probe(
    name: str, view: View, view_of_net: View, view_of_capsules: View, request_of_another_size: Request
) -> None:
    module = ALL["probes"][name]
    seen = view_of_capsules if "poses" in module.NEEDS else view_of_net if "torch" in module.NEEDS else view
    assert list(checks.probe_faults(name, module, seen, request_of_another_size)) == []


# Planted violations: a check that cannot fail would be none.


def broken(room: str, name: str, *without: str, **changes: Any) -> Any:
    """A copy of a shelf's file with something changed or taken away."""
    held = {key: value for key, value in vars(ALL[room][name]).items() if key not in without}
    return SimpleNamespace(**(held | {key: value for key, value in changes.items() if key != "doc"}))


@dataclasses.dataclass
class Loose:
    """Options that can be changed, with things no command line can type."""

    width: int = 3


@dataclasses.dataclass(frozen=True)
class Odd:
    """Options without help, and with a list."""

    sizes: tuple[int, ...] = (1, 2)


RESNET, CLASSIFY = ALL["nets"]["resnet"], TASKS["classify"]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (broken("nets", "resnet", __doc__="A residual network of some kind."), "opens with"),
        (broken("nets", "resnet", __doc__="resnets: a residual network of some kind."), "opens with"),
        (broken("nets", "resnet", __doc__=None), "opens with"),
        (broken("nets", "resnet", __doc__="resnet: a net."), "says too little"),
        (broken("nets", "resnet", "TASKS"), "has no TASKS"),
        (broken("nets", "resnet", "build"), "has no function build"),
        (broken("nets", "resnet", build=lambda options, *, task: None), "build does not take card"),
        (broken("nets", "resnet", loss=lambda targets, outputs, batch: 0), "loss does not take outputs in its place"),
        (broken("nets", "resnet", loss=lambda outputs, targets, batch, more: 0), "loss asks for more besides"),
    ],
)
def test_a_broken_file_is_seen(module: Any, said: str) -> None:
    found = [*checks.file_faults("resnet", module), *checks.protocol_faults(module, checks.PROTOCOLS["nets"])]
    assert any(said in fault for fault in found), found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Options": Loose}, "no frozen dataclass"),
        ({"Options": Odd}, "Options.sizes is no scalar"),
        ({"Options": Odd}, "Options.sizes has no help"),
        ({"VARIANTS": {"8": {"width": 3}}}, "variant 8 is no Options"),
        ({"TASKS": frozenset({"classify", "juggle"})}, "are not all tasks"),
        ({"TASKS": frozenset()}, "are not all tasks"),
        ({"OUTPUTS": {"scores": "B K", "features": "B C H W"}}, "do not come to classify's logits"),
        ({"OUTPUTS": {"logits": "B K H", "features": "B C H W"}}, "do not come to classify's logits"),
        ({"EVIDENCE": {"features": "maps", "weight": "head.weight"}}, "names no output"),
        ({"EVIDENCE": {"features": "features"}}, "names no output"),
    ],
)
def test_a_broken_learner_is_seen(changes: dict[str, Any], said: str) -> None:
    found = list(checks.learner_faults(broken("nets", "resnet", **changes), TASKS))
    assert any(said in fault for fault in found), found


def unchanged(recipe: Any, facts: Any) -> tuple[Any, dict[str, str]]:
    return recipe, {}


def unexplained(recipe: Any, facts: Any) -> tuple[Any, dict[str, str]]:
    return CLASSIFY.plan(recipe, facts)[0], {}


def settled_silently(recipe: Any, epochs: int) -> tuple[Any, dict[str, str]]:
    return CLASSIFY.settle(recipe, epochs)[0], {}


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (broken("tasks", "classify", SUPPORTS=frozenset({"train", "juggle"})), "['juggle'], which are no verbs"),
        (broken("tasks", "classify", "scores"), "explain without scores"),
        (broken("tasks", "classify", "correct"), "export without correct"),
        (broken("tasks", "classify", "same"), "export without correct, same or change"),
        (broken("tasks", "classify", Recipe=Odd), "no frozen extension"),
        (broken("tasks", "classify", DEFAULT_NET="nonet"), "nonet does not learn it"),
        (
            broken("tasks", "classify", plan=unchanged),
            "plan (and settle) leave balance, color, fit, mirror, rotate, scale, size open",
        ),
        (broken("tasks", "classify", plan=unexplained), "give reasons for ['cutmix']"),
        (broken("tasks", "classify", "settle"), "plan (and settle) leave cutmix open"),
        (broken("tasks", "classify", settle=settled_silently), "change ['balance', 'color', 'cutmix'"),
        (broken("tasks", "classify", HEADLINE="beauty"), "beauty is not among its measures"),
        (broken("tasks", "classify", decode=lambda outputs, request, card: "cat"), "no Result"),
    ],
)
def test_a_broken_task_is_seen(module: Any, said: str) -> None:
    found: list[str] = []
    for check in (checks.task_faults("classify", module), checks.answer_faults(module)):
        try:
            found += check
        except (TypeError, ValueError, AttributeError):
            continue  # so broken that the other check stumbles over it
    assert any(said in fault for fault in found), found


class Renamed(torch.nn.Module):
    """A resnet that forgets an output, turns one round, or grows with every call."""

    def __init__(self, inner: torch.nn.Module, deed: str) -> None:
        super().__init__()
        self.inner, self.deed, self.calls = inner, deed, 0

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self.inner(x)
        if self.deed == "forgets":
            return {"logits": outputs["logits"]}
        if self.deed == "turns":
            return {**outputs, "logits": outputs["logits"].T}
        self.calls += 1
        return {**outputs, "logits": outputs["logits"] + self.calls * outputs["features"].mean((2, 3))[:, :3]}


def renamed(deed: str, *without: str, **changes: Any) -> Any:
    def build(options: Any, *, task: str, card: Any) -> torch.nn.Module:
        return Renamed(RESNET.build(options, task=task, card=card), deed)

    return broken("nets", "resnet", *without, build=build, **changes)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (renamed("grows", EVIDENCE={"features": "features", "weight": "inner.head.weight"}), "times the mean"),
        (renamed("forgets"), "declared are ['features', 'logits']"),
        (renamed("turns"), "logits has shape (3, 4)"),
        (broken("nets", "resnet", loss=lambda outputs, targets, batch: outputs["logits"].sum() * np.nan), "no finite"),
        (broken("nets", "resnet", loss=lambda outputs, targets, batch: outputs["logits"].sum(1)), "no finite scalar"),
        (broken("nets", "resnet", EVIDENCE={"features": "features", "weight": "tail.weight"}), "names tail.weight"),
    ],
)
def test_a_broken_net_is_seen(module: Any, said: str) -> None:
    found = list(checks.net_faults(module, CLASSIFY, first(RESNET), side=8, grey=True))
    assert any(said in fault for fault in found), found


def test_a_net_that_is_not_exported_faithfully_is_seen() -> None:
    found = list(checks.net_parity_faults(renamed("grows", "EVIDENCE"), CLASSIFY, first(RESNET), side=8, grey=True))
    assert any("its graph differs" in fault for fault in found), found


def test_a_net_that_does_not_learn_is_seen() -> None:
    stubborn = broken("nets", "resnet", loss=lambda outputs, targets, batch: outputs["logits"].sum() * 0 + 1)
    assert "from 1.000 to 1.000" in next(checks.overfit_faults(stubborn, CLASSIFY, first(RESNET)))


PROBE = ALL["methods"]["probe"]


def shifted(images: Any, arrays: Any, card: Any, options: Any) -> Any:
    outputs = PROBE.forward(images, arrays, card, options)
    return {**outputs, "logits": outputs["logits"] + np.float32([1, 0, 0])}


def blurred(images: Any, arrays: Any, card: Any, options: Any) -> Any:
    outputs = PROBE.forward(images, arrays, card, options)
    return {**outputs, "features": outputs["features"] * 1.01}


def silent(images: Any, targets: Any, card: Any, options: Any, recipe: Any) -> Any:
    return drain(PROBE.fit(images, targets, card, options, recipe), None)
    yield


def wordy(images: Any, targets: Any, card: Any, options: Any, recipe: Any) -> Any:
    yield "learning"
    return {name: array.tolist() for name, array in silent_arrays(images, targets, card, options, recipe).items()}


def silent_arrays(*given: Any) -> Any:
    return drain(PROBE.fit(*given), None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forward": shifted}, "its graph differs: largest difference"),
        ({"forward": blurred}, "its graph's features differs by"),
        ({"fit": silent}, "tells no events"),
        ({"fit": wordy}, "tells no events"),
        ({"fit": wordy}, "returns no arrays"),
        ({"OUTPUTS": {"logits": "B K", "features": "B C"}}, "features has shape"),
        ({"EVIDENCE": {"features": "features", "weight": "tail.weight"}}, "names tail.weight"),
        ({"CROSSES": True}, "CROSSES is True, and fit returns"),
    ],
)
def test_a_broken_method_is_seen(changes: dict[str, Any], said: str) -> None:
    found = list(checks.method_faults(broken("methods", "probe", **changes), CLASSIFY, first(PROBE), side=8, grey=True))
    assert any(said in fault for fault in found), found


FOLDER = ALL["data.layouts"]["imagefolder"]


def without_splits(samples: Any, path: Path) -> None:
    rows = tuple(dataclasses.replace(row, split="") for row in samples.rows)
    FOLDER.write(dataclasses.replace(samples, rows=rows), path)


def only_the_first_label(samples: Any, path: Path) -> None:
    rows = [dataclasses.replace(row, target=Label((*row.target.strata(), "left")[0])) for row in samples.rows]
    FOLDER.write(dataclasses.replace(samples, rows=tuple(rows)), path)


def without_one_class(path: Path) -> Any:
    samples = FOLDER.read(path)
    return dataclasses.replace(samples, classes=samples.classes[1:])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fits": lambda path: path.is_dir()}, "fits empty"),
        ({"fits": lambda path: False}, "does not fit what it wrote"),
        ({"write": without_splits}, "do not come back"),
        ({"read": without_one_class}, "the classes come back as"),
        ({"write": only_the_first_label}, "do not come back, with several labels a picture"),
        ({"write": ALL["data.layouts"]["csv"].write, "read": ALL["data.layouts"]["csv"].read}, "does not fit"),
    ],
)
def test_a_broken_layout_is_seen(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    found = list(checks.layout_faults("imagefolder", broken("data.layouts", "imagefolder", **changes), tmp_path))
    assert any(said in fault for fault in found), found


def credulous(blob: bytes, *, threads: int = 0) -> Any:
    return None


def crashing(blob: bytes, *, threads: int = 0) -> Any:
    raise ValueError("what is this?")


def mute(blob: bytes, *, threads: int = 0) -> Any:
    raise BundleError("")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"open": credulous}, "opens nothing"),
        ({"open": crashing}, "meets noise with ValueError"),
        ({"open": mute}, "without a word"),
        ({"SUFFIX": ".pt"}, "not the one that a bundle may hold"),
        ({"DTYPE": "int4"}, "does not say how it computes"),
    ],
)
def test_a_broken_format_is_seen(changes: dict[str, Any], said: str) -> None:
    found = list(checks.format_faults(broken("graphs", "onnx", **changes)))
    assert any(said in fault for fault in found), found


class Wrong(GraphSession):
    """A session that turns, rounds or scales what the right one says."""

    def __init__(self, blob: bytes, deed: str) -> None:
        self.inner = ALL["graphs"]["onnx"].open(blob, threads=1)
        super().__init__(self.inner.inputs, {} if deed == "forgets" else self.inner.outputs)
        self.deed = deed

    def run(self, arrays: Any, /) -> dict[str, Any]:
        outputs = self.inner.run(arrays)
        change = {"turns": lambda a: a.T, "rounds": lambda a: a.astype(np.float16), "scales": lambda a: a * 1.001}
        return {name: change[self.deed](array) for name, array in outputs.items()}


@pytest.mark.parametrize(
    ("deed", "said"),
    [("forgets", "its ends are"), ("turns", "of shape (5,"), ("rounds", "is float16"), ("scales", "off")],
)
def test_a_broken_session_is_seen(deed: str, said: str) -> None:
    module = broken("graphs", "onnx", open=lambda blob, *, threads: Wrong(blob, deed))
    assert said in next(checks.session_faults(module, made_graphs.net()))


def evidence(**changes: Any) -> Any:
    """An instrument that gives this, whatever it is asked."""
    heat = np.linspace(0, 1, 30 * 45, dtype=np.float32).reshape(30, 45)
    given = {"heat": heat, "target": "middle", "probe": "occlusion", "verdict": "to be trusted"} | changes
    return lambda request, target, view: Evidence(**given)


def moody(request: Any, target: Any, view: Any) -> Any:
    heat = np.random.default_rng().random((30, 45)).astype(np.float32)
    return evidence(heat=heat)(request, target, view)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"NEEDS": frozenset({"luck"})}, "['luck'], which nothing offers"),
        ({"explain": lambda request, target, view: "there"}, "gives no Evidence"),
        ({"explain": evidence(heat=np.zeros((16, 16), np.float32))}, "the picture is (30, 45)"),
        ({"explain": evidence(heat=np.zeros((30, 45)))}, "float64"),
        ({"explain": evidence(heat=np.full((30, 45), 1.5, np.float32))}, "goes from 1.5"),
        ({"explain": evidence(heat=np.full((30, 45), np.nan, np.float32))}, "goes from nan"),
        ({"explain": evidence(probe="occlusions")}, "it says it is occlusions"),
        ({"explain": evidence()}, "explains middle"),
        ({"explain": evidence(verdict="")}, "verdict is empty"),
        ({"explain": evidence(faithfulness={"deletion": 1.2})}, "no shares"),
        ({"explain": moody}, "not the same twice"),
    ],
)
def test_a_broken_probe_is_seen(
    view: View, request_of_another_size: Request, changes: dict[str, Any], said: str
) -> None:
    module = broken("probes", "occlusion", **changes)
    found = list(checks.probe_faults("occlusion", module, view, request_of_another_size))
    assert any(said in fault for fault in found), found
