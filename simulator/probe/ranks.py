"""Groups of ranks that make the calls of a case together: processes of this machine over gloo, or torchrun's.

One rank leads: it tells the others which case comes, and how often to call it; a time is that of the slowest rank.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final, Protocol

from .case import Call, Case, NotHere
from .device import Device, require_torch

#: A rank that has not answered by then is taken for dead [s].
_PATIENCE_S: Final = 120.0


class Group(Protocol):
    """Ranks that make calls together; use as a context, so that they end."""

    ranks: int
    threads: int
    library: str

    def timer(self, case: Case) -> Callable[[int], float]:
        """Runs the case's call n times on every rank, returns the seconds of the slowest. Raises `NotHere`."""

    def __enter__(self) -> Group: ...

    def __exit__(self, *error: Any) -> None: ...


def under_torchrun() -> bool:
    """Whether torchrun (or anything that speaks like it) started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1") or 1) > 1 and "MASTER_ADDR" in os.environ


def _prepare(torch: Any, device: str, case: Case) -> Call:
    from .suites import SUITES

    return SUITES[case.suite].prepare(torch, device, case)


class _Follower:
    """What every rank does with the leader's words: "case" prepares, "time" calls; answers are seconds or a reason."""

    def __init__(self, torch: Any, device: Device) -> None:
        self.torch, self.device = torch, device
        self.timed: Callable[[int], float] | None = None

    def obey(self, word: str, value: Any) -> float | str:
        try:
            if word == "case":
                with self.torch.no_grad():
                    call = _prepare(self.torch, self.device.word, value)
                    call()
                self.device.wait()
                self.timed = self.device.host_timer(call)
                return 0.0
            assert self.timed is not None  # the leader names a case first
            self.torch.distributed.barrier()
            with self.torch.no_grad():
                return self.timed(int(value))
        except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _worker(pipe: Connection, rank: int, ranks: int, threads: int, folder: str) -> None:
    """A process of `LocalGroup`; ends when its leader does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch = require_torch()
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    follower = _Follower(torch, Device(torch, "cpu", threads=threads))
    pipe.send(0.0)
    try:
        while True:
            word, value = pipe.recv()
            if word == "end":
                break
            pipe.send(follower.obey(word, value))
    except (EOFError, OSError):
        return
    torch.distributed.destroy_process_group()


class LocalGroup:
    """Processes on this machine, joined by gloo; each has its share of the threads."""

    library = "gloo"

    def __init__(self, ranks: int, threads: int) -> None:
        self.ranks, self.threads = ranks, max(1, threads // ranks)
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []

    def __enter__(self) -> LocalGroup:
        return self

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory(prefix="trainyard-probe-")
        for rank in range(self.ranks):
            here, there = context.Pipe()
            process = context.Process(
                target=_worker, args=(there, rank, self.ranks, self.threads, self._folder.name), daemon=True
            )
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)
        self._answers()

    def _answers(self) -> list[float]:
        answers = []
        for pipe in self._pipes:
            try:
                if not pipe.poll(_PATIENCE_S):
                    raise EOFError
                answers.append(pipe.recv())
            except (EOFError, OSError):
                self.end()
                raise NotHere("a rank ended or hung: gloo between processes does not work here") from None
        reasons = [answer for answer in answers if isinstance(answer, str)]
        if reasons:
            raise NotHere(reasons[0])
        return answers

    def _tell(self, word: str, value: Any) -> float:
        if not self._processes:
            self._start()
        try:
            for pipe in self._pipes:
                pipe.send((word, value))
        except OSError:
            self.end()
            raise NotHere("a rank has ended: gloo between processes does not work here") from None
        return max(self._answers())

    def timer(self, case: Case) -> Callable[[int], float]:
        self._tell("case", case)
        return lambda calls: self._tell("time", calls)

    def end(self) -> None:
        """End the processes, those that do not listen too."""
        for pipe in self._pipes:
            try:
                pipe.send(("end", None))
                pipe.close()
            except OSError:
                pass
        for process in self._processes:
            process.join(timeout=3)
            if process.is_alive():
                process.kill()
                process.join(timeout=3)
        if self._processes:
            self._folder.cleanup()
        self._pipes, self._processes = [], []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()


class TorchrunGroup:
    """The ranks that torchrun started: NCCL between CUDA devices, gloo between CPUs. Rank 0 leads, others `follow`."""

    def __init__(self, torch: Any, device: Device) -> None:
        self.torch, self.device = torch, device
        dist = torch.distributed
        self.library = "nccl" if device.kind == "cuda" else "gloo"
        if device.kind == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group(self.library)
        self.ranks, self.threads = int(dist.get_world_size()), device.threads
        self.leads = dist.get_rank() == 0
        # Words travel apart from what is measured, between the hosts.
        self._words = dist.new_group(backend="gloo")
        self._follower = _Follower(torch, device)

    def __enter__(self) -> TorchrunGroup:
        return self

    def _share(self, word: str, value: Any) -> tuple[str, Any, float]:
        said: list[Any] = [(word, value)]
        self.torch.distributed.broadcast_object_list(said, src=0, group=self._words)
        word, value = said[0]
        if word == "end":
            return word, value, 0.0
        answers: list[Any] = [None] * self.ranks
        self.torch.distributed.all_gather_object(answers, self._follower.obey(word, value), group=self._words)
        reasons = [answer for answer in answers if isinstance(answer, str)]
        if reasons and self.leads:
            raise NotHere(reasons[0])
        return word, value, max((a for a in answers if isinstance(a, float)), default=0.0)

    def timer(self, case: Case) -> Callable[[int], float]:
        self._share("case", case)
        return lambda calls: self._share("time", calls)[2]

    def follow(self) -> None:
        """What the ranks that do not lead do until the leader ends."""
        while self._share("", None)[0] != "end":
            pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.leads and kind is None:
            self._share("end", None)
        if kind is None:
            self.torch.distributed.destroy_process_group()
