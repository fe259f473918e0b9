"""Walks a graph of ``torch.export`` on the meta device: every call is made once more, and what it does is laid out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from workloads.importers.torch_kernels import Kernel, Laying, storage
from workloads.importers.torch_nodes import WHOLE
from workloads.op import WorkloadError

#: A trace of more calls is refused; the longest published networks need a few ten thousand.
MOST_CALLS: Final = 100_000
#: Calls that wrap a part of the network -> where among their arguments the part stands.
_WRAPPERS: Final = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4, "tag_activation_checkpoint": 0}


def one_line(error: BaseException) -> str:
    """The kind and the first line of an error."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    return f"{type(error).__name__}: {text[:200].rstrip('.')}."


def walk(torch: Any, program: Any, module: Any, name: str, samples: int) -> tuple[Laying, list[Any]]:
    """Calls every node of the graph on the meta device and lays out what it does."""
    signature = program.graph_signature
    originals = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
    originals |= program.constants
    one_of: dict[int, Any] = {}
    arguments: list[Any] = []
    inputs: list[Any] = []
    parameters: dict[int, tuple[str, int, bool]] = {}
    constant: set[int] = set()
    for spec, node in zip(
        signature.input_specs, (n for n in program.graph.nodes if n.op == "placeholder"), strict=True
    ):
        original = originals.get(spec.target) if spec.target else None
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            arguments.append(value if spec.arg is None else getattr(spec.arg, "value", value))
            continue
        key = id(original) if original is not None else id(spec)
        if key not in one_of:
            learns = isinstance(original, torch.nn.Parameter) and original.requires_grad
            one_of[key] = torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device="meta", requires_grad=learns
            )
            if isinstance(original, torch.nn.Parameter):
                parameters[storage(one_of[key])] = (spec.target, original.numel(), learns)
            elif spec.kind.name != "USER_INPUT":
                constant.add(storage(one_of[key]))
            else:
                inputs.append(one_of[key])
        arguments.append(one_of[key])
    sizes = [t.element_size() for t in one_of.values() if t.is_floating_point()]
    laying = Laying(
        where=f"'{name}'", samples=samples, item_byte=min(sizes, default=4), parameters=parameters,
        constant=constant | set(parameters), alive=list(one_of.values()),
    )  # fmt: skip
    _Walker(torch, laying).run(program.graph_module, arguments)
    return laying, inputs


class _Walker:
    """Runs graphs on the meta device, node by node."""

    def __init__(self, torch: Any, laying: Laying) -> None:
        self.torch = torch
        self.laying = laying
        self.calls = 0

    def run(self, graph_module: Any, arguments: Sequence[Any]) -> Any:
        """What a graph gives for arguments, its ops laid out on the way."""
        values: dict[Any, Any] = {}
        feed = iter(arguments)
        for node in graph_module.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(feed)
            elif node.op == "get_attr":
                values[node] = _attribute(graph_module, node.target)
            elif node.op == "output":
                return _filled(self.torch, node.args[0], values)
            else:
                values[node] = self._call(node, values)
        return None

    def _call(self, node: Any, values: dict[Any, Any]) -> Any:
        torch, laying = self.torch, self.laying
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise WorkloadError(f"{laying.where}: the trace has more than {MOST_CALLS} calls; import one block of it.")
        args, keywords = _filled(torch, (node.args, node.kwargs), values)
        stack = node.meta.get("nn_module_stack") or {}
        if stack:
            laying.path = re.sub(r"@\d+", "", str(next(reversed(stack.values()))[0]))
        target = node.target
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self._wrapped(target, args)
        if not isinstance(target, torch._ops.OpOverload):
            return target(*args, **keywords)
        if "_assert" in target._schema.name or "sym_constrain" in target._schema.name:
            return None
        if not isinstance(node.meta.get("val"), torch.Tensor | list | tuple) and node.meta.get("val") is not None:
            raise WorkloadError(
                f"{laying.place}: '{target._schema.name}' takes a number out of a tensor; work that depends on data "
                "has no shape. Give sizes as constants."
            )
        lay = WHOLE.get(target._schema.name)
        out = self._whole(node, lay, args, keywords) if lay else self._kernels(node, args, keywords)
        self._note_constants((args, keywords), out)
        return out

    def _wrapped(self, target: Any, args: Any) -> Any:
        word = target.name()
        at = _WRAPPERS.get(word)
        if at is None:
            raise WorkloadError(f"{self.laying.place}: '{word}' is control flow or a call that is not known.")
        if word == "wrap_with_set_grad_enabled":
            with self.torch.set_grad_enabled(args[0]):
                return self.run(args[at], args[at + 1 :])
        if word == "wrap_with_autocast":
            device, dtype, enabled, cache = args[:4]
            with self.torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=cache):
                return self.run(args[at], args[at + 1 :])
        self.laying.assumed["checkpointing in the module is left to the strategy's recomputation"] = None
        return self.run(args[at], args[at + 1 :])

    def _whole(self, node: Any, lay: Any, args: Any, keywords: Any) -> Any:
        """A call that stays whole: fresh tensors of its outputs' shapes, which nothing kept yet."""
        torch, laying = self.torch, self.laying
        given = {a.name: a.default_value if a.has_default_value() else None for a in node.target._schema.arguments}
        given |= dict(zip(given, args, strict=False)) | keywords
        flat = torch.utils._pytree.tree_leaves((args, keywords))
        grad = torch.is_grad_enabled() and any(isinstance(t, torch.Tensor) and t.requires_grad for t in flat)
        shapes = node.meta["val"]
        several = isinstance(shapes, tuple | list)
        out = tuple(_fresh(torch, v, grad, node.target) for v in (shapes if several else (shapes,)))
        laying.alive += out
        lay(laying, given, out)
        if node.target._schema.name.startswith("aten::dropout") and not (given["train"] and given["p"]):
            return given["input"]
        return out if several else out[0]

    def _kernels(self, node: Any, args: Any, keywords: Any) -> Any:
        torch, laying = self.torch, self.laying
        label = str(node.target._schema.name)
        saved: list[Any] = []

        def pack(tensor: Any) -> Any:
            saved.append(tensor)
            return tensor

        try:
            with (
                torch.device("meta"),
                torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
                _recording(torch) as kernels,
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                out = node.target(*args, **keywords)
        except WorkloadError:
            raise
        except Exception as error:  # a kernel without a shape rule, or one that reads data
            raise WorkloadError(f"{laying.place}: '{label}' cannot be followed: {one_line(error)}") from None
        laying.alive += [t for kernel in kernels for t in kernel.outputs]
        laying.alive += saved
        if not _reached(torch, (args, keywords), laying):
            laying.constant |= {storage(t) for kernel in kernels for t in kernel.outputs} - set(laying.parameters)
        laying.lay(kernels, saved)
        return out

    def _note_constants(self, given: Any, out: Any) -> None:
        """What no example input reaches is not kept per sample."""
        torch = self.torch
        tensors = [t for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.laying.alive += tensors
        keys = {storage(t) for t in tensors}
        if _reached(torch, given, self.laying):
            self.laying.constant -= keys - set(self.laying.parameters)
        else:
            self.laying.constant |= keys


def _reached(torch: Any, given: Any, laying: Laying) -> bool:
    leaves = torch.utils._pytree.tree_leaves(given)
    return any(isinstance(t, torch.Tensor) and storage(t) not in laying.constant for t in leaves)


def _filled(torch: Any, tree: Any, values: Mapping[Any, Any]) -> Any:
    """Arguments with nodes replaced by their values and every device by meta."""

    def fill(leaf: Any) -> Any:
        if isinstance(leaf, torch.fx.Node):
            return values[leaf]
        return torch.device("meta") if isinstance(leaf, torch.device) else leaf

    return torch.fx.node.map_aggregate(tree, fill)


def _attribute(owner: Any, path: str) -> Any:
    for part in path.split("."):
        owner = getattr(owner, part)
    return owner


def _fresh(torch: Any, value: Any, grad: bool, target: Any) -> Any:
    learns = grad and value.is_floating_point()
    if target._schema.name == "aten::scaled_dot_product_attention" and value.dim() == 4:
        # Fused kernels write positions before heads, so that joining the heads is no copy.
        b, h, t, d = value.shape
        return torch.empty((b, t, h, d), dtype=value.dtype, device="meta", requires_grad=learns).transpose(1, 2)
    return torch.empty(tuple(value.shape), dtype=value.dtype, device="meta", requires_grad=learns)


@contextmanager
def _recording(torch: Any) -> Iterator[list[Kernel]]:
    """Collects the kernels that calls dispatch."""
    mode: Any = torch.utils._python_dispatch.TorchDispatchMode
    kernels: list[Kernel] = []

    class Recorder(mode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            namespace, _, word = function._schema.name.partition("::")
            written = bool(function._schema.is_mutable)
            leaves = torch.utils._pytree.tree_leaves((args, kwargs or {}))
            tensors = tuple(t for t in leaves if isinstance(t, torch.Tensor))
            outs = tuple(t for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor) and t.numel())
            known = namespace == "aten"
            kernels.append(
                Kernel(
                    word=word.rstrip("_") if written else word, label=word if known else f"{namespace}::{word}",
                    arguments=tuple(args), tensors=tensors, outputs=outs or (tensors[:1] if written else ()),
                    is_pointwise=torch.Tag.pointwise in function.tags, in_place=written,
                )
            )  # fmt: skip
            return out

    with Recorder():
        yield kernels
