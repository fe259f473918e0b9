"""Storage against depth: closed forms against a search over all plans, and what the seeds say of residual networks."""

from __future__ import annotations

from functools import cache
from math import ceil, log2, sqrt

import pytest

from simulator.memory import block_inputs, even_storage, recursive_storage, storage_against_depth
from workloads import catalog

DEEP = ("resnet-50", "resnet-101", "resnet-152")


@cache
def fewest_runs(depth: int, inputs: int) -> int:
    """Forward runs of layers before all are reversed, the best over every place to keep the next input."""
    if depth == 1:
        return 0
    if inputs == 1:
        return depth * (depth - 1) // 2
    return min(k + fewest_runs(depth - k, inputs - 1) + fewest_runs(k, inputs) for k in range(1, depth))


@pytest.mark.parametrize("inputs", range(1, 7))
def test_recursive_replays_are_the_fewest_of_all_plans(inputs: int) -> None:
    for depth in range(1, 31):
        assert recursive_storage(depth, inputs).replays == fewest_runs(depth, inputs) - (depth - 1)


@pytest.mark.parametrize("depth", [16, 100, 1024])
def test_square_root_of_the_depth_is_the_best_even_cut(depth: int) -> None:
    least = min(even_storage(depth, n).kept for n in range(2, depth + 1))
    assert even_storage(depth, round(sqrt(depth))).kept == least == 2 * sqrt(depth)


@pytest.mark.parametrize("depth", [1, 2, 3, 10, 97, 1000])
def test_even_cuts_replay_less_than_one_forward_pass(depth: int) -> None:
    for segments in range(1, min(depth, 40) + 1):
        storage = even_storage(depth, segments)
        assert 0 <= storage.replays < depth
        assert storage.kept >= ceil(depth / segments)


@pytest.mark.parametrize("way", ["all", "even", "recursive"])
def test_storage_grows_with_depth(way: str) -> None:
    kept = [storage.kept for storage in storage_against_depth([1, 4, 16, 64, 256, 1024], way=way)]
    assert kept == sorted(kept)


def test_each_way_keeps_less_and_replays_more_than_the_one_before() -> None:
    ways = [storage_against_depth([1024], way=way)[0] for way in ("all", "even", "recursive")]
    assert [w.kept for w in ways] == sorted((w.kept for w in ways), reverse=True)
    assert [w.replays for w in ways] == sorted(w.replays for w in ways)
    assert ways[1].kept == 64
    assert ways[2].kept == log2(1024) + 1


def test_an_unknown_way_names_the_legal_ones() -> None:
    with pytest.raises(ValueError, match="legal: all, even, recursive"):
        storage_against_depth([4], way="odd")


@pytest.mark.parametrize(("depth", "segments"), [(0, 1), (4, 0), (4, 5)])
def test_a_cut_that_cannot_be_is_refused(depth: int, segments: int) -> None:
    with pytest.raises(ValueError, match="1 to the number of layers"):
        even_storage(depth, segments)


@pytest.mark.parametrize("name", DEEP)
def test_replaying_residual_blocks_takes_a_quarter_more_compute(name: str) -> None:
    # Knowles 2017: 25 % more compute, batch 16, 16-bit weights and activations.
    assert block_inputs(catalog.model(name), batch=16).compute_share == pytest.approx(0.25, abs=0.01)


def test_it_saves_more_of_deeper_networks() -> None:
    saved = [block_inputs(catalog.model(name), batch=16).saved_share for name in DEEP]
    assert saved == sorted(saved)
    assert saved[-1] > 0.70


def test_one_more_block_costs_a_fifth_of_what_it_did() -> None:
    # The 80 % that the talk names are what every further block saves: its input against all that its ops write.
    layer = next(layer for layer in catalog.model("resnet-152").layers if layer.kind == "block" and layer.repeat > 20)
    saved = 1 - layer.ops[0].read_elements / sum(op.write_elements for op in layer.ops)
    assert saved == pytest.approx(0.80, abs=0.05)
