"""The processes that train: one for each rank of a case, new for every case, so that each begins with an empty heap."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..probe.device import hold_memory, require_torch
from ..probe.timing import Timing
from .calls import StepCalls, calls_of
from .models import BenchCase, built
from .train import step_of, timed_steps

#: A rank that says nothing for so long is taken for dead [s].
_PATIENCE_S: Final = 240.0
#: Steps that the profiler watches.
_TRACED_STEPS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training a case gave: the time of its steps, the calls of one, and of several ranks the share of the
    exchange that ran beside compute, read from the profiler's trace, and seconds of the exchange in a step [s]."""

    timing: Timing
    calls: StepCalls
    overlap_share: float | None = None
    exchange_s: float | None = None


def _quiet() -> None:
    """Nothing of what libraries print: what matters goes through the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _rank(pipe: Connection, case: BenchCase, rank: int, folder: str, seconds: float) -> None:
    """One rank; the first sends what it measured."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _quiet()
    torch = require_torch()
    hold_memory()
    torch.set_num_threads(1)
    try:
        calls = calls_of(torch, *built(torch, case)) if rank == 0 else None
        module, inputs, optimizer = built(torch, case)
        if case.ranks == 1:
            assert calls is not None
            pipe.send(Trained(timing=timed_steps(step_of(module, inputs, optimizer), seconds=seconds), calls=calls))
            return
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist = torch.distributed
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=case.ranks)
        shared = torch.nn.parallel.DistributedDataParallel(module)
        step = step_of(shared, inputs, optimizer)
        timing = timed_steps(step, seconds=seconds, agree=_agreed(torch))
        share, exchange_s = _traced(torch, step, Path(folder) / f"trace{rank}.json")
        dist.barrier()
        if calls is not None:
            pipe.send(Trained(timing=timing, calls=calls, overlap_share=share, exchange_s=exchange_s))
        dist.destroy_process_group()
    except (RuntimeError, OSError) as error:
        with suppress(OSError):
            pipe.send(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _agreed(torch: Any) -> Callable[[bool], bool]:
    """Whether all ranks go on: when the first wants to."""

    def agree(go_on: bool) -> bool:
        word = torch.tensor([1.0 if go_on else 0.0])
        torch.distributed.broadcast(word, 0)
        return bool(word.item() > 0.5)

    return agree


def _traced(torch: Any, step: Callable[[], None], path: Path) -> tuple[float | None, float | None]:
    """The share of the exchange that ran beside compute and its seconds in a step, from some steps' trace."""
    from ..measured_files.gloo_trace import read_exchange

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as watched:
        for _ in range(_TRACED_STEPS):
            step()
    watched.export_chrome_trace(str(path))
    seen = read_exchange(path)
    return seen.overlap_share, seen.exchange_s / _TRACED_STEPS


def train_case(case: BenchCase, *, seconds: float) -> Trained:
    """Train a case in processes of its own.

    Raises
    ------
    InputError
        When a rank ends or hangs, with what it said.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder:
        here, there = context.Pipe()
        processes = [
            context.Process(target=_rank, args=(there, case, rank, folder, seconds), daemon=True)
            for rank in range(case.ranks)
        ]
        try:
            for process in processes:
                process.start()
            there.close()
            if not here.poll(_PATIENCE_S):
                raise InputError(f"bench: {case.name}: no rank answered in {_PATIENCE_S:g} s.")
            try:
                said = here.recv()
            except EOFError:
                raise InputError(f"bench: {case.name}: a rank ended without a word.") from None
            for process in processes:
                process.join(timeout=10)
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                    process.join()
            here.close()
    if isinstance(said, str):
        raise InputError(f"bench: {case.name}: {said}")
    assert isinstance(said, Trained)
    return said
