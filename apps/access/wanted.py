"""Who shall be able to sign in on a server: from people, keys and grants to the gate's `access` arguments, purely.

Everybody's keys are leases of 72 hours, renewed while less than 48 are left, and never longer than the grant. Up to two
human admins of each server hold theirs without a lease, so that a dead panel locks nobody out.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from apps.core import words

LEASE, RENEW = timedelta(hours=72), timedelta(hours=48)
LEASE_FREE = 2  # people a server
ADMIN_ROLES = ("owner", "admin")  # in the order in which they are chosen
LOOKED = timedelta(hours=2)  # what was seen longer ago is not known any more


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as far as access is concerned. `id` orders people by when they joined (UUIDv7)."""

    id: str
    name: str
    role: str
    active: bool
    user: str = ""  # the account's name, "" while there is none


@dataclass(frozen=True, slots=True)
class Key:
    """One public key of a person."""

    id: str
    person: str
    type: str
    blob: str
    state: str = "active"  # active, removed, revoked

    @property
    def text(self) -> str:
        """Return type and blob, as the list of revoked keys has them."""
        return f"{self.type} {self.blob}"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person or a role may open: a server or a tag."""

    person: str = ""
    role: str = ""
    server: str = ""
    tag: str = ""
    sudo: bool = False
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One server. `managed`: the accounts that Mainstay made or took over there."""

    id: str
    name: str
    tags: tuple[str, ...] = ()
    mode: str = "adopt"
    managed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lent:
    """One key on a server; `until` None has no lease."""

    id: str
    type: str
    blob: str
    until: int | None


@dataclass(frozen=True, slots=True)
class WantedAccount:
    """One account as it shall be. `admin`: a human admin, with sudo and without an end."""

    user: str
    person: str
    name: str
    sudo: bool
    admin: bool
    keys: tuple[Lent, ...]
    until: datetime | None = None  # of the grant

    @property
    def lease_free(self) -> bool:
        """Return whether some key works without the panel."""
        return any(key.until is None for key in self.keys)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The whole wanted state of one server."""

    accounts: tuple[WantedAccount, ...]
    revoked: tuple[str, ...]
    gone: tuple[str, ...]
    mode: str

    def to_args(self) -> dict[str, Any]:
        """Return the `wanted` argument of the gate's verb `access`."""
        return {
            "accounts": [
                {
                    "user": a.user, "person": a.person, "sudo": a.sudo, "admin": a.admin,
                    "keys": [{"type": k.type, "blob": k.blob, "id": k.id, "until": k.until} for k in a.keys],
                }
                for a in self.accounts
            ],
            "revoked": list(self.revoked), "gone": list(self.gone), "mode": self.mode,
        }  # fmt: skip

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the arguments in one spelling."""
        text = json.dumps(self.to_args(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def leased_until(self) -> datetime | None:
        """Return when the first lease ends, None when there is none."""
        ends = [key.until for account in self.accounts for key in account.keys if key.until is not None]
        return datetime.fromtimestamp(min(ends), UTC) if ends else None


@dataclass(frozen=True, slots=True)
class Right:
    """What somebody may do on one server; `cap` is when a lease must end at the latest."""

    sudo: bool
    until: datetime | None
    cap: datetime | None


def right(person: Person, place: Place, grants: Sequence[Grant], now: datetime) -> Right | None:
    """Return what the grants in force give a person on a server, None for nothing.

    The longest grant decides until when. With sudo by a shorter one the lease ends with that: a server that cannot be
    reached then must not keep the sudo, and one that can be gets a new lease without it.
    """
    if not person.active:
        return None
    mine = [
        grant
        for grant in grants
        if (grant.until is None or grant.until > now)
        and (grant.person == person.id if grant.person else grant.role == person.role)
        and (grant.server == place.id if grant.server else grant.tag in place.tags)
    ]
    if not mine:
        return None
    until, with_sudo = _latest(mine), [grant for grant in mine if grant.sudo]
    return Right(bool(with_sudo), until, _latest(with_sudo) if with_sudo else until)


def wanted(
    place: Place,
    *,
    people: Sequence[Person],
    keys: Sequence[Key],
    grants: Sequence[Grant],
    leases: Mapping[str, datetime],
    now: datetime,
) -> Wanted:
    """Return the wanted state of a server. `leases`: key id → until when its lease there was last proven."""
    rights = {p.id: r for p in people if p.user and (r := right(p, place, grants, now))}
    mine: dict[str, list[Key]] = {}
    for key in sorted(keys, key=lambda key: key.id):
        if key.state == "active":
            mine.setdefault(key.person, []).append(key)
    free = lease_free(people, rights, mine)
    fresh = _stamp(now + LEASE)
    renew = any(
        _due(leases.get(key.id), rights[person].cap, now)
        for person in rights
        if person not in free
        for key in mine.get(person, [])
    )
    accounts = []
    for person in sorted(people, key=lambda person: person.user):
        if not (given := rights.get(person.id)):
            continue
        held = mine.get(person.id, [])
        if not held and person.user not in place.managed:
            continue  # an account is made once there is a key for it
        lent = tuple(
            Lent(key.id, key.type, key.blob, None if person.id in free else _lease(key, given, leases, renew, fresh))
            for key in held
        )
        admin = given.sudo and given.cap is None and person.role in ADMIN_ROLES
        accounts.append(WantedAccount(person.user, person.id, person.name, given.sudo, admin, lent, given.until))
    left = {person.id for person in people if not person.active}
    users = {account.user for account in accounts}
    return Wanted(
        tuple(accounts),
        tuple(sorted({key.text for key in keys if key.state == "revoked" or key.person in left})),
        tuple(sorted(set(place.managed) - users)),
        place.mode,
    )


def lease_free(
    people: Sequence[Person], rights: Mapping[str, Right], keys: Mapping[str, Collection[Key]]
) -> tuple[str, ...]:
    """Return who holds keys without a lease: active owners, then admins, who have sudo without an end, and a key."""
    able = [
        person
        for person in people
        if person.active
        and person.role in ADMIN_ROLES
        and keys.get(person.id)
        and (given := rights.get(person.id))
        and given.sudo
        and given.cap is None
    ]
    able.sort(key=lambda person: (ADMIN_ROLES.index(person.role), person.id))
    return tuple(person.id for person in able[:LEASE_FREE])


def _latest(grants: Sequence[Grant]) -> datetime | None:
    ends = [grant.until for grant in grants]
    return None if None in ends else max(end for end in ends if end)


def _stamp(moment: datetime) -> int:
    """Return a Unix time cut to the minute, so that pushes close together say the same."""
    return int(moment.timestamp()) // 60 * 60


def _due(lease: datetime | None, cap: datetime | None, now: datetime) -> bool:
    """Return whether a lease must be written anew."""
    if lease is None or lease <= now or (cap and lease > cap):
        return True
    return lease - now < RENEW and not (cap and int(lease.timestamp()) == int(cap.timestamp()))


def _lease(key: Key, given: Right, leases: Mapping[str, datetime], renew: bool, fresh: int) -> int:  # noqa: FBT001
    """Return until when a key works: all of a server are renewed at once, or none is."""
    until = fresh if renew or key.id not in leases else int(leases[key.id].timestamp())
    return min(until, int(given.cap.timestamp())) if given.cap else until


# --- wanted against actual ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Actual:
    """One account as the server last answered: keys as "type blob"; `accepts`: sshd would let somebody in, or `why`."""

    user: str
    keys: frozenset[str]
    sudo: bool
    accepts: bool
    why: str = ""

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Actual":
        """Return what AccessState.actual keeps."""
        why = str(kept.get("why") or "")
        return cls(kept["user"], frozenset(kept["keys"]), bool(kept["sudo"]), bool(kept["accepts"]), why)


class Cell(StrEnum):
    """How wanted and actual of one person on one server compare."""

    NONE = "none"  # no access, and none wanted
    SAME = "same"
    WAITING = "waiting"  # wanted, not there yet
    REFUSED = "refused"  # there, but sshd would not let the person in
    EXTRA = "extra"  # there, and not wanted
    KEYLESS = "keyless"  # granted, but the person has no key yet
    UNKNOWN = "unknown"  # not looked at for too long


@dataclass(frozen=True, slots=True)
class Verdict:
    """One field of the matrix people × servers. `wanted` and `actual`: "", access, sudo or admin."""

    cell: Cell
    wanted: str
    actual: str
    said: str
    until: datetime | None = None


def compare(
    person: Person, place: Place, given: Right | None, account: WantedAccount | None, actual: Actual | None,
    *, looked_at: datetime | None, now: datetime,
) -> Verdict:  # fmt: skip
    """Return how one person's wanted and actual access to one server compare."""
    want = "" if not given else "admin" if account and account.admin else "sudo" if given.sudo else "access"
    until = given.until if given else None
    fresh = looked_at is not None and now - looked_at <= LOOKED
    have = ""
    if actual and actual.keys and fresh:
        have = ("admin" if want == "admin" else "sudo") if actual.sudo else "access"
    where, who = place.name, person.name

    def verdict(cell: Cell, said: str) -> Verdict:
        return Verdict(cell, want, have, said, until)

    if given and (account is None or not account.keys):
        need = "an account name" if not person.user else "a key"
        if not have:
            return verdict(Cell.KEYLESS, f"{who} may open {where} but has not added {need} yet.")
    if not fresh:
        if not given and not (actual and actual.keys):
            return verdict(Cell.NONE, f"{who} has no access to {where}.")
        seen = f"not looked at since {words.moment(looked_at)}" if looked_at else "never looked at"
        return verdict(Cell.UNKNOWN, f"It is not known whether {who} can open {where}: it was {seen}.")
    if not have:
        if not want:
            return verdict(Cell.NONE, f"{who} has no access to {where}.")
        return verdict(Cell.WAITING, f"{who} gets access to {where} with the next push.")
    if not want:
        return verdict(Cell.EXTRA, f"{who} still has keys on {where}, and nothing grants them.")
    if account and actual and (odd := _odd(person, place, account, actual)):
        return verdict(*odd)
    end = f" until {words.moment(until)}" if until else ""
    what = {"access": "an account of their own", "sudo": "sudo", "admin": "sudo as an admin"}[want]
    return verdict(Cell.SAME, f"{who} has {what} on {where}{end}.")


def _odd(person: Person, place: Place, account: WantedAccount, actual: Actual) -> tuple[Cell, str] | None:
    """Return what is not as wanted where both are there, None when all is."""
    asked = frozenset(f"{key.type} {key.blob}" for key in account.keys)
    if more := actual.keys - asked:
        many = words.plural(len(more), "key")
        return Cell.EXTRA, f"{person.name} has {many} on {place.name} that nothing grants."
    if actual.sudo and not account.sudo:
        return Cell.EXTRA, f"{person.name} has sudo on {place.name}, and nothing grants it."
    if asked - actual.keys or account.sudo != actual.sudo:
        return Cell.WAITING, f"What {person.name} may do on {place.name} changes with the next push."
    if not actual.accepts:
        return Cell.REFUSED, f"{place.name} would not let {person.name} in: {actual.why or 'it did not say why'}."
    return None
