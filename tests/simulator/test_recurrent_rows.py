"""Recurrent layers as rows: the kernel model's own time, chains of steps, nothing lost and nothing free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import hwmodels.catalog as hardware
from hwmodels.chip import Chip
from simulator.kernels import device_constants as constants
from simulator.kernels import recurrent as model
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.optable import BACKWARD, FORWARD, VECTOR, WEIGHTS, OpTable
from simulator.kernels.products import product_time
from simulator.kernels.recurrent import BACKWARD_DATA, BACKWARD_WEIGHTS, recurrent_time
from simulator.kernels.settings import Setting, Settings
from simulator.priced_rows import Rows, Shapes
from simulator.recurrent_rows import (
    POINT_WORDS,
    POINT_WORDS_PER_GATE,
    add_recurrent,
    may_persist,
    newest_library,
    recurrent_shapes,
    runs_unfused,
)
from simulator.stack import Stack, stack
from workloads.op import CELLS, Op, recurrent
from workloads.precision import recipe, recipe_names

GPUS = ("k40", "p100-sxm2", "v100-sxm2-16gb", "a100-sxm4-40gb", "h100-sxm5", "mi100")
OTHERS = ("tpu-v3", "gc200", "bow")
LIBRARY, UNFUSED = "dle-pytorch-bert", "dle-tf1"
each_cell = pytest.mark.parametrize("cell", CELLS)
each_gpu = pytest.mark.parametrize("chip_id", GPUS)
PASSES = ((FORWARD, model.FORWARD), (BACKWARD, BACKWARD_DATA), (WEIGHTS, BACKWARD_WEIGHTS))


@pytest.fixture(autouse=True)
def fitted_constants(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The constants of recurrent layers, whether or not the steps' list of families names them yet."""
    if "recurrent" not in constants.DEVICE_SPECS:
        monkeypatch.setattr(constants, "DEVICE_SPECS", {**constants.DEVICE_SPECS, "recurrent": model.SPECS})
        constants.device_constants.cache_clear()
        yield
        constants.device_constants.cache_clear()
    else:
        yield


def layer(cell: str = "lstm", *, steps: int = 32, width: int = 1024, hidden: int = 1024) -> Op:
    return recurrent(name="layer", cell=cell, steps=steps, width=width, hidden=hidden)


def word(chip: Chip) -> str:
    if "fp16" in chip.peak_flop_per_s and chip.has_matrix_units:
        return "fp16_mixed"
    return "bf16_mixed" if "bf16" in chip.peak_flop_per_s else "fp16_mixed" if chip.kind == "sram" else "fp32"


def table(
    op: Op, chip_id: str, *, micro_batch: int = 64, stack_id: str = LIBRARY, frozen: bool = False, tp: int = 1
) -> OpTable:
    chip = hardware.chip(chip_id)
    rows = Rows(
        chip=chip, stack=stack(stack_id), recipe=recipe(word(chip)), frozen=frozen,
        shapes=Shapes.one(micro_batch=micro_batch, tp=tp),
    )  # fmt: skip
    add_recurrent(rows, 0, op)
    return rows.table()


def peak(chip_id: str) -> float:
    chip = hardware.chip(chip_id)
    return chip.one_die.peak(recipe(word(chip)).matmul)


def seconds(of: OpTable, chip_id: str, phase: int | None = None) -> float:
    chosen = of.phase == phase if phase is not None else np.ones(of.rows, bool)
    return float(np.sum(of.work[chosen & (of.kind != VECTOR)])) / peak(chip_id)


def called(op: Op, chip_id: str, direction: int, micro_batch: float = 64.0) -> float:
    """The kernel model's own call."""
    chip = hardware.chip(chip_id)
    setting = Setting(chip=chip.one_die, precision=recipe(word(chip)).matmul, library=newest_library(chip))
    settings = Settings.all_of(setting, 1)
    values = constants.device_constants()["recurrent"].rows(settings)
    batch = np.array([micro_batch])
    shapes = recurrent_shapes(op, batch, direction=direction, persistent=may_persist(op, setting, batch))
    return float(recurrent_time(shapes, settings, values).device_s[0])


@each_gpu
@each_cell
@pytest.mark.parametrize("size", [(8, 40, 96), (32, 1024, 1024), (50, 2048, 1024)])
def test_a_library_call_takes_the_kernel_models_own_time(chip_id: str, cell: str, size: tuple[int, int, int]) -> None:
    op = layer(cell, steps=size[0], width=size[1], hidden=size[2])
    of = table(op, chip_id)
    for phase, direction in PASSES:
        assert seconds(of, chip_id, phase) == pytest.approx(called(op, chip_id, direction), rel=1e-9)


@pytest.mark.parametrize("chip_id", [*GPUS, *OTHERS])
@pytest.mark.parametrize("stack_id", [LIBRARY, UNFUSED])
@each_cell
def test_no_flop_is_lost(chip_id: str, stack_id: str, cell: str) -> None:
    op = layer(cell, steps=17, width=100, hidden=60)
    of = table(op, chip_id, micro_batch=6, stack_id=stack_id)
    for phase, _ in PASSES:
        assert float(np.sum(of.flop[of.phase == phase])) == pytest.approx(6 * op.forward_flop)


@pytest.mark.parametrize("chip_id", [*GPUS, *OTHERS])
@pytest.mark.parametrize("stack_id", [LIBRARY, UNFUSED])
def test_twice_the_steps_take_twice_the_time_but_for_the_set_up(chip_id: str, stack_id: str) -> None:
    short, long = (table(layer(steps=n), chip_id, stack_id=stack_id) for n in (200, 400))
    assert 1.7 < seconds(long, chip_id) / seconds(short, chip_id) < 2.02


@pytest.mark.parametrize("chip_id", [*GPUS, *OTHERS])
@pytest.mark.parametrize("stack_id", [LIBRARY, UNFUSED])
def test_more_in_a_batch_is_never_faster_a_step_nor_slower_a_sample(chip_id: str, stack_id: str) -> None:
    # Of 1,000 units: no batch lets the library keep such weights on chip, which pays for small batches.
    batches = (1, 8, 64, 256, 1024)
    times = [seconds(table(layer(hidden=1000), chip_id, micro_batch=b, stack_id=stack_id), chip_id) for b in batches]
    for (few, less), (many, more) in zip(
        zip(batches, times, strict=True), zip(batches[1:], times[1:], strict=False), strict=False
    ):  # fmt: skip
        assert more > 0.95 * less  # tiles and splits are whole numbers
        assert more / many < 1.05 * less / few


@pytest.mark.parametrize("chip_id", [*GPUS, *OTHERS])
def test_rows_are_never_faster_than_the_peak(chip_id: str) -> None:
    for stack_id in (LIBRARY, UNFUSED):
        of = table(layer(steps=20, hidden=512), chip_id, micro_batch=512, stack_id=stack_id)
        assert np.all(of.work >= of.flop * (1 - 1e-9))


@pytest.mark.parametrize("chip_id", OTHERS)
def test_other_chips_run_a_chain_of_small_products(chip_id: str) -> None:
    op, chip = layer(steps=9, width=128, hidden=256), hardware.chip(chip_id)
    of = table(op, chip_id, micro_batch=16)
    setting = Setting(
        chip=chip.one_die, precision=recipe(word(chip)).matmul, library=stack(LIBRARY).kernel_library
    )  # fmt: skip
    one = GemmShapes(batch=np.ones(1), m=np.array([16.0]), n=np.array([1024.0]), k=np.array([256.0]))
    time = product_time(one, setting, constants.device_constants())
    step = float((time.device_s - time.parts.get("ramp", np.zeros(1)))[0])
    chain = (of.phase == FORWARD) & (of.launches == 9.0) & (of.kind != VECTOR)
    assert float(of.work[chain][0]) / peak(chip_id) == pytest.approx(9 * step)


def test_a_chain_is_slower_than_its_products_at_once() -> None:
    of = table(layer(steps=64, width=1024, hidden=1024), "tpu-v3", micro_batch=8)
    forward = (of.phase == FORWARD) & (of.kind != VECTOR)
    in_steps, at_once = of.work[forward]
    assert in_steps > 2.0 * at_once


@each_cell
def test_a_library_call_is_few_launches_and_a_loop_many(cell: str) -> None:
    op = layer(cell, steps=40)
    called_once, looped = table(op, "v100-sxm2-16gb"), table(op, "v100-sxm2-16gb", stack_id=UNFUSED)
    assert np.sum(called_once.launches) == 3.0
    share = stack(UNFUSED).vector_launch_share
    forward = float(np.sum(looped.launches[looped.phase == FORWARD]))
    assert forward == pytest.approx(40 * (1 + CELLS[cell] * share))
    assert seconds(looped, "v100-sxm2-16gb") > 0.0


def test_cells_that_launch_several_kernels_a_step_are_a_loop_whatever_the_framework() -> None:
    op = replace(layer(steps=40), launches=40 * 13)
    of = table(op, "v100-sxm2-16gb")
    point_wise = of.launches[(of.phase == FORWARD) & (of.kind == VECTOR)]
    assert float(point_wise[0]) == pytest.approx(40 * 12 * stack(LIBRARY).vector_launch_share)


def test_the_gradient_of_a_loop_adds_up_every_step() -> None:
    op = layer(steps=10, width=512, hidden=512)
    looped, called_once = (table(op, "v100-sxm2-16gb", stack_id=s) for s in (UNFUSED, LIBRARY))
    weights = 4 * 512 * 1024
    looped_byte, called_byte = (float(np.sum(of.byte[of.phase == WEIGHTS])) for of in (looped, called_once))
    moved = looped_byte - called_byte
    assert moved > 10 * 2 * recipe("fp16_mixed").gradient_byte * weights


def test_point_wise_parts_move_gates_and_states() -> None:
    of = table(layer(steps=10, hidden=64), "tpu-v3", micro_batch=3)
    words = (POINT_WORDS_PER_GATE * 4 + POINT_WORDS) * 64 * 10 * 3
    moved = of.byte[(of.kind == VECTOR) & (of.phase == FORWARD)]
    assert float(moved[0]) == pytest.approx(2 * words)


@pytest.mark.parametrize("chip_id", ["v100-sxm2-16gb", "tpu-v3"])
@pytest.mark.parametrize("stack_id", [LIBRARY, UNFUSED])
def test_nothing_trained_has_no_gradient_of_weights(chip_id: str, stack_id: str) -> None:
    frozen = table(layer(), chip_id, stack_id=stack_id, frozen=True)
    fixed = table(replace(layer(), trainable=False), chip_id, stack_id=stack_id)
    assert WEIGHTS not in frozen.phase
    assert WEIGHTS not in fixed.phase


def test_tensor_parallel_ranks_run_the_whole_layer() -> None:
    alone, split = (table(layer(), "v100-sxm2-16gb", tp=tp) for tp in (1, 4))
    np.testing.assert_array_equal(alone.work, split.work)


@pytest.mark.parametrize(
    ("chip_id", "stack_id", "unfused"),
    [("v100-sxm2-16gb", LIBRARY, False), ("v100-sxm2-16gb", UNFUSED, True), ("tpu-v3", UNFUSED, False)],
)
def test_frameworks_that_loop_do_so_on_gpus(chip_id: str, stack_id: str, unfused: bool) -> None:
    assert runs_unfused(layer(), hardware.chip(chip_id), stack(stack_id)) is unfused


def persists(chip_id: str, batch: float, precision: str = "fp16", **options: int) -> bool:
    setting = Setting(chip=hardware.chip(chip_id), precision=precision, library="cudnn-7")
    return bool(may_persist(layer(**options), setting, np.array([batch]))[0])  # type: ignore[arg-type]


def test_weights_stay_on_chip_only_where_the_library_does_so() -> None:
    assert persists("v100-sxm2-16gb", 128, steps=40)
    assert not persists("v100-sxm2-16gb", 128, steps=39)
    assert persists("v100-sxm2-16gb", 96, steps=20)
    assert not persists("v100-sxm2-16gb", 100, steps=50)
    assert not persists("v100-sxm2-16gb", 64, hidden=1000)
    assert not persists("v100-sxm2-16gb", 64, hidden=2048)
    assert not persists("v100-sxm2-16gb", 64, "fp32", steps=40)
    assert persists("a100-sxm4-40gb", 128, steps=5)
    assert not persists("a100-sxm4-40gb", 136)
    assert not persists("a30", 64)
    assert not persists("p100-sxm2", 64)


def test_large_batches_do_not_stay_on_chip_since_ampere() -> None:
    def a_sample(batch: int) -> float:
        return seconds(table(layer(steps=100), "a100-sxm4-40gb", micro_batch=batch), "a100-sxm4-40gb", FORWARD)

    assert a_sample(136) > 1.2 * a_sample(128)


def test_layers_without_inputs_multiply_only_their_states() -> None:
    for chip_id in ("v100-sxm2-16gb", "tpu-v3"):
        op = layer(width=0)
        of = table(op, chip_id)
        assert np.all(np.isfinite(of.work))
        assert float(np.sum(of.flop[of.phase == FORWARD])) == pytest.approx(64 * op.forward_flop)


@pytest.mark.parametrize("name", [name for name in recipe_names() if recipe(name).matmul in ("fp8", "fp4")])
def test_recurrences_stay_in_16_bit(name: str) -> None:
    chip, made = hardware.chip("b200-sxm"), []
    for chosen in (recipe(name), recipe("bf16_mixed")):
        rows = Rows(chip=chip, stack=stack(LIBRARY), recipe=chosen, shapes=Shapes.one(micro_batch=64))
        add_recurrent(rows, 0, layer())
        made.append(rows.table().work)
    np.testing.assert_allclose(made[0], made[1])


def test_stacks_that_loop_exist() -> None:
    looped: Stack = stack(UNFUSED)
    assert looped.framework == "TensorFlow"
