"""MoFlow: an invertible network that makes molecules, a flow of bonds and a flow of atoms given the bonds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from workloads.image_ops import Tensor
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, gemm, product, vector
from workloads.prediction_ops import PredictionOps
from workloads.transformer_blocks import check_sizes
from workloads.workload import Workload

#: Kernels of an activation norm (plus, times, and the logarithm of its scales), and of an affine coupling (sigmoid,
#: plus, times, log-sigmoid, sum, joining).
NORM_LAUNCHES: Final = 6
COUPLING_LAUNCHES: Final = 8


def moflow(
    *,
    atoms: int = 40,
    atom_types: int = 10,
    bond_types: int = 4,
    bond_flows: int = 10,
    bond_width: int = 512,
    fold: int = 20,
    atom_flows: int = 38,
    graph_width: int = 256,
    atom_widths: tuple[int, int] = (512, 64),
) -> Workload:
    """MoFlow [1]_ as NVIDIA trains it on ZINC250k [2]_; a sample is one molecule, padded to ``atoms`` atoms.

    Bonds are an image of ``atoms`` x ``atoms`` pixels and one channel a type, folded to 2 x 2 pixels; ten couplings of
    three 3 x 3 convolutions change one half of its channels by the other. Atoms pass 38 couplings of one graph
    convolution, with one matrix a bond type, and three dense layers. The two flows may run side by side.

    Raises
    ------
    WorkloadError
        For a size below 1, or a fold that does not divide the atoms.

    References
    ----------
    .. [1] Zang, Wang, MoFlow: An Invertible Flow Model for Generating Molecular Graphs, 2020, arXiv:2006.10137
    .. [2] NVIDIA/DeepLearningExamples PyTorch/DrugDiscovery/MoFlow @c1bf9aa8
    """
    where = "moflow"
    sizes = {"atoms": atoms, "atom_types": atom_types, "bond_types": bond_types, "bond_flows": bond_flows}
    check_sizes(where, **sizes, bond_width=bond_width, fold=fold, atom_flows=atom_flows, graph_width=graph_width)
    if atoms % fold:
        raise WorkloadError(f"{where}: fold is {fold}; it must divide {atoms} atoms.")
    bonds, nodes = bond_types * atoms**2, atoms * atom_types
    noise = (
        _copies("noise and fold", 4 * bonds + 3 * nodes, launches=6),
        _copies("unfold", bonds, launches=1),
    )
    likelihood = vector(
        name="likelihood", read_elements=8 * (bonds + nodes), write_elements=6 * (bonds + nodes),
        saved_elements=2.0 * (bonds + nodes), parameters=1, launches=30,
    )  # fmt: skip
    atom = _atom_flow(atoms, atom_types, bond_types, graph_width, atom_widths)
    return Workload(
        name=where,
        family="generative",
        sample="record",
        layers=(
            Layer(name="noise", kind="embedding", ops=noise),
            Layer(name="atom flow", kind="block", ops=atom, repeat=atom_flows),
            Layer(
                name="bond flow",
                kind="block",
                ops=_bond_flow(bond_types * fold**2, atoms // fold, bond_width),
                repeat=bond_flows,
            ),
            Layer(name="head", kind="head", ops=(likelihood,)),
        ),
        hyper={**sizes, "atom_flows": atom_flows},
        source="arXiv:2006.10137; NVIDIA/DeepLearningExamples PyTorch/DrugDiscovery/MoFlow",
    )


def _copies(name: str, elements: int, *, launches: int) -> Op:
    return vector(name=name, read_elements=elements, write_elements=elements, launches=launches)


def _activation_norm(elements: int, channels: int) -> Op:
    """A learned shift and scale a channel; it keeps the shifted input."""
    return vector(
        name="activation norm", read_elements=2 * elements, write_elements=2 * elements,
        saved_elements=float(elements), parameters=2 * channels, launches=NORM_LAUNCHES,
    )  # fmt: skip


def _coupling(changed: int, whole: int) -> Op:
    """What is changed times a sigmoid, after a shift; it keeps the shifted values, logits and gates."""
    return vector(
        name="affine coupling", read_elements=7 * changed + whole, write_elements=5 * changed + whole,
        saved_elements=3.0 * changed, launches=COUPLING_LAUNCHES,
    )  # fmt: skip


def _bond_flow(channels: int, side: int, width: int) -> tuple[Op, ...]:
    ops = PredictionOps()
    x = Tensor(channels // 2, (side, side))
    ops.ops.append(_activation_norm(2 * x.elements, channels))
    for _ in range(2):
        x = ops.relu(ops.batch_norm(ops.conv(x, width, 3, padding=1, bias=True)))
    x = ops.conv(x, channels, 3, padding=1, bias=True)
    ops.ops.append(_coupling(x.elements // 2, x.elements))
    return tuple(ops.ops)


def _atom_flow(
    atoms: int, atom_types: int, bond_types: int, graph_width: int, widths: tuple[int, int]
) -> tuple[Op, ...]:
    """Nodes are rows; batch norms have one mean and one scale a node."""
    nodes, messages = atoms * atom_types, atoms * bond_types * graph_width
    adjacency = bond_types * atoms**2
    ops = [
        _activation_norm(nodes, atoms),
        _copies("mask", nodes, launches=1),
        gemm(name="own features", m=atoms, n=graph_width, k=atom_types, bias=True),
        gemm(name="messages", m=atoms, n=bond_types * graph_width, k=atom_types, bias=True, keeps_input=False),
        _copies("arrange messages", messages + adjacency, launches=2),
        product(
            name="neighbours",
            batch=1,
            m=atoms,
            n=graph_width,
            k=bond_types * atoms,
            saved_elements=float(messages + adjacency),
        ),
        vector(name="sum", read_elements=2 * atoms * graph_width, write_elements=atoms * graph_width),
        *_normed(atoms, graph_width),
    ]
    before = graph_width
    for width in widths:
        ops += [gemm(name=f"dense {before}-{width}", m=atoms, n=width, k=before, bias=True), *_normed(atoms, width)]
        before = width
    ops += [
        gemm(name=f"dense {before}-{2 * atom_types}", m=atoms, n=2 * atom_types, k=before, bias=True),
        _coupling(nodes, nodes),
    ]
    return tuple(ops)


def _normed(atoms: int, width: int) -> tuple[Op, ...]:
    """A copy to the layout that batch norms want, batch norm over nodes, ReLU in place (kept by what reads it)."""
    elements = atoms * width
    return (
        _copies("channels last", elements, launches=1),
        vector(
            name="batch-norm", read_elements=2 * elements, write_elements=elements, saved_elements=float(elements),
            parameters=2 * atoms,
        ),
        vector(name="relu", read_elements=elements, write_elements=elements),
    )  # fmt: skip


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"moflow": moflow}
