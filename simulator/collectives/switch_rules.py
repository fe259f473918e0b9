"""Which library lets the switches of a scale-up domain reduce: software x hardware, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class SwitchRule:
    """Whether a library lets the switches of a domain reduce.

    Blank words and zero counts match anything; the first rule of `IN_SWITCH` that matches decides.
    """

    used: bool
    library: str = ""
    link: str = ""
    chips: int = 0

    def matches(self, library: str, link: str, chips: int) -> bool:
        """Whether the rule speaks of this library, link, and number of chips in a domain."""
        return self.library in ("", library) and self.link in ("", link) and self.chips in (0, chips)


#: NVLink SHARP came with the switches of NVLink 4 and NCCL 2.17. The XLA tables of one 8-chip B200 server stay at the
#: rate of a ring, those of an NVL72 rack and of 8 Hopper chips do not.
IN_SWITCH: Final = (
    SwitchRule(used=False, library="xla+nccl", link="nvlink5", chips=8),
    *(SwitchRule(used=True, library=library, link=link)
      for library in ("nccl", "xla+nccl", "nccl-in-framework") for link in ("nvlink4", "nvlink5", "nvlink6")),
    SwitchRule(used=False),
)  # fmt: skip
#: The library keeps to rings and trees in groups of this many ranks in a domain, and below.
FEW_FOR_SWITCH: Final = 4
#: NCCL 2.17 is of this year.
SINCE_YEAR: Final = 2023


def reduces_in_switch(*, library: str, link: str, kind: str, chips: int, members: int) -> bool:
    """Whether the switches of a domain of ``chips`` chips reduce for a group with ``members`` of them."""
    if kind not in ("switch", "rack") or members <= FEW_FOR_SWITCH:
        return False
    return next(rule.used for rule in IN_SWITCH if rule.matches(library, link, chips))


def reduces_in_network(*, out_link: str, in_switch: bool, domain_chips: int) -> bool:
    """Whether switches between domains reduce as well: InfiniBand between racks whose own switches reduce."""
    return out_link.startswith("infiniband") and in_switch and domain_chips > 16
