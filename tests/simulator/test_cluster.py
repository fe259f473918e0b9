"""Clusters: rates inside servers by group size, wires between them, what a system file may say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import hwmodels.catalog as hardware
from hwmodels.datafile import DataFileError, read_toml
from simulator.cluster import ClusterError, _read_system, build_cluster, system, torus_out_byte_per_s, up_rates

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
        ({"network": "mesh"}, "made.toml:8: network: 'mesh'; legal: fat_tree, torus, single_server, cloud"),
        ({"oversubscribtion": 2.0}, "oversubscribtion: unknown key. Did you mean 'oversubscription'"),
        ({"locator": None}, "made.toml: locator is missing"),
    ],
)
def test_a_system_file_is_refused_with_what_is_legal(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataFileError) as refusal:
        read(tmp_path, **changes)
    assert message in str(refusal.value)
