"""One pass of one micro-batch through one chunk, which a schedule puts in order; what a schedule tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

#: "backward" computes the gradients of inputs and weights in one go; the other two are its halves, run apart.
Kind = Literal["forward", "backward", "backward_input", "backward_weight"]
KINDS: Final[tuple[Kind, ...]] = ("forward", "backward", "backward_input", "backward_weight")

#: Where micro-batches go. "line": rank after rank, chunk after chunk. "v": down the ranks through chunk 0 and back up
#: through chunk 1. "both_ways": half of them down the ranks (chunk 0), half up (chunk 1), each through a whole model.
Route = Literal["line", "v", "both_ways"]

#: When parameters are updated. "together": all ranks exchange gradients, then all update. "by_rank": each rank updates
#: as soon as its own gradients are exchanged, and begins the next step. "each_micro_batch": after every backward pass.
Update = Literal["together", "by_rank", "each_micro_batch"]


class Task(NamedTuple):
    """One pass of one micro-batch through one chunk (virtual stage) of a rank."""

    kind: Kind
    micro_batch: int
    chunk: int = 0


class PassTimes(NamedTuple):
    """How long the passes of one micro-batch through one chunk take, in any unit."""

    forward: float = 1.0
    backward_input: float = 1.0
    backward_weight: float = 1.0

    @property
    def all(self) -> float:
        """Useful time of one micro-batch."""
        return self.forward + self.backward_input + self.backward_weight


#: The three passes take the same time, as in the papers' drawings.
EQUAL_PASSES: Final = PassTimes()


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What an engine must know of a schedule beside its order.

    ``sends_hold``: a send holds the sender's compute stream; else it runs beside the next pass, one after the other
    from a rank to another. ``parameter_copies``: models that one pipeline holds. ``repeats``: in the middle of a long
    run a rank does the same again and again, each time one micro-batch (of each way) later, or where
    ``round_is_stages`` as many as there are stages.
    """

    route: Route = "line"
    update: Update = "together"
    sends_hold: bool = True
    parameter_copies: int = 1
    repeats: bool = True
    round_is_stages: bool = False


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
