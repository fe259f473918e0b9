"""A whole run of a job's best strategy: clock, distribution, energy, money, beside its lower bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from .calibration_data import Record, load
from .constants import Constants
from .defaults import Software, software
from .errors import InputError
from .explain import known_error, nearest_fit
from .forward_pass import forward_run
from .hosts import host_of
from .job import Job, resolve
from .outcome import intervals
from .outcome.availability import spares_needed
from .outcome.checkpoint import MODES, Checkpoints, checkpoint_byte, checkpoint_times
from .outcome.energy import PUE
from .outcome.failures import RESTART_S, Failures, RunError, counts_for, job_failures
from .outcome.input import fed_step_s, input_times
from .outcome.money import ChipPrice
from .outcome.purchase import Terms, price_of
from .outcome.run_clock import RunTime, RunWork, expected, with_interval
from .outcome.run_draws import RunDraws, draw_runs
from .outcome.run_energy import RunEnergy, draw, run_energy
from .outcome.storage import FileSystem, Host, StorageError
from .parallelism import Parallelism
from .query import PlanQuery
from .ranking import search
from .run_beside import RunOptions, input_work
from .stepspec import PARTS, StepTime
from .utilisation import TRAINING_FACTOR, forward_flop

#: Share of the standard normal distribution's 80 % interval on either side: Phi^-1(0.9).
NORMAL_90: Final = 1.2815515655446004
#: What a server writes to the file system where nobody says: an assumption [B/s].
SERVER_WRITE_BYTE_PER_S: Final = 2e9
#: What a chip copies to its host where no link is on record: an assumption, as PCIe 3.0 [B/s].
_LINK_BYTE_PER_S: Final = 12e9
#: Memory of a host where nobody says: an assumption, only asked whether a checkpoint fits into it [B].
_HOST_BYTE: Final = 1e12


@dataclass(frozen=True, kw_only=True)
class RunTerms:
    """What a run meets besides its steps.

    ``failures``: whose published counts ("": the nearest to the chip's generation; "none"), or ``chip_mtbf_h`` for
    all. ``checkpoint_every``: steps, 0 the best interval. ``storage_byte_per_s``: the file system as a whole, 0:
    `SERVER_WRITE_BYTE_PER_S` of each server. ``input``: "", "imagenet" or "tokens". ``trials``: runs of a
    hyper-parameter search, each ``trial_share`` of the whole. ``draws`` runs are drawn.
    """

    failures: str = ""
    chip_mtbf_h: float = 0.0
    restart_s: float = RESTART_S
    down_s: float = 0.0
    repair_s: float = 0.0
    spares: int = 0
    elastic: bool = False
    preemptions_per_server_hour: float = 0.0
    checkpoint_every: int = 0
    checkpoint_mode: str = "blocking"
    storage_byte_per_s: float = 0.0
    input: str = ""
    startup_s: float = 600.0
    trials: int = 0
    trial_share: float = 1.0
    price: Terms = field(default_factory=Terms)
    kg_per_kwh: float = 0.0
    pue: float = PUE
    draws: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.checkpoint_mode not in MODES:
            problems.append(f"checkpoint mode: {self.checkpoint_mode!a}; one of {', '.join(MODES)}.")
        low = ("chip_mtbf_h", "startup_s", "storage_byte_per_s", "kg_per_kwh", "preemptions_per_server_hour")
        for name in (*low, "trials", "checkpoint_every"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                problems.append(f"{name.replace('_', ' ')}: {getattr(self, name)!r}; a number, 0 or more.")
        if not 0 < self.trial_share <= 1 or self.pue < 1 or not 1 <= self.draws <= 100_000:
            problems.append("run: a trial's share is above 0 to 1, PUE 1 or more, draws from 1 to 100,000.")
        if problems:
            raise InputError(*problems)


@dataclass(frozen=True, kw_only=True)
class WholeRun:
    """The answer. ``low_s`` to ``high_s`` hold 80 % of the runs, the step's own error counted; ``draws`` without it.

    ``bound_s``: total operations over the chips' peak. ``young_s``, ``daly_s`` and ``exact_s``: training between
    checkpoints [s], NaN without failures.
    """

    job: Job
    strategy: Parallelism
    step: StepTime
    step_low: float
    step_high: float
    group: str
    work: RunWork
    failures: Failures
    time: RunTime
    draws: RunDraws
    uncertain: RunDraws
    bound_s: float
    checkpoint_byte: float
    young_s: float
    daly_s: float
    exact_s: float
    energy: RunEnergy
    price: ChipPrice
    search_usd: float | None
    spares_needed: int
    assumed: tuple[str, ...]

    @property
    def chip_hours(self) -> float:
        """Chips x expected time [h]."""
        return self.job.chips * self.time.total_s / 3600

    @property
    def cost_usd(self) -> float | None:
        """Of the run alone, in the mean [USD]."""
        return self.price.cost_usd(self.chip_hours)

    @property
    def log_spread(self) -> float:
        """Standard deviation of the logarithm of the step time, from its 80 % interval; 0 without a record."""
        return math.log(self.step_high / self.step_low) / (2 * NORMAL_90)

    @property
    def binds(self) -> str:
        """The largest part of a step."""
        return max(PARTS, key=self.step.part_s)


def lower_bound_s(job: Job) -> float:
    """Total operations over the peak of all chips: no run of this job is shorter [s].

    .. math:: t \\ge \\frac{3 F S}{n P}

    F the forward work of a sample, causal attention halved, S samples, n chips of dense peak P. Leaves out that a
    faster algorithm may need fewer operations (Winograd convolutions), or a recipe fewer samples.
    """
    samples = job.amount.samples if job.amount else 0.0
    flop = TRAINING_FACTOR * forward_flop(job.workload, halved=True) * samples
    return flop / (job.chips * job.context.cluster.chip.peak(job.context.recipe.matmul))


def whole_run(
    query: PlanQuery, terms: RunTerms | None = None, *, constants: Constants | None = None, record: Record | None = None
) -> WholeRun:
    """How long a run of the best strategy takes with all that happens to it, and what it costs.

    Raises
    ------
    InputError
        Where the question names no amount of data, nothing fits, or the run hardly ever ends.
    """
    terms = terms or RunTerms()
    if constants is None:
        calibration = load()
        constants, record = calibration.constants, record or calibration.record
    job = resolve(query)
    if job.amount is None:
        raise RunError("run: how much data it trains on is not said; legal: tokens, samples, epochs or a target.")
    found = search(job, constants)
    if not len(found.order):
        raise RunError(f"run: nothing fits on {job.chips} chips. {nearest_fit(found)}")
    step, strategy = found.step(0), found.parallelism(0)
    known = known_error(job, record or Record())
    low, high = (known.low_factor, known.high_factor) if known else (1.0, 1.0)
    assumed: list[str] = []
    failures = _failures(job, terms, strategy, assumed)
    work, byte = _work(job, terms, step, strategy, constants, failures, assumed)
    time = expected(work, failures)
    draws = draw_runs(work, failures, runs=terms.draws, seed=terms.seed)
    spread = math.log(high / low) / (2 * NORMAL_90)
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence((terms.seed, 1))))
    factors = math.sqrt(low * high) * np.exp(spread * stream.standard_normal(terms.draws))
    uncertain = draw_runs(work, failures, runs=terms.draws, seed=terms.seed, factors=np.clip(factors, 0.2, 5.0))
    cluster = job.context.cluster
    power = draw(
        chip=cluster.chip, chips=job.chips, servers=job.servers, host_power_w=cluster.host_power_w,
        utilisation=step.compute_ps / step.total_ps, out_byte_per_s=cluster.out_byte_per_s, pue=terms.pue,
    )  # fmt: skip
    busy_s = time.training_s + time.lost_s + time.evaluation_s
    used = run_energy(
        power, busy_s=busy_s, total_s=time.total_s, samples=job.amount.samples, kg_per_kwh=terms.kg_per_kwh
    )
    price = price_of(terms.price, cluster.chip.id, cluster.server, chip_w=power.busy_w / job.chips)
    stall, rate = work.stall_s, failures.rate_per_s
    ways = [f(stall, rate) if rate and stall else math.nan for f in (intervals.young_s, intervals.daly_s)]
    hours = job.chips * time.total_s / 3600
    return WholeRun(
        job=job, strategy=strategy, step=step, step_low=low * step.total_s, step_high=high * step.total_s,
        group=known.group if known else "", work=work, failures=failures, time=time, draws=draws, uncertain=uncertain,
        bound_s=lower_bound_s(job), checkpoint_byte=byte, young_s=ways[0], daly_s=ways[1],
        exact_s=intervals.least_s(stall, rate, write_s=work.write_s) if rate and stall else math.nan, energy=used,
        price=price, search_usd=price.cost_usd(hours * terms.trials * terms.trial_share) if terms.trials else None,
        spares_needed=spares_needed(failures), assumed=tuple(assumed),
    )  # fmt: skip


def _failures(job: Job, terms: RunTerms, strategy: Parallelism, assumed: list[str]) -> Failures:
    name = terms.failures or counts_for(job.context.cluster.chip.architecture)
    if terms.elastic and strategy.dp < 2:
        raise RunError(f"run: elastic, but the best strategy has {strategy.dp} replica; legal: without, or dp of 2.")
    found = job_failures(
        chips=job.chips, servers=job.servers, name=name, restart_s=terms.restart_s, down_s=terms.down_s,
        repair_s=terms.repair_s, spares=terms.spares, elastic_replicas=strategy.dp if terms.elastic else 0,
        preemptions_per_server_hour=terms.preemptions_per_server_hour, chip_mtbf_s=terms.chip_mtbf_h * 3600,
    )  # fmt: skip
    assumed.append(f"failures: {found.basis}")
    if found.rate_per_s and not terms.repair_s:
        assumed.append("a server that fails is replaced at once")
    return found


def _work(
    job: Job, terms: RunTerms, step: StepTime, strategy: Parallelism, constants: Constants, failures: Failures,
    assumed: list[str],
) -> tuple[RunWork, float]:  # fmt: skip
    """The run's work with the checkpoints that were asked, and the bytes of one."""
    context = job.context
    byte = checkpoint_byte(
        job.workload.parameters, storage_byte=context.recipe.storage_byte, master_byte=context.recipe.master_byte,
        state_words=context.optimizer.state_per_parameter, state_byte=context.recipe.state_byte,
    )  # fmt: skip
    storage = terms.storage_byte_per_s
    if not storage:
        storage = SERVER_WRITE_BYTE_PER_S * job.servers
        assumed.append(f"each server reads and writes {SERVER_WRITE_BYTE_PER_S / 1e9:g} GB/s")
    file_system = FileSystem(read_byte_per_s=storage, write_byte_per_s=storage)
    try:
        host = host_of(context.cluster, memory_byte=_HOST_BYTE)
    except StorageError:  # no link to a host on record
        cluster = context.cluster
        host = Host(
            cores=1, copy_byte_per_s=_LINK_BYTE_PER_S * cluster.chips_per_server,
            card_byte_per_s=cluster.out_byte_per_s, memory_byte=_HOST_BYTE,
        )  # fmt: skip
        assumed.append(f"each chip copies {_LINK_BYTE_PER_S / 1e9:g} GB/s to its host")
    plan = Checkpoints(total_byte=byte, every=1, mode=terms.checkpoint_mode)
    times = checkpoint_times(plan, "file_system", host, file_system, servers=job.servers)
    fed_s = 0.0
    if terms.input:
        options = RunOptions(steps=1, input=terms.input, storage_byte_per_s=storage)
        runs = _software(job)
        sample = input_work(options, job.workload, runs, job.query, job.servers, assumed)
        if sample is not None:
            fed_s = fed_step_s(
                step.total_s, input_times(sample, host, file_system, servers=job.servers), sample.prefetch
            )
    asynchronous = terms.checkpoint_mode == "asynchronous"
    validation, evaluation_s = job.query.validation, 0.0
    if validation is not None:
        evaluation_s = forward_run(job.workload, context, constants, strategy, validation.samples).time_s
    assert job.amount is not None
    work = RunWork(
        steps=job.amount.steps, step_s=step.total_s, fed_step_s=fed_s, startup_s=terms.startup_s,
        evaluate_every=validation.every_steps if validation else 0, evaluation_s=evaluation_s,
        checkpoint_every=terms.checkpoint_every, stall_s=times.snapshot_s + (0.0 if asynchronous else times.write_s),
        write_s=times.write_s if asynchronous else 0.0,
    )  # fmt: skip
    if not terms.checkpoint_every and failures.rate_per_s:
        best_s = intervals.least_s(work.stall_s, failures.rate_per_s, write_s=work.write_s)
        work = with_interval(work, best_s)
        if work.write_s > work.segment_s:
            work = replace(work, checkpoint_every=min(work.steps, work.checkpoint_every + 1))
        assumed.append(f"a checkpoint every {work.checkpoint_every:,} steps: the least expected time")
    assumed.append(f"{terms.startup_s:g} s until the first step, {terms.restart_s:g} s for each restart")
    return work, byte


def _software(job: Job) -> Software:
    return software(
        job.workload, job.context.cluster.chip, stack_id=job.query.stack, precision=job.query.precision,
        optimizer_name=job.query.optimizer,
    )  # fmt: skip
