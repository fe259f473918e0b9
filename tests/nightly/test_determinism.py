"""The same bytes over more hash seeds and threads than a change is checked with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulator.test_determinism import simulated


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("hash_seed", [0, 1, 2, 3, 4294967295])
def test_simulate_gives_the_same_bytes(hash_seed: int, threads: int, tmp_path: Path) -> None:
    assert simulated(tmp_path, hash_seed, threads) == simulated(tmp_path, 7, 1)
