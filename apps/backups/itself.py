"""Where Mainstay's own database is, as its settings say at this moment."""

import socket

from django.conf import settings
from django.db import connection

from apps.backups.engines.base import Target


def own_target() -> Target:
    """Return Mainstay's own database as a source. The password comes from the environment and is never stored."""
    at = connection.settings_dict
    if connection.vendor == "sqlite":
        return Target("sqlite", {"path": str(at["NAME"])}, {})
    config = {
        "host": at.get("HOST") or "localhost",
        "port": int(at.get("PORT") or 5432),
        "name": str(at["NAME"]),
        "user": at.get("USER") or "",
    }
    sslmode = (at.get("OPTIONS") or {}).get("sslmode")
    if sslmode:
        config["sslmode"] = sslmode
    return Target("postgresql", config, {"password": str(at.get("PASSWORD") or "")})


def own_domain() -> dict[str, str]:
    """Return the failure domain of this machine: the site that its owner named, or its host name."""
    return {"provider": "this machine", "site": settings.MAINSTAY_SITE or socket.gethostname()}
