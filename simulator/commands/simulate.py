"""`trainyard simulate`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError
from .asking import EXIT_NOTHING_FITS, JSON, OUT, asks
from .command_lines import command_mapping, command_text, settled
from .printing import as_json_text, deliver, note
from .question import Question, question_of
from .simulate_outputs import Wanted, output_options, run_watched, write_outputs

if TYPE_CHECKING:
    from ..one_step import SimulatedStep

EXIT_INTERRUPTED = 130


@click.command()
@asks("top", "tokens", "samples", "epochs", "dataset_samples", commands=True)
@output_options
@JSON
@OUT
def simulate(
    job: str | None,
    pins: Sequence[str],
    trace: str | None,
    trace_roles: str | None,
    trace_events: str | None,
    chakra: str | None,
    explain: bool,
    timeline: bool,
    as_json: bool,
    out: str | None,
    **flags: str | None,
) -> int:
    """Run one step event by event, beside the closed form.

    The strategy is what the job pins; what it leaves open is the best found.
    """
    wanted = Wanted.of(trace, trace_roles, trace_events, chakra, explain=explain, timeline=timeline)
    question = question_of(job, flags, pins, trace, chakra, out)
    from ..one_step import priced_step
    from ..report.step_text import nothing_fits_text

    step = priced_step(question.query)
    said = settled(question)
    if step.spec is None:
        nothing = {"kind": "simulate", "fits": False, "nearest_fit": step.nearest_fit}
        if as_json:
            deliver(as_json_text({**nothing, **command_mapping(question, said)}), out)
        else:
            deliver(command_text(question, said) + nothing_fits_text(step), out)
        return EXIT_NOTHING_FITS
    ran = run_watched(step, wanted)
    write_outputs(ran.step, wanted)
    text, values = _result(ran.step, wanted, ran.reached)
    if as_json:
        deliver(as_json_text({**values, **command_mapping(question, said)}), out)
    else:
        deliver(command_text(question, said) + text, out)
    if ran.reached is None:
        return 0
    note("interrupted; what ran until then is valid and is what was written.")
    return EXIT_INTERRUPTED
