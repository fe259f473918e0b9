"""Job file or training command, flags over it, networks of the user's own -> one checked question."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .asking import output_problems
from .phases import PHASE_FLAGS
from .stretches import phase_queries

if TYPE_CHECKING:
    from hwmodels.datafile import KeyPath
    from workloads.workload import Workload

    from ..command_line import TrainingCommand
    from ..query import PlanQuery

Place = Callable[["KeyPath"], str]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A checked question, the training command it was read from, and a question for each phase of a run in phases."""

    query: PlanQuery
    command: TrainingCommand | None = None
    phases: tuple[PlanQuery, ...] = ()


def question_of(
    job: str | None, flags: Mapping[str, str | None], pins: Sequence[str], *outputs: str | None, phased: bool = False
) -> Question:
    """The checked question; with it every place that results will be written to, before any work is done.

    With ``phased`` a job file may hold ``[[phases]]``; the question is then the first phase's.
    """
    from ..query import QueryError, query_from_mapping

    problems = output_problems(job, outputs)
    query, command = None, None
    phases: tuple[PlanQuery, ...] = ()
    try:
        command = command_of(job, flags)
        tables, place, wrong = merged(job, flags, pins, command)
        problems += [*wrong, *bring_network(tables, place, command, folder=os.path.dirname(job or ""))]
        if phased and "phases" in tables:
            phases, wrong = phase_queries(tables, tables.pop("phases"), place)
            problems += wrong
            query = phases[0] if phases else None
        else:
            query = query_from_mapping(tables, where=place)
    except QueryError as error:
        problems += error.problems
    except InputError as error:  # the command cannot be read; what stands beside it is still looked at
        problems += [*error.problems, *_system_problems(flags)]
    if problems or query is None:
        raise InputError(*dict.fromkeys(problems))
    return Question(query=query, command=command, phases=phases)


def command_of(job: str | None, flags: Mapping[str, str | None]) -> TrainingCommand | None:
    """The training command that the flags bring, as text or in a file."""
    text, path = flags.get("from_command"), flags.get("from_command_file")
    if text is None and path is None:
        if flags.get("search"):
            raise InputError("--search: frees the strategy of a command line; legal: with --from-command.")
        return None
    if text is not None and path is not None:
        raise InputError("--from-command: is given together with --from-command-file; legal: one of them.")
    if job is not None:
        raise InputError(f"--from-command: is given together with the job {ascii(job)[:80]}; legal: one of them.")
    from ..command_line import read_command, read_command_file

    chips = flags.get("chips") or ""
    known = int(chips) if chips.isascii() and chips.isdigit() and len(chips) < 9 else 0
    return read_command(text, chips=known) if text is not None else read_command_file(path or "", chips=known)


def _system_problems(flags: Mapping[str, str | None]) -> list[str]:
    from ..cluster import UnknownSystemError, system

    name = flags.get("system")
    if name is None:
        return ["--system: is missing; legal: a name of `trainyard catalog systems`."]
    try:
        system(name)
    except UnknownSystemError as error:
        return [f"--system: {error.args[0]}"]
    return []


def merged(
    job: str | None, flags: Mapping[str, str | None], pins: Sequence[str], command: TrainingCommand | None = None
) -> tuple[dict[str, Any], Place, list[str]]:
    """File (or command) and flags as one mapping, what its keys are called in messages, what is wrong with flags."""
    from hwmodels.datafile import dotted

    from ..query import read_mapping

    data, file_place = read_mapping(job) if job is not None else ({}, None)
    if command is not None:
        data, file_place = _tables_of(command, flags), lambda key: f"--from-command: {dotted(key)}"
    tables: dict[str, Any] = {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
    names: dict[KeyPath, str] = {}
    problems: list[str] = []

    def override(table: str, key: str, value: str, name: str) -> None:
        inner = tables.setdefault(table, {})
        if isinstance(inner, dict):
            inner[key] = value
            names[(table, key)] = name

    measures = ("tokens", "samples", "epochs", "target")
    if any(flags.get(key) is not None for key in measures) and isinstance(tables.get("job"), dict):
        for key in (*measures, "dataset_samples"):  # another measure on the command line replaces the file's
            tables["job"].pop(key, None)
    for key, value in flags.items():
        if value is not None and key not in ("from_command", "from_command_file", "search"):
            table, inner, *_ = PHASE_FLAGS.get(key, ("job", key))
            override(table, inner, value, f"--{key.replace('_', '-')}")
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
        if file_place is not None and not (command is not None and key == ("job", "system")):
            return str(file_place(key))
        if flag := next((f for f, (table, inner, *_) in PHASE_FLAGS.items() if (table, inner) == key), ""):
            return f"--{flag.replace('_', '-')}"
        return f"--{str(key[-1]).replace('_', '-')}" if key[0] == "job" and len(key) > 1 else dotted(key)

    return tables, place, problems


def _tables_of(command: TrainingCommand, flags: Mapping[str, str | None]) -> Mapping[str, Mapping[str, Any]]:
    """A question's tables as a training command fills them."""
    job: dict[str, Any] = {"model": command.program, **command.job}
    chips = command.chips or command.nodes * (command.per_node or _chips_of_server(flags.get("system") or ""))
    if chips:
        job["chips"] = chips
    elif flags.get("chips") is None:
        raise InputError("--from-command: does not say on how many chips; legal: --chips N.")
    return {"job": job, "strategy": {} if flags.get("search") else command.strategy}


def _chips_of_server(name: str) -> int:
    from ..cluster import UnknownSystemError, system

    try:
        return system(name).cluster.chips_per_server
    except UnknownSystemError:
        return 0


def bring_network(
    tables: Mapping[str, Any], place: Place, command: TrainingCommand | None = None, *, folder: str = ""
) -> list[str]:
    """Put a network from a file, a command, or changed for fine-tuning in the place of the model's name.

    Returns what is wrong with it; a name that no catalogue has is left for later checks.
    """
    job = tables.get("job")
    if not isinstance(job, dict):
        return []
    from ..fine_tuning import KEYS, fine_tuned

    asked = {key: job.pop(key) for key in KEYS if key in job}
    name = job.get("model")
    if not isinstance(name, str):
        return []
    own = command is not None and name == command.program
    try:
        if own and command is not None:
            workload = command.workload
            for key in ("seq_len", "image_size"):
                if key in job:
                    return [f"{place(('job', key))}: the command line says it; legal: change it there."]
        else:
            found = _network(job, name, folder)
            if found is None or (found[1] == name and not asked and not found[2]):
                return []
            workload, _, own = found
    except InputError as error:
        job["model"] = next(iter(_any_model()))  # what is wrong with it is said; later checks look at the rest
        return [f"{place(('job', 'model'))}: {problem}" for problem in error.problems]
    workload, words, problems = fine_tuned(workload, asked, lambda key: place(("job", key)))
    if words or own:
        from dataclasses import replace

        marks = f" ({'; '.join(words)})" if words else ""
        job["model"] = replace(workload, name=f"{workload.name}{marks}")
    return problems


def _any_model() -> Sequence[str]:
    from workloads.catalog import model_names

    return model_names()


def _network(job: Mapping[str, Any], name: str, folder: str) -> tuple[Any, str, bool] | None:
    """(network, name, whether a file holds it); None for a name or size that later checks will refuse."""
    from workloads import catalog
    from workloads.op import WorkloadError

    from ..model_file import names_file, workload_from_file
    from ..query import JOB, read_value

    sizes: dict[str, int | None] = {}
    for key in ("seq_len", "image_size"):
        try:
            sizes[key] = int(read_value(JOB[key], job[key])) if key in job else None
        except ValueError:
            sizes[key] = None
    beside = os.path.join(folder, name)
    path = beside if folder and not os.path.isabs(name) and os.path.exists(beside) else name
    if names_file(path):
        return workload_from_file(path, **sizes), name, True
    resolved = catalog.resolve_model(name)
    if not resolved:
        return None
    try:
        return catalog.model(resolved, **sizes), resolved, False
    except WorkloadError:
        return None


def network_of(asked: Mapping[str, str]) -> Workload:
    """The network that options name, of a size and changed for fine-tuning as they say; options by their keys.

    Raises
    ------
    InputError
        With every problem.
    """
    from hwmodels.datafile import unknown_name
    from workloads import catalog
    from workloads.op import WorkloadError
    from workloads.workload import Workload

    from ..query import JOB, read_value

    def place(key: KeyPath) -> str:
        return f"--{str(key[-1]).replace('_', '-')}"

    job: dict[str, Any] = dict(asked)
    tables = {"job": job}
    problems = bring_network(tables, place)
    sizes: dict[str, int] = {}
    for key in ("seq_len", "image_size"):
        try:
            if key in job:
                sizes[key] = int(read_value(JOB[key], job[key]))
        except ValueError as error:
            problems.append(f"--{key.replace('_', '-')}: {error}")
    name = job["model"]
    if isinstance(name, Workload):
        if problems:
            raise InputError(*problems)
        return name
    if not catalog.resolve_model(name):
        problems.append(f"--model: {unknown_name('model', name, catalog.model_names())}")
    elif not problems:
        try:
            return catalog.model(name, **sizes)
        except WorkloadError as error:
            problems.append(f"{' '.join(place((key,)) for key in sizes) or '--model'}: {error}")
    raise InputError(*problems)
