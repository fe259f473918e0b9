"""Recommenders against published sizes, against PyTorch's own counter, and under the laws of their tables."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from workloads import dlrm, interest, recommender
from workloads.catalog import model, resolve_model
from workloads.op import WorkloadError
from workloads.workload import Workload

ROWS, WIDTHS = (300, 200, 50), (16, 16, 8)


def small_wide_and_deep(**options: Any) -> Workload:
    return recommender.wide_and_deep(rows=ROWS, widths=WIDTHS, numerical=5, deep=(32, 24), **options)


NETWORKS: list[Callable[..., Workload]] = [
    recommender.neumf, dlrm.dlrm, lambda: dlrm.dlrm(interaction="cross"), small_wide_and_deep, recommender.vae_cf,
    interest.sim,
]  # fmt: skip


def ops_of(workload: Workload) -> list[Any]:
    return [op for layer in workload.layers for op in layer.ops]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_sample_is_a_record(network: Callable[..., Workload]) -> None:
    workload = network()
    assert (workload.family, workload.sample, workload.tokens_per_sample) == ("recommender", "record", 1)
    assert workload.layers[0].kind == "embedding"
    assert workload.layers[-1].kind == "head"


def test_neumf_has_the_published_parameters() -> None:
    # Printed by the reference on MovieLens-20M: 138,493 users and 26,744 items, 64 factors, layers 256-256-128-64.
    assert recommender.neumf().parameters == 31_832_577


@pytest.mark.parametrize(("tables", "billion"), [("t15", 4.2), ("t3", 22.8), ("t0", 113.0)])
@pytest.mark.parametrize("interaction", dlrm.INTERACTIONS)
def test_dlrm_has_the_published_billions(tables: str, billion: float, interaction: str) -> None:
    # NVIDIA/DeepLearningExamples, DLRM_and_DCNv2/doc: "Number of model parameters".
    count = dlrm.dlrm(tables=tables, interaction=interaction).parameters
    assert abs(count / 1e9 - billion) < 0.05


@pytest.mark.parametrize("tables", dlrm.CRITEO)
def test_dlrm_dense_part_does_not_depend_on_the_tables(tables: str) -> None:
    def dense(workload: Workload) -> int:
        return workload.parameters - sum(int(op.parameters) for op in ops_of(workload) if op.kind == "embedding")

    assert len(dlrm.CRITEO[tables]) == len(dlrm.MULTI_HOT) == 26
    assert dense(dlrm.dlrm(tables=tables)) == dense(dlrm.dlrm())
    assert dlrm.dlrm(tables=tables).forward_flop == dlrm.dlrm().forward_flop


def test_multi_hot_tables_read_more_rows_and_send_the_same() -> None:
    one, many = (ops_of(dlrm.dlrm(tables=tables))[0] for tables in ("mlperf", "mlperf-multi-hot"))
    assert (one.m, many.m) == (26, 214)
    assert many.read_elements == 214 * 128
    assert one.exchanged_elements == many.exchanged_elements == 26 * 128 == many.write_elements


def test_dlrm_spreads_its_tables_and_nothing_else() -> None:
    workload = dlrm.dlrm()
    spread = [op for op in ops_of(workload) if op.is_spread]
    assert [op.split for op in spread] == ["table"]
    assert sum(layer.spread_parameters for layer in workload.layers) == sum(dlrm.CRITEO["t15"]) * 128


def test_what_is_updated_whole_is_copied() -> None:
    for network in (recommender.neumf, recommender.vae_cf, interest.sim, small_wide_and_deep):
        assert not any(op.is_spread or op.exchanged_elements for op in ops_of(network()))
    host = [op for op in ops_of(small_wide_and_deep(spread=True)) if op.is_spread]
    assert [op.exchanged_elements for op in host] == [16, 16, 8, 1, 1, 1]


def test_a_user_of_the_auto_encoder_costs_what_all_items_cost() -> None:
    one, two = recommender.vae_cf(), recommender.vae_cf(items=2 * 20_112)
    assert two.forward_flop - one.forward_flop == 2 * 600 * 20_112
    # Paper: 20,108 items, rounded to 20,112; the encoder's first matrix and bias, two dense layers, the decoder.
    assert one.parameters == 20_112 * 600 + 600 + 600 * 400 + 400 + 200 * 600 + 600 + 600 * 20_112 + 20_112


def test_tables_of_shared_features_are_looked_up_once_a_feature() -> None:
    apart = recommender.wide_and_deep(rows=(50,) * 3, widths=(8,) * 3, deep=(4,))
    shared = recommender.wide_and_deep(rows=(50,), widths=(8,), shared_by=3, deep=(4,))
    assert shared.forward_flop == apart.forward_flop
    assert sum(op.m for op in ops_of(shared)) == sum(op.m for op in ops_of(apart))
    assert apart.parameters - shared.parameters == 2 * 50 * (8 + 1)


def test_a_longer_history_costs_look_ups_not_products() -> None:
    one, two = interest.sim(), interest.sim(long_history=180)
    assert two.forward_flop == one.forward_flop
    assert ops_of(two)[1].m - ops_of(one)[1].m == 90


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (recommender.neumf, {"users": 0}, r"neumf: users is 0; whole numbers of at least 1"),
        (recommender.neumf, {"layers": (255, 128)}, r"layers\[0\] is 255.*must be even"),
        (recommender.neumf, {"layers": ()}, r"layers is empty"),
        (dlrm.dlrm, {"tables": "t7"}, r"tables is 't7'. Legal: t15, t3, t0"),
        (dlrm.dlrm, {"interaction": "sum"}, r"interaction is 'sum'. Legal: dot, cross"),
        (dlrm.dlrm, {"width": 64}, r"bottom ends in 128, but a row of the tables is 64 wide"),
        (dlrm.dlrm, {"top": (64, -1)}, r"top is -1"),
        (recommender.wide_and_deep, {"rows": (3, 4), "widths": (8,)}, r"2 rows but 1 widths"),
        (recommender.wide_and_deep, {"rows": (3,), "widths": (8,), "numerical": -1}, r"numerical is -1"),
        (recommender.vae_cf, {"items": 0.5}, r"items is 0.5"),
        (interest.sim, {"short_history": 1}, r"positions is 0"),
    ],
)
def test_impossible_sizes_are_refused(network: Callable[..., Workload], options: Any, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        network(**options)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("NCF (NeuMF)", "ncf"), ("DLRM", "dlrm"), ("DCNv2", "dcnv2"), ("Wide & Deep", "wide-and-deep"),
        ("Wide & Deep (data parallel)", "wide-and-deep-criteo"),
        ("Wide & Deep (host-device model parallel)", "wide-and-deep-criteo-host"), ("VAE-CF", "vae-cf"), ("SIM", "sim"),
    ],
)  # fmt: skip
def test_spellings_of_measured_runs_are_found(spelling: str, name: str) -> None:
    assert resolve_model(spelling) == name
    assert model(spelling).sample == "record"


def test_a_record_has_neither_length_nor_picture() -> None:
    for size in ({"seq_len": 8}, {"image_size": 8}):
        with pytest.raises(WorkloadError, match="does not take"):
            model("dlrm", **size)


# --- against PyTorch ---------------------------------------------------------------------------------------------

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn


def counted(network: Any, *example: Any) -> tuple[int, int]:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*example)
    return int(counter.get_total_flops()), sum(p.numel() for p in network.parameters())


def chain(*sizes: int, activation: Callable[..., Any] = nn.ReLU, last: bool = False) -> Any:
    layers: list[Any] = []
    for k, n in pairwise(sizes):
        layers += [nn.Linear(k, n), activation()]
    return nn.Sequential(*layers) if last else nn.Sequential(*layers[:-1])


class NeuMF(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(r, w) for w in (8, 16) for r in (users, items)])
        self.mlp = chain(32, 24, 8, last=True)
        self.score = nn.Linear(8 + 8, 1)

    def forward(self, user: Any, item: Any) -> Any:
        f_user, f_item, m_user, m_item = (t(i) for t, i in zip(self.tables, (user, item, user, item), strict=True))
        return self.score(torch.cat([f_user * f_item, self.mlp(torch.cat([m_user, m_item], 1))], 1))


class Dlrm(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, rows: int, joint: int, numerical: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, 128)
        self.bottom, self.top = chain(numerical, 512, 256, 128, last=True), chain(joint, 1024, 1024, 512, 256, 1)
        self.joint = joint

    def forward(self, ids: Any, numbers: Any) -> Any:
        low = self.bottom(numbers)
        x = torch.cat([low[:, None], self.table(ids)], 1)
        dots = torch.bmm(x, x.transpose(1, 2)).reshape(len(ids), -1)
        return self.top(nn.functional.pad(torch.cat([low, dots[:, :351]], 1), (0, self.joint - 479)))


class Cross(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, 128)
        self.bottom, self.top = chain(13, 512, 256, 128, last=True), chain(27 * 128, 1024, 1024, 512, 256, 1)
        self.down = nn.ModuleList([nn.Linear(27 * 128, 512, bias=False) for _ in range(3)])
        self.up = nn.ModuleList([nn.Linear(512, 27 * 128) for _ in range(3)])

    def forward(self, ids: Any, numbers: Any) -> Any:
        x = first = torch.cat([self.bottom(numbers), self.table(ids).flatten(1)], 1)
        for down, up in zip(self.down, self.up, strict=True):
            x = first * up(down(x)) + x
        return self.top(x)


class WideDeep(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.ModuleList([nn.Embedding(r, w) for r, w in zip(ROWS, WIDTHS, strict=True)])
        self.wide = nn.ModuleList([nn.Embedding(r, 1) for r in ROWS])
        self.numbers, self.tower = nn.Linear(5, 1), chain(sum(WIDTHS) + 5, 32, 24, 1)

    def forward(self, ids: Any, numbers: Any) -> Any:
        wide = sum(table(ids[:, i]) for i, table in enumerate(self.wide)) + self.numbers(numbers)
        return wide + self.tower(torch.cat([*(t(ids[:, i]) for i, t in enumerate(self.deep)), numbers], 1))


class Sim(nn.Module):  # type: ignore[misc,name-defined]
    """Products and parameters of the search-based interest model, cells written out."""

    def __init__(self, users: int, items: int, categories: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(rows + 1, 16) for rows in (users, items, categories)])
        self.one, self.two, self.aux = self.mlp(80, 200), self.mlp(208, 200, 80), chain(128, 100, 50, 1)
        self.item, self.item_act, self.unit = nn.Linear(32, 96), nn.PReLU(96), chain(384, 80, 40, 1)
        self.gru_x, self.gru_h = nn.Linear(32, 288), nn.Linear(96, 288)
        self.gates, self.candidate = nn.Linear(192, 192), nn.Linear(192, 96)

    @staticmethod
    def mlp(*sizes: int) -> Any:
        layers = [layer for k, n in pairwise(sizes) for layer in (nn.Linear(k, n), nn.PReLU(n))]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, target: Any, history: Any) -> Any:
        user = target[:, :16]
        scores = self.one(torch.cat([target, target, user], 1))
        state, states = target.new_zeros(len(target), 96), []
        for step in range(10):
            x, h = self.gru_x(history[:, step]).chunk(3, 1), self.gru_h(state).chunk(3, 1)
            reset, update = torch.sigmoid(x[0] + h[0]), torch.sigmoid(x[1] + h[1])
            state = update * state + (1 - update) * torch.tanh(x[2] + reset * h[2])
            states.append(state)
        seen = torch.stack(states, 1)
        item = self.item_act(self.item(target))[:, None].expand_as(seen)
        weights = torch.softmax(self.unit(torch.cat([item, seen, item - seen, item * seen], 2)), 1)
        final = target.new_zeros(len(target), 96)
        for step in range(10):
            reset, update = torch.sigmoid(self.gates(torch.cat([seen[:, step], final], 1))).chunk(2, 1)
            new = torch.tanh(self.candidate(torch.cat([seen[:, step], reset * final], 1)))
            update = update * (1 - weights[:, step])
            final = update * final + (1 - update) * new
        for _ in range(2):
            self.aux(torch.cat([seen[:, :-1], history[:, 1:]], 2))
        return scores, self.two(torch.cat([target, target, target, final, user], 1))


TOTALS = [
    ("neumf", recommender.neumf(users=70, items=40, factors=8, layers=(32, 24, 8)), lambda: NeuMF(70, 40), "ids"),
    ("dlrm", dlrm.dlrm(multiple=1), lambda: Dlrm(sum(dlrm.CRITEO["t15"]), 479, 13), "dlrm"),
    ("dlrm padded", dlrm.dlrm(), lambda: Dlrm(sum(dlrm.CRITEO["t15"]), 480, 16), "dlrm16"),
    ("dcnv2", dlrm.dlrm(interaction="cross", multiple=1), lambda: Cross(sum(dlrm.CRITEO["t15"])), "dlrm"),
    ("wide and deep", small_wide_and_deep(), WideDeep, "wide"),
    ("sim", interest.sim(users=90, items=80, categories=7), lambda: Sim(90, 80, 7), "sim"),
]


@pytest.mark.parametrize(("name", "workload", "build", "inputs"), TOTALS, ids=[total[0] for total in TOTALS])
def test_torch_counts_the_same(name: str, workload: Workload, build: Callable[[], Any], inputs: str) -> None:
    with torch.device("meta"):
        examples = {
            "ids": lambda: (torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)),
            "dlrm": lambda: (torch.zeros(1, 26, dtype=torch.long), torch.zeros(1, 13)),
            "dlrm16": lambda: (torch.zeros(1, 26, dtype=torch.long), torch.zeros(1, 16)),
            "wide": lambda: (torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 5)),
            "sim": lambda: (torch.zeros(1, 32), torch.zeros(1, 10, 32)),
        }
        assert counted(build(), *examples[inputs]()) == (workload.forward_flop, workload.parameters)
