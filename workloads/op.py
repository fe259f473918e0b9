"""Op: one kernel-sized piece of forward work for one sample, before any split.

How tensor parallelism splits an op, in one word (``tp`` ranks, ``sp`` = sequence parallelism on):

============  ==================================  ================================
split         work and parameters on one rank     saved elements on one rank
============  ==================================  ================================
``none``      all (replicated)                    all
``column``    n / tp                              its whole input; / tp with sp
``row``       k / tp                              its input, already split: / tp
``heads``     heads / tp                          / tp
``vocab``     n (gemm) or rows (embedding) / tp   its whole input; / tp with sp
``sequence``  all; elements / tp with sp          all; / tp with sp
``inner``     elements / tp                       / tp
============  ==================================  ================================

Saved elements are counted in units of **two bytes**, so that a one-byte dropout mask counts 0.5 and a
four-byte logit 2.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

KINDS: Final = ("gemm", "conv", "attention", "vector", "embedding")
SPLITS: Final = ("none", "column", "row", "heads", "vocab", "sequence", "inner")


class WorkloadError(ValueError):
    """A workload, or a piece of one, that cannot exist; the message says where and what is legal."""


@dataclass(frozen=True, kw_only=True)
class Op:
    """One kernel-sized piece of forward work per sample (one image, one sequence), before any split.

    Attributes
    ----------
    kind
        ``gemm``, ``conv``, ``attention``, ``vector`` (element-wise, normalisation, pooling, loss) or ``embedding``
        (a table look-up: ``m`` rows gathered, ``n`` wide, from ``k`` rows).
    m, n, k, batch
        The matrix view C[m, n] = A[m, k] B[k, n], ``batch`` times. A convolution is its implicit product:
        m = output height x width, n = output channels / groups, k = input channels / groups x kernel, batch = groups.
    kernel, stride, padding, in_hw, out_hw, c_in, c_out, input_needs_gradient
        Geometry of a convolution, (height, width); channels over all groups. The first layer's input is data and
        needs no gradient.
    heads, kv_heads, head_dim, seq_len, context, causal
        Attention: query heads, key/value heads, width of a head, queries and keys per sample.
    parameters
        Learned parameters of this op, bias included.
    forward_flop
        2 m n k batch for products; 4 x queries x keys x heads x head width for attention, not halved for a causal
        mask; 0 for the rest, whose time is memory traffic. [FLOP]
    read_elements, write_elements
        Activation elements the kernel reads and writes in the forward pass; parameters and masks are left out.
    saved_elements
        Activation elements kept for the backward pass, in units of 2 bytes. A tensor is counted once, by the first op
        that keeps it. Attention's scores are apart, see the next three.
    score_elements
        What *unfused* attention keeps besides its inputs: the softmax, and with dropout a mask and the dropped
        softmax. In units of 2 bytes.
    statistic_elements
        What *fused* attention keeps instead: one fp32 log-sum-exp per query and head. In units of 2 bytes.
    softmax_elements
        Size of the score matrix, heads x queries x keys: what unfused attention reads and writes on every pass.
    split
        How tensor parallelism splits the op; the table at the head of this module.
    launches
        Kernels an eager framework launches for it in the forward pass.
    trainable
        Whether the parameters get a gradient.

    Raises
    ------
    WorkloadError
        For an unknown word, a negative count, or FLOPs that are not those of the shape.
    """

    name: str
    kind: str
    m: int = 0
    n: int = 0
    k: int = 0
    batch: int = 1
    kernel: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    in_hw: tuple[int, int] = (0, 0)
    out_hw: tuple[int, int] = (0, 0)
    c_in: int = 0
    c_out: int = 0
    input_needs_gradient: bool = True
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    seq_len: int = 0
    context: int = 0
    causal: bool = False
    parameters: int = 0
    forward_flop: int = 0
    read_elements: int = 0
    write_elements: int = 0
    saved_elements: float = 0.0
    score_elements: float = 0.0
    statistic_elements: float = 0.0
    softmax_elements: int = 0
    split: str = "none"
    launches: int = 1
    trainable: bool = True

    def __post_init__(self) -> None:
        for field, legal in (("kind", KINDS), ("split", SPLITS)):
            if getattr(self, field) not in legal:
                raise WorkloadError(
                    f"op '{self.name}': {field} is '{getattr(self, field)}'. Legal: {', '.join(legal)}."
                )
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, int | float) and not 0 <= value < float("inf"):
                raise WorkloadError(f"op '{self.name}': {entry.name} is {value}; a count is finite and not negative.")
        expected = self._expected_flop()
        if self.forward_flop != expected:
            raise WorkloadError(
                f"op '{self.name}': forward_flop is {self.forward_flop}, but its {self.kind} shape makes {expected}."
            )

    def _expected_flop(self) -> int:
        if self.kind in ("gemm", "conv"):
            return 2 * self.m * self.n * self.k * self.batch
        if self.kind == "attention":
            return 4 * self.seq_len * self.context * self.heads * self.head_dim
        return 0


def gemm(*, name: str, m: int, n: int, k: int, bias: bool = False, split: str = "none", keeps_input: bool = True) -> Op:
    """A dense layer: ``m`` rows per sample times a k x n parameter matrix; keeps its input unless told otherwise."""
    return Op(
        name=name,
        kind="gemm",
        m=m,
        n=n,
        k=k,
        parameters=k * n + (n if bias else 0),
        forward_flop=2 * m * n * k,
        read_elements=m * k,
        write_elements=m * n,
        saved_elements=float(m * k) if keeps_input else 0.0,
        split=split,
    )


def conv(
    *,
    name: str,
    in_hw: tuple[int, int],
    c_in: int,
    c_out: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    bias: bool = False,
    keeps_input: bool = True,
    input_needs_gradient: bool = True,
) -> Op:
    """A two-dimensional convolution as its implicit matrix product.

    An output side is floor((in + 2 padding - kernel) / stride) + 1.

    Raises
    ------
    WorkloadError
        When groups do not divide the channels or the kernel does not fit the padded input.
    """
    if groups < 1 or c_in % groups or c_out % groups:
        raise WorkloadError(f"op '{name}': {groups} groups must divide {c_in} input and {c_out} output channels.")
    out_hw = window_output(name=name, in_hw=in_hw, kernel=kernel, stride=stride, padding=padding)
    m, n, k = out_hw[0] * out_hw[1], c_out // groups, c_in // groups * kernel[0] * kernel[1]
    in_elements = c_in * in_hw[0] * in_hw[1]
    return Op(
        name=name,
        kind="conv",
        m=m,
        n=n,
        k=k,
        batch=groups,
        kernel=kernel,
        stride=stride,
        padding=padding,
        in_hw=in_hw,
        out_hw=out_hw,
        c_in=c_in,
        c_out=c_out,
        input_needs_gradient=input_needs_gradient,
        parameters=k * c_out + (c_out if bias else 0),
        forward_flop=2 * m * n * k * groups,
        read_elements=in_elements,
        write_elements=m * c_out,
        saved_elements=float(in_elements) if keeps_input else 0.0,
    )


def window_output(
    *,
    name: str,
    in_hw: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    ceil: bool = False,
) -> tuple[int, int]:
    """Output (height, width) of a sliding window; ``ceil`` keeps a last window that hangs over the edge."""
    sides = []
    for size, window, step, pad in zip(in_hw, kernel, stride, padding, strict=True):
        span = size + 2 * pad - window
        if span < 0 or window < 1 or step < 1:
            raise WorkloadError(
                f"op '{name}': a {window}-wide window with stride {step} does not fit an input of {size} + 2 x {pad}. "
                "Try a larger image_size."
            )
        side = (-(-span // step) if ceil else span // step) + 1
        if ceil and (side - 1) * step >= size + pad:  # a window must start inside the input or its left padding
            side -= 1
        sides.append(side)
    return sides[0], sides[1]


def attention(
    *, name: str, heads: int, kv_heads: int, head_dim: int, seq_len: int, context: int, causal: bool, dropout: bool
) -> Op:
    """The attention core (scores, softmax, weighted sum) as one op; a stack decides whether it is fused.

    It keeps queries, keys and values; its output is kept by the projection that reads it. Unfused it also keeps
    ``score_elements``: 1 two-byte element a score, 2.5 with dropout (mask and dropped softmax) [1]_.

    References
    ----------
    .. [1] Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, 2022, section 4.1,
       arXiv:2205.05198
    """
    scores = heads * seq_len * context
    queries, keys_and_values = heads * head_dim * seq_len, 2 * kv_heads * head_dim * context
    return Op(
        name=name,
        kind="attention",
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        seq_len=seq_len,
        context=context,
        causal=causal,
        forward_flop=4 * scores * head_dim,
        read_elements=queries + keys_and_values,
        write_elements=queries,
        saved_elements=float(queries + keys_and_values),
        score_elements=(2.5 if dropout else 1.0) * scores,
        statistic_elements=2.0 * heads * seq_len,
        softmax_elements=scores,
        split="heads",
    )


def vector(
    *,
    name: str,
    read_elements: int,
    write_elements: int,
    saved_elements: float = 0.0,
    parameters: int = 0,
    split: str = "none",
    launches: int = 1,
) -> Op:
    """An element-wise, normalising, pooling or loss kernel: memory traffic and no counted FLOPs."""
    return Op(
        name=name,
        kind="vector",
        parameters=parameters,
        read_elements=read_elements,
        write_elements=write_elements,
        saved_elements=saved_elements,
        split=split,
        launches=launches,
    )


def embedding(*, name: str, rows: int, width: int, tokens: int, split: str = "vocab") -> Op:
    """A table look-up: ``tokens`` rows of ``width`` elements out of a table of ``rows``; token ids are not counted."""
    return Op(
        name=name,
        kind="embedding",
        m=tokens,
        n=width,
        k=rows,
        parameters=rows * width,
        read_elements=tokens * width,
        write_elements=tokens * width,
        split=split,
    )
