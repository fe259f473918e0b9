"""What to keep for the backward pass and what to run forward again: none, selective, full, every k layers, or the best.

All are schedules over one `Chain`, gone through pass by pass by the same `run_steps`, so that they can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.workload import Workload

from .kernels.optable import Floats
from .recompute_chain import Chain, RecomputePlan, Step, run_steps
from .recompute_search import best_steps, least_byte, stretch_table
from .stage_costs import BACKWARD_WORK, crossing_elements, one_by_one

__all__ = [
    "Chain",
    "Frontier",
    "RecomputePlan",
    "Step",
    "chain_of",
    "frontier",
    "keep_plan",
    "least_byte",
    "plan_chain",
    "plan_recomputation",
    "replay_plan",
    "run_steps",
]


def plan_recomputation(
    forward_s: ArrayLike,
    backward_s: ArrayLike,
    kept_byte: ArrayLike,
    input_byte: ArrayLike,
    limit_byte: float,
    *,
    gradient_byte: ArrayLike | None = None,
    working_byte: ArrayLike = 0.0,
) -> RecomputePlan:
    """The fastest schedule of a chain within a memory limit.

    Exact among schedules that never drop a stored input before its layer goes back, where every layer keeps at least
    its input, and for bytes with a common divisor of at least limit / 600; else bytes are rounded up to slots of that
    size, so that the limit holds all the same.
    Arguments as in `Chain`; with several ways to keep (selective), columns of ``backward_s`` and ``kept_byte``.

    Raises
    ------
    ValueError
        For a limit that is too small, with the least that is not; for arguments that `Chain.of` refuses.

    References
    ----------
    Beaumont et al. 2019, Optimal checkpointing for heterogeneous chains, arXiv:1911.13214.
    """
    chain = Chain.of(
        forward_s, backward_s, kept_byte, input_byte, gradient_byte=gradient_byte, working_byte=working_byte
    )
    return plan_chain(chain, limit_byte)


def plan_chain(chain: Chain, limit_byte: float) -> RecomputePlan:
    """`plan_recomputation` of a chain."""
    everything = keep_plan(chain)
    if everything.peak_byte <= limit_byte:
        return everything
    least = least_byte(chain)
    if not limit_byte >= least:
        raise ValueError(
            f"recomputation: no schedule fits into {limit_byte:g} B; at least {least:g} B (all kept: "
            f"{everything.peak_byte:g} B)."
        )
    table = stretch_table(chain, limit_byte)
    if not np.isfinite(table.seconds[0, -1, -1]):
        raise ValueError(
            f"recomputation: {limit_byte:g} B is within rounding of the least there is, {least:g} B; try "
            f"{1.05 * least:g} B."
        )
    return run_steps(chain, best_steps(table))


def keep_plan(chain: Chain, *, way: int = 0) -> RecomputePlan:
    """Nothing is replayed as a whole: every layer keeps what its way says (0: all, 1: selective where there is one)."""
    layers = range(chain.layers)
    return run_steps(
        chain, [Step("keep", layer, way) for layer in layers] + [Step("back", layer, way) for layer in layers[::-1]]
    )


def replay_plan(chain: Chain, *, every: int = 1) -> RecomputePlan:
    """Keep the input of every k-th layer and replay stretches of k layers, as frameworks do; ``every`` 1 is "full".

    The last stretch, which goes back at once, keeps its activations. With k = sqrt(n): Chen et al. 2016,
    arXiv:1604.06174.
    """
    if every < 1:
        raise ValueError(f"recomputation: every is {every}; at least 1 layer.")
    stretches = [range(start, min(start + every, chain.layers)) for start in range(0, chain.layers, every)]
    steps: list[Step] = []
    for stretch in stretches[:-1]:
        steps += [Step("store" if layer == stretch[0] else "pass", layer) for layer in stretch]
    for stretch in stretches[::-1]:
        steps += [Step("keep", layer) for layer in stretch] + [Step("back", layer) for layer in stretch[::-1]]
    return run_steps(chain, steps)


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The best schedules of a chain for every memory: ``limit_byte`` and ``extra_share`` of the compute, (M,) each.

    ``all_byte`` is what a step that keeps all holds; ``fixed_byte`` what is held besides the chain (weights).
    """

    limit_byte: Floats
    extra_share: Floats
    all_byte: float
    fixed_byte: float

    def saved_share(self, extra_share: float) -> float:
        """Share of all memory that at most so much more compute saves."""
        legal = np.flatnonzero(self.extra_share <= extra_share + 1e-12)
        least = min((self.limit_byte[i] for i in legal), default=self.all_byte)
        return float(1.0 - (least + self.fixed_byte) / (self.all_byte + self.fixed_byte))

    def extra_for(self, saved_share: float) -> float:
        """Share of compute that saving so much memory costs; infinite where nothing saves that."""
        most = (1.0 - saved_share) * (self.all_byte + self.fixed_byte) - self.fixed_byte
        legal = self.extra_share[self.limit_byte <= most]
        return float(legal.min()) if len(legal) else float("inf")


def frontier(chain: Chain, *, fixed_byte: float = 0.0) -> Frontier:
    """Memory against compute, from one search: less memory, more replays."""
    everything = keep_plan(chain).peak_byte
    table = stretch_table(chain, everything)
    seconds = table.seconds[0, -1]
    some = np.isfinite(seconds)
    return Frontier(
        limit_byte=np.append(np.arange(table.slots + 1)[some] * table.slot_byte, everything),
        extra_share=np.append(seconds[some] / chain.plain_s - 1.0, 0.0), all_byte=everything, fixed_byte=fixed_byte,
    )  # fmt: skip


def chain_of(
    workload: Workload,
    *,
    batch: int,
    forward_s: ArrayLike | None = None,
    backward_s: ArrayLike | None = None,
    element_byte: float = 2.0,
    keeps: str = "needed",
    gradients: bool = True,
) -> Chain:
    """A network as a chain of its single layers, for ``batch`` samples.

    ``forward_s`` and ``backward_s`` are those of one repeat of every layer, shape (G,); by default the counted work and
    twice that, in FLOP. ``keeps``: what the backward pass ``needed`` (two ways: all, and without attention's scores,
    which are then replayed: `plan` chooses), or every tensor that an op has ``written``. Inputs are what crosses the
    cut before a layer. Without ``gradients`` their memory is left out.
    """
    if keeps not in ("needed", "written"):
        raise ValueError(f"recomputation: keeps is {keeps!r}; legal: needed, written.")
    if batch < 1:
        raise ValueError(f"recomputation: batch is {batch}; at least 1 sample.")
    layers = workload.layers
    unit = element_byte * batch
    work = np.array([layer.forward_flop for layer in layers], dtype=np.float64) * batch
    forward = work if forward_s is None else np.asarray(forward_s, dtype=np.float64)
    backward = BACKWARD_WORK * forward if backward_s is None else np.asarray(backward_s, dtype=np.float64)
    inputs = unit * np.append(layers[0].ops[0].read_elements, crossing_elements(workload))
    if keeps == "written":
        written = np.array([sum(op.write_elements for op in layer.ops) for layer in layers], dtype=np.float64)
        kept, ways = unit * written[:, None], backward[:, None]
    else:
        saved = np.array([layer.saved_elements for layer in layers])
        scores = np.array([layer.score_elements for layer in layers])
        attention = np.array(
            [sum(op.forward_flop for op in layer.ops if op.kind == "attention") for layer in layers], dtype=np.float64
        )
        replayed = forward * np.divide(attention * batch, work, out=np.zeros_like(work), where=work > 0)
        kept = unit * np.stack([saved + scores, saved], axis=1)
        ways = np.stack([backward, backward + replayed], axis=1)
        if not scores.any():
            kept, ways = kept[:, :1], ways[:, :1]
    return Chain.of(
        one_by_one(workload, forward), one_by_one(workload, ways.T).T, one_by_one(workload, kept.T).T, inputs,
        gradient_byte=None if gradients else 0.0,
    )  # fmt: skip
