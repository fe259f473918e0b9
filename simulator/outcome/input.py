"""How fast samples reach the chips: read, decoded, copied; the first epoch and later ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from simulator.outcome.storage import FileSystem, Host, StorageError, check

#: Bytes of ImageNet-1k's training images: ILSVRC2012_img_train.tar, 147,897,477,120 B, as remembered.
IMAGENET_BYTE: Final = 147_897_477_120
#: Core-seconds to decode and augment one ImageNet image, from two hosts of TensorFlow's benchmark page of 2017 that
#: could not feed AlexNet: 40 cores gave 7,105 images/s (DGX-1, 4 P100), 16 gave 4,056 (n1-standard-32, 8 K80); 5.6 and
#: 3.9 ms, the geometric mean. On hosts it was not taken from, EPYC 7742 with 4 and 8 A100 (128 cores assumed): 27,200
#: images/s against 24,400 to 30,700 measured with 16-bit images, but 16,000 to 19,300 with 32-bit ones.
IMAGE_CORE_S: Final = 4.7e-3

CACHES: Final = ("lru", "pinned")


@dataclass(frozen=True, kw_only=True)
class InputWork:
    """What one sample asks of the host, and how the pipeline runs.

    ``stored_byte``: read per sample; ``prepared_byte``: copied to a chip per sample; ``core_s``: decode and augment.
    ``batch``: samples that one server trains on in a step. ``prefetch``: batches that may be on their way or ready
    while one trains; 0: a batch is begun when it is asked for.
    ``cache``: "lru", the page cache drops what was used longest ago; "pinned", what is in it stays.
    ``sharded``: each server reads a part of its own, the same in every epoch, else any part of the whole.
    """

    stored_byte: float
    prepared_byte: float
    core_s: float
    batch: int
    dataset_samples: float
    prefetch: int = 2
    cache: str = "lru"
    sharded: bool = False

    def __post_init__(self) -> None:
        check(self, above=("batch", "dataset_samples"), at_least=("stored_byte", "prepared_byte", "core_s", "prefetch"))
        if self.cache not in CACHES:
            raise StorageError(f"InputWork: cache is {self.cache!r}; one of {', '.join(CACHES)}.")


@dataclass(frozen=True, kw_only=True)
class InputTimes:
    """Seconds that one batch of one server takes at each stage, with the stage to itself."""

    read_s: float
    prepare_s: float
    copy_s: float
    hit_share: float

    @property
    def stages_s(self) -> tuple[float, float, float]:
        """Read, prepare, copy [s]."""
        return self.read_s, self.prepare_s, self.copy_s

    @property
    def binds(self) -> str:
        """The slowest stage: "storage", "host cores" or "host link"."""
        return ("storage", "host cores", "host link")[self.stages_s.index(max(self.stages_s))]


def lru_hits(share: float) -> float:
    """Share of reads that a cache finds that holds a share c of the data and drops what was used longest ago.

    Each epoch reads everything once in a new random order. A sample read at the share u of one epoch and v of the next
    is still there when what was read between, 1 - u (1 - v) of the data, fits into c; over all u and v

    .. math:: h = c + (1 - c) \\ln(1 - c)

    far below c: half of the data cached finds 15 %. Leaves out: the second list of the Linux page cache, which
    protects pages used twice.
    """
    if not 0 <= share <= 1:
        raise StorageError(f"cached share: {share!r}; 0 to 1.")
    return share + (1 - share) * math.log1p(-share) if share < 1 else 1.0


def hit_share(work: InputWork, host: Host, servers: int, *, epoch: int) -> float:
    """Share of reads served by the page cache in an epoch (1 is the first: nothing is there yet)."""
    if epoch <= 1:
        return 0.0
    data_byte = work.dataset_samples * work.stored_byte / (servers if work.sharded else 1)
    cached = min(1.0, host.memory_byte * host.cache_share / data_byte) if data_byte else 1.0
    return lru_hits(cached) if work.cache == "lru" else cached


def input_times(
    work: InputWork, host: Host, file_system: FileSystem | None = None, *, servers: int = 1, epoch: int = 1
) -> InputTimes:
    """Time of one batch at each stage of the pipeline of one of so many servers that all read at once [s].

    .. math:: t_{read} = b s (1 - h) / r, \\quad t_{prepare} = b w / cores, \\quad t_{copy} = b p / r_{copy}

    with r a client's share of the file system; of the local disk where there is no file system. Leaves out: reads from
    the page cache (memory is faster than decoding by far), small files and metadata, cores busy with other things.
    """
    hits = hit_share(work, host, servers, epoch=epoch)
    missed_byte = work.batch * work.stored_byte * (1 - hits)
    if file_system is not None:
        rate = file_system.client_rate(host, file_system.read_byte_per_s, servers)
    else:
        rate = host.disk_read_byte_per_s
    if missed_byte and not rate:
        raise StorageError("input: nothing to read from; legal: a file system, or a host with disk_read_byte_per_s.")
    return InputTimes(
        read_s=missed_byte / rate if missed_byte else 0.0,
        prepare_s=work.batch * work.core_s / host.cores,
        copy_s=work.batch * work.prepared_byte / host.copy_byte_per_s,
        hit_share=hits,
    )


def fed_step_s(step_s: float, times: InputTimes, prefetch: int) -> float:
    """Seconds from step to step when a pipeline feeds it, in steady state with constant times.

    .. math:: T = \\max(t_{step}, \\max_j t_j, \\sum_j t_j / k), \\qquad k = 0: T = t_{step} + \\sum_j t_j

    k batches at most are on their way or ready while one trains: the cycle with the largest mean decides. The third
    term binds for k < 3 only, where stages wait for a place.

    References
    ----------
    .. [1] F. Baccelli et al., Synchronization and Linearity, 1992, theorem 2.28: periods of event graphs.
    """
    if prefetch == 0:
        return step_s + sum(times.stages_s)
    return max(step_s, *times.stages_s, sum(times.stages_s) / prefetch)
