"""What a report says of its own numbers where the best strategy is a last resort."""

from dataclasses import replace

import pytest

from simulator.explain import last_resort
from simulator.parallelism import Parallelism
from simulator.planner import resolve
from simulator.query import PlanQuery


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, ""),
        ({"offload": "optimizer"}, "nothing fits without offload of the optimizer;"),
        ({"offload": "activations"}, "nothing fits without offload of activations;"),
        ({"recompute": "full", "recompute_every": 4}, "nothing fits without one kept input for 4 blocks;"),
        (
            {"recompute": "full", "recompute_every": 2, "offload": "optimizer"},
            "nothing fits without offload of the optimizer and one kept input for 2 blocks;",
        ),
    ],
)
def test_a_last_resort_is_named_unless_it_was_asked_for(hand_made_report, parts, words):
    job = resolve(PlanQuery(model="gpt h1024 L24 a16", system="selene", chips=8, global_batch=8))
    best = replace(hand_made_report.ranked[0], parallelism=Parallelism(dp=8, global_batch=8, **parts))
    said = last_resort(job, (best,))
    assert said.startswith(words)
    assert bool(said) == bool(words)
    asked = replace(job, query=replace(job.query, fixed=(("offload", parts.get("offload", "none")),)))
    assert last_resort(asked, (best,)) == ""
    assert last_resort(job, ()) == ""
