"""Rules of recomputation, sharded state, offload and how gradients are exchanged."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..parallelism import COMPRESSIONS, OFFLOADS, UPDATES
from ..stack import RECOMPUTE_MODES, SHARDING_MODES
from ..stepspec import SCHEDULES
from .premise import Premise
from .rule import Bools, Columns, Row, rule

_FULL, _SELECTIVE = RECOMPUTE_MODES.index("full"), RECOMPUTE_MODES.index("selective")
_ZERO3: Final = SHARDING_MODES.index("zero3")
#: Codes whose sums are no codes: they cannot be reduced on the way, so that every rank needs all of them.
_NOT_SUMMED: Final = tuple(COMPRESSIONS.index(word) for word in COMPRESSIONS if word not in ("none", "fp16"))


def _recompute(premise: Premise, c: Columns) -> Bools:
    bad = (c["recompute"] == _SELECTIVE) & (not premise.heads)
    return np.asarray(bad | ((c["recompute"] == _FULL) & (not premise.blocks)))


def _recompute_why(premise: Premise, row: Row) -> str:
    what = "attention" if row["recompute"] == _SELECTIVE else "repeated blocks"
    return f"recompute={RECOMPUTE_MODES[row['recompute']]}, but {premise.workload.name} has no {what}"


def _every(premise: Premise, c: Columns) -> Bools:
    several = c["recompute_every"] > 1
    # Rounded up: the longest stage sets how many blocks may share one kept input.
    held = -(-max(premise.blocks, 1) // c["pp"])
    return np.asarray(several & ((c["recompute"] != _FULL) | (c["recompute_every"] > held)))


def _every_why(premise: Premise, row: Row) -> str:
    if row["recompute"] != _FULL:
        return f"recompute_every={row['recompute_every']} with recompute {RECOMPUTE_MODES[row['recompute']]}"
    return f"recompute_every={row['recompute_every']}, but a stage holds {-(-premise.blocks // row['pp'])} blocks"


def _zero(_: Premise, c: Columns) -> Bools:
    return np.asarray((c["sharding"] == _ZERO3) & (c["pp"] > 1))


def _zero_why(_: Premise, row: Row) -> str:
    return f"sharding={SHARDING_MODES[row['sharding']]} with pp={row['pp']}"


def _shards(_: Premise, c: Columns) -> Bools:
    ranks = c["dp"] * c["cp"]
    some = c["shard_ranks"] > 0
    return np.asarray(some & ((c["sharding"] == 0) | (ranks % np.maximum(c["shard_ranks"], 1) != 0)))


def _shards_why(_: Premise, row: Row) -> str:
    if not row["sharding"]:
        return f"shard_ranks={row['shard_ranks']} with sharding none"
    return f"shard_ranks={row['shard_ranks']} does not divide dp x cp = {row['dp'] * row['cp']}"


def _offload(premise: Premise, c: Columns) -> Bools:
    return np.asarray((c["offload"] > 0) & (not premise.cluster.chip.host_bandwidth_byte_per_s))


def _offload_why(premise: Premise, row: Row) -> str:
    return f"offload={OFFLOADS[row['offload']]}, but {premise.cluster.chip.id} has no link to a host on record"


def _codes(_: Premise, c: Columns) -> Bools:
    return np.asarray(np.isin(c["compression"], _NOT_SUMMED) & (c["sharding"] > 0))


def _codes_why(_: Premise, row: Row) -> str:
    return f"compression={COMPRESSIONS[row['compression']]} with sharding {SHARDING_MODES[row['sharding']]}"


def _local(_: Premise, c: Columns) -> Bools:
    apart = (c["sharding"] == 0) & (c["ep"] == 1) & (c["hybrid"] == 1)
    return np.asarray((c["local_steps"] > 1) & ~apart)


def _local_why(_: Premise, row: Row) -> str:
    shared = f"sharding {SHARDING_MODES[row['sharding']]}, ep={row['ep']}, hybrid={row['hybrid']}"
    return f"local_steps={row['local_steps']} with {shared}: replicas that share their parameters cannot go apart"


def _servers(premise: Premise, c: Columns) -> Bools:
    some = c["parameter_servers"] > 0
    several = c["dp"] * c["cp"] > 1
    return np.asarray(some & ~(several & (c["sharding"] == 0) & (c["parameter_servers"] <= premise.hosts)))


def _servers_why(premise: Premise, row: Row) -> str:
    many = f"parameter_servers={row['parameter_servers']}"
    if row["sharding"]:
        return f"{many} with sharding {SHARDING_MODES[row['sharding']]}"
    if row["parameter_servers"] > premise.hosts:
        return f"{many}, more than the {premise.hosts} servers of the job"
    return f"{many} with dp x cp = 1: nobody pushes"


#: What one worker of its own is not: fields that must have their first value where workers wait for nobody.
_ALONE: Final = ("pp", "cp", "ep", "hybrid", "local_steps")
_UPDATE_ONCE: Final = tuple(SCHEDULES.index(word) for word in ("gpipe", "1f1b"))


def _apart(_: Premise, c: Columns) -> Bools:
    good = (c["parameter_servers"] > 0) & (c["offload"] != OFFLOADS.index("optimizer"))
    good &= np.isin(c["schedule"], _UPDATE_ONCE)
    for name in _ALONE:
        good &= c[name] == 1
    return np.asarray((c["updates"] == UPDATES.index("asynchronous")) & ~good)


def _apart_why(_: Premise, row: Row) -> str:
    word = f"updates={UPDATES[row['updates']]}"
    if row["offload"] == OFFLOADS.index("optimizer"):
        return f"{word} with offload=optimizer: the servers update"
    shared = [f"{name}={row[name]}" for name in _ALONE if row[name] != 1]
    if not shared and row["schedule"] in _UPDATE_ONCE:
        return f"{word} with parameter_servers=0: nobody takes a push"
    return f"{word} with {' '.join(shared) or 'schedule=' + SCHEDULES[row['schedule']]}"


RULES: Final = (
    rule("recompute", "recompute", "selective recomputation needs attention, full recomputation repeated blocks",
          _recompute, _recompute_why),
    rule("recompute every", "pp recompute recompute_every",
          "blocks that share one kept input need recompute full, and stand on one stage", _every, _every_why),
    rule("ZeRO with pipelines", "pp sharding", "zero3 goes without a pipeline: sharding zero1 or zero2, or pp = 1",
          _zero, _zero_why),
    rule("shards", "dp cp sharding shard_ranks", "shard_ranks divides dp x cp and needs some sharding", _shards,
          _shards_why),
    rule("offload", "offload", "what is offloaded needs a link to the host", _offload, _offload_why),
    rule("compression", "sharding compression", "codes that have no sum need whole gradients: sharding none", _codes,
          _codes_why),
    rule("local steps", "sharding ep hybrid local_steps", "replicas that go apart hold all parameters and state",
          _local, _local_why),
    rule("parameter servers", "dp cp sharding parameter_servers",
          "parameter servers need several replicas, sharding none, and are no more than the job's servers", _servers,
          _servers_why),
    rule("asynchronous updates", "schedule pp cp ep hybrid offload local_steps parameter_servers updates",
          "workers that wait for nobody push to parameter servers after each step of their own: no pipeline, no shared "
          "samples, experts or dense layers, no local steps, no update on their hosts", _apart, _apart_why),
)  # fmt: skip
