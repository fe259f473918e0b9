"""Training at scale, predicted: the only package where time appears. What is named here is loaded when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collective_curve import scale_collective
    from .planner import post_training_iteration

__all__ = ["post_training_iteration", "scale_collective"]


def __getattr__(name: str) -> Any:
    if name == "scale_collective":
        from .collective_curve import scale_collective

        return scale_collective
    if name == "post_training_iteration":
        from .planner import post_training_iteration

        return post_training_iteration
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
