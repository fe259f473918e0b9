"""A command line of Megatron-LM (and of Megatron-DeepSpeed) -> `TrainingCommand`.

Defaults and derived values follow ``megatron/training/arguments.py`` of NVIDIA/Megatron-LM@000c4ac2 and are written
down as assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hwmodels.datafile import did_you_mean

from ..errors import InputError
from ..query import STRATEGY
from .answer import Notebook, Said, Switch, TrainingCommand
from .flags import Flags, split_flags
from .launch import Launch
from .megatron_model import read_network
from .megatron_words import KNOWN, REFUSED, why_ignored, why_not_honoured

#: Programs whose arguments these are.
PROGRAMS: Final = ("pretrain_gpt.py", "pretrain_gpt_core.py", "pretrain_llama.py", "pretrain_mixtral.py")

_FP8_RECIPES: Final = {"delayed": "fp8", "tensorwise": "fp8_current", "mxfp8": "mxfp8", "blockwise": "fp8_current"}
_SHARDED: Final = {"no_shard": "none", "optim": "zero1", "optim_grads": "zero2", "optim_grads_params": "zero3"}
_CONTEXT: Final = {"p2p": "ring", "a2a": "ulysses", "allgather": "all_gather"}


def read_megatron(program: str, words: Sequence[str], launch: Launch, notes: Notebook) -> TrainingCommand:
    """The job that the words behind the program describe.

    Raises
    ------
    InputError
        With every problem.
    """
    listed, stray = split_flags(words)
    flags = Flags.of(listed, notes, "Megatron-LM")
    for word in stray:
        notes.note("unknown", word, "", "not a flag")
    for name, why in REFUSED.items():
        if name in flags.given:
            notes.problems.append(
                f"{name}: describes {why}, which is not read; legal: a decoder. --model FILE takes others."
            )
            flags.read.add(name)
    strategy = _layout(flags)
    workload = read_network(flags, tp=strategy["tp"], program=program)
    job = _batch(flags, launch, strategy)
    job |= _numbers(flags)
    strategy |= _pipeline(flags, strategy["pp"])
    strategy |= _memory(flags, strategy)
    _switches(flags)
    _rest(flags)
    if notes.problems or workload is None:
        raise InputError(*dict.fromkeys(notes.problems))
    return TrainingCommand(
        program=program,
        workload=workload,
        job=job,
        strategy=_pinned(strategy, notes),
        said=tuple(notes.said),
        switches=tuple(notes.switches),
        nodes=launch.nodes,
        per_node=launch.per_node,
        chips=launch.chips,
    )


def _layout(flags: Flags) -> dict[str, Any]:
    tp = flags.count("--tensor-model-parallel-size", "--model-parallel-size", default=1, note="tp")
    strategy: dict[str, Any] = {
        "tp": tp,
        "pp": flags.count("--pipeline-model-parallel-size", default=1, note="pp"),
        "cp": flags.count("--context-parallel-size", default=1, note="cp"),
    }
    if "--num-experts" in flags.given:
        strategy["ep"] = flags.count("--expert-model-parallel-size", default=1, note="ep")
        strategy["etp"] = flags.count("--expert-tensor-parallel-size", default=tp, note="etp, as tp unless said")
        if "--moe-token-dispatcher-type" in flags.given:
            kind = flags.word("--moe-token-dispatcher-type", legal=("allgather", "alltoall", "flex", "alltoall_seq"))
            if kind == "allgather" and strategy["ep"] > 1:
                flags.notes.note("not honoured", "--moe-token-dispatcher-type", kind, "tokens are sent by all-to-all")
        elif strategy["ep"] > 1:
            note = "tokens are sent by all-to-all here; allgather is the default of Megatron-LM"
            flags.notes.note("not honoured", "--moe-token-dispatcher-type", "allgather", note)
    sequence = flags.has("--sequence-parallel")
    if sequence and tp == 1:
        flags.notes.note(
            "assumed", "--sequence-parallel", False, "Megatron-LM switches it off without tensor parallelism"
        )
    strategy["sequence_parallel"] = sequence and tp > 1
    if strategy["cp"] > 1:
        legal = (*_CONTEXT, "a2a+p2p")
        kind = flags.word("--cp-comm-type", legal=legal, default="p2p", note="exchange of context-parallel ranks")
        if kind in _CONTEXT:
            strategy["context_exchange"] = _CONTEXT[kind]
        else:
            flags.notes.note("not honoured", "--cp-comm-type", kind, "one kind of exchange for all; a ring is taken")
    return strategy


def _batch(flags: Flags, launch: Launch, strategy: dict[str, Any]) -> dict[str, Any]:
    micro = flags.count("--micro-batch-size", "--batch-size")
    strategy["micro_batch"] = micro
    batch = flags.optional("--global-batch-size")
    chips = launch.chips or launch.nodes * launch.per_node
    replica = strategy["tp"] * strategy["pp"] * strategy["cp"]
    if batch is None:
        if chips and chips % replica == 0:
            batch = micro * (chips // replica)
            flags.assume("--global-batch-size", batch, "micro-batch x replicas")
        else:
            flags.notes.problems.append("--global-batch-size: is missing; legal: a whole number from 1.")
            batch = 1
    job: dict[str, Any] = {"global_batch": batch}
    steps, samples = flags.optional("--train-iters"), flags.optional("--train-samples")
    tokens = flags.optional("--train-tokens")
    if samples is None and steps is not None:
        samples = steps * batch
    if tokens is not None:
        job["tokens"] = float(tokens)
    elif samples is not None:
        job["samples"] = float(samples)
    return job


def _numbers(flags: Flags) -> dict[str, Any]:
    job: dict[str, Any] = {}
    half = [word for word in ("--fp16", "--bf16") if flags.has(word)]
    if len(half) > 1:
        flags.notes.problems.append("--fp16: is given together with --bf16; legal: one of them.")
    fp8 = flags.word("--fp8-format", "--fp8", legal=("e4m3", "hybrid", "e5m2"))
    if flags.word("--fp4-format", legal=("e2m1",)):
        job["precision"] = "nvfp4"
    elif fp8 or flags.has("--fp8-hybrid", "--fp8-e4m3"):
        recipe = flags.word("--fp8-recipe", legal=(*_FP8_RECIPES, "custom"), default="delayed")
        job["precision"] = _FP8_RECIPES.get(recipe, "fp8_current")
        if recipe in ("blockwise", "custom"):
            flags.notes.note("not honoured", "--fp8-recipe", recipe, "one scale for a tensor, found in every step")
    elif not half:
        flags.assume("--fp32", "fp32", "neither --fp16 nor --bf16")
        job["precision"] = "fp32"
    else:
        narrow = flags.has("--grad-reduce-in-bf16", note="")
        wide = flags.has("--accumulate-allreduce-grads-in-fp32") or not narrow
        job["precision"] = "fp16_mixed" if half == ["--fp16"] else "bf16_fp32_gradients" if wide else "bf16_mixed"
        if half == ["--bf16"] and wide and "--accumulate-allreduce-grads-in-fp32" not in flags.given:
            flags.assume("--accumulate-allreduce-grads-in-fp32", True, "gradients of bf16 runs are fp32")
    rule = flags.word("--optimizer", legal=("adam", "sgd", "muon", "dist_muon", "lamb"), default="adam")
    job["optimizer"] = {"sgd": "momentum", "adam": "adamw"}.get(rule, rule)
    if rule in ("muon", "dist_muon"):
        job["optimizer"] = "adamw"
        flags.notes.note("not honoured", "--optimizer", rule, "adamw is taken")
    return job


def _pipeline(flags: Flags, pp: int) -> dict[str, Any]:
    blocks = flags.given.get("--num-layers")
    layers = (
        int(blocks.values[0])
        if blocks and blocks.values and blocks.values[0].isdigit() and len(blocks.values[0]) < 9
        else 0
    )
    of_stage = flags.optional("--num-layers-per-virtual-pipeline-stage")
    virtual = flags.optional("--num-virtual-stages-per-pipeline-rank") or 1
    if of_stage is not None and layers:
        if layers % (pp * of_stage):
            flags.notes.problems.append(
                f"--num-layers-per-virtual-pipeline-stage: {of_stage} on {pp} stages does not divide {layers} layers."
            )
        else:
            virtual = layers // pp // of_stage
    if virtual > 1 and pp == 1:
        flags.notes.problems.append("--pipeline-model-parallel-size: is 1 with virtual stages; legal: above 1.")
        virtual = 1
    return {"virtual_stages": virtual, "schedule": "interleaved" if virtual > 1 else "1f1b"}


def _memory(flags: Flags, strategy: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"recompute": "none", "sharding": "none"}
    if flags.has("--recompute-activations"):
        found["recompute"] = "selective"
    if flags.has("--checkpoint-activations", "--deepspeed-activation-checkpointing"):
        found["recompute"] = "full"
    granularity = flags.word("--recompute-granularity", legal=("full", "selective"))
    found["recompute"] = granularity or found["recompute"]
    if not {"--recompute-activations", "--checkpoint-activations", "--recompute-granularity"} & set(flags.given):
        flags.assume("--recompute-granularity", found["recompute"], "what is recomputed")
    method = flags.word("--recompute-method", legal=("uniform", "block"))
    every = flags.optional("--recompute-num-layers", "--checkpoint-num-layers")
    if method == "block":
        flags.notes.note("not honoured", "--recompute-method", method, "all blocks of a stage are recomputed")
    elif every is not None and every > 1 and found["recompute"] == "full":
        found["recompute_every"] = every
    if flags.has("--use-distributed-optimizer"):
        found["sharding"] = "zero1"
    zero = flags.optional("--zero-stage", least=0)
    if zero is not None:
        if zero > 3:
            flags.notes.problems.append(f"--zero-stage: is {zero}; legal: 0, 1, 2, 3.")
        found["sharding"] = ("none", "zero1", "zero2", "zero3")[min(zero, 3)]
    if flags.has("--use-megatron-fsdp", "--use-custom-fsdp"):
        how = flags.word("--data-parallel-sharding-strategy", legal=_SHARDED, default="no_shard")
        found["sharding"] = _SHARDED[how]
    if flags.has("--use-torch-fsdp2"):
        found["sharding"] = "zero2" if flags.has("--torch-fsdp2-no-reshard-after-forward") else "zero3"
    if found["sharding"] == "none":
        flags.assume("--use-distributed-optimizer", False, "every replica holds the whole state")
    if flags.has("--optimizer-cpu-offload"):
        found["offload"] = "optimizer"
    return found


def _switches(flags: Flags) -> None:
    """Overlap and kernels: a question cannot set them; what the stack has is compared with what is asked."""

    def compare(name: str, field: str, asked: tuple[object, ...], default: tuple[object, ...], note: str) -> None:
        given = name in flags.given
        flags.read.add(name)
        value = flags.given[name].text if given else "not given"
        said = Said(kind="given" if given else "assumed", what=name, value=value, note=note)
        flags.notes.switches.append(Switch(said=said, field=field, wanted=asked if given else default))

    compare(
        "--overlap-grad-reduce", "gradient_exchange", ("backward",), ("after",), "gradients under the backward pass"
    )
    compare("--tp-comm-overlap", "tensor_overlap", (True,), (False,), "tensor-parallel exchanges under products")
    if "--grad-reduce-in-bf16" in flags.given:
        compare("--grad-reduce-in-bf16", "gradient_byte", (0.0, 2.0), (), "gradients of 2 bytes")
    if flags.has("--overlap-param-gather", note="parameters are gathered as the stack has it"):
        pass
    backend = flags.word("--attention-backend", legal=("flash", "fused", "unfused", "local", "auto"))
    if backend in ("unfused", "local"):
        said = Said(kind="given", what="--attention-backend", value=backend, note="attention writes its scores")
        flags.notes.switches.append(Switch(said=said, field="attention", wanted=("unfused",)))
    elif backend or flags.has("--use-flash-attn", "--use-flash-attn-v2", "--use-flash-attn-v3"):
        said = Said(kind="given", what="attention", value="fused", note="one kernel for attention")
        flags.notes.switches.append(Switch(said=said, field="attention", wanted=("fused",)))


def _rest(flags: Flags) -> None:
    """What nobody read: ignored, not honoured or unknown, each with a reason."""
    for flag in flags.unread():
        if why := why_not_honoured(flag.name):
            flags.notes.note("not honoured", flag.name, flag.text, why)
        elif why := why_ignored(flag.name):
            flags.notes.note("ignored", flag.name, flag.text, why)
        else:
            near = did_you_mean(flag.name, (*flags.read, *KNOWN))
            flags.notes.note("unknown", flag.name, flag.text, f"not followed.{near}" if near else "not followed")


def _pinned(strategy: dict[str, Any], notes: Notebook) -> dict[str, Any]:
    """What a question can pin; the rest is said to be not honoured."""
    for key in [key for key in strategy if key not in STRATEGY]:
        value = strategy.pop(key)
        if value not in ("ring", 1):
            notes.note("not honoured", key, value, "this planner cannot pin it yet")
    return strategy
