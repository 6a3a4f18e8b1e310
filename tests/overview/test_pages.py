"""Tests of the first page, the checklist, search and the heartbeat as they are served."""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from itertools import product
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse

from apps.alerts.models import Channel, Incident
from apps.backups import services as backups
from apps.backups.models import Plan, RestoreTest
from apps.core import pulse
from apps.core.jinja import nav_pages
from apps.overview import pages, reads
from apps.people.models import Person, Role

MakePlan = Callable[..., Plan]


def text(client: Client, path: str = "/", **headers: Any) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def heading(body: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", body, re.DOTALL)
    assert found
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", found[1])).strip()


@pytest.mark.usefixtures("watching")
def test_without_a_plan_the_page_shows_the_first_steps(owner: Client) -> None:
    body = text(owner)
    assert heading(body).startswith("Nothing is backed up yet.")
    assert "Start here" in body
    assert 'class="strip"' not in body


@pytest.mark.usefixtures("watching")
def test_the_page_names_the_plan_at_risk_and_since_when(owner: Client, make_plan: MakePlan, moment: datetime) -> None:
    make_plan("Production database")
    make_plan(
        "Analytics", verdict="bad", verdict_since=moment - timedelta(days=2, hours=1), failed_rung=5, proven_rungs=4
    )
    body = text(owner)
    assert heading(body).startswith("Analytics has been at risk for 2 days.")
    assert "failed at step 5 of 7" in body
    assert "flag--bad" in body


@pytest.mark.usefixtures("watching")
def test_what_is_missing_is_said_although_every_backup_is_proven(owner: Client, make_plan: MakePlan) -> None:
    make_plan("Mainstay itself")
    body = text(owner)
    assert heading(body).startswith("The backup is proven.")
    for missing in (
        "Nobody would be told",
        "No backup is kept off this site",
        "Recovery key not proven",
        "Invite a second person",
    ):
        assert missing in body


def test_when_nothing_looks_any_more_the_page_says_so_and_claims_nothing(
    owner: Client, make_plan: MakePlan, moment: datetime
) -> None:
    make_plan("Mainstay itself")
    pulse.beat(moment - timedelta(minutes=12))
    body = text(owner)
    assert heading(body).startswith("We do not know how things are.")
    assert "Nothing has been looked at for 12 min." in body
    assert 'role="alert"' in body
    assert "is-stale" in body
    assert "Not watching since" in body


def test_before_the_first_tick_nothing_is_claimed(owner: Client, make_plan: MakePlan) -> None:
    make_plan("Mainstay itself")
    assert "Mainstay has not looked at anything yet." in text(owner)


@pytest.mark.usefixtures("watching")
def test_while_the_broker_is_down_the_page_says_that_the_work_waits(
    owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "broker_down", lambda: True)
    assert "The broker does not answer; the work waits." in text(owner)


@pytest.mark.usefixtures("watching")
def test_a_proof_older_than_its_policy_is_not_counted_as_proven(make_plan: MakePlan, moment: datetime) -> None:
    make_plan("fresh")
    make_plan("old", proven_at=moment - timedelta(days=8))
    make_plan("contradicted", failed_rung=3)
    make_plan("removed", removed_at=moment)
    make_plan("paused", paused_at=moment)
    found = reads.look(moment).plans
    assert (found.total, found.proven) == (3, 1)


@pytest.mark.usefixtures("watching")
def test_the_counted_claims_are_the_claims_themselves_whatever_is_wrong_with_the_plans(
    make_plan: MakePlan, moment: datetime
) -> None:
    codes = [
        (),
        ("backups.late",),
        ("backups.stale",),
        ("backups.no_owner",),
        ("backups.unproven",),
        ("backups.proof_failed", "backups.same_domain"),
    ]
    proofs = [None, moment - timedelta(hours=6), moment - timedelta(days=9)]
    for number, (found, proof, every, bad) in enumerate(product(codes, proofs, (1, 7), (True, False))):
        faults = [{"code": code, "bad": bad, "said": "s", "todo": "t", "since": None} for code in found]
        plan = make_plan(f"plan {number}", troubles=faults, proven_at=proof, prove_every=timedelta(days=every))
        plan.source.kind = ("postgresql", "sqlite", "directory")[number % 3]
        plan.source.save()
    counted = {
        (one.id, one.title, state): number
        for one in reads.look(moment).tallies
        for state, number in one.counts.items()
        if number
    }
    claimed = Counter((one.id, one.title, one.standing) for one in backups.claims(moment))
    assert counted == dict(claimed)


@pytest.mark.usefixtures("watching")
def test_at_most_twenty_needs_are_shown_and_the_rest_is_counted(
    owner: Client, make_plan: MakePlan, moment: datetime
) -> None:
    fault = {
        "code": "backups.late",
        "bad": True,
        "said": "It is late.",
        "todo": "Back up now.",
        "since": moment.isoformat(),
    }
    for i in range(30):
        make_plan(f"plan {i}", verdict="bad", verdict_since=moment, troubles=[fault])
    body = text(owner)
    assert body.count('class="need"') == 20
    assert "more thing" in body


@pytest.mark.usefixtures("watching")
def test_the_first_page_asks_the_same_number_of_questions_for_2_and_for_20_plans(
    owner: Client, make_plan: MakePlan, make_test: Callable[[Plan], RestoreTest], moment: datetime
) -> None:
    def grow(first: int, last: int) -> None:
        for i in range(first, last):
            plan = make_plan(
                f"plan {i}",
                verdict="bad" if i % 2 else "ok",
                verdict_since=moment,
                proof_due_at=moment + timedelta(hours=i),
            )
            make_test(plan)
            Incident.objects.create(
                code="x", severity="bad", subject_key=str(plan.pk), subject=plan.name, url="/", title="t", said="s",
                seen_at=moment, tell_at=moment, told_at=moment, opened_at=moment,
            )  # fmt: skip

    paths = ["/", reverse("checklist"), reverse("jump") + "?q=plan"]
    grow(0, 2)
    few = [questions(owner, path) for path in paths]
    grow(2, 20)
    assert [questions(owner, path) for path in paths] == few
    assert few[0] <= 20, "each question of the first page is a round trip to the database"


@pytest.mark.usefixtures("watching")
def test_the_sidebar_of_the_first_page_flags_what_every_other_page_flags(
    owner: Client, make_plan: MakePlan, moment: datetime
) -> None:
    def flags(path: str) -> list[str]:
        return re.findall(r'<span class="flag[^"]*">.*?</span>', text(owner, path), re.DOTALL)

    fault = {"code": "backups.late", "bad": True, "said": "s", "todo": "t", "since": None}
    make_plan("fine")
    make_plan("paused", verdict="bad", paused_at=moment, troubles=[fault])
    make_plan("warned", verdict="warn", troubles=[{**fault, "bad": False}])
    for number, told in enumerate((moment, moment, None)):
        Incident.objects.create(
            code="x", severity="bad", subject_key=str(number), subject="s", url="/", title="t", said="s",
            seen_at=moment, tell_at=moment, told_at=told, opened_at=told,
        )  # fmt: skip
    first = flags("/")
    assert first
    assert first == flags(reverse("checklist"))


@pytest.mark.usefixtures("watching")
def test_the_plans_that_are_named_are_the_worst_the_oldest_and_the_slowest_that_are_not_paused(
    make_plan: MakePlan, moment: datetime
) -> None:
    fault = {"code": "backups.late", "bad": True, "said": "s", "todo": "t", "since": None}
    ago = timedelta
    make_plan("paused", verdict="bad", verdict_since=moment - ago(9), paused_at=moment, troubles=[fault],
              proven_taken_at=moment - ago(9), proven_seconds=9000.0)  # fmt: skip
    make_plan("warned", verdict="warn", verdict_since=moment - ago(8), troubles=[fault], proven_taken_at=moment)
    make_plan("failing", verdict="bad", verdict_since=moment - ago(1), troubles=[fault], proven_seconds=8000.0)
    make_plan("aged", proven_taken_at=moment - ago(7), proven_seconds=None)
    found = reads.look(moment).plans
    assert (found.worst, found.worst_since) == ("failing", moment - ago(1))
    assert (found.oldest_of, found.oldest_data) == ("aged", moment - ago(7))
    assert (found.slowest_of, found.slowest) == ("failing", 8000.0)
    assert (found.total, found.bad, found.warn) == (3, 1, 1)


def questions(client: Client, path: str) -> int:
    text(client, path)  # warm: the session and caches
    with CaptureQueriesContext(
        connection,
    ) as seen:
        text(client, path)
    return len(seen)


@pytest.mark.usefixtures("watching")
def test_the_poll_gets_the_upper_part_alone(owner: Client, make_plan: MakePlan) -> None:
    make_plan("Mainstay itself")
    body = text(owner, "/", **{"HX-Request": "true"})
    assert 'id="now"' in body
    assert "<html" not in body


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.usefixtures("watching")
def test_every_role_may_read_the_overview(role: Role, as_role: Callable[[str], Client], make_plan: MakePlan) -> None:
    make_plan("Mainstay itself")
    client = as_role(role)
    for name in ("overview", "checklist", "jump", "pulse"):
        assert client.get(reverse(name)).status_code == 200


@pytest.mark.django_db
def test_a_stranger_is_sent_to_sign_in_and_learns_nothing(client: Client) -> None:
    for name in ("overview", "checklist", "jump", "pulse"):
        answer = client.get(reverse(name))
        assert answer.status_code == 302
        assert not answer.content


@pytest.mark.usefixtures("watching")
def test_search_finds_plans_stores_people_and_pages(owner: Client, make_plan: MakePlan) -> None:
    make_plan("Production database")
    assert "Production database" in text(owner, reverse("jump") + "?q=DUCTION")
    assert "Store" in text(owner, reverse("jump") + "?q=blaze")
    assert "Person" in text(owner, reverse("jump") + "?q=quillbox")
    assert "Checklist" in text(owner, reverse("jump") + "?q=readiness")
    assert "<html" not in text(owner, reverse("jump") + "?q=a", **{"HX-Request": "true"})


@pytest.mark.usefixtures("watching")
def test_search_shows_what_was_typed_as_text_only(owner: Client) -> None:
    body = text(owner, reverse("jump") + "?q=%3Cscript%3Ealert(1)%3C/script%3E%25_'%22")
    assert "<script>alert" not in body
    assert "Nothing here is called" in body


@pytest.mark.usefixtures("watching")
def test_a_viewer_does_not_find_pages_that_are_closed_to_them(as_role: Callable[[str], Client]) -> None:
    assert "Audit log" not in text(as_role(Role.VIEWER), reverse("jump") + "?q=audit")


@pytest.mark.usefixtures("watching")
def test_a_plan_called_like_markup_stays_text_everywhere(
    owner: Client, make_plan: MakePlan, make_test: Callable[[Plan], RestoreTest], moment: datetime
) -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    fault = {"code": "backups.late", "bad": True, "said": evil, "todo": evil, "since": None}
    make_test(make_plan(evil, verdict="bad", verdict_since=moment, troubles=[fault]))
    for path in ("/", reverse("checklist"), reverse("jump") + "?q=img"):
        body = text(owner, path)
        assert "<img" not in body
        assert "onerror=alert(1)&gt;" in body


def test_the_checklist_lists_every_claim_with_what_to_do(owner: Client, make_plan: MakePlan, watching: None) -> None:
    make_plan("Mainstay itself")
    body = text(owner, reverse("checklist"))
    assert "Restores are tested" in body
    assert "Somebody is told" in body
    assert "Add a channel, send a test and click its link." in body


def test_the_heartbeat_is_said_in_words(owner: Client, moment: datetime) -> None:
    assert "Nothing was looked at yet." in text(owner, reverse("pulse"))
    pulse.beat(moment)
    assert "Watching. Last look" in text(owner, reverse("pulse"))


@pytest.mark.usefixtures("watching")
def test_the_command_prints_what_the_page_claims(make_plan: MakePlan, moment: datetime) -> None:
    make_plan("Mainstay itself")
    out = StringIO()
    call_command("claims", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert {claim["id"] for claim in found} >= {"S1", "S6", "S10"}
    tested = next(claim for claim in found if claim["id"] == "S6")
    assert tested["state"] == "proven"
    assert tested["subject"] == "Mainstay itself"
    assert tested["proof"]["figures"]["restore_seconds"] == 702.0
    assert datetime.fromisoformat(tested["proof"]["at"]) == moment - timedelta(hours=6)
    told = next(claim for claim in found if claim["id"] == "S10")
    assert (told["state"], told["proof"]) == ("unproven", None)
    assert told["todo"]
    plain = StringIO()
    call_command("claims", stdout=plain)
    assert "S6   proven    Restores are tested: Mainstay itself." in plain.getvalue()


@pytest.mark.usefixtures("watching")
def test_every_link_of_every_need_and_claim_leads_somewhere(make_plan: MakePlan, moment: datetime) -> None:
    fault = {"code": "backups.late", "bad": True, "said": "s", "todo": "t", "since": None}
    for i in range(25):
        make_plan(f"plan {i}", verdict="bad", verdict_since=moment, troubles=[fault])
    Person.objects.create(email="owner@quillbox.example", name="An owner", role=Role.OWNER)
    Channel.objects.create(name="Ops mail", kind="email", trouble="The address does not exist.", trouble_at=moment)
    for url in [*(need.url for need in pages.needs(moment)), *(claim.url for claim in pages.claims(moment))]:
        resolve(url.partition("?")[0])
    for page in nav_pages():
        assert reverse(page.url_name)


@pytest.mark.usefixtures("watching")
@pytest.mark.parametrize(("role", "seen"), [(Role.OWNER, True), (Role.VIEWER, False)])
def test_a_need_has_its_button_only_for_who_may_do_it(
    as_role: Callable[[str], Client], make_plan: MakePlan, role: str, seen: object
) -> None:
    make_plan("Shop")
    body = text(as_role(role))
    assert "Nobody would be told" in body
    assert ("Add a channel</a>" in body) is seen
    assert ("Print the recovery key</a>" in body) is seen
