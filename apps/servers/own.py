"""Mainstay's own address towards a server, as far as this machine can know it; nothing is sent."""

import ipaddress
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

ROUTES = Path("/proc/net/route")
UP, GATEWAY = 0x1, 0x2  # flags of a route, linux/route.h


@dataclass(frozen=True, slots=True)
class Own:
    """The local address towards a server. Certain only where no router lies between, which could translate it."""

    address: str
    certain: bool


def own_address(text: str) -> Own | None:
    """Return what is known for a private IPv4 address; None for names, public addresses and whatever is no address.

    A name is not looked up, and towards the internet the local address is hardly ever what the other side sees.
    """
    try:
        address = ipaddress.IPv4Address(text.strip())
    except ValueError:
        return None
    if not address.is_private or address.is_unspecified or address.is_reserved:
        return None
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect((str(address), 9))  # chooses a route and a local address, and sends nothing
            own = str(probe.getsockname()[0])
        except OSError:
            return None
    return Own(own, address.is_loopback or direct(address, _routes()))


def direct(address: ipaddress.IPv4Address, routes: str) -> bool:
    """Return whether an address lies in a network of this machine, by the text of /proc/net/route."""
    best, found = -1, False
    for line in routes.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        network, _, flags, mask = (int(fields[n], 16) for n in (1, 2, 3, 7))
        length = mask.bit_count()
        if flags & UP and _swapped(address) & mask == network and length > best:
            best, found = length, not flags & GATEWAY
    return found


def _swapped(address: ipaddress.IPv4Address) -> int:
    """Return an address as the kernel writes it there: a number in the machine's own byte order."""
    return int.from_bytes(address.packed, "little")


def _routes() -> str:
    try:
        return ROUTES.read_text(encoding="ascii")
    except OSError:
        return ""
