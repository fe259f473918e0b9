"""`Lowered` x constants -> durations: the one place where fitted constants meet the work.

Everything is an array operation over all shapes and strategies at once; durations stay floats [s] here and are
rounded to picoseconds once, when a `StepBatch` is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from workloads.precision import PrecisionRecipe

from .collectives import Fabric, Group, all_gather_s, all_reduce_s, send_s
from .constants import Constants
from .kernels.optable import BACKWARD, FORWARD, REPLAY, Floats, Ints
from .kernels.price import Rates, block_seconds
from .lowering import Context, Lowered
from .priced_rows import storage_word
from .stack import RECOMPUTE_MODES, Stack
from .stepspec import GRADIENT_MODES, PICOSECONDS_PER_SECOND

#: How sharply a pass turns from device-bound to host-bound: its blocks do not turn all at once. At equal times the pass
#: takes 2 ** (1 / sharpness) = 1.19 times as long as either.
HOST_SHARPNESS: Final = 4.0

_NARROW: Final = ("tf32", "fp8", "fp4", "int8", "flex16")


def product_fraction(context: Context, word: str, constants: Constants) -> float:
    """Fitted rate of a step's products in a precision against that of the kernel model."""
    chip = context.cluster.chip
    if word in _NARROW:
        return constants.get("narrow_fraction", chip.architecture)
    matrix_unit = word in ("fp16", "bf16") and chip.has_matrix_units
    return constants.get("matrix_fraction" if matrix_unit else "plain_fraction", chip.architecture)


def rates_of(contexts: tuple[Context, ...], constants: Constants) -> Rates:
    """Sustained rates of every context."""
    product, conv, memory, compute, traffic, host = [], [], [], [], [], []
    for context in contexts:
        chip, stack = context.cluster.chip, context.stack
        words = (context.recipe.matmul, storage_word(chip, context.recipe))
        product.append([chip.peak(w) * product_fraction(context, w, constants) for w in words])
        plain = context.recipe.matmul == "fp32" and chip.has_matrix_units
        conv.append(
            constants.get("plain_conv_fraction") if plain else constants.get("conv_fraction", chip.architecture)
        )
        memory.append(chip.memory_bandwidth_byte_per_s * constants.get("memory_fraction", chip.architecture))
        compute.append(constants.get("compute_scale", stack.id))
        traffic.append(stack.vector_traffic_share * constants.get("traffic_scale", stack.id))
        captured = 0.0 if stack.graph_capture else 1.0
        host.append(captured * stack.host_s_per_launch * constants.get("host_scale", stack.id))
    ones = np.ones(len(contexts))
    return Rates(
        product_flop_per_s=np.array(product), conv_fraction=np.array(conv),
        attention_fraction=ones * constants.get("attention_fraction"),
        attention_backward_fraction=ones * constants.get("attention_backward_fraction"),
        memory_byte_per_s=np.array(memory), ramp_s=ones * constants.get("kernel_ramp_s"),
        compute_scale=np.array(compute), traffic_scale=np.array(traffic), host_s_per_launch=np.array(host),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Network:
    """Fabric constants of every context; fields have shape (C,), ``up_byte_per_s`` shape (C, most members + 1)."""

    up_byte_per_s: Floats
    up_latency_s: Floats
    out_byte_per_s: Floats
    out_latency_s: Floats
    network_cards: Floats
    chips_per_server: Floats
    call_s: Floats
    scale: Floats

    def fabric(self, context: Ints, group: Group | None = None) -> Fabric:
        """The fabric as the groups of each strategy see it."""
        chips = self.chips_per_server[context]
        members = np.ones(len(context), np.int64) * chips.astype(np.int64)
        if group is not None:
            inside = np.clip(np.floor(chips / group.stride), 1.0, np.maximum(group.ranks, 1.0))
            # A cube mesh is wired for whole servers; members of interleaved groups see the links of all.
            members = np.where(group.stride > 1, chips, inside).astype(np.int64)
        return Fabric(
            up_byte_per_s=self.up_byte_per_s[context, members], up_latency_s=self.up_latency_s[context],
            out_byte_per_s=self.out_byte_per_s[context], out_latency_s=self.out_latency_s[context],
            call_s=self.call_s[context], chips_per_server=chips, network_cards=self.network_cards[context],
        )  # fmt: skip


def network_of(contexts: tuple[Context, ...], constants: Constants) -> Network:
    """Sustained rates of every context's wires."""
    widest = max(context.cluster.chips_per_server for context in contexts) + 1
    up = np.zeros((len(contexts), widest))
    columns: dict[str, list[float]] = {name: [] for name in ("ul", "ob", "ol", "cards", "chips", "scale")}
    for row, context in enumerate(contexts):
        cluster = context.cluster
        efficiency = constants.get("efficiency", cluster.up_fabric)
        rates = np.array(cluster.up_byte_per_s)
        up[row, : len(rates)] = np.maximum(rates * efficiency, 1e6)
        columns["ul"].append(cluster.up_latency_s * constants.get("latency_scale", cluster.up_fabric))
        cards = min(context.stack.network_cards or cluster.network_cards, cluster.network_cards)
        nominal = cluster.out_byte_per_s * cards / cluster.network_cards
        columns["ob"].append(nominal * constants.get("efficiency", cluster.out_fabric))
        columns["ol"].append(cluster.out_latency_s * constants.get("latency_scale", cluster.out_fabric))
        columns["cards"].append(float(cards))
        columns["chips"].append(float(cluster.chips_per_server))
        columns["scale"].append(constants.get("exchange_scale", context.stack.id))
    return Network(
        up_byte_per_s=up, up_latency_s=np.array(columns["ul"]), out_byte_per_s=np.array(columns["ob"]),
        out_latency_s=np.array(columns["ol"]), network_cards=np.array(columns["cards"]),
        chips_per_server=np.array(columns["chips"]), call_s=np.full(len(contexts), constants.get("call_s")),
        scale=np.array(columns["scale"]),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Priced strategies [s]; axes as in `lowering`. The fields mirror `StepSpec`."""

    forward_s: Floats  # (S, G)
    backward_s: Floats
    forward_tensor_s: Floats
    backward_tensor_s: Floats
    gather_s: Floats
    reduce_s: Floats
    send_s: Floats  # (S,)
    fixed_s: Floats
    reduce_after_s: Floats  # (S, R)
    optimizer_s: Floats
    update_gather_s: Floats


def price(lowered: Lowered, constants: Constants) -> Durations:
    """Durations of every block, message and update of every strategy."""
    rates = rates_of(lowered.contexts, constants)
    network = network_of(lowered.contexts, constants)
    forward, backward, replay = _compute(lowered, rates)
    shape, context = lowered.shape, lowered.context
    recompute = lowered.recompute[:, None]
    backward_s = backward[shape]
    backward_s = backward_s + np.where(recompute == RECOMPUTE_MODES.index("selective"), replay[shape], 0.0)
    # Recomputation wraps the repeated blocks; embedding and head keep what they saved.
    repeats = lowered.repeats[shape]
    wrapped = repeats == np.max(repeats, axis=1, keepdims=True)
    full = (recompute == RECOMPUTE_MODES.index("full")) & wrapped
    backward_s = backward_s + np.where(full, forward[shape], 0.0)
    tensor_forward, tensor_backward = _tensor(lowered, network, constants, forward, backward)
    tensor_backward_s = tensor_backward[shape] + np.where(full, tensor_forward[shape], 0.0)
    tensor_forward_s = tensor_forward[shape]
    # Stacks that wait on the host for every tensor-parallel call of a pipeline stage: the host's time shows where the
    # device is done sooner.
    wait = np.array([c.stack.pipelined_call_host_s for c in lowered.contexts])[context] * lowered.tp * (lowered.pp > 1)
    issue_forward, issue_backward = (
        lowered.forward_calls[shape] * wait[:, None],
        lowered.backward_calls[shape] * wait[:, None],
    )
    tensor_forward_s = np.maximum(tensor_forward_s, issue_forward - forward[shape])
    tensor_backward_s = np.maximum(tensor_backward_s, issue_backward - backward_s)
    gather_s, reduce_s, reduce_after_s, update_gather_s = _gradients(lowered, network)
    boundary = lowered.boundary_byte[shape]
    chips = lowered.tp * lowered.cp * lowered.pp * lowered.dp
    stalls = np.array([c.stack.pipeline_stall_chips or 10**9 for c in lowered.contexts])[context]
    unshared = (lowered.dp > 1) & (lowered.sharding == 0)
    stall = np.array([c.stack.pipeline_stall_s for c in lowered.contexts])[context] * (1.0 - 1.0 / lowered.pp)
    stall = np.where((chips >= stalls) | unshared, stall, 0.0)
    distance = (lowered.tp * lowered.cp * lowered.dp).astype(float)
    send = send_s(message_byte=boundary, distance=distance, fabric=network.fabric(context)) * network.scale[context]
    overlap = np.array([c.stack.send_overlap for c in lowered.contexts])[context]
    send = np.where(overlap, np.minimum(send, network.call_s[context]), send) * (lowered.pp > 1)
    # A stall passes down the pipeline with its micro-batch: every stage sees its share.
    send = send + np.where(lowered.pp > 1, stall / 2.0, 0.0)
    host = rates.host_s_per_launch[context]
    forward_s, backward_s = _dragged(lowered, forward[shape], backward_s, gather_s, reduce_s, constants)
    return Durations(
        forward_s=forward_s, backward_s=backward_s, forward_tensor_s=tensor_forward_s,
        backward_tensor_s=tensor_backward_s, gather_s=gather_s, reduce_s=reduce_s, send_s=np.asarray(send),
        fixed_s=np.asarray(host * constants.get("fixed_launches")), reduce_after_s=reduce_after_s,
        optimizer_s=_optimizer(lowered, rates, constants), update_gather_s=update_gather_s,
    )  # fmt: skip


def _dragged(
    lowered: Lowered, forward_s: Floats, backward_s: Floats, gather_s: Floats, reduce_s: Floats, constants: Constants
) -> tuple[Floats, Floats]:
    """Compute beside which gradients or parameters are exchanged, stretched by the cores and bandwidth that takes.

    .. math:: t' = t + d \\min(t, x)

    with the exchange x that runs beside a block and the drag d. Of many micro-batches in mode "backward" only the last
    has an exchange beside it, so that there its share is one in m.
    """
    drag = constants.get("exchange_drag")
    sharded = (lowered.gradient_mode == GRADIENT_MODES.index("sharded"))[:, None]
    overlapped = (lowered.gradient_mode == GRADIENT_MODES.index("backward"))[:, None]
    beside_forward = np.where(sharded, np.minimum(gather_s, forward_s), 0.0)
    beside_backward = np.where(sharded, np.minimum(gather_s + reduce_s, backward_s), 0.0)
    last = np.minimum(reduce_s, backward_s) / lowered.micro_batches[:, None]
    beside_backward = np.where(overlapped, last, beside_backward)
    return forward_s + drag * beside_forward, backward_s + drag * beside_backward


def _compute(lowered: Lowered, rates: Rates) -> tuple[Floats, Floats, Floats]:
    """Seconds of every block of every shape, (K, G) each: forward, backward, replay.

    The host issues kernels ahead of the device; where it needs longer than the device over a whole pass, the device
    waits and every block of the pass stretches alike,

    .. math:: t = d (1 + (h / d)^p)^{1/p}

    with device time d, host time h and the sharpness p.
    """
    device, host = block_seconds(lowered.table, rates, lowered.shape_context, lowered.repeats.shape[1])
    stretched = []
    for phase in (FORWARD, BACKWARD, REPLAY):
        busy = np.sum(device[phase] * lowered.repeats, axis=1)
        issue = np.sum(host[phase] * lowered.repeats, axis=1)
        stretch = (1.0 + (issue / np.maximum(busy, 1e-12)) ** HOST_SHARPNESS) ** (1.0 / HOST_SHARPNESS)
        stretched.append(device[phase] * stretch[:, None])
    return stretched[0], stretched[1], stretched[2]


def _tensor(
    lowered: Lowered, network: Network, constants: Constants, forward: Floats, backward: Floats
) -> tuple[Floats, Floats]:
    """Exposed tensor- and context-parallel exchange of every block, (K, G) each [s].

    Where the stack cuts exchanges into pieces that run under the neighbouring product, only a share stays exposed, and
    never less than what exceeds the compute it could hide under.
    """
    context = lowered.shape_context
    group = Group(ranks=lowered.shape_tp, stride=np.ones_like(lowered.shape_tp))
    fabric = network.fabric(context, group)
    wide, wide_group = _column(fabric), _wide(group)
    scale = network.scale[context][:, None]
    share = np.array([constants.get("tensor_exposed") if c.stack.tensor_overlap else 1.0 for c in lowered.contexts])
    exposed = share[context][:, None]
    # Context parallelism passes keys and values round its ring, forward once and backward twice, under attention.
    cp = lowered.shape_cp
    ring = Group(ranks=cp, stride=lowered.shape_tp)
    ring_fabric = _column(network.fabric(context, ring))
    context_s = all_gather_s(message_byte=lowered.context_byte, group=_wide(ring), fabric=ring_fabric) * scale
    results = []
    for calls, byte, compute, rounds in (
        (lowered.forward_calls, lowered.forward_byte, forward, 1.0),
        (lowered.backward_calls, lowered.backward_byte, backward, 2.0),
    ):
        exchange = calls * all_reduce_s(message_byte=byte, group=wide_group, fabric=wide) * scale
        hidden = np.minimum(exchange * (1.0 - exposed), compute)
        # Compute hides one exchange at a time.
        left, ring_s = compute - hidden, rounds * context_s
        context_exposed = np.maximum(ring_s * constants.get("tensor_exposed"), ring_s - left)
        results.append(np.asarray(exchange - hidden + context_exposed))
    return results[0], results[1]


def _gradients(lowered: Lowered, network: Network) -> tuple[Floats, Floats, Floats, Floats]:
    """Gather (S, G), reduce (S, G), reduction after the passes (S, R) and fetch of updated parameters (S, R) [s]."""
    context = lowered.context
    stacks = [c.stack for c in lowered.contexts]
    gradient_byte = np.array([gradient_byte_of(c.stack, c.recipe) for c in lowered.contexts])[context]
    storage_byte = np.array([c.recipe.storage_byte for c in lowered.contexts])[context]
    bucket = np.array([s.bucket_byte for s in stacks])[context][:, None]
    scale = network.scale[context]
    ranks = (lowered.dp * lowered.cp).astype(float)
    stride = lowered.tp.astype(float)
    group = Group(ranks=ranks, stride=stride)
    limit = np.where(lowered.shard_ranks > 0, np.minimum(lowered.shard_ranks, ranks), ranks)
    shard_group = Group(ranks=limit, stride=stride)
    fabric, shard_fabric = network.fabric(context, group), network.fabric(context, shard_group)
    wide, shard_wide = (_column(f) for f in (fabric, shard_fabric))
    parameters = lowered.held_parameters * (~lowered.frozen)[:, None]
    gradient = parameters * gradient_byte[:, None]
    # Small blocks travel together: each pays its share of a bucket's latency.
    message = np.maximum(gradient, bucket)
    fused = np.divide(gradient, message, out=np.zeros_like(gradient), where=message > 0)
    sharded = (lowered.sharding > 0)[:, None]
    whole = all_reduce_s(message_byte=message, group=_wide(group), fabric=wide)
    scattered = all_gather_s(message_byte=message, group=_wide(group), fabric=wide)
    reduce_s = fused * np.where(sharded, scattered, whole) * scale[:, None]
    # Fewer parameter servers than hosts: each serves several hosts' pushes and pulls over its own card.
    hosts = group.servers(fabric)
    incast = np.where(
        lowered.parameter_servers > 0, np.maximum(1.0, hosts / np.maximum(lowered.parameter_servers, 1)), 1.0
    )
    reduce_s = reduce_s * incast[:, None]
    held = lowered.held_parameters * storage_byte[:, None]
    gather_s = all_gather_s(message_byte=held, group=_wide(shard_group), fabric=shard_wide) * scale[:, None]
    stage = np.einsum("srg,sg->sr", lowered.repeat.astype(float), parameters)
    stage_byte = stage * gradient_byte[:, None]
    after = np.where(
        sharded, all_gather_s(message_byte=stage_byte, group=_wide(group), fabric=wide),
        all_reduce_s(message_byte=stage_byte, group=_wide(group), fabric=wide),
    ) * scale[:, None]  # fmt: skip
    zero3 = lowered.gradient_mode == GRADIENT_MODES.index("sharded")
    update = all_gather_s(message_byte=stage * storage_byte[:, None], group=_wide(shard_group), fabric=shard_wide)
    # Ranks that gather parameters block by block anyway need no fetch after the update.
    update_gather = np.where(sharded & ~zero3[:, None], update * scale[:, None], 0.0)
    gather_s = np.where(zero3[:, None], gather_s, 0.0)
    mode_after = (lowered.gradient_mode == GRADIENT_MODES.index("after"))[:, None]
    return gather_s, np.where(mode_after, 0.0, reduce_s), np.where(mode_after, after, 0.0), update_gather


def gradient_byte_of(stack: Stack, recipe: PrecisionRecipe) -> float:
    """Bytes of one stored and exchanged gradient: the stack's choice under mixed precision, else the recipe's [B]."""
    return stack.gradient_byte if recipe.storage_byte < 4.0 and stack.gradient_byte else recipe.gradient_byte


def _wide(group: Group) -> Group:
    return Group(ranks=group.ranks[:, None], stride=group.stride[:, None])


def _column(fabric: Fabric) -> Fabric:
    return Fabric(**{name: getattr(fabric, name)[:, None] for name in Fabric.__dataclass_fields__})


def _optimizer(lowered: Lowered, rates: Rates, constants: Constants) -> Floats:
    """Seconds of the update on every role, (S, R): its words read and written once, over the ranks that shard it."""
    context = lowered.context
    byte = np.array(
        [
            4.0 * c.optimizer.read_write_words_per_parameter
            + (c.recipe.storage_byte if c.recipe.master_byte else 0.0)
            + c.recipe.unscale_byte
            for c in lowered.contexts
        ]
    )[context]
    stage = np.einsum("srg,sg->sr", lowered.repeat.astype(float), lowered.held_parameters)
    ranks = (lowered.dp * lowered.cp).astype(float)
    limit = np.where(lowered.shard_ranks > 0, np.minimum(lowered.shard_ranks, ranks), ranks)
    shards = np.where(lowered.sharding > 0, limit, 1.0)
    trained = np.where(lowered.frozen, 0.01, 1.0)
    held = stage * trained[:, None] / shards[:, None]
    traffic = held * byte[:, None] * constants.get("optimizer_traffic")
    return np.asarray(traffic / rates.memory_byte_per_s[context][:, None])


def ticks(seconds: Floats) -> Ints:
    """Whole picoseconds."""
    return np.asarray(np.rint(seconds * PICOSECONDS_PER_SECOND), dtype=np.int64)
