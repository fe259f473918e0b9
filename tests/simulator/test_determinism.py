"""The same question gives the same bytes, whatever the hash seed and the threads of the linear algebra."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
JOB = (
    "--model", "bert-large", "--system", "dgx1-v100", "--chips", "16", "--global-batch", "64", "--set", "pp=2",
    "--set", "tp=2",
)  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def simulated(folder: Path, hash_seed: int, threads: int) -> tuple[bytes, bytes]:
    """What `trainyard simulate --json` prints, and its trace."""
    trace = folder / f"{hash_seed}-{threads}.json"
    said = subprocess.run(
        [sys.executable, "-c", "from simulator.cli import main; main()", "simulate", *JOB, "--json", "--trace", trace],
        check=True, capture_output=True, cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), **dict.fromkeys(THREADS, str(threads))},
    )  # fmt: skip
    return said.stdout, trace.read_bytes()


def test_simulate_prints_and_traces_the_same_bytes_over_hash_seeds_and_threads(tmp_path: Path) -> None:
    first, second = simulated(tmp_path, 0, 1), simulated(tmp_path, 4242, 2)
    assert first == second
    assert len(first[0]) > 500
    assert len(first[1]) > 10_000
