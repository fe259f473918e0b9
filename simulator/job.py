"""`Job`: a question with its names resolved and its gaps filled."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads import catalog as models
from workloads.generation import at_length
from workloads.workload import Workload

from .cluster import ClusterError, SystemEntry, system
from .defaults import software
from .lowering import Context
from .outcome import Amount, amount
from .outcome.convergence.curve import crossing
from .query import PlanQuery


@dataclass(frozen=True, kw_only=True)
class Job:
    """A resolved question: nouns instead of names, and what was filled in."""

    query: PlanQuery
    workload: Workload
    entry: SystemEntry
    context: Context
    chips: int
    amount: Amount | None
    defaults: tuple[str, ...]

    @property
    def servers(self) -> int:
        """Servers that the job's chips fill, the last one perhaps in part."""
        return -(-self.chips // self.context.cluster.chips_per_server)


def workload_of(query: PlanQuery) -> Workload:
    """The network of a question: the user's own, or the catalogue's with the size of sample that was asked.

    Where sequences are generated and nothing else is said they are trained on at their mean length.
    """
    own = query.workload or models.model(
        query.model, seq_len=query.seq_len or None, image_size=query.image_size or None
    )
    asked = query.post_training
    if asked is None or query.seq_len or not asked.prompt_tokens:
        return own
    return at_length(own, asked.trained_tokens)


def _to_target(workload: Workload, query: PlanQuery) -> Amount | None:
    """The data that published runs needed to the question's target, up to the validation that sees it."""
    from .goal import samples_to_target  # reads the published points

    found = samples_to_target(
        workload, query.target, global_batch=query.global_batch, optimizer=query.optimizer,
        dataset_samples=query.dataset_samples,
    )  # fmt: skip
    every = query.validation.every_steps * query.global_batch if query.validation else 0
    seen, low, high = (
        float(crossing(samples, every=every)) if every else samples
        for samples in (found.samples, found.low_samples, found.high_samples)
    )
    data = amount(workload, global_batch=query.global_batch, samples=seen)
    stops = f"; seen at the next validation, every {query.validation.every_steps:,} steps" if query.validation else ""
    return data and replace(
        data, assumed=found.assumed + stops, target=found.target, low_samples=low, high_samples=high
    )  # fmt: skip


def resolve(query: PlanQuery) -> Job:
    """Look names up, fill in what the question leaves open.

    Raises
    ------
    LookupError
        For a name that no catalogue holds, with the nearest.
    ClusterError
        For more chips than the system has.
    ChipError
        For a precision that the chip has no rate for.
    OutcomeError
        For an amount of data that cannot be.
    """
    entry = system(query.system)
    cluster = entry.cluster
    chips = query.chips or cluster.max_chips
    if not 1 <= chips <= cluster.max_chips:
        raise ClusterError(
            f"chips is {chips}, but {cluster.id} has {cluster.max_chips} chips; legal: 1 to {cluster.max_chips}."
        )
    workload = workload_of(query)
    used = software(
        workload, cluster.chip, stack_id=query.stack, precision=query.precision, optimizer_name=query.optimizer
    )
    cluster.chip.peak(used.recipe.matmul)
    defaults = list(used.defaults)
    if not query.chips:
        defaults.insert(0, f"chips {chips}: the whole system")
    data = (
        _to_target(workload, query)
        if query.target
        else amount(
            workload,
            global_batch=query.global_batch,
            tokens=query.tokens,
            samples=query.samples,
            epochs=query.epochs,
            dataset_samples=query.dataset_samples,
        )
    )
    context = Context(cluster=cluster, stack=used.stack, recipe=used.recipe, optimizer=used.optimizer)
    return Job(
        query=query, workload=workload, entry=entry, context=context, chips=chips, amount=data, defaults=tuple(defaults)
    )
