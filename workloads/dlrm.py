"""DLRM and DCNv2: tables of embeddings spread over ranks, dense layers copied to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, gemm, product, vector
from workloads.record_ops import binary_loss, checked, concatenation, look_up, mlp, padded, record_workload
from workloads.workload import Workload

#: Rows of the 26 tables of Criteo's click logs by the least number of times a value must have been seen
#: (NVIDIA/DeepLearningExamples, DLRM_and_DCNv2/dataloading/generate_feature_spec.py), and the tables of MLPerf capped
#: at 40 million rows (one-hot: DLRM; multi-hot: DCNv2).
CRITEO: Final[dict[str, tuple[int, ...]]] = {
    "t15": (
        7912889, 33823, 17139, 7339, 20046, 4, 7105, 1382, 63, 5554114, 582469, 245828, 11, 2209, 10667, 104, 4, 968,
        15, 8165896, 2675940, 7156453, 302516, 12022, 97, 35,
    ),
    "t3": (
        45833188, 36747, 1572176, 345139, 11, 2209, 11268, 128, 4, 975, 15, 48937457, 17246, 11316796, 40094537, 452104,
        12607, 105, 36, 7414, 20244, 4, 7115, 1442, 63, 29275261,
    ),
    "t0": (
        227605432, 39061, 3067956, 405283, 11, 2209, 11939, 155, 4, 977, 15, 292775614, 17296, 40790948, 187188510,
        590152, 12974, 109, 37, 7425, 20266, 4, 7123, 1544, 64, 130229467,
    ),
    "mlperf": (
        39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346, 10, 2208, 11938, 155, 4, 976,
        14, 39979771, 25641295, 39664984, 585935, 12972, 108, 36,
    ),
    "mlperf-multi-hot": (
        40000000, 39060, 17295, 7424, 20265, 3, 7122, 1543, 63, 40000000, 3067956, 405282, 10, 2209, 11938, 155, 4, 976,
        14, 40000000, 40000000, 40000000, 590152, 12973, 108, 36,
    ),
}  # fmt: skip
#: Values per record of each table of "mlperf-multi-hot", summed.
MULTI_HOT: Final = (3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1)
INTERACTIONS: Final = ("dot", "cross")


def dlrm(
    *,
    tables: str = "t15",
    numerical: int = 13,
    width: int = 128,
    bottom: Sequence[int] = (512, 256, 128),
    top: Sequence[int] = (1024, 1024, 512, 256, 1),
    interaction: str = "dot",
    cross_layers: int = 3,
    cross_rank: int = 512,
    multiple: int = 8,
) -> Workload:
    """DLRM [1]_ and, with ``interaction = "cross"``, DCNv2 [2]_ on Criteo's click logs.

    One fused look-up in 26 tables that are spread over ranks; a bottom MLP on the numbers; an interaction (all dot
    products of the 27 vectors, written with the bottom MLP's output by one fused kernel; or low-rank cross layers
    x0 * (V U x + b) + x on the 27 vectors side by side); a top MLP.

    Parameters
    ----------
    tables
        A key of `CRITEO`: rows of the tables. The work of a record does not depend on it, but for "mlperf-multi-hot".
    multiple
        Inputs of both MLPs are padded to a multiple of it, as NVIDIA's and HugeCTR's implementations do; 1 for the
        reference.

    References
    ----------
    .. [1] Naumov et al., Deep Learning Recommendation Model, 2019, arXiv:1906.00091
    .. [2] Wang et al., DCN V2, 2020, arXiv:2008.13535
    """
    if tables not in CRITEO:
        raise WorkloadError(f"dlrm: tables is '{tables}'. Legal: {', '.join(CRITEO)}.")
    if interaction not in INTERACTIONS:
        raise WorkloadError(f"dlrm: interaction is '{interaction}'. Legal: {', '.join(INTERACTIONS)}.")
    checked(
        "dlrm", numerical=numerical, width=width, bottom=bottom, top=top, cross_layers=cross_layers,
        cross_rank=cross_rank, multiple=multiple,
    )  # fmt: skip
    if bottom[-1] != width:
        raise WorkloadError(f"dlrm: bottom ends in {bottom[-1]}, but a row of the tables is {width} wide; make it so.")
    rows = CRITEO[tables]
    lookups = sum(MULTI_HOT) if tables == "mlperf-multi-hot" else len(rows)
    table = look_up(name="tables", rows=sum(rows), width=width, lookups=lookups, outputs=len(rows), spread=True)
    vectors = len(rows) + 1
    laid = [
        Layer(name="tables", kind="embedding", ops=(table,)),
        Layer(
            name="bottom mlp",
            kind="dense",
            ops=tuple(mlp(name="bottom", k=padded(numerical, multiple), sizes=bottom)),
        ),
    ]
    if interaction == "dot":
        joint = padded(vectors * (vectors - 1) // 2 + width, multiple)
        laid.append(Layer(name="interaction", kind="dense", ops=_dots(vectors, width, joint)))
    else:
        joint = padded(vectors * width, multiple)
        gather = concatenation("all vectors", vectors * width)
        laid.append(Layer(name="all vectors", kind="dense", ops=(gather,)))
        laid.append(Layer(name="cross", kind="block", ops=_cross(vectors * width, cross_rank), repeat=cross_layers))
    head = (*mlp(name="top", k=joint, sizes=top, last=""), binary_loss(top[-1]))
    laid.append(Layer(name="top mlp", kind="head", ops=head))
    return record_workload(
        "dcnv2" if interaction == "cross" else "dlrm",
        laid,
        tables=tables,
        rows=sum(rows),
        width=width,
        lookups=lookups,
        interaction=interaction,
    )


def _dots(vectors: int, width: int, joint: int) -> tuple[Op, ...]:
    dots = product(name="dot products", batch=1, m=vectors, n=vectors, k=width, saved_elements=float(vectors * width))
    # One kernel reads the vectors, keeps the triangle of their products and writes it beside the bottom MLP's output.
    fused = replace(dots, read_elements=vectors * width, write_elements=joint)
    return (concatenation("all vectors", vectors * width), fused)


def _cross(elements: int, rank: int) -> tuple[Op, ...]:
    return (
        gemm(name="cross down", m=1, n=rank, k=elements),
        gemm(name="cross up", m=1, n=elements, k=rank, bias=True),
        # x0 * product + x: the product is kept, x0 and x are kept already.
        vector(
            name="cross product and sum",
            read_elements=4 * elements,
            write_elements=2 * elements,
            saved_elements=float(elements),
            launches=2,
        ),
    )


NETWORKS: Final = {"dlrm": dlrm}
