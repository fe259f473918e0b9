"""Every system that ships: it reads, its names are its own, its rates are those of its parts."""

from __future__ import annotations

import pytest

import hwmodels.catalog as hardware
from simulator.cluster import UnknownSystemError, system, system_ids
from simulator.constants import SPECS


def test_there_are_systems_of_every_era() -> None:
    assert {system(name).cluster.chip.architecture for name in system_ids()} == {
        "kepler", "pascal", "volta", "ampere", "hopper", "blackwell", "cdna2", "cdna3", "tpu", "neuron", "ipu", "wafer",
        "gaudi", "many-core", "skylake",
    }  # fmt: skip


@pytest.mark.parametrize("name", system_ids())
def test_a_system_says_where_it_is_from_and_is_found_by_every_alias(name: str) -> None:
    entry = system(name)
    assert entry.cluster.source
    assert entry.locator
    assert all(system(alias).cluster == entry.cluster for alias in entry.aliases)
    assert not set(entry.aliases) & set(system_ids())


@pytest.mark.parametrize(
    "name", [n for n in system_ids() if system(n).cluster.network not in ("torus", "single_server")]
)
def test_servers_send_what_their_cards_carry(name: str) -> None:
    cluster = system(name).cluster
    server = hardware.server(cluster.server)
    cards = server.nics * hardware.link(server.nic_link).bandwidth_byte_per_s
    assert cluster.out_byte_per_s == pytest.approx(cards / cluster.oversubscription)


def test_half_the_torus_links_of_a_server_leave_it() -> None:
    # 2 x 2 chips of a two-dimensional torus: 16 link ends, 8 of them inside. 8 x 496 Gbit/s = 496 GB/s.
    assert system("tpu-v2-pod").cluster.out_byte_per_s == pytest.approx(496e9)


def test_selene_is_as_large_as_its_largest_published_run_needs() -> None:
    assert system("selene").cluster.max_chips >= 3072


def test_an_unknown_system_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownSystemError, match="Did you mean 'selene'"):
        system("selen")


#: Fabrics that no measured run names: they keep their priors.
UNMEASURED = {
    "aries", "gemini", "swarmx", "slingshot", "tcpx", "tcpxo", "none", "nvlink3-mesh", "ethernet-200g-switch",
    "neuronlink-v3-torus",
}  # fmt: skip


def test_fabrics_of_systems_have_fitted_constants_of_their_own_where_runs_measured_them() -> None:
    from simulator.calibration_data import load_constants

    fitted = load_constants().values
    used = {fabric for c in map(system, system_ids()) for fabric in (c.cluster.up_fabric, c.cluster.out_fabric)}
    without = {fabric for fabric in used if not any(key.startswith(f"fabric:{fabric}:") for key in fitted)}
    assert without == UNMEASURED
    assert SPECS["wire_scale"].scope == "fabric"
