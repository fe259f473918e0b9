"""GNMT against published parameter counts, and laws over its depth and lengths."""

import pytest

from workloads.op import WorkloadError
from workloads.translation import additive_attention, gnmt

#: Bytes of fp32 parameters by node in the profiles of msr-fiddle/pipedream@7db6a1c3: table, LSTM in two directions (the
#: profile prints both), LSTM of 2048 inputs and of 1024, LSTM with attention, classifier.
TABLE, BOTH, WIDE, SQUARE, ATTENTION, CLASSIFIER = 132382720, 67174400, 50364416, 33587200, 41979904, 132512000


@pytest.mark.parametrize(("layers", "squares"), [(4, 2), (8, 6)])
def test_parameters_are_those_of_the_pipedream_profiles(layers: int, squares: int) -> None:
    workload = gnmt(layers=layers, shared_embedding=False, normalized_attention=False)
    profile = 2 * TABLE + BOTH + layers * WIDE + squares * SQUARE + ATTENTION + CLASSIFIER
    assert 4 * workload.parameters == profile


def test_parameters_are_those_of_the_mlperf_reference() -> None:
    # NVIDIA/apex lists the tensors of "MLPerf GNMT" and their sum.
    assert gnmt().parameters == 160_671_297


def test_tensorflows_cells_have_one_bias() -> None:
    # Nine LSTMs of 1024 units, the first in two directions.
    assert gnmt().parameters - gnmt(biases=1).parameters == 9 * 4 * 1024


def test_depth_adds_like_layers() -> None:
    four, five, six = (gnmt(layers=n) for n in (4, 5, 6))
    assert six.parameters - five.parameters == five.parameters - four.parameters
    assert six.forward_flop - five.forward_flop == five.forward_flop - four.forward_flop
    assert [len(w.layers) for w in (four, six)] == [8, 8]


def test_rates_count_words_of_both_sides_without_padding() -> None:
    assert gnmt(seq_len=30, counted_share=0.8).tokens_per_sample == 48
    assert gnmt(seq_len=50, counted_share=1.0).tokens_per_sample == 100


def test_attention_grows_with_the_product_of_the_lengths_the_rest_with_their_sum() -> None:
    def pairs(seq_len: int) -> int:
        decoder = next(layer for layer in gnmt(seq_len=seq_len).layers if layer.name == "decoder 1")
        return sum(op.forward_flop for op in decoder.ops if op.name == "weighted sum")

    assert pairs(40) == 4 * pairs(20)
    assert gnmt(seq_len=40).forward_flop - pairs(40) == 2 * (gnmt(seq_len=20).forward_flop - pairs(20))


def test_additive_attention_keeps_one_number_for_each_pair_and_unit() -> None:
    ops = additive_attention(queries=7, keys=11, width=13, units=13, normalized=True)
    scores = next(op for op in ops if op.name == "additive scores")
    assert scores.saved_elements == 7 * 11 * 13
    assert scores.parameters == 2 * 13 + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 1}, "1 layers and 30 steps; at least 2"),
        ({"seq_len": 1}, "1 steps; at least 2"),
        ({"counted_share": 0.0}, "counted_share is 0.0; above 0"),
        ({"counted_share": 1.2}, "counted_share is 1.2"),
    ],
)
def test_impossible_sizes_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        gnmt(**options)  # type: ignore[arg-type]
