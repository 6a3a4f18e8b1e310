"""Which addresses a server may have, and what it means when nothing answers there."""

import errno

from django.conf import settings

from apps.core.outbound import Address, OutboundError, resolve
from apps.servers.ssh import Trouble


def resolved(host: str, port: int) -> tuple[Address, ...]:
    """Look a name up once and return its addresses, all judged. Raises Trouble("resolve") or ("address").

    A server in a private network is the rule; MAINSTAY_ALLOW_PRIVATE forbids it, metadata services always are.
    """
    try:
        return resolve(host, port, private=True)
    except OutboundError as error:
        if not error.permanent:
            raise Trouble("resolve", str(error)) from error
        said = str(error)
        if not settings.MAINSTAY_ALLOW_PRIVATE and "private network" in said:
            said = f"{host} leads into a private network, which MAINSTAY_ALLOW_PRIVATE forbids. Nothing was sent."
        raise Trouble("address", said) from error


def unreachable(where: str, error: OSError) -> Trouble:
    """Return the trouble for a connection that was not made."""
    if isinstance(error, ConnectionRefusedError):
        return Trouble("refused", f"Nothing listens at {where}. Check that sshd runs and that the port is right.")
    if isinstance(error, TimeoutError):
        return Trouble("timeout", f"{where} does not answer. Check that it runs and that its firewall lets us in.")
    if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}:
        return Trouble("unreachable", f"There is no way to {where} from here. Check the network and the address.")
    return Trouble("closed", f"{where} closed the connection.")
