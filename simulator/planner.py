"""One plan query -> one plan report: resolve, search, price, rank, check, explain.

Every step is a public function with values in and a value out, so that a notebook can stop anywhere::

    job = resolve(query)            what is trained on what, with which software
    found = search(job, constants)  every legal strategy, what it needs, how long it takes
    report = plan(query)            the whole answer
    post_training_iteration(...)    generation and training in turns
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Final

from .asynchronous_updates import asynchronous_updates
from .calibration_data import Record, load
from .constants import Constants
from .explain import assumptions, binds, known_error, nearest_fit, warnings
from .forward_pass import forward_run
from .generation import GenerationError
from .iteration import Iteration, ValidationCost
from .job import Job, resolve
from .outcome import ChipPrice, energy, latest_price
from .parallelism import Parallelism
from .plan_report import KnownError, Outcome, PlanReport, RankedPlan
from .post_training import Learner, longest_part, post_train
from .query import PlanQuery, query_from_mapping
from .ranking import Search, search
from .search import too_big
from .sources import sources
from .stepspec import StepTime
from .utilisation import CONVENTION, utilisation
from .what_if import gains, scaling

__all__ = ["Job", "Search", "plan", "post_training_iteration", "resolve", "search"]

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
    ranked = tuple(_ranked(job, found, known, price, constants))
    iteration, refused = _post_training(job, ranked, constants)
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
        validation=_validation(job, ranked[0].parallelism, ranked[0].step, constants) if ranked else None,
        post_training=iteration,
        post_training_refused=refused,
    )


def post_training_iteration(
    job: Mapping[str, object], post_training: Mapping[str, object], strategy: Mapping[str, object] | None = None
) -> Iteration:
    """One iteration of post-training, its three tables as in a job file::

        post_training_iteration(
            {"model": "Llama-3.1-8B", "system": "eos", "chips": 32, "global_batch": 256},
            {"algorithm": "grpo", "prompts": 256, "samples_per_prompt": 8, "prompt_tokens": 512, "new_tokens": 1024},
        )

    Raises
    ------
    QueryError
        With every problem of the tables.
    GenerationError
        Where nothing fits, with the nearest.
    """
    tables = {"job": job, "post_training": post_training, "strategy": strategy or {}}
    report = plan(query_from_mapping(tables, where="post_training_iteration"))
    if report.post_training is None:
        raise GenerationError(report.post_training_refused or report.nearest_fit or "no strategy trains the actor.")
    return report.post_training


def _validation(job: Job, strategy: Parallelism, step: StepTime, constants: Constants) -> ValidationCost | None:
    """What the validation that was asked costs with a strategy."""
    asked = job.query.validation
    if asked is None:
        return None
    run = forward_run(job.workload, job.context, constants, strategy, asked.samples)
    return ValidationCost(
        every_steps=asked.every_steps,
        samples=asked.samples,
        time_s=run.time_s,
        step_s=step.total_s,
        binds=longest_part(run.step),
        passes=job.amount.steps // asked.every_steps if job.amount else 0,
    )


def _post_training(job: Job, ranked: tuple[RankedPlan, ...], constants: Constants) -> tuple[Iteration | None, str]:
    """The iteration that was asked, and what keeps it from fitting."""
    if job.query.post_training is None or not ranked:
        return None, ""
    best = ranked[0]
    actor = Learner(parallelism=best.parallelism, step=best.step, memory=best.memory)
    try:
        return post_train(job, actor, constants), ""
    except GenerationError as error:
        return None, str(error)


def _ranked(
    job: Job, found: Search, known: KnownError | None, price: ChipPrice, constants: Constants
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
            outcome=_outcome(job, step, price, _validation(job, strategy, step, constants), record),
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


def _outcome(
    job: Job, step: StepTime, price: ChipPrice, validation: ValidationCost | None, known: KnownError | None
) -> Outcome | None:
    if job.amount is None:
        return None
    cluster = job.context.cluster
    time_s = job.amount.steps * step.total_s + (validation.total_s if validation else 0.0)
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
        target=job.amount.target,
        low_samples=job.amount.low_samples,
        high_samples=job.amount.high_samples,
        low_time_s=_time_end(job.amount.low_samples, job.amount.samples, time_s, known.low_factor if known else None),
        high_time_s=_time_end(
            job.amount.high_samples, job.amount.samples, time_s, known.high_factor if known else None
        ),
    )


def _time_end(end: float | None, samples: float, time_s: float, factor: float | None) -> float | None:
    """One end of the interval of a time: the logarithms of two independent factors add in squares [s]."""
    if end is None or factor is None:
        return None
    apart = math.hypot(math.log(end / samples), math.log(factor))
    return time_s * math.exp(math.copysign(apart, math.log(end / samples) + math.log(factor)))


def _question(query: PlanQuery) -> Mapping[str, object]:
    """What was asked, without what was left open."""
    asked: dict[str, object] = {}
    for f in fields(query):
        value = getattr(query, f.name)
        if f.name not in ("fixed", "workload") and value:
            asked[f.name] = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
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
