"""The script that an admin pastes on a server, as it is for this server today."""

from apps.servers.gate.script import Script, make
from apps.servers.models import Server


def script(server: Server) -> Script:
    """Return the script of the server's chosen level, with its digest, and the same as cloud-init."""
    return make(
        server=str(server.pk), public_key=server.public_key, level=server.level, seen_from=tuple(server.seen_from)
    )
