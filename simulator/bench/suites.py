"""What of the probe a step is priced from."""

from typing import Final

BENCH_SUITES: Final = (
    "gemm", "memory", "layers", "training", "attention", "embedding", "recurrent", "launch", "collectives",
    "neighbours",
)  # fmt: skip
