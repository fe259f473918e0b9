"""Errors of the program's edges: what a user gave cannot be used. Each line of one stands alone."""

from __future__ import annotations


class InputError(ValueError):
    """Something given from outside cannot be used. `problems` holds every problem found, one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems: tuple[str, ...] = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)
