"""What a trace needs to know of a step's memory: what every role always holds, and what a micro-batch adds."""

from __future__ import annotations

from workloads.workload import Workload

from .events import RoleMemory
from .lowering import Context
from .memory import stage_memory
from .memory.columns import MOMENTS
from .parallelism import Parallelism, columns_of
from .schedules import SCHEDULES
from .stepspec import StepSpec

_PASSES = MOMENTS.index("passes")
#: What stays from the beginning of the passes to their end.
_STEADY = ("parameter_byte", "gradient_byte", "master_byte", "optimizer_byte", "exchange_byte")


def role_memory(
    workload: Workload, context: Context, parallelism: Parallelism, spec: StepSpec
) -> dict[int, RoleMemory]:
    """Memory of every stage of one step's pipeline as `simulator.memory` counts it in the passes.

    Activations of a micro-batch are those of the stage at its fullest, over the micro-batches that the schedule then
    holds, so that a trace's curve peaks where the memory model does. Leaves out the first chunk's longer hold on an
    embedding.
    """
    found = stage_memory(workload, context, columns_of([parallelism]))
    stages, schedule = len(spec.stages), SCHEDULES[spec.schedule]
    result = {}
    for stage in range(stages):
        role = 0 if stage == 0 else 2 if stage == stages - 1 else 1
        steady = sum(float(getattr(found, name)[0, role, _PASSES]) for name in _STEADY)
        steady += float(found.communicator_byte[0]) + float(found.reserve_byte[0])
        in_flight = schedule.activations_in_flight(stage, stages, spec.micro_batches, spec.virtual_stages)
        result[stage] = RoleMemory(
            steady_byte=steady,
            micro_batch_byte=float(found.activation_byte[0, role, _PASSES]) / max(in_flight, 1e-9),
            chunks=spec.virtual_stages,
        )
    return result
