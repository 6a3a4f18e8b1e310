"""What people and the clock do with servers: add, confirm a host key, change, remove, watch, and say what is proven."""

from apps.core.refused import Refused
from apps.servers.own import own_address
from apps.servers.services.adding import add, ask_scan, change, change_level, remove
from apps.servers.services.host_keys import (
    found_host_keys,
    keep_host_key,
    no_host_keys,
    pin_host_key,
    shows_pinned_again,
)
from apps.servers.services.scripting import script
from apps.servers.services.standing import claims, needs
from apps.servers.services.watching import change_limits, watch

__all__ = [
    "Refused",
    "add",
    "ask_scan",
    "change",
    "change_level",
    "change_limits",
    "claims",
    "found_host_keys",
    "keep_host_key",
    "needs",
    "no_host_keys",
    "own_address",
    "pin_host_key",
    "remove",
    "script",
    "shows_pinned_again",
    "watch",
]
