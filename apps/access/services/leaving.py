"""Leaving: one act, a clock per server until the proof, and what remains to do."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from apps.access.found import Account, Found, Source, printable
from apps.access.models import AccessState, Departure, Goodbye, PublicKey
from apps.access.services.drifting import lines_of
from apps.access.services.ground import Ground
from apps.access.wanted import Wanted
from apps.people import services as people
from apps.people.models import Person
from apps.servers import ssh
from apps.servers.models import Server
from apps.servers.ssh import Trouble

PROOFS = ("keys", "revoked", "sessions", "locked", "login")
TRIED = 5  # keys that are offered to sshd as the person who left, in one connection: one less than it allows
OWN = "/etc/ssh/mainstay/"


def off_board(*, actor: Person, person: Person, now: datetime) -> Departure:
    """Close a person's sign-in at once and begin the clocks; the pushes follow. Raises people's own refusal."""
    with transaction.atomic():
        people.leave(actor=actor, person=person, now=now)
        return begin(person=person, asked_by=actor, now=now)


def begin(*, person: Person, asked_by: Person | None, now: datetime) -> Departure:
    """Write the departure down with a goodbye for every server whose access is managed."""
    departure: Departure = Departure.objects.create(person=person, asked_by=asked_by, began_at=now)
    states = list(AccessState.objects.managed())
    keys = {str(pk) for pk in PublicKey.objects.ever_of(person).values_list("pk", flat=True)}
    Goodbye.objects.bulk_create(
        Goodbye(departure=departure, server=state.server, lease_ends_at=lease_end(keys, state, now)) for state in states
    )
    AccessState.objects.filter(pk__in=[state.pk for state in states]).update(next_look_at=now)  # every server is asked
    if not states:
        Departure.objects.filter(pk=departure.pk).update(ended_at=now)
        departure.ended_at = now
    return departure


def notice(now: datetime) -> None:
    """Begin the clocks of people who left by another way, and end departures whose servers are all proven or gone."""
    for person in Person.objects.filter(is_active=False, departures=None).exclude(account=None):
        with transaction.atomic():
            begin(person=person, asked_by=None, now=now)
    for departure in Departure.objects.begun():
        if not departure.goodbyes.waiting().exists():
            Departure.objects.begun().filter(pk=departure.pk).update(ended_at=now)


def prove(
    *, line: ssh.Held, server: Server, ground: Ground, wanted: Wanted, seen: Found, told: Mapping[str, Any],
    now: datetime,
) -> None:  # fmt: skip
    """Write down, for everybody who is leaving, what this look or push has shown on this server."""
    for goodbye in Goodbye.objects.waiting_on(server):
        who = ground.person(goodbye.departure.person_id)
        keys = list(PublicKey.objects.ever_of(goodbye.departure.person))
        gone = next((one for one in told.get("gone", []) if isinstance(one, dict) and one.get("user") == who.user), {})
        leaver = _Leaver(line, server, who.user, keys, wanted, seen, gone)
        proofs = {name: {"at": now.isoformat(), "said": said} for name, said in leaver.proofs().items() if said}
        # what was shown once and is no longer so does not count; only ended sessions are told once
        if "sessions" in goodbye.proofs:
            proofs.setdefault("sessions", goodbye.proofs["sessions"])
        remains = leaver.remains() or goodbye.remains
        whole = set(proofs) >= set(PROOFS)
        Goodbye.objects.filter(pk=goodbye.pk).update(proofs=proofs, remains=remains, proven_at=now if whole else None)


@dataclass(frozen=True, slots=True)
class _Leaver:
    """One person who left, on one server."""

    line: ssh.Held
    server: Server
    user: str
    keys: Sequence[PublicKey]
    wanted: Wanted
    seen: Found
    gone: Mapping[str, Any]  # what the gate told of ending them

    @property
    def account(self) -> Account | None:
        """Return the account there, if any."""
        return self.seen.account(self.user) if self.user else None

    @property
    def texts(self) -> set[str]:
        """Return every key that the person ever had."""
        return {f"{key.type} {key.blob}" for key in self.keys}

    def held(self) -> list[tuple[Source, int]]:
        """Return where the keys are written on the server."""
        return [(src, line.number) for src, line in lines_of(self.seen) if f"{line.type} {line.blob}" in self.texts]

    def proofs(self) -> dict[str, str]:
        """Return a sentence for each proof that holds, nothing for the others."""
        return {
            "keys": "" if any(source.path.startswith(OWN) for source, _ in self.held()) else _NO_FILE,
            "revoked": self._revoked(),
            "sessions": self._sessions(),
            "locked": self._locked(),
            "login": self._refused(),
        }

    def remains(self) -> list[str]:
        """Return what a person still has to do there."""
        told = self.gone.get("remains", [])
        lines = [printable(str(text))[:300] for text in told][:50] if isinstance(told, list) else []
        for source, number in self.held()[:20]:
            if not source.path.startswith(OWN):
                lines.append(f"{source.path}, line {number}, still names a key of theirs.")
        if self.account is not None and not self.closed and self.user not in self.wanted.gone:
            by_hand = f"usermod -L -e 1 {self.user}"
            lines.append(f"The account {self.user} was there before Mainstay. Close it by hand: {by_hand}")
        return lines

    def _revoked(self) -> str:
        if not self.keys:
            return "There was no key to revoke."
        listed = self.texts <= set(self.wanted.revoked)
        applied = any(
            file.path == f"{OWN}revoked.krl" and file.sha256 and file.sha256 == file.wanted for file in self.seen.files
        )
        if listed and applied:
            return f"Every key of theirs ({len(self.keys)}) is on the list of revoked keys, wherever it hides."
        return "" if self.held() else "No file that sshd could read names a key of theirs."

    def _sessions(self) -> str:
        if self.account is None:
            return "There is no such account, so no session."
        if self.gone.get("touched") and not self.gone.get("processes"):
            return "Every session and process was ended; none is left."
        if not self.closed:
            return ""
        if self.gone.get("touched") is False:
            return "No session and no process of theirs was left."
        try:
            told = self.line.ask("sessions").data.get("sessions")
        except Trouble:
            return ""
        users = [one.get("user") for one in told if isinstance(one, dict)] if isinstance(told, list) else [self.user]
        return "" if self.user in users else "No SSH session of theirs is open."

    def _locked(self) -> str:
        if self.account is None:
            return "There is no such account."
        return "The account is locked and has expired." if self.closed else ""

    @property
    def closed(self) -> bool:
        """Return whether the account has expired, which lets nobody in, with whatever key."""
        account = self.account
        return account is not None and account.expires is not None and account.expires < self.seen.taken

    def _refused(self) -> str:
        """Try to sign in as the person with each key, as far as sshd answers for that."""
        if not self.user or not self.keys:
            return "There was no account or no key to sign in with."
        try:
            said = ssh.would_accept(self.server, self.user, [(key.type, key.blob) for key in self.keys[-TRIED:]])
        except Trouble:
            return ""
        if said.accepted:
            return ""
        where = "" if self.account else ", an account that is not there"
        return f"sshd refused to let {self.user}{where} in with a key of theirs ({said.answered} tried)."


_NO_FILE = "No key file of Mainstay's names a key of theirs."


def lease_end(keys: Collection[str], state: AccessState, now: datetime) -> datetime | None:
    """Return when the last of a person's keys (ids) on a server stops working by itself; None where one never does.

    What was begun to be written counts, whether or not its proof ever came.
    """
    ends = [until for key, until in state.offered.items() if key in keys]
    if None in ends:
        return None
    return max((datetime.fromisoformat(until) for until in ends), default=now)
