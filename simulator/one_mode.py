"""A job in one of the modes of training: its replicas as workers, event by event, beside the closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from .calibration_data import calibration_names, load_constants
from .constants import Constants
from .errors import InputError
from .events.modes import ModeRun, run_mode
from .job import resolve
from .lowering import Lowered
from .modes import ModeError, ModeEstimate, ModeJob, Spread, best_backups, estimate
from .modes.spread import SpreadError
from .pricing import exchanging_of, server_exchange_of
from .query import PlanQuery
from .ranking import search
from .search import closest
from .server_exchange import LARGE_BYTE, messages_between_hosts
from .traffic import Groups, Messages

#: Modes that a job's replicas can run in. Threads of one memory are no replicas on chips.
JOB_MODES: Final = (
    "synchronous", "asynchronous", "stale-synchronous", "elastic-averaging", "gossip", "groups", "local-sgd",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModeRequest:
    """What is asked of a mode beside the job: see `ModeJob`. ``backups`` -1: as many as make most samples a second."""

    mode: str
    spread: str = "constant"
    variation: float = 0.0
    backups: int = 0
    bound: int = 0
    period: int = 1
    groups: int = 1
    updates: int = 4000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SimulatedMode:
    """One run of a job in a mode. Where nothing fits, ``run`` and ``form`` are None and ``nearest_fit`` says why."""

    job: str
    strategy: str = ""
    stack: str = ""
    servers: int = 0
    run: ModeRun | None = None
    form: ModeEstimate | None = None
    nearest_fit: str = ""


def simulate_mode(query: PlanQuery, asked: ModeRequest, *, constants: Constants | None = None) -> SimulatedMode:
    """Run the replicas of a job in a mode of training.

    The strategy is the fastest of those whose replicas can work apart (``updates`` pinned to asynchronous). A worker is
    a replica, its mini-batch the global batch over the replicas, its mean duration the closed form's, the exchange left
    out. "synchronous" and "local-sgd" all-reduce, unless parameter servers are pinned; "groups" all-reduce inside.

    Leaves out: exchange under the backward pass; the optimizer on the workers of modes that keep models of their own.

    Raises
    ------
    InputError
        Where the mode, or what is asked of it, cannot be.
    """
    if asked.mode not in JOB_MODES:
        raise InputError(f"--mode: is {asked.mode!a}; legal: {', '.join(JOB_MODES)}.")
    if constants is None:
        constants = load_constants() if "default" in calibration_names() else Constants()
    fixed = dict(query.fixed)
    by_servers = bool(fixed.get("parameter_servers"))
    job = resolve(replace(query, fixed=tuple({**fixed, "updates": "asynchronous"}.items())))
    words = f"{job.workload.name} with a global batch of {query.global_batch:,} on {job.chips:,} chips"
    words += f" of {query.system}"
    found = search(job, constants)
    if found.steps is None:
        words_near = closest(found.everything, found.everything_memory, capacity_byte=found.capacity_byte)
        return SimulatedMode(job=words, nearest_fit=words_near or "No strategy matches what is pinned.")
    strategy, step = found.parallelism(0), found.step(0)
    lowered = found.steps.lowered.take(found.order[:1])
    try:
        compute = Spread(mean_s=step.total_s - step.part_s("data"), kind=asked.spread, variation=asked.variation)
        batch = query.global_batch // strategy.dp
        chosen = mode_job(lowered, asked, compute, constants, batch=batch, by_servers=by_servers)
        if asked.backups < 0:
            chosen = replace(chosen, backups=best_backups(chosen)[0])
        run = run_mode(chosen, updates=asked.updates, seed=asked.seed)
    except (ModeError, SpreadError) as error:
        raise InputError(f"--mode {asked.mode}: {str(error).partition(': ')[2]}") from None
    servers = strategy.parameter_servers
    if asked.mode == "gossip" or (asked.mode in ("synchronous", "local-sgd") and not by_servers):
        servers = 0
    # The mode stands for itself.
    shown = replace(strategy, updates="synchronous", parameter_servers=servers)
    return SimulatedMode(
        job=words, strategy=shown.words(), stack=job.context.stack.id, run=run, form=estimate(chosen), servers=servers
    )  # fmt: skip


def mode_job(
    lowered: Lowered, asked: ModeRequest, compute: Spread, constants: Constants, *, batch: int, by_servers: bool
) -> ModeJob:
    """One lowered strategy (the only one) as workers and messages; ``batch`` samples in a worker's mini-batch."""
    workers, mode = int(lowered.dp[0]), asked.mode
    found = server_exchange_of(lowered, constants)
    messages: dict[str, Any] = {
        name: float(getattr(found.times, name)[0]) for name in ("push_s", "pull_s", "push_port_s", "pull_port_s")
    }
    push_byte, pull_byte = float(found.push_byte[0]), float(found.pull_byte[0])
    exchange_s = None
    if mode == "gossip":
        small, large = messages_between_hosts(lowered)
        messages = _with_a_peer(lowered, constants, small, large, pull_byte / float(lowered.tp[0]))
        push_byte = pull_byte
    elif mode == "groups" and not workers % asked.groups:
        exchange_s = _all_reduce_s(lowered, constants, workers // asked.groups, push_byte)
    elif mode in ("synchronous", "local-sgd") and not by_servers:
        exchange_s = _all_reduce_s(lowered, constants, workers, push_byte)
        messages = dict.fromkeys(messages, 0.0)
    return ModeJob(
        mode=mode, workers=workers, compute=compute, batch=batch, push_byte=push_byte, pull_byte=pull_byte,
        exchange_s=exchange_s, backups=max(asked.backups, 0), bound=asked.bound, period=asked.period,
        groups=asked.groups, **messages,
    )  # fmt: skip


def _with_a_peer(
    lowered: Lowered, constants: Constants, small: Messages, large: Messages, rank_byte: float
) -> dict[str, float]:
    """A model to a peer on another host and back at once, over the chip's share of its host's cards."""
    exchanging, context = exchanging_of(lowered, constants), lowered.context
    latency_s = float(exchanging.seconds(small, context)[0])
    passing_s = (float(exchanging.seconds(large, context)[0]) - latency_s) * rank_byte / LARGE_BYTE
    return {"push_s": latency_s + passing_s, "pull_s": 0.0, "push_port_s": passing_s, "pull_port_s": 0.0}


def _all_reduce_s(lowered: Lowered, constants: Constants, members: int, byte: float) -> float:
    """An all-reduce among so many neighbouring workers, all such groups at once [s]."""
    group = Groups(contexts=lowered.contexts, context=lowered.context, ranks=np.array([members]), stride=lowered.tp)
    messages = group.cost("all_reduce", np.array([byte]) / lowered.tp)
    return float(exchanging_of(lowered, constants).seconds(messages, lowered.context)[0])
