"""What `trainyard simulate` gives beside the step time: its options, the files it writes, progress while it runs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError
from .asking import F
from .printing import note

if TYPE_CHECKING:
    from ..events import RoleMemory
    from ..one_step import SimulatedStep
    from ..step_run import RanStep

#: Slices that a trace holds unless told otherwise; Perfetto's page shows a few times as many.
TRACE_EVENTS: Final = 1_000_000
#: Slices up to which every pass is recorded block by block; only then tools read the overlap inside passes.
_BLOCKS: Final = 200_000
#: Passes of a step from which on progress is shown.
_LONG: Final = 20_000

_OPTIONS: Final = (
    click.option("--trace", metavar="FILE", help="Write a Chrome trace of the step, for Perfetto; .gz: compressed."),
    click.option("--trace-roles", metavar="DIR", help="Write one trace per role there, for HolisticTraceAnalysis."),
    click.option("--trace-events", metavar="N", help=f"Slices in a trace at most. Default: {TRACE_EVENTS:,}."),
    click.option("--chakra", metavar="FILE", help="Write the step as Chakra traces, FILE.0.et or .json for each role."),
    click.option("--explain", is_flag=True, help="Why it takes as long: critical path, what would help, overlap."),
    click.option("--timeline", is_flag=True, help="Draw the passes of every rank."),
)


def output_options(command: F) -> F:
    """The options of all that."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for."""

    trace: str | None = None
    trace_roles: str | None = None
    trace_events: int = TRACE_EVENTS
    chakra: str | None = None
    explain: bool = False
    timeline: bool = False

    @classmethod
    def of(cls, given: dict[str, Any]) -> Wanted:
        """Take the options out of those given.

        Raises
        ------
        InputError
            For a limit that is none, or that limits nothing; for a Chakra file of another kind.
        """
        mine = {name: given.pop(name) for name in ("trace", "trace_roles", "chakra", "explain", "timeline")}
        limit = given.pop("trace_events")
        problems = []
        if limit is not None:
            if not (limit.isascii() and limit.isdigit() and 0 < int(limit[:12]) <= 10**9):
                problems.append(f"--trace-events: {limit!a}; legal: a whole number from 1 to 1,000,000,000.")
            elif not (mine["trace"] or mine["trace_roles"]):
                problems.append("--trace-events: there is no trace to limit; legal: with --trace or --trace-roles.")
            else:
                mine["trace_events"] = int(limit)
        if mine["chakra"] and not mine["chakra"].endswith((".et", ".json")):
            problems.append(f"--chakra: {mine['chakra']!a}; legal: a name that ends in .et or .json.")
        elif mine["chakra"] and mine["chakra"].endswith(".et") and not _has_protobuf():
            problems.append(
                "--chakra: .et files need a package: pip install 'trainyard[chakra]'; or name a .json file."
            )
        if problems:
            raise InputError(*problems)
        return cls(**mine)

    @property
    def files(self) -> tuple[str | None, ...]:
        """Places that must be writable."""
        folder = self.trace_roles
        inside = os.path.join(folder, "rank0.json") if folder and os.path.exists(folder) else folder
        return self.trace, inside, self.chakra

    @property
    def traced(self) -> bool:
        """Whether what ran must be recorded."""
        return bool(self.trace or self.trace_roles or self.timeline)


def _has_protobuf() -> bool:
    try:
        return find_spec("google.protobuf") is not None
    except ModuleNotFoundError:
        return False


def run_watched(step: SimulatedStep, wanted: Wanted) -> RanStep:
    """Simulate the step; of a long one, show how far it is."""
    from ..events.watch import most_block_slices, passes_of_step
    from ..step_run import run_step

    assert step.spec is not None
    passes = passes_of_step(step.spec)
    with _meter(passes, "passes") as told:
        return run_step(
            step,
            traced=wanted.traced,
            every_block=most_block_slices(step.spec) <= min(wanted.trace_events, _BLOCKS),
            most_slices=wanted.trace_events,
            told=told if passes >= _LONG else None,
        )


@contextmanager
def _meter(total: int, word: str) -> Iterator[Callable[[int], None]]:
    """Tells a count: a bar on a terminal, elsewhere a plain line every ten seconds."""
    if total >= _LONG and sys.stderr.isatty():
        with click.progressbar(length=total, label=word, file=sys.stderr) as bar:
            yield lambda done: bar.update(done - bar.pos)
        return
    said_s = time.monotonic()

    def tell(done: int) -> None:
        nonlocal said_s
        if time.monotonic() - said_s > 10:
            note(f"{done:,} of {total:,} {word}")
            said_s = time.monotonic()

    yield tell


def write_outputs(step: SimulatedStep, wanted: Wanted) -> None:
    """Write the traces; say what was left out of them."""
    assert step.spec is not None
    if step.timeline is not None and (wanted.trace or wanted.trace_roles):
        _write_traces(step, wanted)
    if wanted.chakra:
        from ..report.chakra import write_chakra
        from ..step_work import step_work

        work = step_work(step.lowered) if step.lowered is not None else None
        try:
            paths = write_chakra(step.spec, wanted.chakra, work=work)
        except OSError as error:
            raise InputError(f"{wanted.chakra!a}: cannot be written: {error.strerror or error}.") from None
        note(f"wrote {paths[0]}" + (f" to {paths[-1]}" if len(paths) > 1 else ""))


def _write_traces(step: SimulatedStep, wanted: Wanted) -> None:
    from ..events import messages, write_chrome_trace, write_role_traces
    from ..step_memory import role_memory

    timeline, spec = step.timeline, step.spec
    assert timeline is not None
    assert spec is not None
    memory: dict[int, RoleMemory] = {}
    device: dict[str, str | int] | None = None
    if step.workload is not None and step.context is not None and step.parallelism is not None:
        by_stage = role_memory(step.workload, step.context, step.parallelism, spec)
        stages = _stages_of(step)
        memory = {role: by_stage[stage] for role, stage in enumerate(stages) if stage in by_stage}
        chip = step.context.cluster.chip
        device = {"name": str(chip.id), "totalGlobalMem": round(chip.memory_byte)}
    metadata: dict[str, str | int | float] = {"job": step.job, "strategy": step.strategy}
    if not timeline.every_block:
        metadata["blocks"] = "of the first and the last micro-batch; in other passes all compute, then all collectives"
    if step.events is None:
        metadata["interrupted"] = "the step was stopped; this is what ran until then"
    if timeline.left_out:
        metadata["left_out"] = f"{timeline.left_out:,} slices"
    place = wanted.trace or wanted.trace_roles or ""
    try:
        if wanted.trace:
            sent = messages(timeline, spec, step.around.roles if step.around else None)
            write_chrome_trace(
                timeline, wanted.trace, metadata=metadata, messages=sent, memory=memory, device=device
            )  # fmt: skip
            note(f"wrote {wanted.trace}; open it in Perfetto")
        if wanted.trace_roles:
            place = wanted.trace_roles
            paths = write_role_traces(timeline, place, metadata=metadata, memory=memory, device=device)
            note(f"wrote {len(paths):,} traces in {place}; HolisticTraceAnalysis reads that folder")
    except OSError as error:
        raise InputError(f"{place!a}: cannot be written: {error.strerror or error}.") from None
    if timeline.left_out:
        whole = timeline.left_out + len(timeline.slices)
        note(
            f"the trace holds the first {len(timeline.slices):,} of {whole:,} slices, up to "
            f"{timeline.end_ps / 1e12:.6f} s; --trace-events N keeps more."
        )


def _stages_of(step: SimulatedStep) -> list[int]:
    """The pipeline rank of every role that was followed."""
    assert step.spec is not None
    if step.around is None or step.around.roles is None:
        return list(range(len(step.spec.stages)))
    return [role.stage for role in step.around.roles.roles]


def width() -> int:
    """Columns of the terminal, 100 where there is none."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 40), 400) if sys.stdout.isatty() else 100
