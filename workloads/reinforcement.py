"""Learning without labels: policy networks, and how much generation one training sample or one update takes.

Generation (games, episodes) is forward passes on actors; training is a learner's step on what they made. Here stand
the counts that couple the two; how fast either runs is another package's question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from workloads.image_ops import ImageOps, Tensor
from workloads.layer import Layer
from workloads.op import WorkloadError, gemm
from workloads.recurrent import elementwise
from workloads.workload import Workload


def residual_tower(
    *, blocks: int = 19, filters: int = 256, planes: int = 17, board: int = 19, moves: int = 362, value_units: int = 256
) -> Workload:
    """AlphaGo Zero's network [1]_: a convolution, residual blocks, a policy and a value head on a board.

    References
    ----------
    .. [1] Silver et al., Mastering the game of Go without human knowledge, 2017, methods: neural network architecture
    """
    if min(blocks, filters, planes, board, moves, value_units) < 1:
        raise WorkloadError("residual_tower: blocks, filters, planes, board, moves and value_units are at least 1.")
    ops = ImageOps()
    x = Tensor(planes, (board, board), is_image=True)
    x = ops.relu(ops.batch_norm(ops.conv(x, filters, 3, padding=1, bias=True)))
    laid = [ops.layer("stem", "conv")]
    ops = ImageOps()
    y = ops.relu(ops.batch_norm(ops.conv(x, filters, 3, padding=1, bias=True)))
    y = ops.batch_norm(ops.conv(y, filters, 3, padding=1, bias=True))
    x = ops.relu(ops.add(x, y))
    laid.append(ops.layer("tower", "block", repeat=blocks))
    ops = ImageOps()
    policy = ops.relu(ops.batch_norm(ops.conv(x, 2, 1, bias=True)))
    ops.softmax_loss(ops.dense(policy, moves))
    value = ops.relu(ops.batch_norm(ops.conv(x, 1, 1, bias=True)))
    ops.dense(ops.relu(ops.dense(value, value_units)), 1)
    ops.ops.append(elementwise("tanh and squared error", 1, launches=4))
    laid.append(ops.layer("heads", "head"))
    return Workload(
        name=f"residual-tower-{blocks}x{filters}", family="convnet", sample="record", layers=tuple(laid),
        hyper={"blocks": blocks, "filters": filters, "board": board, "moves": moves},
        source="Silver et al. 2017, AlphaGo Zero",
    )  # fmt: skip


def policy_mlp(*, observations: int = 376, hidden: int = 64, layers: int = 2, actions: int = 17) -> Workload:
    """A policy of dense tanh layers, as for a simulated humanoid (OpenAI Gym's Humanoid-v1: 376 numbers, 17 joints)."""
    if min(observations, hidden, layers, actions) < 1:
        raise WorkloadError("policy_mlp: observations, hidden, layers and actions are at least 1.")
    ops = []
    for index in range(layers):
        width = observations if index == 0 else hidden
        ops.append(gemm(name=f"dense {width}-{hidden}", m=1, n=hidden, k=width, bias=True))
        ops.append(elementwise("tanh", hidden, saved=1.0))
    head = (gemm(name=f"actions {actions}", m=1, n=actions, k=hidden, bias=True), elementwise("loss", actions))
    laid = (Layer(name="layers", kind="dense", ops=tuple(ops)), Layer(name="head", kind="head", ops=head))
    return Workload(
        name=f"policy-mlp-{layers}x{hidden}", family="scientific", sample="record", layers=laid,
        hyper={"observations": observations, "hidden": hidden, "actions": actions},
        source="Salimans et al. 2017, arXiv:1703.03864",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SelfPlay:
    """Games that actors play against themselves for a learner [1]_.

    Attributes
    ----------
    simulations
        Positions that the tree search evaluates for one move, each one forward pass.
    moves
        Moves of a game, each one position that the learner may draw.
    reuse
        How often the learner draws a position before it is discarded.

    References
    ----------
    .. [1] Silver et al., Mastering Chess and Shogi by Self-Play, 2017, arXiv:1712.01815
    """

    network: Workload
    simulations: int = 800
    moves: int = 200
    reuse: float = 1.0

    def __post_init__(self) -> None:
        if self.simulations < 1 or self.moves < 1 or not 0.0 < self.reuse < float("inf"):
            raise WorkloadError(
                f"self-play: {self.simulations} simulations, {self.moves} moves, reuse {self.reuse}; at least 1, "
                "at least 1, above 0."
            )

    @property
    def forward_passes_per_game(self) -> int:
        """Evaluations of the network in one game: simulations x moves."""
        return self.simulations * self.moves

    @property
    def forward_passes_per_sample(self) -> float:
        """Evaluations that actors make for one sample of the learner: simulations / reuse."""
        return self.simulations / self.reuse

    @property
    def generation_flop_per_sample(self) -> float:
        """Work of the actors for one sample of the learner. [FLOP]"""
        return self.forward_passes_per_sample * self.network.forward_flop

    @property
    def generation_per_training(self) -> float:
        """Work of the actors against the learner's, whose backward pass is twice its forward pass."""
        return self.forward_passes_per_sample / 3.0

    def samples_per_game(self) -> float:
        """Samples that a learner draws from one game: moves x reuse."""
        return self.moves * self.reuse

    def games_per_s(self, samples_per_s: float) -> float:
        """Games that must end each second to feed a learner of ``samples_per_s``. [1/s]"""
        return samples_per_s / self.samples_per_game()


@dataclass(frozen=True, kw_only=True)
class EvolutionStrategies:
    """Evolution strategies [1]_: workers try perturbed parameters; they exchange results and seeds, not gradients.

    Attributes
    ----------
    population
        Episodes of one update.
    episode_steps
        Steps of an episode, each one forward pass.
    mirrored
        Every perturbation is tried with both signs: two results to a seed.

    References
    ----------
    .. [1] Salimans et al., Evolution Strategies as a Scalable Alternative to Reinforcement Learning, 2017,
       arXiv:1703.03864
    """

    network: Workload
    population: int = 1440
    episode_steps: int = 1000
    mirrored: bool = True

    def __post_init__(self) -> None:
        if self.population < 1 or self.episode_steps < 1 or (self.mirrored and self.population % 2):
            raise WorkloadError(
                f"evolution strategies: a population of {self.population} and {self.episode_steps} steps; at least 1 "
                "each, and an even population where perturbations are mirrored."
            )

    @property
    def generation_flop(self) -> int:
        """Work of all episodes of one update; there is no backward pass. [FLOP]"""
        return self.population * self.episode_steps * self.network.forward_flop

    @property
    def perturbations(self) -> int:
        """Perturbations that every worker draws again from their seeds to update its parameters."""
        return self.population // 2 if self.mirrored else self.population

    @property
    def update_elements(self) -> int:
        """Random numbers that each worker draws and adds in one update: perturbations x parameters."""
        return self.perturbations * self.network.parameters

    @property
    def exchanged_elements(self) -> int:
        """Numbers that all workers publish in one update: one result an episode and one seed a perturbation."""
        return self.population + self.perturbations

    @property
    def exchange_share(self) -> float:
        """Exchanged numbers against one gradient of the network."""
        return self.exchanged_elements / self.network.parameters


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {
    "residual_tower": residual_tower,
    "policy_mlp": policy_mlp,
}
