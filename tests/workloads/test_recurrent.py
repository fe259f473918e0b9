"""Recurrent layers and language models: published counts, laws, and what is refused."""

import math

import pytest

from workloads import recurrent
from workloads.catalog import ModelEntry, read_models
from workloads.op import CELLS, Op, WorkloadError
from workloads.recurrent import language_model, recurrent_layer, sparse_language_model
from workloads.workload import Workload

each_cell = pytest.mark.parametrize("cell", CELLS)


def recurrent_ops(workload: Workload) -> list[Op]:
    return [op for layer in workload.layers for op in layer.ops if op.kind == "recurrent"]


@pytest.mark.parametrize(
    ("hidden", "biases", "parameters"),
    # Zaremba et al.'s small and large models: one bias as in TensorFlow, two as in PyTorch's word_language_model.
    [(200, 1, 4_651_600), (200, 2, 4_653_200), (650, 2, 19_780_400), (1500, 1, 66_022_000), (1500, 2, 66_034_000)],
)
def test_models_of_the_penn_treebank_have_their_published_parameters(hidden: int, biases: int, parameters: int) -> None:
    assert language_model(hidden=hidden, biases=biases).parameters == parameters


@each_cell
def test_work_grows_with_steps_and_layers(cell: str) -> None:
    def flop(seq_len: int = 35, layers: int = 2) -> int:
        workload = language_model(cell=cell, hidden=64, seq_len=seq_len, layers=layers)
        return sum(
            layer.repeat * op.forward_flop for layer in workload.layers for op in layer.ops if op.kind == "recurrent"
        )

    assert flop(seq_len=70) == 2 * flop(seq_len=35)
    assert flop(layers=4) == 2 * flop(layers=2)


@each_cell
@pytest.mark.parametrize("with_dropout", [True, False])
def test_repeated_layers_equal_layers_written_out(cell: str, with_dropout: bool) -> None:
    three = language_model(cell=cell, hidden=48, layers=3, with_dropout=with_dropout)
    one, two = (language_model(cell=cell, hidden=48, layers=n, with_dropout=with_dropout) for n in (1, 2))
    assert three.parameters - two.parameters == two.parameters - one.parameters
    assert three.forward_flop - two.forward_flop == two.forward_flop - one.forward_flop


@each_cell
def test_both_directions_keep_their_input_once(cell: str) -> None:
    forward, backward = recurrent_layer(name="x", cell=cell, steps=10, width=7, hidden=5, backwards=True)
    (alone,) = recurrent_layer(name="x", cell=cell, steps=10, width=7, hidden=5)
    assert forward == alone
    assert forward.saved_elements - backward.saved_elements == 10 * 7
    assert (forward.parameters, forward.forward_flop) == (backward.parameters, backward.forward_flop)


def test_without_dropout_a_layer_keeps_no_input_that_the_one_below_has_kept() -> None:
    kept = [op.saved_elements for op in recurrent_ops(language_model(hidden=30, layers=2, with_dropout=False))]
    assert kept[0] - kept[1] == 35 * 30


@each_cell
def test_looped_cells_launch_more_than_one_kernel_a_step(cell: str) -> None:
    (looped,) = recurrent_layer(name="x", cell=cell, steps=10, width=7, hidden=5, looped=True)
    (called,) = recurrent_layer(name="x", cell=cell, steps=10, width=7, hidden=5)
    assert looped.launches == 10 * recurrent.LOOP_LAUNCHES[cell] > called.launches == 10
    assert looped.launches > 10 * CELLS[cell]


@pytest.mark.parametrize("density", [1 / 64, 0.05, 0.25, 1.0])
def test_block_sparse_work_and_weights_are_the_share_of_the_dense_ones(density: float) -> None:
    sparse = sparse_language_model(hidden=1024, density=density, block=32)
    (core,) = recurrent_ops(sparse)
    dense_weights = 4 * 1024**2
    assert core.parameters - 4 * 1024 == round(density * 32**2) * 32**2 * 4
    assert core.forward_flop == pytest.approx(2 * 256 * density * dense_weights, rel=0.02)


def test_a_fully_dense_sparse_model_is_the_dense_recurrence() -> None:
    (core,) = recurrent_ops(sparse_language_model(hidden=512, density=1.0))
    assert (core.n, core.forward_flop) == (512, 2 * 256 * 4 * 512**2)


def test_steps_within_a_step_follow_each_other() -> None:
    (one,), (three,) = (
        recurrent_ops(sparse_language_model(hidden=512, density=0.1, inner_steps=n)) for n in (1, 3)
    )  # fmt: skip
    assert (three.seq_len, three.forward_flop) == (3 * one.seq_len, 3 * one.forward_flop)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lstn"}, "Legal: vanilla, gru, lstm"),
        ({"layers": 0}, "0 layers; at least 1"),
        ({"seq_len": 0}, "seq_len is 0; at least 1"),
    ],
)
def test_impossible_language_models_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        language_model(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, "density is 0.0; above 0"),
        ({"density": math.nan}, "density is nan"),
        ({"hidden": 1000, "block": 32}, "blocks of 32 must divide 1000 units"),
    ],
)
def test_impossible_sparse_models_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        sparse_language_model(**options)  # type: ignore[arg-type]


OWN_FILES = ("recurrent", "translation", "speech", "reading", "synthesis", "reinforcement")
#: Spellings of published tables.
SPELLINGS = (
    "GNMT v2", "gnmt", "gnmt_large", "QuartzNet 15x5", "Conformer-medium", "DrQA", "BiDAF", "FastFusionNet",
    "PaddingRNN LSTM small (PTB, static)", "PaddingRNN LSTM large (PTB, static)", "RNN-T",
)  # fmt: skip


def own_entries(monkeypatch: pytest.MonkeyPatch) -> list[ModelEntry]:
    """The models of our data files, whether or not the catalogue lists their modules yet."""
    import workloads.networks as networks
    from workloads.catalog import DATA

    monkeypatch.setattr(networks, "MODULES", ("convnet", *OWN_FILES))
    networks.networks.cache_clear()
    networks.options.cache_clear()
    found = [entry for name in OWN_FILES for entry in read_models(DATA / f"{name}.toml")]
    return found


def test_every_spelling_names_one_model_and_every_model_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    import workloads.networks as networks
    from workloads.catalog import _build_network, _plain

    entries = own_entries(monkeypatch)
    names = [word for entry in entries for word in {_plain(spelling) for spelling in (entry.name, *entry.aliases)}]
    assert len(names) == len(set(names))
    assert {_plain(word) for word in SPELLINGS} <= set(names)
    for entry in entries:
        built = _build_network(entry, {"seq_len": None, "image_size": None})
        assert built.parameters > 0
        assert len(built.layers) < 60
    networks.networks.cache_clear()
    networks.options.cache_clear()
