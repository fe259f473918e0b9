"""`PlanQuery`: one question, as flags or a TOML file ask it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PlanQuery:
    """One question. Names are resolved and numbers checked by `query_from_mapping`, all problems together.

    ``chips`` 0 means the whole system. Of ``tokens``, ``samples`` and ``epochs`` at most one is given; ``dataset_samples`` goes with
    ``epochs``. ``fixed`` pins parts of the strategy (the keys of `Parallelism`); empty searches all.
    """

    model: str
    system: str
    chips: int
    global_batch: int
    stack: str = ""
    precision: str = ""
    optimizer: str = ""
    seq_len: int = 0
    image_size: int = 0
    tokens: float = 0.0
    samples: float = 0.0
    epochs: float = 0.0
    dataset_samples: float = 0.0
    top: int = 5
    fixed: tuple[tuple[str, int | str | bool], ...] = ()
