"""Progressive filling: how fast works run that want more of some resources than there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Levels nearer than this (relative) are reached together.
_TIE: Final = 1e-12
_INF: Final = float("inf")


def fill(
    capacity: Sequence[float],
    wants: Sequence[Sequence[tuple[int, float]]],
    pace: Sequence[float],
    least: Sequence[float],
) -> list[float]:
    """Speeds of works that share resources, 1 for a work at full speed.

    One level rises for all from 0. A work's speed is

    .. math:: x_i = \\min(1, \\max(f_i, \\lambda p_i))

    until a resource it uses is full, :math:`\\sum_i a_{ir} x_i = c_r`; then it stays. With p_i = 1 / (the work's
    largest a_ir) all works take alike of what they want most: max-min fair shares of a wire, dominant resource
    fairness where resources differ in kind.

    Parameters
    ----------
    capacity
        c, what there is of each resource.
    wants
        For each work its (resource, a), a above 0: what it takes of each resource at full speed.
    pace
        p, above 0: how fast a work's speed rises with the level.
    least
        f, from 0 to 1: a speed that a work has whatever others do. Together they must fit.

    References
    ----------
    .. [1] D. Bertsekas and R. Gallager, Data Networks, section 6.5.2: max-min flow control.
    .. [2] A. Ghodsi et al., Dominant Resource Fairness, NSDI 2011.
    """
    speed = list(least)
    users: list[list[int]] = [[] for _ in capacity]
    for work, wanted in enumerate(wants):
        for resource, _ in wanted:
            users[resource].append(work)
    rising = [work for work in range(len(wants)) if least[work] < 1.0]
    open_ = [False] * len(wants)
    for work in rising:
        open_[work] = True
    level = 0.0
    while rising:
        # What the level changes next: a work leaves its least speed, a work is at full speed, a resource is full.
        held = [0.0] * len(capacity)
        slope = [0.0] * len(capacity)
        for work, wanted in enumerate(wants):
            climbs = open_[work] and level * pace[work] >= least[work]
            for resource, amount in wanted:
                if climbs:
                    slope[resource] += amount * pace[work]
                else:
                    held[resource] += amount * speed[work]
        full_at = [max((c - h) / s, level) if s > 0 else _INF for c, h, s in zip(capacity, held, slope, strict=True)]
        turns = [least[work] / pace[work] for work in rising]
        ends = [1.0 / pace[work] for work in rising]
        level = min([*full_at, *ends, *(turn for turn in turns if turn > level * (1 + _TIE))])
        reach = level * (1 + _TIE)
        for resource, at in enumerate(full_at):
            if at <= reach:
                for work in users[resource]:
                    if open_[work] and level * pace[work] * (1 + _TIE) >= least[work]:
                        open_[work] = False
                        speed[work] = min(1.0, max(least[work], level * pace[work]))
        for work, end in zip(rising, ends, strict=True):
            if open_[work] and end <= reach:
                open_[work] = False
                speed[work] = 1.0
        rising = [work for work in rising if open_[work]]
    return speed


def fill_by_class(
    capacity: Sequence[float],
    wants: Sequence[Sequence[tuple[int, float]]],
    pace: Sequence[float],
    floor: Sequence[float],
    priority: Sequence[int],
) -> list[float]:
    """The same with classes: those of a lower number are filled first, the others share what they leave.

    ``floor`` is a speed that not even they take away; floors that do not fit together are cut alike on the resource
    that they do not fit on.
    """
    least = _fitting(capacity, wants, floor)
    left = list(capacity)
    for wanted, low in zip(wants, least, strict=True):
        for resource, amount in wanted:
            left[resource] -= amount * low
    speeds = list(least)
    for number in sorted(set(priority)):
        members = [work for work, own in enumerate(priority) if own == number]
        room = [max(share, 0.0) for share in left]
        for work in members:
            for resource, amount in wants[work]:
                room[resource] += amount * least[work]
        filled = fill(room, [wants[m] for m in members], [pace[m] for m in members], [least[m] for m in members])
        for work, speed in zip(members, filled, strict=True):
            speeds[work] = speed
            for resource, amount in wants[work]:
                left[resource] -= amount * (speed - least[work])
    return speeds


def _fitting(
    capacity: Sequence[float], wants: Sequence[Sequence[tuple[int, float]]], floor: Sequence[float]
) -> list[float]:
    taken = [0.0] * len(capacity)
    for wanted, low in zip(wants, floor, strict=True):
        for resource, amount in wanted:
            taken[resource] += amount * low
    cut = [min(1.0, c / t) if t else 1.0 for c, t in zip(capacity, taken, strict=True)]
    return [low * min((cut[i] for i, _ in wanted), default=1.0) for wanted, low in zip(wants, floor, strict=True)]
