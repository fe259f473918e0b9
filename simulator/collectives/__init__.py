"""What communication costs: one file per algorithm, arrays in, arrays out."""

from .fabric import Fabric, Group
from .hierarchical import all_gather_s, all_reduce_s
from .point_to_point import send_s
from .ring import ring_all_reduce_s

__all__ = ["Fabric", "Group", "all_gather_s", "all_reduce_s", "ring_all_reduce_s", "send_s"]
