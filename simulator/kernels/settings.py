"""What a kernel runs on, row by row: the chip's facts, the precision, and the library that chose the kernel."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip import Chip

from .optable import Floats, Ints

#: Libraries whose kernels were measured, by what published tables call them. A library is one release family of one
#: vendor's kernels; a stack names the one it calls.
LIBRARIES: Final = (
    ("cudnn-5", r"cuDNN5"),
    ("cudnn-6", r"cuDNN6"),
    ("cudnn-7", r"cuDNN7"),
    ("miopen-1", r"MIOpen1"),
    ("mkl-2017", r"MKL2017"),
    ("xla-hipblaslt", r"xla \(hipblasLt\)"),
    ("xla-cublaslt", r"xla \(cublasLt"),
    ("deepgemm", r"DeepGEMM"),
    ("flash-attention-1", r"FlashAttention1"),
    ("flash-attention-2", r"FlashAttention2"),
    ("flash-attention-3", r"FlashAttention3"),
    ("flash-attention-triton", r"FlashAttention Triton"),
    ("triton", r"Triton"),
    ("xformers", r"xformers"),
    ("cudnn-9", r"cuDNN"),
    ("attention-unfused", r"PyTorch standard"),
    ("torch-rocm", r"torch ?2\.\d+\.\d+.*rocm|torch2\.4\.1"),
    ("torch-2.1", r"torch2\.1"),
    ("torch-hpu", r"torch.*hpu"),
    ("torch-2", r"torch"),
)

#: Precision words of published kernel tables: (word of the products, bytes of one stored element).
PRECISION_WORDS: Final = {
    "fp64": ("fp64", 8.0),
    "fp32": ("fp32", 4.0),
    "tf32": ("tf32", 4.0),
    "fp16": ("fp16", 2.0),
    "bf16": ("bf16", 2.0),
    "fp16_mixed": ("fp16", 2.0),
    "fp16_in_fp32_math": ("fp32", 2.0),
    "fp8": ("fp8", 1.0),
    "fp4": ("fp4", 0.5),
    "int8": ("int8", 1.0),
    "flex16": ("flex16", 2.0),
}


def library_word(text: str) -> str:
    """The library a table's cell names; "" if it is none of `LIBRARIES`."""
    return next((word for word, pattern in LIBRARIES if re.search(pattern, text)), "")


def silicon(chip: Chip) -> str:
    """A chip's id without its memory size: variants that differ in nothing else share what is fitted on one."""
    return re.sub(r"-\d+gb$", "", chip.id)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One chip running one library's kernels in one precision, measured by one suite ("" in a step)."""

    chip: Chip
    precision: str
    library: str
    suite: str = ""

    def __post_init__(self) -> None:
        if self.precision not in PRECISION_WORDS:
            raise ValueError(f"Setting: precision {self.precision!r}; one of {', '.join(PRECISION_WORDS)}.")

    @property
    def product_word(self) -> str:
        """The chip's rate word of the products."""
        return PRECISION_WORDS[self.precision][0]

    @property
    def peak_flop_per_s(self) -> float:
        """Peak of the products; a 16-bit or 8-bit word the chip has no rate for runs at that of fp32 [FLOP/s]."""
        return self.chip.peak(self.product_word)

    @property
    def element_byte(self) -> float:
        """Bytes of one stored element."""
        return PRECISION_WORDS[self.precision][1]

    @property
    def on_matrix_units(self) -> bool:
        """Whether products run on matrix units rather than on vector units."""
        word = self.product_word
        if self.chip.kind != "gpu":
            return self.chip.kind == "systolic"
        if word in ("fp32", "fp64"):
            return word in self.chip.vector_peak_flop_per_s
        return self.chip.has_matrix_units


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of many kernels: the distinct ones, and which of them each row has; ``row`` has shape (rows,)."""

    distinct: tuple[Setting, ...]
    row: Ints

    @classmethod
    def of(cls, settings: Sequence[Setting]) -> Settings:
        """One setting per row, deduplicated in order of first appearance."""
        index: dict[Setting, int] = {}
        row = np.array([index.setdefault(setting, len(index)) for setting in settings], dtype=np.int64)
        return cls(distinct=tuple(index), row=row)

    @classmethod
    def all_of(cls, setting: Setting, rows: int) -> Settings:
        """The same setting for all rows."""
        return cls(distinct=(setting,), row=np.zeros(rows, np.int64))

    @property
    def rows(self) -> int:
        """Number of kernels."""
        return len(self.row)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Settings:
        """The settings of some of the rows."""
        return Settings(distinct=self.distinct, row=self.row[rows])

    def _column(self, values: Sequence[float]) -> Floats:
        return np.asarray(values, dtype=np.float64)[self.row]

    @cached_property
    def peak_flop_per_s(self) -> Floats:
        """Peak of the row's products [FLOP/s]; shape (rows,), as are all columns below."""
        return self._column([s.peak_flop_per_s for s in self.distinct])

    @cached_property
    def element_byte(self) -> Floats:
        """Bytes of one stored element [B]."""
        return self._column([s.element_byte for s in self.distinct])

    @cached_property
    def on_matrix_units(self) -> NDArray[np.bool_]:
        """Whether products run on matrix units."""
        return np.array([s.on_matrix_units for s in self.distinct])[self.row]

    @cached_property
    def cores(self) -> Floats:
        """Cores (SMs) of the chip."""
        return self._column([float(s.chip.cores) for s in self.distinct])

    @cached_property
    def clock_hz(self) -> Floats:
        """Highest clock [Hz]."""
        return self._column([s.chip.clock_hz for s in self.distinct])

    @cached_property
    def dram_byte_per_s(self) -> Floats:
        """Nominal bandwidth of the main memory [B/s]."""
        return self._column([s.chip.memory_bandwidth_byte_per_s for s in self.distinct])

    @cached_property
    def l2_byte(self) -> Floats:
        """Cache that all cores share [B]."""
        return self._column([s.chip.l2_byte for s in self.distinct])

    @cached_property
    def on_chip_byte(self) -> Floats:
        """L1 and shared memory of all cores together [B]."""
        return self._column([s.chip.on_chip_byte for s in self.distinct])

    @cached_property
    def tdp_w(self) -> Floats:
        """Board power limit [W]."""
        return self._column([s.chip.tdp_w for s in self.distinct])

    def owners(self, level: str) -> tuple[str, ...]:
        """Whose constants the distinct settings use at a level of `constants.LEVELS`; shape (distinct,)."""
        return tuple(_OWNERS[level](setting) for setting in self.distinct)


def _unit(setting: Setting) -> str:
    return "matrix" if setting.on_matrix_units else "vector"


_OWNERS: Final[dict[str, Callable[[Setting], str]]] = {
    "architecture": lambda s: s.chip.architecture,
    "chip": lambda s: silicon(s.chip),
    "library": lambda s: s.library,
    "suite": lambda s: s.suite,
    "unit": _unit,
    "precision": lambda s: s.precision,
}
LEVELS: Final = tuple(_OWNERS)
