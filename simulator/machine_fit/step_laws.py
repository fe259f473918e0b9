"""What each call of a training step takes on a CPU: sums of named times, fitted on the probe, one law for every kind.

.. math:: t = \\sum_i c_i x_i + s\\, t_{memory}

with the lengths x_i of a call (its start, its multiply-adds, rows, cells, operands that are packed), their times c_i,
and what its tensors take beyond the caches (`memory_levels`), scaled by s for what the call's own pattern makes of it.
Left out: more than one thread, precisions other than fp32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hwmodels.chip import Chip

from ..calibration.kernel_fit import Values
from ..kernels.kernel_constants import KernelSpec
from ..kernels.optable import Floats
from .fitting import Alike, Law, LawFit, fit_law
from .memory_levels import Traffic, beyond_s, cycled, fitted_levels, values_of
from .observations import Observation, suite_of

Lengths = Mapping[str, float]
_WORD: Final = 4.0
#: Vectors of a core hold so many words; channels are padded to them.
_LANES: Final = 16.0
#: Rows below which a law is not fitted.
_FEWEST: Final = 8
#: Queries of a block of attention by the length from which it is taken, as PyTorch's CPU kernel cuts them.
_BLOCKS: Final = ((768, 256), (192, 64), (0, 32))
#: Results beyond this are mapped by the kernel with every call (`probe.device.hold_memory`) [B].
_MAPPED_BYTE: Final = 2.0**25
#: Name of a time -> (prior, meaning); all from a thousandth to a thousand times the prior.
_TIMES: Final[Mapping[str, tuple[float, str]]] = {
    "start_s": (3e-6, "time of the call itself"),
    "multiply_s": (1e-11, "time of a floating-point operation"),
    "small_multiply_s": (1e-11, "the same of filters of 1x1"),
    "large_multiply_s": (1e-11, "the same of filters beyond 3x3"),
    "strided_multiply_s": (2e-12, "what one takes more where the filter leaves out places"),
    "small_strided_s": (2e-12, "the same of filters of 1x1, whose gaps are filled with zeros"),
    "left_s": (2e-10, "time to pack a word of the left operand"),
    "right_s": (2e-10, "time to pack a word of the right operand"),
    "result_s": (2e-10, "time to add up a word of the result"),
    "image_s": (2e-10, "time to lay out a word of the image anew"),
    "output_s": (2e-10, "time to lay out a word of the output anew"),
    "filter_s": (2e-10, "time to lay out a word of the filters anew"),
    "row_s": (2e-9, "time of a row"),
    "cell_s": (1e-10, "time of a cell"),
    "block_s": (1e-6, "time of a block of queries of a head"),
    "mapped_s": (1e-9, "time to map a byte of a tensor that is taken from the kernel anew"),
    "head_s": (2e-6, "time of a head of a sample"),
    "pair_s": (5e-10, "time of a pair of query and key beside its products"),
    "step_s": (1e-5, "time of a step beside its products"),
    "chain_multiply_s": (1.5e-11, "time of an operation of the products that wait for the step before"),
    "weight_s": (5e-11, "time to read a word of the weights again in a step"),
}  # fmt: skip


def _spec(name: str) -> KernelSpec:
    if name == "traffic":
        return KernelSpec(
            name=name, unit="1", prior=1.0, low=0.05, high=10.0, spread=0.5,
            meaning="time beyond the caches against that of a plain copy",
        )  # fmt: skip
    prior, meaning = _TIMES[name]
    return KernelSpec(
        name=name, unit="s", prior=prior, low=prior * 1e-3, high=prior * 1e3, spread=1.5, meaning=meaning
    )  # fmt: skip


def dense_lengths(s: Lengths) -> dict[str, float]:
    """Products C[m, n] = A[m, k] B[k, n], ``batch`` times."""
    m, n, k, batch = s["m"], s["n"], s["k"], s.get("batch", 1.0)
    whole = math.ceil(m / 8.0) * 8.0 if m > 8 else m
    return {
        "start_s": 1.0, "multiply_s": 2.0 * batch * whole * n * k, "left_s": batch * m * k, "right_s": batch * k * n,
        "result_s": batch * m * n,
    }  # fmt: skip


def conv_lengths(s: Lengths) -> dict[str, float]:
    """A pass of a convolution, its channels padded to whole vectors where there are more than three."""
    side = [(s[f"conv_{x}"] + 2 * s[f"pad_{x}"] - s[f"filt_{x}"]) // s[f"stride_{x}"] + 1 for x in ("h", "w")]
    outputs, inputs = s["conv_n"] * side[0] * side[1], s["conv_n"] * s["conv_h"] * s["conv_w"]
    channels = s["conv_c"] if s["conv_c"] <= 3 else math.ceil(s["conv_c"] / _LANES) * _LANES
    filters, taps = math.ceil(s["conv_k"] / _LANES) * _LANES, s["filt_h"] * s["filt_w"]
    flop = 2.0 * outputs * channels * filters * taps
    word = "small_multiply_s" if taps == 1 else "multiply_s" if taps <= 9 else "large_multiply_s"
    found = {
        "start_s": 1.0, "multiply_s": 0.0, "small_multiply_s": 0.0, "large_multiply_s": 0.0,
        "strided_multiply_s": flop if s["stride_h"] > 1 and taps > 1 else 0.0,
        "small_strided_s": inputs * channels * filters if s["stride_h"] > 1 and taps == 1 else 0.0,
        "image_s": inputs * s["conv_c"],
        "output_s": outputs * s["conv_k"], "filter_s": s["conv_c"] * s["conv_k"] * taps,
    }  # fmt: skip
    found[word] = flop
    return found


def cell_lengths(s: Lengths) -> dict[str, float]:
    """Calls that go through cells row by row (a row of an image's kind is one channel of one image)."""
    if "images" in s:
        rows = s["images"] * s["channels"]
        return {"start_s": 1.0, "row_s": rows, "cell_s": rows * s["side"] ** 2}
    return {"start_s": 1.0, "row_s": s["rows"], "cell_s": s["cells"] if "cells" in s else s["rows"] * s["cols"]}


def attention_lengths(s: Lengths) -> dict[str, float]:
    """Fused attention in blocks of queries; a causal block sees the keys up to its own end."""
    heads, length = s["batch"] * s["heads"], s["seq_len"]
    block = min(length, next(size for least, size in _BLOCKS if length >= least))
    blocks = math.ceil(length / block)
    seen = length * (block + length) / 2.0 if s["causal"] else length**2
    pairs = heads * seen
    return {
        "start_s": 1.0, "head_s": heads, "block_s": heads * blocks, "pair_s": pairs,
        "multiply_s": 4.0 * pairs * s["head_dim"], "cell_s": heads * length * s["head_dim"],
    }  # fmt: skip


def table_lengths(s: Lengths) -> dict[str, float]:
    """Rows looked up in a table, or added into a gradient as large as the table."""
    made = _WORD * s["lookups"] * s["width"]
    mapped = made if made > _MAPPED_BYTE else 0.0
    return {"start_s": 1.0, "row_s": s["lookups"], "cell_s": s["lookups"] * s["width"], "mapped_s": mapped}


def gradient_table_lengths(s: Lengths) -> dict[str, float]:
    """The same, the table emptied first."""
    table = s["table_rows"] * s["width"]
    mapped = _WORD * table if _WORD * table > _MAPPED_BYTE else 0.0
    return table_lengths(s) | {"result_s": table, "mapped_s": mapped}


def recurrent_lengths(s: Lengths) -> dict[str, float]:
    """An LSTM layer in one direction: products of all inputs at once, those of the state step by step."""
    rows, hidden, inputs = s["timesteps"] * s["batch"], s["hidden"], s["inputs"]
    return {
        "start_s": 1.0, "step_s": s["timesteps"], "multiply_s": 8.0 * rows * hidden * inputs,
        "chain_multiply_s": 8.0 * rows * hidden**2, "weight_s": 4.0 * s["timesteps"] * hidden**2,
        "cell_s": rows * hidden, "filter_s": 4.0 * hidden * (hidden + inputs),
    }  # fmt: skip


def lengths_of(suite: str, kind: str) -> Callable[[Lengths], dict[str, float]]:
    """How the calls of a kind are measured out."""
    if suite == "layers":
        return dense_lengths if kind.startswith("dense") else conv_lengths
    if suite == "embedding":
        return gradient_table_lengths if kind == "bwd" else table_lengths
    return {
        "gemm": dense_lengths, "training": cell_lengths, "attention": attention_lengths,
        "recurrent": recurrent_lengths,
    }[suite]  # fmt: skip


#: Words that a kind of the training suite reads, writes over and makes, in cells.
_OVER: Final = ("add_into", "scale", "lerp", "addcmul", "addcdiv")


def traffic_of(o: Observation) -> Traffic:
    """What a case of the probe touches, call after call."""
    s = {k: float(v) for k, v in o.shape.items() if not isinstance(v, str)}
    if o.suite == "training":
        from ..probe.suites.training import WORDS

        cells = _WORD * cell_lengths(s)["cell_s"]
        read, written = WORDS[o.kind]
        over = written if o.kind in _OVER else 0.0
        return cycled(read * cells, over * cells, (written - over) * cells, s["sets"])
    # Operands and results come again with the next call.
    return Traffic.of([(0.7 * o.byte, o.byte, False), (0.3 * o.byte, o.byte, True)])


@dataclass(frozen=True, kw_only=True)
class StepLaws:
    """Fitted laws of calls: the memory's levels, one law for every (suite, kind), and ``issue_s`` that a call costs
    inside a module and its gradients [s]. ``work_scale`` is 1 where nothing runs beside."""

    levels: Mapping[str, float]
    fits: Mapping[tuple[str, str], LawFit]
    issue_s: float
    levels_fit: LawFit
    work_scale: float = 1.0

    @property
    def named(self) -> dict[str, LawFit]:
        """All fits by name."""
        return {"step memory": self.levels_fit, **{fit.name: fit for fit in self.fits.values()}}

    def beside(self, work_scale: float, near_scale: float, memory_scale: float) -> StepLaws:
        """The same while other ranks run the same: work takes so many times as long, near and far bytes too, and of
        the last cache each holds its share."""
        levels = dict(self.levels)
        levels["near_byte_s"] *= near_scale
        levels["memory_byte_s"] *= memory_scale
        levels["last_byte"] /= 2.0
        return replace(self, levels=levels, work_scale=work_scale, issue_s=self.issue_s * work_scale)

    def seconds(self, suite: str, kind: str, lengths: Lengths, traffic: Traffic) -> float:
        """Seconds of a call. Raises `KeyError` where no law was fitted for it."""
        fit = self.fits[(suite, kind)]
        t = sum(fit.value(name) * x for name, x in lengths_of(suite, kind)(lengths).items() if name in fit.constants)
        return self.work_scale * t + fit.value("traffic") * beyond_s(traffic, self.levels)


def step_law(suite: str, kind: str, rows: Sequence[Observation], chip: Chip, levels: Mapping[str, float]) -> Law:
    """The law of one kind of call."""
    measure = lengths_of(suite, kind)
    table = [measure({k: float(v) for k, v in o.shape.items() if not isinstance(v, str)}) for o in rows]
    columns = {name: np.array([entry[name] for entry in table]) for name in table[0]}
    # What never occurs in the data cannot be told.
    columns = {name: x for name, x in columns.items() if x.any()}
    far = np.array([beyond_s(traffic_of(o), levels) for o in rows])

    def seconds(v: Values) -> Floats:
        return np.asarray(sum((v[name] * x for name, x in columns.items()), v["traffic"] * far))

    peak = chip.peak_flop_per_s["fp32"]
    flop, byte = np.array([o.flop for o in rows]), np.array([o.byte for o in rows])
    return Law(
        name=f"step {suite} {kind}", specs={name: _spec(name) for name in (*columns, "traffic")}, seconds=seconds,
        settings=Alike(len(rows)), observations=rows, needed=f"--suites {suite} --precision fp32",
        yardstick_s=np.maximum(np.maximum(flop / peak, byte / chip.memory_bandwidth_byte_per_s), 1e-9),
    )  # fmt: skip


def fitted_step_laws(observations: Sequence[Observation], chip: Chip) -> StepLaws | None:
    """All laws that the fp32 rows of a probe determine; None where the memory or the suites of layers are missing."""
    levels_fit = fitted_levels([o for o in observations if o.precision == "fp32"], chip)
    if levels_fit is None:
        return None
    levels = values_of(levels_fit)
    fits: dict[tuple[str, str], LawFit] = {}
    for suite in ("layers", "training", "attention", "embedding", "recurrent"):
        rows = [o for o in suite_of(observations, suite) if o.precision == "fp32"]
        for kind in sorted({o.kind for o in rows}):
            mine = [o for o in rows if o.kind == kind]
            if len(mine) >= _FEWEST:
                fits[(suite, kind)] = fit_law(step_law(suite, kind, mine, chip, levels))
    return StepLaws(levels=levels, fits=fits, issue_s=_issue_s(observations), levels_fit=levels_fit)


def _issue_s(observations: Sequence[Observation]) -> float:
    """The median time of a call in a chain of modules and their gradients; they do next to no work [s]."""
    from ..probe.suites.launch import ISSUED

    rows = [o for o in suite_of(observations, "launch") if o.kind == "network" and float(o.shape["operators"]) >= 16]
    each = [(o.low_s or o.seconds) / (max(1.0, float(o.shape["operators"]) // 4) * ISSUED["network"]) for o in rows]
    return float(np.median(each)) if each else 5e-6
