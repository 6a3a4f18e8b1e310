"""What the judges of access need, fetched once for every server: people, keys, grants."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from apps.access import wanted
from apps.access.drift import Owner
from apps.access.models import AccessState, Account, Grant, PublicKey
from apps.access.wanted import Place, Wanted
from apps.people.models import Person
from apps.servers.models import Server


@dataclass(frozen=True, slots=True)
class Ground:
    """Everybody, every key and every grant in force, at one moment."""

    now: datetime
    people: tuple[wanted.Person, ...]
    keys: tuple[wanted.Key, ...]
    grants: tuple[wanted.Grant, ...]
    owners: dict[str, Owner]  # fingerprint → whose it is

    @classmethod
    def fetch(cls, now: datetime) -> Self:
        """Read four tables."""
        users = dict(Account.objects.values_list("person_id", "user"))
        people = tuple(
            wanted.Person(str(one.pk), str(one), one.role, one.is_active, users.get(one.pk, ""))
            for one in Person.objects.order_by("pk")
        )
        by_id = {one.id: one for one in people}
        rows = list(PublicKey.objects.order_by("pk"))
        return cls(
            now,
            people,
            tuple(wanted.Key(str(key.pk), str(key.person_id), key.type, key.blob, key.state) for key in rows),
            tuple(
                wanted.Grant(str(one.person_id or ""), one.role, str(one.server_id or ""), one.tag, one.sudo, one.until)
                for one in Grant.objects.in_force(now)
            ),
            {
                key.fingerprint: Owner(str(key.person_id), holder.name, holder.user, holder.active, key.state)
                for key in rows
                if (holder := by_id.get(str(key.person_id)))
            },
        )

    def wanted_on(self, server: Server, state: AccessState) -> Wanted:
        """Return the wanted state of one server."""
        leases = {key: datetime.fromisoformat(until) for key, until in state.leases.items()}
        return wanted.wanted(
            place_of(server, state),
            people=self.people,
            keys=self.keys,
            grants=self.grants,
            leases=leases,
            now=self.now,
        )


def place_of(server: Server, state: AccessState) -> Place:
    """Return a server as the judges know it."""
    return Place(str(server.pk), server.name, tuple(server.tags), state.mode, tuple(state.managed))
