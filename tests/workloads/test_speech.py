"""Speech recognition and synthesis: published parameter counts, laws, and what is refused."""

from collections.abc import Callable

import pytest

from workloads import conformer, speech, synthesis
from workloads.op import WorkloadError
from workloads.workload import Workload

NETWORKS: list[tuple[Callable[..., Workload], dict[str, object], int]] = [
    # Printed by NVIDIA's programs (recalled); the papers say 18.9 and 333 million.
    (speech.quartznet, {}, 18_924_381),
    (speech.jasper, {}, 332_632_349),
    # NVIDIA/tacotron2 and NVIDIA/waveglow (recalled; 28.2 and 87.9 million).
    (synthesis.tacotron2, {}, 28_193_153),
    (synthesis.waveglow, {"channels": 256}, 87_879_272),
]
IN_TIME = (speech.quartznet, speech.jasper, speech.deepspeech2)


@pytest.mark.parametrize(("network", "options", "parameters"), NETWORKS)
def test_parameter_counts_are_the_published_ones(
    network: Callable[..., Workload], options: dict[str, object], parameters: int
) -> None:
    assert network(**options).parameters == parameters


def test_mlperfs_rnnt_has_about_49_million_parameters() -> None:
    assert round(speech.rnnt().parameters / 1e6) == 49


@pytest.mark.parametrize("network", IN_TIME)
def test_work_grows_with_the_utterance(network: Callable[..., Workload]) -> None:
    short, long = network(seq_len=400), network(seq_len=800)
    assert long.forward_flop == 2 * short.forward_flop
    assert long.parameters == short.parameters
    assert (short.tokens_per_sample, long.tokens_per_sample) == (400, 800)


def test_the_joint_network_grows_with_steps_times_labels() -> None:
    def joint(seq_len: int) -> int:
        return sum(op.forward_flop for op in speech.rnnt(seq_len=seq_len).layers[-1].ops if op.name == "joint output")

    # 600 frames are 100 steps and 25 labels, 1,200 are 200 and 49: a label for the start.
    assert joint(600) == 2 * 100 * 25 * 512 * 1024
    assert joint(1200) == 2 * 200 * 49 * 512 * 1024


def test_every_block_of_jasper_reads_all_blocks_before_it() -> None:
    blocks = [layer for layer in speech.jasper().layers if layer.kind == "block"]
    adds = [sum(op.name == "add" for op in layer.ops) for layer in blocks]
    assert adds == list(range(1, 11))


def test_like_blocks_of_quartznet_are_one_layer() -> None:
    blocks = [layer.repeat for layer in speech.quartznet().layers if layer.kind == "block"]
    assert sum(blocks) == 15
    assert blocks == [3, 3, 1, 2, 3, 3]


def test_depthwise_convolutions_have_a_group_a_channel() -> None:
    convs = [op for layer in speech.quartznet().layers for op in layer.ops if op.kind == "conv" and op.batch > 1]
    assert convs
    assert all(op.batch == op.c_in == op.c_out for op in convs)


def test_conformer_attends_over_a_quarter_of_the_frames() -> None:
    workload = conformer.conformer()
    own, other = (op for layer in workload.layers if layer.name == "decoder" for op in layer.ops if op.heads)
    assert (own.seq_len, own.context, own.causal) == (48, 48, True)
    assert (other.seq_len, other.context, other.causal) == (48, 304, False)


def test_tacotrons_decoder_launches_for_every_frame() -> None:
    def launches(seq_len: int) -> int:
        decoder = next(layer for layer in synthesis.tacotron2(seq_len=seq_len).layers if layer.name == "decoder")
        return sum(op.launches for op in decoder.ops if op.launches >= seq_len)

    assert launches(800) == 2 * launches(400) == 800 * (synthesis.DECODER_LAUNCHES + 2 * synthesis.CELL_LAUNCHES)


def test_tacotron_counts_frames_without_padding() -> None:
    assert synthesis.tacotron2(seq_len=1000, counted_share=0.5).tokens_per_sample == 500


def test_waveglow_gives_channels_away_as_it_goes() -> None:
    flows = [layer for layer in synthesis.waveglow().layers if layer.kind == "block"]
    assert [(layer.name, layer.repeat) for layer in flows] == [("flows of 8", 4), ("flows of 6", 4), ("flows of 4", 4)]
    assert synthesis.waveglow(seq_len=16000).parameters == synthesis.waveglow().parameters


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (speech.quartznet, {"seq_len": 1}, "quartznet-15x5: seq_len is 1 frames; at least 2"),
        (speech.deepspeech2, {"layers": 1}, "1 recurrent layers; at least 2"),
        (speech.deepspeech2, {"cell": "lsm"}, "Legal: vanilla, gru, lstm"),
        (speech.rnnt, {"seq_len": 3}, "seq_len is 3 frames; at least 6"),
        (speech.rnnt, {"labels_per_frame": 0.0}, "labels_per_frame is 0.0"),
        (conformer.conformer, {"heads": 3}, "3 heads must divide 256"),
        (conformer.conformer, {"kernel": 14}, "kernel of 14 must be odd"),
        (conformer.conformer, {"seq_len": 6}, "6 frames"),
        (synthesis.tacotron2, {"text_len": 0}, "0 symbols"),
        (synthesis.waveglow, {"seq_len": 4001}, "seq_len is 4001; at least 256 and a multiple of 8"),
        (synthesis.waveglow, {"flows": 17}, "leave none"),
    ],
)
def test_impossible_sizes_are_refused(
    network: Callable[..., Workload], options: dict[str, object], message: str
) -> None:
    with pytest.raises(WorkloadError, match=message):
        network(**options)
