"""Flags of validation and post-training, and the tables of a question that they fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: Flag's name -> (table, key, what it takes, help).
PHASE_FLAGS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "validation_every": ("validation", "every_steps", "N", "Validate after every N steps."),
    "validation_samples": ("validation", "samples", "N", "Samples of one validation pass."),
    "post_training": ("post_training", "algorithm", "NAME", "Also an iteration of ppo, grpo, rloo, best_of_n, dpo, "
                      "self_play."),
    "prompts": ("post_training", "prompts", "N", "Prompts of one iteration."),
    "samples_per_prompt": ("post_training", "samples_per_prompt", "N", "Sequences generated for each. Default: 1."),
    "prompt_tokens": ("post_training", "prompt_tokens", "N", "Tokens of a prompt."),
    "new_tokens": ("post_training", "new_tokens", "N", "Mean tokens that are generated for it."),
    "generation_chips": ("post_training", "generation_chips", "N", "Chips that only generate, beside --chips."),
    "simulations": ("post_training", "simulations", "N", "Self-play: evaluations of one move. Default: 800."),
}  # fmt: skip


def phase_options(command: F) -> F:
    """The flags of validation and post-training; a job file has more keys."""
    for name, (_, _, metavar, text) in reversed(list(PHASE_FLAGS.items())):
        command = click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text)(command)
    return command
