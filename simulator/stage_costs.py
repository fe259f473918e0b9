"""What the layers of a network cost a pipeline stage, and what crosses the cut behind each of them.

Layers stand here one by one, in forward order: a `Layer` with ``repeat`` 96 is 96 of them.
"""

from __future__ import annotations

import numpy as np

from workloads.layer import Layer
from workloads.workload import Workload

from .kernels.optable import Floats, Ints

#: Work of a backward pass in forward passes: one product for the input's gradient, one for the parameters'.
BACKWARD_WORK = 2.0


def layer_repeats(workload: Workload) -> Ints:
    """Repeats of every layer of a workload; shape (G,)."""
    return np.array([layer.repeat for layer in workload.layers], dtype=np.int64)


def one_by_one(workload: Workload, per_layer: Floats) -> Floats:
    """A quantity of one repeat of every layer, shape (..., G), for every single layer, shape (..., n)."""
    return np.repeat(np.asarray(per_layer, dtype=np.float64), layer_repeats(workload), axis=-1)


def layer_work_s(workload: Workload, *, flop_per_s: float, byte_per_s: float, element_byte: float = 2.0) -> Floats:
    """Forward and backward time of one repeat of every layer for one sample; shape (G,) [s].

    t = sum over ops of 3 max(FLOP / rate, element_byte (read + written) / bandwidth), and for a table its dense
    gradient, 2 element_byte parameters / bandwidth. The bare roofline: good enough to weigh layers against each other
    where no priced durations are at hand.

    Leaves out: efficiency by shape, launches, parameters' own traffic, collectives.
    """
    times = []
    for layer in workload.layers:
        seconds = 0.0
        for op in layer.ops:
            traffic = element_byte * (op.read_elements + op.write_elements)
            seconds += (1.0 + BACKWARD_WORK) * max(op.forward_flop / flop_per_s, traffic / byte_per_s)
            if op.kind == "embedding" and op.split != "table":
                seconds += 2.0 * element_byte * op.parameters / byte_per_s
        times.append(seconds)
    return np.array(times)


def crossing_elements(workload: Workload) -> Floats:
    """Elements of one sample that a pipeline hands on where it cuts behind a layer; shape (n - 1,).

    That is what the layer before the cut writes, or what the layer behind it reads where that is more (dense
    connections), a batch normalisation's second reading not counted. Tensors that are needed further on are handed
    through every cut on the way: skip connections of encoders (the concatenation or crop at a layer's head names their
    size), and in encoder-decoders what the encoder wrote last, up to the last block.

    Leaves out: skips whose size no earlier op writes, which count where they are read; tensors that only auxiliary
    heads need; that one rank of a tensor-parallel group may send its share only.
    """
    single = [layer for layer in workload.layers for _ in range(layer.repeat)]
    crossing = np.zeros(max(len(single) - 1, 0))
    for place in range(1, len(single)):
        before, behind = single[place - 1], single[place]
        crossing[place - 1] = max(before.handed_elements, _read_once(before, behind))
    for source, reader, elements in _skips(single):
        # What a layer hands on anyhow is not sent twice across the cut behind it.
        own = single[source].handed_elements == elements
        crossing[source + own : reader - 1] += elements
        written = single[reader - 1].handed_elements
        crossing[reader - 1] = max(crossing[reader - 1], written + elements)
    encoder, last_block = _encoder_decoder(single)
    if encoder is not None:
        crossing[encoder + 1 : last_block] += single[encoder].handed_elements
    return crossing


def _read_once(before: Layer, behind: Layer) -> int:
    first, written = behind.ops[0], before.handed_elements
    twice = first.kind == "vector" and first.read_elements == 2 * written == 2 * first.write_elements
    return written if twice or first.kind == "embedding" else first.read_elements


def _skips(single: list[Layer]) -> list[tuple[int, int, int]]:
    """(layer that writes, layer that reads, elements) of tensors that layers in between do not touch."""
    found = []
    for reader in range(2, len(single)):
        written = single[reader - 1].handed_elements
        for op in single[reader].ops[:2]:
            missing = 0
            if op.kind == "vector" and op.read_elements == op.write_elements > written:
                missing = op.read_elements - written
            elif op.kind == "vector" and op.write_elements == written < op.read_elements != 2 * written:
                missing = op.read_elements
            source = _written_at(single[: reader - 1], missing) if missing else None
            if source is not None:
                found.append((source, reader, missing))
                break
            written = op.write_elements
    return found


def _written_at(single: list[Layer], elements: int) -> int | None:
    return next(
        (p for p in range(len(single) - 1, -1, -1) if any(op.write_elements == elements for op in single[p].ops)), None
    )


def _encoder_decoder(single: list[Layer]) -> tuple[int | None, int]:
    """The encoder's last layer, None where there is one stack only, and the last block."""
    blocks = [place for place, layer in enumerate(single) if layer.kind == "block"]
    inner = [place for place, layer in enumerate(single) if layer.kind == "embedding" and blocks and place > blocks[0]]
    return (inner[-1] - 1 if inner else None), (blocks[-1] if blocks else len(single) - 1)
