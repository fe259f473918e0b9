"""Wan 2.1: a transformer that denoises patches of encoded video and looks at a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, gemm, vector
from workloads.transformer_blocks import check_sizes, cross_attention, feed_forward, head_width, norm, self_attention
from workloads.workload import Workload

#: Kernels of a layer norm with a scale and a shift from the time: norm, one plus, times, plus.
MODULATED_LAUNCHES: Final = 4
#: Numbers of the sinusoids of a time step.
TIME_WIDTH: Final = 256


def wan(
    *,
    layers: int = 40,
    hidden: int = 5120,
    heads: int = 40,
    ffn: int = 13824,
    channels: int = 16,
    patch: int = 4,
    text_len: int = 512,
    text_width: int = 4096,
    seq_len: int = 75600,
) -> Workload:
    """Wan 2.1 for text to video [1]_: 14,288,491,584 parameters with 40 blocks of 5120.

    A sample is one video as the frozen encoder leaves it: ``seq_len`` patches of 1 x 2 x 2 of ``channels`` numbers, and
    its text of ``text_len`` encoded words. The encoders of video and text run elsewhere, before. Every block adjusts
    its norms and sums by six vectors of the time step.

    Raises
    ------
    WorkloadError
        When the heads do not divide the width, or for a size below 1.

    References
    ----------
    .. [1] Wan: Open and Advanced Large-Scale Video Generative Models, 2025, arXiv:2503.20314; Wan-Video/Wan2.1
       wan/modules/model.py, wan/configs/wan_t2v_14B.py
    """
    where = "wan"
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "ffn": ffn, "seq_len": seq_len}
    check_sizes(where, **sizes, channels=channels, patch=patch, text_len=text_len, text_width=text_width)
    head_dim = head_width(where, hidden=hidden, heads=heads, head_dim=None)
    elements = seq_len * hidden
    block = (
        _modulated("norm 1", elements, parameters=6 * hidden),
        *self_attention(
            hidden=hidden, heads=heads, kv_heads=heads, head_dim=head_dim, seq_len=seq_len, rotary=True,
            qk_norm="width", causal=False, dropout=False, closing=(_gated_sum("attention sum", elements),),
        ),
        norm("norm 3", rows=seq_len, width=hidden),
        *_cross(hidden, heads, head_dim, seq_len, text_len),
        vector(name="cross sum", read_elements=2 * elements, write_elements=elements, split="sequence"),
        _modulated("norm 2", elements),
        *feed_forward(
            hidden=hidden, ffn=ffn, seq_len=seq_len, activation="gelu", closing=(_gated_sum("mlp sum", elements),)
        ),
    )  # fmt: skip
    outputs = patch * channels
    return Workload(
        name=where,
        family="generative",
        sample="sequence",
        layers=(
            Layer(name="embeddings", kind="embedding", ops=_entrance(hidden, outputs, seq_len, text_len, text_width)),
            Layer(name="block", kind="block", ops=block, repeat=layers),
            Layer(
                name="head",
                kind="head",
                ops=(
                    _modulated("final norm", elements, parameters=2 * hidden),
                    gemm(name="patches", m=seq_len, n=outputs, k=hidden, bias=True),
                    vector(
                        name="weighted squared error", read_elements=6 * seq_len * outputs,
                        write_elements=4 * seq_len * outputs, saved_elements=2.0 * seq_len * outputs, launches=8,
                    ),
                ),
            ),
        ),
        tokens_per_sample=seq_len,
        hyper={**sizes, "kv_heads": heads, "text_len": text_len},
        source="arXiv:2503.20314; Wan-Video/Wan2.1 wan/configs/wan_t2v_14B.py",
    )  # fmt: skip


def _entrance(hidden: int, inputs: int, seq_len: int, text_len: int, text_width: int) -> tuple[Op, ...]:
    """Patches, words and the time step as vectors; blocks share the words, which are kept once."""
    words = text_len * hidden
    return (
        gemm(name="patch embedding", m=seq_len, n=hidden, k=inputs, bias=True),
        gemm(name="words 1", m=text_len, n=hidden, k=text_width, bias=True),
        vector(name="gelu", read_elements=words, write_elements=words, saved_elements=float(words)),
        gemm(name="words 2", m=text_len, n=hidden, k=hidden, bias=True),
        gemm(name="time 1", m=1, n=hidden, k=TIME_WIDTH, bias=True),
        vector(name="silu", read_elements=hidden, write_elements=hidden, saved_elements=float(hidden)),
        gemm(name="time 2", m=1, n=hidden, k=hidden, bias=True),
        vector(name="silu", read_elements=hidden, write_elements=hidden, saved_elements=float(words + hidden)),
        gemm(name="time projection", m=1, n=6 * hidden, k=hidden, bias=True),
    )


def _modulated(name: str, elements: int, *, parameters: int = 0) -> Op:
    """A layer norm without parameters of its own, scaled and shifted by the time; it keeps its input and its result."""
    return vector(
        name=name, read_elements=MODULATED_LAUNCHES * elements, write_elements=MODULATED_LAUNCHES * elements,
        saved_elements=2.0 * elements, parameters=parameters, split="sequence", launches=MODULATED_LAUNCHES,
    )  # fmt: skip


def _gated_sum(name: str, elements: int) -> Op:
    """A residual sum whose addend is multiplied by a vector of the time; it keeps the addend."""
    return vector(
        name=name, read_elements=3 * elements, write_elements=2 * elements, saved_elements=float(elements),
        split="sequence", launches=2,
    )  # fmt: skip


def _cross(hidden: int, heads: int, head_dim: int, seq_len: int, text_len: int) -> tuple[Op, ...]:
    """Attention of patches to words, with norms over the whole width of queries and keys."""
    queries, keys, *rest = cross_attention(
        hidden=hidden, heads=heads, head_dim=head_dim, seq_len=seq_len, context=text_len, biases=True, dropout=False
    )
    return (
        queries,
        norm("query norm", rows=seq_len, width=hidden, word="rmsnorm", split="inner"),
        keys,
        norm("key norm", rows=text_len, width=hidden, word="rmsnorm", split="inner"),
        *rest,
    )


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"wan": wan}
