"""Bytes by purpose as columns: of every stage at every moment, and of the fullest chip at its peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ..kernels.optable import Floats, Ints
from ..plan_report import MemoryUse

#: When a chip's memory may be fullest: in the passes (all micro-batches in flight, one block replayed or going back),
#: at the end of a backward pass (its gradients are there, its activations gone), at the loss (logits and their
#: gradient), at the optimizer's update (temporaries; no activations are left).
MOMENTS: Final = ("passes", "gradients", "loss", "update")

#: What the allocator holds, in printing order; the rest of a chip's memory is outside of it.
ALLOCATED: Final = (
    "parameter_byte", "gradient_byte", "master_byte", "optimizer_byte", "activation_byte", "loss_byte",
    "transient_byte", "exchange_byte",
)  # fmt: skip
OUTSIDE: Final = ("fragmentation_byte", "communicator_byte", "reserve_byte")


@dataclass(frozen=True, kw_only=True)
class MemoryColumns:
    """Bytes on the fullest chip of every strategy at its peak, by purpose; fields as in `MemoryUse`, shape (S,) [B].

    ``role`` (first, middle, last stage) and ``moment`` (index into `MOMENTS`) say where and when that is.
    """

    parameter_byte: Floats
    gradient_byte: Floats
    master_byte: Floats
    optimizer_byte: Floats
    activation_byte: Floats
    loss_byte: Floats
    transient_byte: Floats
    exchange_byte: Floats
    fragmentation_byte: Floats
    communicator_byte: Floats
    reserve_byte: Floats
    role: Ints
    moment: Ints

    @property
    def allocated_byte(self) -> Floats:
        """What tensors take at the peak: what PyTorch reports as allocated; shape (S,) [B]."""
        return np.asarray(sum(getattr(self, name) for name in ALLOCATED))

    @property
    def total_byte(self) -> Floats:
        """What the chip must hold; shape (S,) [B]."""
        return np.asarray(sum(getattr(self, name) for name in (*ALLOCATED, *OUTSIDE)))

    def use(self, index: int, *, capacity_byte: float) -> MemoryUse:
        """One strategy's bytes against what a chip holds."""
        return MemoryUse(
            **{name: float(getattr(self, name)[index]) for name in (*ALLOCATED, *OUTSIDE)}, capacity_byte=capacity_byte
        )


@dataclass(frozen=True, kw_only=True)
class StageMemory:
    """Bytes of every stage at every moment; shape (S, R, M), communicators and reserve (S,), ``present`` (S, R)."""

    parameter_byte: Floats
    gradient_byte: Floats
    master_byte: Floats
    optimizer_byte: Floats
    activation_byte: Floats
    loss_byte: Floats
    transient_byte: Floats
    exchange_byte: Floats
    communicator_byte: Floats
    reserve_byte: Floats
    present: Floats
    allocator_share: float

    @property
    def allocated_byte(self) -> Floats:
        """What tensors take; shape (S, R, M) [B]."""
        return np.asarray(sum(getattr(self, name) for name in ALLOCATED))

    def peak(self, *, role: int | None = None) -> MemoryColumns:
        """The fullest stage at its fullest moment; of one role only when told."""
        allocated = self.allocated_byte
        here = np.where(self.present > 0, allocated.max(axis=2), -1.0)
        rows = np.arange(len(here))
        stage = np.argmax(here, axis=1) if role is None else np.full(len(here), role)
        moment = np.argmax(allocated[rows, stage], axis=1)
        purposes = {name: getattr(self, name)[rows, stage, moment] for name in ALLOCATED}
        return MemoryColumns(
            **purposes,
            fragmentation_byte=self.allocator_share * allocated[rows, stage, moment],
            communicator_byte=self.communicator_byte,
            reserve_byte=self.reserve_byte,
            role=stage.astype(np.int64),
            moment=moment.astype(np.int64),
        )
