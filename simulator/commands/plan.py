"""`trainyard plan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from .asking import EXIT_NOTHING_FITS, JSON, OUT, asks
from .command_lines import command_mapping, command_text, settled
from .phases import phase_options
from .printing import as_json_text, colours, deliver, note, progress
from .question import question_of

if TYPE_CHECKING:
    from ..query import PlanQuery


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
    A job file may hold [[phases]] (batch, image_size, epochs or samples): each is planned, and they are added up.
    """
    question = question_of(job, flags, pins, html, out, phased=True)
    if question.phases:
        return _in_phases(question.phases, as_json=as_json, html=html, out=out)
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


def _in_phases(queries: Sequence[PlanQuery], *, as_json: bool, html: str | None, out: str | None) -> int:
    """Every phase planned, their sum, and the plan of the longest."""
    from ..planner import plan as plan_query
    from ..report.phased_text import outcome_of, phased_mapping, phased_text
    from ..report.text import plan_text

    if html is not None:
        raise InputError("--html: not with [[phases]]; legal: text or --json.")
    reports = [plan_query(query) for query in progress(queries, "phases")]
    longest = max(reports, key=lambda report: outcome_of(report).time_s if report.ranked else float("inf"))
    if as_json:
        text = as_json_text(phased_mapping(queries, reports))
    else:
        text = phased_text(queries, reports) + plan_text(longest, colour=out is None and colours())
    deliver(text, out)
    return 0 if all(report.ranked for report in reports) else EXIT_NOTHING_FITS
