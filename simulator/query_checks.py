"""Which questions make sense: names that the catalogues hold, counts that go together.

Each check takes the values that were well-formed, puts the catalogue's own name in place of another spelling, and
yields one line per problem. A check whose values are missing or malformed says nothing; that was said already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import hwmodels.catalog as hardware
from hwmodels.chip import Chip
from hwmodels.datafile import KeyPath, unknown_name
from workloads import catalog as models
from workloads.op import WorkloadError
from workloads.optimizer import optimizer
from workloads.precision import RECIPES, recipe
from workloads.workload import Workload

from .cluster import Cluster, UnknownSystemError, system
from .legality import Premise, divisors, problems_of_pins
from .outcome import OutcomeError
from .phase_query import check_phases
from .query import JOB, STRATEGY, Place, QueryError, read_value, shown
from .stack import StackError, stack

#: Chips of one sequence that context parallelism may add, at most.
_MOST_CONTEXT: Final = 8


def check(
    job: dict[str, Any],
    pins: dict[str, Any],
    place: Place,
    *,
    workload: Workload | None = None,
    phases: Mapping[str, dict[str, Any]] | None = None,
) -> list[str]:
    """Every problem of well-formed values; names in `job` are replaced by the catalogue's own.

    ``workload`` is a network of the user's own, laid out already.
    """
    problems: list[str] = []
    problems += _named(job, place, own=workload is not None)
    workload = workload or _workload(job, place, problems)
    cluster = system(job["system"]).cluster if "system" in job else None
    problems += _amounts(job, workload, place)
    if cluster:
        problems += _chips(job, cluster, place)
        problems += _precision(job, cluster.chip, place)
    if workload and cluster and "cp" not in pins:
        problems += _batch(job, workload, cluster, place)
    problems += _pins(job, pins, workload, cluster, place)
    problems += check_phases(phases or {}, job, workload, cluster, place)
    return problems


def _named(job: dict[str, Any], place: Place, *, own: bool = False) -> Iterator[str]:
    """Look names up; one that is unknown is taken out of `job`, so that later checks leave it alone."""
    look_up = {
        "system": lambda name: system(name).cluster.id,
        "stack": lambda name: stack(name).id,
        "precision": lambda name: recipe(name).name,
        "optimizer": lambda name: optimizer(name).name,
        "model": _model_name,
    }
    for key, find in look_up.items():
        if key not in job or (own and key == "model"):
            continue
        try:
            job[key] = find(job[key])
        except (UnknownSystemError, StackError, LookupError) as error:
            text = error.args[0] if error.args else str(error)
            yield f"{place(('job', key))}: {text}"
            del job[key]


def _model_name(name: str) -> str:
    found = models.resolve_model(name)
    if not found:
        raise LookupError(unknown_name("model", name, models.model_names()))
    return found


def _workload(job: dict[str, Any], place: Place, problems: list[str]) -> Workload | None:
    """The model with its size of sample; a size it cannot have is a problem of that size."""
    if "model" not in job:
        return None
    try:
        workload = models.model(job["model"])
    except WorkloadError as error:
        problems.append(f"{place(('job', 'model'))}: {error}")
        return None
    sizes = {"sequence": "seq_len", "image": "image_size"}
    for sample, key in sizes.items():
        if key not in job:
            continue
        if workload.sample != sample:
            other = f", or give {sizes[workload.sample]}" if workload.sample in sizes else ""
            problems.append(
                f"{place(('job', key))}: is {job[key]}, but a sample of {workload.name} is one {workload.sample}; "
                f"legal: leave it out{other}."
            )
            continue
        try:
            workload = models.model(job["model"], **{key: job[key]})
        except WorkloadError as error:
            problems.append(f"{place(('job', key))}: is {job[key]}: {error}")
    return workload


def _amounts(job: dict[str, Any], workload: Workload | None, place: Place) -> Iterator[str]:
    """How much data: one measure of it, and one that the model's data can be measured in."""
    given = [key for key in ("tokens", "samples", "epochs", "target") if key in job]
    for key in given[1:]:
        legal = "one of tokens, samples, epochs, target"
        yield f"{place(('job', key))}: is given together with {given[0]}; legal: {legal}."
    if "dataset_samples" in job and "epochs" not in job and "target" not in job:
        yield f"{place(('job', 'dataset_samples'))}: is given without epochs; legal: with epochs or a target."
    if workload is None:
        return
    if "target" in job and "global_batch" in job:
        from .goal import samples_to_target  # reads the published points

        try:
            samples_to_target(
                workload, job["target"], global_batch=job["global_batch"], optimizer=job.get("optimizer", ""),
                dataset_samples=job.get("dataset_samples", 0.0),
            )  # fmt: skip
        except OutcomeError as error:
            yield f"{place(('job', 'target'))}: {error}"
    if workload.sample == "image" and "tokens" in job:
        yield f"{place(('job', 'tokens'))}: is given, but {workload.name} takes images; legal: samples or epochs."
    if workload.sample == "sequence" and "epochs" in job and "dataset_samples" not in job:
        yield (
            f"{place(('job', 'epochs'))}: needs dataset_samples, the sequences of one epoch; "
            "legal: both, or tokens or samples instead."
        )


def _chips(job: dict[str, Any], cluster: Cluster, place: Place) -> Iterator[str]:
    chips, per_server = job.get("chips"), cluster.chips_per_server
    if chips is None:
        return
    if chips > cluster.max_chips:
        yield (
            f"{place(('job', 'chips'))}: is {chips}, but {cluster.id} has {cluster.max_chips} chips; "
            f"legal: 1 to {cluster.max_chips}, leave it out for all."
        )
    elif chips > per_server and chips % per_server:
        below = chips - chips % per_server
        nearest = " or ".join(str(n) for n in (below, below + per_server) if n <= cluster.max_chips)
        yield (
            f"{place(('job', 'chips'))}: is {chips}; beyond one server of {cluster.id} whole servers are taken; "
            f"legal: a multiple of {per_server}. Nearest: {nearest}."
        )


def _precision(job: dict[str, Any], chip: Chip, place: Place) -> Iterator[str]:
    if "precision" not in job:
        return
    rates = chip.peak_flop_per_s
    if recipe(job["precision"]).matmul not in rates:
        legal = [name for name, entry in RECIPES.items() if entry.matmul in rates]
        yield (
            f"{place(('job', 'precision'))}: is {shown(job['precision'])}, but {chip.id} has no rate for "
            f"{recipe(job['precision']).matmul}; legal: {', '.join(legal)}."
        )


def _batch(job: dict[str, Any], workload: Workload, cluster: Cluster, place: Place) -> Iterator[str]:
    """Some number of data-parallel ranks must share the batch evenly, and leave no more chips to one replica than
    the model can be cut over."""
    chips, batch = job.get("chips", cluster.max_chips), job.get("global_batch")
    if batch is None or chips > cluster.max_chips:
        return
    cuts = 1
    if workload.splits_tensors:
        cuts = min(cluster.chips_per_server, chips) * max(workload.num_blocks, 1) * _MOST_CONTEXT
    if chips // math.gcd(chips, batch) <= cuts:
        return
    # The fewest replicas that use all chips, in the numbers that divide them.
    replicas = min(n for n in divisors(chips) if chips // n <= cuts)
    below = batch - batch % replicas
    nearest = " or ".join(str(n) for n in (below, below + replicas) if n)
    reason = (
        f"{workload.sample}s are not cut, every chip takes its own"
        if cuts == 1
        else f"{workload.name} is cut over {cuts} chips at most, so at least {replicas} replicas share the batch"
    )
    yield (
        f"{place(('job', 'global_batch'))}: is {batch}, which {chips} chips cannot share evenly: {reason}; "
        f"legal: a multiple of {replicas}. Nearest: {nearest}."
    )


def _pins(
    job: dict[str, Any], pins: dict[str, Any], workload: Workload | None, cluster: Cluster | None, place: Place
) -> Iterator[str]:
    """What keeps the pinned parts of a strategy from being legal; nothing where what they depend on is wrong itself."""
    batch = job.get("global_batch")
    if not pins or workload is None or cluster is None or batch is None:
        return
    chips = job.get("chips", cluster.max_chips)
    if chips > cluster.max_chips:
        return
    premise = Premise(workload=workload, cluster=cluster, chips=chips, global_batch=batch)
    for key, problem in problems_of_pins(premise, pins):
        yield f"{place(('strategy', key) if key else ('job', 'global_batch'))}: {problem}"


def read_layers_question(given: Mapping[str, str | Workload]) -> tuple[dict[str, Any], Workload, Chip]:
    """The question of a roofline: model and chip with options, checked together.

    Raises
    ------
    QueryError
        With every problem.
    """

    def place(key: KeyPath) -> str:
        return f"--{str(key[-1]).replace('_', '-')}"

    problems: list[str] = []
    job: dict[str, Any] = {}
    own: Workload | None = None
    fields = {**JOB, "micro_batch": STRATEGY["micro_batch"]}
    for key, value in given.items():
        if key == "chip":
            continue
        if isinstance(value, Workload):
            own, job[key] = value, value.name
            continue
        try:
            job[key] = read_value(fields[key], value)
        except ValueError as error:
            problems.append(f"{place((key,))}: {error}")
    problems += _named(job, place, own=own is not None)
    workload = own or _workload(job, place, problems)
    chip = None
    try:
        chip = hardware.chip(str(given["chip"]))
    except hardware.CatalogError as error:
        problems.append(f"--chip: {error}")
    if chip is not None:
        problems += _precision(job, chip, place)
    if problems or workload is None or chip is None:
        raise QueryError(*problems)
    return job, workload, chip
