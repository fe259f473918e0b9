"""Speech recognition: Jasper and QuartzNet (convolutions in time), DeepSpeech 2 and RNN-T (recurrent layers)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from workloads.conformer import conformer
from workloads.image_ops import ImageOps, Tensor
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, conv, embedding, gemm, vector
from workloads.recurrent import dropout, elementwise, recurrent_layer, sequence_workload
from workloads.workload import Workload

#: Letters, space, apostrophe and the blank of the CTC loss.
CHARACTERS: Final = 29
#: Frames of 10 ms of an utterance of LibriSpeech's 960 hours: 281,241 utterances of 12.3 s on average.
LIBRISPEECH_FRAMES: Final = 1232


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Like blocks of Jasper or QuartzNet: ``count`` blocks of ``filters`` channels, ``kernel`` wide, with dropout."""

    count: int
    filters: int
    kernel: int
    dropout: float = 0.0


#: Five stages of blocks (Kriman et al. 2019, arXiv:1910.10261, table 1, and Li et al. 2019, arXiv:1904.03288, table 1).
QUARTZNET: Final = tuple(
    Stage(count=3, filters=filters, kernel=kernel)
    for filters, kernel in ((256, 33), (256, 39), (512, 51), (512, 63), (512, 75))
)
JASPER: Final = tuple(
    Stage(count=2, filters=filters, kernel=kernel, dropout=rate)
    for filters, kernel, rate in ((256, 11, 0.2), (384, 13, 0.2), (512, 17, 0.2), (640, 21, 0.3), (768, 25, 0.3))
)


def _check_frames(name: str, seq_len: int, least: int) -> None:
    if seq_len < least:
        raise WorkloadError(f"{name}: seq_len is {seq_len} frames; at least {least}.")


class _TimeOps(ImageOps):
    """Convolutions in time: tensors of one row, masked beyond the end of each utterance."""

    def masked_conv(
        self, x: Tensor, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> Tensor:
        """Zeroes what lies beyond the utterance, in a copy that the convolution keeps, and convolves."""
        self.ops.append(elementwise("mask", x.elements, launches=4))
        masked = Tensor(x.channels, x.hw, is_image=x.is_image)
        return self.conv(masked, c_out, (1, kernel), stride=stride, padding=(0, kernel // 2), groups=groups, bias=bias)

    def sub_block(self, x: Tensor, c_out: int, kernel: int, *, stride: int = 1, separable: bool = False) -> Tensor:
        """A convolution, or a depth-wise and a point-wise one, and batch-norm."""
        if separable:
            x = self.masked_conv(x, x.channels, kernel, stride=stride, groups=x.channels)
            return self.batch_norm(self.masked_conv(x, c_out, 1))
        return self.batch_norm(self.masked_conv(x, c_out, kernel, stride=stride))

    def activate(self, x: Tensor, rate: float) -> Tensor:
        """ReLU, and dropout where there is any."""
        x = self.relu(x)
        return self.dropout(x) if rate else x


def _time_network(
    name: str, *, stages: tuple[Stage, ...], separable: bool, dense: bool, last: tuple[tuple[int, int], ...],
    last_dropout: float, first_kernel: int, first_dropout: float, features: int, seq_len: int, source: str,
) -> Workload:  # fmt: skip
    """Jasper and QuartzNet: five sub-blocks to a block, a residual from its input (or all blocks' inputs)."""
    _check_frames(name, seq_len, 2)
    ops = _TimeOps()
    x = Tensor(features, (1, seq_len), is_image=True)
    x = ops.activate(
        ops.sub_block(x, stages[0].filters, first_kernel, stride=2, separable=separable), first_dropout
    )  # fmt: skip
    laid, panes = [ops.layer("stem", "conv")], [x]
    for index, stage in enumerate(stages):
        for number, repeat in _alike(stage, x.channels, dense):
            ops = _TimeOps()
            x = _block(ops, panes if dense else [x], stage, separable=separable)
            panes.append(x)
            laid.append(ops.layer(f"block{index + 1}.{number}", "block", repeat=repeat))
    ops = _TimeOps()
    for position, (filters, kernel) in enumerate(last):
        # The point-wise last layer is no depth-wise one; dilation changes neither work nor size.
        x = ops.activate(
            ops.sub_block(x, filters, kernel, separable=separable and position < len(last) - 1), last_dropout
        )  # fmt: skip
    laid.append(ops.layer("epilogue", "conv"))
    ops = _TimeOps()
    x = ops.conv(x, CHARACTERS, (1, 1), bias=True)
    laid.append(Layer(name="head", kind="head", ops=(*ops.ops, *ctc_loss(x.hw[1], CHARACTERS))))
    return Workload(
        name=name, family="convnet", sample="utterance", layers=tuple(laid), tokens_per_sample=seq_len,
        hyper={"seq_len": seq_len, "features": features}, source=source,
    )  # fmt: skip


def _alike(stage: Stage, channels: int, dense: bool) -> list[tuple[int, int]]:
    """(number, repeat) of a stage's distinct blocks: all of a dense one, the first apart where channels change."""
    if dense:
        return [(number, 1) for number in range(1, stage.count + 1)]
    if channels == stage.filters:
        return [(1, stage.count)]
    return [(1, 1), (2, stage.count - 1)]


def _block(ops: _TimeOps, panes: list[Tensor], stage: Stage, *, separable: bool) -> Tensor:
    x = panes[-1]
    for _ in range(4):
        x = ops.activate(ops.sub_block(x, stage.filters, stage.kernel, separable=separable), stage.dropout)
    x = ops.sub_block(x, stage.filters, stage.kernel, separable=separable)
    for pane in panes:
        x = ops.add(x, ops.sub_block(pane, stage.filters, 1))
    return ops.activate(x, stage.dropout)


def ctc_loss(steps: int, classes: int) -> tuple[Op, ...]:
    """Log-softmax over the classes of every step and the CTC loss, which keeps its forward table."""
    elements = steps * classes
    return (
        vector(
            name="log-softmax and CTC loss",
            read_elements=3 * elements,
            write_elements=2 * elements,
            saved_elements=4.0 * elements,
            launches=8,
        ),
    )


def quartznet(*, seq_len: int = LIBRISPEECH_FRAMES) -> Workload:
    """QuartzNet 15x5, 18.9 million parameters, on ``seq_len`` frames of 64 features."""
    return _time_network(
        "quartznet-15x5", stages=QUARTZNET, separable=True, dense=False, first_kernel=33, first_dropout=0.0,
        last=((512, 87), (1024, 1)), last_dropout=0.0, features=64, seq_len=seq_len,
        source="arXiv:1910.10261; NVIDIA/DeepLearningExamples@729963dd PyTorch/SpeechRecognition/QuartzNet",
    )  # fmt: skip


def jasper(*, seq_len: int = LIBRISPEECH_FRAMES) -> Workload:
    """Jasper 10x5 with dense residuals, 333 million parameters, on ``seq_len`` frames of 64 features."""
    return _time_network(
        "jasper-10x5", stages=JASPER, separable=False, dense=True, first_kernel=11, first_dropout=0.2,
        last=((896, 29), (1024, 1)), last_dropout=0.4, features=64, seq_len=seq_len,
        source="arXiv:1904.03288; NVIDIA/DeepLearningExamples@729963dd PyTorch/SpeechRecognition/Jasper",
    )  # fmt: skip


def deepspeech2(
    *, cell: str = "gru", layers: int = 5, hidden: int = 800, seq_len: int = LIBRISPEECH_FRAMES
) -> Workload:
    """DeepSpeech 2 [1]_: two convolutions, bidirectional recurrent layers with batch-norm between, CTC [2]_.

    References
    ----------
    .. [1] Amodei et al., Deep Speech 2, 2015, arXiv:1512.02595
    .. [2] SeanNaren/deepspeech.pytorch (161 frequencies, directions summed; recalled)
    """
    _check_frames("deepspeech2", seq_len, 2)
    if layers < 2:
        raise WorkloadError(f"deepspeech2: {layers} recurrent layers; at least 2.")
    ops = ImageOps()
    x = Tensor(1, (161, seq_len), is_image=True)
    for kernel, stride in (((41, 11), (2, 2)), ((21, 11), (2, 1))):
        x = ops.relu(ops.batch_norm(_strided(ops, x, 32, kernel, stride)))
    laid = [ops.layer("convolutions", "conv")]
    steps, width = x.hw[1], x.channels * x.hw[0]
    summed = elementwise("sum of directions", steps * hidden, reads=2)

    def block(name: str, inputs: int, repeat: int, before: tuple[Op, ...]) -> Layer:
        both = recurrent_layer(
            name=f"{cell} {inputs}-{hidden}", cell=cell, steps=steps, width=inputs, hidden=hidden, backwards=True
        )  # fmt: skip
        return Layer(name=name, kind="block", ops=(*before, *both, summed), repeat=repeat)

    norm = vector(
        name="batch-norm", read_elements=2 * steps * hidden, write_elements=steps * hidden,
        saved_elements=float(steps * hidden), parameters=2 * hidden,
    )  # fmt: skip
    laid.append(block("recurrent 1", width, 1, (elementwise("transpose", steps * width),)))
    laid.append(block("recurrent above", hidden, layers - 1, (norm,)))
    head = (norm, gemm(name="characters", m=steps, n=CHARACTERS, k=hidden), *ctc_loss(steps, CHARACTERS))
    laid.append(Layer(name="head", kind="head", ops=head))
    return sequence_workload(
        f"deepspeech2-{cell}-{layers}x{hidden}", laid, tokens=seq_len, sample="utterance", source="arXiv:1512.02595",
        cell=cell, layers=layers, hidden=hidden, seq_len=seq_len,
    )  # fmt: skip


def _strided(
    ops: ImageOps, x: Tensor, c_out: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> Tensor:  # fmt: skip
    op = conv(
        name=f"conv {kernel[0]}x{kernel[1]}", in_hw=x.hw, c_in=x.channels, c_out=c_out, kernel=kernel, stride=stride,
        padding=(kernel[0] // 2, kernel[1] // 2), bias=True, input_needs_gradient=not x.is_image,
    )  # fmt: skip
    ops.ops.append(replace(op, saved_elements=x.keep()))
    return Tensor(c_out, op.out_hw)


def rnnt(
    *, seq_len: int = LIBRISPEECH_FRAMES, labels_per_frame: float = 0.04, vocab: int = 1024, fused_joint: bool = True
) -> Workload:
    """RNN-T as MLPerf trains it [1]_: encoder of 2 + 3 LSTM layers of 1024, prediction of 2 of 512, a joint network.

    Three frames are stacked into one input, and two steps after the second layer. The joint network sees every pair
    of an encoder step and a label; ``fused_joint`` writes that sum once instead of once an operation.

    References
    ----------
    .. [1] mlcommons/training rnn_speech_recognition/pytorch (configs/baseline_v3-1023sp.yaml)
    """
    _check_frames("rnnt", seq_len, 6)
    if not 0.0 < labels_per_frame <= 1.0:
        raise WorkloadError(f"rnnt: labels_per_frame is {labels_per_frame}; above 0, at most 1.")
    hidden, predicted, joint = 1024, 512, 512
    steps, half, labels = -(-seq_len // 3), -(-seq_len // 6), max(1, round(seq_len * labels_per_frame)) + 1

    def lstm(length: int, width: int, units: int) -> tuple[Op, ...]:
        ops = recurrent_layer(name=f"lstm {width}-{units}", cell="lstm", steps=length, width=width, hidden=units)
        return (*ops, dropout("dropout", length * units))

    stacked = elementwise("stack steps", half * 2 * hidden)
    pairs = half * labels
    passes = 1 if fused_joint else 3
    table = embedding(name="label embedding", rows=vocab - 1, width=predicted, tokens=labels)
    joined = (
        gemm(name="joint encoder", m=half, n=joint, k=hidden, bias=True),
        gemm(name="joint prediction", m=labels, n=joint, k=predicted, bias=True),
        vector(
            name="joint sum", read_elements=passes * pairs * joint, write_elements=passes * pairs * joint,
            saved_elements=0.5 * pairs * joint, launches=passes,
        ),
        gemm(name="joint output", m=pairs, n=vocab, k=joint, bias=True),
        vector(
            name="transducer loss", read_elements=2 * pairs * vocab, write_elements=pairs * vocab,
            saved_elements=float(pairs * vocab), launches=6,
        ),
    )  # fmt: skip
    laid = [
        Layer(name="encoder 1", kind="block", ops=lstm(steps, 240, hidden)),
        Layer(name="encoder 2", kind="block", ops=lstm(steps, hidden, hidden)),
        Layer(name="encoder 3", kind="block", ops=(stacked, *lstm(half, 2 * hidden, hidden))),
        Layer(name="encoder above", kind="block", ops=lstm(half, hidden, hidden), repeat=2),
        Layer(name="label embedding", kind="embedding", ops=(table,)),
        Layer(name="prediction", kind="block", ops=lstm(labels, predicted, predicted), repeat=2),
        Layer(name="joint", kind="head", ops=joined),
    ]
    return sequence_workload(
        "rnn-t", laid, tokens=seq_len, sample="utterance", source="mlcommons/training rnn_speech_recognition",
        hidden=hidden, vocab=vocab, seq_len=seq_len,
    )  # fmt: skip


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {
    "quartznet": quartznet,
    "jasper": jasper,
    "deepspeech2": deepspeech2,
    "rnnt": rnnt,
    "conformer": conformer,
}
