"""When compressing gradients pays: a step with plain and with coded gradients, and the network at which they tie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import optimize

from simulator.calibration_data import load
from simulator.cluster import Cluster
from simulator.collectives import compression as codes
from simulator.constants import Constants
from simulator.job import Job, resolve
from simulator.outcome.failures import RunError
from simulator.query import PlanQuery
from simulator.ranking import search
from workloads.workload import Workload

#: Word of a strategy -> the scheme, and the way its codes travel.
SCHEMES: Final[Mapping[str, tuple[codes.Scheme, str]]] = {
    "one_bit": (codes.one_bit(), "scatter_gather"),
    "qsgd4": (codes.qsgd(bit=4), "scatter_gather"),
    "top_1_percent": (codes.top_k(density=0.01), "all_gather"),
    "dgc": (codes.dgc(), "all_gather"),
}
#: Calls of a library for one tensor: gradient and momentum made up, magnitudes sampled, a threshold, what lies above
#: it, a second selection, values taken, both memories masked, codes spread and divided. Counted for DGC in
#: synxlin/deep-gradient-compression@b929ca7a (dgc/compression.py, dgc/memory.py), to about 5; the others assumed from
#: the passes they make.
CALLS_PER_TENSOR: Final[Mapping[str, int]] = {"one_bit": 12, "qsgd4": 8, "top_1_percent": 15, "dgc": 25}


@dataclass(frozen=True, kw_only=True)
class CompressedStep:
    """Steps of one job on so many chips, the same samples on each: alone, plain, coded. [s]

    ``codec_s`` is the part of the coded step that selecting, coding and decoding take; nothing hides it.
    """

    chips: int
    alone_s: float
    plain_s: float
    coded_s: float
    codec_s: float

    @property
    def plain_speed_up(self) -> float:
        """Samples a second with plain gradients against one chip."""
        return self.chips * self.alone_s / self.plain_s

    @property
    def coded_speed_up(self) -> float:
        """Samples a second with coded gradients against one chip."""
        return self.chips * self.alone_s / self.coded_s


def matrices(workload: Workload) -> int:
    """Tensors of two dimensions or more that a network learns, the ones that are worth coding: one for each op that
    multiplies or looks up; vectors (biases, normalisation) are sent as they are."""
    kinds = ("gemm", "conv", "recurrent", "embedding")
    return sum(
        layer.repeat * sum(op.kind in kinds and op.parameters > 0 for op in layer.ops) for layer in workload.layers
    )


def codec_s(workload: Workload, scheme: str, *, chips: int, cluster: Cluster, host_s_per_launch: float) -> float:
    r"""What coding one step's gradients takes of a chip [s].

    .. math:: t = B_{codec} / \beta_{memory} + n_{tensors} \, c \, t_{host}

    The passes over memory (`collectives.compression.codec_cost`), one after the other with the host's calls, which do
    not run ahead: how much is selected decides what is called next. 0 for one chip. Leaves out: sorting in the
    selection, gradients coded while others are still being computed.
    """
    found, way = _scheme(scheme)
    if chips < 2:
        return 0.0
    cost = codes.codec_cost(found, way, ranks=chips, elements=workload.parameters)
    chip = cluster.chip
    passes = cost.seconds(memory_byte_per_s=chip.memory_bandwidth_byte_per_s, op_per_s=chip.peak("fp32"))
    return float(passes) + matrices(workload) * CALLS_PER_TENSOR[scheme] * host_s_per_launch


def compressed_steps(
    query: PlanQuery, scheme: str, *, chips: Sequence[int], batch_per_chip: int, cluster: Cluster | None = None,
    constants: Constants | None = None,
) -> tuple[CompressedStep, ...]:  # fmt: skip
    """A data-parallel job with plain and with coded gradients on each of ``chips``; weak scaling.

    ``query`` says all but chips, batch and compression; ``cluster`` stands in for its system's where that is not in the
    catalogue. Both steps are the engine's (exchange under the backward pass, buckets, the library's choice); the coded
    one has `codec_s` on top. Leaves out what coding costs in accuracy (`outcome.convergence.ceilings.step_cost`).
    """
    _scheme(scheme)
    constants = constants or load().constants
    alone = _Steps(query, scheme, 1, batch_per_chip, cluster)
    alone_s = alone.seconds("none", constants)
    found = []
    for count in chips:
        steps = _Steps(query, scheme, count, batch_per_chip, cluster)
        codec = steps.codec_s
        found.append(
            CompressedStep(
                chips=count, alone_s=alone_s, plain_s=steps.seconds("none", constants),
                coded_s=steps.seconds(scheme, constants) + codec, codec_s=codec,
            )
        )  # fmt: skip
    return tuple(found)


def pays_below(
    query: PlanQuery, scheme: str, *, chips: int, batch_per_chip: int, cluster: Cluster | None = None,
    constants: Constants | None = None,
) -> float:  # fmt: skip
    """The rate of a server's network cards below which a coded step is the shorter one [byte/s].

    By root finding in the logarithm, to a hundredth, over a hundredth to a hundred times today's rate: 0 where coding
    never pays there, infinite where it always does. Between the two there is one crossing: a slower network costs the
    longer message more.
    """
    _scheme(scheme)
    constants = constants or load().constants
    steps = _Steps(query, scheme, chips, batch_per_chip, cluster)

    def gain(log_factor: float) -> float:
        factor = math.exp(log_factor)
        coded_s = steps.seconds(scheme, constants, factor) + steps.codec_s
        return math.log(steps.seconds("none", constants, factor) / coded_s)

    low, high = math.log(1e-2), math.log(1e2)
    if gain(low) <= 0.0:
        return 0.0
    if gain(high) > 0.0:
        return math.inf
    factor = math.exp(float(optimize.brentq(gain, low, high, xtol=0.005)))
    return steps.cluster.out_byte_per_s * factor


def most_ranks(scheme: str, *, elements: int) -> float:
    r"""Ranks up to which coded gradients are fewer bytes than plain ones in a ring.

    .. math:: (n - 1) B_{code} = 2 (n - 1) \cdot 4 N / n \;\Rightarrow\; n = 8 N / B_{code}

    for codes that are gathered unadded: their volume grows with the ranks, that of a sum does not. Infinite for codes
    that are added on the way.
    """
    found, way = _scheme(scheme)
    if way != "all_gather":
        return math.inf
    code = float(np.asarray(codes.encoded_byte(found, elements)))
    return 2.0 * codes.FP32_BYTE * elements / code


class _Steps:
    """One job with its batch, priced with one compression or another, on the network as it is or another rate."""

    def __init__(self, query: PlanQuery, scheme: str, chips: int, batch: int, cluster: Cluster | None) -> None:
        self._query = replace(query, chips=chips, global_batch=batch * chips)
        self._pinned = {**dict(query.fixed), "dp": chips, "micro_batch": batch}
        job = self._job("none")
        self.cluster = cluster or job.context.cluster
        self.codec_s = codec_s(
            job.workload, scheme, chips=chips, cluster=self.cluster,
            host_s_per_launch=job.context.stack.host_s_per_launch,
        )  # fmt: skip

    def _job(self, scheme: str) -> Job:
        return resolve(replace(self._query, fixed=tuple({**self._pinned, "compression": scheme}.items())))

    def seconds(self, scheme: str, constants: Constants, factor: float = 1.0) -> float:
        job = self._job(scheme)
        cluster = replace(self.cluster, out_byte_per_s=self.cluster.out_byte_per_s * factor)
        found = search(replace(job, context=replace(job.context, cluster=cluster)), constants)
        if not len(found.order):
            raise RunError(
                f"compression: {job.workload.name} with {self._pinned['micro_batch']} samples a chip does not fit on "
                f"{cluster.name}; take fewer samples."
            )
        return found.step(0).total_s


def _scheme(word: str) -> tuple[codes.Scheme, str]:
    if word not in SCHEMES:
        raise RunError(f"compression: {word!a}; legal: {', '.join(SCHEMES)}.")
    return SCHEMES[word]
