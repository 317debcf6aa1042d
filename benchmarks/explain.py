"""Explanations: time of each map beside plain PyTorch loops, and how often each beats random maps, as JSON.

Usage: python benchmarks/explain.py MODEL PICTURES [COUNT]   (a network's bundle; a folder; 50 pictures by default)
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients

from sightline.core.shelf import Shelf
from sightline.data.pictures import read_picture
from sightline.probes import evidence, gradcam, integrated_gradients
from sightline.probes._gradients import logits_of
from sightline.probes._view import View, run_one
from sightline.verbs.explain import view
from sightline.verbs.opened import open_model
from sightline.verbs.sources import expand

ROUNDS = 7
CAPTUM_STEPS = 50


def plain_gradcam(module: torch.nn.Module, x: torch.Tensor, target: int) -> np.ndarray:
    """As it is usually written: keep the last map, go backwards through the whole network, weigh and add."""
    module.zero_grad()
    outputs = module(x)
    outputs["features"].retain_grad()
    # heads that take the features by another way leave no gradient there; the time is that of the usual loop
    (outputs["logits"][0, target] + 0 * outputs["features"].sum()).backward()
    weight = outputs["features"].grad.mean((2, 3), keepdim=True)
    return (weight * outputs["features"]).sum(1).detach().numpy()


def plain_integrated(module: torch.nn.Module, x: torch.Tensor, target: int) -> np.ndarray:
    """As it is usually written: a backward pass for each of the points, one after another."""
    total = torch.zeros_like(x)
    for step in range(CAPTUM_STEPS):
        at = (x * (step + 0.5) / CAPTUM_STEPS).requires_grad_()
        total += torch.autograd.grad(module(at)["logits"][0, target], at)[0]
    return (total / CAPTUM_STEPS * x).sum(1).numpy()


def taking_turns(deeds: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median milliseconds of each, all of them once a round, so that the machine's moods fall on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in deeds}
    for round_ in range(ROUNDS + 1):
        for name, deed in deeds.items():
            began = time.perf_counter()
            deed()
            if round_:
                seconds[name].append(time.perf_counter() - began)
    return {name: round(1e3 * statistics.median(each), 2) for name, each in seconds.items()}


def times(seen: View, request: Any) -> dict[str, float]:
    """Maps of one picture, without their verdicts."""
    assert seen.network is not None
    net, names = seen.network(), seen.card.evidence
    x = net.prepared(request.arrays["image"][None])
    target = int(seen.scores(run_one(seen, request))[0].argmax())
    deeds: dict[str, Callable[[], Any]] = {"graph alone": lambda: run_one(seen, request)}
    if names:
        weight = seen.arrays()[names["weight"]]
        deeds["evidence"] = lambda: evidence.activation(run_one(seen, request)[names["features"]][0], weight, target)
    captums = IntegratedGradients(lambda at: logits_of(net, at))
    return taking_turns(
        deeds
        | {
            "gradcam": lambda: gradcam.activation(net.module, x, target),
            "gradcam, plain loop": lambda: plain_gradcam(net.module, x, target),
            "integrated-gradients": lambda: integrated_gradients.attributed(lambda at: logits_of(net, at), x, target),
            "integrated gradients, captum's default": lambda: captums.attribute(x, target=target, n_steps=CAPTUM_STEPS),
            "integrated gradients, plain loop": lambda: plain_integrated(net.module, x, target),
        }
    )


def faithfulness(seen: View, requests: list[Any], probes: list[str]) -> dict[str, dict[str, float]]:
    """Means over the pictures: share of random maps beaten, insertion less deletion, and seconds with the verdict."""
    found = {}
    for name in probes:
        probe, began = Shelf("probes").load(name), time.perf_counter()
        figures = [probe.explain(request, None, seen).faithfulness for request in requests]
        table = {key: np.array([each[key] for each in figures]) for key in figures[0]}
        found[name] = {
            "better_than_random": round(float(table["better_than_random"].mean()), 3),
            "trusted": round(float((table["better_than_random"] >= 0.95).mean()), 3),
            "insertion_less_deletion": round(float((table["insertion"] - table["deletion"]).mean()), 3),
            "of_a_spot_in_the_middle": round(float((table["centre_insertion"] - table["centre_deletion"]).mean()), 3),
            "seconds_a_picture": round((time.perf_counter() - began) / len(requests), 3),
        }
        if "completeness" in table:
            found[name]["completeness_least"] = round(float(table["completeness"].min()), 3)
            found[name]["completeness_median"] = round(float(np.median(table["completeness"])), 3)
    return found


def main() -> None:
    model, pictures = Path(sys.argv[1]), sys.argv[2]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    opened = open_model(model)
    sources = list(expand([pictures]))
    spread = [sources[i] for i in np.linspace(0, len(sources) - 1, min(count, len(sources))).astype(int)]
    requests = [opened.encode(read_picture(source)) for source in spread]
    seen = view(opened)
    probes = ["evidence"] if opened.card.evidence else []
    probes += ["occlusion", "gradcam", "integrated-gradients"]
    result = {
        "model": dict(opened.card.net),
        "input": list(opened.card.preparation.size_hw),
        "threads": torch.get_num_threads(),
        "pictures": len(requests),
        "milliseconds": times(seen, requests[0]),
        "faithfulness": faithfulness(seen, requests, probes),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
