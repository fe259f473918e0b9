"""Bytes that a rank sends in a step: the yardstick that ranks layouts by how little they send."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from ..kernels.optable import Floats
from ..partition import lower_messages
from ..priced_rows import Shapes
from ..traffic import gradient_byte_of
from .rows import RunJob


def sent_byte(jobs: Sequence[RunJob]) -> Floats:
    r"""Bytes that a mean rank sends in one step of every job; shape (jobs,) [B].

    .. math:: b = m \left(\frac{2(t-1)}{t}\frac{T}{p} + \frac{3(c-1)}{c}\frac{C}{p} + \frac{2(e-1)}{e}\frac{E}{p}
              + 2 v A [p>1]\right) + \frac{2(n-1)}{n}\frac{P g}{p}

    for m micro-batches, p stages of v chunks, n = dp x cp ranks that hold the same parameters: all-reduces T of tensor
    parallelism, keys and values C, routed rows E, activations A at a stage boundary, parameters P of g bytes each. A
    full recomputation repeats the forward all-reduces, ZeRO-3 moves parameters 1.5 times as much. Leaves out: where
    the bytes go, halos, hybrid parallelism, experts' smaller groups.
    """
    result = np.zeros(len(jobs))
    groups: dict[tuple[int, PrecisionRecipe], list[int]] = {}
    for place, job in enumerate(jobs):
        groups.setdefault((id(job.workload), job.context.recipe), []).append(place)
    for (_, recipe), places in groups.items():
        result[places] = _of_one_workload([jobs[place] for place in places], jobs[places[0]].workload, recipe)
    return result


def _of_one_workload(jobs: Sequence[RunJob], workload: Workload, recipe: PrecisionRecipe) -> Floats:
    strategies = [job.parallelism for job in jobs]

    def column(name: str) -> Floats:
        return np.array([float(getattr(s, name)) for s in strategies])

    tp, cp, ep, pp, dp = (column(name) for name in ("tp", "cp", "ep", "pp", "dp"))
    shapes = Shapes(
        micro_batch=column("micro_batch"), tp=tp, cp=cp, ep=ep, etp=column("etp"), hybrid=column("hybrid"),
        sequence_parallel=np.array([s.sequence_parallel for s in strategies]),
    )  # fmt: skip
    found = lower_messages(workload, recipe=recipe, shapes=shapes)
    repeats = np.array([float(layer.repeat) for layer in workload.layers])
    forwards = np.where([s.recompute == "full" for s in strategies], 2.0, 1.0)
    tensor = forwards * (found.forward_calls * found.forward_byte @ repeats)
    tensor = tensor + found.backward_calls * found.backward_byte @ repeats
    routed = found.expert_calls * found.expert_byte @ repeats
    keys = found.context_byte @ repeats
    ranks = dp * cp
    passed = 2.0 * column("virtual_stages") * found.boundary_byte * (pp > 1)
    inside = 2.0 * (1.0 - 1.0 / tp) * tensor + 3.0 * (1.0 - 1.0 / cp) * keys + 2.0 * (1.0 - 1.0 / ep) * routed
    trained = np.where([job.frozen for job in jobs], 0.0, found.parameters @ repeats)
    width = np.array([gradient_byte_of(job.context.stack, recipe) for job in jobs])
    moves = np.where([s.sharding == "zero3" for s in strategies], 3.0, 2.0)
    gradients = moves * (1.0 - 1.0 / ranks) * trained * width / pp
    return np.asarray(column("micro_batches") * (inside / pp + passed) + gradients / column("local_steps"))
