"""The lowered job: what one training step is made of, priced, before anybody composes it.

A job is lowered once. Durations are priced by array calls, rounded once to integer picoseconds and
stored here; both engines read the same numbers and share nothing else. `analytic` composes whole
batches of them in closed form, `events` expands one of them task by task.

A *stage* is one pipeline stage as one of its ranks sees it; tensor- and data-parallel ranks of a stage do
the same work, so one rank speaks for all. Stages that are alike (all but the first and the last, usually)
are the same `StageSpec`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PICOSECONDS_PER_SECOND: Final = 10**12

#: When gradients are exchanged between data-parallel ranks.
#: "none": one rank. "after": after the last backward pass. "backward": block by block under the last
#: backward pass. "sharded": parameters are gathered before each block in every pass and gradients are
#: reduce-scattered after each block in every backward pass (ZeRO-3, FSDP).
GRADIENT_MODES: Final = ("none", "after", "backward", "sharded")
#: Those of a step without a backward pass.
FORWARD_MODES: Final = ("none", "sharded")

#: Pipeline schedules, by the words of `simulator.schedules`; arrays hold their places in this list.
SCHEDULES: Final = (
    "gpipe", "1f1b", "interleaved", "zb1p", "zb2p", "zbv", "dualpipe", "pipedream", "fine-grained",
)  # fmt: skip


class StepSpecError(ValueError):
    """A step specification that cannot be."""


def _require_non_negative(owner: str, fields: Iterable[tuple[str, int]]) -> None:
    for name, value in fields:
        if not isinstance(value, int) or value < 0:
            raise StepSpecError(f"{owner}.{name} is {value!r}; a duration is a whole number of picoseconds, 0 or more.")


#: The durations of a block.
BLOCK_DURATIONS: Final = (
    "forward_ps", "backward_ps", "forward_tensor_ps", "backward_tensor_ps", "gather_ps", "reduce_ps", "weight_ps",
)  # fmt: skip


#: Those that only learning has, of a block and of a stage.
LEARNING_DURATIONS: Final = ("backward_ps", "backward_tensor_ps", "reduce_ps", "weight_ps")
STAGE_DURATIONS: Final = ("reduce_after_ps", "optimizer_ps", "update_gather_ps")


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """A run of `repeat` identical blocks; durations are those of ONE block and ONE micro-batch [ps].

    `forward_ps` and `backward_ps` hold the compute stream (recomputation inside `backward_ps`);
    `*_tensor_ps` are tensor-parallel collectives that the compute stream waits for, in order, right after
    the block's compute. `weight_ps` is that part of `backward_ps` which computes the gradients of weights, and
    which schedules that run it apart may run later; replay and collectives belong to the rest. `gather_ps` fetches
    the block's sharded parameters, `reduce_ps` exchanges its gradients; both run on the data-parallel communication
    stream.
    """

    name: str
    repeat: int
    forward_ps: int
    backward_ps: int
    forward_tensor_ps: int = 0
    backward_tensor_ps: int = 0
    gather_ps: int = 0
    reduce_ps: int = 0
    weight_ps: int = 0

    def __post_init__(self) -> None:
        if self.repeat < 1:
            raise StepSpecError(f"BlockSpec {self.name!r}: repeat is {self.repeat}; at least 1.")
        _require_non_negative(f"BlockSpec {self.name!r}", ((n, getattr(self, n)) for n in BLOCK_DURATIONS))
        if self.weight_ps > self.backward_ps:
            raise StepSpecError(
                f"BlockSpec {self.name!r}: weight_ps is {self.weight_ps}; at most backward_ps, {self.backward_ps}."
            )


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One pipeline stage: for each virtual stage (chunk) its blocks in forward order, then the update.

    `reduce_after_ps` is the gradient exchange of a stage in mode "after"; `optimizer_ps` the update itself;
    `update_gather_ps` fetches parameters that other ranks updated (ZeRO-1), after the update.
    """

    name: str
    chunks: tuple[tuple[BlockSpec, ...], ...]
    reduce_after_ps: int = 0
    optimizer_ps: int = 0
    update_gather_ps: int = 0

    def __post_init__(self) -> None:
        if not self.chunks:
            raise StepSpecError(f"StageSpec {self.name!r} has no chunks; at least one.")
        _require_non_negative(f"StageSpec {self.name!r}", ((n, getattr(self, n)) for n in STAGE_DURATIONS))

    @property
    def blocks(self) -> tuple[BlockSpec, ...]:
        """All blocks of the stage, chunk after chunk."""
        return tuple(block for chunk in self.chunks for block in chunk)


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One training step of one strategy, priced.

    `send_ps` moves one micro-batch's activations (or their gradients) across one stage boundary. In "gpipe",
    "1f1b" and "interleaved" it holds the sender's compute stream meanwhile (a blocking send, as Megatron-LM's), in
    the others it runs beside the next pass. `fixed_ps` passes once per step whatever the strategy (input, logging,
    loss-scale check), before the first forward pass.

    With ``forward_only`` (validation, reference models) the forward passes run in the schedule's order and nothing
    else: no backward pass, no gradient, no update, and no duration for any of them.
    """

    stages: tuple[StageSpec, ...]
    micro_batches: int
    schedule: str = "1f1b"
    gradient_mode: str = "none"
    send_ps: int = 0
    fixed_ps: int = 0
    forward_only: bool = False

    def __post_init__(self) -> None:
        if not self.stages:
            raise StepSpecError("StepSpec has no stages; at least one.")
        if self.micro_batches < 1:
            raise StepSpecError(f"StepSpec.micro_batches is {self.micro_batches}; at least 1.")
        if self.schedule not in SCHEDULES:
            raise StepSpecError(f"StepSpec.schedule is {self.schedule!r}; legal: {', '.join(SCHEDULES)}.")
        if self.gradient_mode not in GRADIENT_MODES:
            raise StepSpecError(
                f"StepSpec.gradient_mode is {self.gradient_mode!r}; legal: {', '.join(GRADIENT_MODES)}."
            )
        chunk_counts = {len(stage.chunks) for stage in self.stages}
        if len(chunk_counts) > 1:
            raise StepSpecError(f"StepSpec: stages have {sorted(chunk_counts)} chunks; all must have the same number.")
        if self.schedule == "zbv" and self.virtual_stages != 2:
            raise StepSpecError(f"StepSpec: {self.virtual_stages} virtual stages with zbv; this schedule has 2.")
        if self.virtual_stages > 1 and self.schedule not in ("interleaved", "zbv"):
            raise StepSpecError(f"StepSpec: {self.virtual_stages} virtual stages need the interleaved schedule.")
        if self.schedule == "dualpipe":
            self._check_both_ways()
        if self.schedule == "interleaved" and len(self.stages) > 1 and self.micro_batches % len(self.stages):
            raise StepSpecError(
                f"StepSpec: the interleaved schedule needs micro_batches ({self.micro_batches}) "
                f"to be a multiple of the pipeline's stages ({len(self.stages)})."
            )
        _require_non_negative("StepSpec", (("send_ps", self.send_ps), ("fixed_ps", self.fixed_ps)))
        if self.forward_only:
            self._check_forward_only()

    def _check_forward_only(self) -> None:
        if self.gradient_mode not in FORWARD_MODES:
            raise StepSpecError(
                f"StepSpec: gradient_mode is {self.gradient_mode!r} without a backward pass; "
                f"legal: {', '.join(FORWARD_MODES)}."
            )
        for stage in self.stages:
            owners: list[tuple[object, tuple[str, ...]]] = [(block, LEARNING_DURATIONS) for block in stage.blocks]
            for owner, names in [*owners, (stage, STAGE_DURATIONS)]:
                for name in names:
                    if value := getattr(owner, name):
                        raise StepSpecError(
                            f"StepSpec: {name} is {value} in {stage.name!r} without a backward pass; 0."
                        )

    def _check_both_ways(self) -> None:
        stages = len(self.stages)
        if stages % 2:
            raise StepSpecError(f"StepSpec: {stages} stages with dualpipe; must be even, for example {stages + 1}.")
        if self.micro_batches % 2 or self.micro_batches < 2 * stages:
            nearest = max(2 * stages, self.micro_batches + self.micro_batches % 2)
            raise StepSpecError(
                f"StepSpec: {self.micro_batches} micro-batches on {stages} stages with dualpipe; "
                f"must be even and at least twice the stages, for example {nearest}."
            )

    @property
    def virtual_stages(self) -> int:
        """Chunks per stage."""
        return len(self.stages[0].chunks)


#: The parts a step time is split into, in the order reports print them.
PARTS: Final = ("compute", "tensor", "pipeline", "bubble", "data", "optimizer", "fixed")


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Where one step's time went, seen from the rank that sets the pace [ps]. The parts add up exactly.

    `compute_ps`: forward, recomputation and backward on that rank. `tensor_ps`, `pipeline_ps`, `data_ps`:
    communication along each axis that the compute stream waited for. `bubble_ps`: idle for want of
    micro-batches. `optimizer_ps`: the update and the fetch of updated parameters. `fixed_ps`: per-step costs
    that no strategy changes.
    """

    engine: str
    compute_ps: int
    tensor_ps: int
    pipeline_ps: int
    bubble_ps: int
    data_ps: int
    optimizer_ps: int
    fixed_ps: int

    @property
    def total_ps(self) -> int:
        """Length of the step: the sum of its parts [ps]."""
        return sum(getattr(self, f"{part}_ps") for part in PARTS)

    @property
    def total_s(self) -> float:
        """Length of the step [s]."""
        return self.total_ps / PICOSECONDS_PER_SECOND

    def part_s(self, part: str) -> float:
        """One part by its word in `PARTS` [s]."""
        return float(getattr(self, f"{part}_ps")) / PICOSECONDS_PER_SECOND
