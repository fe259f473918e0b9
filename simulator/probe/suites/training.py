"""What a training step calls beside products: normalisations, pools, losses, sums, copies and what an update does.

Every call is made on one set of tensors after the other, so that what it touches lies in the near caches, in the last
one or in memory, as it does between the passes of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite

#: Tensors that a call reads and writes, in units of its cells; see `words_of`.
WORDS: Final[Mapping[str, tuple[float, float]]] = {
    "add": (2.0, 1.0), "add_into": (2.0, 1.0), "scale": (1.0, 1.0), "relu": (1.0, 1.0), "relu_bwd": (2.0, 1.0),
    "gelu": (1.0, 1.0), "gelu_bwd": (2.0, 1.0), "layernorm": (1.0, 1.0), "layernorm_bwd": (2.0, 1.0),
    "log_softmax": (1.0, 1.0), "log_softmax_bwd": (2.0, 1.0), "nll_bwd": (0.0, 1.0), "row_sum": (1.0, 0.0),
    "turned_copy": (1.0, 1.0), "copy": (1.0, 1.0), "stack": (1.0, 1.0), "spread": (0.0, 1.0), "fill": (0.0, 1.0),
    "batchnorm": (1.0, 1.0), "batchnorm_bwd": (2.0, 1.0), "maxpool": (1.0, 0.75), "maxpool_bwd": (0.75, 1.0),
    "mean": (1.0, 0.0), "lerp": (2.0, 1.0), "addcmul": (3.0, 1.0), "sqrt": (1.0, 1.0), "addcdiv": (3.0, 1.0),
}  # fmt: skip
KINDS: Final = tuple(WORDS)
#: Kinds of images: cells are images x channels x height x width. The others have rows and columns.
IMAGES: Final = ("batchnorm", "batchnorm_bwd", "maxpool", "maxpool_bwd", "mean", "spread")
_SIDES: Final = (8, 16, 32, 56, 28, 14, 112)
_COLUMNS: Final = (256, 1024, 512, 64, 2048, 128, 4096)
_SETS: Final = (1, 4, 1, 16, 64, 2)
#: Most that one call touches, and all sets together [B].
_CALL_BYTE, _ALL_BYTE = 2.0**25, 3.0 * 2.0**26


def words_of(kind: str) -> float:
    """Words that a call reads and writes for a cell of its tensors, each once."""
    return sum(WORDS[kind])


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", kind) for kind in KINDS) if "fp32" in precisions else ()


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    cells = draw.log(0, scale.byte[0], min(scale.byte[1], _CALL_BYTE)) / (4.0 * words_of(kind))
    if kind in IMAGES:
        fits = [side for side in _SIDES if side * side <= cells] or [8]
        side = int(draw.one_of(1, fits))
        images = int(min(draw.one_of(3, (8, 16, 32, 4)), max(1.0, cells / side**2)))
        channels = max(1, int(min(cells / (images * side**2), 2048.0)))
        shape: dict[str, int | str] = {"kind": kind, "images": images, "channels": channels, "side": side}
        count = images * channels * side**2
    else:
        columns = int(min(draw.one_of(1, _COLUMNS), cells))
        rows = max(1, int(cells / columns))
        shape = {"kind": kind, "rows": rows, "cols": columns}
        count = rows * columns
    byte = 4.0 * words_of(kind) * count
    shape["sets"] = int(max(1.0, min(draw.one_of(2, _SETS), _ALL_BYTE / byte)))
    return Case(suite="training", precision=precision, shape=shape, flop=0.0, byte=byte)


def _prepare(torch: Any, device: str, case: Case) -> Call:
    s, kind = case.shape, str(case.shape["kind"])
    if kind in IMAGES:
        lengths = [int(s["images"]), int(s["channels"]), int(s["side"]), int(s["side"])]
    else:
        lengths = [int(s["rows"]), int(s["cols"])]
    calls = [_call(torch, device, kind, lengths) for _ in range(int(s["sets"]))]
    if len(calls) == 1:
        return calls[0]
    place = -1

    def in_turn() -> object:
        nonlocal place
        place = (place + 1) % len(calls)
        return calls[place]()

    return in_turn


def _call(torch: Any, device: str, kind: str, lengths: list[int]) -> Call:
    aten = torch.ops.aten
    x = torch.randn(lengths, device=device).abs_().add_(0.1)
    need = WORDS[kind][0] + WORDS[kind][1]
    y = torch.ones_like(x) if need > 2 or kind in ("add_into", "stack") else x
    z = torch.ones_like(x) if need > 3 else y
    if kind in IMAGES:
        return _of_images(torch, kind, x, y)
    columns = lengths[-1]
    weight = torch.ones(columns, device=device)
    small = torch.ones(lengths[0], 1, device=device)
    target = torch.randint(0, columns, (lengths[0],), device=device)
    one = torch.ones((), device=device)
    # A batch's heads change places with its positions: a stride of whole heads, as attention's operands have.
    head = next((h for h in (64, 32, 16, 8, 4, 2) if columns % h == 0 and columns > h), 1)
    halves = [v.contiguous() for v in x.view(-1)[: x.numel() // 3 * 3].chunk(3)] if kind == "stack" else []
    calls: dict[str, Callable[[], object]] = {
        "add": lambda: torch.add(x, y),
        "add_into": lambda: x.add_(y, alpha=1e-9),
        "scale": lambda: x.mul_(1.0),
        "relu": lambda: torch.relu(x),
        "relu_bwd": lambda: aten.threshold_backward(x, y, 0),
        "gelu": lambda: aten.gelu(x),
        "gelu_bwd": lambda: aten.gelu_backward(y, x),
        "layernorm": lambda: aten.native_layer_norm(x, [columns], weight, weight, 1e-5),
        "layernorm_bwd": lambda: aten.native_layer_norm_backward(
            y, x, [columns], small, small, weight, weight, [True, True, True]
        ),
        "log_softmax": lambda: aten._log_softmax(x, 1, False),
        "log_softmax_bwd": lambda: aten._log_softmax_backward_data(x, y, 1, x.dtype),
        "nll_bwd": lambda: aten.nll_loss_backward(one, x, target, None, 1, -100, one),
        "row_sum": lambda: x.sum(0, keepdim=True),
        "turned_copy": lambda: x.view(-1, columns // head, head).transpose(0, 1).contiguous(),
        "copy": lambda: x.clone(),
        "stack": lambda: torch.stack(halves),
        "fill": lambda: torch.zeros_like(x),
        "lerp": lambda: x.lerp_(y, 0.1),
        "addcmul": lambda: x.addcmul_(y, z, value=1e-9),
        "sqrt": lambda: torch.sqrt(x),
        "addcdiv": lambda: x.addcdiv_(y, z, value=-1e-9),
    }
    return calls[kind]


def _of_images(torch: Any, kind: str, x: Any, y: Any) -> Call:
    aten, channels, side = torch.ops.aten, x.shape[1], x.shape[2]
    weight, other = (torch.ones(channels, device=x.device) for _ in range(2))
    if kind.startswith("maxpool"):
        pooled, places = aten.max_pool2d_with_indices(x, [2, 2], [2, 2])
        back = torch.ones_like(pooled)
        return {
            "maxpool": lambda: aten.max_pool2d_with_indices(x, [2, 2], [2, 2]),
            "maxpool_bwd": lambda: aten.max_pool2d_with_indices_backward(
                back, x, [2, 2], [2, 2], [0, 0], [1, 1], False, places
            ),
        }[kind]
    mean = x.mean((2, 3), keepdim=True)
    return {
        "batchnorm": lambda: aten.native_batch_norm(x, weight, weight, other, other, True, 0.1, 1e-5),
        "batchnorm_bwd": lambda: aten.native_batch_norm_backward(
            y, x, weight, other, other, weight, weight, True, 1e-5, [True, True, True]
        ),
        "mean": lambda: x.mean((2, 3), keepdim=True),
        "spread": lambda: mean.expand(-1, -1, side, side) / float(side * side),
    }[kind]


SUITE: Final = Suite(
    name="training", title="what a training step calls beside products, near and far in memory", strata=_strata,
    case=_case, prepare=_prepare, most=24 * len(KINDS),
)  # fmt: skip
