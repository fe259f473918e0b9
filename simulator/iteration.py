"""An iteration of phases: what runs one after the other on the same chips, or at once on chips apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Kinds of phases. "move": weights to another layout; "load": what waited in the host's memory.
KINDS: Final = ("generate", "forward", "train", "move", "load")
#: Groups of chips: those that train, and those that only generate.
GROUPS: Final = ("learners", "actors")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase: what it is, of which model, how long [s], on which chips, and what binds it.

    ``how`` is its strategy in words; ``samples`` the sequences or positions that it takes; ``beside`` what else it
    takes, or would another way, in words and [s].
    """

    name: str
    kind: str
    model: str
    time_s: float
    chips: int
    samples: float
    group: str = "learners"
    how: str = ""
    binds: str = ""
    beside: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.group not in GROUPS or not 0.0 <= self.time_s < float("inf"):
            raise ValueError(f"Phase {self.name!r}: {self.kind} on {self.group} for {self.time_s} s cannot be.")


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """Phases in their order, one group beside the other.

    Phases of one group follow each other. Groups overlap: actors make the data of the next iteration while learners
    train on that of the last, so that an iteration takes as long as the slower group,

    .. math:: T = \\max_g \\sum_{i \\in g} t_i

    and the policy that generates is one iteration old. With one group that is the sum of all. ``produced`` counts what
    the iteration makes, in ``unit`` (tokens, positions), ``steps`` the updates of parameters.
    """

    algorithm: str
    phases: tuple[Phase, ...]
    produced: float
    unit: str
    steps: int
    sequences: float
    assumed: tuple[str, ...] = ()
    measured_rows: int = 0

    def group_s(self, group: str) -> float:
        """How long a group works in one iteration [s]."""
        return sum(phase.time_s for phase in self.phases if phase.group == group)

    @property
    def time_s(self) -> float:
        """How long an iteration takes [s]."""
        return max(self.group_s(group) for group in GROUPS)

    @property
    def pace(self) -> str:
        """The group that sets the pace."""
        return max(GROUPS, key=self.group_s)

    @property
    def longest(self) -> Phase:
        """The longest phase of the group that sets the pace."""
        return max((p for p in self.phases if p.group == self.pace), key=lambda phase: phase.time_s)

    @property
    def chips(self) -> int:
        """Chips of all groups."""
        return sum(max((p.chips for p in self.phases if p.group == group), default=0) for group in GROUPS)

    @property
    def produced_per_s(self) -> float:
        """Tokens or positions made a second, all phases counted."""
        return self.produced / self.time_s if self.time_s else 0.0

    @property
    def idle_share(self) -> float:
        """Share of the iteration that the group which waits is idle; 0 with one group."""
        busy = [self.group_s(group) for group in GROUPS if any(p.group == group for p in self.phases)]
        return 1.0 - min(busy) / max(busy) if len(busy) > 1 and max(busy) else 0.0


@dataclass(frozen=True, kw_only=True)
class ValidationCost:
    """A pass over ``samples`` every ``every_steps`` steps of ``step_s``, and how many a run of known length has."""

    every_steps: int
    samples: int
    time_s: float
    step_s: float
    binds: str
    passes: int = 0

    @property
    def share(self) -> float:
        """Share of the run: t / (N step + t)."""
        whole = self.every_steps * self.step_s + self.time_s
        return self.time_s / whole if whole else 0.0

    @property
    def total_s(self) -> float:
        """All passes of the run, 0 where its length is not known [s]."""
        return self.passes * self.time_s
