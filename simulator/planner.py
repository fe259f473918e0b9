"""One plan query -> one plan report: resolve, search, price, rank, check, explain.

Every step is a public function with values in and a value out, so that a notebook can stop anywhere::

    job = resolve(query)            what is trained on what, with which software
    found = search(job, constants)  every legal strategy, what it needs, how long it takes
    report = plan(query)            the whole answer
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Final

from .asynchronous_updates import asynchronous_updates
from .calibration_data import Record, load
from .constants import Constants
from .explain import assumptions, binds, known_error, nearest_fit, warnings
from .job import Job, resolve
from .outcome import ChipPrice, energy, latest_price
from .parallelism import Parallelism
from .plan_report import KnownError, Outcome, PlanReport, RankedPlan
from .query import PlanQuery
from .ranking import Search, search
from .search import too_big
from .sources import sources
from .stepspec import StepTime
from .utilisation import CONVENTION, utilisation
from .what_if import gains, scaling

__all__ = ["Job", "Search", "plan", "resolve", "search"]

#: Passes of all stages that the event engine may be asked to run for one report (about a second's worth).
MOST_EVENT_TASKS: Final = 60_000


def plan(
    query: PlanQuery,
    *,
    constants: Constants | None = None,
    record: Record | None = None,
    with_scaling: bool = False,
    with_roofline: bool = False,
) -> PlanReport:
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
    ranked = tuple(_ranked(job, found, constants, known, price))
    chip, word = job.context.cluster.chip, job.context.recipe.matmul
    doubled = tuple(gains(job, found, constants)) if ranked else ()
    return PlanReport(
        question=_question(query),
        model=job.workload.name,
        parameters=job.workload.parameters,
        sample=job.workload.sample,
        tokens_per_sample=job.workload.tokens_per_sample,
        system=job.context.cluster.id,
        chip=chip.id,
        chips=job.chips,
        stack=job.context.stack.id,
        stack_name=job.context.stack.name,
        recipe=job.context.recipe.name,
        optimizer=job.context.optimizer.name,
        global_batch=query.global_batch,
        ranked=ranked,
        rejected=(
            *found.everything.rejected,
            *too_big(found.everything, found.everything_memory, capacity_byte=found.capacity_byte),
        ),
        searched=len(found.everything),
        fitting=len(found.fitting),
        binds=binds(ranked, doubled),
        gains=doubled,
        peak_flop_per_s=chip.peak(word),
        peak_word=word,
        mfu_convention=CONVENTION,
        known_error=known,
        assumptions=tuple(assumptions(job)),
        defaults=job.defaults,
        warnings=tuple(warnings(job, record, known, ranked)),
        sources=sources(
            job.workload, job.context, job.entry, price=price if job.amount else None, energy=job.amount is not None
        ),
        calibration=f"{constants.name}{f': {constants.fitted_on}' if constants.fitted_on else ''}",
        scaling=tuple(scaling(job, constants)) if with_scaling else (),
        roofline=_roofline(job, ranked[0].parallelism, constants) if with_roofline and ranked else (),
        nearest_fit="" if ranked else nearest_fit(found),
    )


def _ranked(
    job: Job, found: Search, constants: Constants, known: KnownError | None, price: ChipPrice
) -> Iterator[RankedPlan]:
    checks = _checked_by_events(found, job.query.top)
    for place in range(min(job.query.top, len(found.order))):
        index = int(found.order[place])
        strategy, step = found.parallelism(place), found.step(place)
        shares = utilisation(
            job.workload,
            global_batch=job.query.global_batch,
            step_s=step.total_s,
            chips=job.chips,
            recompute=strategy.recompute,
            peak_flop_per_s=job.context.cluster.chip.peak(job.context.recipe.matmul),
            fused=job.context.stack.attention == "fused",
        )
        samples_per_s = job.query.global_batch / step.total_s
        apart = asynchronous_updates(found, place, constants)
        # No run without barriers was ever checked.
        record = known if apart is None else None
        yield RankedPlan(
            parallelism=strategy,
            step=step,
            memory=found.memory.use(index, capacity_byte=found.capacity_byte),
            samples_per_s=samples_per_s,
            tokens_per_s=samples_per_s * job.workload.tokens_per_sample,
            mfu=shares.mfu,
            mfu_full_attention=shares.mfu_full_attention,
            hfu=shares.hfu,
            low_s=step.total_s * record.low_factor if record else None,
            high_s=step.total_s * record.high_factor if record else None,
            outcome=_outcome(job, step, price),
            checked_by_events_s=checks[place],
            asynchronous=apart,
        )


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
        affordable = tasks <= left
        left -= tasks if affordable else 0
        checks.append(simulate(spec).total_s if affordable else None)
    return checks


def _outcome(job: Job, step: StepTime, price: ChipPrice) -> Outcome | None:
    if job.amount is None:
        return None
    cluster = job.context.cluster
    time_s = job.amount.steps * step.total_s
    chip_hours = time_s * job.chips / 3600.0
    use = energy(
        chip=cluster.chip,
        chips=job.chips,
        servers=job.servers,
        host_power_w=cluster.host_power_w,
        time_s=time_s,
        utilisation=step.compute_ps / step.total_ps if step.total_ps else 0.0,
    )
    return Outcome(
        samples=job.amount.samples,
        tokens=job.amount.tokens,
        steps=job.amount.steps,
        time_s=time_s,
        chip_hours=chip_hours,
        cost_usd=price.cost_usd(chip_hours),
        cost_basis=price.basis,
        energy_j=use.energy_j,
        energy_basis=use.basis,
    )


def _question(query: PlanQuery) -> Mapping[str, object]:
    """What was asked, without what was left open."""
    asked: dict[str, object] = {}
    for f in fields(query):
        value = getattr(query, f.name)
        if f.name not in ("fixed", "workload") and value:
            asked[f.name] = value
    asked.update(dict(query.fixed))
    return asked


def _roofline(job: Job, best: Parallelism, constants: Constants) -> tuple[Mapping[str, object], ...]:
    from .roofline import layer_roofline

    layers = layer_roofline(
        job.workload,
        chip=job.context.cluster.chip,
        stack=job.context.stack,
        recipe=job.context.recipe,
        micro_batch=best.micro_batch,
        constants=constants,
        tp=best.tp,
        cp=best.cp,
        sequence_parallel=best.sequence_parallel,
    )
    return tuple(layer.as_mapping() for layer in layers)
