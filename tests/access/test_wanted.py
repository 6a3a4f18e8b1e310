"""Who shall get in: grants, leases that end by themselves, and somebody who holds a key without one."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.access.wanted import (
    LEASE,
    RENEW,
    Actual,
    Cell,
    Grant,
    Key,
    Person,
    Place,
    Verdict,
    Wanted,
    WantedAccount,
    compare,
    right,
    wanted,
)

NOW = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
H = timedelta(hours=1)
MIRA = Person("1", "Mira", "owner", active=True, user="mira")
TOM = Person("2", "Tomás", "admin", active=True, user="tom")
ANA = Person("3", "Ana", "admin", active=True, user="ana")
PRIYA = Person("4", "Priya", "member", active=True, user="priya")
LENA = Person("5", "Lena", "member", active=False, user="lena")
PEOPLE = [MIRA, TOM, ANA, PRIYA, LENA]
WEB = Place("w", "web-1", ("web",), managed=("lena",))


def key(person: Person, number: int = 1, state: str = "active") -> Key:
    """Return a key of a person."""
    return Key(f"{person.user}-{number}", person.id, "ssh-ed25519", f"AAAA{person.user}{number}", state)


KEYS = [key(person) for person in PEOPLE]
TEAM = [
    Grant(role="owner", tag="web", sudo=True),
    Grant(role="admin", tag="web", sudo=True),
    Grant(person="4", server="w"),
]


def want(*, people: Any = PEOPLE, keys: Any = KEYS, grants: Any = TEAM, place: Place = WEB, now: datetime = NOW,
         leases: dict[str, datetime] | None = None) -> Wanted:  # fmt: skip
    """Return the wanted state of web-1."""
    return wanted(place, people=people, keys=keys, grants=grants, leases=leases or {}, now=now)


def of(state: Wanted, person: Person) -> WantedAccount:
    """Return the wanted account of a person."""
    (account,) = [account for account in state.accounts if account.person == person.id]
    return account


def leases(state: Wanted) -> dict[str, datetime]:
    """Return the leases as they stand after a push."""
    return {k.id: datetime.fromtimestamp(k.until, UTC) for a in state.accounts for k in a.keys if k.until is not None}


def test_everybody_gets_a_lease_and_two_admins_hold_none() -> None:
    state = want()
    assert [account.user for account in state.accounts] == ["ana", "mira", "priya", "tom"]
    assert of(state, MIRA).lease_free
    assert of(state, TOM).lease_free
    assert of(state, ANA).keys[0].until == (NOW + LEASE).timestamp()
    assert of(state, PRIYA).keys[0].until == (NOW + LEASE).timestamp()
    assert [(a.user, a.sudo, a.admin) for a in state.accounts] == [
        ("ana", True, True), ("mira", True, True), ("priya", False, False), ("tom", True, True),
    ]  # fmt: skip


def test_who_left_is_gone_and_their_keys_are_revoked() -> None:
    state = want()
    assert state.gone == ("lena",)
    assert state.revoked == ("ssh-ed25519 AAAAlena1",)


def test_an_account_that_nobody_of_ours_made_is_never_taken_away() -> None:
    assert want(place=replace(WEB, managed=())).gone == ()


def test_a_revoked_key_is_in_the_list_and_a_removed_one_only_gone() -> None:
    keys = [*KEYS, key(PRIYA, 2, "revoked"), key(PRIYA, 3, "removed")]
    state = want(keys=keys)
    assert "ssh-ed25519 AAAApriya2" in state.revoked
    assert "ssh-ed25519 AAAApriya3" not in state.revoked
    assert [lent.id for lent in of(state, PRIYA).keys] == ["priya-1"]


@pytest.mark.parametrize(
    ("hours", "renewed"), [(0, False), (23, False), (24, False), (25, True), (71, True), (80, True)]
)
def test_a_lease_is_renewed_once_less_than_48_hours_are_left(hours: int, *, renewed: bool) -> None:
    first = want()
    later = want(leases=leases(first), now=NOW + hours * H)
    assert (later.digest != first.digest) is renewed
    if renewed:
        assert of(later, PRIYA).keys[0].until == (NOW + hours * H + LEASE).timestamp()


def test_a_grant_that_ends_caps_the_lease_and_is_not_pushed_again_and_again() -> None:
    until = NOW + 30 * H
    grants = [*TEAM[:2], Grant(person="4", server="w", until=until)]
    people = [MIRA, TOM, PRIYA]
    first = want(people=people, grants=grants)
    assert of(first, PRIYA).keys[0].until == until.timestamp()
    assert want(people=people, grants=grants, leases=leases(first), now=NOW + 5 * H).digest == first.digest
    after = want(people=people, grants=grants, leases=leases(first), now=until, place=replace(WEB, managed=("priya",)))
    assert after.gone == ("priya",)


def test_a_shortened_grant_shortens_the_lease_at_once() -> None:
    first = want()
    grants = [*TEAM[:2], Grant(person="4", server="w", until=NOW + 2 * H)]
    assert of(want(grants=grants, leases=leases(first)), PRIYA).keys[0].until == (NOW + 2 * H).timestamp()


def test_sudo_for_a_day_ends_with_the_lease_even_when_the_account_stays() -> None:
    grants = [*TEAM, Grant(person="4", server="w", sudo=True, until=NOW + 10 * H)]
    account = of(want(grants=grants), PRIYA)
    assert account.sudo
    assert not account.admin
    assert account.until is None
    assert account.keys[0].until == (NOW + 10 * H).timestamp()
    assert not of(want(grants=grants, now=NOW + 10 * H), PRIYA).sudo


def test_grants_of_other_servers_tags_people_and_roles_give_nothing() -> None:
    others = [
        Grant(person="4", server="x"), Grant(person="4", tag="db"), Grant(person="9", server="w"),
        Grant(role="viewer", server="w"), Grant(person="4", server="w", until=NOW),
    ]  # fmt: skip
    assert right(PRIYA, WEB, others, NOW) is None
    assert right(LENA, WEB, [Grant(role="member", server="w")], NOW) is None


def test_nobody_without_a_key_or_an_account_name_gets_an_account() -> None:
    assert [a.user for a in want(keys=KEYS[:1]).accounts] == ["mira"]
    assert want(people=[replace(MIRA, user="")]).accounts == ()
    kept = want(keys=KEYS[:1], place=replace(WEB, managed=("priya",)))
    assert of(kept, PRIYA).keys == ()


def test_an_admin_with_an_end_date_is_not_the_one_without_a_lease() -> None:
    grants = [Grant(role="owner", tag="web", sudo=True, until=NOW + 400 * H), Grant(role="admin", tag="web", sudo=True)]
    state = want(grants=grants)
    assert not of(state, MIRA).lease_free
    assert of(state, TOM).lease_free
    assert of(state, ANA).lease_free


def test_the_arguments_are_as_the_gate_takes_them() -> None:
    args = want(people=[MIRA], keys=[key(MIRA)]).to_args()
    assert args == {
        "accounts": [
            {"user": "mira", "person": "1", "sudo": True, "admin": True,
             "keys": [{"type": "ssh-ed25519", "blob": "AAAAmira1", "id": "mira-1", "until": None}]}
        ],
        "revoked": [], "gone": ["lena"], "mode": "adopt",
    }  # fmt: skip


ids = st.integers(0, 999).map(str)
people = st.lists(
    st.builds(Person, ids, st.just("N"), st.sampled_from(["owner", "admin", "member"]), st.booleans(),
              st.sampled_from([f"u{i}" for i in range(12)])), max_size=8, unique_by=(lambda p: p.id, lambda p: p.user),
)  # fmt: skip


@st.composite
def worlds(draw: Any) -> dict[str, Any]:
    """Draw people, keys, grants and leases."""
    team = draw(people)
    who = st.sampled_from([p.id for p in team] or ["x"])
    ends = st.none() | st.integers(-100, 200).map(lambda h: NOW + h * H)
    keys = draw(st.lists(st.builds(Key, ids, who, st.just("ssh-ed25519"), st.text("AB", min_size=3),
                                   st.sampled_from(["active", "removed", "revoked"])),
                         max_size=8, unique_by=lambda k: k.id))  # fmt: skip
    grants = draw(st.lists(
        st.builds(Grant, person=who, server=st.just("w"), sudo=st.booleans(), until=ends)
        | st.builds(Grant, role=st.sampled_from(["owner", "admin", "member"]), tag=st.just("web"), sudo=st.booleans(),
                    until=ends),
        max_size=8,
    ))  # fmt: skip
    return {"people": team, "keys": keys, "grants": grants}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.integers(0, 200))
def test_whatever_is_granted_no_lease_outlives_its_grant_or_three_days(world: dict[str, Any], hours: int) -> None:
    first = want(**world)
    now = NOW + hours * H
    state = want(**world, leases=leases(first), now=now)
    for account in state.accounts:
        person = next(p for p in world["people"] if p.id == account.person)
        given_ = right(person, WEB, world["grants"], now)
        assert given_
        assert person.active
        for lent in account.keys:
            if lent.until is None:
                assert person.role in {"owner", "admin"}
                assert given_.sudo
                assert given_.cap is None
                continue
            assert now.timestamp() < lent.until <= (now + LEASE).timestamp()
            assert given_.cap is None or lent.until <= given_.cap.timestamp()
            assert lent.until >= (now + RENEW).timestamp() or (given_.cap and lent.until == int(given_.cap.timestamp()))
    assert want(**world, leases=leases(state), now=now).digest == state.digest  # what was pushed is what is wanted
    assert not {a.user for a in state.accounts} & set(state.gone)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_where_an_able_admin_is_there_is_a_key_without_a_lease(world: dict[str, Any]) -> None:
    state = want(**world)
    able = [a for a in state.accounts if a.admin and a.keys]
    assert sum(a.lease_free for a in state.accounts) == min(len(able), 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.integers(0, 99).map(random.Random))
def test_the_order_of_what_is_read_does_not_matter(world: dict[str, Any], source: Any) -> None:
    mixed = {name: source.sample(rows, len(rows)) for name, rows in world.items()}
    assert want(**mixed).digest == want(**world).digest


def cell(person: Person, actual: Actual | None, *, age: timedelta | None = H, state: Wanted | None = None) -> Verdict:
    """Return the field of the matrix for one person."""
    state = state or want()
    account = next((a for a in state.accounts if a.person == person.id), None)
    given_ = right(person, WEB, TEAM, NOW)
    return compare(person, WEB, given_, account, actual, looked_at=None if age is None else NOW - age, now=NOW)


HAS = frozenset({"ssh-ed25519 AAAApriya1"})


@pytest.mark.parametrize(
    ("actual", "age", "expected"),
    [
        (Actual("priya", HAS, sudo=False, accepts=True), H, "same"),
        (Actual("priya", HAS, sudo=True, accepts=True), H, "extra"),
        (Actual("priya", HAS | {"ssh-ed25519 AAAAother"}, sudo=False, accepts=True), H, "extra"),
        (Actual("priya", frozenset({"ssh-ed25519 AAAAold"}), sudo=False, accepts=True), H, "extra"),
        (Actual("priya", HAS, sudo=False, accepts=False, why="sshd's AllowUsers does not name it"), H, "refused"),
        (Actual("priya", frozenset(), sudo=False, accepts=False), H, "waiting"),
        (None, H, "waiting"), (None, None, "unknown"),
        (Actual("priya", HAS, sudo=False, accepts=True), 3 * H, "unknown"),
    ],
)  # fmt: skip
def test_the_matrix_compares_what_is_wanted_with_what_is_there(
    actual: Actual | None, age: timedelta | None, expected: str
) -> None:
    verdict = cell(PRIYA, actual, age=age)
    assert verdict.cell == expected
    assert verdict.said.endswith(".")
    assert verdict.wanted == "access"


def test_the_matrix_of_who_left_and_who_never_came() -> None:
    lena = frozenset({"ssh-ed25519 AAAAlena1"})
    assert cell(LENA, Actual("lena", lena, sudo=False, accepts=True)).cell == Cell.EXTRA
    assert cell(LENA, None).cell == Cell.NONE
    assert cell(LENA, None, age=None).cell == Cell.NONE
    mira = cell(MIRA, Actual("mira", frozenset({"ssh-ed25519 AAAAmira1"}), sudo=True, accepts=True))
    assert (mira.cell, mira.wanted, mira.actual) == (Cell.SAME, "admin", "admin")
    keyless = cell(PRIYA, None, state=want(keys=KEYS[:1]))
    assert (keyless.cell, keyless.said) == (Cell.KEYLESS, "Priya may open web-1 but has not added a key yet.")


def test_what_the_server_answered_is_read_back_from_its_row() -> None:
    kept = {"user": "a", "keys": ["t b"], "sudo": True, "accepts": False, "why": None}
    assert Actual.from_json(kept) == Actual("a", frozenset({"t b"}), sudo=True, accepts=False)
