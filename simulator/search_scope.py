"""What a search looks at: which of the legal strategies a stack would run and somebody would try.

Legality is elsewhere (`legality`). Here are habits: tensor parallelism inside a server, context parallelism of long
sequences, even stages, what the software can do.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .legality import Premise, Rule, divisors
from .legality.rule import Bools, Columns, remainder, rule
from .parallelism import CHUNKED, COLUMNS, CONTEXT_EXCHANGES, OFFLOADS
from .stack import RECOMPUTE_MODES, Stack
from .staging import is_one_run
from .stepspec import SCHEDULES

#: Context parallelism is looked at from this sequence length on, up to so many ranks.
CONTEXT_SEQ_LEN: Final = 8192
CONTEXT_RANKS: Final = (1, 2, 4, 8)
MOST_VIRTUAL_STAGES: Final = 12
#: Stages that do not divide the blocks are looked at where the fullest holds at most so many times the mean.
MOST_UNEVEN: Final = 1.125
#: Blocks that share one kept input, as a last resort.
RECOMPUTE_EVERY: Final = (1, 2, 4)

#: What a search varies unless it is pinned. ZeRO-2 saves little over ZeRO-1 where gradients are accumulated.
SEARCHED_SHARDING: Final = ("none", "zero1", "zero3")

#: Schedules of stacks beyond 1F1B and its interleaved form, by how the stack's name begins: the Megatron-LM fork of
#: arXiv:2401.10241 (sail-sg/zero-bubble-pipeline-parallelism), and PyTorch's torch.distributed.pipelining
#: (ScheduleZBVZeroBubble, ScheduleDualPipeV is another one than DualPipe).
SCHEDULES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "zero-bubble": ("zb1p", "zb2p", "zbv"),
    "torchtitan": ("zbv",),
}
#: Exchanges of context parallelism by how the stack's name begins: Megatron-Core's cp_comm_type (p2p, all_gather,
#: a2a), NeMo above it, Llama 3's all-gather (arXiv:2407.21783), torchtitan's rotate method (allgather, alltoall: a
#: ring), DeepSpeed-Ulysses (arXiv:2309.14509). Others: a ring.
EXCHANGES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "megatron-core": CONTEXT_EXCHANGES,
    "megatron-bridge": CONTEXT_EXCHANGES,
    "nemo-2": CONTEXT_EXCHANGES,
    "llama3-meta": ("all_gather",),
    "torchtitan": ("ring", "all_gather"),
    "deepspeed": ("ulysses",),
}


def words_of(table: Mapping[str, tuple[str, ...]], stack: Stack, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """What a table keyed by beginnings of stacks' names has for a stack."""
    return next((words for start, words in table.items() if stack.id.startswith(start)), otherwise)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The choices of every field that a search crosses; words as their place in `COLUMNS`."""

    premise: Premise
    stack: Stack
    pins: Mapping[str, int]
    last_resort: bool
    tp: tuple[int, ...]
    cp: tuple[int, ...]
    preferences: tuple[Rule, ...]
    wide: bool = False

    def widened(self) -> Scope:
        """The same with every layout."""
        chips = divisors(self.premise.chips)
        tp, cp = ((self.pins[name],) if name in self.pins else chips for name in ("tp", "cp"))
        return replace(self, tp=tp, cp=cp, preferences=(), wide=True)

    def stages(self, ranks: int) -> tuple[int, ...]:
        """pp to look at where so many ranks are left for pp and dp."""
        if "pp" in self.pins:
            return tuple(pp for pp in divisors(ranks) if pp == self.pins["pp"])
        # Fewer replicas than chips are left only by stages where nothing else is cut.
        fewer = self.wide and "dp" in self.pins
        return divisors(ranks) if fewer or self.premise.workload.splits_tensors else (1,)

    def experts(self, ranks: int) -> list[int]:
        """ep to look at on a stage of so many ranks."""
        etp = self.pins.get("etp", 1)
        if "ep" in self.pins:
            return [self.pins["ep"]]
        if self.premise.has_tables:
            # Tables are whole everywhere, or spread over all ranks of the stage.
            return sorted({1, ranks})
        return [ep for ep in divisors(self.premise.workload.experts) if ranks % (ep * etp) == 0]

    def schedules(self, pp: int, micro_batches: int) -> list[tuple[int, int]]:
        """(virtual stages, schedule) to look at on a pipeline of this depth."""
        words = (SCHEDULES[self.pins["schedule"]],) if "schedule" in self.pins else self._schedules(pp)
        found: list[tuple[int, int]] = []
        for word in words:
            # Micro-batches that fill no round of an interleaved pipeline are nobody's choice.
            if word == "interleaved" and micro_batches % pp:
                continue
            found += [(virtual, SCHEDULES.index(word)) for virtual in self._virtual_stages(word, pp)]
        return found

    def _schedules(self, pp: int) -> tuple[str, ...]:
        if pp == 1:
            return ("1f1b",)
        more = words_of(SCHEDULES_OF, self.stack, ())
        return ("1f1b", "interleaved", *(word for word in more if word in SCHEDULES))

    def _virtual_stages(self, word: str, pp: int) -> tuple[int, ...]:
        if "virtual_stages" in self.pins:
            return (self.pins["virtual_stages"],)
        if word not in CHUNKED:
            return (1,)
        blocks = self.premise.blocks
        if word != "interleaved":
            return (2,)  # the V of arXiv:2401.10241 has two chunks
        # Even chunks; or even but for the first and the last, one block short to make room for embedding and head.
        for whole in (blocks, blocks + 2):
            if whole % pp == 0:
                return tuple(v for v in divisors(whole // pp) if 1 < v <= MOST_VIRTUAL_STAGES and v * pp <= blocks)
        return ()

    def options(self) -> dict[str, tuple[int, ...]]:
        """Columns of every combination of what does not depend on the layout."""
        choices = {name: self._places(name, words) for name, words in self._options().items()}
        choices = {name: (self.pins[name],) if name in self.pins else found for name, found in choices.items()}
        crossed = itertools.product(*choices.values())
        return dict(zip(choices, zip(*crossed, strict=True), strict=True))

    @staticmethod
    def _places(name: str, values: tuple[str | int, ...]) -> tuple[int, ...]:
        words = COLUMNS[name]
        return tuple(words.index(str(v)) if words is not None else int(v) for v in values)

    def _options(self) -> dict[str, tuple[str | int, ...]]:
        stack, workload = self.stack, self.premise.workload
        if not workload.splits_tensors:
            plain: dict[str, tuple[str | int, ...]] = {
                "recompute": ("none",), "sharding": ("none",), "sequence_parallel": (0,),
                "context_exchange": ("ring",),
            }  # fmt: skip
            found = plain
        else:
            found = {
                "recompute": RECOMPUTE_MODES if stack.attention == "unfused" else ("none", "full"),
                "sharding": tuple(
                    word for word in SEARCHED_SHARDING if word != "zero3" or not stack.family.startswith("megatron")
                ),
                "sequence_parallel": (0, 1) if stack.sequence_parallel else (0,),
                "context_exchange": self._exchanges(),
            }
        if "shard_ranks" in self.pins and found["sharding"] == ("none",):
            found["sharding"] = ("none", "zero1")
        if self.pins.get("updates"):
            # Workers that wait for nobody need servers; more of them are never slower.
            found["parameter_servers"] = (self.premise.hosts,)
        if self.last_resort:
            found["recompute"] = tuple(dict.fromkeys((*found["recompute"], "full")))
            found["recompute_every"], found["offload"] = RECOMPUTE_EVERY, OFFLOADS
        elif "recompute_every" in self.pins:
            found["recompute"] = tuple(dict.fromkeys((*found["recompute"], "full")))
        return found

    @property
    def exchanges(self) -> tuple[int, ...]:
        """What the stack exchanges sequences by."""
        words = words_of(EXCHANGES_OF, self.stack, ("ring",))
        return tuple(CONTEXT_EXCHANGES.index(word) for word in words)

    def _exchanges(self) -> tuple[str, ...]:
        if self.cp == (1,):
            return ("ring",)
        # A rank that has its sequence alone is written as a ring of one.
        return tuple(word for place, word in enumerate(CONTEXT_EXCHANGES) if place in self.exchanges or word == "ring")


def scope_of(premise: Premise, stack: Stack, pins: Mapping[str, int], *, last_resort: bool = False) -> Scope:
    """The habitual scope of a search; pins replace what they pin."""
    tp: tuple[int, ...] = (1,)
    if "tp" in pins:
        tp = (pins["tp"],)
    elif premise.workload.splits_tensors:
        tp = tuple(n for n in divisors(premise.chips) if n <= premise.cluster.chips_per_server)
    long = premise.cut_along == "positions" and premise.workload.tokens_per_sample >= CONTEXT_SEQ_LEN
    cp = CONTEXT_RANKS if long or pins.get("context_exchange") else (1,)
    if "cp" in pins:
        cp = (pins["cp"],)
    return Scope(
        premise=premise, stack=stack, pins=dict(pins), last_resort=last_resort, tp=tp, cp=cp,
        preferences=() if "pp" in pins else (EVEN_STAGES,),
    )  # fmt: skip


def _uneven(premise: Premise, c: Columns) -> Bools:
    pp, blocks = c["pp"], max(premise.blocks, 1)
    if not is_one_run(premise.workload):
        return np.zeros(len(pp), dtype=bool)
    trimmed = (pp > 2) & ((blocks + 2) % pp == 0)
    return np.asarray((blocks % pp != 0) & ~trimmed & (-(-blocks // pp) * pp > MOST_UNEVEN * blocks))


EVEN_STAGES: Final = rule(
    "stages", "pp", "stages hold about as many blocks each", _uneven,
    lambda p, r: remainder("pp", r["pp"], p.blocks, "blocks"),
)  # fmt: skip
