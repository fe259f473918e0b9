"""A command line of torchtitan -> `TrainingCommand`: its configuration file, then the overrides behind the program.

Defaults follow ``torchtitan/config/job_config.py`` of pytorch/torchtitan@000204a4 and are written down as assumed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hwmodels.datafile import DataFileError, did_you_mean, read_toml
from workloads import catalog
from workloads.op import WorkloadError
from workloads.workload import Workload

from ..errors import InputError
from ..query import STRATEGY
from ..stepspec import SCHEDULES
from .answer import Notebook, Said, Switch, TrainingCommand
from .flags import Flag, Flags, split_flags
from .launch import Launch

#: Programs whose arguments these are.
PROGRAMS: Final = ("torchtitan.train", "torchtitan/train.py", "run_train.sh")

#: (model.name, model.flavor) -> the catalogue's name of the same network.
_MODELS: Final = {
    ("llama3", "8B"): "Llama-3-8B", ("llama3", "70B"): "Llama-3-70B", ("llama3", "405B"): "Llama-3.1-405B",
    ("llama3", "8B_flex"): "Llama-3-8B", ("llama3", "8B_varlen"): "Llama-3-8B",
    ("deepseek_v3", "16B"): "DeepSeek-V2-Lite-16B", ("deepseek_v3", "671B"): "DeepSeek-V3-671B (one token)",
    ("llama4", "17bx16e"): "Llama4-Scout-17B-16E", ("llama4", "17bx128e"): "Llama4-Maverick-17B-128E",
}  # fmt: skip
_SCHEDULES: Final = {
    "1F1B": "1f1b", "GPipe": "gpipe", "Interleaved1F1B": "interleaved", "ZBVZeroBubble": "zbv", "DualPipeV": "dualpipe",
}  # fmt: skip
_IGNORED: Final[Mapping[str, str]] = {
    "job": "names and folders", "profiling": "logging and measuring", "metrics": "logging and measuring",
    "lr-scheduler": "how well it learns, not how long", "checkpoint": "a plan of a step has none",
    "validation": "a plan of a step has none", "comm": "time-outs and traces", "debug": "seeds and checks",
    "memory-estimation": "a plan estimates memory anyway",
}  # fmt: skip
_IGNORED_KEYS: Final = (
    "optimizer.lr", "optimizer.eps", "optimizer.beta1", "optimizer.beta2", "optimizer.weight-decay",
    "optimizer.implementation", "training.dataset", "training.dataset-path", "training.max-norm", "training.seed",
    "training.gc-freq", "training.gc-debug", "training.warmup-steps", "model.tokenizer-path", "model.hf-assets-path",
    "model.print-after-conversion", "training.data-parallel-type", "training.mixed-precision-reduce",
)  # fmt: skip


def read_torchtitan(
    program: str, words: Sequence[str], launch: Launch, notes: Notebook, *, folder: str = ".",
    variables: Mapping[str, str] | None = None,
) -> TrainingCommand:  # fmt: skip
    """The job that a configuration file and the words behind the program describe.

    Raises
    ------
    InputError
        With every problem, those of the file among them.
    """
    listed, stray = split_flags(words)
    for word in stray:
        notes.note("unknown", word, "", "not a flag")
    values = variables or {}
    path = next((f.text for f in listed if f.name == "--job.config-file"), values.get("CONFIG_FILE", ""))
    registered = next((f for f in listed if f.name in ("--config", "--module")), None)
    if not path and registered is not None:
        raise InputError(
            f"{registered.name}: names a configuration in torchtitan's own code, which is not read; "
            "legal: --job.config_file FILE.toml."
        )
    flags = Flags.of([*_from_file(path, folder, notes), *listed], notes, "torchtitan")
    flags.read.add("--job.config-file")
    if program == "run_train.sh" and not launch.per_node:
        chips = values.get("NGPU", "")
        launch = Launch(nodes=1, per_node=int(chips) if chips.isdigit() and len(chips) < 9 else 8, chips=launch.chips)
        notes.note("given" if chips else "assumed", "NGPU", launch.per_node, "chips of one server")
    strategy = _layout(flags)
    workload = _network(flags)
    job = _batch(flags, launch, strategy)
    job |= _numbers(flags)
    strategy |= _memory(flags, strategy)
    _rest(flags)
    if notes.problems or workload is None:
        raise InputError(*dict.fromkeys(notes.problems))
    for key in [key for key in strategy if key not in STRATEGY]:
        notes.note("not honoured", key, strategy.pop(key), "this planner cannot pin it yet")
    return TrainingCommand(
        program="torchtitan", workload=workload, job={**job, "stack": "torchtitan"}, strategy=strategy,
        said=tuple(notes.said), switches=tuple(notes.switches), nodes=launch.nodes, per_node=launch.per_node,
        chips=launch.chips,
    )  # fmt: skip


def _from_file(path: str, folder: str, notes: Notebook) -> list[Flag]:
    if not path:
        notes.problems.append("--job.config_file: is missing; legal: torchtitan's TOML file of the run.")
        return []
    if "$" in path or "`" in path:
        notes.problems.append(f"--job.config_file: is {path[:60]!a}, which the text does not define; write the path.")
        return []
    place = next((p for p in (path, os.path.join(folder, path)) if os.path.isfile(p)), path)
    try:
        data = read_toml(place).data
    except DataFileError as error:
        notes.problems += [f"--job.config_file: {problem}" for problem in error.problems]
        return []
    notes.note("given", "--job.config_file", place, "overrides behind the program count more")
    found: list[Flag] = []
    for section, table in data.items():
        if not isinstance(table, dict):
            notes.note("unknown", section, table, "stands outside of a table")
            continue
        for key, value in _flat(table):
            name = f"--{section.replace('_', '-')}.{key.replace('_', '-')}"
            if isinstance(value, bool):
                found += [Flag(name=name, values=())] if value else []
            elif not isinstance(value, list | dict):
                found += [Flag(name=name, values=(str(value),))] if value != "" else []
            elif value:
                found.append(Flag(name=name, values=(",".join(str(v) for v in value),)))
    return found


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


def _network(flags: Flags) -> Workload | None:
    name = flags.text("--model.name") or "llama3"
    flavour = flags.text("--model.flavor") or "debugmodel"
    seq_len = flags.count("--training.seq-len", default=2048)
    if (name, flavour) not in _MODELS:
        known = [f"{n} {f}" for n, f in _MODELS]
        near = did_you_mean(f"{name} {flavour}", known)
        flags.notes.problems.append(
            f"--model.flavor: {ascii(name)[:60]} {ascii(flavour)[:60]} is not known; legal: {', '.join(known)}.{near}"
        )
        return None
    flags.notes.note("assumed", "model", _MODELS[name, flavour], "the catalogue's network of that name and size")
    try:
        return catalog.model(_MODELS[name, flavour], seq_len=seq_len)
    except WorkloadError as error:
        flags.notes.problems.append(f"--training.seq_len: {error}")
        return None


def _layout(flags: Flags) -> dict[str, Any]:
    def degree(word: str, note: str) -> int:
        return flags.count(
            f"--parallelism.{word}", f"--experimental.{word}", f"--training.{word}", default=1, note=note
        )

    tp = degree("tensor-parallel-degree", "tp")
    strategy: dict[str, Any] = {
        "tp": tp, "pp": degree("pipeline-parallel-degree", "pp"), "cp": degree("context-parallel-degree", "cp"),
        "sequence_parallel": tp > 1,
    }  # fmt: skip
    if tp > 1:
        flags.assume("sequence parallel", True, "with tensor parallelism")
    if "--parallelism.expert-parallel-degree" in flags.given:
        strategy["ep"] = degree("expert-parallel-degree", "ep")
        strategy["etp"] = degree("expert-tensor-parallel-degree", "etp")
    if strategy["cp"] > 1:
        how = flags.word(
            "--parallelism.context-parallel-rotate-method", legal=("allgather", "alltoall"), default="allgather"
        )
        strategy["context_exchange"] = "all_gather" if how == "allgather" else "ring"
    strategy |= _schedule(flags, strategy["pp"])
    said = Said(kind="given", what="--parallelism.enable_async_tensor_parallel", value="", note="under products")
    if flags.has("--parallelism.enable-async-tensor-parallel"):
        flags.notes.said.pop()
        flags.notes.switches.append(Switch(said=said, field="tensor_overlap", wanted=(True,)))
    elif tp > 1:
        said = Said(kind="assumed", what=said.what, value="false", note="default of torchtitan")
        flags.notes.switches.append(Switch(said=said, field="tensor_overlap", wanted=(False,)))
    return strategy


def _schedule(flags: Flags, pp: int) -> dict[str, Any]:
    if pp == 1:
        return {}
    name = "--parallelism.pipeline-parallel-schedule"
    word = flags.text(name) or "1F1B"
    schedule = _SCHEDULES.get(word, "")
    if schedule not in SCHEDULES:
        flags.notes.note("not honoured", name, word, "the schedule is left to the planner")
        return {}
    if schedule != "interleaved":
        return {"schedule": schedule, "virtual_stages": 1}
    flags.notes.note("assumed", "stages of a rank", 2, "default of torchtitan for looped schedules")
    return {"schedule": schedule, "virtual_stages": 2}


def _batch(flags: Flags, launch: Launch, strategy: dict[str, Any]) -> dict[str, Any]:
    local = flags.count("--training.local-batch-size", "--training.batch-size", default=8, note="samples of a replica")
    pieces = flags.optional("--parallelism.pipeline-parallel-microbatch-size") if strategy["pp"] > 1 else local
    strategy["micro_batch"] = pieces or 1
    text = flags.given.get("--training.global-batch-size")
    chips = launch.chips or launch.nodes * launch.per_node
    replica = strategy["tp"] * strategy["pp"] * strategy["cp"]
    if text is not None and text.values != ("-1",):
        batch = flags.count("--training.global-batch-size")
    else:
        flags.read.add("--training.global-batch-size")
        batch = local * (chips // replica) if chips and chips % replica == 0 else 0
        if batch:
            flags.assume("--training.global_batch_size", batch, "local batch x replicas")
        else:
            flags.notes.problems.append(
                f"--training.global_batch_size: follows from the chips, and tp x pp x cp = {replica} does not divide "
                f"{chips or 'an unknown number of'} chips; legal: --chips N, or the batch itself."
            )
    steps = flags.count("--training.steps", default=10000)
    return {"global_batch": max(batch, 1), "samples": float(steps * max(batch, 1))}


def _numbers(flags: Flags) -> dict[str, Any]:
    converters = flags.text("--model.converters")
    wide = (
        flags.word("--training.mixed-precision-param", legal=("bfloat16", "float32"), default="bfloat16") == "float32"
    )
    precision = "fp32" if wide else "bf16_fp32_gradients"
    if "mx" in converters.split(","):
        precision = "mxfp8"
    elif "float8" in converters:
        precision = "fp8_current"
        recipe = flags.text("--float8.recipe-name", "--quantize.linear.float8.recipe-name")
        if recipe not in ("", "tensorwise"):
            flags.notes.note(
                "not honoured", "--float8.recipe_name", recipe, "one scale for a tensor, found in every step"
            )
    rule = flags.word("--optimizer.name", legal=("AdamW", "Adam", "SGD"), default="AdamW")
    return {"precision": precision, "optimizer": {"SGD": "sgd"}.get(rule, rule.lower())}


def _memory(flags: Flags, strategy: Mapping[str, Any]) -> dict[str, Any]:
    mode = flags.word(
        "--activation-checkpoint.mode", legal=("none", "selective", "full", "memory_budget"), default="selective"
    )
    option = flags.text("--activation-checkpoint.selective-ac-option") or "2"
    if mode == "memory_budget" or (mode == "selective" and option != "op"):
        shown = mode if mode == "memory_budget" else f"every {option} blocks"
        flags.notes.note("not honoured", "--activation_checkpoint", shown, "what 'op' recomputes is taken")
        mode = "selective"
    found: dict[str, Any] = {"recompute": mode}
    copies = flags.count("--parallelism.data-parallel-replicate-degree", default=1, note="replicas that share nothing")
    shard = flags.given.get("--parallelism.data-parallel-shard-degree")
    flags.read.add("--parallelism.data-parallel-shard-degree")
    degree = shard.text if shard is not None else "-1"
    how = flags.word(
        "--parallelism.fsdp-reshard-after-forward", legal=("default", "always", "never"), default="default"
    )
    keeps = how == "never" or (how == "default" and strategy["pp"] > 1)
    if degree == "1":
        found["sharding"] = "none"
    else:
        found["sharding"] = "zero2" if keeps else "zero3"
        if copies > 1:
            found["shard_ranks"] = int(degree) if degree.isdigit() and 0 < len(degree) < 9 else 0
            if not found["shard_ranks"]:
                del found["shard_ranks"]
                flags.notes.note(
                    "not honoured", "data_parallel_replicate_degree", copies, "state is shared by all replicas"
                )
    kind = "given" if shard is not None else "assumed"
    flags.notes.note(kind, "--parallelism.data_parallel_shard_degree", degree, f"sharding {found['sharding']}")
    if flags.has("--training.enable-cpu-offload"):
        found["offload"] = "optimizer"
    return found


def _rest(flags: Flags) -> None:
    if flags.has("--training.compile", "--compile.enable"):
        pass
    else:
        flags.notes.note("not honoured", "--training.compile", False, "the stack has compiled blocks")
    for flag in flags.unread():
        section, _, key = flag.name.removeprefix("--").partition(".")
        if section in _IGNORED:
            flags.notes.note("ignored", flag.name, flag.text, _IGNORED[section])
        elif f"{section}.{key}" in _IGNORED_KEYS:
            flags.notes.note("ignored", flag.name, flag.text, "changes nothing of a step's time")
        elif section in ("float8", "mx", "quantize", "parallelism", "training", "activation-checkpoint", "compile"):
            flags.notes.note("not honoured", flag.name, flag.text, "taken as the stack has it")
        else:
            near = did_you_mean(flag.name, sorted(flags.read))
            flags.notes.note("unknown", flag.name, flag.text, f"not followed.{near}" if near else "not followed")
