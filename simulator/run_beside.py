"""A simulated step run many times beside its input pipeline and its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workloads.workload import Workload

from .cluster import system
from .defaults import Software, software
from .errors import InputError
from .events.run_steps import RunTimes, run_steps
from .hosts import host_of
from .job import workload_of
from .one_step import SimulatedStep
from .outcome.checkpoint import MODES, Checkpoints, checkpoint_byte
from .outcome.data import IMAGENET_IMAGES
from .outcome.input import IMAGE_CORE_S, IMAGENET_BYTE, InputWork, input_times
from .outcome.storage import FileSystem, Host
from .query import PlanQuery

INPUTS: Final = ("imagenet", "tokens")
#: Bytes of a token as stored, and as copied to a chip.
TOKEN_BYTE: Final = 4.0


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What runs beside the step. A rate or size of 0 says that there is no such thing.

    ``input``: "", "imagenet" (JPEG images decoded on the host) or "tokens". ``storage_byte_per_s``: the parallel file
    system as a whole, each direction; 0 for local disks of ``disk_byte_per_s``. ``checkpoint_every``: steps; 0: none.
    """

    steps: int
    input: str = ""
    prefetch: int = 2
    spread: float = 0.0
    storage_byte_per_s: float = 0.0
    disk_byte_per_s: float = 0.0
    host_memory_byte: float = 0.0
    checkpoint_every: int = 0
    checkpoint_mode: str = "blocking"

    def __post_init__(self) -> None:
        problems = []
        if self.steps < 1:
            problems.append(f"steps: {self.steps}; at least 1.")
        for name, legal in (("input", ("", *INPUTS)), ("checkpoint_mode", MODES)):
            if getattr(self, name) not in legal:
                words = ", ".join(word for word in legal if word)
                problems.append(f"{name.replace('_', '-')}: {getattr(self, name)!a}; one of {words}.")
        if (self.input or self.checkpoint_every) and not (self.storage_byte_per_s or self.disk_byte_per_s):
            problems.append("storage: input and checkpoints need a place; give --storage 100GB/s or --disk 5GB/s.")
        if problems:
            raise InputError(*problems)


@dataclass(frozen=True, kw_only=True)
class RunBeside:
    """The run, what each server's host and the model's checkpoint are, what binds the input, what was assumed."""

    times: RunTimes
    servers: int
    step_s: float
    binds: str
    checkpoint_byte: float
    assumed: tuple[str, ...]


def run_beside(step: SimulatedStep, query: PlanQuery, options: RunOptions) -> RunBeside:
    """Run the step that was simulated beside its input and checkpoints.

    The step's exposed exchange between stages and replicas keeps the network cards busy; what hides under compute
    does too, but its share is not known here and left out.

    Raises
    ------
    InputError
        For an input the model does not take, or a place that cannot hold or serve what is asked.
    """
    if step.events is None or step.parallelism is None:
        raise InputError("run: nothing fits, so that there is no step to run.")
    workload, cluster = workload_of(query), system(query.system).cluster
    runs = software(
        workload, cluster.chip, stack_id=query.stack, precision=query.precision, optimizer_name=query.optimizer
    )
    chips = query.chips or cluster.max_chips
    servers = -(-chips // cluster.chips_per_server)
    host = host_of(
        cluster, memory_byte=options.host_memory_byte, disk_read_byte_per_s=options.disk_byte_per_s,
        disk_write_byte_per_s=options.disk_byte_per_s,
    )  # fmt: skip
    file_system = None
    if options.storage_byte_per_s:
        file_system = FileSystem(
            read_byte_per_s=options.storage_byte_per_s, write_byte_per_s=options.storage_byte_per_s
        )
    assumed: list[str] = []
    work = input_work(options, workload, runs, query, servers, assumed)
    byte = checkpoint_byte(
        workload.parameters, storage_byte=runs.recipe.storage_byte, master_byte=runs.recipe.master_byte,
        state_words=runs.optimizer.state_per_parameter, state_byte=runs.recipe.state_byte,
    )  # fmt: skip
    plan = None
    if options.checkpoint_every:
        plan = Checkpoints(
            total_byte=byte, every=options.checkpoint_every, mode=options.checkpoint_mode,
            levels=(("file_system" if file_system else "disk", 1),),
        )  # fmt: skip
        assumed.append("every rank writes its own part of a checkpoint")
    exposed_ps = step.events.data_ps + step.events.pipeline_ps if servers > 1 else 0
    times = run_steps(
        step.events.total_s, options.steps, host=host, file_system=file_system, servers=servers, input=work,
        checkpoints=plan, card_share=exposed_ps / step.events.total_ps, spread=options.spread, seed=0,
    )  # fmt: skip
    return RunBeside(
        times=times, servers=servers, step_s=step.events.total_s, binds=_binds(work, host, file_system, servers, step),
        checkpoint_byte=byte if plan else 0.0, assumed=tuple(assumed),
    )  # fmt: skip


def input_work(
    options: RunOptions, workload: Workload, runs: Software, query: PlanQuery, servers: int, assumed: list[str]
) -> InputWork | None:
    """What a sample of a job's input asks of the host; None without input. Adds to ``assumed`` what was filled in."""
    if not options.input:
        return None
    legal = "imagenet" if workload.sample == "image" else "tokens" if workload.sample == "sequence" else "none of them"
    if options.input != legal:
        raise InputError(f"input: {workload.name} trains on {workload.sample}s, not {options.input}; legal: {legal}.")
    batch = -(-query.global_batch // servers)
    if options.input == "imagenet":
        side = query.image_size or int(float(str(workload.hyper.get("image_size", 224))))
        assumed.append(f"an image takes {IMAGE_CORE_S * 1e3:.1f} ms of one core: measured input of 2017, 3.9 to 5.6")
        assumed.append(f"images are copied to the chips as {runs.recipe.storage_byte:g}-byte numbers")
        return InputWork(
            stored_byte=IMAGENET_BYTE / IMAGENET_IMAGES, prepared_byte=3 * side**2 * runs.recipe.storage_byte,
            core_s=IMAGE_CORE_S, batch=batch, dataset_samples=IMAGENET_IMAGES, prefetch=options.prefetch,
        )  # fmt: skip
    assumed.append(f"a token is {TOKEN_BYTE:g} bytes, read once, at no cost to the host's cores")
    byte = TOKEN_BYTE * workload.tokens_per_sample
    size = query.dataset_samples or 1e12
    return InputWork(
        stored_byte=byte, prepared_byte=byte, core_s=0.0, batch=batch, dataset_samples=size, prefetch=options.prefetch
    )


def _binds(
    work: InputWork | None, host: Host, file_system: FileSystem | None, servers: int, step: SimulatedStep
) -> str:
    if work is None or step.events is None:
        return ""
    times = input_times(work, host, file_system, servers=servers)
    return times.binds if max(times.stages_s) > step.events.total_s else "training"
