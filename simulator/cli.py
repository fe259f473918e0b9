"""The command line: parse, call, print. Results go to standard output, everything else to standard error.

Exit codes: 0 fine, 2 something given cannot be used, 3 nothing fits, 70 a fault of ours, 130 interrupted. Heavy modules
are imported inside commands, so that help and completion are quick.
"""

from __future__ import annotations

import sys
from typing import Any, Final, NoReturn

import click

from .commands.ask import ask
from .commands.asking import CATALOG
from .commands.bench import bench
from .commands.calibrate import calibrate
from .commands.catalog import catalog
from .commands.modes import modes
from .commands.plan import plan
from .commands.printing import complain, one_line, our_fault
from .commands.probe import probe
from .commands.roofline import roofline
from .commands.run import compare, run
from .commands.scale import scale
from .commands.simulate import simulate
from .commands.validate import validate
from .errors import InputError

EXIT_INPUT: Final = 2
EXIT_OURS: Final = 70
EXIT_INTERRUPTED: Final = 130


class Trainyard(click.Group):
    """The command group, with one place where every error becomes its line and its exit code."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show must not end in a traceback
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except InputError as error:
            complain(error.problems)
            code = EXIT_INPUT
        except click.ClickException as error:
            complain([one_line(error.format_message())])
            code = EXIT_INPUT
        except (click.Abort, KeyboardInterrupt):
            complain(["interrupted."])
            code = EXIT_INTERRUPTED
        except Exception as error:
            complain(our_fault(error))
            code = EXIT_OURS
        sys.exit(code if isinstance(code, int) else 0)


def main() -> None:
    """Entry point of the `trainyard` program."""
    cli()


@click.group(cls=Trainyard, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trainyard", prog_name="trainyard")
@CATALOG
def cli() -> None:
    """Predict what training a neural network at scale takes: step time, memory, money, energy."""


for command in (
    plan, run, compare, ask, simulate, modes, scale, roofline, catalog, validate, probe, calibrate, bench,
):  # fmt: skip
    cli.add_command(command)
