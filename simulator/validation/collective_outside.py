"""The scale-out side of a measured collective: network cards of a server, from a row's words.

First the words between servers, then the name of the system (`data/collective_networks.csv`), then the cards of the
catalogue's server: the one of that name, else the one the chip usually sits in.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import hwmodels.catalog as hardware
from hwmodels.server import Server

#: Families of wires between servers, in the order their words are tried. Cards of Ethernet are one family, with RDMA or
#: without, except those that carry a transport of their own.
_FAMILIES: Final = (
    (r"\befa\b", "efa"), (r"omni-?path|\bopa\b", "omni-path"), (r"slingshot", "slingshot"), (r"\baries\b", "aries"),
    (r"\bgemini\b", "gemini"), (r"infiniband|\bib\b|\b[fehnx]dr\d*\b|quantum", "infiniband"),
    (r"ethernet|roce|rdma|tcpxo?|\btcp\b|\bgbe\b|\d+gbe\b|converged", "ethernet"),
)  # fmt: skip
#: Generations that state the rate of a card: the catalogue's link.
_GENERATIONS: Final = (
    (r"\bfdr", "infiniband-fdr"), (r"\bedr", "infiniband-edr-100g"), (r"\bhdr", "infiniband-hdr-200g"),
    (r"\bndr", "infiniband-ndr-400g"), (r"\bxdr", "infiniband-xdr-800g"), (r"slingshot[- ]?10", "slingshot-10-100g"),
    (r"slingshot", "slingshot-11-200g"), (r"omni-?path[- ]?(?!4)|\bopa", "omni-path-100g"), (r"\baries", "aries"),
    (r"\bgemini", "gemini"), (r"tcpxo", "tcpxo-200g"), (r"tcpx", "tcpx-200g"),
)  # fmt: skip

#: So many cards of so many Gbit/s; a lane count as in "FDR 4x" is none.
_CARDS: Final = re.compile(
    r"(\d{1,3}) ?[x×] ?(?:[A-Za-z][\w-]* )*?([1-9]\d{0,4}(?:\.\d+)?) ?(?:G\b|Gb|gig|GE\b)", re.IGNORECASE
)
_CARDS_OF_GENERATION: Final = re.compile(
    r"(\d{1,3}) ?[x×] ?(?:infiniband |ib )?(?:fdr|edr|hdr|ndr|xdr)\b", re.IGNORECASE
)
_ONE_RATE: Final = re.compile(r"\b([1-9]\d{0,4}(?:\.\d+)?) ?(T|G)(?:\b|b|ig|E\b)", re.IGNORECASE)
#: A single card faster than this does not exist in the era it names: the number is all cards together [bit/s].
_ONE_CARD_AT_MOST: Final = 800e9


@dataclass(frozen=True, kw_only=True)
class Network:
    """The cards of one server: family of the wires, how many, and what one carries in one direction [B/s]."""

    family: str
    cards: int
    card_byte_per_s: float
    assumed: str = ""

    @property
    def server_byte_per_s(self) -> float:
        """What all cards of a server carry together, one direction [B/s]."""
        return self.cards * self.card_byte_per_s


def network_of(words: str, system: str, server: Server, chips: int) -> Network:
    """The network of a server with some chips, from a row's words."""
    text = words or system
    family = _family(text)
    known = _named(system) or _of_server(server, chips)
    if not family:
        note = f" for {words!r}" if words else ""
        return Network(
            family=known.family, cards=known.cards, card_byte_per_s=known.card_byte_per_s,
            assumed=f"{_spelled(known)} a server{note}",
        )  # fmt: skip
    if match := _CARDS.search(text):
        cards = int(match[1]) * (chips if re.search(r"per (gpu|chip)", text, re.IGNORECASE) else 1)
        return Network(family=family, cards=max(cards, 1), card_byte_per_s=float(match[2]) * 1e9 / 8)
    link = next((link for pattern, link in _GENERATIONS if re.search(pattern, text, re.IGNORECASE)), "")
    if link:
        card = hardware.link(link).bandwidth_byte_per_s
        if match := _CARDS_OF_GENERATION.search(text):
            return Network(family=family, cards=max(int(match[1]), 1), card_byte_per_s=card)
        if re.search(r"dual[- ]rail", text, re.IGNORECASE):
            return Network(family=family, cards=2, card_byte_per_s=card)
        return _counted(family, card, known)
    if match := _ONE_RATE.search(text):
        rate = float(match[1]) * (1e12 if match[2].upper() == "T" else 1e9)
        if re.search(r"per (gpu|chip)", text, re.IGNORECASE):
            return Network(family=family, cards=chips, card_byte_per_s=rate / 8)
        if rate > _ONE_CARD_AT_MOST or re.search(r"per (node|server|tray)|total|aggregate", text, re.IGNORECASE):
            cards = known.cards if known.family == family else 1
            return Network(family=family, cards=cards, card_byte_per_s=rate / 8 / cards)
        if rate <= 100e9:
            return Network(family=family, cards=1, card_byte_per_s=rate / 8, assumed="1 card a server")
        return _counted(family, rate / 8, known)
    if known.family == family:
        return Network(
            family=family, cards=known.cards, card_byte_per_s=known.card_byte_per_s,
            assumed=f"{_spelled(known)} a server",
        )  # fmt: skip
    return _counted(family, known.card_byte_per_s, known)


def _counted(family: str, card_byte_per_s: float, known: Network) -> Network:
    """As many cards as the machine is known to have."""
    found = Network(family=family, cards=known.cards, card_byte_per_s=card_byte_per_s)
    return Network(
        family=family, cards=known.cards, card_byte_per_s=card_byte_per_s, assumed=f"{_spelled(found)} a server"
    )


def _spelled(network: Network) -> str:
    return f"{network.cards} x {network.card_byte_per_s * 8e-9:.4g} Gbit/s {network.family}"


def _family(text: str) -> str:
    return next((word for pattern, word in _FAMILIES if re.search(pattern, text, re.IGNORECASE)), "")


@cache
def _networks() -> tuple[tuple[re.Pattern[str], Network], ...]:
    text = files("simulator").joinpath("data", "collective_networks.csv").read_text(encoding="utf-8")
    return tuple(
        (
            re.compile(row["pattern"], re.IGNORECASE),
            Network(
                family=row["family"], cards=int(row["cards"]), card_byte_per_s=float(row["card_gbit_per_s"]) * 1e9 / 8
            ),
        )
        for row in csv.DictReader(io.StringIO(text))
    )


@cache
def _named(system: str) -> Network | None:
    """The network of a system by its name, where the catalogue has no server of that name; None if not known."""
    return next((network for pattern, network in _networks() if pattern.search(system)), None)


def _of_server(server: Server, chips: int) -> Network:
    """The cards of a catalogue's server; of a rack, those of a tray of some chips. One EDR card where it has none."""
    if not server.nics:
        card = hardware.link("infiniband-edr-100g")
        return Network(family=card.family, cards=1, card_byte_per_s=card.bandwidth_byte_per_s)
    link = hardware.link(server.nic_link)
    family = "slingshot" if link.id.startswith("slingshot") else link.family
    cards = max(server.nics * min(chips, server.chips) // server.chips, 1)
    return Network(family=family, cards=cards, card_byte_per_s=link.bandwidth_byte_per_s)
