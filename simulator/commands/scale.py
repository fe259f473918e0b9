"""`trainyard scale`: a job on more and more chips, or one collective by size."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError
from .asking import EXIT_NOTHING_FITS, JSON, OUT, F, asks, inner, output_problems
from .printing import as_json_text, deliver, note, progress
from .question import bring_network, merged

if TYPE_CHECKING:
    from hwmodels.datafile import KeyPath

    from ..query import PlanQuery

#: Options of a curve of one collective, beside --collective, --system and --chips; all but --flows take a text.
_CURVE_FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "bytes": ("A..B|A,B,C", "Sizes of the full tensor, as in 1KiB..1GiB or 1MiB,64MiB. Default: 1KiB..1GiB."),
    "stride": ("N", "Members of a group are so many ranks apart; N such groups run at once. Default: 1."),
    "library": ("NAME", "Communication library, as nccl. Default: the chip maker's."),
    "algorithm": ("NAME", "auto, ring, tree, nvls or nvls_tree. Default: auto, as the library chooses."),
    "cards": ("N", "Network cards of a server that the library uses. Default: all."),
    "degraded": ("SHARE", "Rate that is left of the slowest link and card: all hops of a ring or tree run at it."),
}


def _curve_options(command: F) -> F:
    command = click.option("--html", metavar="FILE", help="Of a collective: write a page with figures too.")(command)
    command = click.option(
        "--flows", is_flag=True, help="Of a collective: also run textbook algorithms as flows on the system's graph."
    )(command)
    for key, (metavar, text) in reversed(list(_CURVE_FLAGS.items())):
        command = click.option(f"--{key}", f"curve_{key}", metavar=metavar, help=f"Of a collective: {inner(text)}")(
            command
        )
    return click.option("--collective", metavar="NAME", help="Show the curve of one collective, as all_reduce.")(
        command
    )


@click.command()
@asks("chips", "top")
@click.option("--chips", metavar="A..B|A,B,C", help="From A to B in powers of two, or a list. Of a collective: "
              "ranks of a group; default: the chips of one server.")  # fmt: skip
@click.option("--mode", type=click.Choice(["strong", "weak"]), default="strong", show_default=True,
              help="strong: one global batch for all; weak: it grows with the chips.")  # fmt: skip
@_curve_options
@JSON
@OUT
@click.pass_context
def scale(
    context: click.Context, /, job: str | None, pins: Sequence[str], chips: str | None, mode: str, as_json: bool,
    html: str | None, out: str | None, collective: str | None, flows: bool, **flags: str | None,
) -> int:  # fmt: skip
    """Show how a job scales: the best strategy at every number of chips, against the linear line.

    In weak scaling --global-batch is that of the fewest chips. Without it, 32 images or 1 sequence a chip. With
    --target, --epochs, --samples or --tokens: also time and money to it along the curve; a target takes more samples as
    the batch grows, and is not reached beyond the largest batch that any published run reached it at.

    With --collective: what one collective costs by size, and what limits each point. It takes --system, --chips and
    the options "of a collective", and no job.
    """
    of_curve = {key: flags.pop(f"curve_{key}") for key in _CURVE_FLAGS}
    if collective is not None:
        told_mode = context.get_parameter_source("mode") is not click.core.ParameterSource.DEFAULT
        of_job = {
            **{key: value for key, value in flags.items() if key != "system"},
            "mode": mode if told_mode else None,
        }
        asked = {**of_curve, "collective": collective, "system": flags["system"], "chips": chips}
        return _collective_curve(job, pins, of_job, asked, flows=flows, as_json=as_json, html=html, out=out)
    stray = [
        f"--{key}" for key, value in {**of_curve, "flows": flows or None, "html": html}.items() if value is not None
    ]
    if stray:
        raise InputError(f"{', '.join(stray)}: only with --collective; legal there, as in --collective all_reduce.")
    if chips is None:
        raise click.MissingParameter(ctx=context, param_hint="'--chips'", param_type="option")
    counts = _counts(chips)
    queries, unreached, assumed = _points(job, flags, pins, counts, mode, out)
    from ..planner import plan as plan_query
    from ..report.scale_text import ScalePoint, scale_mapping, scale_text

    points = []
    for query in progress(queries, "points"):
        report = plan_query(query)
        points.append(ScalePoint.of(report, not_reached=unreached.get(report.chips, "")))
    head = points[0].describe(mode)
    deliver(
        as_json_text(scale_mapping(points, mode, assumed)) if as_json else scale_text(points, mode, head, assumed), out
    )
    return 0 if any(point.fits and not point.not_reached for point in points) else EXIT_NOTHING_FITS


def _counts(text: str) -> list[int]:
    """Chip counts of `A..B` (powers of two times A) or `A,B,C`, ascending."""
    first, dots, last = text.partition("..")
    parts = [first, last] if dots else text.split(",")
    legal = "legal: as in 8..2048 or 8,16,32, whole numbers from 1."
    if not all(part.strip().isascii() and part.strip().isdigit() and len(part) <= 12 for part in parts):
        raise InputError(f"--chips: is {ascii(text)[:80]}; {legal}")
    numbers = sorted({int(part) for part in parts})
    if numbers[0] < 1 or (dots and int(first) > int(last)) or len(numbers) > 64:
        raise InputError(f"--chips: is {ascii(text)[:80]}; {legal}")
    if not dots:
        return numbers
    counts = [numbers[0]]
    while counts[-1] * 2 <= numbers[-1]:
        counts.append(counts[-1] * 2)
    return counts


def _collective_curve(
    job: str | None, pins: Sequence[str], of_job: Mapping[str, str | None], asked: Mapping[str, str | None], *,
    flows: bool, as_json: bool, html: str | None, out: str | None,
) -> int:  # fmt: skip
    """The curve of one collective, after every problem of its question has been found."""
    from ..collective_curve import curve_of
    from ..collective_question import question_of_texts

    problems = output_problems(None, [html, out])
    stray = [f"--{key.replace('_', '-')}" for key, value in of_job.items() if value is not None]
    stray = [*([ascii(job)] if job is not None else []), *stray, *(["--set"] if pins else [])]
    if stray:
        problems.append(f"{', '.join(stray)}: of a job; --collective shows one collective without a job. Leave out.")
    ranks = None
    if asked["chips"] is not None:
        try:
            ranks = _counts(asked["chips"])
        except InputError as error:
            problems += error.problems
    question = question_of_texts(asked, ranks=ranks, flows=flows, known=problems)
    curve = curve_of(question, progress=lambda groups: progress(groups, "numbers of ranks"))
    if html is not None:
        from ..output import write_atomically
        from ..report.collective_page import collective_html

        write_atomically(html, collective_html(curve))
        note(f"wrote {html}")
    from ..report.collective_text import collective_mapping, collective_text

    deliver(as_json_text(collective_mapping(curve)) if as_json else collective_text(curve), out)
    return 0


def _points(
    job: str | None,
    flags: Mapping[str, str | None],
    pins: Sequence[str],
    counts: Sequence[int],
    mode: str,
    out: str | None,
) -> tuple[list[PlanQuery], dict[int, str], tuple[str, ...]]:
    """One question for every number of chips, all their problems together; why some reach no target; what was assumed.

    A point whose batch no published run reached the target at is asked without it.
    """
    from ..query import QueryError, query_from_mapping

    problems = output_problems(job, [out])
    tables, place, wrong = merged(job, flags, pins)
    problems += [*wrong, *bring_network(tables, place, folder=os.path.dirname(job or ""))]
    inner = tables.setdefault("job", {})
    assumed: tuple[str, ...] = ()
    if isinstance(inner, dict) and "global_batch" not in inner:
        share, sample = _samples_a_chip(inner)
        inner["global_batch"] = share * (counts[-1] if mode == "strong" else counts[0])
        many = "most" if mode == "strong" else "fewest"
        each = f"{share} {sample}{'s' if share > 1 else ''}"
        assumed = (f"global batch {inner['global_batch']}: {each} a chip on the {many} chips",)

    def called(key: KeyPath) -> str:
        return "--chips" if key == ("job", "chips") else str(place(key))

    queries: list[PlanQuery] = []
    unreached: dict[int, str] = {}
    for count in counts:
        point = {key: dict(value) if isinstance(value, dict) else value for key, value in tables.items()}
        if isinstance(point["job"], dict):
            point["job"]["chips"] = count
            batch = point["job"].get("global_batch")
            if mode == "weak" and str(batch).isdigit() and len(str(batch)) < 12:
                grown, rest = divmod(int(str(batch)) * count, counts[0])
                if rest:
                    problems.append(
                        f"--chips: {count} is not a multiple of {counts[0]}; weak scaling grows the batch evenly."
                    )
                    continue
                point["job"]["global_batch"] = grown
        try:
            queries.append(query_from_mapping(point, where=called))
        except QueryError as error:
            found = _without_target(point, called)
            if found is None:
                problems += error.problems
                continue
            queries.append(found[0])
            unreached[count] = found[1]
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return queries, unreached, assumed


def _without_target(point: Mapping[str, Any], called: Callable[[KeyPath], str]) -> tuple[PlanQuery, str] | None:
    """The question without its target and why that is not reached; None where something else is wrong with it."""
    from ..goal import NotReachedError, samples_to_target
    from ..job import workload_of
    from ..query import JOB, QueryError, query_from_mapping, read_value

    job = point["job"]
    if not isinstance(job, dict) or not isinstance(job.get("target"), str):
        return None
    size = job.get("dataset_samples", 0.0)
    open_job = {key: value for key, value in job.items() if key not in ("target", "dataset_samples")}
    try:
        query = query_from_mapping({**point, "job": open_job}, where=called)
        samples_to_target(
            workload_of(query), job["target"], global_batch=query.global_batch, optimizer=query.optimizer,
            dataset_samples=float(read_value(JOB["dataset_samples"], size)) if size else 0.0,
        )  # fmt: skip
    except NotReachedError as error:
        return query, str(error)
    except (QueryError, ValueError):
        return None
    return None


def _samples_a_chip(job: Mapping[str, Any]) -> tuple[int, str]:
    """What a chip takes when nobody says: enough images to be busy, one sequence."""
    from workloads.catalog import model, resolve_model

    name = resolve_model(str(job.get("model", "")))
    return (32, "image") if name and model(name).sample == "image" else (1, "sequence")
