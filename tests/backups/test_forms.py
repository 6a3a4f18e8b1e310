"""Forms of backups: every bad input is one clear sentence at its field, and no secret is ever shown again."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.http import QueryDict
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apps.backups.forms import PlanForm, RestoreForm, SourceForm, StoreForm
from apps.people.models import Person
from apps.servers.gate.wire import new_pair
from apps.servers.models import Server
from tests.backups import rows
from tests.people.factories import PersonFactory

pytestmark = pytest.mark.django_db

PG = {"kind": "postgresql", "by": "parts", "host": "db.example.com", "port": "5432", "database": "shop", "user": "app"}
S3 = {"kind": "s3", "bucket": "safe", "access_key": rows.ACCESS, "secret_key": rows.SECRET, "endpoint": ""}
PLAN = {
    "name": "Shop", "freq": "days", "time": "02:05", "weekdays": ["0", "3"], "time_zone": "Europe/Berlin",
    "keep_daily": "7", "keep_weekly": "4", "keep_monthly": "12", "keep_yearly": "0", "prove_days": "7",
}  # fmt: skip


def typed(prefix: str, base: dict[str, Any], **more: Any) -> QueryDict:
    """Return what a browser sends."""
    data = QueryDict(mutable=True)
    for name, value in {**base, **more}.items():
        data.setlist(f"{prefix}-{name}", value if isinstance(value, list) else [str(value)])
    return data


def plan_form(person: Person | None = None, **more: Any) -> PlanForm:
    """Return a plan's form with some fields changed."""
    return PlanForm(typed("plan", PLAN, **more), person=person or PersonFactory())


@pytest.mark.parametrize(
    ("more", "field", "part"),
    [
        ({"host": ""}, "host", "db.example.com"),
        ({"host": "http://db.example.com"}, "host", "without http://"),
        ({"host": "db.example.com:5432"}, "host", "Write only the host"),
        ({"host": "db example"}, "host", "Write only the host"),
        ({"port": "0"}, "port", "1 to 65,535"),
        ({"port": "many"}, "port", "whole number"),
        ({"port": "99999"}, "port", "1 to 65,535"),
        ({"database": " "}, "database", "name of the database"),
        ({"user": ""}, "user", "may read"),
        ({"database": "a\nb"}, "database", "cannot be typed"),
        ({"password": "one\ntwo"}, "password", "cannot be typed"),
        ({"host": "a" * 300}, "host", "at most 253"),
        ({"ca": "no certificate"}, "ca", "PEM"),
        ({"ca": "-----BEGIN PRIVATE KEY-----\nAAAA"}, "ca", "private key"),
        ({"sslmode": "prefer"}, "sslmode", "Choose one"),
        ({"kind": "oracle"}, "kind", "Choose one"),
        ({"by": "url", "url": ""}, "url", "Write the URL"),
        ({"by": "url", "url": "https://db.example.com/shop"}, "url", "must begin with"),
        ({"by": "url", "url": "postgresql://u:p@h:port/db"}, "url", "cannot be read"),
        ({"by": "url", "url": "postgresql://u@h1,h2/db"}, "url", "several hosts"),
        ({"by": "url", "url": "postgresql://u@host"}, "url", "names no database"),
        ({"kind": "sqlite", "path": ""}, "path", "data.sqlite3"),
        ({"kind": "sqlite", "path": "relative/file"}, "path", "beginning with /"),
        ({"kind": "directory", "path": "/srv/../etc"}, "path", "beginning with /"),
        ({"kind": "directory", "path": "/srv", "excludes": "ok\n/absolute"}, "excludes", "below the folder"),
        ({"pick": "0190d0c0-0000-7000-8000-000000000000"}, "pick", "removed meanwhile"),
        ({"pick": "'; drop table"}, "pick", "removed meanwhile"),
    ],
)
def test_a_source_that_cannot_be_used_says_why_at_its_field(more: dict[str, str], field: str, part: str) -> None:
    form = SourceForm(typed("source", PG, **more))
    assert not form.is_valid()
    assert part in form.error(field), dict(form.errors)
    assert all(len(found) == 1 for found in form.errors.values())


@pytest.mark.parametrize("path", ["keys", "keys/ring.json", ""])
def test_a_folder_with_the_keys_of_mainstay_is_refused(path: str) -> None:
    where = settings.MAINSTAY_KEYS.parent / path if path else "/"
    form = SourceForm(typed("source", {"kind": "directory", "path": str(where)}))
    assert not form.is_valid()
    assert "key that opens it" in form.error("path")


def test_a_url_is_taken_apart_and_its_password_is_sealed_and_never_shown() -> None:
    url = f"postgresql://app:{rows.PASSWORD}@db.example.com:6543/shop?sslmode=verify-full"
    form = SourceForm(typed("source", {"kind": "postgresql", "by": "url", "url": url}))
    assert form.is_valid(), form.errors
    config = {"host": "db.example.com", "port": 6543, "database": "shop", "user": "app", "sslmode": "verify-full"}
    assert form.config() == config
    assert form.secret() == {"password": rows.PASSWORD}
    assert form.title() == "shop on db.example.com"
    assert [form.shown(name) for name in ("by", "host", "port", "url", "password")] == [
        "parts", "db.example.com", "6543", "", "",
    ]  # fmt: skip
    form.ask_again()
    assert "Type it again" in form.error("password")


def test_a_stored_password_stays_when_the_field_is_blank() -> None:
    known = rows.source()
    form = SourceForm(typed("source", PG, user="other"), known=known)
    assert form.is_valid(), form.errors
    assert form.secret() is None
    assert form.target().secret == {"password": rows.PASSWORD}


@pytest.mark.parametrize(
    "more", [{"host": "evil.example.com"}, {"port": "5433"}, {"sslmode": "disable"}, {"sslmode": "require"}]
)
def test_a_stored_password_is_never_sent_to_another_address(more: dict[str, str]) -> None:
    form = SourceForm(typed("source", PG, **more), known=rows.source())
    assert not form.is_valid()
    assert "never sent to another address" in form.error("password")


def test_the_kind_of_a_known_source_cannot_be_changed() -> None:
    form = SourceForm(typed("source", PG, kind="sqlite", path="/srv/x"), known=rows.source())
    assert form.is_valid()
    assert form.target().kind == "postgresql"


@pytest.mark.parametrize(
    ("more", "field", "part"),
    [
        ({"bucket": ""}, "bucket", "name of the bucket"),
        ({"bucket": "s3://safe"}, "bucket", "Write only the name"),
        ({"bucket": "Safe_"}, "bucket", "small letters"),
        ({"access_key": ""}, "access_key", "Write the access key"),
        ({"secret_key": " "}, "secret_key", "Write the secret key"),
        ({"secret_key": "two words"}, "secret_key", "blank inside"),
        ({"endpoint": "s3.example.com"}, "endpoint", "whole address"),
        ({"endpoint": "ftp://s3.example.com"}, "endpoint", "whole address"),
        ({"endpoint": "https://s3.example.com:port"}, "endpoint", "whole address"),
        ({"endpoint": f"https://key:{rows.SECRET}@s3.example.com"}, "endpoint", "without a name and password"),
        ({"folder": "a/../b"}, "folder", "plain folder"),
        ({"kind": "local", "path": "backups"}, "path", "beginning with /"),
        ({"kind": "local", "path": ""}, "path", "/srv/backups"),
        ({"pick": "0190d0c0-0000-7000-8000-000000000000"}, "pick", "removed meanwhile"),
    ],
)
def test_a_store_that_cannot_be_used_says_why_at_its_field(more: dict[str, str], field: str, part: str) -> None:
    form = StoreForm(typed("store", S3, **more))
    assert not form.is_valid()
    assert part in form.error(field), dict(form.errors)
    assert rows.SECRET not in str([form.shown(name) for name in form.fields])


def test_stored_keys_stay_when_both_are_blank_and_never_go_to_another_address() -> None:
    known = rows.store()
    blank = {"access_key": "", "secret_key": "", "endpoint": "https://s3.example.com"}
    form = StoreForm(typed("store", S3, **blank), known=known)
    assert form.is_valid(), form.errors
    assert form.secret() is None
    assert form.place().secret == {"access_key": rows.ACCESS, "secret_key": rows.SECRET}
    moved = StoreForm(typed("store", S3, **{**blank, "endpoint": "https://evil.example.com"}), known=known)
    assert not moved.is_valid()
    assert "never sent to another address" in moved.error("access_key")
    half = StoreForm(typed("store", S3, **{**blank, "access_key": "new"}), known=known)
    assert not half.is_valid()
    assert "belong together" in half.error("secret_key")


@pytest.mark.parametrize(
    ("more", "field", "part"),
    [
        ({"time": "25:00"}, "time", "24-hour clock"),
        ({"time": "2pm"}, "time", "24-hour clock"),
        ({"weekdays": []}, "weekdays", "at least one day"),
        ({"weekdays": ["9"]}, "weekdays", "Monday to Sunday"),
        ({"freq": "hourly", "minute": "60"}, "minute", "0 to 59"),
        ({"freq": "monthly", "day": "32"}, "day", "1 to 31"),
        ({"freq": "monthly", "day": "soon"}, "day", "1 to 31"),
        ({"freq": "cron", "cron": "* *"}, "cron", "five fields"),
        ({"freq": "cron", "cron": "0 0 30 2 *"}, "cron", "cannot be read"),
        ({"freq": "sometimes"}, "freq", "Choose one"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "no such time zone"),
        ({"keep_daily": "-1"}, "keep_daily", "0 to 366"),
        ({"keep_daily": "lots"}, "keep_daily", "whole number"),
        ({"keep_daily": "0", "keep_weekly": "0", "keep_monthly": "0"}, "keep_daily", "at least one"),
        ({"prove_days": "3"}, "prove_days", "how often"),
        ({"loss": "0"}, "loss", "1 to 10,000"),
        ({"back": "x"}, "back", "whole number"),
        ({"owner": "0190d0c0-0000-7000-8000-000000000000"}, "owner", "has left"),
        ({"name": "n" * 90}, "name", "at most 80"),
    ],
)
def test_a_plan_that_cannot_be_says_why_at_its_field(more: dict[str, Any], field: str, part: str) -> None:
    form = plan_form(**more)
    assert not form.is_valid()
    assert part in form.error(field), dict(form.errors)
    assert all(len(found) == 1 for found in form.errors.values())


def test_somebody_who_left_cannot_own_a_plan() -> None:
    gone = PersonFactory(is_active=False)
    assert "has left" in (form := plan_form(owner=gone.pk)).errors["owner"][0]
    assert not form.is_valid()


def test_a_plan_becomes_what_the_service_takes() -> None:
    person = PersonFactory()
    form = plan_form(person, owner=person.pk, loss="90", loss_unit="minutes", back="2", back_unit="hours")
    assert form.is_valid(), form.errors
    spec = form.spec(source=rows.source(), store=rows.store())
    assert spec.schedule.to_json() == {"kind": "days", "time": "02:05", "weekdays": [0, 3]}
    assert (spec.owner, spec.goal_loss, spec.goal_back) == (person, timedelta(minutes=90), timedelta(hours=2))
    assert (spec.keep_daily, spec.keep_weekly, spec.keep_monthly, spec.keep_yearly) == (7, 4, 12, 0)


def test_the_form_of_a_known_plan_says_what_the_plan_is() -> None:
    known = rows.plan(
        schedule={"kind": "monthly", "day": "last", "time": "23:10"},
        time_zone="Asia/Tokyo",
        goal_loss=timedelta(hours=36),
        prove_every=timedelta(days=3),
    )
    form = PlanForm(person=PersonFactory(), known=known)
    shown = {name: form.shown(name) for name in ("freq", "day", "time", "time_zone", "loss", "loss_unit", "prove_days")}
    assert shown == {
        "freq": "monthly", "day": "last", "time": "23:10", "time_zone": "Asia/Tokyo", "loss": 36,
        "loss_unit": "hours", "prove_days": 3,
    }  # fmt: skip
    assert form.prove_choices[3] == "every 3 days"


@pytest.mark.parametrize("host", ["db.example.com"])
def test_a_restore_over_its_own_source_is_refused(host: str) -> None:
    backup = rows.backup(rows.plan())
    form = RestoreForm(typed("source", PG, host=host), backup=backup)
    assert not form.is_valid()
    assert "the source itself" in form.error("database")
    assert RestoreForm(typed("source", PG, database="other"), backup=backup).is_valid()


@given(
    st.dictionaries(
        st.sampled_from(["kind", "by", "url", "host", "port", "database", "user", "password", "ca", "path", "pick"]),
        st.text(max_size=30),
        max_size=8,
    )
)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_a_source_is_used_or_refused_in_sentences(found: dict[str, str]) -> None:
    form = SourceForm(typed("source", PG, **found))
    if form.is_valid():
        assert form.target().kind
    else:
        assert all(str(sentences[0]).endswith((".", "?")) for sentences in form.errors.values())


@given(
    st.dictionaries(
        st.sampled_from(["freq", "minute", "time", "day", "cron", "time_zone", "keep_daily", "loss", "owner"]),
        st.text(max_size=20),
        max_size=8,
    )
)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_a_plan_is_used_or_refused_in_sentences(found: dict[str, str]) -> None:
    form = plan_form(Person(email="a@example.com", name="A"), **found)
    if form.is_valid():
        assert form.schedule is not None
    else:
        assert all(str(sentences[0]).endswith(".") for sentences in form.errors.values())


CONFIG = {"host": "db.example.com", "port": 5432, "database": "shop", "user": "app"}


def gate_of(level: str, name: str = "web-1") -> Server:
    """Return a server whose gate says that it has a level."""
    private, public = new_pair()
    found: Server = Server.objects.create(
        name=name, address="192.0.2.8", level=level, gate_level=level, private_key=private, public_key=public
    )
    return found


def test_a_database_through_a_server_needs_neither_host_nor_password() -> None:
    server = gate_of("operate")
    form = SourceForm(typed("source", PG, host="", through=str(server.pk), sslmode="require"))
    assert form.is_valid(), form.errors
    assert form.target().through == server
    assert (form.config()["host"], "sslmode" in form.config(), form.secret()) == ("", False, {})
    assert form.title() == "shop on web-1"
    assert form.through_options[1:] == [(str(server.pk), "web-1")]


@pytest.mark.parametrize("host", ["db.example.com", "192.0.2.9", "/run/a,/run/b", "localhost.example.com"])
def test_a_gate_is_not_asked_for_another_machine(host: str) -> None:
    form = SourceForm(typed("source", PG, host=host, through=str(gate_of("manage").pk)))
    assert not form.is_valid()
    assert "on its own server" in form.error("host")


@pytest.mark.parametrize("level", ["observe", ""])
def test_a_server_that_may_only_be_observed_is_not_offered_and_not_taken(level: str) -> None:
    server = gate_of(level)
    form = SourceForm(typed("source", PG, host="", through=str(server.pk)))
    assert form.through_options == []
    assert not form.is_valid()
    assert "at least operate" in form.error("through")
    gone = SourceForm(typed("source", PG, through="'; DROP TABLE x; --"))
    assert not gone.is_valid()
    assert "removed" in gone.error("through")


def test_a_kept_password_does_not_follow_to_another_server_and_comes_back_from_none() -> None:
    one, two = gate_of("operate"), gate_of("manage", "web-2")
    known = rows.source(config={**CONFIG, "host": ""})
    known.through = one
    same = SourceForm(typed("source", PG, host="", through=str(one.pk)), known=known)
    assert same.is_valid(), same.errors
    assert same.target().secret == {"password": rows.PASSWORD}
    other = SourceForm(typed("source", PG, host="", through=str(two.pk)), known=known)
    assert other.is_valid(), other.errors
    assert other.target().secret == {}
    straight = SourceForm(typed("source", PG, host="db.example.com"), known=known)
    assert not straight.is_valid()
    assert "type the password again" in straight.error("password")
