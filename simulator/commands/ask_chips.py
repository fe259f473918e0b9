"""Questions that look for the number of chips themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def leave_chips_open(job: str | None, flags: dict[str, Any]) -> bool:
    """Whether nobody says how many chips; then the question is read with those of one server."""
    from ..cluster import UnknownSystemError, system
    from ..query import read_mapping

    asked: Any = read_mapping(job)[0].get("job", {}) if job is not None else {}
    asked = asked if isinstance(asked, Mapping) else {}
    if flags.get("chips") is not None or "chips" in asked:
        return False
    try:
        flags["chips"] = str(system(str(flags.get("system") or asked.get("system"))).cluster.chips_per_server)
    except UnknownSystemError:  # said with everything else that is wrong
        return False
    return True
