"""The probe that ships: one machine as it was measured, to try `trainyard calibrate` and `trainyard bench` on."""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import Final

from .record import ProbeRecord, record_of

#: One thread of a virtual machine on an AMD EPYC of the fourth generation, AVX-512, PyTorch 2.13.
SHIPPED: Final = "epyc-4-one-thread.json.gz"


def shipped_probe() -> ProbeRecord:
    """The record that ships."""
    held = files("simulator") / "data" / "probes" / SHIPPED
    return record_of(gzip.decompress(held.read_bytes()).decode("utf-8"), SHIPPED)
