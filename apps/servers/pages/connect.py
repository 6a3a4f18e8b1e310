"""Where connecting a server stands: script, host key, first answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.servers.models import HostKey, Server
from apps.servers.services import shows_pinned_again

PATIENCE = timedelta(minutes=1)  # the collector looks within seconds


@dataclass(frozen=True, slots=True)
class Stage:
    """One of: look (no host key seen), compare, changed (another key than the pinned one), stopped (it was changed, and
    nothing was seen since), again (the pinned key is back), wait, done.
    """

    word: str
    keys: tuple[HostKey, ...] = ()  # to compare
    pinned: tuple[HostKey, ...] = ()
    said: str = ""  # what went wrong last
    polls: bool = False  # whether the page should look again by itself
    looking: bool = False  # whether the collector was asked to look at the host keys
    late: bool = False  # whether it was asked so long ago that none seems to run


def stage_of(server: Server, now: datetime) -> Stage:
    """Return how far it is."""
    keys = list(server.host_keys.all().order_by("type"))
    pinned = tuple(key for key in keys if key.state == HostKey.State.PINNED)
    waiting = tuple(key for key in keys if key.state in {HostKey.State.OFFERED, HostKey.State.CHANGED})
    looking = server.scan_asked_at is not None
    late = server.scan_asked_at is not None and now - server.scan_asked_at > PATIENCE
    said = "" if looking else server.scan_said

    def stage(word: str, said: str = said, *, polls: bool = looking) -> Stage:
        return Stage(word, waiting, pinned, said, polls, looking, late)

    if not pinned:
        return stage("compare" if waiting else "look")
    if waiting:
        return stage("changed")
    if server.failure == "host_key":
        return stage("again" if shows_pinned_again(server) else "stopped")
    if server.reached_at is None or server.failure:
        return stage("wait", server.failure_said, polls=True)
    return stage("done", "")
