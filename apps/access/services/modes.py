"""From adopting to enforcing: whether a server's sshd still reads keys that Mainstay did not write."""

from datetime import datetime

from django.db import transaction

from apps.access.models import AccessState
from apps.access.services.ground import Column, Ground
from apps.access.services.pushing import ask_push
from apps.core.refused import Refused
from apps.people.models import Person
from apps.people.services import record

MODES = ("adopt", "enforced")


def change_mode(*, actor: Person, state: AccessState, mode: str, now: datetime) -> None:
    """Let a server read only Mainstay's key files, or its old ones as well; the next push carries it. Raises Refused.

    Enforcing needs an admin of the team whose way in there was seen to work: that is asked here, again by the server's
    own guard, and proven before the change is kept.
    """
    name = state.server.name
    if mode not in MODES:
        raise Refused("There is no such mode. Nothing was changed.")
    if mode == state.mode:
        raise Refused(f"{name} is so already. Nothing was changed.")
    if mode == "enforced" and not surely_in(state, now):
        raise Refused(
            f"No owner or admin of the team was seen to get in to {name} with sudo and without an end yet. Grant that, "
            "wait for the push, then try again. Nothing was changed."
        )
    with transaction.atomic():
        if not AccessState.objects.in_mode(state, state.mode).update(mode=mode):
            raise Refused("Somebody changed this at this moment. Nothing was changed.")
        record(
            actor=actor,
            verb="access.mode_changed",
            subject=name,
            subject_id=state.server_id,
            detail={"mode": mode},
        )
    ask_push(server=state.server, reason="mode", asked_by=actor, now=now)


def surely_in(state: AccessState, now: datetime) -> list[str]:
    """Return the admins of the team whose keys without a lease sshd was last seen to take there."""
    column = Column.make(Ground.fetch(now), state)
    return [
        account.name
        for account in column.accounts.values()
        if account.admin
        and account.lease_free
        and (actual := column.actual.get(account.user))
        and actual.accepts
        and actual.sudo
        and {f"{key.type} {key.blob}" for key in account.keys} & actual.keys
    ]
