"""From files to fits: what each file is, which machine the files speak of together, and what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hwmodels.catalog import chip as chip_by_id

from ..errors import InputError
from ..measured_files.kinds import kind_of
from ..measured_files.kineto import TraceSummary, read_trace
from ..measured_files.nccl_tests import read_nccl_tests
from ..measured_files.tables import catalogued, collective_observations, kernel_observations, nccl_observations
from ..probe.record import ProbeRecord, differences, read_record
from .fabric import SeenFabric, seen_fabric, why_no_fabric
from .facts import SeenChip, seen_chip
from .files import texts_of
from .fitting import LawFit
from .machine import MachineFit, fit_machine
from .neighbour_laws import NeighbourLaws, fitted_neighbours
from .observations import Observation, of_record
from .step_laws import StepLaws, fitted_step_laws
from .steps import fitted_stacks, stack_constants

#: What of a machine must be alike for two files to speak of the same.
_SAME: Final = ("device", "name", "capability", "cores", "threads", "torch")


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What the files gave.

    ``machine`` where there are kernels, else ``fabric`` where there are collectives alone; ``stacks`` where there are
    step times; ``traces`` by file.
    """

    name: str
    kinds: Mapping[str, str]
    machine: MachineFit | None = None
    fabric: SeenFabric | None = None
    stacks: Mapping[str, LawFit] = field(default_factory=dict)
    traces: Mapping[str, TraceSummary] = field(default_factory=dict)

    @property
    def fits(self) -> dict[str, LawFit]:
        """All fits by name."""
        alone = {"collectives": self.fabric.fit} if self.fabric else {}
        return {**(self.machine.fits if self.machine else {}), **alone, **{f.name: f for f in self.stacks.values()}}

    def files(self) -> dict[str, str]:
        """The files for `--catalog`, text by path; none where traces alone were read on a CPU."""
        return texts_of(
            self.name, machine=self.machine, fabric=self.fabric, constants=stack_constants(self.stacks), fits=self.fits
        )


def calibrate(paths: Sequence[str], *, name: str = "this-machine") -> Calibrated:
    """Fit everything that some files determine.

    Raises
    ------
    InputError
        Where a file is of no known kind or cannot be read, where files speak of several machines, or where the data
        determine no chip at all; each says which measurement would.
    """
    kinds = {path: kind_of(path) for path in paths}
    record = _one_machine([path for path, kind in kinds.items() if kind == "probe"])
    observations = of_record(record) if record else []
    chip_id = ""
    for path in (p for p, kind in kinds.items() if kind == "kernels"):
        spelling, rows = kernel_observations(path)
        if record is None or spelling != name:
            found = catalogued(spelling, path)
            if record is not None or chip_id not in ("", found):
                raise InputError(f"{path}: is of chip {found}, another file of another; fit one chip at a time.")
            chip_id = found
        observations += rows
    for path in (p for p, kind in kinds.items() if kind == "collectives"):
        observations += collective_observations(path)
    tests = [test for p, kind in kinds.items() if kind == "nccl-tests" for test in read_nccl_tests(p)]
    observations += nccl_observations(tests)
    traces = {p: read_trace(p) for p, kind in kinds.items() if kind == "trace"}
    stacks: dict[str, LawFit] = {}
    for path in (p for p, kind in kinds.items() if kind == "runs"):
        stacks |= fitted_stacks(path)
    machine, fabric = _fitted(record, observations, chip_id, name)
    if machine is not None and machine.host_s is None:
        told = [t.launch_s for t in traces.values() if t.launch_s is not None]
        machine = replace(machine, host_s=min(told)) if told else machine
    return Calibrated(name=name, kinds=kinds, machine=machine, fabric=fabric, stacks=stacks, traces=traces)


@dataclass(frozen=True, kw_only=True)
class StepMachine:
    """What of one machine a step of training is priced from; the parts are None where the probe lacks their suites."""

    steps: StepLaws | None
    neighbours: NeighbourLaws | None

    @property
    def fits(self) -> dict[str, LawFit]:
        """All fits by name."""
        exchange = {"step exchange": self.neighbours.exchange} if self.neighbours else {}
        return {**(self.steps.named if self.steps else {}), **exchange}


def fitted_steps(record: ProbeRecord) -> StepMachine:
    """The laws of a step alone, as `calibrate` fits them. Raises `InputError` where the record determines no chip."""
    observations = of_record(record)
    chip = seen_chip(record.machine, observations, name="this-machine").chip
    steps = fitted_step_laws(observations, chip)
    return StepMachine(
        steps=steps, neighbours=fitted_neighbours(observations, chip, steps.levels) if steps else None
    )  # fmt: skip


def _one_machine(paths: Sequence[str]) -> ProbeRecord | None:
    """The records of one machine as one; where two hold the same case, the later file's."""
    merged: ProbeRecord | None = None
    for path in paths:
        record = read_record(path)
        if merged is not None:
            found = differences(*(_described(r.machine) for r in (merged, record)))
            if found:
                raise InputError(f"{path}: is of another machine than the files before it ({'; '.join(found[:3])}).")
            record = replace(merged, measurements={**merged.measurements, **record.measurements})
        merged = record
    return merged


def _described(machine: Mapping[str, Any]) -> dict[str, Any]:
    return {key: machine.get(key) for key in _SAME}


def _fitted(
    record: ProbeRecord | None, observations: Sequence[Observation], chip_id: str, name: str
) -> tuple[MachineFit | None, SeenFabric | None]:
    if record is not None:
        seen = seen_chip(record.machine, observations, name=name)
        return fit_machine(record.machine, seen, observations, name=name), None
    if chip_id:
        chip = chip_by_id(chip_id).one_die
        return fit_machine(
            {}, SeenChip(chip=chip, known={}, assumed=(), catalogue=chip.id), observations, name=name
        ), None
    if not observations:
        return None, None
    if why := why_no_fabric(observations):
        raise InputError(f"calibrate: {why}.")
    return None, seen_fabric(observations, f"{name}-link")
