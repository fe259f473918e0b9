"""`trainyard simulate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from .asking import EXIT_NOTHING_FITS, JSON, OUT, asks
from .command_lines import command_mapping, command_text, settled
from .mode_options import mode_options, request_of, simulated_mode, taken
from .printing import as_json_text, deliver, note
from .question import question_of
from .simulate_outputs import Wanted, output_options, run_watched, width, write_outputs

EXIT_INTERRUPTED: Final = 130


@click.command()
@asks("top", "tokens", "samples", "epochs", "dataset_samples", commands=True)
@output_options
@mode_options
@JSON
@OUT
def simulate(job: str | None, pins: Sequence[str], as_json: bool, out: str | None, **flags: Any) -> int:
    """Run one step event by event, beside the closed form.

    The strategy is what the job pins; what it leaves open is the best found. With --mode: the job's replicas step after
    step, waiting for each other or not, with throughput and how stale gradients are.
    """
    of_mode = taken(flags)
    wanted = Wanted.of(flags)
    asked = request_of(of_mode, step_options=wanted.given) if of_mode else None
    question = question_of(job, flags, pins if asked is None else [*pins, "updates=asynchronous"], *wanted.files, out)
    if asked is not None:
        told, code = simulated_mode(question.query, asked, as_json=as_json)
        deliver(as_json_text(told), out)
        return code
    from ..one_step import priced_step
    from ..report.step_text import nothing_fits_text

    step = priced_step(question.query)
    said = settled(question)

    def give(text: str, values: dict[str, Any]) -> None:
        if as_json:
            deliver(as_json_text({**values, **command_mapping(question, said)}), out)
        else:
            deliver(command_text(question, said) + text, out)

    if step.spec is None:
        give(nothing_fits_text(step), {"kind": "simulate", "fits": False, "nearest_fit": step.nearest_fit})
        return EXIT_NOTHING_FITS
    from ..report.step_text import step_mapping, step_text, stopped_mapping, stopped_text

    ran = run_watched(step, wanted)
    write_outputs(ran.step, wanted)
    if ran.stopped:
        give(stopped_text(ran), stopped_mapping(ran))
        note("interrupted; what ran until then is valid.")
        return EXIT_INTERRUPTED
    text, values = step_text(ran.step), step_mapping(ran.step)
    if wanted.timeline and ran.step.timeline is not None:
        from ..report.timeline import drawn_text

        drawn = drawn_text(ran.step.timeline, step.spec, width=width())
        text, values = f"{text}\n{drawn}", {**values, "timeline": drawn.splitlines()}
    code = 0
    if wanted.explain:
        from ..report.explanation_text import explanation_mapping, explanation_text
        from ..step_explanation import explain_step

        try:
            found = explain_step(step.spec)
        except KeyboardInterrupt:
            note("interrupted while explaining; the step itself is done.")
            code = EXIT_INTERRUPTED
        else:
            text, values = f"{text}\n{explanation_text(found)}", {**values, **explanation_mapping(found)}
    give(text, values)
    return code
