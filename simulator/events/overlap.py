"""How much of a role's communication hides behind its compute, out of what ran when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from simulator.events.trace import COMMUNICATION_STREAMS, Timeline

#: Who an instant without compute belongs to where several streams communicate: the first of these categories. The
#: compute stream itself waits for the first two.
_FIRST: Final = ("tensor", "pipeline", "data", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Where the time of one role's step goes, and what of its communication is hidden; all exact [ps].

    ``computing_ps``: time the compute stream runs, by category. ``exposed_ps``: time without compute in which the
    category communicates (the first of ``tensor, pipeline, data, optimizer`` where several do). ``idle_ps``: neither.
    These three add up to ``span_ps``. ``hidden_ps``: time the category communicates beside compute; ``behind_ps``:
    beside other communication that the instant is counted for. Hidden, behind and exposed add up to ``busy_ps``.
    ``communicating_ps`` and ``overlapped_ps``: time that anything communicates, and that part of it with compute.
    """

    stage: int
    span_ps: int
    computing_ps: Mapping[str, int]
    exposed_ps: Mapping[str, int]
    idle_ps: int
    hidden_ps: Mapping[str, int]
    behind_ps: Mapping[str, int]
    busy_ps: Mapping[str, int]
    communicating_ps: int
    overlapped_ps: int

    @property
    def overlap(self) -> float:
        """Time that compute and communication run at once over time that anything communicates, 0 where nothing does.

        This is HolisticTraceAnalysis' communication-computation overlap: union of the one, cut with the union of the
        other, over the former.
        """
        return self.overlapped_ps / self.communicating_ps if self.communicating_ps else 0.0


def overlap(timeline: Timeline, stage: int, *, begin_ps: int = 0, end_ps: int | None = None) -> Overlap:
    """Overlap on one role between two moments, by default the beginning and the end of all that ran."""
    until_ps = timeline.end_ps if end_ps is None else end_ps
    changes: list[tuple[int, int, str, str]] = []
    for item in timeline.slices:
        if item.stage != stage or item.category == "pass":
            continue
        start_ps, stop_ps = max(item.start_ps, begin_ps), min(item.end_ps, until_ps)
        if start_ps < stop_ps:
            changes.append((start_ps, 1, item.stream, item.category))
            changes.append((stop_ps, -1, item.stream, item.category))
    changes.sort(key=lambda change: change[0])
    communicating = set(COMMUNICATION_STREAMS)
    computing: dict[str, int] = {}
    exposed, hidden, behind, busy = (dict.fromkeys(_FIRST, 0) for _ in range(4))
    running: dict[str, int] = {}  # category on the compute stream -> how many slices
    sending: dict[str, int] = {}
    idle_ps = communicating_ps = overlapped_ps = 0
    before_ps = begin_ps
    for time_ps, change, stream, category in [*changes, (until_ps, 0, "", "")]:
        passed_ps, before_ps = time_ps - before_ps, time_ps
        if passed_ps:
            now = next((word for word, count in running.items() if count), None)
            sent = [word for word in _FIRST if sending.get(word)]
            communicating_ps += passed_ps if sent else 0
            if now is not None:
                computing[now] = computing.get(now, 0) + passed_ps
                overlapped_ps += passed_ps if sent else 0
            elif not sent:
                idle_ps += passed_ps
            for place, word in enumerate(sent):
                (hidden if now is not None else behind if place else exposed)[word] += passed_ps
                busy[word] += passed_ps
        which = sending if stream in communicating else running
        which[category] = which.get(category, 0) + change
    used = [word for word in _FIRST if busy[word]]
    return Overlap(
        stage=stage,
        span_ps=until_ps - begin_ps,
        computing_ps=computing,
        exposed_ps={word: exposed[word] for word in used},
        idle_ps=idle_ps,
        hidden_ps={word: hidden[word] for word in used},
        behind_ps={word: behind[word] for word in used},
        busy_ps={word: busy[word] for word in used},
        communicating_ps=communicating_ps,
        overlapped_ps=overlapped_ps,
    )
