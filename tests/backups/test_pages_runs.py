"""Pages of runs: progress that is polled, evidence that opens where it failed, restores, and the decrypted download."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.backups.models import Restore, RestoreTest
from apps.people.models import AuditEntry, Person
from tests.backups import rows
from tests.backups.factories import world
from tests.people.fixtures import *  # noqa: F403 the people and their browsers
from tests.people.fixtures import client_of

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def text(client: Client, name: str, pk: object, query: str = "") -> str:
    """Return a page."""
    answer = client.get(reverse(name, args=[pk]) + query)
    assert answer.status_code == 200, answer.content[:500]
    return answer.content.decode()


def test_progress_is_polled_while_something_runs_and_the_page_is_read_again_when_it_ends(admin_client: Client) -> None:
    plan, now = rows.plan(), timezone.now()
    run = rows.backup(
        plan, now, state="running", stage="sending", bytes_done=1_000_000, bytes_total=4_000_000,
        stage_at=now - timedelta(seconds=10), finished_at=None, lease_until=now + timedelta(minutes=2),
    )  # fmt: skip
    page = text(admin_client, "plan", plan.pk)
    assert 'hx-trigger="every 2s"' in page
    url = reverse("plan-progress", args=[plan.pk])
    part = admin_client.get(url, headers=HTMX).content.decode()
    for said in ("Sending", "1.0 MB of 4.0 MB", "kB/s", "left", "You can leave this page", 'aria-valuenow="25"'):
        assert said in part, said
    assert "<html" not in part
    assert admin_client.get(url).status_code == 302  # a browser without scripts that opens it
    run.state = "done"
    run.save()
    assert admin_client.get(url, headers=HTMX).headers["HX-Refresh"] == "true"
    assert "every 2s" not in text(admin_client, "plan", plan.pk)


@pytest.mark.parametrize("total", [None, 0])
def test_a_run_of_unknown_size_shows_what_is_known_and_no_more(admin_client: Client, total: int | None) -> None:
    plan = rows.plan()
    rows.backup(plan, state="waiting", bytes_total=total, finished_at=None, attempt=0, started_at=None)
    part = admin_client.get(reverse("plan-progress", args=[plan.pk]), headers=HTMX).content.decode()
    assert "Waiting for a worker" in part
    assert "aria-valuenow" not in part
    assert "left" not in part.replace("leave", "")


def test_a_plan_at_risk_says_everything_that_is_wrong_and_what_to_do(viewer_client: Client) -> None:
    troubles = [
        {"code": "backups.failed", "bad": True, "said": "The last backup failed.", "todo": "Mend it.", "since": None},
        {
            "code": "backups.no_owner",
            "bad": False,
            "said": "Nobody owns it.",
            "todo": "Choose an owner.",
            "since": None,
        },
    ]
    plan = rows.plan(verdict="bad", verdict_said="The last backup failed.", troubles=troubles)
    page = text(viewer_client, "plan", plan.pk)
    said = ("The last backup failed.", "Mend it.", "Nobody owns it.", "Choose an owner.")
    assert {one: page.count(one) for one in said} == dict.fromkeys(said, 1)
    assert page.count("callout--bad") == 1


def test_a_second_backup_is_refused_in_a_sentence(admin_client: Client) -> None:
    plan = rows.plan()
    url = reverse("plan-back-up", args=[plan.pk])
    admin_client.post(url)
    assert "nothing was started" in admin_client.post(url, follow=True).content.decode()


def test_evidence_of_a_proof_names_every_rung_its_figures_and_what_it_cannot_see(viewer_client: Client) -> None:
    plan = rows.plan(name="Shop")
    page = text(viewer_client, "restore-test", rows.proof(rows.backup(plan)).pk)
    assert "Shop was restored and is equal to what was backed up" in page
    for said in (
        "It ran", "It is there", "Its bytes are intact", "It can be read", "It was restored", "It is complete",
        "It is correct", "What this cannot see", "pg_restore", "33.0 s", "5 min", "public.t2", "All are equal",
        "a" * 64, "data-print", "/steps",
    ):  # fmt: skip
        assert said in page, said
    assert "seal--bad" not in page


def test_evidence_of_a_failure_opens_at_the_rung_with_its_log_cause_and_way_out(viewer_client: Client) -> None:
    page = text(
        viewer_client, "restore-test", rows.proof(rows.backup(rows.plan()), held=4, said="The disk is full.").pk
    )
    assert "It could not be restored" in page
    assert "Stopped at step 5" in page
    assert "The disk is full." in page
    assert "pg_restore: error: no space left" in page
    assert "What to do." in page
    assert page.count("Not reached") == 2
    assert "Evidence of a restore" not in page
    assert "1 differs" in page


def test_what_could_not_be_tested_is_never_green(viewer_client: Client) -> None:
    backup = rows.backup(rows.plan())
    ladder = [
        *rows.rungs(4)[:4],
        {"name": "restored", "ok": None, "said": "PostgreSQL 19 is not here.", "seconds": 0.0},
    ]
    test = rows.proof(backup, verdict="unproven", rungs=ladder, compared=[], restore_seconds=None)
    page = text(viewer_client, "restore-test", test.pk)
    assert "could not be tested" in page
    assert "badge--none" in page
    assert "seal--none" in page
    assert "Evidence of a restore" not in page


def test_many_tables_are_shown_in_part_and_all_on_demand_the_unequal_first(viewer_client: Client) -> None:
    compared = [[f"public.t{n:03}", 5, 5, n != 99] for n in range(120)]
    test = rows.proof(rows.backup(rows.plan()), compared=compared, compared_total=120)
    short, whole = (text(viewer_client, "restore-test", test.pk, query) for query in ("", "?all=1"))
    assert "public.t099" in short
    assert "public.t098" not in short
    assert "public.t119" in whole


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"state": "failed", "error": "The bucket is gone.", "object_key": "", "manifest": None},
            "The bucket is gone.",
        ),
        ({"pruned_at": timezone.now()}, "pruned as the plan says"),
        ({"lost_at": timezone.now()}, "missing or changed in the store"),
        ({"state": "waiting", "attempt": 0}, "It is under way."),
        ({"manifest": {"nonsense": 1}}, "It counts once it has been restored."),
    ],
)
def test_a_backup_says_what_became_of_it(admin_client: Client, fields: dict[str, Any], said: str) -> None:
    backup = rows.backup(rows.plan(), **fields)
    page = text(admin_client, "backup", backup.pk)
    assert said in page
    restorable = backup.state == "done" and backup.pruned_at is None
    assert ("/restore" in page) == restorable


def test_a_backup_shows_what_was_recorded_with_it(viewer_client: Client) -> None:
    page = text(viewer_client, "backup", rows.backup(rows.plan()).pk)
    for said in ("public.t2", "16.4", "9 recorded", "18.6", "1 min 20 s", "age1canbeshown", "Recovery steps"):
        assert said in page, said
    assert "Download" not in page


def test_recovery_steps_hold_commands_and_no_key(viewer_client: Client) -> None:
    page = text(viewer_client, "backup-steps", rows.backup(rows.plan()).pk)
    for said in ("age -d -i key.txt", "sha256sum -c", "pg_restore", "a" * 64):
        assert said in page, said
    assert "AGE-SECRET-KEY-1…" in page
    assert "data-print" in page


def test_a_backup_without_a_manifest_has_no_steps_and_says_so(viewer_client: Client) -> None:
    backup = rows.backup(rows.plan(), state="failed", object_key="", manifest=None)
    answer = viewer_client.get(reverse("backup-steps", args=[backup.pk]), follow=True)
    assert "there are no steps for it" in answer.content.decode()


def test_a_restore_is_asked_for_with_a_new_place_and_never_over_the_source(admin_client: Client) -> None:
    backup = rows.backup(rows.plan())
    url = reverse("backup-restore", args=[backup.pk])
    place = {"host": "new.example.com", "port": "5432", "database": "empty", "user": "app", "password": rows.PASSWORD}
    data = {f"source-{name}": value for name, value in place.items()}
    over = {**data, "source-host": "db.example.com", "source-database": "shop"}
    answer = admin_client.post(url, over)
    assert answer.status_code == 422
    assert "This is the source itself" in answer.content.decode()
    assert "Type it again" in answer.content.decode()
    assert not Restore.objects.exists()
    answer = admin_client.post(url, data)
    restore = Restore.objects.get()
    assert answer.headers["Location"] == reverse("restore", args=[restore.pk])
    assert restore.config["database"] == "empty"
    assert rows.PASSWORD not in str(restore.config)
    assert rows.PASSWORD in str(restore.secret)
    assert "new.example.com:5432/empty" in text(admin_client, "restore", restore.pk)


def test_a_test_can_be_asked_for_and_stopped(admin_client: Client) -> None:
    backup = rows.backup(rows.plan())
    answer = admin_client.post(reverse("backup-test", args=[backup.pk]))
    test = RestoreTest.objects.get()
    assert answer.headers["Location"] == reverse("restore-test", args=[test.pk])
    assert "is being restored into a throwaway place" in text(admin_client, "restore-test", test.pk)
    admin_client.post(reverse("restore-test-stop", args=[test.pk]))
    test.refresh_from_db()
    assert test.state == "failed"
    again = admin_client.post(reverse("restore-test-stop", args=[test.pk]), follow=True)
    assert "already ended" in again.content.decode()


def test_pause_resume_and_remove_say_what_they_did(admin_client: Client) -> None:
    plan = rows.plan(name="Shop")
    rows.backup(plan)

    def told(name: str, **data: str) -> str:
        return admin_client.post(reverse(name, args=[plan.pk]), data, follow=True).content.decode()

    assert "Shop is paused" in told("plan-pause")
    assert "Resume" in text(admin_client, "plan", plan.pk)
    assert "Shop runs again" in told("plan-resume")
    assert "Type Shop to remove this plan" in told("plan-remove", typed="shop")
    assert "Its one backup stays" in told("plan-remove", typed="Shop")
    assert admin_client.get(reverse("plan", args=[plan.pk])).status_code == 404


def test_the_download_is_streamed_to_the_owner_alone_and_audited_first(tmp_path: Path) -> None:
    made = world(tmp_path, rows=50)
    backup = made.back_up()
    client = client_of(made.owner)
    url = reverse("backup-download", args=[backup.pk])
    page = client.get(url)
    assert "readable by anyone who has it" in page.content.decode()
    assert not AuditEntry.objects.filter(verb="backups.downloaded").exists()
    answer = client.post(url)
    assert AuditEntry.objects.filter(verb="backups.downloaded").count() == 1
    assert answer.streaming
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="shop-2026')
    assert answer.getvalue().startswith(b"SQLite format 3\0")


def test_neither_admins_nor_members_download(admin_client: Client, member_client: Client) -> None:
    url = reverse("backup-download", args=[rows.backup(rows.plan()).pk])
    assert [client.post(url).status_code for client in (admin_client, member_client)] == [403, 403]


def test_a_download_without_a_recent_sign_in_asks_again(owner: Person) -> None:
    url = reverse("backup-download", args=[rows.backup(rows.plan()).pk])
    answer = client_of(owner, recent=False).post(url)
    assert answer.status_code == 302
    assert not AuditEntry.objects.filter(verb="backups.downloaded").exists()
