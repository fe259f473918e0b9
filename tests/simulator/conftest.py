"""A plan report made by hand, so that the tests of reports depend on no prediction; files of expected text; and tables
of measured kernels or collectives, written and predicted as the test's module says."""

import csv
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.parallelism import Parallelism
from simulator.plan_report import Gain, KnownError, MemoryUse, Outcome, PlanReport, RankedPlan, Rejection, SourceLine
from simulator.stepspec import StepTime
from simulator.validation.runs import predictions_csv

GOLDENS = Path(__file__).parent / "goldens"
SECOND = 10**12


@pytest.fixture
def golden():
    """Compare a text with a file in goldens/; TRAINYARD_UPDATE_GOLDENS=1 writes the file instead."""

    def compare(name, text):
        path = GOLDENS / f"{name}.txt"
        if os.environ.get("TRAINYARD_UPDATE_GOLDENS") == "1":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


def _plan(compute_s, tp, pp, dp):
    step = StepTime(
        engine="analytic",
        compute_ps=int(compute_s * SECOND),
        tensor_ps=SECOND,
        pipeline_ps=SECOND // 4,
        bubble_ps=SECOND // 2,
        data_ps=SECOND // 8,
        optimizer_ps=SECOND // 8,
        fixed_ps=0,
    )
    memory = MemoryUse(
        parameter_byte=10 * 2**30,
        gradient_byte=10 * 2**30,
        optimizer_byte=5 * 2**30,
        activation_byte=25 * 2**30,
        transient_byte=512 * 2**20,
        reserve_byte=1.5 * 2**30,
        capacity_byte=80 * 2**30,
    )
    return RankedPlan(
        parallelism=Parallelism(tp=tp, pp=pp, dp=dp, micro_batch=1, global_batch=512, recompute="selective"),
        step=step,
        memory=memory,
        samples_per_s=512 / step.total_s,
        tokens_per_s=512 * 2048 / step.total_s,
        mfu=0.5,
        mfu_full_attention=0.52,
        hfu=0.51,
        low_s=0.9 * step.total_s,
        high_s=1.1 * step.total_s,
        outcome=Outcome(
            samples=1e6,
            tokens=2.048e9,
            steps=1954,
            time_s=1954 * step.total_s,
            chip_hours=1954 * step.total_s * 64 / 3600,
            cost_usd=1234.5,
            cost_basis="USD 2 per chip-hour: a list",
            energy_j=3.6e9,
            energy_basis="400 W a chip",
        ),
        checked_by_events_s=1.01 * step.total_s,
    )


def _layer(name, flop, byte, time_s, bound):
    return {
        "layer": name,
        "kind": "block",
        "repeat": 1,
        "flop": flop,
        "byte": byte,
        "intensity_flop_per_byte": flop / byte,
        "time_s": time_s,
        "peak_flop_per_s": 312e12,
        "memory_byte_per_s": 2e12,
        "roof_flop_per_s": min(312e12, flop / byte * 2e12),
        "share_of_peak": flop / time_s / 312e12,
        "bound": bound,
    }


@pytest.fixture
def hand_made_report():
    best, second = _plan(8.0, 8, 2, 4), _plan(9.0, 4, 4, 4)
    return PlanReport(
        question={"model": "gpt-made", "system": "made", "chips": 64, "global_batch": 512, "tp": 8},
        model="gpt-made",
        parameters=20_000_000_000,
        sample="sequence",
        tokens_per_sample=2048,
        system="made",
        chip="made-80gb",
        chips=64,
        stack="made-2024",
        stack_name="A stack made by hand",
        recipe="bf16_mixed",
        optimizer="adam",
        global_batch=512,
        ranked=(best, second),
        rejected=(
            Rejection(
                limit="memory, mostly activations",
                count=12,
                example=second.parallelism,
                by="needs 97.0 GiB of 80.0 GiB",
            ),
            Rejection(limit="heads do not divide", count=3, example=None, by="tp=3 leaves 1 of 16 heads over"),
        ),
        searched=100,
        fitting=85,
        binds="computing takes 80 % of the best step",
        gains=(
            Gain(resource="chip rate", step_s=6.0, speedup=10.0 / 6.0, parallelism=best.parallelism),
            Gain(
                resource="scale-up links", step_s=9.5, speedup=10.0 / 9.5, parallelism=second.parallelism, note="made"
            ),
        ),
        peak_flop_per_s=312e12,
        peak_word="bf16",
        mfu_convention="forward and backward, causal attention halved",
        known_error=KnownError(
            group="llm", runs=100, mean=0.08, median=0.06, low_factor=0.9, high_factor=1.1, extrapolated=("64 chips",)
        ),
        assumptions=("no failures",),
        defaults=("optimizer adam: usual",),
        warnings=("facts are provisional",),
        sources=(
            SourceLine(quantity="made-80gb: memory", printed="80 GiB", source="A book", locator="page 1", kind="paper"),
        ),
        calibration="default",
        scaling=(
            {"chips": 8.0, "step_s": 70.0, "speedup": 1.0, "efficiency": 1.0},
            {"chips": 64.0, "step_s": 10.0, "speedup": 7.0, "efficiency": 0.875},
        ),
        roofline=(_layer("block", 4e12, 1e10, 0.02, "compute"), _layer("head", 1e11, 1e10, 0.01, "memory")),
    )


@pytest.fixture
def nothing_fits_report(hand_made_report):
    return replace(
        hand_made_report,
        ranked=(),
        fitting=0,
        gains=(),
        scaling=(),
        roofline=(),
        binds="nothing fits in memory",
        nearest_fit="Closest: tp=8 pp=4 dp=2 needs 97.0 GiB of 80.0 GiB (activations 61.0 GiB).",
    )


@pytest.fixture(scope="module")
def written(request):
    """Write rows as a table with the columns of the rows that ship (the module's SHIPPED); gives the path."""

    def write(path, rows):
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(request.module.SHIPPED[0]), lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture(scope="module")
def predictions(request):
    """The lines that a table's predictions are written as; the module's `validated` predicts it."""

    def lines_of(path):
        return list(csv.DictReader(io.StringIO(predictions_csv(request.module.validated(path).predictions))))

    return lines_of


@pytest.fixture(scope="module")
def whole(request, tmp_path_factory, written, predictions):
    """The table of all rows that ship, and the lines of its predictions."""
    path = written(tmp_path_factory.mktemp("whole") / "table.csv", request.module.SHIPPED)
    return path, predictions(path)
