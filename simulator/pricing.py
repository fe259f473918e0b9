"""`Lowered` x constants -> durations: the one place where fitted constants meet the work.

Everything is an array operation over all shapes and strategies at once; durations stay floats [s] here and are
rounded to picoseconds once, when a `StepBatch` is made.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .constants import Constants
from .kept import once_per_object
from .kernels.occupancy import in_flight_byte_per_s
from .kernels.optable import BACKWARD, FORWARD, REPLAY, UNREAD, WEIGHTS, Floats, Ints
from .kernels.price import Rates, block_seconds
from .lowering import Context, Lowered
from .modes.servers import asynchronous_period_s
from .parallelism import OFFLOADS, UPDATES
from .priced_rows import storage_word
from .server_exchange import ServerExchange, messages_between_hosts, server_exchange
from .stack import RECOMPUTE_MODES
from .stepspec import GRADIENT_MODES, PICOSECONDS_PER_SECOND
from .traffic import Messages, Traffic, traffic_of
from .waiting import slowest_of

#: How sharply a pass turns from device-bound to host-bound: its blocks do not turn all at once. At equal times the pass
#: takes 2 ** (1 / sharpness) = 1.19 times as long as either.
HOST_SHARPNESS: Final = 4.0

#: Launches that the host is behind when it has read the counts of rows: the copy to the host, its return, and the first
#: kernels of the exchange and of the experts.
ROUTING_WAIT_LAUNCHES: Final = 20.0

#: A time that no step takes: what cannot be done at all is ranked last.
_NEVER_S: Final = 1e6

_NARROW: Final = ("tf32", "fp8", "fp4", "int8", "flex16")


#: Fractions that a step's products reach of the kernel model's rate, by what multiplies them.
_FRACTIONS: Final = ("matrix_fraction", "narrow_fraction", "plain_fraction")


def _fraction(context: Context, word: str) -> int:
    """Which of `_FRACTIONS` products in a precision reach."""
    if word in _NARROW:
        return 1
    return 0 if word in ("fp16", "bf16") and context.cluster.chip.has_matrix_units else 2


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What contexts bring to their rates that no constant moves; shape (C,) each, `peak` and `fraction` (C, 2).

    ``chips`` are the chips' ids, ``words`` what each multiplies and stores in. ``architecture`` and ``stack`` are
    places among ``architectures`` and ``stacks``: each constant is looked up once.
    """

    chips: tuple[str, ...]
    words: tuple[tuple[str, str], ...]
    architectures: tuple[str, ...]
    stacks: tuple[str, ...]
    architecture: Ints
    stack: Ints
    peak: Floats
    fraction: Ints
    vector: Floats
    plain_conv: NDArray[np.bool_]
    memory_byte_per_s: Floats
    in_flight_byte_per_s: Floats
    traffic_share: Floats
    launch_s: Floats


def machines_of(contexts: tuple[Context, ...]) -> Machines:
    """The machines of contexts, in their order."""
    architectures = sorted({c.cluster.chip.architecture for c in contexts})
    stacks = sorted({c.stack.id for c in contexts})
    chips = [c.cluster.chip for c in contexts]
    words = [(c.recipe.matmul, storage_word(c.cluster.chip, c.recipe)) for c in contexts]
    vector = [max(x.vector_peak_flop_per_s.get("fp32", 0.0), x.peak_flop_per_s.get("fp32", 0.0)) for x in chips]
    return Machines(
        chips=tuple(x.id for x in chips), words=tuple(words),
        architectures=tuple(architectures), stacks=tuple(stacks),
        architecture=np.searchsorted(architectures, [x.architecture for x in chips]).astype(np.int64),
        stack=np.searchsorted(stacks, [c.stack.id for c in contexts]).astype(np.int64),
        peak=np.array([[chip.peak(w) for w in pair] for chip, pair in zip(chips, words, strict=True)]),
        fraction=np.array([[_fraction(c, w) for w in pair] for c, pair in zip(contexts, words, strict=True)]),
        vector=np.array(vector),
        plain_conv=np.array([c.recipe.matmul == "fp32" and c.cluster.chip.has_matrix_units for c in contexts]),
        memory_byte_per_s=np.array([x.memory_bandwidth_byte_per_s for x in chips]),
        in_flight_byte_per_s=np.array([_in_flight(c) for c in contexts]),
        traffic_share=np.array([c.stack.vector_traffic_share for c in contexts]),
        launch_s=np.array([0.0 if c.stack.graph_capture else c.stack.host_s_per_launch for c in contexts]),
    )  # fmt: skip


def _in_flight(context: Context) -> float:
    """What a chip's cores keep on its way at one element a clock and core of 2,048 threads [B/s]."""
    byte = context.stack.vector_byte(context.recipe.storage_byte)
    return in_flight_byte_per_s(context.cluster.chip, element_byte=byte, elements_per_clock=1.0)


def rates_of(machines: Machines, constants: Constants) -> Rates:
    """Sustained rates of every machine."""

    def of_chip(name: str) -> Floats:
        return np.array([constants.get(name, a) for a in machines.architectures])[machines.architecture]

    def of_stack(name: str) -> Floats:
        return np.array([constants.get(name, s) for s in machines.stacks])[machines.stack]

    clock = np.array([constants.get("clock_scale", chip) for chip in machines.chips])
    fractions = np.stack([of_chip(name) for name in _FRACTIONS], axis=1)
    product = machines.peak * np.take_along_axis(fractions, machines.fraction, axis=1) * clock[:, None]
    ones = np.ones(len(machines.stack))
    rates = Rates(
        product_flop_per_s=product,
        conv_fraction=np.where(machines.plain_conv, constants.get("plain_conv_fraction"), of_chip("conv_fraction")),
        attention_fraction=ones * constants.get("attention_fraction"),
        attention_backward_fraction=ones * constants.get("attention_backward_fraction"),
        thin_traffic=ones * constants.get("thin_conv_traffic"),
        # A chip without a rate for fp32 on record multiplies thin groups at a sixteenth of its products' peak.
        thin_flop_per_s=np.where(machines.vector > 0, clock * machines.vector, product[:, 1] / 16.0)
        * constants.get("thin_conv_fraction"),
        recurrent_flop_per_s=clock * machines.peak[:, 1] * constants.get("recurrent_fraction"),
        scan_fraction=ones * constants.get("scan_fraction"),
        memory_byte_per_s=machines.memory_byte_per_s * of_chip("memory_fraction"),
        in_flight_byte_per_s=clock * machines.in_flight_byte_per_s * constants.get("elements_per_clock"),
        ramp_s=ones * constants.get("kernel_ramp_s"),
        compute_scale=of_stack("compute_scale"), traffic_scale=machines.traffic_share * of_stack("traffic_scale"),
        host_s_per_launch=machines.launch_s * of_stack("host_scale"), cached_byte=0.0 * ones, cache_speed=ones,
    )  # fmt: skip
    return _with_measured(rates, machines, constants)


#: Rates that are a constant alone, or that times a column of the machine: (field, constant).
_ALONE: Final = (
    ("attention_fraction", "attention_fraction"), ("attention_backward_fraction", "attention_backward_fraction"),
    ("thin_traffic", "thin_conv_traffic"), ("scan_fraction", "scan_fraction"), ("ramp_s", "kernel_ramp_s"),
    ("cached_byte", "cached_byte"), ("cache_speed", "cache_speed"),
)  # fmt: skip


def _with_measured(rates: Rates, machines: Machines, constants: Constants) -> Rates:
    """The rates with what was measured on the machines' own chips, where anything was (`trainyard calibrate`)."""
    known = constants.measured_chips.intersection(machines.chips)
    if not known:
        return rates
    columns = {f.name: np.array(getattr(rates, f.name)) for f in fields(Rates)}
    for i, chip in enumerate(machines.chips):
        if chip not in known:
            continue
        multiplied, stored = machines.words[i]
        for place in (0, 1):
            value = constants.measured(_FRACTIONS[machines.fraction[i, place]], chip)
            if value is not None:
                columns["product_flop_per_s"][i, place] = machines.peak[i, place] * value
        vector = machines.vector[i] or columns["product_flop_per_s"][i, 1] / 16.0
        scaled = (
            ("conv_fraction", "plain_conv_fraction" if machines.plain_conv[i] else "conv_fraction", 1.0, multiplied),
            ("thin_flop_per_s", "thin_conv_fraction", vector, stored),
            ("recurrent_flop_per_s", "recurrent_fraction", machines.peak[i, 1], stored),
            ("memory_byte_per_s", "memory_fraction", machines.memory_byte_per_s[i], stored),
            *((column, name, 1.0, stored) for column, name in _ALONE),
        )
        for column, name, times, variant in scaled:
            value = constants.measured(name, chip, variant)
            if value is not None:
                columns[column][i] = times * value
    return Rates(**columns)


@once_per_object
def _machines(lowered: Lowered) -> Machines:
    return machines_of(lowered.contexts)


@dataclass(frozen=True, kw_only=True)
class Exchanging:
    """What a step adds to what the communication library alone takes; shape (C,) each.

    .. math:: t = t_{call} + k\\, t_{step} + s\\, t_{library}

    for every message, with the scale s of the stack and of the fabric: the scale-up one where a group stays in its
    domain, else the one between domains, where each of a ring's k steps adds its own.
    """

    call_s: Floats
    inside: Floats
    outside: Floats
    step_s: Floats

    def seconds(self, messages: Messages, context: Ints) -> Floats:
        """Seconds of messages whose group is on the cluster of each context; zero where the library needs none."""
        scale = np.where(messages.outside, self.outside[context], self.inside[context])
        call = self.call_s[context] + np.where(messages.outside, messages.steps * self.step_s[context], 0.0)
        if messages.seconds.ndim == 2:
            scale, call = scale[:, None], call[:, None]
        return np.asarray(np.where(messages.seconds > 0.0, call + scale * messages.seconds, 0.0))


@dataclass(frozen=True, kw_only=True)
class Fabrics:
    """The owners of constants of exchanges, and the places of those of every context among them; shape (C,) each."""

    stacks: tuple[str, ...]
    names: tuple[str, ...]
    stack: Ints
    inside: Ints
    outside: Ints


@once_per_object
def _fabrics(lowered: Lowered) -> Fabrics:
    stacks = sorted({c.stack.id for c in lowered.contexts})
    pairs = [(c.cluster.up_fabric, c.cluster.out_fabric) for c in lowered.contexts]
    names = sorted({name for pair in pairs for name in pair})
    return Fabrics(
        stacks=tuple(stacks), names=tuple(names),
        stack=np.searchsorted(stacks, [c.stack.id for c in lowered.contexts]).astype(np.int64),
        inside=np.searchsorted(names, [up for up, _ in pairs]).astype(np.int64),
        outside=np.searchsorted(names, [out for _, out in pairs]).astype(np.int64),
    )  # fmt: skip


def exchanging_of(lowered: Lowered, constants: Constants) -> Exchanging:
    """The constants of every context's exchanges."""
    fabrics = _fabrics(lowered)
    stack = np.array([constants.get("exchange_scale", s) for s in fabrics.stacks])[fabrics.stack]
    wire = np.array([constants.get("wire_scale", name) for name in fabrics.names])
    step = np.array([constants.get("step_s", name) for name in fabrics.names])
    call = np.full(len(stack), constants.get("call_s"))
    if constants.measured_chips:
        call = np.array([constants.on_chip("call_s", c.cluster.chip.id) for c in lowered.contexts])
    return Exchanging(
        call_s=call, inside=stack * wire[fabrics.inside],
        outside=stack * wire[fabrics.outside], step_s=step[fabrics.outside],
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Priced strategies [s]; axes as in `lowering`. The fields mirror `StepSpec`.

    ``weight_s`` is the part of ``backward_s`` that computes gradients of parameters.
    """

    forward_s: Floats  # (S, G)
    backward_s: Floats
    weight_s: Floats
    forward_tensor_s: Floats
    backward_tensor_s: Floats
    gather_s: Floats
    reduce_s: Floats
    send_s: Floats  # (S,)
    fixed_s: Floats
    reduce_after_s: Floats  # (S, R)
    optimizer_s: Floats
    update_gather_s: Floats


def price(
    lowered: Lowered, constants: Constants, traffic: Traffic | None = None, *, contention: bool = True
) -> Durations:
    """Durations of every block, message and update of every strategy.

    ``traffic`` is what `traffic_of` made of the same strategies, for callers that price them again and again. Without
    ``contention`` compute takes its own time whatever is exchanged beside it.
    """
    rates = rates_of(_machines(lowered), constants)
    traffic = traffic_of(lowered) if traffic is None else traffic
    exchanging = exchanging_of(lowered, constants)
    device, host_s = block_seconds(lowered.table, rates, lowered.shape_context, lowered.repeats.shape[1])
    exchanges = _tensor(lowered, traffic, exchanging, constants, device[FORWARD], device[BACKWARD] + device[WEIGHTS])
    tensor_forward, tensor_backward = exchanges
    forward, activations, replay, weights = _compute(lowered, rates, device, host_s, exchanges)
    # What a full replay repeats stretches as the forward pass does.
    share = np.divide(device[UNREAD], device[FORWARD], out=np.zeros_like(forward), where=device[FORWARD] > 0)
    repeated = forward * (1.0 - share)
    backward = activations + weights
    shape, context = lowered.shape, lowered.context
    recompute = lowered.recompute[:, None]
    backward_s = backward[shape]
    backward_s = backward_s + np.where(recompute == RECOMPUTE_MODES.index("selective"), replay[shape], 0.0)
    # Recomputation wraps the repeated blocks; embedding and head keep what they saved.
    full = (recompute == RECOMPUTE_MODES.index("full")) & lowered.wrapped[shape]
    backward_s = backward_s + np.where(full, repeated[shape], 0.0)
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
    gather_s, reduce_s, reduce_after_s, update_gather_s = _gradients(lowered, traffic, exchanging)
    chips = lowered.tp * lowered.cp * lowered.pp * lowered.dp
    stalls = np.array([c.stack.pipeline_stall_chips or 10**9 for c in lowered.contexts])[context]
    unshared = (lowered.dp > 1) & (lowered.sharding == 0)
    stall = np.array([c.stack.pipeline_stall_s for c in lowered.contexts])[context] * (1.0 - 1.0 / lowered.pp)
    stall = np.where((chips >= stalls) | unshared, stall, 0.0)
    send = exchanging.seconds(traffic.send, context)
    overlap = np.array([c.stack.send_overlap for c in lowered.contexts])[context]
    send = np.where(overlap, np.minimum(send, exchanging.call_s[context]), send) * (lowered.pp > 1)
    # A stall passes down the pipeline with its micro-batch: every stage sees its share.
    send = send + np.where(lowered.pp > 1, stall / 2.0, 0.0)
    host = rates.host_s_per_launch[context]
    # Exchanges of local SGD, spread over the steps between them: the mean step.
    reduce_s, reduce_after_s = (s / lowered.local_steps[:, None] for s in (reduce_s, reduce_after_s))
    offload_s = _offloading(lowered)
    drag = constants.get("exchange_drag") if contention else 0.0
    slower = _replicas_slower(lowered, constants)[:, None]
    forward_s, dragged_s = _dragged(
        lowered, slower * forward[shape], slower * backward_s, gather_s, reduce_s, drag
    )  # fmt: skip
    # Activations leave under the forward pass and come back under the backward pass; a block waits for its own.
    forward_s, dragged_s = np.maximum(forward_s, offload_s), np.maximum(dragged_s, offload_s)
    share = np.divide(slower * weights[shape], dragged_s, out=np.zeros_like(backward_s), where=dragged_s > 0)
    fixed_s = np.asarray(host * constants.get("fixed_launches"))
    optimizer_s = _optimizer(lowered, rates, constants) + _on_the_host(lowered)
    apart = np.flatnonzero(lowered.updates == UPDATES.index("asynchronous"))
    if len(apart):
        passes_s = forward_s + dragged_s + tensor_forward_s + tensor_backward_s
        work_s = fixed_s + lowered.micro_batches * np.einsum("sg,sg->s", lowered.repeat[:, 0].astype(float), passes_s)
        reduce_after_s[apart] = _waits_for_servers(lowered.take(apart), work_s[apart], constants)[:, None]
        optimizer_s[apart] = 0.0
    return Durations(
        forward_s=forward_s, backward_s=dragged_s, weight_s=share * dragged_s, forward_tensor_s=tensor_forward_s,
        backward_tensor_s=tensor_backward_s, gather_s=gather_s, reduce_s=reduce_s, send_s=np.asarray(send),
        fixed_s=fixed_s, reduce_after_s=reduce_after_s,
        optimizer_s=optimizer_s, update_gather_s=update_gather_s,
    )  # fmt: skip


def _replicas_slower(lowered: Lowered, constants: Constants) -> Floats:
    r"""How many times as long compute takes beside other replicas as alone; shape (S,).

    .. math:: (1 + \sigma E_n / \sqrt{k})\,(1 + j \log_2 n)

    The step of n replicas is that of the slowest, with ``replica_spread`` sigma and E_n of `waiting.slowest_of`; those
    that average parameters every k steps wait once for k of them, those that wait for nobody never. Replicas of one
    process lose ``joint_drag`` j for every doubling besides, in a stack that has them so. Replicas of a causal language
    model have sequences of one length and all do the same. Leaves out: that the spread of batches of few samples is
    the wider one.
    """
    waits = lowered.uneven & (lowered.dp > 1) & (lowered.updates != UPDATES.index("asynchronous"))
    spread = constants.get("replica_spread") * slowest_of(lowered.dp) / np.sqrt(np.maximum(lowered.local_steps, 1))
    joint = np.array([c.stack.joint_replicas for c in lowered.contexts])[lowered.context] & (lowered.dp > 1)
    drag = constants.get("joint_drag") * np.log2(np.maximum(lowered.dp, 1))
    return np.asarray((1.0 + np.where(waits, spread, 0.0)) * (1.0 + np.where(joint, drag, 0.0)))


def _dragged(
    lowered: Lowered, forward_s: Floats, backward_s: Floats, gather_s: Floats, reduce_s: Floats, drag: float
) -> tuple[Floats, Floats]:
    """Compute beside which gradients or parameters are exchanged, stretched by the cores and bandwidth that takes.

    .. math:: t' = t + d \\min(t, x)

    with the exchange x that runs beside a block and the drag d. Of many micro-batches in mode "backward" only the last
    has an exchange beside it, so that there its share is one in m.
    """
    sharded = (lowered.gradient_mode == GRADIENT_MODES.index("sharded"))[:, None]
    overlapped = (lowered.gradient_mode == GRADIENT_MODES.index("backward"))[:, None]
    beside_forward = np.where(sharded, np.minimum(gather_s, forward_s), 0.0)
    beside_backward = np.where(sharded, np.minimum(gather_s + reduce_s, backward_s), 0.0)
    last = np.minimum(reduce_s, backward_s) / lowered.micro_batches[:, None]
    beside_backward = np.where(overlapped, last, beside_backward)
    return forward_s + drag * beside_forward, backward_s + drag * beside_backward


#: Share of a host link's nominal rate that large copies reach, and of a host's memory bandwidth that its update does.
HOST_LINK_SHARE: Final = 0.8
#: Bytes per parameter of a host's update per second and chip: what a share of a server's memory sustains [B/s].
HOST_UPDATE_BYTE_PER_S: Final = 20e9


def host_link_byte_per_s(context: Context) -> float:
    """Rate of copies between a chip and its host, one direction [B/s]; 0 where the chip has no such link on record."""
    return HOST_LINK_SHARE * (context.cluster.chip.host_bandwidth_byte_per_s or 0.0)


def _offloading(lowered: Lowered) -> Floats:
    """Time to move what one micro-batch of every block keeps to the host, or back; (S, G) [s] (vDNN, arXiv:1602.08124).

    A chip without a host link on record cannot offload: the time is infinite, which no search ranks.
    """
    rate = np.array([host_link_byte_per_s(c) for c in lowered.contexts])[lowered.context][:, None]
    moved = lowered.offloaded_byte[lowered.shape] * (lowered.offload == OFFLOADS.index("activations"))[:, None]
    seconds = np.divide(moved, rate, out=np.where(moved > 0, _NEVER_S, 0.0), where=(moved > 0) & (rate > 0))
    return np.asarray(seconds)


def _on_the_host(lowered: Lowered) -> Floats:
    """What an update on the host adds to one on the chip; (S, R) [s] (ZeRO-Offload, arXiv:2101.06840).

    Gradients go down and parameters come back over the host link; the host reads and writes the optimizer's words.
    Leaves out: the part that hides under the last backward pass.
    """
    context = lowered.context
    chosen = (lowered.offload == OFFLOADS.index("optimizer"))[:, None]
    rate = np.array([host_link_byte_per_s(c) for c in lowered.contexts])[context][:, None]
    words = np.array([4.0 * c.optimizer.read_write_words_per_parameter for c in lowered.contexts])[context][:, None]
    stored = np.array([c.recipe.storage_byte + c.recipe.gradient_byte for c in lowered.contexts])[context][:, None]
    held = _updated_parameters(lowered)
    seconds = held * words / HOST_UPDATE_BYTE_PER_S
    seconds = seconds + np.divide(held * stored, rate, out=np.full_like(held, _NEVER_S), where=rate > 0)
    return np.asarray(np.where(chosen, seconds, 0.0))


def server_exchange_of(lowered: Lowered, constants: Constants) -> ServerExchange:
    """What workers exchange with parameter servers, with a step's own constants; (S,)."""
    context, exchanging = lowered.context, exchanging_of(lowered, constants)
    small, large = messages_between_hosts(lowered)
    return server_exchange(
        lowered, small_s=exchanging.seconds(small, context), large_s=exchanging.seconds(large, context),
        host_link_byte_per_s=np.array([host_link_byte_per_s(c) for c in lowered.contexts])[context],
        update_byte_per_s=np.full(lowered.strategies, HOST_UPDATE_BYTE_PER_S),
    )  # fmt: skip


def _waits_for_servers(lowered: Lowered, work_s: Floats, constants: Constants) -> Floats:
    """What the mean step of workers that wait for nobody but the servers adds to its own work; (S,) [s].

    In the period of `modes.servers.asynchronous_period_s` each worker makes one update; all of them together run a
    global batch. The servers update, not the workers.
    """
    found = server_exchange_of(lowered, constants)
    period = asynchronous_period_s(workers=found.workers, compute_s=work_s, times=found.times)
    return np.asarray(period - work_s)


def _compute(
    lowered: Lowered, rates: Rates, device: Floats, host: Floats, exchanges: tuple[Floats, Floats]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Seconds of every block of every shape, (K, G) each: forward, gradients of activations, replay, of parameters.

    The host issues kernels ahead of the device, while that computes and while it waits for exchanges between kernels.
    Where it needs longer than both over a whole pass, the device waits and every block of the pass stretches alike,

    .. math:: t = d + ((d + x)^p + h^p)^{1/p} - (d + x)

    with device time d, exposed exchanges x, host time h and the sharpness p; all (passes, K, G). Software that reads on
    the host how many rows each expert gets waits for the device in every routed block's forward pass: then the host is
    no more ahead, and the device waits for the first launches after it.
    """
    stretched: dict[int, Floats] = {}
    launch = rates.host_s_per_launch[lowered.shape_context]
    waits = np.array([c.stack.routing_waits for c in lowered.contexts])[lowered.shape_context][:, None] & lowered.routed
    none = np.zeros_like(exchanges[0])
    for phases, exchange in (((FORWARD,), exchanges[0]), ((BACKWARD, WEIGHTS), exchanges[1]), ((REPLAY,), none)):
        computing = sum(np.sum(device[phase] * lowered.repeats, axis=1) for phase in phases)
        issue = sum(np.sum(host[phase] * lowered.repeats, axis=1) for phase in phases)
        busy = np.maximum(computing + np.sum(exchange * lowered.repeats, axis=1), 1e-12)
        waits_s = busy * ((1.0 + (issue / busy) ** HOST_SHARPNESS) ** (1.0 / HOST_SHARPNESS) - 1.0)
        stretch = 1.0 + waits_s / np.maximum(computing, 1e-12)
        for phase in phases:
            stretched[phase] = device[phase] * stretch[:, None]
    stretched[FORWARD] = stretched[FORWARD] + np.where(waits, ROUTING_WAIT_LAUNCHES * launch[:, None], 0.0)
    return stretched[FORWARD], stretched[BACKWARD], stretched[REPLAY], stretched[WEIGHTS]


def _tensor(
    lowered: Lowered, traffic: Traffic, exchanging: Exchanging, constants: Constants, forward: Floats, backward: Floats
) -> tuple[Floats, Floats]:
    """Exposed exchange inside every block, (K, G) each [s]: of tensors, contexts, experts, halos, cut dense layers.

    Where the stack cuts exchanges into pieces that run under the neighbouring product, only a share stays exposed, and
    never less than what exceeds the compute it could hide under.
    """
    context = lowered.shape_context
    share = np.array([constants.get("tensor_exposed") if c.stack.tensor_overlap else 1.0 for c in lowered.contexts])
    exposed = share[context][:, None]
    gathered_s = exchanging.seconds(traffic.context_ring, context)
    scattered_s = exchanging.seconds(traffic.context_scatter, context)
    heads_s = exchanging.seconds(traffic.context_heads, context)
    # Dense layers that are cut wait for the samples of all, and give back the sum of their gradients.
    hybrid_s = tuple(exchanging.seconds(m, context) for m in (traffic.hybrid_gather, traffic.hybrid_scatter))
    halo_s = lowered.halo_calls * exchanging.seconds(traffic.halo, context)
    # Rows go to their experts and come back in the order they left; nothing of the block can run meanwhile.
    expert_s = lowered.expert_calls * exchanging.seconds(traffic.expert, context)
    beside = np.array([c.stack.expert_overlap for c in lowered.contexts])[context][:, None]
    # Two micro-batches at once are a schedule for blocks of a transformer; no stack has it for hybrids.
    beside = beside & ~lowered.scans
    drag = constants.get("exchange_drag")
    results = []
    for place, (calls, messages, compute) in enumerate(
        (
            (lowered.forward_calls, traffic.tensor_forward, forward),
            (lowered.backward_calls, traffic.tensor_backward, backward),
        )
    ):
        exchange = calls * exchanging.seconds(messages, context)
        hidden = np.minimum(exchange * (1.0 - exposed), compute)
        # A ring passes keys and values on under attention, backward their gradients too; compute hides one exchange at
        # a time. The other two exchanges come before and after attention.
        left, ring_s = compute - hidden, (1.0 + place) * gathered_s
        ring_s = np.maximum(ring_s * constants.get("tensor_exposed"), ring_s - left)
        context_s = np.choose(
            lowered.shape_context_exchange[:, None], (ring_s, gathered_s + place * scattered_s, heads_s)
        )
        # Under the compute of another micro-batch an exchange costs the cores and bandwidth that it takes.
        under = np.where(beside, np.minimum(expert_s, compute), 0.0)
        routed_s = expert_s - (1.0 - drag) * under
        results.append(np.asarray(exchange - hidden + context_s + hybrid_s[place] + halo_s + routed_s))
    return results[0], results[1]


def _gradients(lowered: Lowered, traffic: Traffic, exchanging: Exchanging) -> tuple[Floats, Floats, Floats, Floats]:
    """Gather (S, G), reduce (S, G), reduction after the passes (S, R) and fetch of updated parameters (S, R) [s]."""
    context = lowered.context

    def seconds(messages: Messages) -> Floats:
        return exchanging.seconds(messages, context)

    sharded = (lowered.sharding > 0)[:, None]
    reduce_s = traffic.bucket_share * np.where(
        sharded, seconds(traffic.scatter) + seconds(traffic.replicas), seconds(traffic.reduce)
    )
    spread_s = np.where(sharded, seconds(traffic.spread_scatter), seconds(traffic.spread_reduce))
    reduce_s = reduce_s + traffic.spread_share * spread_s
    # Fewer parameter servers than hosts: each serves several hosts' pushes and pulls over its own card.
    served = traffic.hosts / np.maximum(lowered.parameter_servers, 1)
    incast = np.where(lowered.parameter_servers > 0, np.maximum(1.0, served), 1.0)
    reduce_s = reduce_s * incast[:, None]
    scattered = seconds(traffic.scatter_after) + seconds(traffic.replicas_after)
    after = np.where(sharded, scattered, seconds(traffic.reduce_after))
    after = after + np.where(sharded, seconds(traffic.spread_scatter_after), seconds(traffic.spread_reduce_after))
    zero3 = (lowered.gradient_mode == GRADIENT_MODES.index("sharded"))[:, None]
    # Ranks that gather parameters block by block anyway need no fetch after the update.
    update = np.where(sharded & ~zero3, seconds(traffic.update) + seconds(traffic.spread_update), 0.0)
    gather_s = np.where(zero3, seconds(traffic.gather), 0.0)
    mode_after = (lowered.gradient_mode == GRADIENT_MODES.index("after"))[:, None]
    return gather_s, np.where(mode_after, 0.0, reduce_s), np.where(mode_after, after, 0.0), update


def _optimizer(lowered: Lowered, rates: Rates, constants: Constants) -> Floats:
    """Seconds of the update on every role, (S, R): its words read and written once, over the ranks that shard it.

    Rules that multiply matrices do so at the rate of large products, after the elements.
    """
    context = lowered.context
    on_chip = (lowered.offload != OFFLOADS.index("optimizer"))[:, None]
    byte = np.array(
        [
            4.0 * c.optimizer.read_write_words_per_parameter
            + (c.recipe.storage_byte if c.recipe.master_byte else 0.0)
            + c.recipe.unscale_byte
            for c in lowered.contexts
        ]
    )[context]
    scale = np.full(len(lowered.contexts), constants.get("optimizer_traffic"))
    if constants.measured_chips:
        scale = np.array(
            [
                constants.on_chip("optimizer_traffic", c.cluster.chip.id, variant=c.optimizer.name)
                for c in lowered.contexts
            ]
        )
    traffic = on_chip * _updated_parameters(lowered) * byte[:, None] * scale[context][:, None]
    work = on_chip * np.einsum("srg,sg->sr", lowered.repeat.astype(float), lowered.update_flop[lowered.shape])
    work = work / _shards(lowered)[:, None]
    return np.asarray(
        traffic / rates.memory_byte_per_s[context][:, None] + work / rates.product_flop_per_s[context, 1][:, None]
    )


@once_per_object
def _shards(lowered: Lowered) -> Floats:
    """Ranks among which the update of a parameter is shared; (S,)."""
    ranks = (lowered.dp * lowered.cp).astype(float)
    limit = np.where(lowered.shard_ranks > 0, np.minimum(lowered.shard_ranks, ranks), ranks)
    return np.asarray(np.where(lowered.sharding > 0, limit, 1.0))


@once_per_object
def _updated_parameters(lowered: Lowered) -> Floats:
    """Parameters that one rank of every role updates; (S, R)."""
    repeat, spread = lowered.repeat.astype(float), lowered.spread_parameters[lowered.shape]
    stage = np.einsum("srg,sg->sr", repeat, lowered.held_parameters - spread)
    shards = _shards(lowered)
    spread_shards = np.where(lowered.sharding > 0, lowered.spread_ranks, 1)
    trained = np.where(lowered.frozen, 0.01, 1.0)
    held = stage / shards[:, None] + np.einsum("srg,sg->sr", repeat, spread) / spread_shards[:, None]
    return np.asarray(held * trained[:, None])


def ticks(seconds: Floats) -> Ints:
    """Whole picoseconds."""
    return np.asarray(np.rint(seconds * PICOSECONDS_PER_SECOND), dtype=np.int64)
