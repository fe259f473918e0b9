"""Everything that measurements say of one machine: the chip, its constants, the stack's, the fabric's, what is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from hwmodels.chip import Chip

from ..kernels.device_constants import shipped_device_constants, with_measured
from ..probe.suites.launch import ISSUED
from . import laws
from .fabric import SeenFabric, seen_fabric, why_no_fabric
from .facts import SeenChip
from .families import deviations_of, fitted_families
from .fitting import Law, LawFit, fit_law
from .neighbour_laws import NeighbourLaws, fitted_neighbours
from .observations import Observation, suite_of
from .step_laws import StepLaws, fitted_step_laws

#: Rows below which a law is not fitted at all.
_FEWEST_ROWS: Final = 3
#: Constants of laws that a step is priced with, by the name they have in `constants.SPECS` or in `pricing`.
STEP_CONSTANTS: Final = (
    "memory_fraction", "cached_byte", "cache_speed", "conv_fraction", "thin_conv_fraction", "thin_conv_traffic",
    "optimizer_traffic",
)  # fmt: skip
#: What of the vector law moves bytes.
_MOVING: Final = ("memory_fraction", "cached_byte", "cache_speed")
#: Kernels that move less than this tell nothing of how bytes of element-wise work are moved in a step [B].
_TYPICAL_BYTE: Final = 1e5


@dataclass(frozen=True, kw_only=True)
class MachineFit:
    """A machine as its measurements show it.

    ``families`` are fits of the kernel models, ``laws`` those of what a step adds; ``host_s`` is the host's time per
    operator of a training step, None where nobody measured it. ``missing`` says what the data cannot determine and
    which measurement would, a line each.
    """

    name: str
    machine: Mapping[str, Any]
    seen: SeenChip
    families: Mapping[str, LawFit]
    laws: Mapping[str, LawFit]
    fabric: SeenFabric | None
    host_s: float | None
    constants: Mapping[str, float]
    missing: tuple[str, ...]
    observations: int
    steps: StepLaws | None = None
    neighbours: NeighbourLaws | None = None

    @property
    def chip(self) -> Chip:
        """The chip."""
        return self.seen.chip

    @property
    def fits(self) -> dict[str, LawFit]:
        """All fits by name."""
        fabric = {"collectives": self.fabric.fit} if self.fabric else {}
        kernels = {f"kernel model {name}": fit for name, fit in self.families.items()}
        calls = self.steps.named if self.steps else {}
        exchange = {"step exchange": self.neighbours.exchange} if self.neighbours else {}
        return {**kernels, **self.laws, **fabric, **calls, **exchange}

    @property
    def deviations(self) -> dict[str, dict[str, float]]:
        """Deviations of the kernel models by family and key."""
        return deviations_of(self.families, self.chip)


def fit_machine(
    machine: Mapping[str, Any], seen: SeenChip, observations: Sequence[Observation], *, name: str
) -> MachineFit:
    """Fit everything that the observations of one machine determine."""
    chip = seen.chip
    families = fitted_families(observations, chip)
    fits: dict[str, LawFit] = {}
    missing = list(_too_few(observations, chip))
    vector = _priced(suite_of(observations, "vector"), chip)
    if len(vector) >= _FEWEST_ROWS:
        fits["vector"] = fit_law(laws.vector_law(vector, chip))
    for made in _laws(observations, families, chip, fits.get("vector")):
        fits[made.name] = fit_law(made)
    host_s = fits["launch"].value("host_s") if "launch" in fits else None
    fabric = None
    if why := why_no_fabric(observations):
        missing.append(f"wires between processes: {why}")
    else:
        fabric = seen_fabric(observations, f"{name}-link")
    constants = _constants(chip, fits, fabric, vector, name)
    missing += open_lines([*families.values(), *fits.values(), *([fabric.fit] if fabric else [])])
    steps = fitted_step_laws(observations, chip) if chip.kind == "cpu" else None
    neighbours = fitted_neighbours(observations, chip, steps.levels) if steps else None
    return MachineFit(
        steps=steps, neighbours=neighbours,
        name=name, machine=machine, seen=seen, families=families, laws=fits, fabric=fabric, host_s=host_s,
        constants=constants, missing=tuple(missing), observations=len(observations),
    )  # fmt: skip


def open_lines(fits: Iterable[LawFit]) -> Iterator[str]:
    """Which constants the data left open, a line for each fit, and what would determine them."""
    for fit in fits:
        if fit.open:
            yield f"{fit.name}: {', '.join(fit.open)} after {fit.rows} rows; go on with {fit.needed}"


def _priced(rows: Sequence[Observation], chip: Chip) -> list[Observation]:
    """Rows in precisions that the chip has a rate for."""
    return [o for o in rows if o.precision in chip.peak_flop_per_s]


def _laws(
    observations: Sequence[Observation], families: Mapping[str, LawFit], chip: Chip, vector: LawFit | None
) -> Iterator[Law]:
    """Laws beyond element-wise work, which what that moves and its ramp enter."""
    ramp_s = vector.value("kernel_ramp_s") if vector else laws.SPECS["kernel_ramp_s"].prior
    moved = {n: c.value for n, c in vector.constants.items() if n in _MOVING} if vector else {"memory_fraction": 0.8}
    fraction = moved["memory_fraction"]
    convolution = suite_of(observations, "convolution")
    measured = deviations_of(families, chip)
    constants = {f: with_measured(c, measured.get(f, {})) for f, c in shipped_device_constants().items()}
    made: list[tuple[Sequence[Observation], Callable[..., Law]]] = []
    for word in sorted(chip.peak_flop_per_s) if chip.kind == "cpu" else ():
        attention = [o for o in suite_of(observations, "attention") if o.precision == word]
        dense = [o for o in convolution if o.kind != "thin" and o.precision == word]
        made += [
            (attention, partial(laws.attention_law, precision=word, ramp_s=ramp_s)),
            (dense, partial(laws.convolution_law, precision=word, constants=constants, ramp_s=ramp_s)),
        ]
    thin = [o for o in convolution if o.kind == "thin" and o.precision == "fp32"]
    made.append((thin, partial(laws.thin_law, ramp_s=ramp_s, memory_fraction=fraction)))
    optimizer = suite_of(observations, "optimizer")
    for rule in sorted({o.kind for o in optimizer}):
        mine = [o for o in optimizer if o.kind == rule]
        made.append((mine, partial(laws.optimizer_law, rule=rule, memory_fraction=fraction)))
    made.append((suite_of(observations, "embedding"), partial(laws.embedding_law, ramp_s=ramp_s, moved=moved)))
    # The cost of an operator in a training step, its gradients with it.
    launch = [o for o in suite_of(observations, "launch") if o.kind == "layer_and_gradient"]
    made.append((launch, partial(laws.launch_law, issued=ISSUED)))
    yield from (make(rows, chip) for rows, make in made if len(rows) >= _FEWEST_ROWS)


def _constants(
    chip: Chip, fits: Mapping[str, LawFit], fabric: SeenFabric | None, vector: Sequence[Observation], name: str
) -> dict[str, float]:
    """What a step on this chip is priced with, by the keys of a calibration file."""
    found: dict[str, float] = {}
    host_s = fits["launch"].value("host_s") if "launch" in fits else None
    for fit in fits.values():
        kind, _, variant = fit.name.partition(" ")
        suffix = f"/{variant}" if kind in ("attention", "convolution", "optimizer") and variant else ""
        values = {n: c.value for n, c in fit.constants.items() if n in STEP_CONSTANTS and c.determined}
        if kind == "attention":
            own = {n: c.value for n, c in fit.constants.items()}
            values |= laws.attention_rates(own, chip.peak(variant))
        found |= {f"chip:{chip.id}:{n}{suffix}": value for n, value in values.items()}
    if chip.kind == "cpu":
        # The kernel model was fitted on this very chip, and a CPU is its own host: an operator's issue is its ramp.
        found |= {f"chip:{chip.id}:{word}": 1.0 for word in ("plain_fraction", "narrow_fraction", "matrix_fraction")}
        ramp = host_s if host_s is not None else (fits["vector"].value("kernel_ramp_s") if "vector" in fits else None)
        found |= {f"chip:{chip.id}:kernel_ramp_s": ramp} if ramp is not None else {}
    if "vector" in fits:
        found[f"stack:{name}:traffic_scale"] = _typical_traffic(fits["vector"], vector, chip)
    if fabric is not None:
        found[f"chip:{chip.id}:call_s"] = fabric.fit.value("call_s")
        found[f"fabric:{name}-link-tree:wire_scale"] = fabric.fit.value("wire_scale")
    return found


def _typical_traffic(fit: LawFit, rows: Sequence[Observation], chip: Chip) -> float:
    """What a step's element-wise work takes against its bytes alone: the median over operators that move enough."""
    byte = np.array([o.byte for o in rows])
    enough = byte >= _TYPICAL_BYTE
    if not enough.any():
        return 1.0
    values = {name: np.full(len(rows), c.value) for name, c in fit.constants.items()}
    moved = laws.moved_s(byte, chip.memory_bandwidth_byte_per_s, values)
    ratio = (fit.measured_s - fit.value("kernel_ramp_s"))[enough] / moved[enough]
    return float(np.clip(np.median(ratio), 0.25, 20.0))


def _too_few(observations: Sequence[Observation], chip: Chip) -> Iterator[str]:
    """Suites without enough rows, and precisions that multiply here but were hardly measured."""
    for suite, what in (
        ("gemm", "matrix products"), ("vector", "element-wise work"), ("attention", "attention"),
        ("convolution", "convolutions"), ("optimizer", "updates"), ("launch", "the host's time per operator"),
    ):  # fmt: skip
        rows = suite_of(observations, suite)
        if len(rows) < _FEWEST_ROWS:
            yield f"{what}: {len(rows)} rows of {suite}; go on with --suites {suite}"
    seen = {o.precision for o in suite_of(observations, "gemm")}
    for word in sorted(seen - set(chip.peak_flop_per_s)):
        yield f"{word}: too few large products for a peak; go on with --suites gemm --precision {word}"
