"""The scale-up side of a measured collective: which wires join the chips of one domain, from a row's words.

Rates and counts are the catalogue's (`hwmodels`); where the words are silent, so is the kind of wiring: that of the
server the chip usually sits in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import hwmodels.catalog as hardware
from hwmodels.server import Server

from .collective_domain import Inside
from .collective_software import CollectiveRowError
from .machines import server_for

#: The wire between two sockets where a row names the PCIe generation only.
_SOCKET_WIRE: Final = {"pcie2-x16": "qpi-9.6", "pcie3-x16": "qpi-9.6", "pcie4-x16": "xgmi-socket"}
#: Cards in a tree that more than this many share sit under two sockets, where a row is silent.
_CARDS_OF_A_SOCKET: Final = 4

#: A rack's or a server's word for a domain behind switches: so many chips.
_NVL: Final = re.compile(r"\bNVL[- ]?(\d+)", re.IGNORECASE)
_TRAY_CHIPS: Final = 4

#: Chips of a host from words such as "8x A100 node" and "10-GPU single-root".
_CHIPS_OF_HOST: Final = re.compile(
    r"\b(\d+) ?x (?!\d|[fehnx]dr|ib\b|infini|efa|nic|connect|card|rack|dgx|hgx|node|server|p\d)"
    r"|\b(\d+)-(?:GPU|chip|way)",
    re.IGNORECASE,
)

_PAIRS: Final = re.compile(r"full(y)?[- ](mesh|connected)|all[- ]to[- ]all|point[- ]to[- ]point", re.IGNORECASE)
_SWITCH: Final = re.compile(r"nvswitch|\bswitch|NVL ?\d", re.IGNORECASE)


def inside_of(words: str, system: str, candidates: Sequence[str], per_server: int = 0) -> tuple[str, Inside]:
    """The chip that fits a row's words, of those its name may mean, and the wires of its domain.

    ``per_server`` is how many ranks a row puts on each server, 0 where it does not say.

    Raises
    ------
    CollectiveRowError
        Where the words name wires that the catalogue does not have.
    """
    text = words or (system if re.search(r"nvlink|pcie|xgmi|\broot\b", system, re.IGNORECASE) else "")
    chip = _fitting_chip(text, candidates)
    server = named_server(system, candidates) or server_for(chip)
    chip = server.chip if server.chip in candidates else chip
    host = _host_chips(system, server, per_server)
    assumed = () if words or text else (f"wires of {server.name}",)
    lower = text.lower()
    if found := re.search(r"nvlink[- ]?(\d)?", lower):
        link = _numbered("nvlink", found[1], server, chip)
    elif re.search(r"xgmi|infinity fabric", lower):
        link = server.scale_up_link if server.scale_up_link.startswith("xgmi") else _numbered("xgmi", "3", server, chip)
    elif "pcie" in lower or re.search(r"\bplx\b|\broot", lower):
        return chip, _tree(text, server, host, assumed)
    else:
        link = server.scale_up_link
        if text and not assumed:
            assumed = (f"wires of {server.name} for {text!r}",)
    kind = _kind(text, link, server, host)
    if kind == "pcie_tree":
        return chip, _tree(text, server, host, assumed)
    if "bridge" in lower and kind != "none":
        return chip, _bridged(text, link, server, host, assumed)
    if not link or kind == "none":
        kind, assumed = "none", ()
    pairs = _cube_mesh(link, server) if kind == "cube_mesh" else ()
    if kind == "pairs" and server.chips == host and server.scale_up == "mesh":
        pairs = server.mesh_links
    chips = _domain_chips(text, system, kind, server, host)
    if (chips > host or server.chips > host) and chips > _TRAY_CHIPS and _NVL.search(text + " " + server.id):
        host = _TRAY_CHIPS
    return chip, Inside(
        kind=kind, link=link if kind != "none" else "", chips=chips, host_chips=host, links=_links(link, server, kind),
        server=server, peers=_peers(link, server, host), pairs=pairs, socket_wire=server.socket_link, assumed=assumed,
    )  # fmt: skip


def named_server(system: str, candidates: Sequence[str]) -> Server | None:
    """The catalogue's server that a system's name contains, with one of some chips; None if there is none."""
    plain = re.sub(r"[^a-z0-9]", "", system.lower())
    for id in sorted(hardware.server_ids(), key=len, reverse=True):
        if re.sub(r"[^a-z0-9]", "", id.removesuffix("-node")) in plain and hardware.server(id).chip in candidates:
            return hardware.server(id)
    return None


def _cube_mesh(link: str, server: Server) -> tuple[tuple[int, int, int], ...]:
    """The links of a cube mesh: the server's, else those of another server with the same kind of link."""
    for one in (server, *map(hardware.server, hardware.server_ids())):
        if one.cube_mesh_links and one.scale_up_link == link:
            return one.cube_mesh_links
    raise CollectiveRowError(f"no server in the catalogue is a cube mesh of {link}.")


def _peers(link: str, server: Server, host: int) -> int:
    """Chips that the links of one lead to: NVLink of fewer chips is shared among fewer; other meshes stay as made."""
    if link.startswith("nvlink") or server.scale_up_link != link:
        return host - 1
    return server.chips - 1


def _fitting_chip(text: str, candidates: Sequence[str]) -> str:
    """The first candidate whose usual server is wired as the words say; the first of all where none is."""
    wanted = "pcie" if re.match(r"\s*pcie", text, re.IGNORECASE) else "nvlink" if "nvlink" in text.lower() else ""
    for chip in candidates:
        if server_for(chip).scale_up_link.startswith(wanted) and (wanted or "pcie" not in chip):
            return chip
    return candidates[0]


def _host_chips(system: str, server: Server, per_server: int) -> int:
    # "16 x 100G" and "4x400G" are network cards, not chips; a rack of NVL72 is no host.
    if server.chips >= 32 and "nvl" in server.id:
        return _TRAY_CHIPS
    for match in _CHIPS_OF_HOST.finditer(system):
        count = int(match[1] or match[2])
        if 1 <= count <= 64:
            return max(count, per_server)
    return max(server.chips, per_server)


def _domain_chips(text: str, system: str, kind: str, server: Server, host: int) -> int:
    found = _NVL.search(text) or _NVL.search(system)
    if found and kind in ("switch", "rack"):
        return max(int(found[1]), 1)
    if kind == "torus":
        # A slice of chips on inter-chip links is one domain, however many hosts it has.
        named = server.scale_up_link
        return 1 << 20 if named and hardware.link(named).family == "ici" else server.chips
    return max(server.chips, host) if kind == "rack" else host


def _kind(text: str, link: str, server: Server, host: int) -> str:
    if re.search(r"cube[- ]mesh", text, re.IGNORECASE):
        return "cube_mesh"
    if _PAIRS.search(text):
        return "pairs"
    if re.search(r"torus", text, re.IGNORECASE):
        return "torus"
    # Switches that join the trays of a rack, or the chips of one server.
    switched = "rack" if server.chips >= 32 and "nvl" in server.id else "switch"
    if _SWITCH.search(text):
        return switched
    family = hardware.link(link).family if link else ""
    match server.scale_up:
        case "hybrid_cube_mesh" if host == server.chips:
            return "cube_mesh"
        case "hybrid_cube_mesh":
            # Servers of four fully wired chips, and rows that put a DGX-2 down as V100.
            return "pairs" if host < server.chips else switched
        case "nvswitch":
            return "pairs" if host == 4 and server.chips == 8 and text and family == "nvlink" else switched
        case "fully_connected" if family == "nvlink":
            return "pairs" if host == 4 and server.chips == 8 and text else switched
        case "fully_connected" | "mesh":
            return "pairs"
        case "pcie_tree":
            return "pairs" if family == "nvlink" else "pcie_tree"
        case "torus":
            return "torus"
    return "pairs" if family in ("nvlink", "xgmi") else "none"


def _numbered(family: str, digit: str | None, server: Server, chip: str) -> str:
    if digit is None:
        if server.scale_up_link.startswith(family):
            return server.scale_up_link
        raise CollectiveRowError(f"the generation of {family} is not stated, and {chip} has none in the catalogue.")
    link = f"{family}{digit}"
    if link not in hardware.link_ids():
        legal = ", ".join(i for i in hardware.link_ids() if i.startswith(family))
        raise CollectiveRowError(f"{link} is not in the catalogue; one of {legal}.")
    return link


def _links(link: str, server: Server, kind: str) -> int:
    """Links of one chip: its server's, else the most that any server gives its chips of this link."""
    if kind == "none":
        return 0
    if server.scale_up_link == link:
        return server.scale_up_links_per_chip
    all_servers = map(hardware.server, hardware.server_ids())
    most = max((s.scale_up_links_per_chip for s in all_servers if s.scale_up_link == link), default=0)
    if not most:
        raise CollectiveRowError(f"no server in the catalogue says how many links of {link} a chip has.")
    return most


def _tree(text: str, server: Server, host: int, assumed: tuple[str, ...]) -> Inside:
    """Cards in a PCIe tree, under one root or two."""
    found = re.search(r"pcie ?-?(?:gen ?)?(\d)", text, re.IGNORECASE)
    link = f"pcie{found[1]}-x16" if found else server.scale_up_link
    if link not in hardware.link_ids() or not link.startswith("pcie"):
        link = _card_slot(server)
    wire = server.socket_link or _SOCKET_WIRE.get(link, "upi-16")
    sockets = 1
    if match := re.search(r"\b(qpi|upi)\b", text, re.IGNORECASE):
        sockets, wire = 2, "qpi-9.6" if match[1].lower() == "qpi" else "upi-16" if "pcie5" in link else "upi-10.4"
    elif re.search(r"dual[- ]root|two (root|socket)|2 (root|socket)", text, re.IGNORECASE):
        sockets = 2
    elif re.search(r"single[- ]root|one root|one socket", text, re.IGNORECASE):
        sockets = 1
    elif server.socket_link:
        sockets = server.sockets
    elif host > _CARDS_OF_A_SOCKET:
        sockets = 2
        assumed = (*assumed, "cards under two sockets")
    return Inside(
        kind="pcie_tree", link=link, chips=host, host_chips=host, links=1, server=server, sockets=sockets,
        socket_wire=wire, assumed=assumed,
    )  # fmt: skip


def _card_slot(server: Server) -> str:
    slot = hardware.chip(server.chip).host_bandwidth_byte_per_s or 15.75e9
    trees = [i for i in hardware.link_ids() if re.fullmatch(r"pcie\d-x16", i)]
    return min(trees, key=lambda i: abs(hardware.link(i).bandwidth_byte_per_s - slot))


def _bridged(text: str, link: str, server: Server, host: int, assumed: tuple[str, ...]) -> Inside:
    """Cards in bridged pairs: more than two of them meet over PCIe."""
    if host == 2:
        links = 12 if server.chip.startswith(("a100", "h100")) else 4 if server.chip.startswith("a30") else 2
        return Inside(
            kind="pairs", link=link, chips=2, host_chips=2, links=links, server=server, peers=1,
            assumed=(*assumed, "a bridge"),
        )  # fmt: skip
    return _tree(text, server, host, (*assumed, "more than two cards meet over PCIe, past their bridges"))
