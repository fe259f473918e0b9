"""`Parallelism`: how one job is cut over chips. One strategy; `StrategyArrays` holds many as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .stack import RECOMPUTE_MODES, SHARDING_MODES
from .stepspec import SCHEDULES

#: Order in which ranks fill chips, innermost first: tensor, context, data, pipeline (Megatron-LM's).
RANK_ORDER: Final = ("tp", "cp", "dp", "pp")


class ParallelismError(ValueError):
    """A strategy that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """One strategy.

    ``dp`` = chips / (tp cp pp). ``ep`` ranks, out of the tp x cp x dp of a stage, share the experts (or tables) among
    them; ``etp`` of them cut each expert as tp cuts the rest (1: every expert is whole on its rank). ``micro_batch`` is the samples one rank runs at a time; ``global_batch`` the samples of
    one step.
    ``virtual_stages`` chunks per pipeline stage (interleaved schedule). ``recompute``: what of the forward pass is run
    again in the backward pass ("selective": the attention core). ``sharding``: which training state is spread over
    data-parallel ranks (ZeRO stage). ``sequence_parallel``: element-wise work between products split over tp too.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    cp: int = 1
    ep: int = 1
    etp: int = 1
    micro_batch: int = 1
    global_batch: int
    virtual_stages: int = 1
    schedule: str = "1f1b"
    recompute: str = "none"
    sharding: str = "none"
    sequence_parallel: bool = False

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "dp", "cp", "ep", "etp", "micro_batch", "global_batch", "virtual_stages"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ParallelismError(f"Parallelism: {name} is {value!r}; a whole number, at least 1.")
        for name, legal in (("schedule", SCHEDULES), ("recompute", RECOMPUTE_MODES), ("sharding", SHARDING_MODES)):
            if getattr(self, name) not in legal:
                raise ParallelismError(f"Parallelism: {name} is {getattr(self, name)!r}; legal: {', '.join(legal)}.")
        if self.global_batch % (self.dp * self.micro_batch):
            raise ParallelismError(
                f"Parallelism: global_batch {self.global_batch} is not a multiple of dp x micro_batch = "
                f"{self.dp} x {self.micro_batch} = {self.dp * self.micro_batch}."
            )
        if (self.tp * self.cp * self.dp) % (self.ep * self.etp):
            raise ParallelismError(
                f"Parallelism: ep x etp = {self.ep} x {self.etp} = {self.ep * self.etp} does not divide the ranks of a "
                f"stage, tp x cp x dp = {self.tp * self.cp * self.dp}."
            )
        if self.etp not in (1, self.tp):
            raise ParallelismError(f"Parallelism: etp is {self.etp}; legal: 1 or tp = {self.tp}.")
        if self.sequence_parallel and self.tp == 1:
            raise ParallelismError("Parallelism: sequence_parallel needs tp > 1.")
        if self.virtual_stages > 1 and (self.schedule != "interleaved" or self.pp == 1):
            raise ParallelismError(
                f"Parallelism: virtual_stages {self.virtual_stages} needs schedule 'interleaved' and pp > 1."
            )

    @property
    def chips(self) -> int:
        """Chips the strategy uses."""
        return self.tp * self.pp * self.dp * self.cp

    @property
    def micro_batches(self) -> int:
        """Micro-batches each pipeline runs in one step."""
        return self.global_batch // (self.dp * self.micro_batch)

    def words(self) -> str:
        """The strategy in one short line."""
        parts = [f"tp={self.tp}", f"pp={self.pp}", f"dp={self.dp}"]
        if self.cp > 1:
            parts.append(f"cp={self.cp}")
        if self.ep > 1:
            parts.append(f"ep={self.ep}")
        if self.etp > 1:
            parts.append(f"etp={self.etp}")
        parts.append(f"micro-batch={self.micro_batch}")
        if self.virtual_stages > 1:
            parts.append(f"virtual-stages={self.virtual_stages}")
        parts += [f"schedule={self.schedule}"] if self.pp > 1 else []
        parts += [f"recompute={self.recompute}", f"sharding={self.sharding}"]
        if self.sequence_parallel:
            parts.append("sequence-parallel")
        return " ".join(parts)
