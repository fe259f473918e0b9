"""Options that commands share: the flags of a question, where results go, the user's own catalogue."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from ..errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

EXIT_NOTHING_FITS: Final = 3

CATALOG: Final = click.option(
    "--catalog",
    "folders",
    multiple=True,
    metavar="DIR",
    expose_value=False,
    is_eager=True,
    callback=lambda _context, _parameter, folders: _use_catalogs(folders),
    help="Your own chips, links, servers, systems: DIR/chips/*.toml and so on. Repeatable.",
)


def _use_catalogs(folders: Sequence[str]) -> None:
    """Add the user's folders to the catalogue before anything reads it."""
    if not folders:
        return
    from hwmodels.datafile import DataFileError, use_catalog

    problems: list[str] = []
    for folder in folders:
        try:
            use_catalog(folder)
        except DataFileError as error:
            problems += [f"--catalog: {problem}" for problem in error.problems]
    if not problems:
        from ..user_catalog import problems_of_user_files

        problems = [f"--catalog: {problem}" for problem in problems_of_user_files()]
    if problems:
        raise InputError(*problems)


JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
OUT: Final = click.option("--out", metavar="FILE", help="Write the result there instead of to standard output.")


FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "model": ("NAME|FILE", "What is trained: a name of `trainyard catalog models`, a config.json, a layer file."),
    "system": ("NAME", "Where; see `trainyard catalog systems`."),
    "chips": ("N", "Chips of the system to use. Default: all."),
    "global_batch": ("N", "Samples (images, sequences) of one step."),
    "tokens": ("N", "Train on so many tokens, as 300e9."),
    "samples": ("N", "Train on so many samples."),
    "epochs": ("N", "Train for so many passes over the data."),
    "dataset_samples": ("N", "Samples of one epoch."),
    "target": ("QUALITY", "Train until a quality that published runs reached, as '75.9% top-1'."),
    "stack": ("NAME", "The software; see `trainyard catalog stacks`."),
    "precision": ("NAME", "Number formats, as bf16_mixed."),
    "optimizer": ("NAME", "Update rule, as adam."),
    "seq_len": ("N", "Tokens of one sequence, instead of the model's own."),
    "image_size": ("N", "Side of an image in pixels, instead of the model's own."),
    "lora_rank": ("N", "Fine-tune with low-rank adapters of that rank; all else is frozen."),
    "lora_targets": ("A,B", "Products that get adapters. Default: qkv,projection."),
    "frozen": ("A,B", "Freeze these layers, by name or kind; the others are trained."),
    "mean_length": ("N", "Mean tokens of a document, where several are packed into one sequence."),
    "length_variation": ("X", "Standard deviation of those lengths over their mean. Default: 0."),
    "top": ("N", "How many strategies to show. Default: 5."),
}
_COMMAND_FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "from_command": ("TEXT", "Read the job from a training command: Megatron-LM or torchtitan under torchrun, srun."),
    "from_command_file": ("FILE", "The same from a launch script; nothing of it is run."),
}


def asks(*without: str, commands: bool = False, several: bool = False) -> Callable[[F], F]:
    """The flags of a question, and the file they override. Values are checked together, not by click one by one.

    With ``commands`` the question may be read from another program's command line; with ``several`` the command gets
    all the files that are named, as ``jobs``.
    """

    def decorate(command: F) -> F:
        command = click.option(
            "--set", "pins", multiple=True, metavar="KEY=VALUE", help="Pin a part of the strategy, as tp=8. Repeatable."
        )(command)
        if commands:
            command = click.option(
                "--search",
                flag_value="yes",
                default=None,
                help="Of a training command: search all strategies, not its own.",
            )(command)
        shown = {**FLAGS, **(_COMMAND_FLAGS if commands else {})}
        for key, (metavar, text) in reversed(list(shown.items())):
            if key not in without:
                command = click.option(f"--{key.replace('_', '-')}", key, metavar=metavar, help=text)(command)
        if several:
            return click.argument("jobs", nargs=-1, metavar="[JOB.toml]...")(CATALOG(command))
        return click.argument("job", required=False, metavar="[JOB.toml]")(CATALOG(command))

    return decorate


def fine_tuning_options(command: F) -> F:
    """The flags that change a network for fine-tuning, without those of a job."""
    for key in ("length_variation", "mean_length", "frozen", "lora_targets", "lora_rank"):
        metavar, text = FLAGS[key]
        command = click.option(f"--{key.replace('_', '-')}", key, metavar=metavar, help=f"Of --model: {inner(text)}")(
            command
        )
    return command


def inner(text: str) -> str:
    """A help text as the rest of a sentence."""
    return text[:1].lower() + text[1:]


def output_problems(job: str | None, outputs: Iterable[str | None]) -> list[str]:
    """What is wrong with the places that results will be written to."""
    from ..output import OutputError, require_writable

    problems: list[str] = []
    seen: dict[str, str] = {} if job is None else {os.path.realpath(job): "the job is read from it"}
    for path in filter(None, outputs):
        try:
            require_writable(path)
        except OutputError as error:
            problems += error.problems
            continue
        real = os.path.realpath(path)
        if real in seen and not real.startswith("/dev/"):
            problems.append(f"{path!a}: cannot be written: {seen[real]}; name another file.")
        seen[real] = "another result goes there"
    return problems
