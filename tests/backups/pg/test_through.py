"""Through a server's gate: the same exact dump by its own pg_dump; one that is cut off is none."""

import resource
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from apps.backups import services as backups
from apps.backups.engines.base import Target
from apps.backups.models import Backup, RestoreTest
from apps.backups.schedule import Schedule
from apps.backups.services import PlanSpec
from tests.backups.factories import APART, Clock, person
from tests.backups.lent import Lent
from tests.backups.own_key import have_identity
from tests.backups.pg.gated import READY, Gated
from tests.backups.pg.kit import ENGINE, KINDS, climbed, taken, trouble
from tests.fleet.fleet import Fleet
from tests.people.fixtures import client_of

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]

TABLES = (
    "CREATE TABLE a (id bigserial PRIMARY KEY, x text)",
    "CREATE TABLE b (id bigint PRIMARY KEY, n int NOT NULL)",
    "INSERT INTO a (x) SELECT repeat(md5(g::text), 10) FROM generate_series(1, 20000) g",
    "INSERT INTO b SELECT g, 0 FROM generate_series(1, 500) g",
)
BIG = (
    "CREATE TABLE big AS SELECT g, repeat(md5(g::text), 3000) AS x FROM generate_series(1, 1200) g"  # 115 MB, packed 3
)


@pytest.fixture(scope="module")
def machine(fleet: Fleet) -> Iterator[Gated]:
    with fleet.lend(1, "postgresql") as lent:
        yield Gated(lent[0])


@pytest.fixture
def gated(machine: Gated, name: str) -> Iterator[Gated]:
    yield machine.known()
    machine.sql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_from_a_pasted_script_to_a_proven_backup_while_others_write(gated: Gated, name: str, tmp_path: Path) -> None:
    gated.make(name, *TABLES)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            gated.sql(name, *["INSERT INTO a (x) VALUES ('new')", "UPDATE b SET n = n + 1 WHERE id <= 50"] * 20)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        clock, owner = Clock(datetime.now(UTC)), person()
        have_identity()
        (tmp_path / "store").mkdir(mode=0o700)
        target = gated.target(name)
        source = backups.add_source(
            actor=owner, name="Shop", kind="postgresql", config=target.config, secret={}, domain=APART[0],
            now=clock.at, through=gated.row,
        )  # fmt: skip
        store = backups.add_store(
            actor=owner, name="Safe", kind="local", config={"path": str(tmp_path / "store")}, secret={},
            domain=APART[1], now=clock.at,
        )  # fmt: skip
        spec = PlanSpec(name="Shop", source=source, store=store, owner=owner, schedule=Schedule.days(time(2, 5)))
        plan = backups.plan(actor=owner, spec=spec, now=clock.at)
        asked = backups.back_up_now(actor=owner, plan=plan, now=clock.on(seconds=1))
        backups.perform(asked.pk, clock=clock)
    finally:
        stop.set()
        writer.join(60)
    backup: Backup = Backup.objects.get(pk=asked.pk)
    assert (backup.state, backup.error) == ("done", "")
    test: RestoreTest = RestoreTest.objects.active().get(plan=plan)
    clock.at = max(clock.at, test.due_at)
    backups.prove(test.pk, clock=clock)
    test.refresh_from_db()
    assert (test.verdict, test.said) == ("proven", test.said)
    page = client_of(owner).get(reverse("plan", args=[plan.pk])).content.decode()
    assert "through" in page
    assert gated.server.name in page
    assert gated.calm() == ""


def test_one_of_every_kind_of_thing_comes_back_exactly(gated: Gated, work: Lent, name: str) -> None:
    target = gated.make(name)
    gated.server.inside(f"runuser -u postgres -- psql -qXAt -v ON_ERROR_STOP=1 -d {name}", input=KINDS)
    data, manifest = taken(target, work)
    rungs = climbed(data, manifest, work)
    assert [(rung.name, rung.ok, rung.said, rung.log) for rung in rungs if not rung.ok] == []
    assert rungs[1].figures["rows"] == sum(member.count for member in manifest.members) > 800


def test_names_that_a_shell_would_run_are_names(gated: Gated, work: Lent) -> None:
    odd = """a'; touch /tmp/owned; $(touch /tmp/owned) `id` "b\\" -- /*"""
    quoted = '"' + odd.replace('"', '""') + '"'
    target = gated.make(odd, f"CREATE TABLE {quoted} ({quoted} int)", f"INSERT INTO {quoted} VALUES (1), (2)")
    gated.sql(odd, f'CREATE SEQUENCE {quoted[:-1]}s"')
    data, manifest = taken(target, work)
    assert [member.count for member in manifest.members] == [2]
    assert climbed(data, manifest, work)[-1].ok
    assert gated.server.inside("ls /tmp/owned", check=False).code != 0


def test_a_password_signs_in_as_a_role_of_its_own_and_is_seen_nowhere(gated: Gated, work: Lent, name: str) -> None:
    secret = "s3cr:e\\t pw'"
    gated.make(name, *TABLES, f"CREATE ROLE {name} LOGIN PASSWORD 's3cr:e\\t pw''' IN ROLE pg_read_all_data")
    target = gated.target(name, user=name, password=secret, host="localhost")
    seen: list[str] = []

    def look() -> None:
        seen.append(gated.server.inside("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'; ps aux").out)

    data, manifest = taken(target, work, look)
    assert climbed(data, manifest, work)[-1].ok
    assert "pg_dump" in seen[0]
    assert "s3cr" not in seen[0]
    left = gated.server.inside("grep -rl s3cr /dev/shm /tmp /var/log/mainstay /run 2>/dev/null || true").out
    assert left == ""
    for wrong in (gated.target(name, user=name, password="wrong", host="localhost"), gated.target(name, user=name)):
        found = trouble(partial(ENGINE.check, wrong))
        assert found.code in {"password", "account"}, found.sentence
        assert "wrong" not in found.sentence


@pytest.mark.parametrize(
    ("config", "code", "part"),
    [
        ({"database": "nowhere"}, "no-database", "There is no database nowhere"),
        ({"user": "nobody_here"}, "account", "PostgreSQL asks for a password"),
        ({"user": "nobody"}, "no-role", "There is no user nobody"),
        ({"user": "root"}, "account", "as root"),
        ({"host": "192.0.2.7"}, "refused", "only with databases on this server"),
        ({"host": "/tmp/none"}, "refused", "No PostgreSQL answers on"),
        ({"port": 5999}, "refused", "No PostgreSQL answers on"),
        ({"user": "postgres; id"}, "account", "no account"),
    ],
)
def test_what_is_wrong_is_said(gated: Gated, config: dict[str, Any], code: str, part: str) -> None:
    target = Target("postgresql", {"database": "postgres", "user": "postgres", **config}, {}, gated.row)
    found = trouble(lambda: ENGINE.check(target))
    assert (found.code, part in found.sentence) == (code, True), found.sentence
    assert found.sentence.endswith(".")


def test_a_user_who_may_not_read_all_dumps_nothing(gated: Gated, work: Lent, name: str) -> None:
    gated.make(name, *TABLES, f"CREATE ROLE {name} LOGIN PASSWORD 'x'", f"GRANT SELECT ON b TO {name}")
    target = gated.target(name, user=name, password="x", host="127.0.0.1")
    for found in (trouble(lambda: ENGINE.check(target)), trouble(lambda: taken(target, work))):
        assert (found.code, "public.a" in found.sentence) == ("no-rights", True)


def test_a_connection_that_is_killed_leaves_no_dump_here_and_nothing_running_there(
    gated: Gated, work: Lent, name: str
) -> None:
    target = gated.make(name, BIG)

    def kill() -> None:
        assert gated.at_work() != ""
        gated.server.inside("pkill -9 -f '[s]shd: mainstay'")

    found = trouble(lambda: taken(target, work, kill))
    assert (found.code, found.permanent) == ("connection-lost", False), found.sentence
    assert gated.calm() == ""


def test_a_gate_that_is_killed_takes_pg_dump_along(gated: Gated, work: Lent, name: str) -> None:
    target = gated.make(name, BIG)
    killed = "pkill -9 -f '[l]ib/mainstay/gate'"
    found = trouble(lambda: taken(target, work, lambda: gated.server.inside(killed)))
    assert not found.permanent
    assert gated.calm() == ""


def test_a_run_that_is_left_ends_everything_there(gated: Gated, work: Lent, name: str) -> None:
    target = gated.make(name, BIG)
    with ENGINE.dump(target, work) as dump:
        dump.stream.read(1000)
        assert gated.at_work() != ""
    assert gated.calm() == ""


def test_a_question_that_takes_long_is_ended_with_the_connection(gated: Gated, work: Lent, name: str) -> None:
    target = gated.make(name, BIG)
    with ENGINE.dump(target, work) as dump:
        while dump.stream.read(1 << 20):
            pass
        slow = "SELECT count(*) FROM public.big a, public.big b, public.big c, public.big d WHERE a.x < b.x"
        closer = threading.Timer(0.5, lambda: gated.server.inside("pkill -9 -f '[s]shd: mainstay'"))
        closer.start()
        found = trouble(lambda: dump.held.connection.execute(slow))  # type: ignore[attr-defined]
        closer.join()
    assert found.code == "connection-lost"
    assert gated.calm() == ""


def test_pg_dump_that_is_ended_by_the_server_is_no_dump(gated: Gated, work: Lent, name: str) -> None:
    target = gated.make(name, BIG)
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_dump'"
    found = trouble(lambda: taken(target, work, lambda: gated.sql("postgres", ending)))
    assert (found.code, found.permanent) == ("connection-lost", False)
    assert any("terminating connection" in line or "server closed" in line for line in found.log)
    assert gated.calm() == ""


def test_a_big_dump_takes_little_memory_on_both_sides(gated: Gated, work: Lent, name: str) -> None:
    target = gated.make(name, BIG)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size, there = 0, 0
    with ENGINE.dump(target, work) as dump:
        while piece := dump.stream.read(1 << 20):
            size += len(piece)
            if not there and size > 40 << 20:
                said = gated.server.inside("ps -eo rss,args | grep '[g]ate root' | sort -n | tail -1").out
                there = int(said.split()[0])
        dump.finish()
    assert size > 80 << 20
    assert 0 < there < 60_000  # KiB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_a_server_that_is_switched_off_in_the_middle_is_tried_again_and_works_again(
    gated: Gated, work: Lent, name: str
) -> None:
    target = gated.make(name, BIG)

    def cut() -> None:
        gated.sql(name, "CHECKPOINT")
        gated.server.off()

    found = trouble(lambda: taken(target, work, cut))
    assert not found.permanent, found.sentence
    away = trouble(lambda: ENGINE.check(target))
    assert not away.permanent
    assert gated.server.name in away.sentence or gated.server.address in away.sentence
    gated.server.on()
    gated.server.inside(READY)
    data, manifest = taken(target, work)
    assert climbed(data, manifest, work)[-1].ok


def test_a_server_without_pg_dump_or_postgresql_says_so(gated: Gated, name: str) -> None:
    target = gated.make(name, *TABLES)
    gated.server.inside("chmod a-x /usr/lib/postgresql/*/bin/pg_dump /usr/bin/pg_dump")
    try:
        found = trouble(lambda: ENGINE.check(target))
    finally:
        gated.server.inside("chmod a+x /usr/lib/postgresql/*/bin/pg_dump; chmod a+x $(readlink -f /usr/bin/pg_dump)")
    assert (found.code, "has no pg_dump" in found.sentence) == ("no-client", True)


def test_a_gate_at_observe_dumps_nothing(gated: Gated, name: str) -> None:
    target = gated.make(name, *TABLES)
    gated.install("observe")
    try:
        found = trouble(lambda: ENGINE.check(target))
    finally:
        gated.install("operate")
    assert (found.code, "observe" in found.sentence, found.permanent) == ("level", True, True)
    assert ENGINE.check(target).size
