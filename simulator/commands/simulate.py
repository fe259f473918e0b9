"""`trainyard simulate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError
from .asking import EXIT_NOTHING_FITS, JSON, OUT, asks
from .command_lines import command_mapping, command_text, settled
from .misfortune import misfortunes
from .printing import as_json_text, deliver, note
from .question import question_of
from .run_options import runs_steps
from .simulate_outputs import Wanted, output_options, run_watched, width, write_outputs

if TYPE_CHECKING:
    from ..run_beside import RunOptions

EXIT_INTERRUPTED: Final = 130


@click.command()
@misfortunes
@asks("top", "tokens", "samples", "epochs", "dataset_samples", commands=True)
@output_options
@runs_steps
@click.option("--alone", is_flag=True, help="Nothing is shared: all work takes the time that the closed form gives it.")
@click.option("--unfold", is_flag=True, help="Follow every rank, not one for all that are alike (slow, the same time).")
@JSON
@OUT
def simulate(
    job: str | None,
    pins: Sequence[str],
    run: RunOptions | None,
    alone: bool,
    unfold: bool,
    slow_chips: Mapping[int, float],
    as_json: bool,
    out: str | None,
    **flags: Any,
) -> int:
    """Run one step event by event, beside the closed form.

    The strategy is what the job pins; what it leaves open is the best found.
    """
    wanted = Wanted.of(flags)
    question = question_of(job, flags, pins, *wanted.files, out)
    from ..events import Differences
    from ..one_step import priced_step
    from ..report.step_text import nothing_fits_text
    from ..stepspec import StepSpecError

    try:
        step = priced_step(
            question.query, contention=not alone, unfold=unfold, differences=Differences(compute=slow_chips)
        )
    except StepSpecError as error:
        raise InputError(f"--slow-chip: {error}") from None
    said = settled(question)

    def give(text: str, values: dict[str, Any]) -> None:
        if as_json:
            deliver(as_json_text({**values, **command_mapping(question, said)}), out)
        else:
            deliver(command_text(question, said) + text, out)

    if step.spec is None:
        give(nothing_fits_text(step), {"kind": "simulate", "fits": False, "nearest_fit": step.nearest_fit})
        return EXIT_NOTHING_FITS
    from ..report.run_text import run_mapping, run_text
    from ..report.step_text import step_mapping, step_text, stopped_mapping, stopped_text

    ran = run_watched(step, wanted)
    write_outputs(ran.step, wanted)
    if ran.stopped:
        give(stopped_text(ran), stopped_mapping(ran))
        note("interrupted; what ran until then is valid.")
        return EXIT_INTERRUPTED
    text = step_text(ran.step) + run_text(ran.step, question.query, run)
    values = {**step_mapping(ran.step), **run_mapping(ran.step, question.query, run)}
    if wanted.timeline and ran.step.timeline is not None:
        from ..report.timeline import drawn_text

        drawn = drawn_text(ran.step.timeline, step.spec, width=width())
        text, values = f"{text}\n{drawn}", {**values, "timeline": drawn.splitlines()}
    code = 0
    if wanted.explain:
        from ..report.explanation_text import explanation_mapping, explanation_text
        from ..step_explanation import explain_step

        try:
            found = explain_step(step.spec, step.around)
        except KeyboardInterrupt:
            note("interrupted while explaining; the step itself is done.")
            code = EXIT_INTERRUPTED
        else:
            text, values = f"{text}\n{explanation_text(found)}", {**values, **explanation_mapping(found)}
    give(text, values)
    return code
