"""What stands on top of a BERT-like encoder: its pre-training heads, or those of fine-tuning."""

from __future__ import annotations

from typing import Final

from workloads.op import Op, gemm, vector
from workloads.transformer_blocks import classifier, dropout
from workloads.transformer_blocks import norm as norm_op

#: What stands on BERT: its pre-training heads, a start and an end of an answer, or a class of the whole text.
TASKS: Final = ("pretraining", "span", "classification")
#: Masked positions per sequence in BERT pre-training, by sequence length (Devlin et al. 2019's published recipe).
BERT_PREDICTIONS: Final = {128: 20, 512: 80}


def bert_predictions(seq_len: int) -> int:
    """Masked positions of a sequence: the recipe's 20 and 80, else its rate of 15 %, rounded up."""
    return BERT_PREDICTIONS.get(seq_len, -(-15 * seq_len // 100))


def mlm_ops(*, hidden: int, seq_len: int, rows: int, norm: str) -> tuple[Op, ...]:
    """BERT's pooler and next-sentence product on the first position, and the transform of the masked ones."""
    gather = vector(name="masked positions", read_elements=rows * hidden, write_elements=rows * hidden)
    return (
        *_pooler_ops(hidden),
        gemm(name="next sentence", m=1, n=2, k=hidden, bias=True, keeps_input=False),
        *((gather,) if rows < seq_len else ()),
        *transform_ops(rows=rows, width=hidden, hidden=hidden, norm=norm),
    )


def transform_ops(*, rows: int, width: int, hidden: int, norm: str = "layernorm") -> tuple[Op, ...]:
    """The dense layer, GELU and norm before a masked-language-model's vocabulary product, hidden -> width."""
    return (
        gemm(name="transform", m=rows, n=width, k=hidden, bias=True),
        vector(
            name="transform gelu",
            read_elements=rows * width,
            write_elements=rows * width,
            saved_elements=float(rows * width),
        ),
        norm_op("transform norm", rows=rows, width=width, word=norm, split="none"),
    )


def _pooler_ops(hidden: int) -> tuple[Op, ...]:
    return (
        gemm(name="pooler", m=1, n=hidden, k=hidden, bias=True),
        vector(name="tanh", read_elements=hidden, write_elements=hidden, saved_elements=float(hidden)),
    )


def tuned_ops(task: str, *, hidden: int, seq_len: int, classes: int) -> tuple[Op, ...]:
    """The head of a fine-tuned encoder; a span is two scores for each position."""
    if task == "span":
        return classifier("span", rows=seq_len, width=hidden, classes=2)
    return (*_pooler_ops(hidden), dropout("pooled dropout", hidden, split="none"),
            *classifier("classifier", rows=1, width=hidden, classes=classes))  # fmt: skip
