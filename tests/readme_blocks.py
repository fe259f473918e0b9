"""The generated blocks of README.md and the whole of SCOREBOARD.md: every figure comes from a command or the record.

    python tests/readme_blocks.py             write them anew, from what ships
    python tests/readme_blocks.py RUNS.csv    first fit the calibration, its held-out record and the scoreboard anew
                                              from the whole corpus (minutes; `python -m simulator.calibration`), then
                                              write (`python -m simulator.calibration.kernels KERNELS.csv` before)
    python tests/readme_blocks.py RUNS.csv --sources   with whole sources held out besides (as long again)
    python tests/readme_blocks.py --check     write nothing; exit 1 where README.md or SCOREBOARD.md is behind

A block stands between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``; `BLOCKS` says how each is made.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from click.testing import CliRunner

from simulator.bench.run import shipped_bench
from simulator.bench.text import bench_markdown
from simulator.calibration_data import load_constants
from simulator.collective_calibration import load_collectives
from simulator.convergence_calibration import shipped_points
from simulator.kernel_calibration import load_kernels
from simulator.records import timeline
from simulator.report.records_text import timeline_block
from simulator.validation.collective_selection import shipped_collectives
from simulator.validation.kernel_selection import shipped_kernels
from simulator.validation.record_files import HeldOut, recorded_coverage, recorded_groups, recorded_runs
from simulator.validation.scoreboard.page import page
from simulator.validation.scoreboard.stored import stored_scoreboard
from simulator.validation.scoreboard.worst import explanations
from simulator.validation.training_constants import load_training

README = Path(__file__).parents[1] / "README.md"
SCOREBOARD = README.with_name("SCOREBOARD.md")
#: Stands for lines of a command's output that README leaves out.
LEFT_OUT = "[...]"

PLAN = "trainyard plan --model gpt3-175b --system selene --chips 1024 --global-batch 1536 --tokens 300e9"
SCALE = "trainyard scale --model resnet50 --system dgx1-v100 --chips 8..2048 --global-batch 65536"
VALIDATE = "trainyard validate runs"
WRONG = "trainyard plan --model gpt3-175b --system selen --chips 0 --global-batch 1536"
FACTS = "trainyard catalog links nvlink2"
ROOFLINE = "trainyard roofline --model resnet50 --chip p100-pcie-16gb --micro-batch 32 --precision fp32"
CURVE = "trainyard scale --collective all_reduce --system dgx1-v100 --bytes 64KiB,1MiB,16MiB,1GiB --chips 4,6,8,64"


def output_of(command: str) -> str:
    """What a `trainyard` command prints, standard output and error together, as on a terminal 100 columns wide.

    Lines of progress come and go with the machine's speed; they are left out.
    """
    from simulator.cli import cli

    program, *arguments = shlex.split(command)
    assert program == "trainyard", command
    with _environment(COLUMNS="100", NO_COLOR="1", TRAINYARD_DEBUG=""):
        printed = CliRunner().invoke(cli, arguments, prog_name="trainyard").output
    return re.sub(r"^trainyard: [\d,]+ of [\d,]+ \w+\n", "", printed, flags=re.MULTILINE)


class _environment:  # noqa: N801  # reads as a function where it is used
    def __init__(self, **values: str) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._before = dict(os.environ)
        os.environ.update(self._values)

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ.update(self._before)


# --- commands -------------------------------------------------------------------------------------------------------


def console(command: str, shown: Callable[[list[str]], Iterable[str]] = lambda lines: lines) -> str:
    """A command and the shown lines of its output, as a fenced block."""
    lines = [line.rstrip() for line in output_of(command).rstrip("\n").split("\n")]
    return "\n".join(["```console", f"$ {command}", *shown(lines), "```"])


def sections(*wanted: str) -> Callable[[list[str]], list[str]]:
    """Of a report only what stands before its first heading, and the wanted sections."""

    def heading(line: str) -> bool:
        return bool(re.match(r"[A-Z][A-Z' ]{4,}", line))

    def keep(lines: list[str]) -> list[str]:
        parts: list[list[str]] = [[]]
        for line in lines:
            if heading(line):
                parts.append([])
            parts[-1].append(line)
        kept: list[str] = []
        for i, part in enumerate(parts):
            if i == 0 or part[0].startswith(wanted):
                while part and not part[-1]:
                    part.pop()
                kept += [*part, ""]
            elif kept[-2:] != [LEFT_OUT, ""]:
                kept += [LEFT_OUT, ""]
        return kept[:-1]

    return keep


def first(count: int, width: int = 0) -> Callable[[list[str]], list[str]]:
    """The first lines, and of those that are longer than `width` (0: any length) only the beginning."""

    def keep(lines: list[str]) -> list[str]:
        cut = [f"{x[:width].rsplit(' ', 1)[0]} {LEFT_OUT}" if 0 < width < len(x) else x for x in lines[:count]]
        return [*cut, *([LEFT_OUT] if len(lines) > count else [])]

    return keep


def roofline_lines(lines: list[str]) -> list[str]:
    """Of a roofline its head, the first layers of both tables, the totals and the measured kernels."""
    kept: list[str] = []
    layers = 0
    for line in lines:
        row = line.startswith("  ") and "%" in line and not line.startswith(("  all ", "  roof", "  where"))
        inside = row and not any(word in line for word in ("deepbench", "neusight", "tensor_core"))
        layers = layers + 1 if inside else 0
        if layers <= 3:
            kept.append(line)
        elif kept[-1] != LEFT_OUT:
            kept.append(LEFT_OUT)
    return kept


# --- the record -----------------------------------------------------------------------------------------------------

_KINDS = {
    "all": "all runs", "llm": "language models", "bert": "BERT and other encoders", "cnn": "convolutional networks",
    "other": "recurrent, recommender, scientific, generative",
    "llm2020_now": "2020 to now", "bert2018_2020": "2018 to 2020", "cnn2015_2018": "2015 to 2018",
}  # fmt: skip


#: Sets of sources that no era names.
_OTHER_ERAS = {"recsys": "sources of recommenders", "other": "other sources"}


def record() -> str:
    """Held-out errors by kind of run and by era, beside the baseline's."""
    lines = [
        "| runs | number | groups | error | median | baseline's error | in the 80 % interval | its high / low |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, group in recorded_groups():
        if kind == "memory":
            continue
        name = (_OTHER_ERAS if kind == "era" else _KINDS).get(group.name) or _KINDS.get(group.name, group.name)
        lines.append(
            f"| {f'**{name}**' if kind == 'all' else name} | {group.runs:,} | {group.groups} | {group.macro:.1%} | "
            f"{group.median:.1%} | {_percent(group.baseline_macro)} | {_percent(group.held)} | {group.width:.2f} |"
        )
    count, trainings = recorded_coverage(), load_training().record
    total = sum(count.values())
    covered = (
        f"The corpus has {total:,} published rows. {count['predicted']:,} are predicted as steps and "
        f"{count['memory']:,} as memory; the table counts one row of each run, without those that contradict "
        "themselves. The others are no steps or "
        f"refused, each with its reason: {count['another metric']:,} are times to a target, epochs, speed-ups and the "
        f"like ({sum(int(entry['rows']) for entry in trainings.values()):,} of them predicted from how long other "
        "measured runs of their recipe train), "
        f"{count['unknown model']:,} have a model and {count['unknown chip']:,} a chip that does not ship, "
        f"{count['other']:,} lack something else. {len(load_constants().values)} fitted constants serve all runs "
        "together."
    )
    return "\n".join([*lines, "", *textwrap.wrap(covered, 120)])


_READINGS = {
    "allocated": "peak of what is allocated", "reserved": "held by the framework's allocator",
    "device": "as the driver reports it",
}  # fmt: skip


def memory() -> str:
    """Held-out errors of measured memory, by what the figure is, beside 16 bytes a parameter."""
    lines = [
        "| memory of a chip | rows | groups | error | median | baseline's error | in the 80 % interval "
        "| its high / low |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for group in (g for kind, g in recorded_groups() if kind == "memory"):
        name = "**all rows**" if group.name == "all" else _READINGS.get(group.name, group.name)
        lines.append(
            f"| {name} | {group.runs:,} | {group.groups} | {group.macro:.1%} | "
            f"{group.median:.1%} | {_percent(group.baseline_macro)} | {_percent(group.held)} | {group.width:.2f} |"
        )
    return "\n".join(lines)


_FAMILIES = {
    "gemm": "matrix products on GPUs", "conv": "convolutions on GPUs", "attention": "attention",
    "recurrent": "recurrent layers", "vector": "element-wise, softmax, layer norm", "sparse": "sparse products",
    "cpu": "products and convolutions on Xeon Phi", "systolic": "products on Gaudi 2",
}  # fmt: skip


def kernels() -> str:
    """Held-out errors of measured kernels by family, beside the bare roofline's."""
    record = load_kernels().record
    lines = [
        "| kernels | number | suites x chips | bare roofline | unseen shapes | unseen chips | unseen generation |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for family, name in _FAMILIES.items():
        by_hold = [record.families[f"{hold}/{family}"] for hold in ("shapes", "chips", "generations")]
        chips = sum(key.startswith(f"{family}/") for key in record.measured)
        # Where one chip alone was measured, its model was built on it: leaving it out again would show nothing.
        errors = " | ".join(
            f"{entry.macro:.1%} ({entry.median:.1%})" if i == 0 or chips > 1 else "one chip"
            for i, entry in enumerate(by_hold)
        )
        one = by_hold[0]
        base = f"{one.baseline_macro:.0%} ({one.baseline_median:.0%})"
        lines.append(f"| {name} | {one.rows:,} | {one.groups} | {base} | {errors} |")
    return "\n".join(lines)


def collectives() -> str:
    """Held-out errors of measured collectives by class, beside those of one alpha-beta pair per fabric."""
    record = load_collectives().record
    lines = [
        "| collectives | rows | groups | baseline | unseen ranks or collectives | baseline | unseen systems |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for word, name in (
        ("inside", "from 1 MiB, one server or rack"), ("across", "from 1 MiB, several"), ("small", "below 1 MiB"),
    ):  # fmt: skip
        cells = []
        for hold in ("groups", "systems"):
            entry = record.classes[f"{hold}/{word}"]
            cells += [
                f"{entry.baseline_macro:.0%} ({entry.baseline_median:.0%})",
                f"{entry.macro:.1%} ({entry.median:.1%})",
            ]
        lines.append(f"| {name} | {entry.rows:,} | {entry.groups} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


class Shown(NamedTuple):
    """One set of runs of the README's second table: those of a source that `chosen` picks."""

    title: str
    source: str
    chosen: Callable[[dict[str, str]], bool]


def _synthetic(model: str) -> Callable[[dict[str, str]], bool]:
    wanted = (model, "64", "P100-SXM2")
    return lambda r: (
        (r["model"], r["micro_batch"], r["chip"]) == wanted and r["locator"].endswith("DGX-1, synthetic data")
    )


SHOWN = (
    Shown("Megatron-LM 2021, Table 1", "arXiv:2104.04473", lambda r: r["locator"].startswith("Table 1")),
    Shown(
        "Megatron-LM 2021, Table 2, with pipelines",
        "arXiv:2104.04473",
        lambda r: r["locator"].startswith("Table 2") and r["model"] == "GPT3-175B" and r["tp"] == "8",
    ),
    Shown("Korthikanti et al. 2022, Table 5", "arXiv:2205.05198", lambda r: "Table 5" in r["locator"]),
    Shown("Llama 3 2024, Table 4", "arXiv:2407.21783", lambda r: r["locator"].startswith("Table 4")),
    Shown(
        "MXNet README 2016, Inception-v3",
        "MXNet example",
        lambda r: r["model"] == "Inception-v3" and r["num_chips"] in ("1", "4", "16", "64", "256"),
    ),
    Shown("TensorFlow benchmarks 2017, DGX-1, ResNet-50", "TensorFlow performance", _synthetic("ResNet-50")),
    Shown("TensorFlow benchmarks 2017, DGX-1, VGG-16", "TensorFlow performance", _synthetic("VGG-16")),
)
_UNITS = {"TFLOP/s/chip": "TFLOP/s a chip", "s": "s a step"}


def shown_runs() -> list[tuple[Shown, list[HeldOut]]]:
    """The runs of the second table, by set, in the order of the source."""
    every = recorded_runs().values()
    return [
        (one, [run for run in every if run.row["source"].startswith(one.source) and one.chosen(dict(run.row))])
        for one in SHOWN
    ]


def runs() -> str:
    """Named runs: measured beside predicted."""
    lines = ["| run | chips | measured | predicted, held out | predicted / measured |", "|---|---:|---:|---:|---:|"]
    for one, found in shown_runs():
        lines.append(f"| *{one.title}* | | | | |")
        for run in found:
            chips = f"{int(run.row['num_chips']):,} x {run.row['chip']}"
            unit = _UNITS.get(run.row["unit"], run.row["unit"])
            measured, predicted = _amount(run.measured), _amount(run.predicted)
            lines.append(f"| {_name(run)} | {chips} | {measured} {unit} | {predicted} | {run.ratio:.2f} |")
    return "\n".join(lines)


def _name(run: HeldOut) -> str:
    model = re.sub(r" \(Megatron SC21\)$", "", run.row["model"])
    recompute = run.row["recompute"]
    if run.row["source"].startswith("arXiv:2205.05198"):
        return f"{model}, {recompute} recomputation"
    if int(run.row["seq_len"] or 0) > 8192:
        return f"{model}, sequences of {int(run.row['seq_len']):,}"
    return model


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


# --- what ships -----------------------------------------------------------------------------------------------------


def ships() -> str:
    """How many of each kind ship."""
    from hwmodels import catalog as hardware
    from simulator.cluster import system_ids
    from simulator.stack import stack_ids
    from workloads.catalog import model_names

    checked = sum(hardware.chip(id).status == "checked" for id in hardware.chip_ids())
    held = f"rates, memory, watts; each with its source; {checked} read a second time"
    counts = [
        (len(hardware.chip_ids()), "chips", "`trainyard catalog chips`", held),
        (len(hardware.link_ids()), "links", "`trainyard catalog links`", "bandwidth one way, latency"),
        (
            len(hardware.server_ids()),
            "servers",
            "`trainyard catalog servers`",
            "which chips, how joined, network cards",
        ),
        (len(system_ids()), "systems", "`trainyard catalog systems`", "servers on a network"),
        (len(model_names()), "models", "`trainyard catalog models`", "shapes with a source each"),
        (len(stack_ids()), "software stacks", "`trainyard catalog stacks`", "what is fused, overlapped, launched"),
        (len(recorded_runs()), "measured runs", "`trainyard validate runs`", "each with source and locator"),
        (len(shipped_kernels()), "measured kernels", "`trainyard validate kernels`", "each with source and locator"),
        (
            len(shipped_collectives()),
            "measured collectives",
            "`trainyard validate collectives`",
            "each with source and locator",
        ),
        (
            len(shipped_points()),
            "measured points of convergence",
            "`trainyard validate convergence`",
            "each with source",
        ),
    ]
    lines = ["| number | what | list them | what an entry holds |", "|---:|---|---|---|"]
    return "\n".join(lines + [f"| {n:,} | {what} | {how} | {holds} |" for n, what, how, holds in counts])


def bench() -> str:
    """Real steps of the machine that ships, measured beside predicted."""
    return bench_markdown(shipped_bench())


BLOCKS: dict[str, Callable[[], str]] = {
    "bench": bench,
    "plan": lambda: console(PLAN, sections("BEST STRATEGY", "STRATEGIES", "WHERE A STEP", "WHAT BINDS", "KNOWN ERROR")),
    "record": record,
    "memory": memory,
    "runs": runs,
    "timeline": lambda: timeline_block(timeline()),
    "ships": ships,
    "scale": lambda: console(SCALE),
    "validate": lambda: console(VALIDATE, first(11)),
    "wrong": lambda: console(WRONG, first(9, width=96)),
    "facts": lambda: console(FACTS),
    "kernels": kernels,
    "collectives": collectives,
    "curve": lambda: console(CURVE),
    "roofline": lambda: console(ROOFLINE, roofline_lines),
}


# --- README.md ------------------------------------------------------------------------------------------------------


def block_pattern(name: str) -> re.Pattern[str]:
    """A block with its markers; group 2 is what stands between them."""
    return re.compile(rf"(<!-- begin: {name} -->\n)(.*?)(<!-- end: {name} -->)", re.DOTALL)


def block_names(text: str) -> list[str]:
    """Names of the blocks of a text, in order."""
    return re.findall(r"<!-- begin: (\S+) -->", text)


def refreshed(text: str) -> str:
    """A text with all its blocks made anew."""
    for name in block_names(text):
        made = BLOCKS[name]()
        text, count = block_pattern(name).subn(lambda m, made=made: f"{m[1]}{made}\n{m[3]}", text)
        assert count == 1, f"block {name} is not closed, or stands twice"
    return text


def scoreboard_page() -> str:
    """The whole of SCOREBOARD.md."""
    return page(stored_scoreboard(), explanations())


def main(arguments: Sequence[str]) -> int:
    """Write or check README.md and SCOREBOARD.md; see the head of this file."""
    check, sources = "--check" in arguments, [a for a in arguments if a == "--sources"]
    for corpus in (a for a in arguments if not a.startswith("--")):
        command = [sys.executable, "-m", "simulator.calibration", corpus, *sources]
        subprocess.run(command, check=True, stdout=sys.stderr)
    behind = False
    for path, made in ((README, refreshed), (SCOREBOARD, lambda _: scoreboard_page())):
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after = made(before)
        behind |= before != after
        if check:
            names = (path.name, f"{path.name}, made anew")
            sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), *names))
        elif before != after:
            path.write_text(after, encoding="utf-8", newline="")
        state = "as it was" if before == after else "behind" if check else "written"
        print(f"{path.name}: {state}", file=sys.stderr)
    return int(check and behind)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
