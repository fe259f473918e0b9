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

from dataclasses import dataclass, fields, replace
from typing import Final

KINDS: Final = ("gemm", "conv", "attention", "recurrent", "vector", "embedding")
SPLITS: Final = ("none", "column", "row", "heads", "vocab", "sequence", "inner", "table")
#: Splits of which every tensor-parallel rank holds a share; the others are replicated (or split by sequence).
TENSOR_SPLITS: Final = ("column", "row", "vocab", "heads", "inner")
#: Splits whose kept elements are always divided by tp, and those that only sequence parallelism divides.
KEPT_DIVIDED: Final = ("row", "heads", "inner")
KEPT_BY_SEQUENCE: Final = ("column", "vocab", "sequence")
#: Cell of a recurrent layer -> its gates.
CELLS: Final = {"vanilla": 1, "gru": 3, "lstm": 4}


class WorkloadError(ValueError):
    """A workload, or a piece of one, that cannot exist; the message says where and what is legal."""


@dataclass(frozen=True, kw_only=True)
class Op:
    """One kernel-sized piece of forward work per sample (one image, one sequence), before any split.

    Attributes
    ----------
    kind
        ``gemm``, ``conv``, ``attention``, ``recurrent`` (all steps of one layer in one direction), ``vector``
        (element-wise, normalisation, pooling, loss) or ``embedding`` (a table look-up: ``m`` rows gathered, ``n``
        wide, from ``k`` rows).
    m, n, k, batch
        The matrix view C[m, n] = A[m, k] B[k, n], ``batch`` times. A convolution is its implicit product:
        m = output height x width, n = output channels / groups, k = input channels / groups x kernel, batch = groups.
    kernel, stride, padding, in_hw, out_hw, c_in, c_out, input_needs_gradient
        Geometry of a convolution, (height, width); channels over all groups. The first layer's input is data and
        needs no gradient.
    depth
        Geometry of a three-dimensional convolution along its first axis: (kernel, stride, padding, in, out); m counts
        all outputs and k all taps.
    transposed
        A transposed convolution, laid out as the convolution whose data gradient it is: ``in_hw`` and ``c_in`` are
        its output, ``out_hw`` and ``c_out`` its input.
    heads, kv_heads, head_dim, seq_len, context, causal
        Attention: query heads, key/value heads, width of a head, queries and keys per sample. ``context`` is the mean
        number of keys a query sees where a window or a memory makes it another than ``seq_len``.
    value_dim
        Width of a head's values where it differs from that of its queries and keys (multi-head latent attention); 0
        where it does not.
    cell
        Recurrent: ``vanilla``, ``gru`` or ``lstm``, of ``seq_len`` steps, ``k`` inputs and ``n`` units.
    experts
        A product of which each row uses one of so many parameter matrices; ``m`` counts the rows of all (tokens x
        experts per token). 0 where there is one matrix.
    exchanged_elements
        Elements that this op sends to other ranks with expert parallelism, forward; as many come back backward.
    parameters
        Learned parameters of this op, bias included.
    forward_flop
        2 m n k batch for products; 2 x queries x keys x heads x (head + value width) for attention, not halved for a
        causal mask; 2 x steps x gates x n (k + n) for a recurrent layer; 0 for the rest, whose time is memory traffic.
        [FLOP]
    read_elements, write_elements
        Activation elements the kernel reads and writes in the forward pass; parameters and masks are left out.
    window_elements
        Elements that overlapping windows of a pooling read again, forward; as many again backward.
    sum_elements
        Elements that only the backward pass moves: gradients of a tensor that several ops read are added up.
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
    launches, sample_launches
        Kernels an eager framework launches for it in the forward pass; those of them that it launches for every sample
        of a batch anew.
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
    depth: tuple[int, int, int, int, int] = (1, 1, 0, 1, 1)
    transposed: bool = False
    input_needs_gradient: bool = True
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    seq_len: int = 0
    context: int = 0
    value_dim: int = 0
    cell: str = ""
    experts: int = 0
    exchanged_elements: float = 0.0
    causal: bool = False
    parameters: int = 0
    forward_flop: int = 0
    read_elements: int = 0
    write_elements: int = 0
    window_elements: int = 0
    sum_elements: int = 0
    saved_elements: float = 0.0
    score_elements: float = 0.0
    statistic_elements: float = 0.0
    softmax_elements: int = 0
    split: str = "none"
    launches: int = 1
    sample_launches: int = 0
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
        if self.kind == "recurrent" and self.cell not in CELLS:
            raise WorkloadError(f"op '{self.name}': cell is '{self.cell}'. Legal: {', '.join(CELLS)}.")
        if self.experts and self.kind != "gemm":
            raise WorkloadError(f"op '{self.name}': experts is {self.experts}; only a gemm has experts.")
        expected = self._expected_flop()
        if self.forward_flop != expected:
            raise WorkloadError(
                f"op '{self.name}': forward_flop is {self.forward_flop}, but its {self.kind} shape makes {expected}."
            )

    def _expected_flop(self) -> int:
        if self.kind in ("gemm", "conv"):
            return 2 * self.m * self.n * self.k * self.batch
        if self.kind == "attention":
            return 2 * self.seq_len * self.context * self.heads * (self.head_dim + self.value_width)
        if self.kind == "recurrent":
            return 2 * self.seq_len * CELLS[self.cell] * self.n * (self.k + self.n)
        return 0

    @property
    def value_width(self) -> int:
        """Width of a head's values."""
        return self.value_dim or self.head_dim

    @property
    def is_spread(self) -> bool:
        """Whether expert parallelism spreads this op's parameters."""
        return bool(self.experts) or self.split == "table"


def gemm(
    *,
    name: str,
    m: int,
    n: int,
    k: int,
    bias: bool = False,
    split: str = "none",
    keeps_input: bool = True,
    experts: int = 0,
    exchanged_elements: float = 0.0,
) -> Op:
    """A dense layer: ``m`` rows per sample times a k x n parameter matrix; keeps its input unless told otherwise.

    With ``experts`` there are that many matrices (and biases), each row uses one.
    """
    return Op(
        name=name,
        kind="gemm",
        m=m,
        n=n,
        k=k,
        parameters=max(experts, 1) * (k * n + (n if bias else 0)),
        forward_flop=2 * m * n * k,
        read_elements=m * k,
        write_elements=m * n,
        saved_elements=float(m * k) if keeps_input else 0.0,
        split=split,
        experts=experts,
        exchanged_elements=exchanged_elements,
    )


def product(
    *, name: str, batch: int, m: int, n: int, k: int, saved_elements: float | None = None, split: str = "none"
) -> Op:
    """``batch`` products of two activations, [m, k] x [k, n]: no parameters; keeps both operands unless told."""
    return Op(
        name=name,
        kind="gemm",
        m=m,
        n=n,
        k=k,
        batch=batch,
        forward_flop=2 * batch * m * n * k,
        read_elements=batch * (m * k + k * n),
        write_elements=batch * m * n,
        saved_elements=float(batch * (m * k + k * n)) if saved_elements is None else saved_elements,
        split=split,
    )


def recurrent(*, name: str, cell: str, steps: int, width: int, hidden: int, biases: int = 2) -> Op:
    """All steps of one recurrent layer in one direction; keeps its input, its gates and its states.

    Parameters are gates x hidden x (width + hidden + ``biases``): cuDNN's and PyTorch's layers have two biases,
    TensorFlow's one. What is kept: the input, the activated gates, the output and (LSTM) the cell state.
    """
    if cell not in CELLS:
        raise WorkloadError(f"op '{name}': cell is '{cell}'. Legal: {', '.join(CELLS)}.")
    gates = CELLS[cell]
    states = 2 if cell == "lstm" else 1
    return Op(
        name=name,
        kind="recurrent",
        cell=cell,
        seq_len=steps,
        n=hidden,
        k=width,
        parameters=gates * hidden * (width + hidden + biases),
        forward_flop=2 * steps * gates * hidden * (width + hidden),
        read_elements=steps * width,
        write_elements=steps * hidden,
        saved_elements=float(steps * (width + (gates + states) * hidden)),
        launches=steps,
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


def conv3d(
    *,
    name: str,
    in_dhw: tuple[int, int, int],
    c_in: int,
    c_out: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] = (0, 0, 0),
    groups: int = 1,
    bias: bool = False,
    keeps_input: bool = True,
    input_needs_gradient: bool = True,
) -> Op:
    """A convolution over (depth, height, width) as its implicit matrix product; output sides as for `conv`."""
    flat = conv(
        name=name, in_hw=in_dhw[1:], c_in=c_in, c_out=c_out, kernel=kernel[1:], stride=stride[1:], padding=padding[1:],
        groups=groups, bias=bias, keeps_input=keeps_input, input_needs_gradient=input_needs_gradient,
    )  # fmt: skip
    (out, _) = window_output(
        name=name, in_hw=(in_dhw[0], 1), kernel=(kernel[0], 1), stride=(stride[0], 1), padding=(padding[0], 0)
    )
    taps = flat.k * kernel[0]
    return replace(
        flat,
        depth=(kernel[0], stride[0], padding[0], in_dhw[0], out),
        m=flat.m * out,
        k=taps,
        parameters=taps * c_out + (c_out if bias else 0),
        forward_flop=2 * flat.m * out * flat.n * taps * groups,
        read_elements=flat.read_elements * in_dhw[0],
        write_elements=flat.write_elements * out,
        saved_elements=flat.saved_elements * in_dhw[0],
    )


def transposed(op: Op, *, name: str, bias: bool = False, keeps_input: bool = True) -> Op:
    """The transposed convolution of a convolution: from what that writes to what it reads.

    ``op`` is laid out from the larger side; its ``c_in`` and ``in_hw`` become the output. Work and parameters are those
    of ``op``; the bias has its ``c_in`` entries.
    """
    if op.kind != "conv" or op.transposed:
        raise WorkloadError(f"op '{name}': only a convolution can be transposed.")
    return replace(
        op,
        name=name,
        transposed=True,
        parameters=op.k * op.c_out + (op.c_in if bias else 0),
        read_elements=op.write_elements,
        write_elements=op.c_in * op.in_hw[0] * op.in_hw[1] * op.depth[3],
        saved_elements=float(op.write_elements) if keeps_input else 0.0,
        input_needs_gradient=True,
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
    *,
    name: str,
    heads: int,
    kv_heads: int,
    head_dim: int,
    seq_len: int,
    context: int,
    causal: bool,
    dropout: bool,
    value_dim: int = 0,
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
    values = value_dim or head_dim
    queries, keys_and_values = heads * head_dim * seq_len, kv_heads * (head_dim + values) * context
    return Op(
        name=name,
        kind="attention",
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        seq_len=seq_len,
        context=context,
        causal=causal,
        value_dim=value_dim,
        forward_flop=2 * scores * (head_dim + values),
        read_elements=queries + keys_and_values,
        write_elements=heads * values * seq_len,
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
    window_elements: int = 0,
    sum_elements: int = 0,
    saved_elements: float = 0.0,
    parameters: int = 0,
    split: str = "none",
    launches: int = 1,
    sample_launches: int = 0,
) -> Op:
    """An element-wise, normalising, pooling or loss kernel: memory traffic and no counted FLOPs."""
    return Op(
        name=name,
        kind="vector",
        parameters=parameters,
        read_elements=read_elements,
        write_elements=write_elements,
        window_elements=window_elements,
        sum_elements=sum_elements,
        saved_elements=saved_elements,
        split=split,
        launches=launches,
        sample_launches=sample_launches,
    )


def embedding(
    *, name: str, rows: int, width: int, tokens: int, split: str = "vocab", exchanged_elements: float = 0.0
) -> Op:
    """A table look-up: ``tokens`` rows of ``width`` elements out of a table of ``rows``; token ids are not counted.

    With split ``table`` whole tables are spread over expert-parallel ranks, as recommenders do.
    """
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
        exchanged_elements=exchanged_elements,
    )
