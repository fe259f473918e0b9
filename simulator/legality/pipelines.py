"""Rules of pipelines: stages, micro-batches, schedules."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from ..lowering import stage_repeats
from ..parallelism import CHUNKED
from ..schedules import SCHEDULES as ORDERS
from ..staging import is_one_run, single_layers
from ..stepspec import SCHEDULES
from .premise import Premise
from .rule import Bools, Columns, Row, remainder, rule

#: Schedules that mean something on one stage.
_UNPIPELINED: Final = tuple(SCHEDULES.index(word) for word in ("gpipe", "1f1b"))
_INTERLEAVED: Final = SCHEDULES.index("interleaved")
_CHUNKED: Final = tuple(SCHEDULES.index(word) for word in CHUNKED)


def _pipeline_kind(premise: Premise, c: Columns) -> Bools:
    """A network that is no run of like blocks is cut between any layers; every stage holds one."""
    if is_one_run(premise.workload):
        return np.zeros(len(c["pp"]), dtype=bool)
    return np.asarray((c["pp"] > 1) & (c["pp"] > single_layers(premise.workload)))


def _pipeline_kind_why(premise: Premise, row: Row) -> str:
    return f"pp={row['pp']} exceeds {single_layers(premise.workload)} layers"


def _stages(premise: Premise, c: Columns) -> Bools:
    """Stages of `stage_repeats` hold every block once, and each at least one layer."""
    if not is_one_run(premise.workload):
        return np.zeros(len(c["pp"]), dtype=bool)
    pp = np.minimum(c["pp"], premise.blocks + 1)
    repeat = stage_repeats(premise.repeats, pp)
    spread = repeat[:, :, int(np.argmax(premise.repeats))]
    whole = spread[:, 0] + spread[:, 1] * np.maximum(pp - 2, 0) + spread[:, 2] == premise.blocks
    some = (repeat.sum(axis=2) > 0) | (np.stack([pp < 1, pp < 3, pp < 2], axis=1))
    return np.asarray(~(whole & some.all(axis=1) & (pp <= premise.blocks)) & (c["pp"] > 1))


def _stages_why(premise: Premise, row: Row) -> str:
    if row["pp"] > premise.blocks:
        return f"pp={row['pp']} exceeds {premise.blocks} blocks"
    return f"{remainder('pp', row['pp'], premise.blocks, 'blocks')}, too many for the ends"


def _batch(premise: Premise, c: Columns) -> Bools:
    return np.asarray(premise.global_batch % c["dp"] != 0)


def _batch_why(premise: Premise, row: Row) -> str:
    return remainder("dp", row["dp"], premise.global_batch, "samples")


def _micro_batch(premise: Premise, c: Columns) -> Bools:
    share, over = np.divmod(premise.global_batch, c["dp"])
    alone = premise.global_batch % c["micro_batch"] != 0
    return np.asarray(alone | ((over == 0) & (share % c["micro_batch"] != 0)))


def _micro_batch_why(premise: Premise, row: Row) -> str:
    if premise.global_batch % row["micro_batch"]:
        return remainder("micro_batch", row["micro_batch"], premise.global_batch, "samples")
    return f"dp x micro_batch = {row['dp'] * row['micro_batch']} does not divide the global batch"


def _chunks(premise: Premise, c: Columns) -> Bools:
    several = c["virtual_stages"] > 1
    fits = np.isin(c["schedule"], _CHUNKED) & (c["pp"] > 1)
    room = premise.blocks if is_one_run(premise.workload) else single_layers(premise.workload)
    return np.asarray(several & ~(fits & (c["virtual_stages"] * c["pp"] <= room)))


def _chunks_why(premise: Premise, row: Row) -> str:
    many, word = row["virtual_stages"], SCHEDULES[row["schedule"]]
    if row["pp"] > 1 and row["schedule"] in _CHUNKED:
        return f"virtual_stages x pp = {many * row['pp']} chunks of {premise.blocks} blocks"
    return f"virtual_stages={many} with pp = {row['pp']} and schedule {word}"


def _schedule(premise: Premise, c: Columns) -> Bools:
    word, pp, v = c["schedule"], c["pp"], c["virtual_stages"]
    m = np.maximum(premise.global_batch // (c["dp"] * c["micro_batch"]), 1)
    bad = (pp == 1) & ~np.isin(word, _UNPIPELINED)
    bad |= (word == _INTERLEAVED) & (m % pp != 0)
    asked = np.flatnonzero((pp > 1) & ~np.isin(word, (*_UNPIPELINED, _INTERLEAVED)))
    for index in asked.tolist():
        bad[index] = bool(_refusal(int(word[index]), int(pp[index]), int(m[index]), int(v[index])))
    return np.asarray(bad)


@lru_cache(maxsize=65536)
def _refusal(schedule: int, pp: int, micro_batches: int, virtual_stages: int) -> str:
    """What a schedule itself says of a pipeline that it cannot run; "" where it can."""
    try:
        ORDERS[SCHEDULES[schedule]].order(0, pp, micro_batches, virtual_stages)
    except ValueError as error:
        return str(error)
    return ""


def _schedule_why(premise: Premise, row: Row) -> str:
    word = SCHEDULES[row["schedule"]]
    if row["pp"] == 1:
        return f"schedule {word} with pp = 1: one stage waits for nobody"
    m = max(premise.global_batch // (row["dp"] * row["micro_batch"]), 1)
    return _refusal(row["schedule"], row["pp"], m, row["virtual_stages"]).rstrip(".")


RULES: Final = (
    rule("pipeline kind", "pp", "every stage of a pipeline holds a layer", _pipeline_kind, _pipeline_kind_why),
    rule("stages", "pp", "every pipeline stage holds a block, and they hold all of them", _stages, _stages_why),
    rule("batch", "dp", "replicas divide the global batch", _batch, _batch_why),
    rule("micro-batch", "dp micro_batch", "micro-batches divide the samples of a replica", _micro_batch,
          _micro_batch_why),
    rule("chunks", "pp schedule virtual_stages",
          f"virtual stages need schedule {' or '.join(CHUNKED)}, pp above 1 and a block each", _chunks, _chunks_why),
    rule("schedule", "pp dp micro_batch virtual_stages schedule", "a schedule runs its stages and micro-batches",
          _schedule, _schedule_why),
)  # fmt: skip
