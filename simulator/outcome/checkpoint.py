"""What a checkpoint weighs, who writes it, how long training waits for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from simulator.outcome.storage import FileSystem, Host, StorageError, check

MODES: Final = ("blocking", "asynchronous")
WRITERS: Final = ("all_ranks", "one_replica")
#: Where a checkpoint may go, the nearest first: the host's memory, that of another server, local disk, file system.
LEVELS: Final = ("memory", "partner", "disk", "file_system")


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """How checkpoints are taken.

    ``total_byte``: weights, master copies and optimizer state of the whole model, once [B]: `checkpoint_byte`.
    ``every``: steps from one to the next. ``mode``: "blocking", training waits until it is written; "asynchronous",
    until the host has it, the rest is written beside training, and the next one waits until the last one is written.
    ``writers``: "all_ranks" write a part of their own each (also of what replicas share), or "one_replica" alone on
    1/``replicas`` of the servers. ``levels``: (where, n): every n-th checkpoint goes there, the farthest of several.
    """

    total_byte: float
    every: int
    mode: str = "blocking"
    writers: str = "all_ranks"
    replicas: int = 1
    levels: tuple[tuple[str, int], ...] = (("file_system", 1),)

    def __post_init__(self) -> None:
        check(self, above=("every", "replicas"), at_least=("total_byte",))
        for name, legal in (("mode", MODES), ("writers", WRITERS)):
            if getattr(self, name) not in legal:
                raise StorageError(f"Checkpoints: {name} is {getattr(self, name)!r}; one of {', '.join(legal)}.")
        for level, every in self.levels:
            if level not in LEVELS or every < 1:
                raise StorageError(f"Checkpoints: level {level!r} every {every}; {', '.join(LEVELS)}, every 1 or more.")
        if not any(every == 1 for _, every in self.levels):
            raise StorageError("Checkpoints: no level takes every checkpoint; give one of them 1.")

    def level_of(self, number: int) -> str:
        """Where the n-th checkpoint (from 1) goes."""
        return max((level for level, every in self.levels if number % every == 0), key=LEVELS.index)

    def writing_servers(self, servers: int) -> int:
        """Servers that write."""
        return servers if self.writers == "all_ranks" else max(1, servers // self.replicas)

    def server_byte(self, servers: int) -> float:
        """What each writing server writes [B]."""
        return self.total_byte / self.writing_servers(servers)


def checkpoint_byte(
    parameters: float, *, storage_byte: float, master_byte: float, state_words: float, state_byte: float = 4.0
) -> float:
    """Bytes of a checkpoint that training can go on from.

    .. math:: B = P (b_{weights} + b_{master} + n_{state} b_{state})

    14 P for Adam with 16-bit weights and 32-bit masters. Leaves out: random states, data positions, padding.
    """
    return parameters * (storage_byte + master_byte + state_words * state_byte)


@dataclass(frozen=True, kw_only=True)
class CheckpointTimes:
    """One checkpoint of a level: to the host, then onwards; each alone [s]. ``rate_byte_per_s``: of one server."""

    snapshot_s: float
    write_s: float
    rate_byte_per_s: float


def checkpoint_times(
    plan: Checkpoints, level: str, host: Host, file_system: FileSystem | None = None, *, servers: int = 1
) -> CheckpointTimes:
    """How long one checkpoint of a level takes when nothing else wants the wires.

    .. math:: t_{snapshot} = B_s / r_{copy}, \\qquad t_{write} = B_s / r_{level}

    with B_s the bytes of a writing server. "memory" is the snapshot alone; "partner" sends it over the network cards.
    Leaves out: serialisation on host cores, metadata, opening of many files, replication inside the file system.
    """
    byte = plan.server_byte(servers)
    if byte > host.memory_byte and (plan.mode == "asynchronous" or level in ("memory", "partner")):
        raise StorageError(
            f"checkpoint: {byte:.4g} B of each server do not fit into its host's memory of {host.memory_byte:.4g} B; "
            "legal: more memory, more writers, or mode blocking to disk or file_system."
        )
    rate = math.inf
    if level == "partner":
        rate = host.card_byte_per_s if servers > 1 else 0.0
    elif level == "disk":
        rate = host.disk_write_byte_per_s
    elif level == "file_system":
        writing = plan.writing_servers(servers)
        rate = file_system.client_rate(host, file_system.write_byte_per_s, writing) if file_system else 0.0
    if not rate:
        raise StorageError(f"checkpoint: nothing to write to on level {level!r}; its rate is 0 or not given.")
    return CheckpointTimes(
        snapshot_s=byte / host.copy_byte_per_s,
        write_s=0.0 if math.isinf(rate) else byte / rate,
        rate_byte_per_s=0.0 if math.isinf(rate) else rate,
    )


def stall_s(times: CheckpointTimes, mode: str, *, interval_s: float = math.inf) -> float:
    """How long training stands still for one checkpoint [s].

    Blocking: snapshot and write, one after the other. Asynchronous: the snapshot, and before it what is left of the
    last write after the interval of training between. Leaves out: steps that run slower beside the write
    (`slowed_step_s`).
    """
    if mode == "blocking":
        return times.snapshot_s + times.write_s
    return times.snapshot_s + max(0.0, times.write_s - interval_s)


def slowed_step_s(step_s: float, card_share: float, write_share: float) -> float:
    """Seconds of a step whose messages keep the cards busy for a share a, while a write wants a share w of them.

    Both take what they want where that fits; else max-min fair:

    .. math:: T = t / \\min(1, \\max(1/2, 1 - w) / a)

    A mean over the step: when messages and write meet inside it is left out.
    """
    if card_share + write_share <= 1:
        return step_s
    return step_s / min(1.0, max(0.5, 1 - write_share) / card_share)
