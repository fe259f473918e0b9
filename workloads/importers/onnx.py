"""An ONNX file -> `Workload`: shapes inferred by the ``onnx`` package, weights never loaded, nothing run.

A graph holds the forward pass of inference; its gradients and what they keep follow from the operators. Float
initializers of products, norms, tables and biases are taken as learned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, Final

from hwmodels.datafile import DataFileError
from workloads.importers.json_file import shown
from workloads.importers.module_layers import layers_of
from workloads.importers.onnx_ops import OnnxOps, Tensor
from workloads.importers.onnx_products import PRODUCTS
from workloads.importers.onnx_words import REFUSED
from workloads.op import WorkloadError
from workloads.workload import Workload

#: Larger files are refused; no protobuf message may be larger, and weights of large networks stand outside the file.
MAX_BYTE: Final = 2**31 - 1
MOST_NODES: Final = 200_000
#: Initializers of more numbers than a shape or a scale has are not needed to infer shapes.
_SMALL: Final = 1024


def workload_from_onnx(
    path: str | Path,
    *,
    name: str = "",
    samples: int = 1,
    sizes: Mapping[str, int] | None = None,
    family: str = "",
    sample: str = "",
    tokens_per_sample: int = 0,
) -> Workload:
    """The forward work of one sample of an ONNX graph.

    Parameters
    ----------
    samples
        How many samples the graph's inputs hold once ``sizes`` are filled in.
    sizes
        Values of open dimensions by their names in the file (``{"batch": 1, "sequence": 512}``).
    family, sample, tokens_per_sample
        As in `Workload`; guessed from the ops and the inputs when not given.

    Raises
    ------
    DataFileError
        For a file that is not an ONNX graph, an open dimension without a size, missing shapes, a graph that is cyclic
        or out of order, operators that are control flow, quantised, or unknown and like products.

    Notes
    -----
    Left out: dropout that the export removed; the loss, unless the graph has it; weights in files beside it.
    """
    onnx = _onnx()
    label = shown(str(path)) if not str(path).isprintable() else str(path)
    if type(samples) is not int or samples < 1:
        raise DataFileError(f"{label}: samples is {shown(samples)}; a whole number of at least 1.")
    model = _read(onnx, path, label)
    if len(model.functions):
        model = onnx.inliner.inline_local_functions(model)
    graph = model.graph
    nodes = list(graph.node)
    if not nodes:
        raise DataFileError(f"{label}: the graph has no nodes.")
    if len(nodes) > MOST_NODES:
        raise DataFileError(f"{label}: the graph has {len(nodes)} nodes; at most {MOST_NODES}.")
    _check_order(graph, label)
    for node in nodes:
        if node.op_type in REFUSED and node.domain in ("", "ai.onnx"):
            raise DataFileError(f"{label}: node {_where(node)}: {node.op_type} is {REFUSED[node.op_type]}.")
    learned = _lighten(onnx, graph)
    inputs = _fill_sizes(graph, dict(sizes or {}), set(learned), label)
    tensors = _shapes(onnx, model, learned, label)
    ops = OnnxOps(label=label, samples=samples, tensors=tensors, inputs=frozenset(inputs))
    for node in nodes:
        read, written = tuple(node.input), tuple(node.output)
        try:
            if node.op_type in PRODUCTS and node.domain in ("", "ai.onnx"):
                attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                ops.path = _path(node)
                ops.add(PRODUCTS[node.op_type](ops, read, written, attributes), node.op_type)
            else:
                ops.node(node.op_type, node.domain, _path(node), read, written)
        except (WorkloadError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, DataFileError):
                raise
            raise DataFileError(f"{label}: node {_where(node)}: {error}") from None
    if not any(entry.op.forward_flop for entry in ops.traced):
        raise DataFileError(f"{label}: the graph has no product, convolution, attention or recurrent layer.")
    kinds = {entry.op.kind for entry in ops.traced}
    own_family, own_sample, tokens = _guess([tensors[i] for i in inputs], kinds, samples)
    try:
        return Workload(
            name=name or (graph.name if re.fullmatch(r"[\w.\-]{1,100}", graph.name, re.ASCII) else "onnx graph"),
            family=family or own_family, sample=sample or own_sample, layers=layers_of(ops.traced),
            tokens_per_sample=tokens_per_sample or tokens, causal=any(e.op.causal for e in ops.traced),
            source=f"ONNX file {Path(label).name}", assumed=tuple(ops.assumed),
        )  # fmt: skip
    except WorkloadError as error:
        raise DataFileError(f"{label}: {error}") from None


def _onnx() -> Any:
    try:
        onnx = import_module("onnx")
        import_module("onnx.inliner")
        import_module("onnx.shape_inference")
    except ImportError:
        raise WorkloadError("ONNX files need a package: pip install 'trainyard[onnx]'.") from None
    return onnx


def _read(onnx: Any, path: str | Path, label: str) -> Any:
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTE:
            raise DataFileError(f"{label}: {size} bytes; at most {MAX_BYTE}. Save weights as external data.")
        return onnx.load(str(path), load_external_data=False)
    except DataFileError:
        raise
    except FileNotFoundError:
        raise DataFileError(f"{label}: there is no such file.") from None
    except IsADirectoryError:
        raise DataFileError(f"{label}: this is a directory; name an ONNX file in it.") from None
    except OSError as error:
        raise DataFileError(f"{label}: cannot be read: {error.strerror or 'no reason given'}.") from None
    except Exception:  # protobuf's and the parsers' own errors
        raise DataFileError(f"{label}: is not an ONNX file (its protobuf message cannot be read).") from None


def _where(node: Any) -> str:
    return shown(node.name or (node.output[0] if node.output else node.op_type))


def _path(node: Any) -> str:
    """The module a node stands in: from the exporter's scopes, else from a name of the form /a/b.0/MatMul."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = re.findall(r"'([^']*)'", entry.value)
            return scopes[-2] if len(scopes) > 1 else ""
    return ".".join(node.name.strip("/").split("/")[:-1]) if node.name.startswith("/") else ""


def _check_order(graph: Any, label: str) -> None:
    known = {"", *(i.name for i in graph.input), *(i.name for i in graph.initializer)}
    known |= {i.values.name for i in graph.sparse_initializer}
    for node in graph.node:
        missing = next((name for name in node.input if name not in known), None)
        if missing is not None:
            later = any(missing in other.output for other in graph.node)
            why = "the graph is cyclic or out of order" if later else "nothing makes it"
            raise DataFileError(f"{label}: node {_where(node)} reads {shown(missing)}, but {why}.")
        known.update(node.output)


def _lighten(onnx: Any, graph: Any) -> dict[str, Tensor]:
    """Initializers by name; large ones become inputs without numbers, so that their weights are never copied."""
    found: dict[str, Tensor] = {}
    small = []
    inputs = {i.name for i in graph.input}
    for tensor in graph.initializer:
        is_float = tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE,
                                        onnx.TensorProto.BFLOAT16)  # fmt: skip
        shape = tuple(int(d) for d in tensor.dims)
        found[tensor.name] = Tensor(shape=shape, is_float=is_float, constant=True)
        if prod(shape) <= _SMALL and tensor.data_location != onnx.TensorProto.EXTERNAL:
            small.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
    keep = [onnx.TensorProto.FromString(t.SerializeToString()) for t in small]
    del graph.initializer[:]
    graph.initializer.extend(keep)
    return found


def _fill_sizes(graph: Any, sizes: dict[str, int], learned: set[str], label: str) -> list[str]:
    """Fills open dimensions of the inputs in place; returns the inputs that are data."""
    inputs, used, open_ones = [], set(), {}
    for value in graph.input:
        if value.name in learned:
            continue
        inputs.append(value.name)
        if not value.type.tensor_type.HasField("shape"):
            raise DataFileError(f"{label}: input {shown(value.name)} has no shape.")
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            word = dim.dim_param or f"{value.name}.{place}"
            size = sizes.get(word)
            if size is None:
                open_ones[word] = value.name
                continue
            if type(size) is not int or not 1 <= size < 2**31:
                raise DataFileError(f"{label}: sizes['{shown(word)}'] is {shown(size)}; a whole number of at least 1.")
            used.add(word)
            dim.dim_value = size
    if open_ones:
        words = ", ".join(f"'{shown(word)}': ..." for word in list(open_ones)[:8])
        raise DataFileError(f"{label}: dimensions of the inputs are open; give sizes={{{words}}}.")
    unknown = sorted(set(sizes) - used)
    if unknown:
        raise DataFileError(f"{label}: sizes names {shown(unknown[0])}, which is no open dimension of an input.")
    return inputs


def _shapes(onnx: Any, model: Any, learned: Mapping[str, Tensor], label: str) -> dict[str, Tensor]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True)
    except Exception as error:  # the package's own errors: bad types, shapes that do not fit
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise DataFileError(f"{label}: shapes cannot be inferred: {ascii(reason[:200])[1:-1]}.") from None
    tensors = dict(learned)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        if value.name in tensors or not kind.HasField("shape"):
            continue
        if all(d.HasField("dim_value") for d in kind.shape.dim):
            shape = tuple(int(d.dim_value) for d in kind.shape.dim)
            tensors[value.name] = Tensor(shape=shape, is_float=kind.elem_type in floats)
    return tensors


def _guess(inputs: list[Tensor], kinds: set[str], samples: int) -> tuple[str, str, int]:
    """(family, sample, tokens of a sample) from the inputs and the kinds of ops."""
    first = next((t for t in inputs if len(t.shape) > 1), None)
    rank = 0 if first is None else len(first.shape)
    if first is not None and not first.is_float and rank == 2:
        return (
            ("recurrent" if "recurrent" in kinds else "transformer"),
            "sequence",
            max(1, prod(first.shape) // samples),
        )
    if rank in (4, 5):
        return "convnet", "image" if rank == 4 else "volume", 1
    if first is not None and rank == 3:
        return ("recurrent" if "recurrent" in kinds else "transformer"), "sequence", first.shape[1]
    return "recommender", "record", 1
