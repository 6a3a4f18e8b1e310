"""Drift: kept as rows, decided by people (adopt, ask, remove), never removed silently."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import transaction

from apps.access.drift import Finding
from apps.access.found import Found
from apps.access.models import Drift
from apps.access.services.refused import Refused
from apps.people.models import Person
from apps.people.services import record
from apps.servers.models import Server

DECISIONS = {"adopt": Drift.State.ADOPTED, "ask": Drift.State.ASKED, "remove": Drift.State.REMOVING}


def texts_of(seen: Found) -> dict[str, str]:
    """Return fingerprint → "type blob" of every key that was found."""
    sources = [*seen.everywhere, *(source for account in seen.accounts for source in account.sources)]
    return {
        line.fingerprint: f"{line.type} {line.blob}"
        for source in sources
        for line in source.lines
        if line.blob and line.fingerprint
    }


def keep_drift(
    *, server: Server, findings: Sequence[Finding], texts: Mapping[str, str], revoked: set[str], now: datetime
) -> None:
    """Write down what was found; what is no longer there, or no longer opens anything, is gone."""
    with transaction.atomic():
        seen = set()
        for finding in findings:
            text = texts.get(finding.fingerprint, "")
            if text and text in revoked and finding.path:
                continue  # the line is still there, but the list of revoked keys stops it everywhere
            seen.add(finding.key)
            row, made = Drift.objects.get_or_create(
                server=server,
                key=finding.key,
                defaults={"kind": finding.kind, "first_seen": now, "last_seen": now, "detail": {}},
            )
            if row.state == Drift.State.GONE:
                row.state, row.first_seen, row.decided_by, row.decided_at = Drift.State.OPEN, now, None, None
            row.detail, row.last_seen, row.kind = {**finding.to_json(), "text": text}, now, finding.kind
            row.save()
            del made
        Drift.objects.open().filter(server=server).exclude(key__in=seen).update(state=Drift.State.GONE, last_seen=now)


def decide(*, actor: Person, drift: Drift, answer: str, note: str = "", now: datetime) -> None:
    """Decide on one finding. Removing a key revokes it on that server by the next push; its line stays in its file."""
    if answer not in drift.detail.get("answers", []) or answer not in DECISIONS:
        raise Refused("That cannot be decided for this finding. Nothing was changed.")
    if answer == "remove" and not drift.detail.get("text"):
        raise Refused(
            "There is no key to revoke in this finding: remove it by hand on the server. Nothing was changed."
        )
    with transaction.atomic():
        mine = Drift.objects.open().filter(pk=drift.pk)
        if not mine.update(state=DECISIONS[answer], decided_by=actor, decided_at=now, note=note[:200]):
            raise Refused("This was decided, or is gone, already. Nothing was changed.")
        record(
            actor=actor,
            verb=f"access.drift_{answer}",
            subject=drift.server.name,
            subject_id=drift.server_id,
            detail={"kind": drift.kind, "fingerprint": drift.detail.get("fingerprint", "")},
        )
