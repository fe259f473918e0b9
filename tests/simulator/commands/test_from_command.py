"""`trainyard plan --from-command` and `simulate --from-command`: the table of words, the pinned strategy, bad input."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.cli import cli
from simulator.command_line import read_command
from simulator.errors import InputError
from simulator.stack import stack

ROOT = Path(__file__).parents[3]
ARGUMENTS = (
    "--num-layers 24 --hidden-size 2048 --num-attention-heads 16 --seq-length 2048 --max-position-embeddings 2048 "
    "--micro-batch-size 2 --global-batch-size 256 --bf16 --tensor-model-parallel-size 2 "
    "--pipeline-model-parallel-size 4 "
    "--sequence-parallel --use-distributed-optimizer --recompute-activations --train-iters 100 --lr 1e-4"
)
COMMAND = f"torchrun --nproc-per-node 8 --nnodes 4 pretrain_gpt.py {ARGUMENTS}"


def run(*args):
    """Invoke the command line; nothing may ever end in a traceback or leave the stated exit codes."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert "Traceback" not in result.output
    assert "a fault of ours" not in result.output
    assert result.exit_code in (0, 2, 3)
    assert all(line.startswith("trainyard: ") for line in result.stderr.splitlines() if line)
    return result


def planned(*args):
    result = run("plan", "--system", "selene", *args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*args):
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()


def test_the_strategy_is_pinned_as_given():
    value = planned("--from-command", COMMAND)
    (only,) = value["ranked"]
    strategy = only["strategy"]
    expected = {"tp": 2, "pp": 4, "dp": 4, "cp": 1, "micro_batch": 2, "global_batch": 256, "recompute": "selective",
                "sharding": "zero1", "sequence_parallel": True, "schedule": "1f1b"}  # fmt: skip
    assert {key: strategy[key] for key in expected} == expected
    assert value["job"]["chips"] == 32
    assert value["job"]["precision"] == "bf16_fp32_gradients"
    assert only["outcome"]["steps"] == 100


def test_search_frees_the_strategy_and_finds_none_slower():
    pinned, free = planned("--from-command", COMMAND), planned("--from-command", COMMAND, "--search")
    assert free["searched"] > pinned["searched"]
    assert free["ranked"][0]["step_s"] <= pinned["ranked"][0]["step_s"]


def test_the_same_job_by_a_name_of_the_catalogue_takes_as_long():
    command = COMMAND.replace("--bf16", "--fp16").replace(
        "--tensor-model-parallel-size 2", "--tensor-model-parallel-size 8"
    )
    by_command = planned("--from-command", command)
    pins = ["tp=8", "pp=4", "cp=1", "micro_batch=2", "virtual_stages=1", "schedule=1f1b", "recompute=selective",
            "sharding=zero1", "sequence_parallel=true"]  # fmt: skip
    by_name = planned(
        "--model", "gpt h2048 L24 a16", "--chips", "32", "--global-batch", "256", "--precision", "fp16_mixed",
        "--optimizer", "adamw", *(word for pin in pins for word in ("--set", pin)),
    )  # fmt: skip
    assert by_command["job"]["parameters"] == by_name["job"]["parameters"]
    assert by_command["ranked"][0]["step_s"] == by_name["ranked"][0]["step_s"]
    assert by_command["ranked"][0]["memory"] == by_name["ranked"][0]["memory"]


def test_flags_and_pins_replace_what_the_command_says():
    value = planned(
        "--from-command", COMMAND, "--chips", "64", "--global-batch", "512", "--set", "tp=4", "--samples", "1e6"
    )
    assert value["job"]["chips"] == 64
    assert value["ranked"][0]["strategy"]["tp"] == 4
    assert value["ranked"][0]["strategy"]["dp"] == 4
    assert value["question"]["samples"] == 1e6


def test_every_word_is_in_the_table_before_the_plan():
    text = run(
        "plan", "--system", "selene", "--from-command", f"{COMMAND} --brand-new 3 --cuda-graph-impl local"
    ).stdout
    table, _, plan = text.partition("\npretrain_gpt h2048 ")
    assert plan
    for word in (w for w in COMMAND.split() if w.startswith("--")):
        assert word in table
    order = [table.index(f"\n{heading}") for heading in ("GIVEN", "ASSUMED", "NOT HONOURED", "UNKNOWN", "IGNORED")]
    assert order == sorted(order)
    assert "--brand-new" in table[order[3] :]
    assert "--cuda-graph-impl" in table[order[2] : order[3]]


def test_json_holds_the_same_words():
    value = planned("--from-command", f"{COMMAND} --brand-new 3")["command"]
    assert [one["what"] for one in value["unknown"]] == ["--brand-new"]
    assert value["program"] == "pretrain_gpt.py"
    assert any(one["what"] == "--lr" for one in value["ignored"])


@pytest.mark.parametrize("word", ["", "--overlap-grad-reduce"])
@pytest.mark.parametrize("name", ["megatron-lm-2022", "megatron-core-2024"])
def test_switches_are_compared_with_the_stack(word, name):
    value = planned("--from-command", f"{COMMAND} {word}", "--stack", name)["command"]
    agrees = (stack(name).gradient_exchange == "backward") == bool(word)
    kinds = [
        kind
        for kind in ("given", "assumed", "not_honoured")
        for one in value[kind]
        if one["what"] == "--overlap-grad-reduce"
    ]
    assert kinds == [("given" if word else "assumed") if agrees else "not_honoured"]


def test_a_file_reads_as_its_text(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(
        "#!/bin/bash\n# a comment\nexport N=4\n"
        + COMMAND.replace("--nnodes 4", "--nnodes $N").replace(" --", " \\\n  --")
    )
    found = planned("--from-command-file", path)
    assert found["ranked"] == planned("--from-command", COMMAND)["ranked"]


def test_a_step_of_a_command_is_simulated():
    result = run("simulate", "--system", "selene", "--from-command", COMMAND)
    assert result.exit_code == 0
    assert result.stdout.startswith("Read from the command line of pretrain_gpt.py:")
    assert "tp=2 pp=4 dp=4" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--from-command", COMMAND], ["--system: is missing"]),
        (
            ["--from-command", "torchrun pretrain_gpt.py --num-layers x"],
            ["--num-layers", "--hidden-size", "--system: is missing"],
        ),
        (["--from-command", "ls", "--system", "selne"], ["no training program", "Did you mean 'selene'"]),
        (["--from-command", COMMAND, "--from-command-file", "x", "--system", "selene"], ["one of them"]),
        (["job.toml", "--from-command", COMMAND, "--system", "selene"], ["one of them"]),
        (["--from-command", f"python pretrain_gpt.py {ARGUMENTS}", "--system", "selene"], ["legal: --chips N"]),
        (["--from-command", COMMAND, "--system", "selene", "--seq-len", "8"], ["--seq-len: the command line says it"]),
        (["--from-command", f"{COMMAND} --tensor-model-parallel-size 3", "--system", "selene"], ["tp"]),
        (["--from-command-file", "/no/such/file", "--system", "selene"], ["no such file"]),
        (["--from-command-file", "/", "--system", "selene"], ["cannot be read"]),
        (["--search", "--model", "gpt3-175b", "--system", "selene", "--global-batch", "8"], ["--search"]),
        (["--from-command", "", "--system", "selene"], ["no training program"]),
        (["--from-command", "'", "--system", "selene"], ["never closed"]),
        (["--from-command", "pretrain_gpt.py \x00 \u202e\U0001f600", "--system", "selene"], ["--num-layers"]),
    ],
)
def test_bad_input_is_lines(args, said):
    lines = refused("plan", *args)
    for text in said:
        assert any(text in line for line in lines), (text, lines)


def test_files_that_are_no_scripts_are_lines(tmp_path):
    huge, binary = tmp_path / "huge.sh", tmp_path / "binary.sh"
    huge.write_bytes(b"# x\n" * 3_000_000)
    binary.write_bytes(b"\xff\xfe\x00\x01")
    assert "larger than" in refused("plan", "--from-command-file", huge, "--system", "selene")[0]
    assert "not UTF-8" in refused("plan", "--from-command-file", binary, "--system", "selene")[0]


def test_as_a_program_of_its_own():
    program = [
        sys.executable,
        "-c",
        "from simulator.cli import main; main()",
        "plan",
        "--system",
        "selene",
        "--from-command",
    ]
    done = subprocess.run([*program, COMMAND], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert done.stderr == ""
    done = subprocess.run([*program, "torchrun pretrain_gtp.py"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("trainyard: --from-command: 'pretrain_gtp.py' is not understood")


# --- fuzz ---------------------------------------------------------------------------------------------------------

HOSTILE = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "1e9",
        "999999999999999",
        "9" * 400,
        "$X",
        "$(rm -rf /)",
        "`x`",
        "'",
        '"',
        "\\",
        "é",
        "\u202e",
        "nan",
        "inf",
        "[1]*3",
        "([0]*99999999+[1]*2)*9",
        "true",
        "--",
        "-",
        "=",
        "1,2",
        "None",
        "0x10",
        "١٢",
        "a b",
        "()",
        "\n",
        "#",
        ";",
        "<<",
        "${",
    ]
)
WORDS = shlex.split(COMMAND)
NAMES = st.sampled_from(
    [word for word in WORDS if word.startswith("--")]
    + [
        "--num-experts",
        "--moe-layer-freq",
        "--window-size",
        "--mtp-num-layers",
        "--multi-latent-attention",
        "--zero-stage",
        "--num-query-groups",
        "--group-query-attention",
        "--kv-channels",
        "--vocab-size",
        "--moe-router-topk",
        "--fp8-format",
        "--context-parallel-size",
        "--expert-model-parallel-size",
        "--num-layers-per-virtual-pipeline-stage",
        "--hidden-dropout",
        "--moe-expert-capacity-factor",
        "--moe-pad-expert-input-to-capacity",
        "--swiglu",
        "--make-vocab-size-divisible-by",
    ]
)
CHANGES = st.lists(st.tuples(NAMES, st.lists(HOSTILE, max_size=2)), max_size=4)


def changed(changes, quoted):
    extra = [word for name, values in changes for word in (name, *values)]
    return " ".join([*WORDS, *(map(shlex.quote, extra) if quoted else extra)])


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES, quoted=st.booleans())
def test_a_command_with_anything_in_it_is_read_or_refused_in_lines(changes, quoted):
    problems = ()
    try:
        read_command(changed(changes, quoted))
    except InputError as error:
        problems = error.problems
    assert all(problem.startswith("--from-command: ") and "\n" not in problem for problem in problems)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=CHANGES, quoted=st.booleans())
def test_a_plan_of_anything_ends_in_an_answer_or_in_lines(changes, quoted):
    run("plan", "--system", "selene", "--from-command", changed(changes, quoted))
