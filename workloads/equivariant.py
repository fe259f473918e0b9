"""SE(3)-Transformer: attention on graphs of points that turns with them, on molecules of QM9."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, gemm, product, vector
from workloads.transformer_blocks import check_sizes
from workloads.transformer_blocks import norm as layer_norm
from workloads.workload import Workload

#: Width of the hidden layers that turn a distance into the weights of a convolution.
RADIAL_WIDTH: Final = 32
#: Kernels of a softmax over the edges that enter a node (maximum, difference, exponential, sum, quotient), of the
#: product of queries and keys before it and of the division by the root of their width.
SCORE_LAUNCHES: Final = 7
#: Kernels of the norm of one degree's vectors: length, clamp, quotient, product.
NORM_LAUNCHES: Final = 4


def sides(degree: int) -> int:
    """Numbers of a feature of a degree: 2 d + 1."""
    return 2 * degree + 1


def frequencies(a: int, b: int) -> int:
    """Independent kernels that lead from one degree to another: 2 min(a, b) + 1."""
    return sides(min(a, b))


def se3_transformer(
    *,
    layers: int = 7,
    degrees: int = 4,
    channels: int = 32,
    heads: int = 8,
    channels_div: int = 2,
    node_features: int = 6,
    edge_features: int = 4,
    fused: bool = True,
    atoms: int = 18,
    edges: int = 37,
) -> Workload:
    """SE(3)-Transformer [1]_ as NVIDIA trains it [2]_: ``channels`` features of every degree below ``degrees``.

    A sample is one molecule, a graph of ``atoms`` nodes and ``edges`` directed edges (means over QM9, both directions
    of a bond, recalled). A convolution makes one small matrix an edge from its length; making and reading these
    matrices is most of the work and of the traffic.

    Parameters
    ----------
    channels_div
        By how much keys and values are narrower than features.
    fused
        One convolution for all pairs of degrees, as with Tensor Cores (fp16, tf32); else one for every degree that
        comes out, as in fp32. Products of the fused one also multiply the zeros of its basis.

    Raises
    ------
    WorkloadError
        For a size below 1, or heads that do not divide the narrowed channels.

    Notes
    -----
    The bases are read ready-made, as with precomputed ones, and only joined. Left out: loading them, padding of
    odd sides by one for Tensor Cores.

    References
    ----------
    .. [1] Fuchs et al., SE(3)-Transformers: 3D Roto-Translation Equivariant Attention Networks, 2020, arXiv:2006.10503
    .. [2] NVIDIA/DeepLearningExamples DGLPyTorch/DrugDiscovery/SE3Transformer @22d6621d
    """
    where = "se3_transformer"
    sizes = {"layers": layers, "degrees": degrees, "channels": channels, "heads": heads}
    check_sizes(
        where, **sizes, channels_div=channels_div, node_features=node_features, edge_features=edge_features,
        atoms=atoms, edges=edges,
    )  # fmt: skip
    if channels % channels_div or (channels // channels_div) % heads:
        raise WorkloadError(f"{where}: {heads} heads do not divide {channels} / {channels_div} channels.")
    graph = _Graph(
        atoms=atoms, edges=edges, inputs=edge_features + 1, degrees=degrees, channels=channels,
        narrow=channels // channels_div, heads=heads,
    )  # fmt: skip
    laid = [
        Layer(name="bases", kind="embedding", ops=(graph.bases(fused),)),
        Layer(
            name="block first", kind="block", ops=(*graph.first_values(node_features), *graph.attention(node_features))
        ),
    ]
    if layers > 1:
        ops = (*graph.gather(), *graph.values(fused), *graph.attention(0))
        laid.append(Layer(name="block rest", kind="block", ops=ops, repeat=layers - 1))
    laid.append(Layer(name="head", kind="head", ops=tuple(graph.head())))
    return Workload(
        name="se3-transformer", family="scientific", sample="record", layers=tuple(laid),
        hyper={**sizes, "atoms": atoms, "edges": edges, "fused": fused},
        source="arXiv:2006.10503; NVIDIA/DeepLearningExamples DGLPyTorch/DrugDiscovery/SE3Transformer",
    )  # fmt: skip


class _Graph:
    """Sizes of one molecule and of its features; methods lay out ops in forward order."""

    def __init__(
        self, *, atoms: int, edges: int, inputs: int, degrees: int, channels: int, narrow: int, heads: int
    ) -> None:
        self.atoms, self.edges, self.inputs = atoms, edges, inputs
        self.degrees, self.channels, self.narrow, self.heads = range(degrees), channels, narrow, heads
        self.sides = sum(sides(d) for d in self.degrees)

    def bases(self, fused: bool) -> Op:
        """Pairwise bases joined to one for each degree that comes out and goes in, and to a single one if ``fused``."""
        count = len(self.degrees)
        out = self.sides * sum(frequencies(a, b) * sides(b) for a in self.degrees for b in self.degrees)
        whole = self.sides**2 * self._all_frequencies() if fused else 0
        used = whole if fused else out
        return vector(
            name="join bases", read_elements=self.edges * (2 * out + whole // 4),
            write_elements=self.edges * (3 * out + 2 * whole), saved_elements=float(self.edges * used),
            launches=2 * count * (count + 1) + (count + 1 if fused else 0),
        )  # fmt: skip

    def _all_frequencies(self) -> int:
        return sum(frequencies(a, b) for a in self.degrees for b in self.degrees)

    def gather(self) -> Iterator[Op]:
        """Features of the node at the start of every edge, degree by degree, joined."""
        elements = self.edges * self.channels * self.sides
        yield vector(
            name="gather", read_elements=2 * elements, write_elements=2 * elements, launches=len(self.degrees) + 1
        )

    def radial(self, name: str, weights: int) -> Iterator[Op]:
        """Two hidden layers with norms and ReLU, and a product to all weights of an edge's matrix."""
        width = self.inputs
        for layer in (1, 2):
            yield gemm(name=f"{name} radial {layer}", m=self.edges, n=RADIAL_WIDTH, k=width, bias=True)
            width = RADIAL_WIDTH
            yield layer_norm("radial norm", rows=self.edges, width=width, split="none")
            elements = self.edges * width
            yield vector(name="relu", read_elements=elements, write_elements=elements)
        yield gemm(name=f"{name} radial weights", m=self.edges, n=weights, k=width)

    def convolution(
        self, name: str, *, freq: int, c_in: int, c_out: int, in_side: int, out_side: int, based: bool = True
    ) -> Iterator[Op]:
        """The matrices of all edges times the features, which are first multiplied by the basis."""
        yield from self.radial(name, freq * c_in * c_out)
        if based:
            # The basis is data: only the features are kept besides it. Its gradient is priced, but never asked for.
            yield product(
                name=f"{name} basis", batch=self.edges, m=c_in, n=freq * out_side, k=in_side,
                saved_elements=float(self.edges * c_in * in_side),
            )  # fmt: skip
        yield product(name=f"{name} kernel", batch=self.edges, m=c_out, n=out_side, k=c_in * freq)

    def first_values(self, node_features: int) -> Iterator[Op]:
        """Keys and values of all degrees from features of degree 0 only, one convolution a pair."""
        elements = self.edges * node_features
        yield vector(name="gather", read_elements=elements, write_elements=elements)
        for degree in self.degrees:
            yield from self.convolution(
                f"0-{degree}", freq=1, c_in=node_features, c_out=self.narrow * (1 if degree else 2), in_side=1,
                out_side=sides(degree), based=degree > 0,
            )  # fmt: skip

    def values(self, fused: bool) -> Iterator[Op]:
        """Keys and values of all degrees from features of all degrees."""
        if fused:
            yield from self.convolution(
                "all", freq=self._all_frequencies(), c_in=self.channels, c_out=2 * self.narrow, in_side=self.sides,
                out_side=self.sides,
            )  # fmt: skip
            return
        for degree in self.degrees:
            yield from self.convolution(
                f"to {degree}", freq=sum(frequencies(d, degree) for d in self.degrees), c_in=self.channels,
                c_out=2 * self.narrow, in_side=self.sides, out_side=sides(degree),
            )  # fmt: skip

    def attention(self, node_features: int) -> Iterator[Op]:
        """Attention of a node to its edges, a product of its result beside the node's features, a norm.

        ``node_features`` of degree 0 are the input of the first block; keys then have degree 0 only.
        """
        keyed = (0,) if node_features else tuple(self.degrees)
        keys = self.narrow * sum(sides(d) for d in keyed)
        values, features = self.narrow * self.sides, self.channels * self.sides
        for degree in keyed:
            yield gemm(
                name=f"query {degree}", m=self.atoms * sides(degree), n=self.narrow, k=node_features or self.channels
            )
        copied = self.edges * keys + self.atoms * keys
        yield vector(name="arrange keys", read_elements=copied, write_elements=copied, launches=2)
        scores = self.edges * self.heads
        yield vector(
            name="edge scores", read_elements=2 * self.edges * keys + SCORE_LAUNCHES * scores,
            write_elements=SCORE_LAUNCHES * scores, saved_elements=float(copied + 2 * scores), launches=SCORE_LAUNCHES,
        )  # fmt: skip
        yield vector(
            name="weighted sum", read_elements=2 * self.edges * values + scores,
            write_elements=(self.edges + self.atoms) * values, saved_elements=float(self.edges * values + scores),
            launches=2,
        )  # fmt: skip
        joined = self.atoms * (values + (node_features or features))
        yield vector(name="join", read_elements=joined, write_elements=joined, launches=len(self.degrees))
        for degree in self.degrees:
            own = (0 if degree else node_features) if node_features else self.channels
            yield gemm(name=f"project {degree}", m=self.atoms * sides(degree), n=self.channels, k=self.narrow + own)
        passes, nodes = NORM_LAUNCHES + 1, self.atoms * features
        yield vector(
            name="norm of lengths", read_elements=passes * nodes, write_elements=passes * nodes,
            saved_elements=3.0 * nodes, parameters=2 * self.channels * len(self.degrees),
            launches=NORM_LAUNCHES * len(self.degrees) + 3,
        )  # fmt: skip

    def head(self) -> Iterator[Op]:
        """A last convolution to degree 0, its mean over edges, the maximum over atoms, two dense layers, the error."""
        width = len(self.degrees) * self.channels
        yield from self.gather()
        yield from self.convolution(
            "last", freq=len(self.degrees), c_in=self.channels, c_out=width, in_side=self.sides, out_side=1
        )
        yield gemm(name="self-interaction", m=self.atoms, n=width, k=self.channels)
        nodes = self.atoms * width
        yield vector(
            name="pool", read_elements=self.edges * width + 3 * nodes, write_elements=3 * nodes,
            saved_elements=float(nodes), launches=4,
        )  # fmt: skip
        yield gemm(name="dense 1", m=1, n=width, k=width, bias=True)
        yield vector(name="relu", read_elements=width, write_elements=width)
        yield gemm(name="dense 2", m=1, n=1, k=width, bias=True)
        yield vector(name="absolute error", read_elements=4, write_elements=3, launches=3)


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"se3_transformer": se3_transformer}
