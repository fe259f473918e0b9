"""Hugging Face's ``config.json`` -> `Workload`, without its library, its weights or code from the file's repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from hwmodels.datafile import DataFileError, did_you_mean
from workloads.importers import encoder_like, gpt_like, llama_like, mixture_like, pair_like
from workloads.importers.fields import Fields
from workloads.importers.harmless import HARMLESS
from workloads.importers.json_file import from_mapping, read_json, shown
from workloads.importers.pair_like import Picture
from workloads.op import WorkloadError
from workloads.workload import Workload


class Shape(Protocol):
    """What a reader makes of a configuration: something that lays out a sequence of any length.

    ``longest`` is how many positions it may have, 0 for any number.
    """

    @property
    def longest(self) -> int: ...

    def build(self, *, name: str, seq_len: int, source: str, assumed: tuple[str, ...]) -> Workload:
        """The workload of one sequence."""


#: ``model_type`` -> reader.
KINDS: Final[Mapping[str, Callable[[Fields], Shape]]] = {
    **gpt_like.FAMILIES,
    **llama_like.FAMILIES,
    **mixture_like.FAMILIES,
    **encoder_like.FAMILIES,
    **pair_like.FAMILIES,
}

#: Positions of a sequence where neither the caller nor a short position table says.
USUAL_SEQ_LEN: Final = 4096

#: Kinds that hold a language model among other things: what to pass instead.
_COMPOSED: Final = ("gemma3", "llava", "mistral3", "qwen2_vl", "qwen2_5_vl", "mllama", "llama4", "gemma3n", "paligemma")


def workload_from_config(source: str | Path | Mapping[str, Any], *, seq_len: int | None = None) -> Workload:
    """The workload of a Hugging Face configuration: a ``config.json`` or what it holds.

    Parameters
    ----------
    seq_len
        Positions of a sequence; without it those of the model, at most 4,096 (a configuration does not say what a
        model was trained with).

    Raises
    ------
    DataFileError
        For a file that is not such a configuration, an unknown ``model_type``, keys that may change the architecture
        and are not understood; all problems together.
    WorkloadError
        For sizes that cannot be.
    """
    file = from_mapping(source, name="config") if isinstance(source, Mapping) else read_json(source)
    if seq_len is not None and (type(seq_len) is not int or not 1 <= seq_len <= 2**31):
        raise WorkloadError(f"{file.name}: seq_len is {shown(seq_len)}; a whole number of at least 1.")
    fields = Fields(file)
    kind = fields.data.get("model_type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataFileError(_unknown_kind(fields, kind))
    shape = KINDS[kind](fields)
    if isinstance(shape, Picture) and seq_len is not None:
        raise WorkloadError(f"{file.name}: {kind} takes pictures, not sequences: leave seq_len out.")
    longest = fields.count("max_position_embeddings", "n_positions", "max_seq_len", default=USUAL_SEQ_LEN)
    _refuse_unread(fields, kind)
    fields.finish()
    length = min(longest, shape.longest or longest, USUAL_SEQ_LEN) if seq_len is None else seq_len
    assumed = () if seq_len is not None else (f"seq_len = {length}: the file does not say what was trained",)
    if isinstance(fields.data.get("quantization_config"), dict):
        assumed = (*assumed, "quantization_config is left out: training precision is the recipe's")
    if fields.data.get("num_nextn_predict_layers"):
        assumed = (*assumed, "modules that predict further tokens (num_nextn_predict_layers) are left out")
    return shape.build(name=_name(fields, kind), seq_len=length, source=f"{file.name} ({kind})", assumed=assumed)


def _name(fields: Fields, kind: str) -> str:
    name = fields.data.get("_name_or_path")
    if isinstance(name, str) and 0 < len(name) <= 100 and name.isprintable() and name.isascii():
        return name
    return kind


def _unknown_kind(fields: Fields, kind: object) -> str:
    known = sorted(KINDS)
    listed = f"Known: {', '.join(known)}."
    if kind is None:
        fields.problem("", f"lacks model_type, the kind of network. {listed}")
    elif isinstance(kind, str) and kind in _COMPOSED:
        fields.problem("model_type", f"is {kind}, a language model among others; import what its text_config holds.")
    else:
        hint = did_you_mean(kind, known) if isinstance(kind, str) else ""
        fields.problem("model_type", f"is {shown(kind)}, which is not known.{hint} {listed}")
    return fields.problems[0]


def _refuse_unread(fields: Fields, kind: str) -> None:
    """Keys that nobody read and that are not known to be harmless; null, false, 0 and empty switch nothing on."""
    for key in fields.unread():
        value = fields.data[key]
        if key in HARMLESS or key.startswith("_") or not value or len(fields.problems) >= 30:
            continue
        hint = did_you_mean(key, fields.read)
        fields.problem(key, f"is not understood for {kind} and may change the network.{hint} Remove it if it does not.")
