"""Mainstay's own address: filled in only where no router could translate it, by the kernel's routes."""

import ipaddress

import pytest

from apps.servers.own import Own, direct, own_address

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
wg0\t0000010A\t0200000A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0000\t0\t0\t0\t0000FFFF\t0\t0\t0
broken line
"""


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("10.0.0.5", True),  # in the network of eth0, 10.0.0.0/16
        ("10.1.0.5", False),  # by a gateway of its own
        ("192.168.7.7", False),  # by the default route
        ("172.17.0.2", False),  # that interface is down
    ],
)
def test_an_address_is_near_only_when_its_narrowest_route_has_no_gateway(address: str, *, near: bool) -> None:
    assert direct(ipaddress.IPv4Address(address), ROUTES) is near


def test_without_routes_nothing_is_near() -> None:
    assert not direct(ipaddress.IPv4Address("10.0.0.5"), "")


def test_towards_this_machine_the_address_is_its_own() -> None:
    assert own_address("127.0.1.9") == Own("127.0.0.1", certain=True)


@pytest.mark.parametrize(
    "text", ["", "web-1.example.com", "8.8.8.8", "0.0.0.0", "::1", "10.0.0.5; id", "10.0.0", "x" * 999]
)
def test_of_names_and_public_addresses_nothing_is_claimed(text: str) -> None:
    assert own_address(text) is None
