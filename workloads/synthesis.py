"""Speech synthesis: Tacotron 2 (text to spectrogram, a decoder that runs step by step) and WaveGlow (to sound)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from workloads.image_ops import ImageOps, Tensor
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, conv, embedding, gemm, product, transposed, vector
from workloads.recurrent import dropout, elementwise, recurrent_layer, sequence_workload
from workloads.workload import Workload

#: Bands of a mel spectrogram, and sound samples from one frame to the next.
MEL_BANDS: Final = 80
HOP: Final = 256
#: Kernels of one decoder step of Tacotron 2 besides its two cells' (concatenations, dropouts, attention, projections).
DECODER_LAUNCHES: Final = 24
#: Kernels of one LSTM cell: two products and one fused point-wise kernel.
CELL_LAUNCHES: Final = 3


def tacotron2(*, symbols: int = 148, seq_len: int = 830, text_len: int = 160, counted_share: float = 0.68) -> Workload:
    """Tacotron 2 [1]_ as NVIDIA trains it [2]_: ``text_len`` symbols to ``seq_len`` frames, both as padded.

    Rates count frames without padding, a share ``counted_share`` (clips of LJSpeech: 566 frames on average; lengths
    of padded batches recalled). The decoder is a loop of the framework: two LSTM cells and location-sensitive attention
    a step. Its products on all steps are counted together.

    References
    ----------
    .. [1] Shen et al., Natural TTS Synthesis by Conditioning WaveNet on Mel Spectrogram Predictions, 2017,
       arXiv:1712.05884
    .. [2] NVIDIA/DeepLearningExamples@729963dd PyTorch/SpeechSynthesis/Tacotron2
    """
    if seq_len < 1 or text_len < 1 or not 0.0 < counted_share <= 1.0:
        raise WorkloadError(
            f"tacotron2: {seq_len} frames, {text_len} symbols, counted_share {counted_share}; at least 1, 1, and above "
            "0 up to 1."
        )
    width, half = 512, 256
    ops = ImageOps()
    x = Tensor(width, (1, text_len))
    x = ops.dropout(ops.relu(ops.batch_norm(_same(ops, x, width, 5))))
    both = recurrent_layer(name="lstm 512-256", cell="lstm", steps=text_len, width=width, hidden=half, backwards=True)
    table = embedding(name="symbols", rows=symbols, width=width, tokens=text_len, split="none")
    laid = [
        Layer(name="embedding", kind="embedding", ops=(table,)),
        ops.layer("encoder convolutions", "block", repeat=3),
        Layer(name="encoder", kind="block", ops=both),
        Layer(name="decoder", kind="block", ops=_decoder(seq_len, text_len, width)),
    ]
    ops = ImageOps()
    y = _tanh(ops, ops.batch_norm(_same(ops, Tensor(MEL_BANDS, (1, seq_len)), width, 5)))
    laid.append(ops.layer("postnet 1", "conv"))
    ops = ImageOps()
    y = _tanh(ops, ops.batch_norm(_same(ops, y, width, 5)))
    laid.append(ops.layer("postnet middle", "block", repeat=3))
    ops = ImageOps()
    y = ops.dropout(ops.batch_norm(_same(ops, y, MEL_BANDS, 5)))
    loss = elementwise("residual and squared errors", y.elements, reads=4, saved=2.0, launches=8)
    laid.append(Layer(name="head", kind="head", ops=(*ops.ops, loss)))
    return sequence_workload(
        "tacotron2", laid, tokens=max(1, round(seq_len * counted_share)), sample="utterance",
        source="arXiv:1712.05884; NVIDIA/DeepLearningExamples@729963dd", hidden=1024, vocab=symbols, seq_len=seq_len,
    )  # fmt: skip


def _same(ops: ImageOps, x: Tensor, c_out: int, kernel: int) -> Tensor:
    return ops.conv(x, c_out, (1, kernel), padding=(0, kernel // 2), bias=True)


def _tanh(ops: ImageOps, x: Tensor) -> Tensor:
    """Tanh, which keeps its output, and dropout."""
    ops.ops.append(elementwise("tanh", x.elements, saved=1.0))
    return ops.dropout(Tensor(x.channels, x.hw, kept=True))


def _decoder(steps: int, text: int, width: int) -> tuple[Op, ...]:
    units, attended, prenet, filters, window = 1024, 128, 256, 32, 31
    pairs = steps * text

    def cell(name: str, inputs: int) -> Op:
        (op,) = recurrent_layer(name=name, cell="lstm", steps=steps, width=inputs, hidden=units)
        return replace(op, launches=steps * CELL_LAUNCHES)

    located = product(name="location filters", batch=steps, m=text, n=filters, k=2 * window, saved_elements=2.0 * pairs)
    return (
        gemm(name="prenet 1", m=steps, n=prenet, k=MEL_BANDS),
        elementwise("relu and dropout", steps * prenet, saved=1.5, launches=2),
        gemm(name="prenet 2", m=steps, n=prenet, k=prenet, keeps_input=False),
        elementwise("relu and dropout", steps * prenet, saved=1.5, launches=2),
        gemm(name="memory", m=text, n=attended, k=width),
        cell("attention cell", prenet + width),
        dropout("dropout", steps * units),
        gemm(name="query", m=steps, n=attended, k=units),
        replace(located, parameters=2 * window * filters),
        gemm(name="location", m=pairs, n=attended, k=filters),
        vector(
            name="energies", read_elements=3 * pairs * attended, write_elements=3 * pairs * attended,
            saved_elements=float(pairs * attended), launches=1,
        ),
        gemm(name="energy", m=pairs, n=1, k=attended, keeps_input=False),
        elementwise("masked softmax", pairs, saved=1.0),
        product(name="context", batch=steps, m=1, n=width, k=text, saved_elements=0.0),
        cell("decoder cell", units + width),
        dropout("dropout", steps * units),
        # What a step launches besides its cells: its tensors are small, its host's time is not.
        elementwise("decoder steps", steps * (units + width), reads=2, saved=1.0, launches=steps * DECODER_LAUNCHES),
        gemm(name="frame", m=steps, n=MEL_BANDS, k=units + width, bias=True, keeps_input=False),
        gemm(name="stop", m=steps, n=1, k=units + width, bias=True, keeps_input=False),
    )  # fmt: skip


def waveglow(
    *, channels: int = 512, layers: int = 8, flows: int = 12, group: int = 8, early_every: int = 4, early_size: int = 2,
    seq_len: int = 4000,
) -> Workload:  # fmt: skip
    """WaveGlow [1]_ on a segment of ``seq_len`` sound samples: ``flows`` couplings, each a WaveNet of ``layers`` [2]_.

    A 256-channel network of 8 layers has 87,879,272 parameters, weight normalisation included. Left out: the
    determinants, the inverse.

    References
    ----------
    .. [1] Prenger, Valle, Catanzaro, WaveGlow, 2018, arXiv:1811.00002
    .. [2] NVIDIA/DeepLearningExamples@729963dd PyTorch/SpeechSynthesis/Tacotron2/waveglow
    """
    if seq_len < HOP or seq_len % group:
        raise WorkloadError(f"waveglow: seq_len is {seq_len}; at least {HOP} and a multiple of {group}.")
    stages = -(-flows // early_every)
    if min(layers, flows, early_every) < 1 or group - (stages - 1) * early_size < 2:
        raise WorkloadError(
            f"waveglow: {flows} flows that give {early_size} of {group} channels away every {early_every} leave none; "
            "fewer flows or a larger group."
        )
    frames, columns = -(-seq_len // HOP), seq_len // group
    spread = conv(
        name="upsampling", in_hw=(1, (frames - 1) * HOP + 1024), c_in=MEL_BANDS, c_out=MEL_BANDS, kernel=(1, 1024),
        stride=(1, HOP),
    )  # fmt: skip
    mel = columns * MEL_BANDS * group
    stem = (transposed(spread, name="upsampling", bias=True), elementwise("fold", mel, saved=1.0, launches=3))
    laid = [Layer(name="upsampling", kind="conv", ops=stem)]
    for stage in range(stages):
        width = group - stage * early_size
        count = min(early_every, flows - stage * early_every)
        ops = _flow(width, columns, channels=channels, layers=layers, conditions=MEL_BANDS * group)
        laid.append(Layer(name=f"flows of {width}", kind="block", ops=ops, repeat=count))
    loss = (elementwise("likelihood", seq_len, reads=3, saved=2.0, launches=3 * flows),)
    laid.append(Layer(name="head", kind="head", ops=loss))
    return Workload(
        name=f"waveglow-{channels}", family="generative", sample="utterance", layers=tuple(laid),
        tokens_per_sample=seq_len,
        hyper={"channels": channels, "layers": layers, "flows": flows, "group": group, "seq_len": seq_len},
        source="arXiv:1811.00002; NVIDIA/DeepLearningExamples@729963dd",
    )  # fmt: skip


def _flow(width: int, columns: int, *, channels: int, layers: int, conditions: int) -> tuple[Op, ...]:
    """An invertible 1 x 1 convolution and an affine coupling of half of the channels by a WaveNet on the other half."""
    half = width // 2

    def normed(name: str, c_in: int, c_out: int, kernel: int = 1, *, keeps_input: bool = True) -> tuple[Op, ...]:
        op = conv(
            name=name, in_hw=(1, columns), c_in=c_in, c_out=c_out, kernel=(1, kernel), padding=(0, kernel // 2),
            bias=True, keeps_input=keeps_input,
        )  # fmt: skip
        # Weight normalisation makes the weights anew in every pass, from a direction and a length a channel. They are
        # no activations: the traffic is left out, the lengths and the kernel are counted.
        return (
            vector(name="weight norm", read_elements=0, write_elements=0, parameters=c_out),
            op,
        )

    inner = columns * channels
    ops: list[Op] = [
        conv(name="invertible", in_hw=(1, columns), c_in=width, c_out=width, kernel=(1, 1)),
        elementwise("split", columns * width, launches=2),
        *normed("start", half, channels),
    ]
    for index in range(layers):
        last = index == layers - 1
        ops += normed("dilated", channels, 2 * channels, 3)
        ops += normed("conditions", conditions, 2 * channels, keeps_input=False)
        ops.append(
            vector(name="gate", read_elements=4 * inner, write_elements=inner, saved_elements=2.0 * inner, launches=1)
        )  # fmt: skip
        ops += normed("residual and skip", channels, channels if last else 2 * channels)
        ops.append(elementwise("sums", inner if last else 2 * inner, reads=2, launches=1 if last else 2))
    ops += [
        conv(name="end", in_hw=(1, columns), c_in=channels, c_out=2 * half, kernel=(1, 1), bias=True),
        elementwise("affine coupling", columns * half, reads=3, saved=2.0, launches=4),
    ]
    return tuple(ops)


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"tacotron2": tacotron2, "waveglow": waveglow}
