"""What every slice waited for, as the engine recorded it, checked."""

from __future__ import annotations

from simulator.events.trace import Slice, Timeline


class CauseError(ValueError):
    """A timeline whose slices do not follow from each other."""


def checked_causes(timeline: Timeline) -> list[int]:
    """The recorded cause of every slice, -1 for envelopes and at the beginning.

    Raises
    ------
    CauseError
        Saying which slice breaks the chain: one that waited for nothing and does not start at the beginning, for
        what does not end when it starts, for an envelope, or for what is not there.
    """
    slices, causes = timeline.slices, [-1] * len(timeline.slices)
    for place, item in timeline.work():
        cause = item.cause
        if cause == -1:
            if item.start_ps:
                raise CauseError(f"{_shown(place, item)} waited for nothing, yet does not start at 0.")
            continue
        if not 0 <= cause < len(slices) or cause == place:
            raise CauseError(f"{_shown(place, item)} waited for slice {cause}; there are 0 to {len(slices) - 1}.")
        before = slices[cause]
        if before.category == "pass":
            raise CauseError(f"{_shown(place, item)} waited for an envelope, {_shown(cause, before)}.")
        if before.end_ps != item.start_ps:
            raise CauseError(
                f"{_shown(place, item)} waited for {_shown(cause, before)}, which ends at {before.end_ps}."
            )
        causes[place] = cause
    return causes


def _shown(place: int, item: Slice) -> str:
    return f"slice {place} ({item.name!r} on {item.stream} of stage {item.stage} from {item.start_ps} ps)"
