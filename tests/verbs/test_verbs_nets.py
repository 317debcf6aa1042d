"""nets: sizes and work that are known from papers and by counting, one row a variant, and what cannot be built."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from sightline.cli.main import sightline
from sightline.core.errors import UsageError
from sightline.verbs.nets import nets


def test_resnet_18_is_that_of_the_paper() -> None:
    """At 224 px it has 11.7 million parameters and does 1.8 thousand million multiplications with additions."""
    (found,) = nets(["resnet:18"], size=224, classes=1000)
    assert found.parameters == 11_689_512
    assert found.flops == pytest.approx(2 * 1.814e9, rel=0.01)
    assert found.ms and found.ms > 0


def test_every_variant_has_a_row_and_layers_that_do_not_ship_do_not_count() -> None:
    rows = {found.net: found for found in nets(["capsule"], size=28, grey=True)}
    assert list(rows) == ["capsule:attention", "capsule:agreement", "capsule:sabour"]
    assert rows["capsule:attention"].parameters == 161_536


def test_a_net_is_described_as_it_is_for_the_task() -> None:
    """Of one that makes pictures the decoder counts; where it redraws parts its encoder, too."""
    made, redraws = (next(nets(["vae:small"], task=task, size=16, grey=True)) for task in ("generate", "anomaly"))
    assert made.parameters and redraws.parameters and redraws.parameters > 1.5 * made.parameters
    assert not made.remark and not redraws.remark


def test_what_can_begin_with_weights_says_so() -> None:
    said = {found.net: found.weights for found in nets(["timm:resnet10t", "vit:tiny", "capsule:attention"])}
    assert said["timm:resnet10t"] == said["vit:tiny"] == "none, or those that --start names"
    assert said["capsule:attention"] == "none: learnt from scratch"


def test_what_cannot_be_built_says_why() -> None:
    (found,) = nets(["timm:vit_tiny_patch16_224"], size=28)
    assert found.parameters is None
    assert "try --size 32" in found.remark


def test_everything_on_the_shelves_is_listed() -> None:
    done = CliRunner().invoke(sightline, ["nets", "--size", "16", "--json"], catch_exceptions=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    names = [line["net"] for line in lines]
    assert {"resnet:8", "vit:small", "convnext:nano", "capsule:attention", "timm:resnet10t", "probe:hog"} <= set(names)
    assert len(names) == len(set(names))
    assert all(line["parameters"] or line["remark"] for line in lines)


def test_the_table_and_what_each_is() -> None:
    done = CliRunner().invoke(
        sightline, ["nets", "resnet:8", "probe", "--task", "tag", "--size", "8"], catch_exceptions=False
    )
    assert "M parameters" in done.stdout
    assert "resnet: a residual CNN" in done.stdout
    assert "no PyTorch" in done.stdout


@pytest.mark.parametrize("names", [[], ["resnet:8"]])
def test_a_task_that_is_not_there_is_refused(names: list[str]) -> None:
    known = "anomaly, classify, detect, faces, generate, restore, tag"
    with pytest.raises(UsageError, match=f"no tasks named 'detekt'; there are: {known}"):
        CliRunner().invoke(sightline, ["nets", *names, "--task", "detekt"], catch_exceptions=False)


@pytest.mark.parametrize("name", ["nonet", "resnet:999"])
def test_names_that_are_not_there(name: str) -> None:
    with pytest.raises(UsageError, match=name.split(":")[-1]):
        list(nets([name]))
