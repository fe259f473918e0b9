"""Command lines of training programs -> the job they describe: what was given, assumed, ignored, not honoured."""

from .answer import KINDS, Said, Switch, TrainingCommand
from .read import PROGRAMS, read_command, read_command_file

__all__ = ["KINDS", "PROGRAMS", "Said", "Switch", "TrainingCommand", "read_command", "read_command_file"]
