"""What a report says about its own numbers: what binds, what was assumed, how far off runs like it were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .calibration_data import Record
from .defaults import kind_of_run
from .job import Job
from .kernel_calibration import load_kernels
from .kernels.settings import silicon
from .measured_constants import measured_constants
from .plan_report import Gain, KnownError, RankedPlan
from .ranking import Search
from .search import closest
from .stepspec import PARTS


def known_error(job: Job, record: Record) -> KnownError | None:
    """How far runs of this kind were off, and in what the job lies outside them; None without a record."""
    kind, chip = kind_of_run(job.workload), job.context.cluster.chip
    outside = []
    if f"{kind}/{chip.architecture}/{job.context.stack.id}" not in record.seen:
        outside.append(f"no checked {kind} run of stack {job.context.stack.id} on {chip.architecture}")
    largest = record.largest.get(chip.architecture, 0)
    if job.chips > 2 * largest:
        outside.append(f"{job.chips} chips; checked up to {largest} on {chip.architecture}")
    factors = record.factors(kind, job.context.stack.id, extrapolated=bool(outside))
    if factors is None:
        return None
    entry = record.families[kind]
    return KnownError(
        group=kind,
        runs=entry.runs,
        mean=entry.macro,
        median=entry.median,
        low_factor=factors[0],
        high_factor=factors[1],
        extrapolated=tuple(outside),
    )


_PART_WORDS: Final = {
    "compute": "computing on the chips",
    "tensor": "exchange inside layers (tensors, contexts, experts, halos)",
    "pipeline": "passing activations down the pipeline",
    "bubble": "pipeline stages waiting for work",
    "data": "data-parallel exchange of gradients or parameters",
    "optimizer": "the optimizer's update",
    "fixed": "costs of every step that no strategy changes",
}


def binds(ranked: Sequence[RankedPlan], gains: Sequence[Gain]) -> str:
    """The largest part of the best plan, and the resource whose doubling would help most."""
    if not ranked:
        return "nothing fits in memory"
    step = ranked[0].step
    largest = max(PARTS, key=step.part_s)
    text = f"{_PART_WORDS[largest]} takes {100 * step.part_s(largest) / step.total_s:.0f} % of the best step"
    if gains and gains[0].speedup > 1.005:
        text += f"; twice the {gains[0].resource} would help most ({gains[0].speedup:.2f} times as fast)"
    return text


def nearest_fit(found: Search) -> str:
    """What came closest where nothing fits: the least too big, else the layout that nearly divides."""
    words = closest(found.everything, found.everything_memory, capacity_byte=found.capacity_byte)
    if words:
        return words
    for group in found.everything.rejected:
        return f"Closest: {group.by}."
    return "No strategy matches what is pinned."


def last_resort(job: Job, ranked: Sequence[RankedPlan]) -> str:
    """That the best strategy pays for memory as one does only where nothing else fits; "" where it does not."""
    if not ranked or {"offload", "recompute_every"} & {name for name, _ in job.query.fixed}:
        return ""
    best = ranked[0].parallelism
    ways = [f"offload of the {best.offload}" if best.offload == "optimizer" else "offload of activations"]
    ways = ways if best.offload != "none" else []
    if best.recompute_every > 1:
        ways.append(f"one kept input for {best.recompute_every} blocks")
    return f"nothing fits without {' and '.join(ways)}; other strategies were not ranked" if ways else ""


def assumptions(job: Job) -> Iterator[str]:
    yield from (f"model: {line}" for line in job.workload.assumed)
    if job.amount is not None and job.amount.assumed:
        yield job.amount.assumed
    yield "no failures, checkpoints, evaluation or waiting for input"
    yield "links and chips are shared by nothing else; transfers that overlap do not slow each other"
    if job.amount is not None:
        yield "list price as dated, without discounts; power as stated under energy"


def warnings(job: Job, record: Record, known: KnownError | None, ranked: Sequence[RankedPlan]) -> Iterator[str]:
    chip = job.context.cluster.chip
    if chip.status == "provisional":
        yield f"facts of {chip.id} are provisional: not yet read a second time by another person"
    if not any(seen.split("/")[1] == chip.architecture for seen in record.seen):
        yield f"0 measured rows for {chip.architecture} chips stand behind this prediction"
    known_kernels = any(key.split("/")[1] == silicon(chip) for key in load_kernels().record.measured)
    if not known_kernels and not measured_constants().knows(silicon(chip)):
        yield f"0 measured kernels of {chip.id}: its rates are those of its nearest kin, or assumed"
    if resort := last_resort(job, ranked):
        yield resort
    if ranked and (apart := ranked[0].asynchronous) is not None:
        yield (
            f"asynchronous updates: gradients are {apart.staleness:g} updates old in the mean; how many more samples a "
            "target then needs is unknown, and in no figure here. A search looks at such strategies only where they "
            "are pinned; 0 measured runs stand behind them, so that no interval is given"
        )
    if known is None:
        yield "no interval: there is no record of errors for these constants and this kind of run"
    elif known.extrapolated:
        yield f"extrapolated: {'; '.join(known.extrapolated)}"
    if ranked and ranked[0].mfu > 1.0:
        yield "MFU above 1: an algorithm with fewer products than counted (Winograd), or a prediction that is wrong"
    if job.chips > job.context.cluster.chips_per_server and job.chips % job.context.cluster.chips_per_server:
        yield "the last server is used in part; exchange between servers is priced as if all were full"
