"""Post-training as an iteration of phases: who generates, who is evaluated, who learns, by algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from workloads import catalog as models
from workloads.generation import at_length
from workloads.reinforcement import SelfPlay
from workloads.workload import Workload

from .analytic import forward_batch, forward_times
from .constants import Constants
from .forward_pass import fastest_forward, forward_run
from .generation import GenerationError, Prompts, generate, serving
from .iteration import Iteration, Phase
from .job import Job
from .lowering import Context, lower
from .parallelism import Parallelism
from .phase_query import PostTraining
from .plan_report import MemoryUse
from .pricing import host_link_byte_per_s
from .ranking import search
from .stepspec import PARTS, StepTime


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an algorithm runs in one iteration.

    ``forwards``: models whose forward passes see every sequence; ``learns``: models that are trained, of which the
    actor is the first. Models are called by their role.
    """

    generates: bool
    forwards: tuple[str, ...]
    learns: tuple[str, ...]
    note: str


#: References: Ouyang et al. 2022, arXiv:2203.02155 (PPO with four models); Shao et al. 2024, arXiv:2402.03300 (GRPO);
#: Ahmadian et al. 2024, arXiv:2402.14740 (RLOO); Rafailov et al. 2023, arXiv:2305.18290 (DPO); Touvron et al. 2023,
#: arXiv:2307.09288, section 3.2.3 (rejection sampling).
RECIPES: Final[Mapping[str, Recipe]] = {
    "ppo": Recipe(
        generates=True, forwards=("actor", "critic", "reference", "reward"), learns=("actor", "critic"),
        note="log-probabilities of actor and reference, values, rewards, then updates of actor and critic",
    ),
    "grpo": Recipe(
        generates=True, forwards=("actor", "reference"), learns=("actor",),
        note="rewards by rule, which take no time here; log-probabilities of actor and reference",
    ),
    "rloo": Recipe(
        generates=True, forwards=("actor", "reference"), learns=("actor",),
        note="rewards by rule, which take no time here; log-probabilities of actor and reference",
    ),
    "best_of_n": Recipe(
        generates=True, forwards=("reward",), learns=("actor",),
        note="every sample is rewarded, the best of each prompt is trained on",
    ),
    "dpo": Recipe(
        generates=False, forwards=("reference",), learns=("actor",),
        note="pairs that are there already: two sequences to a prompt",
    ),
}  # fmt: skip

#: What each part of a pass is where it takes longest.
_BINDS: Final = {
    "compute": "compute", "tensor": "exchange inside layers", "pipeline": "sends between stages",
    "bubble": "pipeline bubble", "data": "exchange not hidden", "optimizer": "optimizer", "fixed": "fixed per step",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Learner:
    """How a model is trained here: its strategy, a step, its memory."""

    parallelism: Parallelism
    step: StepTime
    memory: MemoryUse

    @property
    def state_byte(self) -> float:
        """What stays on a chip between its phases: parameters, gradients, masters, optimizer state [B]."""
        held = self.memory
        return held.parameter_byte + held.gradient_byte + held.master_byte + held.optimizer_byte


def longest_part(step: StepTime) -> str:
    """The part of a step or pass that takes longest, in words."""
    return _BINDS[max(PARTS, key=step.part_s)]


def post_train(job: Job, actor: Learner, constants: Constants) -> Iteration:
    """One iteration of the job's post-training, with the actor trained as told.

    Raises
    ------
    GenerationError
        Where a phase fits no chips.
    """
    asked = job.query.post_training
    if asked is None:
        raise ValueError("post_train: the question has no [post_training].")
    if asked.algorithm == "self_play":
        return _self_play(job, asked, actor, constants)
    return _of_sequences(job, asked, actor, constants)


def _of_sequences(job: Job, asked: PostTraining, actor: Learner, constants: Constants) -> Iteration:
    recipe, context, batch = RECIPES[asked.algorithm], job.context, job.query.global_batch
    networks = _networks(job, asked)
    learners = {"actor": actor}
    for role in recipe.learns[1:]:
        same = networks[role] == job.workload
        learners[role] = actor if same else _learner(job, networks[role], constants, role)
    forwards: list[Phase] = []
    frozen_byte = 0.0
    for role in recipe.forwards:
        if role in learners:
            run = forward_run(networks[role], context, constants, learners[role].parallelism, asked.sequences)
        else:
            found = fastest_forward(
                networks[role], context, constants, chips=job.chips, global_batch=batch, samples=asked.sequences
            )
            if found is None:
                raise GenerationError(f"the {role} model, {networks[role].name}: no layout fits {job.chips} chips.")
            run = found
            frozen_byte += run.parameter_byte
        forwards.append(
            Phase(
                name=f"{role} forward", kind="forward", model=networks[role].name, time_s=run.time_s, chips=job.chips,
                samples=asked.sequences, how=_short(run.parallelism), binds=longest_part(run.step),
            )
        )  # fmt: skip
    made, assumed = _generated(job, asked, learners, frozen_byte, constants) if recipe.generates else ((), ())
    steps = asked.epochs * -(-asked.trained_sequences // batch)
    trained = [
        Phase(
            name=f"{role} training", kind="train", model=networks[role].name,
            time_s=steps * learner.step.total_s, chips=job.chips, samples=asked.epochs * asked.trained_sequences,
            how=f"{steps:,} steps of {batch:,}: {learner.parallelism.words()}", binds=longest_part(learner.step),
        )
        for role, learner in learners.items()
    ]  # fmt: skip
    others = frozen_byte + sum(one.state_byte for one in list(learners.values())[1:])
    waits = _swap(job, "models that do not train to the host and back", others, actor.memory)
    tokens = asked.sequences * (asked.new_tokens if recipe.generates else asked.trained_tokens)
    return Iteration(
        algorithm=asked.algorithm, phases=(*made, *forwards, *waits, *trained), produced=tokens, unit="tokens",
        steps=steps * len(learners), sequences=asked.sequences, assumed=(recipe.note, *assumed),
    )  # fmt: skip


def _networks(job: Job, asked: PostTraining) -> dict[str, Workload]:
    """The network of every role; a critic's and a reward model's head gives a number, which is not counted apart."""

    def of(name: str) -> Workload:
        if not name:
            return job.workload
        return at_length(models.model(name), job.workload.tokens_per_sample)

    return {
        "actor": job.workload, "reference": job.workload, "reward": of(asked.reward_model),
        "critic": of(asked.critic_model),
    }  # fmt: skip


def _learner(job: Job, network: Workload, constants: Constants, role: str) -> Learner:
    """How another model than the job's is trained fastest on its chips."""
    found = search(replace(job, workload=network), constants)
    if not len(found.order):
        raise GenerationError(f"the {role} model, {network.name}: no strategy trains it on {job.chips} chips.")
    memory = found.memory.use(int(found.order[0]), capacity_byte=found.capacity_byte)
    return Learner(parallelism=found.parallelism(0), step=found.step(0), memory=memory)


def _generated(
    job: Job, asked: PostTraining, learners: Mapping[str, Learner], frozen_byte: float, constants: Constants
) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """Phases of generation, and what they assume: weights brought to it, what makes room for it, itself.

    On the learners' own chips the trainers' state stays where it is if there is room, and goes to the host and back
    where that is faster or nothing fits otherwise.
    """
    context, apart = job.context, asked.generation_chips > 0
    chips = asked.generation_chips or job.chips
    prompts = Prompts(
        prompts=asked.prompts, samples=asked.samples_per_prompt, prompt_tokens=asked.prompt_tokens,
        new_tokens=asked.new_tokens, variation=asked.new_tokens_variation, most_tokens=asked.max_new_tokens,
    )  # fmt: skip
    resident = 0.0 if apart else frozen_byte + sum(one.state_byte for one in learners.values())
    host = host_link_byte_per_s(context)
    # Room made on the host is paid for with the way there and back.
    choices = [(resident, 0.0)] + ([(0.0, 2.0 * resident / host)] if resident and host else [])
    found, refused = [], ""
    for held, swap_s in choices:
        try:
            one = generate(
                job.workload, context, constants, prompts, chips=chips, tp=asked.generation_tp,
                batching=asked.batching, resident_byte=held, eager=asked.eager,
            )  # fmt: skip
            found.append((one.total_s + swap_s, swap_s, one))
        except GenerationError as error:
            refused = str(error)
    if not found:
        raise GenerationError(refused)
    _, swap_s, best = min(found, key=lambda each: each[0])
    group = "actors" if apart else "learners"
    model = job.workload.name
    phases = [
        Phase(
            name="weights to generation", kind="move", model=model, chips=chips, group=group, samples=0,
            time_s=weights_move_s(job.workload, context, learners["actor"].parallelism, tp=best.tp, apart=apart),
            how=f"to {best.replicas:,} replicas of {best.tp}", binds="links",
        )
    ]  # fmt: skip
    if swap_s:
        phases.append(_load("trainers' state to the host and back", model, swap_s, chips))
    other = "static" if asked.batching == "continuous" else "continuous"
    phases.append(
        Phase(
            name="generation", kind="generate", model=model, time_s=best.total_s, chips=chips, group=group,
            samples=asked.sequences, binds=best.binds,
            how=f"{best.replicas:,} replicas of {best.tp}, {best.slots:,} sequences at once each "
            f"({best.fitting_slots:,} fit), {asked.batching} batching",
            beside=(
                ("prefill", best.prefill_s), ("one step of decoding", best.step_s),
                ("the least that reading weights and cache takes", best.bound_s),
                (f"the phase with {other} batching",
                 best.prefill_s + (best.static_s if other == "static" else best.decode_s)),
            ),
        )
    )  # fmt: skip
    launched = "kernels launched one by one" if asked.eager else "decoding runs as captured graphs"
    lengths = f"lengths of new tokens: gamma, variation {asked.new_tokens_variation:g}"
    shared = "a prompt is read once for its samples" if asked.batching == "continuous" else "every sample reads its own"
    return tuple(phases), (launched, lengths, shared, "sequences are trained on packed, at their mean length")


def _load(name: str, model: str, time_s: float, chips: int) -> Phase:
    return Phase(name=name, kind="load", model=model, time_s=time_s, chips=chips, samples=0, binds="host links")


def _swap(job: Job, name: str, byte: float, memory: MemoryUse) -> tuple[Phase, ...]:
    """A phase that makes room for training by moving other models' bytes to the host and back; none where all fits.

    Raises
    ------
    GenerationError
        Where it does not fit and the chip has no host link on record.
    """
    if memory.total_byte + byte <= memory.capacity_byte:
        return ()
    host = host_link_byte_per_s(job.context)
    if not host:
        raise GenerationError(
            f"training needs {memory.total_byte / 2**30:.1f} GiB and other models {byte / 2**30:.1f} GiB of "
            f"{memory.capacity_byte / 2**30:.1f} GiB a chip, which has no host link on record to move them over."
        )
    return (_load(name, job.workload.name, 2.0 * byte / host, job.chips),)


def weights_move_s(workload: Workload, context: Context, strategy: Parallelism, *, tp: int, apart: bool) -> float:
    """Time to bring trained weights into the layout that generates [s].

    .. math:: t = \\frac{(1 - f) W}{\\beta_{out}} + \\frac{W / t_p}{\\beta_{up}}

    with the weights W [B], the part f of them that a server's chips hold as they train, the rate of all network cards
    of a server, and a chip's inside it. Servers pass on what they receive while they receive it. Replicas on other
    chips (``apart``) bring all of them in. 0 where every chip holds just what it generates with.

    Leaves out: pieces that overlap on the two; casts; the launch of a message for every tensor.
    """
    cluster = context.cluster
    weights = context.recipe.storage_byte * workload.parameters
    ranks = strategy.dp * strategy.cp
    server = min(cluster.chips_per_server, strategy.chips)
    stages = min(max(server // (strategy.tp * ranks), 1), strategy.pp)
    sharded = strategy.sharding == "zero3"
    shards = min(max(server // strategy.tp, 1), ranks) / ranks if sharded else 1.0
    held = 0.0 if apart else min(server / strategy.tp, 1.0) * stages / strategy.pp * shards
    same = strategy.tp == tp and strategy.pp == 1 and (not sharded or ranks == 1)
    if same and not apart:
        return 0.0
    inside = weights / tp / cluster.up_byte_per_s[-1] if cluster.up_byte_per_s[-1] and server > 1 else 0.0
    return (1.0 - held) * weights / cluster.out_byte_per_s + inside


def _self_play(job: Job, asked: PostTraining, learner: Learner, constants: Constants) -> Iteration:
    """One step of a learner and the positions that actors evaluate for it (arXiv:1712.01815)."""
    play = SelfPlay(network=job.workload, simulations=asked.simulations, moves=asked.moves, reuse=asked.reuse)
    chips = asked.generation_chips or job.chips
    samples = job.query.global_batch
    evaluations = samples * play.forward_passes_per_sample
    rate = evaluations_per_s(job, asked.evaluation_batch, constants, eager=asked.eager)
    network = job.workload.name
    group = "actors" if asked.generation_chips else "learners"
    phases = (
        Phase(
            name="self-play", kind="generate", model=network, time_s=evaluations / (rate * chips), chips=chips,
            samples=evaluations, group=group, how=f"{evaluations:,.0f} evaluations in batches of "
            f"{asked.evaluation_batch:,}, {rate:,.0f} a second and chip", binds="evaluations",
        ),
        Phase(
            name="learner's step", kind="train", model=network, time_s=learner.step.total_s, chips=job.chips,
            samples=samples, how=learner.parallelism.words(), binds=longest_part(learner.step),
        ),
    )  # fmt: skip
    games = samples / play.samples_per_game()
    return Iteration(
        algorithm=asked.algorithm, phases=phases, produced=samples / asked.reuse, unit="positions", steps=1,
        sequences=games, assumed=(
            f"{asked.simulations:,} evaluations a move, {asked.moves:,} moves a game, each position drawn "
            f"{asked.reuse:g} times", "the search itself, moves and replay memory take no time",
        ),
    )  # fmt: skip


def evaluations_per_s(job: Job, batch: int, constants: Constants, *, eager: bool = False) -> float:
    """Positions that one chip evaluates a second, in batches [1/s]."""
    context = serving(job.context, eager=eager)
    alone = lower(job.workload, context, [Parallelism(micro_batch=batch, global_batch=batch)])
    time_s = float(np.asarray(forward_times(forward_batch(alone, constants)).total_s)[0])
    return batch / time_s


def _short(strategy: Parallelism) -> str:
    """A forward strategy's words without what only learning has."""
    return " ".join(word for word in strategy.words().split() if not word.startswith(("recompute", "schedule")))
