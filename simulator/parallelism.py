"""`Parallelism`: how one job is cut over chips. One strategy; columns hold many.

A *column* is an array over strategies of one of its fields; words are kept as their place in `COLUMNS`. A column that
is not there has its field's default everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from .kernels.optable import Ints
from .stack import RECOMPUTE_MODES, SHARDING_MODES
from .stepspec import SCHEDULES

#: Order in which ranks fill chips, innermost first: tensor, context, data, pipeline (Megatron-LM's).
RANK_ORDER: Final = ("tp", "cp", "dp", "pp")

#: How ranks that share a sequence get at the others' keys and values. "ring": blocks of them go round while attention
#: runs on those at hand (arXiv:2310.01889). "all_gather": all of them first (Llama 3, arXiv:2407.21783). "ulysses":
#: every rank gets all positions of some heads (arXiv:2309.14509).
CONTEXT_EXCHANGES: Final = ("ring", "all_gather", "ulysses")
#: What waits in the host's memory between its uses.
OFFLOADS: Final = ("none", "optimizer", "activations")
#: What gradients are written as when they are sent; "none" is the stack's own number format.
COMPRESSIONS: Final = ("none", "fp16", "one_bit", "qsgd4", "top_1_percent", "dgc")
#: Whether replicas wait for each other's gradients before parameters change.
UPDATES: Final = ("synchronous", "asynchronous")

#: Every field that is a column -> its legal words, None for a number.
COLUMNS: Final[Mapping[str, tuple[str, ...] | None]] = {
    **dict.fromkeys(("tp", "pp", "dp", "cp", "ep", "etp", "hybrid", "micro_batch", "virtual_stages")),
    "schedule": SCHEDULES,
    "recompute": RECOMPUTE_MODES,
    "recompute_every": None,
    "sharding": SHARDING_MODES,
    "shard_ranks": None,
    "sequence_parallel": None,
    "context_exchange": CONTEXT_EXCHANGES,
    "offload": OFFLOADS,
    "compression": COMPRESSIONS,
    "local_steps": None,
    "parameter_servers": None,
    "updates": UPDATES,
}
#: Numbers that may be 0, which means "all" or "none".
_MAY_BE_ZERO: Final = ("shard_ranks", "parameter_servers")


class ParallelismError(ValueError):
    """A strategy that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """One strategy.

    Attributes
    ----------
    tp, pp, dp, cp
        Tensor-, pipeline-, data- and context-parallel ranks; dp = chips / (tp cp pp). ``cp`` ranks share one sample:
        the positions of a sequence, or slabs of an image or volume (spatial parallelism, with halos exchanged).
    ep, etp
        ``ep`` ranks, out of the tp x cp x dp of a stage, share the experts (or tables) among them; ``etp`` of them cut
        each expert as tp cuts the rest (1: every expert is whole on its rank).
    hybrid
        So many neighbouring data-parallel ranks cut the dense layers of a convolutional network among them and run
        them on the samples of all (Krizhevsky 2014, arXiv:1404.5997).
    micro_batch, global_batch
        Samples one rank runs at a time; samples of one step.
    virtual_stages, schedule
        Chunks per pipeline stage (interleaved schedules); the order of passes, a word of `stepspec.SCHEDULES`.
    recompute, recompute_every
        What of the forward pass is run again in the backward pass ("selective": the attention core); with "full", how
        many blocks share one kept input.
    sharding, shard_ranks
        Which training state is spread over data-parallel ranks (ZeRO stage), and over how many of them (0: all; fewer
        is hybrid sharding, HSDP).
    sequence_parallel
        Element-wise work between products is split over tp too.
    context_exchange, offload, compression
        Words of `CONTEXT_EXCHANGES`, `OFFLOADS`, `COMPRESSIONS`.
    local_steps
        Steps between two exchanges (local SGD); 1 exchanges in every step.
    parameter_servers
        Hosts that hold parameters and take pushes (0: collectives, or as many servers as hosts).
    updates
        A word of `UPDATES`: "asynchronous" replicas push to parameter servers and pull when they are done, waiting for
        nobody; a step is then the time in which they run a global batch.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    cp: int = 1
    ep: int = 1
    etp: int = 1
    hybrid: int = 1
    micro_batch: int = 1
    global_batch: int
    virtual_stages: int = 1
    schedule: str = "1f1b"
    recompute: str = "none"
    recompute_every: int = 1
    sharding: str = "none"
    shard_ranks: int = 0
    sequence_parallel: bool = False
    context_exchange: str = "ring"
    offload: str = "none"
    compression: str = "none"
    local_steps: int = 1
    parameter_servers: int = 0
    updates: str = "synchronous"

    def __post_init__(self) -> None:
        for name, words in {**COLUMNS, "global_batch": None}.items():
            value = getattr(self, name)
            if name == "sequence_parallel":
                continue
            if words is not None:
                if value not in words:
                    raise ParallelismError(f"Parallelism: {name} is {value!r}; legal: {', '.join(words)}.")
                continue
            least = 0 if name in _MAY_BE_ZERO else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ParallelismError(f"Parallelism: {name} is {value!r}; a whole number, at least {least}.")
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
        if self.dp % self.hybrid or (self.hybrid > 1 and self.ep > 1):
            raise ParallelismError(
                f"Parallelism: hybrid is {self.hybrid}; legal: a divisor of dp = {self.dp}, and ep = 1."
            )
        if self.sequence_parallel and self.tp == 1:
            raise ParallelismError("Parallelism: sequence_parallel needs tp > 1.")
        if self.recompute_every > 1 and self.recompute != "full":
            raise ParallelismError(
                f"Parallelism: recompute_every is {self.recompute_every} with recompute {self.recompute!r}; "
                "legal: 1, or recompute 'full'."
            )
        if self.virtual_stages > 1 and (self.schedule not in CHUNKED or self.pp == 1):
            raise ParallelismError(
                f"Parallelism: virtual_stages {self.virtual_stages} needs schedule {' or '.join(map(repr, CHUNKED))} "
                "and pp > 1."
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
        parts += [f"{name}={getattr(self, name)}" for name in ("cp", "ep", "etp", "hybrid") if getattr(self, name) > 1]
        if self.context_exchange != "ring":
            parts.append(f"context-exchange={self.context_exchange}")
        parts.append(f"micro-batch={self.micro_batch}")
        if self.virtual_stages > 1:
            parts.append(f"virtual-stages={self.virtual_stages}")
        parts += [f"schedule={self.schedule}"] if self.pp > 1 else []
        parts.append(f"recompute={self.recompute}")
        if self.recompute_every > 1:
            parts.append(f"recompute-every={self.recompute_every}")
        parts.append(f"sharding={self.sharding}")
        if self.shard_ranks:
            parts.append(f"shard-ranks={self.shard_ranks}")
        if self.sequence_parallel:
            parts.append("sequence-parallel")
        parts += [f"{name}={word}" for name in ("offload", "compression") if (word := getattr(self, name)) != "none"]
        if self.local_steps > 1:
            parts.append(f"local-steps={self.local_steps}")
        if self.parameter_servers:
            parts.append(f"parameter-servers={self.parameter_servers}")
        if self.updates != "synchronous":
            parts.append(f"updates={self.updates}")
        return " ".join(parts)


#: Schedules that cut a stage into chunks.
CHUNKED: Final = tuple(word for word in ("interleaved", "zbv") if word in SCHEDULES)

_DEFAULTS: Final[Mapping[str, Any]] = {f.name: f.default for f in fields(Parallelism)}


def index_of(name: str, value: object) -> int:
    """The number that stands in a column for a field's value."""
    words = COLUMNS[name]
    return int(value) if words is None else words.index(str(value))  # type: ignore[call-overload]


def columns_of(strategies: Sequence[Parallelism]) -> dict[str, Ints]:
    """Strategies as columns, ``micro_batches`` among them."""
    found = {name: np.array([index_of(name, getattr(s, name)) for s in strategies], dtype=np.int64) for name in COLUMNS}
    return {**found, "micro_batches": np.array([s.micro_batches for s in strategies], dtype=np.int64)}


def whole_columns(columns: Mapping[str, Ints]) -> dict[str, Ints]:
    """Columns with those that are not there filled with their default."""
    size = len(columns["tp"])
    return {
        **{name: np.full(size, index_of(name, _DEFAULTS[name]), np.int64) for name in COLUMNS if name not in columns},
        **columns,
    }


def strategy_at(columns: Mapping[str, Ints], index: int, *, global_batch: int) -> Parallelism:
    """One strategy of columns as a noun."""
    values: dict[str, Any] = {}
    for name, column in columns.items():
        if name not in COLUMNS:
            continue
        words, number = COLUMNS[name], int(column[index])
        values[name] = number if words is None else words[number]
    if "sequence_parallel" in values:
        values["sequence_parallel"] = bool(values["sequence_parallel"])
    return Parallelism(global_batch=global_batch, **values)
