"""`PlanQuery`: one question, as flags or a TOML file ask it, and how it is read.

A file has two tables. ``[job]`` says what is trained on what, ``[strategy]`` pins parts of the strategy; what it leaves
out is searched. Flags make the same mapping. All problems of one question are reported together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hwmodels.datafile import DataFileError, KeyPath, did_you_mean, dotted, read_toml
from workloads.workload import Workload

from .errors import InputError
from .parallelism import COLUMNS
from .phase_query import OTHER_NAMES, POST_TRAINING, VALIDATION, PostTraining, Spec, Validation, missing, phases_of

#: How a key is called in messages: "job.toml:4: job.chips", "--chips".
Place = Callable[[KeyPath], str]


class QueryError(InputError):
    """A question that cannot be asked. `problems` holds every problem found, one line each."""


@dataclass(frozen=True, kw_only=True)
class PlanQuery:
    """One question. Names are resolved and numbers checked by `query_from_mapping`, all problems together.

    ``chips`` 0 means the whole system. Of ``tokens``, ``samples``, ``epochs`` and ``target`` (a published quality, as
    "75.9% top-1") at most one is given; ``dataset_samples`` goes with ``epochs`` and ``target``. ``workload`` is a
    network of the user's own, in place of the catalogue's ``model``. ``fixed`` pins parts of the strategy (the keys of
    `Parallelism`); empty searches all. ``validation`` and ``post_training`` ask for phases beside the steps.
    """

    model: str
    system: str
    chips: int
    global_batch: int
    stack: str = ""
    precision: str = ""
    optimizer: str = ""
    seq_len: int = 0
    image_size: int = 0
    tokens: float = 0.0
    samples: float = 0.0
    epochs: float = 0.0
    dataset_samples: float = 0.0
    target: str = ""
    top: int = 5
    fixed: tuple[tuple[str, int | str | bool], ...] = ()
    workload: Workload | None = None
    validation: Validation | None = None
    post_training: PostTraining | None = None


@dataclass(frozen=True, kw_only=True)
class _Field:
    """One key: its kind of value, the smallest and largest legal one, legal words, what a reader may write."""

    kind: str
    most: float = 0.0
    words: tuple[str, ...] = ()
    least: int = 1

    @property
    def legal(self) -> str:
        if self.kind == "count":
            return f"a whole number from {self.least} to {self.most:,.0f}".replace(",", "_")
        if self.kind == "amount":
            return f"a number above 0, at most {self.most:.0e}".replace("e+", "e")
        if self.kind == "choice":
            return ", ".join(self.words)
        return "true, false" if self.kind == "switch" else "a name in quotes"


_NAME: Final = _Field(kind="name")

JOB: Final[Mapping[str, _Field]] = {
    "model": _NAME, "system": _NAME, "chips": _Field(kind="count", most=10**8),
    "global_batch": _Field(kind="count", most=10**9), "precision": _NAME, "optimizer": _NAME, "stack": _NAME,
    "seq_len": _Field(kind="count", most=10**7), "image_size": _Field(kind="count", most=10**4),
    "tokens": _Field(kind="amount", most=1e18), "samples": _Field(kind="amount", most=1e18),
    "epochs": _Field(kind="amount", most=1e6), "dataset_samples": _Field(kind="amount", most=1e15), "target": _NAME,
    "top": _Field(kind="count", most=1000),
}  # fmt: skip

STRATEGY: Final[Mapping[str, _Field]] = {
    name: _Field(kind="switch")
    if name == "sequence_parallel"
    else _Field(kind="count", most=10**8, least=0 if name in ("shard_ranks", "parameter_servers") else 1)
    if words is None
    else _Field(kind="choice", words=words)
    for name, words in COLUMNS.items()
}


def _fields(specs: Mapping[str, Spec]) -> dict[str, _Field]:
    return {
        name: _Field(kind=kind, most=most, least=least, words=words)
        for name, (kind, most, least, words) in specs.items()
    }


TABLES: Final[Mapping[str, Mapping[str, _Field]]] = {
    "job": JOB, "strategy": STRATEGY, "validation": _fields(VALIDATION), "post_training": _fields(POST_TRAINING),
}  # fmt: skip
REQUIRED: Final = ("model", "system", "global_batch")

#: What other tools call our keys; only used to say what was probably meant.
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "batch": "global_batch", "batch_size": "global_batch", "global_batch_size": "global_batch",
    "gpus": "chips", "num_gpus": "chips", "devices": "chips", "num_chips": "chips", "world_size": "chips",
    "seq_length": "seq_len", "sequence_length": "seq_len", "max_sequence_length": "seq_len", "cluster": "system",
    "framework": "stack", "software": "stack", "dtype": "precision", "resolution": "image_size",
    "train_samples": "samples", "train_tokens": "tokens", "num_epochs": "epochs",
    "tensor_model_parallel_size": "tp", "tensor_parallel_degree": "tp", "tensor_parallel": "tp",
    "pipeline_model_parallel_size": "pp", "pipeline_parallel_degree": "pp", "pipeline_parallel": "pp",
    "context_parallel_size": "cp", "context_parallel_degree": "cp", "context_parallel": "cp",
    "expert_model_parallel_size": "ep", "expert_parallel_degree": "ep", "expert_tensor_parallel_size": "etp",
    "ep_size": "ep", "moe_expert_parallel": "ep", "data_parallel_size": "dp", "data_parallel": "dp",
    "data_parallel_shard_degree": "shard_ranks", "zero_hpz_partition_size": "shard_ranks", "hsdp": "shard_ranks",
    "cp_comm_type": "context_exchange", "context_parallel_rotate_method": "context_exchange",
    "ulysses_sequence_parallel_size": "cp", "sequence_parallel_size": "cp", "spatial_parallel_degree": "cp",
    "spatial_parallel": "cp", "recompute_num_layers": "recompute_every", "checkpoint_activations_num_layers":
    "recompute_every", "cpu_offloading": "offload", "offload_optimizer": "offload", "optimizer_cpu_offload": "offload",
    "gradient_compression": "compression", "compression_type": "compression", "local_sgd": "local_steps",
    "localsgd_frequency": "local_steps", "num_servers": "parameter_servers", "async": "updates",
    "asynchronous": "updates", "update_mode": "updates", "kvstore": "updates", "ps": "parameter_servers",
    "pipeline_parallel_schedule": "schedule", "pipeline_schedule": "schedule", "virtual_pipeline": "virtual_stages",
    "pipeline_parallel_microbatch_size": "micro_batch", "enable_sequence_parallel": "sequence_parallel",
    "micro_batch_size": "micro_batch", "microbatch": "micro_batch", "recompute_granularity": "recompute",
    "num_virtual_stages_per_pipeline_rank": "virtual_stages", "use_distributed_optimizer": "sharding",
    "zero": "sharding", "zero_stage": "sharding", "activation_checkpointing": "recompute",
}  # fmt: skip

_WHOLE: Final = re.compile(r"[+-]?[0-9]+(_[0-9]+)*", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_SCALED: Final = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]+)(?:\s+[A-Za-z]+)?\s*", re.ASCII)
_SCALES: Final[Mapping[str, int]] = {
    "k": 3, "thousand": 3, "m": 6, "million": 6, "mio": 6, "b": 9, "bn": 9, "g": 9, "billion": 9, "t": 12, "tn": 12,
    "trillion": 12,
}  # fmt: skip
_LONGEST: Final = 80


def shown(value: object) -> str:
    """A value as messages quote it: short, and with nothing in it that a terminal obeys."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**_LONGEST:
        return "a very long number"
    text = ascii(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def query_from_mapping(mapping: Mapping[str, Any], *, where: str | Place) -> PlanQuery:
    """The question in a mapping of tables (``job``, ``strategy``); the model may be a `Workload` itself.

    Parameters
    ----------
    where
        What the mapping is called in messages (a file's name), or how each of its keys is called there.

    Raises
    ------
    QueryError
        With every problem: unknown tables, keys and names, values of the wrong kind or out of range, and values that
        do not go together.
    """
    from .query_checks import check  # imports the catalogues, which import nothing of this module

    place = where if callable(where) else lambda key: f"{where}: {dotted(key)}"
    problems = [_unknown_table(key, mapping[key], place) for key in mapping if key not in TABLES]
    values: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
    own: Workload | None = None
    for table, fields in TABLES.items():
        given = mapping.get(table, {})
        if not isinstance(given, Mapping):
            problems.append(f"{place((table,))}: is {shown(given)}; legal: a table, [{table}] with its keys below it.")
            continue
        for key, value in given.items():
            if key not in fields:
                problems.append(_unknown_key(table, key, place))
                continue
            if isinstance(value, Workload) and key == "model":
                own = value
                values[table][key] = value.name
                continue
            try:
                values[table][key] = read_value(fields[key], value)
            except ValueError as error:
                problems.append(f"{place((table, key))}: {error}")
    given_job = mapping.get("job", {})
    if isinstance(given_job, Mapping):
        problems += [
            f"{place(('job', key))}: is missing; legal: {JOB[key].legal}." for key in REQUIRED if key not in given_job
        ]
    problems += missing(values, mapping, place, lambda table, key: TABLES[table][key].legal)
    malformed = isinstance(given_job, Mapping) and "chips" in given_job and "chips" not in values["job"]
    phases = {table: values[table] for table in ("validation", "post_training")}
    checked: dict[str, Any] = {} if malformed else values["strategy"]
    problems += check(values["job"], checked, place, workload=own, phases=phases)
    if problems:
        raise QueryError(*problems)
    job = values["job"]
    fixed = tuple((key, values["strategy"][key]) for key in STRATEGY if key in values["strategy"])
    return PlanQuery(**{"chips": 0, **job}, fixed=fixed, workload=own, **phases_of(values))


def read_query(path: str | Path) -> PlanQuery:
    """The question in a TOML file; `QueryError` with every problem as ``file:line: key: ...``."""
    mapping, place = read_mapping(path)
    return query_from_mapping(mapping, where=place)


def read_mapping(path: str | Path) -> tuple[Mapping[str, Any], Place]:
    """The tables of a file, unchecked, and how each of its keys is called in messages.

    Raises
    ------
    QueryError
        If it is no file, cannot be read, or is not TOML.
    """
    try:
        file = read_toml(path)
    except DataFileError as error:
        raise QueryError(*error.problems) from None

    def place(key: KeyPath) -> str:
        line = file.line_of(key)
        return f"{file.name}{f':{line}' if line else ''}: {dotted(key)}"

    return file.data, place


def _unknown_table(key: str, value: object, place: Place) -> str:
    for table, fields in TABLES.items():
        if key in fields:
            return f"{place((key,))}: stands outside its table; write it below [{table}]."
    kind = "table" if isinstance(value, Mapping | list) else "key"
    legal = ", ".join(f"[{table}]" for table in TABLES)
    return f"{place((key,))}: is not a known {kind}; legal: {legal}.{did_you_mean(key, TABLES)}"


def _unknown_key(table: str, key: str, place: Place) -> str:
    other = next((name for name, fields in TABLES.items() if key in fields), "")
    if other:
        return f"{place((table, key))}: does not belong in [{table}]; write it below [{other}]."
    known = TABLES[table]
    plain = key.lower().replace("-", "_")
    meant = plain if plain in known else _OTHER_NAMES.get(plain, "")
    meant = OTHER_NAMES[plain] if OTHER_NAMES.get(plain) in known else meant
    if meant in known:
        hint = f" Did you mean '{meant}'?"
    elif meant:
        hint = f" Did you mean '{meant}', in [{'job' if meant in JOB else 'strategy'}]?"
    else:
        hint = did_you_mean(key, known)
    return f"{place((table, key))}: is not a known key; legal: {', '.join(known)}.{hint}"


def read_value(field: _Field, value: object) -> int | float | str | bool:
    """A value of the field's kind; a text is read as the number in it. `ValueError` says what is legal."""
    if field.kind == "count":
        return _count(field, value)
    if field.kind == "amount":
        return _amount(field, value)
    if field.kind == "switch":
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            raise ValueError(f"is {shown(value)}; legal: {field.legal}.")
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"is {shown(value)}; legal: {field.legal}.")
    if field.kind == "choice" and value not in field.words:
        raise ValueError(f"is {shown(value)}; legal: {field.legal}.{did_you_mean(value, field.words)}")
    return value.strip()


def _count(field: _Field, value: object) -> int:
    number = value
    if isinstance(value, str) and len(value) <= _LONGEST and _WHOLE.fullmatch(value.strip()):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"is {shown(value)}; legal: {field.legal}.{_written_plainly(value, whole=True)}")
    if not field.least <= number <= field.most:
        raise ValueError(f"is {shown(number)}; legal: {field.legal}.")
    return number


def _amount(field: _Field, value: object) -> float:
    number = value
    if isinstance(value, str) and len(value) <= _LONGEST and _NUMBER.fullmatch(value.strip()):
        number = float(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"is {shown(value)}; legal: {field.legal}.{_written_plainly(value, whole=False)}")
    if not (0 < number <= field.most and math.isfinite(number)):
        raise ValueError(f"is {shown(value)}; legal: {field.legal}.")
    return float(number)


def _written_plainly(value: object, *, whole: bool) -> str:
    """`" Write 300e9."` for a number that was written in a way that can be read in two."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return f" Write {int(value)}."
    if not isinstance(value, str) or len(value) > _LONGEST:
        return ""
    plain = value.strip().replace(",", "").replace(" ", "").replace("'", "")
    if _NUMBER.fullmatch(plain):
        number = float(plain)
        if not whole:
            return f" Write {plain}."
        return f" Write {int(number)}." if math.isfinite(number) and number == int(number) and number < 2**53 else ""
    match = _SCALED.fullmatch(value)
    exponent = _SCALES.get(match[2].lower(), 0) if match else 0
    if not match or not exponent:
        return " Write the number alone, without a unit." if match else ""
    written = f"{float(match[1]) * 10**exponent:.0f}" if whole else f"{match[1]}e{exponent}"
    return f" '{match[2]}' can be read in more than one way; write {written}."
