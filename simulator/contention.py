"""What each kind of work of a step takes of what chips and servers share, for the event engine.

A collective that takes t seconds alone and moves V bytes over a server's network cards of rate W uses the share

.. math:: V / (W t)

of them: all of it where it is bound by their rate, little where latency or the library's own limits rule. The same with
the wires inside a server. V is the least that any algorithm moves, a server's sum once out and once in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .collectives.exchange import Wires
from .constants import Constants
from .events import Contention, Grid
from .lowering import Lowered
from .stepspec import PICOSECONDS_PER_SECOND, StepSpec
from .traffic import Groups, gradient_byte_of


def least_volume(collective: str, parts: float, members: float) -> float:
    """Bytes that each of ``parts`` parts of a group sends to the others, per byte of the message.

    ``members`` ranks sit in a part. Reduce: 2 (D - 1) / D; gather and scatter: half of it; all-to-all: (D - 1) / D of
    what its members hold; a permutation: what they send.
    """
    if parts <= 1.0:
        return 0.0
    away = (parts - 1.0) / parts
    return {"all_reduce": 2.0 * away, "all_to_all": members * away, "permute": members}.get(collective, away)


def grid_of(lowered: Lowered, row: int) -> Grid:
    """How the ranks of a strategy are laid out: who exchanges inside layers, who gradients."""
    tp, cp, dp, pp = (int(getattr(lowered, name)[row]) for name in ("tp", "cp", "dp", "pp"))
    routed = int(lowered.ep[row] * lowered.etp[row])
    inner = math.lcm(tp * cp, routed, tp * int(lowered.hybrid[row]))
    ranks = tp * cp * dp
    inner = inner if ranks % inner == 0 else ranks
    return Grid(stages=pp, replicas=ranks // inner, inner=inner, lanes=tp)


def contention_of(lowered: Lowered, row: int, spec: StepSpec, constants: Constants) -> Contention:
    """Demands of one strategy's work, from the bytes that its groups move and the times they were priced with.

    ``taken`` is the fitted drag: what compute loses for each second of exchange that runs beside it.
    """
    context = lowered.contexts[int(lowered.context[row])]
    wires = {kind: _seconds(lowered, row, kind) for kind in ("tensor", "send", "gather", "reduce", "update_gather")}
    priced = _priced(spec)
    demands = {}
    for kind, (up_s, out_s) in wires.items():
        alone_s = priced[kind] / PICOSECONDS_PER_SECOND
        if alone_s > 0.0:
            out, up = min(out_s / alone_s, 1.0), min(up_s / alone_s, 1.0)
            demands[kind] = {"scale_up": up, "cards_out": out, "cards_in": out}
    return Contention(
        demands=demands, chips_per_server=context.cluster.chips_per_server, taken=constants.get("exchange_drag")
    )


def _priced(spec: StepSpec) -> dict[str, int]:
    """What each kind of work takes alone in one pass of one micro-batch through the first stage [ps]."""
    blocks = [(b, b.repeat) for b in spec.stages[0].blocks]
    return {
        "tensor": sum(n * (b.forward_tensor_ps + b.backward_tensor_ps) for b, n in blocks),
        "gather": sum(n * b.gather_ps for b, n in blocks),
        "reduce": sum(n * b.reduce_ps for b, n in blocks) or spec.stages[0].reduce_after_ps,
        "update_gather": spec.stages[0].update_gather_ps,
        "send": spec.send_ps,
    }


def _seconds(lowered: Lowered, row: int, kind: str) -> tuple[float, float]:
    """Seconds that the wires inside and between servers need for one kind of work of the first stage, as `_priced`."""
    up_s = out_s = 0.0
    for ranks, stride, collective, byte in _messages(lowered, row, kind):
        if ranks <= 1 or byte <= 0.0:
            continue
        group = Groups(
            contexts=lowered.contexts, context=np.array([lowered.context[row]]), ranks=np.array([ranks]),
            stride=np.array([stride]),
        )  # fmt: skip
        wires: Wires = group.wires(0)
        inside = float(wires.domain_ranks)
        domains = wires.ranks / inside
        up_s += byte * least_volume(collective, inside, 1.0) / wires.up_byte_per_s
        out_s += byte * least_volume(collective, domains, inside) / wires.out_byte_per_s
    return up_s, out_s


def _messages(lowered: Lowered, row: int, kind: str) -> Iterator[tuple[int, int, str, float]]:
    """(ranks, stride, collective, bytes) of all messages of one kind of work of the first stage."""
    shape = int(lowered.shape[row])
    context = lowered.contexts[int(lowered.context[row])]
    tp, cp, dp = (int(getattr(lowered, name)[row]) for name in ("tp", "cp", "dp"))
    repeat = lowered.repeat[row, 0].astype(float)
    if row in lowered.stage_layers:
        repeat = lowered.stage_layers[row][0].reshape(-1, len(repeat)).sum(axis=0).astype(float)

    def total(per_block: object) -> float:
        return float(np.dot(repeat, np.asarray(per_block, dtype=float)))

    if kind == "tensor":
        for way in ("forward", "backward"):
            calls, byte = getattr(lowered, f"{way}_calls")[shape], getattr(lowered, f"{way}_byte")[shape]
            yield tp, 1, "all_reduce", total(calls * byte)
        yield cp, tp, "all_gather", 3.0 * total(lowered.context_byte[shape])
        routed = lowered.expert_calls[shape] * lowered.expert_byte[shape]
        yield int(lowered.ep[row]), int(lowered.etp[row]), "all_to_all", 2.0 * total(routed)
        yield cp, tp, "permute", 2.0 * total(lowered.halo_calls[shape] * lowered.halo_byte[shape])
        return
    if kind == "send":
        if lowered.pp[row] > 1:
            yield 2, tp * cp * dp, "permute", float(lowered.boundary_byte[shape])
        return
    held = total(lowered.held_parameters[row])
    ranks = dp * cp
    shards = min(int(lowered.shard_ranks[row]) or ranks, ranks)
    if kind == "reduce":
        collective = "reduce_scatter" if lowered.sharding[row] else "all_reduce"
        byte = held * gradient_byte_of(context.stack, context.recipe)
        yield (shards if lowered.sharding[row] else ranks), tp, collective, byte
    else:
        yield shards, tp, "all_gather", held * context.recipe.storage_byte
