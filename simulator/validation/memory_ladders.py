"""Out of memory, inferred from a sweep that lists only what worked, and how often the memory model calls it right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .cells import Unsupported
from .memory_rows import memory_job
from .memory_software import software_of
from .rows import RunJob, resolve


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One layout of a sweep at one micro-batch: whether it ran, and what it needs of what the chip has [B].

    ``unit_byte``: bytes of the unit that the sweep's figures are printed in [B].
    """

    row: Mapping[str, str]
    ran: bool
    needed_byte: float
    capacity_byte: float
    unit_byte: float

    @property
    def fits(self) -> bool:
        """Whether the memory model says that it runs."""
        return self.needed_byte <= self.capacity_byte


_LAYOUT = ("source", "model", "chip", "num_chips", "tp", "pp", "dp", "cp", "global_batch", "sharding")


def rungs(rows: Sequence[Mapping[str, str]]) -> tuple[Rung, ...]:
    """The micro-batches of every layout of a sweep over powers of two: those that ran, and the first that ran out.

    A sweep that lists what worked is silent on why the rest did not. The rule: a layout that ran at micro-batches b / 2
    and b and at none above ran out of memory at 2 b, where 2 b divides the samples of a replica and the measured
    figures, linear in the micro-batch, come to more than the chip has: v(2 b) = v(b) + 2 (v(b) - v(b / 2)). What is
    missing below that failed of something else, and says nothing; larger ones say the same again.
    """
    ladders: dict[tuple[str, ...], dict[int, Mapping[str, str]]] = {}
    for row in rows:
        if row["micro_batch"] and row["global_batch"]:
            ladders.setdefault(tuple(row[c] for c in _LAYOUT), {})[int(row["micro_batch"])] = row
    found = []
    for ran in ladders.values():
        found += [_rung(row, ran=True) for row in ran.values()]
        top = max(ran)
        if top // 2 not in ran or (int(ran[top]["global_batch"]) // int(ran[top]["dp"] or 1)) % (2 * top):
            continue
        value, below = (float(ran[b]["value"]) for b in (top, top // 2))
        next_one = _rung({**ran[top], "micro_batch": str(2 * top)}, ran=False)
        if next_one and (3.0 * value - 2.0 * below) * next_one.unit_byte > next_one.capacity_byte:
            found.append(next_one)
    return tuple(one for one in found if one)


def _rung(row: Mapping[str, str], *, ran: bool) -> Rung | None:
    try:
        job = resolve(row)
    except Unsupported:
        return None
    software = software_of(row["source"], row["software"], job.workload.family)
    return Rung(
        row=row, ran=ran, needed_byte=needed_byte(job), capacity_byte=job.context.cluster.chip.memory_byte,
        unit_byte=software.unit_byte,
    )  # fmt: skip


def needed_byte(job: RunJob) -> float:
    """What a run needs on its fullest chip as it states it, with nothing replayed where it leaves that open [B]."""
    found = memory_job(job)
    if not job.row.get("recompute"):
        found = replace(found, strategy=replace(found.strategy, recompute=job.context.stack.recompute))
    return float(found.stages().peak().total_byte[0])


def balanced_accuracy(found: Sequence[Rung]) -> float:
    """Mean of the shares called right among those that ran and among those that did not."""
    parts = [[one.fits == one.ran for one in found if one.ran is word] for word in (True, False)]
    if not all(parts):
        raise ValueError("balanced_accuracy: needs layouts that ran and layouts that did not.")
    return sum(sum(part) / len(part) for part in parts) / 2.0
