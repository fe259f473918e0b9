"""The strategies that a search looks at, as columns; what is rejected says which rule it broke first.

A *layout* is (tp, cp, pp, dp). Layouts that are illegal are rejected and counted as layouts, by the first rule of
`legality` that they break; every other choice (micro-batch, schedule, experts, recomputation, sharding, ...) is then
crossed in as arrays. What does not fit in memory is rejected later, as strategies, by the purpose that needs most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workloads.workload import Workload

from .cluster import Cluster
from .kernels.optable import Floats, Ints
from .legality import RULES, Premise, Rule, broken, divisors, first_broken
from .memory import MemoryColumns
from .parallelism import COLUMNS, Parallelism, index_of, strategy_at, whole_columns
from .plan_report import MemoryUse, Rejection
from .report.quantities import capacity
from .search_scope import Scope, scope_of
from .stack import SHARDING_MODES, Stack

__all__ = ["Candidates", "closest", "divisors", "legal", "needs", "too_big"]

Pins = Mapping[str, int | str | bool]
Columns = dict[str, Ints]

#: Heading under which layouts or strategies that break a rule are counted, by the rule's name. Other rules cost no
#: choice that anybody would miss (sequence parallelism without tensor parallelism).
_HEADINGS: Final[Mapping[str, str]] = {
    "tensor": "layouts: tensor-parallel ranks do not divide the model",
    "positions": "layouts: context-parallel ranks do not divide the sequence",
    "slabs": "layouts: slabs are thinner than their halo",
    "pipeline kind": "layouts: pipeline stages exceed the layers",
    "stages": "layouts: pipeline stages do not divide the blocks",
    "batch": "layouts: replicas do not divide the global batch",
    "micro-batch": "layouts: micro-batches do not divide the samples of a replica",
    "ulysses": "strategies: ranks do not divide the heads that ulysses exchanges",
    "schedule": "strategies: the schedule does not run so few micro-batches",
}
_LAYOUT_RULES: Final = frozenset(
    ("tensor kind", "tensor", "context kind", "positions", "slabs", "pipeline kind", "stages", "batch", "micro-batch")
)
_ZERO3: Final = SHARDING_MODES.index("zero3")


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Legal strategies as columns, shape (S,) each with words as indices, and what was rejected on the way."""

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


def legal(
    workload: Workload,
    cluster: Cluster,
    stack: Stack,
    chips: int,
    global_batch: int,
    fixed: Pins | None = None,
    *,
    last_resort: bool = False,
) -> Candidates:
    """All strategies of a job on exactly `chips` chips that are looked at, every one of them legal.

    `search_scope` says what is looked at. Where the rules leave nothing of it, every layout is looked at (tp over
    several servers, uneven stages), so that there is no strategy only where there is no legal one.

    Parameters
    ----------
    fixed
        Parts of the strategy that are pinned, by the names of `Parallelism`. A pin may go beyond what is searched, not
        beyond what is legal.
    last_resort
        Also what saves memory at a cost that nobody pays unless nothing fits: fewer kept inputs, offload to the host.
    """
    premise = Premise(workload=workload, cluster=cluster, chips=chips, global_batch=global_batch)
    pins = {name: index_of(name, value) for name, value in (fixed or {}).items() if name in COLUMNS}
    scope = scope_of(premise, stack, pins, last_resort=last_resort)
    found = _searched(premise, scope, pins)
    if not len(found):
        wide = _searched(premise, scope.widened(), pins)
        found = wide if len(wide) else found
    return found


def _searched(premise: Premise, scope: Scope, pins: Mapping[str, int]) -> Candidates:
    layouts = _layouts(premise, scope, pins)
    place, where = _broken_layouts(premise, scope, layouts)
    rejected = _rejections(premise, layouts, place, where)
    rows = _crossed(premise, scope, {name: column[place < 0] for name, column in layouts.items()}, pins)
    keep = np.ones(len(rows["tp"]), dtype=bool)
    for rule, bad in broken(premise, rows):
        lost = bad & keep
        keep &= ~bad
        if rule.name in _HEADINGS and rule.name not in _LAYOUT_RULES and lost.any():
            rejected += (_rejection(premise, rule, rows, np.flatnonzero(lost)),)
    if "context_exchange" not in pins:
        keep &= (rows["cp"] == 1) | np.isin(rows["context_exchange"], scope.exchanges)
    if "sharding" not in pins:
        # One replica has nobody to share its state with.
        keep &= (rows["sharding"] == 0) | (rows["dp"] * rows["cp"] > 1)
    rows["micro_batches"] = premise.global_batch // (rows["dp"] * rows["micro_batch"])
    return Candidates(
        columns={name: column[keep] for name, column in rows.items()}, global_batch=premise.global_batch,
        rejected=rejected,
    )  # fmt: skip


def _layouts(premise: Premise, scope: Scope, pins: Mapping[str, int]) -> Columns:
    """Every (tp, cp, pp, dp) in scope whose product is the number of chips, and what of the rest is pinned."""
    rows = [
        (tp, pp, premise.chips // (tp * cp * pp), cp)
        for tp in scope.tp
        for cp in scope.cp
        if premise.chips % (tp * cp) == 0
        for pp in scope.stages(premise.chips // (tp * cp))
        if pins.get("dp", premise.chips // (tp * cp * pp)) * tp * cp * pp == premise.chips
    ]
    axes_names = ("tp", "pp", "dp", "cp")
    axes = dict(zip(axes_names, np.array(rows, dtype=np.int64).reshape(-1, 4).T, strict=True))
    others = {name: np.full(len(rows), value, np.int64) for name, value in pins.items() if name not in axes_names}
    return whole_columns({**axes, **others})


def _broken_layouts(premise: Premise, scope: Scope, layouts: Columns) -> tuple[Ints, tuple[Rule, ...]]:
    """For every layout the place of the first rule that it breaks among those returned, -1 where it breaks none."""
    rules = (*(rule for rule in RULES if rule.name in _LAYOUT_RULES), *scope.preferences)
    rules = tuple(sorted(rules, key=lambda rule: "batch" in rule.name))
    return first_broken(premise, layouts, rules), rules


def _rejections(premise: Premise, layouts: Columns, place: Ints, rules: Sequence[Rule]) -> tuple[Rejection, ...]:
    """Layouts grouped by the heading of the rule that they broke, in the order of the first of each group."""
    groups: dict[str, list[int]] = {}
    for index in np.flatnonzero(place >= 0).tolist():
        heading = _HEADINGS.get(rules[int(place[index])].name)
        if heading is not None:
            groups.setdefault(heading, []).append(index)
    found = []
    for members in groups.values():
        cut = [int(np.prod([layouts[name][i] for name in ("tp", "cp", "pp")])) for i in members]
        order = [tuple(int(layouts[name][i]) for name in ("tp", "cp", "pp", "dp")) for i in members]
        least = min(range(len(members)), key=lambda at: (cut[at], order[at]))
        rule = rules[int(place[members[least]])]
        found.append(_rejection(premise, rule, layouts, np.array(members), least=members[least]))
    return tuple(found)


def _rejection(premise: Premise, rule: Rule, rows: Columns, members: Ints, *, least: int | None = None) -> Rejection:
    """One group; the one that cuts least stands for it, as an example only where it is a strategy at all."""
    if least is None:
        cut = rows["tp"][members] * rows["cp"][members] * rows["pp"][members]
        least = int(members[np.argmin(cut)])
    row = {name: int(column[least]) for name, column in rows.items() if name in COLUMNS}
    example = None
    if premise.global_batch % (row["dp"] * row["micro_batch"]) == 0:
        example = Parallelism(
            tp=row["tp"], cp=row["cp"], pp=row["pp"], dp=row["dp"], micro_batch=row["micro_batch"],
            global_batch=premise.global_batch,
        )  # fmt: skip
    return Rejection(limit=_HEADINGS[rule.name], count=len(members), example=example, by=rule.why(premise, row))


def _crossed(premise: Premise, scope: Scope, layouts: Columns, pins: Mapping[str, int]) -> Columns:
    """Every layout with every choice of the rest; not all of them legal."""
    rows: list[tuple[int, ...]] = []
    axes = np.stack([layouts[name] for name in ("tp", "pp", "dp", "cp")], axis=1).tolist()
    for index, (tp, pp, dp, cp) in enumerate(axes):
        experts = scope.experts(tp * cp * dp)
        share = premise.global_batch // dp
        for micro_batch in divisors(share):
            if pins.get("micro_batch", micro_batch) != micro_batch:
                continue
            for virtual, schedule in scope.schedules(pp, share // micro_batch):
                rows += [(index, micro_batch, virtual, schedule, ep) for ep in experts]
    skeleton = np.array(rows, dtype=np.int64).reshape(-1, 5)
    options = scope.options()
    names = tuple(options)
    table = np.array(list(zip(*options.values(), strict=True)), dtype=np.int64).reshape(-1, len(names))
    index, *made = np.repeat(skeleton, len(table), axis=0).T
    crossed = {name: column[index] for name, column in layouts.items()}
    names_made = ("micro_batch", "virtual_stages", "schedule", "ep")
    crossed |= dict(zip(names_made, map(np.ascontiguousarray, made), strict=True))
    columns = np.tile(table, (len(skeleton), 1)).T
    return crossed | dict(zip(names, map(np.ascontiguousarray, columns), strict=True))


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
