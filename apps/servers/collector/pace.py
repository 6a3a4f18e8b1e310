"""When a server is asked next: spread over the minute while it answers, ever more rarely while it does not. Pure.

A caller that fails too often is shut out by sshd itself (PerSourcePenalties, OpenSSH 9.8: up to ten minutes) and by
fail2ban (by default five failures in ten minutes), and then also locks out the people behind the same address.
"""

import zlib
from datetime import UTC, datetime, timedelta

SAMPLE, FACTS = 60, 3600  # seconds between two
HOST_KEY = "host_key"  # after it nothing is tried again until an admin has pinned a key

# Seconds to wait after the first, second … failure in a row; the last counts for all that follow.
QUIET = (60, 60, 60, 120, 240, 480, 600)  # nobody answers: costs nobody anything
SHUT = (120, 300, 600, 900)  # sshd hangs up: it may be refusing us for a while
FRESH = (45, 60, 120, 600, 1800)  # not let in yet, the script may be on its way: four tries in ten minutes
BARRED = (600, 1800, 3600)  # not let in any more
ELSE = (60, 300, 600)  # the way in is there, the gate is not as it should be

NO_ANSWER = frozenset({"resolve", "refused", "timeout", "unreachable"})


def offset(server: str, every: int) -> int:
    """Return the second of its period at which a server is asked: the same each time, spread over all servers."""
    return 5 + zlib.crc32(server.encode()) % (every - 10)  # away from the edge: one sample falls into each minute


def following(server: str, now: datetime, every: int) -> datetime:
    """Return the next moment of a server's own, at least a fifth of the period from now."""
    second = int(now.timestamp()) + every // 5
    at = second - second % every + offset(server, every)
    return datetime.fromtimestamp(at if at >= second else at + every, UTC)


def after_trouble(code: str, failures: int, now: datetime, *, reached: bool) -> datetime:
    """Return when to try again after the n-th failure in a row; `reached`: whether it ever answered."""
    waits: tuple[int, ...] = ELSE
    if code in NO_ANSWER:
        waits = QUIET
    elif code == "closed":
        waits = SHUT
    elif code == "auth":
        waits = BARRED if reached else FRESH
    elif code == HOST_KEY:
        waits = (FACTS,)
    return now + timedelta(seconds=waits[min(max(failures, 1), len(waits)) - 1])
