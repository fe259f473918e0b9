"""Measurements as tables: kernels and collectives in the schema of the tables of measured ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .record import Measurement, ProbeRecord

KERNEL_COLUMNS: Final = (
    "row", "kernel", "chip", "precision", "library", "suite", "pass", "op", "batch", "m", "n", "k", "transA", "transB",
    "sparsity", "conv_n", "conv_c", "conv_h", "conv_w", "conv_k", "filt_h", "filt_w", "pad_h", "pad_w", "stride_h",
    "stride_w", "rnn_type", "hidden", "timesteps", "heads", "head_dim", "seq_len", "causal", "rows", "cols", "time_s",
    "provenance", "source", "locator", "notes", "split",
)  # fmt: skip
COLLECTIVE_COLUMNS: Final = (
    "row", "collective", "system", "chip", "nodes", "ranks_per_node", "ranks", "concurrent_groups", "intra_fabric",
    "inter_fabric", "library", "algorithm", "dtype", "size_bytes", "time_s", "provenance", "source", "locator", "notes",
    "split",
)  # fmt: skip
#: Word of the suite column of what a probe measured.
SUITE: Final = "trainyard_probe"
#: What the table of measured kernels holds of the vector suite.
VECTOR_OPS: Final = ("add", "mul", "div", "relu", "gelu", "tanh", "layernorm", "softmax")
#: Collectives that have a model.
COLLECTIVES: Final = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")

Row = dict[str, str]


def kernel_row(m: Measurement, chip: str, library: str) -> Row | None:
    """A measurement as a row of measured kernels; None where that table has no such kernel.

    Products whose operands lie otherwise than row by row are written column by column, as BLAS has them: C' = B' A'.
    """
    s, suite = {k: str(v) for k, v in m.case.shape.items()}, m.case.suite
    row = {"chip": chip, "precision": m.case.precision, "library": library, "suite": SUITE}
    row |= {"time_s": f"{m.timing.median_s:.7g}", "provenance": "measured", "source": "trainyard probe"}
    if suite == "gemm":
        row |= {"kernel": "bmm" if s["layout"] == "bmm" else "gemm", "k": s["k"]}
        if s["layout"] == "bmm":
            row["batch"] = s["batch"]
        turned = {"NT": ("T", "N"), "TN": ("N", "T")}.get(s["layout"])
        row |= {"m": s["m"], "n": s["n"]}
        if turned:
            row |= {"m": s["n"], "n": s["m"], "transA": turned[0], "transB": turned[1]}
    elif suite == "convolution" and s["pass"] != "thin":
        row |= {"kernel": "conv"} | s
    elif suite == "attention":
        row |= {"kernel": "attention"} | s
    elif suite == "vector" and s["op"] in VECTOR_OPS:
        row |= {"kernel": "vector", "pass": "fwd"} | s
    else:
        return None
    return row


def library_word(machine: Mapping[str, Any]) -> str:
    """The library column: PyTorch and its release."""
    return f"torch {machine['torch']}"


def kernel_rows(record: ProbeRecord, chip: str) -> list[Row]:
    """All kernels of a record as rows, in the order of their names."""
    library = library_word(record.machine)
    rows = [kernel_row(m, chip, library) for _, m in sorted(record.measurements.items())]
    return [row for row in rows if row is not None]


def collective_rows(record: ProbeRecord, chip: str, system: str) -> list[Row]:
    """All collectives of a record as rows of measured collectives."""
    rows = []
    for m in record.suite("collectives"):
        s = m.case.shape
        if s["kind"] not in COLLECTIVES:
            continue
        rows.append(
            {
                "collective": str(s["kind"]), "system": system, "chip": chip, "nodes": "1",
                "ranks_per_node": str(m.ranks), "ranks": str(m.ranks), "concurrent_groups": "1", "library": m.library,
                "dtype": m.case.precision, "size_bytes": str(s["size_bytes"]), "time_s": f"{m.timing.median_s:.7g}",
                "provenance": "measured", "source": "trainyard probe",
            }
        )  # fmt: skip
    return rows


def as_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Rows as a table, numbered."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, restval="", lineterminator="\n")
    writer.writeheader()
    for number, row in enumerate(rows):
        writer.writerow({"row": str(number), **row})
    return text.getvalue()
