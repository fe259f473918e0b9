"""Training at scale, predicted: the only package where time appears. What is named here is loaded when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collective_curve import scale_collective

__all__ = ["scale_collective"]


def __getattr__(name: str) -> Any:
    if name == "scale_collective":
        from .collective_curve import scale_collective

        return scale_collective
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
