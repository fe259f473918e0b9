"""Training at scale, predicted: the only package where time appears. What is named here is loaded when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collective_curve import scale_collective
    from .events.modes import run_mode
    from .modes import ModeJob, Spread
    from .planner import post_training_iteration

__all__ = ["ModeJob", "Spread", "post_training_iteration", "run_mode", "scale_collective"]


def __getattr__(name: str) -> Any:
    if name == "scale_collective":
        from .collective_curve import scale_collective

        return scale_collective
    if name == "run_mode":
        from .events.modes import run_mode

        return run_mode
    if name in ("ModeJob", "Spread"):
        from . import modes

        return getattr(modes, name)
    if name == "post_training_iteration":
        from .planner import post_training_iteration

        return post_training_iteration
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
