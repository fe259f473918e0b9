"""Where a pipeline cuts a network whose layers are not alike: stages balanced by what their layers cost.

A run of like blocks is cut evenly (`lowering.stage_repeats`), as its frameworks do. Networks of several kinds of blocks
(encoder and decoder, the stages of a convolutional network) are cut so that the slowest stage is as fast as can be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workloads.workload import Workload

from .layer_split import strategy_stages
from .lowering import Lowered
from .stage_costs import layer_work_s

#: Share of the blocks that may be of another kind than the run that is cut evenly.
OTHER_BLOCKS: Final = 0.1
#: What kernels reach of a chip's peak and of its memory's bandwidth, to weigh layers against each other.
_PEAK_SHARE: Final = 0.5
_BANDWIDTH_SHARE: Final = 0.8


def is_one_run(workload: Workload) -> bool:
    """Whether a network is one run of like blocks, but for few."""
    longest = max(workload.layers, key=lambda layer: layer.repeat)
    blocks = longest.repeat if longest.kind == "block" else 0
    return blocks > 0 and workload.num_blocks - blocks <= OTHER_BLOCKS * workload.num_blocks


def single_layers(workload: Workload) -> int:
    """Layers that a pipeline may cut between, repeats counted."""
    return sum(layer.repeat for layer in workload.layers)


def staged(workload: Workload, lowered: Lowered) -> Lowered:
    """Lowered strategies of one job with the stages of their pipelines, where the network is not one run.

    Layers are weighed by the bare roofline of the job's chip, so that the cut does not depend on fitted constants.

    Raises
    ------
    ValueError
        For more stages than layers.
    """
    if is_one_run(workload) or not (lowered.pp > 1).any():
        return lowered
    (context,) = lowered.contexts
    chip, recipe = context.cluster.chip, context.recipe
    weights = layer_work_s(
        workload,
        flop_per_s=_PEAK_SHARE * chip.peak(recipe.matmul),
        byte_per_s=_BANDWIDTH_SHARE * chip.memory_bandwidth_byte_per_s,
        element_byte=recipe.storage_byte,
    )
    return replace(lowered, stage_layers=strategy_stages(workload, weights, lowered.pp, lowered.virtual_stages))
