"""Two at once: a link is used by one, one owner stays, one counter wins; on SQLite and on PostgreSQL."""

import threading
from collections.abc import Callable

import pytest
from django.core.cache import caches
from django.db import connection
from django.utils import timezone

from apps.people import services
from apps.people.models import Person
from tests.people.factories import PASSWORD, OwnerFactory

pytestmark = [pytest.mark.db, pytest.mark.django_db(transaction=True)]


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run each call in a thread of its own, started together; return what each returned or raised."""
    results: list[object] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(place: int, call: Callable[[], object]) -> None:
        start.wait()
        try:
            results[place] = call()
        except Exception as error:  # noqa: BLE001 the test looks at it
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place, call)) for place, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def refusals(results: list[object]) -> int:
    """Return how many were refused; anything else that was raised is a fault."""
    errors = [one for one in results if isinstance(one, Exception)]
    assert all(isinstance(one, services.RefusedError) for one in errors), errors
    return len(errors)


def test_a_set_up_link_opened_by_two_makes_one_owner() -> None:
    token = services.first_admin(email="", password="", now=timezone.now())
    assert token

    def set_up(email: str) -> Person:
        return services.set_up(
            digest=services.digest_of(token),
            name="A",
            email=email,
            password=PASSWORD,
            time_zone="UTC",
            now=timezone.now(),
        )

    results = at_once(lambda: set_up("a@example.com"), lambda: set_up("b@example.com"), lambda: set_up("c@example.com"))
    assert refusals(results) == 2
    assert Person.objects.owners().count() == 1


def test_an_invitation_used_by_two_makes_one_person() -> None:
    owner = OwnerFactory()
    _, token = services.invite(actor=owner, email="new@example.com", role="viewer", now=timezone.now())

    def join() -> Person:
        return services.join(
            digest=services.digest_of(token), name="N", password=PASSWORD, time_zone="UTC", now=timezone.now()
        )

    assert refusals(at_once(join, join, join)) == 2
    assert Person.objects.count() == 2


def test_two_owners_who_demote_each_other_leave_one_owner() -> None:
    one, two = OwnerFactory(), OwnerFactory()
    results = at_once(
        lambda: services.change_role(actor=one, person=two, role="viewer"),
        lambda: services.change_role(actor=two, person=one, role="viewer"),
    )
    assert refusals(results) == 1
    assert Person.objects.owners().count() == 1


def test_two_owners_who_leave_at_once_leave_one_owner() -> None:
    one, two = OwnerFactory(), OwnerFactory()
    results = at_once(
        lambda: services.leave(actor=one, person=one, now=timezone.now()),
        lambda: services.leave(actor=two, person=two, now=timezone.now()),
    )
    assert refusals(results) == 1
    assert Person.objects.owners().count() == 1


def test_a_counter_has_one_winner() -> None:
    won = at_once(*[lambda: caches["attempts"].add("k", 1, 60)] * 5)
    assert sorted(map(bool, won)) == [False] * 4 + [True]
    assert not any(isinstance(one, Exception) for one in won)


def test_a_counter_that_ran_out_can_be_won_again() -> None:
    cache = caches["attempts"]
    assert cache.add("k", [1.5, 2.5], 60)
    assert cache.get("k") == [1.5, 2.5]
    cache.set("k", [3], -1)
    assert cache.get("k", "none") == "none"
    won = at_once(*[lambda: cache.add("k", 2, 60)] * 4)
    assert sorted(map(bool, won)) == [False] * 3 + [True]
    assert cache.touch("k", 5)
    assert cache.delete("k")
