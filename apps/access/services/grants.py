"""Asking and granting: a person or a role may open a server, or every server of a tag, until a date."""

from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from apps.access.models import AccessState, Asking, Grant
from apps.access.services.keys import account_of
from apps.core.refused import Refused
from apps.people.models import Person, Role
from apps.people.services import record
from apps.servers.models import Server


def grant(
    *,
    actor: Person,
    person: Person | None = None,
    role: str = "",
    server: Server | None = None,
    tag: str = "",
    sudo: bool = False,
    until: datetime | None = None,
    now: datetime,
) -> Grant:
    """Grant; the next tick carries it to the servers. Raises Refused."""
    if (person is None) == (not role):
        raise Refused("Choose one person or one role.", "whom")
    if (server is None) == (not tag):
        raise Refused("Choose one server or one tag.", "where")
    if person is not None and not person.is_active:
        raise Refused(f"{person} has left.", "whom")
    if role and role not in Role.values:
        raise Refused("There is no such role.", "whom")
    if until is not None and until <= now:
        raise Refused("Choose a day that has not passed.", "until")
    if Grant.objects.same_as(now, person=person, role=role, server=server, tag=tag, sudo=sudo, until=until).exists():
        raise Refused("This is granted already.", "where")
    with transaction.atomic():
        if person is not None:
            account_of(person)
        made = Grant(
            person=person, role=role, server=server, tag=tag, sudo=sudo, until=until, granted_by=actor, created_at=now
        )
        made.save(force_insert=True)
        record(
            actor=actor,
            verb="access.granted",
            subject=str(person or Role(role).label),
            subject_id=made.pk,
            detail={"where": str(server or f"tag {tag}"), "sudo": sudo, "until": until.isoformat() if until else None},
        )
    return made


def end_grant(*, actor: Person, grant: Grant, now: datetime) -> None:
    """Take a grant back; the next tick carries it to the servers."""
    with transaction.atomic():
        if not Grant.objects.to_end(grant).update(ended_at=now):
            raise Refused("This grant ended already. Nothing was changed.")
        record(
            actor=actor,
            verb="access.grant_ended",
            subject=str(grant.person or Role(grant.role).label),
            subject_id=grant.pk,
            detail={"where": str(grant.server or f"tag {grant.tag}")},
        )


def ask(*, actor: Person, servers: Sequence[Server], why: str, now: datetime) -> list[Asking]:
    """Ask for access to servers, for oneself. What is asked for already stays as it is. Raises Refused."""
    if not servers:
        raise Refused("Choose a server.", "servers")
    managed = {state.server_id for state in AccessState.objects.managed()}
    if any(server.pk not in managed for server in servers):
        raise Refused("Access to that server is not managed here.", "servers")
    made = []
    for server in servers:
        asking = Asking(person=actor, server=server, why=" ".join(why.split())[:200], asked_at=now)
        try:
            with transaction.atomic():
                account_of(actor)
                asking.save(force_insert=True)
                record(actor=actor, verb="access.asked", subject=str(actor), subject_id=actor.pk,
                       detail={"where": server.name})  # fmt: skip
        except IntegrityError:
            continue  # it waits already
        made.append(asking)
    return made


def answer(*, actor: Person, asking: Asking, yes: bool, now: datetime) -> None:
    """Grant what was asked for, without sudo and without an end; or decline. Raises Refused."""
    if not asking.person.is_active:
        raise Refused(f"{asking.person} has left. Nothing was changed.")
    state = Asking.State.GRANTED if yes else Asking.State.DECLINED
    with transaction.atomic():
        if not Asking.objects.to_decide(asking).update(state=state, decided_by=actor, decided_at=now):
            raise Refused("This was answered already. Nothing was changed.")
        if yes and not Grant.objects.same_as(now, person=asking.person, server=asking.server, until=None).exists():
            grant(actor=actor, person=asking.person, server=asking.server, now=now)
        if not yes:
            record(actor=actor, verb="access.declined", subject=str(asking.person), subject_id=asking.person_id,
                   detail={"where": asking.server.name})  # fmt: skip
