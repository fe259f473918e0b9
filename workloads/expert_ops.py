"""Routed experts: an MLP of which every token uses a few of many, chosen by a router."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.decoder_ops import mlp_ops
from workloads.op import Op, WorkloadError, gemm, vector
from workloads.transformer_blocks import ACTIVATIONS, check_sizes, check_words
from workloads.workload import Workload


@dataclass(frozen=True, kw_only=True)
class RoutedMlp:
    """Experts of one block, their router and the experts that all tokens use.

    Attributes
    ----------
    experts, top_k, ffn
        How many there are, how many a token uses, the inner width of one.
    shared_ffn
        Inner width of all shared experts together; 0 for none.
    shared_gate
        The shared experts' output is multiplied by the sigmoid of one learned number per token.
    router_bias, expert_biases
        Learned biases of the router's product and of the experts' products.
    correction_bias
        One number per expert that shifts the choice but not the weights; a checkpoint counts it as a parameter.
    latent
        Width that tokens are projected to before they are sent and from after they return; 0 for none.
    capacity_rows
        Rows every expert multiplies per sequence, filled or not; 0 for as many as tokens choose it.
    """

    experts: int
    top_k: int
    ffn: int
    shared_ffn: int = 0
    activation: str = "swiglu"
    shared_gate: bool = False
    router_bias: bool = False
    expert_biases: bool = False
    correction_bias: bool = False
    latent: int = 0
    capacity_rows: int = 0

    def __post_init__(self) -> None:
        check_sizes("experts", experts=self.experts, top_k=self.top_k, ffn=self.ffn)
        check_words("experts", ("activation", self.activation, tuple(ACTIVATIONS)))
        if self.top_k > self.experts:
            raise WorkloadError(f"experts: top_k is {self.top_k}; at most the {self.experts} experts there are.")
        for word in ("shared_ffn", "latent", "capacity_rows"):
            if getattr(self, word) < 0:
                raise WorkloadError(f"experts: {word} is {getattr(self, word)}; 0 (none) or more.")

    def ops(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        """From the normed input to the sum of all experts, without norm and residual.

        Routing is taken as even: every expert gets ``seq_len top_k / experts`` rows. Rows are sent to their experts
        once and come back once, ``seq_len x top_k x width`` elements each way. Leaves out: dropped tokens, the
        auxiliary losses' own gradient.
        """
        width = self.latent or hidden
        sent = seq_len * self.top_k
        rows = self.experts * self.capacity_rows or sent
        return (
            *self._router_ops(hidden=hidden, seq_len=seq_len),
            *((_latent("latent down", seq_len, hidden, width, keeps_input=False),) if self.latent else ()),
            # Sort by expert, count, gather; the order is an index of four bytes a row.
            _exchange("permute", sent * width, rows * width, 2.0 * sent, sent * width, launches=6),
            *self._expert_ops(rows=rows, width=width),
            _exchange("unpermute", rows * width, seq_len * width, 0.0, sent * width, launches=4),
            *((_latent("latent up", seq_len, width, hidden, keeps_input=True),) if self.latent else ()),
            *self._shared_ops(hidden=hidden, seq_len=seq_len),
        )

    def _router_ops(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        scores = seq_len * self.experts
        return (
            gemm(name="router", m=seq_len, n=self.experts, k=hidden, bias=self.router_bias, keeps_input=False),
            # Scores in fp32 (two 2-byte elements each): softmax or sigmoid, choice, normalisation, mask, counts,
            # balance loss. The normed input, which router and experts read, is kept here: it follows the sequence.
            vector(
                name="routing",
                read_elements=8 * scores,
                write_elements=6 * scores,
                saved_elements=float(seq_len * hidden) + 2.0 * scores,
                parameters=self.experts if self.correction_bias else 0,
                split="sequence",
                launches=16,
            ),
        )

    def _expert_ops(self, *, rows: int, width: int) -> tuple[Op, ...]:
        gated, saved, launches = ACTIVATIONS[self.activation]
        up = 2 * self.ffn if gated else self.ffn
        biases, experts = self.expert_biases, self.experts
        return (
            gemm(name="expert up", m=rows, n=up, k=width, bias=biases, split="column", experts=experts),
            # The weight of each expert multiplies here, as in Megatron: outputs of experts need not be kept.
            vector(
                name=f"expert {self.activation}",
                read_elements=rows * up,
                write_elements=rows * self.ffn,
                saved_elements=float(saved * rows * self.ffn),
                split="inner",
                launches=launches + 1,
            ),
            gemm(name="expert down", m=rows, n=width, k=self.ffn, bias=biases, split="row", experts=experts),
        )

    def _shared_ops(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        if not self.shared_ffn:
            return ()
        elements = seq_len * hidden
        mlp = mlp_ops(
            name="shared expert",
            hidden=hidden,
            ffn=self.shared_ffn,
            seq_len=seq_len,
            activation=self.activation,
            keeps_input=False,
        )
        add = vector(name="shared expert sum", read_elements=2 * elements, write_elements=elements, split="sequence")
        if not self.shared_gate:
            return (*mlp, add)
        gate = gemm(name="shared expert gate", m=seq_len, n=1, k=hidden, keeps_input=False)
        scale = vector(
            name="shared expert scale",
            read_elements=elements,
            write_elements=elements,
            saved_elements=float(elements),
            split="sequence",
            launches=2,
        )
        return (*mlp, gate, scale, add)


def _latent(name: str, rows: int, k: int, n: int, *, keeps_input: bool) -> Op:
    return gemm(name=name, m=rows, n=n, k=k, keeps_input=keeps_input)


def _exchange(name: str, read: int, write: int, saved: float, sent: int, *, launches: int) -> Op:
    return Op(
        name=name,
        kind="vector",
        read_elements=read,
        write_elements=write,
        saved_elements=saved,
        exchanged_elements=float(sent),
        split="sequence",
        launches=launches,
    )


def active_parameters(workload: Workload) -> float:
    """Parameters that one token multiplies by or looks up in: all but those of experts it does not use.

    An op with experts counts rows per token / experts of its parameters; a tied table counts once.
    """
    tokens = workload.tokens_per_sample
    used = 0.0
    for layer in workload.layers:
        for op in layer.ops:
            share = min(1.0, op.m / tokens / op.experts) if op.experts else 1.0
            used += layer.repeat * share * op.parameters
    return used - workload.tied_parameters
