"""Recommenders: neural collaborative filtering, Wide & Deep, variational auto-encoders.

One sample is one record: a user and an item, an impression, or (the auto-encoder) a user with all of his items. All
figures are per record; a step's fixed cost shows only through launches and updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, vector
from workloads.record_ops import binary_loss, checked, concatenation, dense, look_up, record_workload
from workloads.workload import Workload


def neumf(
    *,
    users: int = 138_493,
    items: int = 26_744,
    factors: int = 64,
    layers: Sequence[int] = (256, 256, 128, 64),
    dropout: bool = True,
) -> Workload:
    """Neural matrix factorisation [1]_: a product of factors beside an MLP, on one (user, item) pair.

    With the defaults (MovieLens-20M) 31,832,577 parameters: (users + items) x (factors + layers[0] / 2) in four tables,
    copied to every rank and updated whole.

    References
    ----------
    .. [1] He et al., Neural Collaborative Filtering, 2017, arXiv:1708.05031; sizes of NVIDIA/DeepLearningExamples,
       PyTorch/Recommendation/NCF
    """
    checked("neumf", users=users, items=items, factors=factors, layers=layers)
    if layers[0] % 2:
        raise WorkloadError(f"neumf: layers[0] is {layers[0]}; it is shared by user and item and must be even.")
    half = layers[0] // 2
    tables = [
        look_up(name=f"{tower} {side}", rows=rows, width=width)
        for tower, width in (("factors", factors), ("mlp", half))
        for side, rows in (("user", users), ("item", items))
    ]
    tower = [
        vector(name="factor product", read_elements=2 * factors, write_elements=factors, saved_elements=2.0 * factors),
        concatenation("user and item", 2 * half),
    ]
    for index in range(1, len(layers)):
        tower += dense(name=f"mlp {index}", k=layers[index - 1], n=layers[index], activation="relu", dropout=dropout)
    joint = factors + layers[-1]
    head = (concatenation("factors and mlp", joint), *dense(name="score", k=joint, n=1), binary_loss())
    return record_workload(
        "neumf",
        (
            Layer(name="tables", kind="embedding", ops=tuple(tables)),
            Layer(name="towers", kind="dense", ops=tuple(tower)),
            Layer(name="head", kind="head", ops=head),
        ),
        users=users,
        items=items,
        factors=factors,
    )


def wide_and_deep(
    *,
    rows: Sequence[int],
    widths: Sequence[int],
    numerical: int = 0,
    shared_by: int = 1,
    deep: Sequence[int] = (1024, 1024, 1024, 1024, 1024),
    dropout: bool = True,
    spread: bool = False,
) -> Workload:
    """Wide & Deep [1]_: a linear model on one-hot features and numbers beside an MLP on embeddings and numbers.

    Parameters
    ----------
    rows, widths
        Rows and width of each table of the deep part; the wide part has as many, of width 1.
    shared_by
        Features that look their value up in each table.
    spread
        The tables are spread over ranks (or the host) and updated sparsely; else copied and updated whole.

    References
    ----------
    .. [1] Cheng et al., Wide & Deep Learning for Recommender Systems, 2016, arXiv:1606.07792
    """
    checked("wide_and_deep", rows=rows, widths=widths, shared_by=shared_by, deep=deep)
    if len(rows) != len(widths):
        raise WorkloadError(f"wide_and_deep: {len(rows)} rows but {len(widths)} widths; one of each per table.")
    if numerical < 0:
        raise WorkloadError(f"wide_and_deep: numerical is {numerical}; 0 or more.")
    features = shared_by * len(rows)
    tables = [
        look_up(
            name=f"{part} table {index + 1}", rows=r, width=w if part == "deep" else 1, lookups=shared_by, spread=spread
        )
        for part in ("deep", "wide")
        for index, (r, w) in enumerate(zip(rows, widths, strict=True))
    ]
    inputs = shared_by * sum(widths) + numerical
    wide_sum = vector(
        name="wide sum",
        read_elements=2 * features,
        write_elements=features,
        parameters=1,
        launches=len(rows),
    )
    wide_ops = (wide_sum, *dense(name="wide numbers", k=numerical, n=1, bias=False)) if numerical else (wide_sum,)
    tower: list[Op] = [concatenation("deep inputs", inputs)]
    size = inputs
    for index, n in enumerate(deep):
        tower += dense(name=f"deep {index + 1}", k=size, n=n, activation="relu", dropout=dropout)
        size = n
    return record_workload(
        "wide and deep",
        (
            Layer(name="tables", kind="embedding", ops=tuple(tables)),
            Layer(name="wide", kind="dense", ops=wide_ops),
            Layer(name="deep", kind="dense", ops=tuple(tower)),
            Layer(name="head", kind="head", ops=(*dense(name="score", k=size, n=1), binary_loss())),
        ),
        rows=sum(rows),
        inputs=inputs,
        numerical=numerical,
    )


def vae_cf(*, items: int = 20_112, hidden: int = 600, latent: int = 200, interactions: int = 73) -> Workload:
    """Variational auto-encoder for collaborative filtering [1]_: one record is one user with all of his items.

    Encoder items -> hidden -> 2 latent, decoder latent -> hidden -> items, tanh. The first product multiplies a sparse
    matrix, so it is a pooled look-up of ``interactions`` rows (the mean of MovieLens-20M, as preprocessed there); its
    FLOPs are not counted. The decoder's softmax over all items is what a user costs.

    References
    ----------
    .. [1] Liang et al., Variational Autoencoders for Collaborative Filtering, 2018, arXiv:1802.05814
    """
    checked("vae_cf", items=items, hidden=hidden, latent=latent, interactions=interactions)
    first = look_up(name="sparse product", rows=items, width=hidden, lookups=interactions, outputs=1)
    encoder = (
        vector(name="tanh", read_elements=2 * hidden, write_elements=hidden, parameters=hidden, launches=2),
        *dense(name="encoder 2", k=hidden, n=2 * latent),
        vector(
            name="sample",
            read_elements=4 * latent,
            write_elements=3 * latent,
            saved_elements=3.0 * latent,
            launches=5,
        ),
    )
    decoder = dense(name="decoder 1", k=latent, n=hidden, activation="tanh")
    head = (
        *dense(name="decoder 2", k=hidden, n=items),
        # Log-softmax in fp32 of a row of logits, gathered where the user has items; the divergence is small beside it.
        vector(
            name="log softmax",
            read_elements=3 * items,
            write_elements=2 * items,
            saved_elements=2.0 * items,
            launches=3,
        ),
        vector(
            name="likelihood and divergence",
            read_elements=2 * interactions + 4 * latent,
            write_elements=interactions,
            launches=6,
        ),
    )
    return record_workload(
        "vae-cf",
        (
            Layer(name="input", kind="embedding", ops=(first,)),
            Layer(name="encoder", kind="dense", ops=encoder),
            Layer(name="decoder", kind="dense", ops=decoder),
            Layer(name="head", kind="head", ops=head),
        ),
        items=items,
        hidden=hidden,
        latent=latent,
        interactions=interactions,
    )


NETWORKS: Final = {"neumf": neumf, "wide_and_deep": wide_and_deep, "vae_cf": vae_cf}
