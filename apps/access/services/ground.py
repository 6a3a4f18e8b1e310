"""What the judges of access need, fetched once for every server: people, keys, grants, what is to be revoked."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from apps.access import wanted
from apps.access.drift import Owner
from apps.access.models import AccessState, Account, Drift, Grant, PublicKey
from apps.access.wanted import Actual, Cell, Place, Right, Verdict, Wanted
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
    removals: dict[Any, set[str]]  # server → keys that somebody decided to revoke there

    @classmethod
    def fetch(cls, now: datetime) -> Self:
        """Read five tables."""
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
            Drift.objects.revoked_texts(),
        )

    def wanted_on(self, server: Server, state: AccessState) -> Wanted:
        """Return the wanted state of one server: an account that was there before is left alone until it is adopted."""
        foreign = set(state.foreign)
        asked = wanted.wanted(
            place_of(server, state),
            people=[replace(one, user="") if one.user in foreign else one for one in self.people],
            keys=self.keys,
            grants=self.grants,
            leases={key: datetime.fromisoformat(until) for key, until in state.leases.items()},
            now=self.now,
        )
        more = self.removals.get(server.pk, set())
        return replace(asked, revoked=tuple(sorted({*asked.revoked, *more})))

    def person(self, pk: object) -> wanted.Person:
        """Return somebody as the judges know them. Raises StopIteration for nobody."""
        return next(one for one in self.people if one.id == str(pk))

    def right(self, who: wanted.Person, server: Server, state: AccessState) -> Right | None:
        """Return what is granted to somebody on a server."""
        return wanted.right(who, place_of(server, state), self.grants, self.now)


@dataclass(frozen=True, slots=True)
class Column:
    """One server, put ready for being compared with everybody."""

    ground: Ground
    state: AccessState
    accounts: dict[str, wanted.WantedAccount]  # person → as it shall be
    actual: dict[str, Actual]  # user → as the server last answered

    @classmethod
    def make(cls, ground: Ground, state: AccessState) -> Self:
        """Work out the wanted state once."""
        accounts = {account.person: account for account in ground.wanted_on(state.server, state).accounts}
        return cls(ground, state, accounts, {row["user"]: Actual.from_json(row) for row in state.actual})

    def has_no_lease(self, who: wanted.Person) -> bool:
        """Return whether some key of a person works here without the panel."""
        account = self.accounts.get(who.id)
        return account is not None and account.lease_free

    def cell(self, who: wanted.Person) -> Verdict:
        """Return how one person's wanted and actual access compare here."""
        given = self.ground.right(who, self.state.server, self.state)
        if given and who.user in self.state.foreign:
            said = (
                f"{who.name} may open {self.state.server.name}, but an account {who.user} was there before Mainstay. "
                "Adopt it on the drift page, or let it be."
            )
            return Verdict(Cell.WAITING, "sudo" if given.sudo else "access", "", said, given.until)
        return wanted.compare(
            who,
            place_of(self.state.server, self.state),
            given,
            self.accounts.get(who.id),
            self.actual.get(who.user) if who.user and who.user not in self.state.foreign else None,
            looked_at=self.state.looked_at,
            now=self.ground.now,
        )


def place_of(server: Server, state: AccessState) -> Place:
    """Return a server as the judges know it."""
    return Place(str(server.pk), server.name, tuple(server.tags), state.mode, tuple(state.managed))
