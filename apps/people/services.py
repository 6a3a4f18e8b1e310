"""What people do to people: set up, invite, join, change a role, leave; and the one way to write down who did what."""

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.core.claims import Need
from apps.people.audit import Verdict, canonical_json, entry_hash, verify_chain
from apps.people.context import current_ip
from apps.people.models import AuditEntry, AuditHead, Invitation, Link, Person, Role
from apps.people.roles import RANK, outranks
from apps.people.sessions import device

HEAD = uuid.UUID(int=1)
SYSTEM = "Mainstay"
INVITATION_LIFE = timedelta(days=7)
SETUP_LIFE = timedelta(minutes=60)
SIGNIN_LIFE = timedelta(minutes=15)


class RefusedError(Exception):
    """Something that may not be done; the message is a sentence for people."""


def record(
    *,
    actor: Person | None,
    verb: str,
    subject: str,
    subject_id: object = "",
    detail: Mapping[str, Any] | None = None,
    ip: str = "",
) -> AuditEntry:
    """Append to the audit chain, inside the caller's transaction: both are written or neither.

    `actor` None is Mainstay itself. `verb` is dotted ("backups.planned"). `detail` never holds a secret. Writers stand
    in line at the head row until the caller's transaction ends, so record late in it.
    """
    with transaction.atomic():
        head = _locked_head()
        entry = AuditEntry(
            seq=head.seq + 1,
            at=timezone.now(),
            actor=actor,
            actor_name=_clean(str(actor) if actor else SYSTEM, 120),
            ip=_clean(ip or current_ip(), 45),
            verb=_clean(verb, 60),
            subject=_clean(subject, 200),
            subject_id=_clean(str(subject_id), 64),
            detail_json=canonical_json(dict(detail or {})),
            prev_hash=head.hash,
        )
        entry.hash = entry_hash(bytes.fromhex(head.key), entry.fields(), head.hash)
        entry.save(force_insert=True)
        AuditHead.objects.filter(pk=HEAD).update(seq=entry.seq, hash=entry.hash)
    return entry


def verify_audit() -> Verdict:
    """Walk the whole chain in one snapshot and return the first bad entry, or none."""
    with transaction.atomic():
        head = AuditHead.objects.select_for_update().filter(pk=HEAD).first()
        if head is None:
            left = AuditEntry.objects.order_by("seq").first()
            return Verdict(0, "", left.seq, "the head of the chain is missing") if left else Verdict(0, "")
        rows = ((row.fields(), row.prev_hash, row.hash) for row in AuditEntry.objects.order_by("seq").iterator())
        return verify_chain(bytes.fromhex(head.key), rows, head_seq=head.seq, head_hash=head.hash)


# --- the first owner -------------------------------------------------------------------------------


def first_admin(*, email: str, password: str, now: datetime) -> str | None:
    """Make sure that there is an owner, or a way to become one; safe at every start.

    With an owner: None, and nothing changes, whatever the environment says. With `email` and `password`: makes the
    owner and returns None. Else returns the token of a fresh set-up link; every older one stops working.
    """
    with transaction.atomic():
        _stand_in_line()
        if Person.objects.owners().exists():
            return None
        if email and password:
            person = Person.objects.filter(email__iexact=email).first() or Person(email=email.lower())
            person.name = person.name or email.partition("@")[0]
            person.role, person.is_active, person.left_at = Role.OWNER, True, None
            if not person.password:
                person.set_password(password)
            person.save()
            record(actor=None, verb="people.first_owner", subject=str(person), subject_id=person.pk)
            return None
        Link.objects.filter(kind=Link.Kind.SETUP).delete()
        return _new_link(Link.Kind.SETUP, None, now + SETUP_LIFE)


def set_up(*, digest: str, name: str, email: str, password: str, time_zone: str, now: datetime) -> Person:
    """Make the first owner through the set-up link. Raises RefusedError once there is an owner or the link is spent."""
    with transaction.atomic():
        _stand_in_line()
        if Person.objects.owners().exists():
            raise RefusedError("Mainstay has an owner already. Sign in, or ask for an invitation.")
        _spend(Link.Kind.SETUP, digest, now)
        person = Person(email=email.lower(), name=name, role=Role.OWNER, time_zone=_zone(time_zone))
        person.set_password(password)
        person.save()
        record(actor=person, verb="people.first_owner", subject=str(person), subject_id=person.pk)
    return person


# --- one-time links ----------------------------------------------------------------------------------


def digest_of(token: str) -> str:
    """Return what is kept of a link's token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def open_link(*, kind: str, digest: str, now: datetime) -> Link | None:
    """Return an unspent link, without spending it: browsers and chat programs open links before people do."""
    found: Link | None = Link.objects.filter(kind=kind, token_hash=digest, used_at=None, expires_at__gt=now).first()
    return found


def sign_in_link(*, email: str, drop_second_factor: bool, now: datetime) -> str:
    """Return the token of a one-time link for somebody who is locked out; only the console can ask for it.

    The link replaces the password. A second factor is still asked for, unless it is dropped here. Raises RefusedError.
    """
    with transaction.atomic():
        person = Person.objects.active().filter(email__iexact=email).first()
        if person is None:
            raise RefusedError(f"Nobody active has the address {email}. The People page shows who is here.")
        Link.objects.filter(kind=Link.Kind.SIGNIN, person=person, used_at=None).delete()
        if drop_second_factor:
            drop_factors(person)
        token = _new_link(Link.Kind.SIGNIN, person, now + SIGNIN_LIFE)
        detail = {"second_factor": "dropped" if drop_second_factor else "kept"}
        record(actor=None, verb="people.sign_in_link", subject=str(person), subject_id=person.pk, detail=detail)
    return token


def use_sign_in_link(*, digest: str, password: str, now: datetime) -> Person:
    """Set a new password through a link and end every session. The caller still asks for the second factor."""
    with transaction.atomic():
        link = _spend(Link.Kind.SIGNIN, digest, now)
        person: Person = Person.objects.select_for_update().get(pk=link.person_id)
        if not person.is_active:
            raise RefusedError("This account is closed. Ask an owner or an admin for a new invitation.")
        person.set_password(password)
        person.save(update_fields=["password"])
        end_sessions(person)
        record(actor=person, verb="people.sign_in_link_used", subject=str(person), subject_id=person.pk)
    return person


def drop_factors(person: Person) -> None:
    """Remove every second factor of a person."""
    from allauth.mfa.models import Authenticator  # noqa: PLC0415 models of other apps load after ours

    Authenticator.objects.filter(user=person).delete()


def end_sessions(person: Person) -> int:
    """End every session of a person at once and return how many there were."""
    from allauth.usersessions.models import UserSession  # noqa: PLC0415

    ended = 0
    for session in UserSession.objects.filter(user=person):
        session.end()
        ended += 1
    return ended


def end_session(*, actor: Person, session_id: int) -> bool:
    """End one session of one's own; False when it is not there any more, or somebody else's."""
    from allauth.usersessions.models import UserSession  # noqa: PLC0415

    with transaction.atomic():
        session = UserSession.objects.filter(user=actor, pk=session_id).first()
        if session is None:
            return False
        where = device(session.user_agent)
        session.end()
        detail = {"from": session.ip, "on": where}
        record(actor=actor, verb="people.session_ended", subject=str(actor), subject_id=actor.pk, detail=detail)
    return True


# --- the team ----------------------------------------------------------------------------------------


def invite(*, actor: Person, email: str, role: str, now: datetime) -> tuple[Invitation, str]:
    """Offer a role to an address; return the invitation and its token, which is shown once. Raises RefusedError."""
    with transaction.atomic():
        _fresh_manager(actor, role)
        if Person.objects.active().filter(email__iexact=email).exists():
            raise RefusedError(f"{email} is in the team already.")
        Invitation.objects.filter(email__iexact=email, closed_at=None).update(closed_at=now)
        token = secrets.token_urlsafe(32)
        invitation = Invitation.objects.create(
            email=email.lower(),
            role=role,
            token_hash=digest_of(token),
            invited_by=actor,
            created_at=now,
            expires_at=now + INVITATION_LIFE,
        )
        record(actor=actor, verb="people.invited", subject=email, subject_id=invitation.pk, detail={"role": role})
    return invitation, token


def withdraw(*, actor: Person, invitation: Invitation, now: datetime) -> None:
    """Take an invitation back. Raises RefusedError for one that is above the actor, or closed."""
    with transaction.atomic():
        _fresh_manager(actor, invitation.role)
        if not Invitation.objects.filter(pk=invitation.pk, closed_at=None).update(closed_at=now):
            raise RefusedError("This invitation is closed already.")
        record(actor=actor, verb="people.invitation_withdrawn", subject=invitation.email, subject_id=invitation.pk)


def join(*, digest: str, name: str, password: str, time_zone: str, now: datetime) -> Person:
    """Accept an invitation. Somebody who left comes back as the same person. Raises RefusedError."""
    with transaction.atomic():
        invitation = Invitation.objects.open(now).filter(token_hash=digest).select_related("invited_by").first()
        if invitation is None or not Invitation.objects.filter(pk=invitation.pk, closed_at=None).update(closed_at=now):
            raise RefusedError("This invitation was used, withdrawn or ran out. Ask for a new one.")
        host = invitation.invited_by
        if not host.is_active or not outranks(host.role, invitation.role):
            raise RefusedError("Whoever invited you may not do so any more. Ask for a new invitation.")
        person = Person.objects.filter(email__iexact=invitation.email).first() or Person(email=invitation.email)
        if person.is_active and not person._state.adding:  # noqa: SLF001 Django's documented name
            raise RefusedError("You are in the team already. Sign in.")
        person.name, person.role, person.time_zone = name, invitation.role, _zone(time_zone)
        person.is_active, person.left_at, person.joined_at = True, None, now
        person.set_password(password)
        try:
            with transaction.atomic():
                person.save()
        except IntegrityError as error:
            raise RefusedError("You are in the team already. Sign in.") from error
        Invitation.objects.filter(pk=invitation.pk).update(joined=person)
        detail = {"role": invitation.role, "invited_by": str(host)}
        record(actor=person, verb="people.joined", subject=str(person), subject_id=person.pk, detail=detail)
    return person


def change_role(*, actor: Person, person: Person, role: str) -> None:
    """Give somebody another role. Raises RefusedError: above oneself, or the last owner."""
    with transaction.atomic():
        target = _manageable(actor, person)
        if role not in RANK or not outranks(actor.role, role):
            raise RefusedError("You cannot give a role above your own.")
        if target.role == role:
            return
        if target.role == Role.OWNER:
            _keep_an_owner(target)
        was, target.role = target.role, role
        target.save(update_fields=["role"])
        detail = {"from": was, "to": role}
        record(actor=actor, verb="people.role_changed", subject=str(target), subject_id=target.pk, detail=detail)


def leave(*, actor: Person, person: Person, now: datetime) -> int:
    """Somebody is leaving: sign-in closed and every session ended at once; their plans have no active owner any more.

    Returns how many sessions were ended. The row stays, because the audit log names it. Raises RefusedError.
    """
    with transaction.atomic():
        target = _manageable(actor, person)
        if target.role == Role.OWNER:
            _keep_an_owner(target)
        target.is_active, target.left_at = False, now
        target.set_unusable_password()
        target.save(update_fields=["is_active", "left_at", "password"])
        drop_factors(target)
        Link.objects.filter(person=target).delete()
        Invitation.objects.filter(invited_by=target, closed_at=None).update(closed_at=now)
        ended = end_sessions(target)
        record(
            actor=actor, verb="people.left", subject=str(target), subject_id=target.pk, detail={"sessions_ended": ended}
        )
    return ended


def save_profile(*, actor: Person, name: str, time_zone: str) -> None:
    """Change one's own name and time zone."""
    with transaction.atomic():
        actor.name, actor.time_zone = name, _zone(time_zone)
        actor.save(update_fields=["name", "time_zone"])
        record(actor=actor, verb="people.profile_changed", subject=str(actor), subject_id=actor.pk)


# --- what the first page shows -------------------------------------------------------------------------


def needs(_now: datetime) -> list[Need]:
    """Return what only a person can do: a second admin, and second factors of those who can do damage."""
    managers = list(Person.objects.managers_with_factors())
    found = []
    if len(managers) == 1:
        said = f"Only {managers[0]} can manage Mainstay. If that account is lost, nobody can restore a backup."
        since, manage = managers[0].joined_at, "people.manage"
        found.append(Need(4, "warn", "Invite a second person", said, "Invite", "/people/invite/", since, manage))
    bare = [person for person in managers if not person.second_factor]
    if bare:
        names = ", ".join(str(person) for person in bare[:3]) + (f" and {len(bare) - 3} more" if len(bare) > 3 else "")
        said = f"{names} can sign in with a password alone."
        since = min(person.joined_at for person in bare)
        theirs = frozenset(str(person.pk) for person in bare)
        found += [  # whoever lacks it is asked to turn it on, everybody else reads who lacks it
            Need(0, "warn", "Turn on a second factor", said, "Turn it on", "/profile/signin/", since, only=theirs),
            Need(0, "warn", f"{names} {'has' if len(bare) == 1 else 'have'} no second factor", f"{said} Ask for one.",
                 "See the team", "/people/", since, never=theirs),
        ]  # fmt: skip
    return found


# --- inside ----------------------------------------------------------------------------------------------


def _locked_head() -> AuditHead:
    head = AuditHead.objects.select_for_update().filter(pk=HEAD).first()
    if head is None:
        AuditHead.objects.get_or_create(pk=HEAD, defaults={"key": secrets.token_hex(32)})
        head = AuditHead.objects.select_for_update().get(pk=HEAD)
    return head


def _stand_in_line() -> None:
    """Let one caller at a time decide about owners: the head row of the audit log is the line."""
    _locked_head()


def _clean(text: str, most: int) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")[:most]


def _zone(name: str) -> str:
    return name if name in available_timezones() else "UTC"


def _new_link(kind: Link.Kind, person: Person | None, expires_at: datetime) -> str:
    token = secrets.token_urlsafe(32)
    Link.objects.create(kind=kind, person=person, token_hash=digest_of(token), expires_at=expires_at)
    return token


def _spend(kind: Link.Kind, digest: str, now: datetime) -> Link:
    """Use a link up: one winner, however many open it at once."""
    won = Link.objects.filter(kind=kind, token_hash=digest, used_at=None, expires_at__gt=now).update(used_at=now)
    if not won:
        raise RefusedError("This link was used or ran out. Print a new one on the console.")
    link: Link = Link.objects.get(token_hash=digest)
    return link


def _fresh_manager(actor: Person, role: str) -> Person:
    """Read the actor again: a role that was taken away a moment ago counts."""
    _stand_in_line()
    fresh: Person | None = Person.objects.active().filter(pk=actor.pk).first()
    if fresh is None or fresh.role not in {Role.OWNER, Role.ADMIN}:
        raise RefusedError("Your role does not allow this any more.")
    if role not in RANK or not outranks(fresh.role, role):
        raise RefusedError("You cannot give a role above your own.")
    return fresh


def _manageable(actor: Person, person: Person) -> Person:
    fresh = _fresh_manager(actor, Role.VIEWER)
    actor.role = fresh.role
    target: Person | None = Person.objects.select_for_update().filter(pk=person.pk).first()
    if target is None or not target.is_active:
        raise RefusedError("This person has left already.")
    if not outranks(fresh.role, target.role):
        raise RefusedError("Only an owner can change an owner.")
    return target


def _keep_an_owner(target: Person) -> None:
    if not Person.objects.owners().exclude(pk=target.pk).exists():
        raise RefusedError(f"{target} is the last owner. Make somebody else an owner first.")
