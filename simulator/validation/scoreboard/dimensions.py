"""What a measured run is counted under: era, source, chip family, stack, strategy, scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..rows import RunJob

#: Upper ends of the classes of scale [chips]; the last class has none.
_SCALES: Final = (1, 8, 64, 512, 2048)


def strategy_words(job: RunJob) -> tuple[str, ...]:
    """Ways in which a run is cut; one that is cut in several counts under each.

    "one chip" and "data only" (replicas of the whole model, nothing sharded) stand alone.
    """
    p = job.parallelism
    if p.chips == 1:
        return ("one chip",)
    words = [
        word
        for word, here in (
            ("tensor", p.tp > 1), ("pipeline", p.pp > 1), ("context", p.cp > 1), ("expert", p.ep > 1),
            ("ZeRO 1 or 2", p.dp > 1 and p.sharding in ("zero1", "zero2")),
            ("ZeRO 3, FSDP", p.dp > 1 and p.sharding == "zero3"), ("parameter servers", p.parameter_servers > 0),
        )
        if here
    ]  # fmt: skip
    return tuple(words) or ("data only",)


def scale_word(chips: int) -> str:
    """The class of a number of chips."""
    before = 0
    for limit in _SCALES:
        if chips <= limit:
            return f"{limit:,}" if limit == before + 1 else f"{before + 1:,} to {limit:,}"
        before = limit
    return f"over {before:,}"


#: Name of a dimension -> the words that a run (its row, its job) counts under.
DIMENSIONS: Final[Mapping[str, Callable[[Mapping[str, str], RunJob], tuple[str, ...]]]] = {
    "all": lambda row, job: ("all",),
    "kind of run": lambda row, job: (job.family,),
    "era": lambda row, job: (row.get("era", "") or "not stated",),
    "chip family": lambda row, job: (job.context.cluster.chip.architecture,),
    "strategy": lambda row, job: strategy_words(job),
    "chips": lambda row, job: (scale_word(job.parallelism.chips),),
    "stack": lambda row, job: (job.context.stack.id,),
    "source": lambda row, job: (job.group[0],),
}
#: Dimensions whose words have an order of their own; the others stand with the most runs first.
ORDERED: Final[Mapping[str, tuple[str, ...]]] = {"chips": tuple(scale_word(n) for n in (1, 8, 64, 512, 2048, 2049))}
