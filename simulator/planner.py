"""One plan query -> one plan report: resolve, search, price, rank, check, explain.

Every step is a public function with values in and a value out, so that a notebook can stop anywhere::

    job = resolve(query)            what is trained on what, with which software
    found = search(job, constants)  every legal strategy, what it needs, how long it takes
    report = plan(query)            the whole answer
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hwmodels.chip import Chip
from workloads import catalog as models
from workloads.workload import Workload

from .analytic import StepBatch, StepTimes, batch, step_times
from .calibration_data import Record, load
from .cluster import Cluster, ClusterError, SystemEntry, system
from .constants import Constants
from .defaults import kind_of_run, software
from .kernels.optable import Ints
from .lowering import Context, lower_columns
from .memory import MemoryColumns, memory_byte
from .outcome import Amount, ChipPrice, amount, energy, latest_price
from .parallelism import Parallelism
from .plan_report import Gain, KnownError, Outcome, PlanReport, RankedPlan
from .query import PlanQuery
from .search import Candidates, closest, legal, too_big
from .sources import sources
from .stepspec import PARTS, StepSpec, StepTime
from .utilisation import CONVENTION, utilisation

if TYPE_CHECKING:
    from collections.abc import Callable

#: Passes of all stages that the event engine may be asked to run for one report (about a second's worth).
MOST_EVENT_TASKS: Final = 60_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """A resolved question: nouns instead of names, and what was filled in."""

    query: PlanQuery
    workload: Workload
    entry: SystemEntry
    context: Context
    chips: int
    amount: Amount | None
    defaults: tuple[str, ...]

    @property
    def servers(self) -> int:
        """Servers that the job's chips fill, the last one perhaps in part."""
        return -(-self.chips // self.context.cluster.chips_per_server)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Every legal strategy of a job, those that fit priced, the fastest first.

    ``order`` indexes ``fitting`` (and ``steps``, ``times``, ``memory``) by step time; equally fast ones by the memory they need.
    """

    everything: Candidates
    everything_memory: MemoryColumns
    capacity_byte: float
    fitting: Candidates
    memory: MemoryColumns
    steps: StepBatch | None
    times: StepTimes | None
    order: Ints

    def spec(self, place: int) -> StepSpec:
        """The strategy in that place of the ranking (0 is the best), lowered and priced."""
        if self.steps is None:
            raise IndexError("Search: nothing fits, so that nothing is ranked.")
        return self.steps.spec(int(self.order[place]))

    def parallelism(self, place: int) -> Parallelism:
        """The strategy in that place of the ranking."""
        return self.fitting.parallelism(int(self.order[place]))

    def step(self, place: int) -> StepTime:
        """Its step time in closed form."""
        if self.times is None:
            raise IndexError("Search: nothing fits, so that nothing is ranked.")
        return self.times[int(self.order[place])]


def resolve(query: PlanQuery) -> Job:
    """Look names up, fill in what the question leaves open.

    Raises
    ------
    LookupError
        For a name that no catalogue holds, with the nearest.
    ClusterError
        For more chips than the system has.
    ChipError
        For a precision that the chip has no rate for.
    OutcomeError
        For an amount of data that cannot be.
    """
    entry = system(query.system)
    cluster = entry.cluster
    chips = query.chips or cluster.max_chips
    if not 1 <= chips <= cluster.max_chips:
        raise ClusterError(f"chips is {chips}, but {cluster.id} has {cluster.max_chips} chips; legal: 1 to {cluster.max_chips}.")
    workload = models.model(query.model, seq_len=query.seq_len or None, image_size=query.image_size or None)
    used = software(
        workload, cluster.chip, stack_id=query.stack, precision=query.precision, optimizer_name=query.optimizer
    )
    cluster.chip.peak(used.recipe.matmul)
    defaults = list(used.defaults)
    if not query.chips:
        defaults.insert(0, f"chips {chips}: the whole system")
    data = amount(
        workload, global_batch=query.global_batch, tokens=query.tokens, samples=query.samples, epochs=query.epochs,
        dataset_samples=query.dataset_samples,
    )  # fmt: skip
    context = Context(cluster=cluster, stack=used.stack, recipe=used.recipe, optimizer=used.optimizer)
    return Job(
        query=query, workload=workload, entry=entry, context=context, chips=chips, amount=data, defaults=tuple(defaults)
    )  # fmt: skip


def search(job: Job, constants: Constants) -> Search:
    """Every legal strategy, its memory, and the step time of those that fit."""
    context, cluster = job.context, job.context.cluster
    everything = legal(job.workload, cluster, context.stack, job.chips, job.query.global_batch, dict(job.query.fixed))
    memory = memory_byte(job.workload, context, everything.columns)
    capacity = cluster.chip.memory_byte
    fits = memory.total_byte <= capacity
    fitting = everything.take(fits)
    own = MemoryColumns(**{f.name: getattr(memory, f.name)[fits] for f in fields(memory)})
    if not len(fitting):
        return Search(
            everything=everything, everything_memory=memory, capacity_byte=capacity, fitting=fitting, memory=own,
            steps=None, times=None, order=np.zeros(0, np.int64),
        )  # fmt: skip
    zeros = np.zeros(len(fitting), np.int64)
    lowered = lower_columns(job.workload, context, fitting.columns, shard_ranks=zeros, parameter_servers=zeros)
    steps = batch(lowered, constants)
    times = step_times(steps)
    return Search(
        everything=everything, everything_memory=memory, capacity_byte=capacity, fitting=fitting, memory=own, steps=steps,
        times=times, order=np.lexsort((own.total_byte, times.total_ps)),
    )  # fmt: skip


def plan(
    query: PlanQuery, *, constants: Constants | None = None, record: Record | None = None, with_scaling: bool = False,
    with_roofline: bool = False,
) -> PlanReport:  # fmt: skip
    """The best strategies for a job: how long, how much memory, what it costs, what binds, what was rejected.

    Parameters
    ----------
    constants, record
        Fitted constants and how far off they were; both from the default calibration unless given. Constants without a
        record give no interval.
    with_scaling
        Also the best strategy on an eighth of the chips to twice as many, the same global batch throughout.
    with_roofline
        Also every layer of the best strategy against the chip's roof.

    Raises
    ------
    LookupError, ClusterError, ChipError, OutcomeError
        As `resolve`. That nothing fits is an answer: a report without ranked plans.
    """
    if constants is None:
        calibration = load()
        constants, record = calibration.constants, record or calibration.record
    record = record or Record()
    job = resolve(query)
    found = search(job, constants)
    known = known_error(job, record)
    price = latest_price(job.context.cluster.chip.id, job.context.cluster.server)
    ranked = tuple(_ranked(job, found, known, price))
    chip, word = job.context.cluster.chip, job.context.recipe.matmul
    gains = tuple(_gains(job, found, constants)) if ranked else ()
    return PlanReport(
        question=_question(query), model=job.workload.name, parameters=job.workload.parameters, sample=job.workload.sample,
        tokens_per_sample=job.workload.tokens_per_sample, system=job.context.cluster.id, chip=chip.id, chips=job.chips,
        stack=job.context.stack.id, stack_name=job.context.stack.name, recipe=job.context.recipe.name,
        optimizer=job.context.optimizer.name, global_batch=query.global_batch, ranked=ranked,
        rejected=(*found.everything.rejected, *too_big(found.everything, found.everything_memory, capacity_byte=found.capacity_byte)),
        searched=len(found.everything), fitting=len(found.fitting), binds=_binds(ranked, gains), gains=gains,
        peak_flop_per_s=chip.peak(word), peak_word=word, mfu_convention=CONVENTION, known_error=known,
        assumptions=tuple(_assumptions(job)), defaults=job.defaults, warnings=tuple(_warnings(job, record, known, ranked)),
        sources=sources(job.workload, job.context, job.entry, price=price if job.amount else None, energy=job.amount is not None),
        calibration=f"{constants.name}{f': {constants.fitted_on}' if constants.fitted_on else ''}",
        scaling=tuple(scaling(job, constants)) if with_scaling else (),
        roofline=_roofline(job, ranked[0].parallelism, constants) if with_roofline and ranked else (),
        nearest_fit="" if ranked else _nearest(found),
    )  # fmt: skip


def _ranked(job: Job, found: Search, known: KnownError | None, price: ChipPrice) -> Iterator[RankedPlan]:
    checks = _checked_by_events(found, job.query.top)
    for place in range(min(job.query.top, len(found.order))):
        index = int(found.order[place])
        strategy, step = found.parallelism(place), found.step(place)
        shares = utilisation(
            job.workload, global_batch=job.query.global_batch, step_s=step.total_s, chips=job.chips, recompute=strategy.recompute,
            peak_flop_per_s=job.context.cluster.chip.peak(job.context.recipe.matmul), fused=job.context.stack.attention == "fused",
        )  # fmt: skip
        samples_per_s = job.query.global_batch / step.total_s
        yield RankedPlan(
            parallelism=strategy, step=step, memory=found.memory.use(index, capacity_byte=found.capacity_byte),
            samples_per_s=samples_per_s, tokens_per_s=samples_per_s * job.workload.tokens_per_sample,
            mfu=shares.mfu, mfu_full_attention=shares.mfu_full_attention, hfu=shares.hfu,
            low_s=step.total_s * known.low_factor if known else None,
            high_s=step.total_s * known.high_factor if known else None,
            outcome=_outcome(job, step, price), checked_by_events_s=checks[place],
        )  # fmt: skip


def _checked_by_events(found: Search, top: int) -> list[float | None]:
    """Step times of the best by the event engine; None where it would take long."""
    from .events import simulate

    left = MOST_EVENT_TASKS
    checks: list[float | None] = []
    for place in range(min(top, len(found.order))):
        spec = found.spec(place)
        # ZeRO-3 follows every block of every pass.
        visits = sum(block.repeat for block in spec.stages[0].blocks) if spec.gradient_mode == "sharded" else 1
        tasks = 2 * len(spec.stages) * spec.virtual_stages * spec.micro_batches * visits
        left -= tasks
        checks.append(simulate(spec).total_s if left >= 0 else None)
    return checks


def _outcome(job: Job, step: StepTime, price: ChipPrice) -> Outcome | None:
    if job.amount is None:
        return None
    cluster = job.context.cluster
    time_s = job.amount.steps * step.total_s
    chip_hours = time_s * job.chips / 3600.0
    use = energy(
        chip=cluster.chip, chips=job.chips, servers=job.servers, host_power_w=cluster.host_power_w, time_s=time_s,
        utilisation=step.compute_ps / step.total_ps if step.total_ps else 0.0,
    )  # fmt: skip
    return Outcome(
        samples=job.amount.samples, tokens=job.amount.tokens, steps=job.amount.steps, time_s=time_s, chip_hours=chip_hours,
        cost_usd=price.cost_usd(chip_hours), cost_basis=price.basis, energy_j=use.energy_j, energy_basis=use.basis,
    )  # fmt: skip


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
        group=kind, runs=entry.runs, mean=entry.macro, median=entry.median, low_factor=factors[0], high_factor=factors[1],
        extrapolated=tuple(outside),
    )  # fmt: skip


# What twice as much would do ---------------------------------------------------------------------------------------


def _faster_chip(cluster: Cluster) -> Cluster:
    peaks = {word: 2.0 * rate for word, rate in cluster.chip.peak_flop_per_s.items()}
    return _with_chip(cluster, peak_flop_per_s=peaks)


def _with_chip(cluster: Cluster, **changes: object) -> Cluster:
    chip: Chip = replace(cluster.chip, **changes)  # type: ignore[arg-type]
    return replace(cluster, chip=chip)


#: Resource -> the cluster with twice as much of it.
DOUBLED: Final[Mapping[str, Callable[[Cluster], Cluster]]] = {
    "chip rate": _faster_chip,
    "memory bandwidth": lambda c: _with_chip(c, memory_bandwidth_byte_per_s=2.0 * c.chip.memory_bandwidth_byte_per_s),
    "memory capacity": lambda c: _with_chip(c, memory_byte=2.0 * c.chip.memory_byte),
    "scale-up links": lambda c: replace(c, up_byte_per_s=tuple(2.0 * rate for rate in c.up_byte_per_s)),
    "scale-out links": lambda c: replace(c, out_byte_per_s=2.0 * c.out_byte_per_s),
}


def _gains(job: Job, found: Search, constants: Constants) -> Iterator[Gain]:
    """The whole search again with twice as much of each resource, the most useful first."""
    base = found.step(0).total_s
    gains = []
    for resource, doubled in DOUBLED.items():
        changed = replace(job, context=replace(job.context, cluster=doubled(job.context.cluster)))
        again = search(changed, constants)
        step_s = again.step(0).total_s
        gains.append(Gain(resource=resource, step_s=step_s, speedup=base / step_s, parallelism=again.parallelism(0)))
    yield from sorted(gains, key=lambda gain: gain.step_s)


# Explaining --------------------------------------------------------------------------------------------------------

_PART_WORDS: Final = {
    "compute": "computing on the chips", "tensor": "tensor-parallel exchange", "pipeline": "passing activations down the pipeline",
    "bubble": "pipeline stages waiting for work", "data": "data-parallel exchange of gradients or parameters",
    "optimizer": "the optimizer's update", "fixed": "costs of every step that no strategy changes",
}  # fmt: skip


def _binds(ranked: Sequence[RankedPlan], gains: Sequence[Gain]) -> str:
    """The largest part of the best plan, and the resource whose doubling would help most."""
    if not ranked:
        return "nothing fits in memory"
    step = ranked[0].step
    largest = max(PARTS, key=step.part_s)
    text = f"{_PART_WORDS[largest]} takes {100 * step.part_s(largest) / step.total_s:.0f} % of the best step"
    if gains and gains[0].speedup > 1.005:
        text += f"; twice the {gains[0].resource} would help most ({gains[0].speedup:.2f} times as fast)"
    return text


def _nearest(found: Search) -> str:
    """What came closest where nothing fits: the least too big, else the layout that nearly divides."""
    words = closest(found.everything, found.everything_memory, capacity_byte=found.capacity_byte)
    if words:
        return words
    for group in found.everything.rejected:
        return f"Closest: {group.by}."
    return "No strategy matches what is pinned."


def _assumptions(job: Job) -> Iterator[str]:
    yield from (f"model: {line}" for line in job.workload.assumed)
    if job.amount is not None and job.amount.assumed:
        yield job.amount.assumed
    yield "no failures, checkpoints, evaluation or waiting for input"
    yield "links and chips are shared by nothing else; transfers that overlap do not slow each other"
    if job.amount is not None:
        yield "list price as dated, without discounts; power as stated under energy"


def _warnings(job: Job, record: Record, known: KnownError | None, ranked: Sequence[RankedPlan]) -> Iterator[str]:
    chip = job.context.cluster.chip
    if chip.status == "provisional":
        yield f"facts of {chip.id} are provisional: not yet read a second time by another person"
    if not any(seen.split("/")[1] == chip.architecture for seen in record.seen):
        yield f"0 measured rows for {chip.architecture} chips stand behind this prediction"
    if known is None:
        yield "no interval: there is no record of errors for these constants and this kind of run"
    elif known.extrapolated:
        yield f"extrapolated: {'; '.join(known.extrapolated)}"
    if ranked and ranked[0].mfu > 1.0:
        yield "MFU above 1: an algorithm that needs fewer products than counted (Winograd), or a prediction that is wrong"
    if job.chips > job.context.cluster.chips_per_server and job.chips % job.context.cluster.chips_per_server:
        yield "the last server is used in part; exchange between servers is priced as if all were full"


def _question(query: PlanQuery) -> Mapping[str, object]:
    """What was asked, without what was left open."""
    asked: dict[str, object] = {}
    for f in fields(query):
        value = getattr(query, f.name)
        if f.name != "fixed" and value:
            asked[f.name] = value
    asked.update(dict(query.fixed))
    return asked


# More chips, and layers --------------------------------------------------------------------------------------------


def scaling(job: Job, constants: Constants) -> Iterator[Mapping[str, float]]:
    """Strong scaling: the best strategy on an eighth of the chips to twice as many.

    ``chips``, ``step_s``, ``speedup`` over the fewest chips that fit, ``efficiency`` = speed-up / (chips / fewest). Pins that fix the
    number of chips (dp) are let go.
    """
    pins = tuple((key, value) for key, value in job.query.fixed if key != "dp")
    first: tuple[int, float] | None = None
    for exponent in range(-3, 2):
        chips = job.chips * 2**exponent
        if chips != int(chips) or chips > job.context.cluster.max_chips:
            continue
        here = replace(job, chips=int(chips), query=replace(job.query, chips=int(chips), fixed=pins))
        found = search(here, constants)
        if not len(found.order):
            continue
        step_s = found.step(0).total_s
        first = first or (int(chips), step_s)
        speedup = first[1] / step_s
        yield {"chips": float(chips), "step_s": step_s, "speedup": speedup, "efficiency": speedup * first[0] / chips}


def _roofline(job: Job, best: Parallelism, constants: Constants) -> tuple[Mapping[str, object], ...]:
    from .roofline import layer_roofline

    layers = layer_roofline(
        job.workload, chip=job.context.cluster.chip, stack=job.context.stack, recipe=job.context.recipe,
        micro_batch=best.micro_batch, constants=constants, tp=best.tp, cp=best.cp, sequence_parallel=best.sequence_parallel,
    )  # fmt: skip
    return tuple(layer.as_mapping() for layer in layers)


