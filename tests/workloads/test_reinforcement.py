"""Policy networks and the generation that feeds their learners."""

from collections.abc import Callable

import pytest

from workloads.op import WorkloadError
from workloads.reinforcement import EvolutionStrategies, SelfPlay, policy_mlp, residual_tower
from workloads.workload import Workload


def test_a_tower_has_two_convolutions_a_block() -> None:
    nineteen, thirty_nine = residual_tower(), residual_tower(blocks=39)
    block = 2 * (256 * 256 * 9 + 256 + 2 * 256)
    assert thirty_nine.parameters - nineteen.parameters == 20 * block
    assert nineteen.num_blocks == 19


def test_work_of_the_tower_grows_with_the_boards_area() -> None:
    def conv_flop(board: int) -> int:
        layers = residual_tower(board=board).layers
        return sum(layer.repeat * op.forward_flop for layer in layers for op in layer.ops if op.kind == "conv")

    assert conv_flop(18) == 4 * conv_flop(9)


def test_self_play_makes_as_many_passes_as_its_games_have() -> None:
    play = SelfPlay(network=residual_tower(), simulations=1600, moves=200, reuse=1.0)
    per_sample = play.forward_passes_per_game / play.samples_per_game()
    assert play.forward_passes_per_sample == per_sample == 1600
    assert play.generation_flop_per_sample == 1600 * play.network.forward_flop
    assert play.generation_per_training == pytest.approx(1600 / 3)


@pytest.mark.parametrize("reuse", [0.5, 1.0, 8.0])
def test_positions_that_are_drawn_again_need_fewer_games(reuse: float) -> None:
    once, often = (SelfPlay(network=policy_mlp(), reuse=r) for r in (1.0, reuse))
    assert often.generation_flop_per_sample * reuse == pytest.approx(once.generation_flop_per_sample)
    assert often.games_per_s(4096.0) * reuse == pytest.approx(once.games_per_s(4096.0))


def test_alphazeros_learner_eats_about_as_fast_as_its_actors_play() -> None:
    # arXiv:1712.01815: 700,000 steps of 4,096 positions in 9 h of chess; 44 million games (table S3).
    play = SelfPlay(network=residual_tower(board=8, planes=119), simulations=800, moves=80)
    drawn_per_position = 700_000 * 4096 / (44e6 * 80)
    assert 0.5 < drawn_per_position < 2.0
    assert play.games_per_s(700_000 * 4096 / (9 * 3600)) == pytest.approx(44e6 / (9 * 3600), rel=0.5)


def test_evolution_strategies_exchange_results_not_gradients() -> None:
    strategies = EvolutionStrategies(network=policy_mlp(), population=1440)
    assert strategies.exchanged_elements == 1440 + 720
    assert strategies.exchange_share < 0.1
    doubled = EvolutionStrategies(network=policy_mlp(hidden=512), population=1440)
    assert doubled.exchanged_elements == strategies.exchanged_elements  # whatever the network


def test_mirrored_perturbations_halve_the_update_not_the_episodes() -> None:
    both, single = (
        EvolutionStrategies(network=policy_mlp(), population=100, mirrored=mirrored) for mirrored in (True, False)
    )
    assert both.generation_flop == single.generation_flop
    assert 2 * both.update_elements == single.update_elements


@pytest.mark.parametrize("options", [{"simulations": 0}, {"moves": 0}, {"reuse": 0.0}, {"reuse": float("inf")}])
def test_impossible_self_play_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(WorkloadError, match="self-play"):
        SelfPlay(network=policy_mlp(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"population": 0}, {"population": 3}, {"episode_steps": 0}])
def test_impossible_evolution_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(WorkloadError, match="evolution strategies"):
        EvolutionStrategies(network=policy_mlp(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("network", "options"), [(residual_tower, {"blocks": 0}), (policy_mlp, {"layers": 0})])
def test_impossible_networks_are_refused(network: Callable[..., Workload], options: dict[str, int]) -> None:
    with pytest.raises(WorkloadError, match="at least 1"):
        network(**options)
