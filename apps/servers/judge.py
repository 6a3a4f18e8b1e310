"""How a server stands: pure functions from what is known and the present moment to a list of faults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from apps.core import words
from apps.core.claims import Verdict
from apps.servers import thresholds
from apps.servers.forecast import far
from apps.servers.thresholds import State

SILENT = timedelta(minutes=5)  # five missed samples
SKEW = 60.0  # seconds; a lease of hours is not hurt by less
SECURITY_PATIENCE = timedelta(days=7)
LISTS_OLD = timedelta(days=14)
FULL_WITHIN = timedelta(days=7)
DAY = timedelta(days=1)
STALE_FACTS = timedelta(days=1)  # facts that are older say nothing any more


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: which problem, and what and why in one sentence."""

    code: str
    bad: bool
    said: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """All that the judgement of one server needs; fetched once, nothing here touches the world."""

    name: str
    pinned: bool
    changed_key: str = ""  # fingerprint of a host key that is not the pinned one
    reached_at: datetime | None = None
    failing_since: datetime | None = None
    failure: str = ""  # ssh.Trouble's code
    failure_said: str = ""
    skew: float | None = None  # seconds that its clock is ahead
    values: Mapping[str, float] = field(default_factory=dict)  # of the newest sample
    states: Mapping[str, State] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    full: Sequence[tuple[str, datetime, datetime, datetime | None]] = ()  # metric, likely, earliest, latest
    facts_at: datetime | None = None
    security: int | None = None  # pending security updates; None is unknown
    security_since: datetime | None = None  # since when they are pending without a pause
    lists_at: datetime | None = None  # when apt's lists were fetched
    reboot: str = ""  # why a reboot is needed; empty is not needed
    system: str = ""  # "Debian 12"
    end_of_life: date | None = None


AWAY = {"resolve", "refused", "timeout", "closed", "unreachable"}  # codes that say nobody answers at all


def faults(known: Known, now: datetime) -> list[Fault]:
    """Return everything that is wrong, the worst first."""
    if known.changed_key or known.failure == "host_key":  # the stop outlives the key: only a person ends it
        said = f"{known.name} shows the host key {known.changed_key}, which is not the pinned one."
        if not known.changed_key:
            said = f"{known.name} showed another host key than the pinned one. Mainstay speaks with it once you say so."
        return [Fault("servers.host_key", True, said, known.failing_since)]
    found: list[Fault] = []
    if known.failure and known.failing_since:
        code = "servers.unreachable" if known.failure in AWAY else "servers.refused"
        said = known.failure_said or f"{known.name} could not be asked."
        found.append(Fault(code, True, f"{said} Since {words.lasting(known.failing_since, now)}.", known.failing_since))
        return found
    found += _resources(known, now)
    found += _upkeep(known, now)
    if known.skew is not None and abs(known.skew) > SKEW:
        way = "ahead" if known.skew > 0 else "behind"
        took = words.coarse(timedelta(seconds=abs(known.skew)))
        found.append(Fault("servers.clock", False, f"Its clock is {took} {way} of Mainstay's."))
    return sorted(found, key=lambda fault: not fault.bad)


def _resources(known: Known, now: datetime) -> list[Fault]:
    found = []
    said, first = [], None
    for metric, state in sorted(known.states.items()):
        rule, value = thresholds.limit(metric, known.limits), known.values.get(metric)
        if state.raised and rule is not None and value is not None:
            said.append(thresholds.said(metric, value, rule, state, now))
            first = min(filter(None, (first, state.since)), default=None)
    if said:
        found.append(Fault("servers.resource", False, " ".join(said), first))
    soon = [disk for disk in known.full if disk[2] - now < FULL_WITHIN]
    for metric, likely, earliest, latest in soon[:3]:
        kind, _, disk = metric.partition(":")
        what = f"The inodes of {disk} will be used up" if kind == "inodes" else f"The disk {disk} will be full"
        low, middle, high = (far((moment - now) / DAY) if moment else "" for moment in (earliest, likely, latest))
        between = "" if low == high else f", between {low} and {high or 'much later'},"
        found.append(Fault("servers.full_soon", False, f"{what} in about {middle}{between} if it goes on as it does."))
    return found


def _upkeep(known: Known, now: datetime) -> list[Fault]:
    if known.facts_at is None or now - known.facts_at > STALE_FACTS:
        return []
    found = []
    if known.security and known.security_since and now - known.security_since > SECURITY_PATIENCE:
        said = f"{words.plural(known.security, 'security update')} wait for {words.lasting(known.security_since, now)}."
        found.append(Fault("servers.updates", False, said, known.security_since))
    elif known.lists_at and now - known.lists_at > LISTS_OLD:
        said = f"Its package lists are {words.coarse(now - known.lists_at)} old, so nobody knows what waits."
        found.append(Fault("servers.updates", False, said, known.lists_at))
    if known.reboot:
        found.append(Fault("servers.reboot", False, known.reboot))
    if known.end_of_life and known.end_of_life < now.date():
        said = f"{known.system} got its last security update on {known.end_of_life:%-d %B %Y}."
        found.append(Fault("servers.end_of_life", True, said))
    return found


def verdict(known: Known, found: Sequence[Fault], now: datetime) -> tuple[Verdict, str]:
    """Return how it stands and one sentence. Silence is unknown, never ok."""
    if found:
        return (Verdict.BAD if found[0].bad else Verdict.WARN), found[0].said
    if known.reached_at is None:
        return Verdict.NONE, "It has not answered yet." if known.pinned else "Its host key is not confirmed yet."
    if now - known.reached_at > SILENT:
        return Verdict.NONE, f"It was last heard of {words.lasting(known.reached_at, now)} ago."
    return Verdict.OK, "It answers, and nothing is wrong."
