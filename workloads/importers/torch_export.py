"""Any ``torch.nn.Module`` -> `Workload`: traced by ``torch.export``, walked on the meta device, no numbers computed.

The trace keeps fused attention and recurrent layers whole. Every call of it is made once more on the meta device, with
autograd on: the kernels that PyTorch dispatches are the launches, their operands the work and the traffic, and what
autograd keeps is what is kept. The simulator derives the backward pass from that.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from workloads.importers.module_layers import Traced, layers_of
from workloads.importers.torch_kernels import Laying
from workloads.importers.torch_walk import one_line, walk
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.workload import Workload


def workload_from_module(
    module: Any,
    example_inputs: Sequence[Any],
    *,
    name: str,
    samples: int = 1,
    example_keywords: Mapping[str, Any] | None = None,
    family: str = "",
    sample: str = "",
    tokens_per_sample: int = 0,
) -> Workload:
    """The forward work of one sample of a module, as training runs it.

    Parameters
    ----------
    module
        A ``torch.nn.Module``, on any device (meta is enough), in training mode if dropout and batch statistics are
        to count. If it returns its loss, the loss counts too.
    example_inputs, example_keywords
        What the module is called with; only shapes and formats matter.
    samples
        How many samples (images, sequences) the example inputs hold.
    family, sample, tokens_per_sample
        As in `Workload`; guessed from the ops and the inputs when not given.

    Raises
    ------
    WorkloadError
        When the module cannot be traced without running it on data; when a call looks like a product and is not
        known; when ``samples`` does not divide the work.

    Notes
    -----
    Kept tensors are whole storages, once each, as autograd keeps them: numbers in the recipe's two bytes, masks and
    indices in their own; dropout keeps a mask of one byte, attention its queries, keys and values, recurrent layers
    inputs, gates and states. Left out: what optimizers do, kernels that a compiler would fuse, how tensors may be split
    (every op has split ``none``).
    """
    torch = _torch()
    if not isinstance(module, torch.nn.Module):
        raise WorkloadError(f"'{name}': expected a torch.nn.Module, got {type(module).__name__}.")
    if isinstance(example_inputs, torch.Tensor) or not isinstance(example_inputs, list | tuple):
        raise WorkloadError(f"'{name}': example_inputs is a tuple of what the module is called with, one entry each.")
    if type(samples) is not int or samples < 1:
        raise WorkloadError(f"'{name}': samples is {samples!r}; a whole number of at least 1.")
    program = _export(torch, module, tuple(example_inputs), dict(example_keywords or {}), name)
    laying, inputs = walk(torch, program, module, name, samples)
    if not any(entry.op.forward_flop for entry in laying.traced):
        raise WorkloadError(f"'{name}': no product, convolution, attention or recurrent layer was found in the trace.")
    unused = {name for name, _, _ in laying.parameters.values()} - set(laying.owners)
    if unused:
        laying.assumed[f"{len(unused)} parameters that no call uses are left out, such as {min(unused)}"] = None
    if not module.training:
        laying.assumed["the module is in evaluation mode: no dropout, running statistics"] = None
    layers, tied = _layers(laying)
    kinds = {entry.op.kind for entry in laying.traced}
    own_family, own_sample, tokens = _guess(inputs, kinds, samples)
    return Workload(
        name=name,
        family=family or own_family,
        sample=sample or own_sample,
        layers=layers,
        tokens_per_sample=tokens_per_sample or tokens,
        tied_embeddings=tied,
        causal=any(entry.op.causal for entry in laying.traced),
        source=f"torch.export of {type(module).__name__}",
        assumed=tuple(laying.assumed),
    )


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise WorkloadError(
            "modules need PyTorch, which is not installed. Try: pip install 'trainyard[torch]'."
        ) from None
    return torch


def _export(torch: Any, module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], name: str) -> Any:
    """The module's graph before autograd, with composite calls whole."""
    tensors = (*module.parameters(), *module.buffers())
    if tensors and all(t.is_meta for t in tensors):
        inputs, keywords = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.to("meta"), (inputs, keywords))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, inputs, keywords, strict=False)
    except Exception as error:  # tracing runs the user's own code: anything may come
        reason = one_line(error)
        raise WorkloadError(
            f"'{name}': torch.export cannot trace the module: {reason} "
            "Sizes and branches must not depend on the numbers in tensors."
        ) from None


def _layers(laying: Laying) -> tuple[tuple[Layer, ...], bool]:
    """Layers; a table of the first that the last multiplies by is carried by both, as tied embeddings are."""
    traced = laying.traced
    layers = layers_of(traced)
    tables = [i for i, entry in enumerate(traced[: len(layers[0].ops)]) if entry.op.kind == "embedding"]
    table = max(tables, key=lambda i: traced[i].op.parameters, default=-1)
    for owner, later, numbers in laying.reused:
        last = len(traced) - len(layers[-1].ops)
        if owner == table and later >= last and traced[later].op.kind == "gemm" and layers[-1].repeat == 1:
            op = traced[later].op
            traced[later] = Traced(path=traced[later].path, op=replace(op, parameters=op.parameters + numbers))
            return layers_of(traced), True
    if laying.reused:
        count = len({owner for owner, _, _ in laying.reused})
        laying.assumed[f"parameters of {count} ops that other ops use too count once, at their first use"] = None
    return layers, False


def _guess(inputs: Sequence[Any], kinds: set[str], samples: int) -> tuple[str, str, int]:
    """(family, sample, tokens of a sample) from the example inputs and the kinds of ops."""
    first = next((t for t in inputs if t.dim() > 1), None)
    rank = 0 if first is None else first.dim()
    if first is not None and not first.is_floating_point():
        tokens = max(1, first.numel() // samples) if rank == 2 else 1
        return ("recurrent" if "recurrent" in kinds else "transformer"), "sequence", tokens
    if rank == 4:
        return ("transformer" if "attention" in kinds and "conv" not in kinds else "convnet"), "image", 1
    if rank == 5:
        return "convnet", "volume", 1
    if first is not None and rank == 3:
        return ("recurrent" if "recurrent" in kinds else "transformer"), "sequence", first.shape[1]
    return "recommender", "record", 1
