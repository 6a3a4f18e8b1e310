"""Incidents: one per cause, told once, quiet when explained, calm when flapping, closed when mended."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection, connections

from apps.alerts import services
from apps.alerts.models import Channel, Incident, Message
from apps.alerts.problem import Problem
from apps.alerts.problems import CANNOT_DELIVER
from apps.alerts.services import channels as channel_services
from apps.core.claims import Standing
from apps.people.models import AuditEntry, Person
from tests.alerts.conftest import FAILED, LATE

pytestmark = pytest.mark.django_db
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
Make = Callable[..., Channel]


def say(now: datetime, *, healthy: bool, problem: Problem = FAILED, said: str = "It broke.") -> Incident | None:
    return services.report(
        problem=problem,
        subject_key="backups.plan:1",
        subject="Customers",
        url="/backups/1",
        healthy=healthy,
        said="" if healthy else said,
        now=now,
    )


def kinds() -> list[str]:
    return list(Message.objects.order_by("created_at", "kind").values_list("kind", flat=True))


def test_trouble_opens_one_incident_and_writes_one_message_a_channel(make_channel: Make, now: datetime) -> None:
    make_channel("A"), make_channel("B"), make_channel("C", paused_at=now), make_channel("D", removed_at=now)
    incident = say(now, healthy=False)
    assert incident is not None
    assert (incident.title, incident.opened_at) == ("Customers: the backup failed", now)
    assert sorted(Message.objects.values_list("channel__name", "kind")) == [("A", "opened"), ("B", "opened")]


def test_trouble_that_is_reported_again_refreshes_the_sentence_and_tells_nobody_again(
    make_channel: Make, now: datetime
) -> None:
    make_channel()
    say(now, healthy=False)
    incident = say(now + MINUTE, healthy=False, said="It broke at step 4.")
    assert incident is not None
    assert (Incident.objects.count(), incident.said, kinds()) == (1, "It broke at step 4.", ["opened"])


def test_what_is_mended_closes_with_one_message_to_the_channels_that_were_told(
    make_channel: Make, now: datetime
) -> None:
    make_channel("A")
    say(now, healthy=False)
    make_channel("B")
    closed = say(now + HOUR, healthy=True)
    assert closed is not None
    assert closed.closed_at == now + HOUR
    assert say(now + 2 * HOUR, healthy=True) is None
    assert list(Message.objects.filter(kind="closed").values_list("channel__name", flat=True)) == ["A"]


def test_a_channel_whose_message_is_a_dead_letter_does_not_hear_of_the_mending(
    make_channel: Make, now: datetime
) -> None:
    make_channel("A"), make_channel("B")
    say(now, healthy=False)
    Message.objects.filter(channel__name="A").update(state="failed")
    say(now + HOUR, healthy=True)
    assert list(Message.objects.filter(kind="closed").values_list("channel__name", flat=True)) == ["B"]


def test_a_patient_problem_is_told_only_when_its_patience_is_over(make_channel: Make, now: datetime) -> None:
    make_channel()
    incident = say(now, healthy=False, problem=LATE)
    assert incident is not None
    assert incident.opened_at is None
    services.watch(now + 59 * MINUTE)
    assert kinds() == []
    services.watch(now + HOUR)
    services.watch(now + HOUR + MINUTE)
    assert kinds() == ["opened"]


def test_patient_trouble_that_goes_by_itself_leaves_nothing_behind(make_channel: Make, now: datetime) -> None:
    make_channel()
    say(now, healthy=False, problem=LATE)
    assert say(now + MINUTE, healthy=True, problem=LATE) is None
    assert (Incident.objects.count(), kinds()) == (0, [])


def test_a_problem_is_quiet_while_its_cause_is_open_and_speaks_when_it_alone_is_left(
    make_channel: Make, now: datetime
) -> None:
    make_channel()
    say(now, healthy=False)
    say(now, healthy=False, problem=LATE)
    services.watch(now + 2 * HOUR)
    assert kinds() == ["opened"]
    say(now + 3 * HOUR, healthy=True)
    services.watch(now + 3 * HOUR + MINUTE)
    assert kinds() == ["opened", "closed", "opened"]


def test_flapping_every_minute_for_hours_is_one_incident_and_a_handful_of_messages(
    make_channel: Make, now: datetime
) -> None:
    make_channel()
    for minute in range(0, 180, 2):
        say(now + minute * MINUTE, healthy=False)
        say(now + (minute + 1) * MINUTE, healthy=True)
        services.watch(now + (minute + 1) * MINUTE)
    assert Incident.objects.count() == 1
    assert kinds() == ["opened", "closed", "opened"]
    incident = Incident.objects.get()
    assert incident.closed_at is None
    services.watch(now + 180 * MINUTE + 10 * MINUTE)
    assert kinds() == ["opened", "closed", "opened", "closed"]


def test_hourly_flapping_gets_slower_and_slower_to_close(make_channel: Make, now: datetime) -> None:
    make_channel()
    for hour in range(0, 48, 2):
        say(now + hour * HOUR, healthy=False)
        for minute in range(0, 60, 20):
            moment = now + (hour + 1) * HOUR + minute * MINUTE
            say(moment, healthy=True)
            services.watch(moment)
    assert kinds().count("opened") <= 6


def test_trouble_that_returns_after_hours_of_health_is_a_new_incident(make_channel: Make, now: datetime) -> None:
    make_channel()
    say(now, healthy=False)
    say(now + HOUR, healthy=True)
    say(now + 5 * HOUR, healthy=False)
    assert Incident.objects.count() == 2


def test_an_incident_with_no_channel_is_told_to_the_first_one_that_is_added(make_channel: Make, now: datetime) -> None:
    say(now, healthy=False)
    services.watch(now + MINUTE)
    make_channel()
    services.watch(now + 2 * MINUTE)
    services.watch(now + 3 * MINUTE)
    assert kinds().count("opened") == 1


def test_a_channel_added_while_incidents_are_open_hears_of_each_once_at_once(
    make_channel: Make, admin: Person, now: datetime
) -> None:
    make_channel("First")
    say(now, healthy=False)
    say(now, healthy=False, problem=LATE)  # within its patience: nobody is told yet
    channel_services.add_channel(
        actor=admin, kind="webhook", name="Second", config={"host": "127.0.0.1", "inside": True},
        secrets={"url": "http://127.0.0.1:1", "key": "whsec_eA=="}, now=now + MINUTE,
    )  # fmt: skip
    second = Message.objects.filter(channel__name="Second")
    assert [message.kind for message in second] == ["opened"]
    for minutes in range(2, 6):
        services.watch(now + minutes * MINUTE)
    assert second.count() == 1
    assert Message.objects.filter(channel__name="First").count() == 1
    say(now + 6 * MINUTE, healthy=True)
    assert sorted(second.values_list("kind", flat=True)) == ["closed", "opened"], "and of the mending"


def test_a_channel_that_is_resumed_hears_of_what_opened_meanwhile(
    make_channel: Make, admin: Person, now: datetime
) -> None:
    made = make_channel()
    channel_services.pause(actor=admin, channel=made, now=now)
    say(now, healthy=False)
    assert kinds() == []
    channel_services.resume(actor=admin, channel=made, now=now + MINUTE)
    assert kinds() == ["opened"]


def test_a_channel_that_does_not_deliver_hears_nothing_of_itself(
    make_channel: Make, admin: Person, now: datetime
) -> None:
    made = make_channel()
    services.report(
        problem=CANNOT_DELIVER, subject_key=services.channel_key(made), subject=str(made), url="/", healthy=False,
        said="It is down.", now=now,
    )  # fmt: skip
    services.watch(now + MINUTE)
    assert kinds() == []


def test_a_dead_letter_is_dismissed_once_and_written_down(make_channel: Make, admin: Person, now: datetime) -> None:
    made = make_channel()
    letter = Message.objects.create(
        channel=made, kind="test", subject="Test", body="Test", state="failed", error="No.", created_at=now
    )
    assert channel_services.dismiss(actor=admin, message=letter, now=now)
    assert not channel_services.dismiss(actor=admin, message=letter, now=now)
    assert not channel_services.send_again(actor=admin, message=letter, now=now)
    assert not Message.objects.dead_letters().exists()
    assert AuditEntry.objects.filter(verb="alerts.dismissed").count() == 1


def test_an_open_incident_that_nobody_took_is_told_again_every_day(
    make_channel: Make, now: datetime, admin: Person
) -> None:
    make_channel()
    incident = say(now, healthy=False)
    assert incident is not None
    for hour in (1, 23, 24, 25, 47, 48, 49):
        services.watch(now + hour * HOUR)
    assert kinds() == ["opened", "reminder", "reminder"]
    assert services.acknowledge(actor=admin, incident=incident, note="On it.", now=now + 50 * HOUR)
    assert not services.acknowledge(actor=admin, incident=incident, now=now + 51 * HOUR)
    for hour in (60, 73, 99):
        services.watch(now + hour * HOUR)
    assert kinds().count("reminder") == 2
    assert incident.notes.get().text == "On it."
    assert AuditEntry.objects.filter(verb="alerts.acknowledged").count() == 1


def test_a_person_may_close_and_what_is_still_so_opens_again_as_the_same_incident(
    make_channel: Make, now: datetime, admin: Person
) -> None:
    make_channel()
    incident = say(now, healthy=False)
    assert incident is not None
    assert services.close(actor=admin, incident=incident, now=now + MINUTE)
    assert not services.close(actor=admin, incident=incident, now=now + MINUTE)
    again = say(now + 2 * MINUTE, healthy=False)
    assert again == incident
    assert kinds() == ["opened", "closed", "opened"]
    assert Message.objects.order_by("-created_at")[0].subject.startswith("Back again: ")


def test_trouble_without_a_sentence_is_a_programming_error(db: None, now: datetime) -> None:
    with pytest.raises(ValueError, match="needs a sentence"):
        say(now, healthy=False, said="")


def test_long_names_and_braces_in_a_subject_open_an_incident_all_the_same(make_channel: Make, now: datetime) -> None:
    make_channel()
    subject = "{0} {subject} %s " + "x" * 300
    incident = services.report(
        problem=FAILED, subject_key="k", subject=subject, url="/" + "y" * 400, healthy=False, said="s" * 9000, now=now
    )
    assert incident is not None
    assert incident.title.startswith("{0} {subject} %s")
    assert len(incident.title) <= 200


def test_nobody_would_be_told_is_the_first_need(now: datetime, db: None) -> None:
    assert [need.title for need in services.needs(now)] == ["Nobody would be told"]
    assert [(claim.id, claim.standing) for claim in services.claims(now)] == [("S10", Standing.UNPROVEN)]


def test_a_channel_is_proven_by_a_click_younger_than_90_days_only(make_channel: Make, now: datetime) -> None:
    channel = make_channel(proven_at=None)
    assert services.claims(now)[0].standing is Standing.UNPROVEN
    assert services.needs(now)[0].verb == "Send a test"
    Channel.objects.update(proven_at=now)
    assert services.claims(now + 89 * DAY)[0].standing is Standing.PROVEN
    assert services.needs(now + 89 * DAY) == []
    assert services.claims(now + 91 * DAY)[0].standing is Standing.AT_RISK
    Channel.objects.update(trouble="550 no")
    assert services.claims(now)[0].standing is Standing.AT_RISK
    assert services.needs(now)[0].said == "550 no"
    assert services.needs(now)[0].url == f"/channels/{channel.pk}/"


def test_a_channel_that_stays_unproven_for_three_days_is_an_incident(make_channel: Make, now: datetime) -> None:
    channel = make_channel(proven_at=None)
    services.watch(now)
    services.watch(now + 2 * DAY)
    assert Incident.objects.open().count() == 0
    services.watch(now + 3 * DAY)
    assert Incident.objects.open().get().code == "alerts.unproven"
    Channel.objects.filter(pk=channel.pk).update(proven_at=now + 3 * DAY)
    services.watch(now + 4 * DAY)
    assert Incident.objects.open().count() == 0


def test_a_removed_channel_forgets_its_secret_and_its_incidents(
    make_channel: Make, now: datetime, admin: Person
) -> None:
    channel = make_channel(proven_at=None)
    for moment in (now, now + 4 * DAY):
        services.watch(moment)
    channel_services.remove(actor=admin, channel=channel, now=now + 5 * DAY)
    channel.refresh_from_db()
    assert channel.secrets == {}
    assert not Incident.objects.live().exists()
    make_channel(channel.name)


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_six_workers_that_report_at_once_open_one_incident_and_tell_each_channel_once(
    make_channel: Make, now: datetime
) -> None:
    make_channel("A"), make_channel("B")
    gate, errors = threading.Barrier(6), list[Exception]()

    def work() -> None:
        try:
            gate.wait(10)
            for spell in range(5):
                say(now + spell * 6 * HOUR, healthy=False)
                gate.wait(30)
                say(now + spell * 6 * HOUR + HOUR, healthy=True)
                gate.wait(30)
        except Exception as error:  # noqa: BLE001 whatever a thread met, the test says it
            errors.append(error)
            gate.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert Incident.objects.count() == 5
    assert kinds().count("opened") == 10
    assert kinds().count("closed") == 10
    assert connection.vendor in {"sqlite", "postgresql"}
