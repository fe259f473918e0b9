"""Rules of legality: each can be broken alone, they are the only ones, and what is nearest is legal and nearest."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.analytic import batch, step_times
from simulator.cluster import system
from simulator.constants import Constants
from simulator.defaults import software
from simulator.legality import (
    RULES,
    Premise,
    as_pins,
    broken_rules,
    divisors,
    nearest_legal,
    passes,
    problems_of_pins,
)
from simulator.legality.nearest import domain, legal_replicas
from simulator.lowering import Context, lower_columns
from simulator.memory import memory_byte
from simulator.parallelism import COLUMNS, Parallelism, ParallelismError, strategy_at, whole_columns
from simulator.query import QueryError, query_from_mapping
from simulator.search import Candidates, legal
from simulator.stepspec import SCHEDULES
from workloads.catalog import model

GPT, MIXTURE, IMAGES, VOLUMES = "gpt h1024 L24 a16", "mixtral-8x7b", "vgg16", "cosmoflow"
Fields = dict[str, Any]


def premise(name: str, chips: int, global_batch: int, where: str = "selene") -> Premise:
    return Premise(workload=model(name), cluster=system(where).cluster, chips=chips, global_batch=global_batch)


def without_host(found: Premise) -> Premise:
    chip = replace(found.cluster.chip, host_bandwidth_byte_per_s=None)
    return replace(found, cluster=replace(found.cluster, chip=chip))


GPT_16 = premise(GPT, 16, 48)
#: Rule -> a job and a strategy that breaks this rule alone.
ALONE: Mapping[str, tuple[Premise, Fields]] = {
    "chips": (GPT_16, {"tp": 2, "dp": 4}),
    "tensor kind": (premise(IMAGES, 4, 8), {"tp": 2, "dp": 2}),
    "tensor": (premise("gpt h768 L12 a12", 16, 48), {"tp": 8, "dp": 2}),
    "experts": (premise(MIXTURE, 48, 48), {"dp": 48, "ep": 3}),
    "expert tensor": (premise(MIXTURE, 16, 16), {"tp": 4, "dp": 4, "ep": 2, "etp": 2}),
    "expert ranks": (premise(MIXTURE, 4, 8), {"dp": 4, "ep": 8}),
    "dense layers": (premise(MIXTURE, 16, 16), {"dp": 16, "hybrid": 2}),
    "hybrid ranks": (premise(IMAGES, 16, 16), {"dp": 16, "hybrid": 3}),
    "context kind": (premise("gnmt-v2", 4, 8), {"cp": 2, "dp": 2}),
    "positions": (premise("gpt h1024 L24 a16", 6, 48), {"cp": 3, "dp": 2}),
    "slabs": (premise(IMAGES, 16, 16), {"cp": 16}),
    "context exchange": (GPT_16, {"dp": 16, "context_exchange": "all_gather"}),
    "ulysses": (premise(GPT, 64, 48), {"tp": 4, "cp": 8, "dp": 2, "context_exchange": "ulysses"}),
    "sequence parallel": (GPT_16, {"dp": 16, "sequence_parallel": True}),
    "pipeline kind": (premise("alexnet", 64, 64), {"pp": 32, "dp": 2}),
    "stages": (premise(GPT, 32, 48), {"pp": 32}),
    "batch": (premise(GPT, 32, 48), {"dp": 32}),
    "micro-batch": (GPT_16, {"dp": 16, "micro_batch": 2}),
    "chunks": (GPT_16, {"dp": 4, "pp": 4, "virtual_stages": 2}),
    "schedule": (GPT_16, {"dp": 4, "pp": 4, "micro_batch": 2, "schedule": "interleaved", "virtual_stages": 2}),
    "recompute": (premise(IMAGES, 4, 8), {"dp": 4, "recompute": "selective"}),
    "recompute every": (GPT_16, {"dp": 16, "recompute_every": 2}),
    "ZeRO with pipelines": (GPT_16, {"dp": 8, "pp": 2, "sharding": "zero3"}),
    "shards": (GPT_16, {"dp": 16, "sharding": "zero1", "shard_ranks": 3}),
    "offload": (without_host(GPT_16), {"dp": 16, "offload": "optimizer"}),
    "compression": (GPT_16, {"dp": 16, "compression": "dgc", "sharding": "zero1"}),
    "local steps": (GPT_16, {"dp": 16, "local_steps": 4, "sharding": "zero1"}),
    "parameter servers": (GPT_16, {"dp": 16, "parameter_servers": 3}),
    "asynchronous updates": (GPT_16, {"dp": 16, "updates": "asynchronous"}),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_can_be_broken_alone_and_is_named(rule: Any) -> None:
    where, fields = ALONE[rule.name]
    found = broken_rules(where, fields)
    assert [(broken.name) for broken, _ in found] == [rule.name]
    assert found[0][1]
    # Pinned whole, the refusal names the rule and what is nearest, which is accepted when it is pinned instead.
    whole = {name: getattr(Parallelism(global_batch=1), name) for name in COLUMNS} | fields
    problems = [text for _, text in problems_of_pins(where, whole)]
    assert any(f"(rule {rule.name}: {rule.sentence}); legal: " in text for text in problems), problems
    assert all("Nearest: " in text for text in problems)
    nearest = nearest_legal(where, whole)
    assert nearest is not None
    assert list(problems_of_pins(where, as_pins(nearest, whole))) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_reads_its_own_fields_only(rule: Any) -> None:
    for where, fields in ALONE.values():
        columns = whole_columns(
            {name: np.array([1]) for name in COLUMNS if COLUMNS[name] is None} | {"tp": np.array([1])}
        )
        own = {name: columns[name] for name in rule.fields}
        assert rule.broken(where, own).shape == (1,)
        assert fields


def test_every_rule_reads_something_and_says_something() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.fields and set(rule.fields) <= set(COLUMNS) for rule in RULES)
    assert len({rule.sentence for rule in RULES}) == len(RULES)


JOBS = (
    premise(GPT, 16, 48),
    premise(GPT, 12, 36),
    premise("llama3-8b", 32, 64, "dgx-h100"),
    premise(MIXTURE, 16, 32, "dgx-h100"),
    premise("deepseek-v3-671b", 64, 128, "eos"),
    premise(IMAGES, 8, 32),
    premise(VOLUMES, 8, 16),
    premise("dlrm-mlperf", 16, 4096),
    premise("t5-11b", 16, 16),
    premise("gnmt-v2", 16, 64),
    premise("vit-l/16", 16, 64),
)


def value_of(found: Premise, name: str) -> st.SearchStrategy[int]:
    """A value of a field that may be legal, and of numbers some that nobody would choose."""
    likely = st.sampled_from(domain(found, name))
    return likely if COLUMNS[name] is not None or name == "sequence_parallel" else likely | st.integers(1, 9)


def row_of(found: Premise) -> st.SearchStrategy[dict[str, int]]:
    """Any strategy of a job, legal or not."""
    return st.fixed_dictionaries({name: value_of(found, name) for name in COLUMNS})


def pins_of(found: Premise) -> st.SearchStrategy[Fields]:
    """Some fields of a strategy, in words."""

    def in_words(row: dict[str, int]) -> Fields:
        words = {name: COLUMNS[name] or () for name in row}
        return {
            name: bool(value) if name == "sequence_parallel" else words[name][value] if words[name] else value
            for name, value in row.items()
        }

    names = st.sets(st.sampled_from(list(COLUMNS)), min_size=1, max_size=5)
    return st.tuples(names, row_of(found)).map(
        lambda both: in_words({n: v for n, v in both[1].items() if n in both[0]})
    )


JOB_AND_ROW = st.sampled_from(JOBS).flatmap(lambda found: st.tuples(st.just(found), row_of(found)))
JOB_AND_PINS = st.sampled_from(JOBS).flatmap(lambda found: st.tuples(st.just(found), pins_of(found)))


@settings(max_examples=200, deadline=None)
@given(JOB_AND_ROW)
def test_a_strategy_that_passes_every_rule_can_be_made(both: tuple[Premise, dict[str, int]]) -> None:
    found, row = both
    columns = {name: np.array([value]) for name, value in row.items()}
    legal_here = bool(passes(found, columns)[0])
    try:
        strategy = strategy_at(columns, 0, global_batch=found.global_batch)
    except ParallelismError:
        assert not legal_here
        return
    if legal_here:
        assert strategy.chips == found.chips


def searched(found: Premise, pins: Fields) -> tuple[Context, Candidates]:
    used = software(found.workload, found.cluster.chip)
    context = Context(cluster=found.cluster, stack=used.stack, recipe=used.recipe, optimizer=used.optimizer)
    return context, legal(found.workload, found.cluster, used.stack, found.chips, found.global_batch, pins)


@settings(max_examples=60, deadline=None)
@given(JOB_AND_PINS)
def test_pins_give_strategies_or_a_refusal_whose_nearest_is_accepted(both: tuple[Premise, Fields]) -> None:
    found, pins = both
    problems = list(problems_of_pins(found, pins))
    _, candidates = searched(found, pins)
    assert bool(problems) == (len(candidates) == 0)
    if not problems:
        for index in (0, len(candidates) - 1):
            assert as_pins(candidates.parallelism(index), pins) == {n: pins[n] for n in COLUMNS if n in pins}
        return
    assert all(field in pins for field, _ in problems)
    nearest = nearest_legal(found, pins)
    assert nearest is not None
    assert not broken_rules(found, {name: getattr(nearest, name) for name in COLUMNS})
    pasted = as_pins(nearest, pins)
    assert all(f"{name}=" in text for _, text in problems for name in pasted)
    assert list(problems_of_pins(found, pasted)) == []
    assert len(searched(found, pasted)[1]) > 0


@settings(max_examples=25, deadline=None)
@given(JOB_AND_PINS)
def test_what_is_searched_is_legal_and_priced(both: tuple[Premise, Fields]) -> None:
    found, pins = both
    for chosen in ({}, pins):
        context, candidates = searched(found, chosen)
        if not len(candidates):
            continue
        assert passes(found, candidates.columns).all()
        few = candidates.take(np.unique(np.linspace(0, len(candidates) - 1, 300).astype(int)))
        total_s = step_times(batch(lower_columns(found.workload, context, few.columns), Constants())).total_s
        total_byte = memory_byte(found.workload, context, few.columns).total_byte
        for value in (total_s, total_byte):
            assert np.all(np.isfinite(value) & (value > 0.0))


def changes(strategy: Parallelism, pins: Fields) -> int:
    return sum(getattr(strategy, name) != value for name, value in pins.items())


SMALL = premise("gpt h256 L4 a4", 8, 12)


def every_strategy_of(found: Premise) -> list[Parallelism]:
    """Every legal strategy of a small job in the fields that are pinned below, by nested loops."""
    chips = divisors(found.chips)
    loops = itertools.product(
        chips, chips, chips, (1, 2, 3, 4, 6, 12), (1, 2, 4), SCHEDULES, (False, True), ("none", "zero1", "zero3")
    )
    good = []
    for tp, pp, cp, micro_batch, virtual, schedule, sequence, sharding in loops:
        if found.chips % (tp * pp * cp):
            continue
        fields: Fields = {
            "tp": tp, "pp": pp, "cp": cp, "dp": found.chips // (tp * pp * cp), "micro_batch": micro_batch,
            "virtual_stages": virtual, "schedule": schedule, "sequence_parallel": sequence, "sharding": sharding,
        }  # fmt: skip
        if not broken_rules(found, fields):
            good.append(Parallelism(global_batch=found.global_batch, **fields))
    return good


ALL_SMALL = every_strategy_of(SMALL)
SMALL_PINS = st.fixed_dictionaries(
    {},
    optional={
        "tp": st.sampled_from((1, 2, 3, 4, 8)), "pp": st.sampled_from((1, 2, 4, 5, 8)),
        "cp": st.sampled_from((1, 2, 3)),
        "dp": st.sampled_from((1, 2, 3, 4, 8)), "micro_batch": st.sampled_from((1, 2, 4, 5)),
        "virtual_stages": st.sampled_from((1, 2, 4)), "schedule": st.sampled_from(SCHEDULES),
        "sequence_parallel": st.booleans(), "sharding": st.sampled_from(("none", "zero1", "zero3")),
    },
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(SMALL_PINS)
def test_no_legal_strategy_changes_fewer_pins_than_the_nearest(pins: Fields) -> None:
    nearest = nearest_legal(SMALL, pins)
    assert nearest is not None
    assert changes(nearest, pins) == min(changes(strategy, pins) for strategy in ALL_SMALL)


def test_a_strategy_that_is_legal_is_nearest_to_itself() -> None:
    for strategy in ALL_SMALL[:: max(len(ALL_SMALL) // 50, 1)]:
        assert nearest_legal(SMALL, {name: getattr(strategy, name) for name in COLUMNS}) == strategy


def test_where_everything_is_wrong_something_near_is_found_all_the_same() -> None:
    where = premise("gpt3-175b", 1024, 1536)
    pins: Fields = {name: 10**8 for name in COLUMNS if COLUMNS[name] is None and name != "sequence_parallel"}
    nearest = nearest_legal(where, pins)
    assert nearest is not None
    assert not broken_rules(where, {name: getattr(nearest, name) for name in COLUMNS})
    assert list(problems_of_pins(where, as_pins(nearest, pins))) == []


def test_a_batch_that_nobody_can_share_is_a_problem_of_the_batch() -> None:
    # 4,480 chips are 2^7 x 5 x 7; neither 5 nor 7 x 5 divide heads or stages, so that replicas come in fives or sevens.
    where = premise("gpt3-175b", 4480, 1536)
    assert nearest_legal(where, {"tp": 8}) is None
    assert all(n % 5 == 0 or n % 7 == 0 for n in legal_replicas(where))
    [(field, text)] = problems_of_pins(where, {"tp": 8})
    assert field == ""
    assert "legal: a multiple of 5 or 7. Nearest: 1533 or 1535." in text
    assert nearest_legal(replace(where, global_batch=1535), {"tp": 8}) is not None


def test_a_network_of_images_takes_slabs_where_they_are_pinned() -> None:
    job = {"model": IMAGES, "system": "selene", "chips": 64, "global_batch": 32}
    query = query_from_mapping({"job": job, "strategy": {"cp": 2}}, where="here")
    assert query.fixed == (("cp", 2),)
    with pytest.raises(QueryError, match=r"strategy\.cp: cp=16 slabs of 14 rows .* Nearest: cp=8\."):
        query_from_mapping({"job": job, "strategy": {"cp": 16}}, where="here")


@pytest.mark.parametrize(
    ("other", "own"),
    [
        ("expert_model_parallel_size", "ep"),
        ("cp_comm_type", "context_exchange"),
        ("spatial_parallel_degree", "cp"),
        ("recompute_num_layers", "recompute_every"),
        ("data_parallel_shard_degree", "shard_ranks"),
        ("offload_optimizer", "offload"),
        ("gradient_compression", "compression"),
        ("pipeline_parallel_schedule", "schedule"),
    ],
)
def test_the_words_of_other_tools_are_understood_far_enough_to_say_ours(other: str, own: str) -> None:
    job = {"model": GPT, "system": "selene", "chips": 16, "global_batch": 48}
    with pytest.raises(QueryError, match=f"Did you mean '{own}'"):
        query_from_mapping({"job": job, "strategy": {other: 2}}, where="here")


def test_every_field_of_a_strategy_can_be_pinned() -> None:
    job = {"model": "llama3-8b", "system": "dgx-h100", "chips": 64, "global_batch": 64}
    whole = Parallelism(
        tp=2, pp=2, dp=8, cp=2, global_batch=64, recompute="full", recompute_every=2, sharding="zero1", shard_ranks=4,
        sequence_parallel=True, context_exchange="all_gather", offload="optimizer", compression="fp16",
    )  # fmt: skip
    pins = {name: getattr(whole, name) for name in COLUMNS}
    assert dict(query_from_mapping({"job": job, "strategy": pins}, where="here").fixed) == pins
    found = premise("llama3-8b", 64, 64, "dgx-h100")
    _, candidates = searched(found, pins)
    assert [candidates.parallelism(i) for i in range(len(candidates))] == [whole]
