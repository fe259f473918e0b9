"""A plan report as text: the answer first, then what it rests on. 100 columns, no markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..parallelism import Parallelism
from ..plan_report import AsynchronousUpdates, KnownError, Outcome, PlanReport, RankedPlan, SourceLine
from ..stepspec import PARTS
from .phases_text import phase_sections
from .quantities import apportion, capacity, digits, energy, many, money, percent, scaled, seconds
from .tables import fold, table

WIDTH = 100

#: What each part of a step is, for readers.
PART_WORDS = {
    "compute": "compute", "tensor": "exchange inside layers", "pipeline": "sends between stages",
    "bubble": "pipeline bubble", "data": "gradient exchange not hidden", "optimizer": "optimizer",
    "fixed": "fixed per step",
}  # fmt: skip


def plan_text(report: PlanReport, *, colour: bool = False) -> str:
    """The whole report, ending in a newline. With `colour`, headings are bold (for a terminal)."""
    sections = _answered(report) if report.ranked else _unanswered(report)
    lines: list[str] = []
    for heading, body in sections:
        body = list(body)
        if not body:
            continue
        if lines:
            lines.append("")
        if heading:
            lines.append(f"\x1b[1m{heading}\x1b[0m" if colour else heading)
        lines += body
    return "\n".join(_printable(line.rstrip(), colour) for line in lines) + "\n"


def answer(report: PlanReport) -> str:
    """The answer in one or two sentences."""
    job = f"{report.model} with a global batch of {report.global_batch:,} on {report.chips:,} chips of {report.system}"
    if not report.ranked:
        nearest = f" {sentence(report.nearest_fit)}" if report.nearest_fit else ""
        return f"Nothing fits: no strategy trains {job}.{nearest}"
    best = report.ranked[0]
    text = f"{job}: {seconds(best.step.total_s)} a step{_interval(best, ' ({})')}"
    if best.outcome:
        text += f", {seconds(best.outcome.time_s)} for {_amount(report, best.outcome)}"
        if best.outcome.cost_usd is not None:
            text += f", {money(best.outcome.cost_usd)}"
        text += f", {energy(best.outcome.energy_j)}"
    return f"{text}."


def known_error_text(known: KnownError | None) -> str:
    """How far runs like this one were off, in words."""
    if known is None or not known.runs:
        return "0 measured runs like this one: the figures rest on data sheets and priors, and no interval is given."
    text = (
        f"{known.group}: {known.runs:,} measured runs, each predicted with constants fitted without its group, were "
        f"off by {percent(known.mean)} in the mean, {percent(known.median)} in the median; "
        f"8 of 10 took {known.low_factor:.2f} to {known.high_factor:.2f} times the prediction."
    )
    if known.extrapolated:
        text += f" Outside what was measured: {', '.join(known.extrapolated)}."
    return text


def peak_text(report: PlanReport) -> str:
    """The rate that utilisation is a share of."""
    return f"{scaled(report.peak_flop_per_s, 'FLOP/s')} a chip, dense {report.peak_word} peak"


def memory_headroom(plan: RankedPlan) -> str:
    """What of the chip's memory is left, or by how much it is exceeded."""
    left = plan.memory.capacity_byte - plan.memory.total_byte
    return f"{capacity(left)} free" if left >= 0 else f"{capacity(-left)} too much"


def _answered(report: PlanReport) -> Iterator[tuple[str, Iterable[str]]]:
    best = report.ranked[0]
    yield "", _fold(answer(report), indent="")
    yield "BEST STRATEGY", _best(report, best)
    yield "WARNINGS", _bullets(report.warnings)
    found = f"the best {len(report.ranked)} of {report.fitting:,} that fit; {report.searched:,} searched"
    yield f"STRATEGIES ({found})", ranking(report)
    yield "WHERE A STEP'S TIME GOES (best strategy)", _breakdown(best)
    yield from phase_sections(report, WIDTH)
    yield "MEMORY (fullest chip of the best strategy)", _memory(best)
    yield "UTILISATION", _utilisation(report, best)
    yield "WHAT BINDS", _fold(sentence(report.binds))
    yield "WHAT TWICE AS MUCH WOULD DO", _gains(report)
    yield "SCALING", _scaling(report)
    yield "REJECTED", _rejected(report)
    yield from _basis(report)


def _unanswered(report: PlanReport) -> Iterator[tuple[str, Iterable[str]]]:
    yield "", _fold(answer(report), indent="")
    yield "WARNINGS", _bullets(report.warnings)
    yield f"REJECTED (all of {report.searched:,} searched)", _rejected(report)
    yield from _basis(report)


def _basis(report: PlanReport) -> Iterator[tuple[str, Iterable[str]]]:
    """What the answer rests on."""
    yield (
        "JOB",
        _fields(
            ("model", f"{report.model}, {many(report.parameters)} parameters; a sample is {_sample(report)}"),
            ("system", f"{report.system}, {report.chips:,} x {report.chip}"),
            ("software stack", f"{report.stack} ({report.stack_name})"),
            ("numbers", f"{report.recipe}; optimizer {report.optimizer}"),
            ("constants", report.calibration),
        ),
    )
    yield "KNOWN ERROR", _fold(known_error_text(report.known_error))
    yield "DEFAULTS USED", _bullets(report.defaults)
    yield "ASSUMED", _bullets(report.assumptions)
    yield "SOURCES", _sources(report.sources)


def _best(report: PlanReport, best: RankedPlan) -> list[str]:
    step = f"{seconds(best.step.total_s)}{_interval(best, ', {}')}, {best.step.engine}"
    if best.checked_by_events_s is not None:
        off = best.checked_by_events_s / best.step.total_s - 1.0 if best.step.total_s else 0.0
        step += f"; event engine {seconds(best.checked_by_events_s)} ({100 * off:+.1f} %)"
    rate = f"{digits(best.samples_per_s, 4)} samples/s"
    if report.tokens_per_sample > 1:
        rate += f", {digits(best.tokens_per_s, 4)} tokens/s, {digits(best.tokens_per_s / report.chips)} tokens/s a chip"
    rows = [("strategy", best.parallelism.words()), ("step", step), ("rate", rate)]
    rows += [("updates", updates_text(best.asynchronous))] if best.asynchronous else []
    if best.outcome:
        rows += outcome_rows(report, best.outcome)
    return _fields(*rows)


def updates_text(updates: AsynchronousUpdates) -> str:
    """Who pushes to whom, how stale, what binds, what the servers keep."""
    each = "" if updates.servers == 1 else " each"
    return (
        f"asynchronous: {updates.workers:,} workers make {digits(updates.updates_per_s)} updates/s, with gradients "
        f"{updates.staleness:,.0f} updates old in the mean; a step is the time in which they run a global batch. "
        f"{updates.servers:,} servers, their links {percent(updates.server_utilisation)} in use, keep "
        f"{capacity(updates.server_byte)}{each} in their hosts' memory; the {updates.binds} set the pace"
    )


def outcome_rows(report: PlanReport, outcome: Outcome) -> list[tuple[str, str]]:
    """Time, money and energy of the whole training, each with what it rests on."""
    cost = "unknown" if outcome.cost_usd is None else money(outcome.cost_usd)
    span, low, high = "", outcome.low_time_s, outcome.high_time_s
    if low is not None and high is not None:
        span = f" (80 % interval {seconds(low)} to {seconds(high)})"
    return [
        ("training", f"{_amount(report, outcome)} in {outcome.steps:,} steps{_goal(outcome)}"),
        ("time", f"{seconds(outcome.time_s)}{span}, {digits(outcome.chip_hours)} chip-hours"),
        ("money", cost + (f" ({outcome.cost_basis})" if outcome.cost_basis else "")),
        ("energy", energy(outcome.energy_j) + (f" ({outcome.energy_basis})" if outcome.energy_basis else "")),
    ]


def ranking(report: PlanReport) -> list[str]:
    """The ranked strategies as a table; what they have in common stands once, below it."""
    intervals = any(plan.low_s is not None for plan in report.ranked)
    header = ["#", "step", *(["80 % interval"] if intervals else []), "samples/s", "MFU", "memory", "strategy"]
    words, common = in_common([plan.parallelism.words() for plan in report.ranked])
    rows = [
        [
            str(place), seconds(plan.step.total_s), *([_interval(plan, "{}", bare=True)] if intervals else []),
            digits(plan.samples_per_s, 4), percent(plan.mfu), capacity(plan.memory.total_byte), own,
        ]
        for place, (plan, own) in enumerate(zip(report.ranked, words, strict=True), start=1)
    ]  # fmt: skip
    lines = table(header, rows, left=(len(header) - 1,), width=WIDTH)
    return [*lines, *_fold(f"All of them: {common}.")] if common else lines


def in_common(strategies: Sequence[str]) -> tuple[list[str], str]:
    """What of each strategy's words is its own, and the words that all of several strategies share."""
    split = [words.split() for words in strategies]
    shared = [word for word in split[0] if all(word in words for words in split)] if len(split) > 1 else []
    own = [" ".join(word for word in words if word not in shared) for words in split]
    return own, " ".join(shared)


def breakdown_rows(plan: RankedPlan) -> list[tuple[str, str, str]]:
    """(part, time, share) of every part that takes time, and their total; the shares add up to 100.0 %."""
    parts = [part for part in PARTS if plan.step.part_s(part) > 0]
    shares = apportion([plan.step.part_s(part) for part in parts], 1000)
    rows = [
        (PART_WORDS[part], seconds(plan.step.part_s(part)), f"{share / 10:.1f} %")
        for part, share in zip(parts, shares, strict=True)
    ]
    return [*rows, ("total", seconds(plan.step.total_s), "100.0 %")]


def _breakdown(plan: RankedPlan) -> list[str]:
    rows = [[*row, _bar(float(row[2].split()[0]) / 100) if row[0] != "total" else ""] for row in breakdown_rows(plan)]
    return table(["part", "time", "share", ""], rows, left=(0, 3), width=WIDTH)


def memory_rows(plan: RankedPlan) -> list[tuple[str, str, str]]:
    """(purpose, memory, share of the capacity) of every purpose, and their total; the shares add up to its own."""
    whole = plan.memory.capacity_byte
    used = {purpose: amount for purpose, amount in plan.memory.by_purpose().items() if amount > 0}
    total = round(1000 * plan.memory.total_byte / whole)
    shares = apportion(list(used.values()), total)
    rows = [
        (purpose, capacity(amount), f"{share / 10:.1f} %")
        for (purpose, amount), share in zip(used.items(), shares, strict=True)
    ]
    return [*rows, ("total", capacity(plan.memory.total_byte), f"{total / 10:.1f} %")]


def _memory(plan: RankedPlan) -> list[str]:
    rows = [[*row, _bar(float(row[2].split()[0]) / 100) if row[0] != "total" else ""] for row in memory_rows(plan)]
    rows.append(["capacity", capacity(plan.memory.capacity_byte), "100.0 %", memory_headroom(plan)])
    return table(["purpose", "memory", "of capacity", ""], rows, left=(0, 3), width=WIDTH)


def _utilisation(report: PlanReport, best: RankedPlan) -> list[str]:
    above = [name for name, share in (("MFU", best.mfu), ("HFU", best.hfu)) if share > 1.0]
    lines = _fields(
        (
            "MFU",
            f"{percent(best.mfu)} of {peak_text(report)}",
        ),
        ("MFU, full attention", percent(best.mfu_full_attention)),
        ("HFU", f"{percent(best.hfu)}, recomputation counted"),
    )
    lines += _fold(f"Convention: {report.mfu_convention}") if report.mfu_convention else []
    if above:
        lines += _fold(f"{' and '.join(above)} above 100 %: more than the peak can do; do not believe this prediction.")
    return lines


def _gains(report: PlanReport) -> list[str]:
    rows = [
        [
            f"2x {gain.resource}", seconds(gain.step_s), f"{gain.speedup:.2f}x",
            "; ".join(filter(None, (_other_strategy(report, gain.parallelism), gain.note))),
        ]
        for gain in report.gains
    ]  # fmt: skip
    return table(["with", "step", "faster", "best strategy then"], rows, left=(0, 3), width=WIDTH) if rows else []


def _other_strategy(report: PlanReport, found: Parallelism | None) -> str:
    if found is None:
        return ""
    return "the same" if report.ranked and found == report.ranked[0].parallelism else found.words()


def _scaling(report: PlanReport) -> list[str]:
    if not report.scaling:
        return []
    rows = [
        [
            f"{point['chips']:,.0f}", seconds(point["step_s"]), f"{point['speedup']:.2f}x", percent(point["efficiency"])
        ]
        for point in report.scaling
    ]  # fmt: skip
    return table(["chips", "step", "speed-up", "efficiency"], rows, left=(), width=WIDTH)


def _rejected(report: PlanReport) -> list[str]:
    rows = [
        [f"{group.count:,}", group.limit, "; ".join(filter(None, (_words(group.example), group.by)))]
        for group in report.rejected
    ]
    return (
        table(["count", "first limit broken", "nearest, and by how much"], rows, left=(1, 2), width=WIDTH)
        if rows
        else []
    )


def _sources(sources: Sequence[SourceLine]) -> list[str]:
    lines: list[str] = []
    for line in sources:
        place = f"{line.source}, {line.locator}" if line.locator else line.source
        kind = f" [{line.kind}]" if line.kind else ""
        lines += fold(f"{line.quantity}: {line.printed}. {place}{kind}", WIDTH, first="  - ", rest="    ")
    return lines


def _interval(plan: RankedPlan, pattern: str, *, bare: bool = False) -> str:
    if plan.low_s is None or plan.high_s is None:
        return ""
    low, high = seconds(plan.low_s), seconds(plan.high_s)
    if low.split()[-1] == high.split()[-1]:
        low = low.split()[0]
    return pattern.format(f"{low} to {high}" if bare else f"80 % interval {low} to {high}")


def _amount(report: PlanReport, outcome: Outcome) -> str:
    if report.tokens_per_sample > 1 and outcome.tokens:
        return f"{many(outcome.tokens)} tokens"
    return f"{many(outcome.samples)} {report.sample}s"


def _goal(outcome: Outcome) -> str:
    """The target of an outcome, and between which amounts runs like it reach it."""
    if not outcome.target:
        return ""
    low, high = outcome.low_samples, outcome.high_samples
    ends = "" if low is None or high is None else f" (80 % interval {many(low)} to {many(high)} samples)"
    return f" to {outcome.target}{ends}"


def _sample(report: PlanReport) -> str:
    if report.tokens_per_sample > 1:
        return f"one {report.sample} of {report.tokens_per_sample:,} tokens"
    return f"one {report.sample}"


def _words(found: Parallelism | None) -> str:
    return found.words() if found else ""


def _bar(share: float) -> str:
    return "#" * round(40 * min(max(share, 0.0), 1.0))


def _fields(*rows: tuple[str, str]) -> list[str]:
    indent = max(len(name) for name, _ in rows) + 4
    lines: list[str] = []
    for name, text in rows:
        lines += fold(text, WIDTH, first=f"  {name}".ljust(indent), rest=" " * indent)
    return lines


def _fold(text: str, *, indent: str = "  ") -> list[str]:
    return fold(text, WIDTH, first=indent)


def _bullets(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in fold(text, WIDTH, first="  - ", rest="    ")]


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return f"{text[:1].upper()}{text[1:]}" if text else ""


def _printable(line: str, colour: bool) -> str:
    """Nothing in a name or a note may steer the terminal; our own bold may."""
    bold = colour and line.startswith("\x1b[1m") and line.endswith("\x1b[0m")
    inner = line[4:-4] if bold else line
    clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in inner)
    return f"\x1b[1m{clean}\x1b[0m" if bold else clean
