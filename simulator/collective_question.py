"""The question behind a curve of one collective: read, checked, all its problems together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from hwmodels.datafile import did_you_mean
from hwmodels.units import UnitError, parse_quantity

from .cluster import Cluster, UnknownSystemError, system
from .collectives.exchange import ALGORITHMS, COLLECTIVES
from .collectives.library_cost import RING_ONLY
from .errors import InputError
from .group_wires import wires_of

#: Makers on whose chips a library runs; () for any.
LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "nccl": ("NVIDIA",), "nccl-in-framework": ("NVIDIA",), "xla+nccl": ("NVIDIA",), "nccl-2.0-mpi": ("NVIDIA",),
    "nccl-2.0-single": ("NVIDIA",), "rccl": ("AMD",), "xla+rccl": ("AMD",), "hccl": ("Intel", "Huawei"),
    "mlsl": ("Intel",), "oneccl": ("Intel",), "mpi": (), "mpi-osu": (), "gloo": (), "baidu-ring": (), "other": (),
}  # fmt: skip
_OF_MAKER: Final = {"NVIDIA": "nccl", "AMD": "rccl"}
#: What a user may write for `ALGORITHMS`: the library's own choice has a word.
AUTO: Final = "auto"
WORDS: Final = (AUTO, *ALGORITHMS[1:])
#: Collectives in letters only, as people write them: all-reduce, AllReduce, sendrecv.
_SPELLINGS: Final = {re.sub("[^a-z]", "", word): word for word in COLLECTIVES} | {"sendrecv": "permute"}

T = TypeVar("T")

MOST_POINTS: Final = 64
MOST_BYTE: Final = 2**50
#: Ranks of all groups together that are simulated as flows.
MOST_FLOW_RANKS: Final = 256
DEFAULT_BYTE: Final = tuple(2**k for k in range(10, 31))
_LEGAL_BYTE: Final = "as in 1KiB..1GiB (powers of two times the first) or 1MiB,64MiB"


@dataclass(frozen=True, kw_only=True)
class CollectiveQuestion:
    """One collective on one system, over sizes of its full tensor [B] and numbers of ranks.

    ``algorithm`` is "" where the library chooses; ``cards`` 0 for all network cards of a server. ``degraded_share`` is
    what is left of the rate of the slowest link or card. Groups of ranks ``stride`` apart all run at once.
    """

    cluster: Cluster
    collective: str
    message_byte: tuple[int, ...]
    ranks: tuple[int, ...]
    stride: int
    library: str
    algorithm: str
    cards: int
    degraded_share: float
    flows: bool


def sizes_of(text: str) -> tuple[int, ...]:
    """Sizes of `A..B` (powers of two times A, up to B) or `A,B,C`, ascending [B]; kB (or KB) is 1000, KiB 1024.

    Raises
    ------
    InputError
        With the first part that is no size, and what is legal.
    """
    first, dots, last = text.partition("..")
    sizes = [_size(part.strip()) for part in ([first, last] if dots else text.split(","))]
    if not dots:
        return tuple(sorted(set(sizes)))
    if sizes[0] > sizes[1]:
        raise InputError(f"is {ascii(text)[:80]}, from more to less; legal: {_LEGAL_BYTE}.")
    found = [sizes[0]]
    while found[-1] * 2 <= sizes[1]:
        found.append(found[-1] * 2)
    return tuple(found)


def _size(text: str) -> int:
    try:
        value = parse_quantity(re.sub(r"KB$", "kB", text), "byte")
    except UnitError as error:
        raise InputError(f"{error} Legal: {_LEGAL_BYTE}.") from None
    if not 1 <= value <= MOST_BYTE or value != int(value):
        raise InputError(f"{ascii(text)[:80]} is not a whole number of bytes from 1 B to 1 PiB; legal: {_LEGAL_BYTE}.")
    return int(value)


def share_of(text: str) -> float:
    """A share written as 0.5 or 50 %. Raises `InputError`; whether it is in range is checked with the question."""
    try:
        return parse_quantity(text.strip(), "1")
    except UnitError as error:
        raise InputError(f"{error} Legal: a share above 0 and at most 1, as in 0.5 or 50%.") from None


def whole_of(text: str) -> int:
    """A whole number in digits. Raises `InputError`; whether it is in range is checked with the question."""
    word = text.strip()
    if not (word.isascii() and word.isdigit() and len(word) <= 12):
        raise InputError(f"is {ascii(text)[:80]}; legal: a whole number from 1.")
    return int(word)


#: How the command line calls what `ask` takes.
_FLAGS: Final = {
    "system_name": "--system", "message_byte": "--bytes", "ranks": "--chips", "degraded_share": "--degraded",
}  # fmt: skip


def question_of_texts(
    texts: Mapping[str, str | None], *, ranks: Sequence[int] | None, flows: bool, known: Iterable[str] = ()
) -> CollectiveQuestion:
    """The checked question of the command line, texts by the name of their flag; None where a flag was not given.

    Raises
    ------
    InputError
        With every problem, one line each, those ``known`` before first.
    """
    problems = list(known)

    def read(key: str, reader: Callable[[str], T], instead: T) -> T:
        text = texts.get(key)
        if text is None:
            return instead
        try:
            return reader(text)
        except InputError as error:
            problems.extend(f"--{key}: {line}" for line in error.problems)
            return instead

    sizes = read("bytes", sizes_of, DEFAULT_BYTE)
    stride, cards = read("stride", whole_of, 1), read("cards", whole_of, 0)
    degraded = read("degraded", share_of, 1.0)
    if texts.get("cards") is not None and cards == 0 and not any(line.startswith("--cards") for line in problems):
        problems.append("--cards: is 0; legal: a whole number from 1.")
    if texts.get("system") is None:
        problems.append("--system: is missing; it goes with --collective. `trainyard catalog systems` lists them.")
    return ask(
        collective=texts.get("collective") or "", system_name=texts.get("system"), message_byte=sizes, ranks=ranks,
        stride=stride, library=texts.get("library"), algorithm=texts.get("algorithm"), cards=cards,
        degraded_share=degraded, flows=flows, called=lambda key: _FLAGS.get(key, f"--{key}"), known=problems,
    )  # fmt: skip


def ask(
    *,
    collective: str,
    system_name: str | None,
    message_byte: Sequence[int] | None = None,
    ranks: Sequence[int] | None = None,
    stride: int = 1,
    library: str | None = None,
    algorithm: str | None = None,
    cards: int = 0,
    degraded_share: float = 1.0,
    flows: bool = False,
    called: Callable[[str], str] = lambda key: key,
    known: Iterable[str] = (),
) -> CollectiveQuestion:
    """The checked question.

    ``called`` says how a message names a key; ``known`` are problems that were found before, to be told with these.

    Raises
    ------
    InputError
        With every problem, one line each.
    """
    problems = list(known)
    algorithm = AUTO if algorithm is None else algorithm

    def wrong(key: str, text: str) -> None:
        problems.append(f"{called(key)}: {text}")

    word = _SPELLINGS.get(re.sub("[^a-z]", "", collective.lower()), "")
    if not word:
        near = did_you_mean(collective.lower().replace("-", "_"), COLLECTIVES)
        wrong("collective", f"no model of {ascii(collective)[:80]}; legal: {', '.join(COLLECTIVES)}.{near}")
    sizes = DEFAULT_BYTE if message_byte is None else tuple(sorted(set(message_byte)))
    for bad in [size for size in sizes if not (_is_whole(size) and 1 <= size <= MOST_BYTE)][:1]:
        wrong("message_byte", f"is {bad!r}; legal: whole numbers of bytes from 1 to {MOST_BYTE}.")
    if not 1 <= len(sizes) <= MOST_POINTS:
        wrong("message_byte", f"{len(sizes)} sizes; legal: 1 to {MOST_POINTS}.")
    if algorithm not in WORDS:
        near = did_you_mean(algorithm.lower().replace("-", "_"), WORDS)
        wrong("algorithm", f"is {ascii(algorithm)[:80]}; legal: {', '.join(WORDS)}.{near}")
    if library is not None and library not in LIBRARIES:
        near = did_you_mean(library.lower(), LIBRARIES)
        wrong("library", f"is {ascii(library)[:80]}; legal: {', '.join(LIBRARIES)}.{near}")
    if not _is_whole(stride) or stride < 1:
        wrong("stride", f"is {stride}; legal: a whole number from 1.")
        stride = 1  # the size of groups can be checked all the same
    if not 0 < degraded_share <= 1:
        wrong("degraded_share", f"is {degraded_share:g}; legal: the share that is left, above 0 and at most 1.")
    cluster: Cluster | None = None
    try:
        cluster = None if system_name is None else system(system_name).cluster
    except UnknownSystemError as error:
        wrong("system_name", str(error.args[0]))
    if cluster is None:
        raise InputError(*problems)
    counts = default_ranks(cluster) if ranks is None else tuple(sorted(set(ranks)))
    problems += [f"{called(key)}: {text}" for key, text in _unfit(cluster, counts, stride, cards, flows)]
    driven = library if library is not None else default_library(cluster)
    makers = LIBRARIES.get(driven, ())
    if makers and cluster.chip.vendor not in makers:
        able = [name for name, legal in LIBRARIES.items() if not legal or cluster.chip.vendor in legal]
        wrong("library", f"{driven} does not run on {cluster.chip.vendor} chips; legal there: {', '.join(able)}.")
    if word and algorithm in WORDS and (text := _unable(cluster, word, algorithm, driven)):
        wrong("algorithm", text)
    elif flows and algorithm in ("nvls", "nvls_tree"):
        wrong("flows", f"{algorithm} reduces in switches and has no rounds; legal: auto, ring, tree.")
    if problems:
        raise InputError(*problems)
    return CollectiveQuestion(
        cluster=cluster,
        collective=word,
        message_byte=tuple(int(size) for size in sizes),
        ranks=tuple(int(count) for count in counts),
        stride=int(stride),
        library=driven,
        algorithm="" if algorithm == AUTO else algorithm,
        cards=int(cards),
        degraded_share=degraded_share,
        flows=flows,
    )


def _is_whole(value: float) -> bool:
    return float(value).is_integer()


#: Chips that a group has by default where a server has only one.
_LONE_RANKS: Final = 8


def default_library(cluster: Cluster) -> str:
    """The library that the maker of a cluster's chips gives."""
    return _OF_MAKER.get(cluster.chip.vendor, "other")


def default_ranks(cluster: Cluster) -> tuple[int, ...]:
    """The chips of one server, and of a whole rack where servers of a rack are one domain; 8 where a server has one."""
    chips = cluster.chips_per_server
    if chips == 1:
        return (min(_LONE_RANKS, cluster.max_chips),)
    return tuple(sorted({wires_of(cluster, ranks=chips).host_ranks, chips}))


def _unfit(
    cluster: Cluster, ranks: Sequence[int], stride: int, cards: int, flows: bool
) -> Iterable[tuple[str, str]]:  # fmt: skip
    """What is wrong with a placement, as (key, text)."""
    if not 1 <= len(ranks) <= MOST_POINTS:
        yield "ranks", f"{len(ranks)} numbers of ranks; legal: 1 to {MOST_POINTS}."
        return
    if not all(map(_is_whole, ranks)):
        yield "ranks", "holds what is no whole number; legal: whole numbers from 2."
        return
    if min(ranks) < 2:
        yield "ranks", f"is {min(ranks)}; a collective needs at least 2."
    most = max(ranks)
    if most > cluster.max_chips:
        yield "ranks", f"is {most}, but {cluster.id} has {cluster.max_chips} chips; legal: 2 to {cluster.max_chips}."
    elif most * stride > cluster.max_chips:
        least = cluster.max_chips // most
        yield (
            "stride",
            f"is {stride}: {stride} groups of {most} ranks take {most * stride} chips, but {cluster.id} has "
            f"{cluster.max_chips}; legal: 1 to {least}.",
        )
    elif flows and most * stride > MOST_FLOW_RANKS:
        groups = f"{stride} groups of {most} ranks" if stride > 1 else f"{most} ranks"
        yield "flows", f"{groups} are too many flows; legal: at most {MOST_FLOW_RANKS} ranks in all."
    if not (_is_whole(cards) and 0 <= cards <= cluster.network_cards):
        yield "cards", f"is {cards}, but a server of {cluster.id} has {cluster.network_cards}; legal: 1 to that."


def _unable(cluster: Cluster, collective: str, algorithm: str, library: str) -> str:
    """Why a library cannot run a collective by an algorithm on the chips of a cluster; "" where it can."""
    if algorithm == AUTO:
        return ""
    if collective in ("all_to_all", "permute"):
        return f"{collective} is made of sends; legal: {AUTO}."
    if algorithm == "ring":
        return ""
    if collective != "all_reduce":
        return f"{collective} has no {algorithm}; legal: {AUTO}, ring."
    if algorithm == "tree" or library in RING_ONLY:
        return f"{library} has rings alone; legal: {AUTO}, ring." if library in RING_ONLY else ""
    if not reduces_in_switches(cluster):
        return f"no switch of {cluster.id} reduces; legal: {AUTO}, ring, tree."
    return "" if library.endswith("nccl") or library == "nccl-in-framework" else f"{library} has no {algorithm}."


def reduces_in_switches(cluster: Cluster) -> bool:
    """Whether the switches that join a server's chips can reduce (NVLink SHARP)."""
    return wires_of(cluster, ranks=cluster.chips_per_server, library="nccl").in_switch
