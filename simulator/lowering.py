"""Jobs x strategies -> `Lowered`: everything about many steps that no fitted constant changes, as arrays.

Lowering is done once; `analytic.price` then turns it into durations for any set of constants, and a search over
strategies or a fit over thousands of measured runs is the same few array operations. Arrays have these axes:

====== =========================================================================
C      contexts: distinct (chip, stack, recipe, optimizer, cluster)
K      shapes: distinct (context, workload, micro-batch, tp, cp, ep, etp, hybrid, ...)
S      strategies
R      roles of pipeline stages: first, middle, last
G      blocks of the workload, in forward order (padded with empty ones)
====== =========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workloads.optimizer import Optimizer
from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from .cluster import Cluster
from .distinct import distinct_rows
from .kernels.optable import Floats, Ints, OpTable, concatenate
from .parallelism import UPDATES, Parallelism, columns_of, whole_columns
from .partition import BlockMessages, are_spread, lower_messages, lower_ops, update_flop
from .priced_rows import Shapes
from .stack import SHARDING_MODES, Stack
from .stepspec import GRADIENT_MODES

ROLES: Final = 3


@dataclass(frozen=True, kw_only=True)
class Context:
    """What prices a job: chip and network, software, number formats, update rule."""

    cluster: Cluster
    stack: Stack
    recipe: PrecisionRecipe
    optimizer: Optimizer


@dataclass(frozen=True, kw_only=True, eq=False)
class Lowered:
    """Lowered strategies; the axes are in the module's head."""

    contexts: tuple[Context, ...]
    block_names: tuple[str, ...]
    table: OpTable
    shape_context: Ints  # (K,)
    shape_tp: Floats  # (K,)
    shape_cp: Floats  # (K,)
    shape_sequence_parallel: NDArray[np.bool_]  # (K,)
    shape_ep: Floats  # (K,)
    shape_etp: Floats  # (K,)
    shape_hybrid: Floats  # (K,)
    shape_context_exchange: Ints  # (K,)
    forward_calls: Ints  # (K, G) and so on
    forward_byte: Floats
    backward_calls: Ints
    backward_byte: Floats
    parameters: Floats
    shared_parameters: Floats
    spread_parameters: Floats
    routed: NDArray[np.bool_]
    scans: NDArray[np.bool_]
    wrapped: NDArray[np.bool_]
    expert_calls: Ints
    expert_byte: Floats
    experts: Floats
    chosen_experts: Floats
    hybrid_byte: Floats
    halo_calls: Ints
    halo_byte: Floats
    context_byte: Floats
    query_byte: Floats
    offloaded_byte: Floats
    update_flop: Floats
    repeats: Ints
    boundary_byte: Floats  # (K,)
    shape: Ints  # (S,) and so on
    tp: Ints
    pp: Ints
    dp: Ints
    cp: Ints
    ep: Ints
    etp: Ints
    hybrid: Ints
    micro_batches: Ints
    virtual_stages: Ints
    schedule: Ints
    recompute: Ints
    sharding: Ints
    shard_ranks: Ints
    gradient_mode: Ints
    parameter_servers: Ints
    offload: Ints
    compression: Ints
    local_steps: Ints
    updates: Ints
    frozen: NDArray[np.bool_]
    uneven: NDArray[np.bool_]
    role_stages: Ints  # (S, R)
    repeat: Ints  # (S, R, G)
    stage_layers: Mapping[int, Ints] = field(default_factory=dict)  # strategy -> (p, G) or (p, v, G), where told

    @property
    def strategies(self) -> int:
        """Number of strategies."""
        return len(self.shape)

    def take(self, rows: Ints) -> Lowered:
        """Only the strategies in some rows; shapes stay."""
        layers = {place: self.stage_layers[row] for place, row in enumerate(rows.tolist()) if row in self.stage_layers}
        return replace(self, stage_layers=layers, **{name: getattr(self, name)[rows] for name in _PER_STRATEGY})

    def only(self, rows: Ints) -> tuple[Lowered, Ints]:
        """The strategies in some rows with no shape or context but theirs, and which shapes those are."""
        few = self.take(rows)
        shapes, shape = np.unique(few.shape, return_inverse=True)
        contexts, context = np.unique(self.shape_context[shapes], return_inverse=True)
        place = np.full(len(self.shape_context), -1, np.int64)
        place[shapes] = np.arange(len(shapes))
        kept = place[self.table.shape] >= 0
        columns = {f.name: getattr(self.table, f.name)[kept] for f in fields(OpTable)}
        columns["shape"] = place[columns["shape"]]
        per_shape: dict[str, Any] = {name: getattr(self, name)[shapes] for name in _PER_SHAPE}
        cut = replace(
            few, contexts=tuple(self.contexts[i] for i in contexts.tolist()), shape=shape.reshape(-1).astype(np.int64),
            **per_shape | {"shape_context": context.reshape(-1).astype(np.int64), "table": OpTable(**columns)},
        )  # fmt: skip
        return cut, shapes

    @cached_property
    def context(self) -> Ints:
        """Context of every strategy; shape (S,)."""
        return self.shape_context[self.shape]

    @cached_property
    def held_parameters(self) -> Floats:
        """Parameters of one rank in ONE repeat of every block, a tied table once per stage; shape (S, G)."""
        one_stage = (self.pp == 1)[:, None]
        return np.asarray(self.parameters[self.shape] - np.where(one_stage, self.shared_parameters[self.shape], 0.0))

    @property
    def spread_ranks(self) -> Ints:
        """Ranks that hold a copy of the same experts, or of the same part of dense layers; shape (S,)."""
        ranks = self.tp * self.cp * self.dp // (self.ep * self.etp * self.hybrid)
        return np.asarray(np.maximum(ranks, 1), dtype=np.int64)


#: Columns that stand in a `Lowered` as they are.
_COPIED: Final = (
    "tp", "pp", "dp", "cp", "ep", "etp", "hybrid", "micro_batches", "virtual_stages", "schedule", "recompute",
    "shard_ranks", "parameter_servers", "offload", "compression", "local_steps", "updates",
)  # fmt: skip
#: Fields of a `Lowered` with one row a strategy.
_PER_STRATEGY: Final = (*_COPIED, "shape", "sharding", "gradient_mode", "frozen", "uneven", "role_stages", "repeat")
#: Columns that make a shape of the work.
_SHAPE_KEY: Final = ("micro_batch", "tp", "cp", "ep", "etp", "hybrid", "context_exchange", "sequence_parallel")
_PER_BLOCK: Final = (
    "forward_calls",
    "forward_byte",
    "backward_calls",
    "backward_byte",
    "parameters",
    "shared_parameters",
    "spread_parameters",
    "routed",
    "scans",
    "wrapped",
    "expert_calls",
    "expert_byte",
    "experts",
    "chosen_experts",
    "hybrid_byte",
    "halo_calls",
    "halo_byte",
    "context_byte",
    "query_byte",
    "offloaded_byte",
    "update_flop",
    "repeats",
)
#: Fields of a `Lowered` with one row a shape.
_PER_SHAPE: Final = (
    "shape_context", "shape_tp", "shape_cp", "shape_sequence_parallel", "shape_ep", "shape_etp", "shape_hybrid",
    "shape_context_exchange", "boundary_byte", *_PER_BLOCK,
)  # fmt: skip


def lower(workload: Workload, context: Context, strategies: Sequence[Parallelism], *, frozen: bool = False) -> Lowered:
    """Lower many strategies of one job. ``frozen``: base parameters get no gradient (LoRA)."""
    return lower_columns(workload, context, columns_of(strategies), frozen=frozen)


def lower_columns(
    workload: Workload, context: Context, columns: Mapping[str, Ints], *, frozen: bool = False
) -> Lowered:
    """`lower` for strategies that already stand in columns (a search makes them so)."""
    columns = whole_columns(columns)
    key = np.stack([columns[name] for name in _SHAPE_KEY], axis=1)
    first, shape = distinct_rows(key.T)
    distinct = key[first]
    key_column = dict(zip(_SHAPE_KEY, distinct.T, strict=True))
    exchange = key_column.pop("context_exchange")
    shapes = Shapes(
        sequence_parallel=key_column.pop("sequence_parallel").astype(bool),
        **{name: column.astype(float) for name, column in key_column.items()},
    )
    table = lower_ops(
        workload, chip=context.cluster.chip, stack=context.stack, recipe=context.recipe, shapes=shapes, frozen=frozen
    )
    messages = lower_messages(workload, recipe=context.recipe, shapes=shapes)
    repeats = np.array([layer.repeat for layer in workload.layers], dtype=np.int64)
    pp = columns["pp"]
    role_stages = np.stack([np.ones_like(pp), np.maximum(pp - 2, 0), (pp > 1).astype(np.int64)], axis=1)
    ranks = columns["dp"] * columns["cp"]
    sharding = columns["sharding"]
    overlapped = context.stack.gradient_exchange == "backward"
    mode = np.where(
        ranks == 1, GRADIENT_MODES.index("none"), GRADIENT_MODES.index("backward" if overlapped else "after")
    )
    mode = np.where(
        (sharding == SHARDING_MODES.index("zero3")) & (ranks > 1) & (pp == 1), GRADIENT_MODES.index("sharded"), mode
    )
    count = len(shapes)
    # Local SGD averages parameters after an update, and who waits for nobody pushes one: nothing of it runs under a
    # backward pass.
    alone = (columns["local_steps"] > 1) | (columns["updates"] == UPDATES.index("asynchronous"))
    alone &= mode != GRADIENT_MODES.index("none")
    mode = np.where(alone, GRADIENT_MODES.index("after"), mode)
    return Lowered(
        contexts=(context,), block_names=tuple(layer.name for layer in workload.layers), table=table,
        shape_context=np.zeros(count, np.int64), shape_tp=shapes.tp, shape_cp=shapes.cp,
        shape_sequence_parallel=shapes.sequence_parallel, shape_ep=shapes.ep, shape_etp=shapes.etp,
        shape_hybrid=shapes.hybrid, shape_context_exchange=exchange,
        update_flop=update_flop(workload, context.optimizer, shapes),
        repeats=np.tile(repeats, (count, 1)), shape=shape, sharding=sharding,
        gradient_mode=mode.astype(np.int64), frozen=np.full(len(pp), frozen),
        uneven=np.full(len(pp), not workload.causal), role_stages=role_stages,
        repeat=_stages(workload, context.stack, repeats, pp),
        **{f.name: getattr(messages, f.name) for f in fields(BlockMessages)}
        | {name: columns[name] for name in _COPIED},
    )  # fmt: skip


def _stages(workload: Workload, stack: Stack, repeats: Ints, pp: Ints) -> Ints:
    """Blocks by role of stage, as the stack cuts them; shape (S, R, G)."""
    if stack.cuts_by_cost and repeats.max() > 1:
        cost = np.array([sum(op.parameters for op in layer.ops if op.kind == "gemm") for layer in workload.layers])
        return repeats_by_cost(repeats, cost.astype(float), pp)
    spread = are_spread(workload)
    if np.sum(repeats[spread]) > np.max(repeats) * np.sum(repeats[spread] == np.max(repeats)):
        return ranges_of_stages(repeats, pp, spread)
    return stage_repeats(repeats, pp)


def repeats_by_cost(repeats: Ints, cost: Floats, pp: Ints) -> Ints:
    """Blocks of each kind on the first, a middle and the last stage where stages are filled by cost; shape (S, R, G).

    Blocks go to a stage in order until their costs, counted from the first block, exceed its part of the whole: a stage
    takes the block that oversteps. ``cost`` of ONE repeat of every kind, shape (G,); what a table looks up costs
    nothing. Middle stages hold their mean, rounded: the first stage holds the most blocks, so that it sets the pace
    unless the head does.

    Leaves out: a head that stands before the last stage, with nothing but the loss behind it.
    """
    result = stage_repeats(repeats, pp)
    spread = int(np.argmax(repeats))
    reached = np.cumsum(np.repeat(cost, repeats))
    kinds = np.repeat(np.arange(len(repeats)), repeats)
    for stages in np.unique(pp[pp > 1]).tolist():
        bounds, stage, held = reached[-1] * np.arange(1, stages + 1) / stages, 0, np.zeros(stages)
        for kind, total in zip(kinds.tolist(), reached.tolist(), strict=True):
            held[stage] += kind == spread
            stage = min(stage + (total > bounds[stage]), stages - 1)
        rows = pp == stages
        result[rows, 0, spread] = held[0]
        result[rows, 1, spread] = np.rint(np.mean(held[1:-1])) if stages > 2 else 0
        result[rows, 2, spread] = held[-1]
    return result


def ranges_of_stages(repeats: Ints, pp: Ints, spread: NDArray[np.bool_]) -> Ints:
    """Blocks of each kind on the first, a middle and the last stage where kinds alternate; shape (S, R, G).

    Stages take equal runs of the ``spread`` blocks in their order; what is left over goes to middle stages. Leaves out:
    middle stages that differ; the one half-way stands for all.
    """
    order = np.repeat(np.flatnonzero(spread), repeats[spread])
    last = np.flatnonzero(spread)[-1]
    result = np.zeros((len(pp), ROLES, len(repeats)), np.int64)
    for row, stages in enumerate(pp.tolist()):
        sizes = np.full(stages, len(order) // stages)
        over = len(order) % stages
        start = max((stages - over) // 2, 0)
        sizes[start : start + over] += 1
        counts = [np.bincount(part, minlength=len(repeats)) for part in np.split(order, np.cumsum(sizes)[:-1])]
        end = 2 if stages > 1 else 0
        result[row, 0] = counts[0]
        result[row, end] = counts[-1]
        if stages > 2:
            result[row, 1] = counts[stages // 2]
        place = np.arange(len(repeats))
        outside = ~spread
        result[row, 0, outside & (place < last)] = repeats[outside & (place < last)]
        result[row, end, outside & (place > last)] = repeats[outside & (place > last)]
    return result


def stage_repeats(repeats: Ints, pp: Ints) -> Ints:
    """Blocks of each kind on the first, a middle and the last stage; shape (S, R, G).

    The one block kind with the most repeats is spread over the stages; what stands before it goes to the first
    stage, what stands after it to the last. Where the stages do not divide the blocks evenly the first and last stage
    hold one fewer if that makes it even (embedding and head balance them), else the middle stages hold the ceiling.
    Where the ceiling is more than there is, middle stages hold the floor if the two ends can take the rest without
    holding more than the ceiling, else the ends share what the middle stages leave.

    Leaves out: middle stages that differ. Where neither fits (11 blocks on 8 stages) the middle stages hold a block or
    more too many between them; the pace, the ceiling, is right.
    """
    spread = int(np.argmax(repeats))
    blocks = int(repeats[spread])
    result = np.zeros((len(pp), ROLES, len(repeats)), np.int64)
    result[:, 0, :spread] = repeats[:spread]
    last = np.where(pp > 1, 2, 0)
    rows = np.arange(len(pp))
    result[rows, last, spread + 1 :] = repeats[spread + 1 :]
    even = blocks // pp
    ceiling = -(-blocks // pp)
    trimmed = (blocks % pp != 0) & ((blocks + 2) % pp == 0) & (pp > 2)
    middle = np.where(trimmed, ceiling, np.where(blocks % pp == 0, even, ceiling))
    ends = np.where(pp == 1, blocks, np.where(trimmed, middle - 1, middle))
    rest = blocks - ends - middle * np.maximum(pp - 2, 0)
    few = rest < 0
    if few.any():
        middle = np.where(few & (blocks % pp <= 2), even, middle)
        left = np.maximum(blocks - middle * (pp - 2), 0)
        ends = np.where(few, -(-left // 2), ends)
        rest = np.where(few, left // 2, rest)
    result[:, 0, spread] = ends
    result[:, 1, spread] = np.where(pp > 2, middle, 0)
    result[rows, 2, spread] = np.where(pp > 1, rest, 0)
    return result


def join(parts: Sequence[Lowered]) -> Lowered:
    """One `Lowered` of many: contexts, shapes and strategies one after the other, blocks padded with empty ones."""
    if not parts:
        raise ValueError("join: nothing to join; at least one lowered job.")
    blocks = max(part.repeats.shape[1] for part in parts)
    contexts: list[Context] = []
    tables: list[OpTable] = []
    collected: dict[str, list[NDArray[np.generic]]] = {f.name: [] for f in fields(Lowered)}
    stage_layers: dict[int, Ints] = {}
    shapes = strategies = 0
    for part in parts:
        pad = blocks - part.repeats.shape[1]
        columns = {f.name: getattr(part.table, f.name) for f in fields(OpTable)}
        columns["shape"] = columns["shape"] + shapes
        tables.append(OpTable(**columns))
        for f in fields(Lowered):
            value = getattr(part, f.name)
            if f.name in ("contexts", "block_names", "table", "stage_layers"):
                continue
            if f.name in _PER_BLOCK:
                value = np.pad(value, ((0, 0), (0, pad)))
            elif f.name == "repeat":
                value = np.pad(value, ((0, 0), (0, 0), (0, pad)))
            elif f.name == "shape_context":
                value = value + len(contexts)
            elif f.name == "shape":
                value = value + shapes
            collected[f.name].append(value)
        for index, layers in part.stage_layers.items():
            stage_layers[strategies + index] = np.pad(layers, [*[(0, 0)] * (layers.ndim - 1), (0, pad)])
        strategies += part.strategies
        contexts += part.contexts
        shapes += len(part.shape_context)
    arrays = {name: np.concatenate(values) for name, values in collected.items() if values}
    longest = max(parts, key=lambda part: len(part.block_names)).block_names
    return Lowered(
        contexts=tuple(contexts), block_names=longest, table=concatenate(tables), stage_layers=stage_layers, **arrays
    )
