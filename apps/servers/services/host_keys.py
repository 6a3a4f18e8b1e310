"""Host keys: what a server showed, the one act by which an admin pins it, and the one that ends a hard stop."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Case, F, Value, When

from apps.core.refused import Refused
from apps.people.models import Person
from apps.people.services import record
from apps.servers.models import HostKey, Server

State = HostKey.State


def found_host_keys(*, server: Server, keys: Sequence[tuple[str, str, str]], now: datetime) -> None:
    """Write down what a server showed as (type, blob, fingerprint). Another key than a pinned one is a hard stop.

    A key of another type beside the pinned one is no news: sshd has one of each, and one that was confirmed is enough.
    """
    pinned = list(server.host_keys.pinned())
    known, types = {key.fingerprint for key in pinned}, {key.type for key in pinned}
    if any(fingerprint in known for _, _, fingerprint in keys):
        keys = [key for key in keys if key[2] in known or key[0] in types]
    fresh = State.CHANGED if pinned else State.OFFERED
    shown = {fingerprint for _, _, fingerprint in keys}
    with transaction.atomic():
        gone = server.host_keys.exclude(fingerprint__in=shown)
        gone.filter(state=State.OFFERED).delete()
        gone.filter(state=State.CHANGED).update(state=State.RETIRED)  # kept: it says what was shown that day
        for kind, blob, fingerprint in keys:
            key, made = HostKey.objects.get_or_create(
                server=server,
                fingerprint=fingerprint,
                defaults={"type": kind, "blob": blob, "state": fresh, "seen_at": now},
            )
            if not made:
                key.seen_at = now
                if key.state == State.RETIRED:
                    key.state = fresh
                key.save(update_fields=["seen_at", "state"])
        Server.objects.filter(pk=server.pk).update(scanned_at=now, scan_asked_at=None, scan_said="")
        if pinned and shown - known:
            _stop(server, now)


def _stop(server: Server, now: datetime) -> None:
    """Speak with the server no more, until an admin decides."""
    Server.objects.filter(pk=server.pk).exclude(failure="host_key").update(
        failure="host_key",
        failure_said=f"{server.name} shows another host key than the pinned one.",
        failing_since=Case(When(failing_since=None, then=Value(now)), default=F("failing_since")),
        judge_at=now,
    )


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
        server.host_keys.pinned().update(state=State.RETIRED)
        for key in chosen:
            key.state, key.confirmed_by, key.confirmed_at = State.PINNED, actor, now
            key.save(update_fields=["state", "confirmed_by", "confirmed_at"])
        server.host_keys.waiting().update(state=State.RETIRED)
        _ask_again(server, now)
        record(
            actor=actor,
            verb="servers.host_key_replaced" if before else "servers.host_key_pinned",
            subject=server.name,
            subject_id=server.pk,
            detail={"now": [key.fingerprint for key in chosen], "before": [key.fingerprint for key in before]},
        )


def shows_pinned_again(server: Server) -> bool:
    """Return whether a server that was stopped for its host key showed the pinned one, and only that, afterwards."""
    if server.failure != "host_key" or server.scanned_at is None or server.scan_said or server.scan_asked_at:
        return False
    if server.host_keys.waiting().exists():
        return False
    return bool(server.host_keys.pinned().filter(seen_at=server.scanned_at).exists())


def keep_host_key(*, actor: Person, server: Server, now: datetime) -> None:
    """Speak with a stopped server again because it shows the pinned key again. Raises Refused when it does not.

    No retry may do this: that another key was shown for a while is somebody in the middle until a person knows better.
    """
    with transaction.atomic():
        server = Server.objects.select_for_update().get(pk=server.pk)
        if not shows_pinned_again(server):
            raise Refused(f"{server.name} does not show the pinned host key. Look at its host keys again first.")
        others = server.host_keys.filter(state=State.RETIRED, seen_at__gte=server.failing_since or now)
        _ask_again(server, now)
        record(
            actor=actor,
            verb="servers.host_key_kept",
            subject=server.name,
            subject_id=server.pk,
            detail={
                "kept": sorted(key.fingerprint for key in server.host_keys.pinned()),
                "shown_between": sorted(key.fingerprint for key in others),
                "since": server.failing_since.isoformat() if server.failing_since else "",
            },
        )


def _ask_again(server: Server, now: datetime) -> None:
    Server.objects.filter(pk=server.pk).update(
        next_sample_at=now, next_facts_at=now, judge_at=now, failure="", failure_said="", failing_since=None
    )
