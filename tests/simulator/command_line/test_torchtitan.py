"""Command lines of torchtitan: the configuration file, overrides, what becomes of every key."""

import pytest

from simulator.command_line import read_command
from simulator.errors import InputError
from workloads import catalog

CONFIG = """
[job]
description = "a run"
[model]
name = "llama3"
flavor = "8B"
[optimizer]
name = "AdamW"
lr = 3e-4
[training]
local_batch_size = 2
seq_len = 8192
steps = 1000
compile = true
[parallelism]
tensor_parallel_degree = 2
enable_async_tensor_parallel = true
[activation_checkpoint]
mode = "full"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def read(config, extra="", launcher="torchrun --nproc-per-node 8 --nnodes 8 -m torchtitan.train"):
    return read_command(f"{launcher} --job.config_file {config} {extra}")


def problems(*args, **kwargs):
    with pytest.raises(InputError) as caught:
        read(*args, **kwargs)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def test_a_configuration_file_is_a_job(config):
    command = read(config)
    assert command.workload == catalog.model("Llama-3-8B", seq_len=8192)
    assert command.job == {"global_batch": 2 * 32, "samples": 1000 * 64.0, "precision": "bf16_fp32_gradients",
                           "optimizer": "adamw", "stack": "torchtitan"}  # fmt: skip
    expected = {
        "tp": 2,
        "pp": 1,
        "cp": 1,
        "micro_batch": 2,
        "recompute": "full",
        "sharding": "zero3",
        "sequence_parallel": True,
    }
    assert command.strategy == expected
    assert [switch.field for switch in command.switches] == ["tensor_overlap"]


def test_overrides_count_more_and_the_file_is_said(config):
    command = read(
        config, "--training.seq_len 4096 --training.local-batch-size=4 --parallelism.tensor_parallel_degree 8"
    )
    assert command.workload.tokens_per_sample == 4096
    assert command.strategy["tp"] == 8
    assert command.job["global_batch"] == 4 * 8
    assert any(one.what == "--job.config_file" for one in command.said)


@pytest.mark.parametrize(
    ("extra", "key", "value"),
    [
        ("--parallelism.fsdp_reshard_after_forward never", "sharding", "zero2"),
        ("--parallelism.data_parallel_shard_degree 1", "sharding", "none"),
        ("--parallelism.pipeline_parallel_degree 4", "sharding", "zero2"),
        ("--parallelism.pipeline_parallel_degree 4", "schedule", "1f1b"),
        (
            "--parallelism.pipeline_parallel_degree 4 --parallelism.pipeline_parallel_schedule Interleaved1F1B",
            "virtual_stages",
            2,
        ),
        ("--activation_checkpoint.mode none", "recompute", "none"),
        ("--parallelism.context_parallel_degree 2", "cp", 2),
    ],
)
def test_strategy(config, extra, key, value):
    assert read(config, extra).strategy[key] == value


@pytest.mark.parametrize(
    ("extra", "precision"),
    [("--model.converters float8", "fp8_current"), ("--model.converters mx", "mxfp8"),
     ("--training.mixed_precision_param float32", "fp32")],
)  # fmt: skip
def test_number_formats(config, extra, precision):
    assert read(config, extra).job["precision"] == precision


def test_every_key_is_said(config):
    command = read(config, "--training.foo 3 --metrics.log_freq 2 --bogus.key 1 --parallelism.new_thing 2")
    kinds = {one.what: one.kind for one in command.said}
    assert kinds["--metrics.log-freq"] == "ignored"
    assert kinds["--optimizer.lr"] == "ignored"
    assert kinds["--bogus.key"] == "unknown"
    assert kinds["--parallelism.new-thing"] == "not honoured"


def test_the_script_of_the_repository_takes_its_variables(config):
    command = read_command(f"NGPU=4 CONFIG_FILE={config} ./run_train.sh --training.steps 3")
    assert (command.nodes, command.per_node) == (1, 4)
    assert command.job["samples"] == 3 * command.job["global_batch"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds"), ("[model]\nname = 'llama3'\nflavor = '8b'\n", "Did you mean"), ("x = [", "not TOML"),
     ("[training]\nseq_len = 'a'\n", "--training.seq-len")],
)  # fmt: skip
def test_bad_files_are_lines(tmp_path, text, said):
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    found = problems(path)
    assert any(said in problem for problem in found) or said == "holds"


def test_a_missing_file_and_a_registered_configuration_are_lines(tmp_path):
    assert any("no such file" in problem for problem in problems(tmp_path / "none.toml"))
    with pytest.raises(InputError, match=r"--job\.config_file FILE\.toml"):
        read_command("torchrun -m torchtitan.train --module llama3 --config llama3_8b")


def test_a_batch_that_follows_from_unknown_chips_is_asked_for(config):
    (line,) = problems(config, launcher="python -m torchtitan.train")
    assert "--chips N" in line
