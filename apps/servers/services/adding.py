"""Adding, changing and removing servers; nothing here speaks with one."""

from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from apps.alerts import services as alerts
from apps.core.refused import Refused
from apps.people.models import Person
from apps.people.services import record
from apps.servers.gate.wire import new_pair
from apps.servers.models import Level, Server


def subject_key(server: Server) -> str:
    """Return what names the server to alerts for ever."""
    return f"servers.server:{server.pk}"


def add(
    *,
    actor: Person,
    name: str,
    address: str,
    port: int,
    level: str,
    tags: Sequence[str] = (),
    seen_from: Sequence[str] = (),
    note: str = "",
    now: datetime,
) -> Server:
    """Write a server down and make the key pair that is for it alone. Raises Refused when the name is taken."""
    private, public = new_pair()
    server = Server(
        name=name,
        address=address,
        port=port,
        level=Level(level),
        tags=sorted(set(tags)),
        seen_from=list(seen_from),
        note=note,
        owner=actor,
        private_key=private,
        public_key=public,
        created_at=now,
        next_sample_at=now,
        next_facts_at=now,
    )
    with transaction.atomic():
        _save(server)
        record(
            actor=actor,
            verb="servers.added",
            subject=server.name,
            subject_id=server.pk,
            detail={"address": address, "port": port, "level": level},
        )
    return server


def change(
    *,
    actor: Person,
    server: Server,
    name: str,
    address: str,
    port: int,
    tags: Sequence[str],
    seen_from: Sequence[str],
    note: str,
    now: datetime,
) -> Server:
    """Change where a server is and what it is called. The pinned host key stays: another machine is found out by it."""
    moved = (server.address, server.port) != (address, port)
    server.name, server.address, server.port = name, address, port
    server.tags, server.seen_from, server.note = sorted(set(tags)), list(seen_from), note
    fields = ["name", "address", "port", "tags", "seen_from", "note"]  # the rest is the collector's to write
    if moved:
        server.next_sample_at = now
        fields.append("next_sample_at")
    with transaction.atomic():
        _save(server, *fields)
        record(actor=actor, verb="servers.changed", subject=server.name, subject_id=server.pk, detail={"moved": moved})
    return server


def change_level(*, actor: Person, server: Server, level: str, now: datetime) -> None:
    """Ask for another level. It counts on the server only once an admin has pasted the new script there."""
    before, server.level = server.level, Level(level)
    if before == server.level:
        return
    server.next_facts_at = now
    with transaction.atomic():
        server.save(update_fields=["level", "next_facts_at"])
        record(
            actor=actor,
            verb="servers.level_changed",
            subject=server.name,
            subject_id=server.pk,
            detail={"from": str(before), "to": level},
        )


def ask_scan(*, server: Server, now: datetime) -> None:
    """Ask the collector to look at the host keys that the server shows."""
    Server.objects.filter(pk=server.pk).update(scan_asked_at=now, scan_said="")


def remove(*, actor: Person, server: Server, typed: str, now: datetime) -> None:
    """Forget a server and its key. What is installed on it stays until `mainstay-gate detach` is run there."""
    if typed.strip() != server.name:
        raise Refused(f"Type the server's name, {server.name}, to remove it. Nothing was changed.", "typed")
    with transaction.atomic():
        Server.objects.filter(pk=server.pk).update(
            removed_at=now, private_key=None, driver="", driver_until=None, scan_asked_at=None
        )
        record(actor=actor, verb="servers.removed", subject=server.name, subject_id=server.pk)
        alerts.forget(subject_key=subject_key(server), now=now)


def _save(server: Server, *fields: str) -> None:
    """Write a new server, or these fields of a known one. Raises Refused when its name is another's."""
    try:
        with transaction.atomic():
            server.save(force_insert=not fields, update_fields=fields or None)
    except IntegrityError:
        raise Refused(f"A server named {server.name} is there already. Choose another name.", "name") from None
