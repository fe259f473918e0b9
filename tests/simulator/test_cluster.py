"""Clusters: rates inside servers by group size, wires between them, what a system file may say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import hwmodels.catalog as hardware
from hwmodels.datafile import DataFileError, read_toml
from simulator.cluster import ClusterError, _read_system, build_cluster, system, torus_out_byte_per_s, up_rates
from simulator.networks import Network

GOOD = {
    "id": "made", "name": "Made", "server": "dgx-a100", "servers": 4, "source": "by hand", "locator": "nowhere",
}  # fmt: skip


def test_switched_servers_give_every_group_a_chips_whole_rate() -> None:
    server = hardware.server("dgx-a100")
    link = hardware.link("nvlink3")
    full = link.bandwidth_byte_per_s * server.scale_up_links_per_chip
    assert up_rates(server) == (full,) * 9


def test_a_cube_mesh_gives_a_group_as_many_rings_as_its_links_allow() -> None:
    server = hardware.server("dgx1-v100")
    link = hardware.link(server.scale_up_link).bandwidth_byte_per_s
    rates = up_rates(server)
    assert len(rates) == 9
    # All eight: the six links of a chip make three rings, each used both ways.
    assert rates[8] == pytest.approx(6 * link)
    assert all(0.0 < rate <= rates[0] for rate in rates)


def test_a_mesh_has_the_links_between_its_members_and_crosses_the_processors_where_there_are_none() -> None:
    summit, sierra = hardware.server("summit-node"), hardware.server("sierra-node")
    nvlink, x_bus = (hardware.link(name).bandwidth_byte_per_s for name in ("nvlink2", "x-bus"))
    # Two chips: two links. A triangle: a ring each way on two links. Beyond it: two links to the processor.
    assert up_rates(summit) == (4 * nvlink, 4 * nvlink, 2 * nvlink, 4 * nvlink, 2 * nvlink, 2 * nvlink, 2 * nvlink)
    # Three links to the processor, but one X-bus between two of them.
    assert up_rates(sierra) == (3 * nvlink, 3 * nvlink, 3 * nvlink, x_bus, x_bus)
    assert x_bus < 3 * nvlink


@pytest.mark.parametrize("id", ["perlmutter-node", "juwels-booster-node", "abci-node"])
def test_a_mesh_of_all_to_all_gives_all_its_chips_their_whole_rate(id: str) -> None:
    rates = up_rates(hardware.server(id))
    assert rates[4] == rates[0]
    assert rates[2] == pytest.approx(rates[0] / 3)


def test_switches_and_a_table_of_wires_change_no_rate() -> None:
    for id in ("dgx-a100", "oam-mi300x"):
        server = hardware.server(id)
        assert server.switches or server.mesh_links
        assert up_rates(server) == up_rates(replace(server, switches=0, mesh_links=()))
    switched = hardware.server("p5.48xlarge")
    assert up_rates(switched) == up_rates(replace(switched, scale_up="fully_connected"))


def test_a_shape_that_needs_parameters_is_a_network_or_a_name_without_wires() -> None:
    server = hardware.server("dgx-a100")
    named = build_cluster(id="a", name="a", server=server, servers=2, network="dragonfly")
    wired = build_cluster(
        id="a", name="a", server=server, servers=2, network=Network(shape="aries", parameters={"groups": 1})
    )
    assert (named.network, named.wires) == ("dragonfly", Network())
    assert (wired.network, wired.wires["groups"]) == ("aries", 1)


def test_fewer_chips_than_a_server_has_keep_the_rates_of_small_groups_and_more_those_of_the_largest() -> None:
    server = hardware.server("dgx1-v100")
    rates = up_rates(server)
    small = build_cluster(id="4", name="4", server=server, servers=1, chips_per_server=4)
    large = build_cluster(id="16", name="16", server=server, servers=1, chips_per_server=16)
    assert small.up_byte_per_s == rates[:5]
    assert large.up_byte_per_s == rates + (rates[8],) * 8


def test_oversubscription_divides_what_leaves_a_server() -> None:
    server = hardware.server("dgx-a100")
    whole = build_cluster(id="a", name="a", server=server, servers=2)
    half = build_cluster(id="b", name="b", server=server, servers=2, oversubscription=2.0)
    assert half.out_byte_per_s == whole.out_byte_per_s / 2.0
    assert whole.max_chips == 16


def test_torus_links_are_half_inside_a_server_of_four_chips() -> None:
    server = hardware.server("tpu-v3-8")
    link = hardware.link(server.scale_up_link).bandwidth_byte_per_s
    assert torus_out_byte_per_s(server) == link * server.scale_up_links_per_chip * server.chips / 2.0


@pytest.mark.parametrize("changes", [{"max_servers": 0}, {"chips_per_server": 0, "up_byte_per_s": (1.0,)}])
def test_a_cluster_without_chips_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ClusterError, match="needs at least one chip per server and one server"):
        replace(system("selene").cluster, **changes)


def test_a_server_of_a_million_chips_is_refused() -> None:
    with pytest.raises(ClusterError, match="1000000 chips per server; legal: 1 to 4096"):
        build_cluster(id="a", name="a", server=hardware.server("dgx-a100"), servers=1, chips_per_server=1_000_000)


def test_a_cluster_needs_a_rate_for_every_group_size() -> None:
    with pytest.raises(ClusterError, match="up_byte_per_s needs 9 entries"):
        replace(system("selene").cluster, up_byte_per_s=(1.0,))


def read(folder: Path, **changes: object) -> str:
    lines = [
        f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
        for key, value in (GOOD | changes).items()
        if value is not None
    ]
    path = folder / "made.toml"
    path.write_text("\n".join(["schema = 1", *lines]) + "\n", "utf-8")
    return _read_system(read_toml(path)).cluster.id


def test_a_system_file_with_what_it_needs_is_read(tmp_path: Path) -> None:
    assert read(tmp_path) == "made"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "star"}, "made.toml:8: network: 'star'; legal: single_server, fat_tree, clos, rail, cloud, torus"),
        ({"server": 3}, "made.toml:4: server: is 3; a text is needed."),
        ({"servers": 2.5}, "made.toml:5: servers: is 2.5; a whole number, at least 1."),
        ({"oversubscribtion": 2.0}, "oversubscribtion: unknown key. Did you mean 'oversubscription'"),
        ({"locator": None}, "made.toml: locator is missing"),
    ],
)
def test_a_system_file_is_refused_with_what_is_legal(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataFileError) as refusal:
        read(tmp_path, **changes)
    assert message in str(refusal.value)
