"""A small pipeline drawn in text: one line a rank, time from left to right.

::

    rank 0  F0F1..B0--B1--      F forward pass, B backward pass (or that for the inputs alone), W weight gradients,
    rank 1  ..F0B0F1B1          the number of the micro-batch behind it; dots: idle
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..composition import Pipeline, ran_tasks
from ..events import Timeline
from ..events.pass_names import NamedPass, pass_of
from ..schedules import SCHEDULES, settled
from ..schedules.task import Kind
from ..stepspec import StepSpec

#: Lower case in the second chunk of a rank and every other one from there on.
_LETTERS: Final[dict[Kind, str]] = {"forward": "F", "backward": "B", "backward_input": "B", "backward_weight": "W"}


def timeline_text(spec: StepSpec, *, width: int = 100) -> str:
    """The passes of one step on every rank where nothing contends, ending in a newline.

    A pass takes as many characters as it is long, its letter and its micro-batch first and dashes behind; sends that
    hold the rank and updates after each micro-batch are dots as idle time is. In a pipeline that never drains passes of
    other steps' micro-batches carry no number. The shortest pass of some length is as
    wide as its label, or less where the step would be wider than ``width`` characters: then passes without room for
    their number show their letter only.

    Raises
    ------
    ValueError
        Where the schedule cannot have that shape, or no pass takes any time.
    """
    early = settled(spec.schedule, len(spec.stages))
    ran = [task for task in ran_tasks(Pipeline(spec)) if task.end_ps > task.begin_ps]
    if not ran:
        raise ValueError("timeline_text: no pass takes any time; nothing to draw.")
    # A pipeline that never drains is drawn from the first backward pass of the step on.
    start_ps = min((r.begin_ps for r in ran if r.task.kind == "backward" and r.task.micro_batch >= early), default=0)
    start_ps = start_ps if early else 0
    drawn = [
        _Drawn(r.rank, NamedPass(*r.task), r.begin_ps - start_ps, r.end_ps - start_ps)
        for r in ran
        if r.begin_ps >= start_ps
    ]
    return _text(drawn, spec, width)


def events_timeline_text(timeline: Timeline, spec: StepSpec, *, width: int = 100, most_ranks: int = 32) -> str:
    """The passes that a simulated step ran on every rank, drawn as `timeline_text` does, from the trace itself.

    Of more than ``most_ranks`` ranks those in the middle are left out. Of a pipeline that never drains the whole run is
    drawn, with the passes that fill it.

    Raises
    ------
    ValueError
        Where no pass takes any time.
    """
    sends = {(s.stage, s.name): s.duration_ps for s in timeline.slices if s.category == "pipeline"}
    holds = SCHEDULES[spec.schedule].TRAITS.sends_hold
    drawn = []
    for item in timeline.slices:
        named = pass_of(item.name) if item.category == "pass" else None
        if named is not None:
            held_ps = sends.get((item.stage, f"send {item.name}"), 0) if holds else 0
            drawn.append(_Drawn(item.stage, named, item.start_ps, item.end_ps - held_ps))
    drawn = [one for one in drawn if one.end_ps > one.begin_ps]
    if not drawn:
        raise ValueError("events_timeline_text: no pass takes any time; nothing to draw.")
    lines = _text(drawn, spec, width).splitlines()
    if len(lines) > most_ranks:
        half = most_ranks // 2
        lines[half:-half] = [f"... {len(lines) - 2 * half} more ..."]
    return "\n".join(lines) + "\n"


class _Drawn(NamedTuple):
    rank: int
    task: NamedPass
    begin_ps: int
    end_ps: int


def _text(drawn: Sequence[_Drawn], spec: StepSpec, width: int) -> str:
    """Passes from 0 on, at least one of them."""
    early = settled(spec.schedule, len(spec.stages))
    ranks = max(len(spec.stages), *(one.rank + 1 for one in drawn))
    span_ps = max(one.end_ps for one in drawn)
    label = 1 + len(str(spec.micro_batches - 1))
    name = f"rank {ranks - 1}  "
    per_ps = min(label / min(one.end_ps - one.begin_ps for one in drawn), (width - len(name)) / span_ps)
    lines = [["."] * round(span_ps * per_ps) for _ in range(ranks)]
    for rank, (kind, micro_batch, chunk), begin_ps, end_ps in drawn:
        a, b = round(begin_ps * per_ps), round(end_ps * per_ps)
        letter = _LETTERS[kind].lower() if chunk % 2 else _LETTERS[kind]
        number = micro_batch - early
        text = f"{letter}{number if 0 <= number < spec.micro_batches else ''}"
        # Half a number would be another one.
        text = text if len(text) <= b - a else letter
        lines[rank][a:b] = text.ljust(b - a, "-")[: b - a]
    return "".join(f"{f'rank {rank}':<{len(name)}}{''.join(line)}\n" for rank, line in enumerate(lines))


def drawn_text(timeline: Timeline, spec: StepSpec, *, width: int = 100) -> str:
    """The drawing under its heading and with its legend, ending in a newline."""
    indent = 2
    lines = events_timeline_text(timeline, spec, width=width - indent).splitlines()
    letters = "F forward, B backward, W weight gradients; micro-batches where there is room; lower case: odd chunks"
    left_out = [f"  {timeline.left_out:,} slices were not recorded and are dots"] if timeline.left_out else []
    return "\n".join(["TIMELINE", *(f"  {line}" for line in lines), f"  {letters}", *left_out]) + "\n"
