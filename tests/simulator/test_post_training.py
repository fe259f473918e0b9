"""Validation passes and iterations of post-training: memory, laws between algorithms, and what a user sees."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from simulator import post_training_iteration
from simulator.calibration_data import load_constants
from simulator.cli import cli
from simulator.forward_pass import fastest_forward, forward_run, micro_batches_of
from simulator.generation import GenerationError
from simulator.iteration import Iteration, Phase
from simulator.job import resolve, workload_of
from simulator.memory import forward_memory, memory_byte
from simulator.parallelism import Parallelism, columns_of
from simulator.planner import plan
from simulator.post_training import RECIPES, weights_move_s
from simulator.query import QueryError, query_from_mapping
from simulator.ranking import search
from simulator.report.html import plan_html
from simulator.report.json_form import plan_json, plan_mapping
from simulator.report.text import plan_text

CONSTANTS = load_constants()
JOB = {"model": "Llama-3.1-8B", "system": "eos", "chips": 32, "global_batch": 128}
ASKED = {
    "algorithm": "grpo", "prompts": 64, "samples_per_prompt": 8, "prompt_tokens": 256, "new_tokens": 512,
    "new_tokens_variation": 0.5,
}  # fmt: skip
PAIRS = {"algorithm": "dpo", "prompts": 256, "prompt_tokens": 256, "new_tokens": 512}
PLAY = {"algorithm": "self_play", "simulations": 800}
GO = {"model": "alphago-zero", "system": "eos", "chips": 64, "global_batch": 4096}


def of(job=None, **asked):
    return post_training_iteration({**JOB, **(job or {})}, {**ASKED, **asked})


def question(**tables):
    return query_from_mapping({"job": JOB, **tables}, where="here")


@pytest.fixture(scope="module")
def trained():
    job = resolve(question())
    return job, search(job, CONSTANTS)


def test_forward_passes_need_less_memory_than_training_and_at_least_the_weights(trained):
    job, found = trained
    columns = found.everything.columns
    training = memory_byte(job.workload, job.context, columns)
    forward = forward_memory(job.workload, job.context, columns)
    assert (forward.total_byte <= training.total_byte).all()
    # On one stage it is the same stage that is fullest.
    alone = columns["pp"] == 1
    assert forward.parameter_byte[alone] == pytest.approx(training.parameter_byte[alone])
    for name in ("gradient_byte", "master_byte", "optimizer_byte"):
        assert not getattr(forward, name).any()
    assert (forward.activation_byte > 0).all()


def test_live_activations_do_not_grow_with_micro_batches_or_layers_and_grow_with_the_micro_batch(trained):
    job, _ = trained

    def alive(micro_batch=1, global_batch=128, **changed):
        one = Parallelism(tp=2, dp=16, micro_batch=micro_batch, global_batch=global_batch, **changed)
        return float(forward_memory(job.workload, job.context, columns_of([one])).activation_byte[0])

    assert alive() == alive(global_batch=1024) == alive(recompute="full")
    assert alive(micro_batch=4) == pytest.approx(4 * alive())


def test_a_validation_pass_is_a_third_of_a_step_on_as_many_samples_and_never_below_its_compute(trained):
    job, found = trained
    for place in range(0, len(found.order), 200):
        strategy, step = found.parallelism(place), found.step(place)
        if strategy.recompute != "none":
            continue
        run = forward_run(job.workload, job.context, CONSTANTS, strategy, 128)
        assert 0.2 < run.time_s / step.total_s < 0.5
        assert run.step.optimizer_ps == 0
        flop = 128 * job.workload.forward_flop - 0.5 * 128 * sum(
            x.repeat * op.forward_flop for x in job.workload.layers for op in x.ops if op.kind == "attention"
        )
        assert run.time_s >= flop / (32 * job.context.cluster.chip.peak("bf16"))


def test_the_fastest_forward_pass_is_no_slower_than_that_of_any_strategy_that_trains(trained):
    job, found = trained
    asked = {"chips": 32, "global_batch": 128, "samples": 512}
    best = fastest_forward(job.workload, job.context, CONSTANTS, **asked)
    assert best is not None
    assert best.memory_byte <= job.context.cluster.chip.memory_byte
    for place in range(0, len(found.order), 300):
        own = forward_run(job.workload, job.context, CONSTANTS, found.parallelism(place), 512)
        assert best.time_s <= own.time_s * (1 + 1e-9)


@pytest.mark.parametrize("layout", [{"dp": 32}, {"tp": 8, "pp": 4, "dp": 1}, {"tp": 8, "pp": 2, "dp": 2}])
def test_a_pass_over_any_number_of_samples_costs_as_much_more(trained, layout):
    job, _ = trained
    one = Parallelism(global_batch=128, **layout)

    def time_ps(samples):
        return forward_run(job.workload, job.context, CONSTANTS, one, samples).step.total_ps

    # Beyond some length a run is two shorter ones and their difference.
    few, more, many = (one.dp * one.pp * count for count in (900, 1000, 1100))
    assert (time_ps(many) - time_ps(more)) == time_ps(more) - time_ps(few)
    assert time_ps(10**13) == pytest.approx(10**13 / many * time_ps(many), rel=0.01)


@pytest.mark.parametrize(
    ("schedule", "pp", "samples", "count"),
    [("1f1b", 4, 10, 5), ("interleaved", 4, 10, 8), ("dualpipe", 4, 10, 8), ("dualpipe", 4, 21, 12)],
)
def test_samples_are_padded_to_micro_batches_that_the_schedule_runs(schedule, pp, samples, count):
    one = Parallelism(pp=pp, dp=1, micro_batch=2, global_batch=16, schedule=schedule)
    assert micro_batches_of(columns_of([one]), samples).tolist() == [count]


def test_validation_takes_its_share_of_a_run_and_is_in_its_total():
    plain = plan(query_from_mapping({"job": {**JOB, "samples": 128_000}}, where="here"))
    asked = {"job": {**JOB, "samples": 128_000}, "validation": {"every_steps": 50, "samples": 1000}}
    report = plan(query_from_mapping(asked, where="here"))
    cost, best = report.validation, report.ranked[0]
    assert cost.passes == 1000 // 50
    assert best.step == plain.ranked[0].step
    assert best.outcome.time_s == pytest.approx(1000 * best.step.total_s + 20 * cost.time_s)
    assert cost.share == pytest.approx(cost.total_s / best.outcome.time_s)
    assert plain.validation is None
    assert "validation" not in plan_mapping(plain)


def test_phases_of_one_group_add_up_and_groups_run_beside_each_other():
    def phase(time_s, group):
        return Phase(name="a", kind="train", model="m", time_s=time_s, chips=4, samples=1, group=group)

    def iteration(*phases):
        return Iteration(algorithm="ppo", phases=phases, produced=60, unit="tokens", steps=1, sequences=1)

    together = iteration(phase(2.0, "learners"), phase(3.0, "learners"))
    assert (together.time_s, together.idle_share, together.chips) == (5.0, 0.0, 4)
    apart = iteration(phase(2.0, "actors"), phase(3.0, "learners"))
    assert (apart.time_s, apart.pace, apart.chips) == (3.0, "learners", 8)
    assert apart.idle_share == pytest.approx(1 / 3)
    assert apart.produced_per_s == 20.0


@pytest.mark.parametrize("algorithm", RECIPES)
def test_an_iteration_has_the_phases_of_its_algorithm_and_their_sum(algorithm):
    asked = PAIRS if algorithm == "dpo" else {**ASKED, "algorithm": algorithm, "prompts": 128}
    found = post_training_iteration(JOB, asked)
    names = [phase.name for phase in found.phases]
    recipe = RECIPES[algorithm]
    assert ("generation" in names) is recipe.generates
    assert [n for n in names if n.endswith("forward")] == [f"{role} forward" for role in recipe.forwards]
    assert [n for n in names if n.endswith("training")] == [f"{role} training" for role in recipe.learns]
    assert found.time_s == pytest.approx(sum(phase.time_s for phase in found.phases))
    assert found.measured_rows == 0


def test_an_algorithm_with_more_models_takes_longer_and_the_best_of_many_trains_less():
    ppo, grpo, best = (of(algorithm=name, prompts=128) for name in ("ppo", "grpo", "best_of_n"))
    assert ppo.time_s > grpo.time_s
    generation = [next(p for p in one.phases if p.kind == "generate") for one in (ppo, grpo, best)]
    assert generation[0].samples == generation[2].samples == 1024
    trained = [next(p for p in one.phases if p.name == "actor training") for one in (grpo, best)]
    assert trained[0].samples == 8 * trained[1].samples
    assert trained[0].time_s > trained[1].time_s


def test_epochs_train_again_and_generate_once():
    once, thrice = of(), of(epochs=3)
    for kind, times in (("train", 3), ("generate", 1), ("forward", 1)):
        one, three = (sum(p.time_s for p in found.phases if p.kind == kind) for found in (once, thrice))
        assert three == pytest.approx(times * one)


def test_a_smaller_reward_model_takes_less_and_a_larger_one_more():
    forward = {}
    for model in ("Llama-3.2-3B", "Llama-3.1-8B", "Llama-3-70B"):
        found = of(algorithm="best_of_n", reward_model=model, prompts=128)
        forward[model] = next(p.time_s for p in found.phases if p.name == "reward forward")
    assert list(forward.values()) == sorted(forward.values())
    assert forward["Llama-3-70B"] > 4 * forward["Llama-3.1-8B"]


def test_actors_apart_overlap_with_learners_and_the_slower_sets_the_pace():
    together, few, many = of(epochs=4), of(epochs=4, generation_chips=8), of(epochs=4, generation_chips=256)
    assert few.pace == "actors"
    assert many.pace == "learners"
    for found in (few, many):
        assert found.time_s == max(found.group_s("actors"), found.group_s("learners"))
    assert many.time_s < together.time_s
    assert many.chips == 32 + 256
    assert few.group_s("learners") == pytest.approx(many.group_s("learners"))


def test_weights_take_no_time_where_they_are_and_more_from_elsewhere(trained):
    job, _ = trained

    def move(strategy, tp, apart=False):
        return weights_move_s(job.workload, job.context, strategy, tp=tp, apart=apart)

    same = Parallelism(tp=8, dp=4, global_batch=128)
    assert move(same, 8) == 0.0
    inside, stages = move(same, 4), move(Parallelism(tp=8, pp=4, global_batch=128), 8)
    assert 0.0 < inside < stages < move(same, 8, apart=True) * (1 + 1e-9)
    weights = job.context.recipe.storage_byte * job.workload.parameters
    assert move(same, 8, apart=True) >= weights / job.context.cluster.out_byte_per_s
    sharded = Parallelism(tp=1, dp=32, global_batch=128, sharding="zero3")
    assert move(sharded, 1) > move(replace(sharded, sharding="none", tp=2, dp=16), 1)


def test_self_play_goes_with_simulations_and_the_slower_of_both_sets_the_pace():
    few, many = (post_training_iteration(GO, {**PLAY, "simulations": n, "generation_chips": 512}) for n in (1, 1600))
    assert few.pace == "learners"
    assert many.pace == "actors"
    assert many.group_s("actors") == pytest.approx(1600 * few.group_s("actors"))
    assert few.time_s == few.group_s("learners") == many.group_s("learners")
    reused = post_training_iteration(GO, {**PLAY, "simulations": 1600, "generation_chips": 512, "reuse": 4.0})
    assert reused.group_s("actors") == pytest.approx(many.group_s("actors") / 4)
    # Evaluations of one learner's step at the chip's peak: no actor is faster.
    network = resolve(query_from_mapping({"job": GO}, where="here"))
    peak = network.context.cluster.chip.peak(network.context.recipe.matmul)
    assert many.group_s("actors") >= 4096 * 1600 * network.workload.forward_flop / (512 * peak) / 2.25


def test_what_is_generated_is_trained_on_at_its_mean_length_unless_told():
    query = question(post_training=ASKED)
    assert workload_of(query).tokens_per_sample == 256 + 512
    told = query_from_mapping({"job": {**JOB, "seq_len": 4096}, "post_training": ASKED}, where="here")
    assert workload_of(told).tokens_per_sample == 4096


def test_an_iteration_that_fits_nowhere_says_what_is_short():
    with pytest.raises(GenerationError, match="nothing fits; a replica of 8 chips needs"):
        of({"model": "Llama-3.1-405B", "chips": 512, "global_batch": 512})


WRONG = [
    ({}, {"algorithm": "ppq"}, r"post_training.algorithm: is 'ppq'; legal: .*Did you mean 'ppo'"),
    ({}, {"samples_per_prompt": 1}, r"samples_per_prompt: is 1, but grpo compares several of a prompt; legal: 2"),
    ({"global_batch": 1024}, {}, r"global_batch: is 1024, but an iteration trains on 512 sequences; legal: 1 to 512"),
    ({}, {"max_new_tokens": 100}, r"new_tokens: is 512, the mean, above max_new_tokens; legal: at most 100"),
    ({}, {"generation_chips": 10**6}, r"generation_chips: is 1000000 beside 32 chips of the job, but eos has"),
    ({}, {"generation_tp": 3}, r"generation_tp: is 3; .* legal: 1, 2, 4, 8. Nearest: 2"),
    ({}, {"simulations": 3}, r"simulations: does not go with grpo; legal: with self_play"),
    ({}, {"reward_model": "Llama-3.1-8B"}, r"reward_model: does not go with grpo; legal: with ppo, best_of_n"),
    ({}, {"algorithm": "ppo", "reward_model": "Lama-3.1-8B"}, r"reward_model: .*Did you mean"),
    ({"model": "BERT-large"}, {}, r"job.model: .* no causal network .*legal: a decoder"),
    ({}, {"num_generations": 8}, r"num_generations: is not a known key; .*Did you mean 'samples_per_prompt'"),
    ({}, {"new_tokens": "1k"}, r"new_tokens: "),
    ({}, {"prompt_tokens": 0}, r"prompt_tokens: is 0; legal: a whole number from 1"),
]


@pytest.mark.parametrize(("job", "asked", "message"), WRONG)
def test_what_is_wrong_says_where_what_is_legal_and_the_nearest(job, asked, message):
    with pytest.raises(QueryError, match=message):
        query_from_mapping({"job": {**JOB, **job}, "post_training": {**ASKED, **asked}}, where="here")


def test_all_that_is_wrong_is_said_together():
    tables = {
        "job": {**JOB, "model": "Lama"}, "validation": {"every": 10}, "post_training": {"algorithm": "ppo", "n": 4},
    }  # fmt: skip
    with pytest.raises(QueryError) as caught:
        query_from_mapping(tables, where="here")
    said = "\n".join(caught.value.problems)
    for part in (
        "job.model", "Did you mean 'every_steps'", "validation.every_steps: is missing",
        "validation.samples: is missing",
        "Did you mean 'samples_per_prompt'", "post_training.prompts: is missing", "new_tokens: is missing",
    ):  # fmt: skip
        assert part in said


def test_self_play_needs_positions_and_sequences_need_a_decoder():
    with pytest.raises(QueryError, match=r"takes sequences, self_play evaluates positions; legal: .* as alphago-zero"):
        query_from_mapping({"job": JOB, "post_training": {"algorithm": "self_play"}}, where="here")


FLAGS = [
    "plan", "--model", "Llama-3.1-8B", "--system", "eos", "--chips", "32", "--global-batch", "128",
    "--validation-every", "100", "--validation-samples", "1000", "--post-training", "grpo", "--prompts", "64",
    "--samples-per-prompt", "8", "--prompt-tokens", "256", "--new-tokens", "512",
]  # fmt: skip


def test_flags_and_tables_ask_the_same_and_text_and_json_and_page_answer_it():
    report = plan(question(validation={"every_steps": 100, "samples": 1000},
                           post_training={k: v for k, v in ASKED.items() if k != "new_tokens_variation"}))  # fmt: skip
    ran = CliRunner().invoke(cli, [*FLAGS, "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told == json.loads(plan_json(report))
    assert told["post_training"]["fits"]
    assert len(told["post_training"]["phases"]) == len(report.post_training.phases)
    assert told["validation"]["time_s"] == report.validation.time_s
    text = plan_text(report)
    assert "VALIDATION (strategy that trains)" in text
    assert "POST-TRAINING (one iteration)" in text
    assert "0 measured rows of generation" in text
    assert max(map(len, text[text.index("VALIDATION") : text.index("MEMORY")].splitlines())) <= 100
    assert "One iteration of grpo takes" in plan_html(report)


def test_flags_that_are_wrong_are_called_by_their_names():
    ran = CliRunner().invoke(cli, [*FLAGS, "--validation-every", "0", "--prompts", "many"])
    assert ran.exit_code == 2
    said = ran.stderr
    assert "--validation-every: is 0; legal: a whole number from 1" in said
    assert "--prompts: is 'many'" in said


def test_an_iteration_that_fits_nowhere_is_an_answer_with_its_own_exit_code():
    asked = [*FLAGS]
    asked[2], asked[6], asked[8] = "Llama-3.1-405B", "512", "512"
    ran = CliRunner().invoke(cli, asked)
    assert ran.exit_code == 3
    assert "Nothing fits: generation of Llama-3.1-405B" in " ".join(ran.stdout.split())


@pytest.mark.parametrize("model", ["ResNet-50", "BERT-large", "Mixtral-8x7B"])
def test_any_network_can_be_validated(model):
    tables = {"job": {**JOB, "model": model}, "validation": {"every_steps": 10, "samples": 5000}}
    cost = plan(query_from_mapping(tables, where="here")).validation
    assert np.isfinite(cost.time_s)
    assert cost.time_s > 0
