"""ELECTRA: a small generator replaces words, a BERT-like discriminator finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from workloads.encoder_heads import TASKS, bert_predictions, transform_ops
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, gemm, vector
from workloads.transformer import bert
from workloads.transformer_blocks import check_sizes, check_words, classifier, vocabulary
from workloads.workload import Workload


def electra(
    *,
    layers: int = 12,
    hidden: int = 768,
    heads: int = 12,
    ffn: int = 3072,
    generator_hidden: int = 256,
    generator_heads: int = 4,
    generator_ffn: int = 1024,
    vocab: int = 30522,
    seq_len: int = 512,
    task: str = "pretraining",
    classes: int = 2,
) -> Workload:
    """ELECTRA [1]_: in pre-training a generator and the discriminator, in fine-tuning the discriminator alone.

    Both look words up in one table of the discriminator's width; the generator, as deep but narrower, projects it.
    The generator predicts the masked positions and draws words for them; the discriminator says of every position
    whether its word was replaced. Parameters of the parts are those of Hugging Face's models: 33,511,168 for the
    generator without its head, 109,483,009 for the discriminator with its own (base).

    References
    ----------
    .. [1] Clark et al., ELECTRA, 2020, arXiv:2003.10555
    """
    check_words("electra", ("task", task, TASKS))
    check_sizes("electra", generator_hidden=generator_hidden, generator_heads=generator_heads)
    body = bert(
        name="electra", layers=layers, hidden=hidden, heads=heads, ffn=ffn, vocab=vocab, seq_len=seq_len,
        task="classification" if task == "pretraining" else task, classes=classes,
    )  # fmt: skip
    if task != "pretraining":
        return body
    if generator_hidden % generator_heads:
        raise WorkloadError(f"electra: generator_hidden {generator_hidden} must divide by {generator_heads} heads.")
    small = bert(
        name="generator", layers=layers, hidden=generator_hidden, heads=generator_heads, ffn=generator_ffn,
        vocab=vocab, seq_len=seq_len,
    )  # fmt: skip
    embedding, blocks, _ = body.layers
    masked = bert_predictions(seq_len)
    project = gemm(name="embedding projection", m=seq_len, n=generator_hidden, k=hidden, bias=True)
    return replace(
        body,
        layers=(
            replace(embedding, ops=(*embedding.ops, project)),
            replace(small.layers[1], name="generator"),
            Layer(name="generator head", kind="head", ops=_generator_head(masked, generator_hidden, hidden, vocab)),
            Layer(name="replaced words", kind="embedding", ops=tuple(_shared(op) for op in embedding.ops)),
            replace(blocks, name="discriminator"),
            Layer(name="head", kind="head", ops=_discriminator_head(seq_len, hidden)),
        ),
        hyper={**body.hyper, "generator_hidden": generator_hidden, "max_predictions": masked},
        tied_embeddings=True,
    )


def _generator_head(masked: int, width: int, hidden: int, vocab: int) -> tuple[Op, ...]:
    """Predictions of the masked positions, and a word drawn for each from them (Gumbel noise, argmax)."""
    logits = masked * vocab
    return (
        vector(name="masked positions", read_elements=masked * width, write_elements=masked * width),
        *transform_ops(rows=masked, width=hidden, hidden=width),
        *vocabulary(rows=masked, hidden=hidden, vocab=vocab, bias=True),
        vector(name="draw words", read_elements=4 * logits, write_elements=4 * logits, launches=8),
    )


def _discriminator_head(rows: int, hidden: int) -> tuple[Op, ...]:
    return (
        gemm(name="dense", m=rows, n=hidden, k=hidden, bias=True),
        vector(
            name="gelu",
            read_elements=rows * hidden,
            write_elements=rows * hidden,
            saved_elements=float(rows * hidden),
        ),
        *classifier("replaced", rows=rows, width=hidden, classes=1),
    )


def _shared(op: Op) -> Op:
    """The same look-up or norm again: its parameters are those of the first."""
    return replace(op, parameters=0)


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"electra": electra}
