"""When gradients leave for their exchange: each block by itself, several as one message, or what is needed next first.

Without any of these, mode "after" holds all of them until the last pass is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from simulator.stepspec import StepSpec, StepSpecError


@dataclass(frozen=True, kw_only=True)
class Release:
    """How mode "backward" sends gradients, where that is not block by block in the order of the backward pass.

    ``messages``: so many blocks, in backward order, travel as one message, which leaves with the last of them; what is
    left over is one more. ``needed_first``: of the gradients that wait, those of the block that the next forward pass
    needs first go first, and that pass begins before all have arrived (see `needed_first`); ``pieces`` then says in how
    many parts a block's exchange is cut by name, for only between parts can another overtake (1 where it is silent).
    """

    messages: tuple[int, ...] = ()
    needed_first: bool = False
    pieces: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, counts in (("messages", self.messages), ("pieces", tuple(self.pieces.values()))):
            if any(count < 1 for count in counts):
                raise StepSpecError(f"Release.{name}: {min(counts)}; at least 1.")
        if self.messages and self.needed_first:
            raise StepSpecError("Release: messages with needed_first; gradients are sent fused or by need, not both.")
        if self.pieces and not self.needed_first:
            raise StepSpecError("Release: pieces without needed_first; only what is sent by need is cut.")

    def check(self, spec: StepSpec) -> None:
        """Refuse steps that cannot release so. Raises StepSpecError."""
        if spec.gradient_mode != "backward":
            raise StepSpecError(f'Release: gradient_mode is {spec.gradient_mode!r}; legal: "backward".')
        if spec.forward_only:
            raise StepSpecError("Release: a step of forward passes alone has no gradients to release.")
        if not self.needed_first:
            return
        if len(spec.stages) > 1 or spec.virtual_stages > 1:
            raise StepSpecError(f"Release.needed_first: {len(spec.stages)} pipeline stages; it needs 1, uncut.")
        if spec.schedule not in ("gpipe", "1f1b"):
            raise StepSpecError(f"Release.needed_first: schedule {spec.schedule!r}; legal: 'gpipe', '1f1b'.")
        if spec.stages[0].update_gather_ps:
            raise StepSpecError("Release.needed_first: parameters are fetched after the update; it needs whole copies.")


class Messages:
    """Gradients that wait for the others of their message."""

    def __init__(self, release: Release | None) -> None:
        self._release = release
        self._sizes = self._each_size()
        self._left = next(self._sizes, 0)
        self._blocks = 0
        self._duration_ps = 0

    def _each_size(self) -> Iterator[int]:
        yield from self._release.messages if self._release is not None else ()

    def add(self, name: str, duration_ps: int) -> tuple[str, int] | None:
        """One more block's gradients; name and duration of the message where it is the last of one."""
        if self._release is None or not self._release.messages:
            return name, duration_ps
        self._blocks += 1
        self._duration_ps += duration_ps
        if self._blocks != self._left:
            return None
        self._left = next(self._sizes, 0)
        return self._leave()

    def rest(self) -> tuple[str, int] | None:
        """What is left when a pass is over; the next pass begins with the first message."""
        self._sizes = self._each_size()
        self._left = next(self._sizes, 0)
        return self._leave() if self._blocks else None

    def _leave(self) -> tuple[str, int]:
        name = f"{self._blocks} block{'s' if self._blocks > 1 else ''}"
        message = name, self._duration_ps
        self._blocks = self._duration_ps = 0
        return message
