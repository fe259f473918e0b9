"""What every slice waited for: what the engine recorded, checked, or where it recorded nothing, found by time."""

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


def causes_by_time(timeline: Timeline) -> list[int]:
    """For every slice one that ends when it starts: the likeliest that it waited for.

    The first that fits: on the same stream; on the same stage; a send of another stage, best of the same direction and
    from next door; anything of another stage. -1 for envelopes and at the beginning. Sums along such a chain are as
    exact as along recorded ones; which of several that end at the same picosecond was waited for is a guess.

    Raises
    ------
    CauseError
        For a slice that starts when nothing ends.
    """
    ending: dict[int, list[int]] = {}
    for place, item in timeline.work():
        ending.setdefault(item.end_ps, []).append(place)
    causes = [-1] * len(timeline.slices)
    for place, item in timeline.work():
        if not item.start_ps:
            continue
        before = ending.get(item.start_ps)
        if not before:
            raise CauseError(f"{_shown(place, item)} starts when nothing ends.")
        causes[place] = min(before, key=lambda other: _distance(timeline.slices[other], item))
    return causes


def causes_of(timeline: Timeline) -> list[int]:
    """The recorded causes, or those by time of a timeline that records none. Raises `CauseError` as those do."""
    recorded = any(item.cause >= 0 for _, item in timeline.work())
    return checked_causes(timeline) if recorded else causes_by_time(timeline)


def _distance(before: Slice, item: Slice) -> tuple[int, bool, int]:
    """How unlikely it is that one slice waited for another that ends when it starts."""
    apart = abs(before.stage - item.stage)
    if not apart:
        return (0 if before.stream == item.stream else 1), False, 0
    if before.category != "pipeline":
        return 3, False, apart
    return 2, ("forward" in before.name) != ("forward" in item.name), apart


def _shown(place: int, item: Slice) -> str:
    return f"slice {place} ({item.name!r} on {item.stream} of stage {item.stage} from {item.start_ps} ps)"
