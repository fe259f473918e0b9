"""Autoregressive generation as work: the prompt's forward pass, one step of decoding, what a sequence keeps meanwhile.

A causal network is laid out again out of its training layout: for another length (the prompt, read at once), or for one
token that attends to what is cached. Per sequence, as everywhere here; a batch of sequences is a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, vector
from workloads.workload import Workload

#: Products of a chunked scan whose result is the state after a chunk: batch = heads x chunks, state = m x n, chunk = k.
_STATES: Final = ("chunk states", "delta update")
#: Element-wise ops that only a scan in chunks has.
_OF_CHUNKS: Final = ("state passing", "triangular inverse")
#: The product that makes the latent which keys and values are expanded from (multi-head latent attention).
_LATENT: Final = "key value down"
_EXPANDED: Final = "key value up"
#: Layers that serve training only.
_TRAINING_ONLY: Final = "next token"


@dataclass(frozen=True, kw_only=True)
class Cache:
    """What one sequence keeps on one tensor-parallel rank, in elements: so many a token up to ``limits``, and a state.

    ``per_token`` and ``limits`` are those of each layer of attention, repeats counted: (elements a token, most tokens).
    """

    per_token: tuple[tuple[float, float], ...]
    state: float

    def elements(self, tokens: float) -> float:
        """Elements of a sequence of so many tokens: sum of elements a token x min(tokens, window), and the state."""
        return sum(each * min(tokens, limit) for each, limit in self.per_token) + self.state


def check_generates(workload: Workload) -> None:
    """Refuse what does not generate token by token, or not by a mechanism that is known here.

    Raises
    ------
    WorkloadError
        For other than causal networks of attention and chunked scans.
    """
    where = f"generation: '{workload.name}'"
    if not workload.causal or workload.sample != "sequence":
        raise WorkloadError(f"{where} is no causal network of sequences; legal: a decoder, as Llama-3.1-8B.")
    for op in (op for layer in workload.layers for op in layer.ops):
        if op.kind == "attention" and (not op.causal or op.context > op.seq_len):
            raise WorkloadError(f"{where} attends to an encoder or a memory; legal: a decoder alone, as Llama-3.1-8B.")
        if op.kind not in ("gemm", "attention", "vector", "embedding") or (_is_other_product(op)):
            raise WorkloadError(
                f"{where}: decoding '{op.name}' is not known; legal: attention (multi-head, grouped, windowed, "
                "latent) and chunked scans."
            )


def _is_product(op: Op) -> bool:
    return op.kind == "gemm" and op.batch > 1 and not op.parameters


def _is_scan(op: Op) -> bool:
    return _is_product(op) and op.split == "heads" and not op.saved_elements


def _is_other_product(op: Op) -> bool:
    return _is_product(op) and not _is_scan(op)


def window(op: Op) -> float:
    """Keys that a query of an attention op sees at most; infinite where it sees all before it.

    The inverse of C = 2 w - w^2 / s, the mean context C of s positions whose queries see w keys (`mean_context`).
    Where one op stands for windowed and full layers, their mean is taken for a window.
    """
    if op.context >= op.seq_len:
        return float("inf")
    return op.seq_len * (1.0 - sqrt(1.0 - op.context / op.seq_len))


def at_length(workload: Workload, tokens: int, *, last_only: bool = False) -> Workload:
    """A causal network laid out for sequences of ``tokens``; with ``last_only`` its head reads the last position.

    All but attention goes with the tokens. Leaves out: rows of a learned position table that do not exist.
    """
    check_generates(workload)
    if tokens < 1:
        raise WorkloadError(f"generation: a sequence of {tokens} tokens; at least 1.")
    trained = workload.tokens_per_sample

    def of_layer(layer: Layer) -> Layer:
        rows = 1 if last_only and layer.kind == "head" else tokens
        return replace(layer, ops=tuple(_scaled(op, rows, trained, tokens) for op in layer.ops))

    layers = tuple(of_layer(layer) for layer in workload.layers if layer.name != _TRAINING_ONLY or not last_only)
    return replace(workload, layers=layers, tokens_per_sample=tokens, hyper={**workload.hyper, "seq_len": tokens})


def decode_step(workload: Workload, context: int, *, tp: int = 1) -> Workload:
    """The forward work of one more token of a sequence that has ``context`` tokens, itself included.

    Attention reads ``context`` cached keys and values (a window of them at most); of latent attention the latent, which
    all heads share: queries and results go through the expanding product instead, as much work as to expand one token
    [1]_. A scan reads and writes its state. Where tensor-parallel ranks are more than heads of keys and values, each
    has a copy of one: ``tp`` x the bytes of one in all.

    References
    ----------
    .. [1] DeepSeek-AI, DeepSeek-V2, 2024, section 2.1.2 and appendix B (absorbed products), arXiv:2405.04434
    """
    check_generates(workload)
    if context < 1 or tp < 1:
        raise WorkloadError(f"generation: {context} tokens on {tp} tensor-parallel ranks; at least 1 each.")
    layers = tuple(
        replace(layer, ops=_decoded(layer, workload.tokens_per_sample, context, tp))
        for layer in workload.layers
        if layer.name != _TRAINING_ONLY
    )
    return replace(workload, layers=layers, tokens_per_sample=1)


def cache(workload: Workload, *, tp: int = 1) -> Cache:
    """What a sequence keeps on one of ``tp`` ranks.

    Multi-head and grouped attention: kv_heads (key + value width) a token, of which a rank has its heads, one at least;
    a window keeps its last tokens. Latent attention: the latent and the turned keys, on every rank. Scans: heads x
    state x width, and the last inputs of the short convolution, whatever the length.
    """
    check_generates(workload)
    per_token: list[tuple[float, float]] = []
    state = 0.0
    for layer in workload.layers:
        if layer.name == _TRAINING_ONLY:
            continue
        latent = _latent(layer)
        for op in layer.ops:
            if op.kind == "attention":
                each = latent[0] if latent else (op.head_dim + op.value_width) * max(op.kv_heads / tp, 1.0)
                per_token.append((layer.repeat * each, window(op)))
        state += layer.repeat * _state_elements(layer, workload.tokens_per_sample) / tp
    return Cache(per_token=tuple(per_token), state=state)


def _latent(layer: Layer) -> tuple[float, float] | None:
    """(elements cached a token, those of them that are values) of latent attention; None for any other."""
    down = next((op for op in layer.ops if op.name == _LATENT), None)
    up = next((op for op in layer.ops if op.name == _EXPANDED), None)
    return None if down is None or up is None else (float(down.n), float(up.k))


def _state_elements(layer: Layer, trained: int) -> float:
    """Elements of the states of a layer's scans for one sequence, and of what its short convolution looks back on."""
    elements = 0.0
    for op in layer.ops:
        if op.name in _STATES and _is_scan(op):
            elements += op.batch / ceil(trained / op.k) * op.m * op.n
        elif op.name == "short convolution" and op.write_elements:
            channels = op.write_elements / trained
            elements += max(op.parameters - channels, 0.0)
    return elements


def _scaled(op: Op, rows: int, trained: int, tokens: int) -> Op:
    """An op over ``rows`` positions instead of ``trained``; attention over ``tokens`` keys."""
    if op.kind == "attention":
        seen = tokens if op.context >= op.seq_len else _mean_context(window(op), tokens)
        return _attending(op, queries=rows, keys=seen)
    share = rows / trained
    if _is_scan(op):
        batch = max(1, round(op.batch * share))
        return replace(
            op, batch=batch, forward_flop=2 * batch * op.m * op.n * op.k,
            read_elements=round(op.read_elements * share), write_elements=round(op.write_elements * share),
        )  # fmt: skip
    m = max(1, round(op.m * share)) if op.kind in ("gemm", "embedding") else op.m
    return replace(
        op, m=m, forward_flop=2 * m * op.n * op.k * op.batch if op.kind == "gemm" else op.forward_flop,
        read_elements=round(op.read_elements * share), write_elements=round(op.write_elements * share),
        saved_elements=op.saved_elements * share, exchanged_elements=op.exchanged_elements * share,
    )  # fmt: skip


def _mean_context(keys: float, tokens: int) -> int:
    """`transformer_blocks.mean_context` of a window that need not be whole."""
    return tokens if keys >= tokens else max(1, round(2 * keys - keys**2 / tokens))


def _attending(op: Op, *, queries: int, keys: int, **changed: int | bool) -> Op:
    """An attention op with other queries and keys."""
    scores = op.heads * queries * keys
    shape = replace(
        op, seq_len=queries, context=keys, forward_flop=2 * scores * (op.head_dim + op.value_width),
        score_elements=op.score_elements / max(op.softmax_elements, 1) * scores, softmax_elements=scores,
        statistic_elements=2.0 * op.heads * queries,
    )  # fmt: skip
    held = op.kv_heads * (op.head_dim + op.value_width) * keys
    read = op.heads * op.head_dim * queries + held
    shape = replace(
        shape, read_elements=read, write_elements=op.heads * op.value_width * queries, saved_elements=float(read)
    )
    return replace(shape, **changed)  # type: ignore[arg-type]


def _decoded(layer: Layer, trained: int, context: int, tp: int) -> tuple[Op, ...]:
    latent, states = _latent(layer), _state_elements(layer, trained)
    ops: list[Op] = []
    for op in layer.ops:
        if op.kind == "attention":
            keys = max(1, min(context, round(window(op)) if op.context < op.seq_len else context))
            core = _latent_core(op, latent, tp) if latent else replace(op, kv_heads=max(op.kv_heads, tp))
            ops.append(_attending(core, queries=1, keys=keys, causal=False))
        elif op.name in _STATES and _is_scan(op):
            elements = round(states)
            update = vector(name="state update", read_elements=elements, write_elements=elements, split="inner")
            ops.append(update)
        elif not _is_scan(op) and op.name not in _OF_CHUNKS:
            ops.append(_scaled(op, 1, trained, 1))
    return tuple(ops)


def _latent_core(op: Op, latent: tuple[float, float], tp: int) -> Op:
    """Attention of all heads to one shared latent, as an op that reads and multiplies as much.

    Scores take the latent and turned keys as keys, results its value part: each head multiplies key + value elements of
    a token, but they are read once. An op of width ``key`` (half for keys, half for values) and (key + value) / key x
    as many heads does as much work on the same bytes.
    """
    keys, values = latent
    half = round(keys) // 2
    return replace(
        op, heads=ceil(op.heads * (keys + values) / keys), kv_heads=tp, head_dim=half, value_dim=round(keys) - half,
        forward_flop=0, seq_len=0, context=0,
    )  # fmt: skip
