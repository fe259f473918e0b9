"""Named streams of random numbers from one seed: what one part draws never changes what another does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Every stream of one seed, found by name.

    A name is words and whole numbers, as ``of("kernel jitter", role, repetition)``. The same seed and name give the
    same numbers in every process, whatever other streams there are and in whichever order they are asked for.
    """

    seed: int
    path: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"Streams: seed is {self.seed!r}; a whole number, at least 0.")

    def of(self, *name: str | int) -> np.random.Generator:
        """The stream of that name, from its beginning."""
        text = json.dumps([*self.path, *name], ensure_ascii=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).digest()
        key = tuple(int.from_bytes(digest[i : i + 4], "big") for i in range(0, len(digest), 4))
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=self.seed, spawn_key=key)))

    def within(self, *name: str | int) -> Streams:
        """The streams below a name: ``within("repetition", 3).of("host")`` is ``of("repetition", 3, "host")``."""
        return Streams(seed=self.seed, path=(*self.path, *name))
