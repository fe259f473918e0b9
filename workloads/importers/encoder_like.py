"""Configurations of BERT's line (BERT, RoBERTa, DistilBERT, ELECTRA, ALBERT) -> a workload of a given length.

Defaults are those of the configuration classes of Hugging Face transformers 4.57, for keys that a file leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from workloads.encoder_heads import transform_ops
from workloads.importers.fields import Fields
from workloads.importers.llama_like import activation, dropped, per_head
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, embedding, gemm, vector
from workloads.transformer_blocks import classifier, feed_forward, norm, residual, self_attention, table_sum, vocabulary
from workloads.transformer_blocks import dropout as dropout_op
from workloads.workload import Workload

#: What may stand on an encoder, by the end of the first word of ``architectures``.
TASKS: Final[Mapping[str, str]] = {
    "ForMaskedLM": "words", "ForPreTraining": "pretraining", "LMHeadModel": "words", "Model": "none",
    "ForSequenceClassification": "class", "ForTokenClassification": "classes", "ForQuestionAnswering": "span",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder with a head: everything that changes its parameters or its work.

    Attributes
    ----------
    width
        Width of the tables, where a product adapts them to ``hidden``.
    longest
        Positions a sequence may have; the position table has ``position_rows``.
    shared
        All blocks have the parameters of the first (ALBERT).
    pooled
        A dense layer and tanh on the first position, for heads that judge the whole text.
    summary
        The activation of the dense layer that a class is judged by, where it is not the pooler's.
    task
        A value of `TASKS`; "detection" tells replaced words from true ones (ELECTRA).
    """

    vocab: int
    hidden: int
    layers: int
    heads: int
    head_dim: int
    ffn: int
    activation: str
    position_rows: int
    longest: int
    token_types: int
    width: int
    shared: bool
    pooled: bool
    task: str
    classes: int
    tied: bool
    attention_dropout: bool
    hidden_dropout: bool

    def build(self, *, name: str, seq_len: int, source: str, assumed: tuple[str, ...]) -> Workload:
        """The workload of one sequence.

        Raises
        ------
        WorkloadError
            For a sequence longer than the position table.
        """
        if seq_len > self.longest:
            raise WorkloadError(f"{name}: seq_len {seq_len} is longer than the {self.longest} positions it has.")
        block = Layer(name="block", kind="block", ops=self._block(seq_len), repeat=self.layers)
        blocks: tuple[Layer, ...] = (block,)
        if self.shared and self.layers > 1:
            again = tuple(replace(op, parameters=0) for op in block.ops)
            blocks = (
                replace(block, repeat=1),
                Layer(name="block again", kind="block", ops=again, repeat=self.layers - 1),
            )
        return Workload(
            name=name,
            family="transformer",
            sample="sequence",
            layers=(
                Layer(name="embedding", kind="embedding", ops=self._embedding(seq_len)),
                *blocks,
                Layer(name="head", kind="head", ops=self._head(seq_len)),
            ),
            tokens_per_sample=seq_len,
            hyper={"layers": self.layers, "hidden": self.hidden, "heads": self.heads, "kv_heads": self.heads,
                   "head_dim": self.head_dim, "ffn": self.ffn, "vocab": self.vocab, "seq_len": seq_len,
                   "dropout": self.hidden_dropout},
            tied_embeddings=self.tied and self.task in ("words", "pretraining"),
            source=source,
            assumed=assumed,
        )  # fmt: skip

    def _embedding(self, seq_len: int) -> tuple[Op, ...]:
        elements = seq_len * self.width
        tables = (("position embedding", self.position_rows), ("token type embedding", self.token_types))
        adapt = gemm(name="embedding in", m=seq_len, n=self.hidden, k=self.width, bias=True)
        return (
            embedding(name="token embedding", rows=self.vocab, width=self.width, tokens=seq_len),
            *(table_sum(word, rows=rows, elements=elements, width=self.width) for word, rows in tables if rows),
            norm("embedding norm", rows=seq_len, width=self.width),
            *((dropout_op("embedding dropout", elements),) if self.hidden_dropout else ()),
            *((adapt,) if self.width != self.hidden or self.shared else ()),
        )

    def _block(self, seq_len: int) -> tuple[Op, ...]:
        elements = seq_len * self.hidden
        closings = [
            (
                residual(f"{half} residual", elements, dropout=self.hidden_dropout),
                norm(f"{half} norm", rows=seq_len, width=self.hidden),
            )
            for half in ("attention", "mlp")
        ]
        return (
            *self_attention(
                hidden=self.hidden, heads=self.heads, kv_heads=self.heads, head_dim=self.head_dim, seq_len=seq_len,
                causal=False, dropout=self.attention_dropout, closing=closings[0],
            ),
            *feed_forward(
                hidden=self.hidden, ffn=self.ffn, seq_len=seq_len, activation=self.activation, closing=closings[1]
            ),
        )  # fmt: skip

    def _head(self, seq_len: int) -> tuple[Op, ...]:
        hidden = self.hidden
        words = (
            *transform_ops(rows=seq_len, width=self.width, hidden=hidden),
            *vocabulary(rows=seq_len, hidden=self.width, vocab=self.vocab, bias=True),
        )
        pooler = _dense_head("pooler", rows=1, width=hidden)
        if self.task == "words":
            return words
        if self.task == "detection":
            return (
                *_dense_head("detector", rows=seq_len, width=hidden),
                *classifier("replaced", rows=seq_len, width=hidden, classes=1),
            )
        if self.task == "pretraining":
            return (*pooler, *classifier("next sentence", rows=1, width=hidden, classes=2), *words)
        if self.task == "class":
            return (*pooler, *classifier("classifier", rows=1, width=hidden, classes=self.classes))
        if self.task in ("classes", "span"):
            classes = 2 if self.task == "span" else self.classes
            return classifier("classifier", rows=seq_len, width=hidden, classes=classes)
        last = vector(name="output", read_elements=seq_len * hidden, write_elements=seq_len * hidden)
        return pooler if self.pooled else (last,)


def _dense_head(name: str, *, rows: int, width: int) -> tuple[Op, ...]:
    elements = rows * width
    return (
        gemm(name=name, m=rows, n=width, k=width, bias=True),
        vector(
            name=f"{name} activation", read_elements=elements, write_elements=elements, saved_elements=float(elements)
        ),
    )


def task_of(fields: Fields, *, default: str) -> str:
    """What the configuration's ``architectures`` puts on the encoder; without it what the model was trained with."""
    words = fields.items("architectures", kind=str, most=100)
    if not words:
        return default
    for ending, task in sorted(TASKS.items(), key=lambda pair: -len(pair[0])):
        if words[0].endswith(ending):
            return task
    fields.problem("architectures", f"expected a word that ends in one of {', '.join(TASKS)}.")
    return default


def _classes(fields: Fields) -> int:
    labels = fields.data.get("id2label")
    return max(len(labels), 1) if isinstance(labels, dict) else fields.count("num_labels", default=2)


def _bert_line(
    *, default: str = "words", offset: int = 0, pooled: bool = True, width: str = "", shared: bool = False
) -> Callable[[Fields], Encoder]:
    """A reader of configurations with BERT's keys; ``offset``: rows of the position table that are not positions."""

    def read(fields: Fields) -> Encoder:
        hidden = fields.count("hidden_size", default=4096 if shared else None)
        heads = fields.count("num_attention_heads")
        rows = fields.count("max_position_embeddings", default=512, least=offset + 1)
        fields.word("position_embedding_type", legal=("absolute",), default="absolute")
        for key in ("num_hidden_groups", "inner_group_num"):
            if shared and fields.count(key, default=1) != 1:
                fields.problem(key, "is not 1; only one group of shared blocks is imported.")
        fields.skip("summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout")
        fields.skip("classifier_dropout_prob", "net_structure_type", "layers_to_keep", "pooler_fc_size")
        fields.skip("pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type")
        fields.skip("directionality", "down_scale_factor", "gap_size", "num_memory_blocks", "output_past")
        return Encoder(
            vocab=fields.count("vocab_size"),
            hidden=hidden,
            layers=fields.count("num_hidden_layers", most=10_000),
            heads=heads,
            head_dim=per_head(fields, hidden, heads),
            ffn=fields.count("intermediate_size"),
            activation=activation(fields, "hidden_act", default="gelu_new" if shared else "gelu", gated=False),
            position_rows=rows,
            longest=rows - offset,
            token_types=fields.count("type_vocab_size", default=2, least=0),
            width=fields.count(width, default=128) if width else hidden,
            shared=shared,
            pooled=pooled,
            task=task_of(fields, default=default),
            classes=_classes(fields),
            tied=fields.flag("tie_word_embeddings", default=True),
            attention_dropout=dropped(fields, "attention_probs_dropout_prob", default=0.0 if shared else 0.1),
            hidden_dropout=dropped(fields, "hidden_dropout_prob", default=0.0 if shared else 0.1),
        )

    return read


def _electra(fields: Fields) -> Encoder:
    encoder = _bert_line(default="pretraining", pooled=False, width="embedding_size")(fields)
    return replace(encoder, task="detection") if encoder.task == "pretraining" else encoder


def _distilbert(fields: Fields) -> Encoder:
    hidden, heads = fields.count("dim", "hidden_size", default=768), fields.count("n_heads", default=12)
    rows = fields.count("max_position_embeddings", default=512)
    fields.skip("qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds", "tie_weights_")
    return Encoder(
        vocab=fields.count("vocab_size"),
        hidden=hidden,
        layers=fields.count("n_layers", "num_hidden_layers", most=10_000),
        heads=heads,
        head_dim=per_head(fields, hidden, heads),
        ffn=fields.count("hidden_dim", default=4 * hidden),
        activation=activation(fields, "activation", default="gelu", gated=False),
        position_rows=rows,
        longest=rows,
        token_types=0,
        width=hidden,
        shared=False,
        pooled=False,
        task=task_of(fields, default="words"),
        classes=_classes(fields),
        tied=fields.flag("tie_word_embeddings", default=True),
        attention_dropout=dropped(fields, "attention_dropout", default=0.1),
        hidden_dropout=dropped(fields, "dropout", default=0.1),
    )


#: ``model_type`` -> reader.
FAMILIES: Final[Mapping[str, Callable[[Fields], Encoder]]] = {
    "bert": _bert_line(default="pretraining"),
    "roberta": _bert_line(offset=2),
    "xlm-roberta": _bert_line(offset=2),
    "camembert": _bert_line(offset=2),
    "albert": _bert_line(default="pretraining", width="embedding_size", shared=True),
    "electra": _electra,
    "distilbert": _distilbert,
}
