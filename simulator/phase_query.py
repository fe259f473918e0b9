"""What a question may ask beside training steps, validation and post-training: their tables and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hwmodels.datafile import KeyPath, unknown_name
from workloads import catalog as models
from workloads.generation import check_generates
from workloads.op import WorkloadError
from workloads.workload import Workload

from .cluster import Cluster

ALGORITHMS: Final = ("ppo", "grpo", "rloo", "best_of_n", "dpo", "self_play")
#: Those that generate sequences, and those whose learning compares several of one prompt.
_GENERATE: Final = ("ppo", "grpo", "rloo", "best_of_n")
_COMPARE: Final = ("grpo", "rloo", "best_of_n")
#: Keys that go with some algorithms only.
_OF_SEQUENCES: Final = ("prompts", "samples_per_prompt", "prompt_tokens", "new_tokens")
_OF_GENERATION: Final = (
    "samples_per_prompt", "new_tokens_variation", "max_new_tokens", "generation_tp", "batching", "eager",
)  # fmt: skip
_OF_SELF_PLAY: Final = ("simulations", "moves", "reuse", "evaluation_batch")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A pass over ``samples`` after every ``every_steps`` steps."""

    every_steps: int
    samples: int


@dataclass(frozen=True, kw_only=True)
class PostTraining:
    """One iteration of post-training; the job's model is the actor, its global batch the sequences of one update.

    ``generation_chips`` generate and nothing else, beside the job's chips; 0: the job's own chips, in turns.
    ``new_tokens`` is a mean, ``new_tokens_variation`` the standard deviation over it. A ``reward_model`` or
    ``critic_model`` left empty is as large as the actor. Self-play: positions that are searched with ``simulations``
    evaluations each, in batches of ``evaluation_batch``, and drawn ``reuse`` times by the learner.
    """

    algorithm: str
    prompts: int = 0
    samples_per_prompt: int = 1
    prompt_tokens: int = 0
    new_tokens: float = 0.0
    new_tokens_variation: float = 0.0
    max_new_tokens: int = 0
    epochs: int = 1
    reward_model: str = ""
    critic_model: str = ""
    generation_chips: int = 0
    generation_tp: int = 0
    batching: str = "continuous"
    eager: bool = False
    simulations: int = 800
    moves: int = 200
    reuse: float = 1.0
    evaluation_batch: int = 256

    @property
    def trained_tokens(self) -> int:
        """Tokens of a sequence that is trained on, in the mean."""
        return self.prompt_tokens + round(self.new_tokens)

    @property
    def sequences(self) -> int:
        """Sequences that are made, or stand in pairs."""
        return self.prompts * (2 if self.algorithm == "dpo" else self.samples_per_prompt)

    @property
    def trained_sequences(self) -> int:
        """Sequences that one epoch of an iteration trains on: the best of every prompt, or all."""
        return self.prompts if self.algorithm == "best_of_n" else self.sequences


#: key -> (kind of value, most, least, words), as `query.read_value` reads it.
Spec = tuple[str, float, int, tuple[str, ...]]
_COUNT: Final = "count"
VALIDATION: Final[Mapping[str, Spec]] = {
    "every_steps": (_COUNT, 10**9, 1, ()), "samples": (_COUNT, 10**9, 1, ()),
}  # fmt: skip
POST_TRAINING: Final[Mapping[str, Spec]] = {
    "algorithm": ("choice", 0, 1, ALGORITHMS), "prompts": (_COUNT, 10**7, 1, ()),
    "samples_per_prompt": (_COUNT, 10**5, 1, ()), "prompt_tokens": (_COUNT, 10**6, 1, ()),
    "new_tokens": ("amount", 1e6, 1, ()), "new_tokens_variation": ("amount", 10.0, 1, ()),
    "max_new_tokens": (_COUNT, 10**6, 1, ()), "epochs": (_COUNT, 1000, 1, ()), "reward_model": ("name", 0, 1, ()),
    "critic_model": ("name", 0, 1, ()), "generation_chips": (_COUNT, 10**8, 0, ()),
    "generation_tp": (_COUNT, 4096, 1, ()), "batching": ("choice", 0, 1, ("continuous", "static")),
    "eager": ("switch", 0, 1, ()), "simulations": (_COUNT, 10**7, 1, ()), "moves": (_COUNT, 10**6, 1, ()),
    "reuse": ("amount", 1e6, 1, ()), "evaluation_batch": (_COUNT, 10**6, 1, ()),
}  # fmt: skip
#: Tables of a question and the keys that they need; of post-training more by algorithm.
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "validation": ("every_steps", "samples"),
    "post_training": ("algorithm",),
}

#: What other tools call these keys.
OTHER_NAMES: Final[Mapping[str, str]] = {
    "every": "every_steps", "interval": "every_steps", "eval_interval": "every_steps", "eval_steps": "every_steps",
    "n": "samples_per_prompt", "num_generations": "samples_per_prompt", "group_size": "samples_per_prompt",
    "best_of": "samples_per_prompt", "max_prompt_length": "prompt_tokens", "max_response_length": "max_new_tokens",
    "response_tokens": "new_tokens", "max_completion_length": "max_new_tokens", "rollout_batch_size": "prompts",
    "train_batch_size": "prompts", "ppo_epochs": "epochs", "num_iterations": "epochs", "variation":
    "new_tokens_variation", "actor_chips": "generation_chips", "rollout_chips": "generation_chips",
}  # fmt: skip

Place = Callable[[KeyPath], str]


def phases_of(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The parts of a question that these tables hold, for its fields; well-formed values only."""
    found: dict[str, Any] = {}
    for table, noun in (("validation", Validation), ("post_training", PostTraining)):
        if values.get(table):
            found[table] = noun(**values[table])
    return found


def missing(values: Mapping[str, Any], given: Mapping[str, Any], place: Place, legal: Callable[[str, str], str]) -> (
    list[str]
):  # fmt: skip
    """A line for every key that a table which is there needs and has not."""
    problems = []
    for table, keys in NEEDED.items():
        if not isinstance(given.get(table), Mapping):
            continue
        needed = keys
        if table == "post_training" and values.get(table, {}).get("algorithm", "self_play") != "self_play":
            needed = (*keys, *(key for key in _OF_SEQUENCES if key != "samples_per_prompt"))
        problems += [
            f"{place((table, key))}: is missing; legal: {legal(table, key)}."
            for key in needed
            if key not in given[table]
        ]
    return problems


def check_phases(
    values: Mapping[str, dict[str, Any]], job: Mapping[str, Any], workload: Workload | None, cluster: Cluster | None,
    place: Place,
) -> Iterator[str]:  # fmt: skip
    """What of well-formed values does not go together; names become the catalogue's own."""
    asked = values.get("post_training", {})
    algorithm = asked.get("algorithm")
    if algorithm is None:
        return

    def at(key: str) -> str:
        return place(("post_training", key))

    yield from _keys(asked, algorithm, at)
    for key in ("reward_model", "critic_model"):
        if key in asked:
            found = models.resolve_model(asked[key])
            if not found:
                yield f"{at(key)}: {unknown_name('model', asked[key], models.model_names())}"
                del asked[key]
            else:
                asked[key] = found
    if algorithm in _COMPARE and asked.get("samples_per_prompt", 1) < 2:
        yield f"{at('samples_per_prompt')}: is 1, but {algorithm} compares several of a prompt; legal: 2 or more, as 8."
    most, new = asked.get("max_new_tokens", 0), asked.get("new_tokens", 0.0)
    if most and new > most:
        yield f"{at('new_tokens')}: is {new:g}, the mean, above max_new_tokens; legal: at most {most}."
    if new and new < 1:
        yield f"{at('new_tokens')}: is {new:g}; legal: 1 or more."
    yield from _sizes(asked, algorithm, job, cluster, at, place)
    if workload is None:
        return
    if algorithm != "self_play":
        try:
            check_generates(workload)
        except WorkloadError as error:
            yield f"{place(('job', 'model'))}: {str(error).removeprefix('generation: ')}"
    elif workload.sample == "sequence":
        yield (
            f"{place(('job', 'model'))}: '{workload.name}' takes sequences, self_play evaluates positions; "
            "legal: a network of positions, as alphago-zero."
        )


def _keys(asked: Mapping[str, Any], algorithm: str, at: Callable[[str], str]) -> Iterator[str]:
    """Keys that go with other algorithms."""
    wrong: dict[str, str] = {}
    if algorithm == "self_play":
        others = [key for key in POST_TRAINING if key not in ("algorithm", "generation_chips", "eager", *_OF_SELF_PLAY)]
        wrong |= dict.fromkeys(others, "ppo, grpo, rloo, best_of_n, dpo")
    else:
        wrong |= dict.fromkeys(_OF_SELF_PLAY, "self_play")
    if algorithm == "dpo":
        wrong |= dict.fromkeys((*_OF_GENERATION, "generation_chips"), ", ".join(_GENERATE))
    if algorithm not in ("ppo", "best_of_n", "self_play"):
        wrong["reward_model"] = "ppo, best_of_n"
    if algorithm not in ("ppo", "self_play"):
        wrong["critic_model"] = "ppo"
    for key in asked:
        if key in wrong:
            yield f"{at(key)}: does not go with {algorithm}; legal: with {wrong[key]}."


def _sizes(
    asked: Mapping[str, Any], algorithm: str, job: Mapping[str, Any], cluster: Cluster | None, at: Callable[[str], str],
    place: Place,
) -> Iterator[str]:  # fmt: skip
    """Counts against the job's and the system's."""
    batch = job.get("global_batch")
    if batch and algorithm != "self_play" and "prompts" in asked:
        trained = PostTraining(**asked).trained_sequences
        if batch > trained:
            yield (
                f"{place(('job', 'global_batch'))}: is {batch}, but an iteration trains on {trained} sequences; "
                f"legal: 1 to {trained}."
            )
    if cluster is None:
        return
    chips, more = job.get("chips", cluster.max_chips), asked.get("generation_chips", 0)
    if more and chips + more > cluster.max_chips:
        left = cluster.max_chips - chips
        legal = f"0 to {left}" if left > 0 else f"0, or fewer chips in [job] than {chips}"
        yield (
            f"{at('generation_chips')}: is {more} beside {chips} chips of the job, but {cluster.id} has "
            f"{cluster.max_chips}; legal: {legal}."
        )
    tp = asked.get("generation_tp")
    if tp and cluster.chips_per_server % tp:
        sizes = [n for n in range(1, cluster.chips_per_server + 1) if cluster.chips_per_server % n == 0]
        nearest = min(sizes, key=lambda n: abs(n - tp))
        yield (
            f"{at('generation_tp')}: is {tp}; a replica is inside a server of {cluster.chips_per_server}; "
            f"legal: {', '.join(map(str, sizes))}. Nearest: {nearest}."
        )
