"""A step of several processes that share gradients: buckets leave as they fill and run beside the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..machine_fit.memory_levels import byte_s
from ..machine_fit.neighbour_laws import NeighbourLaws
from ..machine_fit.step_laws import StepLaws

#: What DistributedDataParallel collects before a message leaves: the first one small, so that it leaves early [B].
FIRST_BUCKET_BYTE: Final = 2.0**20
BUCKET_BYTE: Final = 25.0 * 2.0**20


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A message: its bytes [B] and when in the passes its last gradient is complete [s]."""

    byte: float
    ready_s: float


def buckets_of(gradients: Sequence[tuple[float, float]]) -> list[Bucket]:
    """Messages of gradients, (bytes, when complete) in that order: each closed by the gradient that fills it."""
    found: list[Bucket] = []
    held = 0.0
    for place, (byte, ready_s) in enumerate(gradients):
        held += byte
        if held >= (BUCKET_BYTE if found else FIRST_BUCKET_BYTE) or place == len(gradients) - 1:
            found.append(Bucket(byte=held, ready_s=ready_s))
            held = 0.0
    return found


@dataclass(frozen=True, kw_only=True)
class SharedPasses:
    """Passes with their exchange: when both are done, seconds of the exchange, those it would take with nothing beside,
    and the share of it beside compute."""

    done_s: float
    exchange_s: float
    alone_s: float
    overlap_share: float


def beside(passes_s: float, buckets: Sequence[Bucket], exchange_s: Sequence[float], hindrance: float) -> SharedPasses:
    """Passes and messages that slow each other while both run, each to 1 / (1 + h) of its speed alone.

    So that work C and an exchange A begun together end after max(C, A) + h min(C, A). Messages follow each other.
    """
    clock = work = busy = both = 0.0
    slow = 1.0 + hindrance
    for bucket, left in zip(buckets, exchange_s, strict=True):
        if work < bucket.ready_s:
            clock, work = clock + bucket.ready_s - work, bucket.ready_s
        together = min(left, passes_s - work)
        alone = left - together
        clock += together * slow + alone
        work += together
        busy += together * slow + alone
        both += together * slow
    clock += passes_s - work
    return SharedPasses(
        done_s=clock, exchange_s=busy, alone_s=sum(exchange_s),
        overlap_share=both / busy if busy else 0.0,
    )  # fmt: skip


def copied_s(gradients: Sequence[tuple[float, float]], laws: StepLaws) -> float:
    """Seconds to write gradients into their messages and back: two calls and four bytes moved for each of theirs."""
    total = sum(byte for byte, _ in gradients)
    distance = np.array([2.0 * total, 2.0 * total])
    read, write = byte_s(distance, np.array([False, True]), laws.levels)
    return 2.0 * len(gradients) * laws.levels["call_s"] + 2.0 * total * float(read + write)


def shared_step(
    *, passes_s: float, update_s: float, gradients: Sequence[tuple[float, float]], buffers: int, laws: StepLaws,
    neighbours: NeighbourLaws,
) -> tuple[float, SharedPasses]:  # fmt: skip
    """Seconds of a step of ranks on one machine, and its exchange.

    Buffers are sent from the first rank before the forward pass, a message for each format. Left out: ranks that
    wait for each other because their steps differ.
    """
    buckets = buckets_of(gradients)
    each = [neighbours.exchange_s(bucket.byte) for bucket in buckets]
    passes = beside(passes_s, buckets, each, neighbours.hindrance)
    before = buffers * neighbours.exchange_s(0.0)
    return before + passes.done_s + copied_s(gradients, laws) + update_s, passes
