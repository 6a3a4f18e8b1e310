"""The list of plans and the page of one plan: constant queries, filters in the address, the worst thing first."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.backups.models import Plan
from apps.overview import reads
from apps.people.models import Person
from tests.backups import rows
from tests.people.factories import PersonFactory
from tests.people.fixtures import *  # noqa: F403 the people and their browsers

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def text(client: Client, url: str, status: int = 200) -> str:
    """Return a page."""
    answer = client.get(url)
    assert answer.status_code == status, answer.content[:500]
    return answer.content.decode()


def queries(client: Client, url: str) -> int:
    """Return how many queries a page needs."""
    text(client, url)  # whatever is kept in memory is kept now
    with CaptureQueriesContext(connection) as found:
        text(client, url)
    return len(found)


def many(number: int, owner: Person) -> Plan:
    """Make so many plans, each with a backup and a proof, and return the last."""
    for _ in range(number):
        last = rows.plan(owner, verdict="ok", proven_at=timezone.now())
        rows.proof(rows.backup(last))
    return last


def test_two_and_twenty_plans_cost_the_same_queries(admin_client: Client, owner: Person) -> None:
    many(2, owner)
    few = queries(admin_client, reverse("backups"))
    many(18, owner)
    assert queries(admin_client, reverse("backups")) == few
    assert few <= 15


def test_two_and_twenty_runs_cost_the_same_queries(admin_client: Client, owner: Person) -> None:
    plan = rows.plan(owner)
    for number in range(2):
        rows.proof(rows.backup(plan, timezone.now() - timedelta(hours=number)))
    url = reverse("plan", args=[plan.pk])
    few = queries(admin_client, url)
    for number in range(2, 20):
        rows.proof(rows.backup(plan, timezone.now() - timedelta(hours=number)))
    assert queries(admin_client, url) == few
    assert few <= 22


def test_two_and_twenty_stores_cost_the_same_queries(admin_client: Client) -> None:
    for _ in range(2):
        rows.backup(rows.plan())
    few = queries(admin_client, reverse("stores"))
    for _ in range(18):
        rows.backup(rows.plan())
    assert queries(admin_client, reverse("stores")) == few


def test_fifty_plans_stand_on_a_page_and_the_address_holds_the_filters(admin_client: Client, owner: Person) -> None:
    source, store = rows.source(), rows.store()
    Plan.objects.bulk_create(
        Plan(
            name=f"Bulk {number:03}",
            source=source,
            store=store,
            owner=owner,
            schedule={"kind": "hourly", "minute": 5},
            verdict="ok" if number % 2 else "bad",
        )
        for number in range(120)
    )
    url = reverse("backups")
    assert text(admin_client, url).count('<a class="cover" href="/backups/') == 50
    assert "51–60 of 60" in text(admin_client, f"{url}?verdict=risk&page=2")
    assert "verdict=risk&amp;page=1" in text(admin_client, f"{url}?verdict=risk&page=2")
    assert "Bulk 007" in text(admin_client, f"{url}?q=bulk+007")
    assert "No plan matches" in text(admin_client, f"{url}?q=nothing")


@pytest.mark.parametrize(
    ("query", "seen", "hidden"),
    [
        ("verdict=risk", ["Broken"], ["Fine", "Orphan"]),
        ("verdict=paused", ["Orphan"], ["Fine", "Broken"]),
        ("owner=nobody", ["Orphan", "Broken"], ["Fine"]),
        ("owner={owner}", ["Fine"], ["Orphan", "Broken"]),
        ("store={store}", ["Broken"], ["Fine", "Orphan"]),
        ("q=safe+place", ["Broken"], ["Fine", "Orphan"]),
        ("verdict=%00&store=x&owner=%27&page=zero", ["Fine", "Broken", "Orphan"], []),
    ],
)
def test_each_filter_shows_what_it_says(
    admin_client: Client, owner: Person, query: str, seen: list[str], hidden: list[str]
) -> None:
    store = rows.store(name="Safe place")
    rows.plan(owner, name="Fine", verdict="ok")
    rows.plan(PersonFactory(is_active=False), name="Broken", verdict="bad", verdict_said="It broke.", store=store)
    rows.plan(None, name="Orphan", verdict="none", paused_at=timezone.now())
    page = text(admin_client, f"{reverse('backups')}?{query.format(owner=owner.pk, store=store.pk)}")
    listed = page.split("<tbody>")[1].split("</tbody>")[0]
    assert all(name in listed for name in seen)
    assert not any(name in listed for name in hidden)


def test_the_list_opens_with_a_sentence_and_the_one_worst_thing(admin_client: Client, owner: Person) -> None:
    rows.plan(owner, name="Fine", verdict="ok", proven_at=timezone.now())
    since = timezone.now() - timedelta(days=42)
    rows.plan(owner, name="Warehouse", verdict="bad", verdict_said="It did not restore.", verdict_since=since)
    rows.plan(owner, name="Other", verdict="warn", verdict_said="Nobody owns it.", verdict_since=since)
    page = text(admin_client, reverse("backups"))
    assert "1 of 3 plans is proven; 2 are at risk." in page
    assert "Warehouse is at risk for 42 days." in page
    assert page.count("callout--bad") == 1
    assert "callout--warn" not in page
    listed = page.split("<tbody>")[1]
    assert listed.index("Warehouse") < listed.index("Other") < listed.index("Fine")


def test_nothing_is_green_that_was_not_proven(admin_client: Client, owner: Person) -> None:
    plan = rows.plan(owner)
    rows.backup(plan)
    page = text(admin_client, reverse("plan", args=[plan.pk]))
    assert "Not proven yet" in page
    assert "Never restored" in page
    assert "badge--ok" not in page


def test_a_viewer_sees_the_plan_and_no_button(viewer_client: Client) -> None:
    plan = rows.plan()
    rows.backup(plan)
    for url in (reverse("plan", args=[plan.pk]), reverse("backups"), reverse("stores")):
        page = text(viewer_client, url)
        assert 'method="post"' not in page.split("<main")[1].split("</main>")[0]
        assert "New backup plan" not in page


def test_the_runs_can_be_filtered_and_paged_to_the_last(admin_client: Client) -> None:
    plan = rows.plan()
    for number in range(30):
        rows.backup(plan, timezone.now() - timedelta(hours=number + 1))
    rows.backup(plan, timezone.now() - timedelta(hours=40), state="failed", error="It broke.", object_key="")
    url = reverse("plan", args=[plan.pk])
    first = text(admin_client, url)
    older = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = text(admin_client, url + older.split("#")[0])
    links: Callable[[str], set[str]] = lambda page: set(page.split("/backups/runs/")[1:])  # noqa: E731 twice, here
    ids = {link[:36] for page in (first, second) for link in links(page.split("Runs</h2>")[1])}
    assert len(ids) == 31
    failed = text(admin_client, f"{url}?show=failed")
    assert failed.split("Runs</h2>")[1].count("/backups/runs/") == 1
    assert text(admin_client, f"{url}?show=nonsense&before=2026-99-99T00:00:00Z")
    assert text(admin_client, f"{url}?before=yesterday")


def test_the_names_of_people_and_plans_cannot_carry_markup(admin_client: Client) -> None:
    evil = "<script>alert(1)</script>"
    plan = rows.plan(PersonFactory(name=evil), name=evil, verdict="bad", verdict_said=evil)
    rows.proof(rows.backup(plan, log=[evil], error=evil, state="done"), held=4, said=evil)
    for url in (reverse("backups"), reverse("plan", args=[plan.pk]), reverse("plan-edit", args=[plan.pk])):
        assert evil not in text(admin_client, url)


def test_a_schedule_that_cannot_be_read_breaks_neither_list_nor_page(admin_client: Client) -> None:
    plan = rows.plan(schedule={"kind": "lunar"})
    assert "cannot be read" in text(admin_client, reverse("backups"))
    assert "cannot be read" in text(admin_client, reverse("plan", args=[plan.pk]))
    assert text(admin_client, reverse("plan-edit", args=[plan.pk]))


def test_the_list_and_the_first_page_count_proven_plans_the_same_way(admin_client: Client, owner: Person) -> None:
    now = timezone.now()
    rows.plan(owner, name="Fine", verdict="ok", proven_at=now)
    rows.plan(owner, name="Together", verdict="warn", proven_at=now)
    rows.plan(owner, name="Old", verdict="warn", proven_at=now - timedelta(days=60))
    rows.plan(owner, name="Refuted", verdict="bad", proven_at=now, failed_rung=5)
    rows.plan(owner, name="Resting", verdict="ok", proven_at=now, paused_at=now)
    page = text(admin_client, reverse("backups"))
    assert "2 of 4 plans are proven; 3 are at risk. 1 plan is paused." in page
    assert "At risk (3)" in page
    assert reads.look(now).plans.proven == 2


def test_what_would_be_lost_is_the_age_of_proven_data_on_every_page(admin_client: Client, owner: Person) -> None:
    now = timezone.now()
    taken = now - timedelta(hours=30)
    plan = rows.plan(owner, verdict="ok", proven_at=taken, proven_taken_at=taken, last_backup_at=now)
    for url in (reverse("overview"), reverse("backups"), reverse("plan", args=[plan.pk])):
        page = text(admin_client, url)
        assert "30 h 01 min" in page or ">30<" in page, url
