"""A fitted machine as files for `--catalog DIR`: chip, link, server, system, stack and calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hwmodels.chip import PRECISIONS

from ..calibration_data import number, quoted
from .fabric import SeenFabric
from .facts import FACTS
from .fitting import LawFit
from .machine import MachineFit

_MADE = "# Made by `trainyard calibrate`; the same measurements give the same bytes.\nschema = 1\n"
_SOURCES = {
    "probe": ("Measured by trainyard probe", "this machine", "measured"),
    "catalogue": ("The catalogue's own file of the chip", "hwmodels/data/chips", "secondary"),
    "assumed": ("Assumed", "nothing measured or stated it", "recalled"),
}


def texts_of(
    name: str, *, machine: MachineFit | None, fabric: SeenFabric | None, constants: Mapping[str, float],
    fits: Mapping[str, LawFit],
) -> dict[str, str]:  # fmt: skip
    """The text of every file by its path inside the folder.

    A chip of the catalogue keeps its own files: of kernels alone, or of collectives alone, the constants are written.
    """
    files = {f"calibrations/{name}.toml": calibration_toml(name, machine, fabric, constants, fits)} if fits else {}
    if machine is not None and machine.machine:
        files |= {
            f"chips/{name}.toml": chip_toml(machine), f"servers/{name}.toml": server_toml(machine),
            f"systems/{name}.toml": system_toml(machine), f"stacks/{name}.toml": stack_toml(machine),
        }  # fmt: skip
    found = machine.fabric if machine is not None else fabric
    if found is not None:
        files[f"links/{name}-link.toml"] = link_toml(name, found)
    return files


def _fact(key: str, value: float, unit: str, source: str, locator: str) -> str:
    whole = unit == "1" and value == int(value)
    shown = str(int(value)) if whole else number(float(f"{value:.5g}"))
    return (
        f"{key} = {{ value = {shown}, unit = {quoted(unit)}, source = {quoted(source)}, locator = {quoted(locator)} }}"
    )


def _described(used: set[str]) -> Iterator[str]:
    for key in sorted(used):
        title, where, kind = _SOURCES[key]
        yield f"\n[sources.{key}]\ntitle = {quoted(title)}\nwhere = {quoted(where)}\nkind = {quoted(kind)}"


def chip_toml(fit: MachineFit) -> str:
    """The chip's file."""
    chip, known = fit.chip, fit.seen.known
    used = {source for source, _ in known.values()}
    lines = [
        _MADE, f"id = {quoted(chip.id)}", f"name = {quoted(chip.name)}", f"vendor = {quoted(chip.vendor)}",
        f"year = {chip.year}", f"architecture = {quoted(chip.architecture)}", f"kind = {quoted(chip.kind)}",
        'status = "provisional"', f"measured_as = [{quoted(chip.id)}]",
    ]  # fmt: skip
    for table, rates in (("peak", chip.peak_flop_per_s), ("vector_peak", chip.vector_peak_flop_per_s)):
        if rates:
            lines.append(f"\n[{table}]")
            words = [word for word in PRECISIONS if word in rates]
            lines += [_fact(w, rates[w] / 1e12, "TFLOP/s", *known[f"{table}.{w}"]) for w in words]
    for table in ("compute", "memory", "power"):
        lines.append(f"\n[{table}]")
        for key, (name, unit, factor) in FACTS.items():
            if key.startswith(f"{table}.") and key in known:
                lines.append(_fact(key.partition(".")[2], getattr(chip, name) / factor, unit, *known[key]))
    return "\n".join([*lines, *_described(used)]) + "\n"


def link_toml(name: str, fabric: SeenFabric) -> str:
    """The link between processes."""
    head = [
        _MADE, f"id = {quoted(f'{name}-link')}",
        f"name = {quoted(f'{fabric.library} between {fabric.ranks} processes')}", 'family = "socket"',
        'status = "provisional"',
        _fact("bandwidth", fabric.bandwidth_byte_per_s / 1e9, "GB/s", "probe", f"bus rate of {fabric.bandwidth_of}"),
        _fact("latency", fabric.latency_s * 1e6, "us", "probe", f"one step of {fabric.latency_of}"),
    ]  # fmt: skip
    return "\n".join([*head, *_described({"probe"})]) + "\n"


def chips_of(fit: MachineFit) -> int:
    """Chips of the server: the cards there are; of a CPU as many as the probe's threads go into its cores, where
    processes of that size were measured together."""
    if fit.machine["device"] != "cpu":
        return int(fit.machine.get("devices") or 1) if fit.fabric else 1
    alike = fit.fabric is not None and fit.fabric.threads == int(fit.machine["threads"])
    return max(1, int(fit.machine["cores"]) // int(fit.machine["threads"])) if alike else 1


def server_toml(fit: MachineFit) -> str:
    """The machine as a server."""
    chips = chips_of(fit)
    used = {"probe", "assumed"}
    lines = [
        _MADE, f"id = {quoted(fit.name)}", f"name = {quoted(f'The machine of {fit.chip.name}')}",
        f"chip = {quoted(fit.chip.id)}", 'status = "provisional"',
        _fact("chips", chips, "1", "probe", "cards, or processes of the measured size that its cores hold"),
        "\n[scale_up]", f'shape = "{"pcie_tree" if chips > 1 else "none"}"',
    ]  # fmt: skip
    if chips > 1:
        lines.append(f"link = {quoted(f'{fit.name}-link')}")
    lines += [
        _fact("links_per_chip", 1 if chips > 1 else 0, "1", "probe", "the wires between processes, as one link"),
        "\n[scale_out]", _fact("nics", 0, "1", "assumed", "one machine: nothing leaves it"), "\n[host]",
        _fact("cores", max(int(fit.machine["cores"]) if fit.chip.kind == "cpu" else 1, 1), "1", "probe",
              "as the machine states it"),
        _fact("power", 50.0, "W", "assumed", "order of magnitude; nothing of power was measured"),
    ]  # fmt: skip
    return "\n".join([*lines, *_described(used)]) + "\n"


def system_toml(fit: MachineFit) -> str:
    """The machine as a system of one server."""
    return (
        f"{_MADE}id = {quoted(fit.name)}\nname = {quoted(f'This machine: {fit.chip.name}')}\n"
        f"server = {quoted(fit.name)}\nservers = 1\n"
        'source = "measured by trainyard probe"\nlocator = "the machine that the probe ran on"\n'
    )


def stack_toml(fit: MachineFit) -> str:
    """PyTorch on the machine, operator by operator."""
    cpu = fit.chip.kind == "cpu"
    host = 0.0 if cpu else fit.host_s
    note = "a CPU is its own host: an operator's issue stands in the chip's ramp" if cpu else "host time by the probe"
    lines = [
        _MADE, f"id = {quoted(fit.name)}", f"name = {quoted('PyTorch ' + str(fit.machine['torch']) + ', eager')}",
        "year = 2025", 'framework = "PyTorch"', 'family = "eager-pytorch"', 'source = "measured by trainyard probe"',
        'attention = "fused"', "gradient_byte = 4.0", 'optimizer = "adam"',
    ]  # fmt: skip
    if host is not None:
        lines.append(f"host_s_per_launch = {number(float(f'{host:.5g}'))}")
    if cpu:
        lines.append("framework_reserve_byte = 5e8")
    return "\n".join([*lines, f"note = {quoted(note)}"]) + "\n"


def calibration_toml(
    name: str, machine: MachineFit | None, fabric: SeenFabric | None, constants: Mapping[str, float],
    fits: Mapping[str, LawFit],
) -> str:  # fmt: skip
    """Constants, how sure they are, and the held-out errors of every suite."""
    lines = [_MADE, "[fitted_on]", 'what = "measured by the user"', f"rows = {sum(fit.rows for fit in fits.values())}"]
    values = dict(constants)
    if machine is not None:
        lines.append(f"chip = {quoted(machine.chip.name)}")
        said = machine.machine
        lines += [f"{key} = {quoted(str(said[key]))}" for key in ("device", "threads", "torch") if key in said]
        values |= machine.constants
    if fabric is not None:
        values[f"fabric:{name}-link-tree:wire_scale"] = fabric.fit.value("wire_scale")
    lines += ["", "[constants]", *(f"{quoted(k)} = {_value(v)}" for k, v in sorted(values.items()))]
    for family, deviations in sorted(machine.deviations.items()) if machine is not None else ():
        if deviations:
            lines += [
                "",
                f"[deviations.{family}]",
                *(f"{quoted(k)} = {number(v)}" for k, v in sorted(deviations.items())),
            ]
    for fit_name, law in sorted(fits.items()):
        lines += ["", *_fit_lines(fit_name, law)]
    return "\n".join(lines) + "\n"


def _value(value: float) -> str:
    text = f"{value:.6g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _fit_lines(name: str, law: LawFit) -> Iterator[str]:
    """One fit for a reader: nothing is priced with it."""
    yield f"[fits.{quoted(name)}]"
    yield f"rows = {law.rows}"
    for key, value in (
        ("held_out_median_error", law.median), ("held_out_mean_error", law.mean),
        ("roofline_median_error", law.yardstick_median), ("median_quartile_spread", law.spread),
    ):  # fmt: skip
        if value is not None:
            yield f"{key} = {number(float(value))}"
    yield f"[fits.{quoted(name)}.constants]"
    for constant, c in law.constants.items():
        open_word = "" if c.determined else ", not determined"
        yield (
            f"{constant} = [{_value(c.low)}, {_value(c.value)}, {_value(c.high)}]"
            f"  # {c.unit}: 5 %, value, 95 %{open_word}; {c.meaning}"
        )
