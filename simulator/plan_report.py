"""What a plan answers: values only, ready to be printed, drawn or written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .iteration import Iteration, ValidationCost
from .parallelism import Parallelism
from .stepspec import StepTime


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Bytes on the fullest chip of a strategy at its peak, by purpose [B].

    ``parameter_byte``: parameters as products read them; ``gradient_byte``; ``master_byte``: the optimizer's own copy;
    ``optimizer_byte``: its state; ``activation_byte``: kept for the backward pass, all micro-batches in flight;
    ``loss_byte``: logits, what the loss makes of them and their gradient; ``transient_byte``: the largest short-lived
    buffers (gathered parameters, a block replayed, gradients on their way back, temporaries of the update);
    ``exchange_byte``: buckets, stage boundaries, ring buffers. Outside of tensors: ``fragmentation_byte``: what the
    allocator holds and cannot use; ``communicator_byte``: the library's channels; ``reserve_byte``: framework and
    context.
    """

    parameter_byte: float
    gradient_byte: float
    optimizer_byte: float
    activation_byte: float
    transient_byte: float
    reserve_byte: float
    capacity_byte: float
    master_byte: float = 0.0
    loss_byte: float = 0.0
    exchange_byte: float = 0.0
    fragmentation_byte: float = 0.0
    communicator_byte: float = 0.0

    @property
    def total_byte(self) -> float:
        """Sum of all purposes [B]."""
        return sum(self.by_purpose().values())

    def by_purpose(self) -> Mapping[str, float]:
        """Purpose -> bytes, in printing order [B]."""
        return {
            "parameters": self.parameter_byte, "gradients": self.gradient_byte, "master": self.master_byte,
            "optimizer": self.optimizer_byte, "activations": self.activation_byte, "loss": self.loss_byte,
            "transient": self.transient_byte, "exchange": self.exchange_byte,
            "fragmentation": self.fragmentation_byte, "communicator": self.communicator_byte,
            "reserve": self.reserve_byte,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a given amount of data takes at a step time; its ``time_s`` counts validation where that was asked.

    ``target``: the quality it is to reach, "" where the amount was given. Then samples and time to it have 80 %
    intervals, the time's from the step's and the samples', taken as independent; without a record there is none.
    """

    samples: float
    tokens: float
    steps: int
    time_s: float
    chip_hours: float
    cost_usd: float | None
    cost_basis: str
    energy_j: float
    energy_basis: str
    target: str = ""
    low_samples: float | None = None
    high_samples: float | None = None
    low_time_s: float | None = None
    high_time_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class AsynchronousUpdates:
    """Workers that wait for nobody, and the parameter servers that they push to.

    ``staleness``: updates by others between a worker's reading and its own update, in the mean. ``binds``: "workers" or
    "servers". ``server_byte``: parameters and optimizer state in the memory of one server's host [B].
    """

    workers: int
    servers: int
    staleness: float
    updates_per_s: float
    server_utilisation: float
    binds: str
    push_byte: float
    pull_byte: float
    server_byte: float


@dataclass(frozen=True, kw_only=True)
class RankedPlan:
    """One strategy that fits, with its figures.

    ``mfu``: model FLOPs (forward and backward, causal attention halved, no recomputation) over the dense peak of the
    multiply precision; ``mfu_full_attention`` the same with attention not halved; ``hfu`` counts recomputation too.
    ``low_s`` and ``high_s`` bound the 80 % interval of the step time [s]; both None without a record to take it from.
    ``asynchronous`` is None where replicas wait for each other.
    """

    parallelism: Parallelism
    step: StepTime
    memory: MemoryUse
    samples_per_s: float
    tokens_per_s: float
    mfu: float
    mfu_full_attention: float
    hfu: float
    low_s: float | None
    high_s: float | None
    outcome: Outcome | None
    checked_by_events_s: float | None = None
    asynchronous: AsynchronousUpdates | None = None


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Strategies that broke the same first limit: ``limit`` in words, ``example`` the nearest, ``by`` how much."""

    limit: str
    count: int
    example: Parallelism | None
    by: str


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What twice as much of one resource would do: the best step time then, and the strategy that reaches it."""

    resource: str
    step_s: float
    speedup: float
    parallelism: Parallelism | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceLine:
    """One published fact that entered: which quantity of what, its value as printed, where it stands."""

    quantity: str
    printed: str
    source: str
    locator: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class KnownError:
    """How far runs like this one were off in the cross-fitted record."""

    group: str
    runs: int
    mean: float
    median: float
    low_factor: float
    high_factor: float
    extrapolated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """The whole answer to one plan query.

    ``post_training`` is what was asked beside the steps; where one of its phases fits no chips it is None and
    ``post_training_refused`` says which.
    """

    question: Mapping[str, object]
    model: str
    parameters: int
    sample: str
    tokens_per_sample: int
    system: str
    chip: str
    chips: int
    stack: str
    stack_name: str
    recipe: str
    optimizer: str
    global_batch: int
    ranked: tuple[RankedPlan, ...]
    rejected: tuple[Rejection, ...]
    searched: int
    fitting: int
    binds: str
    gains: tuple[Gain, ...]
    peak_flop_per_s: float
    peak_word: str
    mfu_convention: str
    known_error: KnownError | None
    assumptions: tuple[str, ...]
    defaults: tuple[str, ...]
    warnings: tuple[str, ...]
    sources: tuple[SourceLine, ...]
    calibration: str
    scaling: tuple[Mapping[str, float], ...] = field(default=())
    roofline: tuple[Mapping[str, object], ...] = field(default=())
    nearest_fit: str = ""
    validation: ValidationCost | None = None
    post_training: Iteration | None = None
    post_training_refused: str = ""
