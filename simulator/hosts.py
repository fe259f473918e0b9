"""What stands beside the chips of a cluster's servers, as far as its data files say."""

from __future__ import annotations

import hwmodels.catalog as hardware

from .cluster import Cluster
from .outcome.storage import Host, StorageError
from .pricing import HOST_LINK_SHARE


def host_of(
    cluster: Cluster,
    *,
    memory_byte: float = 0.0,
    cache_share: float = 0.5,
    disk_read_byte_per_s: float = 0.0,
    disk_write_byte_per_s: float = 0.0,
) -> Host:
    """The host of one server: cores of its data file, links of its chips, its network cards.

    What data files do not have, memory and disks, is the caller's; 0 says there is none. Chips copy at once, each at
    its own link's rate, which leaves out switches that two of them share.
    """
    server = hardware.server(cluster.server)
    link = cluster.chip.host_bandwidth_byte_per_s
    if not link:
        raise StorageError(
            f"host: chip {cluster.chip.id} has no link to its host on record; give a Host with copy_byte_per_s."
        )
    return Host(
        cores=server.host_cores,
        copy_byte_per_s=HOST_LINK_SHARE * link * cluster.chips_per_server,
        card_byte_per_s=cluster.out_byte_per_s,
        memory_byte=memory_byte,
        cache_share=cache_share,
        disk_read_byte_per_s=disk_read_byte_per_s,
        disk_write_byte_per_s=disk_write_byte_per_s,
    )
