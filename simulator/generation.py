"""Generation as a phase: prefill and decode of many sequences on replicas of a model, in seconds.

A replica is a tensor-parallel group inside a server, with all of the model's weights; replicas share the sequences and
know nothing of each other. Weights and cached keys and values are read anew for every token, so that a batch of
sequences shares the first and pays for the second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from workloads.generation import Cache, at_length, cache, check_generates, decode_step
from workloads.generation_lengths import followed, in_waves, lengths, mean_context, refilled
from workloads.workload import Workload

from .analytic import StepTimes, forward_batch, forward_times
from .constants import Constants
from .kernels.optable import Floats, Ints
from .lowering import Context, lower
from .memory import forward_memory
from .parallelism import Parallelism, columns_of

#: How slots are filled: with the next sequence when theirs ends, or batch after batch.
BATCHINGS: Final = ("continuous", "static")
#: Tokens that one pass of prefill takes at most: prompts are put together up to that.
PREFILL_TOKENS: Final = 16_384
#: Sequences that a replica decodes at once, at most, whatever fits.
MOST_SLOTS: Final = 1_024


class GenerationError(ValueError):
    """A generation that cannot be: the message says what is short of what."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What is generated: ``prompts`` of ``prompt_tokens``, for each ``samples`` sequences.

    New tokens: a mean, their standard deviation over it, and where generation is cut off (0: nowhere).
    """

    prompts: int
    samples: int
    prompt_tokens: int
    new_tokens: float
    variation: float = 0.0
    most_tokens: int = 0

    @property
    def sequences(self) -> int:
        """Sequences that are generated."""
        return self.prompts * self.samples


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What a generation takes on its chips.

    ``decode_s`` and ``static_s`` are the slowest replica's: with slots that are refilled, and batch after batch;
    ``total_s`` counts the one that was asked. ``slots`` sequences are decoded at once on a replica of ``tp`` chips,
    ``fitting_slots`` fit beside the weights. ``step_s`` is one step at that batch and the mean context, ``bound_s`` the
    time to read the weights and the cache for it. ``binds`` says what a step takes longest for.
    """

    tp: int
    replicas: int
    slots: int
    fitting_slots: int
    sequences: int
    new_tokens: float
    context_tokens: float
    prefill_s: float
    decode_s: float
    static_s: float
    batching: str
    step_s: float
    bound_s: float
    exchange_s: float
    weight_byte: float
    cache_byte: float
    memory_byte: float
    binds: str

    @property
    def total_s(self) -> float:
        """Prefill and decode [s]."""
        return self.prefill_s + (self.decode_s if self.batching == "continuous" else self.static_s)

    @property
    def tokens_per_s(self) -> float:
        """New tokens a second of all replicas."""
        return self.new_tokens / self.total_s


def serving(context: Context, *, eager: bool = False) -> Context:
    """The software that generates: the job's kernels and library; steps are captured graphs unless ``eager``."""
    if eager:
        return context
    return replace(context, stack=replace(context.stack, graph_capture=True, routing_waits=False))


def decode_times(
    workload: Workload, context: Context, constants: Constants, *, tp: int, batches: Ints, context_tokens: float
) -> Floats:
    """One step of decoding at several batches and a mean context; shape (batches,) [s].

    .. math:: t(\\bar c) = (1 - w) t(\\lfloor\\bar c\\rfloor) + w\\, t(\\lfloor\\bar c\\rfloor + 1)

    with the fraction w of the mean: what is read and multiplied is linear in the context, so that the mean position
    stands for all (a window's last tokens are). Leaves out: sampling beyond a pass over the logits; the draft model of
    speculative decoding.
    """
    low = int(context_tokens)
    weight = context_tokens - low
    times = _decode(workload, context, constants, tp=tp, batches=batches, tokens=max(low, 1)).total_s
    if not weight:
        return times
    more = _decode(workload, context, constants, tp=tp, batches=batches, tokens=low + 1).total_s
    return np.asarray((1.0 - weight) * times + weight * more)


def _decode(
    workload: Workload, context: Context, constants: Constants, *, tp: int, batches: Ints, tokens: int
) -> StepTimes:
    return _passes(decode_step(workload, tokens, tp=tp), context, constants, tp=tp, batches=batches)


def _passes(workload: Workload, context: Context, constants: Constants, *, tp: int, batches: Ints) -> StepTimes:
    """Forward passes of several batches on one replica."""
    strategies = [Parallelism(tp=tp, micro_batch=b, global_batch=b) for b in batches.tolist()]
    return forward_times(forward_batch(lower(workload, context, strategies), constants))


def read_parameters(workload: Workload, batch: int) -> float:
    """Parameters that a step of ``batch`` tokens reads: all products', of experts those that some token chose.

    With rows spread evenly, ``min(experts, rows)`` of them. A table is looked up, not read.
    """
    step = decode_step(workload, 1)
    return sum(
        layer.repeat * op.parameters * (min(1.0, batch * op.m / op.experts) if op.experts else 1.0)
        for layer in step.layers
        for op in layer.ops
        if op.kind != "embedding"
    )


def decode_bound_s(workload: Workload, context: Context, *, tp: int, batch: int, context_tokens: float) -> float:
    """Least time of a step of decoding: weights and cache, read once at the memory's bandwidth [s].

    .. math:: t \\ge \\frac{b_w P(b) / tp + b\\, C(\\bar c)}{\\beta}

    with the parameters P that the batch reads, the bytes C cached by a sequence on a rank, the bandwidth beta.
    """
    recipe, chip = context.recipe, context.cluster.chip
    weights = recipe.matmul_byte * read_parameters(workload, batch) / tp
    held = recipe.storage_byte * cache(workload, tp=tp).elements(context_tokens)
    return (weights + batch * held) / chip.memory_bandwidth_byte_per_s


def fitting_slots(
    workload: Workload, context: Context, *, tp: int, prompt_tokens: int, tokens: float, resident_byte: float = 0.0
) -> tuple[int, float]:
    """(sequences whose cache fits beside the weights on a replica, bytes there without them); 0 where weights do not.

    .. math:: n = \\lfloor (M - M_{forward} - M_{other}) / C(tokens) \\rfloor

    with what the prompts' forward pass needs (weights, live activations, reserve: `memory.forward_memory`) and what
    else is resident on the chip.
    """
    prompts = at_length(workload, prompt_tokens, last_only=True)
    together = max(1, PREFILL_TOKENS // prompt_tokens)
    columns = columns_of([Parallelism(tp=tp, micro_batch=together, global_batch=together)])
    without = float(forward_memory(prompts, context, columns).total_byte[0]) + resident_byte
    each = context.recipe.storage_byte * cache(workload, tp=tp).elements(tokens)
    free = context.cluster.chip.memory_byte - without
    return max(0, int(free // each)) if free > 0 else 0, without


def tensor_ranks(workload: Workload, context: Context, chips: int) -> list[int]:
    """Sizes of replicas: ranks of one server that divide it, the chips and the heads."""
    check_generates(workload)
    heads = [op.heads for layer in workload.layers for op in layer.ops if op.kind == "attention"]
    per_server = context.cluster.chips_per_server
    return [
        tp
        for tp in range(1, min(per_server, chips) + 1)
        if per_server % tp == 0 and chips % tp == 0 and not any(count % tp for count in heads)
    ]


def generate(
    workload: Workload, context: Context, constants: Constants, asked: Prompts, *, chips: int, tp: int = 0,
    batching: str = "continuous", resident_byte: float = 0.0, eager: bool = False,
) -> Generation:  # fmt: skip
    """The fastest way to generate on so many chips: every size of replica that fits, or ``tp`` alone.

    Parameters
    ----------
    resident_byte
        What else every chip holds meanwhile (a trainer's state, other models) [B].
    eager
        Kernels are launched one by one by the host, as the trainer's are.

    Raises
    ------
    GenerationError
        Where no replica holds the weights and one sequence; the message has the nearest.
    workloads.op.WorkloadError
        For a network that does not generate.
    """
    used = serving(context, eager=eager)
    sizes = tensor_ranks(workload, context, chips)
    if tp and tp not in sizes:
        legal = ", ".join(map(str, sizes))
        raise GenerationError(f"generation on {tp} tensor-parallel ranks of {chips} chips; legal: {legal}.")
    found = [
        one
        for size in ([tp] if tp else sizes)
        if (one := _on_replicas(workload, used, constants, asked, chips, size, batching, resident_byte)) is not None
    ]
    if not found:
        size = tp or sizes[-1]
        _, needed = fitting_slots(
            workload, used, tp=size, prompt_tokens=asked.prompt_tokens, tokens=1, resident_byte=resident_byte
        )
        capacity = context.cluster.chip.memory_byte
        raise GenerationError(
            f"generation of {workload.name}: nothing fits; a replica of {size} chips needs {needed / 2**30:.1f} GiB a "
            f"chip and the cache of a sequence, {context.cluster.chip.id} has {capacity / 2**30:.1f} GiB."
        )
    return min(found, key=lambda one: one.total_s)


def _on_replicas(
    workload: Workload, context: Context, constants: Constants, asked: Prompts, chips: int, tp: int, batching: str,
    resident_byte: float,
) -> Generation | None:  # fmt: skip
    """A generation on replicas of ``tp`` chips; None where it does not fit."""
    replicas = chips // tp
    of_one = -(-asked.sequences // replicas)
    many, times = followed(of_one, MOST_SLOTS)
    new = lengths(many, mean=asked.new_tokens, variation=asked.variation, most=asked.most_tokens)
    long = new.astype(float)
    # A slot holds its sequence's tokens; longer sequences hold theirs for longer.
    held = long.max() if batching == "static" else np.sum(long**2) / np.sum(long)
    fitting, without = fitting_slots(
        workload, context, tp=tp, prompt_tokens=asked.prompt_tokens, tokens=asked.prompt_tokens + float(held),
        resident_byte=resident_byte,
    )  # fmt: skip
    if fitting < 1:
        return None
    slots = min(fitting, of_one, MOST_SLOTS)
    mean = mean_context(asked.prompt_tokens, new)
    batches = np.unique(np.append(2 ** np.arange(int(np.log2(slots)) + 1), slots)).astype(np.int64)
    step = decode_times(workload, context, constants, tp=tp, batches=batches, context_tokens=mean)

    def decoding(pieces: tuple[Ints, Ints]) -> float:
        steps, active = pieces
        return float(times * np.sum(steps * np.interp(active, batches, step)))

    exact = _decode(workload, context, constants, tp=tp, batches=batches[-1:], tokens=max(int(mean), 1))
    exchange_s = float(exact.tensor_ps[0]) * 1e-12
    each = context.recipe.storage_byte * cache(workload, tp=tp).elements(asked.prompt_tokens + float(held))
    return Generation(
        tp=tp, replicas=replicas, slots=slots, fitting_slots=fitting, sequences=asked.sequences,
        new_tokens=asked.sequences * float(long.mean()), context_tokens=mean,
        prefill_s=_prefill_s(workload, context, constants, asked, of_one, tp, batching),
        decode_s=decoding(refilled(new, slots)), static_s=decoding(in_waves(new, slots)), batching=batching,
        step_s=float(step[-1]), exchange_s=exchange_s,
        bound_s=decode_bound_s(workload, context, tp=tp, batch=slots, context_tokens=mean),
        weight_byte=context.recipe.storage_byte * workload.parameters / tp, cache_byte=each,
        memory_byte=without + slots * each, binds=_binds(workload, context, tp, slots, mean, exchange_s),
    )  # fmt: skip


def _prefill_s(
    workload: Workload, context: Context, constants: Constants, asked: Prompts, of_one: int, tp: int, batching: str
) -> float:
    """Forward passes over the prompts of one replica [s].

    Refilled slots share a prompt's cache among its samples, so that it is read once; batch by batch every sequence has
    its own. Leaves out: passes that run beside decoding on the same chip.
    """
    shared = asked.samples if batching == "continuous" else 1
    prompts = max(1.0, of_one / shared)
    together = max(1, min(PREFILL_TOKENS // asked.prompt_tokens, int(prompts)))
    laid = at_length(workload, asked.prompt_tokens, last_only=True)
    one = _passes(laid, context, constants, tp=tp, batches=np.array([together])).total_s
    return float(np.ceil(prompts / together) * one[0])


def _binds(workload: Workload, context: Context, tp: int, batch: int, context_tokens: float, exchange_s: float) -> str:
    """What a step of decoding takes longest for: weights, cache, arithmetic or exchange, each by itself."""
    recipe, chip = context.recipe, context.cluster.chip
    step = decode_step(workload, max(int(context_tokens), 1), tp=tp)
    byte_per_s = chip.memory_bandwidth_byte_per_s
    held: Cache = cache(workload, tp=tp)
    took = {
        "reading weights": recipe.matmul_byte * read_parameters(workload, batch) / tp / byte_per_s,
        "reading the cache": batch * recipe.storage_byte * held.elements(context_tokens) / byte_per_s,
        "arithmetic": batch * step.forward_flop / tp / chip.peak(recipe.matmul),
        "exchange inside layers": exchange_s,
    }
    return max(took, key=lambda name: took[name])
