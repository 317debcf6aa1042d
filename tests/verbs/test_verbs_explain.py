"""explain: which probes a model is held against, what stands beside what, and what is refused in which words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

import sightline
from sightline.cli.main import main
from sightline.core.errors import BundleError, MissingExtraError, UsageError
from sightline.core.shelf import Shelf
from sightline.verbs.explain import network, view
from sightline.verbs.learner import rebuilt
from sightline.verbs.opened import open_model


def typed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command line prints; it has to end well."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert left.value.code == 0, err
    return out


@pytest.fixture(scope="module")
def picture(digits: Path) -> Path:
    return sorted((digits / "test" / "7").iterdir())[0]


@pytest.mark.parametrize(
    ("run", "probe", "shown"),
    [
        ("net_run", "", ["evidence"]),
        ("net_run", "occlusion", ["occlusion"]),
        ("net_run", "rise", ["rise"]),
        ("net_run", "gradcam", ["evidence", "gradcam"]),
        ("net_run", "integrated-gradients", ["evidence", "integrated-gradients"]),
        ("net_run", "integrated_gradients", ["evidence", "integrated-gradients"]),
        ("net_run", "all", ["evidence", "gradcam", "integrated-gradients", "occlusion", "rise"]),
        ("probe_run", "all", ["evidence", "occlusion", "rise"]),
    ],
)
def test_maps_stand_in_order(
    run: str, probe: str, shown: list[str], picture: Path, request: pytest.FixtureRequest
) -> None:
    found = sightline.load(request.getfixturevalue(run) / "model").explain(picture, probe=probe)
    assert [each.probe for each in found.maps] == shown
    assert found.evidence is found.maps[-1]
    assert len({each.target for each in found.maps}) == 1
    assert found.image().width > 300 * (1 + len(shown))


def test_the_network_is_the_graph(net_run: Path, picture: Path) -> None:
    """What gradients are taken of is what answers: the same prepared array, the same scores to 1e-3."""
    opened = open_model(net_run / "model")
    from sightline.data.pictures import read_picture

    image = opened.encode(read_picture(picture)).arrays["image"]
    seen, net = view(opened), network(opened)
    logits = net.module(net.prepared(image[None]))["logits"].detach().numpy()
    graph = seen.run({"image": image[None]})
    np.testing.assert_allclose(seen.scores({"logits": logits}), seen.scores(graph), atol=1e-4)
    assert seen.network is not None and seen.network() is seen.network()  # built once


def test_gradcam_and_evidence_are_one_map_where_the_head_is_linear(net_run: Path, picture: Path) -> None:
    plain, found = sightline.load(net_run / "model").explain(picture, probe="gradcam").maps
    np.testing.assert_allclose(plain.heat, found.heat, atol=1e-4)


def test_a_model_learnt_without_gradients_has_none(probe_run: Path, picture: Path) -> None:
    model = sightline.load(probe_run / "model")
    with pytest.raises(UsageError, match="learnt by 'probe', which is none; use evidence or occlusion"):
        model.explain(picture, probe="gradcam")
    with pytest.raises(UsageError, match="learns without gradients"):
        network(model.opened)


def test_arrays_of_another_net_are_refused(net_run: Path) -> None:
    bundle = open_model(net_run / "model").bundle
    arrays = dict(bundle.arrays())
    arrays["head.weight"] = arrays["head.weight"][:, :-1]
    with pytest.raises(BundleError, match=r"the stored arrays are not those of resnet.*head\.weight"):
        rebuilt(bundle.card, arrays)


def test_without_torch_the_extra_is_named(net_run: Path, picture: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\nfrom sightline.cli.main import main\n"
        f"main(['explain', {str(net_run / 'model')!r}, {str(picture)!r}, '--probe', 'gradcam',"
        f" '--out', {str(tmp_path / 'why.png')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == MissingExtraError.exit_code, done.stderr
    assert "pip install 'sightline[train]'" in done.stderr
    assert not (tmp_path / "why.png").exists()


def test_the_command_line_writes_one_picture_and_tells_every_map(
    net_run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "why.png"
    words = ["explain", net_run / "model", picture, "--probe", "gradcam", "--out", out]
    told = json.loads(typed(capsys, *words, "--json"))
    assert told["evidence"]["probe"] == "gradcam"
    assert [each["probe"] for each in told["maps"]] == ["evidence", "gradcam"]
    with Image.open(out) as drawn:
        assert drawn.width > 3 * 336
    plain = typed(capsys, *words, "--overwrite")
    assert "(evidence)" in plain and "(gradcam)" in plain and "map " in plain


def test_help_names_the_probes_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    said = "".join(typed(capsys, "explain", "--help").split())  # lines break at hyphens
    assert all(name in said for name in Shelf("probes").names())
