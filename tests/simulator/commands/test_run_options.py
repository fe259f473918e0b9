"""The options of a run of steps, and what is said about one."""

import click
import pytest

from simulator.commands.run_options import run_options, runs_steps
from simulator.errors import InputError
from simulator.one_step import simulate_step
from simulator.query import PlanQuery
from simulator.report.run_text import run_mapping, run_text
from simulator.run_beside import RunOptions, run_beside

RESNET = PlanQuery(model="resnet50", system="dgx1-v100", chips=16, global_batch=2048)
GPT = PlanQuery(model="gpt2-xl", system="dgx-a100", chips=8, global_batch=64)


@pytest.fixture(scope="module")
def resnet():
    return simulate_step(RESNET)


def read(*words):
    got = []

    @click.command()
    @runs_steps
    def command(run):
        got.append(run)

    command.main(list(words), standalone_mode=False)
    return got[0]


def test_options_are_read_with_their_units():
    run = read("--steps", "1,000", "--input", "imagenet", "--storage", "100GB/s", "--host-memory", "512 GiB")
    assert run == RunOptions(steps=1000, input="imagenet", storage_byte_per_s=100e9, host_memory_byte=512 * 2**30)
    assert read() is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--input", "imagenet"), "--steps is missing"),
        (("--steps", "0"), "at least 1"),
        (("--steps", "1.5"), "whole number"),
        (("--steps", "9", "--input", "jpeg", "--disk", "1GB/s"), "one of imagenet, tokens"),
        (("--steps", "9", "--input", "imagenet"), "need a place"),
        (("--steps", "9", "--storage", "fast"), "--storage"),
        (("--steps", "9", "--checkpoint-mode", "async"), "one of blocking, asynchronous"),
    ],
)
def test_what_cannot_be_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        read(*words)


def test_every_problem_is_told_at_once():
    with pytest.raises(InputError) as caught:
        run_options({"storage_byte_per_s": "x", "prefetch": "y"})
    assert len(caught.value.problems) == 3


def test_a_slow_disk_is_what_binds_and_cores_where_it_is_fast(resnet):
    slow = run_beside(resnet, RESNET, RunOptions(steps=30, input="imagenet", disk_byte_per_s=0.1e9))
    fast = run_beside(resnet, RESNET, RunOptions(steps=30, input="imagenet", disk_byte_per_s=50e9))
    assert slow.binds == "storage"
    assert slow.times.input_share > 0.5
    assert fast.times.input_share < slow.times.input_share


def test_checkpoints_of_momentum_are_weights_and_state(resnet):
    run = run_beside(resnet, RESNET, RunOptions(steps=10, checkpoint_every=5, storage_byte_per_s=1e9))
    assert run.times.checkpoints == 2
    assert 8 * 25e6 < run.checkpoint_byte < 14 * 26e6
    assert run.times.checkpoint_share > 0


def test_text_and_json_say_the_same(resnet):
    options = RunOptions(steps=20, input="imagenet", disk_byte_per_s=1e9, checkpoint_every=10)
    text, (run,) = run_text(resnet, RESNET, options), run_mapping(resnet, RESNET, options).values()
    assert f"{run['input_share']:.1%} of the time" in text
    assert f"{run['checkpoints']} of " in text
    assert all(line in text.replace("\n" + " " * 15, " ") for line in run["assumed"])
    assert max(map(len, text.splitlines())) <= 100
    assert run_text(resnet, RESNET, None) == ""
    assert run_mapping(resnet, RESNET, None) == {}


def test_tokens_are_for_sequences_and_images_for_images(resnet):
    with pytest.raises(InputError, match="legal: imagenet"):
        run_beside(resnet, RESNET, RunOptions(steps=2, input="tokens", disk_byte_per_s=1e9))
    step = simulate_step(GPT)
    run = run_beside(step, GPT, RunOptions(steps=20, input="tokens", disk_byte_per_s=1e9))
    assert run.binds == "training"
    assert run.times.input_share < 0.01
