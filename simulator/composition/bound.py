"""The length of one step where nothing contends, one strategy at a time, in exact integers."""

from __future__ import annotations

from simulator.composition.chains import last_passes_done_ps
from simulator.composition.exchange import exposed_ps
from simulator.composition.passes import Pipeline
from simulator.composition.path import rank_times
from simulator.composition.sharded import sharded_passes_ps
from simulator.stepspec import StepSpec, StepTime


def bound(spec: StepSpec) -> StepTime:
    """Length of one step and its parts [ps].

    ``done_i`` is when rank ``i``'s last backward pass ends, ``busy_i`` what its passes take in a step, with sends that
    hold it, ``exposed_i`` its gradient exchange that shows (`exchange.exposed_ps`), ``update_i`` its update and the
    fetch of parameters that others updated. Where all ranks update together, seen from the busiest rank ``k`` (the
    first of equals)::

        gradients = max_i(done_i + exposed_i)
        total     = fixed + gradients + max_i optimizer_i + max_i update_gather_i
        bubble    = max_i done_i - busy_k,     data = gradients - max_i done_i

    Mode "sharded" replaces ``gradients`` by `sharded_passes_ps`. Where each rank updates by itself (zero bubble) a step
    takes as long as the rank that is longest at it, from its own first pass on; parts are the busiest rank's::

        total     = fixed + max_i(done_i - begun_i + exposed_i + update_i)
        bubble    = total - fixed - busy_k - exposed_k - update_k

    Where each micro-batch updates (PipeDream) a step is ``m`` rounds of a pipeline that was full before, seen from the
    rank ``k`` with the longest round, updates included::

        total     = fixed + done_k - done_k(before the step)

    ``done_i`` comes from a closed form (`chains.last_passes_done_ps`) in "gpipe", and in "1f1b" and "interleaved" where
    all stages but the first and the last are alike; else from the schedule's order, task by task
    (`path.rank_times`). The latter is what events do where nothing contends, to the tick; GPipe's closed form is too.

    Leaves out: contention; in the closed form of 1F1B, interleaved or not, waits that pass between several slow stages.
    So the event engine never takes less time. Where it takes more, measured on random pipelines of 2 or 3 stages or
    like middle ones, passes only, the bound falls short of it by at most

    ================================================ ======= ===========
    stages                                           1F1B    interleaved
    ================================================ ======= ===========
    alike, sends of 2 % or 90 % of a forward pass    0.00 %  0.00 %
    first and last one up to 10 and 20 % heavier     0.00 %  0.3 %
    first chunk up to 10 % heavier, the last no more 0.00 %  2.9 % (mean 0.3 %)
    every pass of every chunk differs by +-10 %      0.00 %  5.5 %
    by +-50 %                                        3.5 %   18 % (mean 2.5 %)
    ================================================ ======= ===========

    Raises
    ------
    StepSpecError
        In mode "sharded" with more than one pipeline stage.
    ValueError
        Where the schedule cannot have that shape.

    References
    ----------
    Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, 2021,
    section 2.2; Qi et al., Zero Bubble Pipeline Parallelism, 2023, section 4 (updates by rank). The chains for unlike
    stages are our own derivation.
    """
    pipeline = Pipeline(spec)
    if spec.gradient_mode == "sharded":
        return _together(pipeline, [pipeline.compute_ps(0) + pipeline.tensor_ps(0)], sharded_passes_ps(spec))
    if spec.forward_only:
        done = [times.done for times in rank_times(pipeline)]
        return _together(pipeline, done, max(done))
    if in_closed_form(spec):
        done = last_passes_done_ps(spec)
        return _together(pipeline, done, max(end + exposed_ps(pipeline, i) for i, end in enumerate(done)))
    if pipeline.traits.update == "together":
        done = [times.done for times in rank_times(pipeline)]
        return _together(pipeline, done, max(end + exposed_ps(pipeline, i) for i, end in enumerate(done)))
    return _by_rank(pipeline) if pipeline.traits.update == "by_rank" else _each_micro_batch(pipeline)


def in_closed_form(spec: StepSpec) -> bool:
    """Whether `bound` takes the closed form of the passes."""
    middle = spec.stages[1:-1]
    alike = all(stage.chunks == middle[0].chunks for stage in middle)
    return spec.schedule == "gpipe" or (spec.schedule in ("1f1b", "interleaved") and alike)


def _together(pipeline: Pipeline, done: list[int], gradients: int) -> StepTime:
    ranks = range(len(done))
    busy = [pipeline.compute_ps(i) + pipeline.tensor_ps(i) + pipeline.held_ps(i) for i in ranks]
    k = busy.index(max(busy))
    stages = [pipeline.stages_of(i) for i in ranks]
    return StepTime(
        engine="bound",
        compute_ps=pipeline.compute_ps(k),
        tensor_ps=pipeline.tensor_ps(k),
        pipeline_ps=pipeline.held_ps(k),
        bubble_ps=max(done) - busy[k],
        data_ps=gradients - max(done),
        optimizer_ps=max(sum(s.optimizer_ps for s in held) for held in stages)
        + max(sum(s.update_gather_ps for s in held) for held in stages),
        fixed_ps=pipeline.spec.fixed_ps,
    )


def _by_rank(pipeline: Pipeline) -> StepTime:
    times = rank_times(pipeline)
    ranks = range(len(times))
    after = [exposed_ps(pipeline, i) + pipeline.update_ps(i) for i in ranks]
    busy = [pipeline.compute_ps(i) + pipeline.tensor_ps(i) + pipeline.held_ps(i) for i in ranks]
    k = busy.index(max(busy))
    return StepTime(
        engine="bound",
        compute_ps=pipeline.compute_ps(k),
        tensor_ps=pipeline.tensor_ps(k),
        pipeline_ps=pipeline.held_ps(k),
        bubble_ps=max(times[i].done - times[i].begun + after[i] for i in ranks) - busy[k] - after[k],
        data_ps=exposed_ps(pipeline, k),
        optimizer_ps=pipeline.update_ps(k),
        fixed_ps=pipeline.spec.fixed_ps,
    )


def _each_micro_batch(pipeline: Pipeline) -> StepTime:
    m, times = pipeline.spec.micro_batches, rank_times(pipeline)
    ranks = range(len(times))
    data = [m * exposed_ps(pipeline, i) for i in ranks]
    update = [m * pipeline.update_ps(i) for i in ranks]
    passes = [pipeline.compute_ps(i) + pipeline.tensor_ps(i) for i in ranks]
    busy = [sum(parts) for parts in zip(passes, data, update, strict=True)]
    k = busy.index(max(busy))
    return StepTime(
        engine="bound",
        compute_ps=pipeline.compute_ps(k),
        tensor_ps=pipeline.tensor_ps(k),
        pipeline_ps=0,
        bubble_ps=times[k].done - times[k].begun - busy[k],
        data_ps=data[k],
        optimizer_ps=update[k],
        fixed_ps=pipeline.spec.fixed_ps,
    )
