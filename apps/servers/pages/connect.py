"""Where connecting a server stands: script, host key, first answer."""

from dataclasses import dataclass

from apps.servers.models import HostKey, Server


@dataclass(frozen=True, slots=True)
class Stage:
    """One of: look (no host key seen), compare, changed (another key than the pinned one), wait, done."""

    word: str
    keys: tuple[HostKey, ...] = ()  # to compare
    pinned: tuple[HostKey, ...] = ()
    said: str = ""  # what went wrong last
    polls: bool = False  # whether the page should look again by itself


def stage_of(server: Server) -> Stage:
    """Return how far it is."""
    pinned, waiting = tuple(server.host_keys.pinned()), tuple(server.host_keys.waiting())
    if not pinned and not waiting:
        asked = server.scan_asked_at is not None
        return Stage("look", said="" if asked else server.scan_said, polls=asked)
    if not pinned:
        return Stage("compare", keys=waiting)
    if waiting:
        return Stage("changed", keys=waiting, pinned=pinned, said=server.failure_said)
    if server.reached_at is None or server.failure:
        return Stage("wait", pinned=pinned, said=server.failure_said, polls=True)
    return Stage("done", pinned=pinned)
