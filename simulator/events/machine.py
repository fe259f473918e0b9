"""What work runs on: alone, in exactly its own time, or on wires, cores and memory that it shares with other work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from simpy import Environment, Event

from simulator.events.roles import Roles
from simulator.events.sharing import Resource, Sharing

#: Kinds of work, each with demands of its own.
WORK_KINDS: Final = ("compute", "tensor", "send", "gather", "reduce", "update_gather")

#: Resources that every chip has for itself; the others are a server's.
OF_A_CHIP: Final = ("cores", "memory")

#: Resources of a chip or a server, by name: a chip's compute units, the bandwidth of its memory, its share of the wires
#: inside a server; what the server's network cards send and receive.
RESOURCES: Final = (*OF_A_CHIP, "scale_up", "cards_out", "cards_in")


@dataclass(frozen=True, kw_only=True)
class Contention:
    """What each kind of work needs while it runs at its own pace, as shares of what a chip or a server has.

    ``demands`` maps a kind of work to resources to shares (of a server's cards: what all its ranks at the work need
    together). ``taken`` is the share of a chip's compute that is lost while an exchange runs beside it: the blocks of
    the exchange sit on cores and its bytes pass through memory, and compute gets what is left. ``chips_per_server``
    says which ranks share a server's cards.
    """

    demands: Mapping[str, Mapping[str, float]]
    chips_per_server: int
    taken: float = 0.0

    def __post_init__(self) -> None:
        for kind, of in self.demands.items():
            if kind not in WORK_KINDS:
                raise ValueError(f"Contention.demands: {kind!r}; legal: {', '.join(WORK_KINDS)}.")
            for resource, share in of.items():
                if resource not in RESOURCES:
                    raise ValueError(f"Contention.demands.{kind}: {resource!r}; legal: {', '.join(RESOURCES)}.")
                if not 0.0 <= share <= 1.0:
                    raise ValueError(f"Contention.demands.{kind}.{resource} is {share!r}; legal: 0 to 1.")
        if not 0.0 <= self.taken < 1.0:
            raise ValueError(f"Contention.taken is {self.taken!r}; 0 or more and below 1.")
        if self.chips_per_server < 1:
            raise ValueError(f"Contention.chips_per_server is {self.chips_per_server}; at least 1.")


class Machine(Protocol):
    """Runs work; the event that comes when it is done."""

    @property
    def contended(self) -> bool:
        """Whether other work may slow work down."""
        ...

    def run(self, kind: str, duration_ps: int, senders: Sequence[int], receivers: Sequence[int] = ()) -> Event:
        """Work that takes ``duration_ps`` alone, on the chips and wires of roles that send and that receive."""
        ...


@dataclass(frozen=True, kw_only=True)
class Alone:
    """Nothing is shared: all work takes its own time."""

    env: Environment
    contended: ClassVar[bool] = False

    def run(self, kind: str, duration_ps: int, senders: Sequence[int], receivers: Sequence[int] = ()) -> Event:
        """See `Machine`."""
        return self.env.timeout(duration_ps)


class Shared:
    """Work of all roles on the resources of their chips and servers, which it shares max-min fairly."""

    contended = True

    def __init__(self, env: Environment, roles: Roles, contention: Contention) -> None:
        self._contention = contention
        self._sharing = Sharing(env)
        self._on: list[dict[str, tuple[Resource, float]]] = []
        made: dict[object, Resource] = {}
        for place, role in enumerate(roles.roles):
            server, weight = _server_of(roles, place, contention.chips_per_server)
            on = {}
            for word in RESOURCES:
                key = (word, place) if word in OF_A_CHIP or word == "scale_up" else (word, server)
                if key not in made:
                    made[key] = self._sharing.resource(f"{word} of {role.name or f'stage {role.stage}'}", 1.0)
                on[word] = made[key], 1.0 if key[1] == place else weight
            self._on.append(on)

    def run(self, kind: str, duration_ps: int, senders: Sequence[int], receivers: Sequence[int] = ()) -> Event:
        """See `Machine`."""
        demands: dict[Resource, float] = {}
        of = self._contention.demands.get(kind, {})
        for roles, without in ((senders, "cards_in" if receivers else ""), (receivers, "cards_out")):
            for role in roles:
                for word, share in of.items():
                    if word != without and share > 0.0:
                        resource, weight = self._on[role][word]
                        demands[resource] = max(demands.get(resource, 0.0), share * weight)
        cores = [self._on[role]["cores"][0] for role in (*senders, *receivers)]
        if kind == "compute":
            # What exchanges leave is its own: their blocks hold their cores whether or not compute has work for them.
            demands[cores[0]] = 1.0
            return self._sharing.run(duration_ps, demands, priority=1)
        if self._contention.taken:
            demands.update(dict.fromkeys(cores, self._contention.taken))
        return self._sharing.run(duration_ps, demands)


def _server_of(roles: Roles, place: int, chips: int) -> tuple[tuple[int, ...], float]:
    """The roles on the server of a role's first rank, and the share of that server's ranks that are of this role."""
    first = roles.roles[place].first_rank // chips * chips
    last = min(first + chips, roles.grid.ranks)
    here = [roles.role_of(rank) for rank in range(first, last)]
    return tuple(sorted(set(here))), here.count(place) / len(here)
