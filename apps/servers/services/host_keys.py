"""Host keys: what a server showed, and the one act by which an admin pins it."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from apps.people.models import Person
from apps.people.services import record
from apps.servers.models import HostKey, Server
from apps.servers.services.adding import Refused


def found_host_keys(*, server: Server, keys: Sequence[tuple[str, str, str]], now: datetime) -> None:
    """Write down what a server showed as (type, blob, fingerprint). A key beside pinned ones is a changed key."""
    pinned = server.host_keys.pinned().exists()
    fresh = HostKey.State.CHANGED if pinned else HostKey.State.OFFERED
    with transaction.atomic():
        shown = {fingerprint for _, _, fingerprint in keys}
        server.host_keys.waiting().exclude(fingerprint__in=shown).delete()
        for kind, blob, fingerprint in keys:
            key, made = HostKey.objects.get_or_create(
                server=server,
                fingerprint=fingerprint,
                defaults={"type": kind, "blob": blob, "state": fresh, "seen_at": now},
            )
            if not made:
                key.seen_at = now
                if key.state == HostKey.State.RETIRED:
                    key.state = fresh
                key.save(update_fields=["seen_at", "state"])
        Server.objects.filter(pk=server.pk).update(scanned_at=now, scan_asked_at=None, scan_said="")


def no_host_keys(*, server: Server, said: str, now: datetime) -> None:
    """Write down why a look at the host keys found none."""
    Server.objects.filter(pk=server.pk).update(scanned_at=now, scan_asked_at=None, scan_said=said[:400])


def pin_host_key(*, actor: Person, server: Server, fingerprints: Sequence[str], typed: str = "", now: datetime) -> None:
    """Pin the keys that an admin compared with the server's own words. Raises Refused.

    A key that another server has pinned is refused: two machines with one host key are clones, and neither can be told
    from the other. Where keys were pinned before, the server's name must be typed: a changed host key is a new machine
    or somebody in the middle.
    """
    before = list(server.host_keys.pinned())
    if before and typed.strip() != server.name:
        raise Refused(
            f"Type the server's name, {server.name}, to accept another host key. Until then Mainstay does not speak "
            "with it.",
            "typed",
        )
    chosen = list(server.host_keys.waiting().filter(fingerprint__in=list(fingerprints)))
    if not chosen or len(chosen) != len(set(fingerprints)):
        raise Refused("The server shows other keys by now. Look at its host keys again, then compare.")
    if twin := HostKey.objects.twins(server, [key.fingerprint for key in chosen]).first():
        raise Refused(
            f"{twin.server.name} has the same host key, so one of the two is a clone of the other. Make new keys on "
            "the clone (rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh), then look again. Nothing was "
            "changed."
        )
    with transaction.atomic():
        server.host_keys.pinned().update(state=HostKey.State.RETIRED)
        for key in chosen:
            key.state, key.confirmed_by, key.confirmed_at = HostKey.State.PINNED, actor, now
            key.save(update_fields=["state", "confirmed_by", "confirmed_at"])
        Server.objects.filter(pk=server.pk).update(
            next_sample_at=now, next_facts_at=now, failure="", failure_said="", failing_since=None
        )
        record(
            actor=actor,
            verb="servers.host_key_replaced" if before else "servers.host_key_pinned",
            subject=server.name,
            subject_id=server.pk,
            detail={"now": [key.fingerprint for key in chosen], "before": [key.fingerprint for key in before]},
        )
