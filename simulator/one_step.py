"""One step of one strategy on both engines: the closed form and, task by task, the events."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.workload import Workload

from .analytic import batch, step_times
from .calibration_data import calibration_names, load_constants
from .cluster import system
from .constants import Constants
from .contention import contention_of, grid_of
from .defaults import software
from .events import Differences, Surroundings, Timeline, find_roles, simulate
from .job import workload_of
from .lowering import Context, Lowered, lower
from .parallelism import Parallelism
from .planner import plan
from .query import PlanQuery
from .staging import staged
from .stepspec import StepSpec, StepTime


@dataclass(frozen=True, kw_only=True)
class SimulatedStep:
    """One step on both engines. Where nothing fits, `parallelism`, `spec` and the times are None.

    ``spec`` holds the work as it takes alone; ``bound`` is the closed form of it, in which nothing contends, and
    ``analytic`` the one with contention. ``around`` is what the events ran under.
    """

    job: str
    stack: str
    calibration: str
    searched: int
    nearest_fit: str
    parallelism: Parallelism | None = None
    spec: StepSpec | None = None
    bound: StepTime | None = None
    analytic: StepTime | None = None
    events: StepTime | None = None
    around: Surroundings | None = None
    timeline: Timeline | None = None
    workload: Workload | None = None
    context: Context | None = None
    lowered: Lowered | None = None

    @property
    def strategy(self) -> str:
        """The strategy in one short line, "" where nothing fits."""
        return self.parallelism.words() if self.parallelism else ""


def simulate_step(
    query: PlanQuery,
    *,
    constants: Constants | None = None,
    traced: bool = False,
    contention: bool = True,
    unfold: bool = False,
    differences: Differences | None = None,
) -> SimulatedStep:
    """Simulate one step of the job's strategy: what it pins, and for what it leaves open the best found.

    With `traced` the result carries the timeline of the step. The other switches are those of `priced_step`.
    """
    step = priced_step(query, constants=constants, contention=contention, unfold=unfold, differences=differences)
    if step.spec is None:
        return step
    timeline = Timeline() if traced else None
    return replace(step, events=simulate(step.spec, step.around, timeline=timeline), timeline=timeline)


def priced_step(
    query: PlanQuery,
    *,
    constants: Constants | None = None,
    contention: bool = True,
    unfold: bool = False,
    differences: Differences | None = None,
) -> SimulatedStep:
    """The same but for the simulation: the strategy, its step as both engines read it, and its closed forms.

    Without ``contention`` all work takes the time that the closed form gives it, whatever runs beside it. ``unfold``
    follows every rank; else one speaks for all that are alike. ``differences`` say what is unlike about some.

    Raises
    ------
    StepSpecError
        For a difference of a rank that the job does not have.
    """
    if constants is None:
        constants = load_constants() if "default" in calibration_names() else Constants()
    report = plan(
        replace(
            query,
            workload=workload_of(query),
            post_training=None,
            validation=None,
            top=1,
            tokens=0.0,
            samples=0.0,
            epochs=0.0,
            dataset_samples=0.0,
        ),
        constants=constants,
    )
    job = f"{report.model} with a global batch of {report.global_batch:,} on {report.chips:,} chips of {report.system}"
    asked = SimulatedStep(
        job=job,
        stack=report.stack,
        calibration=report.calibration,
        searched=report.searched,
        nearest_fit=report.nearest_fit,
    )
    if not report.ranked:
        return asked
    chosen = report.ranked[0].parallelism
    workload = workload_of(query)
    cluster = system(query.system).cluster
    runs = software(
        workload, cluster.chip, stack_id=query.stack, precision=query.precision, optimizer_name=query.optimizer
    )
    context = Context(cluster=cluster, stack=runs.stack, recipe=runs.recipe, optimizer=runs.optimizer)
    lowered = staged(workload, lower(workload, context, [chosen]))
    steps, alone = batch(lowered, constants), batch(lowered, constants, contention=False)
    spec = (alone if contention else steps).spec(0)
    around = Surroundings(
        roles=find_roles(grid_of(lowered, 0), differences, unfold=unfold),
        contention=contention_of(lowered, 0, spec, constants) if contention else None,
    )
    return replace(
        asked,
        parallelism=chosen,
        spec=spec,
        bound=step_times(alone)[0],
        analytic=step_times(steps)[0],
        around=around,
        workload=workload,
        context=context,
        lowered=lowered,
    )
