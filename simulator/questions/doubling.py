"""When another doubling of chips stops helping, and which term stops it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.cluster import system
from simulator.errors import InputError
from simulator.outcome.failures import RunError
from simulator.query import PlanQuery
from simulator.stepspec import PARTS
from simulator.whole_run import RunTerms, WholeRun, whole_run

#: Part of a step -> what limits it, in the words of a reader.
_TERMS = {
    "tensor": "bandwidth of exchange inside layers", "pipeline": "sends between stages",
    "bubble": "batch (pipeline bubble)",
    "data": "bandwidth of the gradient exchange", "optimizer": "the optimizer", "fixed": "latency and fixed costs",
    "compute": "smaller kernels on each chip (batch)",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Doubling:
    """A number of chips: the run, speed-up and efficiency against the fewest; ``stops``: what ate most of the last
    doubling's gain, with its share of what was lost."""

    run: WholeRun
    speedup: float
    efficiency: float
    stops: str
    lost_share: float


@dataclass(frozen=True, kw_only=True)
class Doublings:
    """The curve; ``last_chips``: beyond them twice the chips gain less than the least gain; ``why``: what stops it."""

    points: tuple[Doubling, ...]
    last_chips: int
    why: str
    mode: str


def doublings(
    query: PlanQuery, terms: RunTerms | None = None, *, first: int = 0, gain: float = 1.1, mode: str = "strong"
) -> Doublings:
    """The job on more and more chips, until twice as many are not ``gain`` times as fast.

    Strong: the same batch. Weak: the batch grows with the chips, the data stay, which assumes that every sample is
    worth as much in a larger batch. Speed is that of the whole run: steps, input, checkpoints and failures.
    """
    if not 1 < gain < 2 or mode not in ("strong", "weak"):
        raise RunError(f"doubling: gain {gain:g}, mode {mode!a}; legal: above 1 to below 2, strong or weak.")
    terms = replace(terms or RunTerms(), draws=1)
    cluster = system(query.system).cluster
    chips = first or cluster.chips_per_server
    points: list[Doubling] = []
    start, why = chips, ""
    while chips <= cluster.max_chips:
        batch = query.global_batch * chips // start if mode == "weak" else query.global_batch
        try:
            run = whole_run(replace(query, chips=chips, global_batch=batch), terms)
        except (InputError, LookupError, ValueError) as error:
            if points:
                why = f"{chips:,} chips: {str(error).splitlines()[0].rstrip('.')}"
                break
            chips, start = 2 * chips, 2 * chips if mode == "weak" else start
            continue
        points.append(_point(points, run))
        if len(points) > 1 and points[-2].run.time.total_s / run.time.total_s < gain:
            return Doublings(points=tuple(points), last_chips=points[-2].run.job.chips, why=points[-1].stops, mode=mode)
        chips *= 2
    if not points:
        raise RunError(f"doubling: nothing fits on {cluster.id} with any number of chips up to {cluster.max_chips:,}.")
    return Doublings(
        points=tuple(points), last_chips=points[-1].run.job.chips, mode=mode,
        why=why or f"the system ends at {cluster.max_chips:,} chips",
    )  # fmt: skip


def _point(points: list[Doubling], run: WholeRun) -> Doubling:
    if not points:
        return Doubling(run=run, speedup=1.0, efficiency=1.0, stops="", lost_share=0.0)
    first, last = points[0].run, points[-1].run
    speedup = first.time.total_s / run.time.total_s
    ratio = run.job.chips / last.job.chips
    # What each part takes beyond its share of a perfect doubling, over the whole run.
    lost = {
        _TERMS[part]: (run.step.part_s(part) * run.work.steps - last.step.part_s(part) * last.work.steps / ratio)
        for part in PARTS
    }
    before, now = last.time.parts(), run.time.parts()
    lost["input"] = now["waiting for input"] - before["waiting for input"] / ratio
    names = ("lost work", "restart", "detection and replacement", "waiting for repair", "fewer replicas")
    lost["failures"] = sum(now[name] - before[name] / ratio for name in names)
    lost["checkpoints and start-up"] = sum(
        now[n] - before[n] / ratio for n in ("checkpoints", "start-up", "evaluation")
    )
    worst = max(lost, key=lambda name: lost[name])
    whole = sum(value for value in lost.values() if value > 0)
    return Doubling(
        run=run, speedup=speedup, efficiency=speedup * first.job.chips / run.job.chips, stops=worst,
        lost_share=lost[worst] / whole if whole > 0 else 0.0,
    )  # fmt: skip
