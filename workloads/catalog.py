"""The catalogue of models: names and spellings -> `Workload`, from the tables in ``workloads/data/models``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from hwmodels.datafile import DataFileError, TomlFile, did_you_mean, read_toml, unknown_name
from workloads.networks import networks, options, takes
from workloads.op import WorkloadError
from workloads.transformer import bert, gpt_by_name, spells_gpt_shape, transformer
from workloads.workload import Workload

DATA: Final = Path(__file__).parent / "data" / "models"

FAMILIES: Final = ("transformer", "bert", "network")

_TEXT: Final = {"name": str, "source": str, "kind": str, "note": str, "aliases": list}
_SHAPE: Final = {"layers": int, "hidden": int, "heads": int, "ffn": int, "vocab": int, "seq_len": int}
_OPTIONS: Final = {
    "kv_heads": int,
    "head_dim": int,
    "tied_embeddings": bool,
    "activation": str,
    "norm": str,
    "positions": str,
    "biases": bool,
    "qkv_biases": bool,
    "attention_biases": bool,
    "head_bias": bool,
    "embedding_norm": bool,
    "dropout": bool,
    "norm_position": str,
    "block": str,
    "qk_norm": str,
    "window": int,
    "windowed_share": float,
    "max_positions": int,
}
#: Keys of one model, by family, and their types.
KEYS: Final[Mapping[str, Mapping[str, type]]] = {
    "transformer": {**_TEXT, **_SHAPE, **_OPTIONS},
    "bert": {**_TEXT, **_SHAPE, "activation": str, "task": str, "classes": int},
    "network": {**_TEXT, "network": str},
}
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "transformer": ("name", "source", "kind", "layers", "hidden", "heads"),
    "bert": ("name", "source", "kind", "layers", "hidden", "heads"),
    "network": ("name", "source", "kind", "network"),
}
#: Whether a source prints the shape or it is written down from memory (or inferred from other figures).
SOURCE_KINDS: Final = ("published", "recalled")

#: What the catalogue takes where neither the model's table nor the file's defaults say.
_LAST_RESORT: Final[Mapping[str, Mapping[str, Any]]] = {
    "transformer": {
        "vocab": 51200,
        "seq_len": 2048,
        "activation": "gelu",
        "norm": "layernorm",
        "tied_embeddings": True,
    },
    "bert": {"vocab": 30522, "seq_len": 512},
}


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model's table: ``printed`` holds what its source prints, ``filled`` what the file's defaults add."""

    name: str
    family: str
    source: str
    kind: str
    aliases: tuple[str, ...]
    note: str
    printed: Mapping[str, Any]
    filled: Mapping[str, Any]


def model(name: str, *, seq_len: int | None = None, image_size: int | None = None) -> Workload:
    """The workload of a catalogue name, any spelling `resolve_model` knows, or ``gpt h2048 L24 a16``.

    Parameters
    ----------
    seq_len
        Positions of a sequence instead of the model's own; a learned position table grows when it must.
    image_size
        Side of the square image instead of the network's own. [pixels]

    Raises
    ------
    LookupError
        For an unknown name, with the nearest one.
    WorkloadError
        For a size the model cannot have.
    """
    if seq_len is not None and seq_len < 1:
        raise WorkloadError(f"model '{name}': seq_len is {seq_len}; at least 1.")
    if image_size is not None and image_size < 1:
        raise WorkloadError(f"model '{name}': image_size is {image_size}; at least 1 pixel.")
    resolved = resolve_model(name)
    if not resolved:
        raise LookupError(unknown_name("model", name, model_names()))
    return _build(resolved, seq_len, image_size)


def model_names() -> tuple[str, ...]:
    """All names of the catalogue, in alphabetical order."""
    return tuple(sorted(entries(), key=str.lower))


def resolve_model(spelling: str) -> str:
    """The catalogue's name for a spelling of published tables, "" when there is none.

    Case, spaces, dashes, underscores, slashes and brackets do not matter: ``BERT-Large``, ``bert_large``, ``VGG16``
    and ``ResNet-50 v1.5`` are all found. A spelled shape (``gpt h2048 L24 a16``) is its own name.
    """
    if spells_gpt_shape(spelling):
        return spelling.strip()
    return _spellings().get(_plain(spelling), "")


@cache
def entries() -> Mapping[str, ModelEntry]:
    """Every model's table by name; the data files are read on the first call.

    Raises
    ------
    DataFileError
        With all problems of the first file that has any.
    """
    found: dict[str, ModelEntry] = {}
    for path in sorted(DATA.glob("*.toml")):
        for entry in read_models(path):
            if entry.name in found:
                raise DataFileError(f"{path.name}: models: '{entry.name}' is also in another file.")
            found[entry.name] = entry
    return found


def read_models(path: Path) -> tuple[ModelEntry, ...]:
    """The models of one data file, checked.

    Raises
    ------
    DataFileError
        With all problems of the file, one line each.
    """
    file = read_toml(path, name=path.name)
    data = file.data
    family = data.get("family")
    if family not in FAMILIES:
        raise DataFileError(file.problem(("family",), f"is {family!r}. Legal: {', '.join(FAMILIES)}."))
    tables, defaults = data.get("models", []), data.get("defaults", {})
    if not isinstance(tables, list) or not isinstance(defaults, dict):
        raise DataFileError(file.problem((), "expected [[models]] tables and at most one [defaults] table."))
    problems = [
        file.problem((key,), f"is not a known key.{did_you_mean(key, ('schema', 'family', 'defaults', 'models'))}")
        for key in data
        if key not in ("schema", "family", "defaults", "models")
    ]
    problems += _table_problems(file, ("defaults",), defaults, family)
    for index, table in enumerate(tables):
        problems += _table_problems(file, ("models", index), table, family)
        missing = [key for key in REQUIRED[family] if key not in table]
        if missing:
            problems.append(file.problem(("models", index), f"lacks {', '.join(missing)}."))
    if problems:
        raise DataFileError(*problems)
    return tuple(_entry(family, table, defaults) for table in tables)


def _table_problems(file: TomlFile, where: tuple[str | int, ...], table: object, family: str) -> list[str]:
    if not isinstance(table, dict):
        return [file.problem(where, "is not a table.")]
    problems = []
    known = KEYS[family]
    if family == "network" and "network" in table:
        if table["network"] not in networks():
            hint = did_you_mean(str(table["network"]), networks())
            return [file.problem((*where, "network"), f"is unknown.{hint}")]
        known = {**known, **options(table["network"])}
    for key, value in table.items():
        expected = known.get(key)
        if expected is None:
            problems.append(file.problem((*where, key), f"is not a known key.{did_you_mean(key, known)}"))
        elif type(value) is not expected:
            problems.append(file.problem((*where, key), f"is {value!r}; expected {expected.__name__}."))
        elif isinstance(value, int) and expected is int and value < 1:
            problems.append(file.problem((*where, key), f"is {value}; at least 1."))
    if "kind" in table and table["kind"] not in SOURCE_KINDS:
        problems.append(file.problem((*where, "kind"), f"is not one of {', '.join(SOURCE_KINDS)}."))
    return problems


def _entry(family: str, table: Mapping[str, Any], defaults: Mapping[str, Any]) -> ModelEntry:
    printed = {key: value for key, value in table.items() if key not in _TEXT}
    filled = {**_LAST_RESORT.get(family, {}), **defaults}
    if family != "network" and "ffn" not in printed:
        filled["ffn"] = 4 * printed["hidden"]
    return ModelEntry(
        name=table["name"],
        family=family,
        source=table["source"],
        kind=table["kind"],
        aliases=tuple(table.get("aliases", ())),
        note=table.get("note", ""),
        printed=printed,
        filled={key: value for key, value in filled.items() if key not in printed},
    )


@lru_cache(maxsize=4096)
def _build(name: str, seq_len: int | None, image_size: int | None) -> Workload:
    if spells_gpt_shape(name):
        _refuse(name, "image_size", image_size, "an image")
        return gpt_by_name(name) if seq_len is None else gpt_by_name(name, seq_len=seq_len)
    entry = entries()[name]
    assumed = tuple(f"{key} = {_word(value)}" for key, value in entry.filled.items())
    if entry.note:
        assumed = (*assumed, entry.note)
    if entry.family == "network":
        return _build_network(entry, {"seq_len": seq_len, "image_size": image_size})
    _refuse(name, "image_size", image_size, "an image")
    values = {**entry.filled, **entry.printed}
    own_seq_len = values["seq_len"]
    values["seq_len"] = own_seq_len if seq_len is None else seq_len
    if entry.family == "bert":
        return bert(name=name, source=entry.source, assumed=assumed, **values)
    values["max_positions"] = max(values.get("max_positions", own_seq_len), values["seq_len"])
    return transformer(name=name, source=entry.source, assumed=assumed, **values)


def _build_network(entry: ModelEntry, sizes: Mapping[str, int | None]) -> Workload:
    given = dict(entry.printed)
    key = given.pop("network")
    for size, value in sizes.items():
        if value is not None and not takes(key, size):
            _refuse(entry.name, size, value, "a sequence" if size == "seq_len" else "an image")
        elif value is not None:
            given[size] = value
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    workload = networks()[key](**values)
    noted = (*workload.assumed, entry.note) if entry.note else workload.assumed
    return replace(workload, name=entry.name, source=entry.source, assumed=noted)


def _refuse(name: str, word: str, value: int | None, sample: str) -> None:
    if value is not None:
        raise WorkloadError(f"model '{name}' does not take {sample}: leave {word} out.")


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(spelling: str) -> str:
    """Letters, digits and dots only, lower case."""
    return re.sub(r"[^a-z0-9.]+", "", spelling.lower())


@cache
def _spellings() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for entry in entries().values():
        for spelling in (entry.name, *entry.aliases):
            other = found.setdefault(_plain(spelling), entry.name)
            if other != entry.name:
                raise DataFileError(f"models: '{spelling}' spells both '{other}' and '{entry.name}'.")
    return found
