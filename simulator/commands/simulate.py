"""`trainyard simulate`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..errors import InputError
from .asking import EXIT_NOTHING_FITS, JSON, OUT, asks
from .command_lines import command_mapping, command_text, settled
from .printing import as_json_text, deliver, note
from .question import question_of


@click.command()
@asks("top", "tokens", "samples", "epochs", "dataset_samples", commands=True)
@click.option("--trace", metavar="FILE", help="Write a Chrome trace of the step, for Perfetto.")
@JSON
@OUT
def simulate(
    job: str | None, pins: Sequence[str], trace: str | None, as_json: bool, out: str | None, **flags: str | None
) -> int:
    """Run one step event by event, beside the closed form.

    The strategy is what the job pins; what it leaves open is the best found.
    """
    question = question_of(job, flags, pins, trace, out)
    from ..one_step import simulate_step
    from ..report.step_text import nothing_fits_text, step_mapping, step_text

    step = simulate_step(question.query, traced=trace is not None)
    said = settled(question)
    if step.events is None:
        nothing = {"kind": "simulate", "fits": False, "nearest_fit": step.nearest_fit}
        if as_json:
            deliver(as_json_text({**nothing, **command_mapping(question, said)}), out)
        else:
            deliver(command_text(question, said) + nothing_fits_text(step), out)
        return EXIT_NOTHING_FITS
    if trace is not None and step.timeline is not None:
        from ..events import write_chrome_trace

        try:
            write_chrome_trace(step.timeline, trace, metadata={"job": step.job, "strategy": step.strategy})
        except OSError as error:
            raise InputError(f"{trace!a}: cannot be written: {error.strerror or error}.") from None
        note(f"wrote {trace}; open it in Perfetto")
    if as_json:
        deliver(as_json_text({**step_mapping(step), **command_mapping(question, said)}), out)
    else:
        deliver(command_text(question, said) + step_text(step), out)
    return 0
