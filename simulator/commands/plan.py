"""`trainyard plan`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from .asking import EXIT_NOTHING_FITS, JSON, OUT, asks
from .command_lines import command_mapping, command_text, settled
from .phases import phase_options
from .printing import as_json_text, colours, deliver, note
from .question import question_of


@click.command()
@asks(commands=True)
@phase_options
@JSON
@click.option("--html", metavar="FILE", help="Write a page with figures too.")
@OUT
def plan(
    job: str | None, pins: Sequence[str], as_json: bool, html: str | None, out: str | None, **flags: str | None
) -> int:
    """Find the best strategies for a job: how long, how much memory, what it costs, what binds.

    With --validation-every or --post-training: also what forward passes, or generating and training in turns, take.
    With --from-command: how long the strategy of a training command takes, after a table of what it gives, what is
    assumed, what is not followed. --search frees the strategy; other flags and --set replace what the command says.
    """
    question = question_of(job, flags, pins, html, out)
    from ..output import write_atomically
    from ..planner import plan as plan_query

    report = plan_query(question.query, with_scaling=html is not None, with_roofline=html is not None)
    said = settled(question)
    if as_json:
        from ..report.json_form import plan_mapping

        text = as_json_text({**plan_mapping(report), **command_mapping(question, said)})
    else:
        from ..report.text import plan_text

        coloured = out is None and colours()
        text = command_text(question, said, colour=coloured) + plan_text(report, colour=coloured)
    if html is not None:
        from ..report.html import plan_html

        write_atomically(html, plan_html(report))
        note(f"wrote {html}")
    deliver(text, out)
    return 0 if report.ranked and not report.post_training_refused else EXIT_NOTHING_FITS
