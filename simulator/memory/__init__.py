"""What training needs in a chip's memory, by purpose, stage and moment, for whole batches of strategies at once."""

from __future__ import annotations

from .checkpoints import BlockInputs, Storage, block_inputs, even_storage, recursive_storage, storage_against_depth
from .columns import MOMENTS, MemoryColumns, StageMemory
from .forward import forward_memory
from .in_flight import activations_in_flight
from .largest import largest_micro_batch
from .peak import GATHERED_BLOCKS, memory_byte, stage_memory

__all__ = [
    "GATHERED_BLOCKS",
    "MOMENTS",
    "BlockInputs",
    "MemoryColumns",
    "StageMemory",
    "Storage",
    "activations_in_flight",
    "block_inputs",
    "even_storage",
    "forward_memory",
    "largest_micro_batch",
    "memory_byte",
    "recursive_storage",
    "stage_memory",
    "storage_against_depth",
]
