"""One pass of one micro-batch through one chunk: what a schedule puts in order."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["forward", "backward"]


class Task(NamedTuple):
    """One forward or backward pass of one micro-batch through one chunk (virtual stage) of a rank."""

    kind: Kind
    micro_batch: int
    chunk: int = 0


def check_shape(*, stage: int, stages: int, micro_batches: int, virtual_stages: int) -> None:
    """Refuse a pipeline that cannot be. Raises ValueError."""
    for name, count in (("stages", stages), ("micro_batches", micro_batches), ("virtual_stages", virtual_stages)):
        if count < 1:
            raise ValueError(f"schedule: {name} is {count}; at least 1.")
    if not 0 <= stage < stages:
        raise ValueError(f"schedule: stage is {stage}; legal: 0 to {stages - 1}.")


def check_not_interleaved(schedule: str, virtual_stages: int) -> None:
    """Refuse virtual stages in a schedule that has none. Raises ValueError."""
    if virtual_stages != 1:
        raise ValueError(f'{schedule}: {virtual_stages} virtual stages; this schedule has 1, "interleaved" takes more.')
