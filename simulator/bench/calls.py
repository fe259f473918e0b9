"""The calls of a training step: one step is made once, untimed, and every call into PyTorch's kernels is written down.

A call has a kind and lengths, those of the probe's suites, and the tensors that it reads and writes, by where they lie
in memory. From the order of the calls follows how much was touched since a tensor was touched last, and from that which
cache or memory serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

#: Calls that make no kernel: views, and what only allocates. Each still costs the host its dispatch.
VIEWS: Final = frozenset((
    "view", "transpose", "t", "permute", "expand", "select", "slice", "unsqueeze", "squeeze", "_unsafe_view", "unbind",
    "detach", "alias", "as_strided", "split", "empty", "empty_like", "empty_strided", "new_empty", "lift_fresh",
    "_local_scalar_dense",
))  # fmt: skip
#: Calls of the profiler's own marks, which cost nothing worth counting.
_MARKS: Final = ("_record_function_enter_new", "_record_function_exit", "_record_function_enter")


@dataclass(frozen=True, kw_only=True)
class Touched:
    """A stretch of memory that a call reads or writes: where it begins and how long it is [B]."""

    begin: int
    byte: int
    written: bool


@dataclass(frozen=True, kw_only=True)
class StepCall:
    """One call: a suite of the probe and a kind of it ("" where no suite has it), its lengths, and what it touches."""

    word: str
    suite: str
    kind: str
    lengths: Mapping[str, float]
    touched: tuple[Touched, ...]
    part: str = "passes"


@dataclass
class _Log:
    calls: list[StepCall] = field(default_factory=list)
    views: int = 0
    part: str = "passes"
    unknown: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepCalls:
    """All calls of a step in order; ``views`` calls that make none; ``gradients`` bytes of every parameter's [B] with
    the number of calls after which it is complete, in that order; ``buffers`` formats of what modules keep beside
    parameters; ``unknown`` calls that no suite has, by name."""

    calls: tuple[StepCall, ...]
    views: int
    gradients: tuple[tuple[int, int], ...]
    buffers: int
    unknown: Mapping[str, int]


def calls_of(torch: Any, module: Any, inputs: Iterable[Any], optimizer: Any) -> StepCalls:
    """The calls of a step: gradients emptied, loss, backward pass, update. One more step is made before, so that the
    optimizer's state and the module's buffers exist."""
    from torch.utils._python_dispatch import TorchDispatchMode

    log = _Log()

    class Writing(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = call(*args, **(kwargs or {}))
            _write_down(torch, log, call, args, kwargs or {}, out)
            return out

    order: list[tuple[int, int]] = []

    def step() -> None:
        optimizer.zero_grad()
        loss = module(*inputs)
        loss.backward()
        log.part = "update"
        optimizer.step()
        log.part = "passes"

    step()
    hooks = [
        p.register_post_accumulate_grad_hook(lambda q: order.append((q.numel() * q.element_size(), len(log.calls))))
        for p in module.parameters()
        if p.requires_grad
    ]
    with Writing():  # type: ignore[no-untyped-call]
        step()
    for hook in hooks:
        hook.remove()
    buffers = len({b.dtype for b in module.buffers()})
    return StepCalls(
        calls=tuple(log.calls), views=log.views, gradients=tuple(order), buffers=buffers, unknown=dict(log.unknown)
    )


def _tensors(torch: Any, value: Any) -> Iterable[Any]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(torch, entry)


def _stretch(tensor: Any, written: bool) -> Touched:
    """Where a tensor lies; what is repeated by broadcasting counts once."""
    spread = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)) + 1 if tensor.numel() else 0
    byte = min(prod(n for n, s in zip(tensor.shape, tensor.stride(), strict=True) if s), spread)
    return Touched(begin=tensor.data_ptr(), byte=int(byte) * tensor.element_size(), written=written)


def _write_down(torch: Any, log: _Log, call: Any, args: Any, kwargs: Any, out: Any) -> None:
    word = call.overloadpacket.__name__ if hasattr(call, "overloadpacket") else str(call)
    if word in _MARKS:
        return
    if word in VIEWS:
        log.views += 1
        return
    read = [t for t in _tensors(torch, [*args, *kwargs.values()]) if t.device.type != "meta"]
    made = list(_tensors(torch, out))
    touched = tuple(_stretch(t, False) for t in read) + tuple(_stretch(t, True) for t in made)
    reader = READERS.get(word)
    found = reader(args, made) if reader else None
    if found is None:
        log.unknown[word] = log.unknown.get(word, 0) + 1
        found = [("", "", {})]
    for place, (suite, kind, lengths) in enumerate(found):
        log.calls.append(
            StepCall(
                word=word, suite=suite, kind=kind, lengths=lengths, part=log.part,
                touched=touched if place == 0 else (),
            )
        )  # fmt: skip


Found = list[tuple[str, str, dict[str, float]]]


def _cells(kind: str) -> Callable[[Any, list[Any]], Found]:
    """A call of the training suite whose cells are those of its largest tensor."""

    def read(args: Any, made: list[Any]) -> Found:
        tensors = [t for t in (*args, *made) if hasattr(t, "numel")]
        first = max(tensors, key=lambda t: t.numel())
        columns = first.shape[-1] if first.dim() else 1
        return [("training", kind, {"cells": float(first.numel()), "rows": first.numel() / max(columns, 1)})]

    return read


def _channels(kind: str) -> Callable[[Any, list[Any]], Found]:
    def read(args: Any, made: list[Any]) -> Found:
        x = max((t for t in (*args, *made) if hasattr(t, "numel")), key=lambda t: t.numel())
        return [("training", kind, {"cells": float(x.numel()), "rows": float(x.shape[0] * x.shape[1])})]

    return read


def _product(at: int) -> Callable[[Any, list[Any]], Found]:
    def read(args: Any, made: list[Any]) -> Found:
        a, b = args[at], args[at + 1]
        batch = float(a.shape[0]) if a.dim() == 3 else 1.0
        m, k, n = float(a.shape[-2]), float(a.shape[-1]), float(b.shape[-1])
        layout = "bmm" if a.dim() == 3 else _layout(a, b)
        found: Found = [("gemm", layout, {"m": m, "n": n, "k": k, "batch": batch})]
        # A bias is copied into the result first.
        if at:
            found.append(("training", "spread", {"cells": m * n, "rows": m, "near": 1.0}))
        return found

    return read


def _layout(a: Any, b: Any) -> str:
    return ("T" if a.stride(-1) != 1 and a.shape[-1] > 1 else "N") + (
        "T" if b.stride(-1) != 1 and b.shape[-1] > 1 else "N"
    )


def _conv_lengths(x: Any, weight: Any, out: Any, stride: Any, padding: Any) -> dict[str, float]:
    return {
        "conv_n": float(x.shape[0]), "conv_c": float(x.shape[1]), "conv_h": float(x.shape[2]),
        "conv_w": float(x.shape[3]), "conv_k": float(weight.shape[0]), "filt_h": float(weight.shape[2]),
        "filt_w": float(weight.shape[3]), "pad_h": float(padding[0]), "pad_w": float(padding[1]),
        "stride_h": float(stride[0]), "stride_w": float(stride[1]),
    }  # fmt: skip


def _convolution(args: Any, made: list[Any]) -> Found | None:
    if args[8] != 1 or args[6]:
        return None
    return [("convolution", "fwd", _conv_lengths(args[0], args[1], made[0], args[3], args[4]))]


def _convolution_backward(args: Any, made: list[Any]) -> Found | None:
    if args[9] != 1 or args[7]:
        return None
    lengths = _conv_lengths(args[1], args[2], args[0], args[4], args[5])
    wanted = zip(("bwd_data", "bwd_weights"), args[10][:2], strict=True)
    return [("convolution", kind, lengths) for kind, want in wanted if want]


def _attention(kind: str) -> Callable[[Any, list[Any]], Found]:
    def read(args: Any, made: list[Any]) -> Found:
        q = args[0] if kind == "fwd" else args[1]
        causal = bool(args[4] if kind == "fwd" else args[7]) if len(args) > (4 if kind == "fwd" else 7) else False
        b, h, n, d = (float(x) for x in q.shape)
        return [("attention", kind, {"batch": b, "heads": h, "seq_len": n, "head_dim": d, "causal": float(causal)})]

    return read


def _embedding(args: Any, made: list[Any]) -> Found:
    rows, width = args[0].shape
    return [("embedding", "fwd", {"lookups": float(args[1].numel()), "width": float(width), "table_rows": float(rows)})]


def _embedding_backward(args: Any, made: list[Any]) -> Found:
    width = float(args[0].shape[-1])
    lengths = {"lookups": float(args[1].numel()), "width": width, "table_rows": float(args[2])}
    return [("embedding", "bwd", lengths)]


def _lstm(kind: str) -> Callable[[Any, list[Any]], Found]:
    def read(args: Any, made: list[Any]) -> Found:
        x, w_in = args[0], args[1]
        lengths = {
            "timesteps": float(x.shape[0]), "batch": float(x.shape[1]), "inputs": float(x.shape[2]),
            "hidden": float(w_in.shape[0] // 4),
        }  # fmt: skip
        return [("recurrent", kind, lengths)]

    return read


def _copy(args: Any, made: list[Any]) -> Found:
    return _cells("copy" if args[0].is_contiguous() else "turned_copy")(args, made)


READERS: Final[Mapping[str, Callable[[Any, list[Any]], Found | None]]] = {
    "mm": _product(0), "addmm": _product(1), "bmm": _product(0), "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "_scaled_dot_product_flash_attention_for_cpu": _attention("fwd"),
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention("bwd"),
    "embedding": _embedding, "embedding_dense_backward": _embedding_backward,
    "mkldnn_rnn_layer": _lstm("fwd"), "mkldnn_rnn_layer_backward": _lstm("bwd"),
    "native_batch_norm": _channels("batchnorm"), "native_batch_norm_backward": _channels("batchnorm_bwd"),
    "max_pool2d_with_indices": _channels("maxpool"),
    "max_pool2d_with_indices_backward": _channels("maxpool_bwd"), "mean": _channels("mean"),
    "sum": _cells("row_sum"), "clone": _copy, "copy_": _cells("copy"), "stack": _cells("stack"), "cat": _cells("stack"),
    "add": _cells("add"), "relu": _cells("relu"), "threshold_backward": _cells("relu_bwd"), "gelu": _cells("gelu"),
    "gelu_backward": _cells("gelu_bwd"), "native_layer_norm": _cells("layernorm"),
    "native_layer_norm_backward": _cells("layernorm_bwd"), "_log_softmax": _cells("log_softmax"),
    "_log_softmax_backward_data": _cells("log_softmax_bwd"), "nll_loss_backward": _cells("nll_bwd"),
    "nll_loss_forward": lambda args, made: [("training", "fill", {"cells": float(args[1].numel()), "rows": 1.0})],
    "zeros": _cells("fill"), "zeros_like": _cells("fill"), "ones_like": _cells("fill"), "fill_": _cells("fill"),
    "arange": _cells("fill"), "mul_": _cells("scale"), "mul": _cells("scale"), "lerp_": _cells("lerp"),
    "addcmul_": _cells("addcmul"), "sqrt": _cells("sqrt"), "addcdiv_": _cells("addcdiv"),
    "div": lambda args, made: _cells("spread" if 0 in args[0].stride() else "sqrt")(args, made),
    "add_": lambda args, made: _cells("add_into" if hasattr(args[1], "numel") else "scale")(args, made),
}  # fmt: skip
