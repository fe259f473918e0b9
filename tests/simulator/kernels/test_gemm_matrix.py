"""Products on matrix units: laws over every GPU that has them, limits, a second way of counting, measured rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hwmodels.catalog import chip, chip_ids
from hwmodels.chip import Chip
from simulator.kernel_calibration import load_kernels
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.gemm_matrix import gemm_matrix_time
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.matrix_units import (
    LARGEST_TILE,
    ONE_AFTER_ANOTHER,
    SPECS,
    TILES,
    USUAL_TILE,
    WORDS,
    on_matrix_units,
)
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Setting, Settings
from simulator.validation.kernel_rows import resolve_kernel
from simulator.validation.kernel_suites.family import RowError
from simulator.validation.kernel_suites.gemm_matrix import FAMILY

#: Every chip this model prices, in every word that it prices there.
SETTINGS = [(name, word) for name in chip_ids() for word in WORDS if on_matrix_units(chip(name), word)]
CHIPS = sorted({name for name, _ in SETTINGS})
SHAPES = [
    (batch, m, n, k)
    for batch in (1, 3)
    for m in (1, 16, 256, 1000, 8192)
    for n in (1, 64, 1280, 8192)
    for k in (1, 64, 1530, 8192)
]


def setting(machine: Chip, word: str, rows: int) -> Settings:
    return Settings.of([Setting(chip=machine, precision=word, library="")] * rows)


def shapes_of(*shapes: tuple[float, ...]) -> GemmShapes:
    batch, m, n, k = np.array(shapes, dtype=np.float64).T
    return GemmShapes(batch=batch, m=m, n=n, k=k)


def price(machine: Chip, word: str, *shapes: tuple[float, ...], **changes: float) -> KernelTime:
    settings = setting(machine, word, len(shapes))
    values = KernelConstants(specs=SPECS).rows(settings)
    values.update({name: np.full(len(shapes), value) for name, value in changes.items()})
    return gemm_matrix_time(shapes_of(*shapes), settings, values)


def seconds(machine: Chip, word: str, *shapes: tuple[float, ...], **changes: float) -> Floats:
    return price(machine, word, *shapes, **changes).device_s


def fastest_word(machine: Chip) -> str:
    words = [word for word in WORDS if on_matrix_units(machine, word)]
    return max(words, key=machine.peak)


def test_every_maker_and_generation_with_matrix_units_is_priced() -> None:
    architectures = {chip(name).architecture for name in CHIPS}
    assert {
        "volta",
        "turing",
        "ampere",
        "ada",
        "hopper",
        "blackwell",
        "cdna",
        "cdna2",
        "cdna3",
        "cdna4",
    } <= architectures
    assert not any(chip(name).architecture in ("kepler", "pascal", "vega") for name in CHIPS)


@pytest.mark.parametrize(("name", "word"), SETTINGS)
@pytest.mark.parametrize("extreme", ["prior", "low", "high"])
def test_bound_holds_and_parts_add_up_whatever_the_constants(name: str, word: str, extreme: str) -> None:
    changes = {spec.name: getattr(spec, extreme) for spec in SPECS.values()}
    time = price(chip(name), word, *SHAPES, **changes)
    assert np.all(np.isfinite(time.device_s))
    assert np.all(time.bound_s <= time.device_s)
    np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-9)
    for part, value in time.parts.items():
        assert np.all(value >= -1e-9 * time.device_s), part


@pytest.mark.parametrize("name", CHIPS)
def test_huge_products_run_at_the_rate_that_constants_leave(name: str) -> None:
    machine, word = chip(name), fastest_word(chip(name))
    side = 131072.0
    easy = {
        "matrix_rate": 0.8, "matrix_cache_byte_per_clock": 256.0, "matrix_cache_exposed": 0.01,
        "matrix_step_clock": 1.0, "matrix_flop_pj": 0.05,
    }  # fmt: skip
    share = 2 * side**3 / seconds(machine, word, (1, side, side, side), **easy)[0] / machine.peak(word)
    # CDNA's traffic adds to its products even at 256 B per clock.
    assert (0.70 if machine.architecture in ONE_AFTER_ANOTHER else 0.74) < share <= 0.8


@pytest.mark.parametrize("name", CHIPS)
def test_tiny_products_take_the_ramp_and_one_filling(name: str) -> None:
    machine = chip(name)
    time = seconds(machine, fastest_word(machine), (1, 8, 8, 8), matrix_ramp_s=4e-6, matrix_fill_clock=1000.0)[0]
    assert 4e-6 < time < 4e-6 + 1.6 * 1000.0 / machine.clock_hz


@pytest.mark.parametrize(("name", "word"), SETTINGS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_more_outputs_are_never_faster(name: str, word: str, axis: int) -> None:
    """In batch, m and n to 5 %: a larger product may meet a split of k that fits the cores better. Whole loads all."""
    sizes = np.unique(np.rint(np.geomspace(1, 6000, 60) / 32) * 32 + 32)
    shapes = []
    for size in sizes:
        shape = [1.0, 512.0, 768.0, 1024.0]
        shape[axis] = float(size if axis else size / 32)
        shapes.append(tuple(shape))
    time = seconds(chip(name), word, *shapes)
    assert np.all(time[1:] >= 0.95 * np.maximum.accumulate(time)[:-1])


@pytest.mark.parametrize(("name", "word"), SETTINGS)
def test_more_depth_is_never_much_faster(name: str, word: str) -> None:
    """To 22 %: libraries split deep products which they do not split when less deep (17 % measured on MI355X)."""
    shapes = [(1.0, 1024.0, 1024.0, float(k)) for k in range(64, 16384, 64)]
    time = seconds(chip(name), word, *shapes)
    assert np.all(time[1:] >= 0.78 * np.maximum.accumulate(time)[:-1])


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("fact", ["memory_bandwidth_byte_per_s", "clock_hz", "tdp_w", "peak", "l2_byte"])
def test_a_better_chip_is_never_slower(name: str, fact: str) -> None:
    machine, word = chip(name), fastest_word(chip(name))
    if fact == "peak":
        better = replace(machine, peak_flop_per_s={w: 2 * rate for w, rate in machine.peak_flop_per_s.items()})
    else:
        better = replace(machine, **{fact: 2 * getattr(machine, fact)})
    assert np.all(seconds(better, word, *SHAPES) <= seconds(machine, word, *SHAPES) * (1 + 1e-9))


def test_one_row_at_a_time_and_any_order_give_the_same() -> None:
    rng = np.random.default_rng(7)
    settings = Settings.of([Setting(chip=chip(n), precision=w, library="") for n, w in SETTINGS for _ in range(3)])
    rows = settings.rows
    x = {c: rng.integers(1, 9000, rows).astype(float) for c in ("m", "n", "k")} | {"batch": np.ones(rows)}
    values = KernelConstants(specs=SPECS).rows(settings)
    together = gemm_matrix_time(GemmShapes(**x), settings, values)
    order = rng.permutation(rows)
    shuffled = gemm_matrix_time(
        GemmShapes(**{c: v[order] for c, v in x.items()}),
        settings.take(order),
        {c: v[order] for c, v in values.items()},
    )
    np.testing.assert_array_equal(shuffled.device_s, together.device_s[order])
    for i in range(0, rows, 7):
        one = np.array([i])
        alone = gemm_matrix_time(
            GemmShapes(**{c: v[one] for c, v in x.items()}), settings.take(one), {c: v[one] for c, v in values.items()}
        )
        assert alone.device_s[0] == together.device_s[i]
        assert alone.algorithm[0] == together.algorithm[i]


@pytest.mark.parametrize("name", ["a100-sxm4-80gb", "h100-sxm5", "mi300x", "v100-sxm2-16gb"])
def test_tile_and_split_are_the_cheapest_of_all_counted_one_by_one(name: str) -> None:
    """The same cores' time with plain loops over tiles, splits, waves; constants that leave products and filling."""
    machine, word = chip(name), "fp16"
    fill = 900.0 / machine.clock_hz
    changes = {
        "matrix_rate": 1.0, "matrix_cache_byte_per_clock": 256.0, "matrix_cache_exposed": 0.01,
        "matrix_step_clock": 1.0, "matrix_fill_clock": 900.0, "matrix_flop_pj": 0.05, "matrix_split_reach": 1024.0,
        "matrix_ramp_s": 1e-6,
    }  # fmt: skip
    through_registers = machine.architecture in ("volta", "cdna3")
    for m, n, k in ((512, 512, 512), (2048, 1536, 256), (256, 256, 8192), (4000, 3000, 2000)):
        best = math.inf
        for rows, columns in TILES:
            if rows * columns > LARGEST_TILE.get(machine.architecture, USUAL_TILE):
                continue
            tiles = math.ceil(m / rows) * math.ceil(n / columns)
            flop_s = 2 * rows * columns / (machine.peak(word) / machine.cores)
            load_s = 2 * (rows + columns) / (256.0 * machine.clock_hz)
            one_k = max(flop_s, load_s) + 0.01 * min(flop_s, load_s)
            one_k += 1.0 / 64 / machine.clock_hz if through_registers else 0.0
            for split in {1.0, min(max(machine.cores // tiles, 1), max(k / 256, 1.0))}:
                waves = math.ceil(tiles * split / machine.cores)
                total = waves * (k / split * one_k + fill)
                if split > 1:
                    total += fill * (1 + (m * n / (1024.0 * k)) ** 2)
                    total += 8 * split * m * n / (256.0 * machine.clock_hz * machine.cores)
                best = min(best, total)
        time = price(machine, word, (1, m, n, k), **changes)
        cores_s = sum(time.parts[p][0] for p in ("arithmetic", "padding", "waves", "depth", "library"))
        # "memory" also holds the operand traffic beyond the products, so the sum stays below by that much at most.
        assert cores_s <= best * (1 + 1e-9)
        assert cores_s >= 0.75 * best


def test_a_wave_more_costs_a_wave() -> None:
    """132 tiles fill an H100 once, 133 twice."""
    machine = chip("h100-sxm5")
    easy = {"matrix_flop_pj": 0.05, "matrix_write_exposed": 0.01}
    one, two = seconds(machine, "bf16", (1, 128 * 132, 256, 8192), (1, 128 * 133, 256, 8192), **easy)
    assert 1.2 < two / one <= 2.0


def test_power_slows_products_of_a_small_board_only() -> None:
    machine, shape = chip("h100-sxm5"), (1, 8192, 8192, 8192)
    small = replace(machine, tdp_w=0.25 * machine.tdp_w)
    clock = [price(m, "bf16", shape).parts["clock"][0] for m in (machine, small)]
    time = [seconds(m, "bf16", shape)[0] for m in (machine, small)]
    assert clock[1] > 5 * clock[0]
    assert 1.3 < time[1] / time[0] < 2.0
    assert seconds(small, "bf16", (1, 256, 256, 256))[0] == pytest.approx(
        seconds(machine, "bf16", (1, 256, 256, 256))[0], rel=0.02
    )


def test_layout_costs_where_the_architecture_says_so() -> None:
    def ratio(name: str, word: str, shape: tuple[float, ...]) -> float:
        settings = setting(chip(name), word, 1)
        values = KernelConstants(specs=SPECS).rows(settings)
        along = replace(shapes_of(shape), b_along_k=np.ones(1))
        across = gemm_matrix_time(shapes_of(shape), settings, values).device_s[0]
        return float(gemm_matrix_time(along, settings, values).device_s[0] / across)

    assert ratio("v100-sxm2-16gb", "fp16", (1, 16, 8192, 8192)) > 1.4
    assert ratio("a100-sxm4-80gb", "fp16", (1, 16, 8192, 8192)) == 1.0
    assert ratio("h100-sxm5", "tf32", (1, 512, 512, 4096)) < 0.9
    assert ratio("b200-sxm", "tf32", (1, 512, 512, 4096)) == 1.0


def test_odd_rows_are_slower_than_whole_loads() -> None:
    machine = chip("a100-sxm4-80gb")
    odd, even = seconds(machine, "fp16", (1, 2048, 2047, 2047), (1, 2048, 2048, 2048))
    assert odd > 1.05 * even


#: Library and suite of the tables below.
XLA_NVIDIA = ("xla (cublasLt/triton)", "tensor_core")
XLA_AMD = ("xla (hipblasLt)", "tensor_core")
DEEPBENCH = ("cuBLAS;cuDNN7.6.2;CUDA10.1", "deepbench")
LLMCOMPASS = ("torch", "tensor_core")
BEST_SHAPES = ("torch 2.10.0.dev+cu130", "tensor_core")
#: Measured kernels: spelling of the chip, precision, library, suite, batch, m, n, k, transA, transB, seconds.
#: ROCm/xla@183fa00 default_matmul_perf_table.txtpb; baidu-research/DeepBench@da81ba7 V100 sheet;
#: PrincetonUniversity/LLMCompass@2e015fd matmul_A100.csv; stas00/ml-engineering@744d01e MAMF table.
MEASURED: tuple[tuple[str, ...], ...] = (
    ("H100 SXM5 80GB", "bf16", *XLA_NVIDIA, "1", "256", "256", "256", "", "", "4.9917e-06"),
    ("H100 SXM5 80GB", "bf16", *XLA_NVIDIA, "1", "1024", "4096", "2048", "", "", "2.688e-05"),
    ("H100 SXM5 80GB", "bf16", *XLA_NVIDIA, "4", "4096", "4096", "256", "", "", "6.8016e-05"),
    ("H100 SXM5 80GB", "bf16", *XLA_NVIDIA, "1", "4096", "4096", "4096", "", "", "0.00017616"),
    ("H100 SXM5 80GB", "tf32", *XLA_NVIDIA, "1", "4096", "2048", "2048", "", "", "0.00011054"),
    ("MI355X", "bf16", *XLA_AMD, "1", "512", "512", "512", "", "", "5.52e-06"),
    ("MI355X", "bf16", *XLA_AMD, "1", "2048", "1024", "4096", "", "", "3.116e-05"),
    ("MI355X", "fp16", *XLA_AMD, "4", "4096", "4096", "4096", "", "", "0.00043963"),
    ("MI355X", "fp8", *XLA_AMD, "2", "2048", "4096", "4096", "", "", "7.152e-05"),
    ("V100 SXM2 16GB", "fp16_mixed", *DEEPBENCH, "", "4096", "7000", "4096", "N", "N", "0.002092"),
    ("V100 SXM2 16GB", "fp16_mixed", *DEEPBENCH, "", "7680", "16", "2560", "N", "N", "5.6e-05"),
    ("A100 SXM4 80GB", "fp16", *LLMCOMPASS, "", "64", "12288", "12288", "", "", "0.00019"),
    ("A100 SXM4 80GB", "fp16", *LLMCOMPASS, "", "8192", "8192", "8192", "", "", "0.0039614"),
    ("GB200 (per GPU)", "bf16", *BEST_SHAPES, "", "4096", "9728", "2048", "", "", "8.9577e-05"),
    ("GB200 (per GPU)", "fp8", *BEST_SHAPES, "", "19456", "5120", "1536", "", "", "8.4638e-05"),
)


def row_of(cells: tuple[str, ...]) -> dict[str, str]:
    names = ("chip", "precision", "library", "suite", "batch", "m", "n", "k", "transA", "transB")
    return {"kernel": "gemm", **dict(zip(names, cells, strict=False))}


def test_measured_rows_stay_predicted() -> None:
    """To 7 % on average and 20 % each, with the constants that ship."""
    rows = [row_of(cells) for cells in MEASURED]
    settings = Settings.of([resolve_kernel(row, {"f": FAMILY}).settings[0] for row in rows])
    shipped = load_kernels().constants["gemm"].deviations
    mine = {key: value for key, value in shipped.items() if key.partition("@")[0] in FAMILY.specs}
    values = KernelConstants(specs=FAMILY.specs, deviations=mine).rows(settings)
    error = np.log(FAMILY.observed_s(FAMILY.read(rows), settings, values) / np.array([float(c[-1]) for c in MEASURED]))
    assert np.all(np.abs(error) < 0.20), dict(zip(MEASURED, error.round(2), strict=True))
    assert np.mean(np.abs(error)) < 0.07


def test_hosts_time_is_in_what_is_observed_and_never_in_the_device() -> None:
    cells = ("A100 SXM4 80GB", "fp16", "torch", "tensor_core", "", "8192", "128", "128", "", "")
    host, device = row_of(cells), {**row_of(cells), "library": "torch 2.7.0+cu126"}
    shapes = FAMILY.read([host, device])
    settings = Settings.of([resolve_kernel(row, {"f": FAMILY}).settings[0] for row in (host, device)])
    values = KernelConstants(specs=FAMILY.specs).rows(settings)
    added = FAMILY.observed_s(shapes, settings, values) - FAMILY.time(shapes, settings, values).device_s
    assert added[0] == pytest.approx(FAMILY.specs["matrix_host_floor_s"].prior)
    assert added[1] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": ""}, "m is ''; a whole number"),
        ({"n": "0"}, "n is 0; a whole number"),
        ({"k": "2.5"}, "k is 2.5; a whole number"),
        ({"batch": "-1"}, "batch is -1; a whole number"),
        ({"transA": "C"}, "transA is 'C'; N or T"),
        ({"precision": "bf61"}, "precision 'bf61' is not known"),
        ({"precision": "fp32"}, "fp32 on 'H100 SXM5 80GB' does not run on matrix units"),
        ({"chip": "P4", "precision": "fp16_mixed"}, "fp16_mixed on 'P4' does not run on matrix units"),
    ],
)
def test_rows_that_cannot_be_are_refused_with_one_line(change: dict[str, str], message: str) -> None:
    good = row_of(("H100 SXM5 80GB", "bf16", "xla (cublasLt/triton)", "tensor_core", "", "512", "512", "512", "", ""))
    FAMILY.check(good)
    with pytest.raises(RowError) as caught:
        FAMILY.check({**good, **change})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
