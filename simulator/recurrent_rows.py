"""Rows of recurrent layers: one call of the vendor's library on GPUs, else a chain of one small product a step.

Three ways of running the steps of a layer, by what the software does:

- *library*: a GPU framework hands the layer to its vendor's library (`kernels.recurrent`), few calls.
- *compiled*: any other kind of chip runs one product and one fused point-wise kernel a step; the products of the
  inputs of all steps, and the gradient of the weights, are one product each.
- *unfused*: a loop of the framework over cells made of single kernels, each step waiting for the host.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip import Chip
from workloads.op import CELLS, Op

from .kernels.device_constants import device_constants
from .kernels.gemm import GemmShapes
from .kernels.kernel_time import KernelTime
from .kernels.optable import BACKWARD, FORWARD, MATRIX, RECURRENT, VECTOR, WEIGHTS, Floats
from .kernels.products import product_time
from .kernels.recurrent import BACKWARD_DATA, BACKWARD_WEIGHTS, RecurrentShapes, recurrent_time
from .kernels.recurrent import FORWARD as FORWARD_CALL
from .kernels.recurrent_library import LIBRARIES
from .kernels.settings import Setting, Settings
from .priced_rows import Rows, losses, storage_word
from .stack import Stack

#: Frameworks that run a cell as kernels of their own in a loop, on GPUs (static RNN of PaddlePaddle 1, dynamic_rnn of
#: TensorFlow 1); the others call their vendor's library.
UNFUSED_FRAMEWORKS: Final = ("TensorFlow", "PaddlePaddle")

#: Kind of the rows of a library call.
LIBRARY_KIND: Final = RECURRENT

#: Words that the point-wise part of a step moves for each unit: gates twice in, once out, and the state (as in
#: `kernels.recurrent`).
POINT_WORDS_PER_GATE: Final = 3.0
POINT_WORDS: Final = 3.0

#: When PyTorch asks cuDNN for kernels that keep the weights in registers (pytorch/pytorch
#: aten/src/ATen/native/cudnn/RNN.cpp): fp16, one layer of at most so many units, units and inputs whole multiples;
#: since Ampere only on chips with so many cores, and at most so many samples in a batch.
PERSISTENT_MULTIPLE: Final = 128
PERSISTENT_UNITS: Final = 1024
PERSISTENT_CORES: Final = 98
PERSISTENT_BATCH: Final = 128.0
PERSISTENT_LATE: Final = ("ampere", "ada", "hopper", "blackwell")
#: On Volta: (least steps, largest batch), any of them.
PERSISTENT_VOLTA: Final = ((40, 128.0), (20, 96.0), (10, 32.0))


def add_recurrent(rows: Rows, block: int, op: Op) -> None:
    """Forward, data gradient and parameter gradient of one recurrent layer in one direction.

    Every rank runs all steps of its micro-batch: tensor and context parallelism do not split a recurrence. Work is
    counted as `Op.forward_flop` in each pass; what the kernels lose on top stands in ``rows.lost``.
    """
    if runs_unfused(op, rows.chip, rows.stack):
        _unfused(rows, block, op)
    elif rows.chip.kind == "gpu":
        _library(rows, block, op)
    else:
        _compiled(rows, block, op)


def runs_unfused(op: Op, chip: Chip, stack: Stack) -> bool:
    """Whether a layer's cells are kernels of their own: by the framework, or because it launches several a step."""
    return chip.kind == "gpu" and (op.launches > op.seq_len or stack.framework in UNFUSED_FRAMEWORKS)


def recurrent_shapes(
    op: Op, micro_batch: Floats, *, direction: int, persistent: NDArray[np.bool_]
) -> RecurrentShapes:  # fmt: skip
    """One call of the library per micro-batch, shape (shapes,)."""
    ones = np.ones(len(micro_batch))
    return RecurrentShapes(
        direction=np.full(len(micro_batch), direction, np.int64), gates=ones * CELLS[op.cell], hidden=ones * op.n,
        batch=np.maximum(micro_batch, 1.0), timesteps=ones * op.seq_len, width=ones * op.k, layers=ones,
        persistent=persistent,
    )  # fmt: skip


def may_persist(op: Op, setting: Setting, batch: Floats) -> NDArray[np.bool_]:
    """For which batches the library may keep a layer's weights in registers over all steps; shape (shapes,).

    Whether they fit is the kernel model's to say. Left out: layers of two directions and packed batches never do.
    """
    never = np.zeros(len(batch), bool)
    whole_tiles = op.n % PERSISTENT_MULTIPLE == 0 and op.k % PERSISTENT_MULTIPLE == 0
    if setting.precision != "fp16" or op.n > PERSISTENT_UNITS or not whole_tiles:
        return never
    if setting.chip.architecture == "volta":
        whole = ((batch % 16 == 0) & (batch != 80) & (batch != 112)) | (batch == 8)
        longest = max((most for least, most in PERSISTENT_VOLTA if op.seq_len >= least), default=0.0)
        return np.asarray(whole & (batch <= longest))
    if setting.chip.architecture not in PERSISTENT_LATE or setting.chip.cores < PERSISTENT_CORES or op.cell == "gru":
        return never
    # Wide vanilla layers run worse that way.
    most = 95.0 if op.cell == "vanilla" and op.n >= 896 else PERSISTENT_BATCH
    return np.asarray((batch % 8 == 0) & (batch <= most))


def _setting(rows: Rows, *, recurrence: bool = False) -> Setting:
    """What the products run on; a framework's own release says nothing of the recurrences, which it hands on."""
    # No library multiplies a recurrence in 8 bit or less.
    word, library = storage_word(rows.chip, rows.recipe), rows.stack.kernel_library
    if recurrence and library not in LIBRARIES:
        library = newest_library(rows.chip)
    return Setting(chip=rows.chip.one_die, precision=word, library=library)


def newest_library(chip: Chip) -> str:
    """The newest library of recurrent layers that was measured, of the chip's maker."""
    return "miopen-1" if "vega" in chip.lineage else "cudnn-7"


def _flop(rows: Rows, op: Op) -> Floats:
    return rows.shapes.micro_batch * float(op.forward_flop)


def _weights_byte(rows: Rows, op: Op) -> float:
    return rows.recipe.storage_byte * CELLS[op.cell] * op.n * (op.k + op.n)


def _library(rows: Rows, block: int, op: Op) -> None:
    setting, ones = _setting(rows, recurrence=True), np.ones(len(rows.shapes))
    settings = Settings.all_of(setting, len(rows.shapes))
    values = device_constants()["recurrent"].rows(settings)
    persistent = may_persist(op, setting, rows.shapes.micro_batch)
    for phase, direction in _passes(rows, op, FORWARD_CALL, BACKWARD_DATA, BACKWARD_WEIGHTS):
        call = recurrent_shapes(op, rows.shapes.micro_batch, direction=direction, persistent=persistent)
        time = recurrent_time(call, settings, values)
        # The set-up of a call is no start of a kernel: it counts as one of its dependent steps.
        steps = time.parts.get("steps", 0.0) + time.parts.get("ramp", 0.0)
        time = replace(time, parts={**time.parts, "steps": ones * steps})
        rows.lost[rows.next] = losses(time, setting)
        rows.add(
            block=block, phase=phase, kind=LIBRARY_KIND, rate=1, flop=_flop(rows, op),
            byte=_weights_byte(rows, op) * ones, launches=1.0,
        )  # fmt: skip


def _passes(rows: Rows, op: Op, *directions: int) -> tuple[tuple[int, int], ...]:
    """Passes of a layer and what runs in them; no parameter gradient where nothing is trained."""
    chosen = tuple(zip((FORWARD, BACKWARD, WEIGHTS), directions, strict=True))
    return chosen if op.trainable and not rows.frozen else chosen[:2]


def _chain(
    rows: Rows, *, block: int, phase: int, steps: float, m: Floats | float, n: Floats | float, k: Floats | float,
    extra_byte: Floats | float = 0.0,
) -> None:  # fmt: skip
    """``steps`` products that wait for each other: the time of one, times the steps."""
    setting, ones = _setting(rows), np.ones(len(rows.shapes))
    m, n, k = ones * m, ones * n, ones * k
    shapes = GemmShapes(batch=ones, m=np.maximum(m, 1.0), n=np.maximum(n, 1.0), k=np.maximum(k, 1.0))
    time: KernelTime = product_time(shapes, setting, device_constants())
    rows.lost[rows.next] = losses(time, setting) * steps
    byte = rows.recipe.storage_byte * (m * k + k * n + m * n)
    rows.add(
        block=block, phase=phase, kind=MATRIX, rate=1, flop=2.0 * steps * m * n * k, byte=steps * (byte + extra_byte),
        launches=steps,
    )  # fmt: skip


def _pointwise(rows: Rows, block: int, op: Op, *, launches: float) -> None:
    """Gates and states of all steps, forward and backward."""
    words = (POINT_WORDS_PER_GATE * CELLS[op.cell] + POINT_WORDS) * op.n * op.seq_len
    byte = rows.recipe.storage_byte * rows.shapes.micro_batch * words
    for phase in (FORWARD, BACKWARD):
        rows.add(block=block, phase=phase, kind=VECTOR, rate=1, flop=0.0, byte=byte, launches=launches)


def _compiled(rows: Rows, block: int, op: Op) -> None:
    batch, steps = rows.shapes.micro_batch, float(op.seq_len)
    wide, width, hidden = float(CELLS[op.cell] * op.n), float(op.k), float(op.n)
    columns = batch * steps
    _chain(rows, block=block, phase=FORWARD, steps=steps, m=batch, n=wide, k=hidden)
    _chain(rows, block=block, phase=BACKWARD, steps=steps, m=batch, n=hidden, k=wide)
    if width:
        rows.product(block=block, phase=FORWARD, kind=MATRIX, rate=1, batch=1.0, m=columns, n=wide, k=width)
        rows.product(block=block, phase=BACKWARD, kind=MATRIX, rate=1, batch=1.0, m=columns, n=width, k=wide)
    if op.trainable and not rows.frozen:
        inner = width + hidden
        rows.product(
            block=block, phase=WEIGHTS, kind=MATRIX, rate=1, batch=1.0, m=inner, n=wide, k=columns,
            extra_byte=2.0 * rows.recipe.gradient_byte * inner * wide,
        )  # fmt: skip
    _pointwise(rows, block, op, launches=steps)


def _unfused(rows: Rows, block: int, op: Op) -> None:
    batch, steps, gates = rows.shapes.micro_batch, float(op.seq_len), float(CELLS[op.cell])
    wide, inner = gates * op.n, float(op.k + op.n)
    _chain(rows, block=block, phase=FORWARD, steps=steps, m=batch, n=wide, k=inner)
    _chain(rows, block=block, phase=BACKWARD, steps=steps, m=batch, n=inner, k=wide)
    if op.trainable and not rows.frozen:
        # The gradient of the loop adds up one gradient of the weights a step.
        _chain(
            rows, block=block, phase=WEIGHTS, steps=steps, m=inner, n=wide, k=batch,
            extra_byte=2.0 * rows.recipe.gradient_byte * inner * wide,
        )  # fmt: skip
    # One kernel a gate besides the product, unless the op says how many a step launches.
    said = op.launches / steps - 1.0 if op.launches > op.seq_len else gates
    _pointwise(rows, block, op, launches=steps * said)
