"""Every legal way to cut a job over its chips, as columns; what is rejected says which limit it broke first.

A *layout* is (tp, cp, pp, dp). Layouts that do not divide are rejected and counted as layouts; every other choice
(micro-batch, virtual stages, recomputation, sharding, sequence parallelism) is then crossed in as arrays. What does not
fit in memory is rejected later, as strategies, by the purpose that needs most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workloads.workload import Workload

from .cluster import Cluster
from .kernels.optable import Floats, Ints
from .memory import MemoryColumns
from .parallelism import Parallelism, strategy_at
from .plan_report import MemoryUse, Rejection
from .report.quantities import capacity
from .stack import RECOMPUTE_MODES, SHARDING_MODES, Stack
from .stepspec import SCHEDULES

#: Context parallelism is looked at from this sequence length on, up to so many ranks.
CONTEXT_SEQ_LEN: Final = 8192
CONTEXT_RANKS: Final = (1, 2, 4, 8)
MOST_VIRTUAL_STAGES: Final = 12

#: What a search varies unless it is pinned. ZeRO-2 saves little over ZeRO-1 where gradients are accumulated.
SEARCHED_SHARDING: Final = ("none", "zero1", "zero3")

Pins = Mapping[str, int | str | bool]
Columns = dict[str, Ints]
Layout = tuple[int, int, int, int]

COLUMNS: Final = (
    "tp", "pp", "dp", "cp", "ep", "etp", "micro_batch", "micro_batches", "virtual_stages", "schedule", "recompute",
    "sharding", "sequence_parallel",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Legal strategies as columns, shape (S,) each with words as indices, and the layouts that were rejected."""

    columns: Columns
    global_batch: int
    rejected: tuple[Rejection, ...]

    def __len__(self) -> int:
        return len(self.columns["tp"])

    def parallelism(self, index: int) -> Parallelism:
        """One strategy as a noun."""
        return strategy_at(self.columns, index, global_batch=self.global_batch)

    def take(self, chosen: Ints | NDArray[np.bool_]) -> Candidates:
        """Only the chosen strategies."""
        return Candidates(
            columns={name: column[chosen] for name, column in self.columns.items()}, global_batch=self.global_batch,
            rejected=self.rejected,
        )  # fmt: skip


def divisors(number: int) -> tuple[int, ...]:
    """Every divisor of a whole number, ascending."""
    low = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return tuple(sorted({*low, *(number // n for n in low)}))


def legal(
    workload: Workload, cluster: Cluster, stack: Stack, chips: int, global_batch: int, fixed: Pins | None = None
) -> Candidates:
    """All legal strategies of a job on exactly `chips` chips.

    tp stays inside a server unless pinned and divides heads, hidden and ffn (the vocabulary is padded); ep divides the
    experts and the ranks of a stage; pp divides the blocks, or the blocks and two more (embedding and head take the place of one each); dp divides the global batch, and
    the micro-batch what one replica gets of it; virtual stages divide a stage's blocks and need micro-batches in whole
    rounds of the pipeline. Sequence parallelism is looked at where the stack has it; ZeRO-3 without a pipeline, where
    the stack is none of Megatron-LM's, which have no such thing. Convolutional networks are cut by data only.

    Parameters
    ----------
    fixed
        Parts of the strategy that are pinned, by the names of `Parallelism`. A pin may go beyond what is searched (tp
        over several servers, uneven stages, GPipe, ZeRO-2, context parallelism of short sequences), not beyond what can
        run.
    """
    pins = dict(fixed or {})
    layouts, rejected = _layouts(workload, cluster, chips, global_batch, pins)
    rows: list[tuple[int, ...]] = []
    blocks = workload.num_blocks
    for tp, cp, pp, dp in layouts:
        experts = _experts(workload, tp * cp * dp, tp, pins)
        for micro_batch in divisors(global_batch // dp):
            if pins.get("micro_batch", micro_batch) != micro_batch:
                continue
            micro_batches = global_batch // dp // micro_batch
            for virtual, schedule in _schedules(blocks, pp, micro_batches, pins):
                run = (micro_batch, micro_batches, virtual, schedule)
                rows += [(tp, pp, dp, cp, ep, etp, *run) for ep, etp in experts]
    skeleton = np.array(rows, dtype=np.int64).reshape(-1, 10)
    options = np.array(_options(workload, stack, pins), dtype=np.int64).reshape(-1, 3)
    crossed = np.concatenate(
        [np.repeat(skeleton, len(options), axis=0), np.tile(options, (len(skeleton), 1))], axis=1
    )  # fmt: skip
    columns = {name: np.ascontiguousarray(crossed[:, i]) for i, name in enumerate(COLUMNS)}
    keep = (columns["sequence_parallel"] == 0) | (columns["tp"] > 1)
    if "sharding" not in pins:
        # One replica has nobody to share its state with.
        keep &= (columns["sharding"] == 0) | (columns["dp"] * columns["cp"] > 1)
    keep &= (columns["sharding"] != SHARDING_MODES.index("zero3")) | (columns["pp"] == 1)
    candidates = Candidates(columns=columns, global_batch=global_batch, rejected=rejected)
    return candidates.take(keep)


def _experts(workload: Workload, ranks: int, tp: int, pins: Pins) -> list[tuple[int, int]]:
    """(ep, etp) to look at on a stage of so many ranks."""
    etp = int(pins.get("etp", 1))
    if "ep" in pins:
        ep = int(pins["ep"])
        return [(ep, etp)] if workload.experts % ep == 0 and ranks % (ep * etp) == 0 else []
    return [(ep, etp) for ep in divisors(workload.experts) if ranks % (ep * etp) == 0]


def _layouts(
    workload: Workload, cluster: Cluster, chips: int, global_batch: int, pins: Pins
) -> tuple[list[Layout], tuple[Rejection, ...]]:
    """(tp, cp, pp, dp) that divide, and those that do not, by the first limit they break."""
    whole = not workload.splits_tensors
    seq_len = workload.tokens_per_sample
    contexts = CONTEXT_RANKS if not whole and seq_len >= CONTEXT_SEQ_LEN else (1,)
    if "cp" in pins:
        contexts = (int(pins["cp"]),)
    found: list[Layout] = []
    broken: dict[str, list[tuple[Layout, str]]] = {}
    for tp in (int(pins["tp"]),) if "tp" in pins else divisors(chips):
        if (whole and tp > 1) or ("tp" not in pins and tp > cluster.chips_per_server):
            continue
        for cp in contexts:
            if chips % (tp * cp):
                continue
            for pp in divisors(chips // (tp * cp)):
                dp = chips // (tp * cp * pp)
                if (whole and pp > 1) or pins.get("pp", pp) != pp or pins.get("dp", dp) != dp:
                    continue
                layout = (tp, cp, pp, dp)
                problem = "" if whole else _undivided(workload, layout, "pp" in pins)
                if not problem and global_batch % dp:
                    problem = f"{_BATCH}|dp={dp} leaves {global_batch % dp} of {global_batch} samples over"
                if problem:
                    limit, by = problem.split("|")
                    broken.setdefault(limit, []).append((layout, by))
                else:
                    found.append(layout)
    return found, tuple(_rejection(limit, cases, global_batch) for limit, cases in broken.items())


_HEADS: Final = "layouts: tensor-parallel ranks do not divide the model"
_SEQUENCE: Final = "layouts: context-parallel ranks do not divide the sequence"
_BLOCKS: Final = "layouts: pipeline stages do not divide the blocks"
_BATCH: Final = "layouts: replicas do not divide the global batch"


def _undivided(workload: Workload, layout: Layout, pinned_stages: bool) -> str:
    """The first limit a layout breaks and by how much, "limit|by"; "" if it divides."""
    tp, cp, pp, _ = layout
    for name in ("heads", "hidden", "ffn"):
        size = int(workload.hyper.get(name, 0) or 0)
        if size % tp:
            return f"{_HEADS}|tp={tp} leaves {size % tp} of {size} {name} over"
    # With fewer key/value heads than ranks every rank holds a copy of one.
    groups = int(workload.hyper.get("kv_heads", 0) or 0)
    if groups % tp and tp % max(groups, 1):
        return f"{_HEADS}|tp={tp} cannot share {groups} kv_heads"
    if workload.tokens_per_sample % cp:
        positions = workload.tokens_per_sample
        return f"{_SEQUENCE}|cp={cp} leaves {positions % cp} of {positions} positions over"
    blocks = workload.num_blocks
    if pp > blocks:
        return f"{_BLOCKS}|pp={pp} exceeds {blocks} blocks"
    uneven = pinned_stages and (pp - 1) * -(-blocks // pp) <= blocks
    if blocks % pp and (pp == 2 or (blocks + 2) % pp) and not uneven:
        return f"{_BLOCKS}|pp={pp} leaves {blocks % pp} of {blocks} blocks over"
    return ""


def _rejection(limit: str, cases: list[tuple[Layout, str]], global_batch: int) -> Rejection:
    """The layout that cuts least stands for its group; it is an example only where its batch divides."""
    (tp, cp, pp, dp), by = min(cases, key=lambda case: (case[0][0] * case[0][1] * case[0][2], case[0]))
    example = None
    if global_batch % dp == 0:
        example = Parallelism(tp=tp, cp=cp, pp=pp, dp=dp, global_batch=global_batch)
    return Rejection(limit=limit, count=len(cases), example=example, by=by)


def _schedules(blocks: int, pp: int, micro_batches: int, pins: Pins) -> list[tuple[int, int]]:
    """(virtual stages, schedule index) that run on a pipeline of this depth."""
    plain = str(pins.get("schedule", "1f1b"))
    found: list[tuple[int, int]] = []
    if plain != "interleaved" and pins.get("virtual_stages", 1) == 1:
        found.append((1, SCHEDULES.index(plain)))
    if pp == 1 or micro_batches % pp or pins.get("schedule", "interleaved") != "interleaved":
        return found
    interleaved = SCHEDULES.index("interleaved")
    if "virtual_stages" in pins:
        virtual = int(pins["virtual_stages"])
        if 1 < virtual <= blocks // pp or (virtual == 1 and "schedule" in pins):
            found.append((virtual, interleaved))
    elif blocks % pp == 0:
        found += [(v, interleaved) for v in divisors(blocks // pp) if 1 < v <= MOST_VIRTUAL_STAGES]
    return found


def _options(workload: Workload, stack: Stack, pins: Pins) -> list[tuple[int, int, int]]:
    """Every (recompute, sharding, sequence parallel) to look at, as indices."""
    recomputes: tuple[str, ...] = RECOMPUTE_MODES if stack.attention == "unfused" else ("none", "full")
    shardings = tuple(word for word in SEARCHED_SHARDING if word != "zero3" or not stack.family.startswith("megatron"))
    sequences: tuple[bool, ...] = (False, True) if stack.sequence_parallel else (False,)
    if not workload.splits_tensors:
        recomputes, shardings, sequences = ("none",), ("none",), (False,)
    if "recompute" in pins:
        recomputes = (str(pins["recompute"]),)
    if "sharding" in pins:
        shardings = (str(pins["sharding"]),)
    if "sequence_parallel" in pins:
        sequences = (bool(pins["sequence_parallel"]),)
    return [
        (RECOMPUTE_MODES.index(r), SHARDING_MODES.index(s), int(q))
        for r in recomputes
        for s in shardings
        for q in sequences
    ]


def too_big(candidates: Candidates, memory: MemoryColumns, *, capacity_byte: float) -> tuple[Rejection, ...]:
    """Strategies that do not fit, grouped by the purpose that needs most of them; the least too big is the example."""
    total = memory.total_byte
    out = np.flatnonzero(total > capacity_byte)
    if not len(out):
        return ()
    purposes = np.stack([_purpose(memory, name) for name in _PURPOSES], axis=1)[out]
    largest = np.argmax(purposes, axis=1)
    groups: list[Rejection] = []
    for index, name in enumerate(_PURPOSES):
        members = out[largest == index]
        if not len(members):
            continue
        nearest = int(members[np.argmin(total[members])])
        groups.append(
            Rejection(
                limit=f"strategies: memory, mostly {name}",
                count=len(members),
                example=candidates.parallelism(nearest),
                by=needs(memory.use(nearest, capacity_byte=capacity_byte)),
            )
        )
    return tuple(sorted(groups, key=lambda group: -group.count))


#: Purposes a strategy can be too big for; the reserve is nobody's choice.
_PURPOSES: Final = ("parameters", "gradients", "optimizer", "activations", "transient")
_FIELD: Final[Mapping[str, str]] = {"parameters": "parameter", "gradients": "gradient", "activations": "activation"}


def _purpose(memory: MemoryColumns, name: str) -> Floats:
    column: Floats = getattr(memory, f"{_FIELD.get(name, name)}_byte")
    return column


def needs(use: MemoryUse) -> str:
    """``needs 97.0 GiB of 80.0 GiB (activations 61.0 GiB)``, with the purpose that takes most."""
    name, most = max(use.by_purpose().items(), key=lambda item: item[1])
    return f"needs {capacity(use.total_byte)} of {capacity(use.capacity_byte)} ({name} {capacity(most)})"


def closest(candidates: Candidates, memory: MemoryColumns, *, capacity_byte: float) -> str:
    """The strategy that is least too big, in words; "" where there is none at all."""
    if not len(candidates):
        return ""
    nearest = int(np.argmin(memory.total_byte))
    use = memory.use(nearest, capacity_byte=capacity_byte)
    return f"Closest: {candidates.parallelism(nearest).words()} {needs(use)}."
