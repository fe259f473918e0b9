"""Tables of measured kernels and collectives as observations, in the schemas of the tables that ship."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hwmodels.catalog import resolve_chip
from hwmodels.datafile import did_you_mean

from ..errors import InputError
from ..kernels.settings import PRECISION_WORDS
from ..machine_fit.observations import Observation
from ..probe.export import COLLECTIVES
from ..validation.kernel_baseline import work_of
from ..validation.measured_table import measured_s, read_measured_rows
from .nccl_tests import NcclTest

#: The suite of the probe that measures a kernel of the table.
_SUITES: Final = {"gemm": "gemm", "bmm": "gemm", "conv": "convolution", "attention": "attention", "vector": "vector"}
_MOST_PROBLEMS: Final = 5


def kernel_observations(path: str | Path) -> tuple[str, list[Observation]]:
    """The chip as the table spells it, and its kernels. Raises `InputError` where it names several chips or none."""
    rows = _rows(path)
    chips = sorted({row.get("chip", "") for row in rows if row.get("chip")})
    if len(chips) != 1:
        raise InputError(
            f"{path}: a chip is fitted to the kernels of one; this table names {', '.join(chips) or 'none'}."
        )
    found, problems = [], []
    for number, row in enumerate(rows, start=2):
        seconds = measured_s(row)
        if row.get("flag") or seconds is None or row.get("kernel") not in _SUITES:
            continue
        if row.get("precision") not in PRECISION_WORDS:
            near = did_you_mean(row.get("precision", ""), PRECISION_WORDS)
            problems.append(f"{path}:{number}: precision is {row.get('precision')!a}.{near}")
            continue
        try:
            found.append(_kernel(row, seconds))
        except (ValueError, ZeroDivisionError, KeyError) as error:
            problems.append(f"{path}:{number}: {error!s:.100}.")
    if problems:
        raise InputError(*problems[:_MOST_PROBLEMS])
    if not found:
        raise InputError(f"{path}: no row of {', '.join(_SUITES)} with a time_s above 0.")
    return chips[0], found


def _rows(path: str | Path) -> list[dict[str, str]]:
    try:
        return read_measured_rows(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None


def _kernel(row: Mapping[str, str], seconds: float) -> Observation:
    flop, elements = work_of(row)
    suite = _SUITES[row["kernel"]]
    shape: dict[str, int | str] = {}
    columns: Sequence[str] = {
        "gemm": ("m", "n", "k", "batch", "transA", "transB"),
        "convolution": ("conv_n", "conv_c", "conv_h", "conv_w", "conv_k", "filt_h", "filt_w", "pad_h", "pad_w",
                        "stride_h", "stride_w", "pass"),
        "attention": ("batch", "heads", "head_dim", "seq_len", "causal", "pass"),
        "vector": ("op", "rows", "cols"),
    }[suite]  # fmt: skip
    for column in columns:
        text = (row.get(column) or "").strip()
        if text:
            value = float(text) if text.replace(".", "", 1).isdigit() else math.nan
            shape[column] = int(value) if math.isfinite(value) else text
    if suite == "gemm":
        shape["layout"] = {"": "NN", "TN": "NT", "NT": "TN"}.get(row.get("transA", "") + row.get("transB", ""), "NN")
    parts = (suite, row["precision"], *(f"{k}={v}" for k, v in shape.items()))
    return Observation(
        id="/".join(parts), suite=suite, precision=row["precision"], shape=shape, seconds=seconds, flop=flop,
        byte=elements * PRECISION_WORDS[row["precision"]][1], row=dict(row),
    )  # fmt: skip


def catalogued(spelling: str, path: str | Path) -> str:
    """The one chip of the catalogue that a spelling means. Raises `InputError`."""
    found = resolve_chip(spelling)
    if len(found) != 1:
        what = f"may be {', '.join(found)}" if found else "is not in the catalogue"
        raise InputError(f"{path}: chip {spelling!a} {what}; name one, or give a probe's file of the machine too.")
    return found[0]


def collective_observations(path: str | Path) -> list[Observation]:
    """The collectives of a table."""
    found = []
    for row in _rows(path):
        seconds, kind = measured_s(row), row.get("collective", "")
        if row.get("flag") or seconds is None or kind not in COLLECTIVES:
            continue
        try:
            size, ranks = float(row["size_bytes"]), int(float(row["ranks"]))
        except (KeyError, ValueError):
            continue
        found.append(_collective(kind, size, ranks, seconds, row.get("library", "")))
    if not found:
        raise InputError(f"{path}: no row of {', '.join(COLLECTIVES)} with ranks, size_bytes and a time_s above 0.")
    return found


def _collective(kind: str, size: float, ranks: int, seconds: float, library: str) -> Observation:
    return Observation(
        id=f"collectives/fp32/kind={kind}/size_bytes={size:.0f}/ranks={ranks}", suite="collectives", precision="fp32",
        shape={"kind": kind, "size_bytes": int(size)}, seconds=seconds, flop=0.0, byte=size, ranks=ranks,
        library=library,
    )  # fmt: skip


def nccl_observations(tests: Sequence[NcclTest]) -> list[Observation]:
    """The lines of nccl-tests runs, those of collectives that have a model."""
    return [
        _collective(test.collective, float(size), test.ranks, seconds, test.library)
        for test in tests
        if test.collective in COLLECTIVES
        for size, seconds in test.points
    ]
