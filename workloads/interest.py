"""Recommenders over a user's history: the search-based interest model (SIM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, recurrent, vector
from workloads.record_ops import binary_loss, checked, concatenation, dense, look_up, record_workload
from workloads.workload import Workload


def sim(
    *,
    users: int = 543_060,
    items: int = 367_983,
    categories: int = 1_601,
    width: int = 16,
    long_history: int = 90,
    short_history: int = 10,
    best: int = 50,
    stage_one: Sequence[int] = (200,),
    stage_two: Sequence[int] = (200, 80),
    auxiliary: Sequence[int] = (100, 50),
) -> Workload:
    """SIM [1]_ as laid out in [2]_: a search over a long history, then attention, a GRU and a GRU with attention.

    An item is two look-ups (item, category) of ``width``. Stage one weighs the long history by its dot products with
    the target item and scores that; stage two takes the ``best`` items, and runs a GRU of 6 ``width`` units over the
    short history, an attention unit (384-80-40-1 at width 16) and a GRU whose update gate the attention scales. An
    auxiliary network tells the history from as many negative items. Tables are copied to every rank and updated whole.

    References
    ----------
    .. [1] Qi et al., Search-based User Interest Modeling, 2020, arXiv:2006.05639
    .. [2] NVIDIA/DeepLearningExamples, TensorFlow2/Recommendation/SIM
    """
    checked(
        "sim", users=users, items=items, categories=categories, width=width, long_history=long_history,
        short_history=short_history, best=best, stage_one=stage_one, stage_two=stage_two, auxiliary=auxiliary,
    )  # fmt: skip
    checked("sim (short_history - 1, for the auxiliary network)", positions=short_history - 1)
    best = min(best, long_history)
    item, units = 2 * width, 6 * width
    looked_up = 2 + long_history + 2 * short_history  # the target item in both stages
    tables = (
        look_up(name="user table", rows=users + 1, width=width, lookups=2, launches=2),
        look_up(name="item table", rows=items + 1, width=width, lookups=looked_up, launches=5),
        look_up(name="category table", rows=categories + 1, width=width, lookups=looked_up, launches=5),
        concatenation("items and categories", looked_up * item),
        vector(
            name="history masks",
            read_elements=(looked_up - 2) * item,
            write_elements=(looked_up - 2) * item,
            saved_elements=float((looked_up - 2) * item),
            launches=3,
        ),
    )
    first = (
        *_weighing("search", long_history, item),
        concatenation("stage one inputs", 2 * item + width),
        *_classifier("stage one", 2 * item + width, stage_one),
    )
    second = (
        vector(
            name="best items",
            read_elements=long_history + best * item,
            write_elements=best * (item + 1),
            saved_elements=float(best * item),
            launches=4,
        ),
        *_weighing("best items", best, item),
        vector(name="mean of best items", read_elements=best * item, write_elements=item, launches=3),
        concatenation("stage two inputs", 3 * item + units + width),
        *_classifier("stage two", 3 * item + units + width, stage_two),
        binary_loss(2),
    )
    evolution = (
        recurrent(name="interest gru", cell="gru", steps=short_history, width=item, hidden=units),
        *_attention_unit(item, units, short_history),
        recurrent(name="attention gru", cell="gru", steps=short_history, width=units, hidden=units, biases=1),
    )
    pairs = 2 * (short_history - 1)
    telling = (
        concatenation("auxiliary inputs", pairs * (units + item)),
        *_classifier("auxiliary", units + item, auxiliary, activation="sigmoid", rows=pairs),
        binary_loss(pairs),
    )
    return record_workload(
        "sim",
        (
            Layer(name="tables", kind="embedding", ops=tables),
            Layer(name="stage one", kind="dense", ops=first),
            Layer(name="interest evolution", kind="dense", ops=evolution),
            Layer(name="auxiliary", kind="dense", ops=telling),
            Layer(name="stage two", kind="head", ops=second),
        ),
        width=width,
        long_history=long_history,
        short_history=short_history,
        best=best,
    )


def _weighing(name: str, rows: int, width: int) -> tuple[Op, ...]:
    """Dot products of one item with ``rows`` others, their softmax, and the sum weighed by it, element by element."""
    return (
        vector(
            name=f"{name} scores",
            read_elements=2 * rows * width,
            write_elements=rows * (width + 1),
            launches=3,
        ),
        vector(
            name=f"{name} softmax",
            read_elements=2 * rows,
            write_elements=2 * rows,
            saved_elements=float(rows),
            launches=2,
        ),
        vector(
            name=f"{name} weighed sum",
            read_elements=2 * rows * width + rows,
            write_elements=rows * width + width,
            launches=2,
        ),
    )


def _attention_unit(item: int, units: int, steps: int) -> tuple[Op, ...]:
    joint = 4 * units
    return (
        *dense(name="attention item", k=item, n=units, activation="prelu"),
        vector(  # both, their difference and their product, side by side
            name="attention inputs",
            read_elements=4 * steps * units + joint * steps,
            write_elements=3 * steps * units + joint * steps,
            launches=4,
        ),
        *dense(name="attention 1", k=joint, n=80, activation="sigmoid", rows=steps),
        *dense(name="attention 2", k=80, n=40, activation="sigmoid", rows=steps),
        *dense(name="attention 3", k=40, n=1, rows=steps),
        vector(
            name="attention softmax",
            read_elements=2 * steps,
            write_elements=2 * steps,
            saved_elements=float(steps),
            launches=2,
        ),
    )


def _classifier(name: str, k: int, sizes: Sequence[int], *, activation: str = "prelu", rows: int = 1) -> tuple[Op, ...]:
    ops: list[Op] = []
    for index, n in enumerate(sizes):
        ops += dense(name=f"{name} {index + 1}", k=k, n=n, activation=activation, rows=rows)
        k = n
    return (*ops, *dense(name=f"{name} score", k=k, n=1, rows=rows))


NETWORKS: Final = {"sim": sim}
