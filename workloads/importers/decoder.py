"""Decoder: the shape of a language model as configurations spell it, laid out with the ops of the model zoo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from workloads.decoder_ops import GroupedAttention, norm_op, runs
from workloads.expert_ops import RoutedMlp
from workloads.latent_attention import LatentAttention
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, embedding, gemm, vector
from workloads.transformer_blocks import dropout as dropout_op
from workloads.transformer_blocks import feed_forward, residual, table_sum, vocabulary
from workloads.workload import Hyper, Workload

#: How a block is laid out: norms before each half; attention and MLP side by side with a norm each or one for both;
#: norms after each half, before the sum; norms before and after; norms after each sum.
BLOCKS: Final = ("serial", "parallel", "parallel_one_norm", "inner_post", "sandwich", "post")


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A decoder-only language model: everything that changes its parameters or its work.

    Attributes
    ----------
    norm
        A word of `decoder_ops.NORMS`, or ``plain``: a norm that learns nothing.
    position_rows
        Rows of a learned position table; 0 for none.
    longest
        Positions a sequence may have; 0 for any number (rotary and linear biases end nowhere).
    embedding_width
        Width of the token table where two products adapt it to the model; 0 where it is ``hidden``.
    qk_norm
        "", ``head`` or ``width`` (see `GroupedAttention`), or ``head_affine``: one layer norm of a head's width with
        scale and shift for queries and one for keys.
    windows
        Per block, keys that a query sees at most; 0 for all.
    routed, latent
        Experts of the blocks that ``expert_blocks`` marks; latent attention instead of grouped.
    scaled_embeddings, scaled_logits
        Element-wise passes over embeddings and logits (multipliers, soft caps).
    """

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    activation: str
    norm: str
    tied: bool
    position_rows: int = 0
    longest: int = 0
    embedding_width: int = 0
    embedding_norm: bool = False
    final_norm: bool = True
    block: str = "serial"
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm: str = ""
    rotary: bool = True
    sinks: bool = False
    windows: tuple[int, ...] = ()
    attention_dropout: bool = False
    hidden_dropout: bool = False
    embedding_dropout: bool = False
    routed: RoutedMlp | None = None
    expert_blocks: tuple[bool, ...] = ()
    latent: LatentAttention | None = None
    scaled_embeddings: bool = False
    scaled_logits: int = 0

    def build(self, *, name: str, seq_len: int, source: str, assumed: tuple[str, ...]) -> Workload:
        """The workload of one sequence.

        Raises
        ------
        WorkloadError
            For sizes that do not divide, or a sequence longer than the position table.
        """
        if self.longest and seq_len > self.longest:
            raise WorkloadError(f"{name}: seq_len {seq_len} is longer than the {self.longest} positions it has.")
        windows = self.windows or (0,) * self.layers
        experts = self.expert_blocks or (self.routed is not None,) * self.layers
        kinds = [
            f"{'windowed' if 0 < window < seq_len else 'full'} {'experts' if routed else 'dense'}"
            for window, routed in zip(windows, experts, strict=True)
        ]
        window = max(windows)
        blocks = runs(kinds, lambda kind: self._block(kind, window=window, seq_len=seq_len))
        if len(blocks) == 1:
            blocks = (replace(blocks[0], name="block"),)
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
            hyper=self._hyper(seq_len),
            tied_embeddings=self.tied,
            causal=True,
            source=source,
            assumed=assumed,
        )

    def _norm(self, name: str, seq_len: int, *, keeps_input: bool = True) -> Op:
        word = "layernorm" if self.norm == "plain" else self.norm
        op = norm_op(name, rows=seq_len, width=self.hidden, word=word)
        return replace(
            op,
            parameters=0 if self.norm == "plain" else op.parameters,
            saved_elements=op.saved_elements if keeps_input else 0.0,
        )

    def _block(self, kind: str, *, window: int, seq_len: int) -> tuple[Op, ...]:
        sight, inner = kind.split(" ")
        elements = seq_len * self.hidden
        attention = self._attention(window=window if sight == "windowed" else 0, seq_len=seq_len)
        if inner == "experts":
            assert self.routed is not None
            mlp = self.routed.ops(hidden=self.hidden, seq_len=seq_len)
        else:
            mlp = feed_forward(
                hidden=self.hidden,
                ffn=self.ffn,
                seq_len=seq_len,
                activation=self.activation,
                biases=self.mlp_bias,
                keeps_input=self.block != "parallel_one_norm",
            )
        first = residual("attention residual", elements, dropout=self.hidden_dropout)
        second = residual("mlp residual", elements, dropout=self.hidden_dropout)
        if self.block == "post":
            return (
                *attention,
                first,
                self._norm("attention norm", seq_len),
                *mlp,
                second,
                self._norm("mlp norm", seq_len),
            )
        if self.block == "inner_post":
            return (
                *attention,
                self._norm("attention output norm", seq_len),
                first,
                *mlp,
                self._norm("mlp output norm", seq_len),
                second,
            )
        after = self.block == "sandwich"
        # Side by side, both norms read one tensor, which is kept once.
        norms = (self._norm("mlp norm", seq_len, keeps_input=self.block != "parallel"),)
        return (
            self._norm("attention norm", seq_len),
            *attention,
            *((self._norm("attention output norm", seq_len),) if after else ()),
            first,
            *(() if self.block == "parallel_one_norm" else norms),
            *mlp,
            *((self._norm("mlp output norm", seq_len),) if after else ()),
            second,
        )

    def _attention(self, *, window: int, seq_len: int) -> tuple[Op, ...]:
        if self.latent is not None:
            return self.latent.ops(hidden=self.hidden, seq_len=seq_len)
        affine = self.qk_norm == "head_affine"
        grouped = GroupedAttention(
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            window=window,
            biases=self.qkv_bias,
            output_bias=self.output_bias,
            qk_norm="head" if affine else self.qk_norm,
            sinks=self.sinks,
            rotary=self.rotary,
        )
        ops = list(grouped.ops(hidden=self.hidden, seq_len=seq_len))
        for index, op in enumerate(ops):
            if op.kind == "attention" and self.attention_dropout:
                # A one-byte mask and the dropped softmax are kept too.
                ops[index] = replace(op, score_elements=2.5 * op.score_elements)
            elif affine and op.name == "query and key norm":
                ops[index] = replace(op, parameters=2 * op.parameters, launches=2)
        return tuple(ops)

    def _embedding(self, seq_len: int) -> tuple[Op, ...]:
        elements, width = seq_len * self.hidden, self.embedding_width or self.hidden
        scale = vector(name="embedding scale", read_elements=elements, write_elements=elements, split="sequence")
        return (
            embedding(name="token embedding", rows=self.vocab, width=width, tokens=seq_len),
            *((gemm(name="embedding in", m=seq_len, n=self.hidden, k=width),) if width != self.hidden else ()),
            *((scale,) if self.scaled_embeddings else ()),
            *(
                (table_sum("position embedding", rows=self.position_rows, elements=elements, width=self.hidden),)
                if self.position_rows
                else ()
            ),
            *((self._norm("embedding norm", seq_len),) if self.embedding_norm else ()),
            *((dropout_op("embedding dropout", elements),) if self.embedding_dropout else ()),
        )

    def _head(self, seq_len: int) -> tuple[Op, ...]:
        width, logits = self.embedding_width or self.hidden, seq_len * self.vocab
        product, loss = vocabulary(rows=seq_len, hidden=width, vocab=self.vocab, bias=self.head_bias)
        scale = vector(
            name="logit scale",
            read_elements=logits * self.scaled_logits,
            write_elements=logits * self.scaled_logits,
            split="inner",
            launches=self.scaled_logits,
        )
        return (
            *((self._norm("final norm", seq_len),) if self.final_norm else ()),
            *((gemm(name="embedding out", m=seq_len, n=width, k=self.hidden),) if width != self.hidden else ()),
            product,
            *((scale,) if self.scaled_logits else ()),
            loss,
        )

    def _hyper(self, seq_len: int) -> dict[str, Hyper]:
        hyper: dict[str, Hyper] = {
            "layers": self.layers,
            "hidden": self.hidden,
            "heads": self.heads,
            "kv_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "ffn": self.ffn,
            "vocab": self.vocab,
            "seq_len": seq_len,
            "activation": self.activation,
            "norm": self.norm,
            "dropout": self.hidden_dropout,
        }
        if self.routed is not None:
            hyper |= {"experts": self.routed.experts, "top_k": self.routed.top_k, "expert_ffn": self.routed.ffn}
        return hyper
