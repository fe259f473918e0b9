"""The software words of measured collectives: which library, which forced algorithm, what it lets switches do."""

from __future__ import annotations

import re
from typing import Final

from hwmodels.datafile import did_you_mean
from simulator.collectives.exchange import COLLECTIVES
from simulator.collectives.switch_rules import reduces_in_switch


class CollectiveRowError(ValueError):
    """A row whose collective cannot be priced: what is wrong with it."""


#: Library words, in the order they are tried: how a table spells it, and under which word constants are kept.
_LIBRARIES: Final = (
    (r"nccl[ -]?2\.0[ -]?single", "nccl-2.0-single"), (r"nccl[ -]?2\.0[ -]?mpi", "nccl-2.0-mpi"),
    (r"\b(xla|jax)\b.*rccl", "xla+rccl"), (r"\b(xla|jax)\b.*nccl", "xla+nccl"),
    (r"\bnccl\b.*(framework|pytorch|torch|horovod)|(pytorch|torch|horovod).*\bnccl\b", "nccl-in-framework"),
    (r"\brccl\b", "rccl"), (r"\bnccl\b", "nccl"), (r"baidu|ring-?allreduce", "baidu-ring"), (r"\bosu\b", "mpi-osu"),
    (r"\bmlsl\b", "mlsl"), (r"\bhccl\b", "hccl"), (r"\b(oneccl|ccl)\b", "oneccl"), (r"\bgloo\b", "gloo"),
    (r"\b(open|intel |cray-?|mva)?mpi(ch\d?)?\b", "mpi"),
)  # fmt: skip
#: The library that a maker's chips are driven by where the word is silent or unknown.
_OF_MAKER: Final = {"nvidia": "nccl", "amd": "rccl"}

#: Forced algorithms, in the order they are tried: the words of nccl-tests and of people who quote them.
_FORCED: Final = (("nvls.?tree", "nvls_tree"), ("nvls", "nvls"), ("tree", "tree"), ("ring", "ring"))

_SPELLINGS: Final = {
    "allreduce": "all_reduce", "allgather": "all_gather", "reducescatter": "reduce_scatter", "alltoall": "all_to_all",
    "permute": "permute", "sendrecv": "permute", "collectivepermute": "permute",
}  # fmt: skip


#: First version of NCCL that reduces in NVLink switches.
_FIRST_NVLS: Final = (2, 17)


def collective_word(text: str) -> str:
    """The collective a table means; every kind of `permute_...` is one. Raises `CollectiveRowError`."""
    plain = re.sub(r"[^a-z]", "", text.lower())
    if plain.startswith("permute"):
        return "permute"
    if plain not in _SPELLINGS:
        near = did_you_mean(text, COLLECTIVES)
        raise CollectiveRowError(f"collective {text!r} has no model; one of {', '.join(COLLECTIVES)}.{near}")
    return _SPELLINGS[plain]


def library_of(text: str, maker: str) -> tuple[str, str]:
    """The library word of a row, without its version, and what had to be assumed ("" if nothing)."""
    for pattern, word in _LIBRARIES:
        if re.search(pattern, text, re.IGNORECASE):
            return word, ""
    word = _OF_MAKER.get(maker.lower(), "mpi")
    return word, f"library {word} for {text!r}" if text else f"library {word}"


def algorithm_of(text: str) -> tuple[str, str]:
    """The algorithm a row forces, "" where the library chooses, and what had to be assumed ("" if nothing)."""
    plain = text.strip().lower()
    if not plain or plain.startswith(("default", "auto", "nccl default")):
        return "", ""
    for pattern, word in _FORCED:
        if re.match(pattern, plain):
            return word, ""
    return "", f"algorithm {text!r} is not known: as the library chooses"


def switches_reduce(*, library: str, version_text: str, link: str, kind: str, chips: int, members: int) -> bool:
    """Whether the switches of a scale-up domain reduce for this library.

    ``chips`` are those of the domain, ``members`` those of them in the group; ``version_text`` is the library as the
    row spells it, because a version may follow the name.
    """
    version = re.search(r"nccl[ -]?v?(\d+)\.(\d+)", version_text, re.IGNORECASE)
    if version and (int(version[1]), int(version[2])) < _FIRST_NVLS:
        return False
    return reduces_in_switch(library=library, link=link, kind=kind, chips=chips, members=members)
