"""The command line: parse, call, print. Results go to standard output, everything else to standard error.

Exit codes: 0 fine, 2 something given cannot be used, 3 nothing fits, 70 a fault of ours, 130 interrupted. Heavy modules
are imported inside commands, so that help and completion are quick.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from .errors import InputError

if TYPE_CHECKING:
    from hwmodels.datafile import KeyPath

    from .query import PlanQuery

EXIT_INPUT: Final = 2
EXIT_NOTHING_FITS: Final = 3
EXIT_OURS: Final = 70
EXIT_INTERRUPTED: Final = 130

F = TypeVar("F", bound=Callable[..., Any])


class Trainyard(click.Group):
    """The command group, with one place where every error becomes its line and its exit code."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show must not end in a traceback
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except InputError as error:
            _complain(error.problems)
            code = EXIT_INPUT
        except click.ClickException as error:
            _complain([_one_line(error.format_message())])
            code = EXIT_INPUT
        except (click.Abort, KeyboardInterrupt):
            _complain(["interrupted."])
            code = EXIT_INTERRUPTED
        except Exception as error:
            _complain(_our_fault(error))
            code = EXIT_OURS
        sys.exit(code if isinstance(code, int) else 0)


def main() -> None:
    """Entry point of the `trainyard` program."""
    cli()


_CATALOG: Final = click.option(
    "--catalog",
    "folders",
    multiple=True,
    metavar="DIR",
    expose_value=False,
    is_eager=True,
    callback=lambda _context, _parameter, folders: _use_catalogs(folders),
    help="Your own chips, links, servers, systems: DIR/chips/*.toml and so on. Repeatable.",
)


def _use_catalogs(folders: Sequence[str]) -> None:
    """Add the user's folders to the catalogue before anything reads it."""
    if not folders:
        return
    from hwmodels.datafile import DataFileError, use_catalog

    problems: list[str] = []
    for folder in folders:
        try:
            use_catalog(folder)
        except DataFileError as error:
            problems += [f"--catalog: {problem}" for problem in error.problems]
    if not problems:
        from .user_catalog import problems_of_user_files

        problems = [f"--catalog: {problem}" for problem in problems_of_user_files()]
    if problems:
        raise InputError(*problems)


@click.group(cls=Trainyard, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trainyard", prog_name="trainyard")
@_CATALOG
def cli() -> None:
    """Predict what training a neural network at scale takes: step time, memory, money, energy."""


# --- the question -------------------------------------------------------------------------------------------------

_FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "model": ("NAME", "What is trained; see `trainyard catalog models`."),
    "system": ("NAME", "Where; see `trainyard catalog systems`."),
    "chips": ("N", "Chips of the system to use. Default: all."),
    "global_batch": ("N", "Samples (images, sequences) of one step."),
    "tokens": ("N", "Train on so many tokens, as 300e9."),
    "samples": ("N", "Train on so many samples."),
    "epochs": ("N", "Train for so many passes over the data."),
    "dataset_samples": ("N", "Samples of one epoch."),
    "stack": ("NAME", "The software; see `trainyard catalog stacks`."),
    "precision": ("NAME", "Number formats, as bf16_mixed."),
    "optimizer": ("NAME", "Update rule, as adam."),
    "seq_len": ("N", "Tokens of one sequence, instead of the model's own."),
    "image_size": ("N", "Side of an image in pixels, instead of the model's own."),
    "top": ("N", "How many strategies to show. Default: 5."),
}


def _asks(*without: str) -> Callable[[F], F]:
    """The flags of a question, and the file they override. Values are checked together, not by click one by one."""

    def decorate(command: F) -> F:
        command = click.option(
            "--set", "pins", multiple=True, metavar="KEY=VALUE", help="Pin a part of the strategy, as tp=8. Repeatable."
        )(command)
        for key, (metavar, text) in reversed(list(_FLAGS.items())):
            if key not in without:
                command = click.option(f"--{key.replace('_', '-')}", key, metavar=metavar, help=text)(command)
        return click.argument("job", required=False, metavar="[JOB.toml]")(_CATALOG(command))

    return decorate


def _merged(
    job: str | None, flags: Mapping[str, str | None], pins: Sequence[str]
) -> tuple[dict[str, Any], Any, list[str]]:
    """File and flags as one mapping, how its keys are called in messages, and what is wrong with the flags."""
    from hwmodels.datafile import dotted

    from .query import read_mapping

    data, file_place = read_mapping(job) if job is not None else ({}, None)
    tables: dict[str, Any] = {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
    names: dict[KeyPath, str] = {}
    problems: list[str] = []

    def override(table: str, key: str, value: str, name: str) -> None:
        inner = tables.setdefault(table, {})
        if isinstance(inner, dict):
            inner[key] = value
            names[(table, key)] = name

    measures = ("tokens", "samples", "epochs")
    if any(flags.get(key) is not None for key in measures) and isinstance(tables.get("job"), dict):
        for key in (*measures, "dataset_samples"):  # another measure on the command line replaces the file's
            tables["job"].pop(key, None)
    for key, value in flags.items():
        if value is not None:
            override("job", key, value, f"--{key.replace('_', '-')}")
    for pin in pins:
        key, sign, value = pin.partition("=")
        key = key.strip().replace("-", "_")
        if not sign or not key:
            problems.append(f"--set: {ascii(pin)[:80]} is not KEY=VALUE; legal: as in tp=8.")
        elif ("strategy", key) in names:
            problems.append(f"--set {key}: is given twice; legal: once.")
        else:
            override("strategy", key, value.strip(), f"--set {key}")

    def place(key: KeyPath) -> str:
        if key in names:
            return names[key]
        if file_place is not None:
            return str(file_place(key))
        return f"--{str(key[-1]).replace('_', '-')}" if key[0] == "job" and len(key) > 1 else dotted(key)

    return tables, place, problems


def _question(job: str | None, flags: Mapping[str, str | None], pins: Sequence[str], *outputs: str | None) -> PlanQuery:
    """The checked question; with it every place that results will be written to, before any work is done."""
    from .query import QueryError, query_from_mapping

    problems = _output_problems(job, outputs)
    query = None
    try:
        tables, place, wrong = _merged(job, flags, pins)
        problems += wrong
        query = query_from_mapping(tables, where=place)
    except QueryError as error:
        problems += error.problems
    if problems or query is None:
        raise InputError(*problems)
    return query


def _output_problems(job: str | None, outputs: Iterable[str | None]) -> list[str]:
    from .output import OutputError, require_writable

    problems: list[str] = []
    seen: dict[str, str] = {} if job is None else {os.path.realpath(job): "the job is read from it"}
    for path in filter(None, outputs):
        try:
            require_writable(path)
        except OutputError as error:
            problems += error.problems
            continue
        real = os.path.realpath(path)
        if real in seen and not real.startswith("/dev/"):
            problems.append(f"{path!a}: cannot be written: {seen[real]}; name another file.")
        seen[real] = "another result goes there"
    return problems


# --- commands -----------------------------------------------------------------------------------------------------

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_OUT = click.option("--out", metavar="FILE", help="Write the result there instead of to standard output.")


@cli.command()
@_asks()
@_JSON
@click.option("--html", metavar="FILE", help="Write a page with figures too.")
@_OUT
def plan(
    job: str | None, pins: Sequence[str], as_json: bool, html: str | None, out: str | None, **flags: str | None
) -> int:
    """Find the best strategies for a job: how long, how much memory, what it costs, what binds."""
    query = _question(job, flags, pins, html, out)
    from .output import write_atomically
    from .planner import plan as plan_query

    report = plan_query(query, with_scaling=html is not None, with_roofline=html is not None)
    if as_json:
        from .report.json_form import plan_json

        text = plan_json(report)
    else:
        from .report.text import plan_text

        text = plan_text(report, colour=out is None and _colours())
    if html is not None:
        from .report.html import plan_html

        write_atomically(html, plan_html(report))
        _note(f"wrote {html}")
    _deliver(text, out)
    return 0 if report.ranked else EXIT_NOTHING_FITS


@cli.command()
@_asks("top", "tokens", "samples", "epochs", "dataset_samples")
@click.option("--trace", metavar="FILE", help="Write a Chrome trace of the step, for Perfetto.")
@_JSON
@_OUT
def simulate(
    job: str | None, pins: Sequence[str], trace: str | None, as_json: bool, out: str | None, **flags: str | None
) -> int:
    """Run one step event by event, beside the closed form.

    The strategy is what the job pins; what it leaves open is the best found.
    """
    query = _question(job, flags, pins, trace, out)
    from .one_step import simulate_step
    from .report.step_text import nothing_fits_text, step_mapping, step_text

    step = simulate_step(query, traced=trace is not None)
    if step.events is None:
        _deliver(
            _json({"kind": "simulate", "fits": False, "nearest_fit": step.nearest_fit})
            if as_json
            else nothing_fits_text(step),
            out,
        )
        return EXIT_NOTHING_FITS
    if trace is not None and step.timeline is not None:
        from .events import write_chrome_trace

        try:
            write_chrome_trace(step.timeline, trace, metadata={"job": step.job, "strategy": step.strategy})
        except OSError as error:
            raise InputError(f"{trace!a}: cannot be written: {error.strerror or error}.") from None
        _note(f"wrote {trace}; open it in Perfetto")
    _deliver(_json(step_mapping(step)) if as_json else step_text(step), out)
    return 0


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
        command = click.option(f"--{key}", f"curve_{key}", metavar=metavar, help=f"Of a collective: {_inner(text)}")(
            command
        )
    return click.option("--collective", metavar="NAME", help="Show the curve of one collective, as all_reduce.")(
        command
    )


def _inner(text: str) -> str:
    """A help text as the rest of a sentence."""
    return text[:1].lower() + text[1:]


@cli.command()
@_asks("chips", "top", "tokens", "samples", "epochs", "dataset_samples")
@click.option("--chips", metavar="A..B|A,B,C", help="From A to B in powers of two, or a list. Of a collective: "
              "ranks of a group; default: the chips of one server.")  # fmt: skip
@click.option("--mode", type=click.Choice(["strong", "weak"]), default="strong", show_default=True,
              help="strong: one global batch for all; weak: it grows with the chips.")  # fmt: skip
@_curve_options
@_JSON
@_OUT
@click.pass_context
def scale(
    context: click.Context, /, job: str | None, pins: Sequence[str], chips: str | None, mode: str, as_json: bool,
    html: str | None, out: str | None, collective: str | None, flows: bool, **flags: str | None,
) -> int:  # fmt: skip
    """Show how a job scales: the best strategy at every number of chips, against the linear line.

    In weak scaling --global-batch is that of the fewest chips. Without it, 32 images or 1 sequence a chip.

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
    queries, assumed = _points(job, flags, pins, counts, mode, out)
    from .planner import plan as plan_query
    from .report.scale_text import ScalePoint, scale_mapping, scale_text

    points = []
    for query in _progress(queries, "points"):
        report = plan_query(query)
        points.append(ScalePoint.of(report))
    head = points[0].describe(mode)
    _deliver(_json(scale_mapping(points, mode, assumed)) if as_json else scale_text(points, mode, head, assumed), out)
    return 0 if any(point.fits for point in points) else EXIT_NOTHING_FITS


@cli.command()
@click.option("--model", required=True, metavar="NAME", help="See `trainyard catalog models`.")
@click.option("--chip", required=True, metavar="NAME", help="See `trainyard catalog chips`.")
@click.option("--micro-batch", default=None, metavar="N", help="Samples at a time. Default: 32 images or 1 sequence.")
@click.option("--precision", metavar="NAME", help="Number formats. Default: the narrowest 16-bit the chip has.")
@click.option("--stack", metavar="NAME", help="The software. Default: that of a plan on the chip.")
@click.option("--seq-len", metavar="N", help="Tokens of one sequence.")
@click.option("--image-size", metavar="N", help="Side of an image in pixels.")
@_JSON
@_OUT
@_CATALOG
def roofline(as_json: bool, out: str | None, **flags: str | None) -> int:
    """Set every layer of a model against the roof of a chip."""
    problems = _output_problems(None, [out])
    if problems:
        raise InputError(*problems)
    from .report.roofline_text import read_roofline_question, roofline_mapping, roofline_text

    found = read_roofline_question(flags)
    _deliver(_json(roofline_mapping(found)) if as_json else roofline_text(found), out)
    return 0


@cli.command()
@click.argument("kind", required=False, metavar="[KIND]")
@click.argument("name", required=False, metavar="[NAME]")
@_JSON
@_CATALOG
def catalog(kind: str | None, name: str | None, as_json: bool) -> int:
    """List what ships, or show every fact of one entry with its source.

    KIND is chips, links, servers, systems, models or stacks.
    """
    from hwmodels.datafile import did_you_mean

    from .report.catalog_text import KINDS, entries, listing

    if kind is None:
        _deliver(_json({"kinds": list(KINDS)}) if as_json else "".join(f"{word}\n" for word in KINDS), None)
        return 0
    if kind not in KINDS:
        near = did_you_mean(kind, KINDS)
        raise InputError(f"catalog: there is no kind {ascii(kind)[:80]}; legal: {', '.join(KINDS)}.{near}")
    if name is None:
        found = listing(kind)
        _deliver(_json(list(found.values)) if as_json else found.text(), None)
        return 0
    shown = entries(kind, name)
    _deliver(_json([e.as_mapping() for e in shown]) if as_json else "\n".join(e.text() for e in shown), None)
    return 0


_VALIDATE_KINDS: Final = ("runs", "kernels", "collectives", "convergence")
_VALIDATED: Final = ("runs", "kernels", "collectives")
#: What can be held out together, by kind; the first unless --by says otherwise.
_HOLDS: Final = {"kernels": ("chips", "shapes", "generations"), "collectives": ("groups", "systems")}


@cli.command()
@click.argument("kind", metavar="KIND")
@click.argument("file", required=False, metavar="[FILE.csv]")
@click.option("--out", metavar="PRED.csv", help="Write one prediction per input line there.")
@click.option("--held-out", is_flag=True, help="Predict every group with constants fitted without it.")
@click.option(
    "--by",
    "hold",
    type=click.Choice([word for words in _HOLDS.values() for word in words]),
    help="What is held out together: chips (default), shapes or generations of kernels, groups (default) or systems "
    "of collectives.",
)
@click.option("--calibration", default="default", show_default=True, metavar="NAME", help="Fitted constants to use.")
@_JSON
@_CATALOG
def validate(
    kind: str, file: str | None, out: str | None, held_out: bool, hold: str | None, calibration: str, as_json: bool
) -> int:
    """Compare predictions with measurements; without a file, with those that ship.

    KIND is runs, kernels or collectives; convergence is to come.
    """
    from hwmodels.datafile import did_you_mean

    if kind not in _VALIDATE_KINDS:
        near = did_you_mean(kind, _VALIDATE_KINDS)
        raise InputError(f"validate: there is no kind {ascii(kind)[:80]}; legal: {', '.join(_VALIDATED)}.{near}")
    if kind not in _VALIDATED:
        raise InputError(f"validate: {kind} is not yet supported; legal: {', '.join(_VALIDATED)}.")
    if hold is not None and (kind not in _HOLDS or not held_out):
        raise InputError(
            "--by: goes with --held-out of kernels and of collectives; runs are held out by source, model and chip."
        )
    if hold is not None and hold not in _HOLDS[kind]:
        raise InputError(f"--by: {kind} are held out by {', '.join(_HOLDS[kind])}; not by {hold}.")
    problems = _output_problems(file, [out])
    if out is not None and os.path.exists(out) and not os.path.isfile(out) and not problems:
        problems = [f"{out!a}: is not a plain file; predictions are written all or nothing."]
    if problems:
        raise InputError(*problems)
    if kind in _HOLDS:
        held = (hold or _HOLDS[kind][0]) if held_out else ""
        _deliver(_validated_by(kind, file, out, hold=held, calibration=calibration, as_json=as_json), None)
    else:
        _deliver(_validated(file, out, held_out=held_out, calibration=calibration, as_json=as_json), None)
    return 0


# --- helpers of commands ------------------------------------------------------------------------------------------


def _validated(file: str | None, out: str | None, *, held_out: bool, calibration: str, as_json: bool) -> str:
    from pathlib import Path

    from .calibration_data import CalibrationError, load
    from .validation import TableError, validate_runs

    try:
        load(calibration)
    except CalibrationError as error:
        raise InputError(f"--calibration: {error.args[0]}") from None
    try:
        summary = validate_runs(
            Path(file) if file is not None else None,
            Path(out) if out is not None else None,
            held_out=held_out,
            calibration=calibration,
            progress=_note,
        )
    except TableError as error:
        raise InputError(str(error)) from None
    if out is not None:
        _note(f"wrote {out}")
    return _json(summary.as_json()) if as_json else summary.text()


def _validated_by(kind: str, file: str | None, out: str | None, *, hold: str, calibration: str, as_json: bool) -> str:
    """Kinds whose rows are held out in more than one way."""
    from pathlib import Path

    from .calibration_data import CalibrationError
    from .validation import TableError
    from .validation.held_out_command import validate_measured

    try:
        summary = validate_measured(
            kind,
            Path(file) if file is not None else None,
            Path(out) if out is not None else None,
            hold=hold,
            calibration=calibration,
            progress=_note,
        )
    except CalibrationError as error:
        raise InputError(f"--calibration: {error.args[0]}") from None
    except TableError as error:
        raise InputError(str(error)) from None
    if out is not None:
        _note(f"wrote {out}")
    return _json(summary.as_json()) if as_json else summary.text()


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
    from .collective_curve import curve_of
    from .collective_question import question_of_texts

    problems = _output_problems(None, [html, out])
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
    curve = curve_of(question, progress=lambda groups: _progress(groups, "numbers of ranks"))
    if html is not None:
        from .output import write_atomically
        from .report.collective_page import collective_html

        write_atomically(html, collective_html(curve))
        _note(f"wrote {html}")
    from .report.collective_text import collective_mapping, collective_text

    _deliver(_json(collective_mapping(curve)) if as_json else collective_text(curve), out)
    return 0


def _points(
    job: str | None,
    flags: Mapping[str, str | None],
    pins: Sequence[str],
    counts: Sequence[int],
    mode: str,
    out: str | None,
) -> tuple[list[PlanQuery], tuple[str, ...]]:
    """One question for every number of chips, all their problems together, and what was assumed."""
    from .query import QueryError, query_from_mapping

    problems = _output_problems(job, [out])
    tables, place, wrong = _merged(job, flags, pins)
    problems += wrong
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
            problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return queries, assumed


def _samples_a_chip(job: Mapping[str, Any]) -> tuple[int, str]:
    """What a chip takes when nobody says: enough images to be busy, one sequence."""
    from workloads.catalog import model, resolve_model

    name = resolve_model(str(job.get("model", "")))
    return (32, "image") if name and model(name).sample == "image" else (1, "sequence")


def _progress(items: Sequence[Any], word: str) -> Iterable[Any]:
    """The items; meanwhile a bar on a terminal, elsewhere a plain line every ten seconds."""
    if sys.stderr.isatty():
        with click.progressbar(items, label=word, file=sys.stderr) as bar:
            yield from bar
        return
    told = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - told > 10:
            _note(f"{done} of {len(items)} {word}")
            told = time.monotonic()
        yield item


# --- what leaves the program --------------------------------------------------------------------------------------


def _json(value: object) -> str:
    from .report.json_form import dumps

    return value if isinstance(value, str) else dumps(value)


def _deliver(text: str, out: str | None) -> None:
    if out is not None:
        from .output import write_atomically

        write_atomically(out, text)
        _note(f"wrote {out}")
        return
    try:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough. What is still buffered must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise InputError(f"standard output cannot be written: {error.strerror or error}.") from None


def _colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _note(text: str) -> None:
    _complain([text])


def _complain(lines: Iterable[str]) -> None:
    """Lines on standard error, with nothing in them that a terminal obeys."""
    for line in (part for text in lines for part in text.split("\n")):
        clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        try:
            sys.stderr.write(f"trainyard: {clean}\n")
        except OSError:
            return


def _one_line(text: str) -> str:
    joined = " ".join(text.split())
    return joined[:1].lower() + joined[1:]


def _our_fault(error: Exception) -> list[str]:
    if os.environ.get("TRAINYARD_DEBUG") == "1":
        return traceback.format_exc().rstrip().split("\n")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    said = " ".join(str(error).split())[:200]
    return [
        f"a fault of ours: {type(error).__name__}{place}: {said}",
        "please report it with the command line and `trainyard --version`; TRAINYARD_DEBUG=1 shows the traceback.",
    ]
