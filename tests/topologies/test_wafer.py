import time

import pytest

from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.routing import shortest_route, torus_route
from topologies.topology import TopologyError
from topologies.wafer import MOST_TILES, wafer, wse


@pytest.mark.parametrize(
    ("rows", "columns", "reticle"), [(1, 1, (1, 1)), (4, 6, (2, 3)), (8, 8, (8, 8)), (12, 7, (1, 1)), (64, 64, (8, 16))]
)
def test_links_within_reticles_and_across_their_borders(rows, columns, reticle):
    mesh = wafer(rows, columns, reticle=reticle)
    across = rows * (columns // reticle[1] - 1) + columns * (rows // reticle[0] - 1)
    within = rows * (columns - 1) + columns * (rows - 1) - across
    assert links_by_tier(mesh) == {tier: n for tier, n in (("reticle", across), ("wafer", within)) if n}
    assert len(mesh.endpoints) == rows * columns
    assert max(degree(mesh, tile) for tile in mesh.endpoints) <= 4


def test_every_reticle_is_whole_if_only_borders_are_cut():
    mesh = wafer(4, 6, reticle=(2, 3))
    assert bisection_links(mesh, tier="reticle") == 4  # the two left reticles from the two right ones
    assert bisection_links(mesh) == exact_bisection_links(wafer(4, 4, reticle=(2, 2))) == 4


def test_the_tier_of_a_link_says_whether_its_tiles_share_a_reticle():
    mesh = wafer(6, 6, reticle=(2, 3))
    for a, b, tier in mesh.graph.edges(data="tier"):
        same = (a[0] // 2, a[1] // 3) == (b[0] // 2, b[1] // 3)
        assert tier == ("wafer" if same else "reticle")


def test_routes_are_those_of_a_mesh():
    mesh = wafer(12, 14, reticle=(1, 2))
    assert diameter(mesh) == 11 + 13
    for a, b in (((0, 0), (11, 13)), ((3, 7), (9, 2))):
        assert len(torus_route((12, 14), a, b, wrap=False)) == len(shortest_route(mesh, a, b))


@pytest.mark.parametrize("tiles", [(1, 1), (2, 3), (8, 8)])
def test_a_cerebras_wafer_has_84_reticles(tiles):
    mesh = wse(tiles=tiles)
    assert len({(row // tiles[0], column // tiles[1]) for row, column in mesh.endpoints}) == 84
    assert links_by_tier(mesh)["reticle"] == 12 * tiles[0] * 6 + 7 * tiles[1] * 11


def test_a_wafer_of_64_by_64_tiles_is_built_at_once():
    start = time.perf_counter()
    assert bisection_links(wafer(64, 64, reticle=(8, 8))) == 64
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 0}, "wafer: rows is 0; a whole number, at least 1"),
        ({"columns": 2.0}, "wafer: columns is 2.0; a whole number, at least 1"),
        ({"rows": 7}, "wafer: rows is 7, with 2 in a reticle; a multiple. Nearest: 8"),
        ({"columns": 1}, "wafer: columns is 1, with 2 in a reticle; a multiple. Nearest: 2"),
        ({"reticle": 2}, r"wafer: reticle is 2; \(rows, columns\) of tiles"),
        ({"reticle": (2, 0)}, "wafer: reticle columns is 0; a whole number, at least 1"),
        ({"rows": 1000, "columns": 850}, f"850000 tiles; at most {MOST_TILES}. Let one tile stand for several cores"),
    ],
)
def test_a_wafer_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(TopologyError, match=message):
        wafer(**{"rows": 4, "columns": 4, "reticle": (2, 2), **arguments})


@pytest.mark.parametrize("tiles", [4, (4, 0), (1, 2, 3)])
def test_a_cerebras_wafer_has_tiles_of_two_dimensions(tiles):
    with pytest.raises(TopologyError, match="wse: "):
        wse(tiles=tiles)
