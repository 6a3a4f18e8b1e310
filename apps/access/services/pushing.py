"""Carrying what is wanted to the servers: read, apply with a timed rollback, prove, commit; and looking for drift."""

import base64
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.access import drift, found, guard
from apps.access.found import Found, FoundError
from apps.access.models import AccessState, Departure, Drift, KeyPush
from apps.access.services import leaving
from apps.access.services.drifting import keep_drift, lines_of
from apps.access.services.ground import Ground
from apps.access.wanted import Wanted
from apps.core.runs import ring, worker_name
from apps.people.models import Person
from apps.people.services import record
from apps.servers import ssh
from apps.servers.gate.script import installed
from apps.servers.gate.wire import fingerprint
from apps.servers.models import Server
from apps.servers.ssh import Answer, Trouble

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(hours=1)
AGAIN = timedelta(minutes=10)  # after a push that failed for good, the same one waits so long
ROLLBACK = 120  # seconds within which a change must be committed
NO_ADMIN = (
    "After this, no owner or admin of the team could sign in to {} without Mainstay. Grant an owner or admin who has a "
    "key access with sudo and without an end there. Nothing was changed."
)
TRIED = 2  # accounts whose keys are offered to sshd as a proof of one push, each in one connection


def look(now: datetime) -> None:
    """Make a push for every server where something else is wanted, a lease runs out, or a look is due."""
    states = {state.server_id: state for state in AccessState.objects.managed()}
    for server in Server.objects.managed():
        if server.pk not in states:
            states[server.pk] = AccessState.objects.get_or_create(server=server, defaults={"next_look_at": now})[0]
    if not states:
        return
    leaving.notice(now)
    ground = Ground.fetch(now)
    busy, failed = KeyPush.objects.busy(), KeyPush.objects.failed_last()
    for state in states.values():
        if state.server_id in busy or state.server.failure:
            continue
        wanted = ground.wanted_on(state.server, state)
        if empty(wanted, ground, state) or wanted.digest == state.pushed:
            again = state.refused and not _failed_lately(failed.get(state.server_id), wanted.digest, now)
            if again or state.next_look_at <= now:
                ask_push(server=state.server, reason="look", now=now)
        elif not _failed_lately(failed.get(state.server_id), wanted.digest, now):
            ask_push(server=state.server, reason="wanted", now=now)


def ask_push(*, server: Server, reason: str, asked_by: Person | None = None, now: datetime) -> KeyPush | None:
    """Write down that a server is to be looked at and made as wanted; None when that is under way already."""
    run = KeyPush(server=server, reason=reason, asked_by=asked_by, due_at=now, created_at=now)
    try:
        with transaction.atomic():
            run.save(force_insert=True)
            AccessState.objects.filter(server=server).update(next_look_at=now + LOOK_EVERY)
    except IntegrityError:
        return None
    ring(run)
    return run


def empty(wanted: Wanted, ground: Ground, state: AccessState) -> bool:
    """Return whether nothing was ever to be done: then a server stays as it is, to the last byte."""
    return not (wanted.accounts or wanted.gone or state.pushed or ground.removals.get(state.server_id))


def push(*, run_id: str) -> None:
    """Perform one push: read what is, keep the drift, and where something else is wanted apply, prove and commit it."""
    now = timezone.now()
    run = KeyPush.claim(run_id, now=now, worker=worker_name())
    if run is None:
        return
    if run.worn_out:
        run.settle(now=now, error="The worker died each time. What was begun is rolled back by the server itself.")
        return
    server = run.server
    state = AccessState.objects.get_or_create(server=server, defaults={"next_look_at": now})[0]
    try:
        with ssh.Held(server) as line:
            outcome = _Push(run, server, state, now, line).perform()
    except _LostError:
        return
    except (Trouble, FoundError) as error:
        said = error.said if isinstance(error, Trouble) else f"{server.name} answered what it should not: {error}"
        permanent = isinstance(error, FoundError) or error.permanent or error.code == "guard"
        AccessState.objects.filter(pk=state.pk).update(refused=said)
        run.settle(now=timezone.now(), error=said, again=not permanent, said=said)
        return
    AccessState.objects.filter(pk=state.pk).update(refused="")
    run.settle(now=timezone.now(), said=outcome["said"], outcome=outcome, change="")


class _LostError(Exception):
    """A successor owns this push: nothing more may be done or written."""


class _Push:
    """One push under way."""

    def __init__(self, run: KeyPush, server: Server, state: AccessState, now: datetime, line: ssh.Held) -> None:
        """Fetch what is wanted at this moment; `line` is the connection for everything but the proof."""
        self.run, self.server, self.state, self.now, self.line = run, server, state, now, line
        self.ground = Ground.fetch(now)
        self.wanted = self.ground.wanted_on(server, state)

    def perform(self) -> dict[str, Any]:
        """Look; apply where something differs; look again."""
        answer, seen = _read(self.line)
        self._leave_alone(seen)
        left = {key.text for key in self.ground.keys if not self.ground.person(key.person).active}
        hidden = any(f"{line.type} {line.blob}" in left for _source, line in lines_of(seen))
        nothing = empty(self.wanted, self.ground, self.state) and not hidden
        if nothing or self.wanted.digest == self.state.pushed:
            self._keep(seen)
            self._prove_gone(seen, {})
            return {"said": "Looked at; nothing was to be changed.", "changed": False}
        if not self.run.renew(now=timezone.now(), wanted=self.wanted.digest):
            raise _LostError
        if not any(account.admin and account.lease_free for account in self.wanted.accounts):
            self._keep(seen)
            self._prove_gone(seen, {})
            raise Trouble("guard", NO_ADMIN.format(self.server.name))
        self._offer()
        args = {"wanted": self.wanted.to_args(), "rollback_after": ROLLBACK}
        if adopted := sorted(Drift.objects.taken_over(self.server)):
            args["adopted"] = adopted
        told = self.line.ask("access", args, state=answer.state)
        if change := told.data.get("change") if told.data.get("pending") else None:
            if not self.run.renew(now=timezone.now(), change=str(change)[:40]):
                raise _LostError  # a successor is at it; the server undoes this change by itself
            after = self._prove(told, str(change))
        else:
            _answer, after = _read(self.line)
        self._keep(after, told.data)
        self._prove_gone(after, told.data)
        record(actor=self.run.asked_by, verb="access.pushed", subject=self.server.name, subject_id=self.server.pk)
        accounts = len(self.wanted.accounts)
        return {"said": f"Applied and proven: {accounts} accounts.", "changed": True, "gone": told.data.get("gone", [])}

    def _leave_alone(self, seen: Found) -> None:
        """Set aside accounts with a person's name that were there before Mainstay, until somebody adopts them."""
        mine = {*self.state.made, *Drift.objects.taken_over(self.server)}
        names = {one.user for one in self.ground.people if one.user} - mine
        foreign = sorted(names & {account.user for account in seen.accounts})
        if foreign != self.state.foreign:
            self.state.foreign = foreign
            AccessState.objects.filter(pk=self.state.pk).update(foreign=foreign)
            self.wanted = self.ground.wanted_on(self.server, self.state)

    def _offer(self) -> None:
        """Write down, before anything is sent, which accounts may be there from now on, and until when keys work."""
        new = lent(self.wanted)
        for key, until in self.state.offered.items():
            known = new.get(key, until)
            new[key] = None if known is None or until is None else max(known, until)
        self.state.offered = new
        users = {account.user for account in self.wanted.accounts}
        self.state.managed = sorted({*self.state.managed, *users})
        self.state.made = sorted({*self.state.made, *users})
        AccessState.objects.filter(pk=self.state.pk).update(
            offered=new, managed=self.state.managed, made=self.state.made
        )

    def _prove_gone(self, seen: Found, told: Mapping[str, Any]) -> None:
        leaving.prove(
            line=self.line, server=self.server, ground=self.ground, wanted=self.wanted, seen=seen, told=told,
            now=timezone.now(),
        )  # fmt: skip

    def _prove(self, told: Answer, change: str) -> Found:
        """Show over fresh connections that the panel and a human admin still get in, and commit; else undo at once.

        Return what is so now.
        """
        with ssh.Held(self.server) as fresh:
            try:
                _answer, after = _read(fresh)
                wrong = self._locked_out(after)
            except FoundError:
                self._undo(told, change)
                raise
            except Trouble as trouble:
                self._undo(told, change)
                raise Trouble(trouble.code, f"{trouble.said} The change was rolled back.") from trouble
            if wrong:
                self._undo(told, change)
                raise Trouble("guard", f"{wrong} The change was rolled back.")
            fresh.ask("commit", {"change": change}, state=told.state)
        return after

    def _locked_out(self, after: Found) -> str:
        """Return who would be locked out by what was applied, or nothing; asked of the server and of its sshd."""
        decision = guard.decide(self.wanted, after, server=self.server.name, now=timezone.now())
        if not decision.ok:
            return decision.said
        admins = [account for account in self.wanted.accounts if account.admin and account.keys][:TRIED]
        for account in admins:
            if ssh.would_accept(self.server, account.user, [(key.type, key.blob) for key in account.keys]).accepted:
                return ""
        names = ", ".join(account.name for account in admins)
        return f"sshd on {self.server.name} refused every admin ({names})."

    def _undo(self, told: Answer, change: str) -> None:
        try:
            self.line.ask("rollback", {"change": change}, state=told.state)  # it was open before the change
        except Trouble:
            log.warning("%s: the rollback could not be asked for; the server does it by itself", self.server.name)

    def _keep(self, seen: Found, told: Mapping[str, Any] | None = None) -> None:
        """Write down what is so now, and the drift."""
        now, applied = timezone.now(), told is not None or self.wanted.digest == self.state.pushed
        fields: dict[str, Any] = {"looked_at": now, "unsure": list(seen.lacks), "actual": self._actual(seen, told)}
        if told is not None:
            users = {account.user for account in self.wanted.accounts}
            gone = {str(one.get("user")) for one in told.get("gone", []) if isinstance(one, dict)}
            self.state.offered = lent(self.wanted)
            self.state.leases = {key: until for key, until in self.state.offered.items() if until is not None}
            self.state.managed = sorted((set(self.state.managed) | users) - (gone - users))
            # The digest is that of what is wanted with the leases just written: the next look finds nothing to do.
            pushed = self.ground.wanted_on(self.server, self.state)
            fields |= {
                "pushed": pushed.digest,
                "pushed_at": now,
                "offered": self.state.offered,
                "leases": self.state.leases,
                "managed": self.state.managed,
                "leased_until": pushed.leased_until,
            }
        AccessState.objects.filter(pk=self.state.pk).update(**fields)
        keep_drift(
            server=self.server,
            findings=drift.find(
                seen,
                wanted=self.wanted,
                owners=self.ground.owners,
                panel=fingerprint(base64.b64decode(self.server.public_key.split()[1])),
                adopted=Drift.objects.adopted(self.server),
                foreign=self.state.foreign,
                known=installed(),
            ),
            seen=seen,
            revoked=set(self.wanted.revoked) if applied else set(),
            now=now,
        )

    def _actual(self, seen: Found, told: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        rows = {str(row.get("user")): row for row in (told or {}).get("accounts", []) if isinstance(row, dict)}
        before = {row["user"]: row for row in self.state.actual}
        out = []
        for account in seen.accounts:
            held = sorted(
                f"{line.type} {line.blob}"
                for source in account.sources
                if source.kind == "file" and not source.refused
                for line in source.lines
                if line.blob
            )
            if not held and account.user not in rows:
                continue
            row = rows.get(account.user) or before.get(account.user) or {}
            closed = "the account has expired" if account.expires and account.expires < seen.taken else ""
            accepts = bool(row.get("accepts", True)) and not closed
            why = closed or found.printable(str(row.get("why") or ""))[:200]
            sudo = account.sudo == "all"
            out.append({"user": account.user, "keys": held, "sudo": sudo, "accepts": accepts, "why": why})
        return out


def _read(line: ssh.Held) -> tuple[Answer, Found]:
    answer = line.ask("keys")
    return answer, found.read(answer.data)


def lent(wanted: Wanted) -> dict[str, str | None]:
    """Return until when each key works by itself (ISO); None for one without a lease."""
    keys = [key for account in wanted.accounts for key in account.keys]
    return {key.id: key.until and datetime.fromtimestamp(key.until, UTC).isoformat() for key in keys}  # type: ignore[misc]


def _failed_lately(last: KeyPush | None, digest: str, now: datetime) -> bool:
    """Return whether the same failed so lately that it waits: not when something else is wanted, or somebody left."""
    if last is None or last.finished_at is None or now - last.finished_at >= AGAIN or last.wanted not in {"", digest}:
        return False
    return not Departure.objects.begun_since(last.finished_at)
