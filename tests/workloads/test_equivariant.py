"""SE(3)-Transformer and MoFlow: PyTorch's own counts on networks written out here, laws, refusals."""

from typing import Any

import pytest

from workloads.catalog import model, resolve_model
from workloads.equivariant import frequencies, se3_transformer, sides
from workloads.moflow import moflow
from workloads.op import WorkloadError
from workloads.workload import Workload


def test_spellings_of_measured_runs_are_resolved() -> None:
    assert resolve_model("SE(3)-Transformer") == "se3-transformer"
    assert resolve_model("MoFlow") == "moflow"
    assert model("SE(3)-Transformer").sample == model("MoFlow").sample == "record"
    assert any("18 atoms" in phrase for phrase in model("SE(3)-Transformer").assumed)


def test_work_follows_edges_and_not_atoms() -> None:
    plain, dense = se3_transformer(), se3_transformer(edges=74)
    assert dense.forward_flop / plain.forward_flop == pytest.approx(2.0, rel=0.05)
    assert se3_transformer(atoms=36).forward_flop / plain.forward_flop < 1.05
    assert dense.parameters == plain.parameters


def test_fusing_all_degrees_multiplies_zeros_too() -> None:
    fused, partial = se3_transformer(), se3_transformer(fused=False)
    assert fused.forward_flop > 1.3 * partial.forward_flop
    # The matrices of an edge are the same; only their small networks are one a degree.
    assert partial.parameters - fused.parameters == 6 * 3 * (5 * 32 + 32 + 32 * 32 + 32 + 4 * 32)


def test_one_layer_more_is_one_more_repeat() -> None:
    six, seven = se3_transformer(layers=6), se3_transformer(layers=7)
    block = seven.layers[2]
    assert (six.layers[2].repeat, block.repeat) == (5, 6)
    assert seven.forward_flop - six.forward_flop == block.forward_flop
    assert len(se3_transformer(layers=1).layers) == 3


def test_molecules_of_any_batch_share_no_atoms() -> None:
    twice = moflow(atom_flows=76)
    assert twice.parameters - moflow().parameters == 38 * moflow().layers[1].parameters
    assert moflow().num_blocks == 48


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"se3_transformer: 6 heads do not divide 32 / 2 channels"):
        se3_transformer(heads=6)
    with pytest.raises(WorkloadError, match=r"se3_transformer: edges is 0; at least 1"):
        se3_transformer(edges=0)
    with pytest.raises(WorkloadError, match=r"moflow: fold is 15; it must divide 40 atoms"):
        moflow(fold=15)
    with pytest.raises(WorkloadError, match=r"moflow: atom_types is 0; at least 1"):
        moflow(atom_types=0)


torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn


def same(workload: Workload, network: Any, *inputs: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    assert counter.get_total_flops() == workload.forward_flop
    assert sum(p.numel() for p in network.parameters()) == workload.parameters


class Radial(nn.Module):  # type: ignore[misc,name-defined]
    """Edge matrices times features that are multiplied by a basis of random numbers."""

    def __init__(self, inputs: int, freq: int, c_in: int, c_out: int) -> None:
        super().__init__()
        hidden = [nn.Linear(inputs, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU()]
        self.net = nn.Sequential(*hidden, nn.Linear(32, freq * c_in * c_out, False))
        self.freq, self.c_in, self.c_out = freq, c_in, c_out

    def forward(self, features: Any, lengths: Any, out_side: int) -> Any:
        edges, _, side = features.shape
        weights = self.net(lengths).view(edges, self.c_out, self.c_in * self.freq)
        if side * out_side > 1:
            features = features @ features.new_empty(edges, side, self.freq * out_side)
        return weights @ features.reshape(edges, self.c_in * self.freq, out_side)


class Se3(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, layers: int, degrees: int, channels: int, node: int, edge: int, fused: bool) -> None:
        super().__init__()
        d, half = range(degrees), channels // 2
        self.d, self.half, self.channels, self.total = d, half, channels, sum(sides(i) for i in d)
        inputs = edge + 1
        self.first = nn.ModuleList([Radial(inputs, 1, node, half if i else 2 * half) for i in d])

        def rest() -> Any:
            if fused:
                return nn.ModuleList([Radial(inputs, sum(frequencies(a, b) for a in d for b in d), channels, channels)])
            return nn.ModuleList([Radial(inputs, sum(frequencies(a, b) for a in d), channels, channels) for b in d])

        self.rest = nn.ModuleList([rest() for _ in range(layers - 1)])

        def square(out: int, width: int) -> Any:
            return nn.Linear(width, out, False)

        self.queries = nn.ModuleList(
            [
                nn.ModuleList([square(half, node)]),
                *(nn.ModuleList([square(half, channels) for _ in d]) for _ in self.rest),
            ]
        )
        widths = [[half + (0 if i else node) for i in d], *([half + channels for _ in d] for _ in self.rest)]
        self.project = nn.ModuleList([nn.ModuleList([square(channels, w) for w in row]) for row in widths])
        self.norms = nn.ModuleList([nn.GroupNorm(degrees, degrees * channels) for _ in range(layers)])
        out = degrees * channels
        self.last, self.own = Radial(inputs, degrees, channels, out), square(out, channels)
        self.mlp = nn.Sequential(nn.Linear(out, out), nn.ReLU(), nn.Linear(out, 1))

    def forward(self, nodes: Any, lengths: Any, atoms: int) -> Any:
        edges = lengths.shape[0]
        for i, conv in zip(self.d, self.first, strict=True):
            conv(nodes.new_empty(edges, nodes.shape[1], 1), lengths, sides(i))
        for convs in self.rest:
            gathered = nodes.new_empty(edges, self.channels, self.total)
            for i, conv in enumerate(convs):
                conv(gathered, lengths, self.total if len(convs) == 1 else sides(i))
        for queries, projects in zip(self.queries, self.project, strict=True):
            for i, query in enumerate(queries):
                query(nodes.new_empty(atoms * sides(i), query.in_features))
            for i, project in enumerate(projects):
                project(nodes.new_empty(atoms * sides(i), project.in_features))
        self.last(nodes.new_empty(edges, self.channels, self.total), lengths, 1)
        self.own(nodes.new_empty(atoms, self.channels))
        return self.mlp(nodes.new_empty(1, len(self.d) * self.channels))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("degrees", [2, 4])
def test_an_se3_transformer_is_pytorchs(fused: bool, degrees: int) -> None:
    workload = se3_transformer(degrees=degrees, fused=fused, layers=3, atoms=7, edges=11)
    with torch.device("meta"):
        same(workload, Se3(3, degrees, 32, 6, 4, fused), torch.empty(7, 6, 1), torch.empty(11, 5), 7)


class ActNorm(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.empty(channels)), nn.Parameter(torch.empty(channels))


class Flows(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, bonds: int, atoms: int) -> None:
        super().__init__()

        def bond() -> Any:
            convs = [nn.Conv2d(800, 512, 3, padding=1), nn.BatchNorm2d(512), nn.ReLU()]
            convs += [nn.Conv2d(512, 512, 3, padding=1), nn.BatchNorm2d(512), nn.ReLU()]
            return nn.ModuleList([nn.Sequential(*convs, nn.Conv2d(512, 1600, 3, padding=1)), ActNorm(1600)])

        def atom() -> Any:
            parts: list[Any] = [ActNorm(40), nn.Linear(10, 256), nn.Linear(10, 1024), nn.BatchNorm2d(40)]
            dense = [nn.Linear(256, 512), nn.BatchNorm2d(40), nn.Linear(512, 64), nn.BatchNorm2d(40), nn.Linear(64, 20)]
            return nn.ModuleList([*parts, nn.Sequential(*dense)])

        self.bonds = nn.ModuleList([bond() for _ in range(bonds)])
        self.atoms = nn.ModuleList([atom() for _ in range(atoms)])
        self.variance = nn.Parameter(torch.empty(1))

    def forward(self, adjacency: Any, x: Any) -> None:
        for convs, _ in self.bonds:
            convs(adjacency.reshape(1, 1600, 2, 2)[:, :800])
        for _, own, edge, norm, dense in self.atoms:
            messages = edge(x).view(1, 40, 256, 4)
            h = own(x) + torch.einsum("bemn,bnce->bmc", adjacency, messages)
            dense(norm(h.unsqueeze(2)))


def test_moflow_is_pytorchs() -> None:
    with torch.device("meta"):
        same(moflow(bond_flows=3, atom_flows=2), Flows(3, 2), torch.empty(1, 4, 40, 40), torch.empty(1, 40, 10))


def test_moflow_has_the_parameters_of_its_layers() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Flows(10, 38).parameters()) == moflow().parameters == 141_108_089
