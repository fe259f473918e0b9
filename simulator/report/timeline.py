"""A small pipeline drawn in text: one line a rank, time from left to right.

::

    rank 0  F0F1..B0--B1--      F forward pass, B backward pass (or that for the inputs alone), W weight gradients,
    rank 1  ..F0B0F1B1          the number of the micro-batch behind it; dots: idle
"""

from __future__ import annotations

from typing import Final

from ..composition import Pipeline, ran_tasks
from ..schedules import settled
from ..schedules.task import Kind
from ..stepspec import StepSpec

#: Lower case in the second chunk of a rank and every other one from there on.
_LETTERS: Final[dict[Kind, str]] = {"forward": "F", "backward": "B", "backward_input": "B", "backward_weight": "W"}


def timeline_text(spec: StepSpec, *, width: int = 100) -> str:
    """The passes of one step on every rank where nothing contends, ending in a newline.

    A pass takes as many characters as it is long, its letter and its micro-batch first and dashes behind; sends that
    hold the rank and updates after each micro-batch are dots as idle time is. In a pipeline that never drains passes of
    other steps' micro-batches carry no number. The shortest pass of some length is as
    wide as its label, or less where the step would be wider than ``width`` characters: then labels are cut.

    Raises
    ------
    ValueError
        Where the schedule cannot have that shape, or no pass takes any time.
    """
    stages = len(spec.stages)
    early = settled(spec.schedule, stages)
    ran = [task for task in ran_tasks(Pipeline(spec)) if task.end_ps > task.begin_ps]
    if not ran:
        raise ValueError("timeline_text: no pass takes any time; nothing to draw.")
    # A pipeline that never drains is drawn from the first backward pass of the step on.
    start_ps = min((r.begin_ps for r in ran if r.task.kind == "backward" and r.task.micro_batch >= early), default=0)
    start_ps = start_ps if early else 0
    shown = [task for task in ran if task.begin_ps >= start_ps]
    span_ps = max(task.end_ps for task in shown) - start_ps
    label = 1 + len(str(spec.micro_batches - 1))
    name = f"rank {stages - 1}  "
    per_ps = min(label / min(r.end_ps - r.begin_ps for r in shown), (width - len(name)) / span_ps)
    lines = [["."] * round(span_ps * per_ps) for _ in range(stages)]
    for rank, (kind, micro_batch, chunk), begin_ps, end_ps, _ in shown:
        a, b = round((begin_ps - start_ps) * per_ps), round((end_ps - start_ps) * per_ps)
        letter = _LETTERS[kind].lower() if chunk % 2 else _LETTERS[kind]
        number = micro_batch - early
        text = f"{letter}{number if 0 <= number < spec.micro_batches else ''}"
        lines[rank][a:b] = text.ljust(b - a, "-")[: b - a]
    return "".join(f"{f'rank {rank}':<{len(name)}}{''.join(line)}\n" for rank, line in enumerate(lines))
