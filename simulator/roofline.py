"""Every layer of a model against the roof of a chip: what it computes, what it moves, which of the two takes longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hwmodels.chip import Chip
from workloads.optimizer import optimizer
from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from .cluster import Cluster
from .constants import Constants
from .kernels.energy import kernel_joules
from .kernels.kernel_time import KernelTime
from .kernels.optable import LOSSES, REPLAY, UNREAD, Floats, OpTable
from .kernels.price import kernel_seconds
from .kernels.settings import Setting, Settings
from .lowering import Context
from .partition import lower_ops
from .priced_rows import Shapes
from .pricing import machines_of, rates_of
from .stack import Stack

#: What can take longest in a layer: arithmetic, memory traffic, or the start of its kernels.
BOUNDS: Final = ("compute", "memory", "kernel starts")
#: Where a layer's time goes: its nominal work at the data sheet's peak; ragged tiles; cores without a tile; filling and
#: draining the pipelines; what another algorithm saves (Winograd: negative) or adds; the clock that the board's power
#: allows; what the vendor's kernels and the stack leave of the rest of the rate; waiting for bytes; starting kernels.
#: They add up to the layer's time.
PARTS: Final = ("at peak", "tiles", "waves", "depth", "algorithm", "clock", "rate", "memory", "starts")


@dataclass(frozen=True, kw_only=True)
class LayerRoof:
    """One layer, forward and backward, of one micro-batch on one chip; figures of ONE of its `repeat` copies.

    ``flop`` is the nominal work [FLOP], ``byte`` the memory traffic of its kernels as the stack fuses them [B],
    ``intensity`` their ratio [FLOP/B]. ``peak_flop_per_s`` and ``memory_byte_per_s`` are the chip's by data sheet, and
    ``roof_flop_per_s`` is min(peak, intensity x bandwidth) [FLOP/s]; ``share_of_peak`` is flop / time / peak; ``bound``
    is what most of the layer's time goes to, out of `BOUNDS`. ``parts_s`` says where the time goes, by `PARTS` [s];
    ``joule`` is what its kernels draw on the chip [J].
    """

    layer: str
    kind: str
    repeat: int
    flop: float
    byte: float
    intensity: float
    time_s: float
    peak_flop_per_s: float
    memory_byte_per_s: float
    roof_flop_per_s: float
    share_of_peak: float
    bound: str
    parts_s: Mapping[str, float]
    joule: float

    def as_mapping(self) -> Mapping[str, object]:
        """The same values by name, in printing order."""
        return {
            "layer": self.layer, "kind": self.kind, "repeat": self.repeat, "flop": self.flop, "byte": self.byte,
            "intensity_flop_per_byte": self.intensity, "time_s": self.time_s, "peak_flop_per_s": self.peak_flop_per_s,
            "memory_byte_per_s": self.memory_byte_per_s, "roof_flop_per_s": self.roof_flop_per_s,
            "share_of_peak": self.share_of_peak, "bound": self.bound, "parts_s": dict(self.parts_s),
            "joule": self.joule,
        }  # fmt: skip


def one_chip(chip: Chip) -> Cluster:
    """A chip by itself, as a cluster."""
    return Cluster(
        id=chip.id, name=chip.name, chip=chip, server=chip.id, chips_per_server=1, max_servers=1, up_fabric="none",
        up_byte_per_s=(0.0, 0.0), up_latency_s=0.0, out_fabric="none", out_byte_per_s=1.0, out_latency_s=0.0,
        network_cards=1, host_power_w=0.0, network="single_server",
    )  # fmt: skip


def layer_roofline(
    workload: Workload, *, chip: Chip, stack: Stack, recipe: PrecisionRecipe, micro_batch: int, constants: Constants,
    tp: int = 1, cp: int = 1, sequence_parallel: bool = False,
) -> tuple[LayerRoof, ...]:  # fmt: skip
    """Every layer's place under the roof.

    Leaves out: communication, the optimizer, recomputation, the host.

    Raises
    ------
    ChipError
        If the chip has no rate for the recipe's products.
    """
    peak, bandwidth = chip.peak(recipe.matmul), chip.memory_bandwidth_byte_per_s
    context = Context(cluster=one_chip(chip), stack=stack, recipe=recipe, optimizer=optimizer("sgd"))
    shapes = Shapes.one(micro_batch=micro_batch, tp=tp, cp=cp, sequence_parallel=sequence_parallel)
    table = lower_ops(workload, chip=chip, stack=stack, recipe=recipe, shapes=shapes)
    rates = rates_of(machines_of((context,)), constants)
    first = np.zeros(table.rows, np.int64)
    none = np.zeros(table.rows)
    starts = kernel_seconds(replace(table, work=none, byte=none), rates, first)
    arithmetic = kernel_seconds(replace(table, byte=none), rates, first) - starts
    traffic = kernel_seconds(replace(table, work=none), rates, first) - starts
    whole = kernel_seconds(table, rates, first)
    # What a kernel's time mostly is.
    bound = np.where(arithmetic >= traffic, 0, 1)
    bound = np.where(starts > np.maximum(arithmetic, traffic), 2, bound)
    counted = (table.phase != REPLAY) & (table.phase != UNREAD)
    lost = dict(zip(LOSSES, table.lost.T / peak, strict=True))
    parts = {
        "at peak": table.flop / peak, "tiles": lost["padding"], "waves": lost["waves"], "depth": lost["depth"],
        "algorithm": lost["algorithm"], "clock": lost["clock"],
        "rate": lost["library"] + lost["steps"] + arithmetic - table.work / peak,
        "memory": lost["memory"] + np.maximum(traffic - arithmetic, 0.0), "starts": starts,
    }  # fmt: skip
    executed = table.flop + table.lost[:, LOSSES.index("algorithm")]
    joule = _joules(table, chip, recipe, whole, traffic * float(rates.memory_byte_per_s[0]), executed)
    roofs = []
    for index, layer in enumerate(workload.layers):
        mine = counted & (table.block == index)
        flop, time_s = float(np.sum(table.flop[mine])), float(np.sum(whole[mine]))
        byte = float(np.sum(traffic[mine])) * float(rates.memory_byte_per_s[0])
        by_bound = np.bincount(bound[mine], whole[mine], len(BOUNDS))
        intensity = flop / byte if byte else 0.0
        roofs.append(
            LayerRoof(
                layer=layer.name,
                kind=layer.kind,
                repeat=layer.repeat,
                flop=flop,
                byte=byte,
                intensity=intensity,
                time_s=time_s,
                peak_flop_per_s=peak,
                memory_byte_per_s=bandwidth,
                roof_flop_per_s=min(peak, intensity * bandwidth),
                share_of_peak=flop / time_s / peak if time_s else 0.0,
                bound=BOUNDS[int(np.argmax(by_bound))],
                parts_s={name: float(np.sum(part[mine])) for name, part in parts.items()},
                joule=float(np.sum(joule[mine])),
            )
        )
    return tuple(roofs)


def _joules(table: OpTable, chip: Chip, recipe: PrecisionRecipe, time_s: Floats, byte: Floats, flop: Floats) -> Floats:
    """Energy of every row on the chip; shape (rows,) [J]."""
    setting = Setting(chip=chip, precision=recipe.matmul, library="")
    settings = Settings.all_of(setting, table.rows)
    kernels = KernelTime(
        device_s=time_s, bound_s=np.zeros(table.rows), flop=flop, dram_byte=byte, cache_byte=byte,
        parts={},
    )  # fmt: skip
    return kernel_joules(kernels, settings)
