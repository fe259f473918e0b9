"""Command lines of Megatron-LM: networks with the published numbers of parameters, jobs, what becomes of every word."""

import pytest

from simulator.command_line import KINDS, read_command
from simulator.command_line.megatron_words import _NOT_HONOURED, _WITHOUT_EFFECT, REFUSED
from simulator.errors import InputError
from workloads import catalog

GPT3 = (
    "--num-layers 96 --hidden-size 12288 --num-attention-heads 96 --seq-length 2048 --max-position-embeddings 2048 "
    "--micro-batch-size 1 --global-batch-size 1536 --fp16 --tokenizer-type GPT2BPETokenizer "
)
LLAMA = (
    "--swiglu --disable-bias-linear --normalization RMSNorm --untie-embeddings-and-output-weights --bf16 "
    "--position-embedding-type rope --attention-dropout 0 --hidden-dropout 0 --group-query-attention "
    "--num-query-groups 8 "
    "--seq-length 8192 --max-position-embeddings 131072 --micro-batch-size 1 --global-batch-size 128 "
    "--make-vocab-size-divisible-by 16 --tokenizer-type HuggingFaceTokenizer "
)
DEEPSEEK = (
    "--num-layers 61 --hidden-size 7168 --num-attention-heads 128 --ffn-hidden-size 18432 --seq-length 4096 "
    "--max-position-embeddings 163840 --micro-batch-size 1 --global-batch-size 8192 --bf16 --swiglu "
    "--disable-bias-linear "
    "--normalization RMSNorm --untie-embeddings-and-output-weights --position-embedding-type rope "
    "--attention-dropout 0 --hidden-dropout 0 --multi-latent-attention --qk-layernorm --q-lora-rank 1536 "
    "--kv-lora-rank 512 --num-experts 256 "
    "--moe-router-topk 8 --moe-ffn-hidden-size 2048 --moe-shared-expert-intermediate-size 2048 "
    "--moe-layer-freq '([0]*3+[1]*58)' --moe-router-enable-expert-bias --vocab-size 129280 "
)


def read(arguments, launcher="torchrun --nproc-per-node 8 --nnodes 16", program="pretrain_gpt.py"):
    return read_command(f"{launcher} {program} {arguments}")


def shape(layers, hidden, heads, ffn):
    return f"--num-layers {layers} --hidden-size {hidden} --num-attention-heads {heads} --ffn-hidden-size {ffn} "


def problems(arguments, **kwargs):
    with pytest.raises(InputError) as caught:
        read(arguments, **kwargs)
    assert all("\n" not in problem and problem.startswith("--from-command: ") for problem in caught.value.problems)
    return caught.value.problems


def lines(command, what):
    return [one for one in command.said if one.what == what]


# --- networks -----------------------------------------------------------------------------------------------------

# Published: the checkpoints' own counts (Hugging Face model cards of Llama 3, 3.1 and Mixtral; DeepSeek-V3 with one
# module of further tokens); GPT-3's by its layers, 12 h^2 + 13 h each, 51,200 words and 2,048 positions.
MODEL_3 = "--tokenizer-model meta-llama/Meta-Llama-3-8B "
PUBLISHED = {
    "gpt3 175b": (
        GPT3 + "--tensor-model-parallel-size 8",
        96 * (12 * 12288**2 + 13 * 12288) + (51200 + 2048 + 2) * 12288,
    ),
    "llama 3 8b": (LLAMA + MODEL_3 + shape(32, 4096, 32, 14336), 8_030_261_248),
    "llama 3 70b": (LLAMA + MODEL_3 + shape(80, 8192, 64, 28672) + "--tensor-model-parallel-size 8", 70_553_706_496),
    "llama 3.1 405b": (
        LLAMA + MODEL_3 + shape(126, 16384, 128, 53248) + "--tensor-model-parallel-size 8",
        405_853_388_800,
    ),
    "mixtral 8x7b": (
        LLAMA
        + "--vocab-size 32000 --num-experts 8 --moe-router-topk 2 --expert-model-parallel-size 8 "
        + shape(32, 4096, 32, 14336),
        46_702_792_704,
    ),
    "mixtral 8x22b": (LLAMA + "--vocab-size 32768 --num-experts 8 " + shape(56, 6144, 48, 16384), 140_630_071_296),
    "deepseek v3": (DEEPSEEK, 671_026_419_200),
    "deepseek v3 with one more token": (DEEPSEEK + "--mtp-num-layers 1", 682_636_487_424),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name):
    arguments, parameters = PUBLISHED[name]
    assert read(arguments).workload.parameters == parameters


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("gpt3 175b", "GPT3-175B"),
        ("llama 3 8b", "Llama-3-8B"),
        ("llama 3.1 405b", "Llama-3.1-405B"),
        ("mixtral 8x7b", "Mixtral-8x7B"),
        ("deepseek v3 with one more token", "DeepSeek-V3-671B"),
    ],
)
def test_parameters_and_work_are_those_of_the_catalogue(name, ours):
    found = read(PUBLISHED[name][0]).workload
    entry = catalog.model(ours, seq_len=found.tokens_per_sample)
    assert found.parameters == entry.parameters
    assert found.forward_flop == entry.forward_flop
    assert found.num_blocks == entry.num_blocks


def test_defaults_of_the_program_are_taken_and_said():
    command = read("--num-layers 2 --hidden-size 96 --num-attention-heads 4 --seq-length 8 --vocab-size 100 "
                   "--max-position-embeddings 16 --micro-batch-size 3 --swiglu")  # fmt: skip
    hyper = command.workload.hyper
    assert hyper["ffn"] == 256  # 8/3 of the hidden size in 64s
    assert hyper["vocab"] == 128
    assert hyper["norm"] == "layernorm"
    assert hyper["dropout"] is True
    assert command.workload.tied_embeddings
    assert command.job["global_batch"] == 3 * 128
    assert command.job["precision"] == "fp32"
    for what in (
        "--ffn-hidden-size",
        "padded vocabulary",
        "--normalization",
        "--global-batch-size",
        "--fp32",
        "--hidden-dropout",
    ):
        assert [one.kind for one in lines(command, what)] == ["assumed"], what


def test_the_vocabulary_is_padded_to_what_tensor_parallel_ranks_share():
    for tp, rows in ((1, 50304), (8, 51200)):
        assert read(f"{GPT3} --tensor-model-parallel-size {tp}").workload.hyper["vocab"] == rows
    assert read(f"{GPT3} --padded-vocab-size 50432").workload.hyper["vocab"] == 50432
    null = GPT3.replace("GPT2BPETokenizer", "NullTokenizer")
    assert read(f"{null} --vocab-size 128256").workload.hyper["vocab"] == 128384  # and an end of the document


@pytest.mark.parametrize(
    ("extra", "less", "more"),
    [
        ("--swiglu", "", "swiglu: a third product"),
        ("--squared-relu", "", ""),
        ("--qk-layernorm", "", "norms of queries and keys"),
        ("--untie-embeddings-and-output-weights", "", "a second table"),
        ("--disable-bias-linear", "biases", ""),
        ("--position-embedding-type rope", "the table of positions", ""),
        ("--normalization RMSNorm", "shifts of norms", ""),
        ("--group-query-attention --num-query-groups 8", "keys and values", ""),
    ],
)
def test_every_word_of_the_network_moves_its_parameters_the_way_it_must(extra, less, more):
    plain = read(f"{GPT3} --ffn-hidden-size 49152").workload.parameters
    found = read(f"{GPT3} --ffn-hidden-size 49152 {extra}").workload.parameters
    assert (found < plain) == bool(less)
    assert (found > plain) == bool(more)


def test_windows_narrow_attention_of_the_blocks_they_name():
    def flop(extra):
        return read(f"{GPT3} {extra}").workload.forward_flop

    assert flop("--window-size 255,0") < flop("--window-size 255,0 --window-attn-skip-freq 2") < flop("")
    assert flop("--window-size '(255,0)' --window-attn-skip-freq '[1]*48+[0]*48'") == flop(
        "--window-size 255,0 --window-attn-skip-freq 2"
    )


# --- the job ------------------------------------------------------------------------------------------------------


def test_batch_layout_and_amount_of_data():
    command = read(
        f"{GPT3} --tensor-model-parallel-size 8 --pipeline-model-parallel-size 8 "
        "--num-layers-per-virtual-pipeline-stage 3 "
        "--sequence-parallel --recompute-activations --use-distributed-optimizer --train-iters 500"
    )
    assert (command.nodes, command.per_node) == (16, 8)
    assert command.job == {
        "global_batch": 1536,
        "samples": 500 * 1536.0,
        "precision": "fp16_mixed",
        "optimizer": "adamw",
    }
    expected = {"tp": 8, "pp": 8, "cp": 1, "micro_batch": 1, "virtual_stages": 4, "schedule": "interleaved",
                "recompute": "selective", "sharding": "zero1", "sequence_parallel": True}  # fmt: skip
    assert command.strategy == expected


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("", "recompute", "none"),
        ("--recompute-granularity full --recompute-method uniform --recompute-num-layers 1", "recompute", "full"),
        ("--recompute-granularity selective", "recompute", "selective"),
        ("--checkpoint-activations", "recompute", "full"),
        ("", "sharding", "none"),
        ("--use-distributed-optimizer", "sharding", "zero1"),
        ("--zero-stage 2", "sharding", "zero2"),
        ("--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads_params", "sharding", "zero3"),
        ("--use-torch-fsdp2", "sharding", "zero3"),
        ("--use-torch-fsdp2 --torch-fsdp2-no-reshard-after-forward", "sharding", "zero2"),
        ("--num-virtual-stages-per-pipeline-rank 2 --pipeline-model-parallel-size 4", "virtual_stages", 2),
        ("--num-experts 8 --expert-model-parallel-size 4 --tensor-model-parallel-size 2", "etp", 2),
        ("--num-experts 8 --expert-tensor-parallel-size 1 --tensor-model-parallel-size 2", "etp", 1),
        ("--context-parallel-size 2", "cp", 2),
    ],
)
def test_strategy(words, key, value):
    assert read(f"{GPT3} {words}").strategy[key] == value


def test_sequence_parallelism_without_tensor_parallelism_is_switched_off():
    command = read(f"{GPT3} --sequence-parallel")
    assert command.strategy["sequence_parallel"] is False
    assert [one.kind for one in lines(command, "--sequence-parallel")] == ["given", "assumed"]


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        ("--bf16", "bf16_fp32_gradients"),
        ("--bf16 --grad-reduce-in-bf16", "bf16_mixed"),
        ("--fp16", "fp16_mixed"),
        ("", "fp32"),
        ("--bf16 --fp8-format hybrid", "fp8"),
        ("--bf16 --fp8-format e4m3 --fp8-recipe mxfp8", "mxfp8"),
        ("--bf16 --fp8-format hybrid --fp8-recipe tensorwise", "fp8_current"),
        ("--bf16 --fp4-format e2m1", "nvfp4"),
    ],
)
def test_number_formats(words, precision):
    assert read(GPT3.replace("--fp16", words)).job["precision"] == precision


@pytest.mark.parametrize(
    ("launcher", "chips"),
    [
        ("torchrun --nproc_per_node=8 --nnodes=16", (16, 8, 0)),
        ("torchrun --nproc-per-node 8", (1, 8, 0)),
        ("torchrun --nnodes 4", (4, 1, 0)),
        ("torchrun --nnodes 1:16 --nproc-per-node gpu", (16, 0, 0)),
        ("python -m torch.distributed.launch --nproc_per_node 4 --nnodes 2", (2, 4, 0)),
        ("python3 -u -m torch.distributed.run --nproc-per-node 4 --nnodes 2 --rdzv_id 7", (2, 4, 0)),
        ("srun -N 16 --ntasks-per-node=8 --container-image x.sqsh python -u", (16, 8, 0)),
        ("srun --ntasks 128 python", (0, 0, 128)),
        ("srun -N 16 --ntasks-per-node=1 torchrun --nproc-per-node 8 --nnodes 16", (16, 8, 0)),
        ("srun --nodes=16 --gres=gpu:h100:8 --ntasks-per-node 8 python", (16, 8, 0)),
        ("mpirun -np 64 python", (0, 0, 64)),
        ("deepspeed --num_nodes 4 --num_gpus 8", (4, 8, 0)),
        ("CUDA_DEVICE_MAX_CONNECTIONS=1 torchrun --nproc-per-node 2", (1, 2, 0)),
        ("python", (0, 0, 0)),
    ],
)
def test_launchers(launcher, chips):
    command = read(GPT3, launcher=launcher)
    assert (command.nodes, command.per_node, command.chips) == chips


def test_a_script_with_arrays_and_conditions_is_one_command():
    script = """#!/bin/bash
#SBATCH --nodes=4
PER_NODE=8   # chips
NODES=${SLURM_NNODES:-4}
PATH_OUT=$1
KIND="fp8"
RUN=( --nproc_per_node $PER_NODE
      --nnodes $NODES --master_addr ${HEAD:-localhost} )
SHAPE=(
    --num-layers 32 --hidden-size 4096   # width
    # --hidden-size 8192
    --num-attention-heads 32
)
EXTRA=()
if [[ "$KIND" == "fp8" ]]; then
    EXTRA+=( "--fp8-format hybrid" --bf16 )
fi
OTHER=" \\
    --seq-length 2048 --max-position-embeddings 2048 \\
    --micro-batch-size 2 --global-batch-size $((NODES*64)) --save $PATH_OUT "
mkdir -p "$PATH_OUT"
torchrun ${RUN[@]} tools/pretrain_gpt.py ${SHAPE[@]} ${EXTRA[@]} $OTHER 2>&1 | tee log.txt
"""
    command = read_command(script)
    assert (command.nodes, command.per_node) == (4, 8)
    assert command.job["global_batch"] == 256
    assert command.job["precision"] == "fp8"
    assert command.workload.hyper["hidden"] == 4096


@pytest.mark.parametrize("inner", ["bash -c 'python -u pretrain_gpt.py {}'", 'sh -c "pretrain_gpt.py {}"'])
def test_a_command_inside_a_command(inner):
    command = read_command(f"srun -N 2 --ntasks-per-node 8 {inner.format(GPT3)}")
    assert (command.nodes, command.per_node) == (2, 8)
    assert command.job["global_batch"] == 1536


def test_a_command_in_a_variable():
    script = f'ARGS="{GPT3}"\nRUN="python -u a/pretrain_gpt.py $ARGS"\nsrun -N 2 --ntasks-per-node 8 sh -c "${{RUN}}"\n'
    assert read_command(script).job["global_batch"] == 1536


# --- every word ---------------------------------------------------------------------------------------------------


def test_no_word_is_dropped():
    extra = "--lr 1e-4 --log-interval 10 --decoder-first-pipeline-num-layers 3 --quite-new-word 7"
    extra += " --tp-comm-overlap --data-path a b c"
    command = read(f"{GPT3} {extra}")
    said = {one.what for one in command.said} | {switch.said.what for switch in command.switches}
    given = {word for word in f"{GPT3} {extra}".split() if word.startswith("--")}
    assert given <= said
    kinds = {one.what: one.kind for one in command.said}
    assert kinds["--lr"] == "ignored"
    assert kinds["--decoder-first-pipeline-num-layers"] == "not honoured"
    assert kinds["--quite-new-word"] == "unknown"
    assert {one.kind for one in command.said} <= set(KINDS)


def test_an_unknown_word_is_said_with_the_nearest():
    (one,) = lines(read(f"{GPT3} --overlap-grad-reduse"), "--overlap-grad-reduse")
    assert one.kind == "unknown"
    assert "'--overlap-grad-reduce'" in one.note


def test_the_last_of_a_repeated_word_counts_and_the_first_is_said():
    command = read(f"{GPT3} --micro-batch-size 4")
    assert command.strategy["micro_batch"] == 4
    assert {one.kind for one in lines(command, "--micro-batch-size")} == {"ignored", "given"}


def test_a_word_without_effect_has_none():
    plain = read(GPT3)
    for words in _WITHOUT_EFFECT.values():
        for word in words.split():
            if word.endswith("*") or word in REFUSED:
                continue
            command = read(f"{GPT3} {word} 1")
            assert (command.workload, command.job, command.strategy) == (plain.workload, plain.job, plain.strategy), (
                word
            )


def test_words_of_the_tables_stand_in_one_of_them():
    ignored = {word for words in _WITHOUT_EFFECT.values() for word in words.split()}
    assert not ignored & set(_NOT_HONOURED)
    assert not (ignored | set(_NOT_HONOURED)) & set(REFUSED)


@pytest.mark.parametrize("word", REFUSED)
def test_another_network_than_a_decoder_is_refused(word):
    assert any(f"{word}: describes" in problem for problem in problems(f"{GPT3} {word} 1"))


# --- bad input ----------------------------------------------------------------------------------------------------


def test_all_problems_come_together():
    found = problems("--num-layers x --hidden-size --num-attention-heads 0 --seq-length 2e3 --micro-batch-size -4")
    for word in ("--num-layers", "--hidden-size", "--num-attention-heads", "--seq-length", "--micro-batch-size",
                 "--max-position-embeddings"):  # fmt: skip
        assert sum(f" {word}: " in problem for problem in found) == 1, word


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--tensor-model-parallel-size $TP", "which the text does not define"),
        ("--fp16 --bf16", "--bf16"),
        ("--num-attention-heads 7", "does not divide the hidden size"),
        ("--seq-length 4096", "--max-position-embeddings is 2048"),
        ("--num-experts 4 --moe-router-topk 5", "at most the 4 experts"),
        ("--num-experts 4 --moe-layer-freq '[1]*3'", "--moe-layer-freq"),
        ("--group-query-attention --num-query-groups 7", "does not divide 96"),
        ("--num-layers-per-virtual-pipeline-stage 5 --pipeline-model-parallel-size 4", "does not divide 96 layers"),
        ("--num-virtual-stages-per-pipeline-rank 2", "virtual stages"),
        ("--position-embedding-type rop", "Did you mean 'rope'?"),
        ("--zero-stage 4", "--zero-stage"),
        ("--num-layers 999999999", "at most 100,000"),
        ("--window-size x", "--window-size"),
    ],
)
def test_what_cannot_be_is_said_with_what_can(words, said):
    assert any(said in problem for problem in problems(f"{GPT3} {words}"))


def test_an_unknown_program_is_said_with_the_nearest():
    (line,) = problems(GPT3, program="pretrain_gtp.py")
    assert "pretrain_gpt.py, " in line
    assert "Did you mean 'pretrain_gpt.py'?" in line
    (line,) = problems("", launcher="echo", program="hello")
    assert "no training program" in line


def test_a_second_training_command_is_said():
    command = read_command(f"python pretrain_gpt.py {GPT3}\npython pretrain_gpt.py {GPT3} --seq-length 1")
    assert command.workload.tokens_per_sample == 2048
    assert any("line 2: a further pretrain_gpt.py" in one.note for one in command.said)
