"""GNMT v2: translation by stacked LSTM layers with attention, as the published runs trained it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, embedding, gemm, product, vector
from workloads.recurrent import dropout, elementwise, recurrent_layer, sequence_workload, vocabulary_head
from workloads.workload import Workload


def gnmt(
    *,
    layers: int = 4,
    hidden: int = 1024,
    vocab: int = 32320,
    seq_len: int = 30,
    counted_share: float = 0.8,
    shared_embedding: bool = True,
    normalized_attention: bool = True,
    biases: int = 2,
    classifier_bias: bool = True,
) -> Workload:
    """GNMT v2 with ``layers`` layers in encoder and decoder [1]_, one pair of sentences a sample.

    The first encoder layer runs in both directions; layers from the third on are residual. The output of the first
    decoder layer asks the attention, whose answer every layer above reads beside its input [2]_.

    Parameters
    ----------
    seq_len
        Steps of the encoder and of the decoder: the padded length of a bucket of sentences, in subwords.
    counted_share
        Share of these positions that are no padding: what published rates count, source and target added.
    shared_embedding
        One table for both languages; the look-up of the decoder then carries no parameters.
    normalized_attention
        The attention's vector is normalised and scaled, with a bias: width + 1 parameters more.

    References
    ----------
    .. [1] Wu et al., Google's Neural Machine Translation System, 2016, arXiv:1609.08144
    .. [2] NVIDIA/DeepLearningExamples@729963dd PyTorch/Translation/GNMT
    """
    if layers < 2 or seq_len < 2:
        raise WorkloadError(f"gnmt: {layers} layers and {seq_len} steps; at least 2 of each.")
    if not 0.0 < counted_share <= 1.0:
        raise WorkloadError(f"gnmt: counted_share is {counted_share}; above 0, at most 1.")
    elements = seq_len * hidden

    def lstm(width: int, *, backwards: bool = False, keeps_input: bool = True) -> tuple[Op, ...]:
        return recurrent_layer(
            name=f"lstm {width}-{hidden}", cell="lstm", steps=seq_len, width=width, hidden=hidden, biases=biases,
            backwards=backwards, keeps_input=keeps_input,
        )  # fmt: skip

    def table(name: str, *, shared: bool) -> Op:
        op = embedding(name=name, rows=vocab, width=hidden, tokens=seq_len)
        return replace(op, parameters=0) if shared else op

    laid = [
        Layer(
            name="source embedding",
            kind="embedding",
            ops=(table("source embedding", shared=False), dropout("dropout", elements)),
        ),
        Layer(
            name="encoder 1",
            kind="block",
            ops=(
                # Sentences of a batch are packed for the two directions, and padded again.
                elementwise("pack", elements, launches=2),
                *lstm(hidden, backwards=True),
                elementwise("pad", 2 * elements, launches=3),
                dropout("dropout", 2 * elements),
            ),
        ),
        Layer(name="encoder 2", kind="block", ops=(*lstm(2 * hidden), dropout("dropout", elements))),
    ]
    residual = elementwise("residual", elements, reads=2)
    if layers > 2:
        ops = (*lstm(hidden), residual, dropout("dropout", elements))
        laid.append(Layer(name="encoder above", kind="block", ops=ops, repeat=layers - 2))
    laid.append(
        Layer(
            name="decoder 1",
            kind="block",
            ops=(
                table("target embedding", shared=shared_embedding),
                *lstm(hidden),
                *additive_attention(
                    queries=seq_len, keys=seq_len, width=hidden, units=hidden, normalized=normalized_attention
                ),
            ),
        )
    )
    # Every layer above drops out of its input, and reads that beside what the attention answered.
    joined = (dropout("dropout", elements), elementwise("concatenate", 2 * elements))
    laid.append(Layer(name="decoder 2", kind="block", ops=(*joined, *lstm(2 * hidden))))
    if layers > 2:
        ops = (*joined, *lstm(2 * hidden), residual)
        laid.append(Layer(name="decoder above", kind="block", ops=ops, repeat=layers - 2))
    head = vocabulary_head(rows=seq_len, hidden=hidden, vocab=vocab, bias=classifier_bias, launches=8)
    laid.append(Layer(name="head", kind="head", ops=head))
    return sequence_workload(
        f"gnmt-{layers}", laid, tokens=max(1, round(2 * seq_len * counted_share)),
        source="arXiv:1609.08144; NVIDIA/DeepLearningExamples@729963dd", layers=2 * layers, hidden=hidden, vocab=vocab,
        seq_len=seq_len,
    )  # fmt: skip


def additive_attention(*, queries: int, keys: int, width: int, units: int, normalized: bool) -> tuple[Op, ...]:
    """Additive attention over all pairs of a query and a key [1]_: scores v . tanh(q + k), softmax, weighted sum.

    The sum of every query and key is written out, ``queries`` x ``keys`` x ``units`` numbers: added, biased, put
    through tanh (kept) and multiplied by the vector v. Left out: FLOPs of the last, a product with one column.

    References
    ----------
    .. [1] Bahdanau, Cho, Bengio, Neural Machine Translation by Jointly Learning to Align and Translate, 2014,
       arXiv:1409.0473
    """
    sums, scores = queries * keys * units, queries * keys
    passes = 3 if normalized else 2
    return (
        gemm(name="query", m=queries, n=units, k=width, keeps_input=False),
        gemm(name="key", m=keys, n=units, k=width),
        vector(
            name="additive scores",
            read_elements=passes * sums,
            write_elements=passes * sums + scores,
            saved_elements=float(sums),
            parameters=2 * units + 1 if normalized else units,
            launches=passes + 1,
        ),
        vector(
            name="masked softmax",
            read_elements=2 * scores,
            write_elements=2 * scores,
            saved_elements=float(scores),
            launches=2,
        ),
        product(name="weighted sum", batch=1, m=queries, n=width, k=keys, saved_elements=0.0),
    )


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"gnmt": gnmt}
