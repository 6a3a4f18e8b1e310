"""What the collector reads and writes: leases of servers, what is due, and what was heard, each in few queries."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Q, Value, When

from apps.servers import samples
from apps.servers.facts import parse, sample
from apps.servers.models import Facts, HostKey, Sample, Server
from apps.servers.services.host_keys import found_host_keys, no_host_keys
from apps.servers.ssh import HostKey as Shown
from apps.servers.ssh import Target, Trouble

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
AT_ONCE = 500  # servers of one collector
KEEP = {60: timedelta(hours=48), 300: timedelta(days=30), 3600: timedelta(days=400)}  # by step
START_MOVES = timedelta(minutes=3)  # where a kernel has no id for its start: how far clock and uptime may drift
LATE = 120  # seconds after its end at which a step is rolled up: what comes later is lost to it


@dataclass(frozen=True, slots=True)
class Due:
    """One server that has something to be done now."""

    target: Target
    scan: bool
    sample: bool
    facts: bool
    next_sample_at: datetime
    next_facts_at: datetime
    reached: bool
    failing: bool
    boot_id: str
    booted_at: datetime | None
    root: bool  # whether its gate has a root half
    series: tuple[str, ...]
    known: Mapping[str, Any] = field(default_factory=dict)  # the facts kept before


@dataclass(frozen=True, slots=True)
class Heard:
    """What a server answered, or why it did not. `until` is when it is asked next."""

    due: Due
    at: datetime
    until: datetime
    trouble: Trouble | None = None
    gate: tuple[str, str, tuple[str, ...]] | None = None  # version, level, verbs
    skew: float = 0.0
    measured: sample.Measured | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    facts: parse.Facts | None = None
    only_facts: bool = False


def lease(*, driver: str, now: datetime) -> set[UUID]:
    """Take and keep the servers that nobody else drives, for a minute; return all that are ours."""
    Server.objects.filter(driver=driver).update(driver_until=now + LEASE)
    free = Server.objects.to_drive(now, driver).exclude(driver=driver, driver_until__gt=now)
    mine = set(Server.objects.filter(driver=driver).values_list("pk", flat=True))
    wanted = list(free.values_list("pk", flat=True)[: max(0, AT_ONCE - len(mine))])
    if wanted:
        taken = Server.objects.to_drive(now, driver).filter(pk__in=wanted)
        taken.update(driver=driver, driver_until=now + LEASE)
        mine = set(Server.objects.filter(driver=driver).values_list("pk", flat=True))
    return mine


def release(*, driver: str) -> None:
    """Let go of every server, so that another collector takes them at once."""
    Server.objects.filter(driver=driver).update(driver="", driver_until=None)


def due(*, driver: str, now: datetime) -> list[Due]:
    """Return what is to be done now. A server without a pinned key, or with a changed one, is only scanned."""
    rows = list(Server.objects.due(driver, now).select_related("facts"))
    if not rows:
        return []
    pinned: dict[UUID, list[tuple[str, str]]] = {}
    for server, kind, blob in HostKey.objects.pinned().filter(server__in=rows).values_list("server", "type", "blob"):
        pinned.setdefault(server, []).append((kind, blob))
    found = []
    for server in rows:
        keys = tuple(sorted(pinned.get(server.pk, ())))
        free = bool(keys and server.private_key and server.failure != "host_key")
        target = Target(str(server.pk), server.name, server.address, server.port, server.private_key or "", keys)
        facts = getattr(server, "facts", None)
        one = Due(
            target=target,
            scan=server.scan_asked_at is not None,
            sample=free and server.next_sample_at <= now,
            facts=free and not server.failure and server.next_facts_at <= now,
            next_sample_at=server.next_sample_at,
            next_facts_at=server.next_facts_at,
            reached=server.reached_at is not None,
            failing=bool(server.failure),
            boot_id=server.boot_id,
            booted_at=server.booted_at,
            root=server.gate_level in {"operate", "manage"},
            series=tuple(server.series),
            known=facts.data if facts else {},
        )
        if one.scan or one.sample or one.facts:
            found.append(one)
    return found


def keep(heard: Sequence[Heard], *, driver: str) -> None:
    """Write down what was heard, all in one transaction; a row that somebody else drives by now stays as it is."""
    rows = []
    with transaction.atomic():
        for one in heard:
            mine = Server.objects.filter(pk=one.due.target.id, driver=driver)
            if one.trouble is None or one.trouble.code != "host_key":
                mine = mine.exclude(failure="host_key")  # a stop that came meanwhile stays
            if one.trouble is not None:
                _failed(mine, one, one.trouble)
            elif one.only_facts:
                _told(mine, one)
            elif (row := _sampled(mine, one)) is not None:
                rows.append(row)
        Sample.objects.bulk_create(rows, ignore_conflicts=True)


def keep_scan(one: Due, *, keys: Sequence[Shown], trouble: Trouble | None, now: datetime) -> None:
    """Write down which host keys a server showed, or why it showed none."""
    server = Server.objects.filter(pk=one.target.id).first()
    if server is None:
        return
    if trouble is not None:
        no_host_keys(server=server, said=trouble.said, now=now)
    else:
        found_host_keys(server=server, keys=[(key.type, key.blob, key.fingerprint) for key in keys], now=now)


def roll_up(*, servers: Collection[UUID], since: Mapping[int, int], now: datetime) -> dict[int, int]:
    """Roll finished steps up into longer ones, and return up to when each step is done (Unix times)."""
    done = dict(since)
    for step, source in ((300, 60), (3600, 300)):
        end = samples.start(now.timestamp() - LATE, step)
        if end <= done.get(step, 0):
            continue
        for server in Server.objects.filter(pk__in=servers).only("pk", "series"):
            first = done.get(step) or _rolled_until(server, step)
            found = [
                (at, samples.unpack(packed, server.series))
                for at, packed in Sample.objects.between(server, source, first, end)
            ]
            rows, series = [], list(server.series)
            for at, row in samples.grouped(found, step).items():
                packed, series = samples.pack(row, series)
                rows.append(Sample(server=server, step=step, at=at, packed=packed))
            Sample.objects.bulk_create(rows, ignore_conflicts=True)
        done[step] = end
    return done


def prune(*, servers: Collection[UUID], now: datetime) -> None:
    """Delete the samples that are older than their step is kept."""
    for server in servers:
        for step, kept in KEEP.items():
            Sample.objects.filter(server=server, step=step, at__lt=int((now - kept).timestamp())).delete()


def _rolled_until(server: Server, step: int) -> int:
    last = Sample.objects.filter(server=server, step=step).order_by("-at").values_list("at", flat=True).first()
    return last + step if last is not None else 0


def _sampled(mine: Any, one: Heard) -> Sample | None:
    measured = one.measured
    if measured is None:
        return None
    packed, series = samples.pack(samples.single(one.figures), one.due.series)
    booted = datetime.fromtimestamp(max(0.0, one.at.timestamp() - measured.uptime), UTC)
    fields: dict[str, Any] = {
        "reached_at": one.at,
        "failing_since": None,
        "failure": "",
        "failure_said": "",
        "clock_skew": round(one.skew, 1),
        "latest": {
            "at": one.at.timestamp(),
            "values": {name: round(value, 5) for name, value in one.figures.items()},
            "totals": dict(measured.totals),
            "cores": measured.cores,
        },
        "next_sample_at": _unless_moved("next_sample_at", one.due.next_sample_at, one.until),
    }
    if one.gate is not None:
        version, level, verbs = one.gate
        fields |= {"gate_version": version, "gate_level": level, "gate_verbs": list(verbs)}
    if _started_anew(one.due, measured.boot_id, booted):
        fields |= {"boot_id": measured.boot_id, "booted_at": booted}
        if one.due.booted_at is not None:
            fields["next_facts_at"] = one.at  # what it is may have changed
    if tuple(series) != one.due.series:
        fields["series"] = series
    if not mine.update(**fields):
        return None
    at = samples.start(one.at.timestamp(), 60)
    return Sample(server_id=UUID(one.due.target.id), step=60, at=at, packed=packed)


def _started_anew(before: Due, boot_id: str, booted: datetime) -> bool:
    if boot_id or before.boot_id:
        return boot_id != before.boot_id
    return before.booted_at is None or abs(booted - before.booted_at) > START_MOVES


def _told(mine: Any, one: Heard) -> None:
    facts = one.facts
    fields: dict[str, Any] = {"next_facts_at": _unless_moved("next_facts_at", one.due.next_facts_at, one.until)}
    if facts is not None and facts.updates is not None:
        fields["security_since"] = (
            Case(When(security_since=None, then=Value(one.at)), default=F("security_since"))
            if facts.updates.security
            else None
        )
    if not mine.update(**fields) or facts is None:
        return
    data = facts.to_json()
    before = {name: value for name, value in one.due.known.items() if name not in parse.FLEETING}
    same = before == {name: value for name, value in data.items() if name not in parse.FLEETING}
    changed = {} if same and one.due.known else {"changed_at": one.at}
    Facts.objects.update_or_create(
        server_id=one.due.target.id,
        defaults={"taken_at": one.at, "data": data, **changed},
        create_defaults={"taken_at": one.at, "data": data, "changed_at": one.at},
    )


def _failed(mine: Any, one: Heard, trouble: Trouble) -> None:
    if one.only_facts:
        log.warning("facts: %s", trouble.said)
        mine.update(next_facts_at=_unless_moved("next_facts_at", one.due.next_facts_at, one.until))
        return
    if trouble.code == "host_key" and _pinned(one.due.target.id) != one.due.target.host_keys:
        return  # another key was pinned meanwhile: this is no news of it
    mine.update(
        failure=trouble.code[:20],
        failure_said=trouble.said[:600],
        failing_since=Case(When(failing_since=None, then=Value(one.at)), default=F("failing_since")),
        next_sample_at=_unless_moved("next_sample_at", one.due.next_sample_at, one.until),
    )
    if trouble.offered and (server := mine.first()) is not None:
        shown = [(key.type, key.blob, key.fingerprint) for key in trouble.offered]
        found_host_keys(server=server, keys=shown, now=one.at)


def _pinned(server: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(HostKey.objects.pinned().filter(server=server).values_list("type", "blob")))


def _unless_moved(name: str, seen: datetime, until: datetime) -> Any:
    """Return the next moment, but where a person asked for an earlier one meanwhile, that."""
    return Case(When(Q(**{name: seen}), then=Value(until)), default=F(name))
