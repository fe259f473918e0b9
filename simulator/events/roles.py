"""Which ranks do the same: the classes (roles) that a step is simulated by, found from the grid and what differs.

Ranks lie on a grid of pipeline ranks x replicas x inner ranks, numbered with the inner ones fastest, as launchers place
them. Inner ranks exchange inside layers (tensor, context, expert parallel), replicas exchange gradients, a column of
pipeline ranks hands activations on. Two ranks are alike where they have the same work and see, in every group they are
part of, equally many of each kind: the coarsest equitable partition, found by colour refinement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.flows.colours import mixed
from simulator.stepspec import StepSpecError

Colours: TypeAlias = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How many ranks there are each way.

    ``inner`` ranks of one replica of one stage exchange inside layers; of these the ranks ``lanes`` apart hold the same
    parameters and exchange gradients with each other too (context parallel). Rank ``(s, d, i)`` is number
    ``(s * replicas + d) * inner + i``.
    """

    stages: int
    replicas: int = 1
    inner: int = 1
    lanes: int = 0  # 0: as many as inner ranks

    def __post_init__(self) -> None:
        for name in ("stages", "replicas", "inner"):
            if getattr(self, name) < 1:
                raise StepSpecError(f"Grid.{name} is {getattr(self, name)}; at least 1.")
        if self.lanes < 0 or self.inner % (self.lanes or 1):
            raise StepSpecError(f"Grid.lanes is {self.lanes}; must divide the {self.inner} inner ranks.")

    @property
    def ranks(self) -> int:
        """Ranks of the grid."""
        return self.stages * self.replicas * self.inner

    @property
    def lane_count(self) -> int:
        """Inner ranks that hold different parameters."""
        return self.lanes or self.inner

    def name(self, rank: int) -> str:
        """Where a rank sits, in words."""
        stage, rest = divmod(rank, self.replicas * self.inner)
        replica, inner = divmod(rest, self.inner)
        return f"stage {stage}, replica {replica}, inner rank {inner}"


@dataclass(frozen=True, kw_only=True)
class Differences:
    """What makes ranks unlike each other; factors by rank, 1 where not named.

    ``compute`` stretches a rank's compute (a slow chip, an older generation), ``links`` every exchange and send that it
    takes part in (a degraded card), ``blocks`` its compute of blocks by name (uneven experts).
    """

    compute: Mapping[int, float] = field(default_factory=dict)
    links: Mapping[int, float] = field(default_factory=dict)
    blocks: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def none(self) -> bool:
        """Whether all ranks are alike."""
        return not (self.compute or self.links or self.blocks)

    def check(self, grid: Grid) -> None:
        """Refuse ranks that are not there and factors that cannot be. Raises StepSpecError."""
        for what, ranks in (("compute", self.compute), ("links", self.links), ("blocks", self.blocks)):
            for rank, value in ranks.items():
                if not 0 <= rank < grid.ranks:
                    raise StepSpecError(f"Differences.{what}: there is no rank {rank}; legal: 0 to {grid.ranks - 1}.")
                for factor in value.values() if isinstance(value, Mapping) else (value,):
                    if not 0.0 < factor < 1e6:
                        raise StepSpecError(
                            f"Differences.{what}: rank {rank} has factor {factor!r}; above 0 and below 1,000,000."
                        )


@dataclass(frozen=True, kw_only=True)
class Role:
    """One class of identical ranks: how many, its first rank, what is different about it, and whom it works with.

    ``inner_group`` and ``data_group`` number the kinds of groups it is part of. ``column`` holds the role at every
    pipeline rank above and below it, itself included.
    """

    name: str
    stage: int
    ranks: int
    first_rank: int
    inner_group: int
    data_group: int
    column: tuple[int, ...]
    compute: float = 1.0
    links: float = 1.0
    blocks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Roles:
    """All roles of a step; ``inner_groups`` and ``data_groups`` hold the roles in every kind of group."""

    grid: Grid
    roles: tuple[Role, ...]
    inner_groups: tuple[tuple[int, ...], ...]
    data_groups: tuple[tuple[int, ...], ...]
    numbers: NDArray[np.int64] | None = None  # the role of every rank; None: one role a stage

    def role_of(self, rank: int) -> int:
        """The role of a rank."""
        if self.numbers is None:
            return rank // (self.grid.replicas * self.grid.inner)
        return int(self.numbers[rank])

    def meeting(self, role: int) -> int:
        """Ranks of one role that meet inside one group of inner ranks."""
        group = self.inner_groups[self.roles[role].inner_group]
        return self.grid.inner if len(group) == 1 else 1


def find_roles(
    grid: Grid,
    differences: Differences | None = None,
    *,
    unfold: bool = False,
    explicit_replicas: int = 1,
) -> Roles:
    """The coarsest equitable partition of the ranks of a grid.

    Parameters
    ----------
    differences
        What is unlike to begin with.
    unfold
        Every rank is a role of its own.
    explicit_replicas
        So many replicas are kept apart, each standing for its share of all, for what is drawn by chance.

    Raises
    ------
    StepSpecError
        For a rank that is not on the grid.
    """
    differences = differences or Differences()
    differences.check(grid)
    if unfold:
        return _roles_of(grid, differences, np.arange(grid.ranks, dtype=np.uint64))
    if differences.none and explicit_replicas <= 1:
        return _by_stage(grid)
    colour = _unlike(grid, differences, min(explicit_replicas, grid.replicas))
    cells = 0
    while (found := len(np.unique(colour))) > cells:
        cells = found
        colour = _refined(grid, colour)
    return _roles_of(grid, differences, colour)


def _by_stage(grid: Grid) -> Roles:
    ranks = grid.replicas * grid.inner
    column = tuple(range(grid.stages))
    return Roles(
        grid=grid,
        roles=tuple(
            Role(name="", stage=s, ranks=ranks, first_rank=s * ranks, inner_group=s, data_group=s, column=column)
            for s in range(grid.stages)
        ),
        inner_groups=tuple((s,) for s in range(grid.stages)),
        data_groups=tuple((s,) for s in range(grid.stages)),
    )


def _unlike(grid: Grid, differences: Differences, replicas: int) -> Colours:
    """Colours to begin with: the pipeline rank, the replica where some are kept apart, and what differs."""
    rank = np.arange(grid.ranks, dtype=np.int64)
    stage = rank // (grid.replicas * grid.inner)
    replica = rank // grid.inner % grid.replicas
    colour = mixed(stage * replicas + (replica * replicas // grid.replicas), 1)
    kinds: dict[object, int] = {}
    for each in sorted({*differences.compute, *differences.links, *differences.blocks}):
        blocks = tuple(sorted(differences.blocks.get(each, {}).items()))
        key = (differences.compute.get(each, 1.0), differences.links.get(each, 1.0), blocks)
        place = kinds.setdefault(key, len(kinds) + 1)
        colour[each] = mixed(np.array([colour[each] ^ np.uint64(place)], np.uint64), 2)[0]
    return colour


def _refined(grid: Grid, colour: Colours) -> Colours:
    """Colours told apart by those of a rank's inner group, of its data group and of its column."""
    shape = (grid.stages, grid.replicas, grid.inner // grid.lane_count, grid.lane_count)
    at = mixed(colour, 3).reshape(shape)
    stages = mixed(np.arange(grid.stages, dtype=np.int64), 4)[:, None, None, None]
    inner = at.sum(axis=(2, 3), keepdims=True, dtype=np.uint64)
    data = at.sum(axis=(1, 2), keepdims=True, dtype=np.uint64)
    column = mixed((at ^ stages).ravel(), 5).reshape(shape).sum(axis=0, keepdims=True, dtype=np.uint64)
    seen = mixed((inner + np.zeros(shape, np.uint64)).ravel(), 6)
    seen = mixed(seen ^ (data + np.zeros(shape, np.uint64)).ravel(), 7)
    return mixed(colour ^ mixed(seen ^ (column + np.zeros(shape, np.uint64)).ravel(), 8), 9)


def _roles_of(grid: Grid, differences: Differences, colour: Colours) -> Roles:
    """Roles in the order of their first ranks, and the kinds of groups that they form."""
    _, first, inverse, counts = np.unique(colour, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    role_of = place[inverse.reshape(-1)].reshape(grid.stages, grid.replicas, grid.inner)
    inner_groups: dict[tuple[int, ...], int] = {}
    data_groups: dict[tuple[int, ...], int] = {}
    roles = []
    for number in order.tolist():
        rank = int(first[number])
        stage, rest = divmod(rank, grid.replicas * grid.inner)
        replica, inner = divmod(rest, grid.inner)
        members = tuple(np.unique(role_of[stage, replica]).tolist())
        alike = tuple(np.unique(role_of[stage, :, inner % grid.lane_count :: grid.lane_count]).tolist())
        roles.append(
            Role(
                name=grid.name(rank) if counts[number] == 1 else f"{counts[number]:,} ranks like {grid.name(rank)}",
                stage=stage, ranks=int(counts[number]), first_rank=rank,
                inner_group=inner_groups.setdefault(members, len(inner_groups)),
                data_group=data_groups.setdefault(alike, len(data_groups)),
                column=tuple(role_of[:, replica, inner].tolist()),
                compute=differences.compute.get(rank, 1.0), links=differences.links.get(rank, 1.0),
                blocks=differences.blocks.get(rank, {}),
            )
        )  # fmt: skip
    return Roles(
        grid=grid, roles=tuple(roles), inner_groups=tuple(inner_groups), data_groups=tuple(data_groups),
        numbers=role_of.reshape(-1),
    )  # fmt: skip
