"""The form of a plan as a browser without scripts uses it, and as htmx does: preview, tests of connections, saving."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.backups import services
from apps.backups.models import Backup, ConnectionTest, Plan, Source, Store
from apps.people.models import AuditEntry, Person
from tests.backups import rows
from tests.backups.factories import sqlite_file
from tests.people.fixtures import *  # noqa: F403 the people and their browsers

pytestmark = pytest.mark.django_db


def filled(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Return a whole form: a SQLite file to a new local folder, weekdays at 02:05 in Berlin."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = tmp_path / "shop.sqlite3"
    return {
        "source-kind": "sqlite", "source-path": str(file if file.exists() else sqlite_file(file, rows=10)),
        "source-label": "Shop file", "source-provider": "Here", "store-kind": "local", "store-path": str(folder),
        "store-label": "Disk", "store-site": "Elsewhere", "plan-name": "Shop", "plan-freq": "days",
        "plan-time": "02:05", "plan-weekdays": ["0", "1", "2", "3", "4"], "plan-time_zone": "Europe/Berlin",
        "plan-keep_daily": "7", "plan-keep_weekly": "4", "plan-keep_monthly": "12", "plan-prove_days": "7",
        "act": "save", **more,
    }  # fmt: skip


def told(client: Client, *, script: bool = True) -> str:
    """Do the one test that was asked for as a worker does, and return what the page then says."""
    test = ConnectionTest.objects.get(found__isnull=True)
    services.check(test.pk)
    headers = {"HX-Request": "true"} if script else {}
    return client.get(reverse("connection-test", args=[test.pk]), headers=headers).content.decode()


def test_a_plan_is_made_with_source_and_store_in_one_go(admin_client: Client, admin: Person, tmp_path: Path) -> None:
    answer = admin_client.post(reverse("backups-new"), filled(tmp_path, **{"plan-owner": admin.pk}))
    plan = Plan.objects.get()
    assert answer.headers["Location"] == reverse("plan", args=[plan.pk])
    assert (plan.name, plan.source.name, plan.store.name, plan.owner) == ("Shop", "Shop file", "Disk", admin)
    assert plan.source.domain == {"provider": "Here"}
    assert plan.schedule == {"kind": "days", "time": "02:05", "weekdays": [0, 1, 2, 3, 4]}
    assert not Backup.objects.exists()
    assert set(AuditEntry.objects.values_list("verb", flat=True)) >= {
        "backups.source_added", "backups.store_added", "backups.planned",
    }  # fmt: skip


def test_save_and_back_up_now_starts_a_backup(admin_client: Client, tmp_path: Path) -> None:
    admin_client.post(reverse("backups-new"), filled(tmp_path, act="run"))
    assert Backup.objects.get().state == "waiting"


def test_bad_input_saves_nothing_loses_nothing_and_says_what_to_mend(admin_client: Client, tmp_path: Path) -> None:
    more = {"plan-time": "late", "plan-cron": "1 2 3 4 5", "source-site": "Under the stairs"}
    answer = admin_client.post(reverse("backups-new"), filled(tmp_path, **more))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Nothing is saved yet." in page
    assert "24-hour clock" in page
    assert (Plan.objects.count(), Source.objects.count(), Store.objects.count()) == (0, 0, 0)
    for kept in ("late", "1 2 3 4 5", "Under the stairs", "Shop file", "Disk", str(tmp_path / "store")):
        assert f'value="{kept}"' in page
    assert page.count('aria-invalid="true"') == 1
    assert re.search(r'name="plan-weekdays" value="5"[^>]*aria-label="Saturday">', page)
    assert re.search(r'name="plan-weekdays" value="4"[^>]*checked>', page)


def test_a_name_that_is_taken_is_said_at_its_field_and_nothing_is_written(admin_client: Client, tmp_path: Path) -> None:
    rows.plan(name="Shop")
    before = Source.objects.count(), Store.objects.count()
    answer = admin_client.post(reverse("backups-new"), filled(tmp_path))
    assert answer.status_code == 422
    assert "A plan called Shop exists" in answer.content.decode()
    assert (Source.objects.count(), Store.objects.count()) == before
    rows.source(name="Shop file")
    answer = admin_client.post(reverse("backups-new"), filled(tmp_path, **{"plan-name": "Other"}))
    assert "A source called Shop file exists" in answer.content.decode()


def test_without_a_script_the_preview_and_both_tests_are_buttons_of_the_form(
    admin_client: Client, tmp_path: Path
) -> None:
    url = reverse("backups-new")
    page = admin_client.post(url, filled(tmp_path, act="preview")).content.decode()
    assert page.count('<span class="job">') == 5
    assert "Every weekday at 02:05 Berlin time" in page
    page = admin_client.post(url, filled(tmp_path, act="test-source")).content.decode()
    assert "Testing the connection" in page.split('id="check-source"')[1].split('id="fs2"')[0]
    assert "callout--ok" in told(admin_client, script=False)
    page = admin_client.post(url, filled(tmp_path, act="test-store")).content.decode()
    assert "Testing the connection" in page.split('id="check-store"')[1].split('id="fs5"')[0]
    assert "callout--ok" in told(admin_client, script=False)
    assert not Plan.objects.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "Every weekday at 02:05 Berlin time"),
        ({"plan-freq": "hourly", "plan-minute": "7"}, "Every hour at 7 past"),
        ({"plan-freq": "monthly", "plan-day": "last"}, "On the last day of every month"),
        ({"plan-freq": "cron", "plan-cron": "*/15 8-18 * * 1-5"}, "Next five runs"),
        ({"plan-freq": "cron", "plan-cron": "nonsense"}, "five fields"),
        ({"plan-time_zone": "Mars/Olympus"}, "no such time zone"),
        ({"plan-time": ""}, "24-hour clock"),
        ({"plan-weekdays": []}, "at least one day"),
        ({"plan-keep_daily": "x", "plan-keep_weekly": "0", "plan-keep_monthly": "0"}, "only the newest"),
        ({f"plan-keep_{name}": "0" for name in ("daily", "weekly", "monthly", "yearly")}, "With 0 everywhere only"),
        ({"plan-prove_days": "7"}, "10 days"),
        ({"plan-prove_days": ""}, "4 days"),
        ({"plan-loss": "1", "plan-loss_unit": "hours"}, "More than your goal of 1 h"),
        ({"source-kind": "nonsense", "store-kind": "nonsense"}, "In plain words"),
    ],
)
def test_the_preview_speaks_while_it_is_typed(
    admin_client: Client, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    answer = admin_client.post(reverse("backups-preview"), filled(tmp_path, **more), headers={"HX-Request": "true"})
    page = answer.content.decode()
    assert answer.status_code == 200
    assert said in page, page
    assert "<html" not in page


def test_the_preview_of_an_empty_form_still_speaks(admin_client: Client) -> None:
    answer = admin_client.post(reverse("backups-preview"), {})
    assert answer.status_code == 200


def test_editing_changes_the_plan_and_keeps_the_stored_secret(admin_client: Client, tmp_path: Path) -> None:
    plan = rows.plan(name="Shop")
    url = reverse("plan-edit", args=[plan.pk])
    page = admin_client.get(url).content.decode()
    assert 'value="db.example.com"' in page
    data = filled(tmp_path, **{"plan-freq": "hourly", "plan-minute": "3", "plan": str(plan.pk)})
    for name in ("source-kind", "source-path", "source-label", "source-provider"):
        del data[name]
    for name, value in {"host": "db.example.com", "port": "5432", "database": "shop", "user": "someone"}.items():
        data[f"source-{name}"] = value
    data["source-label"], data["store-pick"] = plan.source.name, str(plan.store_id)
    answer = admin_client.post(url, data)
    assert answer.status_code == 302, answer.content.decode()
    plan = Plan.objects.select_related("source").get()
    assert plan.schedule == {"kind": "hourly", "minute": 3}
    assert plan.source.config["user"] == "someone"
    assert plan.source.secrets == {"password": rows.PASSWORD}
    assert Store.objects.count() == 1


def test_a_stored_password_does_not_leave_through_the_test_of_another_address(
    admin_client: Client,
) -> None:
    plan = rows.plan()
    data = {
        "plan": str(plan.pk), "source-host": "evil.example.com", "source-port": "5432", "source-database": "shop",
        "source-user": "backup",
    }  # fmt: skip
    answer = admin_client.post(reverse("backups-check-source"), data)
    assert "never sent to another address" in answer.content.decode()
    assert not ConnectionTest.objects.exists()


def test_a_test_of_a_connection_says_in_plain_words_what_is_wrong(admin_client: Client, tmp_path: Path) -> None:
    data = {
        "source-kind": "postgresql", "source-host": "127.0.0.1", "source-port": "1", "source-database": "shop",
        "source-user": "app", "source-password": rows.PASSWORD,
    }  # fmt: skip
    asking = admin_client.post(reverse("backups-check-source"), data).content.decode()
    assert "Testing the connection" in asking
    page = told(admin_client)
    assert "callout--bad" in page
    assert "127.0.0.1:1" in page
    assert rows.PASSWORD not in asking + page
    admin_client.post(
        reverse("backups-check-source"), {"source-kind": "sqlite", "source-path": str(tmp_path / "none")}
    )
    assert "There is no file" in told(admin_client)
    page = admin_client.post(reverse("backups-check-store"), {"store-kind": "local", "store-path": ""}).content.decode()
    assert "for example /srv/backups" in page


def test_stores_are_added_changed_and_removed_by_their_pages(admin_client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    data = {"store-kind": "local", "store-path": str(folder), "store-label": "Disk", "act": "save"}
    assert admin_client.post(reverse("store-new"), data).status_code == 302
    store = Store.objects.get()
    url = reverse("store-edit", args=[store.pk])
    assert admin_client.post(url, {**data, "store-label": "Second disk"}).status_code == 302
    assert Store.objects.get().name == "Second disk"
    page = admin_client.post(reverse("store-check", args=[store.pk]), follow=True).content.decode()
    assert "Testing the connection" in page
    assert "The folder takes" in told(admin_client, script=False)
    plan = rows.plan(store=store)
    remove = reverse("store-remove", args=[store.pk])
    assert "It is still used." in admin_client.get(remove).content.decode()
    assert admin_client.post(remove, {"typed": "Second disk"}).status_code == 422
    admin_client.post(reverse("plan-remove", args=[plan.pk]), {"typed": plan.name})
    assert admin_client.post(remove, {"typed": "Something"}).status_code == 422
    assert admin_client.post(remove, {"typed": "Second disk"}).status_code == 302
    assert not Store.objects.exists()


@pytest.mark.parametrize("name", ["backups-new", "backups-preview", "backups-check-source", "backups-check-store"])
def test_the_form_is_for_admins(member_client: Client, name: str) -> None:
    assert member_client.post(reverse(name), {}).status_code == 403
