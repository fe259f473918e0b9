"""Reading comprehension on SQuAD: DrQA, BiDAF and FastFusionNet; a sample is a question with its paragraph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, conv, embedding, gemm, product, vector
from workloads.recurrent import dropout, elementwise, recurrent_layer, sequence_workload
from workloads.workload import Workload

#: Words of a question, padded to the longest of a batch (recalled).
QUESTION: Final = 25


def _check(name: str, seq_len: int, question_len: int) -> None:
    if seq_len < 2 or question_len < 2:
        raise WorkloadError(f"{name}: {seq_len} words of a paragraph and {question_len} of a question; at least 2.")


def _softmax(elements: int) -> Op:
    return elementwise("masked softmax", elements, saved=1.0, launches=2)


def _matched(rows: int, others: int, width: int, *, project: bool) -> tuple[Op, ...]:
    """Each of ``rows`` words as a weighted sum of ``others``; with ``project`` both pass one dense layer first."""
    first = gemm(name="match projection", m=rows + others, n=width, k=width, bias=True)
    projected = (first, elementwise("relu", (rows + others) * width, saved=1.0, launches=2)) if project else ()
    return (
        *projected,
        product(name="match scores", batch=1, m=rows, n=others, k=width, saved_elements=0.0),
        _softmax(rows * others),
        product(name="match sum", batch=1, m=rows, n=width, k=others, saved_elements=0.0),
    )


def _span_loss(words: int) -> Op:
    return elementwise("span loss", 2 * words, reads=2, saved=2.0, launches=8)


def _bidirectional(steps: int, width: int, hidden: int, *, biases: int = 2, looped: bool = False) -> tuple[Op, ...]:
    return recurrent_layer(
        name=f"lstm {width}-{hidden}", cell="lstm", steps=steps, width=width, hidden=hidden, biases=biases,
        backwards=True, looped=looped,
    )  # fmt: skip


def drqa(
    *, hidden: int = 128, layers: int = 3, vocab: int = 91187, width: int = 300, seq_len: int = 350,
    question_len: int = QUESTION,
) -> Workload:  # fmt: skip
    """DrQA's document reader [1]_ as its DAWNBench entry has it [2]_: two stacks of bidirectional LSTMs.

    ``seq_len`` is the longest paragraph of a batch, to which all are padded. Left out: masks, the features' look-up.

    References
    ----------
    .. [1] Chen et al., Reading Wikipedia to Answer Open-Domain Questions, 2017, arXiv:1704.00051
    .. [2] hitvoice/DrQA@32bccc58 drqa/rnn_reader.py
    """
    _check("drqa", seq_len, question_len)
    if layers < 2:
        raise WorkloadError(f"drqa: {layers} layers; at least 2.")
    # Four features of a word, 50 part-of-speech tags in 12 numbers, 19 kinds of entities in 8.
    tags = vector(name="tags", read_elements=20 * seq_len, write_elements=20 * seq_len, parameters=50 * 12 + 19 * 8)
    entry = 2 * width + 4 + 12 + 8
    wide = 2 * hidden

    def stack(name: str, steps: int, inputs: int) -> list[Layer]:
        dropped = dropout("dropout", steps * wide)
        first = (dropout("dropout", steps * inputs), *_bidirectional(steps, inputs, hidden))
        above = (dropped, *_bidirectional(steps, wide, hidden))
        return [
            Layer(name=f"{name} 1", kind="block", ops=first),
            Layer(name=f"{name} above", kind="block", ops=above, repeat=layers - 1),
        ]

    words = seq_len + question_len
    table = embedding(name="words", rows=vocab, width=width, tokens=words)
    joined = layers * wide
    head = (
        elementwise("concatenate layers", words * joined, launches=2),
        dropout("dropout", words * joined),
        gemm(name="question weights", m=question_len, n=1, k=joined, bias=True),
        _softmax(question_len),
        product(name="question sum", batch=1, m=1, n=joined, k=question_len, saved_elements=0.0),
        *(gemm(name=f"{end} query", m=1, n=joined, k=joined, bias=True) for end in ("start", "end")),
        *(product(name=f"{end} scores", batch=1, m=seq_len, n=1, k=joined, saved_elements=0.0)
          for end in ("start", "end")),
        _span_loss(seq_len),
    )  # fmt: skip
    laid = [
        Layer(name="embedding", kind="embedding", ops=(table, tags, dropout("dropout", words * width))),
        Layer(name="match", kind="dense", ops=_matched(seq_len, question_len, width, project=True)),
        *stack("paragraph", seq_len, entry),
        *stack("question", question_len, width),
        Layer(name="head", kind="head", ops=head),
    ]
    return sequence_workload(
        "drqa", laid, tokens=words, source="arXiv:1704.00051; hitvoice/DrQA@32bccc58", hidden=hidden, layers=layers,
        vocab=vocab, seq_len=seq_len,
    )  # fmt: skip


def bidaf(
    *, hidden: int = 100, vocab: int = 91187, seq_len: int = 300, question_len: int = QUESTION, word_len: int = 16
) -> Workload:
    """BiDAF [1]_: characters by convolution, highway layers, looped LSTMs, attention both ways [2]_.

    The paragraph runs as one sequence. The table of words (GloVe) is fixed and not counted among the parameters.

    References
    ----------
    .. [1] Seo et al., Bidirectional Attention Flow for Machine Comprehension, 2016, arXiv:1611.01603
    .. [2] allenai/bi-att-flow@0acf9904 basic/model.py
    """
    _check("bidaf", seq_len, question_len)
    words, characters, wide = seq_len + question_len, 8, 2 * hidden
    by_letter = conv(
        name="characters", in_hw=(words, word_len), c_in=characters, c_out=hidden, kernel=(1, 5), bias=True
    )  # fmt: skip
    letters = replace(
        embedding(name="letters", rows=262, width=characters, tokens=words * word_len), split="none"
    )  # fmt: skip
    pooled = vector(
        name="relu and maximum", read_elements=2 * by_letter.write_elements, write_elements=by_letter.write_elements,
        saved_elements=float(by_letter.write_elements), launches=3,
    )  # fmt: skip
    glove = vector(name="word vectors", read_elements=words * hidden, write_elements=words * hidden)
    highway = (
        gemm(name="highway", m=words, n=2 * wide, k=wide, bias=True),
        elementwise("highway gate", words * wide, reads=4, saved=3.0, launches=8),
    )
    # Similarity of every pair of words: a weighted sum of both and of their product.
    similarity = vector(
        name="similarity", read_elements=3 * seq_len * question_len * wide,
        write_elements=3 * seq_len * question_len * wide, saved_elements=2.0 * seq_len * question_len * wide,
        parameters=3 * wide + 1, launches=8,
    )  # fmt: skip
    flow = (
        similarity,
        _softmax(2 * seq_len * question_len),
        product(name="paragraph to question", batch=1, m=seq_len, n=wide, k=question_len, saved_elements=0.0),
        product(name="question to paragraph", batch=1, m=1, n=wide, k=seq_len, saved_elements=0.0),
        elementwise("join", seq_len * 4 * wide, reads=2, launches=4),
    )
    modelled = _bidirectional(seq_len, 4 * wide, hidden, biases=1, looped=True)
    spans = [gemm(name=f"{end} weights", m=seq_len, n=1, k=5 * wide, bias=True) for end in ("start", "end")]
    laid = [
        Layer(name="embedding", kind="embedding", ops=(letters, by_letter, pooled, glove)),
        Layer(name="highway", kind="dense", ops=highway, repeat=2),
        # One LSTM reads question and paragraph.
        Layer(name="contextual", kind="block", ops=_bidirectional(words, wide, hidden, biases=1, looped=True)),
        Layer(name="attention flow", kind="dense", ops=flow),
        Layer(name="modelling 1", kind="block", ops=modelled),
        Layer(name="modelling 2", kind="block", ops=_bidirectional(seq_len, wide, hidden, biases=1, looped=True)),
        Layer(name="output", kind="block", ops=_bidirectional(seq_len, 7 * wide, hidden, biases=1, looped=True)),
        Layer(name="head", kind="head", ops=(*spans, _span_loss(seq_len))),
    ]
    return sequence_workload(
        "bidaf", laid, tokens=words, source="arXiv:1611.01603; allenai/bi-att-flow@0acf9904", hidden=hidden,
        seq_len=seq_len,
    )  # fmt: skip


def simple_recurrent(name: str, *, steps: int, width: int, hidden: int) -> tuple[Op, ...]:
    """A bidirectional layer of simple recurrent units [1]_: one product for all steps, then one fused kernel.

    The product makes 3 numbers a unit, 4 where input and output differ in width; no step multiplies a matrix.

    References
    ----------
    .. [1] Lei et al., Simple Recurrent Units for Highly Parallelizable Recurrence, 2017, arXiv:1709.02755
    """
    parts = 3 if width == 2 * hidden else 4
    made, out = steps * 2 * hidden * parts, steps * 2 * hidden
    return (
        gemm(name=f"{name} product", m=steps, n=2 * hidden * parts, k=width),
        vector(
            name=f"{name} recurrence", read_elements=made, write_elements=2 * out, saved_elements=float(made + out),
            parameters=4 * hidden,
        ),
    )  # fmt: skip


def fastfusionnet(
    *, hidden: int = 125, vocab: int = 91187, width: int = 300, seq_len: int = 350, question_len: int = QUESTION
) -> Workload:
    """FastFusionNet [1]_: FusionNet's attention over all levels, on simple recurrent units, without CoVe [2]_.

    References
    ----------
    .. [1] Wu et al., FastFusionNet: New State-of-the-Art for DAWNBench SQuAD, 2019, arXiv:1902.11291
    .. [2] felixgwu/FastFusionNet@8bb6b85c qa/rnn_reader.py (two layers at each level; recalled)
    """
    _check("fastfusionnet", seq_len, question_len)
    wide, words = 2 * hidden, seq_len + question_len
    tags = vector(name="tags", read_elements=20 * seq_len, write_elements=20 * seq_len, parameters=50 * 12 + 19 * 8)
    table = embedding(name="words", rows=vocab, width=width, tokens=words)

    def stack(name: str, steps: int, inputs: int) -> Layer:
        ops = (
            dropout("dropout", steps * inputs),
            *simple_recurrent(f"{name} 1", steps=steps, width=inputs, hidden=hidden),
            dropout("dropout", steps * wide),
            *simple_recurrent(f"{name} 2", steps=steps, width=wide, hidden=hidden),
        )
        return Layer(name=name, kind="block", ops=ops)

    def fused(name: str, others: int, full: int, inner: int, values: int) -> Layer:
        """Attention of the paragraph on ``others`` words, both projected from ``full`` numbers to ``inner``."""
        ops = (
            elementwise("concatenate levels", (seq_len + others) * full, launches=2),
            dropout("dropout", (seq_len + others) * full),
            gemm(name="fusion projection", m=seq_len + others, n=inner, k=full),
            vector(
                name="relu and weights", read_elements=2 * (seq_len + others) * inner,
                write_elements=2 * (seq_len + others) * inner, saved_elements=2.0 * (seq_len + others) * inner,
                parameters=inner, launches=3,
            ),
            product(name="fusion scores", batch=1, m=seq_len, n=others, k=inner, saved_elements=0.0),
            _softmax(seq_len * others),
            product(name="fusion sum", batch=1, m=seq_len, n=values, k=others, saved_elements=0.0),
        )  # fmt: skip
        return Layer(name=name, kind="dense", ops=ops)

    head = (
        gemm(name="question weights", m=question_len, n=1, k=wide, bias=True),
        _softmax(question_len),
        product(name="question sum", batch=1, m=1, n=wide, k=question_len, saved_elements=0.0),
        *(gemm(name=f"{end} query", m=1, n=wide, k=wide, bias=True) for end in ("start", "end")),
        *(product(name=f"{end} scores", batch=1, m=seq_len, n=1, k=wide, saved_elements=0.0)
          for end in ("start", "end")),
        _span_loss(seq_len),
    )  # fmt: skip
    laid = [
        Layer(name="embedding", kind="embedding", ops=(table, tags, dropout("dropout", words * width))),
        Layer(name="match", kind="dense", ops=_matched(seq_len, question_len, width, project=True)),
        stack("paragraph reading", seq_len, 2 * width + 24),
        stack("question reading", question_len, width),
        stack("question understanding", question_len, 2 * wide),
        fused("fusion", question_len, width + 2 * wide, 3 * wide, 3 * wide),
        stack("paragraph understanding", seq_len, 5 * wide),
        fused("self fusion", seq_len, width + 6 * wide, wide, wide),
        stack("final", seq_len, 2 * wide),
        Layer(name="head", kind="head", ops=head),
    ]
    return sequence_workload(
        "fastfusionnet", laid, tokens=words, source="arXiv:1902.11291; felixgwu/FastFusionNet@8bb6b85c", hidden=hidden,
        vocab=vocab, seq_len=seq_len,
    )  # fmt: skip


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {
    "drqa": drqa,
    "bidaf": bidaf,
    "fastfusionnet": fastfusionnet,
}
