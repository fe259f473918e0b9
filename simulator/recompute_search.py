"""The fewest seconds a chain takes within a memory limit, by dynamic programming over its stretches.

A stretch of layers s to t starts from its stored input with m slots of memory, the input and the gradient that waits at
its end among them. Either layer s keeps its activations in one of its ways and the rest is the stretch s + 1 to t, or
the pass runs on to a layer u whose input is stored, the stretch u to t goes first, and then the stretch s to u - 1 runs
forward again:

    T(s, t, m) = min( min_w f_s + b_sw + T(s + 1, t, m - k_sw),
                      min_u f_s + ... + f_(u-1) + T(u, t, m - a_s) + T(s, u - 1, m) )

References
----------
Beaumont et al. 2019, Optimal checkpointing for heterogeneous chains, theorem 1, arXiv:1911.13214 (schedules that never
drop what they stored before its use); Griewank and Walther 2000, ACM TOMS 26(1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd
from typing import Final

import numpy as np

from .kernels.optable import Floats, Ints
from .recompute_chain import Chain, Step

#: Memory is counted in so many slots, where bytes have no common divisor that makes it exact.
SLOTS: Final = 600
#: Cells of the table, at most.
_CELLS: Final = 30_000_000


@dataclass(frozen=True, kw_only=True)
class Table:
    """T(s, t, m): seconds of every stretch with every memory, infinite where none is enough; shape (n, n, M + 1).

    ``chain`` has its bytes in slots of ``slot_byte``, rounded up.
    """

    chain: Chain
    slot_byte: float
    seconds: Floats

    @property
    def slots(self) -> int:
        """Slots of the limit."""
        return int(self.seconds.shape[2]) - 1


def stretch_table(chain: Chain, limit_byte: float) -> Table:
    """Fill the table of a chain for every memory up to the limit."""
    slotted, slot_byte, most = _slotted(chain, limit_byte)
    n = chain.layers
    need = _Needs(slotted)
    table = np.full((n, n, most + 1), np.inf)
    memory = np.arange(most + 1)
    for s in range(n - 1, -1, -1):
        for t in range(s, n):
            cell = table[s, t]
            for way in range(chain.kept_byte.shape[1]):
                rest = table[s + 1, t] if t > s else np.zeros(most + 1)
                least, shift = need.keep(s, t, way), need.kept[s, way]
                if shift > most:
                    continue
                there = chain.forward_s[s] + chain.backward_s[s, way] + rest[: most + 1 - shift]
                np.minimum(cell[shift:], np.where(memory[shift:] >= least, there, np.inf), out=cell[shift:])
            shift = need.inputs[s]
            if t > s and shift <= most:
                sweep = np.cumsum(chain.forward_s[s:t])
                there = table[s + 1 : t + 1, t, : most + 1 - shift] + table[s, s:t, shift:] + sweep[:, None]
                there[memory[shift:] < need.sweep(s, t)[:, None]] = np.inf
                np.minimum(cell[shift:], there.min(axis=0), out=cell[shift:])
    return Table(chain=slotted, slot_byte=slot_byte, seconds=table)


def best_steps(table: Table, memory: int | None = None) -> tuple[Step, ...]:
    """The schedule of the whole chain that the table's best time stands for, with so many slots (all by default)."""
    return tuple(_unfold(table, table.slots if memory is None else memory))


def _unfold(table: Table, memory: int) -> Iterator[Step]:
    chain, need = table.chain, _Needs(table.chain)
    todo: list[Step | tuple[int, int, int]] = [(0, chain.layers - 1, memory)]
    while todo:
        task = todo.pop()
        if isinstance(task, Step):
            yield task
            continue
        s, t, m = task
        _, way, start = min(_choices(table, need, s, t, m))
        if start == s:
            todo.append(Step("back", s, way))
            if t > s:
                todo.append((s + 1, t, m - int(need.kept[s, way])))
            todo.append(Step("keep", s, way))
        else:
            todo.append((s, start - 1, m))
            todo.append((start, t, m - int(need.inputs[s])))
            todo.extend(Step("pass", layer) for layer in range(start - 1, s, -1))
            todo.append(Step("store", s))


def _choices(table: Table, need: _Needs, s: int, t: int, m: int) -> Iterator[tuple[float, int, int]]:
    """(seconds, way, where the next stretch starts) of every legal choice."""
    chain = table.chain
    for way in range(chain.kept_byte.shape[1]):
        left = m - int(need.kept[s, way])
        if m >= need.keep(s, t, way) and left >= 0:
            rest = table.seconds[s + 1, t, left] if t > s else 0.0
            yield chain.forward_s[s] + chain.backward_s[s, way] + rest, way, s
    left = m - int(need.inputs[s])
    if t > s and left >= 0:
        sweep = np.cumsum(chain.forward_s[s:t]) + table.seconds[s + 1 : t + 1, t, left] + table.seconds[s, s:t, m]
        sweep = np.where(m >= need.sweep(s, t), sweep, np.inf)
        u = int(np.argmin(sweep))
        yield float(sweep[u]), 0, s + 1 + u


class _Needs:
    """Memory that passes need, in whole slots."""

    def __init__(self, chain: Chain) -> None:
        def whole(value: Floats) -> Ints:
            return np.asarray(value, dtype=np.int64)

        self.inputs, self.kept, self.working = (
            whole(each) for each in (chain.input_byte, chain.kept_byte, chain.working_byte)
        )
        self.outputs, self.gradients = whole(chain.output_byte), whole(chain.gradient_byte)
        self.waiting = whole(chain.output_gradient_byte)

    def keep(self, s: int, t: int, way: int) -> int:
        """Layer s of the stretch s to t runs forward with all kept, and back."""
        forward = max(self.inputs[s], self.kept[s, way]) + self.outputs[s] + self.waiting[t]
        return int(max(forward, self.kept[s, way] + self.waiting[s] + self.gradients[s] + self.working[s]))

    def sweep(self, s: int, t: int) -> Ints:
        """The pass runs from s on to u, for all u from s + 1 to t; shape (t - s,)."""
        moving = self.inputs[s:t] + self.outputs[s:t]
        moving = np.concatenate([[self.outputs[s]], moving[1:]])
        return np.asarray(self.inputs[s] + np.maximum.accumulate(moving) + self.waiting[t], dtype=np.int64)


def _slotted(chain: Chain, limit_byte: float) -> tuple[Chain, float, int]:
    """The chain with bytes in slots, the bytes of a slot, and the slots of the limit.

    Slots are the greatest common divisor of all bytes where that makes few enough. Else, of the counts from half the
    most to the most, the one that wastes least by rounding up.
    """
    names = ("kept_byte", "input_byte", "gradient_byte", "working_byte")
    sizes = np.concatenate([getattr(chain, name).reshape(-1) for name in names])
    most = max(2, min(SLOTS, _CELLS // chain.layers**2))
    whole = bool((sizes == np.rint(sizes)).all() and sizes.max() < 2.0**53)
    unit = float(gcd(*(int(size) for size in sizes))) if whole else 0.0
    if unit and limit_byte / unit < most + 1:
        slot, count = unit, int(limit_byte // unit)
    else:
        counts = np.arange(max(most // 2, 1), most + 1)
        slots = np.maximum(limit_byte, np.finfo(float).tiny) / counts
        waste = (np.ceil(sizes[:, None] / slots - 1e-9) * slots - sizes[:, None]).sum(axis=0)
        best = int(np.argmin(waste))
        slot, count = float(slots[best]), int(counts[best])
    found = {name: np.minimum(np.ceil(getattr(chain, name) / slot - 1e-9), count + 1.0) for name in names}
    return replace(chain, **found), slot, count


def least_byte(chain: Chain) -> float:
    """The least memory with which a chain can go forward and back at all [B].

    The recurrence of the head of this file with the greatest memory in place of the sum of times; exact in bytes.
    """
    n = chain.layers
    out, waiting, inputs = chain.output_byte, chain.output_gradient_byte, chain.input_byte
    least = np.zeros((n, n))
    for s in range(n - 1, -1, -1):
        for t in range(s, n):
            forward = np.maximum(inputs[s], chain.kept_byte[s]) + out[s] + waiting[t]
            backward = chain.kept_byte[s] + waiting[s] + chain.gradient_byte[s] + chain.working_byte[s]
            here = np.maximum(forward, backward)
            if t > s:
                here = np.maximum(here, chain.kept_byte[s] + least[s + 1, t])
                moving = np.maximum.accumulate(np.append(out[s], inputs[s + 1 : t] + out[s + 1 : t]))
                swept = inputs[s] + moving + waiting[t]
                runs = np.maximum(np.maximum(swept, inputs[s] + least[s + 1 : t + 1, t]), least[s, s:t])
                here = np.append(here, runs.min())
            least[s, t] = here.min()
    return float(least[0, n - 1])
