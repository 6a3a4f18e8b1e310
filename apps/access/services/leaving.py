"""Leaving: one act, a clock per server until the proof, and what remains to do."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from apps.access.found import Found, printable
from apps.access.models import AccessState, Departure, Goodbye, PublicKey
from apps.access.services.ground import Ground
from apps.access.wanted import LEASE
from apps.people import services as people
from apps.people.models import Person
from apps.servers import ssh
from apps.servers.models import Server
from apps.servers.ssh import Trouble

PROOFS = ("keys", "revoked", "sessions", "locked", "login")
TRIED = 3  # keys that are offered to sshd as the person who left


def off_board(*, actor: Person, person: Person, now: datetime) -> Departure:
    """Close a person's sign-in at once and begin the clocks; the pushes follow. Raises people's own refusal."""
    with transaction.atomic():
        people.leave(actor=actor, person=person, now=now)
        return begin(person=person, asked_by=actor, now=now)


def begin(*, person: Person, asked_by: Person | None, now: datetime) -> Departure:
    """Write the departure down with a goodbye for every server whose access is managed."""
    departure = Departure.objects.create(person=person, asked_by=asked_by, began_at=now)
    for state in AccessState.objects.managed():
        ends = _lease_end(person, state, now)
        Goodbye.objects.create(departure=departure, server=state.server, lease_ends_at=ends)
    if not departure.goodbyes.exists():
        Departure.objects.filter(pk=departure.pk).update(ended_at=now)
        departure.ended_at = now
    return departure


def notice(now: datetime) -> None:
    """Begin the clocks of people who left by another way, and end departures whose servers are all proven or gone."""
    for person in Person.objects.filter(is_active=False, departures=None).exclude(account=None):
        with transaction.atomic():
            begin(person=person, asked_by=None, now=now)
    for departure in Departure.objects.filter(ended_at=None):
        waiting = departure.goodbyes.filter(proven_at=None, server__removed_at=None)
        if not waiting.exists():
            Departure.objects.filter(pk=departure.pk, ended_at=None).update(ended_at=now)


def prove(*, server: Server, ground: Ground, seen: Found, told: Mapping[str, Any], now: datetime) -> None:
    """Write down, for everybody who is leaving, what this push has shown on this server."""
    waiting = Goodbye.objects.filter(server=server, proven_at=None, departure__ended_at=None)
    for goodbye in waiting.select_related("departure__person"):
        person = goodbye.departure.person
        user = next((one.user for one in ground.people if one.id == str(person.pk)), "")
        mine = list(PublicKey.objects.filter(person=person))
        proofs = dict(goodbye.proofs) | _proofs(server, user, mine, seen, told, now)
        gone = next((one for one in told.get("gone", []) if isinstance(one, dict) and one.get("user") == user), {})
        remains = [printable(str(text))[:300] for text in gone.get("remains", [])][:50] or goodbye.remains
        whole = set(proofs) >= set(PROOFS)
        Goodbye.objects.filter(pk=goodbye.pk).update(proofs=proofs, remains=remains, proven_at=now if whole else None)


def _proofs(
    server: Server, user: str, mine: list[PublicKey], seen: Found, told: Mapping[str, Any], now: datetime
) -> dict[str, dict[str, str]]:
    """Return the proofs that hold, each with the moment and a sentence."""
    at, out = now.isoformat(), {}
    account = seen.account(user) if user else None
    texts = {f"{key.type} {key.blob}" for key in mine}
    held = [
        source.path
        for source in (account.sources if account else ())
        for line in source.lines
        if f"{line.type} {line.blob}" in texts and source.path.startswith("/etc/ssh/mainstay/")
    ]
    if not held:
        out["keys"] = {"at": at, "said": "No key file of Mainstay's names one of the keys."}
    gone = next((one for one in told.get("gone", []) if isinstance(one, dict) and one.get("user") == user), None)
    if any(file.path.endswith("/revoked.krl") and file.sha256 for file in seen.files):
        out["revoked"] = {"at": at, "said": f"{len(mine)} keys are on the list of revoked keys, wherever they hide."}
    elif not mine:
        out["revoked"] = {"at": at, "said": "There was no key to revoke."}
    if account is None:
        out["sessions"] = {"at": at, "said": "There is no such account, so no session."}
        out["locked"] = {"at": at, "said": "There is no such account."}
    else:
        if gone is not None and gone.get("touched") and not gone.get("processes"):
            out["sessions"] = {"at": at, "said": "Every session and process was ended; none is left."}
        if account.expires is not None and account.expires < now.timestamp():
            out["locked"] = {"at": at, "said": "The account is locked and expired."}
            out.setdefault("sessions", {"at": at, "said": "The account is closed; nothing can begin."})
    if said := _login_refused(server, user, mine, there=account is not None):
        out["login"] = {"at": at, "said": said}
    return out


def _login_refused(server: Server, user: str, mine: list[PublicKey], *, there: bool) -> str:
    """Try to sign in as the person with each key, as far as sshd answers for that; return the proof or nothing."""
    if not user or not mine:
        return "There was no account or no key to sign in with."
    try:
        tried = [ssh.would_accept(server, user, key.type, key.blob) for key in mine[:TRIED]]
    except Trouble:
        return ""
    if any(tried):
        return ""
    where = "" if there else " (there is no such account)"
    return f"sshd refused a sign-in as {user} with {len(tried)} of the keys{where}."


def _lease_end(person: Person, state: AccessState, now: datetime) -> datetime | None:
    """Return when the last lease of a person's keys ends on a server; None where one has no lease."""
    keys = {str(pk) for pk in PublicKey.objects.filter(person=person).values_list("pk", flat=True)}
    ends = [datetime.fromisoformat(until) for key, until in state.leases.items() if key in keys]
    if ends:
        return max(ends)
    account = getattr(person, "account", None)
    if account is None or account.user not in state.managed:
        return now
    return None if state.pushed else now + LEASE + timedelta(0)
