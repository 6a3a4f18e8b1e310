"""Granting: a person or a role may open a server or every server of a tag, with or without sudo, until a date."""

from datetime import datetime

from django.db import transaction

from apps.access.models import Grant
from apps.access.services.keys import account_of
from apps.access.services.refused import Refused
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
    same = Grant.objects.in_force(now).filter(person=person, role=role, server=server, tag=tag, sudo=sudo, until=until)
    if same.exists():
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
        if not Grant.objects.filter(pk=grant.pk, ended_at=None).update(ended_at=now):
            raise Refused("This grant ended already. Nothing was changed.")
        record(
            actor=actor,
            verb="access.grant_ended",
            subject=str(grant.person or Role(grant.role).label),
            subject_id=grant.pk,
            detail={"where": str(grant.server or f"tag {grant.tag}")},
        )
