"""Layer files: our own description of a network in TOML or JSON, and the way back.

.. code-block:: toml

    schema = 1
    name = "tiny"
    family = "convnet"            # a word of workloads.workload.FAMILIES
    sample = "image"              # a word of workloads.workload.SAMPLES
    input = [3, 32, 32]           # one sample: [channels, height, width], [positions, width], [positions] or [width]
    # optional: tokens_per_sample, causal, tied_embeddings, source, assumed, [hyper]

    [[layers]]
    name = "stem"
    kind = "conv"                 # a word for reports; "block" where a pipeline may be cut and work be recomputed
    repeat = 1                    # so many in a row; the layer's output must then have its input's shape

    [[layers.ops]]
    op = "conv"                   # see workloads.importers.layer_ops.OPS for the words and their keys
    channels = 16
    kernel = 3
    padding = 1

An op takes the output of the op before; ``input = [...]`` gives another shape (a branch). Instead of ``op`` an op may
give ``kind`` and any fields of `workloads.op.Op` with their values, exactly; `to_layer_file` writes it so. After such
an op the next one must give its ``input``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, Final, get_type_hints

from hwmodels.datafile import DataFileError, did_you_mean, read_toml
from workloads.importers.fields import Fields
from workloads.importers.json_file import from_mapping, read_json, shown
from workloads.importers.layer_ops import OPS, Tensor
from workloads.layer import Layer
from workloads.op import CELLS, KINDS, Op, WorkloadError
from workloads.workload import FAMILIES, SAMPLES, Hyper, Workload

SCHEMA: Final = 1
_TYPES: Final[Mapping[str, Any]] = get_type_hints(Op)
_DEFAULTS: Final = {field.name: field.default for field in fields(Op) if field.default is not MISSING}


def workload_from_layer_file(source: str | Path | Mapping[str, Any]) -> Workload:
    """The workload that a layer file (``.json``, else TOML) or such a mapping describes.

    Raises
    ------
    DataFileError
        With all problems, one line each: file, line, key, what is legal.
    """
    if isinstance(source, Mapping):
        file = from_mapping(source, name="layers")
    else:
        file = read_json(source) if str(source).endswith(".json") else read_toml(source)
    head = Fields(file)
    head.count("schema", default=SCHEMA, most=SCHEMA)
    name, family = head.text("name", default="network"), head.word("family", legal=FAMILIES)
    sample, text = head.word("sample", legal=SAMPLES), head.text("source")
    given = head.items("input", kind=int, most=4)
    tokens = head.count("tokens_per_sample", default=given[0] if given and sample == "sequence" and given[0] > 0 else 1)
    tied, causal = head.flag("tied_embeddings", default=False), head.flag("causal", default=False)
    assumed, hyper = tuple(head.items("assumed", kind=str)), _hyper(head)
    x = _tensor(head, given, is_data=True)
    layers: list[Layer] = []
    tables = head.items("layers", kind=dict, most=10_000)
    if not tables:
        head.problem("layers", "expected at least one [[layers]] table.")
    for index, table in enumerate(tables):
        inner = Fields(file, ("layers", index), table)
        inner.problems = head.problems
        laid, x = _layer(inner, x)
        layers += laid
    _unknown(head)
    head.finish()
    try:
        return Workload(
            name=name, family=family, sample=sample, layers=tuple(layers), tokens_per_sample=tokens, hyper=hyper,
            tied_embeddings=tied, causal=causal, source=text, assumed=assumed,
        )  # fmt: skip
    except WorkloadError as error:
        raise DataFileError(f"{file.name}: {error}") from None


def _hyper(head: Fields) -> dict[str, Hyper]:
    inner = head.table("hyper")
    if inner is None:
        return {}
    for key, value in inner.data.items():
        if type(value) not in (int, float, str, bool):
            inner.problem(key, f"is {shown(value)}; expected a number, a text, true or false.")
    return dict(inner.data)


def _tensor(at: Fields, shape: list[int], *, is_data: bool = False) -> Tensor | None:
    if not shape:
        return None
    if any(not 1 <= side < 2**31 for side in shape):
        at.problem("input", f"is {shown(str(shape))}; expected sides of at least 1.")
        return None
    return Tensor(shape=tuple(shape), is_data=is_data)


def _layer(at: Fields, x: Tensor | None) -> tuple[list[Layer], Tensor | None]:
    name = at.text("name", default=f"layer {int(at.where[-1]) + 1}")
    kind, repeat = at.text("kind", default="block"), at.count("repeat", default=1, most=1_000_000)
    tables = at.items("ops", kind=dict, most=10_000)
    if not tables:
        at.problem("ops", "expected at least one op.")
    _unknown(at)
    before, found = len(at.problems), _ops(at, tables, x)
    ops, out = found
    if len(at.problems) > before or not ops:
        if len(at.problems) == before and tables:
            at.problem("ops", "hold nothing but changes of shape; put them into a layer with work.")
        return [], out
    layers = [Layer(name=name, kind=kind, ops=ops, repeat=repeat)]
    if repeat > 1 and x is not None and out is not None:
        if x.shape != out.shape:
            at.problem("repeat", f"is {repeat}, but the layer makes {list(out.shape)} out of {list(x.shape)}.")
        elif (x.kept, x.is_data) != (out.kept, out.is_data):
            # From the second on, the input is kept by another op, or needs a gradient.
            again, _ = _ops(at, tables, out)
            layers = [
                replace(layers[0], repeat=1),
                Layer(name=f"{name} again", kind=kind, ops=again, repeat=repeat - 1),
            ]
    return layers, out


def _ops(at: Fields, tables: list[dict[str, Any]], x: Tensor | None) -> tuple[tuple[Op, ...], Tensor | None]:
    ops: list[Op] = []
    for index, table in enumerate(tables):
        inner = Fields(at.file, (*at.where, "ops", index), table)
        inner.problems = at.problems
        before = len(inner.problems)
        try:
            made, x = _op(inner, x)
        except WorkloadError as error:
            inner.problem("", str(error))
            made, x = (), None
        if len(inner.problems) > before:
            # What comes out is not known; saying so of every later op would hide what is wrong.
            return tuple(ops), None
        ops += made
    return tuple(ops), x


def _op(at: Fields, x: Tensor | None) -> tuple[tuple[Op, ...], Tensor | None]:
    if "kind" in at.data:
        op = _exact(at)
        return ((op,) if op else ()), None
    before = len(at.problems)
    word = at.word("op", legal=OPS)
    name = at.text("name", default=word)
    if at.has("input"):
        x = _tensor(at, at.items("input", kind=int, most=4))
    elif x is None:
        at.problem("input", "its shape is not known here; give input = [...].")
    if x is None or len(at.problems) > before:
        return (), None
    made = OPS[word](at, name, x)
    _unknown(at)
    return made


def _exact(at: Fields) -> Op | None:
    """An op by the fields of `Op`; FLOPs are those of its shape unless given."""
    values: dict[str, Any] = {"name": at.text("name", default="op"), "kind": at.word("kind", legal=KINDS)}
    for key in at.data:
        kind = _TYPES.get(key)
        if key in values or kind is None:
            continue
        if kind is int:
            values[key] = at.count(key, default=_DEFAULTS[key], least=0, most=2**63 - 1)
        elif kind is float:
            values[key] = at.number(key, default=0.0, most=1e300)
        elif kind is bool:
            values[key] = at.flag(key, default=_DEFAULTS[key])
        elif kind is str:
            values[key] = at.text(key)
        else:
            values[key] = tuple(at.items(key, kind=int, most=5))
            if len(values[key]) != len(_DEFAULTS[key]):
                at.problem(key, f"expected {len(_DEFAULTS[key])} whole numbers.")
                return None
    _unknown(at)
    if values["kind"] == "recurrent":
        values["cell"] = at.word("cell", legal=CELLS)
    if "forward_flop" not in at.data:
        values["forward_flop"] = _flop(values)
    return Op(**values)


def _flop(values: Mapping[str, Any]) -> int:
    def of(key: str) -> int:
        return int(values.get(key, _DEFAULTS[key]))

    kind = values["kind"]
    if kind in ("gemm", "conv"):
        return 2 * of("m") * of("n") * of("k") * of("batch")
    if kind == "attention":
        return 2 * of("seq_len") * of("context") * of("heads") * (of("head_dim") + (of("value_dim") or of("head_dim")))
    if kind == "recurrent":
        return 2 * of("seq_len") * CELLS[values["cell"]] * of("n") * (of("k") + of("n"))
    return 0


def _unknown(at: Fields) -> None:
    for key in at.unread():
        at.problem(key, f"is not a known key.{did_you_mean(key, at.read)} Known: {', '.join(sorted(at.read))}.")


def to_layer_file(workload: Workload) -> str:
    """The workload as the text of a layer file (TOML): `workload_from_layer_file` gives it back exactly."""
    head: dict[str, Any] = {"schema": SCHEMA}
    for field in fields(Workload):
        value = getattr(workload, field.name)
        if field.name not in ("layers", "hyper") and (field.default is MISSING or value != field.default):
            head[field.name] = value
    lines = [f"{key} = {_toml(value)}" for key, value in head.items()]
    if workload.hyper:
        lines += ["", "[hyper]", *(f"{json.dumps(key)} = {_toml(value)}" for key, value in workload.hyper.items())]
    for layer in workload.layers:
        lines += ["", "[[layers]]", *(f"{key} = {_toml(getattr(layer, key))}" for key in ("name", "kind", "repeat"))]
        for op in layer.ops:
            said = {f.name: getattr(op, f.name) for f in fields(Op)}
            kept = {k: v for k, v in said.items() if k not in _DEFAULTS or v != _DEFAULTS[k]}
            lines += ["", "[[layers.ops]]", *(f"{key} = {_toml(value)}" for key, value in kept.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the control character that JSON leaves as it is.
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return repr(value)
