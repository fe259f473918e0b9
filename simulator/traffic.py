"""What every message of every strategy takes by the communication library's cost model, before a step's own constants.

Nothing here depends on the constants that are fitted on steps, so that a fit prices its messages once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workloads.precision import PrecisionRecipe

from .collectives.exchange import Exchanges, Wires
from .collectives.library_constants import library_constants
from .collectives.library_cost import exchange_s
from .distinct import distinct_rows
from .expert_dispatch import sent_share
from .group_wires import library_of, wires_of
from .kernels.optable import Floats, Ints
from .lowering import Context, Lowered
from .parallelism import COMPRESSIONS
from .stack import Stack


def gradient_byte_of(stack: Stack, recipe: PrecisionRecipe) -> float:
    """Bytes of one stored and exchanged gradient: the stack's choice under mixed precision, else the recipe's [B]."""
    return stack.gradient_byte if recipe.storage_byte < 4.0 and stack.gradient_byte else recipe.gradient_byte


@dataclass(frozen=True, kw_only=True)
class Messages:
    """Messages of one kind: their seconds, and whether their group leaves its domain (shape of the groups)."""

    seconds: Floats
    outside: NDArray[np.bool_]
    steps: Floats

    def take(self, rows: Ints) -> Messages:
        """Those of some rows, in their order."""
        return Messages(seconds=self.seconds[rows], outside=self.outside[rows], steps=self.steps[rows])


def ring_steps(collective: str, wires: Wires) -> float:
    """Steps of a ring between domains, each as slow as its slowest hop; 0 for exchanges that are no ring."""
    ring = collective in ("reduce_scatter", "all_gather") and wires.ranks > wires.domain_ranks
    return float(wires.ranks - 1) if ring else 0.0


@dataclass(frozen=True, kw_only=True)
class Groups:
    """One group of ranks per strategy or shape, all of a kind running at once; shape (K,) each.

    ``ranks`` members, neighbours ``stride`` ranks apart, on the cluster of context ``context``.
    """

    contexts: tuple[Context, ...]
    context: Ints
    ranks: Ints
    stride: Ints

    @cached_property
    def _distinct(self) -> tuple[tuple[Wires, ...], Ints]:
        key = np.stack([self.context, self.ranks.astype(np.int64), self.stride.astype(np.int64)])
        cases, index = np.unique(key, axis=1, return_inverse=True)
        wires = []
        for context, ranks, stride in cases.T.tolist():
            c = self.contexts[context]
            library, cards = library_of(c.stack, c.cluster), c.stack.network_cards
            wires.append(
                wires_of(c.cluster, ranks=ranks, stride=stride, library=library, year=c.stack.year, cards=cards)
            )
        return tuple(wires), np.asarray(index.ravel(), dtype=np.int64)

    def wires(self, place: int) -> Wires:
        """The wires under one of the groups."""
        wires, index = self._distinct
        return wires[int(index[place])]

    def cost(self, collective: str, message_byte: Floats) -> Messages:
        """Seconds of messages, shape (K,) or (K, G)."""
        wires, index = self._distinct
        shape = np.shape(message_byte)
        row = index if len(shape) == 1 else np.repeat(index, shape[1])
        exchanges = Exchanges(
            distinct=tuple((w, collective, "") for w in wires), row=row, message_byte=np.ravel(message_byte)
        )
        constants = library_constants()
        outside = np.array([w.ranks > w.domain_ranks for w in wires])[index]
        steps = np.array([ring_steps(collective, w) for w in wires])[index]
        return Messages(
            seconds=exchange_s(exchanges, constants.rows(exchanges)).reshape(shape), outside=outside, steps=steps
        )


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Messages of every strategy; axes as in `lowering`: shapes K, strategies S, blocks G, roles R."""

    tensor_forward: Messages  # (K, G): one call
    tensor_backward: Messages
    expert: Messages  # (K, G): one all-to-all
    hybrid_gather: Messages  # what enters dense layers that neighbours cut, and its gradient
    hybrid_scatter: Messages
    halo: Messages  # one exchange with both neighbours
    context_ring: Messages
    context_scatter: Messages  # gradients of keys and values
    context_heads: Messages  # positions for heads: keys, values, queries and results
    reduce: Messages  # (S, G): a bucket of gradients, and which share of a bucket each block fills
    scatter: Messages
    replicas: Messages  # a bucket's share of one rank, among the groups that shard the state each for itself
    bucket_share: Floats
    spread_reduce: Messages  # (S, G): the same of experts, over the ranks that hold the same ones
    spread_scatter: Messages
    spread_share: Floats
    gather: Messages  # parameters of a block over the ranks that shard them
    reduce_after: Messages  # (S, R): all gradients of a role
    scatter_after: Messages
    replicas_after: Messages
    spread_reduce_after: Messages
    spread_scatter_after: Messages
    update: Messages  # updated parameters of a role
    spread_update: Messages
    send: Messages  # (S,)
    hosts: Floats  # (S,): servers that a gradient's group spans

    def take(self, rows: Ints, shapes: Ints) -> Traffic:
        """That of the strategies in some rows and of some shapes, in their order."""
        per_strategy = {name: getattr(self, name).take(rows) for name in (*_PER_STRATEGY, "send")}
        per_shape = {name: getattr(self, name).take(shapes) for name in _PER_SHAPE}
        return Traffic(
            **per_strategy, **per_shape, bucket_share=self.bucket_share[rows], spread_share=self.spread_share[rows],
            hosts=self.hosts[rows],
        )  # fmt: skip


#: Bytes of a compressed gradient of one parameter on the wire, by the words of `parallelism.COMPRESSIONS`; 0: as it is.
#: Sparse ones send values and places of 4 B each; their sums are gathered, so that ranks times as many arrive.
_CODED_BYTE: Final = (0.0, 2.0, 1.0 / 8.0, 0.5, 0.01 * 8.0, 0.001 * 8.0)
_SPARSE: Final = tuple(COMPRESSIONS.index(word) for word in ("top_1_percent", "dgc"))


def gradient_share(lowered: Lowered, gradient_byte: Floats) -> Floats:
    """Bytes of gradients that are sent against those that are kept; shape (S, 1).

    A sparse code has no sum on the way: it is all-gathered, which an all-reduce of half as much per rank stands for.
    """
    coded = np.array(_CODED_BYTE)[lowered.compression][:, None]
    ranks = (lowered.dp * lowered.cp)[:, None]
    gathered = np.where(np.isin(lowered.compression, _SPARSE)[:, None], np.maximum(ranks / 2.0, 1.0), 1.0)
    return np.asarray(np.where(coded > 0.0, np.minimum(coded * gathered / gradient_byte, 1.0), 1.0))


#: Columns on which the messages of parameters and gradients depend; a context has one workload.
_GROUP_KEY: Final = ("context", "tp", "cp", "pp", "dp", "ep", "etp", "hybrid", "shard_ranks", "compression", "frozen")
_PER_STRATEGY: Final = (
    "reduce", "scatter", "replicas", "spread_reduce", "spread_scatter", "gather", "reduce_after", "scatter_after",
    "replicas_after", "spread_reduce_after", "spread_scatter_after", "update", "spread_update",
)  # fmt: skip
_PER_SHAPE: Final = (
    "tensor_forward", "tensor_backward", "expert", "hybrid_gather", "hybrid_scatter", "halo", "context_ring",
    "context_scatter", "context_heads",
)  # fmt: skip


def _dispatch(lowered: Lowered, routing: Groups) -> Messages:
    """One exchange of rows among the ranks that hold experts, by the dispatcher of each stack; (K, G).

    A dispatcher that sends a row once to each rank passes it over the network once to each domain, and there on: the
    slower of both counts, since rows follow each other.
    """
    plain = routing.cost("all_to_all", lowered.expert_byte)
    context = routing.context
    once = np.array([c.stack.expert_dispatch == "once_per_rank" for c in lowered.contexts])[context]
    if not once.any():
        return plain
    chips = np.array([c.cluster.chips_per_server for c in lowered.contexts])[context]
    ranks = np.where(once, routing.ranks, 1)
    inside_ranks = np.clip(chips // routing.stride, 1, ranks)
    domains = np.maximum(ranks // inside_ranks, 1)
    local = Groups(contexts=lowered.contexts, context=context, ranks=inside_ranks, stride=routing.stride)

    def byte(groups: Ints) -> Floats:
        share = sent_share(groups.astype(float)[:, None], np.maximum(lowered.experts, 1.0), lowered.chosen_experts)
        return np.asarray(lowered.expert_byte * share)

    inside = local.cost("all_to_all", byte(ranks)).seconds
    across = routing.cost("all_to_all", byte(domains)).seconds
    seconds = np.where((domains > 1)[:, None], np.maximum(inside, across), inside)
    return Messages(seconds=np.where(once[:, None], seconds, plain.seconds), outside=plain.outside, steps=plain.steps)


def _tensor(group: Groups, lowered: Lowered, message_byte: Floats) -> Messages:
    """Tensor-parallel sums; (K, G).

    Sequence parallelism scatters the sum and gathers it again behind the element-wise work (arXiv:2205.05198): the same
    bytes in two exchanges, for which libraries have fewer algorithms than for an all-reduce.
    """
    whole = group.cost("all_reduce", message_byte)
    halves = group.cost("reduce_scatter", message_byte), group.cost("all_gather", message_byte)
    parted = lowered.shape_sequence_parallel[:, None]
    return Messages(
        seconds=np.where(parted, halves[0].seconds + halves[1].seconds, whole.seconds),
        outside=whole.outside,
        steps=np.where(parted[:, 0], halves[0].steps + halves[1].steps, whole.steps),
    )


def traffic_of(lowered: Lowered) -> Traffic:
    """Price every message of lowered strategies, those that many share once."""
    held = lowered.repeat.reshape(lowered.strategies, -1).T
    first, kind = distinct_rows([*(getattr(lowered, name) for name in _GROUP_KEY), *held])
    if len(first) == lowered.strategies:
        return replace(_traffic(lowered), send=_sends(lowered))
    few = _traffic(lowered.take(first))
    spread: dict[str, Messages] = {name: getattr(few, name).take(kind) for name in _PER_STRATEGY}
    return replace(
        few, **spread, send=_sends(lowered), bucket_share=few.bucket_share[kind], spread_share=few.spread_share[kind],
        hosts=few.hosts[kind],
    )  # fmt: skip


def _sends(lowered: Lowered) -> Messages:
    """Activations of one micro-batch to the next stage; shape (S,)."""
    distance = np.where(lowered.pp > 1, lowered.tp * lowered.cp * lowered.dp, 1)
    byte = lowered.boundary_byte[lowered.shape]
    first, kind = distinct_rows([lowered.context, np.minimum(lowered.pp, 2), distance, byte.view(np.int64)])
    pair = Groups(
        contexts=lowered.contexts, context=lowered.context[first], ranks=np.minimum(lowered.pp, 2)[first],
        stride=distance[first],
    )  # fmt: skip
    return pair.cost("permute", byte[first]).take(kind)


def _traffic(lowered: Lowered) -> Traffic:
    """Price every message of lowered strategies one by one; ``send`` is left empty."""
    contexts, context = lowered.contexts, lowered.context
    one = np.ones(len(lowered.shape_context), np.int64)
    shape_tp = lowered.shape_tp.astype(np.int64)
    tensor = Groups(contexts=contexts, context=lowered.shape_context, ranks=shape_tp, stride=one)
    # Context parallelism passes keys and values round its ring.
    ring = Groups(
        contexts=contexts, context=lowered.shape_context, ranks=lowered.shape_cp.astype(np.int64), stride=shape_tp
    )
    # Ranks that hold other experts exchange rows; consecutive ones, where tensor parallelism does not cut an expert.
    routing = Groups(
        contexts=contexts, context=lowered.shape_context, ranks=lowered.shape_ep.astype(np.int64),
        stride=lowered.shape_etp.astype(np.int64),
    )  # fmt: skip
    cutters = Groups(
        contexts=contexts, context=lowered.shape_context, ranks=lowered.shape_hybrid.astype(np.int64), stride=shape_tp
    )
    ranks = lowered.dp * lowered.cp
    group = Groups(contexts=contexts, context=context, ranks=ranks, stride=lowered.tp)
    shards = np.where(lowered.shard_ranks > 0, np.minimum(lowered.shard_ranks, ranks), ranks)
    shard_group = Groups(contexts=contexts, context=context, ranks=shards, stride=lowered.tp)
    # Where fewer ranks shard than there are, their groups are replicas: every rank sums its share with its likes.
    replicas = Groups(
        contexts=contexts, context=context, ranks=np.maximum(ranks // shards, 1), stride=lowered.tp * shards
    )
    gradient_byte = np.array([gradient_byte_of(c.stack, c.recipe) for c in contexts])[context][:, None]
    storage_byte = np.array([c.recipe.storage_byte for c in contexts])[context][:, None]
    bucket = np.array([c.stack.bucket_byte for c in contexts])[context][:, None]
    trained = (~lowered.frozen)[:, None]
    spread = lowered.spread_parameters[lowered.shape] * trained
    parameters = lowered.held_parameters * trained - spread
    gradient_byte = gradient_byte * gradient_share(lowered, gradient_byte)
    gradient, spread_gradient = parameters * gradient_byte, spread * gradient_byte
    alike = Groups(
        contexts=contexts, context=context, ranks=lowered.spread_ranks, stride=lowered.ep * lowered.etp * lowered.hybrid
    )
    # Small blocks travel together: each pays its share of a bucket's latency.
    message, spread_message = np.maximum(gradient, bucket), np.maximum(spread_gradient, bucket)
    repeat = lowered.repeat.astype(float)
    stage, spread_stage = np.einsum("srg,sg->sr", repeat, parameters), np.einsum("srg,sg->sr", repeat, spread)
    chips = np.array([c.cluster.chips_per_server for c in contexts])[context]
    inside = np.clip(chips // lowered.tp, 1, np.maximum(ranks, 1))
    return Traffic(
        tensor_forward=_tensor(tensor, lowered, lowered.forward_byte),
        tensor_backward=_tensor(tensor, lowered, lowered.backward_byte),
        expert=_dispatch(lowered, routing),
        hybrid_gather=cutters.cost("all_gather", lowered.hybrid_byte),
        hybrid_scatter=cutters.cost("reduce_scatter", lowered.hybrid_byte),
        halo=ring.cost("permute", lowered.halo_byte),
        context_ring=ring.cost("all_gather", lowered.context_byte),
        context_scatter=ring.cost("reduce_scatter", lowered.context_byte),
        context_heads=ring.cost("all_to_all", (lowered.context_byte + lowered.query_byte) / lowered.shape_cp[:, None]),
        reduce=group.cost("all_reduce", message), scatter=shard_group.cost("reduce_scatter", message),
        replicas=replicas.cost("all_reduce", message / shards[:, None]),
        bucket_share=np.divide(gradient, message, out=np.zeros_like(gradient), where=message > 0),
        spread_reduce=alike.cost("all_reduce", spread_message),
        spread_scatter=alike.cost("reduce_scatter", spread_message),
        spread_share=np.divide(spread_gradient, spread_message, out=np.zeros_like(gradient), where=spread_message > 0),
        gather=shard_group.cost("all_gather", (lowered.held_parameters - spread) * storage_byte),
        reduce_after=group.cost("all_reduce", stage * gradient_byte),
        scatter_after=shard_group.cost("reduce_scatter", stage * gradient_byte),
        replicas_after=replicas.cost("all_reduce", stage * gradient_byte / shards[:, None]),
        spread_reduce_after=alike.cost("all_reduce", spread_stage * gradient_byte),
        spread_scatter_after=alike.cost("reduce_scatter", spread_stage * gradient_byte),
        update=shard_group.cost("all_gather", stage * storage_byte),
        spread_update=alike.cost("all_gather", spread_stage * storage_byte),
        send=Messages(seconds=np.zeros(0), outside=np.zeros(0, bool), steps=np.zeros(0)), hosts=np.ceil(ranks / inside),
    )  # fmt: skip
